//! Values into ranks: how many of a feature's boundaries lie below a value.

/// Values that are ranked at a time: what the passes below hold in the first-level cache.
const CHUNK: usize = 64;
/// So few boundaries are compared one by one.
const FEW: usize = 4;
/// Adding it to a number from 0 to 2^32 leaves the number, rounded, in the low bits.
const MAGIC: f64 = 4_503_599_627_370_496.0;
/// The most buckets of a grid.
const BUCKETS: usize = 4096;

/// A feature's boundaries, sorted, and a grid over them that tells where a search begins.
///
/// The bucket of a value never falls when the value grows, so boundaries of lower buckets are below
/// it and those of higher buckets are not: what is left is a search within its own bucket, of so
/// many halvings as the fullest bucket needs. (A grid that tells nothing has one bucket.)
#[derive(Debug, Clone)]
pub(super) struct Cuts {
    /// Ascending, then as many infinities as a search may look beyond the last one.
    padded: Vec<f64>,
    count: usize,
    low: f64,
    scale: f64,
    top: f64,
    /// How many boundaries lie in lower buckets.
    starts: Vec<u16>,
    halvings: u32,
}

impl Cuts {
    /// The boundaries in any order, equal ones any number of times, none NaN; `None` over 65,534 distinct.
    pub fn new(mut boundaries: Vec<f64>) -> Option<Self> {
        boundaries.sort_unstable_by(f64::total_cmp);
        boundaries.dedup_by(|a, b| a == b);
        let count = boundaries.len();
        if count >= usize::from(u16::MAX) {
            return None;
        }
        let mut cuts = Self { padded: boundaries, count, low: 0.0, scale: 0.0, top: 0.0, starts: vec![0], halvings: 0 };
        cuts.halvings = halvings(count);
        let finite: Vec<f64> = cuts.padded.iter().copied().filter(|cut| cut.is_finite()).collect();
        if let (Some(low), Some(high)) = (finite.first(), finite.last()) {
            for buckets in [4, 16].map(|times| (times * count).next_power_of_two().min(BUCKETS)) {
                cuts.lay_grid(*low, *high, buckets);
            }
        }
        cuts.padded.resize(count + (1 << cuts.halvings), f64::INFINITY);
        Some(cuts)
    }

    /// What its lists hold in memory, in bytes.
    pub fn own_bytes(&self) -> usize {
        self.padded.len() * size_of::<f64>() + self.starts.len() * size_of::<u16>()
    }

    /// Takes a grid of so many buckets if it saves halvings.
    fn lay_grid(&mut self, low: f64, high: f64, buckets: usize) {
        let top = (buckets - 1) as f64;
        let scale = top / (high - low);
        if !scale.is_normal() {
            return;
        }
        let mut counts = vec![0_usize; buckets];
        for cut in &self.padded {
            counts[bucket(*cut, low, scale, top) as usize] += 1;
        }
        let halvings = halvings(counts.iter().copied().max().unwrap_or_default());
        if halvings < self.halvings {
            let mut below = 0;
            let starts = counts.iter().map(|own| {
                below += own;
                (below - own) as u16
            });
            *self = Self { starts: starts.collect(), low, scale, top, halvings, ..std::mem::take(self) };
        }
    }

    /// The place of a boundary in the list: values up to it have this rank or a lower one.
    pub fn place(&self, boundary: f64) -> u16 {
        self.padded[..self.count].partition_point(|cut| *cut < boundary) as u16
    }

    /// The rank of each value, 0 for NaN; `ranks` is as long as `values`.
    #[inline(always)]
    pub fn rank(&self, values: &[f64], ranks: &mut [u16]) {
        match self.halvings {
            0 => ranks.fill(0),
            _ if self.count <= FEW => self.count_below(values, ranks),
            1 => self.search::<1>(values, ranks),
            2 => self.search::<2>(values, ranks),
            3 => self.search::<3>(values, ranks),
            _ => self.search::<0>(values, ranks),
        }
    }

