//! Values as integers of the same order, and back: floats in their total order (as DataFusion compares
//! them: -0 before 0, NaN after all), unsigned integers shifted, times as they count.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use std::sync::Arc;

/// A value that has a key; the key's order is the value's.
pub(super) trait Keyed: ArrowPrimitiveType {
    /// The key of a value.
    fn key(value: Self::Native) -> i64;

    /// The value of a key.
    fn value(key: i64) -> Self::Native;
}

macro_rules! counted {
    ($($kind:ty),*) => {$(
        impl Keyed for $kind {
            #[inline]
            fn key(value: Self::Native) -> i64 {
                i64::from(value)
            }

            #[inline]
            #[allow(clippy::cast_possible_truncation, clippy::unnecessary_cast)]
            fn value(key: i64) -> Self::Native {
                // Only ever a key of this very type.
                key as Self::Native
            }
        }
    )*};
}

counted!(Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type);
counted!(Date32Type, Date64Type, Time32SecondType, Time32MillisecondType, Time64MicrosecondType, Time64NanosecondType);
counted!(TimestampSecondType, TimestampMillisecondType, TimestampMicrosecondType, TimestampNanosecondType);
counted!(DurationSecondType, DurationMillisecondType, DurationMicrosecondType, DurationNanosecondType);

impl Keyed for UInt64Type {
    #[inline]
    fn key(value: u64) -> i64 {
        (value ^ (1 << 63)).cast_signed()
    }

    #[inline]
    fn value(key: i64) -> u64 {
        key.cast_unsigned() ^ (1 << 63)
    }
}

impl Keyed for Float64Type {
    #[inline]
    fn key(value: f64) -> i64 {
        let bits = value.to_bits().cast_signed();
        bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
    }

    #[inline]
    fn value(key: i64) -> f64 {
        f64::from_bits((key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
    }
}

impl Keyed for Float32Type {
    #[inline]
    fn key(value: f32) -> i64 {
        let bits = value.to_bits().cast_signed();
        i64::from(bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed())
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)]
    fn value(key: i64) -> f32 {
        let key = key as i32;
        f32::from_bits((key ^ ((key >> 31).cast_unsigned() >> 1).cast_signed()).cast_unsigned())
    }
}

/// Calls `$call!(Type)` with the arrow type of a type that has keys; `$other` for others.
macro_rules! by_type {
    ($kind:expr, $call:ident, $other:expr) => {
        match $kind {
            DataType::Int8 => $call!(Int8Type),
            DataType::Int16 => $call!(Int16Type),
            DataType::Int32 => $call!(Int32Type),
            DataType::Int64 => $call!(Int64Type),
            DataType::UInt8 => $call!(UInt8Type),
            DataType::UInt16 => $call!(UInt16Type),
            DataType::UInt32 => $call!(UInt32Type),
            DataType::UInt64 => $call!(UInt64Type),
            DataType::Float32 => $call!(Float32Type),
            DataType::Float64 => $call!(Float64Type),
            DataType::Date32 => $call!(Date32Type),
            DataType::Date64 => $call!(Date64Type),
            DataType::Time32(TimeUnit::Second) => $call!(Time32SecondType),
            DataType::Time32(TimeUnit::Millisecond) => $call!(Time32MillisecondType),
            DataType::Time64(TimeUnit::Microsecond) => $call!(Time64MicrosecondType),
            DataType::Time64(TimeUnit::Nanosecond) => $call!(Time64NanosecondType),
            DataType::Timestamp(TimeUnit::Second, _) => $call!(TimestampSecondType),
            DataType::Timestamp(TimeUnit::Millisecond, _) => $call!(TimestampMillisecondType),
            DataType::Timestamp(TimeUnit::Microsecond, _) => $call!(TimestampMicrosecondType),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => $call!(TimestampNanosecondType),
            DataType::Duration(TimeUnit::Second) => $call!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => $call!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => $call!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => $call!(DurationNanosecondType),
            _ => $other,
        }
    };
}

/// Whether values of this type have keys.
pub(super) fn has_keys(kind: &DataType) -> bool {
    macro_rules! yes {
        ($kind:ty) => {
            true
        };
    }
    by_type!(kind, yes, false)
}

/// Appends the keys of `array`'s rows, `for_null` where there is no value. Nothing for a type without keys.
pub(super) fn append(array: &dyn Array, for_null: i64, keys: &mut Vec<i64>) {
    macro_rules! of {
        ($kind:ty) => {{
            let array = array.as_primitive::<$kind>();
            match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => keys.extend(array.values().iter().map(|value| <$kind>::key(*value))),
                Some(nulls) => keys.extend(
                    array
                        .values()
                        .iter()
                        .zip(nulls.iter())
                        .map(|(value, valid)| if valid { <$kind>::key(*value) } else { for_null }),
                ),
            }
        }};
    }
    by_type!(array.data_type(), of, ());
}

/// The values of keys as an array of type `kind`; `None` for a type without keys.
pub(super) fn array(kind: &DataType, keys: &[i64], nulls: Option<NullBuffer>) -> Option<ArrayRef> {
    macro_rules! of {
        ($kind:ty) => {{
            let values: ScalarBuffer<_> = keys.iter().map(|key| <$kind>::value(*key)).collect();
            Some(Arc::new(PrimitiveArray::<$kind>::new(values, nulls).with_data_type(kind.clone())) as ArrayRef)
        }};
    }
    by_type!(kind, of, None)
}

/// Decimals, whose keys are themselves: appends them, `for_null` where there is no value.
pub(super) fn append_decimals(array: &dyn Array, for_null: i128, keys: &mut Vec<i128>) {
    let array = array.as_primitive::<Decimal128Type>();
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => keys.extend_from_slice(array.values()),
        Some(_) => keys.extend(array.iter().map(|value| value.unwrap_or(for_null))),
    }
}

/// Decimals of type `kind`.
pub(super) fn decimals(kind: &DataType, values: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(PrimitiveArray::<Decimal128Type>::new(values.into(), nulls).with_data_type(kind.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_their_values() {
        let floats =
            [-f64::NAN, f64::NEG_INFINITY, -1e300, -1.0, -0.0, 0.0, f64::MIN_POSITIVE, 1.0, f64::INFINITY, f64::NAN];
        let keys: Vec<i64> = floats.iter().map(|value| Float64Type::key(*value)).collect();
        assert!(keys.is_sorted() && keys.windows(2).all(|pair| pair[0] < pair[1]), "{keys:?}");
        for (value, key) in floats.iter().zip(&keys) {
            assert_eq!(value.to_bits(), Float64Type::value(*key).to_bits());
            let small = *value as f32;
            assert_eq!(small.to_bits(), Float32Type::value(Float32Type::key(small)).to_bits());
        }
        assert!(Float32Type::key(-1.0) < Float32Type::key(-0.0) && Float32Type::key(2.0) < Float32Type::key(f32::NAN));
        assert!(UInt64Type::key(0) < UInt64Type::key(1) && UInt64Type::key(1) < UInt64Type::key(u64::MAX));
        assert_eq!(UInt64Type::value(UInt64Type::key(u64::MAX)), u64::MAX);
    }
}
