//! The data files of a pinned table for a reader other than DataFusion's, where reading them plainly gives exactly
//! the rows of the table.
//!
//! That is so for Parquet files, and for those of a Delta table without deletion vectors and column mapping, whose
//! columns have the table's own types (or are missing, which is NULL). Partition values are constants of groups of
//! files: by folder names or by the log, not by what stands in the files. What the files look like is read from the
//! footers of those that a scan has selected.

use super::delta::PinnedDelta;
use super::errors::from_datafusion;
use super::files::CONCURRENT_FILES;
use super::guard::guarded;
use super::pinned::{Contents, PinnedTable};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema};
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::parquet::arrow::parquet_to_arrow_schema;
use datafusion::parquet::basic::{Compression, LogicalType, Type as Physical};
use datafusion::parquet::file::metadata::{KeyValue, ParquetMetaData};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use deltalake::kernel::LogicalFileView;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How a table's rows can be had without DataFusion's readers.
#[derive(Debug, Clone)]
pub enum Native {
    /// From these files.
    Files(NativeFiles),
    /// Not at all, for this reason: a fragment.
    No(String),
}

/// Files that hold exactly the rows of a scan.
#[derive(Clone)]
pub struct NativeFiles {
    /// Where they are.
    pub store: Arc<dyn ObjectStore>,
    /// Whether the store is this machine's file system.
    pub is_local: bool,
    /// Files with the same values of partition columns, in the order of their paths.
    pub groups: Vec<NativeGroup>,
}

impl std::fmt::Debug for NativeFiles {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "NativeFiles({} groups)", self.groups.len())
    }
}

/// Files that share the values of partition columns.
#[derive(Debug, Clone)]
pub struct NativeGroup {
    /// Where in the store; never empty.
    pub files: Vec<Path>,
    /// A column of the table's schema, and its one value in all rows of the files.
    pub constants: Vec<(usize, ArrayRef)>,
}

/// More groups make a plan that takes longer than reading by batches.
const MOST_GROUPS: usize = 400;

/// The files that `scan`, a scan of that table, has selected, for a reader that needs these columns.
/// `reads_alike` tells which types the reader takes for the same values as DataFusion does.
///
/// # Errors
/// Where a file's footer cannot be read.
pub async fn native(
    table: &PinnedTable,
    scan: &Arc<dyn ExecutionPlan>,
    columns: &[usize],
    session: &SessionContext,
    reads_alike: fn(&DataType) -> bool,
) -> Result<Native> {
    let mut files = Vec::new();
    selected(scan, &mut files);
    files.sort_by(|a, b| a.0.location.cmp(&b.0.location));
    let grouped = match &table.contents {
        Contents::Plain(_) if table.format != "parquet" => {
            return Ok(Native::No(format!("{} files", table.format)));
        }
        Contents::Plain(contents) => {
            let first = contents.file_schema.fields().len();
            of_folders(&files, first, columns)?
        }
        Contents::Delta(delta) => match of_log(table, delta, &files, columns).await? {
            Ok(grouped) => grouped,
            Err(reason) => return Ok(Native::No(reason)),
        },
    };
    if grouped.len() > MOST_GROUPS {
        return Ok(Native::No(format!("{} different partitions are read", grouped.len())));
    }
    let constant: Vec<usize> =
        grouped.iter().flat_map(|group| group.constants.iter().map(|(column, _)| *column)).collect();
    let inside: Vec<usize> = columns.iter().filter(|column| !constant.contains(column)).copied().collect();
    let schema = &table.schema;
    if let Some(field) = inside.iter().map(|column| schema.field(*column)).find(|field| !reads_alike(field.data_type()))
    {
        return Ok(Native::No(format!("`{}` is of type {}", field.name(), field.data_type())));
    }
    let metas: Vec<ObjectMeta> = files.into_iter().map(|(meta, _)| meta).collect();
    let store = table.place.store();
    if let Some(reason) = differing(metas, &store, schema, &inside, session).await? {
        return Ok(Native::No(reason));
    }
    let is_local = table.place.local_path().is_some();
    Ok(Native::Files(NativeFiles { store, is_local, groups: grouped }))
}

