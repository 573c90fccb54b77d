//! `TreeEnsembleClassifier` and `TreeEnsembleRegressor`: trees as lists of nodes, weights as lists beside them.

use super::node::{Element, Node};
use super::pipeline::{Columns, Pipeline, columns};
use super::scores::{Pick, Scores, all, class_names, post_transform, single_target};
use super::tree_ensemble::{Aggregate, Ensemble, Mode, WrittenNode, targets};
use super::{Operator, Value, damaged, unsupported};
use crate::error::{Result, ResultExt};
use crate::forest::Precision;
use crate::models::{Form, Link};
use std::collections::HashMap;

const ML: &str = "ai.onnx.ml";

pub(super) static OPERATORS: &[(&str, &str, Operator)] =
    &[(ML, "TreeEnsembleClassifier", classifier), (ML, "TreeEnsembleRegressor", regressor)];

/// The trees of the lists, with the weights under `prefix` (`class` or `target`).
fn ensemble(node: &Node<'_>, from: &Columns, prefix: &str, outputs: usize) -> Result<Ensemble> {
    let trees = node.integers("nodes_treeids")?;
    let count = trees.len();
    let list = |name: &str| {
        let numbers = node.integers(name)?;
        if numbers.len() == count { Ok(numbers) } else { Err(damaged(format!("`{name}` has another length"))) }
    };
    let numbers = list("nodes_nodeids")?;
    let features = list("nodes_featureids")?;
    let (yes, no) = (list("nodes_truenodeids")?, list("nodes_falsenodeids")?);
    let values = node.numbers("nodes_values", "nodes_values_as_tensor")?;
    let modes = node.texts("nodes_modes")?;
    let tracks = node.integers("nodes_missing_value_tracks_true")?;
    if values.len() != count || modes.len() != count || !(tracks.is_empty() || tracks.len() == count) {
        return Err(damaged("the lists of an ensemble differ in length"));
    }
    let mut places: HashMap<(i64, i64), usize> = HashMap::with_capacity(count);
    let mut ensemble = Ensemble::new(precision(from.element)?, from.ids.len(), outputs);
    for place in 0..count {
        if places.insert((trees[place], numbers[place]), place).is_some() {
            return Err(damaged("a node of an ensemble stands twice").with("node", numbers[place]));
        }
        // A tree begins with its root.
        if place == 0 || trees[place - 1] != trees[place] {
            ensemble.roots.push(place);
        }
    }
    let tree_count = trees.iter().collect::<std::collections::HashSet<_>>().len();
    if tree_count != ensemble.roots.len() {
        return Err(damaged("the nodes of a tree do not follow each other"));
    }
    for place in 0..count {
        let child = |number: i64| {
            let child = places.get(&(trees[place], number)).copied();
            child.ok_or_else(|| damaged("a node has a child that does not exist").with("child", number))
        };
        ensemble.nodes.push(match Mode::named(modes[place])? {
            None => WrittenNode::Leaf { leaf: place },
            Some(mode) => WrittenNode::Branch {
                feature: features[place],
                mode,
                value: values[place],
                tracks_true: tracks.get(place).is_some_and(|tracks| *tracks != 0),
                yes: child(yes[place])?,
                no: child(no[place])?,
            },
        });
    }
    let name = |what: &str| format!("{prefix}_{what}");
    let (of_tree, of_node) = (node.integers(&name("treeids"))?, node.integers(&name("nodeids"))?);
    let ids = node.integers(&name("ids"))?;
    let weights = node.numbers(&name("weights"), &name("weights_as_tensor"))?;
    if [of_tree.len(), of_node.len(), ids.len()] != [weights.len(); 3] {
        return Err(damaged("the weights of an ensemble differ in length"));
    }
    for (((tree, number), id), weight) in of_tree.into_iter().zip(of_node).zip(ids).zip(weights) {
        let place = places.get(&(tree, number)).copied();
        let place =
            place.ok_or_else(|| damaged("a weight belongs to a node that does not exist").with("node", number))?;
        // Nodes inside a tree may have weights too, which count for nothing.
        if matches!(ensemble.nodes[place], WrittenNode::Leaf { .. }) {
            ensemble.weight(place, id, weight)?;
        }
    }
    ensemble.checked()
}

