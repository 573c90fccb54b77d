//! What a table is made of: `lakemill inspect`. Metadata is read, rows are not.
//!
//! A table that cannot be read is inspected, too, as far as its log tells; the reason stands in
//! [`Inspection::refusal`].

use super::delta_features::Protocol;
use super::delta_log::Commit;
use super::{FORMATS, Place, TableFormat, TableRequest};
use crate::error::{Error, Result, ResultExt};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;

/// Files below this size cost more to open than to read, in bytes.
pub const SMALL_FILE_BYTES: u64 = 16 << 20;

/// A table as it was found.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// The format's name.
    pub format: String,
    /// Where it lies, without credentials.
    pub location: String,
    /// The version that is described, as a pin would name it.
    pub version: String,
    /// When that version was made, where it is known.
    pub changed_at: Option<DateTime<Utc>>,
    /// Why lakemill does not read it; none where it does.
    pub refusal: Option<Refusal>,
    /// Data files; not known where the table is refused.
    pub files: Option<u64>,
    /// Rows, where the metadata of every file tells.
    pub rows: Option<u64>,
    /// Size of the data files, in bytes.
    pub bytes: Option<u64>,
    /// How many files are small.
    pub small_files: Option<SmallFiles>,
    /// The columns, in order.
    pub columns: Vec<Column>,
    /// What only Delta tables have.
    pub delta: Option<DeltaDetails>,
    /// What only Parquet files have.
    pub parquet: Option<ParquetDetails>,
    /// What its owner could do about it.
    pub advice: Vec<String>,
}

/// Why a table is not read.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The reason.
    pub message: String,
    /// What makes it readable.
    pub hint: Option<String>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { message: error.message().to_owned(), hint: error.hint_text().map(str::to_owned) }
    }
}

/// Files below [`SMALL_FILE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SmallFiles {
    /// How many.
    pub files: u64,
    /// Of all files, from 0 to 1.
    pub share: f64,
    /// What counts as small, in bytes.
    pub below_bytes: u64,
}

impl SmallFiles {
    /// Counts among the sizes of all files.
    pub(super) fn among(sizes: impl Iterator<Item = u64>) -> Self {
        let (mut files, mut all) = (0_u64, 0_u64);
        for size in sizes {
            all += 1;
            files += u64::from(size < SMALL_FILE_BYTES);
        }
        let share = if all == 0 { 0.0 } else { files as f64 / all as f64 };
        Self { files, share, below_bytes: SMALL_FILE_BYTES }
    }

    /// Whether joining files would be felt.
    pub(super) fn advice(&self, how: &str) -> Option<String> {
        const FELT: u64 = 32;
        (self.files >= FELT && self.share >= 0.5)
            .then(|| format!("{} of its files are smaller than 16 MiB, which makes opening it slow: {how}", self.files))
    }
}

/// A column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// Its name in SQL.
    pub name: String,
    /// Its type, in the format's own words.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether its values stand in the log or the folders' names instead of the files.
    pub partition: bool,
    /// Files whose smallest and largest value of it are known without opening them.
    pub min_max_files: Option<u64>,
    /// Files whose count of its nulls is known without opening them.
    pub null_count_files: Option<u64>,
}

/// What a Delta log says.
#[derive(Debug, Clone, Serialize)]
pub struct DeltaDetails {
    /// What readers and writers must know.
    pub protocol: Protocol,
    /// Each reader feature that the table needs, and `read` or `refused`.
    pub reader_features: BTreeMap<String, &'static str>,
    /// The table's properties under `delta.`.
    pub properties: BTreeMap<String, String>,
    /// The columns by which its files are apart.
    pub partition_columns: Vec<String>,
    /// The oldest version that can be read.
    pub oldest_version: u64,
    /// The newest version.
    pub newest_version: u64,
    /// Commits, newest first, as many as were asked for.
    pub commits: Vec<Commit>,
    /// The version of the newest checkpoint at or before the described one.
    pub checkpoint: Option<u64>,
    /// Commits that opening reads after the checkpoint.
    pub commits_since_checkpoint: u64,
    /// When its files were last vacuumed, where the newest commits tell.
    pub last_vacuum: Option<DateTime<Utc>>,
    /// Files that have a deletion vector.
    pub deletion_vectors: Option<u64>,
    /// Rows that deletion vectors take out.
    pub deleted_rows: Option<u64>,
    /// Files whose number of rows the log tells.
    pub row_count_files: Option<u64>,
}

/// What the footers of Parquet files say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ParquetDetails {
    /// Row groups of all files.
    pub row_groups: u64,
    /// Column chunks by codec.
    pub codecs: BTreeMap<String, u64>,
    /// Files by the program that wrote them.
    pub created_by: BTreeMap<String, u64>,
}

/// What is shown of a table's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// That many of the newest commits.
    Last(usize),
    /// Every commit whose file is still there.
    All,
}

/// Looks at the table that a request names, in whatever format it is found.
///
/// # Errors
/// Usage: no table lies there, or not that version. A table that lakemill cannot read is no error.
pub async fn inspect(request: &TableRequest, history: History) -> Result<Inspection> {
    let place = Place::new(request.location.clone());
    look(request, &place, history).await.at("table", &request.location)
}

async fn look(request: &TableRequest, place: &Place, history: History) -> Result<Inspection> {
    for format in FORMATS {
        if format.recognises(place).await? {
            return TableFormat::inspect(*format, request, place, history).await;
        }
    }
    Err(place.unrecognised().await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_felt_when_they_are_many() {
        let few = SmallFiles::among([1, 2, SMALL_FILE_BYTES].into_iter());
        assert_eq!((few.files, few.share), (2, 2.0 / 3.0));
        assert!(few.advice("join").is_none());
        let many = SmallFiles::among((0..40).map(|_| 5));
        assert!(many.advice("join them").is_some_and(|advice| advice.contains("40 of its files")));
        assert_eq!(SmallFiles::among([].into_iter()).share, 0.0);
    }
}
