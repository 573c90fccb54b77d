//! What is minimised: the loss of each objective, its derivatives by the score, and where scores begin.
//!
//! | loss | of label `y` and score `s` | gradient | hessian |
//! |---|---|---|---|
//! | logistic | `ln(1 + exp(s)) - y s` | `p - y`, `p = 1 / (1 + exp(-s))` | `p (1 - p)` |
//! | softmax | `ln(sum of exp(s_k)) - s_y` | `p_k - (y = k)` | `K / (K - 1) p_k (1 - p_k)` |
//! | squared | `(s - y)^2 / 2` | `s - y` | 1 |
//! | absolute | `abs(s - y)` | sign | 1 |
//! | quantile | `alpha (y - s)` above `s`, `(1 - alpha) (s - y)` below | `-alpha`, `1 - alpha` | 1 |
//! | poisson | `exp(s) - y s` | `exp(s) - y` | `exp(s + 0.7)` |
//!
//! all times the row's weight. The factor of the softmax (Friedman 2001) and the 0.7 that keeps steps of Poisson
//! small are LightGBM's. The second derivatives of absolute and quantile are 0: their leaves get the quantile of
//! the residuals instead of a Newton step.

use crate::models::Link;
use crate::models::link::logistic;
use rayon::prelude::*;

/// By how much the Poisson hessian is raised, on the scale of the score.
const POISSON_STEP: f64 = 0.7;
/// The score of a class that has no row: its probability is 0.
const NEVER: f64 = -1000.0;
/// Rows whose losses are added up by one task.
const STRETCH: usize = 1 << 14;

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Loss {
    /// Two classes.
    Logistic,
    /// As many classes.
    Softmax(usize),
    /// The mean.
    Squared,
    /// The median.
    Absolute,
    /// The quantile of this probability.
    Quantile(f64),
    /// The mean of counts, on the scale of its logarithm.
    Poisson,
}

/// Scores by output, then by row.
pub(super) type Scores = Vec<Vec<f64>>;

impl Loss {
    /// What makes predictions of scores.
    pub fn link(self) -> Link {
        match self {
            Self::Logistic => Link::Logistic,
            Self::Softmax(_) => Link::Softmax,
            Self::Squared | Self::Absolute | Self::Quantile(_) => Link::Identity,
            Self::Poisson => Link::Exponential,
        }
    }

    /// The probability of the quantile that leaves take of their rows' residuals, if they do.
    pub fn renewed(self) -> Option<f64> {
        match self {
            Self::Absolute => Some(0.5),
            Self::Quantile(alpha) => Some(alpha),
            _ => None,
        }
    }

    /// The best constant score of each output: where boosting begins.
    pub fn base(self, labels: &[f64], weights: &[f64]) -> Vec<f64> {
        let total: f64 = weights.iter().sum();
        let mean = || labels.iter().zip(weights).map(|(label, weight)| label * weight).sum::<f64>() / total;
        match self {
            Self::Logistic => vec![mean().ln() - (1.0 - mean()).ln()],
            Self::Softmax(classes) => {
                let mut totals = vec![0.0; classes];
                for (label, weight) in labels.iter().zip(weights) {
                    totals[*label as usize] += weight;
                }
                totals.iter().map(|own| if *own > 0.0 { (own / total).ln() } else { NEVER }).collect()
            }
            Self::Squared => vec![mean()],
            Self::Poisson => vec![mean().ln()],
            Self::Absolute | Self::Quantile(_) => {
                let alpha = self.renewed().unwrap_or(0.5);
                vec![quantile(labels.iter().copied().zip(weights.iter().copied()).collect(), alpha)]
            }
        }
    }