/// In which type a tree compares: its thresholds are floats, and so is what is not double.
pub(super) fn precision(element: Element) -> Result<Precision> {
    match element {
        Element::Double => Ok(Precision::F64),
        Element::Text => Err(damaged("trees of texts")),
        _ => Ok(Precision::F32),
    }
}

fn regressor(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    let targets = targets(node)?;
    let mut ensemble = ensemble(node, from, "target", targets)?;
    ensemble.aggregate = Aggregate::named(node.text("aggregate_function", "SUM")?)?;
    ensemble.base(node.numbers("base_values", "base_values_as_tensor")?)?;
    let mut link = post_transform(node.text("post_transform", "NONE")?)?;
    if targets == 1 {
        link = single_target(link, pipeline);
    }
    let form = Form::Forest(ensemble.forest()?);
    Ok(vec![Value::Scores(Scores::new(form, from.ids.clone(), link, all(targets), Vec::new()))])
}

fn classifier(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    let classes = class_names(node, "classlabels_int64s", "classlabels_strings")?;
    if classes.len() < 2 {
        return Err(unsupported("an ensemble for a single class, or for classes without names"));
    }
    let base = node.numbers("base_values", "base_values_as_tensor")?;
    let link = post_transform(node.text("post_transform", "NONE")?)?;
    let mut ensemble = ensemble(node, from, "class", classes.len())?;
    let ids = from.ids.clone();
    let scores = if classes.len() > 2 {
        ensemble.base(base)?;
        ensemble.base_always = true;
        Scores::new(Form::Forest(ensemble.forest()?), ids, link, all(classes.len()), classes.clone())
    } else {
        two_classes(ensemble, base, link, ids, classes.clone()).at("classes", classes.join(", "))?
    };
    Ok(vec![Value::Label(classes), Value::Scores(scores)])
}

/// Two classes may share one score; what then follows is what ONNX Runtime does.
fn two_classes(
    mut ensemble: Ensemble,
    base: Vec<f64>,
    link: Link,
    ids: Vec<u32>,
    classes: Vec<String>,
) -> Result<Scores> {
    if base.len() == 2 {
        return Err(unsupported("two base_values for two classes, on which runtimes do not agree"));
    }
    let first_follows = vec![Pick::Counterpart, Pick::Column(0)];
    let spoken = ensemble.outputs_spoken_of();
    match (spoken[0], spoken[1]) {
        (true, false) => {
            let link = match link {
                Link::Logistic => Link::Logistic,
                Link::Identity | Link::Softmax | Link::SoftmaxZero => Link::Identity,
                _ => return Err(unsupported("PROBIT of one score for two classes")),
            };
            ensemble.keep(0);
            ensemble.base(base)?;
            ensemble.base_always = true;
            Ok(Scores::new(Form::Forest(ensemble.forest()?), ids, link, first_follows, classes))
        }
        (false, true) => {
            // The first class has 0, and the base value is not used.
            let link = match link {
                Link::Identity => Link::Identity,
                Link::Logistic | Link::Softmax => Link::Logistic,
                _ => return Err(unsupported("SOFTMAX_ZERO or PROBIT of one score for two classes")),
            };
            ensemble.keep(1);
            Ok(Scores::new(Form::Forest(ensemble.forest()?), ids, link, first_follows, classes))
        }
        (true, true) if ensemble.always_hears(1) => {
            if let [first] = base[..] {
                ensemble.base(vec![first, 0.0])?;
                ensemble.base_always = true;
            }
            Ok(Scores::new(Form::Forest(ensemble.forest()?), ids, link, all(2), classes))
        }
        (true, true) => {
            let link = match link {
                Link::Identity => Link::ScoredPair,
                Link::Logistic => Link::ScoredPairLogistic,
                _ => return Err(unsupported("a transformation of two classes of which a row may hear only one")),
            };
            if !base.is_empty() {
                return Err(unsupported("a base value for two classes of which a row may hear only one"));
            }
            ensemble.count(1);
            let picks = vec![Pick::Column(0), Pick::Column(1)];
            Ok(Scores::new(Form::Forest(ensemble.forest()?), ids, link, picks, classes))
        }
        (false, false) => Err(damaged("an ensemble has no weights")),
    }
}
