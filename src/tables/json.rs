//! Folders of JSON files, or a single one: one object a line.
//!
//! Types are found from the first rows, as for CSV; a missing key is NULL; a later value that does
//! not fit the type fails the read.

use super::csv::INFERRED_ROWS;
use super::files::PlainFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use std::sync::Arc;

/// The format `json`.
pub(super) static JSON: PlainFormat = PlainFormat {
    name: "json",
    endings: &["json", "jsonl", "ndjson"],
    reader: || Arc::new(JsonFormat::default().with_schema_infer_max_rec(INFERRED_ROWS)),
    has_statistics: false,
    looks_orphaned: None,
    named_twice: None,
};
