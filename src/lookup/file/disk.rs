//! Files that survive a power cut, and the lock of a table.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// An error of the file system.
pub fn failed(what: &str, path: &Path, source: io::Error) -> Error {
    Error::failed(what).with("path", path.display()).because(source)
}

/// Creates a folder with its parents; it is there, also after a power cut.
pub fn create_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|source| failed("a folder cannot be created", folder, source))?;
    // Its entry in `lookup/`, and that one's in `home`.
    folder.ancestors().skip(1).take(2).filter(|parent| parent.is_dir()).try_for_each(sync_folder)
}

/// Makes the entries of a folder durable: names given, changed or removed in it.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(|source| failed("a folder cannot be synced", folder, source))
}

/// Writes a file whole and durably; its entry in the folder still has to be synced.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    File::create(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|source| failed("a file cannot be written", path, source))
}

/// Replaces a file by one atomic rename; the caller holds the lock under which it is written.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    write(&aside, bytes)?;
    fs::rename(&aside, path).map_err(|source| failed("a file cannot be replaced", path, source))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// The hash of a file's bytes, with the name of the function before it. Read, not mapped: the
/// process's memory stays the same however large the file is.
pub fn checksum(path: &Path) -> Result<String> {
    let unreadable = |source| failed("a file cannot be read", path, source);
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(named(&hasher)),
            length => hasher.update(&buffer[..length]),
        };
    }
}

/// A hash with the name of its function before it.
pub fn named(hasher: &blake3::Hasher) -> String {
    format!("blake3:{}", hasher.finalize().to_hex())
}

/// Holds a table's lock against all threads and processes of this machine until it is dropped; a
/// process that dies lets go of it.
pub struct TableLock {
    _file: File,
}

impl TableLock {
    /// Waits for the lock. What is done under it is short: names change, no data is written.
    pub fn hold(table: &Path) -> Result<Self> {
        let path = table.join(".lock");
        let options = File::options().create(true).append(true).open(&path);
        let file = options.map_err(|source| failed("a lock file cannot be opened", &path, source))?;
        file.lock().map_err(|source| failed("a table cannot be locked", &path, source))?;
        Ok(Self { _file: file })
    }
}
