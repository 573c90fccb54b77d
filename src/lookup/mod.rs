//! Lookup tables: what applications read at run time, one value under one key.
//!
//! A table has immutable *generations* and one *pointer* to the current one. A generation is loaded
//! aside, verified by reading it back, sealed under the next free number, and only then is the pointer
//! flipped to it, by a compare-and-set: whoever planned with another current generation in view gets a
//! conflict. A reader sees one whole generation or the next, never a mixture; a crash before the flip
//! changes nothing that a reader can see.
//!
//! ```text
//! rows in the order of sort_codes ──push──> Load ──verify──> Verified ──seal──> Sealed ──flip──> Flip
//! ```
//!
//! A generation holds the rows of one slice of the predictions, or with [`Mode::Merge`] those over the
//! generation before; [`Base`] says what a store begins with. Keys are text and values are one compact
//! JSON object each ([`encode`]), the same in every store.
//!
//! Every move of the pointer, back or forth, is logged with who and why ([`FlipRecord`]). A rollback
//! moves the pointer to a generation that is still kept and touches nothing else.
//!
//! # To add one
//! Write `<store>.rs` (or a folder) with a type that implements [`LookupStore`], and with what it
//! returns: [`Staging`], [`Staged`] and [`LookupReader`]. Add its `mod` line below and its name to
//! [`STORES`]. A store puts bytes under bytes; encoding, duplicates, checksum and sample are done once
//! for all stores in [`Load`]. Nothing registers itself elsewhere.

mod checksum;
mod contents;
mod dedupe;
mod difference;
pub mod encode;
mod file;
mod flips;
mod load;
mod metadata;
mod options;
mod pace;
mod partition;
mod redis;
mod sample;

pub use checksum::Checksum;
pub use contents::{Base, Contents, Expected, Mode, StoredFile};
pub use dedupe::FirstOfKey;
pub use difference::{Difference, Differing, difference};
pub use encode::check_columns;
pub use encode::key::{KeyColumns, MAX_KEY_BYTES, encoded_keys};
pub use flips::{Collected, Flip, FlipAction, FlipNote, FlipRecord, KEPT_FLIPS, rolled_back};
pub use load::{Columns, Load, Origin, Sealed, Verified};
pub use metadata::{Column, FORMAT, GenerationMetadata, Provenance};
pub use options::{DEFAULT_CONNECTIONS, DEFAULT_PREFIX, Layout, LookupOptions};
pub use pace::Pace;
pub use partition::partition_of;
pub use sample::{SAMPLE_KEYS, Sampled};

use crate::error::{Error, Result, did_you_mean};
use crate::lake::{Location, cache_of};
use std::fmt;
use std::path::PathBuf;

/// A lookup table: its name, the store that keeps it, and where it lies.
#[derive(Clone, PartialEq, Eq)]
pub struct LookupTable {
    /// The table's name, which is the job's.
    pub name: String,
    /// The store as the job file says it: `file`, or the URL of a server.
    pub store: String,
    /// `<home>/lookup/<table>` on the local disk; of a home in a bucket, the copy on this machine.
    pub folder: PathBuf,
    /// `<home>/lookup/<table>` in a bucket; absent where the home is a local folder.
    pub remote: Option<Location>,
    /// What it asks of its store.
    pub options: LookupOptions,
}

impl fmt::Debug for LookupTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A server's URL may hold a password.
        let store = self.store.split_once("://").map_or(self.store.as_str(), |(scheme, _)| scheme);
        out.debug_struct("LookupTable")
            .field("name", &self.name)
            .field("store", &store)
            .field("folder", &self.folder)
            .field("remote", &self.remote)
            .field("options", &self.options)
            .finish()
    }
}

impl LookupTable {
    /// The table `name` under `home`, unless `store` is the URL of a server.
    ///
    /// # Errors
    /// Usage: a home in a bucket, and nothing tells where this machine keeps copies.
    pub fn under(home: &Location, name: &str, store: &str) -> Result<Self> {
        if store.contains("://") {
            return Ok(Self::of_server(name, store));
        }
        let place = home.join("lookup").join(name);
        let (folder, remote) = match place.local_path() {
            Some(folder) => (folder, None),
            None => (cache_of(home)?.join("lookup").join(name), Some(place)),
        };
        Ok(Self { folder, remote, ..Self::of_server(name, store) })
    }

