//! Delta Lake tables, through deltalake and its kernel.
//!
//! A pin is a version number together with its loaded snapshot, so that planning and reading need no
//! second look at the log. Reader features that the kernel does not know are refused at pin time.

use super::delta_store::delta_builder;
use super::delta_versions::Versions;
use super::errors::{from_datafusion, from_delta, unreadable_feature};
use super::in_order::InOrder;
use super::pinned::{At, Contents, PinnedTable, TableRequest};
use super::place::Place;
use super::{TableFormat, files};
use crate::error::{Error, Result};
use crate::lake::Location;
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use std::sync::Arc;
use url::Url;

/// The format `delta`: a folder with a `_delta_log`.
#[derive(Debug)]
pub(super) struct Delta;

#[async_trait]
impl TableFormat for Delta {
    fn name(&self) -> &'static str {
        "delta"
    }

    async fn recognises(&self, place: &Place) -> Result<bool> {
        place.has_folder("_delta_log").await
    }

    async fn pin(&self, request: &TableRequest, _place: &Place) -> Result<PinnedTable> {
        let location = &request.location;
        let version = match request.at {
            At::Latest => None,
            At::Version(version) => Some(Versions::list(location).await?.check(version)?),
            At::AsOf(at) => {
                let versions = Versions::list(location).await?;
                Some(versions.as_of(at, location.store().as_ref()).await?)
            }
        };
        let table = open(location, version).await?;
        describe(request, table)
    }

    async fn provider(&self, table: &PinnedTable, session: &SessionContext) -> Result<Arc<dyn TableProvider>> {
        let Contents::Delta(delta) = &table.contents else {
            return Err(Error::failed("the pin is not one of a Delta table"));
        };
        files::register_store(session, &table.place);
        let scans = scans(delta)?;
        Ok(Arc::new(InOrder::new(scans)?))
    }
}

/// Loads the log up to `version`, or all of it.
async fn open(location: &Location, version: Option<u64>) -> Result<DeltaTable> {
    let builder = delta_builder(location).map_err(from_delta)?;
    let builder = match version {
        Some(version) => builder.with_version(version),
        None => builder,
    };
    builder.load().await.map_err(from_delta)
}

fn describe(request: &TableRequest, table: DeltaTable) -> Result<PinnedTable> {
    let state = table.snapshot().map_err(from_delta)?;
    let version = state.version();
    let (mut files, mut bytes, mut rows) = (0_u64, 0_u64, Some(0_u64));
    for file in state.log_data().iter() {
        files += 1;
        bytes += u64::try_from(file.size()).unwrap_or_default();
        let deleted = file.deletion_vector_descriptor().map_or(0, |vector| vector.cardinality);
        let live =
            file.num_records().and_then(|rows| (rows as u64).checked_sub(u64::try_from(deleted).unwrap_or_default()));
        rows = rows.zip(live).map(|(sum, live)| sum + live);
    }
    let changed_at = state.version_timestamp(version).and_then(DateTime::from_timestamp_millis);
    // Building the scan checks the reader features and gives the schema as SQL will see it.
    let schema = scan(&table)?.schema();
    Ok(PinnedTable {
        name: request.name.clone(),
        format: Delta.name().to_owned(),
        location: request.location.to_string(),
        version: version.to_string(),
        changed_at,
        files,
        rows,
        bytes,
        schema,
        place: request.location.clone(),
        resolved: PinnedTable::resolve(&request.location),
        contents: Contents::Delta(Arc::new(table)),
    })
}

fn scan(table: &DeltaTable) -> Result<DeltaScanNext> {
    let snapshot = table.snapshot().map_err(from_delta)?.snapshot().clone();
    // Partition values come as plain columns, so that a feature does not change its type when the
    // writer changes the partitioning.
    let config = DeltaScanConfig::new().with_wrap_partition_values(false);
    DeltaScanNext::new(snapshot, config).map_err(|error| match unreadable_feature(&error.to_string()) {
        Some(refusal) => refusal.because(error),
        None => from_datafusion(error),
    })
}

/// One scan, or two where some files have deletion vectors and others have none: deltalake reads
/// the two kinds side by side in no fixed order, so each gets a scan of its own.
fn scans(table: &DeltaTable) -> Result<Vec<Arc<dyn TableProvider>>> {
    let state = table.snapshot().map_err(from_delta)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for file in state.log_data().iter() {
        let list = if file.deletion_vector_descriptor().is_some() { &mut with } else { &mut without };
        list.push(in_scan(&file.path()));
    }
    if with.is_empty() || without.is_empty() {
        return Ok(vec![Arc::new(scan(table)?)]);
    }
    let mut scans: Vec<Arc<dyn TableProvider>> = Vec::with_capacity(2);
    for files in [without, with] {
        scans.push(Arc::new(scan(table)?.with_file_paths(files)));
    }
    Ok(scans)
}

/// A data file's path as a scan's selection wants it: as a URL or encoded like the store's paths.
fn in_scan(path: &str) -> String {
    if Url::parse(path).is_ok() { path.to_owned() } else { object_store::path::Path::from(path).into() }
}
