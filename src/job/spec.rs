//! The job file as written: one struct a section, one field a key, defaults filled in.
//!
//! The doc comments are what an editor shows and what a diagnostic gives as a hint, so the first
//! sentence of each says what to write.

mod asof;
mod duration;
mod evaluate;
mod features;
mod instant;
mod lookup;
mod model;
mod score;
mod search;
mod table;
mod windows;

pub use asof::{AsofSpec, ColumnNames};
pub use duration::Duration;
pub use evaluate::{EvaluateSpec, GateSpec};
pub use features::{Engine, FeaturesSpec, VarValue};
pub use instant::Instant;
pub use lookup::{Keep, KeyNames, LookupLayout, LookupMode, LookupSpec};
pub(super) use model::default_seed;
pub use model::{ClassWeight, ClassWeightRule, EncoderSpec, ModelSpec, SegmentBy, Split};
pub(super) use score::RESULT_COLUMNS;
pub use score::ScoreSpec;
pub use search::{SearchMethod, SearchRange, SearchScale, SearchSpec, SearchValues};
pub use table::{TableFormat, TableSpec};
pub use windows::{AggregateSpec, Closed, WindowFunction, WindowsSpec};
pub(super) use windows::{name_over, start_of_name};

use super::environment::EnvString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A lakemill job: the tables, the SQL that makes features of them, the model, and where its
/// predictions go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "lakemill job file")]
pub struct JobSpec {
    /// The version of the job file's format: this lakemill reads version 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// The job's name, also the model's and the lookup table's: lower-case letters, digits, `_` and `-`.
    #[schemars(extend("format" = "lakemill-name", "pattern" = "^[a-z0-9_][a-z0-9_-]*$", "maxLength" = 100))]
    pub name: String,
    /// Where lakemill keeps models, runs, predictions and lookups: a folder or a URL.
    pub home: EnvString,
    /// The tables that the SQL may name; each is pinned to one version when a run is planned.
    #[schemars(extend(
        "minProperties" = 1,
        "propertyNames" = { "format": "lakemill-identifier", "pattern": "^[a-z_][a-z0-9_]*$" }
    ))]
    pub tables: BTreeMap<String, TableSpec>,
    /// The SQL that computes the features, and what its columns mean.
    pub features: FeaturesSpec,
    /// Values for the SQL, where they stand as `$name`.
    #[serde(default)]
    #[schemars(extend("propertyNames" = { "format": "lakemill-variable", "pattern": "^[a-z_][a-z0-9_]*$" }))]
    pub vars: BTreeMap<String, VarValue>,
    /// The model, and the rows it is trained and tested on.
    pub model: ModelSpec,
    /// What is measured on the test rows, and how.
    #[serde(default)]
    pub evaluate: EvaluateSpec,
    /// What a model must reach to be promoted, by metric; all conditions must hold.
    #[serde(default)]
    pub gate: BTreeMap<String, GateSpec>,
    /// Where predictions go.
    #[serde(default)]
    pub score: ScoreSpec,
    /// The lookup table that is published from the predictions; without it none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupSpec>,
}

impl JobSpec {
    /// The predictions table, relative to `home`: `score.output`, or `predictions/<name>`.
    pub fn output(&self) -> String {
        self.score.output.clone().unwrap_or_else(|| format!("predictions/{}", self.name))
    }

    /// Puts the values of environment variables where `${NAME}` stands. Names that are not set stay
    /// as they are; the check reports them.
    pub(super) fn resolve(&mut self, environment: &dyn Fn(&str) -> Option<String>) {
        self.home.resolve(environment);
        self.tables.values_mut().for_each(|table| table.path.resolve(environment));
        self.lookup.iter_mut().for_each(|lookup| lookup.store.resolve(environment));
    }
}
