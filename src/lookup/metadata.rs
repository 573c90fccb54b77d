//! What a generation says about itself: `generation.json`.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The version of the layout and of the encodings; a reader refuses any other.
pub const FORMAT: u32 = 1;

/// From which run a generation comes. No clock: the same inputs give the same bytes.
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
    /// The generation's number; the only member that depends on what was published before.
    pub generation: u64,
    /// From which run it comes.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// The column that became the key.
    pub key: Column,
    /// The columns that became the value, in order.
    pub values: Vec<Column>,
    /// How many rows were read; what exceeds `keys` were further rows of the same key.
    pub rows: u64,
    /// How many keys there are.
    pub keys: u64,
    /// The length of all keys and values together, in bytes.
    pub bytes: u64,
    /// `blake3:` and the hash over all keys and values in order; independent of the store and of the
    /// generation's number.
    pub checksum: String,
    /// The size of the stored file, in bytes.
    pub file_bytes: u64,
    /// `blake3:` and the hash of the stored file.
    pub file_checksum: String,
}

impl GenerationMetadata {
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
                .hint("publish the interval again, or point CURRENT to an older generation")
        };
        let Version { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(Error::verification(format!("the generation has format {format}, this binary reads {FORMAT}"))
                .hint("read it with the version of lakemill that published it, or publish again"));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}
