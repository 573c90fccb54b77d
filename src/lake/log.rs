//! Append-only logs: a folder of files `000001.json`, `000002.json` ..., each put if absent.
//!
//! The entry with the highest number rules. A writer that loses a race takes the next number, so no
//! entry is ever lost or changed; files with other names are somebody else's and are left alone.

use super::{Location, Put};
use crate::error::{Error, Result, ResultExt};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

const ENDING: &str = ".json";
/// How many times in a row a writer may lose before it gives up.
const TRIES: usize = 1000;
/// Entries read at once.
const CONCURRENT: usize = 16;

/// A number as names have it: six digits, more where six don't suffice.
pub fn number_name(number: u64) -> String {
    format!("{number:06}")
}

/// The number in a name that [`number_name`] gave; `None` for every other name. Numbers begin at 1.
pub fn parse_number(name: &str) -> Option<u64> {
    let number = name.parse().ok().filter(|number| *number > 0)?;
    // Refuses `7`, `+00007` and `0000007`, so that every number has one name.
    (number_name(number) == name).then_some(number)
}

/// The file of an entry.
pub fn entry(log: &Location, number: u64) -> Location {
    log.join(&format!("{}{ENDING}", number_name(number)))
}

/// The numbers of all entries, ascending.
///
/// # Errors
/// What the store fails with; a log that does not exist is empty.
pub async fn numbers(log: &Location) -> Result<Vec<u64>> {
    let names = log.children().await?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.strip_suffix(ENDING)).filter_map(parse_number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Appends what `build` makes of the new entry's number and the latest entry; gives that number.
///
/// `build` may look at the latest entry and refuse, or give `None`: then nothing is appended. Where
/// another writer was first, it is asked again with what that writer left.
///
/// # Errors
/// What `build` and the store fail with; `conflict` after a thousand lost races.
pub async fn append(
    log: &Location,
    mut build: impl FnMut(u64, Option<&Bytes>) -> Result<Option<Bytes>>,
) -> Result<Option<u64>> {
    for _ in 0..TRIES {
        let latest = latest(log).await?;
        let next = latest.as_ref().map_or(1, |(number, _)| number + 1);
        let Some(bytes) = build(next, latest.as_ref().map(|(_, bytes)| bytes))? else { return Ok(None) };
        if entry(log, next).put_if_absent(bytes).await? == Put::Created {
            return Ok(Some(next));
        }
    }
    Err(Error::conflict("other writers were always faster").with("log", log))
}

/// The latest entry and its number; `None` where there is none.
///
/// # Errors
/// What the store fails with.
pub async fn latest(log: &Location) -> Result<Option<(u64, Bytes)>> {
    let Some(number) = numbers(log).await?.pop() else { return Ok(None) };
    Ok(Some((number, read(log, number).await?)))
}

/// All entries in the order of their numbers.
///
/// # Errors
/// What the store fails with.
pub async fn all(log: &Location) -> Result<Vec<(u64, Bytes)>> {
    let reads = numbers(log).await?.into_iter().map(|number| async move { Ok((number, read(log, number).await?)) });
    stream::iter(reads).buffered(CONCURRENT).try_collect().await
}

async fn read(log: &Location, number: u64) -> Result<Bytes> {
    let file = entry(log, number);
    let bytes = file.get().await?;
    bytes.ok_or_else(|| Error::conflict("an entry was removed while the log was read")).at("file", &file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_one_name() {
        for number in [1, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(parse_number(&number_name(number)), Some(number));
        }
        for name in ["", "7", "0000007", "+00007", "000000", "00000a", "99999999999999999999999"] {
            assert_eq!(parse_number(name), None, "{name}");
        }
    }
}
