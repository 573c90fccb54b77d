//! Loading a generation: what is the same for every store.
//!
//! Each step consumes the one before, so that a generation cannot be sealed unverified or flipped
//! unsealed. Whatever is dropped on the way is garbage that the next attempt removes.

use super::encode::value::ValueEncoder;
use super::sample::Reservoir;
use super::{
    Base, Checksum, Column, Contents, Expected, FORMAT, FirstOfKey, Flip, FlipNote, GenerationMetadata, KeyColumns,
    LookupStore, LookupTable, Mode, Provenance, Staged, Staging, StoredFile,
};
use crate::error::{Error, Result, ResultExt};
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

/// Which columns of the rows are published.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// The schema of the rows that will be pushed.
    pub schema: &'a Schema,
    /// The columns of the key, in order.
    pub key: &'a [String],
    /// The columns of the value, in order.
    pub values: &'a [String],
}

/// What a generation is made from, besides its rows.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The run.
    pub provenance: Provenance,
    /// How rows are put together.
    pub mode: Mode,
    /// What it begins with.
    pub base: Base,
    /// In how many partitions the rows come: what [`LookupStore::partitions`] gave, 1 for the embedded store.
    pub partitions: u32,
}

impl Origin {
    /// Of `provenance` alone, its rows in the order of their keys.
    pub fn replacing(provenance: Provenance) -> Self {
        Self { provenance, mode: Mode::Replace, base: Base::Nothing, partitions: 1 }
    }
}

/// A generation that is being filled.
pub struct Load {
    staging: Box<dyn Staging>,
    table: String,
    ttl_secs: Option<u64>,
    origin: Origin,
    keys: KeyColumns,
    key: Vec<Column>,
    columns: Vec<Column>,
    encoder: ValueEncoder,
    first: FirstOfKey,
    kept: Vec<usize>,
    bytes: u64,
    checksum: Checksum,
    reservoir: Reservoir,
}

impl Load {
    /// Begins a generation of `table`; `attempt` names the try (letters, digits, `-`, `_`).
    ///
    /// # Errors
    /// A usage error where a column is missing or of a type that cannot be written, or the base has other
    /// columns; a conflict where the same attempt is still loading; a failure of the store.
    pub fn begin(
        store: &dyn LookupStore,
        table: &LookupTable,
        columns: &Columns<'_>,
        origin: Origin,
        attempt: &str,
    ) -> Result<Self> {
        let keys = KeyColumns::new(columns.key, store.max_key_bytes());
        keys.check_schema(columns.schema).at("table", &table.name)?;
        let encoder = ValueEncoder::new(columns.schema, columns.values).at("table", &table.name)?;
        let column = |name: &String| {
            let field = columns.schema.field_with_name(name);
            let data_type = field.map(|field| field.data_type().to_string());
            data_type
                .map(|data_type| Column { name: name.clone(), data_type })
                .map_err(|source| Error::failed("a column is gone").because(source))
        };
        Ok(Self {
            key: columns.key.iter().map(column).collect::<Result<_>>()?,
            columns: columns.values.iter().map(column).collect::<Result<_>>()?,
            staging: store.begin(table, attempt, &origin.base, origin.partitions).at("table", &table.name)?,
            table: table.name.clone(),
            ttl_secs: table.options.ttl_secs,
            keys,
            encoder,
            first: FirstOfKey::among(origin.partitions),
            kept: Vec::new(),
            bytes: 0,
            checksum: Checksum::default(),
            reservoir: Reservoir::seeded(seed(&origin.provenance.run_id)),
            origin,
        })
    }

    /// Adds rows. Over all batches they are sorted by [`KeyColumns::sort_codes`], ascending by bytes, and
    /// the rows of one key by preference: the first is kept.
    ///
    /// # Errors
    /// A data check where a key is null, empty or too long or a value is NaN or infinite; a failure
    /// where the rows are not sorted, or of the store.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.keys.encode(batch).at("table", &self.table)?;
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

    /// Some keys that have several rows, shortened for a message.
    pub fn duplicate_keys(&self) -> &[String] {
        self.first.examples()
    }

