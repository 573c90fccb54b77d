//! Splits: which rows train a model and which test it.

use super::arrays::{column, integers, is_text, texts};
use super::times::EventTimes;
use crate::error::{Error, Result, ResultExt};
use crate::interval::Interval;
use arrow::array::{Array, AsArray, BinaryArray, BinaryViewArray, FixedSizeBinaryArray, LargeBinaryArray};
use arrow::datatypes::{DataType, Date32Type, TimeUnit};
use arrow::record_batch::RecordBatch;
use rayon::prelude::*;

/// Rows numbered through all batches, ascending; no row is in both sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// The rows to fit on.
    pub train: Vec<usize>,
    /// The rows to measure on.
    pub test: Vec<usize>,
    /// How many rows lie in neither window; always 0 for other splits.
    pub outside: u64,
    /// How many rows have no event time; always 0 for other splits.
    pub undated: u64,
}

impl Split {
    /// By event time: half-open windows, the test window after the training window (a gap is fine).
    ///
    /// # Errors
    /// A usage error where the windows overlap or the test window comes first: a model must not be
    /// measured on what it may have seen.
    pub fn by_time(times: &EventTimes, train: Interval, test: Interval) -> Result<Self> {
        if test.start() < train.end() {
            return Err(Error::usage("the test window must begin at or after the end of the training window")
                .with("train", train)
                .with("test", test));
        }
        let window = |interval: Interval| interval.start().timestamp_micros()..interval.end().timestamp_micros();
        let (train, test) = (window(train), window(test));
        let mut split = Self::default();
        for row in 0..times.len() {
            match times.micros(row) {
                None => split.undated += 1,
                Some(micros) if train.contains(&micros) => split.train.push(row),
                Some(micros) if test.contains(&micros) => split.test.push(row),
                Some(_) => split.outside += 1,
            }
        }
        Ok(split)
    }

    /// By a hash of the key: a share `test` of the *keys*, whatever else is in the data.
    ///
    /// A key's side depends on its values and the seed alone: not on other rows, their order, their
    /// number, the batches, or whether an integer is stored in 32 or 64 bits or a string as a view. All
    /// rows of a key are on one side.
    ///
    /// # Errors
    /// A usage error where `test` is not between 0 and 1 or no key is given; a check error for a key of a
    /// type that has no exact value (floats, decimals, nested types).
    pub fn by_hash(batches: &[RecordBatch], key: &[&str], test: f64, seed: u64) -> Result<Self> {
        if !(test > 0.0 && test < 1.0) {
            return Err(Error::usage(format!("the share of test rows must be between 0 and 1, got {test}")));
        }
        if key.is_empty() {
            return Err(Error::usage("a split by hash needs a key").hint("name the key's columns in the job file"));
        }
        let bound = hash_bound(test);
        let hashes: Vec<Result<Vec<u64>>> = batches.par_iter().map(|batch| key_hashes(batch, key, seed)).collect();
        let mut split = Self::default();
        let mut row = 0;
        for hashes in hashes {
            for hash in hashes? {
                if hash < bound {
                    split.test.push(row)
                } else {
                    split.train.push(row)
                }
                row += 1;
            }
        }
        Ok(split)
    }

    /// Trains on all folds but one; `folds` has the fold of each row (see [`crate::features::folds()`]).
    pub fn of_fold(folds: &[usize], fold: usize) -> Self {
        let (test, train) = (0..folds.len()).partition(|row| folds[*row] == fold);
        Self { train, test, ..Self::default() }
    }
}

/// A hash of each row's key: of its values and the seed alone, the same for all rows of a key and evenly spread.
///
/// # Errors
/// As [`Split::by_hash`] for keys.
pub fn key_hashes(batch: &RecordBatch, key: &[&str], seed: u64) -> Result<Vec<u64>> {
    let parts = key.iter().map(|name| key_part(column(batch, name)?).at("column", name)).collect::<Result<Vec<_>>>()?;
    let mut bytes = Vec::new();
    let hashes = (0..batch.num_rows()).map(|row| {
        bytes.clear();
        bytes.extend_from_slice(&seed.to_le_bytes());
        for part in &parts {
            part(row, &mut bytes);
        }
        // The first eight bytes as a number.
        blake3::hash(&bytes).as_bytes().first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
    });
    Ok(hashes.collect())
}

/// Below which hash a share of the keys lies; the product is exact to 53 bits.
pub fn hash_bound(share: f64) -> u64 {
    (share * 2f64.powi(64)) as u64
}

