//! `TreeEnsemble` (version 5), and what all ensembles have in common.

use super::ensemble::precision;
use super::node::Node;
use super::pipeline::{Pipeline, columns};
use super::scores::{Scores, all, post_transform, single_target};
use super::{Operator, Value, damaged, unsupported};
use crate::error::Result;
use crate::forest::{Aggregation, Comparison, Forest, Missing, Precision, Rule, Side};
use crate::models::Form;
use crate::models::import::MOST_FEATURES;
use crate::models::import::document::whole;
use crate::models::import::grow::{Branch, Part, Question, grow};
use std::collections::HashSet;

const ML: &str = "ai.onnx.ml";

pub(super) static OPERATORS: &[(&str, &str, Operator)] = &[(ML, "TreeEnsemble", tree_ensemble)];

/// No ensemble has more leaf values, of all outputs together: a gigabyte.
const MOST_VALUES: usize = 1 << 27;

/// What a node asks.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    AtMost,
    Below,
    AtLeast,
    Above,
    Equal,
    NotEqual,
    Member(Vec<u32>),
}

impl Mode {
    /// The mode of this name; `None` for a leaf.
    pub fn named(name: &str) -> Result<Option<Self>> {
        Ok(Some(match name {
            "LEAF" => return Ok(None),
            "BRANCH_LEQ" => Self::AtMost,
            "BRANCH_LT" => Self::Below,
            "BRANCH_GTE" => Self::AtLeast,
            "BRANCH_GT" => Self::Above,
            "BRANCH_EQ" => Self::Equal,
            "BRANCH_NEQ" => Self::NotEqual,
            other => return Err(unsupported(format!("the node mode {other:.40}"))),
        }))
    }
}

/// How trees become one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aggregate {
    Sum,
    Average,
    Minimum,
    Maximum,
}

impl Aggregate {
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "SUM" => Self::Sum,
            "AVERAGE" => Self::Average,
            "MIN" => Self::Minimum,
            "MAX" => Self::Maximum,
            other => return Err(unsupported(format!("the aggregate_function {other:.40}"))),
        })
    }
}

/// A node as a file has it; children are nodes.
#[derive(Debug, Clone)]
pub(super) enum WrittenNode {
    Leaf { leaf: usize },
    Branch { feature: i64, mode: Mode, value: f64, tracks_true: bool, yes: usize, no: usize },
}

/// Trees with their weights, before they are turned into ours.
#[derive(Debug)]
pub(super) struct Ensemble {
    pub nodes: Vec<WrittenNode>,
    pub roots: Vec<usize>,
    pub aggregate: Aggregate,
    /// Whether the base value counts for a row that no leaf speaks of.
    pub base_always: bool,
    precision: Precision,
    features: usize,
    outputs: usize,
    base: Vec<f64>,
    /// Output and weight, by leaf.
    weights: Vec<Vec<(u32, f64)>>,
    /// Which outputs have a weight of which leaf.
    weighted: HashSet<(usize, u32)>,
}

impl Ensemble {
    pub fn new(precision: Precision, features: usize, outputs: usize) -> Self {
        Self {
            nodes: Vec::new(),
            roots: Vec::new(),
            aggregate: Aggregate::Sum,
            base_always: false,
            precision,
            features,
            outputs,
            base: Vec::new(),
            weights: Vec::new(),
            weighted: HashSet::new(),
        }
    }

    /// Gives a leaf a weight for an output.
    pub fn weight(&mut self, leaf: usize, output: i64, weight: f64) -> Result<()> {
        let output = u32::try_from(output).ok().filter(|output| (*output as usize) < self.outputs);
        let output = output.ok_or_else(|| damaged("a weight is for an output that does not exist"))?;
        if !weight.is_finite() {
            return Err(damaged("a leaf value is not finite"));
        }
        if self.weights.len() <= leaf {
            self.weights.resize(leaf + 1, Vec::new());
        }
        if !self.weighted.insert((leaf, output)) {
            return Err(unsupported("a leaf with two weights for one output"));
        }
        self.weights[leaf].push((output, weight));
        Ok(())
    }

