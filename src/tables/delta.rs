//! Delta Lake tables, through deltalake and its kernel.
//!
//! A pin is a version number together with its loaded snapshot, so that planning and reading need no
//! second look at the log. Reader features that are not read are refused at pin time, see
//! [`super::delta_features`].

use super::by_id::ById;
use super::delta_features::Protocol;
use super::delta_loaded::Loaded;
use super::delta_log::Header;
use super::delta_schema;
use super::delta_store::delta_builder;
use super::delta_told::Told;
use super::delta_versions::{Versions, in_commit_timestamp};
use super::empty_text::EmptyIsNull;
use super::errors::{from_datafusion, from_delta, unreadable_feature};
use super::guard::guarded_log;
use super::in_order::InOrder;
use super::inspect::{History, Inspection};
use super::no_hint::NoHint;
use super::pinned::{At, Contents, PinnedTable, TableRequest};
use super::place::Place;
use super::{TableFormat, files, inspect_delta};
use crate::error::{Error, Result};
use crate::lake::Location;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::DeltaTableError;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake::kernel::{ColumnMetadataKey, DataType, LogicalFileView, MetadataValue, Snapshot};
use object_store::ObjectStore;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use url::Url;

/// Scans of one table, to be read one after the other.
type Providers = Vec<Arc<dyn TableProvider>>;

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
        guarded_log(pinned(request)).await
    }

    async fn provider(&self, table: &PinnedTable, session: &SessionContext) -> Result<Arc<dyn TableProvider>> {
        let Contents::Delta(delta) = &table.contents else {
            return Err(Error::failed("the pin is not one of a Delta table"));
        };
        files::register_store(session, &table.place);
        let (scans, empty) = delta.scans().await?;
        let scan = InOrder::new(scans, delta.by_id()?)?;
        let told = Told::new(Arc::new(scan), &table.name, delta);
        Ok(EmptyIsNull::over(Arc::new(told), &empty))
    }

    async fn inspect(&self, request: &TableRequest, _place: &Place, history: History) -> Result<Inspection> {
        inspect_delta::inspect(request, history).await
    }
}

async fn pinned(request: &TableRequest) -> Result<PinnedTable> {
    let location = &request.location;

    let versions = Versions::list(location).await?;
    let version = match request.at {
        // By its number: a commit that arrives from here on is none of this pin's.
        At::Latest => versions.newest(),
        At::Version(version) => Some(versions.check(version)?),
        At::AsOf(at) => Some(versions.as_of(at, location.store().as_ref()).await?),
    };
    let loaded = match Loaded::open(location, &versions, version).await {
        Ok(loaded) => loaded,
        Err(error) => return Err(reason(location, &versions, version).await.unwrap_or(error)),
    };
    let pinned = match PinnedDelta::new(loaded).await {
        Ok(pinned) => pinned,
        // A log that is not held is read to its end only here.
        Err(error) => return Err(reason(location, &versions, version).await.unwrap_or(error)),
    };
    let pinned = describe(request, &versions, pinned).await?;
    versions.refuse_empty_commits(version.unwrap_or_default())?;
    Ok(pinned)
}

/// Loads the log up to `version`, or all of it.
pub(super) async fn open(location: &Location, version: Option<u64>) -> Result<DeltaTable> {
    match load(location, location.store(), version).await {
        // The hint is wrong, not the log.
        Err(error) if error.to_string().contains("_last_checkpoint hint") => {
            load(location, Arc::new(NoHint(location.store())), version).await.map_err(from_delta)
        }
        loaded => loaded.map_err(from_delta),
    }
}

async fn load(
    location: &Location,
    store: Arc<dyn ObjectStore>,
    version: Option<u64>,
) -> std::result::Result<DeltaTable, DeltaTableError> {
    let builder = delta_builder(location)?.with_storage_backend(store, location.url().clone());
    let builder = match version {
        Some(version) => builder.with_version(version),
        None => builder,
    };
    builder.load().await
}

