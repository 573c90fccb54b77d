//! `gbtree` and `dart`: trees that compare in `f32`, with sets of categories, one output or one value an output.

use super::{Booster, Shape, categories, damaged, unsupported};
use crate::error::{Result, ResultExt};
use crate::forest::{Aggregation, Comparison, Forest, Missing, Precision, Rule, Side, Tree};
use crate::models::Form;
use crate::models::import::document::{Document, whole};
use crate::models::import::grow::{Branch, Part, Question, grow};
use crate::models::import::{ImportedFeature, Rounds};

/// Categories are whole numbers below this: an `f32` holds no more.
const MOST_CATEGORIES: usize = 1 << 24;

/// The tree booster; `features` get the levels that the file has for them.
pub(super) fn read(
    learner: &Document,
    booster: &Document,
    shape: &Shape,
    features: &mut [ImportedFeature],
    rounds: Rounds,
) -> Result<Booster> {
    // DART is a tree booster with a weight for each tree.
    let (model, weights) = match booster.get("gbtree") {
        Some(inner) => (inner.need("model")?, Some(booster.numbers("weight_drop")?)),
        None => (booster.need("model")?, None),
    };
    let trees = model.list("trees")?;
    let outputs = model.counts("tree_info")?;
    if outputs.len() != trees.len() || weights.is_some_and(|weights| weights.len() != trees.len()) {
        return Err(damaged("its lists of trees differ in length"));
    }
    let ends = round_ends(model, shape, trees)?;
    let mut notes = Vec::new();
    let wanted = match (rounds, best(learner)?) {
        (Rounds::First(wanted), _) => wanted.min(ends.len()),
        (Rounds::Best, Some(best)) if best < ends.len() => {
            notes.push(format!("rounds up to the best one, {best} (from 0), count, of {}", ends.len()));
            best + 1
        }
        _ => ends.len(),
    };
    let used = wanted.checked_sub(1).map_or(0, |last| ends[last]);
    let mut grown = Vec::with_capacity(used);
    for (index, tree) in trees[..used].iter().enumerate() {
        let weight = weights.map_or(1.0, |weights| weights[index] as f32);
        grown.push(one(tree, outputs[index], weight, shape).at("tree", index)?);
    }
    if grown.is_empty() {
        return Err(unsupported("a model without trees"));
    }
    let facts = vec![("trees", grown.len().to_string()), ("rounds", wanted.to_string())];
    let preparation = categories::read(model, features)?;
    let forest = Forest::new(shape.features, shape.base.clone(), Aggregation::Sum, grown)?;
    Ok(Booster { form: Form::Forest(forest), preparation, facts, notes })
}

/// The round that early stopping found best, from 0.
fn best(learner: &Document) -> Result<Option<usize>> {
    match learner.get("attributes").filter(|attributes| attributes.get("best_iteration").is_some()) {
        Some(attributes) => attributes.count("best_iteration").map(Some),
        None => Ok(None),
    }
}

/// The number of trees up to the end of each round.
fn round_ends(model: &Document, shape: &Shape, trees: &[Document]) -> Result<Vec<usize>> {
    if model.get("iteration_indptr").is_some() {
        let ends = model.counts("iteration_indptr")?;
        if ends.first() != Some(&0) || ends.last() != Some(&trees.len()) || !ends.is_sorted() {
            return Err(damaged("`iteration_indptr` does not fit its trees"));
        }
        return Ok(ends[1..].to_vec());
    }
    let param = model.need("gbtree_model_param")?;
    let parallel = if param.get("num_parallel_tree").is_some() { param.count("num_parallel_tree")?.max(1) } else { 1 };
    let vectors = trees.first().is_some_and(|tree| leaf_width(tree) > 1);
    let each = parallel.checked_mul(if vectors { 1 } else { shape.outputs }).filter(|each| *each <= trees.len().max(1));
    let each = each.ok_or_else(|| damaged("it has fewer trees than a round has"))?;
    if !trees.len().is_multiple_of(each) {
        return Err(damaged("its last round is not complete").with("trees", trees.len()).with("a round", each));
    }
    Ok((1..=trees.len() / each).map(|round| round * each).collect())
}

