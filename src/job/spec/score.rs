//! `[score]` and `[lookup]`.

use crate::job::environment::EnvString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The columns that every predictions table has besides key, time and passthrough.
pub(in crate::job) const RESULT_COLUMNS: &[&str] =
    &["prediction", "score", "model_version", "run_id", "scored_at", "interval"];

/// Where predictions go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScoreSpec {
    /// The predictions table, a Delta table under `home`; without it, "predictions/" and the job's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "lakemill-output", "minLength" = 1))]
    pub output: Option<String>,
    /// Columns of the SQL that are written beside the predictions.
    #[schemars(extend("uniqueItems" = true), inner(length(min = 1)))]
    pub passthrough: Vec<String>,
}

/// The lookup table that is published from the predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupSpec {
    /// Where lookups are kept: "file" (under `home`).
    pub store: EnvString,
    /// The column of the predictions that is looked up.
    #[schemars(length(min = 1))]
    pub key: String,
    /// The columns of the predictions that a lookup gives.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true), inner(length(min = 1)))]
    pub value: Vec<String>,
    /// Which row is kept where a key has several.
    #[serde(default)]
    pub keep: Keep,
    /// How many generations stay, the current one included.
    #[serde(default = "default_keep_generations")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_generations: u32,
}

fn default_keep_generations() -> u32 {
    3
}

/// Which row is kept where a key has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The row with the latest event time.
    #[default]
    Latest,
    /// The row with the highest score.
    MaxScore,
}
