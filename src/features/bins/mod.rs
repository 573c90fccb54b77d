//! The binned matrix: one byte a value, which is all that histogram-based learners need.
//!
//! A feature's values become at most 255 bins (`0..=254`); bin [`MISSING`] is NaN. Numbers are cut at
//! quantiles: [`FeatureBins::of_numbers`] says how. Categories are ordered by frequency. The bins are found on
//! the training rows' features alone; no label has any part in them.
//!
//! What a tree compares is never a bin but the edge behind it, so the model works on values that no training
//! row had.

mod block;
mod edges;
mod part;
mod sample;

pub use block::BinnedBlock;
pub use sample::{RowSample, SAMPLED_ROWS};

use crate::error::{Error, Result};

/// The bin of a value that is missing.
pub const MISSING: u8 = u8::MAX;

/// How many bins the values of a feature have at most.
pub const MOST_BINS: usize = MISSING as usize;

/// How one feature's values become bins `0..=254`; bin 255 is [`MISSING`].
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureBins {
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// Strictly ascending, finite upper edges; a value belongs to the first bin whose edge it does not
    /// exceed, and to the last one, which has no edge, if it exceeds all.
    Number { edges: Vec<f64> },
    /// The bin of each code, and the codes of each bin.
    Category { bin_of: Vec<u8>, codes: Vec<Vec<u32>> },
}

impl FeatureBins {
    /// Bins of a number with these upper edges; there is one bin more than edges.
    ///
    /// # Errors
    /// `failed` for edges that are not finite, not ascending, or too many.
    pub fn number(edges: Vec<f64>) -> Result<Self> {
        let ascending = edges.windows(2).all(|pair| pair[0] < pair[1]);
        if edges.len() >= MOST_BINS || !ascending || edges.iter().any(|edge| !edge.is_finite()) {
            return Err(Error::failed("the edges of bins are not finite and ascending").with("edges", edges.len()));
        }
        Ok(Self { kind: Kind::Number { edges } })
    }

    /// Bins of a number of which these are the values (a sample of them; missing ones are NaN, and no part
    /// of it). `values` is sorted in place.
    ///
    /// Up to 255 distinct values have a bin each. More are cut as LightGBM cuts them: a value that fills a bin
    /// alone ends one, with less than half a share of smaller ones; the others share what is left in equal
    /// counts. An edge is the middle of the two values
    /// that it separates: `x <= edge` holds for the lower and not for the upper one, exactly.
    pub fn of_numbers(values: &mut Vec<f64>) -> Self {
        Self { kind: Kind::Number { edges: edges::greedy(values, MOST_BINS) } }
    }

    /// Bins of a category: `counts` has the training rows of each code. The most frequent code is bin 0, ties
    /// go to the lower code; the last bin is that of codes beyond 254 bins and of all codes that training has
    /// not seen, and may be empty.
    pub fn of_codes(counts: &[u64]) -> Self {
        let mut order: Vec<u32> = (0..).take(counts.len()).collect();
        order.sort_by_key(|code| (std::cmp::Reverse(counts[*code as usize]), *code));
        let own = order.len().min(MOST_BINS - 1);
        let mut codes: Vec<Vec<u32>> = order[..own].iter().map(|code| vec![*code]).collect();
        let mut shared = order[own..].to_vec();
        shared.sort_unstable();
        shared.push(counts.len() as u32);
        codes.push(shared);
        let mut bin_of = vec![own as u8; counts.len()];
        for (bin, code) in order[..own].iter().enumerate() {
            bin_of[*code as usize] = bin as u8;
        }
        Self { kind: Kind::Category { bin_of, codes } }
    }

    /// How many bins values have, without the one for what is missing; at least 1, at most 255.
    pub fn bins(&self) -> usize {
        match &self.kind {
            Kind::Number { edges } => edges.len() + 1,
            Kind::Category { codes, .. } => codes.len(),
        }
    }

    /// Whether bins are sets of codes and not ranges of numbers.
    pub fn is_category(&self) -> bool {
        matches!(self.kind, Kind::Category { .. })
    }

    /// The bin of one value; [`MISSING`] for NaN.
    pub fn bin(&self, value: f64) -> u8 {
        let mut bin = [0];
        self.bin_all(&[value], &mut bin);
        bin[0]
    }

    /// The bins of many values, written into `to`, which is as long.
    pub fn bin_all(&self, values: &[f64], to: &mut [u8]) {
        match &self.kind {
            Kind::Number { edges } => bin_numbers(edges, values, to),
            Kind::Category { bin_of, codes } => {
                let last = (codes.len() - 1) as u8;
                for (bin, value) in to.iter_mut().zip(values) {
                    *bin = match *value {
                        value if value.is_nan() => MISSING,
                        value if value <= -1.0 => last,
                        // Truncated toward zero, as trees compare codes; saturates.
                        value => bin_of.get(value as usize).copied().unwrap_or(last),
                    };
                }
            }
        }
    }

