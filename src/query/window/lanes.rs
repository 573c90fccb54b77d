//! Lanes: what is held of an argument's rows, in the form in which an aggregate reads it.
//!
//! An argument that several aggregates or frames use in the same form has one lane.

use super::keys;
use super::links::Links;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Float64Type, Int64Type, TimeUnit, UInt64Type,
};
use datafusion::error::{DataFusionError, Result};
use std::collections::VecDeque;

/// From this size on, sums of a few floats may overflow although the sum of all of them does not.
pub(super) const BIG: f64 = f64::from_bits(0x7830_0000_0000_0000);

/// The form of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneKind {
    /// How many rows have a value.
    Count,
    /// Sums of integers of 64 bits, which wrap.
    Sum,
    /// Sums of decimals, which wrap.
    WideSum,
    /// Floats.
    Float,
    /// Order-preserving keys; the largest where there is no value.
    LowKey,
    /// Order-preserving keys; the smallest where there is no value.
    HighKey,
    /// Decimals, as [`LaneKind::LowKey`].
    WideLowKey,
    /// Decimals, as [`LaneKind::HighKey`].
    WideHighKey,
    /// The values themselves.
    Values,
    /// The last row up to each that has a value.
    LastValid,
    /// Which rows have the same value; `whole` where a frame may start with its partition.
    Links { whole: bool },
}

/// An argument's rows.
#[derive(Debug)]
pub(super) enum Lane {
    Count(Counts),
    Sum(Prefix<i64>),
    WideSum(Prefix<i128>),
    Float(Floats),
    Key {
        for_null: i64,
        held: Held<i64>,
    },
    WideKey {
        for_null: i128,
        held: Held<i128>,
    },
    Values(Values),
    /// One past the row; 0 where there is none.
    LastValid(Held<usize>),
    Links(Links),
}

impl Lane {
    pub(super) fn new(kind: LaneKind) -> Self {
        match kind {
            LaneKind::Count => Self::Count(Counts::default()),
            LaneKind::Sum => Self::Sum(Prefix::new(0)),
            LaneKind::WideSum => Self::WideSum(Prefix::new(0)),
            LaneKind::Float => Self::Float(Floats::default()),
            LaneKind::LowKey => Self::Key { for_null: i64::MAX, held: Held::default() },
            LaneKind::HighKey => Self::Key { for_null: i64::MIN, held: Held::default() },
            LaneKind::WideLowKey => Self::WideKey { for_null: i128::MAX, held: Held::default() },
            LaneKind::WideHighKey => Self::WideKey { for_null: i128::MIN, held: Held::default() },
            LaneKind::Values => Self::Values(Values::default()),
            LaneKind::LastValid => Self::LastValid(Held::default()),
            LaneKind::Links { whole } => Self::Links(Links::new(whole)),
        }
    }

    /// Takes the argument of a batch's rows; at each of `starts` begins a partition.
    ///
    /// # Errors
    /// Where values cannot be compared.
    pub(super) fn append(&mut self, array: &ArrayRef, starts: &[usize]) -> Result<()> {
        match self {
            Self::Count(counts) => counts.append(array.as_ref()),
            Self::Sum(prefix) => prefix.append_integers(array.as_ref()),
            Self::WideSum(prefix) => prefix.append_decimals(array.as_ref()),
            Self::Float(floats) => floats.append(array.as_ref()),
            Self::Key { for_null, held } => keys::append(array.as_ref(), *for_null, &mut held.values),
            Self::WideKey { for_null, held } => keys::append_decimals(array.as_ref(), *for_null, &mut held.values),
            Self::Values(values) => values.append(array),
            Self::LastValid(held) => held.append_valid(array.as_ref()),
            Self::Links(links) => return links.append(array, starts),
        }
        Ok(())
    }

