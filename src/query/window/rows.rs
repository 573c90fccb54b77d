//! The rows that the operator holds: where partitions and peers begin, and the order key of each row.
//!
//! Positions count the rows of the stream from its start; the first that is still held is `base`.

use super::keys;
use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::{SortOptions, partition};

use datafusion::error::Result;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use std::collections::VecDeque;
use std::sync::Arc;

/// A partition as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partition {
    /// The position of its first row.
    pub(super) start: usize,
    /// One past its last row that is known.
    pub(super) end: usize,
    /// Whether no row will be added.
    pub(super) complete: bool,
}

/// What is known of the rows besides their values.
#[derive(Debug)]
pub(super) struct Rows {
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    order_by: Vec<PhysicalSortExpr>,
    with_keys: bool,
    with_peers: bool,
    base: usize,
    end: usize,
    ended: bool,
    /// Where partitions begin; of the first row that is not done, and of all after it.
    starts: VecDeque<usize>,
    /// How many partitions came before the first of `starts`.
    before: usize,
    /// Keys in the order of the rows: of a descending order turned around.
    keys: Vec<i64>,
    /// Whether the order key is NULL; from the first NULL of the stream on.
    nulls: Option<Vec<bool>>,
    /// Whether the row differs from the one before it in the order's columns.
    new_peers: Vec<bool>,
    /// Of the last row: the partition's columns, then the order's.
    last: Option<Vec<ArrayRef>>,
}

/// Which columns a [`Rows`] follows, and what of them.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// What makes a partition.
    pub(super) partition_by: Vec<Arc<dyn PhysicalExpr>>,
    /// What orders its rows.
    pub(super) order_by: Vec<PhysicalSortExpr>,
    /// Whether a frame is a distance in the order key.
    pub(super) with_keys: bool,
    /// Whether a frame ends at the peers of a row.
    pub(super) with_peers: bool,
}

impl Rows {
    pub(super) fn new(order: &Order) -> Self {
        Self {
            partition_by: order.partition_by.clone(),
            order_by: order.order_by.clone(),
            with_keys: order.with_keys,
            with_peers: order.with_peers,
            base: 0,
            end: 0,
            ended: false,
            starts: VecDeque::new(),
            before: 0,
            keys: Vec::new(),
            nulls: None,
            new_peers: Vec::new(),
            last: None,
        }
    }

    /// One past the last row.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The partition of this number.
    pub(super) fn partition(&self, number: usize) -> Option<Partition> {
        let index = number.checked_sub(self.before)?;
        let start = *self.starts.get(index)?;
        Some(match self.starts.get(index + 1) {
            Some(next) => Partition { start, end: *next, complete: true },
            None => Partition { start, end: self.end, complete: self.ended },
        })
    }

    /// Where partitions begin, from a position on.
    pub(super) fn starts_from(&self, position: usize) -> Vec<usize> {
        let first = self.starts.partition_point(|start| *start < position);
        self.starts.iter().skip(first).copied().collect()
    }

    /// The number of the first partition that is not done.
    pub(super) fn first_partition(&self) -> usize {
        self.before
    }

    /// Where the partition of the first row that is not done starts.
    pub(super) fn open_start(&self) -> usize {
        self.starts.front().copied().unwrap_or(self.end)
    }

    /// The key of the row at a position that is held.
    #[inline]
    pub(super) fn key(&self, position: usize) -> i64 {
        self.keys[position - self.base]
    }

    /// The keys of all rows that are held.
    pub(super) fn keys(&self) -> &[i64] {
        &self.keys
    }

