//! Permutation importance (Breiman 2001): by how much the loss of rows that were not learned from rises when one
//! feature's values are dealt out among them anew.
//!
//! The loss is the logarithmic one for classes and the squared error for regression. What a shuffled feature does is
//! taken row by row, so that the interval is that of a mean of paired differences. A feature that says the same as
//! another one seems to be of less use than it is.

use super::Predictor;
use super::boosting::sample::{Drawn, stream};
use crate::features::FeatureBlock;
use crate::task::Task;
use rand::Rng;
use rayon::prelude::*;

/// Shuffles of each feature.
const SHUFFLES: u64 = 3;
/// Probabilities are taken to be at least so far from 0, as scikit-learn's logarithmic loss does.
const LEAST: f64 = f64::EPSILON;
/// Of a normal distribution, how many standard deviations 95 % lie within.
const WITHIN_95: f64 = 1.959_963_984_540_054;
/// Predictions that are worth making for a shuffle of all features.
const WORTH: usize = 250_000;

/// By how much the mean loss rises without a feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rise {
    /// The mean.
    pub value: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Which of `rows` rows importance is measured on, for so many features: all, or some at equal distances.
pub fn measured_rows(rows: usize, features: usize) -> Vec<usize> {
    let wanted = (WORTH / features.max(1)).clamp(500, 10_000).min(rows);
    (0..wanted).map(|index| (index as u128 * rows as u128 / wanted as u128) as usize).collect()
}

/// For each feature of `block`, by how much the mean loss rises when it is shuffled; the same for the same seed,
/// at any number of threads. `labels` has one number a row.
pub fn permutation_importance(predictor: &Predictor, block: &FeatureBlock, labels: &[f64], seed: u64) -> Vec<Rise> {
    let before = losses(predictor, block, labels);
    let one = |feature: usize| {
        let mut shuffled = block.clone();
        let mut rises = vec![0.0; labels.len()];
        for shuffle in 0..SHUFFLES {
            let mut stream = stream(seed, Drawn::Shuffle, feature as u64, shuffle);
            let column = shuffled.column_mut(feature);
            for left in (1..column.len()).rev() {
                let other = ((u128::from(stream.next_u64()) * (left as u128 + 1)) >> 64) as usize;
                column.swap(left, other);
            }
            let after = losses(predictor, &shuffled, labels);
            for ((rise, after), before) in rises.iter_mut().zip(after).zip(&before) {
                *rise += (after - before) / SHUFFLES as f64;
            }
        }
        rise(&rises)
    };
    (0..block.features()).into_par_iter().map(one).collect()
}

/// The mean of the rows' rises and its interval.
fn rise(rises: &[f64]) -> Rise {
    let rows = rises.len() as f64;
    let value = rises.iter().sum::<f64>() / rows;
    let squares: f64 = rises.iter().map(|rise| (rise - value).powi(2)).sum();
    let error = (squares / (rows - 1.0).max(1.0) / rows).sqrt();
    Rise { value, low: value - WITHIN_95 * error, high: value + WITHIN_95 * error }
}

fn losses(predictor: &Predictor, block: &FeatureBlock, labels: &[f64]) -> Vec<f64> {
    let outputs = predictor.predict(block);
    let rows = labels.iter().zip(outputs.chunks(predictor.outputs()));
    rows.map(|(label, own)| loss_of_row(predictor.task(), *label, own)).collect()
}

/// The loss of one row with these outputs: the logarithmic one for classes, the squared error for regression.
pub fn loss_of_row(task: Task, label: f64, outputs: &[f64]) -> f64 {
    let log_loss = |share: f64| -share.clamp(LEAST, 1.0 - LEAST).ln();
    match task {
        Task::Regression => (label - outputs[0]).powi(2),
        Task::Binary => log_loss(if label == 1.0 { outputs[0] } else { 1.0 - outputs[0] }),
        Task::Multiclass => log_loss(outputs[label as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Form, Linear, Link};

    #[test]
    fn a_features_rise_is_what_it_explains() {
        let rows = 4000;
        let column = |step: usize| (0..rows).map(|row| (row * step % 1009) as f64 / 1009.0).collect::<Vec<f64>>();
        let block = FeatureBlock::from_columns(rows, &[column(7), column(131), column(977)]);
        let linear = Linear { coefficients: vec![vec![3.0, 1.0, 0.0]], intercepts: vec![0.0] };
        let predictor = Predictor::new(Task::Regression, 0, 3, Form::Linear(linear), Link::Identity).unwrap();
        let labels = predictor.predict(&block);
        let found = permutation_importance(&predictor, &block, &labels, 5);
        // Twice the variance of an evenly spread value times the squared coefficient.
        for (rise, wanted) in found.iter().zip([9.0 / 6.0, 1.0 / 6.0, 0.0]) {
            assert!((rise.value - wanted).abs() <= 0.05 * wanted, "{rise:?} for {wanted}");
            assert!(rise.low <= wanted && wanted <= rise.high && rise.high - rise.low <= 0.2 * wanted, "{rise:?}");
        }
        assert_eq!(found, permutation_importance(&predictor, &block, &labels, 5));
        assert_ne!(found[0], permutation_importance(&predictor, &block, &labels, 6)[0]);
    }

    #[test]
    fn rows_are_taken_at_equal_distances() {
        assert_eq!(measured_rows(3, 10), [0, 1, 2]);
        let some = measured_rows(1_000_000, 100);
        assert_eq!((some.len(), some[0], some[1], some[2499]), (2500, 0, 400, 999_600));
        assert_eq!(measured_rows(1_000_000, 1_000_000).len(), 500);
        assert!(measured_rows(0, 5).is_empty());
    }
}
