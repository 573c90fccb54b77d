//! `[model]`.

use super::{Duration, SearchSpec};
use crate::task::Task;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The model, and the rows it is trained and tested on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// What is predicted: "binary", "multiclass" or "regression".
    pub task: Task,
    /// The algorithm's name, e.g. "logistic_regression".
    #[schemars(length(min = 1))]
    pub algorithm: String,
    /// The weight of each class in training: "balanced", or a table such as { "0" = 1.0, "1" = 20.0 }.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weight: Option<ClassWeight>,
    /// The seed of everything random.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How long the training rows reach back, e.g. "28d".
    pub window: Duration,
    /// Which rows test the model: { by = "time", test = "7d" } or { by = "hash", test = 0.2 }.
    pub split: Split,
    /// The number of folds of a cross-validation, done besides the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 50))]
    pub folds: Option<u32>,
    /// The column whose values are segments, e.g. "region", or a list of such columns: each segment gets a model of its
    /// own, and all other rows a common one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_by: Option<SegmentBy>,
    /// The fewest training rows for which a segment gets a model of its own; 100 if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub segment_min_rows: Option<u64>,
    /// The algorithm's parameters.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// A search for the best parameters among several settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchSpec>,
    /// How columns become numbers.
    #[serde(default)]
    pub encoder: EncoderSpec,
}

/// The seed of a job that names none.
pub(in crate::job) fn default_seed() -> u64 {
    7
}

impl ModelSpec {
    /// The columns that name a row's segment; none where there is one model for all rows.
    pub fn segment_columns(&self) -> &[String] {
        match &self.segment_by {
            None => &[],
            Some(SegmentBy::One(column)) => std::slice::from_ref(column),
            Some(SegmentBy::Several(columns)) => columns,
        }
    }

    /// The fewest training rows for which a segment gets a model of its own.
    pub fn least_segment_rows(&self) -> u64 {
        self.segment_min_rows.unwrap_or(SEGMENT_MIN_ROWS)
    }
}

/// What a job file need not say of [`ModelSpec::segment_min_rows`].
const SEGMENT_MIN_ROWS: u64 = 100;

/// The columns whose values name a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SegmentBy {
    /// One.
    One(String),
    /// A segment for each combination of their values.
    Several(Vec<String>),
}

// By hand: derived, there would be an alternative within an alternative.
impl JsonSchema for SegmentBy {
    fn schema_name() -> Cow<'static, str> {
        "SegmentBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A column of the SQL, or a list of columns.",
            "anyOf": [
                { "type": "string", "minLength": 1, "description": "The column whose values are segments." },
                {
                    "type": "array",
                    "description": "Columns: each combination of their values is a segment.",
                    "items": { "type": "string", "minLength": 1 },
                    "minItems": 1,
                    "uniqueItems": true
                }
            ]
        })
    }
}

/// The weight of each class in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassWeight {
    /// One word that stands for a rule.
    Rule(ClassWeightRule),
    /// A weight for each class, by the label's text.
    Each(BTreeMap<String, f64>),
}

/// A rule that gives each class its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeightRule {
    /// `rows / (classes * rows of the class)`, as in scikit-learn.
    Balanced,
}

// By hand: derived, the word would be an alternative within an alternative.
impl JsonSchema for ClassWeight {
    fn schema_name() -> Cow<'static, str> {
        "ClassWeight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "\"balanced\", or a table of a weight for each class.",
            "anyOf": [
                { "const": "balanced", "description": "Rare classes weigh more: rows / (classes * rows of the class)." },
                {
                    "type": "object",
                    "description": "A weight for each class.",
                    "minProperties": 1,
                    "additionalProperties": { "type": "number", "exclusiveMinimum": 0 }
                }
            ]
        })
    }
}

/// Which rows test the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Split {
    /// The latest rows test.
    Time {
        /// How long the test rows reach back, e.g. "7d"; the training rows lie before them.
        test: Duration,
        /// How far the training rows stay away from the test rows.
        #[serde(default)]
        gap: Duration,
    },
    /// Rows test by a hash of their key, so that a row stays on its side when others are added.
    Hash {
        /// The share of rows that test, between 0 and 1.
        #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
        test: f64,
    },
}

/// How columns become numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EncoderSpec {
    /// The most categories a column may have; rarer ones are one category together.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_categories: usize,
}

impl Default for EncoderSpec {
    fn default() -> Self {
        Self { max_categories: 100 }
    }
}
