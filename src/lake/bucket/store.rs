//! One bucket as an object store: with a bound on requests, with errors that tell nothing secret, and
//! with conditional puts whose outcome is known.
//!
//! A put-if-absent whose answer was lost may have created the object. A client that only repeats it is
//! told "it exists" and takes itself for the loser of a race: a commit that landed would be reported
//! as a conflict. So conditional puts are repeated here, and whoever is told "it exists" after such a
//! doubt looks whose bytes it holds.

use super::failure::{Failure, clean};
use super::{BACKOFF_FIRST, BACKOFF_MOST, Cloud, RETRY_TIME};
use crate::error::ErrorKind;
use crate::lake::errors::kind_of_causes;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt, future, stream};
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

/// A client of the library, with a bound on its requests.
type Client = LimitStore<Arc<dyn ObjectStore>>;

/// A bucket.
pub(in crate::lake) struct Bucket {
    pub(in crate::lake) cloud: Cloud,
    /// What is shown of it: its name.
    pub(in crate::lake) name: String,
    /// Repeats requests that failed in passing.
    pub(in crate::lake) patient: Arc<Client>,
    /// Sends each request once.
    pub(in crate::lake) once: Client,
    /// How often a request is repeated.
    pub(in crate::lake) retries: usize,
    /// Whether the server begins a listing where it is told to. Others list all, and what comes before is left out here.
    pub(in crate::lake) lists_from: bool,
}

/// The library's own would show the credentials' provider.
impl fmt::Debug for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}({})", self.cloud.name(), self.name)
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}({})", self.cloud.name(), self.name)
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
                Err(error) => clean(self.cloud, error),
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
        Err(Error::Generic { store: self.cloud.name(), source: "no try was made".into() })
    }

    /// The library's copies within Google's store take "over what is there" and "if nothing is there" for each other
    /// (object_store 0.13.2). Nothing here copies; whoever begins to must not find that out by a lost object.
    fn may_copy(&self) -> Result<()> {
        if self.cloud != Cloud::Gcs {
            return Ok(());
        }
        Err(Error::NotImplemented { operation: "copy".to_owned(), implementer: self.to_string() })
    }

    /// The object at `path`, if it holds exactly these bytes: then the put whose answer was lost made it.
    async fn ours(&self, path: &Path, payload: &PutPayload) -> Result<Option<PutResult>> {
        let found = match self.patient.get(path).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(clean(self.cloud, error)),
        };
        let (e_tag, version) = (found.meta.e_tag.clone(), found.meta.version.clone());
        if found.meta.size != payload.content_length() as u64 {
            return Ok(None);
        }
        let bytes = found.bytes().await.map_err(|error| clean(self.cloud, error))?;
        let wanted: Vec<u8> = payload.iter().flat_map(|part| part.iter().copied()).collect();
        Ok((bytes == wanted).then_some(PutResult { e_tag, version }))
    }
}

/// The object with the tag that it has everywhere else: Azure's listings leave out the quotes that belong to it.
fn tagged(cloud: Cloud, mut object: ObjectMeta) -> ObjectMeta {
    if cloud == Cloud::Azure {
        let tag = object.e_tag.take();
        object.e_tag = tag.map(|tag| if tag.starts_with(['"', 'W']) { tag } else { format!("\"{tag}\"") });
    }
    object
}

/// Between half of it and all of it, so that writers that failed together do not come back together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8);
    wait.mul_f64(0.5 + (random >> 11) as f64 / (1_u64 << 54) as f64)
}

/// Requests that are sent again because their answer was cut off: the library repeats reads of objects,
/// but not those of listings.
struct Again {
    cloud: Cloud,
    left: usize,
    wait: Duration,
    began: Instant,
}

impl Again {
    fn new(cloud: Cloud, retries: usize) -> Self {
        Self { cloud, left: retries, wait: BACKOFF_FIRST, began: Instant::now() }
    }

