//! Removing what nobody can read any more, at a limited rate.

use super::books::{Books, Entry};
use super::client::{Batch, Client, int, refusal};
use super::layout::Names;
use super::lease::has_ended;
use super::pairs::{Keys, Place};
use super::wire::Reply;
use crate::error::Result;
use crate::lookup::{Layout, Pace};

/// Buckets that are removed at once.
const BUCKETS: u32 = 128;

/// Pairs a second that are removed where the table sets no limit: freeing memory must not keep a server from answering.
const ROWS_PER_SEC: u64 = 2_000_000;

/// Pairs a bucket has, for the pace.
const ROWS: u64 = 64;

/// Removes what belongs to one table.
pub struct Sweep<'a> {
    /// The table's keys.
    pub names: &'a Names,
    /// Pairs a second.
    pub rows_per_sec: Option<u64>,
    /// Whether the server is asked what everything takes before it goes.
    pub measures: bool,
}

/// What was removed.
#[derive(Debug, Default)]
pub struct Removed {
    /// The numbers of the generations, ascending.
    pub generations: Vec<u64>,
    /// What they took of the server's memory, in bytes; absent where that was not asked, or is not told.
    pub bytes: Option<u64>,
}

impl Sweep<'_> {
    /// Makes garbage of the attempts that are dead.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn dead_attempts(&self, client: &mut Client) -> Result<Vec<u64>> {
        let books = Books::of(self.names);
        let mut dead = Vec::new();
        for (generation, entry) in books.under_way(client)? {
            // What is known needs no waiting for the last sign of life to fade.
            let ended = entry.process.as_deref().and_then(has_ended);
            let is_discarded =
                ended != Some(false) && books.discard(client, generation, &entry.attempt, ended.is_none())?;
            if is_discarded {
                dead.push(generation);
            }
        }
        Ok(dead)
    }

    /// Removes all garbage.
    ///
    /// # Errors
    /// What the server fails with; what is left is garbage still.
    pub fn garbage(&self, client: &mut Client) -> Result<Removed> {
        let books = Books::of(self.names);
        let mut removed = Removed { generations: Vec::new(), bytes: self.measures.then_some(0) };
        for (generation, entry) in books.garbage(client)? {
            let bytes = self.remove(client, generation, &entry)?;
            removed.bytes = removed.bytes.zip(bytes).map(|(all, one)| all + one);
            books.removed(client, generation)?;
            removed.generations.push(generation);
        }
        Ok(removed)
    }

    /// Removes all keys of a generation; tells what they took of the server's memory, as [`Removed`] does. What says that
    /// it is whole goes first: a reader that misses a key asks for that afterwards.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn remove(&self, client: &mut Client, generation: u64, entry: &Entry) -> Result<Option<u64>> {
        let &Entry { partitions, layout, .. } = entry;
        let place = Place { names: self.names.clone(), generation, partitions, layout };
        let metadata = self.names.metadata(generation).into_bytes();
        let mut bytes = self.measures.then_some(0);
        measure(client, &mut bytes, std::slice::from_ref(&metadata))?;
        unlink(client, &[metadata])?;
        let mut pace = Pace::of(Some(self.rows_per_sec.unwrap_or(ROWS_PER_SEC)));
        for first in (0..partitions).step_by(BUCKETS as usize) {
            let buckets: Vec<u32> = (first..partitions.min(first.saturating_add(BUCKETS))).collect();
            let mut rows = buckets.len() as u64 * ROWS;
            if layout == Layout::Strings {
                let keys = place.keys(client, &buckets)?;
                let strings: Vec<Vec<u8>> = keys.iter().flat_map(Keys::each).map(|key| place.string(key)).collect();
                rows = strings.len() as u64;
                measure(client, &mut bytes, &strings)?;
                unlink(client, &strings)?;
            }
            let buckets: Vec<Vec<u8>> = buckets.into_iter().map(|bucket| place.bucket(bucket)).collect();
            measure(client, &mut bytes, &buckets)?;
            unlink(client, &buckets)?;
            pace.pass(rows);
        }
        Ok(bytes)
    }
}

fn unlink(client: &mut Client, keys: &[Vec<u8>]) -> Result<()> {
    let mut batch = Batch::default();
    keys.iter().for_each(|key| batch.push(b"UNLINK", key, &[]));
    client.run(&batch).map(drop)
}

/// Adds what keys take of the server's memory to `bytes`; forgets them where the server, or the user's rights, do not
/// let that be asked. Asked before anything is removed, for a lost answer is asked for again.
fn measure(client: &mut Client, bytes: &mut Option<u64>, keys: &[Vec<u8>]) -> Result<()> {
    let Some(sum) = bytes else { return Ok(()) };
    let mut batch = Batch::default();
    keys.iter().for_each(|key| batch.push_pair((b"MEMORY", b"USAGE"), key, &[b"SAMPLES", b"0"]));
    for reply in client.attempt(&batch)? {
        match reply {
            // What has expired, or was removed before, frees nothing.
            Reply::Nil => {}
            refused if refusal(&refused).is_some() => {
                *bytes = None;
                return Ok(());
            }
            found => *sum += int(&found)?.unsigned_abs(),
        }
    }
    Ok(())
}
