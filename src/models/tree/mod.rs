//! One decision tree (CART, Gini impurity), each split found by linfa-trees, unless `library = "lakemill"` asks for
//! one on bins (`on_bins`).
//!
//! linfa is asked for one split at a time, on one feature and the rows of one node, and the tree is put
//! together here, because its own growth has traps: every node scans all rows; subtrees whose leaves
//! have the same most frequent class are pruned away, which with rare positives is nearly the whole
//! tree; and values that differ by less than 1e-5 are one value to it. So features go in as ranks, and
//! a split comes back as the midpoint of the two neighbouring values. Leaves hold the weighted class
//! shares of their training rows.
//!
//! Of several classes linfa is shown one against the rest, each in turn, and the split that lowers the
//! impurity over all classes most is taken: linfa adds class shares up in the random order of a hash
//! map, which for more than two classes makes equal splits unequal by rounding.

mod on_bins;

use super::boosting::binned;
use super::params::{self, Checked, must};
use super::{Algorithm, Form, Link, Params, Predictor, TrainingSet};
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use crate::forest::{Aggregation, Child, Forest, TreeBuilder};
use crate::task::Task;
use linfa::traits::Fit;
use linfa::{DatasetBase, ParamGuard};
use ndarray::{Array1, Array2};
use rayon::prelude::*;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};

/// Whole numbers up to here are exact in the `f32` in which linfa adds up weights.
const EXACT: f64 = (1 << 23) as f64;
/// Nodes with fewer rows are not worth another thread.
const WORTH_A_THREAD: usize = 512;

/// A tree of yes-or-no questions.
#[derive(Debug)]
pub struct DecisionTree;

/// Who finds the splits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Library {
    /// Lakemill, on features cut into at most 255 bins: faster, and over all classes at once.
    Lakemill,
    /// linfa, on the values themselves.
    #[default]
    Linfa,
}

/// What can be set.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct TreeParams {
    /// Questions from the root to a leaf, at most.
    #[schemars(range(min = 1, max = 64))]
    max_depth: u32,
    /// The total weight that a leaf must have; without weights, its rows.
    #[schemars(extend("exclusiveMinimum" = 0))]
    min_leaf_weight: f64,
    /// The least fall of the Gini impurity for which a node is split.
    #[schemars(range(min = 1e-9), extend("exclusiveMaximum" = 1))]
    min_impurity_decrease: f64,
    /// Who finds the splits.
    library: Library,
}

impl Default for TreeParams {
    fn default() -> Self {
        Self { max_depth: 8, min_leaf_weight: 20.0, min_impurity_decrease: 1e-6, library: Library::default() }
    }
}

impl Checked for TreeParams {
    fn check(&self) -> Result<()> {
        let (leaf, decrease) = (self.min_leaf_weight, self.min_impurity_decrease);
        must("max_depth", self.max_depth, (1..=64).contains(&self.max_depth), "between 1 and 64")?;
        must("min_leaf_weight", leaf, leaf > 0.0 && leaf.is_finite(), "a number above 0")?;
        must("min_impurity_decrease", decrease, (1e-9..1.0).contains(&decrease), "between 1e-9 and 1")
    }
}

impl Algorithm for DecisionTree {
    fn name(&self) -> &'static str {
        "decision_tree"
    }

    fn summary(&self) -> &'static str {
        "one tree of yes-or-no questions; leaves hold class shares"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(TreeParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<TreeParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, seed: u64) -> Result<Predictor> {
        let params: TreeParams = params::read(self.name(), params)?;
        training.admit_with_features(self)?;
        let root = match params.library {
            Library::Linfa => by_linfa(training, &params)?,
            Library::Lakemill => on_bins(training, &params, seed)?,
        };
        let outputs = training.task.outputs(training.classes);
        let mut builder = TreeBuilder::new(outputs);
        let root = place(&mut builder, &root, outputs);
        let trees = vec![builder.finish(root, None)];
        let forest = Forest::new(training.features.features(), vec![0.0; outputs], Aggregation::Average, trees)?;
        Predictor::of(training, Form::Forest(forest), Link::Identity)
    }
}

