//! Folders of Parquet files, or a single one.
//!
//! Columns are those of all files together: a file without a column gives NULL, files that disagree
//! about a type are refused at pin time. Strings are read as views.
//!
//! A folder of files that are named as Delta's writers name them, with neither a `_delta_log` nor the
//! `_SUCCESS` that plain Spark output has, is refused: it is most likely a Delta table that lost its
//! log, and reading all its files would bring back deleted rows. [`super::pin_as`] reads it anyway.

use super::files::PlainFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use std::sync::Arc;

/// The format `parquet`.
pub(super) static PARQUET: PlainFormat = PlainFormat {
    name: "parquet",
    endings: &["parquet"],
    reader: || Arc::new(ParquetFormat::default().with_force_view_types(true)),
    has_statistics: true,
    looks_orphaned: Some(is_delta_data),
};

/// `part-00000-d064d3e2-ed60-4836-a9dc-e09964b59c22-c000.snappy.parquet`.
fn is_delta_data(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(rest) = name.strip_prefix("part-") else { return false };
    let Some((number, rest)) = rest.split_at_checked(5) else { return false };
    let Some((id, rest)) = rest.strip_prefix('-').and_then(|rest| rest.split_at_checked(36)) else { return false };
    let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let chunk =
        rest.strip_prefix(['-', '.']).and_then(|rest| rest.strip_prefix('c')).and_then(|rest| rest.split('.').next());
    digits(number) && is_id && chunk.is_some_and(digits)
}

#[cfg(test)]
mod tests {
    use super::is_delta_data;

    #[test]
    fn names_of_delta_writers() {
        assert!(is_delta_data("part-00001-d064d3e2-ed60-4836-a9dc-e09964b59c22-c000.snappy.parquet"));
        assert!(is_delta_data("part-00001-d064d3e2-ed60-4836-a9dc-e09964b59c22.c000.snappy.parquet"));
        assert!(!is_delta_data("part-0.parquet"));
        assert!(!is_delta_data("2018-06.parquet"));
    }
}
