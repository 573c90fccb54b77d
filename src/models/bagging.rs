//! Random forests of our own, on the binned matrix: each tree on a bootstrap sample, sorted by bins, not by values.
//!
//! A node looks at features drawn at random until it has seen as many as asked for and one of them splits it, as
//! scikit-learn does. It counts the bins of these alone: with few of many features that is less work than keeping
//! whole histograms. A split stands in the middle of the bins between both sides that the node does not have.
//! Trees are grown side by side, each from a ChaCha stream of its own, in one thread.

use super::TrainingSet;
use super::boosting::binned;
use super::boosting::histogram::{Scale, Sum, minus, plus};
use super::boosting::partition::partition;
use super::boosting::sample::{Drawn, stream};
use super::boosting::split::{CategoryRules, Found, Node, Rule, Search, SplitRules};
use crate::error::{Error, Result};
use crate::features::BinnedBlock;
use crate::forest::{Child, Tree, TreeBuilder};
use rand::Rng;
use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;
use std::ops::Range;

/// Nodes with fewer rows sort their bins; others count them.
const FEW_ROWS: usize = 48;

/// What does not change from tree to tree of one output.
struct Bagging<'a> {
    /// The features of all rows.
    bins: &'a BinnedBlock,
    /// What the trees learn, a row each.
    labels: &'a [f64],
    /// In proportion to which rows are drawn, added up from the first row on; none: all alike.
    cumulative: Option<&'a [f64]>,
    /// What a split must hold to.
    rules: &'a SplitRules,
    /// Splits from the root to a leaf, at most.
    max_depth: u32,
    /// Features that a node looks at.
    features: usize,
}

/// What the trees of a forest have in common.
pub(super) struct Grove<'a> {
    /// The rows.
    pub training: &'a TrainingSet<'a>,
    /// What the trees of each output learn.
    pub labels: &'a [Vec<f64>],
    /// Trees of each output.
    pub trees: usize,
    /// Splits from the root to a leaf, at most.
    pub max_depth: u32,
    /// Draws that a leaf must have.
    pub min_samples_leaf: u64,
    /// Features that a node looks at.
    pub features: usize,
    /// For everything random.
    pub seed: u64,
}

impl Grove<'_> {
    /// The trees, those of the first output first.
    ///
    /// # Errors
    /// More rows than can be numbered.
    pub fn grow(&self) -> Result<Vec<Tree>> {
        let training = self.training;
        if training.rows() >= 1 << 31 {
            return Err(Error::usage("too many rows for a forest").with("rows", training.rows()));
        }
        let bins = binned(training.features, self.seed)?;
        let cumulative = training.uniform_weight().is_none().then(|| cumulative(training.weights));
        let categories = CategoryRules { one_against_rest: 0, max_members: 0, smooth: 0.0, l2: 0.0, min_group: 0 };
        let rules = SplitRules {
            min_rows: self.min_samples_leaf,
            min_hessian: 0.0,
            l1: 0.0,
            l2: 0.0,
            min_gain: 0.0,
            constrained: false,
            categories,
        };
        let one = |index: usize| {
            let (output, tree) = (index / self.trees, index % self.trees);
            let bagging = Bagging {
                bins: &bins,
                labels: &self.labels[output],
                cumulative: cumulative.as_deref(),
                rules: &rules,
                max_depth: self.max_depth,
                features: self.features,
            };
            // Trees of the same number draw the same rows for every output.
            bagging.grow(stream(self.seed, Drawn::Tree, tree as u64, 0), output as u32)
        };
        Ok((0..self.labels.len() * self.trees).into_par_iter().map(one).collect())
    }
}

/// Weights added up, for [`Bagging::cumulative`].
fn cumulative(weights: &[f64]) -> Vec<f64> {
    let add = |sum: &mut f64, weight: &f64| {
        *sum += weight;
        Some(*sum)
    };
    weights.iter().scan(0.0, add).collect()
}

/// One tree that is being grown.
struct Growing<'a> {
    bagging: &'a Bagging<'a>,
    search: Search<'a>,
    /// Of each row, as often as it was drawn.
    sums: Vec<Sum>,
    rows: Vec<u32>,
    aside: Vec<u32>,
    /// Features in the order in which they were drawn last.
    order: Vec<u32>,
    stream: ChaCha8Rng,
    builder: TreeBuilder,
    mean: f64,
    /// Sums of the node at hand, row by row.
    gathered: Vec<Sum>,
    /// Bins of the node at hand that have rows.
    listed: Vec<(u8, Sum)>,
}

