//! Fitting and measuring: pure computation over batches in memory, run on the compute pool. So are algorithms
//! fitted that need all encoded rows at once; those that learn from bins stream (see `binned`).

use super::dataset::{DataCounts, Dataset, Observed, Source, predicted, rows_of};
use super::dense::DenseLimit;
use super::moments::{Moments, WatchedRows};
use super::scored::{ScoredRows, keys_of};
use super::search::{Folds, Search, Searched};
use super::segments::{Routed, RowsOf, SegmentRule};
use crate::error::{Error, Result, ResultExt};
use crate::features::{
    ClassWeight, Encoder, EncoderOptions, EventTimes, FeatureBlock, Labels, SegmentRows, Signature, Split, folds,
    row_weights,
};
use crate::job::JobSpec;
use crate::metrics::{ConfusionMatrix, MetricOptions, MetricValue, confusion_matrix, evaluate};
use crate::models::{
    Algorithm, Learned, Params, Predictor, Rise, TrainingSet, baseline, measured_rows, permutation_importance,
};
use crate::registry::artifact::{SearchReport, SegmentModels};
use crate::registry::golden::GOLDEN_ROWS;
use crate::task::Task;
use arrow::array::RecordBatch;
use rayon::prelude::*;

/// How a model is to be fitted.
#[derive(Clone)]
pub struct Recipe {
    /// Binary, multiclass or regression.
    pub task: Task,
    /// What learns.
    pub algorithm: &'static dyn Algorithm,
    /// Its hyperparameters, apart from those that are searched.
    pub params: Params,
    /// The search for the others, if there is one.
    pub search: Option<Search>,
    /// Weights by class.
    pub class_weight: Option<ClassWeight>,
    /// For everything random.
    pub seed: u64,
    /// Which columns are features.
    pub signature: Signature,
    /// How they are encoded.
    pub encoder: EncoderOptions,
    /// How many folds of cross-validation, if any.
    pub folds: Option<usize>,
    /// How models are measured.
    pub options: MetricOptions,
    /// Which metrics; the task's usual ones if absent.
    pub metrics: Option<Vec<String>>,
    /// Which segments get models of their own; none: one model for all rows.
    pub segments: Option<SegmentRule>,
    /// Whether features are shuffled to see of what use they are.
    pub importance: bool,
}

/// A fitted model and how good it is.
pub struct Fitted {
    /// Fitted on the training rows alone.
    pub encoder: Encoder,
    /// The model.
    pub predictor: Predictor,
    /// The hyperparameters that it was fitted with.
    pub params: Params,
    /// The search that found them, if there was one.
    pub search: Option<SearchReport>,
    /// For each feature, by how much its splits lowered the training loss, where the algorithm knows that.
    pub gains: Option<Vec<f64>>,
    /// For each feature, by how much the loss rises when it is shuffled; empty unless the recipe asks for it.
    pub rises: Vec<Rise>,
    /// The classes' names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Rows it was fitted on.
    pub train_rows: u64,
    /// Rows it was measured on.
    pub test_rows: u64,
    /// Rows between the two windows, which are neither fitted nor measured on; 0 for a split by hash.
    pub gap_rows: u64,
    /// Rows without an event time, which are in no window; 0 for a split by hash.
    pub undated_rows: u64,
    /// How many of them are of each class; empty for regression.
    pub train_classes: Vec<u64>,
    /// What became of training rows that were not plain.
    pub train_counts: DataCounts,
    /// What became of test rows that were not plain.
    pub test_counts: DataCounts,
    /// On the test rows.
    pub metrics: Vec<MetricValue>,
    /// How often which class of the test rows was taken for which; absent for regression.
    pub confusion: Option<ConfusionMatrix>,
    /// The baseline's, on the same rows.
    pub baseline: Vec<MetricValue>,
    /// Over all folds' held-out training rows together, if cross-validated.
    pub cross_validation: Vec<MetricValue>,
    /// What became of the segments, where they have models of their own.
    pub segments: Option<SegmentModels>,
    /// The test rows and what the model gives for them.
    pub tested: ScoredRows,
    /// The first test rows with the columns of the signature.
    pub golden: RecordBatch,
}

/// What one fit gives.
struct Learnt {
    /// Behind the features it may give what names a segment.
    encoder: Encoder,
    predictor: Predictor,
    gains: Option<Vec<f64>>,
    routed: Option<Routed>,
}

