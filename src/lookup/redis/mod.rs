//! The store in a Redis server or cluster: a generation is many small hashes, or one string a pair.
//!
//! ```text
//! <prefix>:<table>:current               string: the number of the generation that readers see, `43`
//! <prefix>:<table>:generation:43         string: what generation 43 says about itself, JSON; immutable
//! <prefix>:{<table>:<b>}:43              hash: the pairs of bucket b; b = crc32(key) mod `partitions`
//!
//! layout = "strings":
//! <prefix>:<table>:43:<key>              string: the value of a key
//! <prefix>:{<table>:<b>}:43              string: the keys of bucket b, each behind its length (32 bits, little-endian)
//!
//! <prefix>:{<prefix>:<table>:current}:*  the loaders' books, see `books.rs`: next, attempts, alive:<attempt>, sealed,
//!                                        garbage, flips
//! ```
//!
//! A reader gets `current`, then the metadata, once, and then reads pairs with one `HGET` (or `GET`) each. Where that
//! finds nothing, it looks whether the metadata is still there: whoever removes a generation removes that first, so that
//! "no such key" is told from "no such generation".
//!
//! A small hash is stored as one compact block, which takes a third of the memory of strings; buckets are made so small
//! that none passes the server's `hash-max-listpack-entries`. The hash tag `{<table>:<b>}` puts a bucket of all
//! generations into one slot of a cluster, so that equal buckets are copied within the server; a prefix or table name
//! has no braces. The books share the pointer's slot, so that every change of them and of the pointer is one script.
//!
//! # What crashes leave
//! An attempt is in the books before it writes, with all that is needed to find its keys, and gives signs of life (a key
//! that expires). One that gives none any more, or whose process has ended, is garbage; the next load and `gc` remove it.
//! Nothing is ever looked for with `KEYS` or `SCAN`.
//!
//! # Faults
//! Every command may be sent twice, so that lost connections, `MOVED` and the like are simply tried again, for as long as
//! the server makes progress or `timeout_secs` last. A server that was restarted during a load, that evicts, or that has
//! no memory, ends the load before the flip.

mod address;
mod books;
mod client;
mod examine;
mod layout;
mod lease;
mod link;
mod loader;
mod pairs;
mod reader;
mod refused;
mod room;
mod sentinel;
mod server;
mod staging;
mod sweep;
mod tls;
mod wire;
mod write;

use super::{
    Base, Collected, Flip, FlipAction, FlipNote, FlipRecord, GenerationMetadata, Layout, LookupReader, LookupStore,
    LookupTable, Staging,
};
use crate::error::{Error, Result};
use books::{Books, Moved};
use client::Client;
use layout::{Names, partitions_beside, partitions_of};
use server::Server;
use std::sync::Arc;
use sweep::{Removed, Sweep};

/// Longer keys are no keys: a field's name is sent with each request.
const MAX_KEY_BYTES: usize = 511;

/// Generations in a Redis server.
pub struct RedisStore {
    /// `redis`, or `rediss` for TLS; with `+sentinel` for servers whose primary sentinels name.
    pub scheme: &'static str,
}

/// A table and its server.
struct Opened {
    server: Arc<Server>,
    names: Names,
    books: Books,
    client: Client,
}

fn open(table: &LookupTable) -> Result<Opened> {
    let server = Server::at(&table.store)?;
    let names = Names::new(&table.options.prefix, &table.name)?;
    Ok(Opened { books: Books::of(&names), client: Client::of(&server), server, names })
}

