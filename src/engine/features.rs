//! The features of a span of time: a plan's SQL, run by the engine that the job names, and what its
//! point-in-time joins add to each row.

use super::Engine;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::job::{self, AsofSpec};
use crate::plan::Plan;
use crate::query::polars::{PolarsQuery, TableRead};
use crate::query::{
    AsofJoin, BatchStream, FeatureSql, Parameters, PlannedQuery, PointInTime, ScanEstimate, Session, SessionOptions,
    Value, from_datafusion, running_ahead,
};
use crate::registry::artifact;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};

/// A features query that is planned but not run.
pub struct FeatureQuery {
    planned: PlannedQuery,
    /// The same query in Polars, where the job says so.
    polars: Option<PolarsQuery>,
    /// What is joined to the rows of the SQL, and what that reads.
    joins: Option<(PointInTime, Vec<ScanEstimate>)>,
}

impl FeatureQuery {
    /// Plans `sql` over the pinned tables of `plan` for the rows of `span`.
    ///
    /// # Errors
    /// A usage error with line and column where the SQL does not fit the tables.
    pub async fn new(engine: &Engine, plan: &Plan, sql: &FeatureSql, span: Interval) -> Result<Self> {
        Self::with(engine, plan, sql, plan.parameters(&span), &plan.job.spec.features.asof, span).await
    }

    /// The same for the SQL inside a model, with the variables and the joins that it was trained with.
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
        Self::with(engine, plan, sql, parameters, &joins, span).await
    }

    async fn with(
        engine: &Engine,
        plan: &Plan,
        sql: &FeatureSql,
        parameters: Parameters,
        joins: &[AsofSpec],
        span: Interval,
    ) -> Result<Self> {
        let memory = usize::try_from(engine.memory_bytes).unwrap_or(usize::MAX);
        let mut session = Session::new(SessionOptions::features(memory))?;
        for table in &plan.tables {
            session.register(table).await?;
        }
        let planned = session.plan(sql, &parameters).await?;
        let joins = match joins {
            [] => None,
            joins => {
                let joins: Vec<AsofJoin> = joins.iter().map(written).collect();
                let time = &plan.job.spec.features.time;
                let joins = PointInTime::plan(&session, &planned.schema(), time, &joins).await?;
                let scans = joins.estimate(&span).await?;
                Some((joins, scans))
            }
        };
        let polars = match plan.job.spec.features.engine {
            job::Engine::Datafusion => None,
            job::Engine::Polars => Some(PolarsQuery::plan(&planned, sql).await?),
        };
        Ok(Self { planned, polars, joins })
    }

    /// The columns that the SQL and the joins give.
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

    /// The rows of the SQL alone.
    async fn rows(&self, plan: &Plan) -> Result<BatchStream> {
        match &self.polars {
            None => {
                let batches = self.planned.stream()?.map_err(from_datafusion);
                Ok(running_ahead(batches.boxed()))
            }
            Some(polars) => polars.stream(&plan.job.spec.features.key).await,
        }
    }

    /// All rows.
    ///
    /// # Errors
    /// What the stream fails with.
    pub async fn collect(&self, plan: &Plan, mut passed: impl FnMut(usize)) -> Result<Vec<RecordBatch>> {
        let mut stream = self.stream(plan).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            passed(batch.num_rows());
            batches.push(batch);
        }
        Ok(batches)
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
