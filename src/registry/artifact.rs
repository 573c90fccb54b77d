//! What makes a model, apart from its predictor: enough to score with it, to read about it and to
//! train it again. No clock, no host, no environment: the same training gives the same bytes.

use crate::features::{Encoder, Signature};
use crate::task::Task;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The version of the format of `artifact.json` and of alias records; raised with every change.
///
/// 2 added the job's settings, which class was taken for which, and point-in-time joins; 3 of what use each feature
/// was, where an imported model came from, and declared windows; 4 the models of segments and what a search for parameters
/// has tried. Files of older formats lack them and are still read.
pub const FORMAT: u32 = 4;

/// A trained model without its predictor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The model's name.
    pub model: String,
    /// What it predicts.
    pub task: Task,
    /// The classes' names in the order of the outputs; none for regression.
    pub classes: Vec<String>,
    /// The algorithm's name in the job file.
    pub algorithm: String,
    /// The hyperparameters; after a search with the best setting.
    pub params: Map<String, Value>,
    /// For everything random in training.
    pub seed: u64,
    /// How classes were weighted, in words; absent where all weigh the same.
    pub class_weight: Option<String>,
    /// From which probability on a row counts as positive; absent where it is not binary.
    pub threshold: Option<f64>,
    /// The SQL that gives the features, in training and in scoring.
    pub features: FeatureSql,
    /// Fitted on the training rows; holds the signature.
    pub encoder: Encoder,
    /// Which span of time it learned from.
    pub windows: TrainingWindows,
    /// How many rows it saw.
    pub rows: RowCounts,
    /// The pinned tables, by their names in SQL.
    pub inputs: BTreeMap<String, Input>,
    /// Quality on the test rows, by the metrics' names.
    pub metrics: BTreeMap<String, Measured>,
    /// How often (or with what weight) which class of the test rows was taken for which:
    /// `confusion[actual][predicted]` in the order of the classes; absent for regression.
    #[serde(default)]
    pub confusion: Option<Vec<Vec<f64>>>,
    /// The baseline on the same rows.
    pub baseline: Baseline,
    /// Quality on held-out folds of the training rows; absent where it was not cross-validated.
    pub cross_validation: Option<CrossValidation>,
    /// The search that the hyperparameters were found by; absent where there was none. Since format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchReport>,
    /// How much each feature was of use to the fit, the most useful first; none where the algorithm does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gains: Vec<FeatureGain>,
    /// By how much the loss of test rows rises when a feature is shuffled, the most first; none where the job did not
    /// ask for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permutation: Vec<FeatureRise>,
    /// What became of the segments, where each has a model of its own; absent where there is one model for all rows.
    /// Since format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<SegmentModels>,
    /// The job's settings that decide how a model turns out, as they were after the command line's changes: what
    /// the fingerprint is over, apart from tables and SQL. Null in files of format 1.
    #[serde(default)]
    pub job: Value,
    /// Over everything that the training was made from: the same fingerprint, the same model.
    pub fingerprint: String,
    /// The version of the rules by which a fingerprint stands for bytes.
    pub binary_format: u32,
    /// Where an imported model came from; absent for a model that was trained here. Since format 3: what else an
    /// artifact says of a training is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// What a search for hyperparameters has tried, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchReport {
    /// How settings were chosen.
    pub method: String,
    /// The metric by which they were compared.
    pub metric: String,
    /// On how many folds of the training rows each was measured.
    pub folds: u64,
    /// How many settings there were to try; those that `tried` lacks were left out for want of time.
    pub settings: u64,
    /// The number of the best one among those that were tried, from 0.
    pub chosen: u64,
    /// What was tried, in its order.
    pub tried: Vec<TriedSetting>,
}

/// One setting of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TriedSetting {
    /// What it set of the parameters.
    pub params: Map<String, Value>,
    /// The mean of the metric over the folds; absent where a fit failed.
    pub mean: Option<f64>,
    /// Its standard deviation between folds (of a sample).
    pub deviation: Option<f64>,
    /// The metric on each fold.
    pub folds: Vec<f64>,
    /// Why a fit failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// The file of another library that a model was imported from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Its name, without its place.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Over its bytes (hex).
    pub sha256: String,
    /// The format, as the importer is called.
    pub format: String,
    /// What it says of itself: the format's version, the objective, how many trees.
    pub facts: Map<String, Value>,
    /// What somebody should know who compares predictions with those of the library.
    pub notes: Vec<String>,
    /// The features' names in the file, where it names them, in the order of the columns.
    pub features: Vec<Option<String>>,
    /// What was shown on rows with known predictions; absent where nothing was.
    pub parity: Option<Parity>,
}

/// That predictions are those of the library.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parity {
    /// On how many rows.
    pub rows: u64,
    /// How far a prediction might be off: absolutely up to 1, relatively beyond.
    pub tolerance: f64,
    /// How far the worst one was.
    pub largest_difference: f64,
}

impl Artifact {
    /// The columns that the features SQL must give.
    pub fn signature(&self) -> &Signature {
        self.encoder.signature()
    }
}