/// Whether a column of the table stands in its files; partition columns do not.
pub fn stands_in_files(table: &PinnedTable, column: usize) -> bool {
    match &table.contents {
        Contents::Plain(contents) => column < contents.file_schema.fields().len(),
        Contents::Delta(delta) => {
            let name = table.schema.field(column).name();
            delta.loaded.metadata().is_ok_and(|metadata| !metadata.partition_columns().contains(name))
        }
    }
}

/// The path of a file of a local store.
///
/// # Errors
/// Where the store's path is none of the file system.
pub fn local_file(path: &Path) -> Result<PathBuf> {
    object_store::local::LocalFileSystem::new().path_to_filesystem(path).map_err(super::errors::from_store)
}

/// Every file of a plan's scans, with the values of partition columns that the scan knows.
fn selected(plan: &Arc<dyn ExecutionPlan>, files: &mut Vec<(ObjectMeta, Vec<ScalarValue>)>) {
    let scan =
        plan.downcast_ref::<DataSourceExec>().and_then(|exec| exec.data_source().downcast_ref::<FileScanConfig>());
    for file in scan.iter().flat_map(|scan| scan.file_groups.iter()).flat_map(FileGroup::iter) {
        files.push((file.object_meta.clone(), file.partition_values.clone()));
    }
    plan.children().into_iter().for_each(|child| selected(child, files));
}

/// Plain files by the values in their folders' names.
fn of_folders(files: &[(ObjectMeta, Vec<ScalarValue>)], first: usize, columns: &[usize]) -> Result<Vec<NativeGroup>> {
    let wanted: Vec<usize> = columns.iter().filter(|column| **column >= first).copied().collect();
    let mut groups: Vec<NativeGroup> = Vec::new();
    let mut known: HashMap<Vec<ScalarValue>, usize> = HashMap::new();
    for (meta, values) in files {
        let key: Vec<ScalarValue> = wanted.iter().filter_map(|column| values.get(column - first).cloned()).collect();
        let constants = || {
            let arrays = wanted.iter().zip(&key).map(|(column, value)| Ok((*column, value.to_array()?)));
            arrays.collect::<datafusion::error::Result<Vec<_>>>().map_err(from_datafusion)
        };
        add(&mut groups, &mut known, key.clone(), meta, constants)?;
    }
    Ok(groups)
}

/// Puts a file into the group of its values.
fn add<K: std::hash::Hash + Eq>(
    groups: &mut Vec<NativeGroup>,
    known: &mut HashMap<K, usize>,
    key: K,
    meta: &ObjectMeta,
    constants: impl FnOnce() -> Result<Vec<(usize, ArrayRef)>>,
) -> Result<()> {
    let index = match known.get(&key) {
        Some(index) => *index,
        None => {
            groups.push(NativeGroup { files: Vec::new(), constants: constants()? });
            known.insert(key, groups.len() - 1);
            groups.len() - 1
        }
    };
    if let Some(group) = groups.get_mut(index) {
        group.files.push(meta.location.clone());
    }
    Ok(())
}

