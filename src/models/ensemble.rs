//! Random forests and extremely randomised trees.
//!
//! smartcore grows them, unless `library = "lakemill"` asks for random forests on bins (`bagging`): these take less
//! than a third of the time, but rank rare positives less well.
//!
//! In smartcore everything is grown by smartcore's *regressors*: for labels of 0 and 1 the squared error is half the
//! Gini impurity, so the splits are those of a classifier, and the leaf means are probabilities.
//! smartcore's own forest classifier scans all rows at every node and knows neither weights nor
//! probabilities. Several classes are learned one against the rest, as many trees for each class.
//!
//! Weights act in `random_forest` through the bootstrap (a row is drawn in proportion to its weight,
//! and leaves hold the means of the draws), in `extra_trees`, which draws no bootstrap, in the split
//! criterion and the leaf means.
//!
//! smartcore's regressors go on splitting rows that are all alike, one row at a time where the split is
//! searched; unlimited depth would take time quadratic in the rows. `max_depth` bounds that, and splits
//! that decide nothing are left out of our tree. Another difference to scikit-learn: a node becomes a
//! leaf when none of the features drawn for it varies.

use super::params::{self, Checked, must};
use super::{Algorithm, Form, Link, Params, Predictor, TrainingSet, bagging};
use crate::error::{Error, Result};
use crate::forest::{Aggregation, Child, Forest, Tree, TreeBuilder};
use crate::task::Task;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use rayon::prelude::*;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};
use smartcore::ensemble::extra_trees_regressor::{ExtraTreesRegressor, ExtraTreesRegressorParameters};
use smartcore::ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters};
use smartcore::linalg::basic::matrix::DenseMatrix;

/// Trees that one call of smartcore grows: it sorts all columns once a call.
const GROVE: usize = 4;

/// Many trees, each on its own bootstrap sample.
#[derive(Debug)]
pub struct RandomForest;

/// Many trees with random thresholds, each on all rows.
#[derive(Debug)]
pub struct ExtraTrees;

/// How many features are drawn for a split.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum MaxFeatures {
    /// `sqrt` for classes, `all` for regression.
    #[default]
    Auto,
    /// The square root of their number, rounded down.
    Sqrt,
    /// The binary logarithm of their number, rounded down.
    Log2,
    /// A third of them.
    Third,
    /// All of them.
    All,
}

impl MaxFeatures {
    fn count(self, features: usize, task: Task) -> usize {
        let count = match (self, task) {
            (Self::Auto, Task::Regression) | (Self::All, _) => features,
            (Self::Auto | Self::Sqrt, _) => features.isqrt(),
            (Self::Log2, _) => features.ilog2() as usize,
            (Self::Third, _) => features / 3,
        };
        count.max(1)
    }
}

/// Who grows the trees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Library {
    /// Lakemill, on features cut into at most 255 bins: three times as fast, less exact.
    Lakemill,
    /// smartcore, on the values themselves.
    #[default]
    Smartcore,
}

/// What can be set for random forests.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ForestParams {
    /// The number of trees (for each class, where there are several).
    #[schemars(range(min = 1, max = 10_000))]
    trees: usize,
    /// Splits from the root to a leaf, at most.
    #[schemars(range(min = 1, max = 64))]
    max_depth: u16,
    /// Rows that a leaf must have, counted as often as they were drawn.
    #[schemars(range(min = 1))]
    min_samples_leaf: usize,
    /// Features drawn for a split.
    max_features: MaxFeatures,
    /// Who grows the trees.
    library: Library,
}

impl Default for ForestParams {
    fn default() -> Self {
        Self::of(EnsembleParams::default(), Library::default())
    }
}

impl ForestParams {
    fn of(params: EnsembleParams, library: Library) -> Self {
        let EnsembleParams { trees, max_depth, min_samples_leaf, max_features } = params;
        Self { trees, max_depth, min_samples_leaf, max_features, library }
    }

    /// What both algorithms have.
    fn shared(&self) -> EnsembleParams {
        let Self { trees, max_depth, min_samples_leaf, max_features, .. } = *self;
        EnsembleParams { trees, max_depth, min_samples_leaf, max_features }
    }
}

impl Checked for ForestParams {
    fn check(&self) -> Result<()> {
        self.shared().check()
    }
}

