//! Where frames begin and end: one pointer for each distinct bound, which only moves forward.

use super::clock::Clock;
use super::keys::Keyed;
use super::rows::{Partition, Rows};
use arrow::datatypes::{Float32Type, Float64Type, IntervalMonthDayNano};

/// How far a RANGE bound is from the current row's order key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Distance {
    /// In units of the key: integers, days of dates, ticks of timestamps.
    Whole(u64),
    /// In the arithmetic of doubles.
    Double(f64),
    /// In the arithmetic of singles.
    Single(f32),
    /// As the calendar has it. The end of a longer month may so lie before that of a shorter one: there a bound stays
    /// where it was, as DataFusion's does.
    Calendar(IntervalMonthDayNano, Clock),
}

/// Which way from the current row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Towards the start of the partition.
    Preceding,
    /// Towards its end.
    Following,
}

/// One side of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// UNBOUNDED PRECEDING, or FOLLOWING where it is the end.
    Unbounded,
    /// UNBOUNDED PRECEDING, with all rows of the partition held until its end.
    Held,
    /// So many rows from the current one, which is 0.
    Rows(i64),
    /// The first, or the last, that the order does not tell from the current row.
    Peers,
    /// The first, or the last, whose key is not farther.
    Range(Distance, Way),
}

/// The start (the first row inside) or the end (the first row outside, after it) of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    /// Where it is.
    pub(super) place: Place,
    /// Whether it is the end.
    pub(super) is_end: bool,
}

/// A bound of one row after the other.
#[derive(Debug)]
pub(super) struct Cursor {
    bound: Bound,
    descending: bool,
    /// The row whose bound comes next, and its partition's number.
    next: usize,
    partition: usize,
    /// How far the pointer has moved.
    at: usize,
    /// Bounds that were found and not yet used.
    found: Vec<usize>,
    /// No later bound is before this.
    floor: usize,
}

impl Cursor {
    pub(super) fn new(bound: Bound, descending: bool) -> Self {
        Self { bound, descending, next: 0, partition: 0, at: 0, found: Vec::new(), floor: 0 }
    }

    /// Finds the bounds of the rows before `until`; whether all of them can be told from the rows at hand.
    pub(super) fn extend(&mut self, rows: &Rows, until: usize) -> bool {
        // A partition may turn out to have ended after all its rows are done.
        self.partition = self.partition.max(rows.first_partition());
        while self.next < until {
            let Some(partition) = rows.partition(self.partition) else { return false };
            if self.next == partition.start {
                self.at = partition.start;
            }
            let upto = until.min(partition.end);
            self.within(rows, partition, upto);
            if self.next < upto || (self.next == partition.end && !partition.complete) {
                return self.next >= until;
            }
            if self.next == partition.end {
                self.partition += 1;
            }
        }
        true
    }

    /// Bounds of the rows up to `upto`, which are of one partition, as far as they are certain.
    fn within(&mut self, rows: &Rows, partition: Partition, upto: usize) {
        match (self.bound.place, self.bound.is_end) {
            (Place::Unbounded | Place::Held, false) => self.fill(partition.start, upto),
            (Place::Unbounded | Place::Held, true) => {
                if partition.complete {
                    self.fill(partition.end, upto);
                }
            }
            (Place::Rows(offset), is_end) => self.by_rows(partition, upto, offset.saturating_add(i64::from(is_end))),
            (Place::Peers, false) => {
                for row in self.next..upto {
                    if rows.is_new_peer(row) {
                        self.at = row;
                    }
                    self.found.push(self.at);
                }
                self.next = upto;
            }
            (Place::Peers, true) => self.peers_end(rows, partition, upto),
            (Place::Range(distance, way), is_end) => self.by_range(rows, partition, upto, distance, way, is_end),
        }
    }

    fn fill(&mut self, value: usize, upto: usize) {
        if upto == self.next + 1 {
            self.found.push(value);
            self.next = upto;
            return;
        }
        self.found.resize(self.found.len() + upto - self.next, value);
        self.next = upto;
    }

