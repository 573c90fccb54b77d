//! What a run would do, without doing it.

use super::Engine;
use super::features::FeatureQuery;
use super::predictions::Predictions;
use super::publish::Target;
use super::receipt::{self, Receipt};
use super::run_id::{RunMark, run_id};
use crate::error::{ErrorKind, Result};
use crate::interval::instant;
use crate::plan::Plan;
use crate::registry::{ModelVersion, Registry};
use serde::Serialize;

/// What a run would read, use and write.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    /// The job's name.
    pub job: String,
    /// The interval's name.
    pub interval: String,
    /// Where models, runs, predictions and lookup tables are.
    pub home: String,
    /// Every pinned table.
    pub tables: Vec<PlannedTable>,
    /// The rows that a training would fit on.
    pub train: String,
    /// The rows that it would measure on.
    pub test: String,
    /// The model that would score, or what comes first.
    pub model: String,
    /// The table that would be written.
    pub predictions: String,
    /// The lookup table that would be published.
    pub lookup: Option<String>,
    /// The run's id, where the model is known.
    pub run_id: Option<String>,
    /// What would happen to the interval.
    pub action: String,
    /// The physical plan of the features query.
    #[serde(skip)]
    pub query_plan: String,
}

/// One table of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTable {
    /// The name in SQL.
    pub name: String,
    /// The format's name.
    pub format: String,
    /// Where it lies.
    pub location: String,
    /// The pinned version.
    pub version: String,
    /// The version that the interval's last run read, where it was another: late data, for example.
    pub version_before: Option<String>,
    /// When the pinned version was made.
    pub changed_at: Option<String>,
    /// Files that the features query would open.
    pub files: u64,
    /// Files of the table.
    pub files_total: u64,
    /// The size of the files to open.
    pub bytes: u64,
    /// The rows in them.
    pub rows: Option<u64>,
}

/// Looks everything up and plans the features query; nothing is written.
///
/// # Errors
/// What planning the query or reading the home fails with.
pub async fn preview(engine: &Engine, plan: &Plan, model: &str) -> Result<Preview> {
    let spec = &plan.job.spec;
    let windows = plan.windows()?;
    let query = FeatureQuery::new(engine, plan, &plan.sql, plan.interval).await?;
    let receipts = receipt::of_interval(&plan.home, &spec.name, &plan.interval).await?;
    let predictions = Predictions::open(plan.predictions(), &spec.name).await?;
    let slice = predictions.slice(&plan.interval).await?;
    let version = resolved(plan, model).await?;
    let run_id = version.as_ref().map(|version| run_id(&plan.scoring_fingerprint(version.version, &version.sha256)));
    let committed = receipts.iter().filter(|receipt| receipt.output.is_some());
    let before = committed.max_by(|a, b| a.started_at.cmp(&b.started_at));
    let action = match (&run_id, slice.run) {
        (None, _) => "train first, then score".to_owned(),
        (Some(_), None) => "score: the interval has no predictions yet".to_owned(),
        (Some(run), Some(there)) if RunMark::of(run) == there => "nothing: these inputs are scored already".to_owned(),
        (Some(_), Some(there)) => format!("replace {} rows of run {there}", slice.rows),
    };
    Ok(Preview {
        job: spec.name.clone(),
        interval: plan.interval.to_string(),
        home: plan.home.to_string(),
        tables: tables(plan, &query, before),
        train: windows.train.to_string(),
        test: windows.test.to_string(),
        model: version.map_or_else(
            || format!("no {model} yet"),
            |version| format!("{} version {}", version.model, version.version),
        ),
        predictions: plan.predictions().to_string(),
        lookup: lookup(engine, plan).await?,
        run_id,
        action,
        query_plan: query.explain(),
    })
}

/// The model, or `None` where there is none yet; a wrong name is an error.
async fn resolved(plan: &Plan, model: &str) -> Result<Option<ModelVersion>> {
    let registry = Registry::new(&plan.home);
    let name = plan.job.spec.name.as_str();
    match registry.resolve(name, model).await {
        Ok(version) => Ok(Some(registry.describe(name, version).await?.version)),
        Err(error) if error.kind() == ErrorKind::Usage && model == super::CHAMPION => Ok(None),
        Err(error) => Err(error),
    }
}

async fn lookup(engine: &Engine, plan: &Plan) -> Result<Option<String>> {
    let Some(target) = Target::open(engine, plan).await? else { return Ok(None) };
    let effect = target.newer(plan).unwrap_or_else(|| "a new generation becomes the current one".to_owned());
    Ok(Some(format!("{}: {effect}", plan.job.spec.name)))
}

fn tables(plan: &Plan, query: &FeatureQuery, before: Option<&Receipt>) -> Vec<PlannedTable> {
    let scans = query.estimate();
    let planned = plan.tables.iter().map(|table| {
        let scan = scans.iter().find(|scan| scan.table == table.name);
        let version_before =
            before.and_then(|receipt| receipt.inputs.get(&table.name)).filter(|was| **was != table.version);
        PlannedTable {
            name: table.name.clone(),
            format: table.format.clone(),
            location: table.location.clone(),
            version: table.version.clone(),
            version_before: version_before.cloned(),
            changed_at: table.changed_at.map(instant),
            files: scan.map_or(0, |scan| scan.files),
            files_total: table.files,
            bytes: scan.map_or(0, |scan| scan.bytes),
            rows: scan.and_then(|scan| scan.rows),
        }
    });
    planned.collect()
}
