//! Fitting on binned features, from rows that were put aside: their number does not matter to memory, except for
//! the binned matrix (one byte a value, in a mapped file when it is large) and a few numbers a row.

use super::dataset::{DataCounts, Observed, predicted_together};
use super::fit::{Fitted, Recipe};
use super::matrix::MatrixWriter;
use super::moments::{Moments, WatchedRows};
use super::scored::{Key, ScoredRows, keys_of};
use super::search::{Folds, Search, Searched};
use super::segments::{Routed, Routes, RowLoss, RowsOf, bins_for};
use super::spool::Spooled;
use super::staged::{Part, Staged};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::features::{
    BinnedBlock, ColumnCounts, Encoded, Encoder, FeatureBins, FeatureBlock, Labels, SegmentRows, folds, row_weights,
};
use crate::job::ModelSpec;
use crate::metrics::MetricValue;
use crate::models::{BinnedSet, Learned, Predictor};
use crate::registry::golden::GOLDEN_ROWS;
use arrow::array::RecordBatch;
use rayon::prelude::*;
use std::ops::Range;

/// What a training that streams keeps in memory before it uses the disk.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimit {
    /// Training rows as the query gave them, and half as much of test rows, in bytes.
    pub held_bytes: usize,
    /// A binned matrix, in bytes.
    pub matrix_bytes: usize,
    /// Fits of a search side by side, in bytes; one at least is done.
    pub fits_bytes: usize,
}

/// Rows that are decoded from their bins and predicted at once.
const DECODED_ROWS: usize = 4096;
/// Bytes of encoded test rows that are predicted together, where that is more than a batch a thread.
const ENCODED_BYTES: usize = 32 << 20;
/// What a fit on bins holds for each row: weights, flags, the lists of rows.
const FIT_ROW_BYTES: usize = 40;
/// And for each of its outputs: the score, derivatives, predictions.
const FIT_OUTPUT_BYTES: usize = 32;
/// What it holds for each feature: histograms of some dozen leaves.
const FIT_FEATURE_BYTES: usize = 64 << 12;

impl StreamLimit {
    /// The share of `--memory`: a thirty-second part each, for fits a quarter.
    pub fn of(memory_bytes: u64) -> Self {
        let share = usize::try_from(memory_bytes / 32).unwrap_or(usize::MAX);
        Self { held_bytes: share, matrix_bytes: share, fits_bytes: share.saturating_mul(8) }
    }

    /// How many fits go side by side.
    fn side_by_side(self, rows: usize, features: usize, outputs: usize) -> usize {
        let rows = rows.saturating_mul(FIT_ROW_BYTES + outputs * FIT_OUTPUT_BYTES);
        let fit = rows.saturating_add(features.saturating_mul(FIT_FEATURE_BYTES));
        (self.fits_bytes / fit.max(1)).clamp(1, rayon::current_num_threads())
    }
}