    /// The base values: none, or one for each output.
    pub fn base(&mut self, base: Vec<f64>) -> Result<()> {
        if !base.is_empty() && base.len() != self.outputs {
            return Err(damaged(format!("{} base values for {} outputs", base.len(), self.outputs)));
        }
        if base.iter().any(|value| !value.is_finite()) {
            return Err(damaged("a base value is not finite"));
        }
        self.base = base;
        Ok(())
    }

    /// The same, if no split is reached twice: neither circles nor trees that share nodes.
    pub fn checked(self) -> Result<Self> {
        let mut seen = vec![false; self.nodes.len()];
        let mut open = self.roots.clone();
        while let Some(place) = open.pop() {
            if let Some(WrittenNode::Branch { yes, no, .. }) = self.nodes.get(place) {
                if std::mem::replace(&mut seen[place], true) {
                    return Err(damaged("the nodes of a tree go in circles").with("node", place));
                }
                open.extend([*yes, *no]);
            }
        }
        Ok(self)
    }

    fn leaves(&self) -> impl Iterator<Item = &[(u32, f64)]> {
        self.nodes.iter().filter_map(|node| match node {
            WrittenNode::Leaf { leaf } => Some(self.weights.get(*leaf).map_or(&[][..], Vec::as_slice)),
            WrittenNode::Branch { .. } => None,
        })
    }

    /// Of which outputs any leaf speaks.
    pub fn outputs_spoken_of(&self) -> Vec<bool> {
        let mut spoken = vec![false; self.outputs];
        self.leaves().flatten().for_each(|(output, _)| spoken[*output as usize] = true);
        spoken
    }

    /// Whether every row hears of the output: all leaves of some tree speak of it.
    pub fn always_hears(&self, output: u32) -> bool {
        self.heard().contains(&output)
    }

    /// The outputs of which every row hears.
    fn heard(&self) -> HashSet<u32> {
        let mut heard = HashSet::new();
        for root in &self.roots {
            let mut common: Option<HashSet<u32>> = None;
            let mut open = vec![*root];
            while let Some(place) = open.pop() {
                match self.nodes.get(place) {
                    Some(WrittenNode::Branch { yes, no, .. }) => open.extend([*yes, *no]),
                    Some(WrittenNode::Leaf { leaf }) => {
                        let own = self.weights.get(*leaf).map_or(&[][..], Vec::as_slice);
                        let own = own.iter().map(|(output, _)| *output);
                        common = Some(match common {
                            None => own.collect(),
                            Some(common) => own.filter(|output| common.contains(output)).collect(),
                        });
                    }
                    None => common = Some(HashSet::new()),
                }
            }
            heard.extend(common.unwrap_or_default());
        }
        heard
    }

    /// Leaves only this output, as the only one.
    pub fn keep(&mut self, output: u32) {
        for own in &mut self.weights {
            own.retain(|(known, _)| *known == output);
            own.iter_mut().for_each(|(known, _)| *known = 0);
        }
        self.outputs = 1;
    }

    /// Adds an output that counts the leaves that speak of another one.
    pub fn count(&mut self, output: u32) {
        let counting = self.outputs as u32;
        for own in &mut self.weights {
            if own.iter().any(|(known, _)| *known == output) {
                own.push((counting, 1.0));
            }
        }
        self.outputs += 1;
    }

