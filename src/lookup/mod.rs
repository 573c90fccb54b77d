//! Lookup tables: what applications read at run time, one value under one key.
//!
//! A table has immutable *generations* and one *pointer* to the current one. A generation is loaded
//! aside, verified by reading it back, sealed under the next free number, and only then is the pointer
//! flipped to it, by a compare-and-set: whoever planned with another current generation in view gets a
//! conflict. A reader sees one whole generation or the next, never a mixture; a crash before the flip
//! changes nothing that a reader can see.
//!
//! ```text
//! rows sorted by encoded_keys ──push──> Load ──verify──> Verified ──seal──> Sealed ──flip──> Flip
//! ```
//!
//! Keys are text and values are one compact JSON object each ([`encode`]), the same in every store.
//!
//! # To add one
//! Write `<store>.rs` (or a folder) with a type that implements [`LookupStore`], and with what it
//! returns: [`Staging`], [`Staged`] and [`LookupReader`]. Add its `mod` line below and its name to
//! [`STORES`]. A store puts bytes under bytes; encoding, duplicates, checksum and sample are done once
//! for all stores in [`Load`]. Nothing registers itself elsewhere.

mod checksum;
mod dedupe;
pub mod encode;
mod file;
mod load;
mod metadata;
mod sample;

pub use checksum::Checksum;
pub use dedupe::FirstOfKey;
pub use encode::check_columns;
pub use encode::key::{MAX_KEY_BYTES, check_keys, encoded_keys};
pub use load::{Load, Sealed, Verified};
pub use metadata::{Column, FORMAT, GenerationMetadata, Provenance};
pub use sample::{SAMPLE_KEYS, Sampled};

use crate::error::{Error, Result, did_you_mean};
use crate::lake::{Location, cache_of};
use std::path::PathBuf;

/// A lookup table: its name, the store that keeps it, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupTable {
    /// The table's name, which is the job's.
    pub name: String,
    /// The store as the job file says it: `file`, or later the URL of a server.
    pub store: String,
    /// `<home>/lookup/<table>` on the local disk; of a home in a bucket, the copy on this machine.
    pub folder: PathBuf,
    /// `<home>/lookup/<table>` in a bucket; absent where the home is a local folder.
    pub remote: Option<Location>,
}

impl LookupTable {
    /// The table `name` under `home`.
    ///
    /// # Errors
    /// Usage: a home in a bucket, and nothing tells where this machine keeps copies.
    pub fn under(home: &Location, name: &str, store: &str) -> Result<Self> {
        let place = home.join("lookup").join(name);
        let (name, store) = (name.to_owned(), store.to_owned());
        Ok(match place.local_path() {
            Some(folder) => Self { name, store, folder, remote: None },
            None => {
                let folder = cache_of(home)?.join("lookup").join(&name);
                Self { name, store, folder, remote: Some(place) }
            }
        })
    }
}

/// Where generations are kept and read. All methods block; those of a table with a
/// [`remote`](LookupTable::remote) are called on a thread that belongs to a tokio runtime and may block.
pub trait LookupStore: Sync {
    /// The name in `[lookup] store`, or the scheme of the URL that stands there.
    fn name(&self) -> &'static str;

    /// One line for the help.
    fn summary(&self) -> &'static str;

    /// The number of the generation that readers see; `None` where nothing has been published.
    ///
    /// # Errors
    /// A verification error where the pointer names no generation.
    fn current(&self, table: &LookupTable) -> Result<Option<u64>>;

    /// Begins a new generation aside, and removes what dead attempts have left.
    ///
    /// # Errors
    /// A conflict where the same attempt is still loading; a failure of the store.
    fn begin(&self, table: &LookupTable, attempt: &str) -> Result<Box<dyn Staging>>;

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
}

/// A generation while it is loaded: complete for nobody yet.
pub trait Staging: Send {
    /// Appends one pair; keys come strictly ascending by their bytes.
    ///
    /// # Errors
    /// A failure of the store.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Makes everything that was put durable, reads it back as a reader would, and compares.
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

    /// Makes it the current generation if `expected` still is, then removes the generations beyond
    /// the newest `keep` (the new one included). On a conflict the sealed generation is removed.
    ///
    /// # Errors
    /// A conflict where another generation than `expected` is current.
    fn flip(self: Box<Self>, expected: Option<u64>, keep: usize) -> Result<Flip>;

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

    /// Visits all pairs in ascending order of the keys' bytes.
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

/// What has to be found when a generation is read back.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The number of keys.
    pub keys: u64,
    /// The checksum over all pairs in order, as [`Checksum::finish`] gives it.
    pub checksum: &'a str,
    /// Keys to be looked up one by one, with the hashes of their values.
    pub sample: &'a [Sampled],
}

/// What a store has written for a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its size, in bytes.
    pub bytes: u64,
    /// `blake3:` and the hash of its bytes.
    pub checksum: String,
}

/// What a flip has done.
#[derive(Debug)]
pub struct Flip {
    /// The generation that is current now.
    pub generation: u64,
    /// The generations that were removed.
    pub removed: Vec<u64>,
    /// Why an old generation could not be removed. It is garbage, and the next flip tries again; the
    /// flip itself has happened.
    pub leftover: Option<Error>,
}

/// Every store there is.
pub static STORES: &[&dyn LookupStore] = &[&file::FileStore];

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
