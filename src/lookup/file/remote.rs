//! A lookup table whose home lies in a bucket: loaded and verified on this machine, then uploaded.
//!
//! ```text
//! <home>/lookup/<table>/
//!   current/000012.json       {"generation":43}: the entry with the highest number is the pointer
//!   v=000043/owner            whose number this is; put if absent, before anything else
//!   v=000043/data.mdb
//!   v=000043/generation.json  put last: with it the generation is complete, and never changes
//! ```
//!
//! There are no locks in a bucket, and `If-Match` is not honoured by every server: all of this rests on
//! put-if-absent. A number belongs to whoever puts its `owner`; the pointer is an append-only log, and
//! whoever appends an entry has seen the one before. What lies between the generation that was current and the one that is now was
//! never published: its loader read the pointer before it took its number, so it meets a conflict.
//! It is removed only *after* the pointer has moved, when nobody can publish it any more.

use super::mirror;
use super::staging::{Aside, FileStaging, moved};
use super::{DATA, METADATA, folder_name, number_in};
use crate::error::{Error, Result};
use crate::lake::{Location, Put, log};
use crate::lookup::encode::shortened;
use crate::lookup::{Expected, Flip, GenerationMetadata, Staged, Staging, StoredFile};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::path::PathBuf;
use tokio::runtime::Handle;

const POINTER: &str = "current";
const OWNER: &str = "owner";

/// How many numbers in a row a loader may lose before it gives up.
const TRIES: u64 = 1000;

/// Entries of the pointer's log that are kept; only the newest counts.
const KEPT_ENTRIES: usize = 100;

/// An entry of the pointer's log.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    generation: u64,
}

/// Runs `work` to its end on this thread, which may block.
pub fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Handle::try_current()
        .map_err(|source| Error::failed("a lookup table in a bucket needs the runtime").because(source))?;
    runtime.block_on(work)
}

/// The number of the generation that readers see.
pub fn current(place: &Location) -> Result<Option<u64>> {
    wait(pointer(place))
}

async fn pointer(place: &Location) -> Result<Option<u64>> {
    let log = place.join(POINTER);
    log::latest(&log).await?.map(|(number, bytes)| generation_in(&bytes, &log::entry(&log, number))).transpose()
}

fn generation_in(bytes: &Bytes, file: &Location) -> Result<u64> {
    serde_json::from_slice::<Entry>(bytes).map(|entry| entry.generation).map_err(|source| {
        Error::verification("the pointer to the current generation is damaged")
            .with("file", file)
            .with("content", shortened(bytes.trim_ascii_end()))
            .because(source)
            .hint("put the next entry with the number of a generation, for example {\"generation\":1}")
    })
}

/// What a complete generation says about itself, and the bytes in which it does.
pub async fn metadata(place: &Location, generation: u64) -> Result<(GenerationMetadata, Bytes)> {
    let file = place.join(&folder_name(generation)).join(METADATA);
    let bytes = file.get().await?.ok_or_else(|| {
        Error::verification("the generation is missing or incomplete")
            .with("file", &file)
            .hint("publish the interval again, or point the table to an older generation")
    })?;
    let metadata = GenerationMetadata::from_json(&bytes).map_err(|error| error.with("file", &file))?;
    if metadata.generation != generation {
        return Err(Error::verification("the generation's metadata is that of another one")
            .with("file", &file)
            .with("recorded", folder_name(metadata.generation)));
    }
    Ok((metadata, bytes))
}

/// What every complete generation holds, oldest first.
pub fn generations(place: &Location) -> Result<Vec<GenerationMetadata>> {
    wait(async {
        let mut found = Vec::new();
        for number in numbers(place).await? {
            // A number without metadata is being loaded, or its loader is dead.
            if place.join(&folder_name(number)).join(METADATA).head().await?.is_some() {
                found.push(metadata(place, number).await?.0);
            }
        }
        Ok(found)
    })
}

