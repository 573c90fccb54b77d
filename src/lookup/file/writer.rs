//! A thread that writes pairs into the file of a generation, while the next ones are being made.

use super::base::BaseWalk;
use super::chunk::{Change, Chunk};
use super::environment::{Pairs, create_pairs, open_pairs, scan};
use super::{DATA, disk, lmdb_failed};
use crate::error::{Error, Result};
use crate::lookup::{Checksum, Contents};
use heed::types::Bytes;
use heed::{Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, WithoutTls};
use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

/// How many bytes of pairs go into one write transaction; with its pages, and those on their way, this is
/// the memory that a load takes, however many rows it has.
const CHUNK_BYTES: usize = 4 << 20;

/// How many changes of a copied file go into one transaction: each may touch a page of its own.
const CHUNK_CHANGES: usize = 4096;

/// The map's first size; it doubles when it is full. Only addresses are taken, not memory.
const MAP_BYTES: usize = 16 << 20;

/// What a pair takes in a page beside its bytes: a node's head, its pointer, and padding.
const NODE_BYTES: u64 = 11;

/// Hands pairs to the thread.
pub struct Writer {
    /// `None` once everything was handed over.
    full: Option<SyncSender<Chunk>>,
    empty: Receiver<Chunk>,
    thread: Option<JoinHandle<Result<Contents>>>,
    chunk: Chunk,
}

impl Writer {
    /// Writes into a new file in `folder`, or, after a walk over a base, into the copy that is there;
    /// `keeps` says whether keys stay that only the base has.
    pub fn begin(folder: &Path, base: Option<BaseWalk>, keeps: bool) -> Result<Self> {
        let (full, chunks) = sync_channel(1);
        let (empties, empty) = channel();
        let folder = folder.to_owned();
        let file = Target::open(&folder, base.is_some())?;
        let work = move || match base {
            None => fresh(file, &chunks, &empties),
            Some(base) => over(file, base, keeps, &chunks, &empties),
        };
        let thread = std::thread::Builder::new().name("lakemill-lookup".to_owned()).spawn(work);
        let thread = thread.map_err(|source| Error::failed("a thread could not be started").because(source))?;
        Ok(Self { full: Some(full), empty, thread: Some(thread), chunk: Chunk::default() })
    }

    /// Hands over the next pair.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.chunk.put(key, value);
        // Ended by bytes, not by batches, so that the same pairs give the same file.
        if self.chunk.bytes() < CHUNK_BYTES {
            return Ok(());
        }
        let next = self.empty.try_recv().unwrap_or_default();
        let chunk = std::mem::replace(&mut self.chunk, next);
        self.send(chunk)
    }

    fn send(&mut self, chunk: Chunk) -> Result<()> {
        let Some(full) = &self.full else {
            return Err(Error::failed("a generation takes no rows after it was closed"));
        };
        match full.send(chunk) {
            Ok(()) => Ok(()),
            // The thread has ended before its time; its error says why.
            Err(_) => self.join().and(Err(Error::failed("the writing of a generation has stopped"))),
        }
    }

    /// Waits until everything is in the file, and closes it.
    pub fn close(&mut self) -> Result<Contents> {
        let last = std::mem::take(&mut self.chunk);
        self.send(last)?;
        self.join()
    }

    fn join(&mut self) -> Result<Contents> {
        self.full = None;
        let thread = self.thread.take();
        let thread = thread.ok_or_else(|| Error::failed("the writing of a generation has ended already"))?;
        thread.join().map_err(|_| Error::failed("the thread that writes a generation has panicked"))?
    }
}

impl Drop for Writer {
    /// The file is closed before the folder around it goes.
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

/// A file that is written.
struct Target {
    folder: PathBuf,
    env: Env<WithoutTls>,
    pairs: Pairs,
    map_bytes: usize,
}

impl Target {
    fn open(folder: &Path, exists: bool) -> Result<Self> {
        let data = folder.join(DATA);
        let failed = |source| lmdb_failed("a generation cannot be created", &data, source);
        let mut map_bytes = MAP_BYTES;
        if exists {
            let length =
                fs::metadata(&data).map_err(|source| disk::failed("a file cannot be read", &data, source))?.len();
            while (map_bytes as u64) < length.saturating_add(length / 4) {
                map_bytes *= 2;
            }
        }
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_bytes);
        // SAFETY: NO_LOCK: the folder is new and claimed, so this is its only writer, and nobody reads
        // it before it is closed. NO_SYNC: a crash leaves a file that nobody ever opens; it is synced
        // once, when it is complete.
        unsafe { options.flags(EnvFlags::NO_LOCK | EnvFlags::NO_SYNC) };
        // SAFETY: the mapped file is changed through this environment alone, for the same reason.
        let env = unsafe { options.open(folder) }.map_err(failed)?;
        let pairs = if exists { open_pairs(&env) } else { create_pairs(&env) }.map_err(failed)?;
        let pairs = pairs.ok_or_else(|| Error::failed("a generation cannot be created"))?;
        Ok(Self { folder: folder.to_owned(), env, pairs, map_bytes })
    }

    /// Writes a chunk in one transaction, all or nothing; again, where the map was too small.
    fn write(&mut self, chunk: &Chunk, appends: bool) -> Result<()> {
        let data = self.folder.join(DATA);
        let failed = |source| lmdb_failed("a generation cannot be written", &data, source);
        loop {
            match self.try_write(chunk, appends) {
                Err(heed::Error::Mdb(MdbError::MapFull)) => self.grow().map_err(failed)?,
                written => return written.map_err(failed),
            }
        }
    }

