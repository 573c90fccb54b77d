//! From pairs to commands: whole buckets, or what differs from the generation that is the base.

use super::client::{Batch, Client, int};
use super::pairs::{Keys, Place};
use super::wire::{Reply, Texts};
use crate::error::Result;
use crate::lookup::{Checksum, Layout, partition_of};
use std::cmp::Ordering;

/// A key and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Pairs in one allocation.
#[derive(Default)]
pub struct Pairs {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Pairs {
    /// Adds a pair.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The length of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn range(&self, from: usize, to: usize) -> Vec<Pair<'_>> {
        let start = |index: usize| index.checked_sub(1).map_or(0, |before| self.ends[before].1);
        let pair = |index: usize| {
            let (key_end, end) = self.ends[index];
            (&self.bytes[start(index)..key_end], &self.bytes[key_end..end])
        };
        (from..to).map(pair).collect()
    }
}

/// Buckets that are written together.
#[derive(Default)]
pub struct Job {
    /// The pairs of all of them.
    pub pairs: Pairs,
    /// The numbers of the buckets, and where the pairs of each end.
    pub buckets: Vec<(u32, usize)>,
}

impl Job {
    fn each(&self) -> impl Iterator<Item = (u32, Vec<Pair<'_>>)> {
        let start = |index: usize| index.checked_sub(1).map_or(0, |before: usize| self.buckets[before].1);
        (0..self.buckets.len()).map(move |index| {
            let (bucket, end) = self.buckets[index];
            (bucket, self.pairs.range(start(index), end))
        })
    }
}

/// What a generation begins with.
#[derive(Debug, Clone)]
pub struct From {
    /// Where it lies.
    pub place: Place,
    /// Whether its pairs stay unless they are replaced.
    pub is_merge: bool,
    /// Whether the server will remove it by itself.
    pub expires: bool,
}

/// How a generation is written.
#[derive(Debug, Clone)]
pub struct Writing {
    /// Where.
    pub to: Place,
    /// What it begins with.
    pub from: Option<From>,
    /// The longest key or value that the server stores compactly in a hash.
    pub longest: usize,
}

/// What was written. With a base that is merged, what is more than in the base (modulo 2^64).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Over all pairs.
    pub checksum: Checksum,
    /// Pairs sent.
    pub written: u64,
    /// Pairs that were put and not sent.
    pub unchanged: u64,
    /// Keys that the base has too.
    pub matched: u64,
    /// Keys or values that are too long to be stored compactly.
    pub long: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.keys = self.keys.wrapping_add(other.keys);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.checksum.merge(other.checksum);
        self.written += other.written;
        self.unchanged += other.unchanged;
        self.matched += other.matched;
        self.long += other.long;
    }

    fn hold(&mut self, (key, value): Pair<'_>) {
        self.keys = self.keys.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add((key.len() + value.len()) as u64);
        self.checksum.add(key, value);
    }

    fn lose(&mut self, (key, value): Pair<'_>) {
        self.keys = self.keys.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub((key.len() + value.len()) as u64);
        self.checksum.remove(key, value);
    }
}

/// A bucket beside its old one.
struct Compared<'a> {
    bucket: u32,
    /// Everything that the bucket shall hold, by key.
    all: Vec<Pair<'a>>,
    /// What of it the old bucket lacks.
    sets: Vec<Pair<'a>>,
    /// What the old bucket has too much.
    gone: Vec<&'a [u8]>,
    /// Whether the old bucket holds anything.
    is_old: bool,
}

