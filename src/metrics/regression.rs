//! Metrics of predicted values.

use super::mean::{NO_WEIGHT, measured_mean, weighted_mean};
use super::{Measure, Measured, Metric, MetricOptions, Rows};
use crate::task::Task;

const CONSTANT: &str = "all labels are the same";

/// Root mean squared error: the square root of the mean of (y - prediction)^2, in the label's unit.
///
/// Source: scikit-learn's `root_mean_squared_error`. Range 0 to infinity, lower is better. Errors
/// whose square overflows: no value.
pub(super) struct Rmse;

impl Metric for Rmse {
    fn name(&self) -> &'static str {
        "rmse"
    }

    fn summary(&self) -> &'static str {
        "the square root of the mean squared error"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn greater_is_better(&self) -> bool {
        false
    }

    fn range(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let squares = squared_errors(rows);
        Box::new(move |weights| match weighted_mean(&squares, weights) {
            None => Measured::undefined(NO_WEIGHT),
            Some(mean) => Measured::of(mean.sqrt()),
        })
    }
}

/// Mean absolute error: the mean of |y - prediction|, in the label's unit.
///
/// Source: scikit-learn's `mean_absolute_error`. Range 0 to infinity, lower is better.
pub(super) struct Mae;

impl Metric for Mae {
    fn name(&self) -> &'static str {
        "mae"
    }

    fn summary(&self) -> &'static str {
        "the mean absolute error"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn greater_is_better(&self) -> bool {
        false
    }

    fn range(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let errors: Vec<f64> =
            rows.labels().iter().zip(rows.outputs()).map(|(label, output)| (label - output).abs()).collect();
        Box::new(move |weights| measured_mean(&errors, weights))
    }
}

/// Coefficient of determination: 1 - sum (y - prediction)^2 / sum (y - mean of y)^2.
///
/// Source: Draper and Smith, *Applied Regression Analysis* (1998), 1.3; scikit-learn's `r2_score`.
/// Range minus infinity to 1, 0 for the mean as prediction. Labels that are all the same: no value.
pub(super) struct R2;

impl Metric for R2 {
    fn name(&self) -> &'static str {
        "r2"
    }

    fn summary(&self) -> &'static str {
        "the share of the label's variance that is explained"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn range(&self) -> (f64, f64) {
        (f64::NEG_INFINITY, 1.0)
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let (squares, labels) = (squared_errors(rows), rows.labels());
        Box::new(move |weights| {
            let Some(mean) = weighted_mean(labels, weights) else {
                return Measured::undefined(NO_WEIGHT);
            };
            // Rounding of the mean must not give labels that are all the same a spread.
            let mut seen = labels.iter().zip(weights).filter(|(_, weight)| **weight > 0.0).map(|(label, _)| *label);
            let first = seen.next();
            if seen.all(|label| Some(label) == first) {
                return Measured::undefined(CONSTANT);
            }
            let (mut residual, mut total) = (0.0, 0.0);
            for ((square, label), weight) in squares.iter().zip(labels).zip(weights) {
                residual += weight * square;
                total += weight * (label - mean).powi(2);
            }
            if total == 0.0 {
                return Measured::undefined(CONSTANT);
            }
            // A spread that overflows must not look like errors that are nothing beside it.
            Measured::of(if total.is_finite() { 1.0 - residual / total } else { f64::NAN })
        })
    }
}

fn squared_errors(rows: &Rows<'_>) -> Vec<f64> {
    rows.labels().iter().zip(rows.outputs()).map(|(label, output)| (label - output).powi(2)).collect()
}
