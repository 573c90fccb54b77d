//! The first row of each key, and the proof that keys come in order.

use super::encode::shortened;
use super::partition_of;
use crate::error::{Error, Result};
use arrow::array::{Array, BinaryArray};
use std::cmp::Ordering;

/// Keys with several rows that are remembered, for messages.
const EXAMPLES: usize = 3;

/// Walks keys that are sorted ascending by their partition and then by their bytes, over any number of
/// batches, and keeps the first row of each: rows of one key come in the order of preference.
#[derive(Debug)]
pub struct FirstOfKey {
    partitions: u32,
    last: Vec<u8>,
    rows: u64,
    keys: u64,
    examples: Vec<String>,
}

impl Default for FirstOfKey {
    fn default() -> Self {
        Self::among(1)
    }
}

impl FirstOfKey {
    /// A walk over keys in so many partitions.
    pub fn among(partitions: u32) -> Self {
        Self { partitions, last: Vec::new(), rows: 0, keys: 0, examples: Vec::new() }
    }

    /// Replaces `kept` by the rows of this batch that are the first of their key.
    ///
    /// # Errors
    /// A failure where a key is less than the one before it: the rows were not sorted.
    pub fn keep(&mut self, keys: &BinaryArray, kept: &mut Vec<usize>) -> Result<()> {
        kept.clear();
        for row in 0..keys.len() {
            // The key before stands in this batch, except for the first row.
            let before = if row == 0 { self.last.as_slice() } else { keys.value(row - 1) };
            let order = if self.rows == 0 && row == 0 { Ordering::Less } else { self.order(before, keys.value(row)) };
            match order {
                Ordering::Less => kept.push(row),
                Ordering::Equal => remember(&mut self.examples, keys.value(row)),
                Ordering::Greater => {
                    return Err(Error::failed("the rows of a lookup table are not sorted by their encoded keys")
                        .with("row", self.rows + row as u64)
                        .with("key", shortened(keys.value(row)))
                        .with("before", shortened(before)));
                }
            }
        }
        if let Some(end) = keys.len().checked_sub(1) {
            self.last.clear();
            self.last.extend_from_slice(keys.value(end));
        }
        self.rows += keys.len() as u64;
        self.keys += kept.len() as u64;
        Ok(())
    }

    fn order(&self, before: &[u8], key: &[u8]) -> Ordering {
        let by_partition = match self.partitions {
            0 | 1 => Ordering::Equal,
            partitions => partition_of(before, partitions).cmp(&partition_of(key, partitions)),
        };
        by_partition.then_with(|| before.cmp(key))
    }

    /// How many rows have been seen.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many different keys they have.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// How many rows were further ones of their key.
    pub fn dropped(&self) -> u64 {
        self.rows - self.keys
    }

    /// Some keys that have several rows, shortened: the first ones in order.
    pub fn examples(&self) -> &[String] {
        &self.examples
    }
}

fn remember(examples: &mut Vec<String>, key: &[u8]) {
    if examples.len() < EXAMPLES {
        let key = shortened(key);
        if !examples.contains(&key) {
            examples.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(first: &mut FirstOfKey, keys: &[&str]) -> Result<Vec<usize>> {
        let keys = BinaryArray::from_iter_values(keys.iter().map(|key| key.as_bytes()));
        let mut kept = vec![99];
        first.keep(&keys, &mut kept).map(|()| kept)
    }

    #[test]
    fn a_key_may_go_on_over_batches() {
        let mut first = FirstOfKey::default();
        assert_eq!(keep(&mut first, &["a", "a", "b"]).unwrap(), [0, 2]);
        assert_eq!(keep(&mut first, &["b", "b"]).unwrap(), [0; 0]);
        assert_eq!(keep(&mut first, &[]).unwrap(), [0; 0]);
        assert_eq!(keep(&mut first, &["b", "c"]).unwrap(), [1]);
        assert_eq!((first.rows(), first.keys(), first.dropped()), (7, 3, 4));
        assert_eq!(first.examples(), ["a", "b"]);
    }

    #[test]
    fn among_partitions_their_number_comes_first() {
        let mut keys: Vec<String> = (0..50).map(|i| i.to_string()).collect();
        keys.sort_by_key(|key| (partition_of(key.as_bytes(), 8), key.clone()));
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert_eq!(keep(&mut FirstOfKey::among(8), &keys).unwrap().len(), 50);
        assert!(keep(&mut FirstOfKey::default(), &keys).is_err());
    }

    #[test]
    fn order_is_that_of_bytes_within_and_between_batches() {
        assert!(keep(&mut FirstOfKey::default(), &["10", "9"]).is_ok());
        let error = keep(&mut FirstOfKey::default(), &["9", "10"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the rows of a lookup table are not sorted by their encoded keys (row = 1, key = 10, before = 9)"
        );
        let mut first = FirstOfKey::default();
        keep(&mut first, &["b"]).unwrap();
        assert!(keep(&mut first, &["a"]).is_err());
    }
}