    /// The table `name` in a server, for which no home counts.
    pub fn of_server(name: &str, store: &str) -> Self {
        let (name, store) = (name.to_owned(), store.to_owned());
        Self { name, store, folder: PathBuf::new(), remote: None, options: LookupOptions::default() }
    }

    /// The same table with these settings.
    #[must_use]
    pub fn with(self, options: LookupOptions) -> Self {
        Self { options, ..self }
    }
}

/// Where generations are kept and read. All methods block; those of a table with a
/// [`remote`](LookupTable::remote) are called on a thread that belongs to a tokio runtime and may block.
pub trait LookupStore: Sync {
    /// The name in `[lookup] store`, or the scheme of the URL that stands there.
    fn name(&self) -> &'static str;

    /// One line for the help.
    fn summary(&self) -> &'static str;

    /// The longest key that it takes, in bytes.
    fn max_key_bytes(&self) -> usize {
        MAX_KEY_BYTES
    }

    /// The number of the generation that readers see; `None` where nothing has been published.
    ///
    /// # Errors
    /// A verification error where the pointer names no generation.
    fn current(&self, table: &LookupTable) -> Result<Option<u64>>;

    /// In how many partitions a new generation of about `keys` keys will be put: see [`Staging::put`].
    ///
    /// # Errors
    /// What asking the store, or reading the base, fails with.
    fn partitions(&self, _table: &LookupTable, _keys: u64, _base: &Base) -> Result<u32> {
        Ok(1)
    }

    /// Begins a new generation aside, from what `base` says, and removes what dead attempts have left. Pairs are then
    /// taken no faster than the table's `max_rows_per_sec`, also those that turn out to be the same in the base.
    ///
    /// # Errors
    /// A conflict where the same attempt is still loading; a verification error where the base is
    /// missing or damaged; a failure of the store.
    fn begin(&self, table: &LookupTable, attempt: &str, base: &Base, partitions: u32) -> Result<Box<dyn Staging>>;

    /// Opens the current generation, fetched where it lies in a bucket; `None` where nothing has been
    /// published.
    ///
    /// # Errors
    /// A verification error where the generation is missing, damaged or not the one recorded.
    fn open(&self, table: &LookupTable) -> Result<Option<Box<dyn LookupReader>>>;

    /// Opens one generation by number, current or not.
    ///
    /// # Errors
    /// As [`LookupStore::open`].
    fn open_generation(&self, table: &LookupTable, generation: u64) -> Result<Box<dyn LookupReader>>;

    /// What every sealed generation holds, oldest first.
    ///
    /// # Errors
    /// A verification error where a generation's metadata cannot be read.
    fn generations(&self, table: &LookupTable) -> Result<Vec<GenerationMetadata>>;

    /// Points readers to a generation that is kept, `to`, or without it to the newest one before the
    /// current one, if `expected` is current; the flip is logged. No value is moved.
    ///
    /// # Errors
    /// A conflict where another generation is current; usage, where there is no such generation or it is
    /// the current one; a verification error where it can't be read.
    fn rollback(&self, table: &LookupTable, to: Option<u64>, expected: u64, by: &FlipNote) -> Result<Flip>;

    /// The flips that were logged, oldest first; the newest [`KEPT_FLIPS`] at least.
    ///
    /// # Errors
    /// A failure of the store.
    fn flips(&self, table: &LookupTable) -> Result<Vec<FlipRecord>>;

    /// Removes what is garbage: what dead attempts have left, sealed or not, and of the generations up to
    /// the current one those beyond the newest `keep`; at no more than the table's `max_rows_per_sec`.
    ///
    /// # Errors
    /// A failure of the store.
    fn gc(&self, table: &LookupTable, keep: usize) -> Result<Collected>;

