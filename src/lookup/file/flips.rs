//! The log of flips: `flips.jsonl`, a line a flip, oldest first.
//!
//! A flip is logged before the pointer moves, both under the table's lock. Where a crash lies between, the
//! last line names a generation that the pointer does not: that flip has not happened, and the next one
//! writes over it.

use super::disk::{self, TableLock};
use super::pointer;
use crate::error::{Error, Result};
use crate::lookup::{FlipRecord, KEPT_FLIPS};
use std::fs;
use std::io::ErrorKind::NotFound;
use std::path::Path;

const FLIPS: &str = "flips.jsonl";

/// The flips that have happened, as far as they are kept.
pub fn read(table: &Path) -> Result<Vec<FlipRecord>> {
    loop {
        let before = pointer::read(table)?;
        let mut flips = written(table)?;
        if pointer::read(table)? != before {
            continue;
        }
        flips.pop_if(|last| Some(last.generation) != before);
        return Ok(flips);
    }
}

/// Logs a flip that the caller makes next, under the same lock.
pub fn append(table: &Path, record: FlipRecord, _held: &TableLock) -> Result<()> {
    let mut flips = read(table)?;
    flips.push(record);
    let kept = flips.len().saturating_sub(KEPT_FLIPS);
    let mut lines = Vec::new();
    for flip in &flips[kept..] {
        serde_json::to_writer(&mut lines, flip)
            .map_err(|source| Error::failed("a flip cannot be written as JSON").because(source))?;
        lines.push(b'\n');
    }
    disk::replace(&table.join(FLIPS), &lines)
}

fn written(table: &Path) -> Result<Vec<FlipRecord>> {
    let path = table.join(FLIPS);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == NotFound => return Ok(Vec::new()),
        Err(error) => return Err(disk::failed("the log of flips cannot be read", &path, error)),
    };
    let mut flips = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(flip) => flips.push(flip),
            // The log tells what was; the pointer alone decides what readers see.
            Err(source) => {
                tracing::warn!(file = %path.display(), line = index + 1, %source, "this line is no flip")
            }
        }
    }
    Ok(flips)
}
