//! Links: from raw scores to predictions.

use serde::{Deserialize, Serialize};

/// A score that is no larger counts as 0 for [`Link::SoftmaxZero`].
const NEARLY_ZERO: f64 = 1e-7;

/// What makes predictions of raw scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// The scores are the predictions.
    Identity,
    /// `1 / (1 + exp(-score))`, each score by itself.
    Logistic,
    /// `exp(score)` of each class over their sum.
    Softmax,
    /// Each class's own probability over their sum; equal shares where all are 0.
    OneVsRest,
    /// [`Logistic`](Self::Logistic), and then each over their sum.
    LogisticShares,
    /// [`Softmax`](Self::Softmax) over the scores that are not 0; those that are stay 0 (ONNX's `SOFTMAX_ZERO`).
    SoftmaxZero,
    /// `exp(score)`: a logarithm was learned.
    Exponential,
    /// The square with the score's sign: a root was learned.
    SignedSquare,
    /// `ln(1 + exp(score))`.
    Softplus,
    /// 1 for scores above 0, else 0.
    Step,
    /// The quantile of the standard normal distribution, by the approximation of ONNX Runtime, in `f32`.
    Probit,
    /// Three scores a row: of the first class, of the second, and how many leaves have spoken of the second. The second
    /// becomes the score of the second class if any has, else that of the first (ONNX's two-class ensembles).
    ScoredPair,
    /// [`ScoredPair`](Self::ScoredPair), and then [`Logistic`](Self::Logistic).
    ScoredPairLogistic,
}

impl Link {
    /// Whether each prediction follows from its own score alone.
    pub fn is_elementwise(self) -> bool {
        match self {
            Self::Identity | Self::Logistic | Self::Exponential | Self::SignedSquare | Self::Softplus => true,
            Self::Step | Self::Probit => true,
            Self::Softmax | Self::OneVsRest | Self::LogisticShares | Self::SoftmaxZero => false,
            Self::ScoredPair | Self::ScoredPairLogistic => false,
        }
    }

    /// Turns row-major raw scores into predictions.
    pub fn apply(self, scores: &mut [f64], outputs: usize) {
        let each = |scores: &mut [f64], of: fn(f64) -> f64| scores.iter_mut().for_each(|score| *score = of(*score));
        match self {
            Self::Identity => {}
            Self::Logistic => each(scores, logistic),
            Self::Exponential => each(scores, f64::exp),
            Self::SignedSquare => each(scores, |score| score * score.abs()),
            Self::Softplus => each(scores, softplus),
            Self::Step => each(scores, |score| f64::from(u8::from(score > 0.0))),
            Self::Probit => each(scores, probit),
            Self::Softmax => scores.chunks_mut(outputs).for_each(softmax),
            Self::SoftmaxZero => scores.chunks_mut(outputs).for_each(softmax_zero),
            Self::OneVsRest => scores.chunks_mut(outputs).for_each(normalise),
            Self::LogisticShares => {
                each(scores, logistic);
                scores.chunks_mut(outputs).for_each(normalise);
            }
            Self::ScoredPair => scores.chunks_mut(outputs).for_each(scored_pair),
            Self::ScoredPairLogistic => {
                scores.chunks_mut(outputs).for_each(scored_pair);
                each(scores, logistic);
            }
        }
    }
}

/// `1 / (1 + exp(-score))`, without overflow on either side.
pub(super) fn logistic(score: f64) -> f64 {
    // No branch: signs come in no order that could be guessed.
    let odds = (-score.abs()).exp();
    let above = if score >= 0.0 { 1.0 } else { odds };
    above / (1.0 + odds)
}

/// Probabilities of one row in place of its scores.
pub(super) fn softmax(row: &mut [f64]) {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = (*score - highest).exp();
        sum += *score;
    }
    row.iter_mut().for_each(|score| *score /= sum);
}

