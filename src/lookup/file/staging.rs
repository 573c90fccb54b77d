//! Writing a generation: load, verify, seal, flip.

use super::disk::{self, TableLock};
use super::environment::{Pairs, open_read_only, scan, unreadable};
use super::sweep::{self, OWNER, STAGING};
use super::{DATA, METADATA, folder_name, generation_folder, lmdb_failed, numbers, pointer};
use crate::error::{Error, Result};
use crate::lookup::encode::shortened;
use crate::lookup::{Checksum, Expected, Flip, GenerationMetadata, Staged, Staging, StoredFile};
use heed::types::Bytes;
use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags, WithoutTls};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How many bytes of pairs go into one write transaction; with its pages, this is the memory that a
/// load takes, however many rows it has.
const CHUNK_BYTES: usize = 8 << 20;

/// The map's first size; it doubles when it is full. Only addresses are taken, not memory.
const MAP_BYTES: usize = 16 << 20;

/// A generation that is being loaded into `.staging-<attempt>`.
pub struct FileStaging {
    table: PathBuf,
    /// `None` once everything is written. Before the folder, so that the file is closed when it goes.
    writer: Option<Writer>,
    aside: Aside,
    chunk: Chunk,
}

/// A folder that is removed when it is dropped before it has become a generation.
pub(super) struct Aside {
    pub(super) folder: PathBuf,
    /// Locked as long as this process works on the folder.
    _owner: File,
    is_sealed: bool,
}

struct Writer {
    env: Env<WithoutTls>,
    pairs: Pairs,
    map_bytes: usize,
}

/// Pairs that wait for the next transaction. They are kept until it has succeeded, because it has to
/// be repeated where the map was too small.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(usize, usize)>,
}

impl FileStaging {
    /// Makes the table's folder, removes what dead attempts have left, and begins.
    pub fn begin(table: &Path, attempt: &str) -> Result<Self> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if attempt.is_empty() || attempt.len() > 128 || !attempt.bytes().all(is_plain) {
            return Err(Error::failed("an attempt's name is not a plain file name").with("attempt", attempt));
        }
        disk::create_folder(table)?;
        let aside = {
            let held = TableLock::hold(table)?;
            sweep::dead_stagings(table, &held)?;
            Aside::claim(table.join(format!("{STAGING}{attempt}")))?
        };
        sweep::trash(table)?;
        let writer = Writer::create(&aside.folder)?;
        Ok(Self { table: table.to_owned(), writer: Some(writer), aside, chunk: Chunk::default() })
    }

    /// The table's folder, and the complete generation beside it.
    pub(super) fn into_parts(self) -> (PathBuf, Aside) {
        (self.table, self.aside)
    }

    fn flush(&mut self) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Err(Error::failed("a generation takes no rows after it was verified"));
        };
        let failed = |source| lmdb_failed("a generation cannot be written", &self.aside.folder.join(DATA), source);
        loop {
            match writer.write(&self.chunk) {
                Err(heed::Error::Mdb(MdbError::MapFull)) => writer.grow().map_err(failed)?,
                written => {
                    written.map_err(failed)?;
                    self.chunk.bytes.clear();
                    self.chunk.ends.clear();
                    return Ok(());
                }
            }
        }
    }

    /// Ends the writing; the file is complete and durable afterwards.
    fn close(&mut self) -> Result<StoredFile> {
        self.flush()?;
        let data = self.aside.folder.join(DATA);
        if let Some(Writer { env, .. }) = self.writer.take() {
            env.force_sync().map_err(|source| lmdb_failed("a generation cannot be synced", &data, source))?;
        }
        self.chunk = Chunk::default();
        let failed = |source| disk::failed("a generation cannot be completed", &data, source);
        // LMDB makes its file for this user alone; applications read it as others.
        fs::set_permissions(&data, Permissions::from_mode(0o644)).map_err(failed)?;
        let file = File::open(&data).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        Ok(StoredFile { bytes, checksum: disk::checksum(&data)? })
    }
}