fn by_linfa(training: &TrainingSet<'_>, params: &TreeParams) -> Result<Part> {
    if training.rows() as f64 > EXACT {
        return Err(Error::usage("too many rows for the library's 32-bit weights")
            .with("rows", training.rows())
            .with("limit", EXACT)
            .hint("choose a shorter training window, or library = \"lakemill\" under [model.params]"));
    }
    let growth = Growth {
        block: training.features,
        ranks: &ranks(training.features),
        classes: &classes(training),
        count: training.classes,
        weights: training.weights,
        params,
    };
    let rows = (0..training.rows() as u32).filter(|row| training.weights[*row as usize] > 0.0).collect();
    growth.grow(rows, 0)
}

fn on_bins(training: &TrainingSet<'_>, params: &TreeParams, seed: u64) -> Result<Part> {
    if u32::try_from(training.rows()).is_err() {
        return Err(Error::usage("too many rows for a tree").with("rows", training.rows()));
    }
    let growth = on_bins::Growth {
        bins: &binned(training.features, seed)?,
        classes: &classes(training),
        count: training.classes,
        weights: training.weights,
        params,
    };
    Ok(growth.grow())
}

/// The class of each row.
fn classes(training: &TrainingSet<'_>) -> Vec<usize> {
    training.labels.iter().map(|label| *label as usize).collect()
}

/// Each value's place among the distinct values of its feature, feature after feature.
fn ranks(block: &FeatureBlock) -> Vec<Vec<u32>> {
    (0..block.features())
        .into_par_iter()
        .map(|feature| {
            let column = block.column(feature);
            let mut distinct = column.to_vec();
            distinct.sort_unstable_by(f64::total_cmp);
            // By `==`, not by bits: 0.0 and -0.0 are one value.
            distinct.dedup();
            column.iter().map(|value| distinct.partition_point(|other| other < value) as u32).collect()
        })
        .collect()
}

/// What does not change from node to node.
struct Growth<'a> {
    block: &'a FeatureBlock,
    ranks: &'a [Vec<u32>],
    /// The class of each row.
    classes: &'a [usize],
    /// How many classes.
    count: usize,
    weights: &'a [f64],
    params: &'a TreeParams,
}

/// A part of a tree that is still apart from its siblings.
enum Part {
    /// The share of each class.
    Leaf(Vec<f64>),
    Split {
        feature: u32,
        threshold: f64,
        sides: Box<(Part, Part)>,
    },
}

/// A boundary between the ranks of a feature, and by how much it lowers the impurity.
#[derive(Clone, Copy)]
struct Split {
    feature: usize,
    boundary: f64,
    decrease: f64,
}

/// Two classes have one output: the share of the second.
fn place(builder: &mut TreeBuilder, part: &Part, outputs: usize) -> Child {
    match part {
        Part::Leaf(shares) => builder.leaf(&shares[shares.len() - outputs..]),
        Part::Split { feature, threshold, sides } => {
            let left = place(builder, &sides.0, outputs);
            let right = place(builder, &sides.1, outputs);
            builder.split(*feature, *threshold, left, right)
        }
    }
}