impl Bagging<'_> {
    /// One tree on as many draws as there are rows; its leaves are the means of their draws.
    fn grow(&self, mut stream: ChaCha8Rng, output: u32) -> Tree {
        let drawn = self.draw(&mut stream);
        let count = self.labels.len();
        let total: f64 = drawn.iter().zip(self.labels).map(|(times, label)| f64::from(*times) * label).sum();
        let mean = total / count as f64;
        let spread = |(times, label): (&u32, &f64)| f64::from(*times) * (label - mean).abs();
        let scale = Scale::new(drawn.iter().zip(self.labels).map(spread).sum(), count as f64, count);
        let pack = |(row, (times, label)): (usize, (&u32, &f64))| {
            let one = scale.pack(row, mean - label, 1.0);
            one.map(|own| own.wrapping_mul(i64::from(*times)))
        };
        let sums: Vec<Sum> = drawn.iter().zip(self.labels).enumerate().map(pack).collect();
        let rows: Vec<u32> = (0..count as u32).filter(|row| drawn[*row as usize] > 0).collect();
        let bounds = (f64::NEG_INFINITY, f64::INFINITY);
        let root = Node { sum: rows.iter().fold([0; 2], |sum, row| plus(sum, sums[*row as usize])), bounds };
        let mut growing = Growing {
            bagging: self,
            search: Search::new(self.rules, scale),
            sums,
            aside: vec![0; rows.len()],
            order: (0..self.bins.features() as u32).collect(),
            stream,
            builder: TreeBuilder::new(1),
            mean,
            gathered: Vec::new(),
            listed: Vec::new(),
            rows,
        };
        let all = 0..growing.rows.len();
        let root = growing.node(all, root, 0);
        growing.builder.finish(root, Some(output))
    }

    /// How often each row was drawn.
    fn draw(&self, stream: &mut ChaCha8Rng) -> Vec<u32> {
        let rows = self.labels.len();
        let mut drawn = vec![0; rows];
        for _ in 0..rows {
            let row = match self.cumulative {
                None => below(stream, rows),
                Some(sums) => {
                    let total = sums.last().copied().unwrap_or(0.0);
                    let at = (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 * total;
                    // The first row whose sum is beyond, so never one of weight 0.
                    sums.partition_point(|sum| *sum <= at).min(rows - 1)
                }
            };
            drawn[row] += 1;
        }
        drawn
    }
}

/// A number from 0 up to, but without, `count`.
fn below(stream: &mut ChaCha8Rng, count: usize) -> usize {
    ((u128::from(stream.next_u64()) * count as u128) >> 64) as usize
}

