//! The rows that metrics are computed from, checked once for all of them.

use super::ranking::Ranking;
use crate::error::{Error, Result};
use crate::task::Task;
use std::borrow::Cow;
use std::sync::OnceLock;

/// How far outside of 0..=1 a probability may lie by rounding.
const ROUNDING: f64 = 1e-6;

/// Labels and what a model gave for the same rows.
#[derive(Debug, Clone, Copy)]
pub struct Predictions<'a> {
    /// Binary, multiclass or regression.
    pub task: Task,
    /// How many classes the label has: 2 for binary; not read for regression.
    pub classes: usize,
    /// One a row: 0 or 1, the class's index, or the value.
    pub labels: &'a [f64],
    /// Row-major, rows x `task.outputs(classes)`: P(positive), P(class k), or the value.
    pub outputs: &'a [f64],
    /// One a row, non-negative; none means 1 each.
    pub weights: Option<&'a [f64]>,
    /// The day number of each row's event, for metrics per day.
    pub days: Option<&'a [i32]>,
}

/// [`Predictions`] that are sound: equal lengths, labels in range, nothing NaN or infinite.
pub struct Rows<'a> {
    predictions: Predictions<'a>,
    weights: Cow<'a, [f64]>,
    rankings: Vec<OnceLock<Ranking>>,
}

impl<'a> Rows<'a> {
    /// Checks everything that a metric relies on.
    ///
    /// # Errors
    /// `failed` if lengths don't fit together; `check` for no rows, labels that are no class, outputs
    /// that are not finite or no probabilities, negative weights or weights that add up to zero.
    pub fn check(predictions: &Predictions<'a>) -> Result<Self> {
        check_lengths(predictions)?;
        check_labels(predictions)?;
        check_outputs(predictions)?;
        if let Some(weights) = predictions.weights {
            check_weights(weights)?;
        }
        let rankings = match predictions.task {
            Task::Binary => 1,
            Task::Multiclass => predictions.classes,
            Task::Regression => 0,
        };
        let weights = match predictions.weights {
            Some(weights) => Cow::Borrowed(weights),
            None => Cow::Owned(vec![1.0; predictions.labels.len()]),
        };
        Ok(Self { predictions: *predictions, weights, rankings: (0..rankings).map(|_| OnceLock::new()).collect() })
    }

    /// How many rows there are; at least 1.
    pub fn count(&self) -> usize {
        self.predictions.labels.len()
    }

    /// Binary, multiclass or regression.
    pub fn task(&self) -> Task {
        self.predictions.task
    }

    /// 2 for binary, K for multiclass, 0 for regression.
    pub fn classes(&self) -> usize {
        match self.task() {
            Task::Binary => 2,
            Task::Multiclass => self.predictions.classes,
            Task::Regression => 0,
        }
    }

    /// One label a row.
    pub fn labels(&self) -> &[f64] {
        self.predictions.labels
    }

    /// Row-major outputs, [`Rows::width`] a row.
    pub fn outputs(&self) -> &[f64] {
        self.predictions.outputs
    }

    /// Outputs a row.
    pub fn width(&self) -> usize {
        self.task().outputs(self.predictions.classes)
    }

    /// One weight a row; all 1 where the predictions have none.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The day number of each row, where known.
    pub fn days(&self) -> Option<&[i32]> {
        self.predictions.days
    }

    /// For each output that is a probability: the rows from the highest to the lowest, each marked as
    /// being of the output's class or of the rest. Sorted at the first call, kept for the next.
    pub fn ranking(&self, output: usize) -> &Ranking {
        self.rankings[output].get_or_init(|| {
            let positive = if self.task() == Task::Binary { 1.0 } else { output as f64 };
            let scores = self.outputs().iter().skip(output).step_by(self.width());
            Ranking::new(scores.copied(), |row| self.labels()[row] == positive)
        })
    }

