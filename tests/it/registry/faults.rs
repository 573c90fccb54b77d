//! A store that fails its n-th call, before or after doing what it was asked: whatever n is, the same
//! command run again ends in the same state.

use super::models::Trained;
use super::{change, register};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use lakemill::error::{Error, ErrorKind};
use lakemill::lake::Location;
use lakemill::registry::Registry;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use url::Url;

#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    calls: AtomicUsize,
    /// Counted from 1; 0 for never.
    failing: AtomicUsize,
    /// Whether the failing call does its work first.
    late: bool,
}

impl Faulty {
    fn fails(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.failing.load(Ordering::SeqCst)
    }

    fn error() -> object_store::Error {
        object_store::Error::Generic { store: "faulty", source: Box::new(io::Error::from(io::ErrorKind::TimedOut)) }
    }

    async fn call<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let fails = self.fails();
        if fails && !self.late {
            return Err(Self::error());
        }
        let done = work.await;
        if fails { Err(Self::error()) } else { done }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
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

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.fails() { stream::iter([Err(Self::error())]).boxed() } else { self.inner.delete_stream(locations) }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.fails() { stream::iter([Err(Self::error())]).boxed() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.call(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.inner.copy_opts(from, to, options)).await
    }
}

/// Registers two versions, makes the second the champion, and reads the model back.
async fn job(registry: &Registry) -> Result<(), Error> {
    for version in [1, 2] {
        let made = register(registry, &Trained::new("card_fraud", &format!("print {version}"))).await?;
        registry.promote("card_fraud", "champion", made.version, &change("job"), Some(made.version - 1)).await?;
    }
    let champion = registry.resolve("card_fraud", "champion").await?;
    registry.load("card_fraud", champion).await.map(drop)
}

async fn names(store: &InMemory) -> Vec<String> {
    let mut names: Vec<String> =
        store.list(None).map(|object| object.unwrap().location.to_string()).collect::<Vec<_>>().await;
    names.sort_unstable();
    names
}

#[tokio::test]
async fn whichever_call_fails_the_next_try_ends_in_the_same_state() {
    let mut undisturbed: Option<Vec<String>> = None;
    for late in [false, true] {
        for failing in 0.. {
            let store = Arc::new(Faulty {
                inner: InMemory::new(),
                calls: AtomicUsize::new(0),
                failing: AtomicUsize::new(failing),
                late,
            });
            let url = Url::parse("memory://test/home").unwrap();
            let registry = Registry::new(&Location::with_store(url, Arc::clone(&store) as _, Path::from("home")));
            let first = job(&registry).await;
            let calls = store.calls.load(Ordering::SeqCst);
            if failing > 0 && calls < failing {
                assert!(failing > 20, "too few calls to say anything");
                break;
            }
            if failing > 0 {
                assert_eq!(first.unwrap_err().kind(), ErrorKind::Transient, "call {failing}");
                // A champion of before the failure is not taken for a conflict when the job starts over.
                for version in registry.numbers("card_fraud").await.unwrap() {
                    registry.load("card_fraud", version).await.unwrap();
                }
                again(&registry).await;
            } else {
                first.unwrap();
            }
            let history = registry.history("card_fraud", "champion").await.unwrap();
            assert_eq!(history.iter().map(|record| record.version).collect::<Vec<_>>(), [1, 2], "call {failing}");
            let names = names(&store.inner).await;
            assert_eq!(*undisturbed.get_or_insert_with(|| names.clone()), names, "call {failing}, late = {late}");
        }
    }
}

/// The same job, which goes on from where it stands.
async fn again(registry: &Registry) {
    for version in [1, 2] {
        let made = register(registry, &Trained::new("card_fraud", &format!("print {version}"))).await.unwrap();
        assert_eq!(made.version, version);
        let seen = registry.alias("card_fraud", "champion").await.unwrap().map_or(0, |record| record.sequence);
        if seen < version {
            registry.promote("card_fraud", "champion", version, &change("job"), Some(seen)).await.unwrap();
        }
    }
}
