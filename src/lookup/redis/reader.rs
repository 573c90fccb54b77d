//! Reading a generation.

use super::books::Books;
use super::client::{Batch, Client, bytes, texts};
use super::layout::{Names, Shape};
use super::pairs::Place;
use super::server::Server;
use super::wire::Texts;
use crate::error::{Error, Result};
use crate::lookup::{Checksum, GenerationMetadata, LookupReader, Visit};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Buckets, or keys, that are asked for at once.
const BUCKETS: usize = 64;
const KEYS: usize = 1000;

/// A generation; as many threads as wanted may ask at once, each over a connection of its own.
pub struct RedisReader {
    server: Arc<Server>,
    place: Place,
    metadata: GenerationMetadata,
    /// When the server removes it by itself, in milliseconds since 1970.
    expires_at_ms: Option<u64>,
    connections: u32,
}

/// Opens the current generation; `None` where nothing has been published.
///
/// # Errors
/// A verification error where it is not there, or has expired; what the server fails with.
pub fn open_current(server: &Arc<Server>, names: &Names, connections: u32) -> Result<Option<RedisReader>> {
    let mut client = Client::of(server);
    let books = Books::of(names);
    loop {
        let Some(current) = books.current(&mut client)? else { return Ok(None) };
        match RedisReader::open(server, names, current, connections) {
            Ok(reader) => return Ok(Some(reader)),
            // Between the two it moved on, and the generation was removed.
            Err(_) if books.current(&mut client)? != Some(current) => {}
            Err(error) => return Err(error),
        }
    }
}

/// What a sealed generation says about itself; `None` where it is none.
///
/// # Errors
/// A verification error where it is damaged; what the server fails with.
pub fn metadata(client: &mut Client, names: &Names, generation: u64) -> Result<Option<(GenerationMetadata, Shape)>> {
    let key = names.metadata(generation);
    let Some(json) = bytes(client.call("GET", &key, &[])?)? else { return Ok(None) };
    let metadata = GenerationMetadata::from_json(&json).map_err(|error| error.with("key", &key))?;
    let damaged = || Error::verification("the generation's metadata is damaged").with("key", &key);
    let shape: Shape = serde_json::from_slice(&json).map_err(|source| damaged().because(source))?;
    if metadata.generation != generation || metadata.partitions == 0 {
        return Err(damaged().with("recorded", metadata.generation));
    }
    Ok(Some((metadata, shape)))
}

impl RedisReader {
    /// Opens one generation.
    ///
    /// # Errors
    /// A verification error where it is not there, or has expired; what the server fails with.
    pub fn open(server: &Arc<Server>, names: &Names, generation: u64, connections: u32) -> Result<Self> {
        let mut client = Client::of(server);
        let Some((metadata, shape)) = metadata(&mut client, names, generation)? else {
            return Err(Error::verification("the generation is missing or incomplete")
                .with("key", names.metadata(generation))
                .hint("publish the interval again, or roll back to an older generation"));
        };
        let place = Place { names: names.clone(), generation, partitions: metadata.partitions, layout: shape.layout };
        let server = Arc::clone(server);
        let reader = Self { server, place, metadata, expires_at_ms: shape.expires_at_ms, connections };
        reader.check_expiry(&mut client)?;
        Ok(reader)
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Whether the server will remove it by itself.
    pub fn expires(&self) -> bool {
        self.expires_at_ms.is_some()
    }

    fn check_expiry(&self, client: &mut Client) -> Result<()> {
        let Some(expires_at_ms) = self.expires_at_ms else { return Ok(()) };
        let now = client.everywhere(&[b"TIME"])?.into_iter().map(|(_, reply)| texts(reply));
        for now in now {
            let now = now?;
            let number = |index| String::from_utf8_lossy(now.get(index)).parse::<u64>().unwrap_or(0);
            if number(0) * 1000 + number(1) / 1000 >= expires_at_ms {
                return Err(Error::verification("the generation has expired")
                    .with("generation", self.place.generation)
                    .with("published_at", &self.metadata.published_at)
                    .with("ttl_secs", self.metadata.ttl_secs.unwrap_or(0))
                    .hint("publish a newer interval, or give the table a longer ttl"));
            }
        }
        Ok(())
    }

    /// Whether a key that was not found was never there: the generation still is.
    fn check_whole(&self, client: &mut Client) -> Result<()> {
        self.check_expiry(client)?;
        if bytes(client.call("GET", &self.place.names.metadata(self.place.generation), &[])?)?.is_none() {
            return Err(Error::verification("the generation was removed while it was being read")
                .with("generation", self.place.generation)
                .hint("open the current one"));
        }
        Ok(())
    }
}

impl LookupReader for RedisReader {
    fn metadata(&self) -> &GenerationMetadata {
        &self.metadata
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.mget(&[key])?.pop().flatten())
    }

    fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let mut client = Client::of(&self.server);
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS) {
            let mut batch = Batch::default();
            keys.iter().for_each(|key| self.place.ask(&mut batch, key));
            for reply in client.run(&batch)? {
                values.push(bytes(reply)?);
            }
        }
        if values.iter().any(Option::is_none) {
            self.check_whole(&mut client)?;
        }
        Ok(values)
    }

    fn each(&self, visit: &mut Visit<'_>) -> Result<()> {
        let mut client = Client::of(&self.server);
        let mut visited = 0;
        let numbers: Vec<u32> = (0..self.place.partitions).collect();
        for buckets in numbers.chunks(BUCKETS) {
            for texts in self.place.read(&mut client, buckets)? {
                visited += texts.len() as u64 / 2;
                texts.pairs().try_for_each(|(key, value)| visit(key, value))?;
            }
        }
        if visited != self.metadata.keys {
            self.check_whole(&mut client)?;
            return Err(self.place.lacks("keys").with("recorded", self.metadata.keys).with("found", visited));
        }
        Ok(())
    }

    fn verify(&self) -> Result<()> {
        let found = sum(&self.server, &self.place, self.connections)?;
        let recorded = &self.metadata;
        if (found.keys, found.bytes, found.checksum) == (recorded.keys, recorded.bytes, recorded.checksum) {
            return Ok(());
        }
        self.check_whole(&mut Client::of(&self.server))?;
        let what = if found.keys == recorded.keys { "values" } else { "keys" };
        Err(Error::verification(format!("the generation has other {what} than recorded"))
            .with("generation", self.place.generation)
            .with("recorded", format!("{} keys, {}", recorded.keys, recorded.checksum))
            .with("found", format!("{} keys, {}", found.keys, found.checksum))
            .hint("publish the interval again, or roll back to an older generation"))
    }
}

/// What a generation holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Keys.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Over all pairs.
    pub checksum: Checksum,
}

/// Reads all of a generation over several connections.
///
/// # Errors
/// What the server fails with.
pub fn sum(server: &Arc<Server>, place: &Place, connections: u32) -> Result<Sum> {
    let next = AtomicU32::new(0);
    let work = || {
        let mut client = Client::of(server);
        let mut sum = Sum::default();
        loop {
            let first = next.fetch_add(BUCKETS as u32, Ordering::Relaxed);
            if first >= place.partitions {
                return Ok(sum);
            }
            let buckets: Vec<u32> = (first..place.partitions.min(first.saturating_add(BUCKETS as u32))).collect();
            for pairs in place.read(&mut client, &buckets)? {
                sum.count(&pairs);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections.clamp(1, 64)).map(|_| scope.spawn(work)).collect();
        let mut whole = Sum::default();
        for worker in workers {
            let part: Sum = worker
                .join()
                .unwrap_or_else(|_| Err(Error::failed("reading back panicked; this is a bug in lakemill")))?;
            whole.keys += part.keys;
            whole.bytes += part.bytes;
            whole.checksum.merge(part.checksum);
        }
        Ok(whole)
    })
}

impl Sum {
    fn count(&mut self, pairs: &Texts) {
        for (key, value) in pairs.pairs() {
            self.keys += 1;
            self.bytes += (key.len() + value.len()) as u64;
            self.checksum.add(key, value);
        }
    }
}