impl LookupStore for RedisStore {
    fn name(&self) -> &'static str {
        self.scheme
    }

    fn summary(&self) -> &'static str {
        match self.scheme {
            "redis+sentinel" => "the primary that Redis sentinels name: redis+sentinel://host,host/master/database",
            "rediss+sentinel" => "the same over TLS: rediss+sentinel://host,host/master/database",
            "rediss" => "a Redis server or cluster over TLS: rediss://host:port/database",
            _ => "a Redis server or cluster: redis://host:port/database",
        }
    }

    fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES
    }

    fn current(&self, table: &LookupTable) -> Result<Option<u64>> {
        let Opened { books, mut client, .. } = open(table)?;
        books.current(&mut client)
    }

    fn partitions(&self, table: &LookupTable, keys: u64, base: &Base) -> Result<u32> {
        let Opened { mut client, names, .. } = open(table)?;
        let limit = match table.options.layout {
            Layout::Buckets => examine::compact(&mut client)?.fields,
            Layout::Strings => u64::MAX,
        };
        let Some(generation) = base.generation() else { return Ok(partitions_of(keys, limit)) };
        let Some((base_metadata, _)) = reader::metadata(&mut client, &names, generation)? else {
            return Err(Error::verification("the generation is missing or incomplete").with("generation", generation));
        };
        let keys = if matches!(base, Base::Merge(_)) { keys.max(base_metadata.keys) } else { keys };
        Ok(partitions_beside(base_metadata.partitions, keys, limit))
    }

    fn begin(&self, table: &LookupTable, attempt: &str, base: &Base, partitions: u32) -> Result<Box<dyn Staging>> {
        let Opened { server, mut client, .. } = open(table)?;
        let longest = examine::compact(&mut client)?.bytes;
        drop(client);
        Ok(Box::new(staging::begin(&server, table, attempt, base, (partitions, longest))?))
    }

    fn open(&self, table: &LookupTable) -> Result<Option<Box<dyn LookupReader>>> {
        let Opened { server, names, .. } = open(table)?;
        let reader = reader::open_current(&server, &names, table.options.connections)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn LookupReader>))
    }

    fn open_generation(&self, table: &LookupTable, generation: u64) -> Result<Box<dyn LookupReader>> {
        let Opened { server, names, .. } = open(table)?;
        Ok(Box::new(reader::RedisReader::open(&server, &names, generation, table.options.connections)?))
    }

    fn generations(&self, table: &LookupTable) -> Result<Vec<GenerationMetadata>> {
        let Opened { names, books, mut client, .. } = open(table)?;
        let mut found = Vec::new();
        for (generation, _) in books.sealed(&mut client)? {
            // One that is not there was removed since.
            found.extend(reader::metadata(&mut client, &names, generation)?.map(|(metadata, _)| metadata));
        }
        Ok(found)
    }

    fn rollback(&self, table: &LookupTable, to: Option<u64>, expected: u64, by: &FlipNote) -> Result<Flip> {
        let Opened { server, names, books, mut client } = open(table)?;
        let sealed = books.sealed(&mut client)?;
        let older = || sealed.iter().map(|(number, _)| *number).filter(|number| *number < expected).max();
        let Some(to) = to.or_else(older) else {
            return Err(Error::usage("there is no older generation to go back to").with("current", expected));
        };
        let kept = || sealed.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>().join(", ");
        let missing = || {
            Error::usage("there is no such generation").with("generation", to).hint(format!("there are: {}", kept()))
        };
        if to == expected {
            return Err(Error::usage("this generation is the current one").with("generation", to));
        }
        if !sealed.iter().any(|(number, _)| *number == to) {
            return Err(missing());
        }
        // It can be read, and has not expired.
        let reader = reader::RedisReader::open(&server, &names, to, table.options.connections)?;
        let run_id = &reader.metadata().provenance.run_id;
        let record = FlipRecord::new(FlipAction::Rollback, to, Some(expected), run_id, by);
        match books.rollback(&mut client, to, expected, &record)? {
            Moved::Done(_) => Ok(Flip { generation: to, from: Some(expected), removed: Vec::new(), leftover: None }),
            Moved::Other(current) => Err(staging::moved(Some(expected), current)),
            Moved::Gone => Err(missing()),
        }
    }

    fn flips(&self, table: &LookupTable) -> Result<Vec<FlipRecord>> {
        let Opened { books, mut client, .. } = open(table)?;
        books.flips(&mut client)
    }

    fn gc(&self, table: &LookupTable, keep: usize) -> Result<Collected> {
        let Opened { names, books, mut client, .. } = open(table)?;
        let sweep = Sweep { names: &names, rows_per_sec: table.options.max_rows_per_sec, measures: true };
        let dead = sweep.dead_attempts(&mut client)?;
        books.retire(&mut client, keep)?;
        let Removed { mut generations, bytes } = sweep.garbage(&mut client)?;
        generations.retain(|generation| !dead.contains(generation));
        Ok(Collected { generations, attempts: dead.len() as u64, bytes })
    }

    fn examine(&self, table: &LookupTable) -> Result<Vec<(&'static str, String)>> {
        let Opened { names, mut client, .. } = open(table)?;
        examine::facts(&mut client, &names)
    }
}
