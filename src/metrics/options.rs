//! What the user may choose about metrics.

use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The settings of all metrics and of their intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricOptions {
    /// The score from which on a binary prediction is 1, for accuracy, precision, recall, F1 and the
    /// confusion matrix. Multiclass predictions are the most probable class instead.
    #[schemars(range(min = 0, max = 1))]
    pub threshold: f64,
    /// The precision that `recall_at_precision` asks for.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub at_precision: f64,
    /// How many rows a day can be looked at, for `precision_at_k`.
    #[schemars(range(min = 1))]
    pub k_per_day: u32,
    /// The confidence of the intervals.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: f64,
    /// How many bootstrap resamples the intervals are made from. Ends of an interval are known no
    /// finer than one resample: 200 do for a confidence of 0.95, 0.99 wants 1000.
    #[schemars(range(min = 1))]
    pub resamples: u32,
    /// The seed of the resamples; the same seed draws the same rows for every model.
    pub seed: u64,
}

impl Default for MetricOptions {
    fn default() -> Self {
        Self { threshold: 0.5, at_precision: 0.9, k_per_day: 100, confidence: 0.95, resamples: 200, seed: 7 }
    }
}

impl MetricOptions {
    /// Checks that every value is in its range.
    ///
    /// # Errors
    /// A usage error that names the field.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(outside("threshold", self.threshold, "between 0 and 1"));
        }
        if !(self.at_precision > 0.0 && self.at_precision <= 1.0) {
            return Err(outside("at_precision", self.at_precision, "above 0 and at most 1"));
        }
        if self.k_per_day == 0 {
            return Err(outside("k_per_day", self.k_per_day, "at least 1"));
        }
        if self.resamples == 0 {
            return Err(outside("resamples", self.resamples, "at least 1"));
        }
        check_confidence(self.confidence)
    }
}

/// Checks that a confidence is strictly between 0 and 1.
pub(super) fn check_confidence(confidence: f64) -> Result<()> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(outside("confidence", confidence, "above 0 and below 1, for example 0.95"))
}

/// A usage error for a value outside of its range.
pub(super) fn outside(field: &'static str, value: impl std::fmt::Display, range: &str) -> Error {
    Error::usage("value out of range").with(field, value).hint(format!("`{field}` must be {range}"))
}
