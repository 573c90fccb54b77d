//! The scoring pipeline: an asynchronous scan, a bounded number of batches in work on the compute
//! pool, order restored, one sink. Its memory does not depend on how many rows pass: the batches in
//! work are counted and weighed, the sink closes row groups and files, and keys that wait for their duplicates go
//! to the disk.
//!
//! A model of thousands of segments scores a few batches together, so that each segment has rows enough for its trees
//! to be worth fetching from memory; they are written batch by batch as ever, and no byte of them changes.

use super::Engine;
use super::content::ContentHash;
use super::duplicates::{Duplicates, KeyBits};
use super::predictions::SliceWriter;
use super::progress::Steps;
use super::rows::PredictionRows;
use crate::error::{Error, Result};
use crate::features::{ColumnCounts, Encoded, Encoder, EventTimes, FeatureBlock, Rejections};
use crate::interval::{Interval, instant};
use crate::lookup::KeyColumns;
use crate::memory::Budget;
use crate::models::{Form, Predictor};
use crate::query::{BatchStream, own_bytes};
use arrow::array::{Array, RecordBatch};
use chrono::DateTime;
use futures::future::{BoxFuture, ready};
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use rayon::prelude::*;
use serde::Serialize;
use std::sync::Arc;

/// The share of the pipeline's memory that batches in work may hold: each is there as columns, as features, and as
/// predictions.
const IN_WORK_SHARE: u64 = 4;

/// Rows for each model of segments, on average, beyond which little is gained by scoring more of them together. Measured
/// with forests of 100 trees of 18 leaves: 1,000 that lie anywhere in memory take 12.6 us a row at 4 rows each, 6.2 at 8,
/// 3.0 at 32, 2.4 at 64; the 2,000 of a decoded payload, which lie in their order, 4.5 at 4 and 3.0 from 16 on.
const ROWS_A_MODEL: u64 = 32;
/// So many rows are scored together at most.
const TOGETHER_ROWS: u64 = 1 << 17;
/// Of what batches in work may hold, the share that is scored together at most.
const TOGETHER_SHARE: u64 = 4;
/// Groups of batches in work: all threads score one, while the next is encoded and the last one waits to be written.
const GROUPS: usize = 2;

/// Everything that turns a batch of features into a batch of predictions; pure.
pub struct Scorer {
    /// Fitted with the model.
    pub encoder: Encoder,
    /// The model.
    pub predictor: Predictor,
    /// The shape of the predictions.
    pub rows: PredictionRows,
    /// The entity key of a prediction row, to find duplicates by.
    pub key: KeyBits,
    /// What every row must hold.
    pub promise: Promise,
}

/// What the features SQL promises of every row; broken promises fail the run.
#[derive(Debug, Clone)]
pub struct Promise {
    /// The entity key: never null.
    pub key: Vec<String>,
    /// The event time: never null, inside the interval.
    pub time: String,
    /// The interval that is scored.
    pub interval: Interval,
    /// The key of the lookup table, if there is one: never null, empty or too long in a row that is
    /// not rejected.
    pub lookup_key: Option<KeyColumns>,
}

/// What passed through.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Passed {
    /// Rows that the SQL gave.
    #[serde(skip)]
    pub rows_in: u64,
    /// Rows written.
    #[serde(skip)]
    pub rows_out: u64,
    /// Rows left out, by column and reason.
    pub rejected: Rejections,
    /// Values that are no level of their category, by column.
    pub unseen: ColumnCounts,
    /// Missing numbers that were filled in, by column.
    pub imputed: ColumnCounts,
    /// Rows that the common model scored and not one of a segment: of segments never seen, too small, or missing.
    /// Absent where the model has no segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_rows: Option<u64>,
    /// Rows written whose key another row has that was written before them.
    pub duplicate_keys: u64,
}

/// One batch on its way to the sink.
struct Scored {
    predictions: RecordBatch,
    keys: Vec<u128>,
    passed: Passed,
}

/// How many rows are scored together at most by a model of so many segments; 0: a batch by itself.
pub fn most_together(segments: u64) -> u64 {
    segments.saturating_mul(ROWS_A_MODEL).min(TOGETHER_ROWS)
}

impl Scorer {
    /// The rows that are worth being scored together.
    fn together(&self) -> u64 {
        match self.predictor.form() {
            Form::Segmented(segmented) => most_together(segmented.models().len() as u64),
            _ => 0,
        }
    }

