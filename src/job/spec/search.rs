//! `[model.search]`.

use super::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A search for the algorithm's parameters: several settings are fitted on folds of the training rows, and the best
/// one trains the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchSpec {
    /// How settings are chosen: "grid", every combination, or "random", drawn with the model's seed.
    pub method: SearchMethod,
    /// How many settings are drawn at random; without it 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub settings: Option<u32>,
    /// On how many folds of the training rows each setting is measured.
    #[serde(default = "default_folds")]
    #[schemars(range(min = 2, max = 50))]
    pub folds: u32,
    /// The metric by which settings are compared, e.g. "average_precision".
    #[schemars(length(min = 1))]
    pub metric: String,
    /// How long the search may take, e.g. "10m": no further setting is begun after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_time: Option<Duration>,
    /// The parameters that are searched, each with a list of values or a range { from = 7, to = 63 }.
    #[schemars(extend("minProperties" = 1))]
    pub space: BTreeMap<String, SearchValues>,
}

fn default_folds() -> u32 {
    5
}

/// How settings are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMethod {
    /// Every combination of the values.
    Grid,
    /// Values drawn at random, each parameter's on its own.
    Random,
}

impl SearchMethod {
    /// The word in the job file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grid => "grid",
            Self::Random => "random",
        }
    }
}

/// What a parameter may be in a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SearchValues {
    /// One of these.
    List(Vec<Value>),
    /// A number between two others.
    Range(SearchRange),
}

/// Numbers from one to another, both among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRange {
    /// The least value.
    #[schemars(with = "f64")]
    pub from: Number,
    /// The greatest value.
    #[schemars(with = "f64")]
    pub to: Number,
    /// How values lie between the two: "linear", or "log" for those that differ by factors.
    #[serde(default)]
    pub scale: SearchScale,
    /// How many values a grid takes of the range, both ends among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1000))]
    pub steps: Option<u32>,
}

impl SearchRange {
    /// The least and the greatest value.
    pub fn ends(&self) -> (f64, f64) {
        // A job file's numbers all have one.
        (self.from.as_f64().unwrap_or(0.0), self.to.as_f64().unwrap_or(0.0))
    }
}

/// How values lie in a range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchScale {
    /// Evenly.
    #[default]
    Linear,
    /// Their logarithms evenly.
    Log,
}

// By hand: derived, a list could be empty.
impl JsonSchema for SearchValues {
    fn schema_name() -> Cow<'static, str> {
        "SearchValues".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let range = generator.subschema_for::<SearchRange>();
        json_schema!({
            "description": "A list of values, or a range { from = 7, to = 63 }.",
            "anyOf": [
                { "type": "array", "description": "The values.", "minItems": 1 },
                range
            ]
        })
    }
}