    /// Forgets the rows before `keep`, but not what a frame needs that starts at `open`, where the partition does.
    ///
    /// # Errors
    /// Where a value cannot be copied.
    pub(super) fn evict(&mut self, keep: usize, open: usize) -> Result<()> {
        match self {
            Self::Count(counts) => counts.evict(keep, open),
            Self::Sum(prefix) => prefix.evict(keep, open),
            Self::WideSum(prefix) => prefix.evict(keep, open),
            Self::Float(floats) => floats.held.evict(keep),
            Self::Key { held, .. } => held.evict(keep),
            Self::WideKey { held, .. } => held.evict(keep),
            Self::LastValid(held) => held.evict(keep),
            Self::Links(links) => links.evict(keep),
            Self::Values(values) => return values.evict(keep, open),
        }
        Ok(())
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Count(counts) => counts.prefix.as_ref().map_or(0, Prefix::bytes),
            Self::Sum(prefix) => prefix.bytes(),
            Self::WideSum(prefix) => prefix.bytes(),
            Self::Float(floats) => floats.held.bytes(),
            Self::Key { held, .. } => held.bytes(),
            Self::WideKey { held, .. } => held.bytes(),
            Self::Values(values) => values.bytes,
            Self::LastValid(held) => held.bytes(),
            Self::Links(links) => links.bytes(),
        }
    }
}

/// Values by position.
#[derive(Debug)]
pub(super) struct Held<T> {
    base: usize,
    values: Vec<T>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { base: 0, values: Vec::new() }
    }
}

impl<T: Copy> Held<T> {
    /// The value at a position that is held.
    #[inline]
    pub(super) fn at(&self, position: usize) -> T {
        self.values[position - self.base]
    }

    fn evict(&mut self, keep: usize) {
        self.values.drain(..keep - self.base);
        self.base = keep;
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }
}

impl Held<usize> {
    /// One past the last row with a value, for each row of `array`.
    fn append_valid(&mut self, array: &dyn Array) {
        let end = self.base + self.values.len();
        // Where all were forgotten, no later frame reaches before this row.
        let mut last = self.values.last().copied().unwrap_or(0);
        let nulls = array.logical_nulls();
        self.values.extend((0..array.len()).map(|row| {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                last = end + row + 1;
            }
            last
        }));
    }
}

/// The sum of all rows before each position, from some row on: a frame's sum is a difference of two of them.
/// Integers wrap around, so that this is exact although the sums of a whole stream may overflow.
#[derive(Debug)]
pub(super) struct Prefix<T> {
    base: usize,
    sums: Vec<T>,
    /// At the start of the partition that is being worked on, where that is no longer held.
    open: T,
}

impl<T: Copy> Prefix<T> {
    fn new(zero: T) -> Self {
        Self { base: 0, sums: vec![zero], open: zero }
    }

    /// The sum before a position that is held, or before the start of the partition that is being worked on.
    #[inline]
    pub(super) fn at(&self, position: usize) -> T {
        if position < self.base { self.open } else { self.sums[position - self.base] }
    }

    fn evict(&mut self, keep: usize, open: usize) {
        if open < keep {
            self.open = self.at(open);
        }
        self.sums.drain(..keep - self.base);
        self.base = keep;
    }

    fn bytes(&self) -> usize {
        self.sums.capacity() * size_of::<T>()
    }

    fn extend(&mut self, zero: T, values: impl Iterator<Item = T>, plus: impl Fn(T, T) -> T) {
        let mut sum = self.sums.last().copied().unwrap_or(zero);
        self.sums.extend(values.map(|value| {
            sum = plus(sum, value);
            sum
        }));
    }
}

impl Prefix<i64> {
    fn append_integers(&mut self, array: &dyn Array) {
        macro_rules! add {
            ($kind:ty) => {{
                let array = array.as_primitive::<$kind>();
                let plus = |a: i64, b: i64| a.wrapping_add(b);
                // The same bits, signed or not.
                #[allow(clippy::cast_possible_wrap, clippy::unnecessary_cast)]
                match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                    None => self.extend(0, array.values().iter().map(|value| *value as i64), plus),
                    Some(_) => self.extend(0, array.iter().map(|value| value.unwrap_or_default() as i64), plus),
                }
            }};
        }
        match array.data_type() {
            DataType::UInt64 => add!(UInt64Type),
            DataType::Duration(TimeUnit::Second) => add!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => add!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => add!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => add!(DurationNanosecondType),
            _ => add!(Int64Type),
        }
    }
}

