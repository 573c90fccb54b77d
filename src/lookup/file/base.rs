//! The generation that a new one is made from: copied, compared with its hash, and walked pair by pair.
//!
//! It is linked into the loader's own folder first, so that it stays there until the loader is done with
//! it, and so that nobody else in this process has the same path open.

use super::chunk::Chunk;
use super::environment::window;
use super::{DATA, disk, generation_folder, reader};
use crate::error::{Error, Result};
use crate::lookup::GenerationMetadata;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const LINK: &str = "base";

/// A walk over the pairs of a generation in the order of their keys, a window at a time.
pub struct BaseWalk {
    folder: PathBuf,
    /// What it said of itself.
    pub metadata: GenerationMetadata,
    pairs: Chunk,
    next: usize,
    /// The last key of the window; `None` before the first one and after the last.
    after: Option<Vec<u8>>,
    is_last: bool,
}

impl BaseWalk {
    /// Begins with `generation` of the table, whose data is copied into the folder `aside`.
    pub fn begin(table: &Path, generation: u64, aside: &Path) -> Result<Self> {
        let metadata = reader::metadata(table, generation)?;
        let folder = aside.join(LINK);
        let (from, link) = (generation_folder(table, generation).join(DATA), folder.join(DATA));
        let failed = |source| disk::failed("the generation to begin with cannot be read", &from, source);
        fs::create_dir(&folder).map_err(failed)?;
        // Where there are no links, a copy does.
        fs::hard_link(&from, &link).or_else(|_| fs::copy(&from, &link).map(drop)).map_err(failed)?;
        let found = copy(&link, &aside.join(DATA))?;
        if found != metadata.file_checksum {
            return Err(Error::verification("the generation to begin with is not the one recorded")
                .with("file", from.display())
                .with("recorded", &metadata.file_checksum)
                .with("found", found)
                .hint("publish once with --set lookup.mode=replace, or roll back to a generation that is whole"));
        }
        Ok(Self { folder, metadata, pairs: Chunk::default(), next: 0, after: None, is_last: false })
    }

    /// The pair that comes next.
    pub fn peek(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while self.next == self.pairs.len() && !self.is_last {
            self.pairs.clear();
            self.next = 0;
            let pairs = &mut self.pairs;
            let mut keep = |key: &[u8], value: &[u8]| {
                pairs.put(key, value);
                Ok(())
            };
            self.after = window(&self.folder, self.after.as_deref(), &mut keep)?;
            self.is_last = self.after.is_none();
        }
        Ok(self.pairs.get(self.next))
    }

    /// Goes past it.
    pub fn advance(&mut self) {
        self.next += 1;
    }

    /// Takes the link away.
    pub fn end(self) -> Result<()> {
        fs::remove_dir_all(&self.folder)
            .map_err(|source| disk::failed("a folder cannot be removed", &self.folder, source))
    }
}

/// Copies a file; gives the hash of its bytes.
fn copy(from: &Path, to: &Path) -> Result<String> {
    let unreadable = |source| disk::failed("a file cannot be read", from, source);
    let unwritable = |source| disk::failed("a file cannot be written", to, source);
    let mut input = File::open(from).map_err(unreadable)?;
    let mut output = File::create(to).map_err(unwritable)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = input.read(&mut buffer).map_err(unreadable)?;
        if length == 0 {
            return Ok(disk::named(&hasher));
        }
        hasher.update(&buffer[..length]);
        output.write_all(&buffer[..length]).map_err(unwritable)?;
    }
}
