//! What a model gives, and the operators that may follow it.

use super::columns::for_each;
use super::node::{Node, Tensor};
use super::pipeline::Pipeline;
use super::{Operator, Value, damaged, unsupported};
use crate::error::Result;
use crate::forest::{Aggregation, Forest};
use crate::models::import::{MOST_FEATURES, numbered};
use crate::models::{Form, Linear, Link, Norm};
use crate::task::Task;
use std::rc::Rc;

const ML: &str = "ai.onnx.ml";

pub(super) static OPERATORS: &[(&str, &str, Operator)] = &[
    ("", "Sigmoid", sigmoid),
    ("", "Softmax", softmax),
    ("", "Exp", exponential),
    ("", "ArgMax", label),
    (ML, "ZipMap", zip_map),
];

/// The scores of a model on their way to the output.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    model: Rc<Model>,
    link: Link,
    /// The columns that there are, of those that the link gives.
    picks: Vec<Pick>,
    /// The classes' names, if the model knows classes.
    pub classes: Vec<String>,
}

#[derive(Debug)]
struct Model {
    form: Form,
    /// The columns that the form gets.
    inputs: Vec<u32>,
}

/// One column of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// A linked score.
    Column(u32),
    /// What follows from the other one, of two classes: it is never the prediction.
    Counterpart,
}

/// A graph whose scores are known.
pub(super) struct Finished {
    pub inputs: Vec<u32>,
    pub task: Task,
    pub classes: Vec<String>,
    pub targets: Vec<String>,
    pub form: Form,
    pub link: Link,
    pub chosen: Vec<u32>,
}

impl Scores {
    /// The scores of a form over these columns, as they are; the link's columns are `picks`.
    pub fn new(form: Form, inputs: Vec<u32>, link: Link, picks: Vec<Pick>, classes: Vec<String>) -> Self {
        Self { model: Rc::new(Model { form, inputs }), link, picks, classes }
    }

    /// How many columns there are.
    pub fn width(&self) -> usize {
        self.picks.len()
    }

