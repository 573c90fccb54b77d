//! How delta-rs reaches a table: through the lake's own store, whatever its scheme.

use crate::lake::Location;
use deltalake::logstore::object_store::ObjectStore;
use deltalake::logstore::{LogStore, LogStoreFactory, StorageConfig, default_logstore, logstore_factories};
use deltalake::{DeltaResult, DeltaTableBuilder};
use std::sync::{Arc, Once};
use url::Url;

/// Opens nothing yet: a builder of a table at `location` that reads and writes through the location's store.
///
/// # Errors
/// Where the URL can't be that of a table.
pub fn delta_builder(location: &Location) -> DeltaResult<DeltaTableBuilder> {
    static KNOWN: Once = Once::new();
    KNOWN.call_once(|| {
        // delta-rs knows its local log store under `file` only. For a store with put-if-absent the same one is right.
        for scheme in ["s3://", "gs://", "az://"].iter().filter_map(|scheme| Url::parse(scheme).ok()) {
            logstore_factories().insert(scheme, Arc::new(PutIfAbsent));
        }
    });
    let url = location.url().clone();
    Ok(DeltaTableBuilder::from_url(url.clone())?.with_storage_backend(location.store(), url))
}

/// Logs whose commits are objects put if absent.
struct PutIfAbsent;

impl LogStoreFactory for PutIfAbsent {
    fn with_options(
        &self,
        prefixed: Arc<dyn ObjectStore>,
        root: Arc<dyn ObjectStore>,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed, root, location, options))
    }
}