/// Fits the model and its baseline on the training rows and measures both on the test rows.
///
/// # Errors
/// `check` for weights that can't be learned from; what the algorithm refuses; `failed` where the disk is full.
pub fn fit_binned(recipe: &Recipe, staged: Staged, key: &[String], limit: StreamLimit) -> Result<Fitted> {
    let Staged { encoder, bins, classes, mut train, mut test, gap_rows, undated_rows, moments, segments, job } = staged;
    let labels = train.take_labels(recipe.task, &classes);
    if u32::try_from(labels.values.len()).is_err() {
        return Err(Error::new(ErrorKind::Budget, "more training rows than 32 bits can number")
            .with("rows", labels.values.len())
            .hint("train on a sample of the rows"));
    }
    let naive = recipe.naive(&labels, train.observed.samples.as_deref())?;
    // What a search does not need is gone before the matrix is there.
    let (moments, watched) = match (moments, &recipe.search) {
        (Some(moments), None) => (None, recipe.watched_rows(&moments, segments.as_ref())?),
        (moments, _) => (moments, WatchedRows::default()),
    };
    let matrix = binned(&encoder, bins, labels.values.len(), &mut train.rows, limit, &mut train.counts)?;
    if recipe.folds.is_none() {
        // Nobody reads them again.
        train.rows = Spooled::default();
    }
    let routes = match (&recipe.segments, &segments) {
        (Some(rule), Some(rows)) => Some(rule.routes(rows, &encoder)?),
        _ => None,
    };
    let routes = routes.as_ref();
    let (chosen, search, watched) = match (&recipe.search, moments) {
        (Some(search), Some(moments)) => {
            let known = Known { labels: &labels, observed: &train.observed, moments: &moments };
            let fitting = Fitting { recipe, encoder: &encoder, routes, limit };
            let Searched { params, report } = fitting.search(search, &job.spec.model, &matrix, known)?;
            let chosen = recipe.with(params);
            let watched = chosen.watched_rows(&moments, segments.as_ref())?;
            (Some(chosen), Some(report), watched)
        }
        _ => (None, None, watched),
    };
    let recipe = chosen.as_ref().unwrap_or(recipe);
    let fitting = Fitting { recipe, encoder: &encoder, routes, limit };
    let samples = train.observed.samples.as_deref();
    let rows = RowsOfFit { of: RowsOf::Training, labels: &labels, samples, watched, segments };
    let (Learned { predictor, gains }, routed) = fitting.learn(&matrix, &rows)?;
    let folded = recipe.folds.map(|k| fitting.fit_folds(&matrix, &rows, k));
    drop(rows);
    drop(matrix);
    let folded = folded.transpose()?;
    let encoder = routes.map_or_else(|| encoder.clone(), |routes| routes.encoder.clone());
    let cross_validation = match folded {
        Some(folded) => measure_folds(recipe, &encoder, folded, &labels, &mut train)?,
        None => Vec::new(),
    };
    let shuffled = recipe.shuffled_rows(test.observed.labels.len(), encoder.features());
    let model = Testing { encoder: &encoder, predictor: &predictor, routed: routed.as_ref(), key };
    let tested = model.predict(&mut test, &shuffled)?;
    let Tested { outputs, keys, golden, shuffled: block, losses } = tested;
    let rises = recipe.rises(&predictor, &block, &shuffled, &test.observed);
    let metrics = recipe.measure(&test.observed, classes.len(), &outputs)?;
    let confusion = recipe.confuse(&test.observed, classes.len(), &outputs)?;
    let naive_outputs = naive.predict(&FeatureBlock::zeros(keys.len(), 0));
    let baseline = recipe.measure(&test.observed, classes.len(), &naive_outputs)?;
    Ok(Fitted {
        train_rows: labels.values.len() as u64,
        test_rows: keys.len() as u64,
        gap_rows,
        undated_rows,
        train_classes: labels.class_counts(),
        train_counts: train.counts,
        test_counts: test.counts,
        metrics,
        confusion,
        baseline,
        cross_validation,
        classes,
        tested: ScoredRows { observed: test.observed, outputs, keys },
        golden,
        encoder,
        predictor,
        params: recipe.params.clone(),
        search,
        gains,
        rises,
        segments: routed.map(|routed| routed.judged(&losses)),
    })
}

/// The matrix of the rows that were put aside; counts what was no level of its category.
fn binned(
    encoder: &Encoder,
    bins: Vec<FeatureBins>,
    rows: usize,
    spooled: &mut Spooled,
    limit: StreamLimit,
    counts: &mut DataCounts,
) -> Result<BinnedBlock> {
    let mut matrix = MatrixWriter::new(rows, bins.len(), limit.matrix_bytes)?;
    let mut first = 0;
    spooled.each(|batches| {
        let stripes: Vec<(ColumnCounts, Vec<Vec<u8>>)> = batches
            .par_iter()
            .map(|batch| {
                let encoded = encoder.apply(batch)?;
                let of_feature = |(feature, bins): (usize, &FeatureBins)| {
                    let mut column = vec![0; batch.num_rows()];
                    bins.bin_all(encoded.block.column(feature), &mut column);
                    column
                };
                Ok((encoded.unseen, bins.iter().enumerate().map(of_feature).collect()))
            })
            .collect::<Result<_>>()?;
        for feature in 0..bins.len() {
            // One write for all batches.
            let column: Vec<u8> = stripes.iter().flat_map(|(_, columns)| &columns[feature]).copied().collect();
            matrix.write(feature, first, &column)?;
        }
        stripes.iter().for_each(|(unseen, _)| counts.unseen.merge(unseen));
        first += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(())
    })?;
    if first != rows {
        return Err(Error::failed("other rows were put aside than labels read")
            .with("rows", first)
            .with("labels", rows));
    }
    BinnedBlock::new(rows, bins, matrix.finish()?)
}

