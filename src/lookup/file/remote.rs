//! A lookup table whose home lies in a bucket: loaded and verified on this machine, then uploaded.
//!
//! ```text
//! <home>/lookup/<table>/
//!   current/000012.json       {"generation":43, ...}: the entry with the highest number is the pointer,
//!                             the last ones are the log of flips
//!   v=000043/owner            whose number this is; put if absent, before anything else
//!   v=000043/data.mdb
//!   v=000043/generation.json  put last: with it the generation is complete, and never changes
//! ```
//!
//! There are no locks in a bucket, and `If-Match` is not honoured by every server: all of this rests on
//! put-if-absent. A number belongs to whoever puts its `owner`; the pointer is an append-only log, and
//! whoever appends an entry has seen the one before. A loader publishes only if the log has no entry that
//! it did not see before it took its number. So what lies between the generation that was current and the
//! one that is now can't be published any more (its loader meets a conflict), or was rolled back from; it
//! is removed *after* the pointer has moved. Garbage collection moves the pointer to where it is, and then
//! removes in the same way what dead loaders have left.

use super::mirror;
use super::staged::{gone, moved, target};
use super::staging::{Aside, FileStaging};
use super::{DATA, METADATA, folder_name, number_in};
use crate::error::{Error, Result};
use crate::lake::{Location, Put, log};
use crate::lookup::encode::shortened;
use crate::lookup::{
    Collected, Contents, Expected, Flip, FlipAction, FlipNote, FlipRecord, GenerationMetadata, Pace, Staged, Staging,
    StoredFile,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::path::PathBuf;
use tokio::runtime::Handle;

const POINTER: &str = "current";
const OWNER: &str = "owner";

/// How many numbers in a row a loader may lose before it gives up.
const TRIES: u64 = 1000;

/// Entries of the pointer's log that are kept; the newest is the pointer.
const KEPT_ENTRIES: usize = crate::lookup::KEPT_FLIPS;

/// An entry of the pointer's log: where it points, and the flip that it is; without one, it was put by hand
/// or by garbage collection.
#[derive(Serialize, Deserialize)]
struct Entry {
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flip: Option<FlipRecord>,
}

/// Runs `work` to its end on this thread, which may block.
pub fn wait<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = Handle::try_current()
        .map_err(|source| Error::failed("a lookup table in a bucket needs the runtime").because(source))?;
    runtime.block_on(work)
}

/// The number of the generation that readers see.
pub fn current(place: &Location) -> Result<Option<u64>> {
    Ok(wait(pointer(place))?.map(|(_, generation)| generation))
}

/// The number of the newest entry, and where it points.
async fn pointer(place: &Location) -> Result<Option<(u64, u64)>> {
    let log = place.join(POINTER);
    let Some((number, bytes)) = log::latest(&log).await? else { return Ok(None) };
    Ok(Some((number, read_entry(&bytes, &log::entry(&log, number))?.generation)))
}

fn read_entry(bytes: &Bytes, file: &Location) -> Result<Entry> {
    serde_json::from_slice::<Entry>(bytes).map_err(|source| {
        Error::verification("the pointer to the current generation is damaged")
            .with("file", file)
            .with("content", shortened(bytes.trim_ascii_end()))
            .because(source)
            .hint("put the next entry with the number of a generation, for example {\"generation\":1}")
    })
}

/// The flips that were logged, oldest first.
pub fn flips(place: &Location) -> Result<Vec<FlipRecord>> {
    wait(logged(place))
}

async fn logged(place: &Location) -> Result<Vec<FlipRecord>> {
    let log = place.join(POINTER);
    let entries = log::all(&log).await?;
    // A damaged entry that is not the newest is history that is lost, no more.
    let read = |(number, bytes): (u64, Bytes)| read_entry(&bytes, &log::entry(&log, number)).ok()?.flip;
    Ok(entries.into_iter().filter_map(read).collect())
}

