//! The operator at work: batches in, the same batches out with the windows' columns.
//!
//! A batch waits until the frames of all its rows are certain. What a later frame may still need of rows that are
//! out already is held in lanes, and dropped in large pieces.

use super::bounds::Cursor;
use super::lanes::Lane;
use super::rows::Rows;
use super::sliding::Sliding;
use super::steps::{Cells, Frames, Segment, State, column};
use crate::query::ahead::column_bytes;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::metrics::BaselineMetrics;
use futures::{Stream, StreamExt, ready};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// When rows are dropped that are of no more use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::query) enum Eviction {
    /// When they are many, and half of those held: dropping moves those that stay.
    #[default]
    Sparing,
    /// When they are so many, however many stay. For tests, whose rows are few.
    At(usize),
}

impl Eviction {
    /// After so many rows, or sparing.
    pub(in crate::query) fn after(rows: Option<usize>) -> Self {
        rows.map_or(Self::Sparing, Self::At)
    }

    /// Rows that are dropped at once, at least.
    const MANY: usize = 1 << 15;

    /// Whether so many rows of those held are worth to be dropped.
    fn is_due(self, useless: usize, held: usize) -> bool {
        match self {
            Self::Sparing => useless >= Self::MANY && useless * 2 >= held,
            Self::At(least) => useless >= least.max(1),
        }
    }
}

/// The stream of one partition of the plan.
pub(super) struct SlidingWindowStream {
    sliding: Arc<Sliding>,
    schema: SchemaRef,
    /// `None` once it has ended, so that what is below can let go of its memory.
    input: Option<SendableRecordBatchStream>,
    batch_rows: usize,
    eviction: Eviction,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    rows: Rows,
    cursors: Vec<Cursor>,
    lanes: Vec<Lane>,
    states: Vec<State>,
    /// Batches that are not out yet, each with its bytes.
    waiting: VecDeque<(RecordBatch, usize)>,
    waiting_bytes: usize,
    /// The position of the first row of the first of them.
    done: usize,
}

impl SlidingWindowStream {
    pub(super) fn new(
        sliding: Arc<Sliding>,
        schema: SchemaRef,
        input: SendableRecordBatchStream,
        (batch_rows, eviction): (usize, Eviction),
        reservation: MemoryReservation,
        metrics: BaselineMetrics,
    ) -> Self {
        let descending = sliding.order.order_by.first().is_some_and(|first| first.options.descending);
        Self {
            rows: Rows::new(&sliding.order),
            cursors: sliding.bounds.iter().map(|bound| Cursor::new(*bound, descending)).collect(),
            lanes: sliding.lanes.iter().map(|(_, kind)| Lane::new(*kind)).collect(),
            states: sliding.steps.iter().map(|step| State::new(step.kind)).collect(),
            sliding,
            schema,
            input: Some(input),
            batch_rows: batch_rows.max(1),
            eviction,
            reservation,
            metrics,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            done: 0,
        }
    }

