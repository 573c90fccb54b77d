//! Writing a generation: load, verify, seal, flip.

use super::books::{Books, Entry, Moved};
use super::client::{Batch, Client, bytes};
use super::layout::{Names, Shape, are_comparable};
use super::lease::{Lease, Living};
use super::loader::Loader;
use super::pairs::{Keys, Place};
use super::reader::{RedisReader, sum};
use super::room::Room;
use super::server::Server;
use super::sweep::Sweep;
use super::write::{From, Writing};
use crate::error::{Error, Result};
use crate::lookup::encode::shortened;
use crate::lookup::{
    Base, Contents, Expected, Flip, FlipAction, FlipNote, FlipRecord, GenerationMetadata, Layout, LookupReader,
    LookupTable, Pace, Staged, Staging, StoredFile,
};
use std::sync::Arc;

/// Buckets whose end is set at once.
const BUCKETS: usize = 256;

/// An attempt that is in the books. Dropped before its generation is current, it removes what it has written.
struct Attempt {
    server: Arc<Server>,
    names: Names,
    generation: u64,
    entry: Entry,
    rows_per_sec: Option<u64>,
    lease: Lease,
    room: Arc<Room>,
    is_over: bool,
    _living: Living,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut client = Client::hasty(&self.server);
        let mut remove = || {
            let books = Books::of(&self.names);
            books.discard(&mut client, self.generation, &self.entry.attempt, false)?;
            // Also where others have taken it for dead and removed what was there then.
            self.sweep().remove(&mut client, self.generation, &self.entry)?;
            books.removed(&mut client, self.generation)
        };
        // What stays is in the books: the next load, or gc, removes it.
        if let Err(error) = remove() {
            tracing::debug!(%error, "an unfinished generation could not be removed");
        }
    }
}

impl Attempt {
    fn sweep(&self) -> Sweep<'_> {
        Sweep { names: &self.names, rows_per_sec: self.rows_per_sec, measures: false }
    }

    fn place(&self) -> Place {
        let Entry { partitions, layout, .. } = self.entry;
        Place { names: self.names.clone(), generation: self.generation, partitions, layout }
    }
}

/// A generation that is being loaded.
pub struct RedisStaging {
    loader: Loader,
    attempt: Attempt,
    base: Option<(RedisReader, bool)>,
    connections: u32,
    longest: usize,
}

/// Removes what dead attempts have left, takes a number, and begins.
///
/// # Errors
/// A conflict where the same attempt is still loading; a verification error where the base is missing; what the server
/// fails with.
pub fn begin(
    server: &Arc<Server>,
    table: &LookupTable,
    attempt: &str,
    base: &Base,
    (partitions, longest): (u32, usize),
) -> Result<RedisStaging> {
    let options = &table.options;
    let names = Names::new(&options.prefix, &table.name)?;
    let base = match base {
        Base::Nothing => None,
        Base::Merge(generation) => Some((RedisReader::open(server, &names, *generation, options.connections)?, true)),
        Base::Changed(generation) => {
            Some((RedisReader::open(server, &names, *generation, options.connections)?, false))
        }
    };
    let partitions = partitions.max(1);
    if let Some((base, _)) = &base
        && !are_comparable(base.place().partitions, partitions)
    {
        return Err(Error::failed("the partitions of a generation do not fit those of its base")
            .with("partitions", partitions)
            .with("base", base.place().partitions));
    }
    let mut client = Client::of(server);
    let sweep = Sweep { names: &names, rows_per_sec: options.max_rows_per_sec, measures: false };
    sweep.dead_attempts(&mut client)?;
    sweep.garbage(&mut client)?;
    let books = Books::of(&names);
    if books.under_way(&mut client)?.iter().any(|(_, entry)| entry.attempt == attempt) {
        return Err(Error::conflict("this attempt is already loading").with("attempt", attempt));
    }
    let room = Arc::new(Room::watch(&mut client, options.ttl_secs.is_some())?);
    let living = Living::begin();
    let entry = Entry { attempt: attempt.to_owned(), partitions, layout: options.layout, process: living.name() };
    let generation = books.begin(&mut client, &entry, server.address.lease)?;
    let lease = Lease::hold(server, &books, attempt)?;
    let attempt = Attempt {
        server: Arc::clone(server),
        names,
        generation,
        entry,
        rows_per_sec: options.max_rows_per_sec,
        lease,
        room,
        is_over: false,
        _living: living,
    };
    let from = base.as_ref().map(|(base, is_merge)| From {
        place: base.place().clone(),
        is_merge: *is_merge,
        expires: base.expires(),
    });
    let writing = Writing { to: attempt.place(), from, longest };
    let pace = Pace::of(options.max_rows_per_sec);
    let alive = attempt.lease.is_alive();
    let loader = Loader::begin(server, writing, &attempt.room, alive, options.connections, pace)?;
    Ok(RedisStaging { loader, attempt, base, connections: options.connections, longest })
}

