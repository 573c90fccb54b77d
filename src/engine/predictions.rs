//! The predictions table: Delta, partitioned by interval, one commit a run that replaces exactly
//! one interval.
//!
//! Files are staged first and are invisible. The commit removes every file of the interval's
//! partition, adds the staged ones and carries an application transaction
//! `lakemill/<job>/<interval>` whose version is the run's [`RunMark`], so that the table's log alone
//! says which run an interval holds. Two writers of one interval have the same application id: Delta
//! lets one of them through and the other gets a conflict.

use super::run_id::RunMark;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::interval::Interval;
use crate::lake::Location;
use crate::lake::errors::because_of;
use crate::tables::delta_builder;
use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::transaction::{CommitBuilder, CommitConflictError, CommitProperties, TransactionError};
use deltalake::kernel::{Action, Add, MetadataExt, Remove, StructType, Transaction};
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError, FilterOp, FilterValue};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The partition column.
pub const INTERVAL: &str = "interval";

/// A file is closed and the next begun at about this size.
const TARGET_FILE_BYTES: u64 = 256 << 20;

/// Rows of a row group: it is encoded in memory before it is written, and read in one piece.
const ROW_GROUP_ROWS: usize = 1 << 17;

/// The same for wide rows, in encoded bytes.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A column with more different values than this holds is written without a dictionary: keys, times and
/// scores, for which looking up each value would be work for nothing.
const DICTIONARY_BYTES: usize = 1 << 17;

/// The predictions table of one job, as it was when it was opened.
pub struct Predictions {
    location: Location,
    job: String,
    /// Absent until the first commit creates it.
    table: Option<DeltaTable>,
}

/// What an interval holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The run that wrote it; absent where the interval has never been written.
    pub run: Option<RunMark>,
    /// Its rows, by the files' statistics.
    pub rows: u64,
    /// Its files, relative to the table, in the order in which they were written.
    pub paths: Vec<String>,
    /// The same as URLs.
    pub files: Vec<String>,
}

/// A data file of the opened version.
struct CommittedFile {
    path: String,
    rows: u64,
    remove: Remove,
}

/// Files that are written but in no commit yet.
pub struct Staged {
    adds: Vec<Add>,
    /// Rows in them.
    pub rows: u64,
    /// Where they are, in the order of their rows.
    pub files: Vec<String>,
}

impl Predictions {
    /// Opens the table at its newest version; a table that does not exist yet is empty.
    ///
    /// # Errors
    /// `failed` where there is a table that can't be read; `transient` where a later try may read it.
    pub async fn open(location: Location, job: &str) -> Result<Self> {
        if !location.join("_delta_log").holds_any().await? {
            return Ok(Self { location, job: job.to_owned(), table: None });
        }
        let mut predictions = Self { location, job: job.to_owned(), table: None };
        let mut table = predictions.unloaded()?;
        match table.load().await {
            Ok(()) => {
                predictions.table = Some(table);
                predictions.check_owner()?;
            }
            Err(DeltaTableError::NotATable(_)) => {}
            Err(source) => return Err(unreadable(source)).at("table", &predictions.location),
        }
        Ok(predictions)
    }

    /// Where the table is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What `interval` holds in the version that was opened.
    ///
    /// # Errors
    /// `failed` where the log can't be read.
    pub async fn slice(&self, interval: &Interval) -> Result<Slice> {
        let Some(table) = &self.table else {
            return Ok(Slice { run: None, rows: 0, paths: Vec::new(), files: Vec::new() });
        };
        let state = table.snapshot().map_err(unreadable)?;
        let log = table.log_store();
        let mark = state.transaction_version(log.as_ref(), self.application(interval)).await.map_err(unreadable)?;
        let mut files = self.files(table, interval).await?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let rows = files.iter().map(|file| file.rows).sum();
        let paths: Vec<String> = files.into_iter().map(|file| file.path).collect();
        let files = urls(&self.location, paths.iter().map(String::as_str));
        Ok(Slice { run: mark.map(RunMark::from), rows, paths, files })
    }

