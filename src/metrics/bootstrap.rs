//! How sure a value is: percentile intervals from bootstrap resamples.
//!
//! A resample draws as many rows as there are, with replacement, each with the same probability
//! (Efron, *Bootstrap methods: another look at the jackknife*, Annals of Statistics 7, 1979); the
//! draw is not stratified, so the share of positive rows varies as it does between days. A row that
//! is drawn c times has c times its weight, so a resample is nothing but other weights, shared by all
//! metrics and by all models that are compared. Resamples in which a metric has no value (all
//! positives missed, say) are left out of its interval and counted in its note.
//!
//! The interval is that of the percentiles (Efron and Tibshirani, *An Introduction to the Bootstrap*,
//! 1993, 13.3): it tells sampling noise of the rows as if they were independent of each other. Rows of
//! one customer are not, so the true uncertainty is rather larger.

use super::{Measure, MetricOptions};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A value with its interval of confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// On the rows as they are.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// The values of one measure in all resamples.
pub(super) struct Resampled {
    /// In the order of the resamples; none where the measure is not defined.
    pub(super) values: Vec<Option<f64>>,
}

impl Resampled {
    /// How many resamples have no value.
    pub(super) fn undefined(&self) -> usize {
        self.values.iter().filter(|value| value.is_none()).count()
    }

    /// The interval around a value; of no width if no resample has a value.
    pub(super) fn estimate(&self, value: f64, confidence: f64) -> Estimate {
        let mut known: Vec<f64> = self.values.iter().copied().flatten().collect();
        known.sort_unstable_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - confidence);
        let low = quantile(&known, tail).unwrap_or(value);
        let high = quantile(&known, 1.0 - tail).unwrap_or(value);
        Estimate { value, low, high }
    }

    /// What to tell about resamples without a value, if there are any.
    pub(super) fn note(&self) -> Option<String> {
        match self.undefined() {
            0 => None,
            some => Some(format!("{some} of {} resamples have no value", self.values.len())),
        }
    }
}

/// Evaluates every measure in every resample. Each resample has a random stream of its own, from the
/// seed and its number, so the result does not depend on the number of threads.
pub(super) fn resample(weights: &[f64], measures: &[Measure<'_>], options: &MetricOptions) -> Vec<Resampled> {
    let by_resample: Vec<Vec<Option<f64>>> = (0..options.resamples)
        .into_par_iter()
        .map_init(
            || vec![0.0; weights.len()],
            |drawn, index| {
                draw(weights, options.seed, index, drawn);
                measures.iter().map(|measure| measure(drawn).value).collect()
            },
        )
        .collect();
    let values_of = |measure: usize| by_resample.iter().map(|values| values[measure]).collect();
    (0..measures.len()).map(|measure| Resampled { values: values_of(measure) }).collect()
}

/// Draws rows with replacement and adds up the weights of what was drawn, row by row, into `drawn`.
fn draw(weights: &[f64], seed: u64, index: u32, drawn: &mut [f64]) {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(u64::from(index));
    drawn.fill(0.0);
    let rows = weights.len() as u32;
    for _ in 0..rows {
        let row = below(&mut stream, rows) as usize;
        drawn[row] += weights[row];
    }
}

/// A uniform number below `bound`, without bias: Lemire, *Fast random integer generation in an
/// interval*, ACM Trans. Model. Comput. Simul. 29 (2019). Written out so that no release of a library
/// can change which rows are drawn.
fn below(stream: &mut ChaCha8Rng, bound: u32) -> u32 {
    loop {
        let product = u64::from(stream.next_u32()) * u64::from(bound);
        let low = product as u32;
        if low >= bound || low >= bound.wrapping_neg() % bound {
            return (product >> 32) as u32;
        }
    }
}

/// The quantile of sorted values, linear between neighbours (Hyndman and Fan's type 7).
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = share * last as f64;
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let (low, high, share) = (sorted[below], sorted[above], position - below as f64);
    // Weighted, because the difference of two large values may not be representable.
    Some(if low == high { low } else { (1.0 - share) * low + share * high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_linear_between_neighbours() {
        let sorted = [1.0, 2.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 0.75), Some(3.0));
        assert_eq!(quantile(&sorted, 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_draw_has_as_many_rows_and_each_row_about_once() {
        let rows = 20_000;
        let mut drawn = vec![0.0; rows];
        draw(&vec![1.0; rows], 7, 3, &mut drawn);
        assert_eq!(drawn.iter().sum::<f64>(), rows as f64);
        // The count of a row is binomial, nearly Poisson(1): a share of 1/e is never drawn.
        let never = drawn.iter().filter(|count| **count == 0.0).count() as f64 / rows as f64;
        assert!((never - (-1.0_f64).exp()).abs() < 0.01, "{never}");
        let variance = drawn.iter().map(|count| (count - 1.0) * (count - 1.0)).sum::<f64>() / rows as f64;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn draws_differ_by_seed_and_by_number_and_are_pinned() {
        let drawn = |seed, index| {
            let mut drawn = vec![0.0; 8];
            draw(&[1.0; 8], seed, index, &mut drawn);
            drawn
        };
        assert_ne!(drawn(7, 0), drawn(7, 1));
        assert_ne!(drawn(7, 0), drawn(8, 0));
        // Pinned: recorded intervals must be found again by every later version.
        assert_eq!(drawn(7, 0), [2.0, 1.0, 1.0, 2.0, 0.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn numbers_below_a_bound_reach_all_of_it_evenly() {
        let mut stream = ChaCha8Rng::from_seed([1; 32]);
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            counts[below(&mut stream, 5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 400), "{counts:?}");
    }
}
