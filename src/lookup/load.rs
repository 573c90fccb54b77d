//! Loading a generation: what is the same for every store.
//!
//! Each step consumes the one before, so that a generation cannot be sealed unverified or flipped
//! unsealed. Whatever is dropped on the way is garbage that the next attempt removes.

use super::encode::key::check_key;
use super::encode::value::ValueEncoder;
use super::sample::Reservoir;
use super::{
    Checksum, Column, Expected, FORMAT, FirstOfKey, Flip, GenerationMetadata, LookupStore, LookupTable, Provenance,
    Staged, Staging, StoredFile, encoded_keys,
};
use crate::error::{Error, Result, ResultExt};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

/// A generation that is being filled.
pub struct Load {
    staging: Box<dyn Staging>,
    table: String,
    provenance: Provenance,
    key: Column,
    columns: Vec<Column>,
    encoder: ValueEncoder,
    first: FirstOfKey,
    kept: Vec<usize>,
    bytes: u64,
    checksum: Checksum,
    reservoir: Reservoir,
}

impl Load {
    /// Begins a generation of `table`: `key` and `values` are columns of `schema`, the schema of the
    /// rows that will be pushed; `attempt` names the try (letters, digits, `-`, `_`).
    ///
    /// # Errors
    /// A usage error where a column is missing or of a type that cannot be written; a conflict where
    /// the same attempt is still loading; a failure of the store.
    pub fn begin(
        store: &dyn LookupStore,
        table: &LookupTable,
        schema: &Schema,
        (key, values): (&str, &[String]),
        provenance: Provenance,
        attempt: &str,
    ) -> Result<Self> {
        check_key(schema, key).at("table", &table.name)?;
        let encoder = ValueEncoder::new(schema, values).at("table", &table.name)?;
        let column = |name: &str| {
            let field = schema.field_with_name(name);
            let data_type = field.map(|field| field.data_type().to_string());
            data_type
                .map(|data_type| Column { name: name.to_owned(), data_type })
                .map_err(|source| Error::failed("a column is gone").because(source))
        };
        Ok(Self {
            key: column(key)?,
            columns: values.iter().map(|name| column(name)).collect::<Result<_>>()?,
            staging: store.begin(table, attempt).at("table", &table.name)?,
            table: table.name.clone(),
            encoder,
            first: FirstOfKey::default(),
            kept: Vec::new(),
            bytes: 0,
            checksum: Checksum::default(),
            reservoir: Reservoir::seeded(seed(&provenance.run_id)),
            provenance,
        })
    }

    /// Adds rows. Over all batches they are sorted by [`encoded_keys`], ascending by bytes, and the
    /// rows of one key by preference: the first is kept.
    ///
    /// # Errors
    /// A data check where a key is null, empty or too long or a value is NaN or infinite; a failure
    /// where the rows are not sorted, or of the store.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = encoded_keys(batch, &self.key.name).at("table", &self.table)?;
        self.first.keep(&keys, &mut self.kept).at("table", &self.table)?;
        let values = self.encoder.encode(batch, &keys, &self.kept).at("table", &self.table)?;
        for (index, &row) in self.kept.iter().enumerate() {
            let (key, value) = (keys.value(row), values.get(index));
            self.staging.put(key, value).at("table", &self.table)?;
            self.checksum.add(key, value);
            self.reservoir.offer(key, value);
            self.bytes += (key.len() + value.len()) as u64;
        }
        Ok(())
    }

    /// How many rows have been pushed.
    pub fn rows(&self) -> u64 {
        self.first.rows()
    }

    /// How many of them were further rows of their key.
    pub fn duplicates(&self) -> u64 {
        self.first.dropped()
    }

    /// Makes what was loaded durable, reads it back as a reader would, and compares count, checksum
    /// and a seeded sample of keys.
    ///
    /// # Errors
    /// A verification error that says what differs; a failure of the store.
    pub fn verify(mut self) -> Result<Verified> {
        let checksum = self.checksum.finish();
        let keys = self.first.keys();
        let expected = Expected { keys, checksum: &checksum, sample: self.reservoir.sample() };
        let StoredFile { bytes: file_bytes, checksum: file_checksum } =
            self.staging.verify(&expected).at("table", &self.table)?;
        let metadata = GenerationMetadata {
            format: FORMAT,
            table: self.table,
            generation: 0,
            provenance: self.provenance,
            key: self.key,
            values: self.columns,
            rows: self.first.rows(),
            keys,
            bytes: self.bytes,
            checksum,
            file_bytes,
            file_checksum,
        };
        Ok(Verified { staging: self.staging, metadata })
    }
}

/// A generation that reads back as it was loaded, still without a number.
pub struct Verified {
    staging: Box<dyn Staging>,
    metadata: GenerationMetadata,
}

impl Verified {
    /// Gives it the next free number. Nobody sees it yet.
    ///
    /// # Errors
    /// A failure of the store.
    pub fn seal(self) -> Result<Sealed> {
        let table = self.metadata.table.clone();
        self.staging.seal(self.metadata).map(|staged| Sealed { staged }).at("table", table)
    }
}

/// A complete, immutable generation that readers do not see yet.
pub struct Sealed {
    staged: Box<dyn Staged>,
}

impl Sealed {
    /// What it holds.
    pub fn metadata(&self) -> &GenerationMetadata {
        self.staged.metadata()
    }

    /// Makes it the current generation, if `expected` (the one the caller saw when planning) still
    /// is; then removes the generations beyond the newest `keep`, this one included.
    ///
    /// # Errors
    /// A conflict where another generation is current; this one is then removed.
    pub fn flip(self, expected: Option<u64>, keep: usize) -> Result<Flip> {
        let table = self.metadata().table.clone();
        self.staged.flip(expected, keep).at("table", table)
    }

    /// Removes it, as far as that is possible: what it was made for has failed.
    pub fn abandon(self) {
        self.staged.abandon();
    }
}

/// The same run checks the same keys.
fn seed(run_id: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(run_id.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(first)
}
