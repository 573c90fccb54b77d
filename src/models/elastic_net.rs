//! Least squares with L1 and L2 penalties by linfa-elasticnet (coordinate descent).
//!
//! On standardised features `x` and the weighted mean over the rows it minimises
//! `mean((y - x.b)^2) / 2 + alpha * (l1_ratio * |b|_1 + (1 - l1_ratio) / 2 * |b|_2^2)`, as
//! scikit-learn's `ElasticNet` behind a `StandardScaler`. The intercept is not penalised. linfa takes
//! the mean label for the intercept, which is right only for centred features, and says nothing when
//! it stops early: the rows are centred before, and the duality gap is checked after.

use super::linear::Centred;
use super::params::{self, Checked, must};
use super::{Algorithm, Link, Params, Predictor, TrainingSet};
use crate::error::{Error, Result};
use crate::task::Task;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayView1, ArrayView2, ShapeBuilder};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

/// Least squares that prefers few and small coefficients.
#[derive(Debug)]
pub struct ElasticNet;

/// What can be set.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ElasticNetParams {
    /// Strength of both penalties, on standardised features.
    #[schemars(extend("exclusiveMinimum" = 0))]
    alpha: f64,
    /// Share of the L1 penalty: 0 is ridge, 1 is the lasso.
    #[schemars(range(min = 0, max = 1))]
    l1_ratio: f64,
    /// Passes over the features before the fit is given up.
    #[schemars(range(min = 2))]
    max_iterations: u32,
    /// The duality gap at which the fit ends, relative to the labels' sum of squares.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    tolerance: f64,
}

impl Default for ElasticNetParams {
    fn default() -> Self {
        Self { alpha: 1.0, l1_ratio: 0.5, max_iterations: 10_000, tolerance: 1e-6 }
    }
}

impl Checked for ElasticNetParams {
    fn check(&self) -> Result<()> {
        must("alpha", self.alpha, self.alpha > 0.0 && self.alpha.is_finite(), "a number above 0")?;
        must("l1_ratio", self.l1_ratio, (0.0..=1.0).contains(&self.l1_ratio), "between 0 and 1")?;
        must("max_iterations", self.max_iterations, self.max_iterations >= 2, "at least 2")?;
        must("tolerance", self.tolerance, self.tolerance > 0.0 && self.tolerance < 1.0, "between 0 and 1")
    }
}

impl Algorithm for ElasticNet {
    fn name(&self) -> &'static str {
        "elastic_net"
    }

    fn summary(&self) -> &'static str {
        "least squares with L1 and L2 penalties on standardised features"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Regression]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(ElasticNetParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<ElasticNetParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, _seed: u64) -> Result<Predictor> {
        let params: ElasticNetParams = params::read(self.name(), params)?;
        training.admit_with_features(self)?;
        let rows = Centred::of(training);
        let coefficients = descend(&rows, &params)?;
        Predictor::of(training, rows.form(&coefficients), Link::Identity)
    }
}

fn descend(rows: &Centred, params: &ElasticNetParams) -> Result<Vec<f64>> {
    let features = &rows.features;
    let squares: f64 = rows.labels.iter().map(|label| label * label).sum();
    if features.kept.is_empty() || squares == 0.0 {
        return Ok(vec![0.0; features.kept.len()]);
    }
    let failed = |reason: &dyn std::fmt::Display| Error::failed(format!("elastic net failed: {reason}"));
    let shape = (features.rows, features.kept.len()).f();
    let x = ArrayView2::from_shape(shape, &features.values).map_err(|reason| failed(&reason))?;
    let fitted = linfa_elasticnet::ElasticNet::params()
        .penalty(params.alpha)
        .l1_ratio(params.l1_ratio)
        .with_intercept(false)
        .max_iterations(params.max_iterations)
        .tolerance(params.tolerance)
        .fit(&DatasetBase::new(x, ArrayView1::from(&rows.labels)))
        .map_err(|reason| failed(&reason))?;
    if fitted.duality_gap() > params.tolerance * squares {
        return Err(Error::failed("the fit did not converge")
            .with("iterations", fitted.n_steps())
            .hint("raise max_iterations, tolerance or alpha"));
    }
    Ok(fitted.hyperplane().to_vec())
}
