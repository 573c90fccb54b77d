//! One model measured: every metric with its interval.

use super::bootstrap::{Resampled, resample};
use super::{Estimate, Measure, Measured, Metric, MetricOptions, Predictions, Rows, default_metrics, lookup};
use crate::error::{Error, Result};
use crate::task::Task;
use serde::{Deserialize, Serialize};

/// A metric's value, as it stands in receipts and artifacts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricValue {
    /// The metric's name.
    pub metric: String,
    /// Value and interval; none where the metric is not defined on these rows.
    pub estimate: Option<Estimate>,
    /// Why there is no value, by which convention there is one, or what its interval lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Measures predictions by the metrics named, or by all that suit the task, in that order.
///
/// # Errors
/// Usage for unknown metrics, metrics of other tasks and options out of range; whatever
/// [`Rows::check`] refuses.
pub fn evaluate(
    predictions: &Predictions<'_>,
    options: &MetricOptions,
    names: Option<&[String]>,
) -> Result<Vec<MetricValue>> {
    options.check()?;
    let metrics = choose(predictions.task, names)?;
    let rows = Rows::check(predictions)?;
    let measures: Vec<Measure<'_>> = metrics.iter().map(|metric| metric.prepare(&rows, options)).collect();
    let values = measures.iter().map(|measure| measure(rows.weights()));
    let resampled = resample(rows.weights(), &measures, options);
    let parts = metrics.iter().zip(values).zip(&resampled);
    Ok(parts.map(|((metric, measured), resampled)| metric_value(*metric, measured, resampled, options)).collect())
}

fn metric_value(
    metric: &dyn Metric,
    measured: Measured,
    resampled: &Resampled,
    options: &MetricOptions,
) -> MetricValue {
    let estimate = measured.value.map(|value| resampled.estimate(value, options.confidence));
    let about_resamples = estimate.and_then(|_| resampled.note());
    let notes: Vec<String> = measured.note.map(str::to_owned).into_iter().chain(about_resamples).collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    MetricValue { metric: metric.name().to_owned(), estimate, note }
}

/// The metrics of these names, or all that suit the task.
pub(super) fn choose(task: Task, names: Option<&[String]>) -> Result<Vec<&'static dyn Metric>> {
    let Some(names) = names else { return Ok(default_metrics(task)) };
    let mut chosen: Vec<&'static dyn Metric> = Vec::new();
    for name in names {
        let metric = lookup(name)?;
        if !metric.tasks().contains(&task) {
            let suitable: Vec<&str> = default_metrics(task).iter().map(|metric| metric.name()).collect();
            return Err(Error::usage("the metric is not defined for the task")
                .with("metric", name)
                .with("task", task)
                .hint(format!("metrics of a {task} task are {}", suitable.join(", "))));
        }
        if chosen.iter().any(|other| other.name() == name) {
            return Err(Error::usage("the metric is named twice").with("metric", name));
        }
        chosen.push(metric);
    }
    Ok(chosen)
}
