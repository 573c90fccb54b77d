//! `engine = "polars"`: the same feature SQL, planned by DataFusion and run by Polars' streaming engine.
//!
//! There is one planner, so names, types, casts and what NULL means are decided once for both engines. The optimised
//! plan becomes a lazy frame (`translate`); scans, joins, groups, sorts and windows are Polars'. A scalar expression
//! is Polars' own where it is known to give the same value, and else DataFusion's kernel on Polars' columns, which
//! change hands without copying (`expr`). What Polars cannot do to the same value is refused by name from the plan
//! alone, before a row is read (`lacks`).
//!
//! **Tables.** Parquet files are scanned by Polars itself, with projections and filters pushed into them, where that
//! gives exactly the table's rows (`tables::native`): plain and hive-partitioned files, and Delta tables by the files
//! of the pinned snapshot. Other tables are read by DataFusion and put into a temporary Parquet file first.
//! Which files are read is DataFusion's choice in both cases, so pins, partitions and statistics count alike.
//! Files in buckets are read through the lake's own store (`store`).
//!
//! **Memory.** Scans, filters and projections are streamed in morsels, and rows come out in bounded batches. What Polars
//! groups, joins, sorts and puts into windows is in memory, and `--memory` does not bound it. The
//! last sort of the rows (below) is DataFusion's, which spills under `--memory`.
//!
//! **Order.** Polars promises none, so rows are sorted by the given keys and then by all other columns, unless the
//! SQL ends in ORDER BY. Rows that tie in the order of a window, of first_value or of LIMIT are in no fixed order.
//! Sums of floats may differ in the last digits from run to run; DataFusion's do not.
//!
//! **Threads.** Polars has pools of its own, one thread a core (`POLARS_MAX_THREADS`), which `--threads` does not change.

mod aggregate;
mod bridge;
mod expr;
mod frame;
mod join;
mod lacks;
mod scan;
mod store;
mod translate;
mod types;
mod window;

use super::ahead::{BatchStream, Sink, on_a_task};
use super::culprit;
use super::diagnostic::SqlDiagnostic;
use super::parameters::Parameters;
use super::session::{PlannedQuery, Session};
use super::sql::FeatureSql;
use crate::error::{Error, Result};
use crate::tables::errors::{from_datafusion, plain};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use bridge::from_polars;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::{SendableRecordBatchStream, SpillFile, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use expr::{Faults, Scope};
use frame::{Frame, Fresh};
use futures::{StreamExt, TryStreamExt};
use polars::prelude as pl;
use scan::Opened;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use translate::Translator;

const HINT: &str = "write it in another way, or use engine = \"datafusion\"";

/// Rows that Polars hands over at once.
const CHUNK_ROWS: NonZeroUsize = NonZeroUsize::MIN.saturating_add((1 << 16) - 1);

/// Rows a batch of the result.
const BATCH_ROWS: usize = 8192;

/// How Polars reads a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRead {
    /// The table's name in SQL.
    pub table: String,
    /// Whether Polars scans the files itself; else DataFusion reads the rows into a temporary file.
    pub natively: bool,
    /// Why it does not.
    pub because: Option<String>,
}

/// A query that is planned for Polars, but not run.
pub struct PolarsQuery {
    session: Session,
    plan: LogicalPlan,
    physical: Arc<dyn datafusion::physical_plan::ExecutionPlan>,
    schema: SchemaRef,
    scans: Vec<Opened>,
    is_ordered: bool,
}

/// Everything that Polars lacks of what the SQL needs; the session's tables may be mere schemas.
///
/// # Errors
/// A usage error where the SQL does not fit the tables.
pub async fn lacking(session: &Session, sql: &FeatureSql, parameters: &Parameters) -> Result<Vec<SqlDiagnostic>> {
    let plan = session.optimized(sql, parameters).await?;
    Ok(lacks::lacks(&plan).iter().map(|lack| lack.told(sql)).collect())
}

/// What of the SQL's text is known to be lacking without the tables.
pub fn lacking_in_text(sql: &FeatureSql) -> Vec<SqlDiagnostic> {
    lacks::of_text(sql)
}

/// Runs feature SQL over the session's tables and returns all rows as one batch, sorted by `keys`.
///
/// # Errors
/// As [`PolarsQuery::plan`] and [`PolarsQuery::stream`].
pub async fn run(session: &Session, sql: &FeatureSql, parameters: &Parameters, keys: &[String]) -> Result<RecordBatch> {
    let planned = session.plan(sql, parameters).await?;
    let query = PolarsQuery::plan(&planned, sql).await?;
    let batches: Vec<RecordBatch> = query.stream(keys).await?.try_collect().await?;
    arrow::compute::concat_batches(&query.schema, &batches)
        .map_err(|error| Error::failed("the batches of polars do not fit each other").because(error))
}