impl Writing {
    /// Writes the buckets of a job; all of it may be done twice.
    ///
    /// # Errors
    /// What the server fails with.
    pub fn write(&self, client: &mut Client, job: &Job) -> Result<Tally> {
        let mut tally = Tally::default();
        let Some(from) = &self.from else {
            let buckets: Vec<_> = job.each().collect();
            for pair in buckets.iter().flat_map(|(_, pairs)| pairs) {
                tally.hold(*pair);
                tally.long += u64::from(pair.0.len().max(pair.1.len()) > self.longest);
            }
            tally.written = tally.keys;
            self.write_whole(client, &buckets)?;
            return Ok(tally);
        };
        // Of the same shape: an old bucket can be copied within the server.
        let is_aligned = from.place.partitions == self.to.partitions && from.place.layout == self.to.layout;
        let is_hash = self.to.layout == Layout::Buckets;
        let is_untouched = |pairs: &[_]| is_aligned && is_hash && from.is_merge && pairs.is_empty();
        let (untouched, touched): (Vec<_>, Vec<_>) = job.each().partition(|(_, pairs)| is_untouched(pairs));
        let untouched: Vec<u32> = untouched.into_iter().map(|(bucket, _)| bucket).collect();
        self.copy_whole(client, from, &untouched)?;
        let numbers: Vec<u32> = touched.iter().map(|(bucket, _)| *bucket).collect();
        let old = self.old(client, from, &numbers)?;
        let mut compared = Vec::with_capacity(touched.len());
        for ((bucket, new), old) in touched.into_iter().zip(&old) {
            compared.push(self.compare(from, bucket, &new, old, &mut tally));
        }
        if !is_aligned {
            tally.written += compared.iter().map(|bucket| bucket.all.len() as u64).sum::<u64>();
            let buckets: Vec<_> = compared.into_iter().map(|bucket| (bucket.bucket, bucket.all)).collect();
            // Nothing could be left unsent.
            tally.unchanged = 0;
            self.write_whole(client, &buckets)?;
        } else if is_hash {
            tally.written += compared.iter().map(|bucket| bucket.sets.len() as u64).sum::<u64>();
            self.write_changes(client, from, &compared)?;
        } else {
            tally.written += self.write_changed_strings(client, from, &compared, &mut tally.unchanged)?;
        }
        Ok(tally)
    }

    /// The old pairs of these buckets, with those of others where an old bucket was split since.
    fn old(&self, client: &mut Client, from: &From, buckets: &[u32]) -> Result<Vec<Texts>> {
        let (old, new) = (from.place.partitions, self.to.partitions);
        // Where there are fewer buckets now, several old ones make one.
        let joined = (old / new).max(1);
        let numbers: Vec<u32> =
            buckets.iter().flat_map(|&bucket| (0..joined).map(move |part| (bucket + part * new) % old)).collect();
        let mut read = from.place.read(client, &numbers)?.into_iter();
        let together = |first: Texts, rest: Vec<Texts>| {
            rest.iter().fold(first, |mut all, texts| {
                (0..texts.len()).for_each(|index| all.push(texts.get(index)));
                all
            })
        };
        let next = |_| {
            let first = read.next().unwrap_or_default();
            together(first, read.by_ref().take(joined as usize - 1).collect())
        };
        Ok(buckets.iter().map(next).collect())
    }

