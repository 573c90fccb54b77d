//! `[score]`.

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
