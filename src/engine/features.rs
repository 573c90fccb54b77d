//! The features of a span of time: a plan's SQL, run by the engine that the job names, and what its
//! windows and its point-in-time joins add to each row.
//!
//! Windows are computed by DataFusion in either engine: Polars has no frames of a RANGE. For DataFusion they are one SQL
//! with the job's; of Polars the rows of the job's SQL come first.

use super::Engine;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::job::{self, AsofSpec, WindowsSpec};
use crate::memory::Budget;
use crate::plan::Plan;
use crate::query::polars::{PolarsQuery, TableRead};
use crate::query::rolling::{self, Rolling, RollingColumn, RollingFunction, RollingWindows};
use crate::query::{
    AsofJoin, BatchStream, FeatureSql, Forecast, Parameters, PlannedQuery, PointInTime, ScanEstimate, Session,
    SessionOptions, Value, from_datafusion, row_bytes, running_ahead,
};
use crate::registry::artifact;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};

/// A features query that is planned but not run.
pub struct FeatureQuery {
    planned: PlannedQuery,
    session: Session,
    sql: FeatureSql,
    parameters: Parameters,
    /// The column with the rows' time.
    time: String,
    windows: Vec<RollingWindows>,
    /// The SQL with its windows, where there are any.
    whole: Option<FeatureSql>,
    /// The SQL without its windows in Polars, where the job says so.
    polars: Option<PolarsQuery>,
    /// What is joined to the rows of the SQL, and what that reads.
    joins: Option<(PointInTime, Vec<ScanEstimate>)>,
    span: Interval,
}

impl FeatureQuery {
    /// Plans `sql` over the pinned tables of `plan` for the rows of `span`.
    ///
    /// # Errors
    /// A usage error with line and column where the SQL does not fit the tables.
    pub async fn new(engine: &Engine, plan: &Plan, sql: &FeatureSql, span: Interval) -> Result<Self> {
        let features = &plan.job.spec.features;
        Self::with(engine, plan, sql, plan.parameters(&span), (&features.windows, &features.asof), span).await
    }

    /// The same for the SQL inside a model, with the variables, the windows and the joins that it was trained with.
    ///
    /// # Errors
    /// As [`FeatureQuery::new`].
    pub async fn of_model(
        engine: &Engine,
        plan: &Plan,
        sql: &FeatureSql,
        span: Interval,
        model: &artifact::FeatureSql,
    ) -> Result<Self> {
        let values = model.vars.iter().filter_map(|(name, value)| Some((name, parameter(value)?)));
        let parameters = values.fold(Parameters::of_interval(&span), |all, (name, value)| all.with(name, value));
        let joins = model.asof.iter().map(|join| serde_json::from_value(join.clone()));
        let joins: Vec<AsofSpec> = joins
            .collect::<std::result::Result<_, _>>()
            .map_err(|source| Error::failed("the model's point-in-time joins cannot be read").because(source))?;
        let windows = model.windows.iter().map(|windows| serde_json::from_value(windows.clone()));
        let windows: Vec<WindowsSpec> = windows
            .collect::<std::result::Result<_, _>>()
            .map_err(|source| Error::failed("the model's windows cannot be read").because(source))?;
        Self::with(engine, plan, sql, parameters, (&windows, &joins), span).await
    }

