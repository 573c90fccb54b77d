//! The LMDB environment of a sealed generation, opened for reading.

use super::{DATA, disk, lmdb_failed};
use crate::error::{Error, ErrorKind, Result};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};
use std::collections::HashMap;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Keys and values as they were put: bytes.
pub type Pairs = Database<'static, Bytes, Bytes>;

/// An environment and its one database.
pub struct Opened {
    pub env: Env<WithoutTls>,
    pub pairs: Pairs,
    /// Device and inode of the file: whether the path still means this file.
    identity: (u64, u64),
}

/// What this process has open. LMDB must not open a file twice in a process, and heed refuses it, so
/// that all readers of a generation share one environment; it is closed with the last of them.
static OPEN: LazyLock<Mutex<HashMap<PathBuf, Weak<Opened>>>> = LazyLock::new(Mutex::default);

/// Opens the generation in `folder`, or shares the environment that this process has open.
pub fn open_shared(folder: &Path) -> Result<Arc<Opened>> {
    let canonical = canonical(folder)?;
    let identity = identity(&canonical)?;
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(shared) = open.get(&canonical).and_then(Weak::upgrade) {
        if shared.identity == identity {
            return Ok(shared);
        }
        return Err(Error::conflict("the generation was replaced while it was being read")
            .with("folder", folder.display())
            .hint("close the readers of the old one first"));
    }
    let opened = Arc::new(open_read_only(&canonical)?);
    open.retain(|_, weak| weak.strong_count() > 0);
    open.insert(canonical, Arc::downgrade(&opened));
    Ok(opened)
}

fn canonical(folder: &Path) -> Result<PathBuf> {
    folder.canonicalize().map_err(|source| disk::failed("the generation cannot be opened", folder, source))
}

fn identity(folder: &Path) -> Result<(u64, u64)> {
    let path = folder.join(DATA);
    let metadata = path.metadata().map_err(|source| disk::failed("the generation lacks its data", &path, source))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Opens the generation in `folder`, which this process must not have open.
pub fn open_read_only(folder: &Path) -> Result<Opened> {
    let identity = identity(folder)?;
    // As heed names it, so that it can be waited for.
    let folder = &canonical(folder)?;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    // SAFETY: NO_LOCK asks that nobody writes while we read. The file is complete and synced before
    // it is opened here, and no code writes to it afterwards (a generation is only ever renamed or
    // unlinked whole).
    unsafe { options.flags(EnvFlags::READ_ONLY | EnvFlags::NO_LOCK) };
    let env = loop {
        // SAFETY: the mapped file does not change, for the same reason. Its length was compared with
        // the recorded one before, so that the map does not reach beyond the file's end.
        match unsafe { options.open(folder) } {
            Ok(env) => break env,
            Err(heed::Error::EnvAlreadyOpened) => wait_until_closed(folder)?,
            Err(source) => return Err(unreadable(folder, source)),
        }
    };
    let pairs = open_pairs(&env).map_err(|source| unreadable(folder, source))?;
    let pairs =
        pairs.ok_or_else(|| Error::verification("the generation holds no table").with("folder", folder.display()))?;
    Ok(Opened { env, pairs, identity })
}

/// The database of an environment; `None` where there is none.
pub fn open_pairs(env: &Env<WithoutTls>) -> heed::Result<Option<Pairs>> {
    let txn = env.read_txn()?;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        opener.open_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(opened.commit().flatten())
}

/// Makes the database of a new environment.
pub fn create_pairs(env: &Env<WithoutTls>) -> heed::Result<Option<Pairs>> {
    let txn = env.write_txn()?;
    let created = env.create_databases_and_commit(txn, |opener, txn| {
        opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
    })?;
    Ok(created.commit())
}

/// Another thread has dropped the last reader and is still closing it.
fn wait_until_closed(folder: &Path) -> Result<()> {
    let closed = heed::env_closing_event(folder).is_none_or(|closing| closing.wait_timeout(Duration::from_secs(5)));
    if closed {
        return Ok(());
    }
    Err(Error::conflict("the generation is held open by something else in this process")
        .with("folder", folder.display()))
}

/// What LMDB cannot read is not what was published.
pub fn unreadable(folder: &Path, source: heed::Error) -> Error {
    lmdb_failed("the generation is damaged", &folder.join(DATA), source)
        .of_kind(ErrorKind::Verification)
        .hint("publish the interval again, or roll back to an older generation")
}

/// How many bytes are visited before the map is given back.
const WINDOW_BYTES: usize = 8 << 20;

/// Visits all pairs in order through a fresh map for each window: pages that were read count as
/// memory of this process until they are unmapped, and a generation may be larger than the memory.
pub fn scan(folder: &Path, mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let mut after = window(folder, None, &mut visit)?;
    while after.is_some() {
        after = window(folder, after.as_deref(), &mut visit)?;
    }
    Ok(())
}

/// Visits a window of pairs, from the first one after `after`; gives its last key if more may come.
pub fn window(
    folder: &Path,
    after: Option<&[u8]>,
    visit: &mut impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<Option<Vec<u8>>> {
    let opened = open_read_only(folder)?;
    let txn = opened.env.read_txn().map_err(|source| unreadable(folder, source))?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let range = (from, Bound::<&[u8]>::Unbounded);
    let mut bytes = 0;
    for pair in opened.pairs.range(&txn, &range).map_err(|source| unreadable(folder, source))? {
        let (key, value) = pair.map_err(|source| unreadable(folder, source))?;
        visit(key, value)?;
        bytes += key.len() + value.len();
        if bytes >= WINDOW_BYTES {
            return Ok(Some(key.to_vec()));
        }
    }
    Ok(None)
}
