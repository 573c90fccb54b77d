//! What a fit gives: a form that computes raw scores, and a link that makes predictions of them.

use super::TrainingSet;
use super::link::Link;
use super::payload;
use super::preparation::Preparation;
use super::segments::Segmented;
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use crate::forest::{Forest, Room};
use crate::task::Task;

/// How raw scores are computed.
#[derive(Debug, Clone, PartialEq)]
pub enum Form {
    /// The same scores for every row, one an output.
    Constant(Vec<f64>),
    /// A weighted sum of the features.
    Linear(Linear),
    /// An ensemble of trees.
    Forest(Forest),
    /// A form for each segment of the rows.
    Segmented(Segmented),
}

/// `intercept + coefficients . features` for each output.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// One list an output, with one number a feature, on the features as they are (not standardised).
    pub coefficients: Vec<Vec<f64>>,
    /// One number an output.
    pub intercepts: Vec<f64>,
}

impl Form {
    /// How many raw scores a row gets.
    pub fn scores(&self) -> usize {
        match self {
            Self::Constant(scores) => scores.len(),
            Self::Linear(linear) => linear.intercepts.len(),
            Self::Forest(forest) => forest.outputs(),
            Self::Segmented(segmented) => segmented.fallback().scores(),
        }
    }

    /// How many numbers and nodes it holds.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Constant(scores) => scores.len(),
            Self::Linear(linear) => linear.coefficients.iter().map(Vec::len).sum(),
            Self::Forest(forest) => forest.trees().iter().map(|tree| tree.nodes().len() + tree.leaves().len()).sum(),
            Self::Segmented(segmented) => segmented.models().iter().chain([segmented.fallback()]).map(Self::size).sum(),
        }
    }

    /// The same form with this score alone.
    ///
    /// # Errors
    /// A score that does not exist.
    pub fn only(&self, score: usize) -> Result<Self> {
        if score >= self.scores() {
            return Err(Error::verification("a form has no such score").with("score", score));
        }
        Ok(match self {
            Self::Constant(scores) => Self::Constant(vec![scores[score]]),
            Self::Linear(linear) => Self::Linear(Linear {
                coefficients: vec![linear.coefficients[score].clone()],
                intercepts: vec![linear.intercepts[score]],
            }),
            Self::Forest(forest) => {
                let trees = forest.trees().iter().filter_map(|tree| tree.only(score, forest.outputs())).collect();
                Self::Forest(Forest::new(forest.features(), vec![forest.base()[score]], forest.aggregation(), trees)?)
            }
            Self::Segmented(segmented) => Self::Segmented(segmented.only(score)?),
        })
    }

    /// Whether it takes so many inputs, and all its numbers are finite.
    pub(super) fn is_sound(&self, inputs: usize) -> bool {
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        match self {
            Self::Constant(scores) => finite(scores),
            Self::Linear(linear) => {
                linear.coefficients.len() == linear.intercepts.len()
                    && finite(&linear.intercepts)
                    && linear.coefficients.iter().all(|own| own.len() == inputs && finite(own))
            }
            Self::Forest(forest) => forest.features() == inputs,
            // Its parts were looked at when they were put together.
            Self::Segmented(segmented) => segmented.features() + segmented.routes() == inputs,
        }
    }

    /// The raw scores of all rows, row-major, of one of many forms that share the room for compiled ones.
    pub(super) fn score_within(&self, block: &FeatureBlock, room: &Room) -> Vec<f64> {
        match self {
            Self::Forest(forest) => forest.score_within(block, room),
            other => other.score(block),
        }
    }

    /// The raw scores of all rows, row-major.
    pub(super) fn score(&self, block: &FeatureBlock) -> Vec<f64> {
        match self {
            Self::Constant(scores) => scores.repeat(block.rows()),
            Self::Linear(linear) => linear.score(block),
            Self::Forest(forest) => forest.score(block),
            Self::Segmented(segmented) => segmented.score(block),
        }
    }
}

/// A fitted model without its encoder: `features` numbers in, [`outputs`](Self::outputs) numbers out.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictor {
    task: Task,
    classes: usize,
    features: usize,
    preparation: Option<Preparation>,
    form: Form,
    link: Link,
    chosen: Option<u32>,
}

impl Predictor {
    /// A predictor from its parts.
    ///
    /// # Errors
    /// A form that has not one score an output, one coefficient a feature, or a number that is not
    /// finite.
    pub fn new(task: Task, classes: usize, features: usize, form: Form, link: Link) -> Result<Self> {
        Self { task, classes, features, preparation: None, form, link, chosen: None }.checked()
    }

    /// The same predictor behind steps that make the form's inputs of a row's features.
    ///
    /// # Errors
    /// As [`new`](Self::new), by the number of features that the preparation takes.
    pub fn behind(self, preparation: Preparation) -> Result<Self> {
        Self { features: preparation.features(), preparation: Some(preparation), ..self }.checked()
    }

    /// A predictor with one output, of which only one of several linked scores is the prediction.
    ///
    /// # Errors
    /// As [`new`](Self::new); a score that does not exist, a task with several outputs.
    pub fn choosing(task: Task, classes: usize, features: usize, form: Form, link: Link, chosen: u32) -> Result<Self> {
        Self { task, classes, features, preparation: None, form, link, chosen: Some(chosen) }.checked()
    }

