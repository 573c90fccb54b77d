//! Learning algorithms behind one trait, and what they learn.
//!
//! An [`Algorithm`] turns a [`TrainingSet`] into a [`Predictor`]; a predictor is data of ours (a
//! constant, coefficients, trees), never a library's object, so that artifacts outlive libraries.
//! Each library's matrix type stays inside the one file of its family.
//!
//! To add one:
//! 1. write a file with a parameter struct (`Deserialize`, `Serialize`, `JsonSchema`, `Default`,
//!    `#[serde(default, deny_unknown_fields)]`) that implements [`params::Checked`];
//! 2. implement [`Algorithm`] for a unit struct; `fit` (or `fit_binned`, where `encoding` is native) calls
//!    [`TrainingSet::admit`] ([`BinnedSet::admit`]) first, makes all randomness from the seed and gives the
//!    same bytes at any number of threads;
//! 3. add it to [`ALGORITHMS`], and its numbers to `tests/reference/models.py`.

mod bagging;
mod baseline;
mod boosting;
mod elastic_net;
mod ensemble;
pub mod import;
mod importance;
mod linear;
mod link;
mod logistic;
mod newton;
pub mod params;
mod payload;
mod predictor;
mod preparation;
mod segments;
mod standardise;
mod training;
mod tree;
mod weighted;

pub use importance::{Rise, loss_of_row, measured_rows, permutation_importance};
pub use link::Link;
pub use predictor::{Form, Linear, Predictor};
pub use preparation::{Arithmetic, Lookup, Norm, Operation, Preparation, Step};
pub use segments::{COMPILED_BYTES, Segmented};
pub use training::{BinnedSet, TrainingSet};

use crate::error::{Error, Result, did_you_mean};
use crate::features::Encoding;
use crate::task::Task;

/// `[model.params]` of the job file: what the user wrote, unchecked.
pub type Params = serde_json::Map<String, serde_json::Value>;

/// What a fit on bins gives: the predictor, and what it tells of the features.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The predictor.
    pub predictor: Predictor,
    /// For each feature, by how much its splits lowered the loss of the training rows; none where the algorithm
    /// does not know.
    pub gains: Option<Vec<f64>>,
}

impl From<Predictor> for Learned {
    fn from(predictor: Predictor) -> Self {
        Self { predictor, gains: None }
    }
}

/// A way to learn a predictor from rows.
pub trait Algorithm: Sync {
    /// The name in the job file.
    fn name(&self) -> &'static str;

    /// What it is, in one line for help texts.
    fn summary(&self) -> &'static str;

    /// The tasks that it can learn.
    fn tasks(&self) -> &'static [Task];

    /// Whether weights act; where they do not, weights that differ are refused.
    fn takes_weights(&self) -> bool {
        true
    }

    /// The JSON schema of its parameters, with their defaults.
    fn params_schema(&self) -> schemars::Schema;

    /// Checks names, types and ranges of all parameters.
    ///
    /// # Errors
    /// A usage error that names the parameter.
    fn check_params(&self, params: &Params) -> Result<()>;

    /// What the features are to be: an algorithm with [`Encoding::Dense`] is fitted by [`fit`](Self::fit)
    /// alone, one with [`Encoding::Native`] by [`fit_binned`](Self::fit_binned) alone.
    fn encoding(&self) -> Encoding {
        Encoding::Dense
    }

    /// The share of the training rows that a fit on bins only watches, to know when to stop; they are the
    /// latest in time. None: it learns from all rows.
    ///
    /// # Errors
    /// A usage error that names a wrong parameter.
    fn watched(&self, params: &Params) -> Result<Option<f64>> {
        self.check_params(params).map(|()| None)
    }

    /// Learns from the training rows; the same inputs give the same bytes at any number of threads.
    ///
    /// # Errors
    /// Wrong parameters and tasks (usage), rows from which nothing can be learned (check), or a fit
    /// that does not converge (failed).
    fn fit(&self, training: &TrainingSet<'_>, params: &Params, seed: u64) -> Result<Predictor>;

    /// Learns from binned training rows, as [`fit`](Self::fit) does from dense ones. The predictor takes
    /// natively encoded rows.
    ///
    /// # Errors
    /// Those of `fit`; usage where the algorithm does not learn from bins.
    fn fit_binned(&self, set: &BinnedSet<'_>, params: &Params, seed: u64) -> Result<Learned> {
        let _ = (set, params, seed);
        Err(Error::usage("the algorithm does not learn from binned features").with("algorithm", self.name()))
    }
}

/// Every algorithm, in the order of help texts.
pub static ALGORITHMS: &[&dyn Algorithm] = &[
    &logistic::LogisticRegression,
    &linear::LinearRegression,
    &elastic_net::ElasticNet,
    &tree::DecisionTree,
    &ensemble::RandomForest,
    &ensemble::ExtraTrees,
    &boosting::GradientBoosting,
    &baseline::Prior,
    &baseline::Mean,
];

/// The algorithm of this name.
///
/// # Errors
/// A usage error with the nearest name, if there is no such algorithm.
pub fn lookup(name: &str) -> Result<&'static dyn Algorithm> {
    if let Some(found) = ALGORITHMS.iter().find(|algorithm| algorithm.name() == name) {
        return Ok(*found);
    }
    let known: Vec<&str> = ALGORITHMS.iter().map(|algorithm| algorithm.name()).collect();
    let hint = match did_you_mean(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("algorithms are {}", known.join(", ")),
    };
    Err(Error::usage("unknown algorithm").with("algorithm", name).hint(hint))
}

/// The algorithm that every other one of the task has to beat.
pub fn baseline(task: Task) -> &'static dyn Algorithm {
    match task {
        Task::Binary | Task::Multiclass => &baseline::Prior,
        Task::Regression => &baseline::Mean,
    }
}
