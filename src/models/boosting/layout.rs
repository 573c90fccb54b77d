//! Where the sums of each feature stand in a histogram.

use super::histogram::{Sum, TOGETHER};
use crate::features::BinnedBlock;
use std::ops::Range;

/// One sum a bin, feature after feature, and one for missing values behind each.
#[derive(Debug)]
pub(super) struct Layout {
    pub features: Vec<u32>,
    /// Where each feature begins, and the end of the last one.
    pub offsets: Vec<usize>,
}

impl Layout {
    /// Of those features that can be split.
    pub fn new(bins: &BinnedBlock, features: &[u32]) -> Self {
        let varies = |feature: &&u32| {
            let feature = **feature as usize;
            bins.of(feature).bins() + usize::from(bins.has_missing(feature)) > 1
        };
        let features: Vec<u32> = features.iter().filter(varies).copied().collect();
        let mut offsets = vec![0];
        let mut end = 0;
        for feature in &features {
            end += bins.of(*feature as usize).bins() + 1;
            offsets.push(end);
        }
        Self { features, offsets }
    }

    /// The sums of a histogram.
    pub fn width(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// How many groups of features are summed in a pass each.
    pub fn groups(&self) -> usize {
        self.features.len().div_ceil(TOGETHER)
    }

    /// The features of a group.
    pub fn members(&self, group: usize) -> Range<usize> {
        group * TOGETHER..self.features.len().min((group + 1) * TOGETHER)
    }

    /// A histogram's parts, group by group.
    pub fn split<'h>(&self, mut histogram: &'h mut [Sum]) -> Vec<&'h mut [Sum]> {
        let mut parts = Vec::with_capacity(self.groups());
        for group in 0..self.groups() {
            let members = self.members(group);
            let length = self.offsets[members.end] - self.offsets[members.start];
            let (part, rest) = std::mem::take(&mut histogram).split_at_mut(length);
            parts.push(part);
            histogram = rest;
        }
        parts
    }

    /// The sums of a feature (by its place), within those that begin with the feature at `first`.
    pub fn of(&self, index: usize, first: usize) -> Range<usize> {
        let start = self.offsets[first];
        self.offsets[index] - start..self.offsets[index + 1] - start
    }
}
