//! Values as compact JSON objects, column by column.

use super::{Cells, field, plain_column, plain_type};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Float32Type,
    Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// Writes rows as JSON objects; its buffers are used again for every batch.
pub struct ValueEncoder {
    members: Vec<Member>,
    objects: Cells,
}

/// One member of the object.
struct Member {
    column: String,
    /// What stands before its value: `{"score":` for the first, `,"prediction":` for the others.
    opening: Vec<u8>,
    cells: Cells,
}

impl ValueEncoder {
    /// An encoder of the columns `names` of `schema`, in this order.
    ///
    /// # Errors
    /// A usage error where there are none, or one is named twice, is missing or has a type that has no
    /// JSON form.
    pub fn new(schema: &Schema, names: &[String]) -> Result<Self> {
        if names.is_empty() {
            return Err(Error::usage("a lookup table needs at least one value column"));
        }
        let mut seen = BTreeSet::new();
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            if !seen.insert(name) {
                return Err(Error::usage("a value column is named twice").with("column", name));
            }
            let data_type = field(schema, name)?.data_type();
            if !is_writable(&plain_type(data_type)) {
                return Err(Error::usage("a column of this type cannot be a lookup value")
                    .with("column", name)
                    .with("type", data_type)
                    .hint("values are numbers, strings, booleans, dates or timestamps; cast the column in the SQL"));
            }
            let name_in_json = serde_json::to_vec(name)
                .map_err(|source| Error::failed("a column's name has no JSON form").because(source))?;
            let mut opening = vec![if members.is_empty() { b'{' } else { b',' }];
            opening.extend_from_slice(&name_in_json);
            opening.push(b':');
            members.push(Member { column: name.clone(), opening, cells: Cells::default() });
        }
        Ok(Self { members, objects: Cells::default() })
    }

    /// The objects of the given rows of a batch, in the order of `rows`; `keys` are all of the batch's
    /// keys, for messages. Valid until the next call.
    ///
    /// # Errors
    /// A data check where a value is NaN or infinite, or a date or instant is beyond the year 9999.
    pub fn encode(&mut self, batch: &RecordBatch, keys: &BinaryArray, rows: &[usize]) -> Result<&Cells> {
        for member in &mut self.members {
            member.cells.clear();
            let array = plain_column(batch, &member.column)?;
            let refused = write_column(&array, rows, &mut member.cells)?;
            if let Some(&first) = refused.first() {
                let (what, hint) = if array.data_type().is_floating() {
                    ("values that are NaN or infinite", "JSON has neither; write NULL or a number in the SQL")
                } else {
                    ("values that have no JSON form", "dates and timestamps lie in the years 0 to 9999")
                };
                return Err(Error::check(format!("{what}: {} of {} keys", refused.len(), rows.len()))
                    .with("column", &member.column)
                    .with("key", super::shortened(keys.value(first)))
                    .hint(hint));
            }
        }
        self.objects.clear();
        for row in 0..rows.len() {
            for member in &self.members {
                self.objects.bytes().extend_from_slice(&member.opening);
                self.objects.bytes().extend_from_slice(member.cells.get(row));
            }
            self.objects.bytes().push(b'}');
            self.objects.end();
        }
        Ok(&self.objects)
    }
}

fn is_writable(plain: &DataType) -> bool {
    plain.is_numeric()
        || matches!(
            plain,
            DataType::Null | DataType::Boolean | DataType::Utf8 | DataType::Date32 | DataType::Timestamp(_, _)
        )
}

/// Writes the cells of `rows`; gives the rows whose values have no JSON form.
fn write_column(array: &ArrayRef, rows: &[usize], cells: &mut Cells) -> Result<Vec<usize>> {
    let every = rows.iter().copied();
    Ok(match array.data_type() {
        DataType::Null => {
            for _ in rows {
                cells.bytes().extend_from_slice(b"null");
                cells.end();
            }
            Vec::new()
        }
        DataType::Boolean => cells.booleans(array.as_boolean(), every),
        DataType::Int8 => integers::<Int8Type>(array, rows, cells),
        DataType::Int16 => integers::<Int16Type>(array, rows, cells),
        DataType::Int32 => integers::<Int32Type>(array, rows, cells),
        DataType::Int64 => integers::<Int64Type>(array, rows, cells),
        DataType::UInt8 => integers::<UInt8Type>(array, rows, cells),
        DataType::UInt16 => integers::<UInt16Type>(array, rows, cells),
        DataType::UInt32 => integers::<UInt32Type>(array, rows, cells),
        DataType::UInt64 => integers::<UInt64Type>(array, rows, cells),
        DataType::Float32 => cells.numbers(array.as_primitive::<Float32Type>(), every, f32::is_finite),
        DataType::Float64 => cells.numbers(array.as_primitive::<Float64Type>(), every, f64::is_finite),
        DataType::Decimal32(_, _) => decimals::<Decimal32Type>(array, rows, cells),
        DataType::Decimal64(_, _) => decimals::<Decimal64Type>(array, rows, cells),
        DataType::Decimal128(_, _) => decimals::<Decimal128Type>(array, rows, cells),
        DataType::Decimal256(_, _) => decimals::<Decimal256Type>(array, rows, cells),
        DataType::Utf8 => {
            let strings = array.as_string::<i32>();
            cells.fill(strings, every, |row, out| serde_json::to_writer(out, strings.value(row)).is_ok())
        }
        DataType::Date32 => cells.dates(array.as_primitive::<Date32Type>(), every, "\""),
        DataType::Timestamp(TimeUnit::Second, _) => cells.instants(array.as_primitive::<TimestampSecondType>(), every),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            cells.instants(array.as_primitive::<TimestampMillisecondType>(), every)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            cells.instants(array.as_primitive::<TimestampMicrosecondType>(), every)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            cells.instants(array.as_primitive::<TimestampNanosecondType>(), every)
        }
        other => return Err(Error::failed("a value column changed its type").with("type", other)),
    })
}

fn integers<T>(array: &dyn Array, rows: &[usize], cells: &mut Cells) -> Vec<usize>
where
    T: ArrowPrimitiveType,
    T::Native: Serialize,
{
    cells.numbers(array.as_primitive::<T>(), rows.iter().copied(), |_| true)
}

fn decimals<T: DecimalType>(array: &dyn Array, rows: &[usize], cells: &mut Cells) -> Vec<usize> {
    let decimals = array.as_primitive::<T>();
    cells.fill(decimals, rows.iter().copied(), |row, out| {
        out.extend_from_slice(decimals.value_as_string(row).as_bytes());
        true
    })
}