    async fn with(
        engine: &Engine,
        plan: &Plan,
        sql: &FeatureSql,
        parameters: Parameters,
        (windows, joins): (&[WindowsSpec], &[AsofSpec]),
        span: Interval,
    ) -> Result<Self> {
        let budget = Budget::of(engine.memory_bytes)?;
        let mut session = Session::new(SessionOptions::features(budget.pool_bytes()).within(&budget))?;
        for table in &plan.tables {
            session.register(table).await?;
        }
        let time = plan.job.spec.features.time.clone();
        let windows: Vec<RollingWindows> = windows.iter().map(rolling_windows).collect();
        let whole = match windows.as_slice() {
            [] => None,
            windows => {
                let spine = session.check(sql, &parameters).await?;
                Some(Rolling::plan(&session, &spine, &time, windows).await?.sql(sql)?)
            }
        };
        let planned = session.plan(whole.as_ref().unwrap_or(sql), &parameters).await?;
        let joins = match joins {
            [] => None,
            joins => {
                let joins: Vec<AsofJoin> = joins.iter().map(written).collect();
                let joins = PointInTime::plan(&session, &planned.schema(), &time, &joins).await?;
                let scans = joins.estimate(&span).await?;
                Some((joins, scans))
            }
        };
        let polars = match (plan.job.spec.features.engine, &whole) {
            (job::Engine::Datafusion, _) => None,
            (job::Engine::Polars, None) => Some(PolarsQuery::plan(&planned, sql).await?),
            (job::Engine::Polars, Some(_)) => {
                Some(PolarsQuery::plan(&session.plan(sql, &parameters).await?, sql).await?)
            }
        };
        let sql = sql.clone();
        Ok(Self { session, planned, sql, parameters, time, windows, whole, polars, joins, span })
    }

    /// The SQL that gives the rows, with the windows in it.
    pub fn sql(&self) -> &FeatureSql {
        self.whole.as_ref().unwrap_or(&self.sql)
    }

    /// The columns that the SQL, the windows and the joins give.
    pub fn schema(&self) -> SchemaRef {
        self.joins.as_ref().map_or_else(|| self.planned.schema(), |(joins, _)| joins.schema())
    }

    /// The physical plan of the SQL below its joins, as text.
    pub fn explain(&self) -> String {
        let joins = self.joins.as_ref().map(|(joins, _)| joins.explain()).unwrap_or_default();
        format!("{joins}{}", self.planned.explain().physical)
    }

    /// How Polars reads each table of the SQL; none where the engine is another.
    pub fn reads(&self) -> Option<Vec<TableRead>> {
        self.polars.as_ref().map(PolarsQuery::reads)
    }

    /// What will be read from each table, by the SQL and by the joins for rows within the span.
    pub fn estimate(&self) -> Vec<ScanEstimate> {
        let mut all = self.planned.estimate();
        for more in self.joins.iter().flat_map(|(_, scans)| scans) {
            let Some(scan) = all.iter_mut().find(|scan| scan.table == more.table) else { continue };
            scan.files += more.files;
            scan.bytes += more.bytes;
            scan.rows = scan.rows.zip(more.rows).map(|(rows, more)| rows + more);
        }
        all
    }

    /// Bytes of the files that the scan selected.
    pub fn bytes(&self) -> u64 {
        self.estimate().iter().map(|scan| scan.bytes).sum()
    }

    /// What the SQL and the joins will take, by the statistics of the tables.
    pub fn forecast(&self) -> Forecast {
        let mut forecast = self.planned.forecast(&self.time, &self.span);
        forecast.bytes += self.bytes_of_joins();
        if self.joins.is_some() {
            forecast.row_bytes = row_bytes(&self.schema());
        }
        if self.polars.is_some() {
            // What Polars joins, groups and puts into windows is in memory: all rows that are read, and their result.
            let rows = self.estimate().iter().filter_map(|scan| scan.rows).sum::<u64>();
            forecast.operators = rows.saturating_mul(2 * forecast.row_bytes);
        }
        forecast
    }

    /// Bytes that were read so far; where the engine does not count, those of the files that were opened.
    pub fn bytes_read(&self) -> u64 {
        match &self.polars {
            None => self.planned.bytes_read() + self.bytes_of_joins(),
            Some(_) => self.bytes(),
        }
    }

    fn bytes_of_joins(&self) -> u64 {
        self.joins.iter().flat_map(|(_, scans)| scans).map(|scan| scan.bytes).sum()
    }