impl PolarsQuery {
    /// Takes over a query that DataFusion has planned: what Polars lacks is refused, and for every table it is found
    /// out how it can be read. Nothing but footers is read.
    ///
    /// # Errors
    /// A usage error with the place of the first construct that the engine lacks; else as choosing files fails.
    pub async fn plan(planned: &PlannedQuery, sql: &FeatureSql) -> Result<Self> {
        let (session, plan) = (planned.session(), planned.optimized());
        if let Some(first) = lacks::lacks(plan).first() {
            return Err(first.told(sql).into());
        }
        let scans = scan::open(plan, session.context(), session.tables()).await?;
        Ok(Self {
            session: session.clone(),
            plan: plan.clone(),
            physical: Arc::clone(planned.physical()),
            schema: planned.schema(),
            scans,
            is_ordered: sql.is_ordered(),
        })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// How each table is read, each once, in the order of the plan.
    pub fn reads(&self) -> Vec<TableRead> {
        let mut reads: Vec<TableRead> = Vec::new();
        for read in self.scans.iter().map(Opened::told) {
            match reads.iter_mut().find(|known| known.table == read.table) {
                // Of several readings the worst is told.
                Some(known) if known.natively && !read.natively => *known = read,
                Some(_) => {}
                None => reads.push(read),
            }
        }
        reads
    }

    /// The rows, sorted by `keys` and then by all other columns, unless the SQL has an order of its own.
    ///
    /// # Errors
    /// As reading the tables fails; the stream's own errors come in the stream.
    pub async fn stream(&self, keys: &[String]) -> Result<BatchStream> {
        let (frame, scope, kept) = self.frame().await?;
        let rows = self.rows(frame, scope.faults, kept);
        if self.is_ordered { Ok(rows) } else { self.sorted(rows, keys).await }
    }

    /// Polars' own plan, optimised, as text. Tables that Polars does not read itself are read for it.
    ///
    /// # Errors
    /// As [`Self::stream`].
    pub async fn explain(&self) -> Result<String> {
        let (frame, _, _kept) = self.frame().await?;
        let explained = tokio::task::spawn_blocking(move || frame.lazy.explain(true)).await;
        let explained =
            explained.map_err(|panic| Error::failed("polars gave up; this is a bug in it").because(panic))?;
        explained.map_err(|error| Error::failed("polars cannot plan it").because(error.to_string()))
    }

    async fn frame(&self) -> Result<(Frame, Scope, Vec<Arc<dyn SpillFile>>)> {
        let context = self.session.context();
        let scope = Scope { state: Arc::new(context.state()), faults: Faults::default() };
        let (mut fresh, mut kept, mut scans) = (Fresh::default(), Vec::new(), Vec::new());
        for opened in &self.scans {
            scans.push(opened.frame(context, &scope, &mut fresh, &mut kept).await?);
        }
        let mut translator = Translator { scope: &scope, fresh, scans: scans.into_iter() };
        let frame = translator.frame(&self.plan)?;
        Ok((frame, scope, kept))
    }

    /// The rows as they come out of Polars.
    fn rows(&self, frame: Frame, faults: Faults, kept: Vec<Arc<dyn SpillFile>>) -> BatchStream {
        let (schema, is_ordered) = (Arc::clone(&self.schema), self.is_ordered);
        let culprit = (Arc::clone(&self.physical), self.session.context().task_ctx());
        on_a_task("polars gave up", async move |sender: Sink| {
            let (told, noted) = (sender.clone(), faults.clone());
            // Polars has its own threads and waits for them, which must not hold up the async ones.
            let run = tokio::task::spawn_blocking(move || execute(frame, &schema, is_ordered, &noted, sender)).await;
            let failed = match run {
                Ok(Ok(())) => faults.take(),
                Ok(Err(error)) => Some(match faults.take().or_else(store::failure) {
                    Some(own) => own,
                    None => refused(&error, &culprit.0, &culprit.1).await,
                }),
                Err(panic) => Some(Error::failed("polars gave up; this is a bug in it").because(panic).hint(HINT)),
            };
            // The rows that were put aside are needed up to here.
            drop(kept);
            if let Some(error) = failed {
                // Nobody listens only where the run has failed elsewhere.
                let _ = told.send(Err(error)).await;
            }
        })
    }

    /// Sorted by DataFusion, which spills.
    async fn sorted(&self, rows: BatchStream, keys: &[String]) -> Result<BatchStream> {
        let mut order: Vec<usize> = Vec::new();
        let named = keys.iter().filter_map(|key| self.schema.index_of(key).ok());
        for column in named.chain(0..self.schema.fields().len()) {
            if !order.contains(&column) {
                order.push(column);
            }
        }
        // Names of a result may stand twice; places do not.
        let fields = self.schema.fields().iter().enumerate();
        let fields =
            fields.map(|(index, field)| field.as_ref().clone().with_name(format!("c{index}")).with_nullable(true));
        let placed: SchemaRef = Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()));
        let source = Source { schema: Arc::clone(&placed), rows: Mutex::new(Some(rows)) };
        let table = StreamingTable::try_new(Arc::clone(&placed), vec![Arc::new(source)]).map_err(from_datafusion)?;
        let frame = self.session.context().read_table(Arc::new(table)).map_err(from_datafusion)?;
        let column = |index: &usize| {
            let column = datafusion::common::Column::from_name(format!("c{index}"));
            Expr::Column(column).sort(true, false)
        };
        let frame = frame.sort(order.iter().map(column).collect()).map_err(from_datafusion)?;
        let sorted = frame.execute_stream().await.map_err(from_datafusion)?;
        let schema = Arc::clone(&self.schema);
        let named = move |batch: datafusion::error::Result<RecordBatch>| {
            let batch = batch.map_err(from_datafusion)?;
            of_schema(&schema, batch.columns().to_vec(), batch.num_rows())
        };
        Ok(sorted.map(named).boxed())
    }
}

