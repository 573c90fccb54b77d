//! What a model has to beat: a constant learned from the labels alone.

use super::params::{self, Checked};
use super::{Algorithm, Form, Link, Params, Predictor, TrainingSet};
use crate::error::Result;
use crate::task::Task;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

/// The weighted share of each class, whatever the features.
#[derive(Debug)]
pub struct Prior;

/// The weighted mean of the label, whatever the features.
#[derive(Debug)]
pub struct Mean;

/// A baseline has nothing to set.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct NoParams {}

impl Checked for NoParams {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Algorithm for Prior {
    fn name(&self) -> &'static str {
        "prior"
    }

    fn summary(&self) -> &'static str {
        "baseline: the share of each class among the training rows"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(NoParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<NoParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, _seed: u64) -> Result<Predictor> {
        self.check_params(params)?;
        training.admit(self)?;
        let totals = training.class_weights();
        let all: f64 = totals.iter().sum();
        let mut shares: Vec<f64> = totals.iter().map(|total| total / all).collect();
        if training.task == Task::Binary {
            shares.remove(0);
        }
        Predictor::of(training, Form::Constant(shares), Link::Identity)
    }
}

impl Algorithm for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn summary(&self) -> &'static str {
        "baseline: the mean label of the training rows"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(NoParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<NoParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, _seed: u64) -> Result<Predictor> {
        self.check_params(params)?;
        training.admit(self)?;
        let total: f64 = training.weights.iter().sum();
        let sum: f64 = training.labels.iter().zip(training.weights).map(|(label, weight)| label * weight).sum();
        Predictor::of(training, Form::Constant(vec![sum / total]), Link::Identity)
    }
}