    /// What can be said of the server that keeps the table, and of what may be done there, for `doctor`;
    /// nothing where there is no server.
    ///
    /// # Errors
    /// What reaching it fails with.
    fn examine(&self, _table: &LookupTable) -> Result<Vec<(&'static str, String)>> {
        Ok(Vec::new())
    }
}

/// A generation while it is loaded: complete for nobody yet.
pub trait Staging: Send {
    /// Puts one pair; pairs come strictly ascending by `partition_of(key, partitions)`, then by the bytes
    /// of their keys. The store itself compares them with the base.
    ///
    /// # Errors
    /// A failure of the store.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Ends the putting; tells what the generation holds.
    ///
    /// # Errors
    /// A failure of the store.
    fn close(&mut self) -> Result<Contents>;

    /// Makes everything durable, reads it back as a reader would, and compares. Called once, after
    /// [`Staging::close`].
    ///
    /// # Errors
    /// A verification error where a count, the checksum or a sampled value differs.
    fn verify(&mut self, expected: &Expected<'_>) -> Result<StoredFile>;

    /// Gives the generation the next free number; afterwards it never changes. Nobody sees it yet.
    /// Sets `generation` in the metadata.
    ///
    /// # Errors
    /// A failure of the store.
    fn seal(self: Box<Self>, metadata: GenerationMetadata) -> Result<Box<dyn Staged>>;
}

/// A sealed generation that readers do not see yet.
pub trait Staged: Send {
    /// What it holds.
    fn metadata(&self) -> &GenerationMetadata;

    /// Makes it the current generation if `expected` still is, and logs that; then removes the
    /// generations beyond the newest `keep` (the new one included). On a conflict the sealed generation
    /// is removed.
    ///
    /// # Errors
    /// A conflict where another generation than `expected` is current.
    fn flip(self: Box<Self>, expected: Option<u64>, keep: usize, by: &FlipNote) -> Result<Flip>;

    /// Removes it, for it will not be flipped to. What can't be removed is garbage that the next flip removes.
    fn abandon(self: Box<Self>);
}

/// What is called with each key and value of a generation; an error ends the visit.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// One opened generation: it stays the same however often the pointer flips.
pub trait LookupReader: Send + Sync {
    /// What the generation holds.
    fn metadata(&self) -> &GenerationMetadata;

    /// The value (compact JSON) under `key` (its encoded text); `None` where there is no such key.
    ///
    /// # Errors
    /// A verification error where the generation is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The values of several keys, in their order.
    ///
    /// # Errors
    /// As [`LookupReader::get`].
    fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Visits all pairs in the store's own order.
    ///
    /// # Errors
    /// What `visit` gives, or a verification error where the generation is damaged.
    fn each(&self, visit: &mut Visit<'_>) -> Result<()>;

    /// Reads all of it and compares with the metadata: bytes of the file, count and checksum.
    ///
    /// # Errors
    /// A verification error that says what differs.
    fn verify(&self) -> Result<()>;
}

/// Every store there is.
pub static STORES: &[&dyn LookupStore] = &[
    &file::FileStore,
    &redis::RedisStore { scheme: "redis" },
    &redis::RedisStore { scheme: "rediss" },
    &redis::RedisStore { scheme: "redis+sentinel" },
    &redis::RedisStore { scheme: "rediss+sentinel" },
];

/// The store that `[lookup] store` names: a name (`file`) or a URL whose scheme is the name.
///
/// # Errors
/// A usage error that lists the stores, with the likeliest one where a name is near. The rest of a
/// URL is not shown: it may hold a password.
pub fn lookup(store: &str) -> Result<&'static dyn LookupStore> {
    let name = store.split_once(':').map_or(store, |(scheme, _)| scheme);
    if let Some(found) = STORES.iter().find(|known| known.name() == name) {
        return Ok(*found);
    }
    let names = || STORES.iter().map(|known| known.name());
    let hint = match did_you_mean(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the stores are: {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(Error::usage(format!("unknown lookup store `{name}`")).hint(hint))
}
