//! ONNX files: a graph of operators, walked once from its inputs to its outputs.
//!
//! A name in the graph stands for columns (a row's numbers on their way to the model), for a constant, for the scores of
//! a model, or for something that is not supported, whose name is told if the scores depend on it. Operators are those
//! of `ai.onnx.ml` and the few of `ai.onnx` that converters put around them. Where the standard leaves something open,
//! [ONNX Runtime](https://onnxruntime.ai) decides, of which the results were compared (1.31): what it does with two
//! classes of which a row hears only one, and that it does not transform a single target.

mod columns;
mod encoders;
mod ensemble;
mod linear;
mod node;
mod pipeline;
mod proto;
mod scores;
mod tree_ensemble;

use super::{ImportOptions, Imported, Importer, damaged, unsupported};
use crate::error::{Error, Result, ResultExt};
use node::{Node, Tensor};
use pipeline::{Columns, Pipeline};
use proto::Message;
use scores::Scores;
use std::collections::HashMap;

/// ONNX files.
pub(super) struct Onnx;

impl Importer for Onnx {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn summary(&self) -> &'static str {
        "ONNX (.onnx) with operators of ai.onnx.ml"
    }

    fn recognises(&self, bytes: &[u8]) -> bool {
        // A version of the format, and a graph: nothing in the bytes says ONNX.
        let message = Message { bytes };
        let head = message.fields().take(32).collect::<Result<Vec<_>>>();
        head.is_ok_and(|fields| fields.iter().any(|(number, _)| *number == 7))
            && message.integer(1).is_ok_and(|version| (1..100).contains(&version))
    }

    fn read(&self, bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
        read(self.name(), Message { bytes }, options)
    }
}

/// What a name in the graph stands for.
#[derive(Debug, Clone)]
enum Value {
    /// Numbers or texts of a row.
    Columns(Columns),
    /// The same for every row.
    Constant(Tensor),
    /// What a model gives.
    Scores(Scores),
    /// 1 less what a model gives.
    Complement(Scores),
    /// The class itself, with the classes' names if they are known.
    Label(Vec<String>),
    /// Something that is not supported, and what it is.
    Refused(String),
}

impl Value {
    /// About how many numbers, names and nodes it holds that none of the `others` holds.
    fn size(&self, others: &[Option<&Value>]) -> usize {
        match self {
            Self::Columns(columns) => columns.ids.len(),
            Self::Constant(tensor) => tensor.numbers.len() + tensor.texts.len(),
            Self::Scores(scores) | Self::Complement(scores) => {
                let known = others.iter().flatten().any(|other| match other {
                    Self::Scores(other) | Self::Complement(other) => other.shares_model(scores),
                    _ => false,
                });
                scores.size() + if known { 0 } else { scores.model_size() }
            }
            Self::Label(classes) => classes.len(),
            Self::Refused(_) => 1,
        }
    }
}