    /// Refuses an interval that has time in common with another one that the table holds: the rows
    /// of that time would stand in it twice.
    ///
    /// # Errors
    /// A usage error that names the others; `failed` where the log can't be read.
    pub async fn refuse_overlap(&self, interval: &Interval) -> Result<()> {
        let others = self.overlapping(interval).await?;
        let Some(first) = others.first() else { return Ok(()) };
        let named = match others.len() - 1 {
            0 => first.clone(),
            more => format!("{first} and {more} more"),
        };
        Err(Error::usage("the predictions table holds other intervals with the same time, whose rows would be in it twice")
            .with("interval", interval)
            .with("holds", named)
            .hint("score a table in intervals of one length; a backfill of another length needs an `output` of its own in [score]"))
    }

    /// The other intervals of the opened version that have time in common with `interval`, by name.
    async fn overlapping(&self, interval: &Interval) -> Result<Vec<String>> {
        let Some(table) = &self.table else { return Ok(Vec::new()) };
        let files = table.get_active_add_actions_by_partitions(&[]);
        let names = files.map_ok(|file| file.partition_values_map().remove(INTERVAL).flatten());
        let names: BTreeSet<Option<String>> =
            names.try_collect().await.map_err(unreadable).at("table", &self.location)?;
        let overlaps = |name: &String| {
            Interval::from_name(name).is_some_and(|other| other != *interval && other.overlaps(interval))
        };
        Ok(names.into_iter().flatten().filter(overlaps).collect())
    }

    /// The columns of the opened version, the partition column among them; none before the first commit.
    ///
    /// # Errors
    /// `failed` for a column without an Arrow type.
    pub fn columns(&self) -> Result<SchemaRef> {
        let Some(table) = &self.table else { return Ok(Arc::new(Schema::empty())) };
        arrow_schema(table).map(Arc::new).at("table", &self.location)
    }

    /// The table's version; absent until the first commit.
    pub fn version(&self) -> Option<u64> {
        self.table.as_ref().and_then(DeltaTable::version)
    }