    /// The trees as ours.
    pub fn forest(self) -> Result<Forest> {
        if self.roots.is_empty() || self.outputs == 0 {
            return Err(unsupported("an ensemble without trees or targets"));
        }
        let extreme = matches!(self.aggregate, Aggregate::Minimum | Aggregate::Maximum);
        let based = self.base.iter().any(|base| *base != 0.0) && !self.base_always;
        if extreme || based {
            let heard = self.heard();
            if (0..self.outputs as u32).any(|output| !heard.contains(&output)) {
                return Err(unsupported("targets of which a row may not hear, with a base value, MIN or MAX"));
            }
        }
        // What a leaf says of an output that it does not speak of.
        let silence = match self.aggregate {
            Aggregate::Minimum => f64::MAX,
            Aggregate::Maximum => f64::MIN,
            Aggregate::Sum | Aggregate::Average => 0.0,
        };
        let share = if self.aggregate == Aggregate::Average { self.roots.len() as f64 } else { 1.0 };
        let (mut values, mut seen) = (0usize, vec![false; self.nodes.len()]);
        let mut trees = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            let output = self.only_output(*root);
            let width = if output.is_some() { 1 } else { self.outputs };
            trees.push(grow(&mut seen, *root, output, width, |place| match &self.nodes[place] {
                WrittenNode::Leaf { leaf } => {
                    values = values.saturating_add(width);
                    if values > MOST_VALUES {
                        return Err(unsupported("an ensemble with so many leaves and outputs"));
                    }
                    let mut row = vec![silence; width];
                    for (of, weight) in self.weights.get(*leaf).map_or(&[][..], Vec::as_slice) {
                        row[if output.is_some() { 0 } else { *of as usize }] = weight / share;
                    }
                    Ok(Part::Leaf(row))
                }
                branch => self.branch(branch).map(Part::Branch),
            })?);
        }
        let base = if self.base.is_empty() { vec![0.0; self.outputs] } else { self.base };
        let aggregation = match self.aggregate {
            Aggregate::Sum | Aggregate::Average => Aggregation::Sum,
            Aggregate::Minimum => Aggregation::Minimum,
            Aggregate::Maximum => Aggregation::Maximum,
        };
        Forest::new(self.features, base, aggregation, trees)
    }

    /// The one output of which the leaves of a tree speak.
    fn only_output(&self, root: usize) -> Option<u32> {
        if self.outputs == 1 {
            return Some(0);
        }
        let (mut open, mut only) = (vec![root], None);
        while let Some(place) = open.pop() {
            match self.nodes.get(place)? {
                WrittenNode::Branch { yes, no, .. } => open.extend([*yes, *no]),
                WrittenNode::Leaf { leaf } => {
                    let [(output, _)] = self.weights.get(*leaf)?[..] else { return None };
                    if *only.get_or_insert(output) != output {
                        return None;
                    }
                }
            }
        }
        only
    }

    fn branch(&self, node: &WrittenNode) -> Result<Branch> {
        let WrittenNode::Branch { feature, mode, value, tracks_true, yes, no } = node else {
            return Err(damaged("a leaf is no split"));
        };
        let number = u32::try_from(*feature).ok().filter(|feature| (*feature as usize) < self.features);
        let Some(feature) = number else {
            return Err(damaged(format!("a tree asks feature {feature}, but its input has {} columns", self.features)));
        };
        let rule = |comparison| {
            let value = if self.precision == Precision::F32 { f64::from(*value as f32) } else { *value };
            if value.is_nan() {
                return Err(damaged("a threshold is not a number"));
            }
            Ok(Question::Threshold(Rule::Threshold { value, comparison, precision: self.precision }))
        };
        // Whether the rule holds where the file's question is answered by yes.
        let (question, holds) = match mode {
            Mode::AtMost => (rule(Comparison::AtMost)?, true),
            Mode::Below => (rule(Comparison::Below)?, true),
            Mode::Equal => (rule(Comparison::Equal)?, true),
            Mode::AtLeast => (rule(Comparison::Below)?, false),
            Mode::Above => (rule(Comparison::AtMost)?, false),
            Mode::NotEqual => (rule(Comparison::Equal)?, false),
            Mode::Member(members) => (Question::Member(members.clone()), true),
        };
        // A missing value is unequal to everything, and otherwise as the node says.
        let yes_side = if holds { Side::Left } else { Side::Right };
        let no_side = if holds { Side::Right } else { Side::Left };
        let missing = if *tracks_true || *mode == Mode::NotEqual { yes_side } else { no_side };
        let (left, right) = if holds { (*yes, *no) } else { (*no, *yes) };
        Ok(Branch { feature, question, missing: Missing::Nan(missing), left, right })
    }
}

/// How many targets an ensemble says that it has, whatever its leaves speak of.
pub(super) fn targets(node: &Node<'_>) -> Result<usize> {
    let targets = usize::try_from(node.integer("n_targets", 1)?).unwrap_or(0);
    if targets > MOST_FEATURES {
        return Err(unsupported("an ensemble of so many targets"));
    }
    Ok(targets)
}