/// Fits the model and its baseline on the training rows of `split` and measures both on its test rows, all of
/// which are in memory.
///
/// # Errors
/// `check` for labels or weights that can't be learned from; what the algorithm refuses; `budget` where the
/// encoded rows would not fit into `limit`.
pub fn fit(recipe: &Recipe, source: Source<'_>, spec: &JobSpec, split: &Split, limit: &DenseLimit) -> Result<Fitted> {
    let (train, test) = (split.train.as_slice(), split.test.as_slice());
    let labels = Labels::fit(source.batches, source.label, recipe.task, Some(train))?;
    let encoder = Encoder::fit(&recipe.signature, source.batches, Some(&labels.known), &recipe.encoder)?;
    // Folds are fitted side by side, each on rows of its own.
    let own = usize::from(recipe.segments.is_some());
    let sets = 1 + own + recipe.folds.map_or(0, |folds| folds.min(rayon::current_num_threads()));
    limit.check((train.len() + test.len()) as u64, encoder.features() * sets)?;
    let train = Dataset::encode(source, &encoder, &labels)?;
    let train_labels = train.as_labels(recipe.task, &labels.classes);
    let naive = recipe.naive(&train_labels, train.observed.samples.as_deref())?;
    let (chosen, search) = match &recipe.search {
        None => (None, None),
        Some(search) => {
            let (held, rows) = ((train.rows.len() + test.len()) as u64, train.rows.len() as u64);
            let at_once = limit.side_by_side(held, rows, encoder.features(), rayon::current_num_threads())?;
            let Searched { params, report } = recipe.search_held(search, source, spec, &train, &labels, at_once)?;
            (Some(recipe.with(params)), Some(report))
        }
    };
    let recipe = chosen.as_ref().unwrap_or(recipe);
    let learnt = recipe.learn(source, (&train, RowsOf::Training), encoder, &labels.classes)?;
    let Learnt { encoder, predictor, gains, routed } = learnt;
    let test_labels = Labels::encode(source.batches, source.label, recipe.task, &labels.classes, Some(test))?;
    let test = Dataset::encode(source, &encoder, &test_labels)?;
    if test.rows.is_empty() {
        return Err(no_test_label());
    }
    let classes = labels.classes.len();
    let outputs = predicted(&test.block, &predictor);
    let metrics = recipe.measure(&test.observed, classes, &outputs)?;
    let confusion = recipe.confuse(&test.observed, classes, &outputs)?;
    let baseline = recipe.measure(&test.observed, classes, &naive.predict(&FeatureBlock::zeros(test.rows.len(), 0)))?;
    let shuffled = recipe.shuffled_rows(test.rows.len(), encoder.features());
    let rises = recipe.rises(&predictor, &test.block.take(&shuffled), &shuffled, &test.observed);
    let cross_validation = recipe.cross_validate(source, &train, &labels)?;
    let segments =
        routed.map(|routed| routed.judged(&routed.losses(&predictor, &test.block, &test.observed.labels, &outputs)));
    // Rows that the encoder has taken, so that each gives a prediction.
    let columns: Vec<&str> = encoder.signature().columns.iter().map(|column| column.name.as_str()).collect();
    let golden = rows_of(source.batches, &columns, &test.rows[..test.rows.len().min(GOLDEN_ROWS)])?;
    let keys = keys_of(source.batches, &spec.features.key, &test.rows)?;
    Ok(Fitted {
        encoder,
        predictor,
        gains,
        params: recipe.params.clone(),
        search,
        rises,
        segments,
        train_rows: train.rows.len() as u64,
        test_rows: test.rows.len() as u64,
        gap_rows: split.outside,
        undated_rows: split.undated,
        train_classes: train_labels.class_counts(),
        train_counts: train.counts,
        test_counts: test.counts,
        metrics,
        confusion,
        baseline,
        cross_validation,
        classes: labels.classes,
        tested: ScoredRows { observed: test.observed, outputs, keys },
        golden,
    })
}

/// The moments of the given rows of the source.
fn moments(source: Source<'_>, key: &[String], seed: u64, rows: &[usize]) -> Result<Moments> {
    let key: Vec<&str> = key.iter().map(String::as_str).collect();
    let (mut moments, mut first, mut next) = (Moments::new(seed), 0, 0);
    for batch in source.batches {
        let end = first + batch.num_rows();
        let until = next + rows[next..].partition_point(|row| *row < end);
        let own: Vec<usize> = rows[next..until].iter().map(|row| row - first).collect();
        moments.add(batch, &EventTimes::read(std::slice::from_ref(batch), source.time)?, &key, &own);
        (first, next) = (end, until);
    }
    Ok(moments)
}

