//! The types under which Polars holds columns.
//!
//! DataFusion decides the type of every column of a plan; Polars only holds the values. What it has no type for
//! is held as the number or text behind it and gets its own type back wherever DataFusion's kernels or the
//! reader of the result see it.

use arrow::array::{Array, ArrayRef, make_array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use arrow::error::ArrowError;
use polars::prelude as pl;
use std::sync::Arc;

/// The Arrow type under which Polars holds a column of type `given`; none where it cannot be held.
///
/// | given | held as |
/// |---|---|
/// | integers of 8 and 16 bits | `Int32`, `UInt32` |
/// | `Float16` | `Float32` |
/// | timestamps with a time zone | the same instant in UTC |
/// | timestamps and durations in seconds, times, `Date64` | the number behind them |
/// | dictionaries | their values |
/// | text and bytes | views |
pub(super) fn held(given: &DataType) -> Option<DataType> {
    Some(match given {
        DataType::Null => DataType::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Time32(_) => DataType::Int32,
        DataType::UInt8 | DataType::UInt16 => DataType::UInt32,
        DataType::Float16 => DataType::Float32,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::BinaryView,
        DataType::Timestamp(TimeUnit::Second, _) | DataType::Duration(TimeUnit::Second) => DataType::Int64,
        DataType::Date64 | DataType::Time64(_) => DataType::Int64,
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some(Arc::from("UTC"))),
        DataType::Dictionary(_, values) => held(values)?,
        DataType::Boolean | DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64 => given.clone(),
        DataType::Float32 | DataType::Float64 | DataType::Date32 => given.clone(),
        DataType::Timestamp(_, None) | DataType::Duration(_) => given.clone(),
        _ => return None,
    })
}

/// Polars' own name for the type that holds `given`.
pub(super) fn polars_type(given: &DataType) -> Option<pl::DataType> {
    let unit = |unit: &TimeUnit| match unit {
        TimeUnit::Millisecond => pl::TimeUnit::Milliseconds,
        TimeUnit::Nanosecond => pl::TimeUnit::Nanoseconds,
        _ => pl::TimeUnit::Microseconds,
    };
    Some(match held(given)? {
        DataType::Boolean => pl::DataType::Boolean,
        DataType::Int32 => pl::DataType::Int32,
        DataType::Int64 => pl::DataType::Int64,
        DataType::UInt32 => pl::DataType::UInt32,
        DataType::UInt64 => pl::DataType::UInt64,
        DataType::Float32 => pl::DataType::Float32,
        DataType::Float64 => pl::DataType::Float64,
        DataType::Utf8View => pl::DataType::String,
        DataType::BinaryView => pl::DataType::Binary,
        DataType::Date32 => pl::DataType::Date,
        DataType::Timestamp(of, zone) => pl::DataType::Datetime(unit(&of), zone.map(|_| pl::TimeZone::UTC)),
        DataType::Duration(of) => pl::DataType::Duration(unit(&of)),
        _ => return None,
    })
}

/// Whether a Parquet column of this type is read by Polars as the very values that DataFusion reads.
pub(super) fn reads_alike(given: &DataType) -> bool {
    match given {
        DataType::Timestamp(TimeUnit::Second, _) => false,
        DataType::Timestamp(_, zone) => zone.as_deref().is_none_or(|zone| zone == "UTC"),
        DataType::Duration(_) => false,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => true,
        _ => held(given).is_some_and(|held| held == *given),
    }
}

/// The same values in the type that holds them.
///
/// # Errors
/// Where there is none.
pub(super) fn into_held(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let given = array.data_type();
    let Some(wanted) = held(given) else {
        return Err(ArrowError::CastError(format!("polars cannot hold values of type {given}")));
    };
    match given {
        _ if *given == wanted => Ok(Arc::clone(array)),
        DataType::Null => Ok(new_null_array(&wanted, array.len())),
        DataType::Dictionary(_, values) => into_held(&cast(array, values)?),
        _ if is_time(given) => retyped(array, wanted),
        _ => cast(array, &wanted),
    }
}

/// Held values in the type that a plan gives them.
///
/// # Errors
/// Where the values were not held for that type.
pub(super) fn out_of_held(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    match wanted {
        _ if array.data_type() == wanted => Ok(Arc::clone(array)),
        DataType::Null => Ok(new_null_array(wanted, array.len())),
        DataType::Dictionary(_, values) => cast(&out_of_held(array, values)?, wanted),
        _ if is_time(wanted) && held(wanted).as_ref() == Some(array.data_type()) => retyped(array, wanted.clone()),
        _ => cast(array, wanted),
    }
}

fn is_time(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Timestamp(..) | DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) | DataType::Date64
    )
}

/// The same numbers under another type of the same width.
fn retyped(array: &ArrayRef, wanted: DataType) -> Result<ArrayRef, ArrowError> {
    array.to_data().into_builder().data_type(wanted).build().map(make_array)
}

/// A column's name as the user knows it: columns of a frame end in `#` and a number.
pub(super) fn shown(name: &str) -> &str {
    match name.rsplit_once('#') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int16Array, TimestampSecondArray};

    #[test]
    fn what_is_held_comes_back() {
        let arrays: [ArrayRef; 3] = [
            Arc::new(Int16Array::from(vec![Some(-3), None])),
            Arc::new(TimestampSecondArray::from(vec![Some(-7), None]).with_timezone("America/New_York")),
            new_null_array(&DataType::Null, 2),
        ];
        for array in arrays {
            let there = into_held(&array).unwrap();
            assert_eq!(Some(there.data_type().clone()), held(array.data_type()));
            assert_eq!(&out_of_held(&there, array.data_type()).unwrap(), &array);
        }
        assert!(held(&DataType::Decimal128(10, 2)).is_none());
    }

    #[test]
    fn names_lose_their_numbers() {
        assert_eq!(shown("amount#12"), "amount");
        assert_eq!(shown("a#b"), "a#b");
    }
}