fn softmax_zero(row: &mut [f64]) {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in row.iter_mut() {
        *score = if score.abs() > NEARLY_ZERO { (*score - highest).exp() } else { 0.0 };
        sum += *score;
    }
    if sum > 0.0 {
        row.iter_mut().for_each(|score| *score /= sum);
    }
}

fn normalise(row: &mut [f64]) {
    let sum: f64 = row.iter().sum();
    let equal = 1.0 / row.len() as f64;
    row.iter_mut().for_each(|share| *share = if sum > 0.0 { *share / sum } else { equal });
}

fn softplus(score: f64) -> f64 {
    score.max(0.0) + (-score.abs()).exp().ln_1p()
}

fn scored_pair(row: &mut [f64]) {
    if let [first, second, spoken] = row
        && *spoken == 0.0
    {
        *second = *first;
        *first = -*first;
    }
}

/// [Winitzki's approximation](https://en.wikipedia.org/wiki/Error_function#Approximation_with_elementary_functions) of
/// the inverse error function with its constant 0.147, as it is in ONNX Runtime.
#[expect(clippy::approx_constant, reason = "these are the digits that ONNX Runtime computes with")]
fn probit(score: f64) -> f64 {
    let x = 2.0 * score as f32 - 1.0;
    let log = ((1.0 - x) * (1.0 + x)).ln();
    let first = 2.0 / (3.14159f32 * 0.147) + 0.5 * log;
    let inverse = (first.mul_add(first, -log / 0.147).sqrt() - first).sqrt();
    f64::from(std::f32::consts::SQRT_2 * if x < 0.0 { -inverse } else { inverse })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_stable_at_the_ends() {
        assert_eq!(logistic(-1e4), 0.0);
        assert_eq!(logistic(1e4), 1.0);
        assert_eq!(logistic(0.0), 0.5);
        assert_eq!(softplus(1e4), 1e4);
        assert_eq!(softplus(-1e4), 0.0);
        let mut row = [1e300, 0.0, -1e300];
        softmax(&mut row);
        assert_eq!(row, [1.0, 0.0, 0.0]);
        let mut row = [0.0, 0.0];
        normalise(&mut row);
        assert_eq!(row, [0.5, 0.5]);
    }

    #[test]
    fn each_link_is_what_it_says() {
        let of = |link: Link, row: &[f64]| {
            let mut row = row.to_vec();
            let width = row.len();
            link.apply(&mut row, width);
            row
        };
        assert_eq!(of(Link::SignedSquare, &[-3.0, 2.0]), [-9.0, 4.0]);
        assert_eq!(of(Link::Step, &[-3.0, 0.0, 2.0]), [0.0, 0.0, 1.0]);
        assert_eq!(of(Link::Exponential, &[0.0]), [1.0]);
        assert_eq!(of(Link::Softplus, &[0.0]), [2f64.ln()]);
        assert_eq!(of(Link::SoftmaxZero, &[0.0, 3.0]), [0.0, 1.0]);
        assert_eq!(of(Link::SoftmaxZero, &[0.0, 0.0]), [0.0, 0.0]);
        assert_eq!(of(Link::LogisticShares, &[0.0, 0.0, 0.0, 0.0]), [0.25; 4]);
        assert_eq!(of(Link::ScoredPair, &[2.0, 0.0, 0.0]), [-2.0, 2.0, 0.0]);
        assert_eq!(of(Link::ScoredPair, &[2.0, 0.0, 1.0]), [2.0, 0.0, 1.0]);
        assert_eq!(of(Link::ScoredPairLogistic, &[0.0, 9.0, 0.0])[1], 0.5);
        // ONNX Runtime 1.31 gives these.
        for (score, quantile) in [(0.3, -0.52445), (0.8, 0.84176), (0.6, 0.25335), (0.5, 0.0)] {
            assert!((of(Link::Probit, &[score])[0] - quantile).abs() < 1e-5);
        }
        assert!(of(Link::Probit, &[1.5])[0].is_nan());
    }
}
