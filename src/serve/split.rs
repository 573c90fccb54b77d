//! Which arm of an A/B split a key belongs to.
//!
//! The rule is simple enough to be computed again by whoever analyses the split, in SQL too: of the SHA-256 of
//! `SALT:KEY` (the salt, a colon, the key, all UTF-8) the first 15 hex digits as a number, modulo the sum of the
//! weights. The arms stand side by side in the order of the configuration, each as wide as its weight; the number
//! falls into one of them. So a key keeps its arm across restarts, hosts, generations and stores, and where two
//! weights are changed, only keys between the two borders move.
//!
//! ```python
//! point = int(hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:15], 16) % 100
//! arm = "champion" if point < 90 else "challenger"          # split = { champion = 90, challenger = 10 }
//! ```

use crate::error::{Error, Result};
use crate::lake::check_name;
use sha2::{Digest, Sha256};

/// Modulo of more than this would favour the first keys by more than one in 10^12.
const MOST: u64 = 1_000_000;

/// The arms side by side.
#[derive(Debug, Clone)]
pub struct Split {
    /// The hash of what stands before each key.
    salted: Sha256,
    /// Where each arm ends, ascending; the last is the sum of the weights.
    ends: Vec<u64>,
    total: u64,
}

impl Split {
    /// A split into arms of these weights.
    ///
    /// # Errors
    /// Usage: no arms, no weight at all, more than a million, or a name that can't be one.
    pub fn new(salt: &str, arms: &[(String, u64)]) -> Result<Self> {
        let mut ends = Vec::with_capacity(arms.len());
        let mut total: u64 = 0;
        for (arm, weight) in arms {
            check_name("arm", arm)?;
            total = total.saturating_add(*weight);
            ends.push(total);
        }
        if !(1..=MOST).contains(&total) {
            return Err(Error::usage("the weights of a split make no split")
                .with("sum", total)
                .hint(format!("give weights whose sum is from 1 to {MOST}, for example 90 and 10")));
        }
        Ok(Self { salted: Sha256::new().chain_update(salt).chain_update(b":"), ends, total })
    }

    /// The arm of a key, counted from 0 in the order of the configuration.
    pub fn arm_of(&self, key: &[u8]) -> usize {
        let digest = self.salted.clone().chain_update(key).finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        // 15 of the 16 hex digits.
        let point = (u64::from_be_bytes(first) >> 4) % self.total;
        self.ends.partition_point(|end| *end <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[u64]) -> Split {
        let arms: Vec<_> = weights.iter().enumerate().map(|(arm, weight)| (format!("arm{arm}"), *weight)).collect();
        Split::new("card_fraud", &arms).unwrap()
    }

    fn counts(split: &Split, arms: usize, keys: impl Iterator<Item = String>) -> Vec<usize> {
        let mut counts = vec![0; arms];
        keys.for_each(|key| counts[split.arm_of(key.as_bytes())] += 1);
        counts
    }

    /// By `int(hashlib.sha256(b"card_fraud:" + key).hexdigest()[:15], 16) % 100` in Python.
    #[test]
    fn the_documented_rule_holds() {
        let split = split(&[1; 100]);
        let points = [("42", POINTS[0]), ("7", POINTS[1]), ("é|x", POINTS[2]), ("", POINTS[3])];
        for (key, point) in points {
            assert_eq!(split.arm_of(key.as_bytes()), point, "{key}");
        }
    }

    const POINTS: [usize; 4] = [74, 81, 80, 44];

    #[test]
    fn arms_get_their_share_of_any_keys() {
        let split = split(&[90, 10]);
        let kinds: [fn(u32) -> String; 3] =
            [|n| n.to_string(), |n| format!("customer-{:08}", n * 16), |n| format!("{n:x}|eu")];
        for kind in kinds {
            let counts = counts(&split, 2, (0..100_000).map(kind));
            // Five standard deviations of a binomial.
            assert!(counts[1].abs_diff(10_000) < 475, "{counts:?}");
        }
    }

    #[test]
    fn a_moved_border_moves_only_the_keys_between() {
        let (before, after) = (split(&[90, 10]), split(&[80, 20]));
        let arms = (0..10_000).map(|n: u32| (before.arm_of(&n.to_le_bytes()), after.arm_of(&n.to_le_bytes())));
        let mut moved = 0;
        for (before, after) in arms {
            assert!(before <= after, "a key went back to the champion");
            moved += usize::from(before != after);
        }
        assert!(moved.abs_diff(1000) < 150, "{moved}");
    }

    #[test]
    fn an_arm_of_no_weight_gets_nothing() {
        let counts = counts(&split(&[0, 5, 0, 5, 0]), 5, (0..10_000).map(|n| n.to_string()));
        assert_eq!((counts[0], counts[2], counts[4]), (0, 0, 0));
        assert!(counts[1].abs_diff(5000) < 250, "{counts:?}");
    }

    #[test]
    fn what_makes_no_split_is_refused() {
        let arms = |weights: &[(&str, u64)]| weights.iter().map(|(arm, weight)| ((*arm).to_owned(), *weight)).collect();
        let cases: [Vec<(String, u64)>; 4] =
            [vec![], arms(&[("a", 0)]), arms(&[("a", u64::MAX), ("b", u64::MAX)]), arms(&[("a b", 1)])];
        for case in cases {
            assert!(Split::new("salt", &case).is_err(), "{case:?}");
        }
    }
}
