//! Reading a generation.

use super::environment::{Opened, open_shared, unreadable};
use super::{DATA, METADATA, disk, folder_name, generation_folder, pointer};
use crate::error::{Error, Result};
use crate::lookup::{Checksum, GenerationMetadata, LookupReader, MAX_KEY_BYTES, Visit};
use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An opened generation; as many as wanted may be open, in any thread.
pub struct FileReader {
    folder: PathBuf,
    metadata: GenerationMetadata,
    opened: Arc<Opened>,
}

/// Opens the generation that `CURRENT` names; `None` where nothing has been published.
pub fn open_current(table: &Path) -> Result<Option<FileReader>> {
    loop {
        let Some(generation) = pointer::read(table)? else { return Ok(None) };
        match FileReader::open(table, generation) {
            Ok(reader) => return Ok(Some(reader)),
            // Between reading the pointer and opening, it moved on and the generation was removed.
            Err(_) if pointer::read(table)? != Some(generation) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a sealed generation says about itself.
pub fn metadata(table: &Path, generation: u64) -> Result<GenerationMetadata> {
    let path = generation_folder(table, generation).join(METADATA);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == NotFound => {
            return Err(Error::verification("the generation is missing or incomplete")
                .with("file", path.display())
                .hint("publish the interval again, or roll back to an older generation"));
        }
        Err(error) => return Err(disk::failed("the generation's metadata cannot be read", &path, error)),
    };
    let metadata = GenerationMetadata::from_json(&bytes).map_err(|error| error.with("file", path.display()))?;
    if metadata.generation != generation {
        return Err(Error::verification("the generation's metadata is that of another one")
            .with("file", path.display())
            .with("recorded", folder_name(metadata.generation)));
    }
    Ok(metadata)
}

impl FileReader {
    /// Opens one generation.
    pub fn open(table: &Path, generation: u64) -> Result<Self> {
        let metadata = metadata(table, generation)?;
        let folder = generation_folder(table, generation);
        check_length(&folder.join(DATA), metadata.file_bytes)?;
        let opened = open_shared(&folder)?;
        let reader = Self { folder, metadata, opened };
        let txn = reader.opened.env.read_txn().map_err(|source| reader.unreadable(source))?;
        let keys = reader.opened.pairs.len(&txn).map_err(|source| reader.unreadable(source))?;
        reader.compare("keys", reader.metadata.keys, keys)?;
        drop(txn);
        Ok(reader)
    }

    fn unreadable(&self, source: heed::Error) -> Error {
        unreadable(&self.folder, source)
    }

    fn compare<T: PartialEq + std::fmt::Display>(&self, what: &'static str, recorded: T, found: T) -> Result<()> {
        if recorded == found {
            return Ok(());
        }
        Err(Error::verification(format!("the generation has other {what} than recorded"))
            .with("folder", self.folder.display())
            .with("recorded", recorded)
            .with("found", found)
            .hint("publish the interval again, or roll back to an older generation"))
    }
}

/// Compares the file's length before it is mapped: reading a map beyond the file's end would kill the
/// process.
pub fn check_length(path: &Path, recorded: u64) -> Result<()> {
    let found = fs::metadata(path).map(|metadata| metadata.len()).map_err(|source| {
        Error::verification("the generation lacks its data")
            .with("file", path.display())
            .because(source)
            .hint("publish the interval again, or roll back to an older generation")
    })?;
    if found == recorded {
        return Ok(());
    }
    Err(Error::verification("the generation's data is truncated or altered")
        .with("file", path.display())
        .with("recorded_bytes", recorded)
        .with("found_bytes", found)
        .hint("publish the interval again, or roll back to an older generation"))
}

impl LookupReader for FileReader {
    fn metadata(&self) -> &GenerationMetadata {
        &self.metadata
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        // No such key can have been put, and LMDB calls it an error.
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Ok(None);
        }
        let txn = self.opened.env.read_txn().map_err(|source| self.unreadable(source))?;
        let value = self.opened.pairs.get(&txn, key).map_err(|source| self.unreadable(source))?;
        Ok(value.map(<[u8]>::to_vec))
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<()> {
        let txn = self.opened.env.read_txn().map_err(|source| self.unreadable(source))?;
        for pair in self.opened.pairs.iter(&txn).map_err(|source| self.unreadable(source))? {
            let (key, value) = pair.map_err(|source| self.unreadable(source))?;
            visit(key, value)?;
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        // First the bytes: LMDB trusts the pages that it walks.
        let data = self.folder.join(DATA);
        self.compare("bytes", self.metadata.file_checksum.clone(), disk::checksum(&data)?)?;
        let (mut checksum, mut keys, mut bytes) = (Checksum::default(), 0, 0);
        self.each(&mut |key, value| {
            checksum.add(key, value);
            keys += 1;
            bytes += (key.len() + value.len()) as u64;
            Ok(())
        })?;
        self.compare("keys", self.metadata.keys, keys)?;
        self.compare("content", self.metadata.bytes, bytes)?;
        self.compare("content", self.metadata.checksum, checksum)
    }
}
