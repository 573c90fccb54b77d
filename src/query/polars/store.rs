//! The lake's own stores for Polars: one client, one identity and one set of clean errors for whoever reads.
//!
//! Polars opens `s3://` with a client and a search for credentials of its own. So files that are not on a local disk
//! are named `lakemill://N/path`, where `N` is a store that was handed to Polars before.

use crate::error::Error;
use crate::tables::errors::from_store;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use polars::io::cloud::{CloudOptions, ExtObjectStoreBuilder, register_object_store_builder};
use polars::prelude::{PlRefPath, PolarsError, PolarsResult};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The scheme under which Polars asks for our stores.
const SCHEME: &str = "lakemill";

/// The stores that were handed over; their places are their names.
static STORES: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());

/// A name of `path` in `store` that Polars can open.
///
/// # Errors
/// Where Polars does not take stores of others.
pub(super) fn named(store: &Arc<dyn ObjectStore>, path: &Path) -> crate::error::Result<PlRefPath> {
    registered()?;
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = stores.iter().position(|known| Arc::ptr_eq(&known.inner, store));
    let number = known.unwrap_or_else(|| {
        stores.push(Arc::new(Watched { inner: Arc::clone(store), failed: Mutex::default() }));
        stores.len() - 1
    });
    Ok(PlRefPath::new(format!("{SCHEME}://{number}/{path}")))
}

/// What a store failed with since this was last asked: Polars passes on only its text.
pub(super) fn failure() -> Option<Error> {
    let stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.iter().filter_map(|store| store.failed.lock().unwrap_or_else(PoisonError::into_inner).take()).next_back()
}

fn registered() -> crate::error::Result<()> {
    static DONE: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        polars::polars_utils::pl_path::_allow_ext_scheme(SCHEME)
            .and_then(|()| register_object_store_builder(SCHEME, Arc::new(Builder)))
            .map_err(|error| error.to_string())
    });
    done.clone().map_err(|told| Error::failed("polars takes no stores of others").because(Error::failed(told)))
}

struct Builder;

impl ExtObjectStoreBuilder for Builder {
    fn build(
        &self,
        url: &PlRefPath,
        _options: Option<&CloudOptions>,
    ) -> PolarsResult<Arc<dyn ObjectStore + Send + Sync>> {
        let number = url.as_str().split("://").nth(1).and_then(|rest| rest.split('/').next()?.parse::<usize>().ok());
        let stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
        match number.and_then(|number| stores.get(number)) {
            Some(store) => Ok(Arc::<Watched>::clone(store)),
            None => Err(PolarsError::ComputeError("no such store".into())),
        }
    }
}

/// A store that remembers what it failed with.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn ObjectStore>,
    failed: Mutex<Option<Error>>,
}

impl Watched {
    fn noted<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let told = error.to_string();
            let error = from_store(error);
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            object_store::Error::Generic { store: SCHEME, source: told.into() }
        })
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(out)
    }
}

#[async_trait]
impl ObjectStore for Watched {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.noted(self.inner.get_opts(location, options).await)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<bytes::Bytes>> {
        self.noted(self.inner.get_ranges(location, ranges).await)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
