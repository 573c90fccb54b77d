//! What a run would do, without doing it.

use super::Engine;
use super::features::FeatureQuery;
use super::forecast::ModelToScore;
use super::forecast::Takes;
use super::predictions::Predictions;
use super::publish::{Target, check_columns};
use super::receipt::{self, Receipt};
use super::rows::shape;
use super::run_id::{RunMark, run_id};
use super::segments::SegmentRule;
use crate::error::{ErrorKind, Result};
use crate::interval::instant;
use crate::job;
use crate::models;
use crate::plan::Plan;
use crate::query::polars::TableRead;
use crate::registry::{Described, Registry};
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
    /// What scoring the interval would read of all tables together.
    pub reads: Reads,
    /// What the training would read that has to come first; absent where there is a model.
    pub training_reads: Option<Reads>,
    /// What scoring would take: an estimate by the statistics of the tables.
    pub predicted: Takes,
    /// What the training would take that has to come first.
    pub training_predicted: Option<Takes>,
    /// The limit on memory.
    pub memory_limit_bytes: u64,
    /// The rows that a training would fit on.
    pub train: String,
    /// The rows that it would measure on.
    pub test: String,
    /// Which rows get models of their own; absent where there is one model for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments: Option<String>,
    /// How a training would search for its parameters, where it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
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

/// How much a features query would read; statistics of files, known before anything is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reads {
    /// Files to open.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// The rows in them; absent where a file does not say.
    pub rows: Option<u64>,
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
    /// How Polars reads the table, where it is the engine and the SQL reads it; `natively` with filters pushed into the
    /// files, else through DataFusion for the reason that is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polars: Option<TableRead>,
}

/// Looks everything up and plans the features query; nothing is written.
///
/// # Errors
/// What planning the query or reading the home fails with.
pub async fn preview(engine: &Engine, plan: &Plan, model: &str) -> Result<Preview> {
    let spec = &plan.job.spec;
    let windows = plan.windows()?;
    let query = FeatureQuery::new(engine, plan, &plan.sql, plan.interval).await?;
    check_columns(spec, shape(spec, &query.schema(), plan.interval)?.as_ref())?;
    let receipts = receipt::of_interval(&plan.home, &spec.name, &plan.interval).await?;
    let predictions = Predictions::open(plan.predictions(), &spec.name).await?;
    predictions.refuse_overlap(&plan.interval).await?;
    let slice = predictions.slice(&plan.interval).await?;
    let described = resolved(plan, model).await?;
    let size = described.as_ref().map(ModelToScore::of);
    let version = described.map(|described| described.version);
    let run_id = version.as_ref().map(|version| run_id(&plan.scoring_fingerprint(version.version, &version.sha256)));
    let committed = receipts.iter().filter(|receipt| receipt.output.is_some());
    let before = committed.max_by(|a, b| a.started_at.cmp(&b.started_at));
    let target = Target::open(engine, plan).await?;
    let done = run_id.as_deref().filter(|run| slice.run == Some(RunMark::of(run)));
    let lookup = target.as_ref().map(|target| published(target, plan, done, slice.rows));
    let action = match (&run_id, slice.run) {
        (None, _) => "train first, then score".to_owned(),
        (Some(_), None) => "score: the interval has no predictions yet".to_owned(),
        (Some(_), Some(_)) if done.is_some() => match &lookup {
            Some(Published::Behind) => "publish: scored already, but the lookup table does not show it".to_owned(),
            _ => "nothing: these inputs are scored already".to_owned(),
        },
        (Some(_), Some(there)) => format!("replace {} rows of run {there}", slice.rows),
    };
    let training = match &run_id {
        Some(_) => None,
        None => Some(FeatureQuery::new(engine, plan, &plan.sql, windows.span()?).await?),
    };
    let size = match (size, &training) {
        (Some(size), _) => size,
        (None, Some(training)) => training.model_to_score(&spec.model)?,
        (None, None) => ModelToScore::default(),
    };
    let rule = SegmentRule::of(&spec.model, &query.schema())?;
    Ok(Preview {
        job: spec.name.clone(),
        interval: plan.interval.to_string(),
        home: plan.home.to_string(),
        tables: tables(plan, &query, before),
        reads: reads(&query),
        training_reads: training.as_ref().map(reads),
        predicted: query.scoring_takes(engine, size)?,
        training_predicted: training.map(|query| query.training_takes(engine, &spec.model)).transpose()?,
        memory_limit_bytes: engine.memory_bytes,
        train: windows.train.to_string(),
        test: windows.test.to_string(),
        segments: rule.map(|rule| segments(&rule)),
        search: spec.model.search.as_ref().map(|search| searched(plan, search)).transpose()?,
        model: version.map_or_else(
            || format!("no {model} yet"),
            |version| format!("{} version {}", version.model, version.version),
        ),
        predictions: plan.predictions().to_string(),
        lookup: lookup.map(|effect| format!("{}: {}", spec.name, effect.text())),
        run_id,
        action,
        query_plan: query.explain(),
    })
}

