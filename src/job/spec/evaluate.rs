//! `[evaluate]` and `[gate]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is measured on the test rows, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateSpec {
    /// The metrics to compute; without it, all that suit the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub metrics: Option<Vec<String>>,
    /// The score from which on a binary prediction is 1.
    #[schemars(range(min = 0, max = 1))]
    pub threshold: f64,
    /// The precision at which recall is measured.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub at_precision: f64,
    /// How many rows a day are looked at, for the precision at k a day.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub k_per_day: u32,
    /// The confidence of the metrics' intervals.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: f64,
    /// How many bootstrap resamples the intervals are made from.
    #[schemars(range(min = 1, max = 100_000))]
    pub resamples: u32,
    /// Whether training shuffles each feature of some test rows and tells in the model card by how much the loss
    /// rises.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub importance: bool,
    /// The seed of the resamples; without it, the model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for EvaluateSpec {
    fn default() -> Self {
        Self {
            metrics: None,
            threshold: 0.5,
            at_precision: 0.9,
            k_per_day: 100,
            confidence: 0.95,
            resamples: 200,
            importance: false,
            seed: None,
        }
    }
}

/// What a model must reach in one metric; the words are MLflow's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GateSpec {
    /// The value that the metric must reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// By how much the metric must be better than the champion's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_absolute_change: Option<f64>,
    /// By what share of the champion's metric it must be better.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_relative_change: Option<f64>,
    /// How sure the comparison must be; without it, the values alone are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: Option<f64>,
}

impl GateSpec {
    /// Whether the gate asks for anything.
    pub fn has_condition(&self) -> bool {
        self.threshold.is_some() || self.min_absolute_change.is_some() || self.min_relative_change.is_some()
    }
}
