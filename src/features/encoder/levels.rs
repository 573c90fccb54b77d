//! The levels of a category and the fast way from a string to its level.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Levels in a fixed order, without repetition; serialised as a list of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Levels {
    names: Vec<String>,
    index: HashMap<String, u32, BuildHasherDefault<ShortStrings>>,
}

impl Levels {
    /// The levels with these names, in this order.
    ///
    /// # Errors
    /// `verification` where a name stands twice.
    pub fn new(names: Vec<String>) -> Result<Self> {
        let index: HashMap<_, _, _> = names.iter().zip(0u32..).map(|(name, level)| (name.clone(), level)).collect();
        if index.len() != names.len() {
            return Err(Error::verification("a level of a category stands twice"));
        }
        Ok(Self { names, index })
    }

    /// Whether the levels are in the order of their names, as those of a one-hot category are.
    pub(super) fn are_sorted(&self) -> bool {
        self.names.is_sorted()
    }

    /// The names in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The place of a level in [`Levels::names`].
    pub fn position(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }
}

impl TryFrom<Vec<String>> for Levels {
    type Error = Error;

    fn try_from(names: Vec<String>) -> Result<Self> {
        Self::new(names)
    }
}

impl From<Levels> for Vec<String> {
    fn from(levels: Levels) -> Self {
        levels.names
    }
}

/// A multiplicative hash over eight bytes at a time, for short strings.
///
/// The standard hash guards against keys chosen to collide; here the keys are fixed by training and
/// only looked up, so the guard would cost time for nothing.
#[derive(Default)]
struct ShortStrings(u64);

impl ShortStrings {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for ShortStrings {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(u64::from_le_bytes(last));
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits, which a multiplication mixes least.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_found_and_nothing_else() {
        let mut names: Vec<String> = (0..500).map(|number| format!("level {number}")).collect();
        names.push(String::new());
        names.sort();
        let levels = Levels::new(names.clone()).unwrap();
        for (place, name) in names.iter().enumerate() {
            assert_eq!(levels.position(name), Some(place as u32));
        }
        assert_eq!(levels.position("level 500"), None);
        assert_eq!(levels.position("level 1\0"), None);
    }

    #[test]
    fn repeated_levels_are_refused_and_unsorted_ones_known() {
        let levels = |names: [&str; 2]| Levels::new(names.map(str::to_owned).to_vec());
        assert!(levels(["a", "a"]).is_err());
        assert!(!levels(["b", "a"]).unwrap().are_sorted());
        assert!(levels(["a", "b"]).unwrap().are_sorted());
    }
}