/// Why a log cannot be loaded, where its own words tell: a feature that is not read, or an action
/// without which nothing is known.
pub(super) async fn reason(location: &Location, versions: &Versions, version: Option<u64>) -> Option<Error> {
    let version = version.or_else(|| versions.newest())?;
    if let Err(error) = versions.check(version) {
        return Some(error);
    }
    let header = match Header::read(location, versions, version).await {
        Ok(header) => header,
        Err(error) => return Some(error),
    };
    let lost = match (header.protocol, header.metadata) {
        (Some(protocol), Some(metadata)) => {
            if let Err(refusal) = protocol.check() {
                return Some(refusal);
            }
            if let Some(error) = delta_schema::unreadable(&metadata) {
                return Some(error);
            }
            let damaged = Header::damaged(location, versions, version).await.ok()??;
            return Some(
                Error::failed("a commit of the table's log is damaged: it does not end in a whole action")
                    .with("file", &damaged.location)
                    .hint("restore that file, or read a version before it"),
            );
        }
        (None, _) => "protocol",
        (_, None) => "metadata",
    };
    Some(
        Error::failed(format!("the table's log has no {lost} action up to version {version}"))
            .hint("a file under _delta_log was lost or cut off: restore it, or copy the data into a new table"),
    )
}

/// A loaded table, and how it is scanned.
pub(super) struct PinnedDelta {
    /// The version as it was loaded.
    pub(super) loaded: Loaded,
    /// The same version without the features that deltalake refuses for no reason that concerns reading.
    scanned: Option<Arc<Snapshot>>,
    files: Files,
}

/// What the log says of all files together, found in one pass.
#[derive(Default)]
struct Files {
    bytes: u64,
    /// Rows that are not deleted, where all files tell.
    rows: Option<u64>,
    /// Files with and without deletion vectors.
    with: u64,
    without: u64,
    /// Whether some lie outside of the table's folder.
    outside: bool,
    /// The partition columns of texts that are an empty text in some file.
    empty: BTreeSet<String>,
}

impl Files {
    async fn of(loaded: &Loaded) -> Result<Self> {
        let texts = text_partitions(loaded)?;
        let mut files = Self { rows: Some(0), ..Self::default() };
        loaded.each_file(|file| files.count(file, &texts)).await?;
        Ok(files)
    }

    fn count(&mut self, file: &LogicalFileView, texts: &[(String, String)]) {
        self.bytes += u64::try_from(file.size()).unwrap_or_default();
        let vector = file.deletion_vector_descriptor();
        *(if vector.is_some() { &mut self.with } else { &mut self.without }) += 1;
        let deleted = vector.map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or_default());
        let live = file.num_records().and_then(|rows| (rows as u64).checked_sub(deleted));
        self.rows = self.rows.zip(live).map(|(sum, live)| sum + live);
        self.outside |= Url::parse(&file.path()).is_ok();
        if !texts.is_empty() {
            let values = file.partition_values_map();
            let is_empty = |physical: &String| values.get(physical).is_some_and(|value| value.as_deref() == Some(""));
            self.empty.extend(texts.iter().filter(|(_, physical)| is_empty(physical)).map(|(name, _)| name.clone()));
        }
    }
}

impl PinnedDelta {
    /// # Errors
    /// Where the table needs what cannot be read.
    pub(super) async fn new(loaded: Loaded) -> Result<Self> {
        let protocol = Protocol::of(loaded.protocol()?)?;
        protocol.check()?;
        let scanned = match protocol.for_deltalake() {
            None => None,
            Some(protocol) => {
                let snapshot = Snapshot::try_new(loaded.log().as_ref(), Some(loaded.version()?)).await;
                Some(Arc::new(with_protocol(&snapshot.map_err(from_delta)?, &protocol)?))
            }
        };
        let files = Files::of(&loaded).await?;
        Ok(Self { loaded, scanned, files })
    }

    fn scan(&self) -> Result<DeltaScanNext> {
        // Partition values come as plain columns, so that a feature does not change its type when the
        // writer changes the partitioning.
        let config = DeltaScanConfig::new().with_wrap_partition_values(false);
        let scan = match &self.scanned {
            Some(snapshot) => DeltaScanNext::new(Arc::clone(snapshot), config),
            None => self.loaded.scan(config),
        };
        scan.map_err(|error| match unreadable_feature(&error.to_string()) {
            Some(refusal) => refusal.because(error),
            None => from_datafusion(error),
        })
    }

    /// The names of columns by their ids, where the table is mapped by id.
    fn by_id(&self) -> Result<Option<HashMap<String, String>>> {
        let metadata = self.loaded.metadata()?;
        Ok(ById::names(metadata.configuration(), metadata.schema_string()))
    }

