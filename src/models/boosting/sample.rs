//! Rows and features that a round may use: ChaCha streams keyed by the seed and what is drawn.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;

/// Rows that share a stream.
const STRETCH: usize = 1 << 14;

/// What is drawn; part of a stream's key.
#[derive(Clone, Copy)]
pub(crate) enum Drawn {
    /// The rows of a round of boosting.
    Rows = 1,
    /// The features of a tree.
    Features = 2,
    /// All that a tree of a random forest draws.
    Tree = 3,
    /// The shuffle of a feature.
    Shuffle = 4,
}

/// The stream of the seed for a part of a unit (a round, a tree).
pub(crate) fn stream(seed: u64, drawn: Drawn, unit: u64, part: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let words = [seed, drawn as u64, unit, part];
    for (to, word) in key.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Each of `rows` with the probability `share`, in their order.
pub(super) fn rows(seed: u64, round: usize, rows: &[u32], share: f64) -> Vec<u32> {
    if share >= 1.0 {
        return rows.to_vec();
    }
    let limit = (share * (1_u64 << 32) as f64) as u64;
    let part = |(index, rows): (usize, &[u32])| {
        let mut stream = stream(seed, Drawn::Rows, round as u64, index as u64);
        rows.iter().copied().filter(|_| u64::from(stream.next_u32()) < limit).collect::<Vec<u32>>()
    };
    let parts: Vec<Vec<u32>> = rows.par_chunks(STRETCH).enumerate().map(part).collect();
    parts.concat()
}

/// The share of `count` features, at least one, in ascending order.
pub(super) fn features(seed: u64, tree: usize, count: usize, share: f64) -> Vec<u32> {
    let mut features: Vec<u32> = (0..count as u32).collect();
    let wanted = ((share * count as f64).round() as usize).clamp(1, count.max(1));
    if wanted >= count {
        return features;
    }
    let mut stream = stream(seed, Drawn::Features, tree as u64, 0);
    for index in 0..wanted {
        let rest = (count - index) as u64;
        // The product's high word is spread evenly but for one part in 2^64 / count.
        let other = index + ((u128::from(stream.next_u64()) * u128::from(rest)) >> 64) as usize;
        features.swap(index, other);
    }
    features.truncate(wanted);
    features.sort_unstable();
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_their_share_and_are_drawn_anew() {
        let all: Vec<u32> = (0..100_000).collect();
        let one = rows(7, 0, &all, 0.3);
        assert!((29_000..31_000).contains(&one.len()), "{}", one.len());
        assert!(one.is_sorted() && one == rows(7, 0, &all, 0.3));
        assert!(one != rows(7, 1, &all, 0.3) && one != rows(8, 0, &all, 0.3));
        assert_eq!(rows(7, 0, &all, 1.0), all);
    }

    #[test]
    fn each_feature_is_drawn_as_often() {
        let mut drawn = [0; 10];
        for tree in 0..2000 {
            let some = features(3, tree, 10, 0.3);
            assert!(some.len() == 3 && some.windows(2).all(|pair| pair[0] < pair[1]));
            some.iter().for_each(|feature| drawn[*feature as usize] += 1);
        }
        assert!(drawn.iter().all(|count| (500..700).contains(count)), "{drawn:?}");
        assert_eq!(features(3, 0, 4, 0.01).len(), 1);
        assert_eq!(features(3, 0, 4, 1.0), [0, 1, 2, 3]);
    }
}