impl Aside {
    /// Makes the folder, which nobody else may sweep as long as this lives.
    pub(super) fn claim(folder: PathBuf) -> Result<Self> {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::conflict("this attempt is already loading").with("folder", folder.display()));
            }
            created => created.map_err(|source| disk::failed("a folder cannot be created", &folder, source))?,
        }
        let path = folder.join(OWNER);
        let failed = |source| disk::failed("a generation cannot be claimed", &path, source);
        let owner = File::create(&path).map_err(failed)?;
        owner.lock().map_err(failed)?;
        Ok(Self { folder, _owner: owner, is_sealed: false })
    }

    /// It has been given a generation's name: there is nothing left to remove.
    pub(super) fn sealed(mut self) {
        self.is_sealed = true;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What cannot be removed now is garbage by its name: the next load removes it.
        if !self.is_sealed && fs::remove_dir_all(&self.folder).is_err() {
            tracing::debug!(folder = %self.folder.display(), "an unfinished generation could not be removed");
        }
    }
}

impl Writer {
    fn create(aside: &Path) -> Result<Self> {
        let failed = |source| lmdb_failed("a generation cannot be created", &aside.join(DATA), source);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES);
        // SAFETY: NO_LOCK: the folder is new and claimed, so this is its only writer, and nobody reads
        // it before it is closed. NO_SYNC: a crash leaves a file that nobody ever opens; it is synced
        // once, when it is complete.
        unsafe { options.flags(EnvFlags::NO_LOCK | EnvFlags::NO_SYNC) };
        // SAFETY: the mapped file is changed through this environment alone, for the same reason.
        let env = unsafe { options.open(aside) }.map_err(failed)?;
        let pairs = Self::pairs(&env).map_err(failed)?;
        let pairs = pairs.ok_or_else(|| Error::failed("a generation cannot be created"))?;
        Ok(Self { env, pairs, map_bytes: MAP_BYTES })
    }

    fn pairs(env: &Env<WithoutTls>) -> heed::Result<Option<Pairs>> {
        let txn = env.write_txn()?;
        let created = env.create_databases_and_commit(txn, |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        })?;
        Ok(created.commit())
    }

    /// Writes a chunk in one transaction, all or nothing.
    fn write(&self, chunk: &Chunk) -> heed::Result<()> {
        let mut txn = self.env.write_txn()?;
        let mut start = 0;
        for &(key_end, value_end) in &chunk.ends {
            let (key, value) = (&chunk.bytes[start..key_end], &chunk.bytes[key_end..value_end]);
            // Appending fills pages to the brim and finds its place without a search.
            self.pairs.put_with_flags(&mut txn, PutFlags::APPEND, key, value)?;
            start = value_end;
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

impl Staging for FileStaging {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.chunk.bytes.extend_from_slice(key);
        let key_end = self.chunk.bytes.len();
        self.chunk.bytes.extend_from_slice(value);
        self.chunk.ends.push((key_end, self.chunk.bytes.len()));
        // Ended by bytes, not by batches, so that the same pairs give the same file.
        if self.chunk.bytes.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn verify(&mut self, expected: &Expected<'_>) -> Result<StoredFile> {
        let stored = self.close()?;
        let differs = |what: &str| {
            Error::verification(format!("the generation reads back with {what} than loaded"))
                .with("folder", self.aside.folder.display())
                .hint("nothing was published; look for a failing disk or memory, then run again")
        };
        let damaged = |source| unreadable(&self.aside.folder, source);
        // A look-up maps pages, which count as memory until they are unmapped: a few at a time.
        for sample in expected.sample.chunks(100) {
            let opened = open_read_only(&self.aside.folder)?;
            let txn = opened.env.read_txn().map_err(damaged)?;
            for sampled in sample {
                let value = opened.pairs.get(&txn, &sampled.key).map_err(damaged)?;
                if !value.is_some_and(|value| sampled.matches(value)) {
                    return Err(differs("another value").with("key", shortened(&sampled.key)));
                }
            }
        }
        let (mut checksum, mut keys) = (Checksum::default(), 0);
        scan(&self.aside.folder, |key, value| {
            checksum.add(key, value);
            keys += 1;
            Ok(())
        })?;
        if keys != expected.keys || recorded_keys(&self.aside.folder)? != keys {
            return Err(differs("other keys").with("loaded", expected.keys).with("found", keys));
        }
        if checksum.finish() != expected.checksum {
            return Err(differs("another checksum"));
        }
        Ok(stored)
    }

    fn seal(self: Box<Self>, mut metadata: GenerationMetadata) -> Result<Box<dyn Staged>> {
        let Self { table, aside, .. } = *self;
        let _held = TableLock::hold(&table)?;
        let highest = numbers(&table)?.last().copied().max(pointer::read(&table)?);
        metadata.generation = highest.unwrap_or(0) + 1;
        loop {
            disk::write(&aside.folder.join(METADATA), &metadata.to_json()?)?;
            let _ = fs::remove_file(aside.folder.join(OWNER));
            disk::sync_folder(&aside.folder)?;
            let sealed = generation_folder(&table, metadata.generation);
            // A rename onto a folder that is not empty fails: a number is never given twice, not even
            // to somebody who does not know of the lock.
            match fs::rename(&aside.folder, &sealed) {
                Ok(()) => break,
                Err(_) if sealed.exists() => metadata.generation += 1,
                Err(error) => return Err(disk::failed("a generation cannot be sealed", &sealed, error)),
            }
        }
        aside.sealed();
        disk::sync_folder(&table)?;
        Ok(Box::new(FileStaged { table, metadata, is_decided: false }))
    }
}

/// The count that LMDB keeps itself, which a reader compares when it opens the generation.
fn recorded_keys(folder: &Path) -> Result<u64> {
    let opened = open_read_only(folder)?;
    let damaged = |source| unreadable(folder, source);
    let txn = opened.env.read_txn().map_err(damaged)?;
    opened.pairs.len(&txn).map_err(damaged)
}

/// A sealed generation of a file store. Dropped before it was to be flipped, it is removed again:
/// nobody has seen it.
pub struct FileStaged {
    table: PathBuf,
    metadata: GenerationMetadata,
    /// Whether it has come to the flip, which itself says what becomes of it.
    is_decided: bool,
}

impl Drop for FileStaged {
    fn drop(&mut self) {
        if self.is_decided {
            return;
        }
        let remove = || {
            let held = TableLock::hold(&self.table)?;
            if pointer::read(&self.table)? == Some(self.metadata.generation) {
                return Ok(());
            }
            sweep::discard(&self.table, self.metadata.generation, &held)?;
            drop(held);
            sweep::trash(&self.table)
        };
        // What stays above the current generation was never published: the next flip removes it.
        if let Err(error) = remove() {
            tracing::debug!(%error, "an unpublished generation could not be removed");
        }
    }
}

impl Staged for FileStaged {
    fn metadata(&self) -> &GenerationMetadata {
        &self.metadata
    }

    fn flip(mut self: Box<Self>, expected: Option<u64>, keep: usize) -> Result<Flip> {
        let (table, generation) = (&self.table, self.metadata.generation);
        let held = TableLock::hold(table)?;
        let current = pointer::read(table)?;
        self.is_decided = true;
        if current != expected {
            let swept = sweep::discard(table, generation, &held).and_then(|()| sweep::trash(table));
            return Err(moved(expected, current, swept.err()));
        }
        if !generation_folder(table, generation).join(METADATA).is_file() {
            return Err(Error::verification("the generation is gone").with("generation", folder_name(generation)));
        }
        // What lies between was sealed and never published: its loader is dead, or sees a conflict
        // when it comes to flip. Gone before the pointer moves, so that everything below the current
        // generation has once been current.
        for number in numbers(table)?.into_iter().filter(|&number| current < Some(number) && number < generation) {
            sweep::discard(table, number, &held)?;
        }
        pointer::write(table, generation, &held)?;
        // From here on it has happened; what goes wrong with old generations is told, not failed.
        let (removed, leftover) = match retire(table, generation, keep, &held) {
            Ok(removed) => (removed, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        drop(held);
        let leftover = leftover.or_else(|| sweep::trash(table).err());
        Ok(Flip { generation, removed, leftover })
    }

    // Dropped undecided, it removes itself.
    fn abandon(self: Box<Self>) {}
}

/// Takes the generations beyond the newest `keep` out of the table; gives their numbers, ascending.
fn retire(table: &Path, current: u64, keep: usize, held: &TableLock) -> Result<Vec<u64>> {
    let mut old: Vec<u64> = numbers(table)?.into_iter().filter(|&number| number < current).collect();
    old.truncate((old.len() + 1).saturating_sub(keep.max(1)));
    old.iter().try_for_each(|&number| sweep::discard(table, number, held))?;
    Ok(old)
}

pub(super) fn moved(expected: Option<u64>, current: Option<u64>, leftover: Option<Error>) -> Error {
    let name = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), folder_name);
    let error = Error::conflict("another run has published this lookup table meanwhile")
        .with("expected", name(expected))
        .with("current", name(current))
        .hint("nothing was changed; plan and run again if this interval shall be the one that is looked up");
    match leftover {
        Some(source) => error.because(source),
        None => error,
    }
}
