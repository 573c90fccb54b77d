//! Keys as bytes.

use super::{Cells, example, field, plain_column, plain_type, shortened};
use crate::error::{Error, Result};
use crate::lookup::partition_of;
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// The longest key, in bytes: LMDB's limit, kept by every store so that a table can move.
pub const MAX_KEY_BYTES: usize = 511;

/// How many rows a message shows that break a rule.
const EXAMPLES: usize = 3;

/// Stands between the columns of a key of several.
const SEPARATOR: u8 = b'|';
const ESCAPE: u8 = b'\\';

/// The columns of a key, and how long it may be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyColumns {
    names: Vec<String>,
    max_bytes: usize,
}

impl KeyColumns {
    /// A key of these columns, in this order, of at most `max_bytes`.
    pub fn new(names: &[String], max_bytes: usize) -> Self {
        Self { names: names.to_vec(), max_bytes }
    }

    /// Their names, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Checks that these columns of `schema` can be a key.
    ///
    /// # Errors
    /// A usage error where there is none, or one is named twice, is missing or of a type that has no one
    /// way to be written as a key.
    pub fn check_schema(&self, schema: &Schema) -> Result<()> {
        let mut seen = BTreeSet::new();
        for name in &self.names {
            if !seen.insert(name) {
                return Err(Error::usage("a key column is named twice").with("column", name));
            }
            check_column(schema, name)?;
        }
        if self.names.is_empty() {
            return Err(Error::usage("a lookup table needs at least one key column"));
        }
        Ok(())
    }

    /// The keys of a batch as bytes: one element a row, none null, each of 1 to `max_bytes` bytes. A key of
    /// one column is its text. Of several, each column's text with `\` written `\\` and `|` written `\|`,
    /// joined by `|`.
    ///
    /// # Errors
    /// A usage error where a column is missing or cannot be in a key; a data check where keys are null,
    /// empty or too long, with how many they are in this batch and some rows as examples.
    pub fn encode(&self, batch: &RecordBatch) -> Result<BinaryArray> {
        self.check_schema(batch.schema_ref())?;
        let columns = self.names.iter().map(|name| column_texts(batch, name)).collect::<Result<Vec<_>>>()?;
        let keys = match <[BinaryArray; 1]>::try_from(columns) {
            Ok([only]) => only,
            Err(several) => joined(&several)?,
        };
        self.check_lengths(keys, batch)
    }

    /// Checks that every row of a batch has a key that can be written, without writing the keys that
    /// always can.
    ///
    /// # Errors
    /// As [`KeyColumns::encode`].
    pub fn check(&self, batch: &RecordBatch) -> Result<()> {
        if let [only] = self.names.as_slice() {
            let array = plain_column(batch, only)?;
            let has_one_form = array.data_type().is_integer() || *array.data_type() == DataType::Boolean;
            if has_one_form && array.logical_null_count() == 0 {
                return Ok(());
            }
        }
        self.encode(batch).map(drop)
    }

    /// What rows have to be sorted by, ascending by bytes, before they are put in so many partitions: the
    /// key, after its partition as four bytes, big-endian, where there are several.
    ///
    /// # Errors
    /// As [`KeyColumns::encode`].
    pub fn sort_codes(&self, batch: &RecordBatch, partitions: u32) -> Result<BinaryArray> {
        let keys = self.encode(batch)?;
        if partitions <= 1 {
            return Ok(keys);
        }
        let mut cells = Cells::default();
        for key in keys.iter().flatten() {
            cells.bytes().extend_from_slice(&partition_of(key, partitions).to_be_bytes());
            cells.bytes().extend_from_slice(key);
            cells.end();
        }
        binary(cells)
    }

