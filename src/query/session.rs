//! A DataFusion session with a memory limit, and the queries that are planned in it.

use super::bounded::{self, Bounded};
use super::culprit;
use super::diagnostic::{Subject, unknown_column};
use super::estimate::{ScanEstimate, estimate};
use super::forecast::{Forecast, bytes_read, forecast};
use super::parameters::Parameters;
use super::pool::{ProcessPool, soft};
use super::predict::{ModelFunction, Models};
use super::sql::{FeatureSql, explain};
use super::unpruned::unpruned;
use super::window::{Eviction, SlidingWindows, masked, unclaimed};
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::memory::Budget;
use crate::tables::errors::from_datafusion;
use crate::tables::{self, PinnedTable};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::TrackConsumersPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{DataFrame, SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::Statement;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

/// How many consumers an out-of-memory error names.
const NAMED_CONSUMERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);

/// Rows a batch. Fixed for features: the rounding of a float sum depends on where batches end.
const BATCH_ROWS: usize = 8192;

/// What a session may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Memory for sorts, joins and aggregates, in bytes. Scans and results come on top.
    pub memory_bytes: usize,
    /// What the whole process may hold before operators spill, in bytes; not looked at if it is not given.
    pub process_bytes: Option<u64>,
    /// Threads a query may use; 1 gives the same rows in the same order each time.
    pub target_partitions: usize,
    /// Where sorts and aggregates spill; the system's temporary folder if it is not given.
    pub spill_dir: Option<PathBuf>,
    /// Rows a batch.
    pub batch_size: usize,
    /// Whether windows are computed by our own operator where it can; off only to compare with DataFusion's.
    pub sliding_windows: bool,
    /// After how many rows that no window needs any more they are let go; some ten thousands if it is not given. Few
    /// only to test that what stays is enough.
    pub let_go_after: Option<usize>,
    /// Whether rows come in the same order whatever the memory; takes one partition.
    pub ordered: bool,
}

impl SessionOptions {
    /// For feature queries: one partition, so that nothing depends on threads.
    pub fn features(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            process_bytes: None,
            target_partitions: 1,
            spill_dir: None,
            batch_size: BATCH_ROWS,
            sliding_windows: true,
            let_go_after: None,
            ordered: true,
        }
    }

    /// For ad hoc queries: `threads` at once, order free.
    pub fn ad_hoc(memory_bytes: usize, threads: usize) -> Self {
        Self { target_partitions: threads.max(1), ordered: false, ..Self::features(memory_bytes) }
    }

    /// Within the budget of a process.
    #[must_use]
    pub fn within(self, budget: &Budget) -> Self {
        Self { memory_bytes: budget.pool_bytes(), process_bytes: Some(soft(budget)), ..self }
    }
}

/// A session over pinned tables.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    tables: Vec<PinnedTable>,
    names: Vec<String>,
    models: Models,
    memory_bytes: usize,
    sliding_windows: bool,
}

impl Session {
    /// An empty session.
    ///
    /// # Errors
    /// Where the spill folder cannot be used.
    pub fn new(options: SessionOptions) -> Result<Self> {
        let disk = match options.spill_dir {
            Some(folder) => DiskManagerMode::Directories(vec![folder]),
            None => DiskManagerMode::OsTmpDirectory,
        };
        // Shares the limit evenly between the operators that can spill, so that a chain of sorts
        // does not starve its last one.
        let ordered = options.ordered && options.target_partitions <= 1;
        let pool = ProcessPool::new(options.memory_bytes, options.process_bytes, ordered);
        let pool = TrackConsumersPool::new(pool, NAMED_CONSUMERS);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
            .build_arc()
            .map_err(from_datafusion)?;
        let mut config = SessionConfig::new()
            .with_target_partitions(options.target_partitions.max(1))
            .with_batch_size(options.batch_size.max(1));
        let settings = config.options_mut();
        settings.execution.time_zone = Some("UTC".to_owned());
        settings.sql_parser.enable_ident_normalization = false;
        settings.sql_parser.collect_spans = true;
        // Each sort keeps so much for merging what it has spilled.
        let merging = settings.execution.sort_spill_reservation_bytes;
        settings.execution.sort_spill_reservation_bytes = merging.min(options.memory_bytes / 3);
        let mut builder =
            SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
        if !ordered {
            builder = builder.with_physical_optimizer_rules(bounded::rules(options.memory_bytes));
        }
        if options.sliding_windows {
            let eviction = Eviction::after(options.let_go_after);
            builder = builder.with_physical_optimizer_rule(Arc::new(SlidingWindows { eviction }));
        }
        if ordered {
            builder = builder.with_physical_optimizer_rule(Arc::new(Bounded { pool_bytes: options.memory_bytes }));
        }
        let context = SessionContext::new_with_state(builder.build());
        let (tables, names, models) = (Vec::new(), Vec::new(), Models::default());
        let SessionOptions { memory_bytes, sliding_windows, .. } = options;
        Ok(Self { context, tables, names, models, memory_bytes, sliding_windows })
    }

