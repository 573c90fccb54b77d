//! Histograms of few rows, counted for all features in one pass.

use super::histogram::{Sum, plus};
use super::layout::Layout;
use crate::features::BinnedBlock;

/// Where the values of each row stand in a histogram, row by row.
#[derive(Debug)]
pub(super) struct Slots {
    /// Of which layout.
    features: Vec<u32>,
    places: Vec<u16>,
}

impl Slots {
    /// The places of all rows in histograms of this layout; none where 16 bits can't number them.
    pub fn new(bins: &BinnedBlock, layout: &Layout) -> Option<Self> {
        if layout.width() > usize::from(u16::MAX) {
            return None;
        }
        let count = layout.features.len();
        let mut places = vec![0; bins.rows() * count];
        for (index, feature) in layout.features.iter().enumerate() {
            let own = layout.of(index, 0);
            let missing = own.len() - 1;
            for (row, byte) in bins.column(*feature as usize).iter().enumerate() {
                // The byte of missing values is at least their place.
                places[row * count + index] = (own.start + usize::from(*byte).min(missing)) as u16;
            }
        }
        Some(Self { features: layout.features.clone(), places })
    }

    /// Whether they are those of this layout, of the same matrix.
    pub fn are_of(&self, layout: &Layout) -> bool {
        self.features == layout.features
    }

    /// Counts these rows; `gradients` has one sum a row of the matrix.
    pub fn count(&self, rows: &[u32], gradients: &[Sum], into: &mut [Sum]) {
        into.fill([0; 2]);
        let count = self.features.len();
        for row in rows {
            let row = *row as usize;
            let own = gradients[row];
            for place in &self.places[row * count..(row + 1) * count] {
                let sum = &mut into[usize::from(*place)];
                *sum = plus(*sum, own);
            }
        }
    }
}
