//! `[lookup]`.

use super::Duration;
use crate::job::environment::EnvString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The lookup table that is published from the predictions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupSpec {
    /// Where lookups are kept: "file" (under `home`), or the URL of a server.
    pub store: EnvString,
    /// The column of the predictions that is looked up, or several: "customer_id", ["region", "customer_id"].
    pub key: KeyNames,
    /// The columns of the predictions that a lookup gives.
    #[schemars(extend("minItems" = 1, "uniqueItems" = true), inner(length(min = 1)))]
    pub value: Vec<String>,
    /// Which row is kept where a key has several: "latest" or "max_score"; or "refuse".
    #[serde(default)]
    pub keep: Keep,
    /// How many generations stay, the current one included.
    #[serde(default = "default_keep_generations")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_generations: u32,
    /// How the rows become a generation: "replace", "merge" (over the generation before) or "changed" (only what differs is sent).
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: LookupMode,
    /// How long a generation is good after it was published, e.g. "7d"; readers tell when it has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// How many keys a second are loaded into the store, or removed from it, at most: for a server, or a disk, that others use too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_rows_per_sec: Option<u64>,
    /// How a server keeps rows: "buckets" (many keys in a hash, least memory) or "strings" (a key each).
    #[serde(default, skip_serializing_if = "is_default")]
    pub layout: LookupLayout,
    /// What the names of all keys in a server begin with; without it, "lakemill".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub prefix: Option<String>,
    /// How many connections to a server are used at once; without it, 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: Option<u32>,
}

fn default_keep_generations() -> u32 {
    3
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The columns of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyNames {
    /// One column.
    One(String),
    /// Several, in order.
    Several(Vec<String>),
}

impl KeyNames {
    /// Their names, in order.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

// By hand: what an editor shows of each form is a sentence, and not the name of a variant.
impl JsonSchema for KeyNames {
    fn schema_name() -> Cow<'static, str> {
        "KeyNames".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A column, or a list of columns.",
            "anyOf": [
                { "type": "string", "description": "A column.", "minLength": 1 },
                {
                    "type": "array",
                    "description": "Several columns, in the order in which they make a key.",
                    "minItems": 1,
                    "uniqueItems": true,
                    "items": { "type": "string", "minLength": 1 }
                }
            ]
        })
    }
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
    /// None: a key with several rows fails the run.
    Refuse,
}

/// How the rows of an interval become a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LookupMode {
    /// They are the generation: keys that are gone disappear.
    #[default]
    Replace,
    /// They lie over the generation before: its other keys stay.
    Merge,
    /// They are the generation, but only what differs from the one before is sent.
    Changed,
}

/// How a server keeps rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LookupLayout {
    /// Many keys in one hash, which takes the least memory.
    #[default]
    Buckets,
    /// A string for each key, which any client can read.
    Strings,
}
