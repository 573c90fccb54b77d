//! Reading Arrow columns: each is downcast once, then read as numbers, whole numbers or text.
//!
//! Text is handed over as *codes*: a string is looked up once where it stands, a dictionary's value
//! once per array, however many rows point at it. That is the difference between hashing a carrier's
//! name 600,000 times and 14 times.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayAccessor, ArrowPrimitiveType, AsArray, DictionaryArray, downcast_dictionary_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type, i256,
};
use arrow::record_batch::RecordBatch;
use std::fmt::Display;

/// Whole numbers below are exact in an `f64`, and so are powers of ten up to this one.
const EXACT: f64 = (1_u64 << 53) as f64;
const EXACT_POWERS: u8 = 22;

/// Whether values of this type are strings, stored plainly, as views or through a dictionary.
pub(super) fn is_text(of: &DataType) -> bool {
    match of {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => {
            matches!(values.as_ref(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => false,
    }
}

/// Whether values of this type are integers, floats or decimals.
pub(super) fn is_number(of: &DataType) -> bool {
    of.is_integer() || of.is_floating() || of.is_decimal()
}

/// The column `name` of `batch`, where it is there.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    let schema = batch.schema_ref();
    if let Some(place) = schema.fields().iter().position(|field| field.name() == name) {
        return Ok(batch.column(place).as_ref());
    }
    let known = schema.fields().iter().map(|field| field.name().as_str());
    let error = Error::usage("the SQL's output has no such column").with("column", name);
    Err(match crate::error::did_you_mean(name, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("add it to the SELECT"),
    })
}

/// Writes a numeric or boolean column as `f64`: null becomes NaN, false and true become 0 and 1.
///
/// Integers beyond 2^53 and decimals become the nearest `f64`. `to` has the length of `array`.
pub(super) fn numbers_into(array: &dyn Array, to: &mut [f64]) -> Result<()> {
    match array.data_type() {
        DataType::Float64 => to.copy_from_slice(array.as_primitive::<Float64Type>().values()),
        DataType::Float32 => convert::<Float32Type>(array, to, f64::from),
        DataType::Float16 => convert::<Float16Type>(array, to, |value| value.to_f64()),
        DataType::Int8 => convert::<Int8Type>(array, to, f64::from),
        DataType::Int16 => convert::<Int16Type>(array, to, f64::from),
        DataType::Int32 => convert::<Int32Type>(array, to, f64::from),
        DataType::Int64 => convert::<Int64Type>(array, to, |value| value as f64),
        DataType::UInt8 => convert::<UInt8Type>(array, to, f64::from),
        DataType::UInt16 => convert::<UInt16Type>(array, to, f64::from),
        DataType::UInt32 => convert::<UInt32Type>(array, to, f64::from),
        DataType::UInt64 => convert::<UInt64Type>(array, to, |value| value as f64),
        DataType::Decimal32(_, scale) => scaled::<Decimal32Type>(array, to, *scale, f64::from),
        DataType::Decimal64(_, scale) => scaled::<Decimal64Type>(array, to, *scale, |value| value as f64),
        DataType::Decimal128(_, scale) => scaled::<Decimal128Type>(array, to, *scale, |value| value as f64),
        DataType::Decimal256(_, scale) => scaled::<Decimal256Type>(array, to, *scale, nearest),
        DataType::Boolean => {
            for (to, value) in to.iter_mut().zip(array.as_boolean().values()) {
                *to = f64::from(u8::from(value));
            }
        }
        other => return Err(Error::check(format!("not a number: {other}"))),
    }
    for_each_null(array.nulls(), |row| to[row] = f64::NAN);
    Ok(())
}

fn convert<T: ArrowPrimitiveType>(array: &dyn Array, to: &mut [f64], value: impl Fn(T::Native) -> f64) {
    for (to, from) in to.iter_mut().zip(array.as_primitive::<T>().values()) {
        *to = value(*from);
    }
}

fn scaled<T>(array: &dyn Array, to: &mut [f64], scale: i8, value: impl Fn(T::Native) -> f64)
where
    T: ArrowPrimitiveType,
    T::Native: Display,
{
    // Where both are exact, dividing by a power of ten rounds once; multiplying by its inverse would round twice.
    let power = 10f64.powi(i32::from(scale).abs());
    let exact = |number: f64| number.abs() < EXACT && scale.unsigned_abs() <= EXACT_POWERS;
    convert::<T>(array, to, |unscaled| match value(unscaled) {
        number if exact(number) && scale >= 0 => number / power,
        number if exact(number) => number * power,
        number => format!("{unscaled}e{}", -i32::from(scale)).parse().unwrap_or(number),
    });
}

/// The `f64` nearest to a 256-bit integer (to within one unit in the last place).
fn nearest(value: i256) -> f64 {
    let (low, high) = value.wrapping_abs().to_parts();
    let magnitude = (high as u128 as f64) * 2f64.powi(128) + low as f64;
    if value.is_negative() { -magnitude } else { magnitude }
}

fn for_each_null(nulls: Option<&NullBuffer>, mut each: impl FnMut(usize)) {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else { return };
    for (row, valid) in nulls.iter().enumerate() {
        if !valid {
            each(row);
        }
    }
}

/// Reads the whole number of a row.
pub(super) type IntegerReader<'a> = Box<dyn Fn(usize) -> i128 + 'a>;

/// A reader of an integer column of any width, or nothing for other types. Nulls are the caller's.
pub(super) fn integers(array: &dyn Array) -> Option<IntegerReader<'_>> {
    fn reader<T: ArrowPrimitiveType>(array: &dyn Array) -> IntegerReader<'_>
    where
        i128: From<T::Native>,
    {
        let values = array.as_primitive::<T>().values();
        Box::new(|row| i128::from(values[row]))
    }
    match array.data_type() {
        DataType::Int8 => Some(reader::<Int8Type>(array)),
        DataType::Int16 => Some(reader::<Int16Type>(array)),
        DataType::Int32 => Some(reader::<Int32Type>(array)),
        DataType::Int64 => Some(reader::<Int64Type>(array)),
        DataType::UInt8 => Some(reader::<UInt8Type>(array)),
        DataType::UInt16 => Some(reader::<UInt16Type>(array)),
        DataType::UInt32 => Some(reader::<UInt32Type>(array)),
        DataType::UInt64 => Some(reader::<UInt64Type>(array)),
        _ => None,
    }
}

/// Reads the text of a row.
pub(super) type TextReader<'a> = Box<dyn Fn(usize) -> Option<&'a str> + 'a>;

/// A reader of a text column's rows, `None` for null; or nothing for other types.
pub(super) fn texts(array: &dyn Array) -> Option<TextReader<'_>> {
    fn reader<'a, A: ArrayAccessor<Item = &'a str> + 'a>(array: A) -> TextReader<'a> {
        Box::new(move |row| array.is_valid(row).then(|| array.value(row)))
    }
    match array.data_type() {
        DataType::Utf8 => Some(reader(array.as_string::<i32>())),
        DataType::LargeUtf8 => Some(reader(array.as_string::<i64>())),
        DataType::Utf8View => Some(reader(array.as_string_view())),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary_opt()?;
            let value = texts(dictionary.values().as_ref())?;
            let keys = dictionary.keys();
            let key = integers(keys)?;
            Some(Box::new(move |row| keys.is_valid(row).then(|| value(key(row) as usize)).flatten()))
        }
        _ => None,
    }
}

