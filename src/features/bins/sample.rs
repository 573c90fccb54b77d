//! The rows on which bins are found: all of them, or a sample that only their numbers decide.
//!
//! Each row's number (among the training rows, from 0) is hashed with the seed, and the rows with the smallest
//! hashes are the sample. So it does not depend on batches or threads, has no period, and is drawn in one pass
//! without knowing how many rows will come.

use crate::features::FeatureBlock;

/// How many rows bins are found on, as in LightGBM; all rows where there are fewer. Where a row is wide, fewer
/// too, so that the sample takes no more than 256 MiB, but at least a tenth.
pub const SAMPLED_ROWS: usize = 200_000;

/// What a sample takes in memory before its rows become fewer, in values.
const SAMPLED_VALUES: usize = 32 << 20;

/// A sample of rows, row-major while it is drawn.
#[derive(Debug, Clone)]
pub struct RowSample {
    features: usize,
    wanted: usize,
    seed: u64,
    /// Rows that have passed.
    passed: u64,
    /// No row with a greater hash is among the sample.
    bound: u64,
    hashes: Vec<u64>,
    values: Vec<f64>,
}

impl RowSample {
    /// A sample of rows of so many numbers.
    pub fn new(features: usize, seed: u64) -> Self {
        let wanted = (SAMPLED_VALUES / features.max(1)).clamp(SAMPLED_ROWS / 10, SAMPLED_ROWS);
        Self::of(wanted, features, seed)
    }

    fn of(wanted: usize, features: usize, seed: u64) -> Self {
        Self { features, wanted, seed, passed: 0, bound: u64::MAX, hashes: Vec::new(), values: Vec::new() }
    }

    /// Takes in the next rows.
    pub fn add(&mut self, block: &FeatureBlock) {
        for row in 0..block.rows() {
            let hash = mixed(self.seed ^ mixed(self.passed));
            self.passed += 1;
            if hash <= self.bound {
                self.hashes.push(hash);
                self.values.extend((0..self.features).map(|feature| block.value(row, feature)));
                if self.hashes.len() > self.wanted + self.wanted / 4 {
                    self.shrink();
                }
            }
        }
    }

    /// The sampled values of each number, in the order of the rows.
    pub fn columns(mut self) -> Vec<Vec<f64>> {
        self.shrink();
        let width = self.features;
        (0..width).map(|feature| self.values.iter().skip(feature).step_by(width).copied().collect()).collect()
    }

    /// Only the wanted number of rows.
    fn shrink(&mut self) {
        if self.hashes.len() <= self.wanted {
            return;
        }
        let mut sorted = self.hashes.clone();
        // No two rows have the same hash: it is a bijection of the row's number.
        let (_, bound, _) = sorted.select_nth_unstable(self.wanted - 1);
        self.bound = *bound;
        let mut kept = 0;
        for row in 0..self.hashes.len() {
            if self.hashes[row] <= self.bound {
                self.hashes[kept] = self.hashes[row];
                self.values.copy_within(row * self.features..(row + 1) * self.features, kept * self.features);
                kept += 1;
            }
        }
        self.hashes.truncate(kept);
        self.values.truncate(kept * self.features);
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection that spreads every bit.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rows: usize, batch: usize, wanted: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut sample = RowSample::of(wanted, 2, seed);
        for start in (0..rows).step_by(batch) {
            let numbers: Vec<f64> = (start..rows.min(start + batch)).map(|row| row as f64).collect();
            let halves: Vec<f64> = numbers.iter().map(|number| number / 2.0).collect();
            sample.add(&FeatureBlock::from_columns(numbers.len(), &[numbers, halves]));
        }
        sample.columns()
    }

    #[test]
    fn few_rows_are_all_taken_and_many_rows_evenly() {
        assert_eq!(drawn(100, 7, 100, 7)[0], (0..100).map(f64::from).collect::<Vec<_>>());
        let columns = drawn(100_000, 8192, 1000, 7);
        assert_eq!((columns.len(), columns[0].len()), (2, 1000));
        assert!(columns[0].is_sorted());
        assert!(columns[0].iter().zip(&columns[1]).all(|(number, half)| *half == number / 2.0));
        let early = columns[0].iter().filter(|row| **row < 50_000.0).count();
        assert!((430..570).contains(&early), "{early}");
    }

    #[test]
    fn batches_do_not_matter_and_the_seed_does() {
        let whole = drawn(10_000, 10_000, 500, 7);
        for batch in [1, 13, 8192] {
            assert_eq!(drawn(10_000, batch, 500, 7), whole);
        }
        assert_ne!(drawn(10_000, 10_000, 500, 8), whole);
    }
}