    /// Each value against each boundary.
    #[inline(always)]
    fn count_below(&self, values: &[f64], ranks: &mut [u16]) {
        let mut below = [0_u64; CHUNK];
        for (values, ranks) in values.chunks(CHUNK).zip(ranks.chunks_mut(CHUNK)) {
            below.fill(0);
            for cut in &self.padded[..self.count] {
                for (below, value) in below.iter_mut().zip(values) {
                    *below += u64::from(cut < value);
                }
            }
            for (rank, below) in ranks.iter_mut().zip(below) {
                *rank = below as u16;
            }
        }
    }

    /// `HALVINGS` of 0: as many as it takes.
    #[inline(always)]
    fn search<const HALVINGS: u32>(&self, values: &[f64], ranks: &mut [u16]) {
        let halvings = if HALVINGS == 0 { self.halvings } else { HALVINGS };
        let (padded, starts) = (&self.padded[..], &self.starts[..]);
        let mut buckets = [0_u32; CHUNK];
        for (values, ranks) in values.chunks(CHUNK).zip(ranks.chunks_mut(CHUNK)) {
            for (found, value) in buckets.iter_mut().zip(values) {
                *found = bucket(*value, self.low, self.scale, self.top);
            }
            for ((rank, value), bucket) in ranks.iter_mut().zip(values).zip(&buckets) {
                let mut at = usize::from(starts[*bucket as usize]);
                for halving in (0..halvings).rev() {
                    let step = 1 << halving;
                    at += if padded[at + step - 1] < *value { step } else { 0 };
                }
                *rank = at as u16;
            }
        }
    }
}

impl Default for Cuts {
    fn default() -> Self {
        Self { padded: Vec::new(), count: 0, low: 0.0, scale: 0.0, top: 0.0, starts: vec![0], halvings: 0 }
    }
}

/// The bucket of a value, from 0 to `top`; NaN: 0. Monotone, since each step is.
#[inline(always)]
fn bucket(value: f64, low: f64, scale: f64, top: f64) -> u32 {
    let place = (value - low) * scale;
    let place = if place > 0.0 { place } else { 0.0 };
    let place = if place < top { place } else { top };
    (place + MAGIC).to_bits() as u32
}

/// How many halvings a search among so many needs.
fn halvings(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(boundaries: &[f64]) {
        let cuts = Cuts::new(boundaries.to_vec()).unwrap();
        let mut values = vec![f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 5e-324];
        for cut in boundaries {
            values.extend([*cut, cut.next_up(), cut.next_down(), cut * 1.5 + 1.0, -cut]);
        }
        values.retain(|value| !value.is_nan());
        values.push(f64::NAN);
        let mut ranks = vec![u16::MAX; values.len()];
        cuts.rank(&values, &mut ranks);
        let mut distinct = boundaries.to_vec();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup_by(|a, b| a == b);
        assert_eq!(cuts.count, distinct.len());
        for (value, rank) in values.iter().zip(&ranks) {
            let below = distinct.iter().filter(|cut| **cut < *value).count();
            assert_eq!(usize::from(*rank), below, "{value:e} among {} with {} halvings", cuts.count, cuts.halvings);
        }
        for (place, cut) in distinct.iter().enumerate() {
            assert_eq!(usize::from(cuts.place(*cut)), place);
        }
    }

    #[test]
    fn ranks_count_the_boundaries_below() {
        check(&[]);
        check(&[0.0, -0.0]);
        check(&[f64::INFINITY, f64::NEG_INFINITY]);
        check(&[f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 1.0]);
        check(&[5e-324, 1e-323, -5e-324]);
        for count in [1_i32, 2, 3, 5, 64, 253, 254, 255, 256, 1000, 5000] {
            check(&(0..count).map(f64::from).collect::<Vec<_>>());
            check(&(0..count).map(|place| f64::from(place) * 0.1 - 7.0).collect::<Vec<_>>());
            check(&(0..count).map(|place| f64::from(place).powi(9)).collect::<Vec<_>>());
            check(&(0..count).map(|place| 0.9_f64.powi(place)).collect::<Vec<_>>());
            check(&(0..count).map(|place| 1.0 + f64::EPSILON * f64::from(place)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn even_boundaries_need_one_comparison_and_too_many_are_refused() {
        let even = Cuts::new((0..200).map(f64::from).collect()).unwrap();
        assert_eq!(even.halvings, 1);
        assert!(Cuts::new((0..65_535).map(f64::from).collect()).is_none());
    }
}
