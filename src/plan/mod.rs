//! A job and an interval with every name looked up: what is read at which version, in which windows.
//!
//! A plan is made once, at the start of a run; every later step uses it and nothing else. Making one
//! changes nothing.

mod fingerprint;
mod windows;

pub use fingerprint::{BINARY_FORMAT, Fingerprint};
pub use windows::{Lengths, Windows};

use crate::error::{Error, Result, ResultExt};
use crate::interval::Interval;
use crate::job::{JobFile, JobSpec, Split, VarValue};
use crate::lake::Location;
use crate::query::{FeatureSql, Parameters, Value};
use crate::tables::{At, PinnedTable, TableRequest, pin};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a run will read, and when that was decided.
#[derive(Clone)]
pub struct Plan {
    /// The job file, checked.
    pub job: Arc<JobFile>,
    /// The interval of the run.
    pub interval: Interval,
    /// Where models, runs, predictions and lookup tables are.
    pub home: Location,
    /// Every table of the job at one version, in the order of their names.
    pub tables: Vec<PinnedTable>,
    /// The features SQL.
    pub sql: FeatureSql,
}

impl Plan {
    /// Pins every table of the job.
    ///
    /// # Errors
    /// Usage: an interval that is in the future at `now`, a location that is none. What
    /// [`pin`] fails with, naming the table.
    pub async fn resolve(job: Arc<JobFile>, interval: Interval, now: DateTime<Utc>) -> Result<Self> {
        if interval.end() > now {
            return Err(Error::usage("the interval has not ended yet")
                .with("interval", interval)
                .hint("an interval can be run once all of it is in the past (UTC)"));
        }
        let home = Location::parse(job.spec.home.value(), &job.root).at("key", "home")?;
        let tables = pin_tables(&job).await?;
        let sql = FeatureSql::parse(&job.sql_text, &job.sql_path.display().to_string())?;
        Ok(Self { job, interval, home, tables, sql })
    }

    /// The training windows before the end of the interval.
    ///
    /// # Errors
    /// A usage error where a window is empty.
    pub fn windows(&self) -> Result<Windows> {
        let (model, features) = (&self.job.spec.model, &self.job.spec.features);
        let (test, gap) = match &model.split {
            Split::Time { test, gap } => (test.delta(), gap.delta()),
            Split::Hash { .. } => (TimeDelta::zero(), TimeDelta::zero()),
        };
        let lengths = Lengths { window: model.window.delta(), test, gap, label_delay: features.label_delay.delta() };
        Windows::before(&self.interval, &lengths)
    }

    /// The values of the SQL's `$names` for a span of time.
    pub fn parameters(&self, span: &Interval) -> Parameters {
        with_vars(Parameters::of_interval(span), &self.job.spec)
    }

    /// The pinned version of every table.
    pub fn inputs(&self) -> BTreeMap<String, String> {
        self.tables.iter().map(|table| (table.name.clone(), table.version.clone())).collect()
    }

    /// Where the predictions table is.
    pub fn predictions(&self) -> Location {
        self.home.join(&self.job.spec.output())
    }

    /// What a training is made from: the same inputs have the same fingerprint.
    ///
    /// # Errors
    /// A usage error where a window is empty.
    pub fn training_fingerprint(&self) -> Result<String> {
        let windows = self.windows()?;
        let windows = format!("{} {}", windows.train, windows.test);
        let fingerprint =
            Fingerprint::new("train").part("job", &self.job.spec.training_json()).part("windows", &windows);
        Ok(self.with_inputs(fingerprint).finish())
    }

    /// What a scoring by the model with this content hash is made from.
    pub fn scoring_fingerprint(&self, model_version: u64, model_sha256: &str) -> String {
        let fingerprint = Fingerprint::new("score")
            .part("job", &self.job.spec.scoring_json())
            .part("interval", &self.interval.to_string())
            .part("model version", &model_version.to_string())
            .part("model", model_sha256);
        self.with_inputs(fingerprint).finish()
    }

    fn with_inputs(&self, fingerprint: Fingerprint) -> Fingerprint {
        let fingerprint = fingerprint.part("sql", &self.sql.normalized());
        // Where a table lies does not matter, but which table it is does.
        let pinned = |table: &PinnedTable| format!("{} {}", table.version, table.identity());
        self.tables.iter().fold(fingerprint, |fingerprint, table| fingerprint.part(&table.name, &pinned(table)))
    }
}

/// Pins every table that a job names, in the order of their names.
///
/// # Errors
/// What [`pin`] fails with, naming the table.
pub async fn pin_tables(job: &JobFile) -> Result<Vec<PinnedTable>> {
    let mut pinned = Vec::new();
    for (name, table) in &job.spec.tables {
        let location = Location::parse(table.path.value(), &job.root).at("table", name)?;
        let at = match (table.version, table.as_of) {
            (Some(version), _) => At::Version(version),
            (None, Some(instant)) => At::AsOf(instant.at()),
            (None, None) => At::Latest,
        };
        let found = pin(&TableRequest { name: name.clone(), location, at }).await?;
        if let Some(format) = table.format.filter(|format| format.name() != found.format) {
            return Err(Error::usage(format!("this is a {} table, and the job says {}", found.format, format.name()))
                .with("table", name)
                .with("location", &found.location)
                .hint("leave `format` out: it is found from what lies there"));
        }
        pinned.push(found);
    }
    Ok(pinned)
}

/// Every `$name` that the SQL of a job may use, to check the SQL before there is an interval.
pub fn parameter_names(job: &JobSpec) -> Parameters {
    let some = Value::Instant(DateTime::UNIX_EPOCH);
    with_vars(Parameters::new().with("interval_start", some.clone()).with("interval_end", some), job)
}

fn with_vars(parameters: Parameters, job: &JobSpec) -> Parameters {
    job.vars.iter().fold(parameters, |parameters, (name, var)| parameters.with(name, value(var)))
}

fn value(var: &VarValue) -> Value {
    match var {
        VarValue::Boolean(value) => Value::Bool(*value),
        VarValue::Integer(value) => Value::Int(*value),
        VarValue::Float(value) => Value::Float(*value),
        VarValue::String(value) => Value::Text(value.clone()),
    }
}
