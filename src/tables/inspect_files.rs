//! What a folder of plain files is made of.

use super::TableFormat;
use super::errors::from_datafusion;
use super::files::{CONCURRENT_FILES, PlainFormat};
use super::inspect::{Column, Inspection, ParquetDetails, Refusal, SmallFiles};
use super::pinned::{At, Contents, PinnedTable, TableRequest};
use super::place::Place;
use crate::error::Result;
use datafusion::arrow::datatypes::DataType;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore};
use std::sync::Arc;

/// Looks at the files and, where lakemill reads them, at their columns.
///
/// # Errors
/// Where a version is asked for, which such a table does not have, or the folder cannot be listed.
pub(super) async fn inspect(format: &PlainFormat, request: &TableRequest, place: &Place) -> Result<Inspection> {
    let files = place.files().await?;
    let pinned = format.pin(request, place).await;
    let (pinned, refusal) = match pinned {
        Err(error) if request.at != At::Latest => return Err(error),
        Ok(pinned) => (Some(pinned), None),
        Err(error) => (None, Some(Refusal::from(&error))),
    };
    let parquet = match &pinned {
        Some(_) if format.has_statistics => Some(footers(&request.location.store(), files).await?),
        _ => None,
    };
    let small = SmallFiles::among(files.iter().map(|file| file.size));
    let advice = small.advice("write fewer and larger ones, or keep the table as Delta");
    Ok(Inspection {
        format: format.name.to_owned(),
        location: request.location.to_string(),
        version: pinned.as_ref().map_or_else(|| "-".to_owned(), |pinned| pinned.version.clone()),
        changed_at: files.iter().map(|file| file.last_modified).max(),
        refusal,
        files: Some(files.len() as u64),
        rows: pinned.as_ref().and_then(|pinned| pinned.rows),
        bytes: Some(files.iter().map(|file| file.size).sum()),
        small_files: Some(small),
        columns: pinned.as_ref().map(columns).unwrap_or_default(),
        delta: None,
        parquet,
        advice: advice.into_iter().collect(),
    })
}

/// The columns, and in how many files their statistics are known.
fn columns(pinned: &PinnedTable) -> Vec<Column> {
    let Contents::Plain(contents) = &pinned.contents else { return Vec::new() };
    let inside = contents.file_schema.fields().len();
    let known = |index: usize, is_known: fn(&datafusion::common::ColumnStatistics) -> bool| {
        let of_file = |file: &&datafusion::datasource::listing::PartitionedFile| {
            file.statistics.as_ref().and_then(|all| all.column_statistics.get(index)).is_some_and(is_known)
        };
        let any = contents.files.iter().any(|file| file.statistics.is_some());
        any.then(|| contents.files.iter().filter(of_file).count() as u64)
    };
    let describe = |(index, field): (usize, &Arc<datafusion::arrow::datatypes::Field>)| Column {
        name: field.name().clone(),
        kind: kind(field.data_type()),
        partition: index >= inside,
        min_max_files: if index < inside { known(index, |one| one.max_value.get_value().is_some()) } else { None },
        null_count_files: if index < inside { known(index, |one| one.null_count.get_value().is_some()) } else { None },
    };
    pinned.schema.fields().iter().enumerate().map(describe).collect()
}

/// A type in few words: how strings are held in memory is nobody's business.
fn kind(of: &DataType) -> String {
    match of {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Utf8 => "string".to_owned(),
        DataType::BinaryView | DataType::LargeBinary | DataType::Binary => "binary".to_owned(),
        other => other.to_string(),
    }
}

/// Row groups, codecs and writers, from the footer of every file.
async fn footers(store: &Arc<dyn ObjectStore>, files: &[ObjectMeta]) -> Result<ParquetDetails> {
    let footers = futures::stream::iter(files.to_vec()).map(|file| {
        let store = Arc::clone(store);
        async move {
            let footer = DFParquetMetadata::new(store.as_ref(), &file).fetch_metadata().await;
            footer.map_err(|error| from_datafusion(error).with("file", &file.location))
        }
    });
    let mut footers = footers.buffered(CONCURRENT_FILES);
    let mut found = ParquetDetails::default();
    while let Some(footer) = footers.try_next().await? {
        found.row_groups += footer.num_row_groups() as u64;
        let writer = footer.file_metadata().created_by().unwrap_or("unknown");
        *found.created_by.entry(writer.to_owned()).or_default() += 1;
        for column in footer.row_groups().iter().flat_map(|group| group.columns()) {
            // `GZIP(GzipLevel(6))`: only the codec stands in the file.
            let codec = format!("{:?}", column.compression());
            let codec = codec.split('(').next().unwrap_or_default().to_lowercase();
            *found.codecs.entry(codec).or_default() += 1;
        }
    }
    Ok(found)
}