    /// The key that an application means by these texts, one for each column.
    ///
    /// # Errors
    /// Usage, where there are more or fewer texts than columns.
    pub fn of_texts(texts: &[&str], columns: usize) -> Result<Vec<u8>> {
        if texts.len() != columns {
            return Err(Error::usage("a key has a value for each of its columns")
                .with("columns", columns)
                .with("values", texts.len()));
        }
        let mut key = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            if columns == 1 {
                key.extend_from_slice(text.as_bytes());
            } else {
                append(&mut key, index, text.as_bytes());
            }
        }
        Ok(key)
    }

    fn check_lengths(&self, keys: BinaryArray, batch: &RecordBatch) -> Result<BinaryArray> {
        let length = |row: usize| keys.value_length(row) as usize;
        let longer: Vec<usize> = (0..keys.len()).filter(|&row| length(row) > self.max_bytes).collect();
        if let Some(&first) = longer.first() {
            return Err(refused(
                &format!("keys over {} bytes", self.max_bytes),
                batch,
                &self.names.join(", "),
                &longer,
            )
            .with("key", shortened(keys.value(first)))
            .hint("use a shorter key, for example a hash of it"));
        }
        let empty: Vec<usize> = (0..keys.len()).filter(|&row| length(row) == 0).collect();
        if !empty.is_empty() {
            return Err(refused("empty keys", batch, &self.names.join(", "), &empty)
                .hint("a lookup key must not be the empty string"));
        }
        Ok(keys)
    }
}

/// The keys of a batch of these columns, of at most [`MAX_KEY_BYTES`] each.
///
/// # Errors
/// As [`KeyColumns::encode`].
pub fn encoded_keys(batch: &RecordBatch, columns: &[String]) -> Result<BinaryArray> {
    KeyColumns::new(columns, MAX_KEY_BYTES).encode(batch)
}

fn check_column(schema: &Schema, name: &str) -> Result<()> {
    let field = field(schema, name)?;
    let plain = plain_type(field.data_type());
    if plain.is_integer() || matches!(plain, DataType::Boolean | DataType::Date32 | DataType::Utf8) {
        return Ok(());
    }
    let hint = if plain.is_floating() {
        "a float has several spellings; cast the key to BIGINT or VARCHAR in the SQL"
    } else {
        "keys are integers, strings, booleans or dates; cast the key in the SQL"
    };
    Err(Error::usage("a column of this type cannot be a lookup key")
        .with("column", name)
        .with("type", field.data_type())
        .hint(hint))
}

/// The texts of a column, none of them null.
fn column_texts(batch: &RecordBatch, column: &str) -> Result<BinaryArray> {
    let array = plain_column(batch, column)?;
    if array.logical_null_count() > 0 {
        let nulls = (0..array.len()).filter(|&row| array.is_null(row)).collect::<Vec<_>>();
        return Err(refused("null keys", batch, column, &nulls)
            .hint("a lookup key must not be null; leave such rows out with WHERE ... IS NOT NULL"));
    }
    let mut cells = Cells::default();
    let out_of_range = match array.data_type() {
        DataType::Utf8 => return Ok(BinaryArray::from(array.as_string::<i32>().clone())),
        DataType::Boolean => cells.booleans(array.as_boolean(), 0..array.len()),
        DataType::Date32 => cells.dates(array.as_primitive::<Date32Type>(), 0..array.len(), ""),
        DataType::Int8 => integers::<Int8Type>(&array, &mut cells),
        DataType::Int16 => integers::<Int16Type>(&array, &mut cells),
        DataType::Int32 => integers::<Int32Type>(&array, &mut cells),
        DataType::Int64 => integers::<Int64Type>(&array, &mut cells),
        DataType::UInt8 => integers::<UInt8Type>(&array, &mut cells),
        DataType::UInt16 => integers::<UInt16Type>(&array, &mut cells),
        DataType::UInt32 => integers::<UInt32Type>(&array, &mut cells),
        DataType::UInt64 => integers::<UInt64Type>(&array, &mut cells),
        other => return Err(Error::failed("a key column changed its type").with("type", other)),
    };
    if !out_of_range.is_empty() {
        return Err(refused("dates beyond the year 9999 as keys", batch, column, &out_of_range));
    }
    binary(cells)
}

fn integers<T>(array: &ArrayRef, cells: &mut Cells) -> Vec<usize>
where
    T: ArrowPrimitiveType,
    T::Native: Serialize,
{
    cells.numbers(array.as_primitive::<T>(), 0..array.len(), |_| true)
}

