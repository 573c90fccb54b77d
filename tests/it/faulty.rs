//! An object store one of whose calls fails, before or after doing what it was asked.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// When a call fails.
#[derive(Debug, Clone, Copy)]
pub enum Fails {
    /// Nothing has happened.
    Before,
    /// It was done, and the answer got lost.
    After,
    /// Of what is written the first byte gets lost, and nobody is told; no other call fails.
    Silently,
}

/// Another store, but for one call.
#[derive(Debug)]
pub struct Faulty<S> {
    pub inner: S,
    pub fails: Fails,
    /// Which call, counted from 1; 0 for none.
    pub at: u64,
    calls: AtomicU64,
}

impl<S: ObjectStore> Faulty<S> {
    pub fn new(inner: S, fails: Fails, at: u64) -> Self {
        Self { inner, fails, at, calls: AtomicU64::new(0) }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn is_due(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at
    }

    async fn call<T: Send>(&self, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match (self.is_due(), self.fails) {
            (false, _) | (true, Fails::Silently) => work.await,
            (true, Fails::Before) => Err(lost()),
            (true, Fails::After) => work.await.and_then(|_| Err(lost())),
        }
    }

    fn streamed<T: Send + 'static>(&self, work: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        match (self.is_due(), self.fails) {
            (false, _) | (true, Fails::Silently) => work,
            (true, Fails::Before) => stream::once(async { Err(lost()) }).boxed(),
            (true, Fails::After) => work.chain(stream::once(async { Err(lost()) })).boxed(),
        }
    }
}

/// What a store says that is out of reach for now.
fn lost() -> Error {
    Error::Generic { store: "faulty", source: io::Error::from(io::ErrorKind::TimedOut).into() }
}

impl<S: ObjectStore> fmt::Display for Faulty<S> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("faulty")
    }
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for Faulty<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(self.fails, Fails::Silently) {
            let bytes = Bytes::from(payload);
            let kept = if self.is_due() { bytes.slice(1..) } else { bytes };
            return self.inner.put_opts(location, kept.into(), options).await;
        }
        self.call(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.call(self.inner.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.call(self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.call(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.streamed(self.inner.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.streamed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.call(self.inner.rename_opts(from, to, options)).await
    }
}