impl Growth<'_> {
    /// The tree below a node with these rows, at most `max_depth` deep (which bounds the recursion).
    fn grow(&self, rows: Vec<u32>, depth: u32) -> Result<Part> {
        let totals = self.totals(rows.iter());
        let total: f64 = totals.iter().sum();
        let leaf = Part::Leaf(totals.iter().map(|own| own / total).collect());
        let pure = totals.iter().filter(|own| **own > 0.0).count() < 2;
        if pure || depth >= self.params.max_depth || total < 2.0 * self.params.min_leaf_weight {
            return Ok(leaf);
        }
        let Some(Split { feature, boundary, .. }) = self.best_split(&rows, &totals)? else {
            return Ok(leaf);
        };
        let ranks = &self.ranks[feature];
        let below = |row: &&u32| f64::from(ranks[**row as usize]) <= boundary;
        let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(below);
        let column = self.block.column(feature);
        let low = left.iter().map(|row| column[*row as usize]).fold(f64::NEG_INFINITY, f64::max);
        let high = right.iter().map(|row| column[*row as usize]).fold(f64::INFINITY, f64::min);
        let middle = f64::midpoint(low, high);
        let threshold = if middle < high { middle } else { low };
        let parallel = rows.len() >= WORTH_A_THREAD;
        drop(rows);
        let depth = depth + 1;
        let (left, right) = if parallel {
            rayon::join(|| self.grow(left, depth), || self.grow(right, depth))
        } else {
            (self.grow(left, depth), self.grow(right, depth))
        };
        Ok(Part::Split { feature: feature as u32, threshold, sides: Box::new((left?, right?)) })
    }

    /// The weight of each class among these rows.
    fn totals<'r>(&self, rows: impl Iterator<Item = &'r u32>) -> Vec<f64> {
        let mut totals = vec![0.0; self.count];
        for row in rows {
            totals[self.classes[*row as usize]] += self.weights[*row as usize];
        }
        totals
    }

    /// The split that lowers the impurity most; the first one among equals.
    fn best_split(&self, rows: &[u32], totals: &[f64]) -> Result<Option<Split>> {
        let total: f64 = totals.iter().sum();
        // A power of two, so that whole weights stay whole and their sums exact in 32 bits.
        let scale = 2.0_f64.powf((EXACT / total).log2().floor());
        let weights = Array1::from_iter(rows.iter().map(|row| whole(self.weights[*row as usize] * scale)));
        let least = whole(self.params.min_leaf_weight * scale);
        let shown: Vec<usize> = if self.count == 2 { vec![1] } else { (0..self.count).collect() };
        let find = |feature: usize| -> Result<Option<Split>> {
            let mut best = None;
            for class in shown.iter().filter(|class| totals[**class] > 0.0 && totals[**class] < total) {
                if let Some(boundary) = self.boundary(feature, *class, rows, &weights, least)? {
                    let decrease = self.decrease(feature, boundary, rows, totals);
                    best = better(best, Split { feature, boundary, decrease });
                }
            }
            Ok(best)
        };
        let features = 0..self.ranks.len();
        let found: Vec<Option<Split>> = if rows.len() >= WORTH_A_THREAD {
            features.into_par_iter().map(find).collect::<Result<_>>()?
        } else {
            features.map(find).collect::<Result<_>>()?
        };
        let best = found.into_iter().flatten().fold(None, better);
        Ok(best.filter(|best| best.decrease > self.params.min_impurity_decrease))
    }

    /// By how much a split lowers the Gini impurity over all classes.
    fn decrease(&self, feature: usize, boundary: f64, rows: &[u32], totals: &[f64]) -> f64 {
        let ranks = &self.ranks[feature];
        let left = self.totals(rows.iter().filter(|row| f64::from(ranks[**row as usize]) <= boundary));
        let right: Vec<f64> = totals.iter().zip(&left).map(|(total, left)| total - left).collect();
        // The impurity times the weight, without the weight itself, which the sides share.
        let purity = |side: &[f64]| side.iter().map(|own| own * own).sum::<f64>() / side.iter().sum::<f64>();
        (purity(&left) + purity(&right) - purity(totals)) / totals.iter().sum::<f64>()
    }

    /// linfa's boundary between ranks of one feature for one class against the rest, if it splits.
    fn boundary(
        &self,
        feature: usize,
        class: usize,
        rows: &[u32],
        weights: &Array1<f32>,
        least: f32,
    ) -> Result<Option<f64>> {
        let ranks = &self.ranks[feature];
        let first = ranks[rows[0] as usize];
        if rows.iter().all(|row| ranks[*row as usize] == first) {
            return Ok(None);
        }
        let failed = |reason: linfa::Error| Error::failed(format!("the tree could not be grown: {reason}"));
        let column = Array2::from_shape_fn((rows.len(), 1), |(row, _)| f64::from(ranks[rows[row] as usize]));
        let labels = Array1::from_iter(rows.iter().map(|row| self.classes[*row as usize] == class));
        let stump = linfa_trees::DecisionTree::<f64, bool>::params()
            .max_depth(Some(1))
            .min_weight_leaf(least)
            .min_impurity_decrease(self.params.min_impurity_decrease)
            .check()
            .and_then(|params| params.fit(&DatasetBase::new(column, labels).with_weights(weights.clone())))
            .map_err(failed)?;
        // Pruning makes a leaf of the root but leaves the split in it; a root that was never split
        // has no decrease.
        let (_, boundary, decrease) = stump.root_node().split();
        Ok((decrease > 0.0).then_some(boundary))
    }
}

/// The better of two splits; the first one if they are equal, or if the weight of a side is lost in rounding.
fn better(best: Option<Split>, other: Split) -> Option<Split> {
    match best {
        Some(best) if best.decrease >= other.decrease || other.decrease.is_nan() => Some(best),
        _ => Some(other),
    }
}

/// A whole number of at least 1, as `f32`.
fn whole(weight: f64) -> f32 {
    weight.round().max(1.0) as f32
}