    fn may(&mut self, error: &Error) -> bool {
        let may = self.left > 0 && self.began.elapsed() < RETRY_TIME && Failure::is_cut(self.cloud, error);
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
    store: Arc<Client>,
    lists_from: bool,
    prefix: Option<Path>,
    after: Option<Path>,
    objects: BoxStream<'static, Result<ObjectMeta>>,
    again: Again,
}

impl Listing {
    fn begin(bucket: &Bucket, prefix: Option<&Path>, after: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let store = Arc::clone(&bucket.patient);
        let (prefix, after) = (prefix.cloned(), after.cloned());
        let objects = stream::empty().boxed();
        let again = Again::new(bucket.cloud, bucket.retries);
        let mut listing = Self { store, lists_from: bucket.lists_from, prefix, after, objects, again };
        listing.open();
        stream::try_unfold(listing, Self::next).boxed()
    }

    fn open(&mut self) {
        self.objects = match &self.after {
            Some(after) if self.lists_from => self.store.list_with_offset(self.prefix.as_ref(), after),
            Some(after) => {
                let after = after.clone();
                let all = self.store.list(self.prefix.as_ref());
                all.try_filter(move |object| future::ready(object.location > after)).boxed()
            }
            None => self.store.list(self.prefix.as_ref()),
        };
    }

    async fn next(mut self) -> Result<Option<(ObjectMeta, Self)>> {
        loop {
            let cloud = self.again.cloud;
            match self.objects.try_next().await.map_err(|error| clean(cloud, error)) {
                Ok(Some(object)) => {
                    self.after = Some(object.location.clone());
                    return Ok(Some((tagged(cloud, object), self)));
                }
                Ok(None) => return Ok(None),
                Err(error) if self.again.may(&error) => {
                    // Lets go of the listing's share of the requests first.
                    self.objects = stream::empty().boxed();
                    self.again.wait().await;
                    self.open();
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
            PutMode::Overwrite => {
                self.patient.put_opts(location, payload, options).await.map_err(|error| clean(self.cloud, error))
            }
            PutMode::Create | PutMode::Update(_) => self.put_conditionally(location, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload =
            self.patient.put_multipart_opts(location, options).await.map_err(|error| clean(self.cloud, error))?;
        Ok(Box::new(CleanUpload { cloud: self.cloud, upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let cloud = self.cloud;
        let mut found = self.patient.get_opts(location, options).await.map_err(|error| clean(cloud, error))?;
        if let GetResultPayload::Stream(bytes) = found.payload {
            found.payload = GetResultPayload::Stream(bytes.map_err(move |error| clean(cloud, error)).boxed());
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.patient.get_ranges(location, ranges).await.map_err(|error| clean(self.cloud, error))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let cloud = self.cloud;
        self.patient.delete_stream(locations).map_err(move |error| clean(cloud, error)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        Listing::begin(self, prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        Listing::begin(self, prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut again = Again::new(self.cloud, self.retries);
        loop {
            match self.patient.list_with_delimiter(prefix).await.map_err(|error| clean(self.cloud, error)) {
                Err(error) if again.may(&error) => again.wait().await,
                Err(error) => return Err(error),
                Ok(mut listed) => {
                    listed.objects = listed.objects.into_iter().map(|object| tagged(self.cloud, object)).collect();
                    return Ok(listed);
                }
            }
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.may_copy()?;
        self.patient.copy_opts(from, to, options).await.map_err(|error| clean(self.cloud, error))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.may_copy()?;
        self.patient.rename_opts(from, to, options).await.map_err(|error| clean(self.cloud, error))
    }
}

/// An upload whose errors tell nothing secret.
#[derive(Debug)]
struct CleanUpload {
    cloud: Cloud,
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for CleanUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let cloud = self.cloud;
        self.upload.put_part(data).map(move |done| done.map_err(|error| clean(cloud, error))).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await.map_err(|error| clean(self.cloud, error))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await.map_err(|error| clean(self.cloud, error))
    }
}
