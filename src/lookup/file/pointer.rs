//! `CURRENT`: the one thing of a table that changes.

use super::disk::{self, TableLock};
use super::{folder_name, number_in};
use crate::error::{Error, Result};
use crate::lookup::encode::shortened;
use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::Path;

const CURRENT: &str = "CURRENT";

/// The generation that readers see; `None` where nothing has been published.
pub fn read(table: &Path) -> Result<Option<u64>> {
    let path = table.join(CURRENT);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == NotFound => return Ok(None),
        Err(error) => return Err(disk::failed("the pointer to the current generation cannot be read", &path, error)),
    };
    let number = std::str::from_utf8(&bytes).ok().and_then(|text| number_in(text.trim_end()));
    number.map(Some).ok_or_else(|| {
        Error::verification("the pointer to the current generation is damaged")
            .with("file", path.display())
            .with("content", shortened(bytes.trim_ascii_end()))
            .hint("write the name of a generation into it, for example v=000001; it holds nothing else")
    })
}

/// Moves the pointer; the caller has compared it under this lock.
pub fn write(table: &Path, generation: u64, _held: &TableLock) -> Result<()> {
    disk::replace(&table.join(CURRENT), format!("{}\n", folder_name(generation)).as_bytes())
}