/// What can be set for extremely randomised trees.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct EnsembleParams {
    /// The number of trees (for each class, where there are several).
    #[schemars(range(min = 1, max = 10_000))]
    trees: usize,
    /// Splits from the root to a leaf, at most.
    #[schemars(range(min = 1, max = 64))]
    max_depth: u16,
    /// Rows that a leaf must have.
    #[schemars(range(min = 1))]
    min_samples_leaf: usize,
    /// Features drawn for a split.
    max_features: MaxFeatures,
}

impl Default for EnsembleParams {
    fn default() -> Self {
        Self { trees: 100, max_depth: 32, min_samples_leaf: 1, max_features: MaxFeatures::Auto }
    }
}

impl Checked for EnsembleParams {
    fn check(&self) -> Result<()> {
        must("trees", self.trees, (1..=10_000).contains(&self.trees), "between 1 and 10000")?;
        must("max_depth", self.max_depth, (1..=64).contains(&self.max_depth), "between 1 and 64")?;
        must("min_samples_leaf", self.min_samples_leaf, self.min_samples_leaf >= 1, "at least 1")
    }
}

impl Algorithm for RandomForest {
    fn name(&self) -> &'static str {
        "random_forest"
    }

    fn summary(&self) -> &'static str {
        "many trees, each on its own bootstrap sample of the rows"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass, Task::Regression]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(ForestParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<ForestParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, seed: u64) -> Result<Predictor> {
        let params: ForestParams = params::read(self.name(), params)?;
        training.admit_with_features(self)?;
        match params.library {
            Library::Lakemill => on_bins(training, &params.shared(), seed),
            Library::Smartcore => fit(training, &params.shared(), seed, random_forest),
        }
    }
}

impl Algorithm for ExtraTrees {
    fn name(&self) -> &'static str {
        "extra_trees"
    }

    fn summary(&self) -> &'static str {
        "many trees with random thresholds, each on all rows"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass, Task::Regression]
    }

    fn params_schema(&self) -> Schema {
        schema_for!(EnsembleParams)
    }

    fn check_params(&self, params: &Params) -> Result<()> {
        params::read::<EnsembleParams>(self.name(), params).map(drop)
    }

    fn fit(&self, training: &TrainingSet<'_>, params: &Params, seed: u64) -> Result<Predictor> {
        let params = params::read(self.name(), params)?;
        training.admit_with_features(self)?;
        fit(training, &params, seed, extra_trees)
    }
}

/// A few trees of one output.
struct Grove<'a> {
    x: &'a DenseMatrix<f64>,
    y: &'a Vec<f64>,
    /// `None` where all rows weigh the same.
    weights: Option<&'a [f64]>,
    trees: usize,
    /// smartcore's depth counts levels of nodes, ours counts splits.
    levels: u16,
    min_samples_leaf: usize,
    max_features: usize,
    seed: u64,
}

