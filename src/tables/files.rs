//! Folders of plain files: what Parquet, CSV and JSON tables have in common.
//!
//! The version of such a table is a hash, see [`super::plain_version`]. It cannot be asked for: only the
//! present state exists. What was pinned is compared with what is there when the scan is planned, see
//! [`super::plain_table`].

use super::TableFormat;
use super::errors::{from_datafusion, from_store, innermost};
use super::guard::guarded;
use super::inspect::{History, Inspection};
use super::pinned::{At, Contents, PinnedTable, PlainContents, TableRequest};
use super::place::Place;
use super::plain_table::PlainTable;
use super::plain_version::version;
use super::{errors, hive, inspect_files, parquet};
use crate::error::{Error, Result};
use crate::lake::Location;
use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use std::collections::HashMap;
use std::sync::Arc;
use url::Url;

/// Finds a column that the first bytes of a file name twice.
pub(super) type NamedTwice = fn(&[u8]) -> Option<String>;

/// A format of plain files: its name, its endings, and DataFusion's reader for it.
pub(super) struct PlainFormat {
    pub(super) name: &'static str,
    pub(super) endings: &'static [&'static str],
    pub(super) reader: fn() -> Arc<dyn FileFormat>,
    /// Whether the files' metadata tells their rows and value ranges.
    pub(super) has_statistics: bool,
    /// Whether a file's name is one that only a table format with a log gives.
    pub(super) looks_orphaned: Option<fn(&str) -> bool>,
    /// The column that the beginning of a file names twice.
    pub(super) named_twice: Option<NamedTwice>,
}

/// The endings of all plain formats.
const ENDINGS: &[&str] = &["parquet", "csv", "json", "jsonl", "ndjson"];

/// How many files' metadata is read at once.
pub(super) const CONCURRENT_FILES: usize = 32;

/// The ending of a file, if a plain format has it.
pub(super) fn extension(path: &Path) -> Option<&str> {
    path.extension().filter(|ending| ENDINGS.contains(ending))
}

/// Makes the store of `location` known to the session, under the location's scheme and host.
pub fn register_store(session: &SessionContext, location: &Location) {
    session.register_object_store(&store_url(location), location.store());
}

/// Scheme and host of a location, without credentials, path and query.
pub(super) fn store_url(location: &Location) -> Url {
    let mut url = location.url().clone();
    // Both fail only for URLs that have no host, such as `file:`.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_path("/");
    url.set_query(None);
    url.set_fragment(None);
    url
}

impl std::fmt::Debug for PlainFormat {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

#[async_trait]
impl TableFormat for PlainFormat {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn recognises(&self, place: &Place) -> Result<bool> {
        let files = place.files().await?;
        // Of a single file whose format somebody has said, the name says nothing more.
        if let ([file], true) = (files, place.is_declared())
            && file.location == *place.location().path()
        {
            return Ok(true);
        }
        Ok(!files.is_empty()
            && files.iter().all(|file| extension(&file.location).is_some_and(|ending| self.endings.contains(&ending))))
    }

    async fn pin(&self, request: &TableRequest, place: &Place) -> Result<PinnedTable> {
        if request.at != At::Latest {
            return Err(Error::usage(format!(
                "{} files have no versions: only the present state can be read",
                self.name
            ))
            .with("asked", request.at)
            .hint("remove `version` or `as_of`, or keep the table as Delta"));
        }
        let files = place.files().await?;
        if !place.is_declared() {
            self.check_log(files, place.location()).await?;
        }
        let (contents, schema) = self.describe(files, place.location()).await?;
        Ok(PinnedTable {
            name: request.name.clone(),
            format: self.name.to_owned(),
            location: request.location.to_string(),
            version: version(files, place.location()).await?,
            changed_at: files.iter().map(|file| file.last_modified).max(),
            files: files.len() as u64,
            rows: rows(&contents.files),
            bytes: files.iter().map(|file| file.size).sum(),
            schema,
            place: request.location.clone(),
            resolved: PinnedTable::resolve(&request.location),
            contents: Contents::Plain(Arc::new(contents)),
        })
    }

    async fn provider(&self, table: &PinnedTable, session: &SessionContext) -> Result<Arc<dyn TableProvider>> {
        let Contents::Plain(contents) = &table.contents else {
            return Err(Error::failed("the pin is not one of plain files"));
        };
        register_store(session, &table.place);
        Ok(Arc::new(PlainTable::new(
            table.place.clone(),
            Arc::clone(contents),
            Arc::clone(&table.schema),
            (self.reader)(),
        )))
    }

    async fn inspect(&self, request: &TableRequest, place: &Place, _history: History) -> Result<Inspection> {
        inspect_files::inspect(self, request, place).await
    }
}

impl PlainFormat {
    /// Refuses files whose names say that a log once told which of them count.
    async fn check_log(&self, files: &[ObjectMeta], location: &Location) -> Result<()> {
        let Some(looks_orphaned) = self.looks_orphaned else { return Ok(()) };
        let folder = files.iter().any(|file| file.location != *location.path());
        let all = files.iter().all(|file| file.location.filename().is_some_and(looks_orphaned));
        if !folder || !all || location.store().head(&location.path().clone().join("_SUCCESS")).await.is_ok() {
            return Ok(());
        }
        Err(Error::usage("the folder looks like a Delta table without its _delta_log: not all of its files may count")
            .hint("restore _delta_log; where these are plain files, put an empty file _SUCCESS beside them"))
    }