/// How many values a leaf has.
fn leaf_width(tree: &Document) -> usize {
    tree.get("tree_param").and_then(|param| param.count("size_leaf_vector").ok()).unwrap_or(1).max(1)
}

/// The lists of a tree, node by node.
struct Nodes<'a> {
    left: &'a [f64],
    right: &'a [f64],
    features: Vec<usize>,
    conditions: &'a [f64],
    default_left: &'a [f64],
    /// The categories of a node, where it asks for them.
    sets: Vec<Option<Vec<u32>>>,
}

fn one(tree: &Document, output: usize, weight: f32, shape: &Shape) -> Result<Tree> {
    let nodes = Nodes::read(tree)?;
    let count = nodes.left.len();
    let width = leaf_width(tree);
    let mut seen = vec![false; count];
    if width > 1 {
        if width != shape.outputs {
            return Err(damaged("its leaves have another number of values than the model has outputs"));
        }
        let mut leaves = VectorLeaves::read(tree, count, width)?;
        return grow(&mut seen, 0, None, width, |node| match nodes.branch(node)? {
            Some(branch) => branch.checked(shape.features).map(Part::Branch),
            None => leaves.values(node, nodes.right[node], weight).map(Part::Leaf),
        });
    }
    if output >= shape.outputs {
        return Err(damaged("a tree belongs to an output that does not exist").with("output", output));
    }
    grow(&mut seen, 0, Some(output as u32), 1, |node| match nodes.branch(node)? {
        Some(branch) => branch.checked(shape.features).map(Part::Branch),
        None => leaf(nodes.conditions[node], weight).map(|value| Part::Leaf(vec![value])),
    })
}

/// A leaf's value times its tree's weight, in `f32` as XGBoost multiplies them.
fn leaf(value: f64, weight: f32) -> Result<f64> {
    let value = value as f32 * weight;
    if value.is_finite() { Ok(f64::from(value)) } else { Err(damaged("a leaf value is not finite")) }
}

impl Branch {
    fn checked(self, features: usize) -> Result<Self> {
        if (self.feature as usize) < features {
            return Ok(self);
        }
        Err(damaged("a split asks a feature that does not exist").with("feature", self.feature))
    }
}

impl<'a> Nodes<'a> {
    fn read(tree: &'a Document) -> Result<Self> {
        let left = tree.numbers("left_children")?;
        let count = left.len();
        let list = |key: &'static str| -> Result<&'a [f64]> {
            let numbers = tree.numbers(key)?;
            if numbers.len() == count { Ok(numbers) } else { Err(damaged(format!("`{key}` has another length"))) }
        };
        let features = tree.counts("split_indices")?;
        if features.len() != count {
            return Err(damaged("`split_indices` has another length"));
        }
        let mut nodes = Self {
            left,
            right: list("right_children")?,
            features,
            conditions: list("split_conditions")?,
            default_left: list("default_left")?,
            sets: Vec::new(),
        };
        if tree.get("categories_nodes").is_some() {
            nodes.sets = sets(tree, count)?;
        }
        if tree.get("split_type").is_some() {
            let kinds = list("split_type")?;
            let sets = &nodes.sets;
            let lacks =
                |node: usize| kinds[node] != 0.0 && left[node] >= 0.0 && !matches!(sets.get(node), Some(Some(_)));
            if kinds.iter().any(|kind| !matches!(*kind, 0.0 | 1.0)) || (0..count).any(lacks) {
                return Err(damaged("a split by categories has none, or is of an unknown kind"));
            }
        }
        Ok(nodes)
    }