    /// Makes what was loaded durable, reads it back as a reader would, and compares count, checksum
    /// and a seeded sample of keys.
    ///
    /// # Errors
    /// A verification error that says what differs; a failure of the store.
    pub fn verify(mut self) -> Result<Verified> {
        let contents = self.staging.close().at("table", &self.table)?;
        self.is_what_was_put(&contents).at("table", &self.table)?;
        let expected = Expected { keys: contents.keys, checksum: contents.checksum, sample: self.reservoir.sample() };
        let StoredFile { bytes: file_bytes, checksum: file_checksum } =
            self.staging.verify(&expected).at("table", &self.table)?;
        let metadata = GenerationMetadata {
            format: FORMAT,
            table: self.table,
            generation: 0,
            provenance: self.origin.provenance,
            mode: self.origin.mode,
            base: self.origin.base.generation(),
            published_at: String::new(),
            ttl_secs: self.ttl_secs,
            key: self.key,
            values: self.columns,
            rows: self.first.rows(),
            duplicates: self.first.dropped(),
            written: contents.written,
            unchanged: contents.unchanged,
            removed: contents.removed,
            keys: contents.keys,
            bytes: contents.bytes,
            checksum: contents.checksum,
            file_bytes,
            file_checksum,
            partitions: self.origin.partitions,
        };
        Ok(Verified { staging: self.staging, metadata, duplicate_keys: self.first.examples().to_vec() })
    }

    /// The store counts for itself; where nothing of the base stays, it has to come to the same.
    fn is_what_was_put(&self, contents: &Contents) -> Result<()> {
        let put = (self.first.keys(), self.bytes, self.checksum);
        let is_same = match self.origin.base {
            Base::Nothing => (contents.keys, contents.bytes, contents.checksum) == put && contents.written == put.0,
            Base::Changed(_) => {
                (contents.keys, contents.bytes, contents.checksum) == put
                    && contents.written + contents.unchanged == put.0
            }
            // A server whose buckets became more has sent what it keeps of the base, too.
            Base::Merge(_) => contents.keys >= put.0 && contents.written + contents.unchanged >= put.0,
        };
        if is_same {
            return Ok(());
        }
        Err(Error::verification("the store holds something else than was put")
            .with("put", put.0)
            .with("keys", contents.keys)
            .with("written", contents.written)
            .hint("nothing was published; run again"))
    }
}

/// A generation that reads back as it was loaded, still without a number.
pub struct Verified {
    staging: Box<dyn Staging>,
    metadata: GenerationMetadata,
    duplicate_keys: Vec<String>,
}

impl Verified {
    /// Gives it the next free number. Nobody sees it yet. `published_at` is the clock, RFC 3339 in UTC.
    ///
    /// # Errors
    /// A failure of the store.
    pub fn seal(self, published_at: &str) -> Result<Sealed> {
        let table = self.metadata.table.clone();
        let metadata = GenerationMetadata { published_at: published_at.to_owned(), ..self.metadata };
        let staged = self.staging.seal(metadata).at("table", table)?;
        Ok(Sealed { staged, duplicate_keys: self.duplicate_keys })
    }
}

/// A complete, immutable generation that readers do not see yet.
pub struct Sealed {
    staged: Box<dyn Staged>,
    duplicate_keys: Vec<String>,
}

impl Sealed {
    /// What it holds.
    pub fn metadata(&self) -> &GenerationMetadata {
        self.staged.metadata()
    }

    /// Some keys that had several rows, shortened for a message.
    pub fn duplicate_keys(&self) -> &[String] {
        &self.duplicate_keys
    }

    /// Makes it the current generation, if `expected` (the one the caller saw when planning) still
    /// is; then removes the generations beyond the newest `keep`, this one included.
    ///
    /// # Errors
    /// A conflict where another generation is current; this one is then removed.
    pub fn flip(self, expected: Option<u64>, keep: usize, by: &FlipNote) -> Result<Flip> {
        let table = self.metadata().table.clone();
        self.staged.flip(expected, keep, by).at("table", table)
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