/// What a complete generation says about itself, and the bytes in which it does.
pub async fn metadata(place: &Location, generation: u64) -> Result<(GenerationMetadata, Bytes)> {
    let file = place.join(&folder_name(generation)).join(METADATA);
    let bytes = file.get().await?.ok_or_else(|| {
        Error::verification("the generation is missing or incomplete")
            .with("file", &file)
            .hint("publish the interval again, or roll back to an older generation")
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

    fn close(&mut self) -> Result<Contents> {
        self.local.close()
    }

    fn verify(&mut self, expected: &Expected<'_>) -> Result<StoredFile> {
        self.local.verify(expected)
    }

    fn seal(self: Box<Self>, metadata: GenerationMetadata) -> Result<Box<dyn Staged>> {
        let Self { local, place, attempt } = *self;
        let (table, aside) = local.into_parts();
        let (seen, metadata) = wait(async {
            let (seen, metadata) = claim(&place, metadata, &attempt).await?;
            let done = upload(&place, &aside.folder.join(DATA), &metadata).await;
            if done.is_err() {
                // As far as that is possible; what remains is garbage that the next flip removes.
                let _ = remove(&place, metadata.generation).await;
            }
            done.map(|()| (seen, metadata))
        })?;
        Ok(Box::new(RemoteStaged { place, table, aside, metadata, seen }))
    }
}

/// Takes the next free number; gives the newest entry of the pointer's log from before that, too.
async fn claim(
    place: &Location,
    mut metadata: GenerationMetadata,
    attempt: &str,
) -> Result<(Option<u64>, GenerationMetadata)> {
    let pointer = pointer(place).await?;
    let highest = numbers(place).await?.last().copied();
    let highest = highest.max(pointer.map(|(_, generation)| generation)).unwrap_or(0);
    for number in highest + 1..=highest + TRIES {
        let owner = place.join(&folder_name(number)).join(OWNER);
        if owner.put_if_absent(format!("{attempt}\n").into()).await? == Put::Created {
            metadata.generation = number;
            return Ok((pointer.map(|(entry, _)| entry), metadata));
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
    /// The newest entry of the pointer's log when the number was taken.
    seen: Option<u64>,
}

impl Staged for RemoteStaged {
    fn metadata(&self) -> &GenerationMetadata {
        &self.metadata
    }

    fn flip(self: Box<Self>, expected: Option<u64>, keep: usize, by: &FlipNote) -> Result<Flip> {
        let Self { place, table, aside, metadata, seen } = *self;
        let generation = metadata.generation;
        let record = FlipRecord::new(FlipAction::Publish, generation, expected, &metadata.provenance.run_id, by);
        let removed = wait(async {
            if let Err(moved) = swap(&place, record, expected, Some(seen)).await {
                let _ = remove(&place, generation).await;
                return Err(moved);
            }
            // From here on it has happened; what goes wrong with old generations is told, not failed.
            Ok(retire(&place, expected, generation, keep).await)
        })?;
        tracing::debug!(?expected, generation, "the pointer of a lookup table was moved");
        // Saves this machine's readers the way; they would fetch it otherwise.
        if let Err(error) = mirror::keep(&table, aside, &metadata) {
            tracing::debug!(%error, "the copy of a generation on this machine is not kept");
        }
        let (removed, leftover) = match removed {
            Ok(removed) => (removed, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Ok(Flip { generation, from: expected, removed, leftover })
    }

    fn abandon(self: Box<Self>) {
        if let Err(error) = wait(remove(&self.place, self.metadata.generation)) {
            tracing::debug!(%error, "an unpublished generation could not be removed");
        }
    }
}

/// Moves the pointer, if it still is where `expected` says, the log has not grown since the entry `seen`,
/// and the generation is still there.
async fn swap(place: &Location, record: FlipRecord, expected: Option<u64>, seen: Option<Option<u64>>) -> Result<()> {
    let generation = record.generation;
    if place.join(&folder_name(generation)).join(METADATA).head().await?.is_none() {
        return Err(gone(generation));
    }
    let entry = entry(generation, Some(record))?;
    let log = place.join(POINTER);
    let mut found = None;
    let moved_to = log::append(&log, |number, latest| {
        let before = number - 1;
        found = latest.map(|bytes| read_entry(bytes, &log::entry(&log, before))).transpose()?;
        let current = found.as_ref().map(|entry| entry.generation);
        let is_seen = seen.is_none_or(|seen| seen.unwrap_or(0) == before);
        Ok((current == expected && is_seen).then(|| entry.clone()))
    });
    match moved_to.await? {
        Some(_) => Ok(()),
        None => Err(moved(expected, found.map(|entry| entry.generation), None)),
    }
}

fn entry(generation: u64, flip: Option<FlipRecord>) -> Result<Bytes> {
    serde_json::to_vec(&Entry { generation, flip })
        .map(Bytes::from)
        .map_err(|source| Error::failed("the pointer cannot be written as JSON").because(source))
}

/// Points readers to a generation that they had before.
pub fn rollback(place: &Location, to: Option<u64>, expected: u64, by: &FlipNote) -> Result<Flip> {
    wait(async {
        let current = pointer(place).await?.map(|(_, generation)| generation);
        if current != Some(expected) {
            return Err(moved(Some(expected), current, None));
        }
        let log = logged(place).await?;
        let once_current = |number: &u64| *number < expected || log.iter().any(|flip| flip.generation == *number);
        let kept: Vec<u64> = numbers(place).await?.into_iter().filter(once_current).collect();
        let target = target(&kept, to, expected)?;
        let (metadata, _) = metadata(place, target).await?;
        let record = FlipRecord::new(FlipAction::Rollback, target, current, &metadata.provenance.run_id, by);
        swap(place, record, current, None).await?;
        Ok(Flip { generation: target, from: current, removed: Vec::new(), leftover: None })
    })
}

/// Removes what dead loaders have left, and the generations beyond the newest `keep`.
pub fn gc(place: &Location, keep: usize, max_rows_per_sec: Option<u64>) -> Result<Collected> {
    wait(async {
        let nothing = Collected { bytes: Some(0), ..Collected::default() };
        let Some((_, current)) = pointer(place).await? else { return Ok(nothing) };
        let log = logged(place).await?;
        let numbers = numbers(place).await?;
        let never = |number: &u64| *number > current && log.iter().all(|flip| flip.generation != *number);
        let unpublished: Vec<u64> = numbers.iter().copied().filter(never).collect();
        if !unpublished.is_empty() {
            // From here on none of them can be published: their loaders have not seen this entry.
            let log = place.join(POINTER);
            let same = entry(current, None)?;
            let append = |number, latest: Option<&Bytes>| {
                let found = latest.map(|bytes| read_entry(bytes, &log::entry(&log, number - 1))).transpose()?;
                Ok((found.map(|entry| entry.generation) == Some(current)).then(|| same.clone()))
            };
            if log::append(&log, append).await?.is_none() {
                return Err(moved(Some(current), pointer(place).await?.map(|(_, generation)| generation), None));
            }
        }
        let mut old: Vec<u64> = numbers.into_iter().filter(|&number| number < current).collect();
        old.truncate((old.len() + 1).saturating_sub(keep.max(1)));
        let mut collected = Collected { attempts: unpublished.len() as u64, ..nothing };
        let (mut pace, mut before, mut bytes) = (Pace::of(max_rows_per_sec), 0, 0);
        for number in old.into_iter().chain(unpublished) {
            let said = metadata(place, number).await.ok();
            // What a dead loader has left may have no metadata yet.
            let data = place.join(&folder_name(number)).join(DATA).head().await?;
            pace.pass(before);
            remove(place, number).await?;
            before = said.map_or(0, |(said, _)| said.keys);
            bytes += data.map_or(0, |data| data.size);
            collected.generations.push(number);
        }
        collected.bytes = Some(bytes);
        Ok(collected)
    })
}

/// Removes what was never published or was rolled back from, and the generations beyond the newest `keep`.
async fn retire(place: &Location, before: Option<u64>, current: u64, keep: usize) -> Result<Vec<u64>> {
    let below: Vec<u64> = numbers(place).await?.into_iter().filter(|&number| number < current).collect();
    let (mut old, between): (Vec<u64>, Vec<u64>) = below.into_iter().partition(|&number| Some(number) <= before);
    old.truncate((old.len() + 1).saturating_sub(keep.max(1)));
    for &number in between.iter().chain(&old) {
        remove(place, number).await?;
    }
    let log = place.join(POINTER);
    for number in log::numbers(&log).await?.into_iter().rev().skip(KEPT_ENTRIES) {
        log::entry(&log, number).delete().await?;
    }
    Ok(old)
}