    /// The split at a node; `None` for a leaf.
    fn branch(&self, node: usize) -> Result<Option<Branch>> {
        if self.left[node] == -1.0 {
            return Ok(None);
        }
        let child = |written: f64| {
            whole(written).ok_or_else(|| damaged("a node has a child with an odd number").with("child", written))
        };
        let (left, right) = (child(self.left[node])?, child(self.right[node])?);
        let feature = u32::try_from(self.features[node]).map_err(|_| damaged("a feature's number is too large"))?;
        let default_left = self.default_left[node] != 0.0;
        Ok(Some(match self.sets.get(node) {
            // A member goes right, all others left.
            Some(Some(members)) => Branch {
                feature,
                question: Question::Member(members.clone()),
                missing: Missing::Nan(if default_left { Side::Right } else { Side::Left }),
                left: right,
                right: left,
            },
            _ => Branch {
                feature,
                question: Question::Threshold(below(self.conditions[node])?),
                missing: Missing::Nan(if default_left { Side::Left } else { Side::Right }),
                left,
                right,
            },
        }))
    }
}

/// `x < t` in `f32`.
fn below(condition: f64) -> Result<Rule> {
    if condition.is_nan() {
        return Err(damaged("a threshold is not a number"));
    }
    let value = f64::from(condition as f32);
    Ok(Rule::Threshold { value, comparison: Comparison::Below, precision: Precision::F32 })
}

/// The categories of each node that asks for some.
fn sets(tree: &Document, count: usize) -> Result<Vec<Option<Vec<u32>>>> {
    let (nodes, starts) = (tree.counts("categories_nodes")?, tree.counts("categories_segments")?);
    let (sizes, categories) = (tree.counts("categories_sizes")?, tree.counts("categories")?);
    let mut sets = vec![None; if nodes.is_empty() { 0 } else { count }];
    let total = sizes.iter().try_fold(0usize, |sum, size| sum.checked_add(*size));
    if nodes.len() != starts.len() || nodes.len() != sizes.len() || total.is_none_or(|total| total > categories.len()) {
        return Err(damaged("its lists of categories differ in length"));
    }
    for ((node, start), size) in nodes.into_iter().zip(starts).zip(sizes) {
        let members = start.checked_add(size).and_then(|end| categories.get(start..end));
        let members = members.ok_or_else(|| damaged("the categories of a split are not there"))?;
        if members.iter().any(|category| *category >= MOST_CATEGORIES) {
            return Err(damaged("a category is too large"));
        }
        match sets.get_mut(node) {
            Some(set @ None) => *set = Some(members.iter().map(|category| *category as u32).collect()),
            _ => return Err(damaged("categories belong to a node that does not exist, or to one twice")),
        }
    }
    Ok(sets)
}

/// Leaves with a value for each output.
struct VectorLeaves<'a> {
    weights: &'a [f64],
    width: usize,
    /// Whether a leaf's number stands in place of its right child (since 3.1); else it is the node's.
    numbered: bool,
    /// Which values a leaf has taken: leaves that shared them would be more than the file has bytes for.
    taken: Vec<bool>,
}

impl<'a> VectorLeaves<'a> {
    fn read(tree: &'a Document, nodes: usize, width: usize) -> Result<Self> {
        let numbered = tree.get("leaf_weights").is_some();
        let weights = tree.numbers(if numbered { "leaf_weights" } else { "base_weights" })?;
        if !numbered && nodes.checked_mul(width) != Some(weights.len()) {
            return Err(damaged("`base_weights` has another length"));
        }
        Ok(Self { weights, width, numbered, taken: vec![false; weights.len() / width] })
    }

    fn values(&mut self, node: usize, right: f64, weight: f32) -> Result<Vec<f64>> {
        let number = if self.numbered { whole(right) } else { Some(node) };
        let free = number.and_then(|number| self.taken.get_mut(number).map(|taken| !std::mem::replace(taken, true)));
        let values = match (number, free) {
            (Some(number), Some(true)) => self.weights.get(number * self.width..(number + 1) * self.width),
            _ => None,
        };
        let values = values.ok_or_else(|| damaged("a leaf has no values of its own").with("node", node))?;
        values.iter().map(|value| leaf(*value, weight)).collect()
    }
}
