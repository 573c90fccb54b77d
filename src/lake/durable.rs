//! The local file system as an object store whose writes survive a power cut.
//!
//! object_store's `LocalFileSystem` writes atomically (a staged file that is renamed or linked), but
//! syncs nothing: after a power cut a file may be there and empty, which for a commit is the worst of
//! all states. Here the staged file is synced before it gets its name, and the folder after that,
//! whether an object comes whole or in parts.

use super::Put;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
        match blocking(move || write(&path, &payload, create)).await? {
            Put::Created => Ok(PutResult { e_tag: None, version: None }),
            Put::AlreadyThere => Err(Error::AlreadyExists {
                path: location.to_string(),
                source: io::Error::from(io::ErrorKind::AlreadyExists).into(),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &StorePath,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return self.files.put_multipart_opts(location, options).await;
        }
        let path = self.files.path_to_filesystem(location)?;
        let upload = blocking(move || {
            let (file, staged) = stage(&path, path.parent().unwrap_or(&path))?;
            Ok(Upload { file, staged, path, written: AtomicU64::new(0) })
        });
        Ok(Box::new(DurableUpload { upload: Some(Arc::new(upload.await?)), length: 0 }))
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

/// An object that comes in parts, each written at its place as it comes.
#[derive(Debug)]
struct DurableUpload {
    /// Gone once the upload was completed or aborted.
    upload: Option<Arc<Upload>>,
    /// The parts so far, in bytes: where the next one begins.
    length: u64,
}

#[derive(Debug)]
struct Upload {
    file: File,
    staged: PathBuf,
    path: PathBuf,
    /// How much of the parts has arrived.
    written: AtomicU64,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(upload) = self.upload.clone() else { return Box::pin(async { Err(ended()) }) };
        let start = self.length;
        self.length += data.content_length() as u64;
        Box::pin(blocking(move || upload.write(start, &data)))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let upload = self.upload.take().ok_or_else(ended)?;
        let length = self.length;
        blocking(move || upload.finish(length)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        let upload = self.upload.take().ok_or_else(ended)?;
        blocking(move || std::fs::remove_file(&upload.staged)).await
    }
}

impl Drop for DurableUpload {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take() {
            let _ = std::fs::remove_file(&upload.staged);
        }
    }
}

impl Upload {
    fn write(&self, start: u64, data: &PutPayload) -> io::Result<()> {
        let mut at = start;
        for part in data.iter() {
            self.file.write_all_at(part, at)?;
            at += part.len() as u64;
        }
        self.written.fetch_add(at - start, Ordering::Relaxed);
        Ok(())
    }

    /// Syncs, names, syncs the folder; a part that failed or was forgotten leaves a hole and no file.
    fn finish(&self, length: u64) -> io::Result<()> {
        let done = match self.written.load(Ordering::Relaxed) == length {
            true => self.file.sync_all().and_then(|()| std::fs::rename(&self.staged, &self.path)),
            false => Err(io::Error::other("a part of the upload is missing")),
        };
        if done.is_err() {
            let _ = std::fs::remove_file(&self.staged);
        }
        done?;
        sync_folder(self.path.parent().unwrap_or(&self.path))
    }
}

fn ended() -> Error {
    Error::Generic { store: "local", source: "the upload has ended already".into() }
}

/// Runs file work where it holds up no I/O thread; at once where there is no runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await?,
        Err(_) => work(),
    };
    done.map_err(|source| Error::Generic { store: "local", source: source.into() })
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

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;

    fn place() -> (tempfile::TempDir, DurableLocal, StorePath) {
        let folder = tempfile::tempdir().unwrap();
        let path = StorePath::from_absolute_path(folder.path()).unwrap().join("new").join("data.parquet");
        (folder, DurableLocal::default(), path)
    }

    fn on_disk(folder: &Path) -> usize {
        std::fs::read_dir(folder.join("new")).unwrap().count()
    }

    #[tokio::test]
    async fn parts_land_in_order_however_they_are_polled() {
        let (folder, store, path) = place();
        let mut upload = store.put_multipart_opts(&path, PutMultipartOptions::default()).await.unwrap();
        let first = upload.put_part(PutPayload::from_iter([Bytes::from_static(b"one "), Bytes::from_static(b"two ")]));
        let second = upload.put_part("three ".into());
        let third = upload.put_part("four".into());
        third.await.unwrap();
        first.await.unwrap();
        let root = StorePath::from_absolute_path(folder.path()).unwrap();
        let listed: Vec<_> = store.list(Some(&root)).try_collect().await.unwrap();
        assert!(listed.is_empty(), "visible before it is complete: {listed:?}");
        assert!(store.head(&path).await.is_err());
        second.await.unwrap();
        upload.complete().await.unwrap();
        let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
        assert_eq!(bytes, "one two three four");
        assert_eq!(on_disk(folder.path()), 1);
        assert!(upload.complete().await.is_err() && upload.put_part("x".into()).await.is_err());
    }

    #[tokio::test]
    async fn nothing_remains_of_an_upload_that_is_aborted_or_dropped() {
        let (folder, store, path) = place();
        store.put(&path, "old".into()).await.unwrap();
        let mut upload = store.put_multipart_opts(&path, PutMultipartOptions::default()).await.unwrap();
        upload.put_part("new".into()).await.unwrap();
        assert_eq!(on_disk(folder.path()), 2);
        upload.abort().await.unwrap();
        assert_eq!(on_disk(folder.path()), 1);
        let upload = store.put_multipart_opts(&path, PutMultipartOptions::default()).await.unwrap();
        drop(upload);
        assert_eq!(on_disk(folder.path()), 1);
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "old");
    }

    #[tokio::test]
    async fn an_upload_that_lacks_a_part_is_no_file() {
        let (folder, store, path) = place();
        let mut upload = store.put_multipart_opts(&path, PutMultipartOptions::default()).await.unwrap();
        drop(upload.put_part("lost".into()));
        upload.put_part("kept".into()).await.unwrap();
        assert!(upload.complete().await.unwrap_err().to_string().contains("missing"));
        assert_eq!(on_disk(folder.path()), 0);
    }
}
