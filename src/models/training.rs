//! The rows from which an algorithm learns.

use super::Algorithm;
use crate::error::{Error, Result};
use crate::features::{BinnedBlock, FeatureBlock};
use crate::task::Task;

/// Larger numbers overflow when they are squared and added up; some libraries panic on them.
const LARGEST: f64 = 1e150;

/// Encoded features with a label and a weight for each row.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSet<'a> {
    /// The features of all rows.
    pub features: &'a FeatureBlock,
    /// One label a row: 0/1, the class's index, or the value.
    pub labels: &'a [f64],
    /// One weight a row, at least 0; all 1.0 where rows are not weighted. A weight of 2 stands for
    /// the row twice.
    pub weights: &'a [f64],
    /// What the labels are.
    pub task: Task,
    /// How many classes the label has: 2 for binary, 0 for regression.
    pub classes: usize,
}

/// Binned features with a label and a weight for each row: what a learner on histograms is given.
#[derive(Debug, Clone, Copy)]
pub struct BinnedSet<'a> {
    /// The features of all rows.
    pub bins: &'a BinnedBlock,
    /// The features' names, for parameters that speak of one; none where they have none.
    pub names: &'a [String],
    /// The columns that are no features because they do not vary: what parameters ask of them holds.
    pub dropped: &'a [String],
    /// One label a row: 0/1, the class's index, or the value.
    pub labels: &'a [f64],
    /// One weight a row, at least 0; none where all rows weigh 1, which saves the memory.
    pub weights: Option<&'a [f64]>,
    /// What the labels are.
    pub task: Task,
    /// How many classes the label has: 2 for binary, 0 for regression.
    pub classes: usize,
    /// The rows that are only watched for early stopping, the latest in time (see
    /// [`Algorithm::watched`]); none: no early stopping.
    pub validation: Option<&'a [bool]>,
}

impl BinnedSet<'_> {
    /// Whether `algorithm` can learn from these rows.
    ///
    /// # Errors
    /// Those of [`TrainingSet::admit_with_features`]; check: no row to learn from, or of one class alone,
    /// beside those that are only watched.
    pub fn admit(&self, algorithm: &dyn Algorithm) -> Result<()> {
        takes_task(algorithm, self.task)?;
        if self.bins.features() == 0 {
            return Err(Error::check("there is no feature to learn from"));
        }
        if self.rows() == 0 {
            return Err(Error::check("there is no training row"));
        }
        let lengths = [self.weights.map(<[f64]>::len), self.validation.map(<[bool]>::len), Some(self.bins.rows())];
        if lengths.into_iter().flatten().any(|length| length != self.rows()) {
            return Err(Error::check("features, labels and weights differ in length").with("labels", self.rows()));
        }
        if let Some(weights) = self.weights {
            check_weights(weights)?;
            takes_weights(algorithm, weights)?;
        }
        let learned = |row: usize| !self.validation.is_some_and(|watched| watched[row]);
        if !(0..self.rows()).any(learned) {
            return Err(Error::check("all training rows are only watched for early stopping"));
        }
        check_labels(self.task, self.classes, self.labels, |row| {
            if learned(row) { self.weights.map_or(1.0, |weights| weights[row]) } else { 0.0 }
        })
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }
}

