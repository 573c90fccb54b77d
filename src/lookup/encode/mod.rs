//! How keys and values are written, the same in every store and for every language that reads them.
//!
//! **Key**: the column's value as text, in UTF-8. Integers are decimal (`-7`, `4711`), booleans `true`
//! and `false`, dates ISO 8601 (`2018-06-20`), strings are themselves. A key has 1 to 511 bytes. Null
//! keys, empty strings and longer keys are refused, and so are floats (`1`, `1.0` and `1e0` would be
//! three keys). Generations are ordered by the bytes of the key, not by the column's value.
//!
//! A key of several columns is the texts of all of them, joined by `|`; inside a text, `\` is written
//! `\\` and `|` is written `\|`, so that no two keys are the same bytes: the columns `a|b` and `7` are
//! `a\|b|7`. There a text may be empty. A key of one column is never escaped.
//!
//! **Value**: one compact JSON object with the value columns in the order of the job file:
//! `{"score":0.25,"prediction":0}`. Null is `null`; a float is the shortest number that reads back as
//! the same float (so `0.1`, `1.0`, `1e+300`); NaN and infinities, which JSON lacks, are refused; a
//! decimal is a number with all its digits; dates are `"2018-06-20"`; instants are RFC 3339 in UTC,
//! `"2018-06-20T06:00:00Z"`, with 3, 6 or 9 decimals where there are any (a time without a zone is UTC).

mod cells;
pub mod key;
pub mod value;

pub use cells::Cells;

use crate::error::{Error, Result, did_you_mean};
use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Checks that rows of `schema` can be looked up: that `key` can be a key and `values` can be values.
///
/// # Errors
/// A usage error for a column that is missing or of a type that has no one way to be written.
pub fn check_columns(schema: &Schema, key: &[String], values: &[String]) -> Result<()> {
    key::KeyColumns::new(key, key::MAX_KEY_BYTES).check_schema(schema)?;
    value::ValueEncoder::new(schema, values).map(drop)
}

/// The field of a column that the job's `[lookup]` names.
fn field<'a>(schema: &'a Schema, name: &str) -> Result<&'a Field> {
    schema.field_with_name(name).map_err(|_| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let hint = match did_you_mean(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the columns are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        Error::usage("no such column to look up").with("column", name).hint(hint)
    })
}

/// The column `name` in the plainest type that holds the same values: dictionaries and views are
/// unpacked, so that each kind of value has one way to be written.
fn plain_column(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let index = batch
        .schema_ref()
        .index_of(name)
        .map_err(|source| Error::failed("a batch lacks a column").with("column", name).because(source))?;
    let column = batch.column(index);
    let plain = plain_type(column.data_type());
    if plain == *column.data_type() {
        return Ok(column.clone());
    }
    cast(column, &plain)
        .map_err(|source| Error::failed("a column cannot be unpacked").with("column", name).because(source))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        other => other.clone(),
    }
}

/// A row as an example in a message: its first columns, shortened.
fn example(batch: &RecordBatch, row: usize) -> String {
    let schema = batch.schema();
    let options = FormatOptions::default().with_null("null").with_display_error(true);
    let shown = schema.fields().iter().zip(batch.columns()).take(4).map(|(field, column)| {
        let value = ArrayFormatter::try_new(column, &options)
            .map_or_else(|_| "?".to_owned(), |formatter| shortened(formatter.value(row).to_string().as_bytes()));
        format!("{}: {value}", field.name())
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

/// Bytes as text for a message, at most 40 characters of them.
pub(super) fn shortened(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], bytes.len()),
        None => text.into_owned(),
    }
}
