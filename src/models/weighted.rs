//! Weighted sums of columns: the raw scores of linear models.
//!
//! Every row adds its features in their order, each product rounded before it is added (no fused
//! operation), so that neither the block nor the instruction set changes a bit. The one loop is compiled
//! for the instruction sets that a machine may have, and the widest is chosen at run time.

use super::Linear;
use crate::features::FeatureBlock;
use crate::forest::Instructions;

/// Rows whose sums stay in the first-level cache while all columns pass: long enough stretches of a column that memory
/// gives them as fast as it can.
const STRIP: usize = 1024;
/// Sums of a strip, all outputs together; what many outputs make of the strip is shorter.
const SUMS: usize = 64 * 1024;
/// Columns that pass together, so that a sum is loaded and stored once for all of them.
const TOGETHER: usize = 4;

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

/// A strip of rows at a time: all columns pass the sums of all outputs.
#[inline(always)]
fn score(linear: &Linear, block: &FeatureBlock, scores: &mut [f64]) {
    let (rows, features, outputs) = (block.rows(), block.features(), linear.intercepts.len());
    if rows == 0 || outputs == 0 {
        return;
    }
    let strip = (SUMS / outputs).clamp(32, STRIP).min(rows);
    let grouped = features - features % TOGETHER;
    let mut sums = vec![0.0; strip * outputs];
    for (index, scores) in scores.chunks_mut(strip * outputs).enumerate() {
        let (start, count) = (index * strip, scores.len() / outputs);
        let column = |feature: usize| &block.column(feature)[start..start + count];
        for (sums, intercept) in sums.chunks_exact_mut(strip).zip(&linear.intercepts) {
            sums.fill(*intercept);
        }
        for first in (0..grouped).step_by(TOGETHER) {
            let columns: [&[f64]; TOGETHER] = std::array::from_fn(|own| column(first + own));
            for (sums, coefficients) in sums.chunks_exact_mut(strip).zip(&linear.coefficients) {
                let Some(own) = coefficients[first..].first_chunk() else { return };
                add_together(&mut sums[..count], columns, own);
            }
        }
        for feature in grouped..features {
            for (sums, coefficients) in sums.chunks_exact_mut(strip).zip(&linear.coefficients) {
                for (sum, value) in sums.iter_mut().zip(column(feature)) {
                    *sum += coefficients[feature] * value;
                }
            }
        }
        if outputs == 1 {
            scores.copy_from_slice(&sums[..count]);
            continue;
        }
        for (output, sums) in sums.chunks_exact(strip).enumerate() {
            for (score, sum) in scores.iter_mut().skip(output).step_by(outputs).zip(sums) {
                *score = *sum;
            }
        }
    }
}

/// A few columns times their coefficients, one after the other.
#[inline(always)]
fn add_together(sums: &mut [f64], [a, b, c, d]: [&[f64]; TOGETHER], [e, f, g, h]: &[f64; TOGETHER]) {
    for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *sum = *sum + e * a + f * b + g * c + h * d;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_plain_sum() {
        let number = |index: usize| ((index * 7919 % 1009) as f64 - 500.0) / 77.0;
        for (features, outputs) in [(0, 2), (1, 1), (3, 2), (4, 1), (29, 3), (100, 1), (2, 600), (0, 0)] {
            let coefficients = (0..outputs).map(|output| (0..features).map(|own| number(own + output * 31)).collect());
            let linear =
                Linear { coefficients: coefficients.collect(), intercepts: (0..outputs).map(number).collect() };
            for rows in [0, 1, 31, 32, 33, 200, 1023, 1024, 1025, 2100] {
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
