//! Ensembles of decision trees: the one in-memory form of every tree model, and how it is scored.
//!
//! A library's trees are turned into this form once, after the fit; nothing downstream knows which
//! library grew them. The *raw score* of a row is `base + aggregate of the leaf values it falls
//! into`; what the score means (a probability, a logit) is the link's business, in `models`.
//!
//! * `rule` — what a split asks: comparison, precision, categories, missing values
//! * `set` — sets of category codes
//! * `tree` — one tree as flat arrays, its builder and its checks
//! * `block` — many rows at once over the trees as they are; equal to the one-row walker to the bit
//! * `compiled` — the same for very many rows: the forest turned into what a machine's widest
//!   instructions compare

mod block;
mod cache;
mod compiled;
mod rule;
mod set;
mod tree;

pub use cache::Room;
pub use compiled::{Compiled, Instructions};
pub use rule::{Comparison, Missing, Precision, Rule, Side, ZERO};
pub use set::CategorySet;
pub use tree::{Child, Node, Tree, TreeBuilder};

use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use cache::{Cache, Ready};

/// How the leaf values of the trees become one number an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// The mean over the trees that add to the output (random forests).
    Average,
    /// The sum over the trees (boosting).
    Sum,
    /// The least of the trees.
    Minimum,
    /// The greatest of the trees.
    Maximum,
}

impl Aggregation {
    /// The aggregate of no tree.
    fn start(self) -> f64 {
        match self {
            Self::Average | Self::Sum => 0.0,
            Self::Minimum => f64::INFINITY,
            Self::Maximum => f64::NEG_INFINITY,
        }
    }

    /// The aggregate with one more leaf value; of equal ones the first is kept.
    #[inline]
    fn join(self, aggregate: f64, value: f64) -> f64 {
        match self {
            Self::Average | Self::Sum => aggregate + value,
            Self::Minimum if value < aggregate => value,
            Self::Maximum if value > aggregate => value,
            Self::Minimum | Self::Maximum => aggregate,
        }
    }
}

/// A checked ensemble of trees over `features` inputs with `outputs` raw scores a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    features: usize,
    outputs: usize,
    aggregation: Aggregation,
    base: Vec<f64>,
    trees: Vec<Tree>,
    /// What the sum of each output is divided by.
    divisors: Vec<f64>,
    cache: Cache,
}

impl Forest {
    /// An ensemble from its parts; `base` has one number an output and is added to the aggregate.
    ///
    /// # Errors
    /// A tree that reads a feature or a category set or adds to an output that does not exist, that has
    /// a cycle, an unreachable node, a leaf value that is not finite, a threshold that is NaN or not in
    /// its own precision; with any aggregation but the sum, an output to which no tree adds.
    pub fn new(features: usize, base: Vec<f64>, aggregation: Aggregation, trees: Vec<Tree>) -> Result<Self> {
        let outputs = base.len();
        if outputs == 0 {
            return Err(Error::verification("a forest has no output"));
        }
        if base.iter().any(|value| !value.is_finite()) {
            return Err(Error::verification("the base score of a forest is not finite"));
        }
        for (index, tree) in trees.iter().enumerate() {
            tree.check(features, outputs).map_err(|error| error.with("tree", index))?;
        }
        let divisors = divisors(&trees, outputs, aggregation);
        if divisors.contains(&0.0) {
            return Err(Error::verification("no tree adds to an output of the forest"));
        }
        Ok(Self { features, outputs, aggregation, base, trees, divisors, cache: Cache::default() })
    }

    /// How many features a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many raw scores a row gets.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// How leaf values become a score.
    pub fn aggregation(&self) -> Aggregation {
        self.aggregation
    }

    /// The score of an output before any tree.
    pub fn base(&self) -> &[f64] {
        &self.base
    }

    /// The trees, in the order in which they are added up.
    pub fn trees(&self) -> &[Tree] {
        &self.trees
    }

    /// The raw scores of one row, tree by tree: the reference that every faster path must equal.
    ///
    /// `row` has [`features`](Self::features) values.
    pub fn score_row(&self, row: &[f64]) -> Vec<f64> {
        let mut scores = vec![self.aggregation.start(); self.outputs];
        for tree in &self.trees {
            tree.join_leaf(tree.leaf_of(|feature| row[feature]), self.aggregation, &mut scores);
        }
        self.finish(&mut scores);
        scores
    }

    /// The raw scores of every row of `block`, row-major `rows x outputs`.
    ///
    /// Equal to [`score_row`](Self::score_row) to the bit, whatever the number of rows. `block` has
    /// [`features`](Self::features) features; NaN is a missing value. The forest is compiled as soon
    /// as enough rows were scored for it to pay, which changes no bit.
    pub fn score(&self, block: &FeatureBlock) -> Vec<f64> {
        self.score_by(block, self.cache.compiled(self, block.rows(), None))
    }

