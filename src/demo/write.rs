//! The demo lake on disk: `transactions` as a Delta table with one commit a day, `customers`, `terminals` and
//! `inspections` as Parquet files beside it.
//!
//! How far the lake is lies in the table itself: the commit of a day carries an application transaction whose
//! application names the spec and whose version is the day's number. So a lake can be made again at any time: what
//! is there is kept, and after an interruption the days that are missing are added.

use super::generator::Generator;
use super::spec::Spec;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableError};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs;
use std::path::Path;
use url::Url;

/// What a call of [`write_lake`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Days that were added.
    pub days_added: u32,
    /// Transactions that were added.
    pub rows_added: u64,
    /// The version of the transactions table now.
    pub version: u64,
}

/// Makes the lake of `generator` in `folder`: `transactions/`, `customers/`, `terminals/` and `inspections/`. A lake of the same
/// customers, terminals, first day and seed is completed, and left alone where no day is missing; days beyond the
/// spec's last stay. `on_day` is told each day after its commit, with its number of transactions.
///
/// # Errors
/// A usage error where `folder` has another lake or something that is no lake; a conflict where someone else
/// writes the same lake; `failed` where it cannot be written.
pub async fn write_lake(
    generator: &Generator,
    folder: &Path,
    on_day: &mut (dyn FnMut(NaiveDate, usize) + Send),
) -> Result<Written> {
    let mut table = open(&folder.join("transactions")).await?;
    let application = application(generator.spec());
    let last = last_day(&table, &application).await.at("lake", folder.display())?;
    // Tables that the transactions refer to are there first.
    write_file(&folder.join("customers"), &generator.customers()?)?;
    write_file(&folder.join("terminals"), &generator.terminals()?)?;
    write_file(&folder.join("inspections"), &generator.inspections()?)?;

    let mut written = Written { days_added: 0, rows_added: 0, version: 0 };
    for date in generator.spec().dates() {
        let number = date.signed_duration_since(NaiveDate::default()).num_days();
        if last.is_some_and(|last| number <= last) {
            continue;
        }
        let batch = generator.day(date)?;
        let rows = batch.num_rows();
        table = append(table, batch, Transaction::new(&application, number)).await.at("day", date)?;
        written.days_added += 1;
        written.rows_added += rows as u64;
        on_day(date, rows);
    }
    written.version = table.version().unwrap_or_default();
    Ok(written)
}

/// The name under which days are counted: everything that the content of a day depends on, and the first day.
fn application(spec: &Spec) -> String {
    let Spec { customers, terminals, start, seed, days: _ } = spec;
    format!("lakemill-demo-1/customers={customers}/terminals={terminals}/start={start}/seed={seed}")
}

async fn open(folder: &Path) -> Result<DeltaTable> {
    let cannot = |source| Error::failed("could not make the folder").because(source).with("folder", folder.display());
    fs::create_dir_all(folder).map_err(cannot)?;
    let absolute = fs::canonicalize(folder).map_err(cannot)?;
    let url = Url::from_directory_path(&absolute)
        .map_err(|()| Error::usage("the folder cannot be named by a URL").with("folder", folder.display()))?;
    DeltaTable::try_from_url(url)
        .await
        .map_err(|source| Error::failed("could not read the table").because(source).with("table", folder.display()))
}

/// The number of the last day that is there; `None` where the table is not there yet.
async fn last_day(table: &DeltaTable, application: &str) -> Result<Option<i64>> {
    if table.version().is_none() {
        return Ok(None);
    }
    let unreadable = |source| Error::failed("could not read the table").because(source);
    let snapshot = table.snapshot().map_err(unreadable)?;
    let last = snapshot.transaction_version(&table.log_store(), application).await.map_err(unreadable)?;
    if last.is_none() {
        return Err(Error::usage("another lake is there already")
            .hint("give another folder, or remove this one to make the lake anew"));
    }
    Ok(last)
}

async fn append(table: DeltaTable, batch: RecordBatch, day: Transaction) -> Result<DeltaTable> {
    let commit = CommitProperties::default().with_application_transaction(day).with_max_retries(0);
    table
        .write([batch])
        .with_save_mode(SaveMode::Append)
        .with_partition_columns(["tx_date"])
        .with_writer_properties(properties())
        .with_commit_properties(commit)
        .await
        .map_err(|source| match source {
            DeltaTableError::Transaction { .. } | DeltaTableError::VersionAlreadyExists(_) => {
                Error::conflict("someone else writes this lake").because(source).hint("wait for it, then run again")
            }
            source => Error::failed("could not write the table").because(source),
        })
}

fn properties() -> WriterProperties {
    WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build()
}

/// Writes `folder/part-0.parquet` at once, unless the same bytes are there: a table that did not change keeps its
/// file, and with it its version.
fn write_file(folder: &Path, batch: &RecordBatch) -> Result<()> {
    let place = |error: Error| error.with("file", folder.join("part-0.parquet").display());
    let bytes = parquet_bytes(batch).map_err(place)?;
    let file = folder.join("part-0.parquet");
    if fs::read(&file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    // Readers of a folder pass over names that begin with a dot.
    let unfinished = folder.join(".part-0.parquet.unfinished");
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&unfinished, bytes))
        .and_then(|()| fs::rename(&unfinished, &file))
        .map_err(|source| place(Error::new(ErrorKind::Failed, "could not write the file").because(source)))
}

fn parquet_bytes(batch: &RecordBatch) -> Result<Vec<u8>> {
    let write = || {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties()))?;
        writer.write(batch)?;
        writer.into_inner()
    };
    write().map_err(|source| Error::failed("could not make the Parquet file").because(source))
}
