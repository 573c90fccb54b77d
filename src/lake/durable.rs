//! The local file system as an object store whose writes survive a power cut.
//!
//! object_store's `LocalFileSystem` writes atomically (a staged file that is renamed or linked), but
//! syncs nothing: after a power cut a file may be there and empty, which for a commit is the worst of
//! all states. Here the staged file is synced before it gets its name, and the folder after that.
//! Multipart uploads (large data files) go the library's way; what names them is written by
//! [`put_opts`](ObjectStore::put_opts) and checked by counts or hashes when it is read.

use super::Put;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// [`LocalFileSystem`] with synced puts.
#[derive(Debug, Default)]
pub(super) struct DurableLocal {
    files: LocalFileSystem,
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &StorePath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = options.mode == PutMode::Create;
        if !create && options.mode != PutMode::Overwrite || !options.attributes.is_empty() {
            // Not supported locally; the library's own error says so.
            return self.files.put_opts(location, payload, options).await;
        }
        let path = self.files.path_to_filesystem(location)?;
        let work = move || write(&path, &payload, create);
        let written = match tokio::runtime::Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(work).await?,
            Err(_) => work(),
        };
        match written {
            Ok(Put::Created) => Ok(PutResult { e_tag: None, version: None }),
            Ok(Put::AlreadyThere) => Err(Error::AlreadyExists {
                path: location.to_string(),
                source: io::Error::from(io::ErrorKind::AlreadyExists).into(),
            }),
            Err(source) => Err(Error::Generic { store: "local", source: source.into() }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &StorePath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &StorePath, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &StorePath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<StorePath>>) -> BoxStream<'static, Result<StorePath>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &StorePath, to: &StorePath, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.files, out)
    }
}

/// Stages, syncs, names, syncs the folder. Nothing with the final name is ever incomplete.
fn write(path: &Path, payload: &PutPayload, create: bool) -> io::Result<Put> {
    let folder = path.parent().unwrap_or(path);
    let (mut file, staged) = stage(path, folder)?;
    let written = payload.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
    drop(file);
    let named = written.and_then(|()| if create { link(&staged, path) } else { rename(&staged, path) });
    if create || named.is_err() {
        // What remains after a crash is hidden from every listing.
        let _ = std::fs::remove_file(&staged);
    }
    let named = named?;
    // Also for the loser of a race: what it found must not vanish under what it does next.
    sync_folder(folder)?;
    Ok(named)
}

fn link(staged: &Path, path: &Path) -> io::Result<Put> {
    match std::fs::hard_link(staged, path) {
        Ok(()) => Ok(Put::Created),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Put::AlreadyThere),
        Err(error) => Err(error),
    }
}

fn rename(staged: &Path, path: &Path) -> io::Result<Put> {
    std::fs::rename(staged, path).map(|()| Put::Created)
}

/// A new file beside `path`. Listings hide it: its name ends in `#` and digits, as the library's own
/// staged files do.
fn stage(path: &Path, folder: &Path) -> io::Result<(File, PathBuf)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{}{number:010}", std::process::id()));
        let staged = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&staged) {
            Ok(file) => return Ok((file, staged)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_folder(folder)?,
            // Left by a process of the same number that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// Creates the folder and the folders above it, each synced into the one that holds it.
fn create_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
    std::fs::create_dir_all(folder)?;
    missing.iter().filter_map(|made| made.parent()).try_for_each(sync_folder)
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network and FUSE file systems cannot sync a folder; they keep names in their own way.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
