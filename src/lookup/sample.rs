//! Keys remembered while a generation is loaded, to be looked up in what was stored.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// How many keys of a generation are looked up before it is sealed.
pub const SAMPLE_KEYS: usize = 1000;

/// A key and the hash of the value that was put under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// The encoded key.
    pub key: Vec<u8>,
    /// BLAKE3 of the encoded value.
    pub value: [u8; 32],
}

impl Sampled {
    /// Whether `value` is what was put.
    pub fn matches(&self, value: &[u8]) -> bool {
        *blake3::hash(value).as_bytes() == self.value
    }
}

/// A uniform sample of a stream of unknown length, drawn by reservoir with skips (Li 1994, algorithm
/// L): the number of random draws grows with the logarithm of the stream.
pub struct Reservoir {
    rng: ChaCha8Rng,
    kept: Vec<Sampled>,
    seen: u64,
    /// The position in the stream of the next pair to be kept.
    next: u64,
    weight: f64,
}

impl Reservoir {
    /// An empty sample, fixed by the seed and by what will be offered.
    pub fn seeded(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), kept: Vec::new(), seen: 0, next: 0, weight: 1.0 }
    }

    /// Offers the next pair of the stream.
    pub fn offer(&mut self, key: &[u8], value: &[u8]) {
        let position = self.seen;
        self.seen += 1;
        if position != self.next {
            return;
        }
        let sampled = || Sampled { key: key.to_vec(), value: *blake3::hash(value).as_bytes() };
        if self.kept.len() < SAMPLE_KEYS {
            self.kept.push(sampled());
            if self.kept.len() < SAMPLE_KEYS {
                self.next += 1;
                return;
            }
        } else {
            let at = self.rng.random_range(0..SAMPLE_KEYS);
            self.kept[at] = sampled();
        }
        self.weight *= (self.draw().ln() / SAMPLE_KEYS as f64).exp();
        let skip = (self.draw().ln() / (1.0 - self.weight).ln()).floor();
        // A float beyond the range of u64 saturates: then no further pair is kept.
        self.next = position.saturating_add(1).saturating_add(skip as u64);
    }

    /// What has been kept.
    pub fn sample(&self) -> &[Sampled] {
        &self.kept
    }

    /// A number in the open interval (0, 1).
    fn draw(&mut self) -> f64 {
        let bits: u64 = self.rng.random();
        ((bits >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_stream_is_kept_whole_and_a_long_one_evenly() {
        let mut short = Reservoir::seeded(1);
        (0..700u32).for_each(|i| short.offer(&i.to_be_bytes(), b"v"));
        assert_eq!(short.sample().len(), 700);

        let mut long = Reservoir::seeded(1);
        (0..100_000u32).for_each(|i| long.offer(&i.to_be_bytes(), b"v"));
        assert_eq!(long.sample().len(), SAMPLE_KEYS);
        let position = |sampled: &Sampled| u32::from_be_bytes(sampled.key[..].try_into().unwrap());
        for quarter in 0..4 {
            let range = quarter * 25_000..(quarter + 1) * 25_000;
            let share = long.sample().iter().filter(|sampled| range.contains(&position(sampled))).count();
            // 250 expected, standard deviation 14
            assert!((190..310).contains(&share), "{share} of 1000 in quarter {quarter}");
        }
    }

    #[test]
    fn the_seed_fixes_the_sample() {
        let draw = |seed| {
            let mut reservoir = Reservoir::seeded(seed);
            (0..20_000u32).for_each(|i| reservoir.offer(&i.to_be_bytes(), b"v"));
            reservoir.sample().to_vec()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
