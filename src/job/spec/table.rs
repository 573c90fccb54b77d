//! `[tables]`.

use super::Instant;
use crate::job::environment::EnvString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One table: where it is, and which version of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableSpec {
    /// Where the table is: a folder or a file, relative to the project root, or a URL.
    pub path: EnvString,
    /// The version of a Delta table; without `version` and `as_of` it is the latest when the run is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The instant as of which a Delta table is read, e.g. "2018-06-01T00:00:00Z".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Instant>,
    /// The table's format; without it, found from what lies at `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TableFormat>,
}

/// How a table is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableFormat {
    /// A Delta table.
    Delta,
    /// Parquet files, with Hive partitions or without.
    Parquet,
    /// CSV files with a header.
    Csv,
    /// JSON lines.
    Json,
}

impl TableFormat {
    /// The word as it stands in a job file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }
}
