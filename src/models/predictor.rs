//! What a fit gives: a form that computes raw scores, and a link that makes predictions of them.

use super::TrainingSet;
use super::payload;
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use crate::forest::Forest;
use crate::task::Task;
use serde::{Deserialize, Serialize};

/// How raw scores are computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// The same scores for every row, one an output.
    Constant(Vec<f64>),
    /// A weighted sum of the features.
    Linear(Linear),
    /// An ensemble of trees.
    Forest(Forest),
}

/// `intercept + coefficients . features` for each output.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// One list an output, with one number a feature, on the features as they are (not standardised).
    pub coefficients: Vec<Vec<f64>>,
    /// One number an output.
    pub intercepts: Vec<f64>,
}

/// What makes predictions of raw scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The scores are the predictions.
    Identity,
    /// `1 / (1 + exp(-score))`.
    Logistic,
    /// `exp(score)` of each class over their sum.
    Softmax,
    /// Each class's own probability over their sum; equal shares where all are 0.
    OneVsRest,
}

/// A fitted model without its encoder: `features` numbers in, [`outputs`](Self::outputs) numbers out.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictor {
    task: Task,
    classes: usize,
    features: usize,
    form: Form,
    link: Link,
}

impl Predictor {
    /// A predictor from its parts.
    ///
    /// # Errors
    /// A form that has not one score an output, one coefficient a feature, or a number that is not
    /// finite.
    pub fn new(task: Task, classes: usize, features: usize, form: Form, link: Link) -> Result<Self> {
        let predictor = Self { task, classes, features, form, link };
        predictor.check()?;
        Ok(predictor)
    }

    /// A predictor for the task of `training`.
    pub(super) fn of(training: &TrainingSet<'_>, form: Form, link: Link) -> Result<Self> {
        Self::new(training.task, training.classes, training.features.features(), form, link)
    }

    fn check(&self) -> Result<()> {
        let outputs = self.outputs();
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let classes = match self.task {
            Task::Binary => self.classes == 2,
            Task::Multiclass => self.classes >= 2,
            Task::Regression => self.classes == 0,
        };
        let sound = classes
            && match &self.form {
                Form::Constant(scores) => scores.len() == outputs && finite(scores),
                Form::Linear(linear) => {
                    linear.intercepts.len() == outputs
                        && linear.coefficients.len() == outputs
                        && finite(&linear.intercepts)
                        && linear.coefficients.iter().all(|own| own.len() == self.features && finite(own))
                }
                Form::Forest(forest) => forest.outputs() == outputs && forest.features() == self.features,
            };
        if sound {
            return Ok(());
        }
        Err(Error::verification("the numbers of a predictor do not fit its task and features, or are not finite"))
    }

    /// What it predicts.
    pub fn task(&self) -> Task {
        self.task
    }

    /// How many classes the label had; 0 for regression.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many features a row must have.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many numbers a row gets: 1, or one a class.
    pub fn outputs(&self) -> usize {
        self.task.outputs(self.classes)
    }

    /// How raw scores are computed.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// What makes predictions of raw scores.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The predictions of all rows, row-major `rows x outputs`: the probability of the positive
    /// class, the probability of each class, or the value.
    ///
    /// One thread; a caller with many rows splits them into blocks, which changes no bit of the
    /// result. A block of another width than [`features`](Self::features) gives NaN in every place.
    pub fn predict(&self, block: &FeatureBlock) -> Vec<f64> {
        let mut scores = self.raw(block);
        self.link.apply(&mut scores, self.outputs());
        scores
    }

    /// The scores before the link, row-major `rows x outputs`; NaN for a block of another width.
    pub fn raw(&self, block: &FeatureBlock) -> Vec<f64> {
        if block.features() != self.features {
            return vec![f64::NAN; block.rows() * self.outputs()];
        }
        match &self.form {
            Form::Constant(scores) => scores.repeat(block.rows()),
            Form::Linear(linear) => linear.score(block),
            Form::Forest(forest) => forest.score(block),
        }
    }

    /// The predictor as an Arrow IPC file; equal predictors give equal bytes.
    ///
    /// # Errors
    /// Only what the Arrow writer refuses.
    pub fn to_payload(&self) -> Result<Vec<u8>> {
        payload::encode(self)
    }

    /// The predictor in an Arrow IPC file that [`to_payload`](Self::to_payload) wrote.
    ///
    /// # Errors
    /// A verification error for anything else: every offset, length, index and number is checked.
    pub fn from_payload(bytes: &[u8]) -> Result<Self> {
        payload::decode(bytes)
    }
}

impl Link {
    /// Turns row-major raw scores into predictions.
    pub fn apply(self, scores: &mut [f64], outputs: usize) {
        match self {
            Self::Identity => {}
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::Softmax => scores.chunks_mut(outputs).for_each(softmax),
            Self::OneVsRest => scores.chunks_mut(outputs).for_each(normalise),
        }
    }
}

/// `1 / (1 + exp(-score))`, without overflow on either side.
pub(super) fn logistic(score: f64) -> f64 {
    if score >= 0.0 {
        1.0 / (1.0 + (-score).exp())
    } else {
        let odds = score.exp();
        odds / (1.0 + odds)
    }
}

/// Probabilities of one row in place of its scores.
pub(super) fn softmax(row: &mut [f64]) {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = (*score - highest).exp();
        sum += *score;
    }
    row.iter_mut().for_each(|score| *score /= sum);
}

fn normalise(row: &mut [f64]) {
    let sum: f64 = row.iter().sum();
    let equal = 1.0 / row.len() as f64;
    row.iter_mut().for_each(|share| *share = if sum > 0.0 { *share / sum } else { equal });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_stable_at_the_ends() {
        assert_eq!(logistic(-1e4), 0.0);
        assert_eq!(logistic(1e4), 1.0);
        assert_eq!(logistic(0.0), 0.5);
        let mut row = [1e300, 0.0, -1e300];
        softmax(&mut row);
        assert_eq!(row, [1.0, 0.0, 0.0]);
        let mut row = [0.0, 0.0];
        normalise(&mut row);
        assert_eq!(row, [0.5, 0.5]);
    }

    #[test]
    fn a_block_of_another_width_is_never_scored() {
        let linear = Linear { coefficients: vec![vec![1.0, 2.0]], intercepts: vec![0.0] };
        let predictor = Predictor::new(Task::Regression, 0, 2, Form::Linear(linear), Link::Identity).unwrap();
        assert!(predictor.predict(&FeatureBlock::zeros(3, 1)).iter().all(|value| value.is_nan()));
        assert_eq!(predictor.predict(&FeatureBlock::zeros(3, 2)), [0.0; 3]);
    }
}
