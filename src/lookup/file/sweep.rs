//! Garbage: what crashes and old generations leave. All of it is named under the table's lock, and a
//! generation leaves by one rename, so that no reader and no listing meets half a generation.

use super::disk::{self, TableLock};
use super::{METADATA, folder_name, generation_folder, names};
use crate::error::Result;
use crate::lookup::{GenerationMetadata, Pace};
use std::fs::{self, File};
use std::io::ErrorKind::NotFound;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub const STAGING: &str = ".staging-";
const TRASH: &str = ".trash-";

/// The file in a staging folder that its loader keeps locked.
pub const OWNER: &str = "owner.lock";

/// Removes the staging folders whose loaders are gone; tells how many, and how many bytes they took. A loader makes and
/// locks its folder under the same lock, so a folder without an owner is never a newborn.
pub fn dead_stagings(table: &Path, _held: &TableLock) -> Result<(u64, u64)> {
    let (mut removed, mut bytes) = (0, 0);
    for name in names(table)?.iter().filter(|name| name.starts_with(STAGING)) {
        let folder = table.join(name);
        if !is_locked(&folder.join(OWNER)) {
            bytes += size(&folder);
            remove(&folder)?;
            removed += 1;
        }
    }
    Ok((removed, bytes))
}

/// Whether somebody who lives holds a file.
pub fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_err())
}

/// Takes a generation away from its name; [`trash`] removes it.
pub fn discard(table: &Path, generation: u64, _held: &TableLock) -> Result<()> {
    let from = generation_folder(table, generation);
    let to = table.join(format!("{TRASH}{}", folder_name(generation)));
    // A crash while it was being removed may have left one of the same number.
    remove(&to)?;
    match fs::rename(&from, &to) {
        Err(error) if error.kind() != NotFound => Err(disk::failed("a generation cannot be removed", &from, error)),
        _ => Ok(()),
    }
}

/// Removes what was discarded. Needs no lock: nothing reads or names it any more.
pub fn trash(table: &Path) -> Result<()> {
    let trash = names(table)?.into_iter().filter(|name| name.starts_with(TRASH));
    trash.map(|name| table.join(name)).try_for_each(|folder| remove(&folder))
}

/// Removes what was discarded, no faster than so many of its pairs a second; tells how many bytes that
/// were. A file goes whole (readers may have it open), so the pace is between generations.
pub fn trash_slowly(table: &Path, max_rows_per_sec: Option<u64>) -> Result<u64> {
    let mut pace = Pace::of(max_rows_per_sec);
    let (mut bytes, mut before) = (0, 0);
    for name in names(table)?.into_iter().filter(|name| name.starts_with(TRASH)) {
        let folder = table.join(name);
        let metadata = fs::read(folder.join(METADATA)).ok();
        let metadata = metadata.and_then(|json| GenerationMetadata::from_json(&json).ok());
        pace.pass(before);
        bytes += size(&folder);
        remove(&folder)?;
        before = metadata.map_or(0, |metadata| metadata.keys);
    }
    Ok(bytes)
}

/// How many bytes go with a folder: of a file that has another name elsewhere (a load links its base) none do. What
/// cannot be read, for others sweep too, counts nothing.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) if found.nlink() == 1 => found.len(),
        _ => 0,
    });
    sizes.sum()
}

/// Removes a folder that may have gone already: others sweep too.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != NotFound => Err(disk::failed("garbage cannot be removed", folder, error)),
        _ => Ok(()),
    }
}
