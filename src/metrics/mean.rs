//! Weighted means, the form of most metrics.

use super::Measured;

/// What is said where no row has weight, which only a resample of weighted rows can bring about.
pub(super) const NO_WEIGHT: &str = "no row has weight";

/// The mean of one value a row under one weight a row, in fixed order; none if no row has weight.
///
/// Four sums side by side, because one sum would wait for the adder at each row.
pub(super) fn weighted_mean(values: &[f64], weights: &[f64]) -> Option<f64> {
    let (mut sums, mut totals) = ([0.0; 4], [0.0; 4]);
    for (values, weights) in values.chunks(4).zip(weights.chunks(4)) {
        for (lane, (value, weight)) in values.iter().zip(weights).enumerate() {
            sums[lane] += weight * value;
            totals[lane] += weight;
        }
    }
    let total: f64 = totals.iter().sum();
    (total > 0.0).then(|| sums.iter().sum::<f64>() / total)
}

/// The same as a metric's value.
pub(super) fn measured_mean(values: &[f64], weights: &[f64]) -> Measured {
    weighted_mean(values, weights).map_or(Measured::undefined(NO_WEIGHT), Measured::of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_counts_once_at_any_length() {
        for rows in 1..10 {
            let values: Vec<f64> = (0..rows).map(f64::from).collect();
            let weights: Vec<f64> = (0..rows).map(|row| f64::from(row % 3) + 1.0).collect();
            let plain: f64 = values.iter().zip(&weights).map(|(value, weight)| value * weight).sum();
            assert_eq!(weighted_mean(&values, &weights), Some(plain / weights.iter().sum::<f64>()));
        }
    }

    #[test]
    fn without_weight_there_is_no_mean() {
        assert_eq!(weighted_mean(&[1.0, 2.0], &[0.0, 0.0]), None);
        assert_eq!(measured_mean(&[1.0], &[0.0]).note, Some(NO_WEIGHT));
    }
}