fn segments(rule: &SegmentRule) -> String {
    let columns: Vec<&str> = rule.columns.iter().map(|column| column.name.as_str()).collect();
    format!(
        "a model for each {} with at least {} training rows, one of all rows for the others",
        columns.join(" and "),
        rule.min_rows
    )
}

/// What a search would try.
fn searched(plan: &Plan, spec: &job::SearchSpec) -> Result<String> {
    let model = &plan.job.spec.model;
    let params = models::lookup(&model.algorithm)?.params_schema().to_value();
    let settings = spec.list(&params, model.seed).len();
    let most = spec.max_time.map(|length| format!(", for at most {length}")).unwrap_or_default();
    Ok(format!("{settings} settings ({}) on {} folds by {}{most}", spec.method.name(), spec.folds, spec.metric))
}

/// The SQL that gives the features of the interval, windows and all, with `$interval_start` and the like in it: as
/// `lakemill query` takes it, with the same job and interval.
///
/// # Errors
/// What planning the query fails with.
pub async fn features_sql(engine: &Engine, plan: &Plan) -> Result<String> {
    let query = FeatureQuery::new(engine, plan, &plan.sql, plan.interval).await?;
    let mut text = format!("{}\n", query.sql().text().trim_end());
    let features = &plan.job.spec.features;
    if features.engine == job::Engine::Polars && !features.windows.is_empty() {
        text.insert_str(0, "-- Polars runs what is first in WITH, DataFusion all that follows.\n");
    }
    if !features.asof.is_empty() {
        text.insert_str(0, "-- What [[features.asof]] joins is no SQL: it is added to these rows.\n");
    }
    Ok(text)
}

/// The model, or `None` where there is none yet; a wrong name is an error.
async fn resolved(plan: &Plan, model: &str) -> Result<Option<Described>> {
    let registry = Registry::new(&plan.home);
    let name = plan.job.spec.name.as_str();
    match registry.resolve(name, model).await {
        Ok(version) => Ok(Some(registry.describe(name, version).await?)),
        Err(error) if error.kind() == ErrorKind::Usage && model == super::CHAMPION => Ok(None),
        Err(error) => Err(error),
    }
}

/// What would become of the lookup table.
enum Published {
    /// It shows the run already.
    Shown,
    /// It stays as it is, for this reason.
    Left(String),
    /// The predictions are committed, and a run died before it could publish them.
    Behind,
    /// The rows to be scored are published.
    Flipped,
}

impl Published {
    fn text(&self) -> String {
        match self {
            Self::Shown => "stays as it is: it shows these predictions already".to_owned(),
            Self::Left(why) => why.clone(),
            Self::Behind | Self::Flipped => "a new generation becomes the current one".to_owned(),
        }
    }
}

/// `done` is the run whose predictions, so many rows, are committed and would not be made again.
fn published(target: &Target, plan: &Plan, done: Option<&str>, rows: u64) -> Published {
    match (done, target.newer(plan)) {
        (Some(run), _) if target.shows(run) => Published::Shown,
        (_, Some(newer)) => Published::Left(newer),
        (Some(_), None) if rows == 0 => Published::Left("the interval has no rows; left as it is".to_owned()),
        (Some(run), None) if target.rolled_back(run).is_some() => {
            Published::Left(target.rolled_back(run).unwrap_or_default())
        }
        (Some(_), None) => Published::Behind,
        (None, None) => Published::Flipped,
    }
}

fn reads(query: &FeatureQuery) -> Reads {
    let none = Reads { files: 0, bytes: 0, rows: Some(0) };
    query.estimate().iter().fold(none, |sum, scan| Reads {
        files: sum.files + scan.files,
        bytes: sum.bytes + scan.bytes,
        rows: sum.rows.zip(scan.rows).map(|(sum, rows)| sum + rows),
    })
}

fn tables(plan: &Plan, query: &FeatureQuery, before: Option<&Receipt>) -> Vec<PlannedTable> {
    let scans = query.estimate();
    let reads = query.reads().unwrap_or_default();
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
            polars: reads.iter().find(|read| read.table == table.name).cloned(),
        }
    });
    planned.collect()
}