    /// One ranking a class; one in all for binary.
    pub fn rankings(&self) -> Vec<&Ranking> {
        (0..self.rankings.len()).map(|output| self.ranking(output)).collect()
    }

    /// Checks that two models were measured on the same rows.
    ///
    /// # Errors
    /// `failed` if task, labels, weights or days differ.
    pub(super) fn check_same(&self, other: &Self) -> Result<()> {
        let (ours, theirs) = (&self.predictions, &other.predictions);
        let differ =
            |what: &str| Error::failed(format!("the models were not measured on the same rows: {what} differ"));
        if ours.task != theirs.task || self.classes() != other.classes() {
            return Err(differ("tasks or classes"));
        }
        if ours.labels != theirs.labels {
            return Err(differ("labels"));
        }
        if self.weights != other.weights {
            return Err(differ("weights"));
        }
        if ours.days != theirs.days {
            return Err(differ("days"));
        }
        Ok(())
    }
}

fn check_lengths(predictions: &Predictions<'_>) -> Result<()> {
    let rows = predictions.labels.len();
    if rows == 0 {
        return Err(Error::check("there are no rows to measure"));
    }
    if u32::try_from(rows).is_err() {
        return Err(Error::check("too many rows to measure")
            .with("rows", rows)
            .hint("measure on a sample of the rows"));
    }
    if predictions.task == Task::Multiclass && predictions.classes < 2 {
        return Err(Error::failed("a multiclass label needs two classes").with("classes", predictions.classes));
    }
    let wrong = |what: &'static str, length: usize, expected: usize| {
        Err(Error::failed("lengths do not fit together").with(what, length).with("expected", expected))
    };
    let outputs = rows * predictions.task.outputs(predictions.classes);
    if predictions.outputs.len() != outputs {
        return wrong("outputs", predictions.outputs.len(), outputs);
    }
    if let Some(weights) = predictions.weights.filter(|weights| weights.len() != rows) {
        return wrong("weights", weights.len(), rows);
    }
    if let Some(days) = predictions.days.filter(|days| days.len() != rows) {
        return wrong("days", days.len(), rows);
    }
    Ok(())
}

fn check_labels(predictions: &Predictions<'_>) -> Result<()> {
    let classes = match predictions.task {
        Task::Binary => 2.0,
        Task::Multiclass => predictions.classes as f64,
        Task::Regression => f64::INFINITY,
    };
    let is_sound = |label: f64| match predictions.task {
        Task::Regression => label.is_finite(),
        Task::Binary | Task::Multiclass => label >= 0.0 && label < classes && label.fract() == 0.0,
    };
    match predictions.labels.iter().position(|label| !is_sound(*label)) {
        None => Ok(()),
        Some(row) => Err(Error::check("label out of range")
            .with("label", predictions.labels[row])
            .with("row", row)
            .with("task", predictions.task)),
    }
}

fn check_outputs(predictions: &Predictions<'_>) -> Result<()> {
    let is_sound = |output: f64| match predictions.task {
        Task::Regression => output.is_finite(),
        Task::Binary | Task::Multiclass => (-ROUNDING..=1.0 + ROUNDING).contains(&output),
    };
    let Some(at) = predictions.outputs.iter().position(|output| !is_sound(*output)) else { return Ok(()) };
    let (output, width) = (predictions.outputs[at], predictions.task.outputs(predictions.classes));
    let message =
        if output.is_finite() { "a prediction is no probability" } else { "a prediction is not a finite number" };
    Err(Error::check(message).with("output", output).with("row", at / width).with("task", predictions.task))
}

fn check_weights(weights: &[f64]) -> Result<()> {
    if let Some(row) = weights.iter().position(|weight| !(weight.is_finite() && *weight >= 0.0)) {
        return Err(Error::check("a weight is negative or not finite").with("weight", weights[row]).with("row", row));
    }
    if weights.iter().all(|weight| *weight == 0.0) {
        return Err(Error::check("all rows have weight zero"));
    }
    Ok(())
}
