//! Random streams, one for each unit of work.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// What a stream is for; streams of two purposes never meet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// A customer's place and habits.
    Customer,
    /// A terminal's place and category.
    Terminal,
    /// What a customer does on a day.
    Transactions,
    /// The terminals that fall to fraudsters on a day.
    CompromisedTerminals,
    /// The customers whose cards leak on a day.
    CompromisedCustomers,
}

/// An endless sequence of random numbers, fixed by what it was opened with.
pub(super) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of one unit (a customer, a terminal) on one `day` (days since 1970-01-01).
    pub(super) fn open(seed: u64, purpose: Purpose, day: i64, unit: u64) -> Self {
        // ChaCha mixes its key thoroughly: keys that differ in one bit give unrelated streams.
        let mut key = [0_u8; 32];
        let words = [seed, purpose as u64, day as u64, unit];
        for (place, word) in key.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in `[low, high)`.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0..count`; `count` is at least 1.
    pub(super) fn below(&mut self, count: u32) -> u32 {
        // Multiply and shift; the bias is below one in a hundred for the largest counts and nil for small ones.
        ((u64::from(self.0.next_u32()) * u64::from(count)) >> 32) as u32
    }

    /// About normal, with mean 0 and deviation 1: the sum of twelve uniform numbers (Irwin-Hall), which unlike
    /// a logarithm is the same on every platform.
    pub(super) fn bell(&mut self) -> f64 {
        let mut sum = 0_u64;
        for _ in 0..3 {
            let word = self.0.next_u64();
            sum += (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
        }
        // Twelve numbers of 16 bits, each half a step too low on average.
        (sum as f64 + 6.0) / 65_536.0 - 6.0
    }

    /// How many events happen where `mean` are expected: a Poisson number, by going up its distribution.
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        let target = self.unit();
        let mut probability = exp_of_minus(mean);
        let (mut reached, mut count) = (probability, 0_u32);
        while target >= reached && count < 100 {
            count += 1;
            probability *= mean / f64::from(count);
            reached += probability;
        }
        count
    }

    /// An index of `cumulative`, which ends with the total weight.
    pub(super) fn weighted(&mut self, cumulative: &[u32]) -> usize {
        let total = cumulative.last().copied().unwrap_or(1).max(1);
        let target = self.below(total);
        cumulative.partition_point(|&reached| reached <= target)
    }
}

/// `exp(-x)` to about six digits, by basic arithmetic.
fn exp_of_minus(x: f64) -> f64 {
    let mut power = 1.0 / (1.0 + x / 1_048_576.0);
    for _ in 0..20 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_moments_that_they_should() {
        let mut stream = Stream::open(1, Purpose::Customer, 0, 0);
        let count = 100_000;
        let bells: Vec<f64> = (0..count).map(|_| stream.bell()).collect();
        let mean = bells.iter().sum::<f64>() / f64::from(count);
        let variance = bells.iter().map(|bell| (bell - mean).powi(2)).sum::<f64>() / f64::from(count);
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "mean {mean}, variance {variance}");

        let counts: Vec<f64> = (0..count).map(|_| f64::from(stream.poisson(2.5))).collect();
        let mean = counts.iter().sum::<f64>() / f64::from(count);
        let variance = counts.iter().map(|found| (found - mean).powi(2)).sum::<f64>() / f64::from(count);
        assert!((mean - 2.5).abs() < 0.03 && (variance - 2.5).abs() < 0.08, "mean {mean}, variance {variance}");
        assert!((exp_of_minus(2.5) - (-2.5_f64).exp()).abs() < 1e-6);
    }

    #[test]
    fn streams_differ_by_each_of_their_names() {
        let first = |seed, purpose, day, unit| Stream::open(seed, purpose, day, unit).0.next_u64();
        let one = first(1, Purpose::Customer, 0, 0);
        assert_ne!(one, first(2, Purpose::Customer, 0, 0));
        assert_ne!(one, first(1, Purpose::Terminal, 0, 0));
        assert_ne!(one, first(1, Purpose::Customer, 1, 0));
        assert_ne!(one, first(1, Purpose::Customer, 0, 1));
        assert_eq!(one, first(1, Purpose::Customer, 0, 0));
    }

    #[test]
    fn weights_are_kept_and_zero_weights_never_come() {
        let mut stream = Stream::open(3, Purpose::Customer, 0, 0);
        let mut seen = [0_u32; 3];
        for _ in 0..10_000 {
            seen[stream.weighted(&[3, 3, 4])] += 1;
        }
        assert_eq!(seen[1], 0);
        assert!((7_200..7_800).contains(&seen[0]), "{seen:?}");
    }
}
