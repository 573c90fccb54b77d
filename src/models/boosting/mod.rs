//! Gradient boosting of our own: histograms, trees grown best leaf first (LightGBM, Ke et al. 2017).
//!
//! It learns from the binned matrix, one byte a value. Missing values and categories are split natively. Sums of
//! gradients are whole numbers, so that the same rows give the same bytes at any number of threads.
//!
//! * `params` — what can be set
//! * `loss` — what is minimised
//! * `histogram` — sums by bin, in fixed point; `layout` — where they stand; `few` — of few rows
//! * `split`, `categories` — the best split of a node by one feature
//! * `promising` — which bins may hold it
//! * `partition`, `grow` — one tree; `grown` — what it is
//! * `sample` — rows and features of a round
//! * `boost` — the rounds
//! * `trees` — from bins to values

mod boost;
mod categories;
mod few;
mod grow;
mod grown;
pub(super) mod histogram;
mod layout;
mod loss;
mod params;
pub(super) mod partition;
mod promising;
pub(super) mod sample;
pub(super) mod split;
mod trees;

use super::params as reading;
use super::{Algorithm, BinnedSet, Form, Learned, Params, Predictor, TrainingSet};
use crate::error::{Error, Result, did_you_mean};
use crate::features::bins::RowSample;
use crate::features::{BinnedBlock, Encoding, FeatureBins, FeatureBlock};
use crate::forest::{Aggregation, Forest};
use crate::task::Task;
use loss::Loss;
use params::{BoostingParams, Objective};
use rayon::prelude::*;
use schemars::{Schema, schema_for};

/// Trees that each correct those before.
#[derive(Debug)]
pub struct GradientBoosting;

impl Algorithm for GradientBoosting {
    fn name(&self) -> &'static str {
        "gradient_boosting"
    }

    fn summary(&self) -> &'static str {
        "trees that each correct those before; missing values and categories as they are"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass, Task::Regression]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(BoostingParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        reading::read::<BoostingParams>(self.name(), params).map(drop)
    }

    fn encoding(&self) -> Encoding {
        Encoding::Native
    }

    fn watched(&self, params: &Params) -> Result<Option<f64>> {
        let params: BoostingParams = reading::read(self.name(), params)?;
        Ok((params.validation > 0.0).then_some(params.validation))
    }

    /// Dense features are binned first; they have no names, so none can be constrained.
    fn fit(&self, training: &TrainingSet<'_>, params: &Params, seed: u64) -> Result<Predictor> {
        self.check_params(params)?;
        training.admit_with_features(self)?;
        let bins = binned(training.features, seed)?;
        let set = BinnedSet {
            bins: &bins,
            names: &[],
            dropped: &[],
            labels: training.labels,
            weights: Some(training.weights),
            task: training.task,
            classes: training.classes,
            validation: None,
        };
        self.fit_binned(&set, params, seed).map(|learned| learned.predictor)
    }

    fn fit_binned(&self, set: &BinnedSet<'_>, params: &Params, seed: u64) -> Result<Learned> {
        let params: BoostingParams = reading::read(self.name(), params)?;
        set.admit(self)?;
        let loss = loss_of(set, &params)?;
        let directions = directions(set, &params)?;
        let boosted = boost::boost(set, &params, loss, &directions, seed)?;
        let features = set.bins.features();
        let form = if boosted.trees.is_empty() {
            Form::Constant(boosted.base)
        } else {
            Form::Forest(Forest::new(features, boosted.base, Aggregation::Sum, boosted.trees)?)
        };
        let predictor = Predictor::new(set.task, set.classes, features, form, loss.link())?;
        Ok(Learned { predictor, gains: Some(boosted.gains) })
    }
}

/// Dense features as bins.
pub(super) fn binned(block: &FeatureBlock, seed: u64) -> Result<BinnedBlock> {
    let mut sample = RowSample::new(block.features(), seed);
    sample.add(block);
    let features = sample.columns().par_iter_mut().map(FeatureBins::of_numbers).collect();
    BinnedBlock::of_block(block, features)
}

/// The loss of the task and the objective, where they fit the labels.
fn loss_of(set: &BinnedSet<'_>, params: &BoostingParams) -> Result<Loss> {
    let loss = match (set.task, params.objective) {
        (Task::Binary, Objective::Auto) => Loss::Logistic,
        (Task::Multiclass, Objective::Auto) => Loss::Softmax(set.classes),
        (Task::Regression, Objective::Auto | Objective::Squared) => Loss::Squared,
        (Task::Regression, Objective::Absolute) => Loss::Absolute,
        (Task::Regression, Objective::Quantile) => Loss::Quantile(params.alpha),
        (Task::Regression, Objective::Poisson) => Loss::Poisson,
        (task, _) => {
            return Err(Error::usage("the objective does not fit the task")
                .with("parameter", "objective")
                .with("task", task)
                .hint("leave `objective` out, or use it with task = \"regression\""));
        }
    };
    if loss == Loss::Poisson {
        if let Some(row) = set.labels.iter().position(|label| *label < 0.0) {
            return Err(Error::check("a label is below 0, which is no count")
                .with("row", row)
                .with("label", set.labels[row])
                .hint("use another `objective` than \"poisson\""));
        }
        if set.labels.iter().all(|label| *label == 0.0) {
            return Err(Error::check("all labels are 0").hint("widen the training window, or check the label"));
        }
    }
    Ok(loss)
}

/// For each feature, in which direction predictions may move; empty where no feature is bound.
fn directions(set: &BinnedSet<'_>, params: &BoostingParams) -> Result<Vec<i8>> {
    let mut directions = vec![0; set.bins.features()];
    for (name, direction) in params.monotone.iter().filter(|(_, direction)| **direction != 0) {
        let wrong = |message: &str| Error::usage(message).with("parameter", "monotone").with("feature", name);
        if set.task == Task::Multiclass {
            return Err(wrong("with several classes, the probability of one may fall although its score rises")
                .hint("leave `monotone` out"));
        }
        if set.dropped.contains(name) {
            continue;
        }
        let Some(feature) = set.names.iter().position(|known| known == name) else {
            let error = wrong("there is no feature of this name");
            return Err(match did_you_mean(name, set.names.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("features are: {}", set.names.join(", "))),
            });
        };
        if set.bins.of(feature).is_category() {
            return Err(wrong("predictions cannot rise or fall with a category"));
        }
        directions[feature] = *direction;
    }
    if directions.iter().all(|direction| *direction == 0) {
        directions.clear();
    }
    Ok(directions)
}
