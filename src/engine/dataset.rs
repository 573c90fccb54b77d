//! Rows with known labels, encoded: what a model is fitted on and measured on.

use crate::error::{Error, Result, ResultExt};
use crate::features::{ColumnCounts, Encoded, Encoder, EventTimes, FeatureBlock, Labels, Rejections, sample_weights};
use crate::metrics::Predictions;
use crate::models::{Form, Predictor};
use crate::task::Task;
use arrow::array::RecordBatch;
use rayon::prelude::*;

/// How many rows are predicted at once; a block of this size stays in the cache.
const BLOCK_ROWS: usize = 1024;

/// Batches of a features query, and what their columns are for.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// All batches, in order.
    pub batches: &'a [RecordBatch],
    /// The label column.
    pub label: &'a str,
    /// The event time column.
    pub time: &'a str,
    /// The sample weight column, if there is one.
    pub weight: Option<&'a str>,
}

/// Encoded rows with a label each.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The features, `rows x features`.
    pub block: FeatureBlock,
    /// What else is known of each row.
    pub observed: Observed,
    /// The row's number among all rows of the source; one a row.
    pub rows: Vec<usize>,
    /// What was left out and what was filled in.
    pub counts: DataCounts,
}

/// What is known of rows apart from their features; enough to measure predictions by.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// 0/1, the class's index, or the value; one a row.
    pub labels: Vec<f64>,
    /// The event's day, days since 1970-01-01 in UTC; one a row.
    pub days: Vec<i32>,
    /// The sample weights, where there is a column of them; one a row.
    pub samples: Option<Vec<f64>>,
}

impl Observed {
    /// Adds day and sample weight of the given rows of a batch, whose first row is the number `first` of all.
    ///
    /// # Errors
    /// `check` for weights or times that can't be used, with the row's number among all.
    pub fn add(
        &mut self,
        batch: &RecordBatch,
        time: &str,
        weight: Option<&str>,
        rows: &[usize],
        first: usize,
    ) -> Result<()> {
        let batch = std::slice::from_ref(batch);
        let mut read = || -> Result<()> {
            self.days.extend(EventTimes::read(batch, time)?.days(rows).at("column", time)?);
            if let (Some(samples), Some(weight)) = (&mut self.samples, weight) {
                samples.extend(sample_weights(batch, weight, rows)?);
            }
            Ok(())
        };
        read().map_err(|error| error.counted_from("row", first))
    }

    /// Only these rows, in this order.
    pub fn only(&self, rows: &[usize]) -> Self {
        Self {
            labels: rows.iter().map(|row| self.labels[*row]).collect(),
            days: rows.iter().map(|row| self.days[*row]).collect(),
            samples: self.samples.as_ref().map(|samples| rows.iter().map(|row| samples[*row]).collect()),
        }
    }

    /// Labels and outputs as the metrics take them.
    pub fn predictions<'a>(&'a self, task: Task, classes: usize, outputs: &'a [f64]) -> Predictions<'a> {
        Predictions {
            task,
            classes,
            labels: &self.labels,
            outputs,
            weights: self.samples.as_deref(),
            days: Some(&self.days),
        }
    }
}

/// What became of rows that were not plain.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DataCounts {
    /// Rows whose label is not known yet.
    pub unlabelled: u64,
    /// Rows left out, by column and reason.
    pub rejected: Rejections,
    /// Values that are no level of their category, by column.
    pub unseen: ColumnCounts,
    /// Missing numbers that were filled in, by column.
    pub imputed: ColumnCounts,
}

impl Dataset {
    /// The rows of `labels`, encoded.
    ///
    /// # Errors
    /// `check` for weights or times that can't be used; what the encoder refuses.
    pub fn encode(source: Source<'_>, encoder: &Encoder, labels: &Labels) -> Result<Self> {
        let mut counts =
            DataCounts { unlabelled: labels.unlabelled, rejected: labels.rejected.clone(), ..Default::default() };
        let chosen = chosen_by_batch(source.batches, &labels.known);
        let encoded: Vec<Encoded> =
            chosen.par_iter().map(|(batch, local)| encoder.apply(&take_rows(batch, local)?)).collect::<Result<_>>()?;
        let mut kept_labels = Vec::with_capacity(labels.known.len());
        let mut rows = Vec::with_capacity(labels.known.len());
        let mut start = 0;
        for (encoded, (_, local)) in encoded.iter().zip(&chosen) {
            let mut keep = |position: usize| {
                kept_labels.push(labels.values[position]);
                rows.push(labels.known[position]);
            };
            match &encoded.kept {
                Some(kept) => kept.iter().for_each(|row| keep(start + row)),
                None => (start..start + local.len()).for_each(&mut keep),
            }
            start += local.len();
            counts.rejected.merge(&encoded.rejected);
            counts.unseen.merge(&encoded.unseen);
            counts.imputed.merge(&encoded.imputed);
        }
        let block = stacked(&encoded, encoder.features(), rows.len());
        let days = EventTimes::read(source.batches, source.time)?.days(&rows).at("column", source.time)?;
        let samples = source.weight.map(|name| sample_weights(source.batches, name, &rows)).transpose()?;
        Ok(Self { block, observed: Observed { labels: kept_labels, days, samples }, rows, counts })
    }

