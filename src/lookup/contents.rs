//! What a generation is made of: what it begins with, and what it holds in the end.

use super::{Checksum, Sampled};
use serde::{Deserialize, Serialize};

/// How new rows become a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The generation holds the new rows; keys that are gone disappear.
    #[default]
    Replace,
    /// It holds the rows of the generation before, and the new ones over them.
    Merge,
    /// It holds the new rows; only what differs from the generation before is sent.
    Changed,
}

/// What a new generation begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing.
    Nothing,
    /// Every pair of this generation that no new pair replaces stays.
    Merge(u64),
    /// The contents become those of `Nothing`, but pairs that are equal in this generation are not
    /// sent again.
    Changed(u64),
}

impl Base {
    /// The number of the generation, where there is one.
    pub fn generation(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Merge(generation) | Self::Changed(generation) => Some(*generation),
        }
    }
}

/// What a generation holds once everything was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// How many keys.
    pub keys: u64,
    /// The length of all keys and values together, in bytes.
    pub bytes: u64,
    /// Over all pairs.
    pub checksum: Checksum,
    /// How many pairs were sent.
    pub written: u64,
    /// How many pairs were put and not sent, for the base has the same.
    pub unchanged: u64,
    /// How many keys of the base are gone.
    pub removed: u64,
}

/// What has to be found when a generation is read back.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The number of keys.
    pub keys: u64,
    /// Over all pairs.
    pub checksum: Checksum,
    /// Keys to be looked up one by one, with the hashes of their values.
    pub sample: &'a [Sampled],
}

/// What a store has written for a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its size, in bytes.
    pub bytes: u64,
    /// `blake3:` and the hash of its bytes; of a server, which has no file, empty.
    pub checksum: String,
}
