//! The rows from which an algorithm learns.

use super::Algorithm;
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
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

impl TrainingSet<'_> {
    /// Whether `algorithm` can learn from these rows.
    ///
    /// # Errors
    /// Usage: a task or weights that the algorithm does not take. Check: no rows, columns of
    /// different lengths, numbers that are not finite, labels outside the classes, a single class.
    pub fn admit(&self, algorithm: &dyn Algorithm) -> Result<()> {
        if !algorithm.tasks().contains(&self.task) {
            let tasks: Vec<&str> = algorithm.tasks().iter().map(|task| task.name()).collect();
            return Err(Error::usage(format!("the algorithm does not learn {} tasks", self.task))
                .with("algorithm", algorithm.name())
                .hint(format!("it learns {}", tasks.join(" and "))));
        }
        self.check_shape()?;
        self.check_weights()?;
        if !algorithm.takes_weights() && self.uniform_weight().is_none() {
            return Err(Error::usage("the algorithm cannot weight rows")
                .with("algorithm", algorithm.name())
                .hint("remove class_weight and the weight column, or choose another algorithm"));
        }
        self.check_labels()
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

    fn check_weights(&self) -> Result<()> {
        if let Some(row) = self.weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
            return Err(Error::check("a weight is not a finite number of at least 0")
                .with("row", row)
                .with("weight", self.weights[row]));
        }
        let total: f64 = self.weights.iter().sum();
        if total <= 0.0 || !total.is_finite() {
            return Err(Error::check("the weights do not add up to a positive number").with("total", total));
        }
        Ok(())
    }

    fn check_labels(&self) -> Result<()> {
        let classes = self.classes;
        let expected = match self.task {
            Task::Binary => classes == 2,
            Task::Multiclass => classes >= 2,
            Task::Regression => classes == 0,
        };
        if !expected {
            return Err(Error::check("the number of classes does not fit the task")
                .with("task", self.task)
                .with("classes", classes));
        }
        let valid = |label: f64| match self.task {
            Task::Regression => usable(label),
            _ => label >= 0.0 && label < classes as f64 && label.fract() == 0.0,
        };
        if let Some(row) = self.labels.iter().position(|label| !valid(*label)) {
            return Err(Error::check("a label is out of range").with("row", row).with("label", self.labels[row]));
        }
        if classes > 0 && self.class_weights().iter().filter(|weight| **weight > 0.0).count() < 2 {
            return Err(Error::check("the training rows are all of one class")
                .with("rows", self.rows())
                .hint("widen the training window, or check the label"));
        }
        Ok(())
    }
}

fn usable(value: f64) -> bool {
    value.abs() <= LARGEST
}