    /// One scan, or two where some files have deletion vectors and others have none: deltalake reads
    /// the two kinds side by side in no fixed order, so each gets a scan of its own. Beside them the
    /// partition columns that are an empty text in some file.
    async fn scans(&self) -> Result<(Providers, Vec<String>)> {
        let empty = self.files.empty.iter().cloned().collect();
        // A selection of files cannot name those outside the table's folder.
        if self.files.with == 0 || self.files.without == 0 || self.files.outside {
            return Ok((vec![Arc::new(self.scan()?)], empty));
        }
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let list = |file: &LogicalFileView| {
            let list = if file.deletion_vector_descriptor().is_some() { &mut with } else { &mut without };
            list.push(in_scan(&file.path()));
        };
        self.loaded.each_file(list).await?;
        let mut scans: Vec<Arc<dyn TableProvider>> = Vec::with_capacity(2);
        for files in [without, with] {
            scans.push(Arc::new(self.scan()?.with_file_paths(files)));
        }
        Ok((scans, empty))
    }
}

/// The partition columns that hold texts or bytes: the name, and that in the log's partition values.
fn text_partitions(loaded: &Loaded) -> Result<Vec<(String, String)>> {
    let (metadata, schema) = (loaded.metadata()?, loaded.schema()?);
    let is_mapped = metadata.configuration().get("delta.columnMapping.mode").is_some_and(|mode| mode != "none");
    let text = |name: &String| {
        let field = schema.field(name)?;
        let is_text = [DataType::STRING, DataType::BINARY].contains(field.data_type());
        let mapped = field.get_config_value(&ColumnMetadataKey::ColumnMappingPhysicalName);
        let physical = match mapped.filter(|_| is_mapped) {
            Some(MetadataValue::String(physical)) => physical.clone(),
            _ => name.clone(),
        };
        is_text.then(|| (name.clone(), physical))
    };
    Ok(metadata.partition_columns().iter().filter_map(text).collect())
}

/// The same snapshot under another protocol. Its own form for keeping is the only way to one.
fn with_protocol(snapshot: &Snapshot, protocol: &Protocol) -> Result<Snapshot> {
    /// Where the protocol stands: after the version and the table's root.
    const PROTOCOL: usize = 2;
    let told = |error: serde_json::Error| {
        Error::failed("the table's snapshot cannot be scanned without the features that say nothing").because(error)
    };
    let mut kept = serde_json::to_value(snapshot).map_err(told)?;
    if let Some(place) = kept.get_mut(PROTOCOL) {
        *place = serde_json::to_value(protocol).map_err(told)?;
    }
    serde_json::from_value(kept).map_err(told)
}

async fn describe(request: &TableRequest, versions: &Versions, pinned: PinnedDelta) -> Result<PinnedTable> {
    let version = pinned.loaded.version()?;
    let changed_at = changed_at(&request.location, versions, &pinned).await?;
    // Building the scan checks the reader features and gives the schema as SQL will see it.
    let schema = pinned.scan()?.schema();
    Ok(PinnedTable {
        name: request.name.clone(),
        format: Delta.name().to_owned(),
        location: request.location.to_string(),
        version: version.to_string(),
        changed_at,
        files: pinned.files.with + pinned.files.without,
        rows: pinned.files.rows,
        bytes: pinned.files.bytes,
        schema,
        place: request.location.clone(),
        resolved: PinnedTable::resolve(&request.location),
        contents: Contents::Delta(Arc::new(pinned)),
    })
}

/// When the version was committed, where its commit file is still there: by the in-commit timestamp of
/// a table that writes them, else by the time at which the store received the file.
pub(super) async fn changed_at(
    location: &Location,
    versions: &Versions,
    pinned: &PinnedDelta,
) -> Result<Option<DateTime<Utc>>> {
    let version = pinned.loaded.version()?;
    let Some(commit) = versions.commits().get(&version) else { return Ok(None) };
    let configuration = pinned.loaded.metadata()?.configuration();
    if configuration.get("delta.enableInCommitTimestamps").is_some_and(|on| on == "true")
        && let Some(at) = in_commit_timestamp(location.store().as_ref(), commit).await?
    {
        return Ok(Some(at));
    }
    Ok(DateTime::from_timestamp_millis(commit.last_modified.timestamp_millis()))
}

/// A data file's path as a scan's selection wants it: as a URL or encoded like the store's paths.
fn in_scan(path: &str) -> String {
    if Url::parse(path).is_ok() { path.to_owned() } else { object_store::path::Path::from(path).into() }
}
