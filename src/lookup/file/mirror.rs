//! The copy on this machine of a lookup table that lies in a bucket.
//!
//! It has the layout of a local table, so that every reader of one reads it. A generation is fetched
//! aside, compared with its recorded hash, and only then named; `CURRENT` of the copy moves last.

use super::disk::{self, TableLock};
use super::remote::{self, wait};
use super::staging::Aside;
use super::sweep::{self, OWNER, STAGING};
use super::{DATA, METADATA, folder_name, generation_folder, numbers, pointer};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Location;
use crate::lookup::GenerationMetadata;
use std::fs::{self, File};
use std::path::Path;

/// Generations that a copy keeps: the current one, and the one that readers may still have open.
const KEPT: usize = 2;

/// How often a reader looks again where generations come and go under it.
const TRIES: usize = 8;

/// Fetches the current generation, unless the copy has it, and points the copy to it; gives its number.
///
/// # Errors
/// A verification error where what was fetched is not what was recorded; a failure of the store.
pub fn fetch_current(place: &Location, table: &Path) -> Result<Option<u64>> {
    let mut tried = 0;
    loop {
        let Some(generation) = remote::current(place)? else { return Ok(None) };
        match fetch(place, table, generation) {
            Ok(()) => {
                let held = TableLock::hold(table)?;
                pointer::write(table, generation, &held)?;
                retire(table, generation, &held)?;
                drop(held);
                sweep::trash(table)?;
                return Ok(Some(generation));
            }
            // The pointer moved on meanwhile, and what it named was removed.
            Err(error) if error.kind() == ErrorKind::Verification && tried < TRIES => {
                if remote::current(place)? == Some(generation) {
                    return Err(error);
                }
                tried += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Fetches one generation, unless the copy has exactly it.
pub fn fetch(place: &Location, table: &Path, generation: u64) -> Result<()> {
    let (metadata, recorded) = wait(remote::metadata(place, generation))?;
    disk::create_folder(table)?;
    let folder = generation_folder(table, generation);
    // The same number may have been another generation's: of a home that was removed and made anew.
    if fs::read(folder.join(METADATA)).is_ok_and(|kept| kept == recorded)
        && fs::metadata(folder.join(DATA)).is_ok_and(|data| data.len() == metadata.file_bytes)
    {
        return Ok(());
    }
    let aside = {
        let held = TableLock::hold(table)?;
        sweep::dead_stagings(table, &held)?;
        Aside::claim(table.join(format!("{STAGING}fetch-{}-{generation}", std::process::id())))?
    };
    download(place, &aside.folder, &metadata)?;
    name(table, aside, generation)
}

fn download(place: &Location, aside: &Path, metadata: &GenerationMetadata) -> Result<()> {
    let (from, to) = (place.join(&folder_name(metadata.generation)).join(DATA), aside.join(DATA));
    let failed = |source| disk::failed("a generation cannot be written", &to, source);
    let mut file = File::create(&to).map_err(failed)?;
    if !wait(from.download(&mut file))? {
        return Err(Error::verification("the generation lacks its data").with("file", &from));
    }
    file.sync_all().map_err(failed)?;
    let fetched = disk::checksum(&to)?;
    if fetched != metadata.file_checksum {
        return Err(Error::verification("the generation that was fetched is not the one recorded")
            .with("file", &from)
            .with("recorded", &metadata.file_checksum)
            .with("found", fetched)
            .hint("publish the interval again, or roll back to an older generation"));
    }
    disk::write(&aside.join(METADATA), &metadata.to_json()?)
}

/// Keeps a generation that was loaded on this machine, so that nobody here has to fetch it.
pub(super) fn keep(table: &Path, aside: Aside, metadata: &GenerationMetadata) -> Result<()> {
    disk::write(&aside.folder.join(METADATA), &metadata.to_json()?)?;
    name(table, aside, metadata.generation)
}

/// Gives a complete generation its name, in place of another one of the same number.
fn name(table: &Path, aside: Aside, generation: u64) -> Result<()> {
    let _ = fs::remove_file(aside.folder.join(OWNER));
    disk::sync_folder(&aside.folder)?;
    let held = TableLock::hold(table)?;
    let folder = generation_folder(table, generation);
    if folder.exists() {
        sweep::discard(table, generation, &held)?;
    }
    let failed = |source| disk::failed("a generation cannot be kept", &folder, source);
    fs::rename(&aside.folder, &folder).map_err(failed)?;
    aside.sealed();
    disk::sync_folder(table)
}

/// Takes all but the newest generations up to the current one out of the copy. One above it may just be
/// kept by its loader.
fn retire(table: &Path, current: u64, held: &TableLock) -> Result<()> {
    let old = numbers(table)?.into_iter().rev().filter(|&number| number <= current).skip(KEPT);
    old.into_iter().try_for_each(|number| sweep::discard(table, number, held))
}
