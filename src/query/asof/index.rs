//! The spine by key and time: where a row of the feature table first counts.

use super::groups::{Groups, Keys, NONE};
use std::ops::Range;

/// The time of a spine row without one; no other row has it.
pub(super) const NO_TIME: i64 = i64::MAX;

/// No position: all rows of the key come before.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Room for the passes of [`Index::first_since`].
#[derive(Default)]
pub(super) struct Search {
    ranges: Vec<(u32, u32)>,
    middles: Vec<i64>,
    /// The position of each row.
    pub(super) found: Vec<u32>,
}

/// Bytes a spine row in [`Index`] and in the candidates, hash tables included.
pub(super) const ROW_BYTES: usize = 80;

/// Rows of a range of the spine in the order of their keys' groups, and within a group of their times.
pub(super) struct Index<'a> {
    /// The groups of the keys.
    pub(super) groups: Groups<'a>,
    /// Where each group's positions begin; one entry more than there are groups.
    starts: Vec<u32>,
    /// The time at each position.
    times: Vec<i64>,
    /// The row at each position, counted from the start of the range.
    rows: Vec<u32>,
}

impl<'a> Index<'a> {
    /// The rows of `range` that have a time and a whole key.
    pub(super) fn build(keys: &'a Keys, times: &[i64], range: Range<usize>) -> Self {
        let first = range.start;
        let (groups, of_rows) = Groups::build(keys, range, |row| times[row] != NO_TIME);
        let mut starts = vec![0_u32; groups.count() + 1];
        for group in of_rows.iter().filter(|group| **group != NONE) {
            starts[*group as usize + 1] += 1;
        }
        for group in 1..starts.len() {
            starts[group] += starts[group - 1];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0_i64, 0_u32); starts.last().map_or(0, |count| *count as usize)];
        for (row, group) in of_rows.iter().enumerate().filter(|(_, group)| **group != NONE) {
            let place = &mut next[*group as usize];
            entries[*place as usize] = (times[first + row], row as u32);
            *place += 1;
        }
        for group in starts.windows(2) {
            // Rows of one time are told apart by their numbers, so any sort gives the same.
            entries[group[0] as usize..group[1] as usize].sort_unstable();
        }
        let (times, rows) = entries.into_iter().unzip();
        Self { groups, starts, times, rows }
    }

    /// How many positions there are.
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }

    /// The positions of each group.
    pub(super) fn of_groups(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|group| group[0] as usize..group[1] as usize)
    }

    /// For each row its group's first position whose time is not before the row's `since`, or [`NOWHERE`].
    ///
    /// In passes of which each reads one table, so that the waits of many rows for memory overlap:
    /// the tables are far larger than the caches, and groups come in any order.
    pub(super) fn first_since(&self, groups: &[u32], since: &[i64], search: &mut Search) {
        let Search { ranges, middles, found } = search;
        ranges.clear();
        ranges.extend(groups.iter().map(|group| match *group {
            NONE => (0, 0),
            group => (self.starts[group as usize], self.starts[group as usize + 1]),
        }));
        middles.clear();
        middles.extend(ranges.iter().map(|(start, end)| self.times[((start + end) / 2) as usize]));
        found.clear();
        found.extend(ranges.iter().zip(middles).zip(since).map(|((&(start, end), middle), since)| {
            let half = (start + end) / 2;
            let (low, high) = if *middle < *since { (half + 1, end) } else { (start, half) };
            if start == end {
                return NOWHERE;
            }
            let times = &self.times[low as usize..high as usize];
            let position = low + times.partition_point(|time| *time < *since) as u32;
            if position < end { position } else { NOWHERE }
        }));
    }

    /// The time at a position.
    pub(super) fn time(&self, position: usize) -> i64 {
        self.times[position]
    }

    /// The row at a position, counted from the start of the range.
    pub(super) fn row(&self, position: usize) -> usize {
        self.rows[position] as usize
    }

    /// The first and the last time.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        self.times.iter().fold(None, |span, time| match span {
            None => Some((*time, *time)),
            Some((first, last)) => Some((first.min(*time), last.max(*time))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::forms::KeyForm;
    use super::*;
    use arrow::array::{ArrayRef, Int64Array};
    use std::sync::Arc;

    #[test]
    fn rows_are_ordered_by_key_and_time() {
        let mut keys = Keys::new(&KeyForm::Number).unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from(vec![9, 1, 2, 1, 2, 1]));
        keys.extend(&[column]).unwrap();
        // The first row is outside of the range, the fourth has no time.
        let index = Index::build(&keys, &[0, 30, 5, NO_TIME, 5, 10], 1..6);
        let rows: Vec<Vec<usize>> =
            index.of_groups().map(|group| group.map(|position| index.row(position)).collect()).collect();
        assert_eq!(rows, [vec![4, 0], vec![1, 3]]);
        assert_eq!((index.len(), index.span()), (4, Some((5, 30))));
        let mut search = Search::default();
        index.first_since(&[0, 0, 0, 1, NONE, 1, 1], &[10, 11, 31, 5, 0, 4, 6], &mut search);
        assert_eq!(search.found, [0, 1, NOWHERE, 2, NOWHERE, 2, NOWHERE]);
    }
}