impl Growing<'_> {
    /// The tree below a node, at most `max_depth` (64) deep, which bounds the recursion.
    fn node(&mut self, rows: Range<usize>, node: Node, depth: u32) -> Child {
        if let Some(label) = self.pure(&rows) {
            // Not the mean, which is rounded.
            return self.builder.leaf(&[label]);
        }
        let open = depth < self.bagging.max_depth && self.search.is_open(&node);
        let Some(found) = open.then(|| self.best(&rows, &node)).flatten() else {
            let output = self.mean + self.search.output(&node);
            return self.builder.leaf(&[output]);
        };
        let column = self.bagging.bins.column(found.feature as usize);
        let own = &mut self.rows[rows.clone()];
        let middle = rows.start + partition(own, &mut self.aside[rows.clone()], column, &found.rule);
        let child = |sum| Node { sum, bounds: node.bounds };
        let left = self.node(rows.start..middle, child(found.left), depth + 1);
        let right = self.node(middle..rows.end, child(minus(node.sum, found.left)), depth + 1);
        let bin = match found.rule {
            Rule::AtMost { bin, .. } => bin,
            Rule::Members(_) => return left,
        };
        let threshold = self.bagging.bins.of(found.feature as usize).threshold(bin);
        self.builder.split(found.feature, threshold, left, right)
    }

    /// The label of all rows of a node, if they share one.
    fn pure(&self, rows: &Range<usize>) -> Option<f64> {
        let mut labels = self.rows[rows.clone()].iter().map(|row| self.bagging.labels[*row as usize]);
        let first = labels.next()?;
        labels.all(|label| label == first).then_some(first)
    }

    /// The best split by the features that are drawn.
    fn best(&mut self, rows: &Range<usize>, node: &Node) -> Option<Found> {
        self.gathered.clear();
        self.gathered.extend(self.rows[rows.clone()].iter().map(|row| self.sums[*row as usize]));
        let mut best = self.search.start(node);
        for seen in 0..self.order.len() {
            if seen >= self.bagging.features && best.is_some() {
                break;
            }
            let drawn = seen + below(&mut self.stream, self.order.len() - seen);
            self.order.swap(seen, drawn);
            let feature = self.order[seen];
            self.list(feature, rows);
            self.search.by_listed(feature, &self.listed, node, &mut best);
        }
        self.search.found(best, node)
    }

    /// Lists the bins of a feature that the node has, ascending.
    fn list(&mut self, feature: u32, rows: &Range<usize>) {
        let column = self.bagging.bins.column(feature as usize);
        let rows = &self.rows[rows.clone()];
        let bytes = rows.iter().map(|row| column[*row as usize]);
        self.listed.clear();
        if rows.len() < FEW_ROWS {
            self.listed.extend(bytes.zip(self.gathered.iter().copied()));
            self.listed.sort_unstable_by_key(|(byte, _)| *byte);
            self.listed.dedup_by(|later, first| {
                let same = later.0 == first.0;
                if same {
                    first.1 = plus(first.1, later.1);
                }
                same
            });
        } else {
            let mut table = [[0; 2]; 256];
            for (byte, own) in bytes.zip(&self.gathered) {
                let sum: &mut Sum = &mut table[byte as usize];
                *sum = plus(*sum, *own);
            }
            let filled = (0..=u8::MAX).zip(table).filter(|(_, sum)| self.search.scale.rows(*sum) > 0);
            self.listed.extend(filled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureBlock;
    use crate::forest::{Aggregation, Forest};
    use crate::task::Task;

    fn rows(count: usize) -> (FeatureBlock, Vec<f64>) {
        let column = |step: usize| (0..count).map(|row| (row * step % 211) as f64).collect::<Vec<f64>>();
        let columns = [column(17), column(31), column(67), column(101)];
        let labels =
            (0..count).map(|row| columns[0][row] + if columns[2][row] > 100.0 { 300.0 } else { 0.0 }).collect();
        (FeatureBlock::from_columns(count, &columns), labels)
    }

    fn grow(block: &FeatureBlock, labels: &[f64], weights: &[f64], min_samples_leaf: u64, trees: usize) -> Forest {
        let training = TrainingSet { features: block, labels, weights, task: Task::Regression, classes: 0 };
        let own = [labels.to_vec()];
        let grove =
            Grove { training: &training, labels: &own, trees, max_depth: 32, min_samples_leaf, features: 2, seed: 4 };
        Forest::new(block.features(), vec![0.0], Aggregation::Average, grove.grow().unwrap()).unwrap()
    }

    #[test]
    fn a_forest_learns_what_it_is_shown() {
        let (block, labels) = rows(600);
        let forest = grow(&block, &labels, &vec![1.0; 600], 1, 40);
        let error =
            forest.score(&block).iter().zip(&labels).map(|(own, label)| (own - label).abs()).sum::<f64>() / 600.0;
        assert!(error < 8.0, "{error} off, of labels between 0 and 510");
        assert_eq!(forest, grow(&block, &labels, &vec![2.5; 600], 1, 40), "one weight for all is none");
    }

    #[test]
    fn leaves_have_their_draws_and_rows_of_no_weight_none() {
        let (block, mut labels) = rows(600);
        let forest = grow(&block, &labels, &vec![1.0; 600], 50, 10);
        assert!(forest.trees().iter().all(|tree| (6..=12).contains(&tree.leaves().len())), "of 600 draws");
        // Labels that would be seen, if they were drawn.
        labels.iter_mut().step_by(2).for_each(|label| *label = 1e9);
        let weights: Vec<f64> = (0..600).map(|row| f64::from(row % 2 == 1)).collect();
        let scores = grow(&block, &labels, &weights, 1, 10).score(&block);
        assert!(scores.iter().all(|score| *score <= 510.0));
    }

    #[test]
    fn rows_are_drawn_in_proportion_to_their_weight() {
        let (block, labels) = rows(600);
        let weights: Vec<f64> = (0..600).map(|row| if row < 300 { 3.0 } else { 1.0 }).collect();
        let training =
            TrainingSet { features: &block, labels: &labels, weights: &weights, task: Task::Regression, classes: 0 };
        let bins = binned(training.features, 0).unwrap();
        let sums = cumulative(&weights);
        let rules = crate::models::boosting::split::tests::rules();
        let bagging =
            Bagging { bins: &bins, labels: &labels, cumulative: Some(&sums), rules: &rules, max_depth: 3, features: 1 };
        let drawn = bagging.draw(&mut stream(1, Drawn::Tree, 0, 0));
        assert_eq!(drawn.iter().sum::<u32>(), 600);
        let heavy = drawn[..300].iter().sum::<u32>();
        assert!((420..480).contains(&heavy), "{heavy}, and 450 expected");
    }
}
