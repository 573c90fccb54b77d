//! The text of many cells in one buffer that is filled again for every batch.

use arrow::array::{Array, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow::datatypes::{ArrowTimestampType, Date32Type};
use arrow::temporal_conversions::{as_date, as_datetime};
use chrono::{Datelike, NaiveDateTime, SecondsFormat};
use serde::Serialize;
use std::io::Write;

/// Pieces of bytes, one after another.
#[derive(Debug, Default)]
pub struct Cells {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Cells {
    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The piece at `index`, which must be below [`Cells::len`].
    pub fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Forgets the pieces and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Ends a piece that was written to [`Cells::bytes`].
    pub(super) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Where the next piece is written.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<usize>) {
        (self.bytes, self.ends)
    }

    /// One piece a row: what `write` writes, or `null`. Gives the rows for which `write` says that
    /// the value cannot be written.
    pub(super) fn fill(
        &mut self,
        array: &dyn Array,
        rows: impl Iterator<Item = usize>,
        mut write: impl FnMut(usize, &mut Vec<u8>) -> bool,
    ) -> Vec<usize> {
        let mut refused = Vec::new();
        for row in rows {
            if array.is_null(row) {
                self.bytes.extend_from_slice(b"null");
            } else if !write(row, &mut self.bytes) {
                refused.push(row);
            }
            self.end();
        }
        refused
    }

    pub(super) fn booleans(&mut self, array: &BooleanArray, rows: impl Iterator<Item = usize>) -> Vec<usize> {
        self.fill(array, rows, |row, out| {
            out.extend_from_slice(if array.value(row) { b"true" } else { b"false" });
            true
        })
    }

    /// Numbers as JSON has them; for floats the caller refuses what is not finite.
    pub(super) fn numbers<T>(
        &mut self,
        array: &PrimitiveArray<T>,
        rows: impl Iterator<Item = usize>,
        writable: impl Fn(T::Native) -> bool,
    ) -> Vec<usize>
    where
        T: ArrowPrimitiveType,
        T::Native: Serialize,
    {
        let values = array.values();
        self.fill(array, rows, |row, out| writable(values[row]) && serde_json::to_writer(out, &values[row]).is_ok())
    }

    /// Dates as `2018-06-20` between `quote`s. Refused: years that ISO 8601 cannot write in four digits.
    pub(super) fn dates(
        &mut self,
        array: &PrimitiveArray<Date32Type>,
        rows: impl Iterator<Item = usize>,
        quote: &str,
    ) -> Vec<usize> {
        self.fill(array, rows, |row, out| match as_date::<Date32Type>(i64::from(array.value(row))) {
            Some(date) if has_four_digits(date.year()) => write!(out, "{quote}{date}{quote}").is_ok(),
            _ => false,
        })
    }

    /// Instants as RFC 3339 in UTC, quoted. Refused: years beyond four digits.
    pub(super) fn instants<T: ArrowTimestampType>(
        &mut self,
        array: &PrimitiveArray<T>,
        rows: impl Iterator<Item = usize>,
    ) -> Vec<usize> {
        let text = |at: NaiveDateTime| at.and_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true);
        self.fill(array, rows, |row, out| match as_datetime::<T>(array.value(row)) {
            Some(at) if has_four_digits(at.year()) => write!(out, "\"{}\"", text(at)).is_ok(),
            _ => false,
        })
    }
}

fn has_four_digits(year: i32) -> bool {
    (0..=9999).contains(&year)
}