    /// Scores neighbouring batches, before which so many rows came; the error is that of the first one that has any.
    fn score(&self, inputs: &[RecordBatch], before: usize) -> Result<Vec<Scored>> {
        let starts: Vec<usize> =
            inputs.iter().scan(before, |next, batch| Some(std::mem::replace(next, *next + batch.num_rows()))).collect();
        let numbered = |start: &usize| {
            let start = *start;
            move |error: Error| error.counted_from("row", start)
        };
        let encode = |(input, start): (&RecordBatch, &usize)| {
            self.promise.check(input).map_err(numbered(start))?;
            self.encoder.apply(input)
        };
        let mut encoded = Vec::with_capacity(inputs.len());
        let mut refused = Ok(());
        for batch in inputs.par_iter().zip(&starts).map(encode).collect::<Vec<Result<Encoded>>>() {
            match batch {
                Ok(batch) => encoded.push(batch),
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        let blocks: Vec<&FeatureBlock> = encoded.iter().map(|batch| &batch.block).collect();
        let outputs = self.predictor.predict_together(&blocks);
        let all = inputs.par_iter().zip(&starts).zip(encoded.into_par_iter().zip(outputs));
        let scored: Vec<Result<Scored>> = all
            .map(|((input, start), (encoded, outputs))| {
                self.finite(&encoded, &outputs).map_err(numbered(start))?;
                self.finish(input, encoded, &outputs)
            })
            .collect();
        let scored = scored.into_iter().collect::<Result<_>>()?;
        refused.map(|()| scored)
    }

    /// Refuses predictions that are not finite: features may be, and a sum of them too large.
    ///
    /// # Errors
    /// `check`, with the row of the batch.
    fn finite(&self, encoded: &Encoded, outputs: &[f64]) -> Result<()> {
        let Some(at) = outputs.iter().position(|output| !output.is_finite()) else { return Ok(()) };
        let row = at / self.predictor.outputs().max(1);
        let row = encoded.kept.as_ref().map_or(row, |kept| kept[row]);
        Err(Error::check("the model gives a prediction that is not a finite number")
            .with("row", row)
            .with("prediction", outputs[at])
            .hint("a feature of this row is too large for the model: bound it in the SQL"))
    }

    fn finish(&self, input: &RecordBatch, encoded: Encoded, outputs: &[f64]) -> Result<Scored> {
        let predictions = self.rows.batch(input, encoded.kept.as_deref(), outputs)?;
        if let Some(key) = &self.promise.lookup_key {
            key.check(&predictions)?;
        }
        let keys = self.key.of(&predictions)?;
        let passed = Passed {
            rows_in: input.num_rows() as u64,
            rows_out: predictions.num_rows() as u64,
            rejected: encoded.rejected,
            unseen: encoded.unseen,
            imputed: encoded.imputed,
            fallback_rows: self.predictor.fell_back(&encoded.block),
            duplicate_keys: 0,
        };
        Ok(Scored { predictions, keys, passed })
    }
}

/// Scores all batches in order and writes them; gives the counts and the hash of what was written.
///
/// # Errors
/// `check` for a null key, a time outside the interval, or a key that a lookup table can't have; what
/// the query or the store fails with.
pub async fn score_all(
    engine: &Engine,
    steps: &Steps,
    scorer: Arc<Scorer>,
    input: BatchStream,
    sink: &mut SliceWriter,
) -> Result<(Passed, String)> {
    let mut passed = Passed::default();
    let mut content = ContentHash::new(scorer.rows.schema());
    let mut duplicates = Duplicates::default();
    let most_bytes = Budget::of(engine.memory_bytes)?.pipeline / IN_WORK_SHARE;
    let mut work = InWork::new(engine, scorer, input, most_bytes);
    while let Some(group) = work.next().await {
        for next in group? {
            steps.passed(next.predictions.num_rows());
            passed.add(&next.passed);
            duplicates.add(&next.keys);
            if duplicates.is_full() {
                let spill = move || {
                    duplicates.spill()?;
                    Ok(duplicates)
                };
                duplicates = engine.runtime.block(spill).await?;
            }
            if next.predictions.num_rows() > 0 {
                content.update(&next.predictions)?;
                sink.write(&next.predictions).await?;
            }
        }
    }
    passed.duplicate_keys = engine.runtime.block(move || duplicates.count()).await?;
    Ok((passed, content.finish()))
}

/// Groups of batches that are being scored, in their order.
struct InWork<'a> {
    engine: &'a Engine,
    scorer: Arc<Scorer>,
    /// `None` once it has ended.
    input: Option<BatchStream>,
    /// What batches in work may hold together; one group may always be in work.
    most_bytes: u64,
    bytes: u64,
    /// The rows from which on batches are a group.
    together: u64,
    next: Group,
    /// Rows of all groups before that.
    begun: u64,
    groups: FuturesOrdered<BoxFuture<'static, (u64, Result<Vec<Scored>>)>>,
}

/// Neighbouring batches that will be scored together.
#[derive(Default)]
struct Group {
    batches: Vec<RecordBatch>,
    rows: u64,
    bytes: u64,
}

impl<'a> InWork<'a> {
    fn new(engine: &'a Engine, scorer: Arc<Scorer>, input: BatchStream, most_bytes: u64) -> Self {
        let together = scorer.together();
        let (next, groups) = (Group::default(), FuturesOrdered::new());
        Self { engine, scorer, input: Some(input), most_bytes, bytes: 0, together, next, begun: 0, groups }
    }

