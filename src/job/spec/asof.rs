//! `[[features.asof]]`.

use super::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A table whose newest row, as it was known at the time of each row of the SQL, adds columns to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AsofSpec {
    /// The table: a name under `[tables]`.
    #[schemars(length(min = 1))]
    pub table: String,
    /// The columns that must be equal, e.g. ["customer_id"], or { sql_column = "table_column" }; NULL equals nothing.
    pub keys: ColumnNames,
    /// The table's column with the time of the event: of the rows up to the SQL's time the newest is taken.
    #[schemars(length(min = 1))]
    pub time: String,
    /// The table's column with the time since when a row is known; no row is used before. Without it, `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub available_time: Option<String>,
    /// How old a row's `time` may be at the SQL's time, that age included, e.g. "30d"; without it, any age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Duration>,
    /// The columns to add, e.g. ["risk"], or { new_name = "table_column" }.
    pub columns: ColumnNames,
}

/// Columns that have the same name on both sides, or the names of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ColumnNames {
    /// The same name on both sides, in this order.
    Same(Vec<String>),
    /// The name in the features and the table's, in alphabetical order of the first.
    Renamed(BTreeMap<String, String>),
}

impl ColumnNames {
    /// The name in the features, and the name in the table.
    pub fn pairs(&self) -> Vec<(String, String)> {
        match self {
            Self::Same(names) => names.iter().map(|name| (name.clone(), name.clone())).collect(),
            Self::Renamed(names) => names.iter().map(|(ours, theirs)| (ours.clone(), theirs.clone())).collect(),
        }
    }
}

// By hand: what an editor shows of each form is a sentence, and not the name of a variant.
impl JsonSchema for ColumnNames {
    fn schema_name() -> Cow<'static, str> {
        "ColumnNames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Columns: [\"name\"], or { name_in_the_features = \"name_in_the_table\" }.",
            "anyOf": [
                {
                    "type": "array",
                    "description": "Columns with the same name on both sides.",
                    "minItems": 1,
                    "uniqueItems": true,
                    "items": { "type": "string", "minLength": 1 }
                },
                {
                    "type": "object",
                    "description": "The name in the features, and the table's.",
                    "minProperties": 1,
                    "additionalProperties": { "type": "string", "minLength": 1 }
                }
            ]
        })
    }
}