impl Prefix<i128> {
    fn append_decimals(&mut self, array: &dyn Array) {
        let array = array.as_primitive::<Decimal128Type>();
        self.extend(0, array.iter().map(Option::unwrap_or_default), i128::wrapping_add);
    }
}

/// How many rows have a value: nothing is held until the first row without one.
#[derive(Debug, Default)]
pub(super) struct Counts {
    base: usize,
    rows: usize,
    open: usize,
    prefix: Option<Prefix<i64>>,
}

impl Counts {
    fn append(&mut self, array: &dyn Array) {
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() && self.prefix.is_none() {
            let sums = (self.base..=self.rows).map(position).collect();
            self.prefix = Some(Prefix { base: self.base, sums, open: position(self.open) });
        }
        self.rows += array.len();
        let plus = |a: i64, b: i64| a + b;
        match (&mut self.prefix, nulls) {
            (Some(prefix), Some(nulls)) => prefix.extend(0, nulls.iter().map(i64::from), plus),
            (Some(prefix), None) => prefix.extend(0, (0..array.len()).map(|_| 1), plus),
            (None, _) => {}
        }
    }

    /// How many values are in [lo, hi).
    #[inline]
    pub(super) fn between(&self, lo: usize, hi: usize) -> i64 {
        match &self.prefix {
            None => position(hi.saturating_sub(lo)),
            Some(prefix) if lo < hi => prefix.at(hi) - prefix.at(lo),
            Some(_) => 0,
        }
    }

    /// Whether every row so far has a value.
    pub(super) fn is_full(&self) -> bool {
        self.prefix.is_none()
    }

    fn evict(&mut self, keep: usize, open: usize) {
        (self.base, self.open) = (keep, open);
        if let Some(prefix) = &mut self.prefix {
            prefix.evict(keep, open);
        }
    }
}

/// A position as a count.
#[inline]
pub(super) fn position(position: usize) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Floats; 0 where there is no value.
#[derive(Debug, Default)]
pub(super) struct Floats {
    held: Held<f64>,
    /// Whether any so far was finite and at least [`BIG`].
    has_big: bool,
}

impl Floats {
    fn append(&mut self, array: &dyn Array) {
        let array = array.as_primitive::<Float64Type>();
        let from = self.held.values.len();
        match array.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => self.held.values.extend_from_slice(array.values()),
            Some(_) => self.held.values.extend(array.iter().map(Option::unwrap_or_default)),
        }
        self.has_big |= self.held.values[from..].iter().any(|value| is_big(*value));
    }

    /// The value at a position that is held.
    #[inline]
    pub(super) fn at(&self, position: usize) -> f64 {
        self.held.at(position)
    }

    /// Whether any so far was [`is_big`].
    pub(super) fn has_big(&self) -> bool {
        self.has_big
    }
}

/// Whether a few of these may overflow in a sum.
#[inline]
pub(super) fn is_big(value: f64) -> bool {
    value.abs() >= BIG && value.is_finite()
}

/// Values of any type, as they came.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Each with the position of its first row.
    chunks: VecDeque<(usize, ArrayRef)>,
    rows: usize,
    /// The row at the start of the partition that is being worked on, where that is no longer held.
    open: Option<ArrayRef>,
    bytes: usize,
}

impl Values {
    fn append(&mut self, array: &ArrayRef) {
        self.bytes += array.get_array_memory_size();
        self.chunks.push_back((self.rows, array.clone()));
        self.rows += array.len();
    }

