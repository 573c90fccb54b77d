//! Folders of CSV files, or a single one: UTF-8, comma, a header line, quotes doubled inside quotes.
//!
//! Types are found from the first [`INFERRED_ROWS`] rows over all files: whole numbers, floats,
//! booleans, dates, timestamps, otherwise strings. An empty field is NULL. A later value that does
//! not fit the type fails the read; it is never turned into NULL.

use super::files::PlainFormat;
use datafusion::arrow::csv::reader::Format;
use datafusion::datasource::file_format::csv::CsvFormat;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows from which the types are found.
pub(super) const INFERRED_ROWS: usize = 100_000;

/// The format `csv`.
pub(super) static CSV: PlainFormat = PlainFormat {
    name: "csv",
    endings: &["csv"],
    reader: || {
        // A field may hold line breaks, so a file is never cut in the middle.
        let format = CsvFormat::default().with_has_header(true).with_newlines_in_values(true);
        Arc::new(format.with_schema_infer_max_rec(INFERRED_ROWS))
    },
    has_statistics: false,
    looks_orphaned: None,
    named_twice: Some(named_twice),
};

fn named_twice(head: &[u8]) -> Option<String> {
    // What can't be understood is told by whoever reads the file.
    let (header, _) = Format::default().with_header(true).infer_schema(head, Some(0)).ok()?;
    let mut names = BTreeSet::new();
    header.fields().iter().map(|field| field.name()).find(|name| !names.insert(*name)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_found() {
        assert_eq!(named_twice(b"a,\"b\nc\",a\n1,2,3\n"), Some("a".to_owned()));
        assert_eq!(named_twice(b"a,\"x,y\",\"x,y\"\n"), Some("x,y".to_owned()));
        assert_eq!(named_twice(b"a,b,A\n1,2\n"), None);
        assert_eq!(named_twice(b""), None);
    }
}