/// The texts of several columns as one key each row.
fn joined(columns: &[BinaryArray]) -> Result<BinaryArray> {
    let mut cells = Cells::default();
    for row in 0..columns.first().map_or(0, Array::len) {
        for (index, column) in columns.iter().enumerate() {
            append(cells.bytes(), index, column.value(row));
        }
        cells.end();
    }
    binary(cells)
}

/// Appends the text of the column at `index` to a key of several.
fn append(key: &mut Vec<u8>, index: usize, text: &[u8]) {
    if index > 0 {
        key.push(SEPARATOR);
    }
    for &byte in text {
        if byte == SEPARATOR || byte == ESCAPE {
            key.push(ESCAPE);
        }
        key.push(byte);
    }
}

fn refused(what: &str, batch: &RecordBatch, column: &str, rows: &[usize]) -> Error {
    let error = Error::check(format!("{what}: {} of {} rows", rows.len(), batch.num_rows())).with("column", column);
    rows.iter().take(EXAMPLES).fold(error, |error, &row| error.with("example", example(batch, row)))
}

fn binary(cells: Cells) -> Result<BinaryArray> {
    let (bytes, ends) = cells.into_parts();
    let too_big = |_| Error::failed("a batch has more than 2 GiB of keys");
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0i32);
    for end in ends {
        offsets.push(i32::try_from(end).map_err(too_big)?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    BinaryArray::try_new(offsets, Buffer::from_vec(bytes), None)
        .map_err(|source| Error::failed("keys cannot be held").because(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    fn batch(regions: &[&str], ids: &[i64]) -> RecordBatch {
        let regions: ArrayRef = Arc::new(StringArray::from(regions.to_vec()));
        let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        RecordBatch::try_from_iter([("region", regions), ("id", ids)]).unwrap()
    }

    fn texts(keys: &BinaryArray) -> Vec<String> {
        keys.iter().flatten().map(|key| String::from_utf8(key.to_vec()).unwrap()).collect()
    }

    #[test]
    fn several_columns_are_one_unambiguous_text() {
        let columns = ["region".to_owned(), "id".to_owned()];
        let keys = encoded_keys(&batch(&["eu", "a|b", r"a\", "", r"\|"], &[7, -1, 0, 1, 2]), &columns).unwrap();
        assert_eq!(texts(&keys), ["eu|7", r"a\|b|-1", r"a\\|0", "|1", r"\\\||2"]);
        let one = encoded_keys(&batch(&["a|b", r"a\"], &[1, 2]), &columns[..1]).unwrap();
        assert_eq!(texts(&one), ["a|b", r"a\"], "a single column stays as it is");
        assert_eq!(KeyColumns::of_texts(&["a|b", "-1"], 2).unwrap(), br"a\|b|-1");
        assert_eq!(KeyColumns::of_texts(&["a|b"], 1).unwrap(), b"a|b");
        assert!(KeyColumns::of_texts(&["a"], 2).is_err());
    }

    #[test]
    fn the_limit_is_that_of_the_whole_key_and_examples_are_shown() {
        let columns = KeyColumns::new(&["region".to_owned(), "id".to_owned()], 6);
        let error = columns.check(&batch(&["abcd", "abcde", "x", "|||"], &[7, 8, 9, 1])).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("keys over 6 bytes: 2 of 4 rows (column = region, id"), "{text}");
        assert!(text.contains("{region: abcde, id: 8}") && text.contains("{region: |||, id: 1}"), "{text}");
        let twice = KeyColumns::new(&["id".to_owned(), "id".to_owned()], 511);
        assert_eq!(twice.check(&batch(&["a"], &[1])).unwrap_err().message(), "a key column is named twice");
    }

    #[test]
    fn partitions_come_first_in_what_rows_are_sorted_by() {
        let columns = KeyColumns::new(&["id".to_owned()], 511);
        let rows = batch(&["", ""], &[1, 2]);
        let codes = columns.sort_codes(&rows, 7).unwrap();
        assert_eq!(codes.value(0), [&partition_of(b"1", 7).to_be_bytes()[..], b"1"].concat());
        assert_eq!(columns.sort_codes(&rows, 1).unwrap(), columns.encode(&rows).unwrap());
    }
}