    fn evict(&mut self, keep: usize, open: usize) -> Result<()> {
        if open >= keep {
            self.open = None;
        } else if let Some((start, chunk)) = self.chunks.iter().rfind(|(start, _)| *start <= open) {
            // A copy, so that the chunk's memory is not held for one row.
            self.open = Some(interleave(&[chunk.as_ref()], &[(0, open - start)])?);
        }
        while self.chunks.front().is_some_and(|(start, chunk)| start + chunk.len() <= keep) {
            self.bytes -= self.chunks.pop_front().map_or(0, |(_, chunk)| chunk.get_array_memory_size());
        }
        Ok(())
    }

    /// The values of the rows [from, to), which are held, in one array: without a copy where they came in one batch.
    ///
    /// # Errors
    /// Where the values do not fit into one array, and where rows are not held.
    pub(super) fn span(&self, from: usize, to: usize) -> Result<ArrayRef> {
        if self.chunks.front().is_none_or(|(start, _)| from < *start) || from > to || to > self.rows {
            return Err(DataFusionError::Internal("rows of a window were let go too early".to_owned()));
        }
        let first = self.chunks.partition_point(|(start, chunk)| start + chunk.len() <= from);
        let mut pieces = Vec::new();
        for (start, chunk) in self.chunks.range(first.min(self.chunks.len() - 1)..) {
            let inside = from.max(*start) - start;
            pieces.push(chunk.slice(inside, to.min(start + chunk.len()).max(start + inside) - start - inside));
            if start + chunk.len() >= to {
                break;
            }
        }
        match <[ArrayRef; 1]>::try_from(pieces) {
            Ok([only]) => Ok(only),
            Err(all) => Ok(concat(&all.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?),
        }
    }

    /// The values at positions that are held, or at the start of the partition that is being worked on; NULL for
    /// `None`.
    ///
    /// # Errors
    /// Where the values do not fit into one array.
    pub(super) fn gather(&self, kind: &DataType, positions: impl Iterator<Item = Option<usize>>) -> Result<ArrayRef> {
        let nothing = arrow::array::new_null_array(kind, 1);
        let open = self.open.as_ref().unwrap_or(&nothing);
        let mut sources: Vec<&dyn Array> = vec![nothing.as_ref(), open.as_ref()];
        sources.extend(self.chunks.iter().map(|(_, chunk)| chunk.as_ref()));
        let mut chunk = 0;
        let mut indices = Vec::with_capacity(positions.size_hint().0);
        for position in positions {
            let Some(position) = position else {
                indices.push((0, 0));
                continue;
            };
            if self.chunks.front().is_none_or(|(start, _)| position < *start) {
                indices.push((1, 0));
                continue;
            }
            // Positions mostly move forward; back only from one partition's start to another's.
            if self.chunks.get(chunk).is_none_or(|(start, _)| position < *start) {
                chunk = 0;
            }
            while self.chunks.get(chunk + 1).is_some_and(|(start, _)| *start <= position) {
                chunk += 1;
            }
            indices.push((chunk + 2, position - self.chunks[chunk].0));
        }
        Ok(interleave(&sources, &indices)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use std::sync::Arc;

    #[test]
    fn a_span_is_made_of_the_chunks_that_it_touches() {
        let mut values = Values::default();
        for chunk in [0..3_i64, 3..4, 4..9] {
            values.append(&(Arc::new(Int64Array::from_iter_values(chunk)) as ArrayRef));
        }
        values.evict(2, 0).unwrap();
        for from in 2..=9 {
            for to in from..=9 {
                let span = values.span(from, to).unwrap();
                let wanted: Vec<i64> = (from as i64..to as i64).collect();
                assert_eq!(span.as_primitive::<Int64Type>().values().to_vec(), wanted, "{from}..{to}");
            }
        }
        values.evict(3, 0).unwrap();
        for (from, to) in [(2, 4), (5, 4), (8, 10)] {
            assert!(values.span(from, to).unwrap_err().to_string().contains("too early"), "{from}..{to}");
        }
    }
}
