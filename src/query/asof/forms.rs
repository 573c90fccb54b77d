//! In which form times and keys of the two sides are compared.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::ScalarValue;

/// Seconds a day.
const DAY: i64 = 86_400;

/// How finely times are counted: ticks a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unit(i64);

impl Unit {
    /// What both query engines count in.
    pub(super) const MICROSECOND: Self = Self(1_000_000);

    /// The unit of a column of times, or `None` where the column has no times. A date is its midnight in UTC.
    pub(super) fn of(kind: &DataType) -> Option<Self> {
        Some(Self(match kind {
            DataType::Date32 | DataType::Timestamp(TimeUnit::Second, _) => 1,
            DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000,
            DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000_000,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => 1_000_000_000,
            _ => return None,
        }))
    }

    /// A span of whole seconds in ticks.
    pub(super) fn span(self, secs: i64) -> i64 {
        secs.saturating_mul(self.0)
    }

    /// The times of a column in ticks since 1970; those beyond all ticks become the first or the last tick.
    ///
    /// # Errors
    /// Where the column has no times, or finer ones.
    pub(super) fn ticks(self, column: &ArrayRef) -> Result<Int64Array> {
        let kind = column.data_type();
        let own = Self::of(kind).filter(|own| *own <= self);
        let own = own.ok_or_else(|| Error::failed("a column of times is not of the type that was planned"))?;
        let numbers = match kind {
            // Days have no direct way to 64 bits.
            DataType::Date32 => cast(column, &DataType::Int32).and_then(|days| cast(&days, &DataType::Int64)),
            _ => cast(column, &DataType::Int64),
        };
        let numbers = numbers.map_err(|source| Error::failed("times cannot be read").because(source))?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let factor = if *kind == DataType::Date32 { self.0 * DAY } else { self.0 / own.0 };
        Ok(if factor == 1 { numbers.clone() } else { numbers.unary(|number| number.saturating_mul(factor)) })
    }

    /// The last value of a column of type `kind` at or before a tick.
    pub(super) fn at_or_before(self, tick: i64, kind: &DataType) -> Option<ScalarValue> {
        let own = Self::of(kind)?;
        let value = tick.div_euclid(self.0 / own.0);
        Some(match kind {
            DataType::Date32 => ScalarValue::Date32(i32::try_from(value.div_euclid(DAY)).ok()),
            DataType::Date64 => ScalarValue::Date64(Some(value)),
            DataType::Timestamp(TimeUnit::Second, zone) => ScalarValue::TimestampSecond(Some(value), zone.clone()),
            DataType::Timestamp(TimeUnit::Millisecond, zone) => {
                ScalarValue::TimestampMillisecond(Some(value), zone.clone())
            }
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                ScalarValue::TimestampMicrosecond(Some(value), zone.clone())
            }
            DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
                ScalarValue::TimestampNanosecond(Some(value), zone.clone())
            }
            _ => return None,
        })
    }
}

/// In which form keys are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// One whole number.
    Number,
    /// The bytes of arrow's row format, after a cast of each column to the type given here.
    Bytes(Vec<DataType>),
}

impl KeyForm {
    /// The form for pairs of columns of these types, or the first pair whose values can't be equal.
    pub(super) fn of(pairs: &[(DataType, DataType)]) -> Result<Self, usize> {
        if let [(left, right)] = pairs
            && is_number(plain(left))
            && is_number(plain(right))
        {
            return Ok(Self::Number);
        }
        let common = |(index, (left, right)): (usize, &(DataType, DataType))| common_type(left, right).ok_or(index);
        pairs.iter().enumerate().map(common).collect::<Result<_, _>>().map(Self::Bytes)
    }
}

fn plain(mut kind: &DataType) -> &DataType {
    while let DataType::Dictionary(_, values) = kind {
        kind = values;
    }
    kind
}

/// Whether every value of the type is an `i64`.
fn is_number(kind: &DataType) -> bool {
    kind.is_integer() && *kind != DataType::UInt64
}

/// The type in which keys of two types are compared as SQL compares them, or `None` where they can't be equal; whole
/// numbers stay numbers.
pub(in crate::query) fn shared_type(left: &DataType, right: &DataType) -> Option<DataType> {
    if left == right && left == plain(left) && !left.is_floating() && !left.is_nested() {
        return Some(left.clone());
    }
    if is_number(plain(left)) && is_number(plain(right)) {
        return Some(DataType::Int64);
    }
    common_type(left, right)
}

fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    let (left, right) = (plain(left), plain(right));
    if left.is_integer() && right.is_integer() {
        return Some(if left == right { left.clone() } else { DataType::Decimal128(20, 0) });
    }
    if left.is_string() && right.is_string() {
        return Some(DataType::Utf8View);
    }
    // Floats: two that print alike need not be equal, and NaN is no key.
    (left == right && !left.is_floating() && !left.is_nested()).then(|| left.clone())
}

/// Columns of keys as columns of the types of a form.
///
/// # Errors
/// Where a value does not fit.
pub(super) fn converted(columns: &[ArrayRef], kinds: &[DataType]) -> Result<Vec<ArrayRef>> {
    let converted = columns.iter().zip(kinds).map(|(column, kind)| cast(column, kind));
    converted.collect::<Result<_, _>>().map_err(|source| Error::failed("keys cannot be compared").because(source))
}

/// A column of whole numbers in 64 bits.
///
/// # Errors
/// None in practice: the type was looked at when the join was planned.
pub(super) fn numbers(column: &ArrayRef) -> Result<Int64Array> {
    let wide = cast(column, &DataType::Int64);
    let wide = wide.map_err(|source| Error::failed("keys cannot be compared").because(source))?;
    Ok(wide.as_primitive::<Int64Type>().clone())
}

/// Which rows have a value in all columns; `None` where all rows do.
pub(super) fn complete(columns: &[ArrayRef]) -> Option<arrow::buffer::NullBuffer> {
    columns
        .iter()
        .fold(None, |nulls, column| arrow::buffer::NullBuffer::union(nulls.as_ref(), column.logical_nulls().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, TimestampMicrosecondArray, TimestampSecondArray, UInt64Array};
    use std::sync::Arc;

    #[test]
    fn times_of_all_types_count_in_one_unit() {
        let unit = Unit::of(&DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(1), None, Some(-1)]));
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![3, i64::MAX, i64::MIN]).with_timezone("UTC"));
        let micros: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![5]));
        assert_eq!(
            unit.ticks(&days).unwrap(),
            Int64Array::from(vec![Some(86_400_000_000), None, Some(-86_400_000_000)])
        );
        assert_eq!(unit.ticks(&seconds).unwrap(), Int64Array::from(vec![3_000_000, i64::MAX, i64::MIN]));
        assert_eq!(unit.ticks(&micros).unwrap(), Int64Array::from(vec![5]));
        assert!(Unit::of(&DataType::Int64).is_none());
    }

    #[test]
    fn bounds_are_the_last_value_that_is_not_later() {
        let unit = Unit::of(&DataType::Timestamp(TimeUnit::Nanosecond, None)).unwrap();
        let micro = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (tick, micros) in [(1_999, 1), (2_000, 2), (-1, -1), (-1_001, -2)] {
            let expected = ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()));
            assert_eq!(unit.at_or_before(tick, &micro), Some(expected));
        }
        assert_eq!(unit.at_or_before(-1, &DataType::Date32), Some(ScalarValue::Date32(Some(-1))));
        assert_eq!(unit.at_or_before(0, &DataType::Date32), Some(ScalarValue::Date32(Some(0))));
    }

    #[test]
    fn keys_meet_in_a_type_that_holds_both() {
        let bytes = |kinds: &[DataType]| Ok(KeyForm::Bytes(kinds.to_vec()));
        let form = |left, right| KeyForm::of(&[(left, right)]);
        assert_eq!(form(DataType::Int32, DataType::UInt32), Ok(KeyForm::Number));
        assert_eq!(form(DataType::Int64, DataType::UInt64), bytes(&[DataType::Decimal128(20, 0)]));
        assert_eq!(form(DataType::Utf8, DataType::Utf8View), bytes(&[DataType::Utf8View]));
        assert_eq!(form(DataType::Float64, DataType::Float64), Err(0));
        assert_eq!(form(DataType::Utf8, DataType::Int64), Err(0));
        let two = KeyForm::of(&[(DataType::Int64, DataType::Int64), (DataType::Boolean, DataType::Int64)]);
        assert_eq!(two, Err(1));
        let huge: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert!(converted(&[huge], &[DataType::Decimal128(20, 0)]).unwrap()[0].is_valid(0));
    }
}