impl Staging for RedisStaging {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.loader.put(key, value)
    }

    fn close(&mut self) -> Result<Contents> {
        let tally = self.loader.close()?;
        if tally.long > 0 && self.attempt.entry.layout == Layout::Buckets {
            tracing::warn!(
                pairs = tally.long,
                longest = self.longest,
                "some keys or values are longer than the server stores compactly: their buckets take several times the \
                 memory; raise hash-max-listpack-value"
            );
        }
        let mut contents = Contents {
            keys: tally.keys,
            bytes: tally.bytes,
            checksum: tally.checksum,
            written: tally.written,
            unchanged: tally.unchanged,
            removed: 0,
        };
        if let Some((base, is_merge)) = &self.base {
            let base = base.metadata();
            if *is_merge {
                contents.keys = contents.keys.wrapping_add(base.keys);
                contents.bytes = contents.bytes.wrapping_add(base.bytes);
                contents.checksum.merge(base.checksum);
            } else {
                contents.removed = base.keys.saturating_sub(tally.matched);
            }
        }
        Ok(contents)
    }

    fn verify(&mut self, expected: &Expected<'_>) -> Result<StoredFile> {
        let attempt = &self.attempt;
        let mut client = Client::of(&attempt.server);
        attempt.room.approve(&mut client)?;
        let place = attempt.place();
        let found = sum(&attempt.server, &place, self.connections)?;
        let differs = |what: &str| {
            Error::verification(format!("the generation reads back with {what} than loaded"))
                .with("generation", attempt.generation)
                .with("server", &attempt.server.address)
                .hint("nothing was published; does something else write keys with this prefix? run again")
        };
        let failure = if found.keys != expected.keys {
            Some(differs("other keys").with("loaded", expected.keys).with("found", found.keys))
        } else if found.checksum != expected.checksum {
            Some(differs("another checksum"))
        } else {
            let mut batch = Batch::default();
            expected.sample.iter().for_each(|sampled| place.ask(&mut batch, &sampled.key));
            let mut wrong = None;
            for (sampled, reply) in expected.sample.iter().zip(client.run(&batch)?) {
                if !bytes(reply)?.is_some_and(|value| sampled.matches(&value)) {
                    wrong = Some(differs("another value").with("key", shortened(&sampled.key)));
                }
            }
            wrong
        };
        let Some(failure) = failure else {
            return Ok(StoredFile { bytes: found.bytes, checksum: String::new() });
        };
        // It may be only that the base was removed, because somebody else has published.
        let current = Books::of(&attempt.names).current(&mut client)?;
        let base = self.base.as_ref().map(|(base, _)| base.place().generation);
        Err(if base.is_some() && base != current { moved(base, current).because(failure) } else { failure })
    }

    fn seal(self: Box<Self>, mut metadata: GenerationMetadata) -> Result<Box<dyn Staged>> {
        let Self { attempt, .. } = *self;
        let mut client = Client::of(&attempt.server);
        let place = attempt.place();
        metadata.generation = attempt.generation;
        metadata.partitions = place.partitions;
        let expires_at_ms = metadata.expires_at().map(|at| at.timestamp_millis().max(0).unsigned_abs());
        if let Some(at) = expires_at_ms {
            expire(&mut client, &place, at)?;
        }
        let failed = |source| Error::failed("the generation's metadata cannot be written").because(source);
        let mut json = serde_json::to_value(&metadata).map_err(failed)?;
        let shape = serde_json::to_value(Shape { layout: place.layout, expires_at_ms }).map_err(failed)?;
        if let (Some(json), Some(shape)) = (json.as_object_mut(), shape.as_object()) {
            json.extend(shape.clone());
        }
        client.call("SET", &attempt.names.metadata(attempt.generation), &[json.to_string().as_bytes()])?;
        Ok(Box::new(RedisStaged { attempt, metadata }))
    }
}