    /// The underlying context, for writers and for functions to register.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The registered pinned tables, in order of registration.
    pub fn tables(&self) -> &[PinnedTable] {
        &self.tables
    }

    /// Makes a pinned table known under its name.
    ///
    /// # Errors
    /// Where the pinned state is no longer there, and where the name is taken.
    pub async fn register(&mut self, table: &PinnedTable) -> Result<()> {
        let provider = tables::provider(table, &self.context).await?;
        self.insert(&table.name, provider)?;
        self.tables.push(table.clone());
        Ok(())
    }

    /// Makes batches in memory known under a name.
    ///
    /// # Errors
    /// Where the batches do not have the schema, and where the name is taken.
    pub fn register_batches(&mut self, name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<()> {
        let table = MemTable::try_new(schema, vec![batches]).map_err(from_datafusion)?;
        self.insert(name, Arc::new(table))
    }

    /// Makes a table without rows known, to check SQL against its schema.
    ///
    /// # Errors
    /// Where the name is taken.
    pub fn register_schema(&mut self, name: &str, schema: SchemaRef) -> Result<()> {
        self.insert(name, Arc::new(EmptyTable::new(schema)))
    }

    /// Makes a model known as `predict('reference')`.
    pub fn register_model(&mut self, reference: &str, model: Arc<dyn ModelFunction>) {
        let function = self.models.insert(reference, model);
        self.context.register_udf(function);
    }

    /// Makes batches in memory known under a name, in the place of those that were known under it: for rows that a
    /// query of this session goes on with.
    ///
    /// # Errors
    /// Where the batches do not have the schema.
    pub fn put_batches(&self, name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<()> {
        let table = MemTable::try_new(schema, vec![batches]).map_err(from_datafusion)?;
        let reference = datafusion::common::TableReference::bare(name.to_owned());
        self.context.register_table(reference, Arc::new(table)).map(|_| ()).map_err(from_datafusion)
    }

    fn insert(&mut self, name: &str, table: Arc<dyn TableProvider>) -> Result<()> {
        if self.names.iter().any(|known| known == name) {
            return Err(Error::usage("a table of that name is already there").with("table", name));
        }
        // A bare reference: a name with a dot in it is one name.
        let reference = datafusion::common::TableReference::bare(name.to_owned());
        self.context.register_table(reference, table).map_err(from_datafusion)?;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Plans feature SQL with these parameters: types are checked and files are chosen, nothing is read.
    ///
    /// # Errors
    /// A usage error with line, column and hint where the SQL is wrong; else as reading the tables fails.
    pub async fn plan(&self, sql: &FeatureSql, parameters: &Parameters) -> Result<PlannedQuery> {
        let bound = sql.bind(parameters)?;
        self.planned(sql, AnyStatement::Statement(Box::new(bound))).await
    }

    /// The columns that feature SQL gives, without choosing files. Tables may be mere schemas.
    ///
    /// # Errors
    /// A usage error with line, column and hint where the SQL is wrong.
    pub async fn check(&self, sql: &FeatureSql, parameters: &Parameters) -> Result<SchemaRef> {
        let bound = sql.bind(parameters)?;
        let logical = self.logical(sql, AnyStatement::Statement(Box::new(bound))).await?;
        Ok(Arc::clone(logical.schema().inner()))
    }

    /// Plans one SELECT or EXPLAIN of a user's own; only reading is allowed.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub async fn ad_hoc(&self, text: &str) -> Result<PlannedQuery> {
        match explain(text, "query")? {
            Some((statement, inner)) => {
                let sql = FeatureSql::parse_any(&inner, "query")?;
                self.planned(&sql, statement).await
            }
            None => {
                let sql = FeatureSql::parse_any(text, "query")?;
                if let Some(unknown) = sql.unknown_placeholders(&Parameters::new()).into_iter().next() {
                    return Err(unknown.into());
                }
                let statement = AnyStatement::Statement(Box::new(sql.statement().clone()));
                self.planned(&sql, statement).await
            }
        }
    }

    /// The optimised logical plan of feature SQL, without choosing files. Tables may be mere schemas.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) async fn optimized(&self, sql: &FeatureSql, parameters: &Parameters) -> Result<LogicalPlan> {
        let bound = sql.bind(parameters)?;
        let logical = self.logical(sql, AnyStatement::Statement(Box::new(bound))).await?;
        self.context.state().optimize(&logical).map_err(|error| self.told(sql, error))
    }

    async fn planned(&self, sql: &FeatureSql, statement: AnyStatement) -> Result<PlannedQuery> {
        let logical = self.logical(sql, statement).await?;
        let state = self.context.state();
        let optimized = state.optimize(&logical).map_err(|error| self.told(sql, error))?;
        let physical = self.physical(&optimized).await.map_err(|error| self.told(sql, error))?;
        bounded::refuse(&physical, self.memory_bytes).map_err(|error| error.with("sql", sql.file()))?;
        Ok(PlannedQuery { session: self.clone(), logical, optimized, physical })
    }

    async fn physical(&self, optimized: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let state = self.context.state();
        let mut plan = unpruned(optimized.clone())?;
        if self.sliding_windows {
            plan = unclaimed(masked(plan)?)?;
        }
        state.query_planner().create_physical_plan(&plan, &state).await
    }

    async fn logical(&self, sql: &FeatureSql, statement: AnyStatement) -> Result<LogicalPlan> {
        let state = self.context.state();
        let statement = self.models.rewritten(sql, statement)?;
        let plan = state.statement_to_plan(statement).await.map_err(|error| self.told(sql, error))?;
        // The parser has refused these already; the plan is asked too, so that no gap there can write.
        let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(|error| self.told(sql, error))?;
        state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(|error| self.told(sql, error))
    }

    fn told(&self, sql: &FeatureSql, error: DataFusionError) -> Error {
        if let Some((column, there)) = unknown_column(&error)
            && let Some(missing) = self.models.missing_input(sql, column, &there)
        {
            return missing.into();
        }
        let state = self.context.state();
        let functions: Vec<String> = state
            .scalar_functions()
            .keys()
            .chain(state.aggregate_functions().keys())
            .chain(state.window_functions().keys())
            .cloned()
            .collect();
        let statement: Option<&Statement> = Some(sql.statement());
        Subject { file: sql.file(), text: sql.text(), statement, tables: &self.names, functions: &functions }
            .error(error)
    }
}

/// A planned query: what it gives, what it will read, and its rows.
pub struct PlannedQuery {
    session: Session,
    logical: LogicalPlan,
    optimized: LogicalPlan,
    physical: Arc<dyn ExecutionPlan>,
}

/// A plan as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The optimised logical plan.
    pub logical: String,
    /// The physical plan.
    pub physical: String,
}