impl TrainingSet<'_> {
    /// Whether `algorithm` can learn from these rows.
    ///
    /// # Errors
    /// Usage: a task or weights that the algorithm does not take. Check: no rows, columns of
    /// different lengths, numbers that are not finite, labels outside the classes, a single class.
    pub fn admit(&self, algorithm: &dyn Algorithm) -> Result<()> {
        takes_task(algorithm, self.task)?;
        self.check_shape()?;
        check_weights(self.weights)?;
        takes_weights(algorithm, self.weights)?;
        check_labels(self.task, self.classes, self.labels, |row| self.weights[row])
    }

    /// Like [`admit`](Self::admit), for algorithms that cannot do without features.
    ///
    /// # Errors
    /// Those of `admit`; check: no feature.
    pub fn admit_with_features(&self, algorithm: &dyn Algorithm) -> Result<()> {
        if self.features.features() == 0 {
            return Err(Error::check("there is no feature to learn from"));
        }
        self.admit(algorithm)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// The weight that all rows share, if they do.
    pub fn uniform_weight(&self) -> Option<f64> {
        let first = *self.weights.first()?;
        self.weights.iter().all(|weight| *weight == first).then_some(first)
    }

    /// The weight of each class; empty for regression.
    pub(super) fn class_weights(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.classes];
        if self.task != Task::Regression {
            for (label, weight) in self.labels.iter().zip(self.weights) {
                totals[*label as usize] += weight;
            }
        }
        totals
    }

    fn check_shape(&self) -> Result<()> {
        let rows = self.rows();
        if rows == 0 {
            return Err(Error::check("there is no training row"));
        }
        if self.features.rows() != rows || self.weights.len() != rows {
            return Err(Error::check("features, labels and weights differ in length")
                .with("features", self.features.rows())
                .with("labels", rows)
                .with("weights", self.weights.len()));
        }
        for feature in 0..self.features.features() {
            let column = self.features.column(feature);
            if let Some(row) = column.iter().position(|value| !usable(*value)) {
                return Err(Error::check("a feature is not a number up to 1e150")
                    .with("row", row)
                    .with("feature", feature)
                    .with("value", column[row]));
            }
        }
        Ok(())
    }
}

fn takes_task(algorithm: &dyn Algorithm, task: Task) -> Result<()> {
    if algorithm.tasks().contains(&task) {
        return Ok(());
    }
    let tasks: Vec<&str> = algorithm.tasks().iter().map(|task| task.name()).collect();
    Err(Error::usage(format!("the algorithm does not learn {task} tasks"))
        .with("algorithm", algorithm.name())
        .hint(format!("it learns {}", tasks.join(" and "))))
}

fn takes_weights(algorithm: &dyn Algorithm, weights: &[f64]) -> Result<()> {
    if algorithm.takes_weights() || weights.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(());
    }
    Err(Error::usage("the algorithm cannot weight rows")
        .with("algorithm", algorithm.name())
        .hint("remove class_weight and the weight column, or choose another algorithm"))
}

fn check_weights(weights: &[f64]) -> Result<()> {
    if let Some(row) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        return Err(Error::check("a weight is not a finite number of at least 0")
            .with("row", row)
            .with("weight", weights[row]));
    }
    let total: f64 = weights.iter().sum();
    if total <= 0.0 || !total.is_finite() {
        return Err(Error::check("the weights do not add up to a positive number").with("total", total));
    }
    Ok(())
}

/// Labels within their classes, at least two of which some row with a weight has.
fn check_labels(task: Task, classes: usize, labels: &[f64], weight: impl Fn(usize) -> f64) -> Result<()> {
    let expected = match task {
        Task::Binary => classes == 2,
        Task::Multiclass => classes >= 2,
        Task::Regression => classes == 0,
    };
    if !expected {
        return Err(Error::check("the number of classes does not fit the task")
            .with("task", task)
            .with("classes", classes));
    }
    let valid = |label: f64| match task {
        Task::Regression => usable(label),
        _ => label >= 0.0 && label < classes as f64 && label.fract() == 0.0,
    };
    if let Some(row) = labels.iter().position(|label| !valid(*label)) {
        return Err(Error::check("a label is out of range").with("row", row).with("label", labels[row]));
    }
    let mut present = vec![false; classes];
    if classes > 0 {
        for (row, label) in labels.iter().enumerate() {
            present[*label as usize] |= weight(row) > 0.0;
        }
    }
    if classes > 0 && present.iter().filter(|present| **present).count() < 2 {
        return Err(Error::check("the training rows are all of one class")
            .with("rows", labels.len())
            .hint("widen the training window, or check the label"));
    }
    Ok(())
}

fn usable(value: f64) -> bool {
    value.abs() <= LARGEST
}
