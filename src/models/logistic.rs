//! Logistic regression: binary, and multinomial (softmax) for several classes.
//!
//! On standardised features it minimises the weighted log loss plus `|coefficients|^2 / (2 c)`, the
//! objective of scikit-learn's `LogisticRegression(C=c)` behind a `StandardScaler`; the scaling is then
//! folded into the coefficients. linfa-logistic (L-BFGS) fits where all rows weigh the same. It knows no
//! weights, and with several classes it loses precision on rows far from the others; so its answer is
//! checked by the gradient and finished by [Newton's method](super::newton), which also fits alone
//! where rows have weights. Either way the result is the minimum, to about eight digits.

use super::newton::{Parameters, Problem};
use super::params::{self, Checked, must};
use super::standardise::Standardised;
use super::{Algorithm, Form, Linear, Link, Params, Predictor, TrainingSet};
use crate::error::{Error, Result};
use crate::task::Task;
use linfa::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array1, ArrayView2, ShapeBuilder};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

/// Newton's equations take the square of the number of parameters in memory.
const WIDEST: usize = 2_000;
/// The mean gradient at which linfa stops; good enough where Newton's method is too costly.
const FLAT: f64 = 1e-5;
/// The score of a class without training rows: its probability is exactly 0.
const ABSENT: f64 = -1e300;

/// Log odds that are linear in the features.
#[derive(Debug)]
pub struct LogisticRegression;

/// What can be set.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct LogisticParams {
    /// Inverse strength of the L2 penalty, on standardised features.
    #[schemars(extend("exclusiveMinimum" = 0))]
    c: f64,
    /// Steps before the fit is given up.
    #[schemars(range(min = 1))]
    max_iterations: u32,
}

impl Default for LogisticParams {
    fn default() -> Self {
        Self { c: 1.0, max_iterations: 100 }
    }
}

impl Checked for LogisticParams {
    fn check(&self) -> Result<()> {
        must("c", self.c, self.c > 0.0 && self.c.is_finite(), "a number above 0")?;
        must("max_iterations", self.max_iterations, self.max_iterations >= 1, "at least 1")
    }
}

impl Algorithm for LogisticRegression {
    fn name(&self) -> &'static str {
        "logistic_regression"
    }

    fn summary(&self) -> &'static str {
        "logistic regression with an L2 penalty on standardised features; multinomial for several classes"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(LogisticParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<LogisticParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, _seed: u64) -> Result<Predictor> {
        let params: LogisticParams = params::read(self.name(), params)?;
        training.admit_with_features(self)?;
        let scaled = Standardised::of(training);
        // A class without rows has no minimum: it is left out and put back with probability 0.
        let totals = training.class_weights();
        let present: Vec<usize> = (0..training.classes).filter(|class| totals[*class] > 0.0).collect();
        // A row of weight 0 may be of a class that is not present; it counts for nothing.
        let last = present.len() - 1;
        let own = |label: &f64| present.partition_point(|class| *class < *label as usize).min(last);
        let classes: Vec<usize> = training.labels.iter().map(own).collect();
        let binary = training.task == Task::Binary;
        let problem = Problem {
            rows: training.rows(),
            values: &scaled.values,
            features: scaled.kept.len(),
            classes: &classes,
            weights: training.weights,
            outputs: if binary { 1 } else { present.len() },
            penalty: 1.0 / params.c,
        };
        let found = minimise(&problem, training.uniform_weight(), params.max_iterations)?;
        let form =
            unscale(&found, &scaled, if binary { &[0] } else { &present }, training.task.outputs(training.classes));
        Predictor::of(training, form, if binary { Link::Logistic } else { Link::Softmax })
    }
}

fn minimise(problem: &Problem<'_>, uniform: Option<f64>, max_iterations: u32) -> Result<Parameters> {
    let start = uniform.and_then(|weight| by_linfa(problem, weight, max_iterations));
    let unfinished = || {
        Error::failed("the fit did not converge")
            .with("max_iterations", max_iterations)
            .hint("raise max_iterations, or lower c")
    };
    if problem.dimension() > WIDEST {
        return match start {
            Some(found) if problem.slope(&found) < FLAT => Ok(found),
            Some(_) => Err(unfinished()),
            None => Err(Error::usage("too many features times classes for a weighted fit")
                .with("parameters", problem.dimension())
                .with("limit", WIDEST)
                .hint("encode fewer categories, or fit without weights")),
        };
    }
    let start = start.unwrap_or_else(|| vec![0.0; problem.dimension()]);
    problem.minimise(start, max_iterations as usize).ok_or_else(unfinished)
}