impl PlannedQuery {
    /// The session in which it was planned.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// The optimised logical plan, for another engine.
    pub(super) fn optimized(&self) -> &LogicalPlan {
        &self.optimized
    }

    /// The columns of the result.
    pub fn schema(&self) -> SchemaRef {
        self.physical.schema()
    }

    /// The physical plan, for writers that stream a plan into a table.
    pub fn physical(&self) -> &Arc<dyn ExecutionPlan> {
        &self.physical
    }

    /// The query as a data frame, to build further on; it is planned anew.
    pub fn frame(&self) -> DataFrame {
        DataFrame::new(self.session.context.state(), self.logical.clone())
    }

    /// The plans as text.
    pub fn explain(&self) -> Explained {
        Explained {
            logical: self.optimized.display_indent().to_string(),
            physical: displayable(self.physical.as_ref()).indent(false).to_string(),
        }
    }

    /// Files, bytes and rows that will be read from each table.
    pub fn estimate(&self) -> Vec<ScanEstimate> {
        estimate(self.physical.as_ref(), &self.session.tables)
    }

    /// What the query will take; its rows are those with a `time` within `span`.
    pub fn forecast(&self, time: &str, span: &Interval) -> Forecast {
        forecast(self.physical.as_ref(), time, span)
    }

    /// Bytes that were read of the tables' files so far.
    pub fn bytes_read(&self) -> u64 {
        bytes_read(self.physical.as_ref())
    }

    /// The rows, in order; the errors of the stream are told by [`super::from_datafusion`].
    ///
    /// # Errors
    /// Where the first files cannot be opened.
    pub fn stream(&self) -> Result<SendableRecordBatchStream> {
        culprit::stream(&self.physical, &self.session.context.task_ctx()).map_err(from_datafusion)
    }

    /// All rows at once, for small results.
    ///
    /// # Errors
    /// As the stream's.
    pub async fn collect(&self) -> Result<Vec<RecordBatch>> {
        datafusion::physical_plan::common::collect(self.stream()?).await.map_err(from_datafusion)
    }
}
