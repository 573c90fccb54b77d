//! `[features]` and `[vars]`.

use super::{AsofSpec, Duration, WindowsSpec};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The SQL that computes the features, and what its columns mean. Every column that is not named
/// here is a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeaturesSpec {
    /// The SQL file, relative to the project root or in a bucket (`s3://...`): one SELECT of key, time, features and
    /// label.
    #[schemars(extend("format" = "lakemill-path", "minLength" = 1))]
    pub sql: String,
    /// The columns that identify a row.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true), inner(length(min = 1)))]
    pub key: Vec<String>,
    /// The column with the time of the event; the interval selects rows by it.
    #[schemars(length(min = 1))]
    pub time: String,
    /// The column with the label; NULL means that it is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub label: Option<String>,
    /// How long after its event a label is known, e.g. "7d".
    #[serde(default)]
    pub label_delay: Duration,
    /// The column with the weight of a row in training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub weight: Option<String>,
    /// Columns of the SQL that are not features.
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true), inner(length(min = 1)))]
    pub exclude: Vec<String>,
    /// The engine that runs the SQL.
    #[serde(default)]
    pub engine: Engine,
    /// Tables whose rows are aggregated over spans of time that end at each row of the SQL: windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<WindowsSpec>,
    /// Tables whose newest known row adds columns to each row of the SQL: point-in-time joins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asof: Vec<AsofSpec>,
}

/// What runs the SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Apache DataFusion; spills to disk where memory is short.
    #[default]
    Datafusion,
    /// Polars.
    Polars,
}

/// A value for the SQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum VarValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A finite number.
    Float(f64),
    /// A text.
    String(String),
}

// By hand: as one list of types it reads better in an editor than four alternatives.
impl JsonSchema for VarValue {
    fn schema_name() -> Cow<'static, str> {
        "VarValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A value for the SQL: a string, a number, or true or false.",
            "type": ["string", "number", "boolean"]
        })
    }
}