/// What all fits of one training share.
struct Fitting<'a> {
    recipe: &'a Recipe,
    encoder: &'a Encoder,
    routes: Option<&'a Routes>,
    limit: StreamLimit,
}

/// What is known of the rows of a fit beside their features.
struct RowsOfFit<'a> {
    of: RowsOf,
    labels: &'a Labels,
    samples: Option<&'a [f64]>,
    watched: WatchedRows,
    segments: Option<SegmentRows>,
}

/// What a search knows of the training rows beside their bins.
#[derive(Clone, Copy)]
struct Known<'a> {
    labels: &'a Labels,
    /// Days and sample weights.
    observed: &'a Observed,
    moments: &'a Moments,
}

impl Fitting<'_> {
    /// The model of all rows; with segments, the models of those too, all as one.
    fn learn(&self, matrix: &BinnedBlock, rows: &RowsOfFit<'_>) -> Result<(Learned, Option<Routed>)> {
        let watched = rows.watched.all.as_deref();
        let learned = self.fit(matrix, rows.labels, rows.samples, watched, self.recipe.seed)?;
        let (Some(rule), Some(routes), Some(segments)) = (&self.recipe.segments, self.routes, &rows.segments) else {
            return Ok((learned, None));
        };
        let (order, _) = segments.by_segment();
        let grouped = self.picked(matrix, &order)?;
        drop(order);
        let fit = |own: &[u32], place: Range<usize>, seed: u64| {
            let part = grouped.part(place, bins_for(own.len()))?;
            let labels = labels_of(rows.labels, own);
            let samples = rows.samples.map(|samples| pick(samples, own));
            let watched = rows.watched.of_segments.as_ref().map(|watched| pick(watched, own));
            let watched = watched.filter(|watched| watched.contains(&true));
            self.fit(&part, &labels, samples.as_deref(), watched.as_deref(), seed)
        };
        let (learned, routed) = routes.fit(rule, (segments, rows.of), self.recipe.seed, learned, fit)?;
        Ok((learned, Some(routed)))
    }

    /// The matrix of only these rows, in this order.
    fn picked(&self, matrix: &BinnedBlock, rows: &[u32]) -> Result<BinnedBlock> {
        let mut part = MatrixWriter::new(rows.len(), matrix.features(), self.limit.matrix_bytes)?;
        for feature in 0..matrix.features() {
            part.write(feature, 0, &pick(matrix.column(feature), rows))?;
        }
        BinnedBlock::new(rows.len(), matrix.all_bins().to_vec(), part.finish()?)
    }

    fn fit(
        &self,
        matrix: &BinnedBlock,
        labels: &Labels,
        samples: Option<&[f64]>,
        watched: Option<&[bool]>,
        seed: u64,
    ) -> Result<Learned> {
        let recipe = self.recipe;
        let weights = match (&recipe.class_weight, samples) {
            (None, None) => None,
            (class_weight, samples) => Some(row_weights(labels, class_weight.as_ref(), samples)?),
        };
        let set = BinnedSet {
            bins: matrix,
            names: self.encoder.feature_names(),
            dropped: &self.encoder.dropped(),
            labels: &labels.values,
            weights: weights.as_deref(),
            task: recipe.task,
            classes: labels.classes.len(),
            validation: watched,
        };
        recipe.algorithm.fit_binned(&set, &recipe.params, seed).at("algorithm", recipe.algorithm.name())
    }

    /// The best setting by fits on some of the training rows, measured on others.
    ///
    /// All fits share one matrix: rows that a fold does not learn from weigh nothing in it, which is as if they were
    /// not there. Encoder and bins are those of all training rows; see [`Fitting::fit_folds`].
    fn search(&self, search: &Search, model: &ModelSpec, matrix: &BinnedBlock, known: Known<'_>) -> Result<Searched> {
        let (recipe, Known { labels, observed, moments }) = (self.recipe, known);
        let folds = Folds::of(model, search.folds, moments)?;
        let classes = labels.classes.len();
        let at_once = self.limit.side_by_side(matrix.rows(), matrix.features(), recipe.task.outputs(classes));
        search.run(recipe, at_once, |params, fold| {
            let recipe = &recipe.with(params.clone());
            let fitting = Fitting { recipe, ..*self };
            let predictor = fitting.fit_rows(matrix, known, &folds.learned(fold, moments)?)?;
            let rows = folds.held_out(fold, moments)?;
            let blocks: Vec<Vec<f64>> =
                rows.par_chunks(DECODED_ROWS).map(|rows| predictor.predict(&matrix.decoded(rows))).collect();
            let held_out = Observed {
                labels: pick(&labels.values, &rows),
                days: pick(&observed.days, &rows),
                samples: observed.samples.as_deref().map(|samples| pick(samples, &rows)),
            };
            search.measure(&held_out.predictions(recipe.task, classes, &blocks.concat()), &recipe.options)
        })
    }

    /// A model of these rows alone.
    fn fit_rows(&self, matrix: &BinnedBlock, known: Known<'_>, rows: &[u32]) -> Result<Predictor> {
        let (recipe, Known { labels, observed, moments }) = (self.recipe, known);
        let samples = observed.samples.as_deref().map(|samples| pick(samples, rows));
        let own = row_weights(&labels_of(labels, rows), recipe.class_weight.as_ref(), samples.as_deref())?;
        let mut weights = vec![0.0; matrix.rows()];
        rows.iter().zip(own).for_each(|(row, weight)| weights[*row as usize] = weight);
        let watched = recipe.watched(moments, Some(rows))?.map(|flags| {
            let mut watched = vec![false; matrix.rows()];
            rows.iter().zip(flags).for_each(|(row, flag)| watched[*row as usize] = flag);
            watched
        });
        let set = BinnedSet {
            bins: matrix,
            names: self.encoder.feature_names(),
            dropped: &self.encoder.dropped(),
            labels: &labels.values,
            weights: Some(&weights),
            task: recipe.task,
            classes: labels.classes.len(),
            validation: watched.as_deref(),
        };
        let learned = recipe.algorithm.fit_binned(&set, &recipe.params, recipe.seed);
        Ok(learned.at("algorithm", recipe.algorithm.name())?.predictor)
    }

    /// A model for each fold that has not seen its rows, and the fold of each row. One after the other: each
    /// uses all threads itself, and holds a matrix of its own.
    ///
    /// Encoder and bins are those of all training rows. They are made of features alone, never of a label, so
    /// nothing of a held-out label gets into them; what a fold knows too much is where a feature's values lie.
    fn fit_folds(&self, matrix: &BinnedBlock, all: &RowsOfFit<'_>, k: usize) -> Result<Folded> {
        let labels = all.labels;
        let fold_of = folds(&labels.values, labels.classes.len(), k, self.recipe.seed)?;
        let fold_of: Vec<u16> = fold_of.into_iter().map(|fold| fold as u16).collect();
        let mut predictors = Vec::with_capacity(k);
        for fold in 0..k as u16 {
            let numbered = (0u32..).zip(&fold_of);
            let rows: Vec<u32> = numbered.filter(|(_, of)| **of != fold).map(|(row, _)| row).collect();
            let own = labels_of(labels, &rows);
            let samples = all.samples.map(|samples| pick(samples, &rows));
            let watched = all.watched.only(&rows);
            let segments = all.segments.as_ref().map(|segments| segments.only(&rows));
            let part = self.picked(matrix, &rows)?;
            drop(rows);
            let own = RowsOfFit { of: RowsOf::Fold, labels: &own, samples: samples.as_deref(), watched, segments };
            predictors.push(self.learn(&part, &own).at("fold", fold)?.0.predictor);
        }
        Ok((predictors, fold_of))
    }
}

