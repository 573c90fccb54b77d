//! The same tree on the binned matrix: a node counts the weight of each class in each bin of a feature, and no values
//! are sorted. Sums of a node are taken in the order of its rows, each feature's by one thread, so that no byte
//! depends on threads. The Gini impurity is over all classes at once.
//!
//! A split stands at the edge in the middle of the bins between both sides that the node does not have.

use super::{Part, TreeParams, WORTH_A_THREAD};
use crate::features::BinnedBlock;
use rayon::prelude::*;

/// What does not change from node to node.
pub(super) struct Growth<'a> {
    pub bins: &'a BinnedBlock,
    /// The class of each row.
    pub classes: &'a [usize],
    /// How many classes.
    pub count: usize,
    pub weights: &'a [f64],
    pub params: &'a TreeParams,
}

/// A row of a node.
#[derive(Clone, Copy)]
struct Weighed {
    row: u32,
    class: u32,
    weight: f64,
}

/// What goes left of a split: bins up to one, and by how much that lowers the impurity.
#[derive(Clone, Copy)]
struct Split {
    feature: usize,
    bin: u8,
    decrease: f64,
}

impl Growth<'_> {
    /// The tree over all rows that weigh something.
    pub fn grow(&self) -> Part {
        let weighed = (0..self.bins.rows() as u32).filter_map(|row| {
            let (class, weight) = (self.classes[row as usize] as u32, self.weights[row as usize]);
            (weight > 0.0).then_some(Weighed { row, class, weight })
        });
        self.below(weighed.collect(), 0)
    }

    /// The tree below a node with these rows, at most `max_depth` deep (which bounds the recursion).
    fn below(&self, rows: Vec<Weighed>, depth: u32) -> Part {
        let mut totals = vec![0.0; self.count];
        rows.iter().for_each(|own| totals[own.class as usize] += own.weight);
        let total: f64 = totals.iter().sum();
        let leaf = Part::Leaf(totals.iter().map(|own| own / total).collect());
        let pure = totals.iter().filter(|own| **own > 0.0).count() < 2;
        if pure || depth >= self.params.max_depth || total < 2.0 * self.params.min_leaf_weight {
            return leaf;
        }
        let Some(Split { feature, bin, .. }) = self.best(&rows, &totals) else { return leaf };
        let column = self.bins.column(feature);
        let parallel = rows.len() >= WORTH_A_THREAD;
        let (left, right): (Vec<Weighed>, Vec<Weighed>) =
            rows.into_iter().partition(|own| column[own.row as usize] <= bin);
        let depth = depth + 1;
        let sides = if parallel {
            rayon::join(|| self.below(left, depth), || self.below(right, depth))
        } else {
            (self.below(left, depth), self.below(right, depth))
        };
        Part::Split { feature: feature as u32, threshold: self.bins.of(feature).threshold(bin), sides: Box::new(sides) }
    }

    /// The split that lowers the impurity most; the first one among equals.
    fn best(&self, rows: &[Weighed], totals: &[f64]) -> Option<Split> {
        let features = 0..self.bins.features();
        let find = |feature: usize| self.best_of(feature, rows, totals);
        let found: Vec<Option<Split>> = if rows.len() >= WORTH_A_THREAD {
            features.into_par_iter().map(find).collect()
        } else {
            features.map(find).collect()
        };
        let better = |best: Split, other: Split| if other.decrease > best.decrease { other } else { best };
        let best = found.into_iter().flatten().reduce(better);
        best.filter(|best| best.decrease > self.params.min_impurity_decrease)
    }

    /// The best split by one feature.
    fn best_of(&self, feature: usize, rows: &[Weighed], totals: &[f64]) -> Option<Split> {
        let (bins, count) = (self.bins.of(feature).bins(), self.count);
        if bins < 2 {
            return None;
        }
        let column = self.bins.column(feature);
        let mut table = vec![0.0; bins * count];
        for own in rows {
            table[usize::from(column[own.row as usize]) * count + own.class as usize] += own.weight;
        }
        let total: f64 = totals.iter().sum();
        let whole = purity(totals.iter().copied(), total);
        let mut left = vec![0.0; count];
        let mut best: Option<Split> = None;
        let mut before: Option<usize> = None;
        for (bin, sums) in table.chunks_exact(count).enumerate().filter(|(_, sums)| sums.iter().any(|sum| *sum > 0.0)) {
            if let Some(before) = before {
                let low: f64 = left.iter().sum();
                let high = total - low;
                if low >= self.params.min_leaf_weight && high >= self.params.min_leaf_weight {
                    let right = totals.iter().zip(&left).map(|(total, left)| total - left);
                    let gained = purity(left.iter().copied(), low) + purity(right, high) - whole;
                    let decrease = gained / total;
                    if best.is_none_or(|best| decrease > best.decrease) {
                        best = Some(Split { feature, bin: ((before + bin - 1) / 2) as u8, decrease });
                    }
                }
            }
            left.iter_mut().zip(sums).for_each(|(left, own)| *left += own);
            before = Some(bin);
        }
        best
    }
}

/// The weight less the Gini impurity times the weight.
fn purity(side: impl Iterator<Item = f64>, total: f64) -> f64 {
    side.map(|own| own * own).sum::<f64>() / total
}
