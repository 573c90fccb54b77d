//! The order of rows by keys that are integers: each row's keys and place as one number, and these sorted.

use super::keys;
use arrow::array::{Array, ArrayRef};
use arrow::compute::SortOptions;

/// The keys of one sort column.
#[derive(Debug)]
struct Column {
    options: SortOptions,
    /// Turned around where the order is descending.
    keys: Vec<i64>,
    nulls: Option<Vec<bool>>,
}

/// The keys of all rows that are to be sorted.
#[derive(Debug)]
pub(super) struct Codes {
    columns: Vec<Column>,
    rows: u32,
}

impl Codes {
    pub(super) fn new(options: impl Iterator<Item = SortOptions>) -> Self {
        let columns = options.map(|options| Column { options, keys: Vec::new(), nulls: None }).collect();
        Self { columns, rows: 0 }
    }

    /// Takes the sort columns of a batch. All batches together have less than 2^32 rows.
    pub(super) fn append(&mut self, arrays: &[ArrayRef]) {
        for (column, array) in self.columns.iter_mut().zip(arrays) {
            let offset = column.keys.len();
            keys::append(array.as_ref(), 0, &mut column.keys);
            if column.options.descending {
                column.keys[offset..].iter_mut().for_each(|key| *key = !*key);
            }
            let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
            if nulls.is_some() || column.nulls.is_some() {
                let held = column.nulls.get_or_insert_with(|| vec![false; offset]);
                match nulls {
                    Some(nulls) => held.extend(nulls.iter().map(|valid| !valid)),
                    None => held.resize(column.keys.len(), false),
                }
            }
        }
        let rows = arrays.first().map_or(0, |array| array.len());
        self.rows = self.rows.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
    }

    /// Bytes that a row takes here, while it is sorted.
    pub(super) fn bytes_a_row(&self) -> usize {
        self.columns.len() * (size_of::<i64>() + 1) + size_of::<u128>() + size_of::<u32>()
    }

    /// The numbers of all rows in order, ties in the order in which they came; `None` where a row's keys and number
    /// would have more than 128 bits.
    pub(super) fn sorted(self) -> Option<Vec<u32>> {
        let spans: Vec<Span> = self.columns.iter().map(Span::of).collect::<Option<_>>()?;
        let row_bits = bits(self.rows.into());
        macro_rules! sort {
            ($code:ty) => {{
                let code = |row: u32| {
                    let mut code: $code = 0;
                    for (column, span) in self.columns.iter().zip(&spans) {
                        code = code.unbounded_shl(span.bits) | <$code>::from(span.code(column, row as usize));
                    }
                    code.unbounded_shl(row_bits) | <$code>::from(row)
                };
                let mut codes: Vec<$code> = (0..self.rows).map(code).collect();
                drop(self.columns);
                // No two are the same, since their rows are not.
                codes.sort_unstable();
                let mask = <$code>::from(u32::MAX);
                // The lowest bits are a row's number, which is one of 32 bits.
                let mask = mask >> (u32::BITS - row_bits);
                codes.into_iter().map(|code| (code & mask) as u32).collect()
            }};
        }
        match spans.iter().map(|span| span.bits).sum::<u32>() + row_bits {
            0..=64 => Some(sort!(u64)),
            65..=128 => Some(sort!(u128)),
            _ => None,
        }
    }
}

/// How many bits the numbers up to `most` take.
fn bits(most: u64) -> u32 {
    u64::BITS - most.leading_zeros()
}

/// How a column's keys become numbers from 0 on, of so many bits.
#[derive(Debug)]
struct Span {
    least: i64,
    for_null: u64,
    above_null: u64,
    bits: u32,
}

impl Span {
    fn of(column: &Column) -> Option<Self> {
        let is_null = |row: usize| column.nulls.as_ref().is_some_and(|nulls| nulls[row]);
        let keys = column.keys.iter().enumerate().filter(|(row, _)| !is_null(*row)).map(|(_, key)| *key);
        let (least, most) = keys.fold((i64::MAX, i64::MIN), |(least, most), key| (least.min(key), most.max(key)));
        let range = if least > most { 0 } else { most.wrapping_sub(least).cast_unsigned() };
        let has_nulls = column.nulls.is_some();
        let last = range.checked_add(u64::from(has_nulls))?;
        let above_null = u64::from(has_nulls && column.options.nulls_first);
        Some(Self { least, for_null: if above_null == 1 { 0 } else { last }, above_null, bits: bits(last) })
    }

    #[inline]
    fn code(&self, column: &Column, row: usize) -> u64 {
        match &column.nulls {
            Some(nulls) if nulls[row] => self.for_null,
            _ => column.keys[row].wrapping_sub(self.least).cast_unsigned() + self.above_null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array};
    use std::sync::Arc;

    /// The order of one batch's rows, by all columns with the same options.
    fn order(columns: Vec<ArrayRef>, descending: bool, nulls_first: bool) -> Vec<usize> {
        let options = SortOptions { descending, nulls_first };
        let mut codes = Codes::new(columns.iter().map(|_| options));
        codes.append(&columns);
        codes.sorted().unwrap().into_iter().map(|row| row as usize).collect()
    }

    #[test]
    fn extremes_and_nulls_are_in_their_places() {
        let floats: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(0.0), None, Some(f64::NAN), Some(-1.0), Some(-0.0)]));
        assert_eq!(order(vec![Arc::clone(&floats)], false, false), [3, 4, 0, 2, 1]);
        assert_eq!(order(vec![floats], true, true), [1, 2, 0, 4, 3]);
        let far: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 0, i64::MIN, 5]));
        assert_eq!(order(vec![Arc::clone(&far)], false, false), [1, 3, 2, 4, 0]);
        let near: ArrayRef = Arc::new(Int64Array::from(vec![3, 1, 2, 9, 4]));
        assert_eq!(order(vec![far, near], true, false), [0, 4, 2, 3, 1]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let far: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN]));
        let none: ArrayRef = Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(i64::MIN), None]));
        let mut codes = Codes::new([SortOptions::default(); 2].into_iter());
        codes.append(&[Arc::clone(&far), far]);
        assert_eq!(codes.sorted(), None, "two columns of 64 bits and a place");
        let mut codes = Codes::new([SortOptions::default()].into_iter());
        codes.append(&[none]);
        assert_eq!(codes.sorted(), None, "64 bits and a NULL");
        assert_eq!(Codes::new([SortOptions::default()].into_iter()).sorted(), Some(Vec::new()));
    }
}