/// Says when the server shall remove a generation's data by itself.
fn expire(client: &mut Client, place: &Place, at_ms: u64) -> Result<()> {
    let at = at_ms.to_string();
    let buckets: Vec<u32> = (0..place.partitions).collect();
    for buckets in buckets.chunks(BUCKETS) {
        let mut batch = Batch::default();
        buckets.iter().for_each(|&bucket| batch.push(b"PEXPIREAT", &place.bucket(bucket), &[at.as_bytes()]));
        if place.layout == Layout::Strings {
            let keys = place.keys(client, buckets)?;
            for key in keys.iter().flat_map(Keys::each) {
                batch.push(b"PEXPIREAT", &place.string(key), &[at.as_bytes()]);
            }
        }
        client.run(&batch)?;
    }
    Ok(())
}

/// A sealed generation that readers do not see yet.
pub struct RedisStaged {
    attempt: Attempt,
    metadata: GenerationMetadata,
}

impl Staged for RedisStaged {
    fn metadata(&self) -> &GenerationMetadata {
        &self.metadata
    }

    fn flip(mut self: Box<Self>, expected: Option<u64>, keep: usize, by: &FlipNote) -> Result<Flip> {
        let attempt = &mut self.attempt;
        let generation = attempt.generation;
        let mut client = Client::of(&attempt.server);
        let books = Books::of(&attempt.names);
        attempt.room.approve(&mut client)?;
        let gone = || {
            Error::verification("the generation is gone")
                .with("generation", generation)
                .hint("nothing was published; was the server restarted, or the run held up for long? run again")
        };
        if bytes(client.call("GET", &attempt.names.metadata(generation), &[])?)?.is_none() {
            return Err(gone());
        }
        let run_id = &self.metadata.provenance.run_id;
        let record = FlipRecord::new(FlipAction::Publish, generation, expected, run_id, by);
        match books.flip(&mut client, generation, expected, keep, &record)? {
            Moved::Other(current) => return Err(moved(expected, current)),
            Moved::Gone => return Err(gone()),
            Moved::Done(_) => {}
        }
        // From here on it has happened; what goes wrong with old generations is told, not failed.
        attempt.is_over = true;
        let (removed, leftover) = match attempt.sweep().garbage(&mut client) {
            Ok(removed) => (removed.generations, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        Ok(Flip { generation, from: expected, removed, leftover })
    }

    // Dropped before it was flipped to, it removes itself.
    fn abandon(self: Box<Self>) {}
}

/// The pointer is not where it was expected.
pub fn moved(expected: Option<u64>, current: Option<u64>) -> Error {
    let name = |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    Error::conflict("another run has published this lookup table meanwhile")
        .with("expected", name(expected))
        .with("current", name(current))
        .hint("nothing was changed; plan and run again if this interval shall be the one that is looked up")
}
