//! The scoring pipeline: an asynchronous scan, a bounded number of batches in work on the compute
//! pool, order restored, one sink. Its memory does not depend on how many rows pass: the batches in
//! work are counted, the sink closes row groups and files, and keys that wait for their duplicates go
//! to the disk.

use super::Engine;
use super::content::ContentHash;
use super::duplicates::{Duplicates, KeyBits};
use super::predictions::SliceWriter;
use super::progress::Steps;
use super::rows::PredictionRows;
use crate::error::{Error, Result};
use crate::features::{ColumnCounts, Encoder, EventTimes, Rejections};
use crate::interval::{Interval, instant};
use crate::lookup::check_keys;
use crate::models::Predictor;
use crate::query::BatchStream;
use arrow::array::{Array, RecordBatch};
use chrono::DateTime;
use futures::StreamExt;
use serde::Serialize;
use std::sync::Arc;

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
    pub lookup_key: Option<String>,
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
    /// Rows written whose key another row has that was written before them.
    pub duplicate_keys: u64,
}

/// One batch on its way to the sink.
struct Scored {
    predictions: RecordBatch,
    keys: Vec<u128>,
    passed: Passed,
}

impl Scorer {
    fn score(&self, input: &RecordBatch) -> Result<Scored> {
        self.promise.check(input)?;
        let encoded = self.encoder.apply(input)?;
        let outputs = self.predictor.predict(&encoded.block);
        let predictions = self.rows.batch(input, encoded.kept.as_deref(), &outputs)?;
        if let Some(key) = &self.promise.lookup_key {
            check_keys(&predictions, key)?;
        }
        let keys = self.key.of(&predictions)?;
        let passed = Passed {
            rows_in: input.num_rows() as u64,
            rows_out: predictions.num_rows() as u64,
            rejected: encoded.rejected,
            unseen: encoded.unseen,
            imputed: encoded.imputed,
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
    // As many batches as there are threads are in work, and as many more wait for their turn.
    let in_work = engine.runtime.threads() * 2;
    let mut scored = input
        .map(|batch| {
            let (scorer, runtime) = (scorer.clone(), engine.runtime.clone());
            async move {
                let batch = batch?;
                runtime.compute(move || scorer.score(&batch)).await
            }
        })
        .buffered(in_work);
    while let Some(next) = scored.next().await {
        let next = next?;
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
    passed.duplicate_keys = engine.runtime.block(move || duplicates.count()).await?;
    Ok((passed, content.finish()))
}

impl Passed {
    fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.rejected.merge(&other.rejected);
        self.unseen.merge(&other.unseen);
        self.imputed.merge(&other.imputed);
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