    fn compare<'a>(
        &self,
        from: &From,
        bucket: u32,
        new: &[Pair<'a>],
        old: &'a Texts,
        tally: &mut Tally,
    ) -> Compared<'a> {
        let is_split = from.place.partitions < self.to.partitions;
        let mut old: Vec<_> =
            old.pairs().filter(|(key, _)| !is_split || partition_of(key, self.to.partitions) == bucket).collect();
        old.sort_unstable();
        let (mut all, mut sets, mut gone) = (Vec::with_capacity(new.len()), Vec::new(), Vec::new());
        let (mut left, mut right) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(old), Some(new)) => old.0.cmp(new.0),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let before = if order == Ordering::Greater { None } else { left.next().copied() };
            let after = if order == Ordering::Less { None } else { right.next().copied() };
            match (before, after) {
                (Some(pair), None) if from.is_merge => all.push(pair),
                (Some((key, _)), None) => gone.push(key),
                (before, Some(after)) => {
                    all.push(after);
                    tally.hold(after);
                    if let Some(before) = before {
                        tally.matched += 1;
                        if from.is_merge {
                            tally.lose(before);
                        }
                    }
                    if before == Some(after) {
                        tally.unchanged += 1;
                    } else {
                        sets.push(after);
                    }
                }
                (None, None) => {}
            }
        }
        Compared { bucket, all, sets, gone, is_old: !old.is_empty() }
    }

    fn write_whole(&self, client: &mut Client, buckets: &[(u32, Vec<Pair<'_>>)]) -> Result<()> {
        let mut batch = Batch::default();
        match self.to.layout {
            Layout::Buckets => buckets.iter().for_each(|(bucket, pairs)| self.to.fill(&mut batch, *bucket, pairs)),
            Layout::Strings => {
                self.write_lists(client, buckets.iter().map(|(bucket, pairs)| (*bucket, &pairs[..])))?;
                for (key, value) in buckets.iter().flat_map(|(_, pairs)| pairs) {
                    batch.push(b"SET", &self.to.string(key), &[value]);
                }
            }
        }
        client.run(&batch).map(drop)
    }

    /// Writes the lists of keys: before any of the keys, so that none is ever written that cannot be found again.
    fn write_lists<'a>(&self, client: &mut Client, buckets: impl Iterator<Item = (u32, &'a [Pair<'a>])>) -> Result<()> {
        let mut lists = Batch::default();
        for (bucket, pairs) in buckets.filter(|(_, pairs)| !pairs.is_empty()) {
            let mut keys = Keys::default();
            pairs.iter().for_each(|(key, _)| keys.push(key));
            lists.push(b"SET", &self.to.bucket(bucket), &[keys.bytes()]);
        }
        client.run(&lists).map(drop)
    }

    /// Copies buckets that nothing was put into.
    fn copy_whole(&self, client: &mut Client, from: &From, buckets: &[u32]) -> Result<()> {
        let mut batch = Batch::default();
        for &bucket in buckets {
            copy(&mut batch, from, &from.place.bucket(bucket), &self.to.bucket(bucket));
        }
        client.run(&batch).map(drop)
    }

    /// Copies the old buckets and sends what differs.
    fn write_changes(&self, client: &mut Client, from: &From, compared: &[Compared<'_>]) -> Result<()> {
        let mut batch = Batch::default();
        let mut copies = Vec::new();
        for changed in compared {
            let name = self.to.bucket(changed.bucket);
            if changed.sets.len() == changed.all.len() || !changed.is_old {
                self.to.fill(&mut batch, changed.bucket, &changed.all);
                continue;
            }
            copies.push((batch.len(), changed));
            copy(&mut batch, from, &from.place.bucket(changed.bucket), &name);
            self.to.fill(&mut batch, changed.bucket, &changed.sets);
            if !changed.gone.is_empty() {
                batch.push(b"HDEL", &name, &changed.gone);
            }
        }
        let replies = client.run(&batch)?;
        // The old bucket may have gone since it was read.
        let mut again = Batch::default();
        for (at, changed) in copies {
            if int(replies.get(at).unwrap_or(&Reply::Nil))? == 0 {
                self.to.fill(&mut again, changed.bucket, &changed.all);
            }
        }
        client.run(&again).map(drop)
    }

    /// Copies old strings and sends those that differ; gives how many were sent. In a cluster the two names of a string
    /// lie in different slots, between which nothing can be copied: there all are sent.
    fn write_changed_strings(
        &self,
        client: &mut Client,
        from: &From,
        compared: &[Compared<'_>],
        unchanged: &mut u64,
    ) -> Result<u64> {
        self.write_lists(client, compared.iter().map(|bucket| (bucket.bucket, &bucket.all[..])))?;
        let is_cluster = client.server().is_cluster();
        let (mut batch, mut copied) = (Batch::default(), Vec::new());
        let mut written = 0;
        for changed in compared {
            let mut sets = changed.sets.iter().peekable();
            for pair in &changed.all {
                let is_set = sets.next_if_eq(&pair).is_some();
                if is_set || is_cluster {
                    batch.push(b"SET", &self.to.string(pair.0), &[pair.1]);
                    written += 1;
                } else {
                    copied.push((batch.len(), *pair));
                    copy(&mut batch, from, &from.place.string(pair.0), &self.to.string(pair.0));
                }
            }
        }
        let replies = client.run(&batch)?;
        let mut again = Batch::default();
        for (at, (key, value)) in copied {
            if int(replies.get(at).unwrap_or(&Reply::Nil))? == 0 {
                again.push(b"SET", &self.to.string(key), &[value]);
            }
        }
        if is_cluster {
            *unchanged = 0;
        }
        client.run(&again).map(|_| written)
    }
}

/// Copies a key with all that it holds. A copy lives as long as its original; the new one shall stay.
fn copy(batch: &mut Batch, from: &From, old: &[u8], new: &[u8]) {
    batch.push(b"COPY", old, &[new, b"REPLACE"]);
    if from.expires {
        batch.push(b"PERSIST", new, &[]);
    }
}