    /// The gradient and the hessian of one output; `norm` is the softmax's logarithm of the sum.
    #[inline]
    pub fn derivatives(self, output: usize, label: f64, score: f64, norm: f64) -> (f64, f64) {
        match self {
            Self::Logistic => {
                let share = logistic(score);
                (share - label, share * (1.0 - share))
            }
            Self::Softmax(classes) => {
                let share = (score - norm).exp();
                let own = f64::from(u8::from(label as usize == output));
                let factor = classes as f64 / (classes as f64 - 1.0);
                (share - own, factor * share * (1.0 - share))
            }
            Self::Squared => (score - label, 1.0),
            Self::Absolute if score == label => (0.0, 1.0),
            Self::Absolute => ((score - label).signum(), 1.0),
            Self::Quantile(alpha) => (if score >= label { 1.0 - alpha } else { -alpha }, 1.0),
            Self::Poisson => (score.exp() - label, (score + POISSON_STEP).exp()),
        }
    }

    /// The logarithm of each row's sum of exponentials; empty but for the softmax.
    pub fn norms(self, scores: &Scores) -> Vec<f64> {
        if !matches!(self, Self::Softmax(_)) {
            return Vec::new();
        }
        let rows = scores.first().map_or(0, Vec::len);
        let norm = |row: usize| {
            let highest = scores.iter().map(|own| own[row]).fold(f64::NEG_INFINITY, f64::max);
            highest + scores.iter().map(|own| (own[row] - highest).exp()).sum::<f64>().ln()
        };
        (0..rows).into_par_iter().with_min_len(1 << 12).map(norm).collect()
    }

    /// The loss of one row; `score` gives its score of an output.
    fn of_row(self, label: f64, score: impl Fn(usize) -> f64) -> f64 {
        match self {
            Self::Logistic => softplus(score(0)) - label * score(0),
            Self::Softmax(classes) => {
                let highest = (0..classes).map(&score).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = (0..classes).map(|class| (score(class) - highest).exp()).sum();
                highest + sum.ln() - score(label as usize)
            }
            Self::Squared => (score(0) - label).powi(2) / 2.0,
            Self::Absolute => (score(0) - label).abs(),
            Self::Quantile(alpha) => {
                let rest = label - score(0);
                if rest > 0.0 { alpha * rest } else { (alpha - 1.0) * rest }
            }
            Self::Poisson => score(0).exp() - label * score(0),
        }
    }

    /// The weighted mean loss of these rows, added up in an order that depends on no thread.
    pub fn mean(self, rows: &[u32], labels: &[f64], weight: impl Fn(usize) -> f64 + Sync, scores: &Scores) -> f64 {
        let part = |rows: &[u32]| {
            rows.iter().fold((0.0, 0.0), |(loss, total), row| {
                let row = *row as usize;
                let own = self.of_row(labels[row], |output| scores[output][row]);
                (loss + weight(row) * own, total + weight(row))
            })
        };
        let parts: Vec<(f64, f64)> = rows.par_chunks(STRETCH).map(part).collect();
        let (loss, total) = parts.into_iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        loss / total
    }
}

/// `ln(1 + exp(score))` without overflow.
fn softplus(score: f64) -> f64 {
    score.max(0.0) + (-score.abs()).exp().ln_1p()
}