    /// The next scored group, in the order of the input.
    async fn next(&mut self) -> Option<Result<Vec<Scored>>> {
        // As many batches as there are threads are in work, and as many more wait for their turn.
        let most = if self.together > 0 { GROUPS } else { self.engine.runtime.threads() * 2 };
        loop {
            let has_room = self.groups.is_empty() || (self.groups.len() < most && self.bytes < self.most_bytes);
            let input = self.input.as_mut().filter(|_| has_room);
            let (batch, done) = match input {
                // Both can be given up at any time without losing a batch.
                Some(input) => tokio::select! {
                    biased;
                    batch = input.next() => (Some(batch), None),
                    done = self.groups.next(), if !self.groups.is_empty() => (None, done),
                },
                None => (None, self.groups.next().await),
            };
            match (batch, done) {
                (Some(Some(Ok(batch))), _) => self.add(batch),
                (Some(Some(Err(error))), _) => {
                    // What fails in a batch before it is told first.
                    self.begin();
                    self.groups.push_back(ready((0, Err(error))).boxed());
                    self.input = None;
                }
                (Some(None), _) => {
                    self.begin();
                    self.input = None;
                }
                (None, Some((bytes, scored))) => {
                    self.bytes -= bytes;
                    return Some(scored);
                }
                (None, None) => return None,
            }
        }
    }

    fn add(&mut self, batch: RecordBatch) {
        let bytes = own_bytes(&batch) as u64;
        self.bytes += bytes;
        self.next.bytes += bytes;
        self.next.rows += batch.num_rows() as u64;
        self.next.batches.push(batch);
        if self.next.rows >= self.together || self.next.bytes >= self.most_bytes / TOGETHER_SHARE {
            self.begin();
        }
    }

    /// Lets the pool score what was put together.
    fn begin(&mut self) {
        let Group { batches, rows, bytes } = std::mem::take(&mut self.next);
        if batches.is_empty() {
            return;
        }
        let before = self.begun as usize;
        self.begun += rows;
        let (scorer, runtime) = (Arc::clone(&self.scorer), self.engine.runtime.clone());
        let scored = async move { (bytes, runtime.compute(move || scorer.score(&batches, before)).await) };
        self.groups.push_back(scored.boxed());
    }
}

impl Passed {
    fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.rejected.merge(&other.rejected);
        self.unseen.merge(&other.unseen);
        self.imputed.merge(&other.imputed);
        if let Some(rows) = other.fallback_rows {
            *self.fallback_rows.get_or_insert(0) += rows;
        }
    }
}

impl Promise {
    /// Checks a batch.
    ///
    /// # Errors
    /// `check` naming the column and the first row of the batch that breaks the promise.
    pub fn check(&self, batch: &RecordBatch) -> Result<()> {
        for name in &self.key {
            let Some(column) = batch.column_by_name(name) else { continue };
            // Nulls of a dictionary's values too; found once a batch, not once a row.
            let nulls = column.logical_nulls();
            if let Some(row) = nulls.and_then(|nulls| (0..nulls.len()).find(|row| nulls.is_null(*row))) {
                return Err(Error::check("the key is null")
                    .with("column", name)
                    .with("row", row)
                    .hint("a prediction without a key can't be looked up: leave such rows out in the SQL"));
            }
        }
        self.check_time(batch)
    }

    fn check_time(&self, batch: &RecordBatch) -> Result<()> {
        let times = EventTimes::read(std::slice::from_ref(batch), &self.time)?;
        let (start, end) = (self.interval.start().timestamp_micros(), self.interval.end().timestamp_micros());
        let outside = |row: &usize| !times.micros(*row).is_some_and(|at| (start..end).contains(&at));
        let Some(row) = (0..times.len()).find(outside) else { return Ok(()) };
        let found = match times.micros(row) {
            Some(at) => DateTime::from_timestamp_micros(at).map_or_else(|| "out of range".to_owned(), instant),
            None => "null".to_owned(),
        };
        Err(Error::check("the features SQL gave a row outside the interval")
            .with("column", &self.time)
            .with("row", row)
            .with("time", found)
            .with("interval", self.interval)
            .hint(format!("end the SQL with WHERE {0} >= $interval_start AND {0} < $interval_end", self.time)))
    }
}