    /// Whether its key is NULL.
    #[inline]
    pub(super) fn is_null(&self, position: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls[position - self.base])
    }

    /// Whether any key so far was NULL.
    pub(super) fn has_nulls(&self) -> bool {
        self.nulls.is_some()
    }

    /// How the first column is ordered.
    pub(super) fn options(&self) -> SortOptions {
        self.order_by.first().map_or_else(SortOptions::default, |first| first.options)
    }

    /// Whether the row is no peer of the one before it.
    #[inline]
    pub(super) fn is_new_peer(&self, position: usize) -> bool {
        self.new_peers[position - self.base]
    }

    /// Takes the rows of a batch, which follow all before them.
    ///
    /// # Errors
    /// Where a partition's or the order's expression cannot be computed.
    pub(super) fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        let count = batch.num_rows();
        if count == 0 {
            return Ok(());
        }
        let mut columns = Vec::with_capacity(self.partition_by.len() + self.order_by.len());
        for expr in self.partition_by.iter().chain(self.order_by.iter().map(|order| &order.expr)) {
            columns.push(expr.evaluate(batch)?.into_array(count)?);
        }
        let (partitions, order) = columns.split_at(self.partition_by.len());
        let last = self.last.take();
        let before = |index: usize| last.as_ref().map(|columns| &columns[index]);
        let goes_on = self.end > 0 && same(partitions, before)?;
        let starts = firsts(partitions, count)?;
        let new = starts.iter().skip(usize::from(goes_on));
        self.starts.extend(new.map(|row| self.end + row));
        if self.with_peers {
            let offset = self.new_peers.len();
            self.new_peers.resize(offset + count, false);
            for row in firsts(order, count)?.into_iter().chain(starts) {
                self.new_peers[offset + row] = true;
            }
            let peers_go_on = goes_on && same(order, |index| before(partitions.len() + index))?;
            self.new_peers[offset] = !peers_go_on;
        }
        if let (true, Some(keys)) = (self.with_keys, order.first()) {
            self.append_keys(keys);
        }
        // A copy, so that the batch's memory is not held for one row.
        let row = UInt32Array::from_iter_values([u32::try_from(count - 1).unwrap_or(u32::MAX)]);
        self.last = Some(
            columns
                .iter()
                .map(|column| arrow::compute::take(column, &row, None))
                .collect::<std::result::Result<_, _>>()?,
        );
        self.end += count;
        Ok(())
    }

    fn append_keys(&mut self, column: &ArrayRef) {
        let offset = self.keys.len();
        keys::append(column.as_ref(), 0, &mut self.keys);
        if self.options().descending {
            // Turns the order around without overflow: -1 - key.
            self.keys[offset..].iter_mut().for_each(|key| *key = !*key);
        }
        let nulls = column.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none() && self.nulls.is_none() {
            return;
        }
        let held = self.nulls.get_or_insert_with(|| vec![false; offset]);
        match nulls {
            Some(nulls) => held.extend(nulls.iter().map(|valid| !valid)),
            None => held.resize(offset + column.len(), false),
        }
    }

    /// No row will follow.
    pub(super) fn finish(&mut self) {
        self.ended = true;
    }

    /// All rows before `done` have their results: forgets the partitions that lie before it.
    pub(super) fn forget_partitions(&mut self, done: usize) {
        while self.starts.get(1).is_some_and(|next| *next <= done) {
            self.starts.pop_front();
            self.before += 1;
        }
    }

    /// Forgets the rows before `keep`.
    pub(super) fn evict(&mut self, keep: usize) {
        let count = keep - self.base;
        if self.with_keys {
            self.keys.drain(..count);
        }
        if let Some(nulls) = &mut self.nulls {
            nulls.drain(..count);
        }
        if self.with_peers {
            self.new_peers.drain(..count);
        }
        self.base = keep;
    }

    /// The first position that is held.
    pub(super) fn base(&self) -> usize {
        self.base
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<i64>()
            + self.nulls.as_ref().map_or(0, Vec::capacity)
            + self.new_peers.capacity()
            + self.starts.capacity() * size_of::<usize>()
    }
}

/// The rows of a batch that differ from the one before them, the first row among them.
fn firsts(columns: &[ArrayRef], rows: usize) -> Result<Vec<usize>> {
    if columns.is_empty() || rows == 0 {
        return Ok((0..rows.min(1)).collect());
    }
    Ok(partition(columns)?.ranges().into_iter().map(|range| range.start).collect())
}

/// Whether the first row of `columns` equals the row before it.
fn same<'a>(columns: &[ArrayRef], before: impl Fn(usize) -> Option<&'a ArrayRef>) -> Result<bool> {
    for (index, column) in columns.iter().enumerate() {
        let Some(before) = before(index) else { return Ok(false) };
        if !make_comparator(before.as_ref(), column.as_ref(), SortOptions::default())?(0, 0).is_eq() {
            return Ok(false);
        }
    }
    Ok(true)
}
