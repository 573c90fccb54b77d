//! How many rows have a key that another row before them has: counted exactly, in bounded memory.
//!
//! A key becomes 128 bits: its own bytes where they are few enough (numbers, dates, short texts), else
//! a hash of them (two keys of one hash among a billion: once in 10^20 runs). The bits are sorted in
//! runs of a fixed size; where there are more keys than one run takes, runs go to a file without a
//! name, and merging them counts. Keys that come in order, as numbers given by time do, cost next to
//! nothing.

use crate::error::{Error, Result};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Keys in a run: 16 MiB.
const RUN_KEYS: usize = 1 << 20;

/// Keys that all runs together have in memory while they are merged: 4 MiB.
const MERGE_KEYS: usize = 1 << 18;

/// Bytes of one key.
const WIDTH: usize = size_of::<u128>();

/// Turns the key columns of a batch into bits.
pub struct KeyBits {
    converter: RowConverter,
    columns: Vec<usize>,
}

impl KeyBits {
    /// For batches of this schema.
    ///
    /// # Errors
    /// A usage error where a key column is missing or of a type without an order.
    pub fn new(schema: &Schema, key: &[String]) -> Result<Self> {
        let mut columns = Vec::with_capacity(key.len());
        for name in key {
            let column = schema.index_of(name).map_err(|source| {
                Error::usage("the predictions have no such key column").with("column", name).because(source)
            })?;
            columns.push(column);
        }
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone())).collect();
        let converter = RowConverter::new(fields)
            .map_err(|source| Error::usage("keys of these types can't be told apart").because(source))?;
        Ok(Self { converter, columns })
    }

    /// The keys of all rows.
    ///
    /// # Errors
    /// `failed` for a batch of another schema.
    pub fn of(&self, batch: &RecordBatch) -> Result<Vec<u128>> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|column| batch.column(*column).clone()).collect();
        let rows = self
            .converter
            .convert_columns(&columns)
            .map_err(|source| Error::failed("the keys of a batch can't be read").because(source))?;
        Ok(rows.iter().map(|row| bits(row.as_ref())).collect())
    }
}

/// The bytes themselves, then zeros, then how many they are; or the first half of a hash.
fn bits(key: &[u8]) -> u128 {
    let mut bytes = [0; WIDTH];
    if key.len() < WIDTH {
        bytes[..key.len()].copy_from_slice(key);
        bytes[WIDTH - 1] = key.len() as u8;
    } else {
        bytes.copy_from_slice(&blake3::hash(key).as_bytes()[..WIDTH]);
    }
    u128::from_be_bytes(bytes)
}

/// Collects keys and counts those that came before.
pub struct Duplicates {
    run: Vec<u128>,
    run_keys: usize,
    spilled: Option<File>,
    /// The number of keys of each spilled run.
    lengths: Vec<usize>,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self::in_runs_of(RUN_KEYS)
    }
}

impl Duplicates {
    fn in_runs_of(run_keys: usize) -> Self {
        Self { run: Vec::new(), run_keys, spilled: None, lengths: Vec::new() }
    }

    /// Adds keys; cheap until [`Duplicates::is_full`].
    pub fn add(&mut self, keys: &[u128]) {
        self.run.extend_from_slice(keys);
    }

    /// Whether it is time to [`Duplicates::spill`].
    pub fn is_full(&self) -> bool {
        self.run.len() >= self.run_keys
    }

    /// Sorts what was added and puts it aside. Blocks.
    ///
    /// # Errors
    /// `failed` where the temporary folder takes no more.
    pub fn spill(&mut self) -> Result<()> {
        self.run.sort_unstable();
        let mut file = match self.spilled.take() {
            Some(file) => file,
            None => tempfile::tempfile().map_err(aside)?,
        };
        let mut bytes = Vec::with_capacity(MERGE_KEYS.min(self.run.len()) * WIDTH);
        for keys in self.run.chunks(MERGE_KEYS) {
            bytes.clear();
            keys.iter().for_each(|key| bytes.extend_from_slice(&key.to_le_bytes()));
            file.write_all(&bytes).map_err(aside)?;
        }
        self.spilled = Some(file);
        self.lengths.push(self.run.len());
        self.run.clear();
        Ok(())
    }

    /// How many of all keys came before: as many as there are rows beyond the first of their key. Blocks.
    ///
    /// # Errors
    /// `failed` where what was put aside can't be read.
    pub fn count(mut self) -> Result<u64> {
        if self.spilled.is_none() {
            self.run.sort_unstable();
            return Ok(self.run.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64);
        }
        if !self.run.is_empty() {
            self.spill()?;
        }
        self.run = Vec::new();
        match self.spilled.take() {
            Some(file) => merged(file, &self.lengths),
            None => Ok(0),
        }
    }
}

/// A sorted run on the disk, of which a part is in memory.
struct Run {
    /// Where its next unread key lies in the file.
    at: u64,
    unread: usize,
    loaded: Vec<u128>,
}

