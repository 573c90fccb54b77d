//! Binned rows, column after column.

use super::{FeatureBins, MISSING};
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use rayon::prelude::*;
use std::fmt;
use std::ops::Range;

/// Column-major bins, one byte a value, in memory or wherever else bytes can be read in place (a memory-mapped
/// temporary file).
pub struct BinnedBlock {
    rows: usize,
    features: Vec<FeatureBins>,
    has_missing: Vec<bool>,
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
}

impl BinnedBlock {
    /// A block of `rows x features.len()` bins, column after column.
    ///
    /// # Errors
    /// `failed` where there are not as many bytes, or one is no bin of its feature.
    pub fn new(
        rows: usize,
        features: Vec<FeatureBins>,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self> {
        let all = bytes.as_ref();
        if rows.checked_mul(features.len()) != Some(all.len()) {
            return Err(Error::failed("a binned matrix has another size")
                .with("rows", rows)
                .with("features", features.len())
                .with("bytes", all.len()));
        }
        let looked: Vec<(bool, bool)> = features
            .par_iter()
            .enumerate()
            .map(|(feature, bins)| {
                let (column, most) = (&all[feature * rows..(feature + 1) * rows], bins.bins());
                let one = |(sound, missing): (bool, bool), bin: &u8| {
                    (sound & (usize::from(*bin) < most || *bin == MISSING), missing | (*bin == MISSING))
                };
                column.iter().fold((true, false), one)
            })
            .collect();
        if let Some(feature) = looked.iter().position(|(sound, _)| !sound) {
            return Err(Error::failed("a binned matrix has a bin that is none of its feature").with("feature", feature));
        }
        let has_missing = looked.into_iter().map(|(_, missing)| missing).collect();
        Ok(Self { rows, features, has_missing, bytes: Box::new(bytes) })
    }

    /// The rows of `block`, binned in memory; one `FeatureBins` a feature.
    ///
    /// # Errors
    /// `failed` where their numbers differ.
    pub fn of_block(block: &FeatureBlock, features: Vec<FeatureBins>) -> Result<Self> {
        if block.features() != features.len() {
            return Err(Error::failed("the bins are not those of the block's features"));
        }
        let mut bytes = vec![0; block.values().len()];
        for (feature, bins) in features.iter().enumerate() {
            bins.bin_all(block.column(feature), &mut bytes[feature * block.rows()..]);
        }
        Self::new(block.rows(), features, bytes)
    }

    /// The rows of a range alone, in memory; numbers have at most `most_bins` bins each (see `part`).
    ///
    /// # Errors
    /// `failed` for a range that is not within the rows.
    pub fn part(&self, rows: Range<usize>, most_bins: usize) -> Result<Self> {
        if rows.start > rows.end || rows.end > self.rows {
            return Err(Error::failed("a part of a binned matrix lies outside of it").with("rows", self.rows));
        }
        let mut bytes = Vec::with_capacity(rows.len() * self.features());
        let features = (0..self.features()).map(|feature| {
            let column = &self.column(feature)[rows.clone()];
            let mut counts = [0; 256];
            column.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
            let (bins, to) = self.features[feature].for_part(&counts, most_bins);
            bytes.extend(column.iter().map(|byte| to[usize::from(*byte)]));
            bins
        });
        let features = features.collect();
        Self::new(rows.len(), features, bytes)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many features.
    pub fn features(&self) -> usize {
        self.features.len()
    }

    /// The bins of one feature of all rows.
    pub fn column(&self, feature: usize) -> &[u8] {
        &(*self.bytes).as_ref()[feature * self.rows..(feature + 1) * self.rows]
    }

    /// How the values of a feature became its bins.
    pub fn of(&self, feature: usize) -> &FeatureBins {
        &self.features[feature]
    }

    /// How the values of all features became bins.
    pub fn all_bins(&self) -> &[FeatureBins] {
        &self.features
    }

    /// Some rows as values again: not those that were binned, but ones of the same bins (see
    /// [`FeatureBins::values`]), so that trees that were grown on the bins score them alike.
    pub fn decoded(&self, rows: &[u32]) -> FeatureBlock {
        let mut block = FeatureBlock::zeros(rows.len(), self.features());
        for (feature, bins) in self.features.iter().enumerate() {
            let (column, values) = (self.column(feature), bins.values());
            for (to, row) in block.column_mut(feature).iter_mut().zip(rows) {
                *to = values[usize::from(column[*row as usize])];
            }
        }
        block
    }

    /// Whether a value of the feature is missing in any row.
    pub fn has_missing(&self, feature: usize) -> bool {
        self.has_missing[feature]
    }
}

impl fmt::Debug for BinnedBlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BinnedBlock").field("rows", &self.rows).field("features", &self.features()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_binned_column_by_column() {
        let block = FeatureBlock::from_columns(3, &[vec![1.0, 5.0, f64::NAN], vec![1.0, 0.0, 7.0]]);
        let features = vec![FeatureBins::number(vec![2.0]).unwrap(), FeatureBins::of_codes(&[1, 2])];
        let binned = BinnedBlock::of_block(&block, features).unwrap();
        assert_eq!((binned.rows(), binned.features()), (3, 2));
        assert_eq!((binned.column(0), binned.column(1)), (&[0, 1, MISSING][..], &[0, 1, 2][..]));
        assert_eq!((binned.has_missing(0), binned.has_missing(1)), (true, false));
        assert_eq!((binned.of(0).threshold(0), binned.of(1).codes(0)), (2.0, &[1][..]));
    }

    #[test]
    fn decoded_rows_have_the_same_bins() {
        let columns = [(0..500).map(|row| f64::from(row * 37 % 400) / 8.0).collect::<Vec<f64>>(), vec![f64::NAN; 500]];
        let block = FeatureBlock::from_columns(500, &columns);
        let features = vec![FeatureBins::of_numbers(&mut columns[0].clone()), FeatureBins::number(vec![]).unwrap()];
        let binned = BinnedBlock::of_block(&block, features.clone()).unwrap();
        let rows: Vec<u32> = (0..500).step_by(3).collect();
        let again = BinnedBlock::of_block(&binned.decoded(&rows), features).unwrap();
        for feature in 0..2 {
            let own: Vec<u8> = rows.iter().map(|row| binned.column(feature)[*row as usize]).collect();
            assert_eq!(again.column(feature), own);
        }
    }

    #[test]
    fn bytes_that_are_no_bins_are_refused() {
        let features = || vec![FeatureBins::number(vec![2.0]).unwrap()];
        assert!(BinnedBlock::new(2, features(), vec![0, 1]).is_ok());
        assert!(BinnedBlock::new(2, features(), vec![0, 2]).is_err());
        assert!(BinnedBlock::new(3, features(), vec![0, 1]).is_err());
        assert!(BinnedBlock::new(usize::MAX, [features(), features()].concat(), vec![0, 1]).is_err());
    }
}