/// Files of a Delta table by the partition values in its log; the inner error is why that would not be exact.
async fn of_log(
    table: &PinnedTable,
    delta: &PinnedDelta,
    files: &[(ObjectMeta, Vec<ScalarValue>)],
    columns: &[usize],
) -> Result<std::result::Result<Vec<NativeGroup>, String>> {
    let metadata = delta.loaded.metadata()?;
    let mapping = metadata.configuration().get("delta.columnMapping.mode");
    if mapping.is_some_and(|mode| mode != "none") {
        return Ok(Err("its columns are mapped to other names".to_owned()));
    }
    let names = metadata.partition_columns();
    let partition = |column: &&usize| names.contains(table.schema.field(**column).name());
    let wanted: Vec<usize> = columns.iter().filter(partition).copied().collect();
    let roots: Vec<&Path> = std::iter::once(table.place.path()).chain(table.resolved.as_ref()).collect();
    let mut values: HashMap<String, Option<Vec<Option<String>>>> = HashMap::new();
    let take = |file: &LogicalFileView| {
        let deleted = file.deletion_vector_descriptor().is_some();
        let map = if wanted.is_empty() || deleted { HashMap::new() } else { file.partition_values_map() };
        let of = |column: &usize| map.get(table.schema.field(*column).name()).cloned().flatten();
        let found = (!deleted).then(|| wanted.iter().map(of).collect());
        let relative = file.object_store_path();
        values.insert(relative.to_string(), found);
    };
    delta.loaded.each_file(take).await?;
    let mut groups = Vec::new();
    let mut known = HashMap::new();
    for (meta, _) in files {
        let relative = roots.iter().find_map(|root| {
            let parts = meta.location.prefix_match(root)?;
            Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
        });
        let Some(found) = relative.and_then(|relative| values.get(&relative)) else {
            return Ok(Err("a file lies outside of its folder".to_owned()));
        };
        let Some(key) = found else { return Ok(Err("some of its rows are deleted by deletion vectors".to_owned())) };
        let mut unread = None;
        let constants = || {
            let typed = wanted.iter().zip(key).map(|(column, text)| {
                let field = table.schema.field(*column);
                (*column, field.name(), partition_value(text.as_deref(), field.data_type()))
            });
            let mut arrays = Vec::new();
            for (column, name, array) in typed {
                match array {
                    Some(array) => arrays.push((column, array)),
                    None => {
                        unread =
                            Some(format!("`{name}` is a partition of type {}", table.schema.field(column).data_type()))
                    }
                }
            }
            Ok(arrays)
        };
        add(&mut groups, &mut known, key.clone(), meta, constants)?;
        if let Some(reason) = unread {
            return Ok(Err(reason));
        }
    }
    Ok(Ok(groups))
}

/// A partition value of the log; none for types whose texts can be read in several ways.
fn partition_value(text: Option<&str>, kind: &DataType) -> Option<ArrayRef> {
    let plain = kind.is_integer()
        || matches!(
            kind,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32 | DataType::Boolean
        );
    if !plain {
        return None;
    }
    // An empty text is NULL, of every type (`empty_text.rs`).
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Some(new_null_array(kind, 1)) };
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    cast_with_options(&texts, kind, &strict).ok()
}

/// Why reading the columns of these files plainly would give other values; none where it gives the same.
async fn differing(
    files: Vec<ObjectMeta>,
    store: &Arc<dyn ObjectStore>,
    schema: &Arc<Schema>,
    columns: &[usize],
    session: &SessionContext,
) -> Result<Option<String>> {
    let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
    let reasons = futures::stream::iter(files)
        .map(|file| {
            let (store, cache) = (Arc::clone(store), Arc::clone(&cache));
            async move {
                let footer = DFParquetMetadata::new(store.as_ref(), &file).with_file_metadata_cache(Some(cache));
                let footer = guarded(footer.fetch_metadata()).await;
                let footer = footer.map_err(|error| from_datafusion(error).with("file", &file.location))?;
                Ok::<_, Error>(of_footer(&footer, schema, columns))
            }
        })
        .buffered(CONCURRENT_FILES);
    let mut reasons = std::pin::pin!(reasons);
    while let Some(reason) = reasons.try_next().await? {
        if reason.is_some() {
            return Ok(reason);
        }
    }
    Ok(None)
}