/// A model for each fold, and the fold of each row.
type Folded = (Vec<Predictor>, Vec<u16>);

/// Every training row predicted by the model that has not seen it, in one pass over the rows.
fn measure_folds(
    recipe: &Recipe,
    encoder: &Encoder,
    (predictors, fold_of): Folded,
    labels: &Labels,
    train: &mut Part,
) -> Result<Vec<MetricValue>> {
    let width = recipe.task.outputs(labels.classes.len());
    let (mut outputs, mut first) = (Vec::with_capacity(fold_of.len() * width), 0);
    train.rows.each(|batches| {
        let starts = starts(first, batches);
        let parts: Vec<Vec<f64>> = batches
            .par_iter()
            .zip(starts)
            .map(|(batch, start)| {
                let block = encoder.apply(batch)?.block;
                Ok(held_out(&block, &predictors, &fold_of[start..start + batch.num_rows()], width))
            })
            .collect::<Result<_>>()?;
        outputs.extend(parts.into_iter().flatten());
        first += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        Ok(())
    })?;
    let observed = Observed { labels: labels.values.clone(), ..std::mem::take(&mut train.observed) };
    recipe.measure(&observed, labels.classes.len(), &outputs)
}

/// The values of these rows.
fn pick<T: Copy>(values: &[T], rows: &[u32]) -> Vec<T> {
    rows.iter().map(|row| values[*row as usize]).collect()
}

