//! A sealed generation on its way to the readers, and the way back to one that they had before.

use super::disk::TableLock;
use super::{DATA, METADATA, flips, folder_name, generation_folder, numbers, pointer, reader, sweep};
use crate::error::{Error, Result};
use crate::lookup::{Collected, Flip, FlipAction, FlipNote, FlipRecord, GenerationMetadata, Staged};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A sealed generation of a file store. Dropped before it was to be flipped, it is removed again:
/// nobody has seen it.
pub struct FileStaged {
    table: PathBuf,
    metadata: GenerationMetadata,
    /// Its metadata, locked: garbage collection leaves it alone as long as this lives.
    _owner: File,
    /// Whether it has come to the flip, which itself says what becomes of it.
    is_decided: bool,
}

impl FileStaged {
    pub(super) fn new(table: PathBuf, metadata: GenerationMetadata, owner: File) -> Self {
        Self { table, metadata, _owner: owner, is_decided: false }
    }
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

    fn flip(mut self: Box<Self>, expected: Option<u64>, keep: usize, by: &FlipNote) -> Result<Flip> {
        let (table, generation) = (&self.table, self.metadata.generation);
        let held = TableLock::hold(table)?;
        let current = pointer::read(table)?;
        self.is_decided = true;
        if current != expected {
            let swept = sweep::discard(table, generation, &held).and_then(|()| sweep::trash(table));
            return Err(moved(expected, current, swept.err()));
        }
        if !generation_folder(table, generation).join(METADATA).is_file() {
            // Others have published and rolled back meanwhile; what lay in between went with them.
            return Err(gone(generation));
        }
        // What lies between was never published (its loader is dead, or sees a conflict when it comes to
        // flip), or was rolled back from. Gone before the pointer moves, so that everything below the
        // current generation has once been current.
        for number in numbers(table)?.into_iter().filter(|&number| current < Some(number) && number < generation) {
            sweep::discard(table, number, &held)?;
        }
        let run_id = &self.metadata.provenance.run_id;
        let record = FlipRecord::new(FlipAction::Publish, generation, current, run_id, by);
        flips::append(table, record, &held)?;
        pointer::write(table, generation, &held)?;
        // From here on it has happened; what goes wrong with old generations is told, not failed.
        let (removed, leftover) = match retire(table, generation, keep, &held) {
            Ok(removed) => (removed, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        drop(held);
        let leftover = leftover.or_else(|| sweep::trash(table).err());
        Ok(Flip { generation, from: current, removed, leftover })
    }

    // Dropped undecided, it removes itself.
    fn abandon(self: Box<Self>) {}
}

/// Points readers to a generation that they had before.
pub fn rollback(table: &Path, to: Option<u64>, expected: u64, by: &FlipNote) -> Result<Flip> {
    if !table.is_dir() {
        return Err(moved(Some(expected), None, None));
    }
    let held = TableLock::hold(table)?;
    let current = pointer::read(table)?;
    if current != Some(expected) {
        return Err(moved(Some(expected), current, None));
    }
    let log = flips::read(table)?;
    let kept = numbers(table)?;
    // What lies above the current generation may be on its way to be published by somebody.
    let once_current = |number: u64| number < expected || log.iter().any(|flip| flip.generation == number);
    let kept: Vec<u64> = kept.into_iter().filter(|&number| once_current(number)).collect();
    let target = target(&kept, to, expected)?;
    let metadata = reader::metadata(table, target)?;
    reader::check_length(&generation_folder(table, target).join(DATA), metadata.file_bytes)?;
    let record = FlipRecord::new(FlipAction::Rollback, target, current, &metadata.provenance.run_id, by);
    flips::append(table, record, &held)?;
    pointer::write(table, target, &held)?;
    Ok(Flip { generation: target, from: current, removed: Vec::new(), leftover: None })
}

/// Which of the generations that are kept and were current once a rollback means.
pub(super) fn target(kept: &[u64], to: Option<u64>, current: u64) -> Result<u64> {
    let others = || {
        let names: Vec<String> = kept.iter().filter(|&&kept| kept != current).map(u64::to_string).collect();
        if names.is_empty() {
            "no other generation is kept".to_owned()
        } else {
            format!("kept are: {}", names.join(", "))
        }
    };
    match to {
        Some(to) if to == current => {
            Err(Error::usage("readers see this generation already").with("generation", to).hint(others()))
        }
        Some(to) if kept.contains(&to) => Ok(to),
        Some(to) => {
            Err(Error::usage("there is no such generation to roll back to").with("generation", to).hint(others()))
        }
        None => kept.iter().copied().rfind(|&kept| kept < current).ok_or_else(|| {
            Error::usage("there is no older generation to roll back to").with("current", current).hint(others())
        }),
    }
}

/// Takes the generations beyond the newest `keep` out of the table; gives their numbers, ascending.
pub(super) fn retire(table: &Path, current: u64, keep: usize, held: &TableLock) -> Result<Vec<u64>> {
    let mut old: Vec<u64> = numbers(table)?.into_iter().filter(|&number| number < current).collect();
    old.truncate((old.len() + 1).saturating_sub(keep.max(1)));
    old.iter().try_for_each(|&number| sweep::discard(table, number, held))?;
    Ok(old)
}

/// Somebody else has moved the pointer.
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

/// Somebody else has removed what was to be published.
pub(super) fn gone(generation: u64) -> Error {
    Error::conflict("the generation was removed before it was published")
        .with("generation", folder_name(generation))
        .hint("another run has published this lookup table meanwhile; run again")
}

/// Removes what dead attempts have left, sealed or not, and what exceeds `keep`.
pub fn gc(table: &Path, keep: usize, max_rows_per_sec: Option<u64>) -> Result<Collected> {
    let mut collected = Collected { bytes: Some(0), ..Collected::default() };
    if !table.is_dir() {
        return Ok(collected);
    }
    let mut bytes;
    {
        let held = TableLock::hold(table)?;
        (collected.attempts, bytes) = sweep::dead_stagings(table, &held)?;
        let current = pointer::read(table)?;
        let log = flips::read(table)?;
        for number in numbers(table)?.into_iter().filter(|&number| current < Some(number)) {
            let was_published = log.iter().any(|flip| flip.generation == number);
            if !was_published && !sweep::is_locked(&generation_folder(table, number).join(METADATA)) {
                sweep::discard(table, number, &held)?;
                collected.generations.push(number);
            }
        }
        if let Some(current) = current {
            collected.generations.extend(retire(table, current, keep, &held)?);
        }
        collected.generations.sort_unstable();
    }
    bytes += sweep::trash_slowly(table, max_rows_per_sec)?;
    collected.bytes = Some(bytes);
    Ok(collected)
}
