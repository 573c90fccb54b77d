//! How many different values are in a frame: each row knows the one before it and the one after it that have its value.
//!
//! A value is in a frame once for each of its rows whose predecessor is not. So a row that comes in counts if the row
//! before it with the same value lies before the frame, and one that leaves counts no more if the next lies behind it:
//! two pointers, and nothing that grows with the number of values.

use super::keys;
use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::error::Result;
use std::collections::HashMap;

/// What a value's map takes beside its key, in bytes.
const ENTRY_BYTES: usize = 24;

/// An argument's rows, linked by their values.
#[derive(Debug)]
pub(super) struct Links {
    /// Whether a frame may start where its partition does: then no value is forgotten before its end.
    whole: bool,
    base: usize,
    end: usize,
    /// One past the row before with the same value; 0 where there is none, the largest number for NULL.
    before: Vec<usize>,
    /// The next row with the same value; the largest number as long as there is none, 0 for NULL.
    after: Vec<usize>,
    seen: Seen,
    keys: Vec<i64>,
}

/// The last row of each value of the partition.
#[derive(Debug)]
enum Seen {
    Nothing,
    Keys(HashMap<i64, usize>),
    Bytes { converter: RowConverter, rows: HashMap<Box<[u8]>, usize>, bytes: usize },
}

/// Whether values of this type can be linked.
pub(super) fn can_link(kind: &DataType) -> bool {
    keys::has_keys(kind) || (!kind.is_nested() && RowConverter::supports_fields(&[SortField::new(kind.clone())]))
}

impl Links {
    pub(super) fn new(whole: bool) -> Self {
        let (before, after, keys) = (Vec::new(), Vec::new(), Vec::new());
        Self { whole, base: 0, end: 0, before, after, seen: Seen::Nothing, keys }
    }

    /// Takes the argument of a batch's rows; at each of `starts` begins a partition.
    ///
    /// # Errors
    /// Where values of the type cannot be compared.
    pub(super) fn append(&mut self, array: &ArrayRef, starts: &[usize]) -> Result<()> {
        if let Seen::Nothing = self.seen {
            self.seen = Seen::of(array.data_type())?;
        }
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        self.keys.clear();
        let coded = match &mut self.seen {
            Seen::Bytes { converter, .. } => Some(converter.convert_columns(std::slice::from_ref(array))?),
            _ => {
                keys::append(array.as_ref(), 0, &mut self.keys);
                None
            }
        };
        let mut starts = starts.iter().copied().peekable();
        for row in 0..array.len() {
            let position = self.end + row;
            if starts.next_if_eq(&position).is_some() {
                self.seen.clear();
            }
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                self.before.push(usize::MAX);
                self.after.push(0);
                continue;
            }
            let last = match (&mut self.seen, &coded) {
                (Seen::Keys(seen), _) => seen.insert(self.keys[row], position),
                (Seen::Bytes { rows, bytes, .. }, Some(coded)) => {
                    let value = coded.row(row).data();
                    match rows.get_mut(value) {
                        Some(last) => Some(std::mem::replace(last, position)),
                        None => {
                            *bytes += value.len();
                            rows.insert(value.into(), position)
                        }
                    }
                }
                _ => None,
            };
            self.before.push(last.map_or(0, |last| last + 1));
            self.after.push(usize::MAX);
            if let Some(last) = last.filter(|last| *last >= self.base) {
                self.after[last - self.base] = position;
            }
        }
        self.end += array.len();
        Ok(())
    }

    /// Forgets the rows before `keep`.
    pub(super) fn evict(&mut self, keep: usize) {
        self.before.drain(..keep - self.base);
        self.after.drain(..keep - self.base);
        self.base = keep;
        if !self.whole {
            // In no later frame.
            self.seen.forget(keep);
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let links = self.before.capacity() + self.after.capacity() + self.keys.capacity();
        links * size_of::<usize>() + self.seen.bytes()
    }
}