/// The number of each batch's first row, where the first batch begins with `first`.
fn starts(first: usize, batches: &[RecordBatch]) -> Vec<usize> {
    let next = |next: &mut usize, batch: &RecordBatch| Some(std::mem::replace(next, *next + batch.num_rows()));
    batches.iter().scan(first, next).collect()
}

/// The outputs of each row by the model of its fold, row-major.
fn held_out(block: &FeatureBlock, predictors: &[Predictor], fold_of: &[u16], width: usize) -> Vec<f64> {
    let mut outputs = vec![0.0; fold_of.len() * width];
    for (fold, predictor) in predictors.iter().enumerate() {
        let rows: Vec<usize> = (0..fold_of.len()).filter(|row| usize::from(fold_of[*row]) == fold).collect();
        let own = predictor.predict(&block.take(&rows));
        for (row, values) in rows.iter().zip(own.chunks(width)) {
            outputs[row * width..(row + 1) * width].copy_from_slice(values);
        }
    }
    outputs
}

/// The labels of these rows.
fn labels_of(labels: &Labels, rows: &[u32]) -> Labels {
    Labels {
        task: labels.task,
        values: pick(&labels.values, rows),
        known: Vec::new(),
        classes: labels.classes.clone(),
        unlabelled: labels.unlabelled,
        rejected: labels.rejected.clone(),
    }
}

/// The model that test rows are predicted by.
struct Testing<'a> {
    encoder: &'a Encoder,
    predictor: &'a Predictor,
    routed: Option<&'a Routed>,
    key: &'a [String],
}

/// The test rows, predicted as they pass.
struct Tested {
    outputs: Vec<f64>,
    keys: Vec<Key>,
    golden: RecordBatch,
    /// Those rows whose features are to be shuffled.
    shuffled: FeatureBlock,
    /// By which model of the segments each row is scored, and how well; none without segments.
    losses: Vec<RowLoss>,
}

