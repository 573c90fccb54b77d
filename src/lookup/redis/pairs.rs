//! The pairs of a generation as they lie in Redis: read by bucket, written by bucket.

use super::client::{Batch, Client, bytes, texts};
use super::layout::Names;
use super::wire::{Reply, Texts};
use crate::error::{Error, Result};
use crate::lookup::encode::shortened;
use crate::lookup::{Layout, partition_of};

/// Fields of one `HSET`: a command longer than that would keep the server from everybody else.
const FIELDS_A_COMMAND: usize = 1024;

/// Where the pairs of a generation lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The table's keys.
    pub names: Names,
    /// The generation's number.
    pub generation: u64,
    /// How many buckets it has.
    pub partitions: u32,
    /// How they are kept.
    pub layout: Layout,
}

impl Place {
    /// The key of a bucket.
    pub fn bucket(&self, bucket: u32) -> Vec<u8> {
        let mut key = Vec::with_capacity(48);
        self.names.bucket(&mut key, bucket, self.generation);
        key
    }

    /// The key of one pair's string.
    pub fn string(&self, key: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(48 + key.len());
        self.names.string(&mut name, self.generation, key);
        name
    }

    /// Asks for the value of a key.
    pub fn ask(&self, batch: &mut Batch, key: &[u8]) {
        match self.layout {
            Layout::Buckets => batch.push(b"HGET", &self.bucket(partition_of(key, self.partitions)), &[key]),
            Layout::Strings => batch.push(b"GET", &self.string(key), &[]),
        }
    }

    /// Writes all pairs of a bucket that is a hash.
    pub fn fill(&self, batch: &mut Batch, bucket: u32, pairs: &[(&[u8], &[u8])]) {
        let name = self.bucket(bucket);
        for pairs in pairs.chunks(FIELDS_A_COMMAND) {
            let mut adding = batch.adding(b"HSET", &name, 2 * pairs.len());
            for (key, value) in pairs {
                adding.argument(key);
                adding.argument(value);
            }
        }
    }

    /// Reads whole buckets: keys and values in turn, in no order.
    ///
    /// # Errors
    /// What the server fails with; a verification error where a pair is missing or a list of keys is damaged.
    pub fn read(&self, client: &mut Client, buckets: &[u32]) -> Result<Vec<Texts>> {
        let mut batch = Batch::default();
        match self.layout {
            Layout::Buckets => {
                buckets.iter().for_each(|&bucket| batch.push(b"HGETALL", &self.bucket(bucket), &[]));
                client.run(&batch)?.into_iter().map(texts).collect()
            }
            Layout::Strings => {
                let keys = self.keys(client, buckets)?;
                keys.iter().flat_map(Keys::each).for_each(|key| batch.push(b"GET", &self.string(key), &[]));
                let mut values = client.run(&batch)?.into_iter();
                keys.iter().map(|keys| self.joined(keys, &mut values)).collect()
            }
        }
    }

    fn joined(&self, keys: &Keys, values: &mut impl Iterator<Item = Reply>) -> Result<Texts> {
        let mut pairs = Texts::default();
        for key in keys.each() {
            let value = bytes(values.next().unwrap_or(Reply::Nil))?;
            let value = value.ok_or_else(|| self.lacks("a key").with("key", shortened(key)))?;
            pairs.push(key);
            pairs.push(&value);
        }
        Ok(pairs)
    }

    /// The keys in buckets of the layout of strings.
    ///
    /// # Errors
    /// As [`Place::read`].
    pub fn keys(&self, client: &mut Client, buckets: &[u32]) -> Result<Vec<Keys>> {
        let mut batch = Batch::default();
        buckets.iter().for_each(|&bucket| batch.push(b"GET", &self.bucket(bucket), &[]));
        let lists = client.run(&batch)?.into_iter();
        lists
            .map(|list| Keys::of(bytes(list)?.unwrap_or_default()).ok_or_else(|| self.lacks("a list of keys")))
            .collect()
    }

    /// A verification error: the generation is not whole.
    pub fn lacks(&self, what: &str) -> Error {
        Error::verification(format!("the generation in Redis lacks {what} or has it damaged"))
            .with("generation", self.generation)
            .hint("was it evicted, or removed by hand? publish the interval again, or roll back")
    }
}

/// Keys one after the other, each behind its length (32 bits, little-endian).
#[derive(Debug, Default)]
pub struct Keys(Vec<u8>);

impl Keys {
    /// Reads a list; `None` where it is none.
    pub fn of(bytes: Vec<u8>) -> Option<Self> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (length, after) = rest.split_first_chunk::<4>()?;
            rest = after.get(u32::from_le_bytes(*length) as usize..)?;
        }
        Some(Self(bytes))
    }

    /// Adds a key.
    pub fn push(&mut self, key: &[u8]) {
        self.0.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.0.extend_from_slice(key);
    }

    /// The list as it is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The keys.
    pub fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (key, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some(key)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_keys_reads_back() {
        let mut keys = Keys::default();
        ["a", "", "ccc"].iter().for_each(|key| keys.push(key.as_bytes()));
        assert_eq!(keys.bytes(), b"\x01\0\0\0a\0\0\0\0\x03\0\0\0ccc");
        let read = Keys::of(keys.bytes().to_vec()).unwrap();
        assert_eq!(read.each().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
        assert!(Keys::of(keys.bytes()[..14].to_vec()).is_none());
        assert!(Keys::of(vec![1, 0, 0]).is_none());
    }
}