/// Nothing can be measured.
pub fn no_test_label() -> Error {
    Error::check("the test window has no row with a known label")
        .hint("move `label_delay`, `model.split` or the interval to where labels are known")
}

impl Recipe {
    /// The same with the parameters that a search has chosen.
    pub fn with(&self, params: Params) -> Self {
        Self { params, search: None, ..self.clone() }
    }

    /// The test rows that features are shuffled on; none unless asked for.
    pub fn shuffled_rows(&self, rows: usize, features: usize) -> Vec<usize> {
        if self.importance { measured_rows(rows, features) } else { Vec::new() }
    }

    /// By how much the loss of these test rows, encoded in `block`, rises when a feature is shuffled.
    pub fn rises(&self, predictor: &Predictor, block: &FeatureBlock, rows: &[usize], test: &Observed) -> Vec<Rise> {
        if rows.is_empty() {
            return Vec::new();
        }
        let labels: Vec<f64> = rows.iter().map(|row| test.labels[*row]).collect();
        permutation_importance(predictor, block, &labels, self.options.seed)
    }

    /// The baseline, which looks at labels alone and takes rows without features.
    ///
    /// # Errors
    /// `check` for weights that can't be learned from.
    pub fn naive(&self, labels: &Labels, samples: Option<&[f64]>) -> Result<Predictor> {
        let algorithm = baseline(self.task);
        let training = TrainingSet {
            features: &FeatureBlock::zeros(labels.values.len(), 0),
            labels: &labels.values,
            weights: &row_weights(labels, self.class_weight.as_ref(), samples)?,
            task: self.task,
            classes: labels.classes.len(),
        };
        algorithm.fit(&training, &Params::new(), self.seed).at("algorithm", algorithm.name())
    }

    /// Fits the model to these rows; with segments, the fallback and then each segment from its rows alone.
    fn learn(
        &self,
        source: Source<'_>,
        (train, of): (&Dataset, RowsOf),
        encoder: Encoder,
        classes: &[String],
    ) -> Result<Learnt> {
        let learned = Learned::from(self.fit(train, classes, self.seed)?);
        let alone = |Learned { predictor, gains }, encoder| Ok(Learnt { encoder, predictor, gains, routed: None });
        let Some(rule) = &self.segments else { return alone(learned, encoder) };
        let rows = rule.read(source.batches, &train.rows)?;
        if of == RowsOf::Fold && !rule.has_candidates(&rows) {
            return alone(learned, encoder);
        }
        let routes = rule.routes(&rows, &encoder)?;
        let (learned, routed) = routes.fit(rule, (&rows, of), self.seed, learned, |own, _, seed| {
            let own: Vec<usize> = own.iter().map(|row| *row as usize).collect();
            let part = Dataset {
                block: train.block.take(&own),
                observed: train.observed.only(&own),
                rows: Vec::new(),
                counts: DataCounts::default(),
            };
            self.fit(&part, classes, seed).map(Learned::from)
        })?;
        let Learned { predictor, gains } = learned;
        Ok(Learnt { encoder: routes.encoder, predictor, gains, routed: Some(routed) })
    }

    fn fit(&self, data: &Dataset, classes: &[String], seed: u64) -> Result<Predictor> {
        let labels = data.as_labels(self.task, classes);
        let weights = row_weights(&labels, self.class_weight.as_ref(), data.observed.samples.as_deref())?;
        let training = TrainingSet {
            features: &data.block,
            labels: &data.observed.labels,
            weights: &weights,
            task: self.task,
            classes: classes.len(),
        };
        self.algorithm.fit(&training, &self.params, seed).at("algorithm", self.algorithm.name())
    }

    /// Which of the given training rows (none: of all) a fit only watches.
    ///
    /// # Errors
    /// Wrong parameters; rows that neither time nor key tells apart.
    pub fn watched(&self, moments: &Moments, among: Option<&[u32]>) -> Result<Option<Vec<bool>>> {
        match self.algorithm.watched(&self.params)? {
            Some(share) => moments.watched(share, among),
            None => Ok(None),
        }
    }

    /// Which training rows the fits of all rows and of the segments only watch.
    ///
    /// # Errors
    /// As [`watched`](Self::watched).
    pub fn watched_rows(&self, moments: &Moments, segments: Option<&SegmentRows>) -> Result<WatchedRows> {
        let Some(share) = self.algorithm.watched(&self.params)? else { return Ok(WatchedRows::default()) };
        let of_segments = segments.map(|segments| moments.watched_of_segments(share, segments)).transpose()?;
        Ok(WatchedRows { all: moments.watched(share, None)?, of_segments })
    }

