//! Features with weighted mean 0 and standard deviation 1, and the way back.

use super::TrainingSet;
use rayon::prelude::*;

/// A standard deviation below this part of the largest absolute value is rounding noise.
const NOISE: f64 = 1e-13;

/// The features that vary, standardised with the row weights (population standard deviation, as
/// scikit-learn's `StandardScaler`).
#[derive(Debug)]
pub(super) struct Standardised {
    /// How many rows.
    pub rows: usize,
    /// How many features the training set had.
    features: usize,
    /// The features that are left; those that do not vary get the coefficient 0.
    pub kept: Vec<usize>,
    means: Vec<f64>,
    scales: Vec<f64>,
    /// Column-major, `rows x kept`.
    pub values: Vec<f64>,
}

impl Standardised {
    /// Standardises the features of `training`; rows of weight 0 do not count.
    pub fn of(training: &TrainingSet<'_>) -> Self {
        let (block, weights) = (training.features, training.weights);
        let total: f64 = weights.iter().sum();
        let moments: Vec<Option<(f64, f64)>> = (0..block.features())
            .into_par_iter()
            .map(|feature| moments(block.column(feature), weights, total))
            .collect();
        let kept: Vec<usize> = (0..block.features()).filter(|feature| moments[*feature].is_some()).collect();
        let (means, scales): (Vec<f64>, Vec<f64>) = moments.into_iter().flatten().unzip();
        let rows = block.rows();
        let mut values = vec![0.0; rows * kept.len()];
        values.par_chunks_mut(rows).enumerate().for_each(|(index, column)| {
            let (mean, scale) = (means[index], scales[index]);
            for (to, from) in column.iter_mut().zip(block.column(kept[index])) {
                *to = (from - mean) / scale;
            }
        });
        Self { rows, features: block.features(), kept, means, scales, values }
    }

    /// One standardised feature of all rows.
    pub fn column(&self, index: usize) -> &[f64] {
        &self.values[index * self.rows..(index + 1) * self.rows]
    }

    /// Leaves only these of the kept features.
    pub fn retain(&mut self, indices: &[usize]) {
        let pick = |values: &[f64]| -> Vec<f64> { indices.iter().map(|index| values[*index]).collect() };
        self.means = pick(&self.means);
        self.scales = pick(&self.scales);
        self.values = indices.iter().flat_map(|index| self.column(*index)).copied().collect();
        self.kept = indices.iter().map(|index| self.kept[*index]).collect();
    }

    /// Coefficients and intercept for the features as they are, from those for the standardised ones.
    pub fn unscale(&self, coefficients: &[f64], intercept: f64) -> (Vec<f64>, f64) {
        let mut raw = vec![0.0; self.features];
        let mut shift = 0.0;
        for (index, coefficient) in coefficients.iter().enumerate() {
            let slope = coefficient / self.scales[index];
            raw[self.kept[index]] = slope;
            shift += slope * self.means[index];
        }
        (raw, intercept - shift)
    }
}

/// Weighted mean and standard deviation, or `None` if the feature does not vary.
fn moments(column: &[f64], weights: &[f64], total: f64) -> Option<(f64, f64)> {
    let counted = || column.iter().zip(weights).filter(|(_, weight)| **weight > 0.0);
    let mean = counted().map(|(value, weight)| value * weight).sum::<f64>() / total;
    let variance = counted().map(|(value, weight)| weight * (value - mean) * (value - mean)).sum::<f64>() / total;
    let largest = counted().map(|(value, _)| value.abs()).fold(0.0, f64::max);
    let scale = variance.sqrt();
    (scale > NOISE * largest && scale.is_finite()).then_some((mean, scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureBlock;
    use crate::task::Task;

    #[test]
    fn constant_features_are_left_out_and_come_back_as_zero() {
        let block = FeatureBlock::from_columns(4, &[vec![0.1; 4], vec![1.0, 2.0, 3.0, 100.0]]);
        let weights = [1.0, 1.0, 1.0, 0.0];
        let labels = [0.0; 4];
        let training =
            TrainingSet { features: &block, labels: &labels, weights: &weights, task: Task::Regression, classes: 0 };
        let scaled = Standardised::of(&training);
        assert_eq!(scaled.kept, [1]);
        assert!((scaled.column(0)[1]).abs() < 1e-15, "the mean of the three rows that count is 2");
        let (raw, intercept) = scaled.unscale(&[1.0], 0.0);
        let scale = (2.0_f64 / 3.0).sqrt();
        assert_eq!(raw, [0.0, 1.0 / scale]);
        assert!((intercept + 2.0 / scale).abs() < 1e-15);
    }
}