/// Version 5: leaves have numbers of their own.
fn tree_ensemble(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    let targets = targets(node)?;
    let mut ensemble = Ensemble::new(precision(from.element)?, from.ids.len(), targets);
    ensemble.aggregate = match node.integer("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Minimum,
        3 => Aggregate::Maximum,
        other => return Err(unsupported(format!("the aggregate_function {other}"))),
    };
    read_nodes(node, &mut ensemble)?;
    let ensemble = ensemble.checked()?;
    let names = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];
    let transform = usize::try_from(node.integer("post_transform", 0)?).ok().and_then(|place| names.get(place));
    let mut link = post_transform(transform.copied().unwrap_or("of an unknown number"))?;
    if targets == 1 {
        link = single_target(link, pipeline);
    }
    let form = Form::Forest(ensemble.forest()?);
    Ok(vec![Value::Scores(Scores::new(form, from.ids.clone(), link, all(targets), Vec::new()))])
}

fn read_nodes(node: &Node<'_>, ensemble: &mut Ensemble) -> Result<()> {
    let tensor =
        |name: &str| -> Result<Vec<f64>> { Ok(node.tensor(name)?.map(|tensor| tensor.numbers).unwrap_or_default()) };
    let (modes, splits, weights) = (tensor("nodes_modes")?, tensor("nodes_splits")?, tensor("leaf_weights")?);
    let count = modes.len();
    let list = |name: &str| {
        let numbers = node.integers(name)?;
        if numbers.len() == count { Ok(numbers) } else { Err(damaged(format!("`{name}` has another length"))) }
    };
    let (features, yes, no) = (list("nodes_featureids")?, list("nodes_truenodeids")?, list("nodes_falsenodeids")?);
    let (yes_leaf, no_leaf) = (list("nodes_trueleafs")?, list("nodes_falseleafs")?);
    let tracks = node.integers("nodes_missing_value_tracks_true")?;
    let targets = node.integers("leaf_targetids")?;
    if splits.len() != count || weights.len() != targets.len() || !(tracks.is_empty() || tracks.len() == count) {
        return Err(damaged("the lists of an ensemble differ in length"));
    }
    let child = |number: i64, is_leaf: i64| -> Result<usize> {
        let below = if is_leaf != 0 { weights.len() } else { count };
        let place = usize::try_from(number).ok().filter(|place| *place < below);
        let place = place.ok_or_else(|| damaged("a node has a child that does not exist").with("child", number))?;
        Ok(if is_leaf != 0 { count + place } else { place })
    };
    let mut members = tensor("membership_values")?.into_iter();
    for place in 0..count {
        let mode = match whole(modes[place]) {
            Some(0) => Mode::AtMost,
            Some(1) => Mode::Below,
            Some(2) => Mode::AtLeast,
            Some(3) => Mode::Above,
            Some(4) => Mode::Equal,
            Some(5) => Mode::NotEqual,
            Some(6) => Mode::Member(member_set(&mut members)?),
            _ => return Err(unsupported(format!("the node mode {}", modes[place]))),
        };
        ensemble.nodes.push(WrittenNode::Branch {
            feature: features[place],
            mode,
            value: splits[place],
            tracks_true: tracks.get(place).is_some_and(|tracks| *tracks != 0),
            yes: child(yes[place], yes_leaf[place])?,
            no: child(no[place], no_leaf[place])?,
        });
    }
    ensemble.nodes.extend((0..weights.len()).map(|leaf| WrittenNode::Leaf { leaf }));
    for (leaf, (target, weight)) in targets.into_iter().zip(weights).enumerate() {
        ensemble.weight(leaf, target, weight)?;
    }
    let root = |root: &i64| {
        let place = usize::try_from(*root).ok().filter(|place| *place < count);
        place.ok_or_else(|| damaged("a tree has a root that does not exist").with("root", root))
    };
    ensemble.roots = node.integers("tree_roots")?.iter().map(root).collect::<Result<_>>()?;
    Ok(())
}

/// The members of the next set: numbers up to a NaN.
fn member_set(members: &mut impl Iterator<Item = f64>) -> Result<Vec<u32>> {
    let mut set = Vec::new();
    for member in members.take_while(|member| !member.is_nan()) {
        let code = whole(member).and_then(|code| u32::try_from(code).ok());
        set.push(code.ok_or_else(|| unsupported("sets of numbers that are negative or not whole"))?);
    }
    Ok(set)
}
