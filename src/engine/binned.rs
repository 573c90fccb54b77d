//! Fitting on binned features, from rows that were put aside: their number does not matter to memory, except for
//! the binned matrix (one byte a value, in a mapped file when it is large) and a few numbers a row.

use super::dataset::{DataCounts, Observed, predicted};
use super::fit::{Fitted, Recipe};
use super::matrix::MatrixWriter;
use super::moments::Moments;
use super::scored::{Key, ScoredRows, keys_of};
use super::search::{Folds, Search, Searched};
use super::spool::Spooled;
use super::staged::{Part, Staged};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::features::{BinnedBlock, ColumnCounts, Encoder, FeatureBins, FeatureBlock, Labels, folds, row_weights};
use crate::job::ModelSpec;
use crate::metrics::MetricValue;
use crate::models::{BinnedSet, Learned, Params, Predictor, TrainingSet, baseline};
use crate::registry::golden::GOLDEN_ROWS;
use arrow::array::RecordBatch;
use rayon::prelude::*;

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
    let Staged { encoder, bins, classes, mut train, mut test, gap_rows, moments, job } = staged;
    let labels = train.take_labels(recipe.task, &classes);
    if u32::try_from(labels.values.len()).is_err() {
        return Err(Error::new(ErrorKind::Budget, "more training rows than 32 bits can number")
            .with("rows", labels.values.len())
            .hint("train on a sample of the rows"));
    }
    let naive = naive(recipe, &labels, train.observed.samples.as_deref())?;
    // What a search does not need is gone before the matrix is there.
    let (moments, watched) = match (moments, &recipe.search) {
        (Some(moments), None) => (None, recipe.watched(&moments, None)?),
        (moments, _) => (moments, None),
    };
    let matrix = binned(&encoder, bins, labels.values.len(), &mut train.rows, limit, &mut train.counts)?;
    if recipe.folds.is_none() {
        // Nobody reads them again.
        train.rows = Spooled::default();
    }
    let (chosen, search, watched) = match (&recipe.search, moments) {
        (Some(search), Some(moments)) => {
            let known = Known { labels: &labels, observed: &train.observed, moments: &moments };
            let fitting = Fitting { recipe, encoder: &encoder, limit };
            let Searched { params, report } = fitting.search(search, &job.spec.model, &matrix, known)?;
            let chosen = recipe.with(params);
            let watched = chosen.watched(&moments, None)?;
            (Some(chosen), Some(report), watched)
        }
        _ => (None, None, watched),
    };
    let recipe = chosen.as_ref().unwrap_or(recipe);
    let fitting = Fitting { recipe, encoder: &encoder, limit };
    let samples = train.observed.samples.as_deref();
    let Learned { predictor, gains } = fitting.fit(&matrix, &labels, samples, watched.as_deref())?;
    let folded = recipe.folds.map(|k| fitting.fit_folds(&matrix, &labels, samples, watched.as_deref(), k));
    drop(matrix);
    let cross_validation = match folded.transpose()? {
        Some(folded) => fitting.measure_folds(folded, &labels, &mut train)?,
        None => Vec::new(),
    };
    let shuffled = recipe.shuffled_rows(test.observed.labels.len(), encoder.features());
    let tested = Tested::predict(&encoder, &predictor, &mut test.rows, key, &shuffled, &mut test.counts)?;
    let Tested { outputs, keys, golden, shuffled: block } = tested;
    let rises = recipe.rises(&predictor, &block, &shuffled, &test.observed);
    let metrics = recipe.measure(&test.observed, classes.len(), &outputs)?;
    let confusion = recipe.confuse(&test.observed, classes.len(), &outputs)?;
    let naive_outputs = naive.predict(&FeatureBlock::zeros(keys.len(), 0));
    let baseline = recipe.measure(&test.observed, classes.len(), &naive_outputs)?;
    Ok(Fitted {
        train_rows: labels.values.len() as u64,
        test_rows: keys.len() as u64,
        gap_rows,
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
    })
}