    /// A writer of new files; nothing is visible until [`Predictions::commit`].
    ///
    /// # Errors
    /// A usage error where the table's columns can't take the new ones.
    pub fn stage(&self, schema: &SchemaRef) -> Result<SliceWriter> {
        if let Some(table) = &self.table {
            merged_schema(table, schema).at("table", &self.location)?;
        }
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_created_by(concat!("lakemill ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let config = WriterConfig::new(
            schema.clone(),
            vec![INTERVAL.to_owned()],
            Some(properties),
            NonZeroU64::new(TARGET_FILE_BYTES),
            None,
            Default::default(),
            None,
        );
        let store = self.unloaded()?.object_store();
        Ok(SliceWriter { writer: DeltaWriter::new(store, config), root: self.location.clone() })
    }

    /// Replaces `interval` by the staged files in one commit; gives the table's new version.
    ///
    /// # Errors
    /// `conflict` where another run has committed this interval since the table was opened;
    /// `verification` where the committed version does not hold exactly the staged rows.
    pub async fn commit(
        &mut self,
        interval: &Interval,
        seen: Option<RunMark>,
        run: RunMark,
        schema: &SchemaRef,
        staged: Staged,
    ) -> Result<u64> {
        if self.table.is_none() {
            self.table = Some(self.create(schema).await?);
            self.check_owner()?;
            // Whoever created it first may have written this interval already.
            if self.slice(interval).await?.run != seen {
                return Err(overtaken(interval));
            }
            self.refuse_overlap(interval).await?;
        }
        let Some(table) = self.table.take() else { return Err(overtaken(interval)) };
        let mut actions = Vec::new();
        if let Some(metadata) = merged_schema(&table, schema).at("table", &self.location)? {
            actions.push(Action::Metadata(metadata));
        }
        let removes = self.files(&table, interval).await?.into_iter().map(|file| Action::Remove(file.remove));
        actions.extend(removes);
        actions.extend(staged.adds.into_iter().map(Action::Add));
        let transaction = Transaction::new(self.application(interval), run.into());
        let properties = CommitProperties::default().with_application_transaction(transaction);
        let operation = DeltaOperation::Write {
            mode: SaveMode::Overwrite,
            partition_by: Some(vec![INTERVAL.to_owned()]),
            // Quoted: `interval` is a keyword of SQL.
            predicate: Some(format!("\"{INTERVAL}\" = '{interval}'")),
        };
        let state = table.snapshot().map_err(unreadable)?;
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), table.log_store(), operation)
            .await
            .map_err(|source| commit_error(source, interval))
            .at("table", &self.location)?;
        self.verify(interval, committed.version(), run, staged.rows).await?;
        Ok(committed.version())
    }

    /// Reads the committed version again: other writers' partition overwrites have been seen to
    /// lose and to double rows.
    async fn verify(&mut self, interval: &Interval, version: u64, run: RunMark, rows: u64) -> Result<()> {
        let mut table = self.unloaded()?;
        table.load_version(version).await.map_err(unreadable).at("table", &self.location)?;
        self.table = Some(table);
        let slice = self.slice(interval).await?;
        if slice.rows == rows && slice.run == Some(run) {
            // Intervals of other names don't conflict in the log: the later of two commits sees both.
            return self.refuse_overlap(interval).await.map_err(|error| error.of_kind(ErrorKind::Conflict));
        }
        Err(Error::verification("the committed slice is not the one that was staged")
            .with("table", &self.location)
            .with("version", version)
            .with("rows staged", rows)
            .with("rows committed", slice.rows)
            .hint("the version before is untouched: restore it, then find out what else writes to this table"))
    }

    /// One table holds the predictions of one job: another job's commit would replace them.
    fn check_owner(&self) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        let state = table.snapshot().map_err(unreadable)?;
        match state.metadata().name() {
            Some(name) if name != title(&self.job) => {
                Err(Error::usage("this table holds something else than the predictions of this job")
                    .with("table", &self.location)
                    .with("holds", name)
                    .hint("give each job an `output` of its own in [score]"))
            }
            _ => Ok(()),
        }
    }

    async fn create(&self, schema: &SchemaRef) -> Result<DeltaTable> {
        let columns = kernel_schema(schema)?;
        let created = self
            .unloaded()?
            .create()
            .with_save_mode(SaveMode::Ignore)
            .with_table_name(title(&self.job))
            .with_columns(columns.fields().cloned())
            .with_partition_columns([INTERVAL])
            // With retries, the loser of a race would commit its own creation after the winner's.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await;
        match created {
            Ok(table) => Ok(table),
            // Another interval's run created it in the meantime.
            Err(source) if is_conflict(&source) => {
                let mut table = self.unloaded()?;
                table.load().await.map_err(unreadable).at("table", &self.location)?;
                Ok(table)
            }
            Err(source) => {
                Err(because_of("could not create the predictions table", source)).at("table", &self.location)
            }
        }
    }

    /// A handle without state, for a table that may not exist yet.
    fn unloaded(&self) -> Result<DeltaTable> {
        if let Some(path) = self.location.local_path() {
            std::fs::create_dir_all(&path).map_err(|source| {
                Error::failed("could not create the folder of the predictions")
                    .with("table", &self.location)
                    .because(source)
            })?;
        }
        // The lake's own store, so that a commit is on the disk before it counts.
        delta_builder(&self.location)
            .and_then(deltalake::DeltaTableBuilder::build)
            .map_err(unreadable)
            .at("table", &self.location)
    }

    /// The files of an interval.
    async fn files(&self, table: &DeltaTable, interval: &Interval) -> Result<Vec<CommittedFile>> {
        let name = interval.to_string();
        let partition = [(INTERVAL, FilterOp::Eq, FilterValue::Scalar(&name))];
        table
            .get_active_add_actions_by_partitions(&partition)
            .map_ok(|file| CommittedFile {
                path: file.path().into_owned(),
                rows: file.num_records().unwrap_or(0) as u64,
                remove: file.remove_action(true),
            })
            .try_collect()
            .await
            .map_err(unreadable)
            .at("table", &self.location)
    }

    fn application(&self, interval: &Interval) -> String {
        format!("lakemill/{}/{interval}", self.job)
    }
}

