//! How good predictions are, how sure that is, and whether one model is better than another.
//!
//! A [`Metric`] is prepared once for a set of rows (everything that does not depend on weights: sort
//! orders, losses, decisions) and gives a [`Measure`], which is then evaluated under many weights in
//! O(rows) each: the rows' own weights for the value, and drawn counts for each bootstrap resample.
//! So all metrics take weights, and a weight of 2 means what the row written twice means.
//!
//! A metric without a value (one class only, no days) is `None` with a note that says why; it is
//! never NaN and never an error.
//!
//! To add one:
//! 1. implement [`Metric`] for a unit struct in the file of its family; its docs give formula, source,
//!    range and what happens on degenerate rows;
//! 2. add it to [`METRICS`], and its numbers to `tests/reference/metrics.py`.

mod bootstrap;
mod comparison;
mod confusion;
mod evaluate;
mod gate;
mod mean;
mod options;
mod probabilistic;
mod ranking;
mod regression;
mod rows;
mod threshold;
mod top_k;

pub use bootstrap::Estimate;
pub use comparison::{Comparison, Verdict, compare};
pub use confusion::{ConfusionMatrix, confusion_matrix};
pub use evaluate::{MetricValue, evaluate};
pub use gate::{GateEvidence, GateRule, RuleEvidence, judge};
pub use options::MetricOptions;
pub use ranking::Ranking;
pub use rows::{Predictions, Rows};

use crate::error::{Error, Result, did_you_mean};
use crate::task::Task;

/// A number that says how good predictions are.
pub trait Metric: Sync {
    /// The name in the job file, in receipts and in model cards.
    fn name(&self) -> &'static str;

    /// What it is, in one line for help texts.
    fn summary(&self) -> &'static str;

    /// The tasks for which it is defined.
    fn tasks(&self) -> &'static [Task];

    /// Whether a larger value means a better model.
    fn greater_is_better(&self) -> bool {
        true
    }

    /// The least and the greatest value that it can have, over all of its tasks; infinite where there is no bound.
    fn range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    /// Does once what does not depend on weights. Called only for a task among [`Metric::tasks`].
    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a>;
}

/// A metric over fixed rows, as a function of one weight per row (non-negative, finite).
pub type Measure<'a> = Box<dyn Fn(&[f64]) -> Measured + Send + Sync + 'a>;

/// What a [`Measure`] gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The value; finite. `None` where the metric is not defined.
    pub value: Option<f64>,
    /// Why there is no value, or by which convention there is one.
    pub note: Option<&'static str>,
}

impl Measured {
    /// A plain value; one that overflows is none.
    pub fn of(value: f64) -> Self {
        if value.is_finite() {
            Self { value: Some(value), note: None }
        } else {
            Self::undefined("the value is too large to be represented")
        }
    }

    /// A value that holds by the convention that `note` names.
    pub fn by_convention(value: f64, note: &'static str) -> Self {
        Self { value: Some(value), note: Some(note) }
    }

    /// No value, for the reason given.
    pub fn undefined(note: &'static str) -> Self {
        Self { value: None, note: Some(note) }
    }
}

/// Every metric, in the order of reports.
pub static METRICS: &[&dyn Metric] = &[
    &ranking::RocAuc,
    &ranking::AveragePrecision,
    &ranking::RecallAtPrecision,
    &top_k::PrecisionAtK,
    &probabilistic::LogLoss,
    &probabilistic::Brier,
    &threshold::Accuracy,
    &threshold::Precision,
    &threshold::Recall,
    &threshold::F1,
    &regression::Rmse,
    &regression::Mae,
    &regression::R2,
];

/// The metric of this name.
///
/// # Errors
/// A usage error with the nearest name, if there is no such metric.
pub fn lookup(name: &str) -> Result<&'static dyn Metric> {
    if let Some(found) = METRICS.iter().find(|metric| metric.name() == name) {
        return Ok(*found);
    }
    let known: Vec<&str> = METRICS.iter().map(|metric| metric.name()).collect();
    let hint = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("metrics are {}", known.join(", ")),
    };
    Err(Error::usage("unknown metric").with("metric", name).hint(hint))
}

/// Every metric that is defined for the task, in the order of [`METRICS`].
pub fn default_metrics(task: Task) -> Vec<&'static dyn Metric> {
    METRICS.iter().copied().filter(|metric| metric.tasks().contains(&task)).collect()
}
