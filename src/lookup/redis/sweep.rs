//! Removing what nobody can read any more, at a limited rate.

use super::books::{Books, Entry};
use super::client::{Batch, Client};
use super::layout::Names;
use super::lease::has_ended;
use super::pairs::{Keys, Place};
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

    /// Removes all garbage; gives the numbers, ascending.
    ///
    /// # Errors
    /// What the server fails with; what is left is garbage still.
    pub fn garbage(&self, client: &mut Client) -> Result<Vec<u64>> {
        let books = Books::of(self.names);
        let mut removed = Vec::new();
        for (generation, entry) in books.garbage(client)? {
            self.remove(client, generation, &entry)?;
            books.removed(client, generation)?;
            removed.push(generation);
        }
        Ok(removed)
    }

    /// Removes all keys of a generation. What says that it is whole goes first: a reader that misses a key asks for that
    /// afterwards.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn remove(&self, client: &mut Client, generation: u64, entry: &Entry) -> Result<()> {
        let &Entry { partitions, layout, .. } = entry;
        let place = Place { names: self.names.clone(), generation, partitions, layout };
        client.call("DEL", &self.names.metadata(generation), &[])?;
        let mut pace = Pace::of(Some(self.rows_per_sec.unwrap_or(ROWS_PER_SEC)));
        for first in (0..partitions).step_by(BUCKETS as usize) {
            let buckets: Vec<u32> = (first..partitions.min(first.saturating_add(BUCKETS))).collect();
            let mut rows = buckets.len() as u64 * ROWS;
            if layout == Layout::Strings {
                let keys = place.keys(client, &buckets)?;
                let mut strings = Batch::default();
                for key in keys.iter().flat_map(Keys::each) {
                    strings.push(b"UNLINK", &place.string(key), &[]);
                }
                rows = strings.len() as u64;
                client.run(&strings)?;
            }
            let mut batch = Batch::default();
            buckets.iter().for_each(|&bucket| batch.push(b"UNLINK", &place.bucket(bucket), &[]));
            client.run(&batch)?;
            pace.pass(rows);
        }
        Ok(())
    }
}