    fn try_write(&self, chunk: &Chunk, appends: bool) -> heed::Result<()> {
        let mut txn = self.env.write_txn()?;
        if appends {
            // Appending fills pages to the brim, and one cursor finds its place without a search.
            let mut end = self.pairs.iter_mut(&mut txn)?;
            for (key, value, _) in chunk.iter() {
                // SAFETY: nothing that is put was borrowed from the database.
                unsafe { end.put_current_with_options::<Bytes>(PutFlags::APPEND, key, value)? };
            }
            drop(end);
            return txn.commit();
        }
        for (key, value, change) in chunk.iter() {
            match change {
                Change::Put => self.pairs.put(&mut txn, key, value)?,
                Change::Delete => drop(self.pairs.delete(&mut txn, key)?),
            }
        }
        txn.commit()
    }

    fn grow(&mut self) -> heed::Result<()> {
        self.map_bytes *= 2;
        // SAFETY: no transaction is open: the one that failed was dropped with its error, and nobody
        // else has this environment.
        unsafe { self.env.resize(self.map_bytes) }
    }
}

/// Writes all chunks into a new file.
fn fresh(mut file: Target, chunks: &Receiver<Chunk>, empties: &Sender<Chunk>) -> Result<Contents> {
    let mut contents = Contents::default();
    while let Ok(mut chunk) = chunks.recv() {
        file.write(&chunk, true)?;
        for (key, value, _) in chunk.iter() {
            contents.checksum.add(key, value);
        }
        contents.keys += chunk.len() as u64;
        contents.bytes += chunk.bytes() as u64;
        chunk.clear();
        let _ = empties.send(chunk);
    }
    contents.written = contents.keys;
    Ok(contents)
}

/// Writes what differs from the base into its copy.
fn over(
    file: Target,
    base: BaseWalk,
    keeps: bool,
    chunks: &Receiver<Chunk>,
    empties: &Sender<Chunk>,
) -> Result<Contents> {
    let (keys, bytes, checksum) = match keeps {
        true => (base.metadata.keys, base.metadata.bytes, base.metadata.checksum),
        false => (0, 0, Checksum::default()),
    };
    let contents = Contents { keys, bytes, checksum, ..Contents::default() };
    let mut over = Over { file, base, keeps, changes: Chunk::default(), contents };
    while let Ok(mut chunk) = chunks.recv() {
        for (key, value, _) in chunk.iter() {
            over.put(key, value)?;
        }
        chunk.clear();
        let _ = empties.send(chunk);
    }
    over.end()
}

struct Over {
    file: Target,
    base: BaseWalk,
    /// Whether keys stay that only the base has.
    keeps: bool,
    changes: Chunk,
    contents: Contents,
}

impl Over {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.pass_until(Some(key))?;
        let Self { base, changes, contents, keeps, .. } = self;
        let old = base.peek()?.filter(|(base_key, _)| *base_key == key).map(|(_, old)| old);
        // What is kept of a base is counted with it already.
        if let Some(old) = old.filter(|_| *keeps) {
            contents.keys -= 1;
            contents.bytes -= (key.len() + old.len()) as u64;
            contents.checksum.remove(key, old);
        }
        contents.keys += 1;
        contents.bytes += (key.len() + value.len()) as u64;
        contents.checksum.add(key, value);
        if old == Some(value) {
            contents.unchanged += 1;
        } else {
            contents.written += 1;
            changes.put(key, value);
        }
        if old.is_some() {
            base.advance();
        }
        self.flush_if_full()
    }

    /// Goes past the keys of the base that come before `key`, or past all.
    fn pass_until(&mut self, key: Option<&[u8]>) -> Result<()> {
        while let Some((passed, _)) = self.base.peek()? {
            if key.is_some_and(|key| passed.cmp(key) != Ordering::Less) {
                return Ok(());
            }
            if !self.keeps {
                self.changes.delete(passed);
                self.contents.removed += 1;
            }
            self.base.advance();
            self.flush_if_full()?;
        }
        Ok(())
    }

    fn flush_if_full(&mut self) -> Result<()> {
        if self.changes.len() < CHUNK_CHANGES && self.changes.bytes() < CHUNK_BYTES {
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write(&self.changes, false)?;
        self.changes.clear();
        Ok(())
    }

    fn end(mut self) -> Result<Contents> {
        // What only a merge's base has stays without being looked at.
        if !self.keeps {
            self.pass_until(None)?;
        }
        self.flush()?;
        let (folder, contents) = (self.file.folder.clone(), self.contents);
        drop(self.file);
        self.base.end()?;
        repack_if_sparse(&folder, &contents)?;
        Ok(contents)
    }
}

/// Changes split pages and free others: a file that is twice what its pairs take is written anew.
fn repack_if_sparse(folder: &Path, contents: &Contents) -> Result<()> {
    let data = folder.join(DATA);
    let failed = |source| disk::failed("a generation cannot be packed", &data, source);
    let length = fs::metadata(&data).map_err(failed)?.len();
    let packed = contents.bytes + contents.keys * NODE_BYTES;
    if length <= packed * 2 + MAP_BYTES as u64 {
        return Ok(());
    }
    let aside = folder.join("packed");
    fs::create_dir(&aside).map_err(failed)?;
    let mut file = Target::open(&aside, false)?;
    let mut chunk = Chunk::default();
    scan(folder, |key, value| {
        chunk.put(key, value);
        if chunk.bytes() >= CHUNK_BYTES {
            file.write(&chunk, true)?;
            chunk.clear();
        }
        Ok(())
    })?;
    file.write(&chunk, true)?;
    drop(file);
    fs::rename(aside.join(DATA), &data).and_then(|()| fs::remove_dir_all(&aside)).map_err(failed)
}
