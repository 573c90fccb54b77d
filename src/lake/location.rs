//! A place in an object store.

use super::errors::{from_store, is_absent};
use super::{azure, open};
use crate::error::{Error, Result, ResultExt};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::{Path as StorePath, PathPart};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// A URL, the store that serves it, and the path within that store. Cheap to clone.
///
/// The same location may be read as an object ([`get`](Self::get)) or as a prefix
/// ([`list`](Self::list)); nothing is looked up before that. The URL holds no credentials, so it may
/// be displayed and recorded anywhere.
#[derive(Clone)]
pub struct Location {
    url: Url,
    store: Arc<dyn ObjectStore>,
    path: StorePath,
}

/// Who was first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Put {
    /// This writer: the object is the one that was given.
    Created,
    /// Somebody else; their object is untouched.
    AlreadyThere,
}

impl Location {
    /// The place that a user wrote: a path (relative to `base`), or a URL.
    ///
    /// # Errors
    /// A usage error for what is no location or has a scheme that is not supported.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        open::open(text, base)
    }

    /// A place in a store that the caller has opened; `url` is what is shown and must hold no secrets.
    pub fn with_store(url: Url, store: Arc<dyn ObjectStore>, path: StorePath) -> Self {
        Self { url, store, path }
    }

    /// The place below this one, part by part at each `/`. It never leads out of this one: `..` and
    /// control characters become harmless names.
    #[must_use]
    pub fn join(&self, relative: &str) -> Self {
        let mut path = self.path.clone();
        let mut url = self.url.clone();
        for part in relative.split('/').filter(|part| !part.is_empty()) {
            // What can be a part stays as it is; what cannot is percent-encoded.
            let part = PathPart::parse(part).unwrap_or_else(|_| PathPart::from(part));
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().push(part.as_ref());
            }
            path = path.join(part);
        }
        Self { url, store: Arc::clone(&self.store), path }
    }

    /// The path on this machine's file system, if it is there.
    pub fn local_path(&self) -> Option<PathBuf> {
        if self.url.scheme() == "file" { self.url.to_file_path().ok() } else { None }
    }

    /// The URL, without credentials and without a slash at the end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The store, rooted at the scheme and host of [`url`](Self::url).
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// The path within the store.
    pub fn path(&self) -> &StorePath {
        &self.path
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// The object's bytes; `None` where there is no object.
    ///
    /// # Errors
    /// What the store fails with: `transient` where a later try may succeed, else `failed`.
    pub async fn get(&self) -> Result<Option<Bytes>> {
        self.get_at_most(u64::MAX).await
    }

    /// The object's bytes, if there are at most `bytes` of them.
    ///
    /// # Errors
    /// `verification` for a longer object, which is not read; else as [`get`](Self::get).
    pub async fn get_at_most(&self, bytes: u64) -> Result<Option<Bytes>> {
        let object = match self.store.get(&self.path).await {
            Ok(object) => object,
            Err(source) if is_absent(&source) => return Ok(None),
            Err(source) => return Err(from_store("read", source)).at("location", self),
        };
        if object.meta.size > bytes {
            return Err(Error::verification("the file is larger than it can be")
                .with("size_bytes", object.meta.size)
                .with("location", self));
        }
        object.bytes().await.map(Some).map_err(|source| from_store("read", source)).at("location", self)
    }

    /// Size, time and tag of the object; `None` where there is none.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn head(&self) -> Result<Option<ObjectMeta>> {
        match self.store.head(&self.path).await {
            Ok(meta) => Ok(Some(meta)),
            Err(source) if is_absent(&source) => Ok(None),
            Err(source) => Err(from_store("read", source)).at("location", self),
        }
    }

    /// Writes the object in one step, over one that may be there.
    ///
    /// # Errors
    /// What the store fails with; the object is then the old or the new one, never a part.
    pub async fn put(&self, bytes: Bytes) -> Result<()> {
        let done = self.store.put(&self.path, bytes.into()).await;
        done.map(drop).map_err(|source| from_store("write", source)).at("location", self)
    }

    /// Writes the object in one step, if there is none yet. Of several writers exactly one creates it.
    ///
    /// # Errors
    /// What the store fails with; the object may be there nevertheless, whole.
    pub async fn put_if_absent(&self, bytes: Bytes) -> Result<Put> {
        let options = PutOptions::from(PutMode::Create);
        match self.store.put_opts(&self.path, bytes.into(), options).await {
            Ok(_) => Ok(Put::Created),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Put::AlreadyThere)
            }
            Err(source) => Err(from_store("write", source)).at("location", self),
        }
    }

    /// Whether any object lies below this place.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn holds_any(&self) -> Result<bool> {
        Ok(self.first().await?.is_some())
    }

    /// Any one object at or below this place.
    ///
    /// # Errors
    /// What the store fails with.
    pub(super) async fn first(&self) -> Result<Option<Self>> {
        match self.store.list(Some(&self.path)).try_next().await {
            Ok(first) => Ok(first.map(|object| Self { path: object.location, ..self.clone() })),
            Err(source) if is_absent(&source) => Ok(None),
            Err(source) => Err(from_store("list", source)).at("location", self),
        }
    }

    /// Reads the beginning of an object: whether it can be read is all that is wanted.
    ///
    /// # Errors
    /// What the store fails with.
    pub(super) async fn touch(&self) -> Result<()> {
        let size = self.store.head(&self.path).await.map_err(|source| from_store("read", source))?.size;
        if size > 0 {
            self.store.get_range(&self.path, 0..1).await.map_err(|source| from_store("read", source))?;
        }
        Ok(())
    }

    /// All objects below this place, at any depth, in the order of their paths.
    ///
    /// # Errors
    /// What the store fails with; a place that does not exist is empty.
    pub async fn list(&self) -> Result<Vec<ObjectMeta>> {
        let listed = self.store.list(Some(&self.path)).try_collect::<Vec<_>>().await;
        let mut objects = match listed {
            Ok(objects) => objects,
            Err(source) if is_absent(&source) => Vec::new(),
            Err(source) => return Err(from_store("list", source)).at("location", self),
        };
        objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// The names of the objects and folders directly below this place, sorted.
    ///
    /// # Errors
    /// What the store fails with; a place that does not exist is empty.
    pub async fn children(&self) -> Result<Vec<String>> {
        let listed = match self.store.list_with_delimiter(Some(&self.path)).await {
            Ok(listed) => listed,
            Err(source) if is_absent(&source) => return Ok(Vec::new()),
            Err(source) => return Err(from_store("list", source)).at("location", self),
        };
        let objects = listed.objects.iter().filter_map(|object| object.location.filename());
        let folders = listed.common_prefixes.iter().filter_map(StorePath::filename);
        let mut names: Vec<String> = objects.chain(folders).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Removes the object; that there is none is fine.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn delete(&self) -> Result<()> {
        match self.store.delete(&self.path).await {
            Ok(()) => Ok(()),
            Err(source) if is_absent(&source) => Ok(()),
            Err(source) => Err(from_store("remove", source)).at("location", self),
        }
    }
}

impl fmt::Display for Location {
    /// A local place as its path, any other as its URL, in the form in which it is written.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.local_path(), azure::shown(&self.url)) {
            (Some(path), _) => write!(out, "{}", path.display()),
            (None, Some(shown)) => write!(out, "{shown}"),
            (None, None) => write!(out, "{}", self.url),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Location({self})")
    }
}

impl PartialEq for Location {
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for Location {}
