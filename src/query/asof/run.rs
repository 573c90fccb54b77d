//! The joins at work: chunk after chunk of the spine.

use super::Planned;
use super::candidates::{Candidates, Matches};
use super::groups::Keys;
use super::index::{Index, NO_TIME, ROW_BYTES};
use super::resolved::{Bounds, Resolved, out_of_range, spine_columns};
use super::spool::{Spool, Spooled};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::query::ahead::{BatchStream, Sink, on_a_task, running_ahead};
use crate::tables::errors::from_datafusion;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use futures::{StreamExt, TryStreamExt};
use std::ops::Range;
use std::sync::Arc;

/// What a join may hold even where the session's limit is tiny.
const LEAST_BYTES: usize = 1 << 20;

/// No part grows beyond this, so that the offsets of texts have 32 bits to spare.
const MOST_BYTES: usize = 1 << 30;

/// How much memory goes to what.
#[derive(Debug, Clone, Copy)]
struct Budget {
    /// All of it.
    share: usize,
    /// Keys, times and positions.
    positions: usize,
    /// Batches that wait for their columns.
    waiting: usize,
    /// Values of the tables.
    values: usize,
}

impl Budget {
    fn of(limit: MemoryLimit) -> Self {
        let share = match limit {
            MemoryLimit::Finite(bytes) => bytes / 4,
            MemoryLimit::Infinite | MemoryLimit::Unknown => MOST_BYTES,
        };
        let [positions, waiting, values] = [share / 2, share / 4, share / 4].map(|bytes| bytes.min(MOST_BYTES));
        Self { share, positions, waiting, values }
    }
}

/// Runs on a task of its own.
pub(super) fn stream(planned: Arc<Planned>, rows: BatchStream) -> BatchStream {
    on_a_task("the join panicked; this is a bug", async move |sender| {
        if let Err(error) = (Run { planned: &planned, out: &sender, rows_in: 0, rows_out: 0 }).all(rows).await {
            // Nobody listens where the run has failed elsewhere.
            let _ = sender.send(Err(error)).await;
        }
    })
}

/// A part of the spine.
struct Chunk {
    times: Vec<i64>,
    /// For each join the rows' keys.
    keys: Vec<Keys>,
    /// The rows of each batch.
    lengths: Vec<usize>,
    batches: Spooled,
}

/// One run of all joins.
struct Run<'a> {
    planned: &'a Planned,
    out: &'a Sink,
    rows_in: u64,
    rows_out: u64,
}