/// Runs the frame to its end and sends its rows; stops early where nobody listens any more.
fn execute(frame: Frame, schema: &SchemaRef, is_ordered: bool, faults: &Faults, sender: Sink) -> pl::PolarsResult<()> {
    let (names, schema, noted) = (frame.names, Arc::clone(schema), faults.clone());
    let columns: Vec<pl::Expr> = names.iter().map(|name| pl::col(name.clone())).collect();
    let lazy = if columns.is_empty() { frame.lazy } else { frame.lazy.select(unrepeated(columns, &names)) };
    let taken = move |chunk: pl::DataFrame| {
        let rows = chunk.height();
        let columns = names.iter().zip(schema.fields()).map(|(name, field)| {
            let column = chunk.column(name).map_err(|error| Error::failed(error.to_string()))?;
            from_polars(column, field.data_type(), rows)
        });
        let batch = columns.collect::<Result<Vec<_>>>().and_then(|columns| of_schema(&schema, columns, rows));
        let batch = batch.map_err(|error| noted.note(error))?;
        for start in (0..rows).step_by(BATCH_ROWS) {
            let part = batch.slice(start, BATCH_ROWS.min(rows - start));
            if sender.send_blocking(Ok(part)).is_err() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let sink = lazy.sink_batches(pl::PlanCallback::new(taken), is_ordered, Some(CHUNK_ROWS))?;
    sink.collect_with_engine(pl::Engine::Streaming).map(drop)
}

/// A plan may give one of its columns twice; a frame has it once.
fn unrepeated(columns: Vec<pl::Expr>, names: &[pl::PlSmallStr]) -> Vec<pl::Expr> {
    let first = |index: usize| !names[..index].contains(&names[index]);
    columns.into_iter().enumerate().filter(|(index, _)| first(*index)).map(|(_, column)| column).collect()
}

/// A batch of exactly that schema.
fn of_schema(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| Error::failed("the result of polars is not of the planned types").because(error))
}

/// What Polars failed with; of a file that cannot be read, its name.
async fn refused(
    error: &pl::PolarsError,
    plan: &Arc<dyn datafusion::physical_plan::ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Error {
    let text = plain(&error.to_string());
    match error {
        pl::PolarsError::SQLInterface(_) | pl::PolarsError::SQLSyntax(_) => {
            Error::usage(format!("the polars engine cannot run the SQL: {text}")).hint(HINT)
        }
        pl::PolarsError::InvalidOperation(_) => Error::check(text).hint(HINT),
        _ => {
            let told = Error::failed(format!("polars failed: {text}"));
            match culprit::culprit(plan, context).await {
                Some(file) => told.with("file", file),
                None => told,
            }
        }
    }
}

/// Batches as a table that can be read once.
struct Source {
    schema: SchemaRef,
    rows: Mutex<Option<BatchStream>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("the rows of polars")
    }
}

impl PartitionStream for Source {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        let schema = Arc::clone(&self.schema);
        let placed = move |batch: Result<RecordBatch>| {
            batch
                .and_then(|batch| of_schema(&schema, batch.columns().to_vec(), batch.num_rows()))
                .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
        };
        let rows = futures::stream::iter(rows).flatten().map(placed);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
