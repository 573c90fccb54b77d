//! Metrics of the probabilities themselves: proper scoring rules, lowest for the true probabilities.
//!
//! They are means over rows, so a single class among the labels is no obstacle.

use super::mean::measured_mean;
use super::{Measure, Metric, MetricOptions, Rows};
use crate::task::Task;

/// Logarithmic loss: the mean of -ln P(class of the row), with P kept within [eps, 1 - eps] and eps
/// the machine epsilon, as scikit-learn's `log_loss`. Rows are not rescaled to add up to 1.
///
/// Source: Good, *Rational Decisions*, J. R. Stat. Soc. B 14 (1952). Range 0 to 36.04 (= -ln eps),
/// lower is better. Defined for a single class too.
pub(super) struct LogLoss;

impl Metric for LogLoss {
    fn name(&self) -> &'static str {
        "log_loss"
    }

    fn summary(&self) -> &'static str {
        "the mean surprise: minus the logarithm of the true class's probability"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn greater_is_better(&self) -> bool {
        false
    }

    fn range(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let probability = |(outputs, label): (&[f64], &f64)| match rows.task() {
            Task::Binary if *label == 1.0 => outputs[0],
            Task::Binary => 1.0 - outputs[0],
            Task::Multiclass | Task::Regression => outputs[*label as usize],
        };
        let probabilities = rows.outputs().chunks(rows.width()).zip(rows.labels()).map(probability);
        let losses: Vec<f64> = probabilities.map(|p| -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()).collect();
        Box::new(move |weights| measured_mean(&losses, weights))
    }
}

/// Brier score: the mean of (P - y)^2; for multiclass the mean over rows of the sum over classes of
/// (P(k) - [class is k])^2, which for two classes is twice the binary one (as scikit-learn's
/// `brier_score_loss` with `scale_by_half="auto"`).
///
/// Source: Brier, *Verification of forecasts expressed in terms of probability*, Monthly Weather
/// Review 78 (1950). Range 0 to 1 (multiclass 0 to 2), lower is better. Defined for a single class too.
pub(super) struct Brier;

impl Metric for Brier {
    fn name(&self) -> &'static str {
        "brier"
    }

    fn summary(&self) -> &'static str {
        "the mean squared error of the probabilities"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn greater_is_better(&self) -> bool {
        false
    }

    fn range(&self) -> (f64, f64) {
        (0.0, 2.0)
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let loss = |(outputs, label): (&[f64], &f64)| match rows.task() {
            Task::Binary => (outputs[0] - label).powi(2),
            Task::Multiclass | Task::Regression => {
                let truths = (0..).map(|class| if class == *label as usize { 1.0 } else { 0.0 });
                outputs.iter().zip(truths).map(|(output, truth)| (output - truth).powi(2)).sum()
            }
        };
        let losses: Vec<f64> = rows.outputs().chunks(rows.width()).zip(rows.labels()).map(loss).collect();
        Box::new(move |weights| measured_mean(&losses, weights))
    }
}