impl Run<'_> {
    async fn all(mut self, mut rows: BatchStream) -> Result<()> {
        let runtime = self.planned.session.context().runtime_env();
        let budget = Budget::of(runtime.memory_pool.memory_limit());
        let held: MemoryReservation = MemoryConsumer::new("point-in-time join").register(&runtime.memory_pool);
        held.try_grow(budget.share).map_err(from_datafusion)?;
        loop {
            let chunk = self.read(&mut rows, budget).await?;
            if chunk.lengths.is_empty() {
                break;
            }
            if !self.join(chunk, budget).await? {
                return Ok(());
            }
        }
        if self.rows_in == self.rows_out {
            return Ok(());
        }
        Err(Error::failed("a point-in-time join gave another number of rows than it got; this is a bug")
            .with("rows in", self.rows_in)
            .with("rows out", self.rows_out))
    }

    /// The next chunk: whole batches, at least one where there is one.
    async fn read(&mut self, rows: &mut BatchStream, budget: Budget) -> Result<Chunk> {
        let planned = self.planned;
        let runtime = planned.session.context().runtime_env();
        let mut spool = Spool::new(&runtime, budget.waiting);
        let keys = planned.joins.iter().map(|join| Keys::new(&join.form)).collect::<Result<Vec<_>>>()?;
        let (mut times, mut keys, mut lengths) = (Vec::new(), keys, Vec::new());
        let mut bytes = 0;
        while bytes <= budget.positions {
            let Some(batch) = rows.try_next().await? else { break };
            for column in spine_columns(&batch, &planned.time)? {
                let ticks = planned.unit.ticks(&column)?;
                if arrow::compute::max(&ticks) == Some(i64::MAX) || arrow::compute::min(&ticks) == Some(i64::MIN) {
                    return Err(out_of_range(column.data_type()).with("column", planned.time.concat()));
                }
                times.extend(ticks.iter().map(|time| time.unwrap_or(NO_TIME)));
            }
            for (join, keys) in planned.joins.iter().zip(&mut keys) {
                keys.extend(&join.spine_keys(&batch)?)?;
            }
            lengths.push(batch.num_rows());
            self.rows_in += batch.num_rows() as u64;
            bytes = times.len() * (ROW_BYTES + 4 * keys.len()) + keys.iter().map(Keys::bytes).sum::<usize>();
            spool.push(batch)?;
        }
        Ok(Chunk { times, keys, lengths, batches: spool.finish()? })
    }

    /// Joins a chunk, in halves where the values need too much; false where nobody listens any more.
    async fn join(&mut self, mut chunk: Chunk, budget: Budget) -> Result<bool> {
        let (mut first, mut row) = (0, 0);
        let mut wide = chunk.lengths.len();
        while first < chunk.lengths.len() {
            let batches = first..(first + wide).min(chunk.lengths.len());
            let rows = row..row + chunk.lengths[batches.clone()].iter().sum::<usize>();
            let limit = if batches.len() > 1 { budget.values } else { budget.share.clamp(LEAST_BYTES, MOST_BYTES) };
            let Some(matches) = self.matches(&chunk, rows.clone(), limit).await? else {
                if batches.len() == 1 {
                    return Err(too_little(limit));
                }
                wide = batches.len() / 2;
                continue;
            };
            if matches.iter().any(|matches| matches.rows() != rows.len()) {
                return Err(Error::failed("a point-in-time join lost a row; this is a bug"));
            }
            if !self.send(&mut chunk.batches, &matches, batches.len()).await? {
                return Ok(false);
            }
            (first, row) = (batches.end, rows.end);
        }
        Ok(true)
    }

    /// What each join has for a range of rows, or `None` where that is more than `limit` bytes.
    async fn matches(&self, chunk: &Chunk, rows: Range<usize>, limit: usize) -> Result<Option<Vec<Matches>>> {
        let mut all = Vec::new();
        let mut left = limit;
        for (join, keys) in self.planned.joins.iter().zip(&chunk.keys) {
            let index = Index::build(keys, &chunk.times, rows.clone());
            let found = self.of_join(join, &index, rows.len(), left).await.at("table", &join.table)?;
            let Some((matches, bytes)) = found else { return Ok(None) };
            left = left.saturating_sub(bytes);
            all.push(matches);
        }
        Ok(Some(all))
    }

    async fn of_join(
        &self,
        join: &Resolved,
        index: &Index<'_>,
        rows: usize,
        limit: usize,
    ) -> Result<Option<(Matches, usize)>> {
        let (session, unit) = (&self.planned.session, self.planned.unit);
        let Some((first, last)) = index.span() else { return Ok(Some((Matches::none(&join.values, rows), 0))) };
        let bounds = Bounds { first, last, keys: index.groups.bounds() };
        let scan = join.scan(session, unit, bounds).await?.execute_stream().await.map_err(from_datafusion)?;
        let mut batches = running_ahead(scan.map_err(from_datafusion).boxed());
        let mut candidates = Candidates::new(index.len(), &join.values, join.age(unit));
        while let Some(batch) = batches.try_next().await? {
            candidates.offer(index, &join.parts(unit, &batch)?.offer())?;
            if candidates.bytes() > limit {
                candidates.tidy(index)?;
                if candidates.bytes() > limit {
                    return Ok(None);
                }
            }
        }
        let bytes = candidates.bytes();
        candidates.finish(index, rows).map(|matches| Some((matches, bytes)))
    }

    /// Gives the next batches of the chunk their columns.
    async fn send(&mut self, batches: &mut Spooled, matches: &[Matches], count: usize) -> Result<bool> {
        let mut row = 0;
        for _ in 0..count {
            let Some(batch) = batches.next()? else {
                return Err(Error::failed("a point-in-time join lost a batch; this is a bug"));
            };
            let (mut columns, schema) = (batch.columns().to_vec(), batch.schema());
            let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
            for (joined, join) in matches.iter().zip(&self.planned.joins) {
                columns.extend(joined.columns(row, batch.num_rows())?);
                fields.extend(join.values.fields().iter().cloned());
            }
            // The columns' own types: those of Polars are not all as planned.
            let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
            row += batch.num_rows();
            self.rows_out += batch.num_rows() as u64;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let joined = RecordBatch::try_new_with_options(schema, columns, &options)
                .map_err(|source| Error::failed("joined columns make no batch").because(source))?;
            if self.out.send(Ok(joined)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn too_little(limit: usize) -> Error {
    Error::new(ErrorKind::Budget, "the values of a point-in-time join for one batch do not fit in memory")
        .with("bytes", limit)
        .hint("raise --memory, or join fewer columns")
}
