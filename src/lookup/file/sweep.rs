//! Garbage: what crashes and old generations leave. All of it is named under the table's lock, and a
//! generation leaves by one rename, so that no reader and no listing meets half a generation.

use super::disk::{self, TableLock};
use super::{folder_name, generation_folder, names};
use crate::error::Result;
use std::fs::{self, File};
use std::io::ErrorKind::NotFound;
use std::path::Path;

pub const STAGING: &str = ".staging-";
const TRASH: &str = ".trash-";

/// The file in a staging folder that its loader keeps locked.
pub const OWNER: &str = "owner.lock";

/// Removes the staging folders whose loaders are gone. A loader makes and locks its folder under the
/// same lock, so a folder without an owner is never a newborn.
pub fn dead_stagings(table: &Path, _held: &TableLock) -> Result<()> {
    for name in names(table)?.iter().filter(|name| name.starts_with(STAGING)) {
        let folder = table.join(name);
        let alive = File::open(folder.join(OWNER)).is_ok_and(|owner| owner.try_lock().is_err());
        if !alive {
            remove(&folder)?;
        }
    }
    Ok(())
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

/// Removes a folder that may have gone already: others sweep too.
fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != NotFound => Err(disk::failed("garbage cannot be removed", folder, error)),
        _ => Ok(()),
    }
}