    fn by_rows(&mut self, partition: Partition, upto: usize, offset: i64) {
        let moved = |row: usize| match usize::try_from(offset) {
            Ok(ahead) => row.saturating_add(ahead),
            Err(_) => row.saturating_sub(usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX)),
        };
        // A bound beyond the rows at hand is certain only where none will follow.
        let mut certain = upto;
        if !partition.complete && offset > 0 {
            let ahead = usize::try_from(offset).unwrap_or(usize::MAX);
            certain = partition.end.saturating_add(1).saturating_sub(ahead).clamp(self.next, upto);
        }
        self.found.extend((self.next..certain).map(|row| moved(row).clamp(partition.start, partition.end)));
        self.next = certain;
    }

    fn peers_end(&mut self, rows: &Rows, partition: Partition, upto: usize) {
        while self.next < upto {
            self.at = self.at.max(self.next + 1);
            while self.at < partition.end && !rows.is_new_peer(self.at) {
                self.at += 1;
            }
            if self.at == partition.end && !partition.complete {
                return;
            }
            self.fill(self.at, self.at.min(upto));
        }
    }

    fn by_range(&mut self, rows: &Rows, partition: Partition, upto: usize, distance: Distance, way: Way, is_end: bool) {
        let descending = self.descending;
        match (distance, way) {
            (Distance::Whole(by), Way::Preceding) => {
                self.search(rows, partition, upto, is_end, way, |key| key.checked_sub_unsigned(by));
            }
            (Distance::Whole(by), Way::Following) => {
                self.search(rows, partition, upto, is_end, way, |key| key.checked_add_unsigned(by));
            }
            (Distance::Double(by), _) => {
                let by = if (way == Way::Preceding) == descending { by } else { -by };
                self.search(rows, partition, upto, is_end, way, |key| {
                    Some(turned(Float64Type::key(Float64Type::value(turned(key, descending)) + by), descending))
                });
            }
            (Distance::Single(by), _) => {
                let by = if (way == Way::Preceding) == descending { by } else { -by };
                self.search(rows, partition, upto, is_end, way, |key| {
                    Some(turned(Float32Type::key(Float32Type::value(turned(key, descending)) + by), descending))
                });
            }
            (Distance::Calendar(by, clock), _) => {
                let back = (way == Way::Preceding) != descending;
                self.search(rows, partition, upto, is_end, way, |key| {
                    clock.moved(turned(key, descending), by, back).map(|key| turned(key, descending))
                });
            }
        }
    }

    /// Moves the pointer over the rows whose key is before what `target` makes of the current one (or equal to it,
    /// for an end). `None` is beyond all keys, in the direction of `way`.
    #[inline]
    fn search(
        &mut self,
        rows: &Rows,
        partition: Partition,
        upto: usize,
        is_end: bool,
        way: Way,
        target: impl Fn(i64) -> Option<i64>,
    ) {
        match (rows.has_nulls(), is_end) {
            (true, _) => self.search_among_nulls(rows, partition, upto, is_end, way, target),
            (false, true) => self.search_keys(rows, partition, upto, way, target, |key, target| key <= target),
            (false, false) => self.search_keys(rows, partition, upto, way, target, |key, target| key < target),
        }
    }

    /// Where no key is NULL: the loop in which most of the time is spent.
    #[inline]
    fn search_keys(
        &mut self,
        rows: &Rows,
        partition: Partition,
        upto: usize,
        way: Way,
        target: impl Fn(i64) -> Option<i64>,
        is_before: impl Fn(i64, i64) -> bool,
    ) {
        let (keys, base) = (rows.keys(), rows.base());
        let held = &keys[..partition.end - base];
        let mut at = self.at - base;
        self.found.reserve(upto - self.next);
        for key in &keys[self.next - base..upto - base] {
            match target(*key) {
                Some(target) => at += held[at..].iter().take_while(|key| is_before(**key, target)).count(),
                None if way == Way::Following => at = held.len(),
                None => {}
            }
            if at == held.len() && !partition.complete {
                break;
            }
            self.found.push(at + base);
            self.next += 1;
        }
        self.at = at + base;
    }

    fn search_among_nulls(
        &mut self,
        rows: &Rows,
        partition: Partition,
        upto: usize,
        is_end: bool,
        way: Way,
        target: impl Fn(i64) -> Option<i64>,
    ) {
        let nulls_first = rows.options().nulls_first;
        while self.next < upto {
            let is_null = rows.is_null(self.next);
            let target = if is_null { None } else { target(rows.key(self.next)) };
            let is_before = |row: usize| match (rows.is_null(row), is_null) {
                (false, false) => match target {
                    Some(target) if is_end => rows.key(row) <= target,
                    Some(target) => rows.key(row) < target,
                    None => way == Way::Following,
                },
                (true, true) => is_end,
                (true, false) => nulls_first,
                (false, true) => !nulls_first,
            };
            while self.at < partition.end && is_before(self.at) {
                self.at += 1;
            }
            if self.at == partition.end && !partition.complete {
                return;
            }
            self.found.push(self.at);
            self.next += 1;
        }
    }

    /// The bounds that were found, from the first row that is not done on.
    pub(super) fn found(&self) -> &[usize] {
        &self.found
    }

    /// The first `count` bounds were used.
    pub(super) fn used(&mut self, count: usize) {
        if let Some(last) = count.checked_sub(1).and_then(|last| self.found.get(last)) {
            self.floor = self.floor.max(*last);
        }
        self.found.drain(..count);
    }

    /// No row before this is at an edge of a frame that is still to come; `None` where it is the start of a partition,
    /// whose rows need not be held.
    pub(super) fn floor(&self) -> Option<usize> {
        match self.bound {
            Bound { place: Place::Unbounded, is_end: false } => None,
            // The last row of a frame stands before its end.
            Bound { is_end: true, .. } => Some(self.floor.saturating_sub(1)),
            _ => Some(self.floor),
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.found.capacity() * size_of::<usize>()
    }
}

/// The key in the other direction, and back.
fn turned(key: i64, descending: bool) -> i64 {
    if descending { !key } else { key }
}