    /// Takes a batch of the input.
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let first = self.rows.end();
        self.rows.append(batch)?;
        let starts = self.rows.starts_from(first);
        let mut arguments = Vec::with_capacity(self.sliding.arguments.len());
        for argument in &self.sliding.arguments {
            arguments.push(argument.evaluate(batch)?.into_array(rows)?);
        }
        for (lane, (argument, _)) in self.lanes.iter_mut().zip(&self.sliding.lanes) {
            lane.append(&arguments[*argument], &starts)?;
        }
        let bytes: usize = batch.columns().iter().map(|column| column_bytes(column.as_ref())).sum();
        self.waiting_bytes += bytes;
        let pieces = rows.div_ceil(self.batch_rows);
        for piece in 0..pieces {
            let start = piece * self.batch_rows;
            let slice = batch.slice(start, self.batch_rows.min(rows - start));
            // All pieces hold the whole batch's memory: it is let go with the last of them.
            self.waiting.push_back((slice, if piece + 1 == pieces { bytes } else { 0 }));
        }
        self.account()
    }

    /// Tells the memory pool what is held.
    fn account(&mut self) -> Result<()> {
        let lanes: usize = self.lanes.iter().map(Lane::bytes).sum();
        let states: usize = self.states.iter().map(State::bytes).sum();
        let cursors: usize = self.cursors.iter().map(Cursor::bytes).sum();
        self.reservation.try_resize(self.waiting_bytes + self.rows.bytes() + lanes + states + cursors)
    }

    /// The first waiting batch with the windows' columns, if all its frames are certain.
    fn next_ready(&mut self) -> Result<Option<RecordBatch>> {
        let Some((batch, _)) = self.waiting.front() else { return Ok(None) };
        let until = self.done + batch.num_rows();
        let mut certain = true;
        for cursor in &mut self.cursors {
            certain &= cursor.extend(&self.rows, until);
        }
        if !certain {
            return Ok(None);
        }
        let Some((batch, bytes)) = self.waiting.pop_front() else { return Ok(None) };
        let added = self.columns(batch.num_rows())?;
        self.waiting_bytes -= bytes;
        self.finish_rows(batch.num_rows())?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().iter().cloned().chain(added).collect();
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?))
    }

    /// The windows' columns for the next `count` rows, whose bounds are found.
    fn columns(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        let segments = self.segments(count);
        let (sliding, cursors, lanes) = (&self.sliding, &self.cursors, &self.lanes);
        let frames = |frame: usize| Frames::new(sliding, cursors, frame, count);
        let mut cells: Vec<Cells> = Vec::with_capacity(sliding.steps.len());
        for (state, step) in self.states.iter_mut().zip(&sliding.steps) {
            cells.push(state.run(sliding, *step, frames(step.frame), &segments, lanes)?);
        }
        sliding.outputs.iter().map(|output| column(output, &cells, lanes, frames)).collect()
    }

    /// The partitions of the next `count` rows.
    fn segments(&self, count: usize) -> Vec<Segment> {
        let (mut number, mut at) = (self.rows.first_partition(), self.done);
        let until = self.done + count;
        let mut segments = Vec::new();
        while let (true, Some(partition)) = (at < until, self.rows.partition(number)) {
            let end = partition.end.min(until);
            if at < end {
                let start = (partition.start == at).then_some(at);
                segments.push(Segment { rows: at - self.done..end - self.done, start });
            }
            (number, at) = (number + 1, end.max(at));
        }
        segments
    }

    /// The next `count` rows are out.
    fn finish_rows(&mut self, count: usize) -> Result<()> {
        self.done += count;
        self.cursors.iter_mut().for_each(|cursor| cursor.used(count));
        self.rows.forget_partitions(self.done);
        let floors = self.cursors.iter().filter_map(Cursor::floor);
        let keep = floors.min().unwrap_or(self.done).min(self.done);
        let useless = keep - self.rows.base();
        if !self.eviction.is_due(useless, self.rows.end() - self.rows.base()) {
            return Ok(());
        }
        let open = self.rows.open_start();
        for lane in &mut self.lanes {
            lane.evict(keep, open)?;
        }
        self.rows.evict(keep);
        self.account()
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let compute = self.metrics.elapsed_compute().clone();
        loop {
            let timer = compute.timer();
            match self.next_ready() {
                Ok(Some(batch)) => return Poll::Ready(Some(Ok(batch))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            drop(timer);
            let Some(input) = &mut self.input else {
                let left = self.waiting.len();
                return Poll::Ready((left > 0).then(|| {
                    self.waiting.clear();
                    Err(DataFusionError::Internal(format!("{left} batches were left without their windows")))
                }));
            };
            match ready!(input.poll_next_unpin(cx)) {
                Some(Ok(batch)) => {
                    let _timer = compute.timer();
                    if let Err(error) = self.take(&batch) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.input = None;
                    self.rows.finish();
                }
            }
        }
    }
}

impl Stream for SlidingWindowStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let poll = self.poll_inner(cx);
        self.metrics.record_poll(poll)
    }
}

impl RecordBatchStream for SlidingWindowStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_dropped_when_that_costs_less_than_it_frees_or_when_told() {
        let many = Eviction::MANY;
        let sparing = Eviction::after(None);
        assert!(sparing.is_due(many, 2 * many) && sparing.is_due(many, many));
        assert!(!sparing.is_due(many - 1, many) && !sparing.is_due(many, 2 * many + 1));
        for (after, useless, due) in
            [(3, 2, false), (3, 3, true), (3, 4, true), (1, 0, false), (0, 0, false), (0, 1, true)]
        {
            assert_eq!(Eviction::after(Some(after)).is_due(useless, 1000), due, "{after} {useless}");
        }
    }
}