/// Writes the rows of one interval into files that no commit names yet.
pub struct SliceWriter {
    writer: DeltaWriter,
    root: Location,
}

impl SliceWriter {
    /// Adds rows; the batch has the partition column.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).await.map_err(unwritable).at("table", &self.root)
    }

    /// Closes the files.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn close(self) -> Result<Staged> {
        let mut adds = self.writer.close().await.map_err(unwritable).at("table", &self.root)?;
        adds.sort_by(|a, b| a.path.cmp(&b.path));
        let paths = adds.iter().map(|add| add.path.as_str());
        Ok(Staged { rows: count(&adds), files: urls(&self.root, paths), adds })
    }
}

impl SliceWriter {
    /// Gives up the files that are being written, as far as that is possible; what remains is garbage,
    /// never a hazard.
    pub async fn abandon(self) {
        if let Err(source) = self.writer.abort().await {
            tracing::debug!(table = %self.root, %source, "files that were being written could not be given up");
        }
    }
}

impl Staged {
    /// Removes the files again, as far as that is possible; what remains is garbage, never a hazard.
    pub async fn abandon(self, predictions: &Predictions) {
        let Ok(table) = predictions.unloaded() else { return };
        let store = table.object_store();
        for add in self.adds {
            let Ok(path) = object_store::path::Path::from_url_path(&add.path) else { continue };
            if let Err(source) = store.delete(&path).await {
                tracing::debug!(file = %path, %source, "a staged file could not be removed");
            }
        }
    }
}

/// The name in the table's own metadata.
fn title(job: &str) -> String {
    format!("predictions of {job}")
}

fn overtaken(interval: &Interval) -> Error {
    Error::conflict("another run has committed this interval in the meantime")
        .with("interval", interval)
        .hint("run the command again: it sees the other run's slice and is a no-op where the inputs are the same")
}

fn urls<'a>(root: &Location, paths: impl Iterator<Item = &'a str>) -> Vec<String> {
    let base = root.url().as_str().trim_end_matches('/');
    paths.map(|path| format!("{base}/{path}")).collect()
}

fn count(adds: &[Add]) -> u64 {
    let records = |add: &Add| add.get_stats().ok().flatten().and_then(|stats| u64::try_from(stats.num_records).ok());
    adds.iter().map(|add| records(add).unwrap_or(0)).sum()
}

fn kernel_schema(schema: &Schema) -> Result<StructType> {
    schema
        .try_into_kernel()
        .map_err(|source| Error::failed("these prediction columns have no Delta type").because(source))
}

fn arrow_schema(table: &DeltaTable) -> Result<Schema> {
    let state = table.snapshot().map_err(unreadable)?;
    let untyped = |source| Error::failed("the predictions table has columns without an Arrow type").because(source);
    state.schema().as_ref().try_into_arrow().map_err(untyped)
}

/// The table's new metadata where the rows bring columns that it lacks; nothing where it has all.
fn merged_schema(table: &DeltaTable, rows: &SchemaRef) -> Result<Option<deltalake::kernel::Metadata>> {
    let state = table.snapshot().map_err(unreadable)?;
    let present = arrow_schema(table)?;
    let mut fields: Vec<_> = present.fields().iter().cloned().collect();
    for field in rows.fields() {
        match present.field_with_name(field.name()) {
            Ok(old) if old.data_type() == field.data_type() => {}
            Ok(old) => {
                return Err(Error::usage("a prediction column has another type than in the table")
                    .with("column", field.name())
                    .with("in the table", old.data_type())
                    .with("now", field.data_type())
                    .hint("give the new shape a table of its own: change `output` in [score]"));
            }
            Err(_) => fields.push(Arc::new(field.as_ref().clone().with_nullable(true))),
        }
    }
    if fields.len() == present.fields().len() {
        return Ok(None);
    }
    let schema = kernel_schema(&Schema::new(fields))?;
    let metadata = state.metadata().clone().with_schema(&schema);
    metadata.map(Some).map_err(|source| Error::failed("could not add columns to the predictions table").because(source))
}