/// The value below which a share `alpha` of the weight lies; halfway to the next one where that is exactly so.
/// A weight of 2 is the value twice, and of 0 not at all.
pub(super) fn quantile(mut values: Vec<(f64, f64)>, alpha: f64) -> f64 {
    values.retain(|(_, weight)| *weight > 0.0);
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    let (wanted, mut below) = (alpha * total, 0.0);
    for (index, (value, weight)) in values.iter().enumerate() {
        below += weight;
        // Sums of weights are rounded: what is exact to 12 digits is taken for exact.
        if (below - wanted).abs() <= 1e-12 * total {
            return values.get(index + 1).map_or(*value, |(next, _)| f64::midpoint(*value, *next));
        }
        if below > wanted {
            return *value;
        }
    }
    values.last().map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSES: [Loss; 6] =
        [Loss::Logistic, Loss::Softmax(3), Loss::Squared, Loss::Absolute, Loss::Quantile(0.8), Loss::Poisson];

    #[test]
    fn gradients_are_slopes_of_the_loss() {
        for loss in LOSSES {
            for label in [0.0, 1.0] {
                let scores = [0.3, -1.2, 0.7];
                let at = |output: usize, step: f64| {
                    loss.of_row(label, |index| scores[index] + if index == output { step } else { 0.0 })
                };
                let columns: Scores = scores.iter().map(|score| vec![*score]).collect();
                let norm = loss.norms(&columns).first().copied().unwrap_or(0.0);
                let outputs = if loss == Loss::Softmax(3) { 3 } else { 1 };
                for (output, score) in scores.iter().enumerate().take(outputs) {
                    let (gradient, hessian) = loss.derivatives(output, label, *score, norm);
                    let slope = (at(output, 1e-5) - at(output, -1e-5)) / 2e-5;
                    assert!((gradient - slope).abs() < 1e-8, "{loss:?} {label} {output}: {gradient} for {slope}");
                    let bend = (at(output, 1e-3) - 2.0 * at(output, 0.0) + at(output, -1e-3)) / 1e-6;
                    let wanted = match loss {
                        Loss::Softmax(_) => 1.5 * bend,
                        Loss::Poisson => bend * POISSON_STEP.exp(),
                        Loss::Absolute | Loss::Quantile(_) => 1.0,
                        _ => bend,
                    };
                    assert!((hessian - wanted).abs() < 1e-5, "{loss:?} {label} {output}: {hessian} for {wanted}");
                }
            }
        }
    }

    #[test]
    fn the_base_is_the_best_constant() {
        let (labels, weights) = ([0.0, 1.0, 1.0, 2.0, 1.0, 0.0, 2.0], [1.0, 2.0, 0.5, 1.0, 0.25, 3.0, 0.0]);
        for loss in LOSSES {
            let labels = labels.map(|label: f64| if loss == Loss::Logistic { label.min(1.0) } else { label });
            let base = loss.base(&labels, &weights);
            let rows: Vec<u32> = (0..7).collect();
            let mean = |base: &[f64]| {
                let scores: Scores = base.iter().map(|score| vec![*score; 7]).collect();
                loss.mean(&rows, &labels, |row| weights[row], &scores)
            };
            for output in 0..base.len() {
                for step in [-0.01, 0.01] {
                    let mut other = base.clone();
                    other[output] += step;
                    assert!(mean(&other) >= mean(&base) - 1e-12, "{loss:?} {base:?}");
                }
            }
        }
    }

    #[test]
    fn quantiles_are_weighted() {
        let values = |weights: [f64; 4]| [3.0, 1.0, 2.0, 10.0].into_iter().zip(weights).collect::<Vec<_>>();
        assert_eq!(quantile(values([1.0; 4]), 0.5), 2.5);
        assert_eq!(quantile(values([1.0; 4]), 0.6), 3.0);
        assert_eq!(quantile(values([1.0, 5.0, 1.0, 1.0]), 0.5), 1.0);
        assert_eq!(quantile(values([0.1; 4]), 0.75), 6.5);
        assert_eq!(quantile(vec![], 0.5), 0.0);
        assert_eq!(quantile(vec![(0.0, 1.0), (1.0, 0.0), (100.0, 1.0)], 0.5), 50.0);
        let twice: Vec<(f64, f64)> = [3.0, 3.0, 1.0, 2.0, 10.0].into_iter().map(|value| (value, 1.0)).collect();
        for alpha in [0.1, 0.4, 0.5, 0.8, 0.9] {
            assert_eq!(quantile(values([2.0, 1.0, 1.0, 1.0]), alpha), quantile(twice.clone(), alpha));
        }
    }

    #[test]
    fn losses_of_extreme_scores_are_finite() {
        for score in [-1e4, 1e4] {
            for label in [0.0, 1.0] {
                assert!(Loss::Logistic.of_row(label, |_| score).is_finite());
                assert!(Loss::Softmax(3).of_row(label, |index| score * index as f64).is_finite());
            }
        }
    }
}