fn of_footer(footer: &ParquetMetaData, schema: &Schema, columns: &[usize]) -> Option<String> {
    let metadata = footer.file_metadata();
    let description = metadata.schema_descr();
    let Ok(inside) = parquet_to_arrow_schema(description, metadata.key_value_metadata()) else {
        return Some("the columns of a file are not known".to_owned());
    };
    if description.columns().iter().any(|leaf| leaf.logical_type_ref().is_some_and(is_new)) {
        return Some("a file has columns of a kind that is newer than its readers".to_owned());
    }
    let mut codecs = footer.row_groups().iter().flat_map(|group| group.columns()).map(|chunk| chunk.compression());
    if codecs.any(|codec| matches!(codec, Compression::GZIP(_))) {
        // Some writers put several members into one page, which not every reader goes on to.
        return Some("a file is compressed by gzip".to_owned());
    }
    let Ok(written) = written_as(metadata.key_value_metadata()) else {
        return Some("the columns that a file was written from are not known".to_owned());
    };
    for column in columns {
        let field = schema.field(*column);
        let Some((_, found)) = inside.column_with_name(field.name()) else { continue };
        if !same(found.data_type(), field.data_type()) {
            return Some(format!(
                "`{}` is {} in a file and {} in the table",
                field.name(),
                found.data_type(),
                field.data_type()
            ));
        }
        // A writer that had seconds has written milliseconds and left a note of the seconds, which readers take
        // differently; so with notes of other units.
        let noted = written.as_ref().and_then(|written| written.field_with_name(field.name()).ok());
        if let Some(noted) = noted.filter(|noted| !same(noted.data_type(), field.data_type())) {
            return Some(format!("`{}` was written from {}", field.name(), noted.data_type()));
        }
        let old = description
            .columns()
            .iter()
            .any(|leaf| leaf.path().parts().first() == Some(field.name()) && leaf.physical_type() == Physical::INT96);
        if old {
            return Some(format!("`{}` is written in 96 bits", field.name()));
        }
    }
    None
}

/// The Arrow schema that some writers leave in a file besides Parquet's own.
fn written_as(metadata: Option<&Vec<KeyValue>>) -> std::result::Result<Option<Schema>, ()> {
    let note = metadata.into_iter().flatten().find(|entry| entry.key == "ARROW:schema");
    let Some(text) = note.and_then(|entry| entry.value.as_deref()) else { return Ok(None) };
    let bytes = from_base64(text).ok_or(())?;
    try_schema_from_ipc_buffer(&bytes).map(Some).map_err(drop)
}

/// The bytes of a text in base 64; none where it is no such text.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0_u32);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.extend(u8::try_from((held >> bits) & 0xff));
        }
    }
    Some(bytes)
}

/// Whether readers of some years ago would not know a column's kind; some refuse the whole file for it.
fn is_new(kind: &LogicalType) -> bool {
    !matches!(
        kind,
        LogicalType::String
            | LogicalType::Map
            | LogicalType::List
            | LogicalType::Enum
            | LogicalType::Decimal(_)
            | LogicalType::Date
            | LogicalType::Time(_)
            | LogicalType::Timestamp(_)
            | LogicalType::Integer(_)
            | LogicalType::Unknown
            | LogicalType::Json
            | LogicalType::Bson
            | LogicalType::Uuid
            | LogicalType::Float16
    )
}

/// The same values, whatever their offsets or views.
fn same(one: &DataType, other: &DataType) -> bool {
    let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bytes = |kind: &DataType| matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    one == other || (text(one) && text(other)) || (bytes(one) && bytes(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_64() {
        assert_eq!(from_base64("AQIDBA==").unwrap(), [1, 2, 3, 4]);
        assert_eq!(from_base64("/+8=").unwrap(), [0xff, 0xef]);
        assert!(from_base64("a b").is_none());
    }

    #[test]
    fn partition_values_are_typed_or_left_alone() {
        let value = |text, kind: DataType| {
            partition_value(text, &kind).map(|array| ScalarValue::try_from_array(&array, 0).unwrap())
        };
        assert_eq!(value(Some("-7"), DataType::Int32), Some(ScalarValue::Int32(Some(-7))));
        assert_eq!(value(Some("2018-06-20"), DataType::Date32), Some(ScalarValue::Date32(Some(17702))));
        assert_eq!(value(None, DataType::Utf8View), Some(ScalarValue::Utf8View(None)));
        assert_eq!(value(Some(""), DataType::Int32), Some(ScalarValue::Int32(None)));
        assert_eq!(value(Some(""), DataType::Utf8View), Some(ScalarValue::Utf8View(None)));
        assert_eq!(value(Some("x"), DataType::Int32), None);
        assert_eq!(value(Some("1.5"), DataType::Float64), None);
    }
}
