//! What a generation says about itself: `generation.json`.

use super::{Checksum, Mode};
use crate::error::{Error, Result};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// The version of the layout and of the encodings; a reader refuses any other.
pub const FORMAT: u32 = 2;

/// From which run a generation comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The run, derived from its fingerprint.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// The interval, as it is written on the command line.
    pub interval: String,
    /// The end of the interval, RFC 3339: how fresh the values are.
    pub interval_end: String,
    /// The model that made the values.
    pub model: String,
    /// Its version.
    pub model_version: u64,
    /// Which row is kept where a key has several.
    pub keep: String,
}

/// A column of the rows that were published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, for a value column also the member's name in the JSON object.
    pub name: String,
    /// The name of its Arrow type.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// Everything a reader needs to decode a generation and to judge it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationMetadata {
    /// The version of this format.
    pub format: u32,
    /// The table's name.
    pub table: String,
    /// The generation's number.
    pub generation: u64,
    /// From which run it comes.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// How its rows were put together.
    pub mode: Mode,
    /// The generation that it was made from, where the mode needs one and there was one.
    pub base: Option<u64>,
    /// When it was complete (RFC 3339 in UTC): the only member that is of the clock.
    pub published_at: String,
    /// How long it is good after that, in seconds; for ever where absent.
    pub ttl_secs: Option<u64>,
    /// The columns that became the key, in order.
    pub key: Vec<Column>,
    /// The columns that became the value, in order.
    pub values: Vec<Column>,
    /// How many rows were read.
    pub rows: u64,
    /// How many of them were dropped, for another row of their key is kept.
    pub duplicates: u64,
    /// How many pairs were sent to the store.
    pub written: u64,
    /// How many pairs were not sent, for the base has the same.
    pub unchanged: u64,
    /// How many keys of the base are gone.
    pub removed: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The length of all keys and values together, in bytes.
    pub bytes: u64,
    /// Over all pairs, whatever their order, the store and the number of the generation.
    pub checksum: Checksum,
    /// The size of the stored file, in bytes.
    pub file_bytes: u64,
    /// `blake3:` and the hash of the stored file; empty in a server, which has none.
    pub file_checksum: String,
    /// How many partitions a server keeps it in; 1 where pairs are simply in the order of their keys.
    pub partitions: u32,
}

impl GenerationMetadata {
    /// When it is no longer good; `None` where it always is.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        let published = DateTime::parse_from_rfc3339(&self.published_at).ok()?.to_utc();
        let ttl = TimeDelta::try_seconds(i64::try_from(self.ttl_secs?).ok()?)?;
        published.checked_add_signed(ttl)
    }

    /// The same as text, RFC 3339 in UTC.
    pub fn expiry(&self) -> Option<String> {
        self.expires_at().map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    /// Whether it is no longer good at `now`.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at().is_some_and(|expires| expires <= now)
    }

    /// The names of the key's columns.
    pub fn key_names(&self) -> Vec<&str> {
        self.key.iter().map(|column| column.name.as_str()).collect()
    }

    /// As the bytes of `generation.json`.
    ///
    /// # Errors
    /// A failure of the serialiser.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| Error::failed("the generation's metadata cannot be written").because(source))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of `generation.json`.
    ///
    /// # Errors
    /// A verification error where they are not metadata, or of another format.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        /// Read first, so that a newer format is named as such rather than by a member it lacks.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |source| {
            Error::verification("the generation's metadata is damaged")
                .because(source)
                .hint("publish the interval again, or roll back to an older generation")
        };
        let Version { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(Error::verification(format!("the generation has format {format}, this binary reads {FORMAT}"))
                .hint("read it with the version of lakemill that published it, or publish again"));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