    /// The rows, in an order that depends on the tables and the SQL alone. The scan runs ahead by a
    /// few batches.
    ///
    /// # Errors
    /// Where the first files can't be opened; the stream's own errors come in the stream.
    pub async fn stream(&self, plan: &Plan) -> Result<BatchStream> {
        let rows = self.rows(plan).await?;
        Ok(match &self.joins {
            Some((joins, _)) => joins.stream(rows),
            None => rows,
        })
    }

    /// The rows of the SQL and its windows, before any join.
    async fn rows(&self, plan: &Plan) -> Result<BatchStream> {
        match (&self.polars, &self.whole) {
            (None, None) => {
                let batches = self.planned.stream()?.map_err(from_datafusion);
                Ok(running_ahead(batches.boxed()))
            }
            (None, Some(_)) => Ok(running_ahead(rolling::one_for_one(&self.planned)?)),
            (Some(polars), windows) => {
                let rows = polars.stream(&plan.job.spec.features.key).await?;
                if windows.is_some() { self.windows_over(polars.schema(), rows).await } else { Ok(rows) }
            }
        }
    }

    /// Rows with the columns of the windows.
    async fn windows_over(&self, schema: SchemaRef, rows: BatchStream) -> Result<BatchStream> {
        let rolling = Rolling::plan(&self.session, &schema, &self.time, &self.windows).await?;
        let batches = rows.try_collect().await?;
        self.session.put_batches(rolling.rows(), schema, batches)?;
        let planned = self.session.plan(&rolling.over_rows()?, &self.parameters).await?;
        Ok(running_ahead(rolling::one_for_one(&planned)?))
    }
}

/// Windows as the query engine takes them.
fn rolling_windows(windows: &WindowsSpec) -> RollingWindows {
    let column = |(name, over, aggregate): (String, usize, usize)| {
        let (aggregate, over) = (&windows.aggregates[aggregate], windows.over[over]);
        RollingColumn {
            name,
            function: match aggregate.function {
                job::WindowFunction::Count => RollingFunction::Count,
                job::WindowFunction::Sum => RollingFunction::Sum,
                job::WindowFunction::Mean => RollingFunction::Mean,
                job::WindowFunction::Min => RollingFunction::Min,
                job::WindowFunction::Max => RollingFunction::Max,
                job::WindowFunction::Last => RollingFunction::Last,
                job::WindowFunction::Distinct => RollingFunction::Distinct,
                job::WindowFunction::Stddev => RollingFunction::Stddev,
            },
            column: aggregate.column.clone(),
            over: (over.to_string(), over.delta()),
        }
    };
    RollingWindows {
        table: windows.table.clone(),
        keys: windows.keys.pairs(),
        time: windows.time.clone(),
        delay: windows.delay.delta(),
        closed: match windows.closed {
            job::Closed::Left => rolling::Closed::Left,
            job::Closed::Right => rolling::Closed::Right,
            job::Closed::Both => rolling::Closed::Both,
            job::Closed::Neither => rolling::Closed::Neither,
        },
        columns: windows.columns().map(column).collect(),
    }
}

/// A join as the query engine takes it.
fn written(join: &AsofSpec) -> AsofJoin {
    AsofJoin {
        table: join.table.clone(),
        keys: join.keys.pairs(),
        time: join.time.clone(),
        available_time: join.available_time.clone(),
        max_age: join.max_age.map(job::Duration::delta),
        columns: join.columns.pairs(),
    }
}

/// A variable as the artifact keeps it.
fn parameter(value: &serde_json::Value) -> Option<Value> {
    match value {
        serde_json::Value::Bool(value) => Some(Value::Bool(*value)),
        serde_json::Value::String(text) => Some(Value::Text(text.clone())),
        serde_json::Value::Number(number) => number.as_i64().map(Value::Int).or(number.as_f64().map(Value::Float)),
        _ => None,
    }
}