/// Calls `each(row, code)` for every row of a text column: `code` is `resolve` of the row's string,
/// or `null`. A dictionary's value is resolved once, and only if a row points at it.
pub(super) fn text_codes(
    array: &dyn Array,
    null: u32,
    mut resolve: impl FnMut(&str) -> u32,
    mut each: impl FnMut(usize, u32),
) -> Result<()> {
    match array.data_type() {
        DataType::Utf8 => plain_codes(array.as_string::<i32>(), null, resolve, each),
        DataType::LargeUtf8 => plain_codes(array.as_string::<i64>(), null, resolve, each),
        DataType::Utf8View => plain_codes(array.as_string_view(), null, resolve, each),
        kind if is_text(kind) => {
            downcast_dictionary_array!(
                array => dictionary_codes(array, null, &mut resolve, &mut each)?,
                other => return Err(Error::check(format!("not text: {other}")))
            );
        }
        other => return Err(Error::check(format!("not text: {other}"))),
    }
    Ok(())
}

fn plain_codes<'a>(
    array: impl ArrayAccessor<Item = &'a str>,
    null: u32,
    mut resolve: impl FnMut(&str) -> u32,
    mut each: impl FnMut(usize, u32),
) {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => (0..array.len()).for_each(|row| each(row, resolve(array.value(row)))),
        Some(nulls) => {
            for (row, valid) in nulls.iter().enumerate() {
                each(row, if valid { resolve(array.value(row)) } else { null });
            }
        }
    }
}