    /// The upper edge of a number's bin: `x <= threshold` holds for the values of this bin and of those before
    /// it. Infinite for the last bin, NaN for a category.
    pub fn threshold(&self, bin: u8) -> f64 {
        match &self.kind {
            Kind::Number { edges } => edges.get(usize::from(bin)).copied().unwrap_or(f64::INFINITY),
            Kind::Category { .. } => f64::NAN,
        }
    }

    /// For each byte of a binned column a value of that bin, NaN for what is no bin or missing: of a number the upper
    /// edge, which is infinite for the last bin, of a category a code. No split on bins tells it from the other values
    /// of the bin.
    pub fn values(&self) -> [f64; 256] {
        let mut values = [f64::NAN; 256];
        for (bin, value) in (0..self.bins() as u8).zip(&mut values) {
            *value = match &self.kind {
                Kind::Number { .. } => self.threshold(bin),
                Kind::Category { codes, .. } => {
                    codes[usize::from(bin)].last().map_or(f64::NAN, |code| f64::from(*code))
                }
            };
        }
        values
    }

    /// The codes of a category's bin, ascending; none for a number. Those of the last bin end with the code
    /// that stands for all values that training has not seen.
    pub fn codes(&self, bin: u8) -> &[u32] {
        match &self.kind {
            Kind::Number { .. } => &[],
            Kind::Category { codes, .. } => codes.get(usize::from(bin)).map_or(&[], Vec::as_slice),
        }
    }
}

/// A binary search of eight steps without a branch: edges that are not there are infinite.
fn bin_numbers(edges: &[f64], values: &[f64], to: &mut [u8]) {
    let mut padded = [f64::INFINITY; 256];
    padded[..edges.len()].copy_from_slice(edges);
    for (bin, value) in to.iter_mut().zip(values) {
        let mut at = 0usize;
        for step in [128, 64, 32, 16, 8, 4, 2, 1] {
            at += step * usize::from(padded[(at + step - 1) & 255] < *value);
        }
        *bin = if value.is_nan() { MISSING } else { at as u8 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_first_bin_whose_edge_it_does_not_exceed() {
        for count in [0, 1, 2, 7, 127, 128, 254] {
            let edges: Vec<f64> = (0..count).map(|edge| f64::from(edge) * 2.0).collect();
            let bins = FeatureBins::number(edges.clone()).unwrap();
            assert_eq!(bins.bins(), edges.len() + 1);
            let tried = (-3..2 * count + 3).map(f64::from).chain([f64::INFINITY, f64::NEG_INFINITY, f64::MAX]);
            for value in tried {
                let expected = edges.iter().position(|edge| value <= *edge).unwrap_or(edges.len());
                assert_eq!(usize::from(bins.bin(value)), expected, "{value} of {count}");
                assert!(value <= bins.threshold(bins.bin(value)));
            }
            assert_eq!(bins.bin(f64::NAN), MISSING);
        }
    }

    #[test]
    fn wrong_edges_are_refused() {
        for edges in [vec![1.0, 1.0], vec![2.0, 1.0], vec![f64::NAN], vec![f64::INFINITY], vec![0.0; 255]] {
            assert!(FeatureBins::number(edges).is_err());
        }
    }

    #[test]
    fn categories_are_ordered_by_frequency_and_strangers_share_the_last_bin() {
        let bins = FeatureBins::of_codes(&[5, 9, 5]);
        assert_eq!((bins.bins(), bins.is_category()), (4, true));
        assert_eq!([0.0, 1.0, 2.0, 3.0, 77.0, -1.0, -0.5, 1.9].map(|code| bins.bin(code)), [1, 0, 2, 3, 3, 3, 1, 0]);
        assert_eq!(bins.bin(f64::NAN), MISSING);
        assert_eq!(
            (bins.codes(0), bins.codes(1), bins.codes(3), bins.codes(4)),
            (&[1][..], &[0][..], &[3][..], &[][..])
        );
        assert!(bins.threshold(0).is_nan());
    }

    #[test]
    fn a_value_of_each_bin_falls_into_it() {
        let full: Vec<f64> = (0..254).map(f64::from).collect();
        for bins in [
            FeatureBins::number(Vec::new()).unwrap(),
            FeatureBins::number(vec![-1.0, 0.0, 7.5]).unwrap(),
            FeatureBins::number(full).unwrap(),
            FeatureBins::of_codes(&[5, 9, 5]),
            FeatureBins::of_codes(&[1; 400]),
        ] {
            let values = bins.values();
            for (bin, value) in values.iter().take(bins.bins()).enumerate() {
                assert_eq!(usize::from(bins.bin(*value)), bin, "{value} of {bins:?}");
            }
            assert!(values[bins.bins()..].iter().all(|value| value.is_nan()));
        }
    }

    #[test]
    fn more_codes_than_bins_share_the_last_one() {
        let counts: Vec<u64> = (0..300).collect();
        let bins = FeatureBins::of_codes(&counts);
        assert_eq!(bins.bins(), MOST_BINS);
        assert_eq!((bins.bin(299.0), bins.bin(46.0), bins.bin(45.0), bins.bin(300.0)), (0, 253, 254, 254));
        assert_eq!(bins.codes(254).len(), 47);
        assert_eq!(bins.codes(254).last(), Some(&300));
    }
}