    /// Whether both come from the same model.
    pub fn shares_model(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.model, &other.model)
    }

    /// How many names and places it holds.
    pub fn size(&self) -> usize {
        self.picks.len() + self.classes.len()
    }

    /// How many numbers and nodes its model holds.
    pub fn model_size(&self) -> usize {
        self.model.form.size()
    }

    /// All scores of the model in their order, and nothing done to them yet.
    fn is_raw(&self) -> bool {
        self.link == Link::Identity && self.is_whole()
    }

    fn is_whole(&self) -> bool {
        let all = (0..self.model.form.scores() as u32).map(Pick::Column);
        self.picks.iter().copied().eq(all)
    }

    /// The scores of these places.
    pub fn picked(&self, wanted: &[i64]) -> Result<Self> {
        let place = |place: &i64| {
            let pick = usize::try_from(*place).ok().and_then(|place| self.picks.get(place));
            pick.copied().ok_or_else(|| damaged("a score is chosen that is not there").with("score", place))
        };
        Ok(Self { picks: wanted.iter().map(place).collect::<Result<_>>()?, ..self.clone() })
    }

    /// The scores over their norm.
    pub fn normalised(&self, norm: Norm) -> Result<Self> {
        let link = match (norm, self.link) {
            _ if !self.is_whole() => None,
            (Norm::L1, Link::Softmax | Link::LogisticShares | Link::OneVsRest) => Some(self.link),
            (Norm::L1, Link::Logistic) => Some(Link::LogisticShares),
            // Shares of numbers below 0 are none.
            (Norm::L1, Link::Identity) if (0..self.width()).all(|score| self.is_probability(score)) => {
                Some(Link::OneVsRest)
            }
            _ => None,
        };
        // Of two classes that add up to 1 already, nothing changes.
        if norm == Norm::L1 && self.picks.contains(&Pick::Counterpart) && self.link == Link::Logistic {
            return Ok(self.clone());
        }
        let link = link.ok_or_else(|| unsupported(format!("the norm {norm:?} of such scores")))?;
        Ok(Self { link, ..self.clone() })
    }

    /// This score as the counterpart of another one, if it is 1 less the same.
    pub fn paired_with(&self, second: &Self) -> Option<Self> {
        let same = Rc::ptr_eq(&self.model, &second.model) && self.picks == second.picks && self.link == second.link;
        let one = self.picks.len() == 1 && self.picks[0] != Pick::Counterpart;
        (same && one).then(|| Self {
            picks: vec![Pick::Counterpart, second.picks[0]],
            classes: if second.classes.is_empty() { numbered(2) } else { second.classes.clone() },
            ..second.clone()
        })
    }

    /// A constant added to the scores or multiplied with them, or the scores taken from 1.
    pub fn arithmetic(&self, operator: &str, constant: &Tensor, swapped: bool) -> Result<Value> {
        let numbers = for_each(constant, self.width())?;
        if (operator, swapped) == ("Sub", true) && numbers.iter().all(|number| *number == 1.0) {
            return Ok(Value::Complement(self.clone()));
        }
        let neutral = if matches!(operator, "Mul" | "Div") { 1.0 } else { 0.0 };
        if numbers.iter().all(|number| *number == neutral) && !(swapped && matches!(operator, "Sub" | "Div")) {
            return Ok(Value::Scores(self.clone()));
        }
        // A factor of a power is a term of its exponent.
        if self.link == Link::Exponential && operator == "Mul" && numbers.iter().all(|number| *number > 0.0) {
            let terms = Tensor { numbers: numbers.iter().map(|number| number.ln()).collect(), ..constant.clone() };
            let raw = Self { link: Link::Identity, ..self.clone() };
            return match raw.arithmetic("Add", &terms, false)? {
                Value::Scores(scores) => Ok(Value::Scores(Self { link: self.link, ..scores })),
                other => Ok(other),
            };
        }
        if !self.is_raw() {
            return Err(unsupported("arithmetic with predictions"));
        }
        let (factor, terms): (f64, Vec<f64>) = match (operator, swapped) {
            ("Add", _) => (1.0, numbers),
            ("Sub", false) => (1.0, numbers.iter().map(|number| -number).collect()),
            ("Mul", _) if numbers.windows(2).all(|pair| pair[0] == pair[1]) => {
                (numbers.first().copied().unwrap_or(1.0), vec![0.0; numbers.len()])
            }
            _ => return Err(unsupported("such arithmetic with scores")),
        };
        let form = match &self.model.form {
            Form::Linear(linear) => Form::Linear(Linear {
                coefficients: linear
                    .coefficients
                    .iter()
                    .map(|own| own.iter().map(|coefficient| coefficient * factor).collect())
                    .collect(),
                intercepts: linear.intercepts.iter().zip(&terms).map(|(own, term)| own * factor + term).collect(),
            }),
            Form::Forest(forest) if factor == 1.0 => {
                let base = forest.base().iter().zip(&terms).map(|(own, term)| own + term).collect();
                Form::Forest(Forest::new(forest.features(), base, forest.aggregation(), forest.trees().to_vec())?)
            }
            _ => return Err(unsupported("such arithmetic with the scores of trees")),
        };
        let model = Rc::new(Model { form, inputs: self.model.inputs.clone() });
        Ok(Value::Scores(Self { model, ..self.clone() }))
    }

    /// Whether the link's score of this place can only be a probability.
    fn is_probability(&self, score: usize) -> bool {
        match self.link {
            Link::Logistic | Link::Softmax | Link::OneVsRest | Link::LogisticShares | Link::SoftmaxZero => true,
            Link::ScoredPairLogistic | Link::Step => true,
            Link::Identity => match &self.model.form {
                Form::Forest(forest) => within_unit(forest, score),
                _ => false,
            },
            _ => false,
        }
    }

    /// What the scores are for whoever uses the model.
    pub fn finish(self, notes: &mut Vec<String>) -> Result<Finished> {
        let (mut task, mut classes, mut targets, mut chosen) = (Task::Regression, Vec::new(), Vec::new(), Vec::new());
        let columns: Option<Vec<u32>> =
            self.picks.iter().map(|pick| if let Pick::Column(column) = pick { Some(*column) } else { None }).collect();
        match (self.classes.len(), self.picks.last()) {
            (2, Some(Pick::Column(positive))) if self.width() <= 2 => {
                chosen.push(*positive);
                if self.is_probability(*positive as usize) {
                    task = Task::Binary;
                    classes = self.classes.clone();
                } else {
                    let positive = &self.classes[1];
                    notes.push(format!("the prediction is a raw score for `{positive:.80}`, not a probability"));
                }
            }
            (0, Some(_)) => {
                let columns = columns.ok_or_else(|| unsupported("a score without its model"))?;
                targets = if columns.len() > 1 { numbered(columns.len()) } else { Vec::new() };
                chosen = columns;
            }
            (known, Some(_)) if known > 2 && self.is_whole() && known == self.width() => {
                task = Task::Multiclass;
                classes = self.classes.clone();
            }
            (known, _) => {
                return Err(unsupported(format!("{} scores for {known} classes", self.width())));
            }
        }
        if chosen == [0] && self.model.form.scores() == 1 {
            chosen.clear();
        }
        let (form, inputs) = match Rc::try_unwrap(self.model) {
            Ok(model) => (model.form, model.inputs),
            Err(shared) => (shared.form.clone(), shared.inputs.clone()),
        };
        Ok(Finished { inputs, task, classes, targets, form, link: self.link, chosen })
    }
}