fn unreadable(source: DeltaTableError) -> Error {
    because_of("could not read the predictions table", source)
}

fn unwritable(source: DeltaTableError) -> Error {
    because_of("could not write the predictions", source)
}

fn commit_error(source: DeltaTableError, interval: &Interval) -> Error {
    if is_conflict(&source) {
        return overtaken(interval).because(source);
    }
    because_of("could not commit the predictions", source).with("interval", interval)
}

/// Whether somebody else's commit stands in the way: the same run, tried again, looks at it first.
fn is_conflict(error: &DeltaTableError) -> bool {
    use CommitConflictError as Conflict;
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => match source {
            TransactionError::VersionAlreadyExists(_) | TransactionError::MaxCommitAttempts(_) => true,
            TransactionError::CommitConflict(conflict) => matches!(
                conflict,
                Conflict::ConcurrentAppend
                    | Conflict::ConcurrentDeleteRead
                    | Conflict::ConcurrentDeleteDelete
                    | Conflict::ConcurrentTransaction
                    // Another interval's run has brought a new column, or made the table.
                    | Conflict::MetadataChanged
                    | Conflict::ProtocolChanged(_)
            ),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::io;

    fn interval() -> Interval {
        "2018-06-20".parse().unwrap()
    }

    fn store(kind: io::ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: io::Error::from(kind).into() }
    }

    fn conflict(conflict: CommitConflictError) -> DeltaTableError {
        DeltaTableError::Transaction { source: TransactionError::CommitConflict(conflict) }
    }

    #[test]
    fn other_writers_commits_are_conflicts_and_broken_tables_are_not() {
        use CommitConflictError as Conflict;
        for error in [
            DeltaTableError::VersionAlreadyExists(3),
            DeltaTableError::Transaction { source: TransactionError::MaxCommitAttempts(15) },
            conflict(Conflict::MetadataChanged),
            conflict(Conflict::ConcurrentTransaction),
            conflict(Conflict::ConcurrentDeleteDelete),
            conflict(Conflict::ProtocolChanged("x".to_owned())),
        ] {
            assert_eq!(commit_error(error, &interval()).kind(), ErrorKind::Conflict);
        }
        for error in [
            conflict(Conflict::UnsupportedWriterVersion(9)),
            conflict(Conflict::NoMetadata),
            DeltaTableError::Transaction { source: TransactionError::DeltaTableAppendOnly },
        ] {
            assert_eq!(commit_error(error, &interval()).kind(), ErrorKind::Failed);
        }
    }

    #[test]
    fn what_a_later_try_may_mend_is_transient() {
        let timeout = || DeltaTableError::ObjectStore { source: store(io::ErrorKind::TimedOut) };
        assert_eq!(commit_error(timeout(), &interval()).kind(), ErrorKind::Transient);
        assert_eq!(unreadable(timeout()).kind(), ErrorKind::Transient);
        assert_eq!(unwritable(timeout()).kind(), ErrorKind::Transient);
        let parquet = parquet::errors::ParquetError::External(Box::new(store(io::ErrorKind::ConnectionReset)));
        assert_eq!(unwritable(DeltaTableError::Parquet { source: parquet }).kind(), ErrorKind::Transient);
        let full = DeltaTableError::ObjectStore { source: store(io::ErrorKind::StorageFull) };
        assert_eq!(unwritable(full).kind(), ErrorKind::Failed);
        assert_eq!(unreadable(DeltaTableError::NotInitialized).kind(), ErrorKind::Failed);
    }
}