impl Seen {
    fn of(kind: &DataType) -> Result<Self> {
        if keys::has_keys(kind) {
            return Ok(Self::Keys(HashMap::new()));
        }
        let converter = RowConverter::new(vec![SortField::new(kind.clone())])?;
        Ok(Self::Bytes { converter, rows: HashMap::new(), bytes: 0 })
    }

    fn clear(&mut self) {
        match self {
            Self::Nothing => {}
            Self::Keys(seen) => seen.clear(),
            Self::Bytes { rows, bytes, .. } => {
                rows.clear();
                *bytes = 0;
            }
        }
    }

    fn forget(&mut self, before: usize) {
        match self {
            Self::Nothing => {}
            Self::Keys(seen) => seen.retain(|_, last| *last >= before),
            Self::Bytes { rows, bytes, .. } => {
                rows.retain(|_, last| *last >= before);
                *bytes = rows.keys().map(|value| value.len()).sum();
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Keys(seen) => seen.capacity() * ENTRY_BYTES,
            Self::Bytes { rows, bytes, .. } => rows.capacity() * ENTRY_BYTES + bytes,
        }
    }
}

/// The number of different values in a frame that only moves forward.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    lo: usize,
    hi: usize,
    count: i64,
}

impl Distinct {
    /// Forgets all; the next frame starts at `position` or after it.
    pub(super) fn restart(&mut self, position: usize) {
        (self.lo, self.hi, self.count) = (position, position, 0);
    }

    /// The counts of frames of one partition, in order.
    pub(super) fn frames(
        &mut self,
        links: &Links,
        frames: impl Iterator<Item = (usize, usize)>,
        counts: &mut Vec<i64>,
    ) {
        for (lo, hi) in frames {
            if lo >= self.hi || lo >= hi {
                self.restart(lo.max(self.hi));
            }
            while self.lo < lo {
                self.count -= i64::from(links.after[self.lo - links.base] >= self.hi);
                self.lo += 1;
            }
            while self.hi < hi {
                self.count += i64::from(links.before[self.hi - links.base] <= self.lo);
                self.hi += 1;
            }
            counts.push(self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn counts_are_those_of_a_set() {
        let values = [Some(3), Some(1), None, Some(3), Some(3), Some(2), None, Some(1), Some(2), Some(9), Some(9)];
        let numbers: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter(values.iter().map(|value| value.map(|value| value.to_string()))));
        let frames = [(0, 0), (0, 2), (0, 5), (1, 5), (4, 5), (5, 5), (5, 9), (8, 9), (9, 9), (9, 11), (10, 11)];
        for array in [numbers, texts] {
            for cut in 0..=values.len() {
                let mut links = Links::new(false);
                links.append(&array.slice(0, cut), &[0]).unwrap();
                links.append(&array.slice(cut, values.len() - cut), &[0][..usize::from(cut == 0)]).unwrap();
                let (mut distinct, mut found) = (Distinct::default(), Vec::new());
                distinct.restart(0);
                distinct.frames(&links, frames.into_iter(), &mut found);
                let set = |(lo, hi): (usize, usize)| values[lo..hi].iter().flatten().collect::<BTreeSet<_>>().len();
                let wanted: Vec<i64> = frames.into_iter().map(|frame| set(frame) as i64).collect();
                assert_eq!(found, wanted, "cut at {cut}");
            }
        }
    }

    #[test]
    fn partitions_share_no_values_and_what_left_is_forgotten() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1, 2, 1]));
        let mut links = Links::new(false);
        links.append(&array, &[0, 2]).unwrap();
        let (mut distinct, mut found) = (Distinct::default(), Vec::new());
        distinct.restart(0);
        distinct.frames(&links, [(0, 2)].into_iter(), &mut found);
        distinct.restart(2);
        distinct.frames(&links, [(2, 5), (3, 5), (4, 5)].into_iter(), &mut found);
        assert_eq!(found, [1, 2, 2, 1]);
        links.evict(4);
        links.append(&array, &[]).unwrap();
        distinct.frames(&links, [(4, 6), (8, 10)].into_iter(), &mut found);
        assert_eq!(found[4..], [1, 2]);
        assert_eq!(links.seen.bytes() % ENTRY_BYTES, 0);
    }
}