    /// Columns, partition values and statistics of the files.
    async fn describe(&self, files: &[ObjectMeta], location: &Location) -> Result<(PlainContents, SchemaRef)> {
        let reader = (self.reader)();
        let state = bare_state();
        let store = location.store();
        let file_schema = match guarded(reader.infer_schema(&state, &store, files)).await {
            Ok(schema) => schema,
            Err(error) => {
                return Err(self.culprit(files, location).await.unwrap_or_else(|| self.unreadable(error, None)));
            }
        };
        self.refuse_columns_named_twice(files, &store).await?;
        if file_schema.fields().is_empty() {
            return Err(Error::check(format!("the {} files have no columns", self.name)));
        }
        let paths: Vec<&Path> = files.iter().map(|file| &file.location).collect();
        let partitions = hive::partitions(&paths, location.path())?;
        let schema = joined(&file_schema, &partitions.fields)?;
        let mut pinned: Vec<PartitionedFile> = Vec::with_capacity(files.len());
        for (file, values) in files.iter().zip(partitions.values) {
            let mut entry = PartitionedFile::from(file.clone());
            entry.partition_values = values;
            pinned.push(entry);
        }
        if self.has_statistics {
            let (reader, state, store, schema) = (&reader, &state, &store, &file_schema);
            let statistics: Vec<Statistics> = futures::stream::iter(files.to_vec())
                .map(|file| async move {
                    let found = guarded(reader.infer_stats(state, store, Arc::clone(schema), &file)).await;
                    let found = found.map_err(|error| self.unreadable(error, Some(&file.location)))?;
                    parquet::check_footer(state, store, &file).await.map(|()| inexact_floats(found, schema))
                })
                .buffered(CONCURRENT_FILES)
                .try_collect()
                .await?;
            pinned = pinned
                .into_iter()
                .zip(statistics)
                .map(|(file, statistics)| file.with_statistics(Arc::new(statistics)))
                .collect();
        }
        let contents = PlainContents { files: pinned, file_schema };
        Ok((contents, schema))
    }

    /// SQL could name only one of two columns of one name, and the library takes them for one.
    async fn refuse_columns_named_twice(&self, files: &[ObjectMeta], store: &Arc<dyn ObjectStore>) -> Result<()> {
        /// A header has seldom more bytes; of a longer one this much is looked at.
        const HEAD_BYTES: u64 = 64 << 10;
        let Some(named_twice) = self.named_twice else { return Ok(()) };
        let heads = futures::stream::iter(files.to_vec()).map(|file| {
            let store = Arc::clone(store);
            async move {
                let head = 0..file.size.min(HEAD_BYTES);
                let column = match head.is_empty() {
                    true => None,
                    false => named_twice(&store.get_range(&file.location, head).await.map_err(from_store)?),
                };
                match column {
                    Some(column) => Err(Error::usage("two columns of a file have the same name")
                        .with("column", column)
                        .with("file", &file.location)
                        .hint("rename one of them in the file's first line")),
                    None => Ok(()),
                }
            }
        });
        heads.buffered(CONCURRENT_FILES).try_collect::<()>().await
    }

    /// The error of the first file that cannot be read by itself, with its name.
    async fn culprit(&self, files: &[ObjectMeta], location: &Location) -> Option<Error> {
        let (reader, state, store) = ((self.reader)(), bare_state(), location.store());
        for file in files {
            if let Err(error) = guarded(reader.infer_schema(&state, &store, std::slice::from_ref(file))).await {
                let encrypted = if self.has_statistics { parquet::hidden_encryption(&store, file).await } else { None };
                let told = encrypted.map(|refusal| refusal.with("file", &file.location));
                return Some(told.unwrap_or_else(|| self.unreadable(error, Some(&file.location))));
            }
        }
        None
    }

    fn unreadable(&self, error: datafusion::error::DataFusionError, file: Option<&Path>) -> Error {
        let reason = errors::plain(&innermost(&error).strip_backtrace());
        let told = from_datafusion(error);
        let named = told.context().iter().any(|(key, _)| *key == "file");
        let hint = told.hint_text().map(str::to_owned);
        let told = match named || errors::is_encryption(told.message()) {
            true => told,
            false => Error::new(told.kind(), format!("the {} files cannot be read: {reason}", self.name)),
        };
        let told = match hint {
            Some(hint) => told.hint(hint),
            None => told,
        };
        match file.filter(|_| !named) {
            Some(file) => told.with("file", file),
            None => told,
        }
    }
}

/// A session with nothing in it: reading metadata needs no functions.
fn bare_state() -> SessionState {
    SessionStateBuilder::new().with_config(SessionConfig::new().with_target_partitions(1)).build()
}

/// File columns, then partition columns.
fn joined(file_schema: &Schema, partitions: &[Arc<datafusion::arrow::datatypes::Field>]) -> Result<SchemaRef> {
    for field in partitions {
        if file_schema.field_with_name(field.name()).is_ok() {
            return Err(Error::usage("a column stands both in the files and in the folder names")
                .with("column", field.name())
                .hint("rename the folder, or read only the files of one folder"));
        }
    }
    let fields: Vec<_> = file_schema.fields().iter().chain(partitions).cloned().collect();
    // Metadata of single files (for example pandas') says nothing about the table.
    Ok(Arc::new(Schema::new_with_metadata(fields, HashMap::new())))
}

fn rows(files: &[PartitionedFile]) -> Option<u64> {
    files
        .iter()
        .map(|file| match file.statistics.as_ref()?.num_rows {
            Precision::Exact(rows) => Some(rows as u64),
            _ => None,
        })
        .sum()
}

/// What is known of a file. Of floating numbers the least and the greatest pass over NaN: the library would take a column
/// for constant where the two are equal, were they exact.
fn inexact_floats(mut statistics: Statistics, schema: &Schema) -> Statistics {
    for (field, column) in schema.fields().iter().zip(&mut statistics.column_statistics) {
        if field.data_type().is_floating() {
            *column = std::mem::take(column).to_inexact();
        }
    }
    statistics
}