    /// The best setting by fits on some of the training rows, measured on others.
    ///
    /// The encoder is that of all training rows. It is made of features alone, never of a label: what a fold knows too
    /// much is where a feature's values lie.
    fn search_held(
        &self,
        search: &Search,
        source: Source<'_>,
        spec: &JobSpec,
        train: &Dataset,
        labels: &Labels,
        side_by_side: usize,
    ) -> Result<Searched> {
        let moments = &moments(source, &spec.features.key, self.seed, &train.rows)?;
        let folds = Folds::of(&spec.model, search.folds, moments)?;
        let numbers = |rows: Vec<u32>| -> Vec<usize> { rows.into_iter().map(|row| row as usize).collect() };
        search.run(self, side_by_side, |params, fold| {
            let learned = numbers(folds.learned(fold, moments)?);
            let predictor = self.with(params.clone()).fit(&train.only(&learned), &labels.classes, self.seed)?;
            let held_out = train.only(&numbers(folds.held_out(fold, moments)?));
            let outputs = predicted(&held_out.block, &predictor);
            search.measure(&held_out.observed.predictions(self.task, labels.classes.len(), &outputs), &self.options)
        })
    }

    /// Every metric that the job wants.
    ///
    /// # Errors
    /// What can't be measured.
    pub fn measure(&self, data: &Observed, classes: usize, outputs: &[f64]) -> Result<Vec<MetricValue>> {
        evaluate(&data.predictions(self.task, classes, outputs), &self.options, self.metrics.as_deref())
    }

    /// Which class was taken for which; none for regression.
    ///
    /// # Errors
    /// What can't be measured.
    pub fn confuse(&self, data: &Observed, classes: usize, outputs: &[f64]) -> Result<Option<ConfusionMatrix>> {
        match self.task {
            Task::Regression => Ok(None),
            Task::Binary | Task::Multiclass => {
                confusion_matrix(&data.predictions(self.task, classes, outputs), &self.options).map(Some)
            }
        }
    }

    /// Every training row predicted by a model that has not seen it, encoder included.
    fn cross_validate(&self, source: Source<'_>, train: &Dataset, labels: &Labels) -> Result<Vec<MetricValue>> {
        let Some(k) = self.folds else { return Ok(Vec::new()) };
        let fold_of = folds(&train.observed.labels, labels.classes.len(), k, self.seed)?;
        let parts: Vec<(Observed, Vec<f64>)> = (0..k)
            .into_par_iter()
            .map(|fold| self.hold_out(source, train, labels, (&fold_of, fold)))
            .collect::<Result<_>>()?;
        let samples: Option<Vec<Vec<f64>>> = parts.iter().map(|(data, _)| data.samples.clone()).collect();
        let all = Observed {
            labels: parts.iter().flat_map(|(data, _)| data.labels.iter().copied()).collect(),
            days: parts.iter().flat_map(|(data, _)| data.days.iter().copied()).collect(),
            samples: samples.map(|parts| parts.concat()),
        };
        let outputs: Vec<f64> = parts.iter().flat_map(|(_, outputs)| outputs.iter().copied()).collect();
        self.measure(&all, labels.classes.len(), &outputs)
    }

    fn hold_out(
        &self,
        source: Source<'_>,
        train: &Dataset,
        labels: &Labels,
        (fold_of, fold): (&[usize], usize),
    ) -> Result<(Observed, Vec<f64>)> {
        let rows_where = |inside: bool| -> Vec<usize> {
            let pairs = train.rows.iter().zip(fold_of);
            pairs.filter(|(_, of)| (**of == fold) == inside).map(|(row, _)| *row).collect()
        };
        let encoded = |rows: &[usize], encoder: &Encoder| -> Result<Dataset> {
            let chosen = Labels::encode(source.batches, source.label, self.task, &labels.classes, Some(rows))?;
            Dataset::encode(source, encoder, &chosen)
        };
        let (fitted_on, held_out) = (rows_where(false), rows_where(true));
        let encoder = Encoder::fit(&self.signature, source.batches, Some(&fitted_on), &self.encoder)?;
        let train = encoded(&fitted_on, &encoder)?;
        let Learnt { encoder, predictor, .. } = self.learn(source, (&train, RowsOf::Fold), encoder, &labels.classes)?;
        let held_out = encoded(&held_out, &encoder)?;
        let outputs = predicted(&held_out.block, &predictor);
        Ok((held_out.observed, outputs))
    }
}