/// linfa's answer, if it gives a finite one.
///
/// Its penalty is not divided by the number of rows, like scikit-learn's; a weight that all rows share
/// is therefore the same as a weaker penalty.
fn by_linfa(problem: &Problem<'_>, weight: f64, max_iterations: u32) -> Option<Parameters> {
    let (rows, features, outputs) = (problem.rows, problem.features, problem.outputs);
    if features == 0 {
        return None;
    }
    let x = ArrayView2::from_shape((rows, features).f(), problem.values).ok()?;
    let data = DatasetBase::new(x, Array1::from_iter(problem.classes.iter().copied()));
    let alpha = problem.penalty / weight;
    let iterations = u64::from(max_iterations);
    // It sums the gradient over rows; the rest is Newton's.
    let flat = FLAT * rows as f64;
    let mut found = vec![0.0; problem.dimension()];
    if outputs == 1 {
        let solver = linfa_logistic::LogisticRegression::default().alpha(alpha).gradient_tolerance(flat);
        let fitted = solver.max_iterations(iterations).fit(&data).ok()?;
        // Its positive class is the more frequent one, whatever the labels are.
        let sign = if fitted.labels().pos.class == 1 { 1.0 } else { -1.0 };
        for (to, from) in found.iter_mut().zip(fitted.params()) {
            *to = sign * from;
        }
        found[features] = sign * fitted.intercept();
    } else {
        let solver = linfa_logistic::MultiLogisticRegression::default().alpha(alpha).gradient_tolerance(flat);
        let fitted = solver.max_iterations(iterations).fit(&data).ok()?;
        for output in 0..outputs {
            for feature in 0..features {
                found[output * (features + 1) + feature] = fitted.params()[(feature, output)];
            }
            found[output * (features + 1) + features] = fitted.intercept()[output];
        }
    }
    found.iter().all(|value| value.is_finite()).then_some(found)
}

/// Coefficients for the features as they are; `present` names the output of each fitted one.
fn unscale(found: &[f64], scaled: &Standardised, present: &[usize], outputs: usize) -> Form {
    let (nothing, _) = scaled.unscale(&[], 0.0);
    let mut coefficients = vec![nothing; outputs];
    let mut intercepts = vec![ABSENT; outputs];
    let features = scaled.kept.len();
    for (own, output) in found.chunks(features + 1).zip(present) {
        (coefficients[*output], intercepts[*output]) = scaled.unscale(&own[..features], own[features]);
    }
    Form::Linear(Linear { coefficients, intercepts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        (0..count).map(|_| next() + next() + next()).collect()
    }

    fn nearest(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn linfa_and_newton_agree_where_all_weights_are_equal() {
        let rows = 500;
        let values = noise(rows * 3, 1);
        let errors = noise(rows, 2);
        for (outputs, weight, share) in [(1, 1.0, 0.7), (1, 2.5, -0.7), (3, 1.0, 0.0)] {
            let classes: Vec<usize> = (0..rows)
                .map(|row| match values[row] - values[rows + row] + errors[row] {
                    score if outputs == 1 => usize::from(score > share),
                    score => usize::from(score > -0.3) + usize::from(score > 0.4),
                })
                .collect();
            let weights = vec![weight; rows];
            let problem = Problem {
                rows,
                values: &values,
                features: 3,
                classes: &classes,
                weights: &weights,
                outputs,
                penalty: 0.5,
            };
            let linfa = by_linfa(&problem, weight, 200).unwrap();
            let newton = problem.minimise(vec![0.0; problem.dimension()], 100).unwrap();
            let (linfa, newton) = (centred(&linfa, outputs), centred(&newton, outputs));
            assert!(nearest(&linfa, &newton) < 1e-3, "{outputs} outputs, weight {weight}: {linfa:?} {newton:?}");
            assert!(newton.iter().any(|value| value.abs() > 0.1));
        }
    }

    /// The free intercepts of a multinomial model have no zero point of their own.
    fn centred(found: &[f64], outputs: usize) -> Vec<f64> {
        let mut found = found.to_vec();
        if outputs > 1 {
            let width = found.len() / outputs;
            let mean = found.iter().skip(width - 1).step_by(width).sum::<f64>() / outputs as f64;
            found.iter_mut().skip(width - 1).step_by(width).for_each(|intercept| *intercept -= mean);
        }
        found
    }
}