/// Whether the sum over all trees is between 0 and 1 whatever leaves a row falls into, up to rounding.
fn within_unit(forest: &Forest, output: usize) -> bool {
    const ROUNDING: f64 = 1e-3;
    let (mut least, mut greatest) = (forest.base()[output], forest.base()[output]);
    for tree in forest.trees() {
        let (skip, step) = match tree.output() {
            Some(own) if own as usize == output => (0, 1),
            Some(_) => continue,
            None => (output, forest.outputs()),
        };
        let values = || tree.leaves().iter().skip(skip).step_by(step).copied();
        least += values().fold(f64::INFINITY, f64::min);
        greatest += values().fold(f64::NEG_INFINITY, f64::max);
    }
    forest.aggregation() == Aggregation::Sum && least >= -ROUNDING && greatest <= 1.0 + ROUNDING
}

fn linked(inputs: &[Option<&Value>], link: Link) -> Result<Vec<Value>> {
    match inputs {
        [Some(Value::Scores(scores))] if scores.is_raw() => {
            Ok(vec![Value::Scores(Scores { link, ..(*scores).clone() })])
        }
        _ => Err(unsupported("a function of something else than a model's raw scores")),
    }
}

fn sigmoid(_: &mut Pipeline, _: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    linked(inputs, Link::Logistic)
}

fn exponential(_: &mut Pipeline, _: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    linked(inputs, Link::Exponential)
}

fn softmax(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    if !matches!(node.integer("axis", -1)?, 1 | -1) {
        return Err(unsupported("a softmax over rows"));
    }
    linked(inputs, Link::Softmax)
}

fn label(_: &mut Pipeline, _: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    match inputs {
        [Some(Value::Scores(_))] => Ok(vec![Value::Label(Vec::new())]),
        _ => Err(unsupported("the greatest of something else than scores")),
    }
}

fn zip_map(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let [Some(Value::Scores(scores))] = inputs else {
        return Err(unsupported("a map of something else than scores"));
    };
    let mut scores = (*scores).clone();
    let classes = class_names(node, "classlabels_int64s", "classlabels_strings")?;
    if classes.len() != scores.width() {
        return Err(damaged("a map has another number of classes than there are scores"));
    }
    if scores.classes.is_empty() {
        scores.classes = classes;
    }
    Ok(vec![Value::Scores(scores)])
}

/// The names of classes in one of two attributes.
pub(super) fn class_names(node: &Node<'_>, numbers: &str, texts: &str) -> Result<Vec<String>> {
    let texts = node.texts(texts)?;
    if texts.is_empty() {
        return Ok(node.integers(numbers)?.iter().map(i64::to_string).collect());
    }
    Ok(texts.into_iter().map(str::to_owned).collect())
}

/// The link of a transformation that the standard names.
pub(super) fn post_transform(name: &str) -> Result<Link> {
    Ok(match name {
        "NONE" => Link::Identity,
        "LOGISTIC" => Link::Logistic,
        "SOFTMAX" => Link::Softmax,
        "SOFTMAX_ZERO" => Link::SoftmaxZero,
        "PROBIT" => Link::Probit,
        other => return Err(unsupported(format!("the post_transform {other:.40}"))),
    })
}

/// How many targets a node says that its model has.
pub(super) fn targets(node: &Node<'_>, name: &str) -> Result<usize> {
    let written = node.integer(name, 1)?;
    let targets = usize::try_from(written).map_err(|_| damaged(format!("`{name}` is {written}")))?;
    if targets > MOST_FEATURES {
        return Err(unsupported("a model of so many targets").with("targets", targets));
    }
    Ok(targets)
}

/// The link of a single target: runtimes transform it by PROBIT alone.
pub(super) fn single_target(link: Link, pipeline: &mut Pipeline) -> Link {
    if matches!(link, Link::Identity | Link::Probit) {
        return link;
    }
    pipeline.notes.push(format!("a single target is not transformed by {link:?}, as in ONNX Runtime"));
    Link::Identity
}

/// As many columns as there are scores.
pub(super) fn all(scores: usize) -> Vec<Pick> {
    (0..scores as u32).map(Pick::Column).collect()
}
