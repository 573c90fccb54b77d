//! Weighted sums of columns: the raw scores of linear models.
//!
//! Every row adds its features in their order, each product rounded before it is added (no fused
//! operation), so that neither the block nor the instruction set changes a bit. The one loop is compiled
//! for the instruction sets that a machine may have, and the widest is chosen at run time.

use super::Linear;
use crate::features::FeatureBlock;
use crate::forest::Instructions;

/// Rows whose sums stay in registers while all columns pass.
const ROWS: usize = 32;

impl Linear {
    /// The scores of all rows, row-major `rows x outputs`; `block` has as many features as coefficients.
    pub(super) fn score(&self, block: &FeatureBlock) -> Vec<f64> {
        self.score_by(Instructions::best(), block)
    }

    fn score_by(&self, instructions: Instructions, block: &FeatureBlock) -> Vec<f64> {
        let mut scores = vec![0.0; block.rows() * self.intercepts.len()];
        match instructions {
            // SAFETY: the machine has these instructions.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vbmi | Instructions::Avx512 if instructions.is_available() => unsafe {
                avx512(self, block, &mut scores)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 if instructions.is_available() => unsafe { avx2(self, block, &mut scores) },
            _ => score(self, block, &mut scores),
        }
        scores
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(linear: &Linear, block: &FeatureBlock, scores: &mut [f64]) {
    score(linear, block, scores);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(linear: &Linear, block: &FeatureBlock, scores: &mut [f64]) {
    score(linear, block, scores);
}

/// A few rows at a time pass all outputs, so that their columns are read from memory once.
#[inline(always)]
fn score(linear: &Linear, block: &FeatureBlock, scores: &mut [f64]) {
    let (rows, outputs) = (block.rows(), linear.intercepts.len());
    let whole = rows - rows % ROWS;
    for start in (0..whole).step_by(ROWS) {
        for (output, (coefficients, intercept)) in linear.coefficients.iter().zip(&linear.intercepts).enumerate() {
            let mut sums = [*intercept; ROWS];
            for (feature, coefficient) in coefficients.iter().enumerate() {
                let Some(values) = block.column(feature)[start..].first_chunk::<ROWS>() else { return };
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += coefficient * value;
                }
            }
            for (row, sum) in sums.iter().enumerate() {
                scores[(start + row) * outputs + output] = *sum;
            }
        }
    }
    for row in whole..rows {
        for (output, (coefficients, intercept)) in linear.coefficients.iter().zip(&linear.intercepts).enumerate() {
            let products = coefficients.iter().enumerate().map(|(feature, own)| own * block.value(row, feature));
            scores[row * outputs + output] = products.fold(*intercept, |sum, product| sum + product);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_sum() {
        let number = |index: usize| ((index * 7919 % 1009) as f64 - 500.0) / 77.0;
        for (features, outputs) in [(0, 2), (1, 1), (28, 3), (100, 1)] {
            let coefficients = (0..outputs).map(|output| (0..features).map(|own| number(own + output * 31)).collect());
            let linear =
                Linear { coefficients: coefficients.collect(), intercepts: (0..outputs).map(number).collect() };
            for rows in [0, 1, 31, 32, 33, 200] {
                let columns: Vec<Vec<f64>> =
                    (0..features).map(|own| (0..rows).map(|row| number(row * 13 + own * 5 + 1)).collect()).collect();
                let block = FeatureBlock::from_columns(rows, &columns);
                let mut plain = Vec::new();
                for row in 0..rows {
                    for (own, intercept) in linear.coefficients.iter().zip(&linear.intercepts) {
                        let mut sum = *intercept;
                        for (feature, coefficient) in own.iter().enumerate() {
                            sum += coefficient * block.value(row, feature);
                        }
                        plain.push(sum.to_bits());
                    }
                }
                for instructions in Instructions::available() {
                    let scores = linear.score_by(instructions, &block);
                    assert_eq!(scores.into_iter().map(f64::to_bits).collect::<Vec<_>>(), plain, "{instructions:?}");
                }
            }
        }
    }
}