/// What becomes of one batch of test rows.
struct TestedBatch {
    unseen: ColumnCounts,
    outputs: Vec<f64>,
    keys: Vec<Key>,
    shuffled: FeatureBlock,
    losses: Vec<RowLoss>,
}

impl Testing<'_> {
    fn predict(&self, test: &mut Part, shuffled: &[usize]) -> Result<Tested> {
        let (mut outputs, mut keys, mut golden, mut kept) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut taken, mut losses, mut first) = (vec![Vec::new(); self.encoder.features()], Vec::new(), 0);
        let (labels, counts) = (&test.observed.labels, &mut test.counts);
        test.rows.each(|batches| {
            for part in self.batches(batches, &starts(first, batches), labels, shuffled)? {
                counts.unseen.merge(&part.unseen);
                outputs.extend(part.outputs);
                keys.extend(part.keys);
                losses.extend(part.losses);
                taken.iter_mut().enumerate().for_each(|(feature, own)| own.extend(part.shuffled.column(feature)));
            }
            first += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            for batch in batches {
                let more = batch.num_rows().min(GOLDEN_ROWS - kept);
                if more > 0 {
                    golden.push(batch.slice(0, more));
                    kept += more;
                }
            }
            Ok(())
        })?;
        let first = golden.first().ok_or_else(|| Error::failed("there is no row to keep"))?;
        let golden = arrow::compute::concat_batches(&first.schema(), &golden).map_err(super::dataset::uncut)?;
        let shuffled = FeatureBlock::from_columns(shuffled.len(), &taken);
        Ok(Tested { outputs, keys, golden, shuffled, losses })
    }

    /// Some batches, whose first rows have these numbers among all test rows.
    fn batches(
        &self,
        batches: &[RecordBatch],
        starts: &[usize],
        labels: &[f64],
        shuffled: &[usize],
    ) -> Result<Vec<TestedBatch>> {
        let row_bytes = self.encoder.features().max(1) * size_of::<f64>();
        let largest = batches.iter().map(RecordBatch::num_rows).max().unwrap_or(0) * row_bytes;
        let together = (ENCODED_BYTES / largest.max(1)).max(rayon::current_num_threads());
        let mut tested = Vec::with_capacity(batches.len());
        for (batches, starts) in batches.chunks(together).zip(starts.chunks(together)) {
            let encoded: Vec<Encoded> =
                batches.par_iter().map(|batch| self.encoder.apply(batch)).collect::<Result<_>>()?;
            let blocks: Vec<&FeatureBlock> = encoded.iter().map(|encoded| &encoded.block).collect();
            let outputs = predicted_together(&blocks, self.predictor);
            let each = |((batch, start), (encoded, outputs)): ((&RecordBatch, &usize), (Encoded, Vec<f64>))| {
                self.batch(batch, encoded, outputs, *start..*start + batch.num_rows(), labels, shuffled)
            };
            let known = encoded.into_par_iter().zip(outputs);
            let parts: Vec<TestedBatch> = batches.par_iter().zip(starts).zip(known).map(each).collect::<Result<_>>()?;
            tested.extend(parts);
        }
        Ok(tested)
    }

    /// One batch, whose rows have these numbers among all test rows.
    fn batch(
        &self,
        batch: &RecordBatch,
        Encoded { block, unseen, .. }: Encoded,
        outputs: Vec<f64>,
        rows: Range<usize>,
        labels: &[f64],
        shuffled: &[usize],
    ) -> Result<TestedBatch> {
        let all: Vec<usize> = (0..batch.num_rows()).collect();
        let keys = keys_of(std::slice::from_ref(batch), self.key, &all)?;
        let wanted = shuffled.iter().filter(|row| rows.contains(row));
        let wanted: Vec<usize> = wanted.map(|row| row - rows.start).collect();
        let losses = self
            .routed
            .map(|routed| routed.losses(self.predictor, &block, &labels[rows], &outputs))
            .unwrap_or_default();
        Ok(TestedBatch { unseen, outputs, keys, shuffled: block.take(&wanted), losses })
    }
}