/// Appends a row's value, so that no two different keys give the same bytes: a type tag, then a fixed
/// width, or a length and as many bytes.
type KeyPart<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

fn key_part(array: &dyn Array) -> Result<KeyPart<'_>> {
    let value = key_value(array)?;
    Ok(Box::new(move |row, to| if array.is_valid(row) { value(row, to) } else { to.push(b'n') }))
}

fn key_value(array: &dyn Array) -> Result<KeyPart<'_>> {
    if let Some(integer) = integers(array) {
        return Ok(Box::new(move |row, to| tagged(to, b'i', &integer(row).to_le_bytes())));
    }
    if is_text(array.data_type()) {
        let text = texts(array).ok_or_else(|| Error::check("not text"))?;
        // A valid key of a dictionary may still point at a null.
        return Ok(Box::new(move |row, to| match text(row) {
            Some(text) => sized(to, b's', text.as_bytes()),
            None => to.push(b'n'),
        }));
    }
    if let Some(values) = array.as_boolean_opt() {
        return Ok(Box::new(move |row, to| tagged(to, b'b', &[u8::from(values.value(row))])));
    }
    let of = array.data_type().clone();
    binary(array).or_else(|| instant(array)).ok_or_else(|| {
        Error::check(format!("a key can't be {of} in a split by hash"))
            .hint("cast it in SQL to a type with exact values, e.g. CAST(key AS BIGINT) or CAST(key AS VARCHAR)")
    })
}

fn binary(array: &dyn Array) -> Option<KeyPart<'_>> {
    let any = array.as_any();
    if let Some(values) = any.downcast_ref::<BinaryArray>() {
        return Some(Box::new(|row, to| sized(to, b'x', values.value(row))));
    }
    if let Some(values) = any.downcast_ref::<LargeBinaryArray>() {
        return Some(Box::new(|row, to| sized(to, b'x', values.value(row))));
    }
    if let Some(values) = any.downcast_ref::<BinaryViewArray>() {
        return Some(Box::new(|row, to| sized(to, b'x', values.value(row))));
    }
    let values = any.downcast_ref::<FixedSizeBinaryArray>()?;
    Some(Box::new(|row, to| sized(to, b'x', values.value(row))))
}

/// Dates and timestamps as nanoseconds in 128 bits, the same instant in every unit.
fn instant(array: &dyn Array) -> Option<KeyPart<'_>> {
    use arrow::datatypes::{
        TimestampMicrosecondType as Micro, TimestampMillisecondType as Milli, TimestampNanosecondType as Nano,
        TimestampSecondType as Second,
    };
    const DAY: i128 = 86_400_000_000_000;
    let put = |to: &mut Vec<u8>, nanos: i128| tagged(to, b't', &nanos.to_le_bytes());
    if array.data_type() == &DataType::Date32 {
        let days = array.as_primitive::<Date32Type>().values();
        return Some(Box::new(move |row, to| put(to, i128::from(days[row]) * DAY)));
    }
    let DataType::Timestamp(unit, _) = array.data_type() else { return None };
    let (values, nanos) = match unit {
        TimeUnit::Second => (array.as_primitive::<Second>().values(), 1_000_000_000),
        TimeUnit::Millisecond => (array.as_primitive::<Milli>().values(), 1_000_000),
        TimeUnit::Microsecond => (array.as_primitive::<Micro>().values(), 1_000),
        TimeUnit::Nanosecond => (array.as_primitive::<Nano>().values(), 1),
    };
    Some(Box::new(move |row, to| put(to, i128::from(values[row]) * nanos)))
}

fn tagged(to: &mut Vec<u8>, tag: u8, value: &[u8]) {
    to.push(tag);
    to.extend_from_slice(value);
}

fn sized(to: &mut Vec<u8>, tag: u8, value: &[u8]) {
    to.push(tag);
    to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    to.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::sync::Arc;

    #[test]
    fn neighbouring_strings_do_not_run_together() {
        let bytes = |left: &str, right: &str| {
            let arrays: [ArrayRef; 2] = [left, right].map(|text| Arc::new(StringArray::from(vec![text])) as ArrayRef);
            let mut bytes = Vec::new();
            for array in &arrays {
                key_part(array.as_ref()).unwrap()(0, &mut bytes);
            }
            bytes
        };
        assert_ne!(bytes("ab", "c"), bytes("a", "bc"));
        assert_ne!(bytes("a", "s"), bytes("as", ""));
    }
}
