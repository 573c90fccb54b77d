//! The job file: what a user writes, read with all mistakes reported at once.
//!
//! ```text
//! text --toml--> document (every value knows its place) <--overrides (--set)
//!      document against the JSON Schema of JobSpec   -> unknown keys, types, words, ranges
//!      document against rules                        -> what a schema can't say
//!      document against the vocabulary               -> algorithms, their parameters, metrics
//!      no mistake? document --serde--> JobSpec --environment--> JobFile
//! ```
//! The schema that checks is the schema that `lakemill schema` prints, so that an editor and the
//! command can't disagree. The mistakes are [`Diagnostics`], to which the SQL's may be added.
//!
//! Relative paths (`home`, a table's `path`, `features.sql`) start at the **project root**: the job
//! file's folder, or the folder above it where that folder is named `jobs`. So `jobs/card_fraud.toml`
//! names `sql/card_fraud.sql` and `lake/transactions` as they lie beside `jobs`.

mod canonical;
mod diagnostics;
mod document;
mod environment;
mod load;
mod overrides;
mod rules;
mod schema;
mod settings;
mod spec;
mod vocabulary;

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use environment::EnvString;
pub use load::{Checked, JobFile, ReadFile, SqlFile, check, check_with, load};
pub use schema::{job_schema, job_schema_with};
pub use settings::MOST_SETTINGS;
pub use spec::{
    AggregateSpec, AsofSpec, ClassWeight, ClassWeightRule, Closed, ColumnNames, Duration, EncoderSpec, Engine,
    EvaluateSpec, FeaturesSpec, GateSpec, Instant, JobSpec, Keep, KeyNames, LookupLayout, LookupMode, LookupSpec,
    ModelSpec, ScoreSpec, SearchMethod, SearchRange, SearchScale, SearchSpec, SearchValues, SegmentBy, Split,
    TableFormat, TableSpec, VarValue, WindowFunction, WindowsSpec,
};
pub use vocabulary::{AlgorithmWords, MetricWords, ParamsCheck, Vocabulary};
