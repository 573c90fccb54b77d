//! One sum over all pairs of a generation, whatever their order.

use crate::error::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use xxhash_rust::xxh3::xxh3_128;

const NAME: &str = "xxh3-sum:";

/// The sum modulo 2^128 of the XXH3-128 hashes of all pairs; a pair is hashed as the length of its key
/// (32 bits, little-endian), its key and its value, so that no two different pairs are the same bytes.
///
/// A sum has no order and can be undone, so that a generation that is made from another one is summed
/// without reading what both have in common, and read back in any order. It finds damage and mistakes;
/// against somebody who forges pairs stands the hash of the stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checksum {
    sum: u128,
}

/// Pairs up to this length are put together on the stack.
const SHORT_BYTES: usize = 256;

impl Checksum {
    /// Adds a pair.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_add(hash(key, value));
    }

    /// Takes a pair away that was added.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.sum = self.sum.wrapping_sub(hash(key, value));
    }

    /// Adds all pairs of another sum.
    pub fn merge(&mut self, other: Self) {
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

fn hash(key: &[u8], value: &[u8]) -> u128 {
    let length = (key.len() as u32).to_le_bytes();
    let end = length.len() + key.len() + value.len();
    let mut short = [0; SHORT_BYTES];
    match short.get_mut(..end) {
        Some(pair) => {
            let (head, rest) = pair.split_at_mut(length.len());
            let (start, last) = rest.split_at_mut(key.len());
            head.copy_from_slice(&length);
            start.copy_from_slice(key);
            last.copy_from_slice(value);
            xxh3_128(pair)
        }
        None => xxh3_128(&[&length, key, value].concat()),
    }
}

/// `xxh3-sum:` and 32 hexadecimal digits.
impl fmt::Display for Checksum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{NAME}{:032x}", self.sum)
    }
}

impl FromStr for Checksum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = text.strip_prefix(NAME).filter(|digits| digits.len() == 32 && !digits.starts_with('+'));
        let sum = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        sum.map(|sum| Self { sum })
            .ok_or_else(|| Error::verification("this is no checksum of a lookup table").with("checksum", text))
    }
}

impl Serialize for Checksum {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Checksum {
        let mut checksum = Checksum::default();
        pairs.iter().for_each(|(key, value)| checksum.add(key.as_bytes(), value.as_bytes()));
        checksum
    }

    #[test]
    fn boundaries_count_and_order_does_not() {
        assert_eq!(of(&[("a", "1"), ("b", "2")]), of(&[("b", "2"), ("a", "1")]));
        assert_ne!(of(&[("ab", "1")]), of(&[("a", "b1")]));
        assert_ne!(of(&[("a", "1")]), of(&[("a", "1"), ("a", "1")]));
        let mut undone = of(&[("a", "1"), ("b", "2")]);
        undone.remove(b"b", b"2");
        assert_eq!(undone, of(&[("a", "1")]));
        undone.merge(of(&[("b", "2")]));
        assert_eq!(undone, of(&[("b", "2"), ("a", "1")]));
    }

    #[test]
    fn it_is_written_and_read_back_and_nothing_else_is_read() {
        let long = "x".repeat(300);
        for checksum in [of(&[]), of(&[("a", "1")]), of(&[("a", &long)])] {
            assert_eq!(checksum.to_string().parse::<Checksum>().unwrap(), checksum);
        }
        assert_eq!(of(&[]).to_string(), "xxh3-sum:00000000000000000000000000000000");
        let text = of(&[("a", "1")]).to_string();
        for other in
            ["", "xxh3-sum:", &text[..40], &text.replace("sum", "som"), "xxh3-sum:+0000000000000000000000000000000"]
        {
            assert!(other.parse::<Checksum>().is_err(), "{other}");
        }
    }

    #[test]
    fn short_and_long_pairs_are_hashed_alike() {
        for length in [0, 1, 100, SHORT_BYTES - 6, SHORT_BYTES - 5, SHORT_BYTES, 5000] {
            let value = vec![b'v'; length];
            let pair = [&1u32.to_le_bytes()[..], b"k", &value].concat();
            assert_eq!(hash(b"k", &value), xxh3_128(&pair), "{length}");
        }
    }
}
