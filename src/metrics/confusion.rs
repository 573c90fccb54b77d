//! Which classes are taken for which.

use super::{MetricOptions, Predictions, Rows};
use crate::error::{Error, Result};
use crate::task::Task;
use serde::{Deserialize, Serialize};

/// The weight of the rows of each class (the outer index) that are predicted as each class (the inner
/// one). Plain counts where no row has a weight of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// `counts[actual][predicted]`, classes x classes.
    pub counts: Vec<Vec<f64>>,
}

/// Counts actual against predicted classes: the most probable class, or for binary 1 where the score
/// is at least `options.threshold`.
///
/// # Errors
/// Usage for regression and options out of range; whatever [`Rows::check`] refuses.
pub fn confusion_matrix(predictions: &Predictions<'_>, options: &MetricOptions) -> Result<ConfusionMatrix> {
    options.check()?;
    let rows = Rows::check(predictions)?;
    if rows.task() == Task::Regression {
        return Err(Error::usage("a regression has no confusion matrix").with("task", rows.task()));
    }
    let mut counts = vec![vec![0.0; rows.classes()]; rows.classes()];
    let predicted = predicted_classes(&rows, options.threshold);
    for ((label, predicted), weight) in rows.labels().iter().zip(predicted).zip(rows.weights()) {
        counts[*label as usize][predicted as usize] += weight;
    }
    Ok(ConfusionMatrix { counts })
}

/// The predicted class of each row; of equally probable classes the first.
pub(super) fn predicted_classes(rows: &Rows<'_>, threshold: f64) -> Vec<u32> {
    match rows.task() {
        Task::Binary => rows.outputs().iter().map(|score| u32::from(*score >= threshold)).collect(),
        Task::Multiclass | Task::Regression => rows.outputs().chunks(rows.width()).map(most_probable).collect(),
    }
}

fn most_probable(outputs: &[f64]) -> u32 {
    let (mut best, mut class) = (f64::NEG_INFINITY, 0);
    for (output, index) in outputs.iter().zip(0..) {
        if *output > best {
            (best, class) = (*output, index);
        }
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equally_probable_classes_is_predicted() {
        assert_eq!(most_probable(&[0.2, 0.4, 0.4]), 1);
        assert_eq!(most_probable(&[0.0, 0.0]), 0);
    }
}