/// The operators by domain and name; each file of operators has its own list.
type Operator = fn(&mut Pipeline, &Node<'_>, &[Option<&Value>]) -> Result<Vec<Value>>;
static OPERATORS: &[&[(&str, &str, Operator)]] = &[
    columns::OPERATORS,
    encoders::OPERATORS,
    linear::OPERATORS,
    scores::OPERATORS,
    ensemble::OPERATORS,
    tree_ensemble::OPERATORS,
];

fn operator(node: &Node<'_>) -> Option<Operator> {
    let domain = if node.domain == "ai.onnx" { "" } else { node.domain };
    let mut all = OPERATORS.iter().flat_map(|list| list.iter());
    all.find(|(own, name, _)| *own == domain && *name == node.operator).map(|(_, _, operator)| *operator)
}

fn read(format: &'static str, model: Message<'_>, options: &ImportOptions) -> Result<Imported> {
    let graph = model.message(7)?;
    let mut names: HashMap<&str, Value> = HashMap::new();
    for tensor in graph.messages(5) {
        let tensor = tensor?;
        let value = match Tensor::read(tensor) {
            Ok(tensor) => Value::Constant(tensor),
            // Only what the scores depend on has to be understood.
            Err(error) if error.kind() == crate::error::ErrorKind::Usage => Value::Refused(reason(&error)),
            Err(error) => return Err(error),
        };
        names.insert(tensor.text(8)?, value);
    }
    if graph.all(15).next().is_some() {
        return Err(unsupported("ONNX graphs with sparse constants"));
    }
    let mut pipeline = Pipeline::new();
    for input in graph.messages(11) {
        let input = input?;
        let name = input.text(1)?;
        if !names.contains_key(name) {
            let columns = pipeline.input(name, input.message(2)?, options).at("input", name)?;
            names.insert(name, Value::Columns(columns));
        }
    }
    let mut operators = Vec::new();
    for node in graph.messages(1) {
        let node = Node::read(node?)?;
        step(&mut pipeline, &mut names, &node).at("operator", node.name())?;
        operators.push(node.operator.to_owned());
    }
    let scores = output(graph, &names)?;
    operators.dedup();
    let opsets = model.messages(8).map(|opset| {
        let opset = opset?;
        let domain = opset.text(1)?;
        Ok(format!("{} {}", if domain.is_empty() { "ai.onnx" } else { domain }, opset.integer(2)?))
    });
    let facts = vec![
        ("format version", model.integer(1)?.to_string()),
        ("operator sets", opsets.collect::<Result<Vec<_>>>()?.join(", ")),
        ("written by", format!("{:.80} {:.40}", model.text(2)?, model.text(3)?).trim().to_owned()),
        ("operators", operators.join(", ").chars().take(400).collect()),
    ];
    pipeline.finish(format, facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(), scores)
}

fn reason(error: &Error) -> String {
    let message = error.message();
    message.strip_prefix("not supported: ").unwrap_or(message).to_owned()
}

/// Carries out one node; what is not supported is remembered in place of its outputs.
fn step<'a>(pipeline: &mut Pipeline, names: &mut HashMap<&'a str, Value>, node: &Node<'a>) -> Result<()> {
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for name in &node.inputs {
        match names.get(name) {
            Some(value) => inputs.push(Some(value)),
            None if name.is_empty() => inputs.push(None),
            None => return Err(damaged("an operator reads what no other one has made").with("name", name)),
        }
    }
    let width = inputs.iter().flatten().map(|value| if let Value::Columns(own) = value { own.ids.len() } else { 0 });
    pipeline.room(width.sum::<usize>().saturating_mul(3))?;
    let refused = inputs.iter().flatten().find_map(|value| match value {
        Value::Refused(what) => Some(what.clone()),
        _ => None,
    });
    let made = match (refused, operator(node)) {
        (Some(what), _) => Err(what),
        (None, None) => Err(format!("the operator {}", node.name())),
        (None, Some(operator)) => match operator(pipeline, node, &inputs) {
            Ok(values) => Ok(values),
            Err(error) if error.kind() == crate::error::ErrorKind::Usage => {
                Err(format!("{} ({})", node.name(), reason(&error)))
            }
            Err(error) => return Err(error),
        },
    };
    let sizes = made.iter().flatten().map(|value| value.size(&inputs)).sum::<usize>();
    pipeline.hold(sizes.saturating_add(node.outputs.len()))?;
    for (place, name) in node.outputs.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let value = match &made {
            Ok(values) => values.get(place).cloned().unwrap_or_else(|| Value::Refused(node.name())),
            Err(what) => Value::Refused(what.clone()),
        };
        if names.insert(name, value).is_some() {
            return Err(damaged("two operators make the same name").with("name", name));
        }
    }
    Ok(())
}

/// The scores among the outputs of the graph.
fn output(graph: Message<'_>, names: &HashMap<&str, Value>) -> Result<Scores> {
    let (mut found, mut refused, mut label) = (Vec::new(), None, None);
    for output in graph.messages(12) {
        let name = output?.text(1)?;
        match names.get(name) {
            Some(Value::Scores(scores)) => found.push(scores.clone()),
            Some(Value::Refused(what)) => refused = Some((name, what)),
            Some(Value::Label(classes)) => label = Some(classes),
            Some(_) => {}
            None => return Err(damaged("an output of the graph is made by no operator").with("output", name)),
        }
    }
    match (found.len(), refused) {
        (1, _) => {
            let mut scores = found.swap_remove(0);
            // Generic operators know no classes; the label that is made of their scores does.
            if let Some(classes) = label.filter(|classes| scores.classes.is_empty() && classes.len() > 1) {
                scores.classes.clone_from(classes);
            }
            Ok(scores)
        }
        (0, Some((name, what))) => Err(unsupported(what).with("output", name)),
        (0, None) => Err(unsupported("an ONNX graph that gives no scores: neither probabilities nor values")
            .hint("keep the probabilities among the outputs when the model is converted")),
        _ => Err(unsupported("an ONNX graph that gives scores in several outputs")
            .hint("keep one of them when the model is converted")),
    }
}
