//! Writing a generation: load, verify, seal.

use super::base::BaseWalk;
use super::disk::{self, TableLock};
use super::environment::{open_read_only, scan, unreadable};
use super::staged::FileStaged;
use super::sweep::{self, OWNER, STAGING};
use super::writer::Writer;
use super::{DATA, METADATA, generation_folder, numbers, pointer};
use crate::error::{Error, Result};
use crate::lookup::encode::shortened;
use crate::lookup::{Base, Checksum, Contents, Expected, GenerationMetadata, Pace, Staged, Staging, StoredFile};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A generation that is being loaded into `.staging-<attempt>`.
pub struct FileStaging {
    table: PathBuf,
    /// Before the folder, so that the file is closed when it goes.
    writer: Writer,
    aside: Aside,
    pace: Pace,
}

/// A folder that is removed when it is dropped before it has become a generation.
pub(super) struct Aside {
    pub(super) folder: PathBuf,
    /// Locked as long as this process works on the folder.
    _owner: File,
    is_sealed: bool,
}

impl FileStaging {
    /// Makes the table's folder, removes what dead attempts have left, and begins; pairs are taken at this pace.
    pub fn begin(table: &Path, attempt: &str, base: &Base, pace: Pace) -> Result<Self> {
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
        let walk = base.generation().map(|generation| BaseWalk::begin(table, generation, &aside.folder)).transpose()?;
        let writer = Writer::begin(&aside.folder, walk, matches!(base, Base::Merge(_)))?;
        Ok(Self { table: table.to_owned(), writer, aside, pace })
    }

    /// The table's folder, and the complete generation beside it.
    pub(super) fn into_parts(self) -> (PathBuf, Aside) {
        let Self { table, aside, .. } = self;
        (table, aside)
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

impl Staging for FileStaging {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.pace.pass_one();
        self.writer.put(key, value)
    }

    fn close(&mut self) -> Result<Contents> {
        self.pace.settle();
        self.writer.close()
    }

    fn verify(&mut self, expected: &Expected<'_>) -> Result<StoredFile> {
        let folder = self.aside.folder.as_path();
        // The bytes go to the disk and through the hash while the pairs are read back.
        std::thread::scope(|scope| {
            let stored = scope.spawn(|| make_durable(folder));
            let compared = compare(folder, expected);
            let stored = stored.join().map_err(|_| Error::failed("the thread that syncs a generation has panicked"))?;
            compared.and(stored)
        })
    }

    fn seal(self: Box<Self>, mut metadata: GenerationMetadata) -> Result<Box<dyn Staged>> {
        let Self { table, aside, .. } = *self;
        let _held = TableLock::hold(&table)?;
        let highest = numbers(&table)?.last().copied().max(pointer::read(&table)?);
        metadata.generation = highest.unwrap_or(0) + 1;
        let owner = loop {
            let owner = write_metadata(&aside.folder, &metadata)?;
            let _ = fs::remove_file(aside.folder.join(OWNER));
            disk::sync_folder(&aside.folder)?;
            let sealed = generation_folder(&table, metadata.generation);
            // A rename onto a folder that is not empty fails: a number is never given twice, not even
            // to somebody who does not know of the lock.
            match fs::rename(&aside.folder, &sealed) {
                Ok(()) => break owner,
                Err(_) if sealed.exists() => metadata.generation += 1,
                Err(error) => return Err(disk::failed("a generation cannot be sealed", &sealed, error)),
            }
        };
        aside.sealed();
        disk::sync_folder(&table)?;
        Ok(Box::new(FileStaged::new(table, metadata, owner)))
    }
}

/// Writes `generation.json`; whoever has it locked is about to flip to the generation.
fn write_metadata(folder: &Path, metadata: &GenerationMetadata) -> Result<File> {
    let path = folder.join(METADATA);
    disk::write(&path, &metadata.to_json()?)?;
    let failed = |source| disk::failed("a generation cannot be claimed", &path, source);
    let owner = File::open(&path).map_err(failed)?;
    owner.lock().map_err(failed)?;
    Ok(owner)
}

/// Syncs the file, opens it to other users, and hashes it.
fn make_durable(folder: &Path) -> Result<StoredFile> {
    let data = folder.join(DATA);
    let failed = |source| disk::failed("a generation cannot be completed", &data, source);
    // LMDB makes its file for this user alone; applications read it as others.
    fs::set_permissions(&data, Permissions::from_mode(0o644)).map_err(failed)?;
    let file = File::open(&data).map_err(failed)?;
    let checksum = disk::checksum(&data)?;
    file.sync_all().map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    Ok(StoredFile { bytes, checksum })
}

/// Reads a generation as readers do, and compares.
fn compare(folder: &Path, expected: &Expected<'_>) -> Result<()> {
    let differs = |what: &str| {
        Error::verification(format!("the generation reads back with {what} than loaded"))
            .with("folder", folder.display())
            .hint("nothing was published; look for a failing disk or memory, then run again")
    };
    let damaged = |source| unreadable(folder, source);
    // A look-up maps pages, which count as memory until they are unmapped: a few at a time.
    for sample in expected.sample.chunks(100) {
        let opened = open_read_only(folder)?;
        let txn = opened.env.read_txn().map_err(damaged)?;
        for sampled in sample {
            let value = opened.pairs.get(&txn, &sampled.key).map_err(damaged)?;
            if !value.is_some_and(|value| sampled.matches(value)) {
                return Err(differs("another value").with("key", shortened(&sampled.key)));
            }
        }
    }
    let (mut checksum, mut keys) = (Checksum::default(), 0);
    scan(folder, |key, value| {
        checksum.add(key, value);
        keys += 1;
        Ok(())
    })?;
    if keys != expected.keys || recorded_keys(folder)? != keys {
        return Err(differs("other keys").with("loaded", expected.keys).with("found", keys));
    }
    if checksum != expected.checksum {
        return Err(differs("another checksum"));
    }
    Ok(())
}

/// The count that LMDB keeps itself, which a reader compares when it opens the generation.
fn recorded_keys(folder: &Path) -> Result<u64> {
    let opened = open_read_only(folder)?;
    let damaged = |source| unreadable(folder, source);
    let txn = opened.env.read_txn().map_err(damaged)?;
    opened.pairs.len(&txn).map_err(damaged)
}