    /// A predictor for the task of `training`.
    pub(super) fn of(training: &TrainingSet<'_>, form: Form, link: Link) -> Result<Self> {
        Self::new(training.task, training.classes, training.features.features(), form, link)
    }

    fn checked(self) -> Result<Self> {
        let classes = match self.task {
            Task::Binary => self.classes == 2,
            Task::Multiclass => self.classes >= 2,
            Task::Regression => self.classes == 0,
        };
        let scores = self.form.scores();
        let outputs = match self.chosen {
            Some(chosen) => self.outputs() == 1 && (chosen as usize) < scores,
            None => self.outputs() == scores,
        };
        let pairs = !matches!(self.link, Link::ScoredPair | Link::ScoredPairLogistic) || scores == 3;
        // Steps before segments would have to leave their routes alone.
        if self.preparation.is_some() && matches!(self.form, Form::Segmented(_)) {
            return Err(Error::verification("a predictor with segments has steps before them"));
        }
        let inputs = match &self.preparation {
            Some(preparation) => {
                preparation.check()?;
                (preparation.features() == self.features).then(|| preparation.inputs())
            }
            None => Some(self.features),
        };
        if classes && outputs && pairs && inputs.is_some_and(|inputs| self.form.is_sound(inputs)) {
            return Ok(self);
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

    /// The form alone.
    pub fn into_form(self) -> Form {
        self.form
    }

    /// What makes predictions of raw scores.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The steps before the form, if there are any.
    pub fn preparation(&self) -> Option<&Preparation> {
        self.preparation.as_ref()
    }

    /// Which of the linked scores is the prediction; `None`: all are.
    pub fn chosen(&self) -> Option<u32> {
        self.chosen
    }

    /// The predictions of all rows, row-major `rows x outputs`: the probability of the positive
    /// class, the probability of each class, or the value.
    ///
    /// One thread; a caller with many rows splits them into blocks, which changes no bit of the
    /// result. A block of another width than [`features`](Self::features) gives NaN in every place.
    pub fn predict(&self, block: &FeatureBlock) -> Vec<f64> {
        self.linked(self.raw(block))
    }

    /// The predictions of several blocks, as [`predict`](Self::predict) gives them for each. With segments each model
    /// sees its rows of all blocks at once, which is faster where a block has few rows of each; a thread of a pool
    /// shares the work with the others.
    pub fn predict_together(&self, blocks: &[&FeatureBlock]) -> Vec<Vec<f64>> {
        match &self.form {
            Form::Segmented(segmented) if blocks.iter().all(|block| block.features() == self.features) => {
                segmented.score_together(blocks).into_iter().map(|scores| self.linked(scores)).collect()
            }
            _ => blocks.iter().map(|block| self.predict(block)).collect(),
        }
    }

    /// Makes predictions of raw scores.
    fn linked(&self, mut scores: Vec<f64>) -> Vec<f64> {
        let width = self.form.scores();
        self.link.apply(&mut scores, width);
        match self.chosen {
            Some(chosen) => scores.chunks_exact(width).map(|row| row[chosen as usize]).collect(),
            None => scores,
        }
    }

    /// The scores before the link, row-major `rows x scores of the form`; NaN for a block of another width.
    pub fn raw(&self, block: &FeatureBlock) -> Vec<f64> {
        if block.features() != self.features {
            return vec![f64::NAN; block.rows() * self.form.scores()];
        }
        let Some(preparation) = &self.preparation else { return self.form.score(block) };
        let stretch = preparation.stretch();
        let mut scores = Vec::with_capacity(block.rows() * self.form.scores());
        for start in (0..block.rows()).step_by(stretch) {
            let count = stretch.min(block.rows() - start);
            scores.extend(self.form.score(&preparation.apply(block, start, count)));
        }
        scores
    }

    /// How many rows of `block` are scored by the fallback of segments; `None` for a predictor without segments.
    pub fn fell_back(&self, block: &FeatureBlock) -> Option<u64> {
        let Form::Segmented(segmented) = &self.form else { return None };
        let fallback = segmented.models().len() as u32;
        Some(segmented.model_of(block).into_iter().filter(|model| *model == fallback).count() as u64)
    }

    /// The predictor as an Arrow IPC file; equal predictors give equal bytes.
    ///
    /// # Errors
    /// Only what the Arrow writer refuses.
    pub fn to_payload(&self) -> Result<Vec<u8>> {
        payload::encode(self)
    }

    /// The same of a predictor that nobody needs any more; it is gone before the file is there, so that a large one
    /// takes less memory.
    ///
    /// # Errors
    /// As [`to_payload`](Self::to_payload).
    pub fn into_payload(self) -> Result<Vec<u8>> {
        payload::encode_last(self)
    }

    /// The predictor in an Arrow IPC file that [`to_payload`](Self::to_payload) wrote.
    ///
    /// # Errors
    /// A verification error for anything else: every offset, length, index and number is checked.
    pub fn from_payload(bytes: &[u8]) -> Result<Self> {
        payload::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_another_width_is_never_scored() {
        let linear = Linear { coefficients: vec![vec![1.0, 2.0]], intercepts: vec![0.0] };
        let predictor = Predictor::new(Task::Regression, 0, 2, Form::Linear(linear), Link::Identity).unwrap();
        assert!(predictor.predict(&FeatureBlock::zeros(3, 1)).iter().all(|value| value.is_nan()));
        assert_eq!(predictor.predict(&FeatureBlock::zeros(3, 2)), [0.0; 3]);
    }
}
