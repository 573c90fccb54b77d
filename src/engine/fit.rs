//! Fitting and measuring: pure computation over batches in memory, run on the compute pool. So are algorithms
//! fitted that need all encoded rows at once; those that learn from bins stream (see `binned`).

use super::dataset::{DataCounts, Dataset, Observed, Source, predicted, rows_of};
use super::dense::DenseLimit;
use super::scored::{ScoredRows, keys_of};
use crate::error::{Error, Result, ResultExt};
use crate::features::{ClassWeight, Encoder, EncoderOptions, Labels, Signature, Split, folds, row_weights};
use crate::metrics::{ConfusionMatrix, MetricOptions, MetricValue, confusion_matrix, evaluate};
use crate::models::{Algorithm, Params, Predictor, TrainingSet, baseline};
use crate::registry::golden::GOLDEN_ROWS;
use crate::task::Task;
use arrow::array::RecordBatch;
use rayon::prelude::*;

/// How a model is to be fitted.
pub struct Recipe {
    /// Binary, multiclass or regression.
    pub task: Task,
    /// What learns.
    pub algorithm: &'static dyn Algorithm,
    /// Its hyperparameters.
    pub params: Params,
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
}

/// A fitted model and how good it is.
pub struct Fitted {
    /// Fitted on the training rows alone.
    pub encoder: Encoder,
    /// The model.
    pub predictor: Predictor,
    /// The classes' names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Rows it was fitted on.
    pub train_rows: u64,
    /// Rows it was measured on.
    pub test_rows: u64,
    /// Rows between the two windows, which are neither fitted nor measured on; 0 for a split by hash.
    pub gap_rows: u64,
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
    /// The test rows and what the model gives for them.
    pub tested: ScoredRows,
    /// The first test rows with the columns of the signature.
    pub golden: RecordBatch,
}

/// Fits the model and its baseline on the training rows of `split` and measures both on its test rows, all of
/// which are in memory.
///
/// # Errors
/// `check` for labels or weights that can't be learned from; what the algorithm refuses; `budget` where the
/// encoded rows would not fit into `limit`.
pub fn fit(recipe: &Recipe, source: Source<'_>, key: &[String], split: &Split, limit: &DenseLimit) -> Result<Fitted> {
    let (train, test) = (split.train.as_slice(), split.test.as_slice());
    let labels = Labels::fit(source.batches, source.label, recipe.task, Some(train))?;
    let encoder = Encoder::fit(&recipe.signature, source.batches, Some(&labels.known), &recipe.encoder)?;
    limit.check((train.len() + test.len()) as u64, encoder.features())?;
    let train = Dataset::encode(source, &encoder, &labels)?;
    let predictor = recipe.fit(recipe.algorithm, &recipe.params, &train, &labels.classes)?;
    let naive = recipe.fit(baseline(recipe.task), &Params::new(), &train, &labels.classes)?;
    let test_labels = Labels::encode(source.batches, source.label, recipe.task, &labels.classes, Some(test))?;
    let test = Dataset::encode(source, &encoder, &test_labels)?;
    if test.rows.is_empty() {
        return Err(no_test_label());
    }
    let classes = labels.classes.len();
    let outputs = predicted(&test.block, &predictor);
    let metrics = recipe.measure(&test.observed, classes, &outputs)?;
    let confusion = recipe.confuse(&test.observed, classes, &outputs)?;
    let baseline = recipe.measure(&test.observed, classes, &predicted(&test.block, &naive))?;
    let cross_validation = recipe.cross_validate(source, &train, &labels)?;
    let train_labels = train.as_labels(recipe.task, &labels.classes);
    // Rows that the encoder has taken, so that each gives a prediction.
    let columns: Vec<&str> = recipe.signature.columns.iter().map(|column| column.name.as_str()).collect();
    let golden = rows_of(source.batches, &columns, &test.rows[..test.rows.len().min(GOLDEN_ROWS)])?;
    let keys = keys_of(source.batches, key, &test.rows)?;
    Ok(Fitted {
        encoder,
        predictor,
        train_rows: train.rows.len() as u64,
        test_rows: test.rows.len() as u64,
        gap_rows: split.outside,
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

/// Nothing can be measured.
pub fn no_test_label() -> Error {
    Error::check("the test window has no row with a known label")
        .hint("move `label_delay`, `model.split` or the interval to where labels are known")
}

impl Recipe {
    fn fit(&self, algorithm: &dyn Algorithm, params: &Params, data: &Dataset, classes: &[String]) -> Result<Predictor> {
        let labels = data.as_labels(self.task, classes);
        let weights = row_weights(&labels, self.class_weight.as_ref(), data.observed.samples.as_deref())?;
        let training = TrainingSet {
            features: &data.block,
            labels: &data.observed.labels,
            weights: &weights,
            task: self.task,
            classes: classes.len(),
        };
        algorithm.fit(&training, params, self.seed).at("algorithm", algorithm.name())
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
            .map(|fold| self.hold_out(source, train, labels, &fold_of, fold))
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
        fold_of: &[usize],
        fold: usize,
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
        let predictor = self.fit(self.algorithm, &self.params, &encoded(&fitted_on, &encoder)?, &labels.classes)?;
        let held_out = encoded(&held_out, &encoder)?;
        let outputs = predicted(&held_out.block, &predictor);
        Ok((held_out.observed, outputs))
    }
}