/// The numbers that are taken, ascending.
async fn numbers(place: &Location) -> Result<Vec<u64>> {
    let mut numbers: Vec<u64> = place.children().await?.iter().filter_map(|name| number_in(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a generation; what names it last goes first.
async fn remove(place: &Location, generation: u64) -> Result<()> {
    let folder = place.join(&folder_name(generation));
    for name in [METADATA, DATA, OWNER] {
        folder.join(name).delete().await?;
    }
    Ok(())
}

/// A generation that is loaded here and published there.
pub struct RemoteStaging {
    local: FileStaging,
    place: Location,
    attempt: String,
}

impl RemoteStaging {
    pub fn new(local: FileStaging, place: Location, attempt: &str) -> Self {
        Self { local, place, attempt: attempt.to_owned() }
    }
}

impl Staging for RemoteStaging {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.local.put(key, value)
    }

    fn verify(&mut self, expected: &Expected<'_>) -> Result<StoredFile> {
        self.local.verify(expected)
    }

    fn seal(self: Box<Self>, metadata: GenerationMetadata) -> Result<Box<dyn Staged>> {
        let Self { local, place, attempt } = *self;
        let (table, aside) = local.into_parts();
        let sealed = wait(async {
            let metadata = claim(&place, metadata, &attempt).await?;
            let done = upload(&place, &aside.folder.join(DATA), &metadata).await;
            if done.is_err() {
                // As far as that is possible; what remains is garbage that the next flip removes.
                let _ = remove(&place, metadata.generation).await;
            }
            done.map(|()| metadata)
        })?;
        Ok(Box::new(RemoteStaged { place, table, aside, metadata: sealed }))
    }
}

/// Takes the next free number.
async fn claim(place: &Location, mut metadata: GenerationMetadata, attempt: &str) -> Result<GenerationMetadata> {
    let highest = numbers(place).await?.last().copied();
    let highest = highest.max(pointer(place).await?).unwrap_or(0);
    for number in highest + 1..=highest + TRIES {
        let owner = place.join(&folder_name(number)).join(OWNER);
        if owner.put_if_absent(format!("{attempt}\n").into()).await? == Put::Created {
            metadata.generation = number;
            return Ok(metadata);
        }
    }
    Err(Error::conflict("other loaders of this lookup table were always faster").with("location", place))
}

async fn upload(place: &Location, file: &std::path::Path, metadata: &GenerationMetadata) -> Result<()> {
    let folder = place.join(&folder_name(metadata.generation));
    let data = folder.join(DATA);
    // Each part is signed with its hash, so that the store refuses what was altered on the way.
    data.upload(file).await?;
    let arrived = data.head().await?.map_or(0, |object| object.size);
    if arrived != metadata.file_bytes {
        return Err(Error::verification("the generation did not arrive whole")
            .with("location", &data)
            .with("bytes", metadata.file_bytes)
            .with("arrived", arrived));
    }
    match folder.join(METADATA).put_if_absent(metadata.to_json()?.into()).await? {
        Put::Created => Ok(()),
        Put::AlreadyThere => Err(Error::conflict("somebody else has sealed this generation").with("location", &folder)),
    }
}

/// A complete generation in a bucket that readers do not see yet.
pub struct RemoteStaged {
    place: Location,
    /// The copy on this machine: the table's folder, and the generation's.
    table: PathBuf,
    aside: Aside,
    metadata: GenerationMetadata,
}

impl Staged for RemoteStaged {
    fn metadata(&self) -> &GenerationMetadata {
        &self.metadata
    }

    fn flip(self: Box<Self>, expected: Option<u64>, keep: usize) -> Result<Flip> {
        let Self { place, table, aside, metadata } = *self;
        let generation = metadata.generation;
        let (before, removed) = wait(async {
            if let Err(moved) = swap(&place, generation, expected).await {
                let _ = remove(&place, generation).await;
                return Err(moved);
            }
            // From here on it has happened; what goes wrong with old generations is told, not failed.
            Ok((expected, retire(&place, expected, generation, keep).await))
        })?;
        tracing::debug!(?before, generation, "the pointer of a lookup table was moved");
        // Saves this machine's readers the way; they would fetch it otherwise.
        if let Err(error) = mirror::keep(&table, aside, &metadata) {
            tracing::debug!(%error, "the copy of a generation on this machine is not kept");
        }
        let (removed, leftover) = match removed {
            Ok(removed) => (removed, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Ok(Flip { generation, removed, leftover })
    }

    fn abandon(self: Box<Self>) {
        if let Err(error) = wait(remove(&self.place, self.metadata.generation)) {
            tracing::debug!(%error, "an unpublished generation could not be removed");
        }
    }
}

/// Moves the pointer, if it still is where `expected` says and the generation is still there.
async fn swap(place: &Location, generation: u64, expected: Option<u64>) -> Result<()> {
    if place.join(&folder_name(generation)).join(METADATA).head().await?.is_none() {
        return Err(Error::verification("the generation is gone").with("generation", folder_name(generation)));
    }
    let entry = serde_json::to_vec(&Entry { generation })
        .map_err(|source| Error::failed("the pointer cannot be written as JSON").because(source))?;
    let log = place.join(POINTER);
    let mut found = None;
    let moved_to = log::append(&log, |number, latest| {
        let before = log::entry(&log, number.saturating_sub(1).max(1));
        found = latest.map(|bytes| generation_in(bytes, &before)).transpose()?;
        Ok((found == expected).then(|| entry.clone().into()))
    });
    match moved_to.await? {
        Some(_) => Ok(()),
        None => Err(moved(expected, found, None)),
    }
}

/// Removes what was never published, and the generations beyond the newest `keep`.
async fn retire(place: &Location, before: Option<u64>, current: u64, keep: usize) -> Result<Vec<u64>> {
    let below: Vec<u64> = numbers(place).await?.into_iter().filter(|&number| number < current).collect();
    let (mut old, unpublished): (Vec<u64>, Vec<u64>) = below.into_iter().partition(|&number| Some(number) <= before);
    old.truncate((old.len() + 1).saturating_sub(keep.max(1)));
    for &number in unpublished.iter().chain(&old) {
        remove(place, number).await?;
    }
    let log = place.join(POINTER);
    for number in log::numbers(&log).await?.into_iter().rev().skip(KEPT_ENTRIES) {
        log::entry(&log, number).delete().await?;
    }
    Ok(old)
}
