//! The compiled form beside its forest, made when it pays.

use super::{Compiled, Forest, Instructions};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A block of up to so many rows is walked row by row even where the compiled form is at hand.
const FEW: usize = 16;
/// The fewest rows for which a forest is compiled.
const WORTH: usize = 512;
/// Compiling a split costs about what walking a few rows down its tree does; some are added, since the
/// larger trees are, the less is gained.
const ROWS_A_SPLIT: usize = 8;

/// The compiled form of a forest; equal to every other, since it says nothing that the forest doesn't.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// `None` inside: the forest can't be compiled.
    compiled: OnceLock<Option<Compiled>>,
    /// Rows that were walked so far.
    walked: AtomicUsize,
}

impl Cache {
    /// The compiled form, if this many more rows should be scored by it.
    pub fn compiled(&self, forest: &Forest, rows: usize) -> Option<&Compiled> {
        if rows <= FEW {
            return None;
        }
        // A count that other threads see late only moves the moment of compiling.
        if self.compiled.get().is_none() && self.walked.fetch_add(rows, Ordering::Relaxed) + rows < worth(forest) {
            return None;
        }
        self.compiled.get_or_init(|| Compiled::new(forest, Instructions::best())).as_ref()
    }
}

/// Rows after which compiling has cost less than walking them does.
fn worth(forest: &Forest) -> usize {
    let splits: usize = forest.trees().iter().map(|tree| tree.nodes().len()).sum();
    WORTH.max(ROWS_A_SPLIT * splits / forest.trees().len().max(1))
}

impl Clone for Cache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Cache {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::features::FeatureBlock;
    use crate::forest::{Aggregation, Forest, TreeBuilder};

    #[test]
    fn forests_are_compiled_when_enough_rows_were_walked() {
        let mut builder = TreeBuilder::new(1);
        let (left, right) = (builder.leaf(&[1.0]), builder.leaf(&[2.0]));
        let root = builder.split(0, 0.5, left, right);
        let forest = Forest::new(1, vec![0.0], Aggregation::Sum, vec![builder.finish(root, None)]).unwrap();
        let is_compiled = |forest: &Forest| forest.cache.compiled.get().is_some();
        for (rows, compiled) in [(16, false), (300, false), (16, false), (211, false), (17, true), (16, true)] {
            assert_eq!(forest.score(&FeatureBlock::zeros(rows, 1)), vec![1.0; rows]);
            assert_eq!(is_compiled(&forest), compiled, "after {rows} rows");
        }
        assert!(forest.cache.compiled(&forest, 16).is_none() && forest.cache.compiled(&forest, 17).is_some());
        assert!(!is_compiled(&forest.clone()));
    }
}
