//! One version of a Delta table as it is loaded.
//!
//! Of most tables the list of files is held, with all their statistics: whoever plans a query over the table needs no
//! second look at the log. The statistics of 300,000 files are most of a gigabyte, though, and a query needs those of one
//! or two columns. So a large log is read again whenever its files are asked for, file after file, and nothing of it is
//! held.

use super::delta::open;
use super::delta_builder;
use super::delta_versions::Versions;
use super::errors::from_delta;
use super::no_hint::NoHint;
use crate::error::Result;
use crate::lake::Location;
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake::kernel::{LogicalFileView, Metadata, Protocol, Snapshot, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use object_store::ObjectStore;
use std::sync::Arc;

/// A log of more bytes than this is not held. Checkpoints are compressed: 300,000 files with the statistics of eleven
/// columns are 29 MB.
const LARGE_LOG_BYTES: u64 = 12 << 20;

/// A loaded version.
pub(super) enum Loaded {
    /// With its files.
    Held(DeltaTable),
    /// Without them.
    Streamed { snapshot: Arc<Snapshot>, log: LogStoreRef },
}

impl Loaded {
    /// Loads the log up to `version`.
    pub(super) async fn open(location: &Location, versions: &Versions, version: Option<u64>) -> Result<Self> {
        let at = version.or_else(|| versions.newest()).unwrap_or_default();
        if versions.bytes(at) <= LARGE_LOG_BYTES {
            return open(location, version).await.map(Self::Held);
        }
        match Self::stream(location, location.store(), version).await {
            // As with tables that are held, the hint is wrong, not the log.
            Err(error) if error.to_string().contains("_last_checkpoint hint") => {
                Self::stream(location, Arc::new(NoHint(location.store())), version).await.map_err(from_delta)
            }
            streamed => streamed.map_err(from_delta),
        }
    }

    async fn stream(
        location: &Location,
        store: Arc<dyn ObjectStore>,
        version: Option<u64>,
    ) -> std::result::Result<Self, DeltaTableError> {
        let builder = delta_builder(location)?.with_storage_backend(store, location.url().clone());
        let log = builder.build_storage()?;
        let snapshot = Snapshot::try_new(log.as_ref(), version).await?;
        Ok(Self::Streamed { snapshot: Arc::new(snapshot), log })
    }

    pub(super) fn log(&self) -> LogStoreRef {
        match self {
            Self::Held(table) => table.log_store(),
            Self::Streamed { log, .. } => Arc::clone(log),
        }
    }

    pub(super) fn version(&self) -> Result<u64> {
        Ok(match self {
            Self::Held(table) => table.snapshot().map_err(from_delta)?.version(),
            Self::Streamed { snapshot, .. } => snapshot.version(),
        })
    }

    pub(super) fn metadata(&self) -> Result<&Metadata> {
        Ok(match self {
            Self::Held(table) => table.snapshot().map_err(from_delta)?.metadata(),
            Self::Streamed { snapshot, .. } => snapshot.metadata(),
        })
    }

    pub(super) fn protocol(&self) -> Result<&Protocol> {
        Ok(match self {
            Self::Held(table) => table.snapshot().map_err(from_delta)?.protocol(),
            Self::Streamed { snapshot, .. } => snapshot.protocol(),
        })
    }

    pub(super) fn schema(&self) -> Result<Arc<StructType>> {
        Ok(match self {
            Self::Held(table) => table.snapshot().map_err(from_delta)?.schema(),
            Self::Streamed { snapshot, .. } => snapshot.schema(),
        })
    }

    /// A scan of all files.
    pub(super) fn scan(&self, config: DeltaScanConfig) -> datafusion::error::Result<DeltaScanNext> {
        match self {
            Self::Held(table) => DeltaScanNext::new(table.snapshot()?.snapshot().clone(), config),
            Self::Streamed { snapshot, .. } => DeltaScanNext::new(Arc::clone(snapshot), config),
        }
    }

    /// Shows every file, in the order of the log: newest commits first.
    ///
    /// # Errors
    /// Where the log cannot be read again.
    pub(super) async fn each_file(&self, mut look: impl FnMut(&LogicalFileView) + Send) -> Result<()> {
        match self {
            Self::Held(table) => {
                table.snapshot().map_err(from_delta)?.log_data().iter().for_each(|file| look(&file));
                Ok(())
            }
            Self::Streamed { snapshot, log } => {
                let mut files = snapshot.file_views(log.as_ref(), None);
                while let Some(file) = files.try_next().await.map_err(from_delta)? {
                    look(&file);
                }
                Ok(())
            }
        }
    }
}
