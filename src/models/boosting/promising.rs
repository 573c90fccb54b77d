//! Which splits behind a number's bins may be better than the best so far: asked of many bins at once.
//!
//! A gain takes two divisions, and most splits are far from the best one. With sides `(G, H)` and `(g, h)` the gain is
//! `(G^2 h + g^2 H) / (H h)`; so what stands above the line is compared with the best gain times what stands below it,
//! which takes no division. The margin of the comparison is far above all rounding: no split that is better is missed,
//! and the gain of those that are left is computed as everywhere else. Neither the test nor the instructions that a
//! machine has for it change a bit of a tree.

use super::histogram::{Scale, Sum, minus, plus};
use super::split::SplitRules;

/// Bins that are asked at once.
const BINS: usize = 32;
/// What a gain is taken for less than it is before it is compared.
const MARGIN: f64 = 1.0 - 1e-9;

/// Marks promising bins by 1, others by 0, in whatever instructions the machine has.
pub(super) type Mark = fn(&Sides, bar: f64) -> [u8; BINS];

/// What is left and right of the splits behind some bins of a feature; made once a node and used for all features.
pub(super) struct Sides {
    /// Sums of what goes left.
    gradients: [i64; BINS],
    hessians: [i64; BINS],
    /// That of the node.
    all: Sum,
    bits: u32,
    gradient_unit: f64,
    hessian_unit: f64,
    l2: f64,
    /// Rows that each side must have.
    least: i64,
}

impl Sides {
    /// How many bins there are.
    pub const BINS: usize = BINS;

    /// Of a node with this sum.
    pub fn new(scale: Scale, rules: &SplitRules, all: Sum) -> Self {
        let (bits, gradient_unit, hessian_unit) = scale.units();
        // A row at least, so that places without a bin, which have none, are no splits.
        let least = i64::try_from(rules.min_rows.max(1)).unwrap_or(i64::MAX);
        let (gradients, hessians) = ([0; BINS], [0; BINS]);
        Self { gradients, hessians, all, bits, gradient_unit, hessian_unit, l2: rules.l2, least }
    }

    /// Takes the sums of the next bins, at most [`BINS`](Self::BINS), behind what is `left` of them; gives what is left
    /// of the bins that follow.
    #[inline]
    pub fn fill(&mut self, mut left: Sum, values: &[Sum]) -> Sum {
        let places = self.gradients.iter_mut().zip(&mut self.hessians);
        for ((gradients, hessians), own) in places.zip(values) {
            left = plus(left, *own);
            (*gradients, *hessians) = (left[0], left[1]);
        }
        if values.len() < BINS {
            self.hessians[values.len()..].fill(0);
        }
        left
    }

    /// The sum of what is left of the split behind this bin.
    pub fn left(&self, bin: usize) -> Sum {
        [self.gradients[bin], self.hessians[bin]]
    }

    /// The bins behind which a split may gain more than `highest`, ascending; the number of rows on both sides is
    /// enough there.
    #[inline]
    pub fn promising(&self, mark: Mark, highest: f64) -> impl Iterator<Item = usize> + use<> {
        let marks = mark(self, highest * MARGIN);
        let (words, _) = marks.as_chunks::<8>();
        let words: [u64; BINS / 8] = std::array::from_fn(|word| u64::from_le_bytes(words[word]));
        words.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(word * 8 + bit / 8)
            })
        })
    }
}

/// [`Mark`] in plain words; each of the others is this, compiled for some instructions.
#[inline(always)]
fn marked(sides: &Sides, bar: f64) -> [u8; BINS] {
    let Sides { all, bits, gradient_unit, hessian_unit, l2, least, .. } = *sides;
    let count = (1_i64 << bits) - 1;
    let most = (all[1] & count) - least;
    std::array::from_fn(|bin| {
        let left = [sides.gradients[bin], sides.hessians[bin]];
        let right = minus(all, left);
        let [left_gradient, right_gradient] = [left[0], right[0]].map(|sum| sum as f64 * gradient_unit);
        let [left_hessian, right_hessian] = [left[1], right[1]].map(|sum| (sum >> bits) as f64 * hessian_unit + l2);
        let above = left_gradient * left_gradient * right_hessian + right_gradient * right_gradient * left_hessian;
        let below = left_hessian * right_hessian;
        let rows = left[1] & count;
        u8::from(rows >= least) & u8::from(rows <= most) & u8::from(above > bar * below)
    })
}

/// The fastest way to mark bins on this machine.
pub(super) fn mark() -> Mark {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the machine has these instructions.
            return |sides, bar| unsafe { avx512(sides, bar) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: as above.
            return |sides, bar| unsafe { avx2(sides, bar) };
        }
    }
    marked
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn avx512(sides: &Sides, bar: f64) -> [u8; BINS] {
    marked(sides, bar)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(sides: &Sides, bar: f64) -> [u8; BINS] {
    marked(sides, bar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::boosting::split::tests::{rows, rules, sums};

    #[test]
    fn all_instructions_mark_the_same_bins() {
        let mut marked_bins = 0;
        for seed in 0..200 {
            let rows = rows(seed, 30 + (seed as usize * 29) % 500, 31, false);
            let (scale, values, _, node) = sums(&rows, 31);
            let mut sides = Sides::new(scale, &rules(), node.sum);
            assert_eq!(sides.fill([0; 2], &values), node.sum);
            for bar in [0.0, 1.0, 20.0] {
                let marks = marked(&sides, bar);
                assert_eq!(mark()(&sides, bar), marks);
                #[cfg(target_arch = "x86_64")]
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the machine has these instructions.
                    assert_eq!(unsafe { avx2(&sides, bar) }, marks);
                }
                assert!(marks[30..].iter().all(|mark| *mark == 0), "behind the last value there is no split");
                marked_bins += marks.iter().filter(|mark| **mark == 1).count();
            }
            let listed: Vec<usize> = sides.promising(mark(), 1.0).collect();
            let marks = marked(&sides, MARGIN);
            assert_eq!(listed, (0..BINS).filter(|bin| marks[*bin] == 1).collect::<Vec<_>>());
        }
        assert!(marked_bins > 1000, "{marked_bins}");
    }

    #[test]
    fn bins_of_a_shorter_part_do_not_stay() {
        let rows = rows(3, 200, 31, false);
        let (scale, values, _, node) = sums(&rows, 31);
        let mut sides = Sides::new(scale, &rules(), node.sum);
        sides.fill([0; 2], &values);
        let left = sides.fill([0; 2], &values[..4]);
        assert_eq!(left, sides.left(3));
        assert!(sides.promising(mark(), 0.0).all(|bin| bin < 4));
    }
}
