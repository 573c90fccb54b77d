//! One bucket as an object store: with a bound on requests, with errors that tell nothing secret, and
//! with conditional puts whose outcome is known.
//!
//! A put-if-absent whose answer was lost may have created the object. A client that only repeats it is
//! told "it exists" and takes itself for the loser of a race: a commit that landed would be reported
//! as a conflict. So conditional puts are repeated here, and whoever is told "it exists" after such a
//! doubt looks whose bytes it holds.

use super::Failure;
use super::failure::clean;
use super::{BACKOFF_FIRST, BACKOFF_MOST, RETRY_TIME};
use crate::error::ErrorKind;
use crate::lake::errors::kind_of_causes;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::aws::AmazonS3;
use object_store::limit::LimitStore;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A bucket.
pub(super) struct Bucket {
    pub(super) name: String,
    /// Repeats requests that failed in passing.
    pub(super) patient: Arc<LimitStore<AmazonS3>>,
    /// Sends each request once.
    pub(super) once: LimitStore<AmazonS3>,
    /// How often a request is repeated.
    pub(super) retries: usize,
}

/// The library's own would show the credentials' provider.
impl fmt::Debug for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "S3({})", self.name)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "S3({})", self.name)
    }
}

impl Bucket {
    /// Puts on a condition, again and again while the store is in trouble, and knows who won.
    async fn put_conditionally(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let began = Instant::now();
        let (mut wait, mut in_doubt) = (BACKOFF_FIRST, false);
        for tried in 0.. {
            let refused = match self.once.put_opts(path, payload.clone(), options.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) => clean(error),
            };
            if in_doubt && matches!(refused, Error::AlreadyExists { .. } | Error::Precondition { .. }) {
                return self.ours(path, &payload).await?.ok_or(refused);
            }
            let passing = kind_of_causes(&refused) == ErrorKind::Transient;
            if !passing || tried >= self.retries || began.elapsed() > RETRY_TIME {
                return Err(refused);
            }
            in_doubt = true;
            tracing::info!(%path, tried, %refused, "a conditional put is tried again");
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(BACKOFF_MOST);
        }
        Err(Error::Generic { store: "S3", source: "no try was made".into() })
    }

    /// The object at `path`, if it holds exactly these bytes: then the put whose answer was lost made it.
    async fn ours(&self, path: &Path, payload: &PutPayload) -> Result<Option<PutResult>> {
        let found = match self.patient.get(path).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(clean(error)),
        };
        let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
        if found.meta.size != payload.content_length() as u64 {
            return Ok(None);
        }
        let bytes = found.bytes().await.map_err(clean)?;
        let wanted: Vec<u8> = payload.iter().flat_map(|part| part.iter().copied()).collect();
        Ok((bytes == wanted).then_some(PutResult { e_tag, version }))
    }
}

/// Between half of it and all of it, so that writers that failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    wait.mul_f64(0.5 + (random >> 11) as f64 / (1_u64 << 54) as f64)
}

/// Requests that are sent again because their answer was cut off: the library repeats reads of objects,
/// but not those of listings.
struct Again {
    left: usize,
    wait: Duration,
    began: Instant,
}

impl Again {
    fn new(retries: usize) -> Self {
        Self { left: retries, wait: BACKOFF_FIRST, began: Instant::now() }
    }

    fn may(&mut self, error: &Error) -> bool {
        let may = self.left > 0 && self.began.elapsed() < RETRY_TIME && Failure::is_cut(error);
        self.left -= usize::from(may);
        may
    }

    async fn wait(&mut self) {
        tokio::time::sleep(jittered(self.wait)).await;
        self.wait = (self.wait * 2).min(BACKOFF_MOST);
    }
}

/// A listing that goes on behind the last object that it gave.
struct Listing {
    store: Arc<LimitStore<AmazonS3>>,
    prefix: Option<Path>,
    after: Option<Path>,
    objects: BoxStream<'static, Result<ObjectMeta>>,
    again: Again,
}

impl Listing {
    fn begin(bucket: &Bucket, prefix: Option<&Path>, after: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = Arc::clone(&bucket.patient);
        let (prefix, after) = (prefix.cloned(), after.cloned());
        let objects = Self::open(&store, prefix.as_ref(), after.as_ref());
        let listing = Self { store, prefix, after, objects, again: Again::new(bucket.retries) };
        stream::try_unfold(listing, Self::next).boxed()
    }

    fn open(
        store: &LimitStore<AmazonS3>,
        prefix: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match after {
            Some(after) => store.list_with_offset(prefix, after),
            None => store.list(prefix),
        }
    }

    async fn next(mut self) -> Result<Option<(ObjectMeta, Self)>> {
        loop {
            match self.objects.try_next().await.map_err(clean) {
                Ok(Some(object)) => {
                    self.after = Some(object.location.clone());
                    return Ok(Some((object, self)));
                }
                Ok(None) => return Ok(None),
                Err(error) if self.again.may(&error) => {
                    // Lets go of the listing's share of the requests first.
                    self.objects = stream::empty().boxed();
                    self.again.wait().await;
                    self.objects = Self::open(&self.store, self.prefix.as_ref(), self.after.as_ref());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match options.mode {
            PutMode::Overwrite => self.patient.put_opts(location, payload, options).await.map_err(clean),
            PutMode::Create | PutMode::Update(_) => self.put_conditionally(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.patient.put_multipart_opts(location, options).await.map_err(clean)?;
        Ok(Box::new(CleanUpload(upload)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.patient.get_opts(location, options).await.map_err(clean)?;
        if let GetResultPayload::Stream(bytes) = found.payload {
            found.payload = GetResultPayload::Stream(bytes.map_err(clean).boxed());
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.patient.get_ranges(location, ranges).await.map_err(clean)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.patient.delete_stream(locations).map_err(clean).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        Listing::begin(self, prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        Listing::begin(self, prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut again = Again::new(self.retries);
        loop {
            match self.patient.list_with_delimiter(prefix).await.map_err(clean) {
                Err(error) if again.may(&error) => again.wait().await,
                done => return done,
            }
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.patient.copy_opts(from, to, options).await.map_err(clean)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.patient.rename_opts(from, to, options).await.map_err(clean)
    }
}

/// An upload whose errors tell nothing secret.
#[derive(Debug)]
struct CleanUpload(Box<dyn MultipartUpload>);

#[async_trait]
impl MultipartUpload for CleanUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.0.put_part(data).map(|done| done.map_err(clean)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.0.complete().await.map_err(clean)
    }

    async fn abort(&mut self) -> Result<()> {
        self.0.abort().await.map_err(clean)
    }
}