fn dictionary_codes<K: ArrowDictionaryKeyType>(
    array: &DictionaryArray<K>,
    null: u32,
    resolve: &mut impl FnMut(&str) -> u32,
    each: &mut impl FnMut(usize, u32),
) -> Result<()> {
    let value = texts(array.values().as_ref()).ok_or_else(|| Error::check("a dictionary of something but text"))?;
    // Zero means not looked up yet, so that the memory comes zeroed from the system.
    let mut codes = vec![0u64; array.values().len()];
    let keys = array.keys();
    let valid = keys.nulls().filter(|nulls| nulls.null_count() > 0);
    for (row, key) in keys.values().iter().enumerate() {
        // The key under a null is arbitrary and may point nowhere.
        if valid.is_some_and(|valid| valid.is_null(row)) {
            each(row, null);
            continue;
        }
        let code = &mut codes[key.as_usize()];
        if *code == 0 {
            *code = u64::from(value(key.as_usize()).map_or(null, &mut *resolve)) + 1;
        }
        each(row, (*code - 1) as u32);
    }
    Ok(())
}

/// Which rows of the concatenated batches are selected: all, or those of `rows`, which is read as a
/// set (order doesn't matter, a row that stands twice counts once).
pub(super) fn selected(batches: &[RecordBatch], rows: Option<&[usize]>) -> Result<Vec<bool>> {
    let all = batches.iter().map(RecordBatch::num_rows).sum();
    let Some(rows) = rows else { return Ok(vec![true; all]) };
    let mut selected = vec![false; all];
    for row in rows {
        match selected.get_mut(*row) {
            Some(chosen) => *chosen = true,
            None => return Err(Error::failed(format!("row {row} was selected, but there are {all} rows"))),
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Decimal128Array, Decimal256Array, StringViewArray, UInt64Array};
    use arrow::datatypes::Int8Type;
    use std::sync::Arc;

    fn numbers(array: &dyn Array) -> Vec<f64> {
        let mut to = vec![0.0; array.len()];
        numbers_into(array, &mut to).unwrap();
        to
    }

    #[test]
    fn decimals_are_the_nearest_double() {
        let narrow = Decimal128Array::from(vec![Some(3), Some(-12_345), None]).with_precision_and_scale(10, 1).unwrap();
        let got = numbers(&narrow);
        assert_eq!(got[..2], [0.3, -1234.5]);
        assert!(got[2].is_nan());
        let wide = [i256::from_i128(-1), i256::from_i128(i128::MAX), i256::from_parts(0, 1)];
        let wide = Decimal256Array::from(wide.to_vec()).with_precision_and_scale(76, 0).unwrap();
        assert_eq!(numbers(&wide), [-1.0, 2f64.powi(127), 2f64.powi(128)]);
    }

    #[test]
    fn decimals_are_rounded_once() {
        for (text, scale) in [
            ("644461693100611747", 1_i8),
            ("110612570161021470", 7),
            ("934298973468971824", 18),
            ("685358135352308825", 30),
            ("-653664006642380631", -3),
            ("249", -30),
        ] {
            let array = Decimal128Array::from(vec![text.parse::<i128>().unwrap()]).with_precision_and_scale(38, scale);
            let wanted: f64 = format!("{text}e{}", -i32::from(scale)).parse().unwrap();
            assert_eq!(numbers(&array.unwrap()), [wanted], "{text}, {scale}");
        }
    }

    #[test]
    fn integers_beyond_the_mantissa_are_rounded() {
        let array = UInt64Array::from(vec![u64::MAX, (1 << 53) + 1]);
        assert_eq!(numbers(&array), [2f64.powi(64), 2f64.powi(53)]);
    }

    #[test]
    fn dictionary_values_are_resolved_once_and_only_when_used() {
        let values: ArrayRef = Arc::new(StringViewArray::from(vec![Some("used"), Some("unused"), None]));
        let keys = arrow::array::Int8Array::from(vec![Some(0), Some(2), None, Some(0)]);
        let array = DictionaryArray::<Int8Type>::new(keys, values);
        let (mut asked, mut codes) = (Vec::new(), Vec::new());
        let resolve = |text: &str| {
            asked.push(text.to_owned());
            7
        };
        text_codes(&array, 9, resolve, |row, code| codes.push((row, code))).unwrap();
        assert_eq!(asked, ["used"]);
        assert_eq!(codes, [(0, 7), (1, 9), (2, 9), (3, 7)]);
    }
}
