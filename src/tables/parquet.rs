//! Folders of Parquet files, or a single one.
//!
//! Columns are those of all files together: a file without a column gives NULL, files that disagree
//! about a type are refused at pin time. Strings are read as views.
//!
//! A folder of files that are named as Delta's writers name them, with neither a `_delta_log` nor the
//! `_SUCCESS` that plain Spark output has, is refused: it is most likely a Delta table that lost its
//! log, and reading all its files would bring back deleted rows. [`super::pin_as`] reads it anyway.

use super::errors::{encrypted, from_datafusion};
use super::files::PlainFormat;
use crate::error::{Error, Result};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::execution::session_state::SessionState;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// The format `parquet`.
pub(super) static PARQUET: PlainFormat = PlainFormat {
    name: "parquet",
    endings: &["parquet"],
    reader: || Arc::new(ParquetFormat::default().with_force_view_types(true)),
    has_statistics: true,
    looks_orphaned: Some(is_delta_data),
    named_twice: None,
};

/// Refuses a file whose footer counts other rows than its row groups do: which of them are read depends
/// on the reader, so none are.
///
/// # Errors
/// A failure with both counts; and where the footer cannot be read.
pub(super) async fn check_footer(state: &SessionState, store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Result<()> {
    // The session has kept the footer since the file's columns were asked for.
    let kept = state.runtime_env().cache_manager.get_file_metadata_cache();
    let footer = DFParquetMetadata::new(store.as_ref(), file).with_file_metadata_cache(Some(kept));
    let footer = footer.fetch_metadata().await.map_err(from_datafusion)?;
    let (whole, groups) = (footer.file_metadata().num_rows(), footer.row_groups());
    let sum = groups.iter().try_fold(0_i64, |sum, group| sum.checked_add(group.num_rows()));
    if sum == Some(whole) && whole >= 0 {
        return Ok(());
    }
    let sum = sum.map_or_else(|| "too many".to_owned(), |sum| sum.to_string());
    Err(Error::failed("a Parquet file contradicts itself: its footer and its row groups count different rows")
        .with("file", &file.location)
        .with("footer", whole)
        .with("row_groups", sum)
        .hint("write the file anew with a current program: old versions of some writers left the count at 0"))
}

/// The error for a file that is encrypted behind a footer that is not, which the Parquet library takes
/// for damage.
pub(super) async fn hidden_encryption(store: &Arc<dyn ObjectStore>, file: &ObjectMeta) -> Option<Error> {
    const TAIL: u64 = 8;
    let start = file.size.checked_sub(TAIL)?;
    let tail = store.get_range(&file.location, start..file.size).await.ok()?;
    let length = u64::from(u32::from_le_bytes(tail.get(..4)?.try_into().ok()?));
    let footer = store.get_range(&file.location, start.checked_sub(length)?..start).await.ok()?;
    // Fields 8 and 9 of the footer are the algorithm and the key of its signature.
    fields(&footer)?.iter().any(|id| [8, 9].contains(id)).then(encrypted)
}

/// The numbers of the fields of a struct in Thrift's compact form.
fn fields(bytes: &[u8]) -> Option<Vec<i64>> {
    let (mut rest, mut found) = (bytes, Vec::new());
    while let Some((kind, id)) = field(&mut rest, found.last().copied().unwrap_or_default())? {
        found.push(id);
        skip(&mut rest, kind, 0)?;
    }
    Some(found)
}

/// The kind and number of the next field; none at the end of the struct.
fn field(rest: &mut &[u8], last: i64) -> Option<Option<(u8, i64)>> {
    let (head, tail) = rest.split_first()?;
    *rest = tail;
    let (step, kind) = (i64::from(head >> 4), head & 15);
    if kind == 0 {
        return Some(None);
    }
    let id = if step == 0 { zigzag(varint(rest)?) } else { last.checked_add(step)? };
    Some(Some((kind, id)))
}

/// Passes over one value of that kind.
fn skip(rest: &mut &[u8], kind: u8, depth: usize) -> Option<()> {
    const DEEPEST: usize = 32;
    let pass = |rest: &mut &[u8], bytes: u64| {
        *rest = rest.get(usize::try_from(bytes).ok()?..)?;
        Some(())
    };
    match kind {
        _ if depth > DEEPEST => None,
        1 | 2 => Some(()),
        3 => pass(rest, 1),
        4..=6 => varint(rest).map(drop),
        7 => pass(rest, 8),
        8 => {
            let bytes = varint(rest)?;
            pass(rest, bytes)
        }
        9 | 10 => {
            let head = *rest.first()?;
            pass(rest, 1)?;
            let count = if head >> 4 == 15 { varint(rest)? } else { u64::from(head >> 4) };
            // Booleans of a list have a byte each.
            let kind = if matches!(head & 15, 1 | 2) { 3 } else { head & 15 };
            (0..count).try_for_each(|_| skip(rest, kind, depth + 1))
        }
        12 => {
            let mut last = 0;
            while let Some((kind, id)) = field(rest, last)? {
                last = id;
                skip(rest, kind, depth + 1)?;
            }
            Some(())
        }
        _ => None,
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some(number);
        }
    }
    None
}

fn zigzag(number: u64) -> i64 {
    ((number >> 1) as i64) ^ -((number & 1) as i64)
}

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
