//! Ordinary and weighted least squares by linfa-linear (Householder QR).
//!
//! linfa fails on columns that depend on each other, and those are usual here: an encoder makes one
//! column a category. So the columns are checked first and, as R's `lm` does, one that is a linear
//! combination of columns before it gets the coefficient 0. The predictions are those of the full
//! least squares problem, whichever of the dependent columns is left out.

use super::params::{self, Checked};
use super::standardise::Standardised;
use super::{Algorithm, Form, Linear, Link, Params, Predictor, TrainingSet};
use crate::error::{Error, Result};
use crate::task::Task;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, Array2, ShapeBuilder};
use rayon::prelude::*;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

/// A column is dependent when less than this share of its variance is left beside those before it.
const INDEPENDENT: f64 = 1e-11;

/// Least squares on all features.
#[derive(Debug)]
pub struct LinearRegression;

/// Least squares has nothing to set.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct LinearParams {}

impl Checked for LinearParams {
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl Algorithm for LinearRegression {
    fn name(&self) -> &'static str {
        "linear_regression"
    }

    fn summary(&self) -> &'static str {
        "least squares; a feature that depends on others gets the coefficient 0"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(LinearParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<LinearParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, _seed: u64) -> Result<Predictor> {
        self.check_params(params)?;
        training.admit_with_features(self)?;
        let mut rows = Centred::of(training);
        let independent = independent(&rows.features);
        rows.features.retain(&independent);
        let coefficients = if rows.features.kept.is_empty() { Vec::new() } else { solve(&rows)? };
        Predictor::of(training, rows.form(&coefficients), Link::Identity)
    }
}

/// A regression problem without its intercept and weights: features and labels are centred by
/// their weighted means, and each row is multiplied by the root of its weight over the mean weight.
///
/// Any sum of squares over these rows is the weighted one over the original rows, so a library that
/// knows no weights still solves the weighted problem.
pub(super) struct Centred {
    pub features: Standardised,
    pub labels: Vec<f64>,
    mean: f64,
}

impl Centred {
    pub fn of(training: &TrainingSet<'_>) -> Self {
        let total: f64 = training.weights.iter().sum();
        let mean =
            training.labels.iter().zip(training.weights).map(|(label, weight)| label * weight).sum::<f64>() / total;
        let mut features = Standardised::of(training);
        let mut labels: Vec<f64> = training.labels.iter().map(|label| label - mean).collect();
        if training.uniform_weight().is_none() {
            let share = training.rows() as f64 / total;
            let roots: Vec<f64> = training.weights.iter().map(|weight| (weight * share).sqrt()).collect();
            let scale = |column: &mut [f64]| column.iter_mut().zip(&roots).for_each(|(value, root)| *value *= root);
            scale(&mut labels);
            let rows = features.rows;
            features.values.par_chunks_mut(rows).for_each(scale);
        }
        Self { features, labels, mean }
    }

    /// The solution on the features and labels as they are.
    pub fn form(&self, coefficients: &[f64]) -> Form {
        let (coefficients, intercept) = self.features.unscale(coefficients, self.mean);
        Form::Linear(Linear { coefficients: vec![coefficients], intercepts: vec![intercept] })
    }
}

/// The columns that are no linear combination of columns before them, by a Cholesky factorisation
/// of the correlation matrix that skips a column where nothing is left of it.
fn independent(features: &Standardised) -> Vec<usize> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut factor: Vec<Vec<f64>> = Vec::new();
    for index in 0..features.kept.len() {
        if chosen.len() + 1 >= features.rows {
            break;
        }
        let own = features.column(index);
        let products: Vec<f64> = chosen.par_iter().map(|other| dot(own, features.column(*other))).collect();
        let mut row: Vec<f64> = Vec::with_capacity(chosen.len() + 1);
        for (at, product) in products.iter().enumerate() {
            row.push((product - dot(&row, &factor[at][..at])) / factor[at][at]);
        }
        let whole = dot(own, own);
        let left = whole - dot(&row, &row);
        if left > INDEPENDENT * whole {
            row.push(left.sqrt());
            factor.push(row);
            chosen.push(index);
        }
    }
    chosen
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn solve(rows: &Centred) -> Result<Vec<f64>> {
    let features = &rows.features;
    let shape = (features.rows, features.kept.len()).f();
    let failed = |reason: &dyn std::fmt::Display| Error::failed(format!("least squares failed: {reason}"));
    let x = Array2::from_shape_vec(shape, features.values.clone()).map_err(|reason| failed(&reason))?;
    let problem = DatasetBase::new(x, Array1::from_vec(rows.labels.clone()));
    let fitted =
        linfa_linear::LinearRegression::new().with_intercept(false).fit(&problem).map_err(|reason| failed(&reason))?;
    Ok(fitted.params().to_vec())
}