type Matrix = DenseMatrix<f64>;
type Grow = fn(&Grove<'_>) -> Result<Vec<u8>>;

fn random_forest(grove: &Grove<'_>) -> Result<Vec<u8>> {
    let params = RandomForestRegressorParameters::default()
        .with_n_trees(grove.trees)
        .with_max_depth(grove.levels)
        .with_min_samples_leaf(grove.min_samples_leaf)
        .with_m(grove.max_features)
        .with_seed(grove.seed);
    type Regressor = RandomForestRegressor<f64, f64, Matrix, Vec<f64>>;
    let forest: Regressor = match grove.weights {
        Some(weights) => Regressor::fit_with_weights(grove.x, grove.y, weights, params),
        None => Regressor::fit(grove.x, grove.y, params),
    }
    .map_err(failed)?;
    serde_json::to_vec(&forest).map_err(failed)
}

fn extra_trees(grove: &Grove<'_>) -> Result<Vec<u8>> {
    let params = ExtraTreesRegressorParameters::default()
        .with_n_trees(grove.trees)
        .with_max_depth(grove.levels)
        .with_min_samples_leaf(grove.min_samples_leaf)
        .with_m(grove.max_features)
        .with_seed(grove.seed);
    type Regressor = ExtraTreesRegressor<f64, f64, Matrix, Vec<f64>>;
    let forest: Regressor = match grove.weights {
        Some(weights) => Regressor::fit_with_weights(grove.x, grove.y, weights, params),
        None => Regressor::fit(grove.x, grove.y, params),
    }
    .map_err(failed)?;
    serde_json::to_vec(&forest).map_err(failed)
}

fn failed(reason: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::failed("the trees could not be grown").because(reason)
}

fn on_bins(training: &TrainingSet<'_>, params: &EnsembleParams, seed: u64) -> Result<Predictor> {
    let labels = targets(training);
    let grove = bagging::Grove {
        training,
        labels: &labels,
        trees: params.trees,
        max_depth: u32::from(params.max_depth),
        min_samples_leaf: params.min_samples_leaf as u64,
        features: params.max_features.count(training.features.features(), training.task),
        seed,
    };
    predictor(training, labels.len(), grove.grow()?)
}

fn predictor(training: &TrainingSet<'_>, outputs: usize, trees: Vec<Tree>) -> Result<Predictor> {
    let forest = Forest::new(training.features.features(), vec![0.0; outputs], Aggregation::Average, trees)?;
    let link = if training.task == Task::Multiclass { Link::OneVsRest } else { Link::Identity };
    Predictor::of(training, Form::Forest(forest), link)
}

fn fit(training: &TrainingSet<'_>, params: &EnsembleParams, seed: u64, grow: Grow) -> Result<Predictor> {
    let block = training.features;
    let x = DenseMatrix::new(block.rows(), block.features(), block.values().to_vec(), true).map_err(failed)?;
    let labels = targets(training);
    let groves: Vec<(usize, usize)> = (0..labels.len())
        .flat_map(|output| (0..params.trees.div_ceil(GROVE)).map(move |index| (output, index)))
        .collect();
    let trees: Vec<Vec<Tree>> = groves
        .par_iter()
        .map(|(output, index)| {
            let grove = Grove {
                x: &x,
                y: &labels[*output],
                weights: training.uniform_weight().is_none().then_some(training.weights),
                trees: GROVE.min(params.trees - index * GROVE),
                levels: params.max_depth + 1,
                min_samples_leaf: params.min_samples_leaf,
                max_features: params.max_features.count(block.features(), training.task),
                seed: derive(seed, *index as u64),
            };
            read(&grow(&grove)?, *output as u32)
        })
        .collect::<Result<_>>()?;
    predictor(training, labels.len(), trees.into_iter().flatten().collect())
}

/// What the trees of each output learn: the value, or 1 for the output's own class.
fn targets(training: &TrainingSet<'_>) -> Vec<Vec<f64>> {
    match training.task {
        Task::Binary | Task::Regression => vec![training.labels.to_vec()],
        Task::Multiclass => (0..training.classes)
            .map(|class| training.labels.iter().map(|label| f64::from(u8::from(*label == class as f64))).collect())
            .collect(),
    }
}

/// A seed of its own for each grove; smartcore counts up from it, tree by tree.
fn derive(seed: u64, index: u64) -> u64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    ChaCha8Rng::from_seed(key).next_u64()
}

/// smartcore shows its trees through serde only; these are the fields that matter.
#[derive(Deserialize)]
struct WrittenForest {
    forest_regressor: WrittenTrees,
}

#[derive(Deserialize)]
struct WrittenTrees {
    trees: Vec<WrittenTree>,
}

#[derive(Deserialize)]
struct WrittenTree {
    nodes: Vec<WrittenNode>,
}

/// A row goes to `true_child` when its value is at most `split_value`.
#[derive(Deserialize)]
struct WrittenNode {
    output: f64,
    split_feature: usize,
    split_value: Option<f64>,
    true_child: Option<usize>,
    false_child: Option<usize>,
}

fn read(json: &[u8], output: u32) -> Result<Vec<Tree>> {
    let written: WrittenForest = serde_json::from_slice(json).map_err(failed)?;
    written.forest_regressor.trees.iter().map(|tree| convert(&tree.nodes, output)).collect()
}

/// smartcore appends children after their parents, so the last node is converted first.
fn convert(nodes: &[WrittenNode], output: u32) -> Result<Tree> {
    let mut builder = TreeBuilder::new(1);
    // From the last node backwards: node `i` is at `nodes.len() - 1 - i`.
    let mut done: Vec<Child> = Vec::with_capacity(nodes.len());
    for node in nodes.iter().rev() {
        let child = |index: usize| nodes.len().checked_sub(index + 1).and_then(|place| done.get(place)).copied();
        let part = match (node.split_value, node.true_child, node.false_child) {
            (Some(threshold), Some(low), Some(high)) => match (child(low), child(high)) {
                (Some(low), Some(high)) => builder.split(node.split_feature as u32, threshold, low, high),
                _ => return Err(Error::failed("a tree of the library has a child before its parent")),
            },
            _ => builder.leaf(&[node.output]),
        };
        done.push(part);
    }
    match done.last() {
        Some(root) => Ok(builder.finish(*root, Some(output))),
        None => Err(Error::failed("a tree of the library has no node")),
    }
}