impl Run {
    /// Reads the next keys where all that were read are gone.
    fn load(&mut self, file: &mut File, at_once: usize) -> Result<()> {
        if !self.loaded.is_empty() || self.unread == 0 {
            return Ok(());
        }
        let count = at_once.min(self.unread);
        let mut bytes = vec![0; count * WIDTH];
        file.seek(SeekFrom::Start(self.at)).and_then(|_| file.read_exact(&mut bytes)).map_err(aside)?;
        self.at += bytes.len() as u64;
        self.unread -= count;
        let (keys, _) = bytes.as_chunks::<WIDTH>();
        self.loaded.extend(keys.iter().map(|key| u128::from_le_bytes(*key)));
        Ok(())
    }
}

/// Merges runs window by window: all keys up to the least of the runs' last loaded ones are together in
/// memory, as pieces of sorted runs, which the standard sort merges as such.
fn merged(mut file: File, lengths: &[usize]) -> Result<u64> {
    let at_once = (MERGE_KEYS / lengths.len().max(1)).max(64);
    let mut at = 0;
    let mut runs: Vec<Run> = Vec::with_capacity(lengths.len());
    for length in lengths {
        runs.push(Run { at, unread: *length, loaded: Vec::new() });
        at += (*length * WIDTH) as u64;
    }
    let (mut window, mut last, mut duplicates) = (Vec::new(), None, 0);
    loop {
        runs.iter_mut().try_for_each(|run| run.load(&mut file, at_once))?;
        let unfinished = runs.iter().filter(|run| run.unread > 0);
        let bound = unfinished.filter_map(|run| run.loaded.last().copied()).min();
        for run in &mut runs {
            let within = bound.map_or(run.loaded.len(), |bound| run.loaded.partition_point(|key| *key <= bound));
            window.extend(run.loaded.drain(..within));
        }
        if window.is_empty() {
            return Ok(duplicates);
        }
        window.sort();
        for key in window.drain(..) {
            duplicates += u64::from(last == Some(key));
            last = Some(key);
        }
    }
}

fn aside(source: io::Error) -> Error {
    Error::failed("the keys of the rows could not be kept aside to find duplicates")
        .with("folder", std::env::temp_dir().display())
        .because(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};
    use std::collections::HashSet;
    use std::sync::Arc;

    fn counted(keys: &[u128], run_keys: usize, batch: usize) -> u64 {
        let mut duplicates = Duplicates::in_runs_of(run_keys);
        for keys in keys.chunks(batch) {
            duplicates.add(keys);
            if duplicates.is_full() {
                duplicates.spill().unwrap();
            }
        }
        duplicates.count().unwrap()
    }

    #[test]
    fn in_memory_and_in_many_runs_the_count_is_that_of_a_set() {
        // A full cycle of a small generator, then some of its keys again.
        let keys: Vec<u128> = (0..10_000_u128).map(|i| (i * 7919) % 6_007).collect();
        let distinct = keys.iter().collect::<HashSet<_>>().len();
        let wanted = (keys.len() - distinct) as u64;
        assert!(wanted > 0);
        for (run_keys, batch) in [(1 << 20, 100), (1000, 100), (64, 7), (10_000, 10_000), (1, 1)] {
            assert_eq!(counted(&keys, run_keys, batch), wanted, "runs of {run_keys}");
        }
        let once: Vec<u128> = (0..5000).rev().collect();
        assert_eq!(counted(&once, 300, 50), 0);
        assert_eq!(counted(&[], 300, 50), 0);
    }

    #[test]
    fn keys_of_several_columns_are_told_apart_by_all_of_them() {
        let schema = Schema::new(vec![
            Field::new("score", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("number", DataType::Int64, true),
        ]);
        let long = "a name that is much longer than sixteen bytes";
        let names = ["a", "a", "ab", "", long, long, &format!("{long}."), "a"];
        let numbers = [1, 2, 1, 1, 1, 1, 1, 1];
        let batch = RecordBatch::try_new(
            Arc::new(schema.clone()),
            vec![
                Arc::new(Int64Array::from_iter_values(0..8)),
                Arc::new(StringArray::from_iter_values(names)),
                Arc::new(Int64Array::from_iter_values(numbers)),
            ],
        )
        .unwrap();
        let of = |key: &[&str]| {
            let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
            KeyBits::new(&schema, &key).unwrap().of(&batch).unwrap()
        };
        assert_eq!(counted(&of(&["name", "number"]), 100, 8), 2);
        assert_eq!(counted(&of(&["number", "name"]), 100, 8), 2);
        assert_eq!(counted(&of(&["name"]), 100, 8), 3);
        assert_eq!(counted(&of(&["score"]), 100, 8), 0);
        assert!(KeyBits::new(&schema, &["nobody".to_owned()]).is_err());
    }
}
