//! The embedded store: one LMDB file a generation, in a folder of the local disk.
//!
//! ```text
//! <home>/lookup/<table>/
//!   CURRENT                 one line: v=000043, the generation that readers see
//!   flips.jsonl             who moved it where, when and why, a line a flip
//!   v=000042/  v=000043/    generations: data.mdb, generation.json; immutable
//!   .staging-<attempt>/     a generation that is being loaded, with owner.lock held by its loader
//!   .trash-v=000041/        a generation on its way out
//!   .lock                   held (flock) while a number is given, the pointer moved, or garbage named
//! ```
//!
//! Readers take no lock and write nothing: they read `CURRENT`, then open the file read-only without
//! LMDB's own lock file, which is right because a sealed generation never changes. A reader in another
//! language does the same (`py-lmdb`: `lmdb.open(path, readonly=True, lock=False)`), and reads `CURRENT`
//! again where the generation has gone in between.
//!
//! Where the home lies in a bucket, generations are loaded and verified in such a folder on this machine
//! and then uploaded, and readers fetch them into one: see `remote.rs` and `mirror.rs`.
//!
//! What a crash leaves is told by name alone. Whatever starts with a dot is garbage unless its owner
//! lives. A generation above the current one was never published or was rolled back from: nobody reads
//! it, and the next flip past it removes it. Of the former kind is what the log of flips doesn't name, and
//! its loader is dead when `generation.json` isn't locked: then garbage collection removes it, too.
//!
//! A generation that is made from another one (`merge`, `changed`) begins as a copy of its file, in which
//! only what differs is written; see `writer.rs`.

mod base;
mod chunk;
mod disk;
mod environment;
mod flips;
mod mirror;
mod pointer;
mod reader;
mod remote;
mod staged;
mod staging;
mod sweep;
mod writer;

use super::{
    Base, Collected, Flip, FlipNote, FlipRecord, GenerationMetadata, LookupReader, LookupStore, LookupTable, Pace,
    Staging,
};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

const DATA: &str = "data.mdb";
const METADATA: &str = "generation.json";

/// Generations as LMDB files under `home`.
pub struct FileStore;

impl LookupStore for FileStore {
    fn name(&self) -> &'static str {
        "file"
    }

    fn summary(&self) -> &'static str {
        "an LMDB file a generation, under home; read in process, from any language"
    }

    fn current(&self, table: &LookupTable) -> Result<Option<u64>> {
        match &table.remote {
            Some(place) => remote::current(place),
            None => pointer::read(&table.folder),
        }
    }

    fn begin(&self, table: &LookupTable, attempt: &str, base: &Base, _partitions: u32) -> Result<Box<dyn Staging>> {
        if let (Some(place), Some(generation)) = (&table.remote, base.generation()) {
            mirror::fetch(place, &table.folder, generation)?;
        }
        let pace = Pace::of(table.options.max_rows_per_sec);
        let local = staging::FileStaging::begin(&table.folder, attempt, base, pace)?;
        Ok(match &table.remote {
            Some(place) => Box::new(remote::RemoteStaging::new(local, place.clone(), attempt)),
            None => Box::new(local),
        })
    }

    fn open(&self, table: &LookupTable) -> Result<Option<Box<dyn LookupReader>>> {
        if let Some(place) = &table.remote {
            let Some(generation) = mirror::fetch_current(place, &table.folder)? else { return Ok(None) };
            return Ok(Some(Box::new(reader::FileReader::open(&table.folder, generation)?)));
        }
        Ok(reader::open_current(&table.folder)?.map(|reader| Box::new(reader) as Box<dyn LookupReader>))
    }

    fn open_generation(&self, table: &LookupTable, generation: u64) -> Result<Box<dyn LookupReader>> {
        if let Some(place) = &table.remote {
            mirror::fetch(place, &table.folder, generation)?;
        }
        Ok(Box::new(reader::FileReader::open(&table.folder, generation)?))
    }

    fn generations(&self, table: &LookupTable) -> Result<Vec<GenerationMetadata>> {
        if let Some(place) = &table.remote {
            return remote::generations(place);
        }
        let numbers = numbers(&table.folder)?;
        numbers.into_iter().map(|number| reader::metadata(&table.folder, number)).collect()
    }

    fn rollback(&self, table: &LookupTable, to: Option<u64>, expected: u64, by: &FlipNote) -> Result<Flip> {
        match &table.remote {
            Some(place) => remote::rollback(place, to, expected, by),
            None => staged::rollback(&table.folder, to, expected, by),
        }
    }

    fn flips(&self, table: &LookupTable) -> Result<Vec<FlipRecord>> {
        match &table.remote {
            Some(place) => remote::flips(place),
            None => flips::read(&table.folder),
        }
    }

    fn gc(&self, table: &LookupTable, keep: usize) -> Result<Collected> {
        let rate = table.options.max_rows_per_sec;
        match &table.remote {
            // The copy on this machine has garbage of its own kind only.
            Some(place) => {
                let collected = remote::gc(place, keep, rate)?;
                staged::gc(&table.folder, usize::MAX, rate).map(|_| collected)
            }
            None => staged::gc(&table.folder, keep, rate),
        }
    }
}

/// The name of a generation's folder.
fn folder_name(generation: u64) -> String {
    format!("v={generation:06}")
}

/// The number in a generation's folder name; `None` for any other name.
fn number_in(name: &str) -> Option<u64> {
    let number = name.strip_prefix("v=")?.parse().ok()?;
    // One name a number: `v=7` and `v=+00007` are not generations.
    (folder_name(number) == name).then_some(number)
}

fn generation_folder(table: &Path, generation: u64) -> PathBuf {
    table.join(folder_name(generation))
}

/// The numbers of the sealed generations, ascending.
fn numbers(table: &Path) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = names(table)?.iter().filter_map(|name| number_in(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What lies in a folder; nothing where there is none.
fn names(folder: &Path) -> Result<Vec<String>> {
    let unreadable = |source| disk::failed("a folder cannot be listed", folder, source);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<std::io::Result<_>>().map_err(unreadable)
}

/// An error of LMDB while writing.
fn lmdb_failed(what: &str, file: &Path, source: heed::Error) -> Error {
    Error::failed(what).with("file", file.display()).because(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_name() {
        assert_eq!(folder_name(43), "v=000043");
        assert_eq!(number_in("v=000043"), Some(43));
        assert_eq!(number_in("v=1234567"), Some(1_234_567));
        for other in ["v=43", "v=+00043", "v=0000043", "000043", "v=", "v=00004x", ".trash-v=000043"] {
            assert_eq!(number_in(other), None, "{other}");
        }
    }
}
