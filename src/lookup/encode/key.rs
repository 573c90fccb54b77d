//! Keys as bytes.

use super::{Cells, example, field, plain_column, plain_type, shortened};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrowPrimitiveType, AsArray, BinaryArray, RecordBatch};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use serde::Serialize;

/// The longest key, in bytes: LMDB's limit, kept by every store so that a table can move.
pub const MAX_KEY_BYTES: usize = 511;

/// Checks that the column `name` of `schema` can be a key.
///
/// # Errors
/// A usage error where it is missing or of a type that has no one way to be written as a key.
pub fn check_key(schema: &Schema, name: &str) -> Result<()> {
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

/// The keys of a batch as bytes: what rows have to be sorted by, ascending, before they are loaded.
/// One element a row, none null, each 1 to [`MAX_KEY_BYTES`] bytes.
///
/// # Errors
/// A usage error where the column is missing or cannot be a key; a data check where keys are null,
/// empty or too long, with how many they are in this batch and one row as an example.
pub fn encoded_keys(batch: &RecordBatch, column: &str) -> Result<BinaryArray> {
    check_key(batch.schema_ref(), column)?;
    let array = plain_column(batch, column)?;
    if array.logical_null_count() > 0 {
        let nulls = (0..array.len()).filter(|&row| array.is_null(row)).collect::<Vec<_>>();
        return Err(refused("null keys", batch, column, &nulls)
            .hint("a lookup key must not be null; leave such rows out with WHERE ... IS NOT NULL"));
    }
    let mut cells = Cells::default();
    let rows = 0..array.len();
    let out_of_range = match array.data_type() {
        DataType::Utf8 => return strings(BinaryArray::from(array.as_string::<i32>().clone()), batch, column),
        DataType::Boolean => cells.booleans(array.as_boolean(), rows),
        DataType::Date32 => cells.dates(array.as_primitive::<Date32Type>(), rows, ""),
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

/// Checks that every row of a batch has a key that can be written, without writing the keys that always
/// can.
///
/// # Errors
/// As [`encoded_keys`].
pub fn check_keys(batch: &RecordBatch, column: &str) -> Result<()> {
    let array = plain_column(batch, column)?;
    let has_one_form = array.data_type().is_integer() || *array.data_type() == DataType::Boolean;
    if has_one_form && array.logical_null_count() == 0 {
        return Ok(());
    }
    encoded_keys(batch, column).map(drop)
}

fn integers<T>(array: &dyn Array, cells: &mut Cells) -> Vec<usize>
where
    T: ArrowPrimitiveType,
    T::Native: Serialize,
{
    cells.numbers(array.as_primitive::<T>(), 0..array.len(), |_| true)
}

/// Strings are keys as they are, if their lengths allow it.
fn strings(keys: BinaryArray, batch: &RecordBatch, column: &str) -> Result<BinaryArray> {
    let longer: Vec<usize> = (0..keys.len()).filter(|&row| keys.value(row).len() > MAX_KEY_BYTES).collect();
    if let Some(&first) = longer.first() {
        return Err(refused(&format!("keys over {MAX_KEY_BYTES} bytes"), batch, column, &longer)
            .with("key", shortened(keys.value(first)))
            .hint("use a shorter key, for example a hash of it"));
    }
    let empty: Vec<usize> = (0..keys.len()).filter(|&row| keys.value(row).is_empty()).collect();
    if !empty.is_empty() {
        return Err(refused("empty keys", batch, column, &empty).hint("a lookup key must not be the empty string"));
    }
    Ok(keys)
}

fn refused(what: &str, batch: &RecordBatch, column: &str, rows: &[usize]) -> Error {
    let first = rows.first().copied().unwrap_or_default();
    Error::check(format!("{what}: {} of {} rows", rows.len(), batch.num_rows()))
        .with("column", column)
        .with("example", example(batch, first))
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