    /// The same for one of many forests, whose compiled forms are kept as long as there is room for them.
    pub fn score_within(&self, block: &FeatureBlock, room: &Room) -> Vec<f64> {
        self.score_by(block, self.cache.compiled(self, block.rows(), Some(room)))
    }

    fn score_by(&self, block: &FeatureBlock, ready: Option<Ready<'_>>) -> Vec<f64> {
        match ready {
            Some(ready) => ready.form().score(self, block),
            None => block::score(self, block),
        }
    }

    /// Turns the aggregates of one row into its scores.
    fn finish(&self, row: &mut [f64]) {
        for ((value, divisor), base) in row.iter_mut().zip(&self.divisors).zip(&self.base) {
            *value = base + *value / divisor;
        }
    }
}

fn divisors(trees: &[Tree], outputs: usize, aggregation: Aggregation) -> Vec<f64> {
    let trees_of = |output: usize| trees.iter().filter(|tree| tree.adds_to(output)).count();
    let divisor = |output: usize| match aggregation {
        Aggregation::Sum => 1.0,
        Aggregation::Average => trees_of(output) as f64,
        Aggregation::Minimum | Aggregation::Maximum => trees_of(output).min(1) as f64,
    };
    (0..outputs).map(divisor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stump(feature: u32, threshold: f64, left: f64, right: f64) -> Tree {
        let mut builder = TreeBuilder::new(1);
        let (left, right) = (builder.leaf(&[left]), builder.leaf(&[right]));
        let root = builder.split(feature, threshold, left, right);
        builder.finish(root, None)
    }

    #[test]
    fn average_and_sum_differ_by_the_number_of_trees() {
        let trees = vec![stump(0, 0.0, 1.0, 3.0), stump(1, 0.0, 10.0, 30.0)];
        let average = Forest::new(2, vec![0.5], Aggregation::Average, trees.clone()).unwrap();
        let sum = Forest::new(2, vec![0.5], Aggregation::Sum, trees).unwrap();
        assert_eq!(average.score_row(&[0.0, 1.0]), [0.5 + 31.0 / 2.0]);
        assert_eq!(sum.score_row(&[0.0, 1.0]), [31.5]);
    }

    #[test]
    fn minimum_and_maximum_take_one_tree_and_add_the_base() {
        let trees = vec![stump(0, 0.0, 1.0, 3.0), stump(1, 0.0, -10.0, 30.0)];
        let score = |aggregation, row: [f64; 2]| {
            Forest::new(2, vec![0.5], aggregation, trees.clone()).unwrap().score_row(&row)[0]
        };
        assert_eq!([[0.0, 0.0], [1.0, 1.0]].map(|row| score(Aggregation::Minimum, row)), [-9.5, 3.5]);
        assert_eq!([[0.0, 0.0], [1.0, 1.0]].map(|row| score(Aggregation::Maximum, row)), [1.5, 30.5]);
        assert!(Forest::new(2, vec![0.0, 0.0], Aggregation::Minimum, vec![]).is_err());
    }

    #[test]
    fn a_threshold_itself_goes_left() {
        let forest = Forest::new(1, vec![0.0], Aggregation::Sum, vec![stump(0, 2.0, -1.0, 1.0)]).unwrap();
        assert_eq!(forest.score_row(&[2.0]), [-1.0]);
        assert_eq!(forest.score_row(&[2.0000000000000004]), [1.0]);
    }

    #[test]
    fn each_output_is_averaged_over_its_own_trees() {
        let one = |value: f64, output: u32| {
            let mut builder = TreeBuilder::new(1);
            let root = builder.leaf(&[value]);
            builder.finish(root, Some(output))
        };
        let trees = vec![one(2.0, 0), one(4.0, 0), one(7.0, 1)];
        let forest = Forest::new(1, vec![0.0, 0.0], Aggregation::Average, trees).unwrap();
        assert_eq!(forest.score_row(&[0.0]), [3.0, 7.0]);
        let lonely = Forest::new(1, vec![0.0, 0.0], Aggregation::Average, vec![one(1.0, 0)]);
        assert!(lonely.is_err(), "an output without a tree has no average");
    }

    #[test]
    fn wrong_features_outputs_and_numbers_are_refused() {
        let wrong = [stump(3, 0.0, 1.0, 2.0), stump(0, f64::NAN, 1.0, 2.0), stump(0, 0.0, f64::INFINITY, 2.0)];
        for tree in wrong {
            assert!(Forest::new(2, vec![0.0], Aggregation::Sum, vec![tree]).is_err());
        }
    }
}