/// The baseline, which looks at labels alone.
fn naive(recipe: &Recipe, labels: &Labels, samples: Option<&[f64]>) -> Result<Predictor> {
    let algorithm = baseline(recipe.task);
    let training = TrainingSet {
        features: &FeatureBlock::zeros(labels.values.len(), 0),
        labels: &labels.values,
        weights: &row_weights(labels, recipe.class_weight.as_ref(), samples)?,
        task: recipe.task,
        classes: labels.classes.len(),
    };
    algorithm.fit(&training, &Params::new(), recipe.seed).at("algorithm", algorithm.name())
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
    limit: StreamLimit,
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
    fn fit(
        &self,
        matrix: &BinnedBlock,
        labels: &Labels,
        samples: Option<&[f64]>,
        watched: Option<&[bool]>,
    ) -> Result<Learned> {
        let recipe = self.recipe;
        let weights = match (&recipe.class_weight, samples) {
            (None, None) => None,
            (class_weight, samples) => Some(row_weights(labels, class_weight.as_ref(), samples)?),
        };
        let set = BinnedSet {
            bins: matrix,
            names: self.encoder.feature_names(),
            labels: &labels.values,
            weights: weights.as_deref(),
            task: recipe.task,
            classes: labels.classes.len(),
            validation: watched,
        };
        recipe.algorithm.fit_binned(&set, &recipe.params, recipe.seed).at("algorithm", recipe.algorithm.name())
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
            let pick = |values: &[f64]| -> Vec<f64> { rows.iter().map(|row| values[*row as usize]).collect() };
            let held_out = Observed {
                labels: pick(&labels.values),
                days: rows.iter().map(|row| observed.days[*row as usize]).collect(),
                samples: observed.samples.as_deref().map(pick),
            };
            search.measure(&held_out.predictions(recipe.task, classes, &blocks.concat()), &recipe.options)
        })
    }

    /// A model of these rows alone.
    fn fit_rows(&self, matrix: &BinnedBlock, known: Known<'_>, rows: &[u32]) -> Result<Predictor> {
        let (recipe, Known { labels, observed, moments }) = (self.recipe, known);
        let pick = |values: &[f64]| -> Vec<f64> { rows.iter().map(|row| values[*row as usize]).collect() };
        let own = Labels { values: pick(&labels.values), classes: labels.classes.clone(), ..labels_of(labels) };
        let own = row_weights(&own, recipe.class_weight.as_ref(), observed.samples.as_deref().map(pick).as_deref())?;
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
    fn fit_folds(
        &self,
        matrix: &BinnedBlock,
        labels: &Labels,
        samples: Option<&[f64]>,
        watched: Option<&[bool]>,
        k: usize,
    ) -> Result<(Vec<Predictor>, Vec<u16>)> {
        let fold_of = folds(&labels.values, labels.classes.len(), k, self.recipe.seed)?;
        let fold_of: Vec<u16> = fold_of.into_iter().map(|fold| fold as u16).collect();
        let mut predictors = Vec::with_capacity(k);
        for fold in 0..k as u16 {
            let numbered = (0u32..).zip(&fold_of);
            let rows: Vec<u32> = numbered.filter(|(_, of)| **of != fold).map(|(row, _)| row).collect();
            let pick = |values: &[f64]| -> Vec<f64> { rows.iter().map(|row| values[*row as usize]).collect() };
            let own = Labels { values: pick(&labels.values), classes: labels.classes.clone(), ..labels_of(labels) };
            let samples = samples.map(pick);
            let watched: Option<Vec<bool>> =
                watched.map(|watched| rows.iter().map(|row| watched[*row as usize]).collect());
            let mut part = MatrixWriter::new(rows.len(), matrix.features(), self.limit.matrix_bytes)?;
            for feature in 0..matrix.features() {
                let column = matrix.column(feature);
                let taken: Vec<u8> = rows.iter().map(|row| column[*row as usize]).collect();
                part.write(feature, 0, &taken)?;
            }
            let part = BinnedBlock::new(rows.len(), matrix.all_bins().to_vec(), part.finish()?)?;
            drop(rows);
            let learned = self.fit(&part, &own, samples.as_deref(), watched.as_deref()).at("fold", fold)?;
            predictors.push(learned.predictor);
        }
        Ok((predictors, fold_of))
    }

    /// Every training row predicted by the model that has not seen it, in one pass over the rows.
    fn measure_folds(
        &self,
        (predictors, fold_of): (Vec<Predictor>, Vec<u16>),
        labels: &Labels,
        train: &mut Part,
    ) -> Result<Vec<MetricValue>> {
        let width = self.recipe.task.outputs(labels.classes.len());
        let (mut outputs, mut first) = (Vec::with_capacity(fold_of.len() * width), 0);
        train.rows.each(|batches| {
            let starts = starts(first, batches);
            let parts: Vec<Vec<f64>> = batches
                .par_iter()
                .zip(starts)
                .map(|(batch, start)| {
                    let block = self.encoder.apply(batch)?.block;
                    Ok(held_out(&block, &predictors, &fold_of[start..start + batch.num_rows()], width))
                })
                .collect::<Result<_>>()?;
            outputs.extend(parts.into_iter().flatten());
            first += batches.iter().map(RecordBatch::num_rows).sum::<usize>();
            Ok(())
        })?;
        let observed = Observed { labels: labels.values.clone(), ..std::mem::take(&mut train.observed) };
        self.recipe.measure(&observed, labels.classes.len(), &outputs)
    }
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

/// The same labels without values and classes.
fn labels_of(labels: &Labels) -> Labels {
    Labels {
        task: labels.task,
        values: Vec::new(),
        known: Vec::new(),
        classes: Vec::new(),
        unlabelled: labels.unlabelled,
        rejected: labels.rejected.clone(),
    }
}

/// The test rows, predicted as they pass.
struct Tested {
    outputs: Vec<f64>,
    keys: Vec<Key>,
    golden: RecordBatch,
    /// Those rows whose features are to be shuffled.
    shuffled: FeatureBlock,
}

impl Tested {
    fn predict(
        encoder: &Encoder,
        predictor: &Predictor,
        rows: &mut Spooled,
        key: &[String],
        shuffled: &[usize],
        counts: &mut DataCounts,
    ) -> Result<Self> {
        let (mut outputs, mut keys, mut golden, mut kept) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut taken, mut first) = (vec![Vec::new(); encoder.features()], 0);
        rows.each(|batches| {
            let starts = starts(first, batches);
            let parts: Vec<(ColumnCounts, Vec<f64>, Vec<Key>, FeatureBlock)> = batches
                .par_iter()
                .zip(starts)
                .map(|(batch, start)| {
                    let encoded = encoder.apply(batch)?;
                    let all: Vec<usize> = (0..batch.num_rows()).collect();
                    let keys = keys_of(std::slice::from_ref(batch), key, &all)?;
                    let wanted = shuffled.iter().filter_map(|row| row.checked_sub(start));
                    let wanted: Vec<usize> = wanted.filter(|row| *row < batch.num_rows()).collect();
                    let block = encoded.block.take(&wanted);
                    Ok((encoded.unseen, predicted(&encoded.block, predictor), keys, block))
                })
                .collect::<Result<_>>()?;
            for (unseen, own, own_keys, block) in parts {
                counts.unseen.merge(&unseen);
                outputs.extend(own);
                keys.extend(own_keys);
                taken.iter_mut().enumerate().for_each(|(feature, own)| own.extend(block.column(feature)));
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
        Ok(Self { outputs, keys, golden, shuffled })
    }
}