    /// Only these rows, in this order; nothing of it is counted again.
    pub fn only(&self, rows: &[usize]) -> Self {
        Self {
            block: self.block.take(rows),
            observed: self.observed.only(rows),
            rows: rows.iter().map(|row| self.rows[*row]).collect(),
            counts: DataCounts::default(),
        }
    }

    /// The labels as the features module keeps them, for class weights.
    pub fn as_labels(&self, task: Task, classes: &[String]) -> Labels {
        Labels {
            task,
            values: self.observed.labels.clone(),
            known: self.rows.clone(),
            classes: classes.to_vec(),
            unlabelled: 0,
            rejected: Rejections::default(),
        }
    }
}

/// What `predictor` gives for all rows of `block`, row-major; the same at any number of threads.
pub fn predicted(block: &FeatureBlock, predictor: &Predictor) -> Vec<f64> {
    let rows: Vec<usize> = (0..block.rows()).collect();
    let blocks: Vec<Vec<f64>> = rows.par_chunks(BLOCK_ROWS).map(|rows| predictor.predict(&block.take(rows))).collect();
    blocks.concat()
}

/// The predictions for several blocks, row-major each. A model with segments scores the rows of each segment together.
pub fn predicted_together(blocks: &[&FeatureBlock], predictor: &Predictor) -> Vec<Vec<f64>> {
    match predictor.form() {
        Form::Segmented(_) => predictor.predict_together(blocks),
        _ => blocks.par_iter().map(|block| predicted(block, predictor)).collect(),
    }
}

/// The batches that have chosen rows, each with the numbers of those rows within it.
pub fn chosen_by_batch<'a>(batches: &'a [RecordBatch], rows: &[usize]) -> Vec<(&'a RecordBatch, Vec<usize>)> {
    let mut chosen = Vec::new();
    let (mut start, mut next) = (0, 0);
    for batch in batches {
        let end = start + batch.num_rows();
        let from = next;
        while next < rows.len() && rows[next] < end {
            next += 1;
        }
        if next > from {
            chosen.push((batch, rows[from..next].iter().map(|row| row - start).collect()));
        }
        start = end;
    }
    chosen
}

/// The given rows of a batch.
///
/// # Errors
/// `failed` where Arrow can't cut it.
pub fn take_rows(batch: &RecordBatch, rows: &[usize]) -> Result<RecordBatch> {
    if rows.len() == batch.num_rows() {
        return Ok(batch.clone());
    }
    let indices = arrow::array::UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
    arrow::compute::take_record_batch(batch, &indices).map_err(uncut)
}

/// Arrow can't cut a batch.
pub fn uncut(source: arrow::error::ArrowError) -> Error {
    Error::failed("could not cut the batches").because(source)
}

/// Only these columns, in the order of the batch.
///
/// # Errors
/// `failed` where Arrow can't cut it.
pub fn only_columns(batch: &RecordBatch, columns: &[&str]) -> Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    let chosen = fields.filter(|(_, field)| columns.contains(&field.name().as_str()));
    batch.project(&chosen.map(|(index, _)| index).collect::<Vec<_>>()).map_err(uncut)
}

fn stacked(encoded: &[Encoded], features: usize, rows: usize) -> FeatureBlock {
    let mut block = FeatureBlock::zeros(rows, features);
    for feature in 0..features {
        let mut to = block.column_mut(feature);
        for part in encoded {
            let (now, later) = to.split_at_mut(part.block.rows());
            now.copy_from_slice(part.block.column(feature));
            to = later;
        }
    }
    block
}

/// The given rows (ascending, numbered through all batches) with only `columns`, as one batch.
///
/// # Errors
/// `failed` where Arrow can't cut the batches, or there is no row.
pub fn rows_of(batches: &[RecordBatch], columns: &[&str], rows: &[usize]) -> Result<RecordBatch> {
    let mut parts = Vec::new();
    for (batch, local) in chosen_by_batch(batches, rows) {
        let schema = batch.schema();
        let indices: Vec<usize> = columns.iter().filter_map(|name| schema.index_of(name).ok()).collect();
        parts.push(take_rows(&batch.project(&indices).map_err(uncut)?, &local)?);
    }
    let first = parts.first().ok_or_else(|| Error::failed("there is no row to keep"))?;
    arrow::compute::concat_batches(&first.schema(), &parts).map_err(uncut)
}