/// The models of segments, and those segments that have none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentModels {
    /// The columns whose values name a segment.
    pub by: Vec<String>,
    /// The fewest training rows of a segment with a model of its own.
    pub min_rows: u64,
    /// Segments among the training rows.
    pub found: u64,
    /// Segments with a model of their own.
    pub models: u64,
    /// Segments with too few training rows.
    pub small: u64,
    /// Segments with enough rows from which nothing could be learned: all of one class, for example.
    pub refused: u64,
    /// The first of those, in the order of their names.
    pub refused_first: Vec<RefusedSegment>,
    /// Training rows of segments with a model.
    pub train_rows: u64,
    /// All other training rows; those, too, are learned from by the fallback, which learns from all.
    pub fallback_train_rows: u64,
    /// Test rows.
    pub test_rows: u64,
    /// Test rows that the fallback scored.
    pub fallback_test_rows: u64,
    /// The mean loss of the test rows: logarithmic for classes, the squared error for regression.
    #[serde(with = "nullable")]
    pub loss: f64,
    /// What it would be if the fallback scored all of them.
    #[serde(with = "nullable")]
    pub fallback_loss: f64,
    /// Segments with a model and enough test rows to be judged by.
    pub judged: u64,
    /// How many of them lose more by their own model than they would by the fallback.
    pub worse: u64,
    /// Of those judged, the ones that lose most by their own model, or gain least.
    pub worst: Vec<SegmentLoss>,
}

/// A segment without a model, though it has enough rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedSegment {
    /// Its value of each column.
    pub segment: Vec<String>,
    /// Its training rows.
    pub rows: u64,
    /// Why, as an error says it.
    pub why: String,
}

/// How good a segment's model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentLoss {
    /// Its value of each column.
    pub segment: Vec<String>,
    /// Its test rows.
    pub rows: u64,
    /// The mean loss by its own model.
    #[serde(with = "nullable")]
    pub loss: f64,
    /// The mean loss of the same rows by the fallback.
    #[serde(with = "nullable")]
    pub fallback_loss: f64,
}

/// What the splits by one feature did for the training loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureGain {
    /// The feature's name.
    pub feature: String,
    /// Its share of what all splits took off the loss; all shares add up to 1.
    pub share: f64,
}

/// Of what use one feature is on rows that were not learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureRise {
    /// The feature's name.
    pub feature: String,
    /// By how much the mean logarithmic loss, or squared error, rises when its values are shuffled; a 95 % interval.
    pub rise: Measured,
}

/// The SQL of a model and what its columns are for; all empty for an imported model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSql {
    /// As written.
    pub sql: String,
    /// Without comments and layout; what the fingerprint is over.
    pub normalised: String,
    /// What runs it.
    pub engine: String,
    /// The values of `$name` in it, except the interval.
    pub vars: Map<String, Value>,
    /// The columns that name an entity.
    pub key: Vec<String>,
    /// The event time column.
    pub time: String,
    /// The label column.
    pub label: String,
    /// How long after its event a label is known, as written.
    pub label_delay: String,
    /// The sample weight column, if there is one.
    pub weight: Option<String>,
    /// The point-in-time joins that add columns to the SQL's, as in the job file; since format 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asof: Vec<Value>,
    /// The windows that add columns to the SQL's, as in the job file; since format 3.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Value>,
}

/// Spans of time, each as an interval is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingWindows {
    /// The interval that the training was asked for.
    pub interval: String,
    /// The events that it was fitted on.
    pub train: String,
    /// The events that it was measured on.
    pub test: String,
}

/// How many rows a training saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCounts {
    /// Fitted on.
    pub train: u64,
    /// Measured on.
    pub test: u64,
    /// Left out because their label is not known yet.
    pub unlabelled: u64,
    /// Left out by a policy of the encoder.
    pub rejected: u64,
    /// Neither fitted nor measured on: their events lie in the gap of a split by time.
    #[serde(default)]
    pub gap: u64,
    /// Training rows of each class, in the order of the classes; none for regression.
    pub train_classes: Vec<u64>,
}

/// A pinned table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The version, or what stands for it where the format has none.
    pub version: String,
    /// Which table it is: the id in a Delta table's own metadata; empty for plain files, whose version
    /// says it. Not where it lies: the same table in another place makes the same model.
    #[serde(default)]
    pub identity: String,
    /// Where the table lay: in files of format 1 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A metric with its interval of confidence; what is not finite is written as null and read as NaN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// On all rows.
    #[serde(with = "nullable")]
    pub value: f64,
    /// The lower end.
    #[serde(with = "nullable")]
    pub low: f64,
    /// The upper end.
    #[serde(with = "nullable")]
    pub high: f64,
}

/// What a model has to beat.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The algorithm's name.
    pub algorithm: String,
    /// Quality on the test rows.
    pub metrics: BTreeMap<String, Measured>,
}

/// Every training row predicted by a model that has not seen it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossValidation {
    /// How many models.
    pub folds: u64,
    /// Over the held-out rows of all folds together.
    pub metrics: BTreeMap<String, Measured>,
}

/// JSON has no NaN.
mod nullable {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, out: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(*value).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
    }
}
