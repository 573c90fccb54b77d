//! Operators that choose, join and rescale columns.

use super::node::{Element, Node, Tensor};
use super::pipeline::{Columns, Pipeline, columns, constant};
use super::{Operator, Value, damaged, unsupported};
use crate::error::Result;
use crate::models::{Arithmetic, Norm, Operation};

const ML: &str = "ai.onnx.ml";

pub(super) static OPERATORS: &[(&str, &str, Operator)] = &[
    ("", "Constant", constant_node),
    ("", "Identity", identity),
    ("", "Cast", cast),
    ("", "Concat", concat),
    (ML, "FeatureVectorizer", concat),
    ("", "Gather", gather),
    (ML, "ArrayFeatureExtractor", gather),
    ("", "Reshape", reshape),
    ("", "Flatten", reshape),
    ("", "Squeeze", reshape),
    ("", "Unsqueeze", reshape),
    ("", "Add", arithmetic),
    ("", "Sub", arithmetic),
    ("", "Mul", arithmetic),
    ("", "Div", arithmetic),
    (ML, "Scaler", scaler),
    (ML, "Imputer", imputer),
    (ML, "Normalizer", normalizer),
    (ML, "Binarizer", binarizer),
];

fn made(ids: Vec<u32>, element: Element) -> Result<Vec<Value>> {
    Ok(vec![Value::Columns(Columns { ids, element })])
}

fn constant_node(_: &mut Pipeline, node: &Node<'_>, _: &[Option<&Value>]) -> Result<Vec<Value>> {
    let of = |element, shape: Vec<i64>, numbers: Vec<f64>| Tensor { element, shape, numbers, texts: Vec::new() };
    let tensor = if let Some(tensor) = node.tensor("value")? {
        tensor
    } else if node.has("value_float") {
        of(Element::Float, Vec::new(), vec![f64::from(node.float("value_float", 0.0)?)])
    } else if node.has("value_int") {
        of(Element::Integer, Vec::new(), vec![node.integer("value_int", 0)? as f64])
    } else if node.has("value_ints") {
        let numbers: Vec<f64> = node.integers("value_ints")?.into_iter().map(|number| number as f64).collect();
        of(Element::Integer, vec![numbers.len() as i64], numbers)
    } else if node.has("value_floats") {
        let numbers: Vec<f64> = node.floats("value_floats")?.into_iter().map(f64::from).collect();
        of(Element::Float, vec![numbers.len() as i64], numbers)
    } else {
        return Err(unsupported("a constant of another kind"));
    };
    Ok(vec![Value::Constant(tensor)])
}

fn identity(_: &mut Pipeline, _: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    match inputs {
        [Some(value)] => Ok(vec![(*value).clone()]),
        _ => Err(damaged("an operator lacks an input")),
    }
}

/// Scores, labels and constants stay what they are: only columns go on to a model.
fn cast(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = match inputs {
        [Some(Value::Columns(from))] => from,
        [Some(value)] => return Ok(vec![(*value).clone()]),
        _ => return Err(damaged("an operator lacks an input")),
    };
    let to = Element::of(node.integer("to", 0)?)?;
    let ids = from.ids.clone();
    let ids = match (from.element, to) {
        (same, to) if same == to => ids,
        (Element::Text, _) | (_, Element::Text) => {
            return Err(unsupported("a cast between texts and numbers"));
        }
        (Element::Boolean, _) => ids,
        (_, Element::Float) => ids.into_iter().map(|id| pipeline.each(id, Operation::Single)).collect(),
        (element, Element::Double) => ids.into_iter().map(|id| pipeline.single(id, element)).collect(),
        (element, Element::Integer) => {
            let whole = |id| {
                let id = pipeline.single(id, element);
                pipeline.each(id, Operation::Truncate)
            };
            ids.into_iter().map(whole).collect()
        }
        (_, _) => return Err(unsupported("a cast to booleans")),
    };
    made(ids, to)
}

fn concat(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    // One probability and what is left of 1: the two classes of a model that gives one score.
    if let [Some(Value::Complement(first)), Some(Value::Scores(second))] = inputs
        && let Some(pair) = first.paired_with(second)
    {
        return Ok(vec![Value::Scores(pair)]);
    }
    if node.operator == "Concat" && !matches!(node.integer("axis", 1)?, 1 | -1) {
        return Err(unsupported("a concatenation of rows"));
    }
    let mut ids = Vec::new();
    let mut element = None;
    for place in 0..inputs.len() {
        let own = columns(inputs, place)?;
        // FeatureVectorizer takes numbers of any type and gives floats.
        if node.operator == "Concat" && element.is_some_and(|element| element != own.element) {
            return Err(damaged("columns of different types are joined"));
        }
        element = Some(own.element);
        ids.extend_from_slice(&own.ids);
    }
    let element = if node.operator == "Concat" { element } else { Some(Element::Float) };
    made(ids, element.ok_or_else(|| damaged("nothing is joined"))?)
}

fn gather(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    if let [Some(Value::Constant(classes)), Some(Value::Label(_))] = inputs {
        return Ok(vec![Value::Label(names(classes))]);
    }
    let wanted = constant(inputs, 1)?.integers().ok_or_else(|| damaged("a place is no whole number"))?;
    if let [Some(Value::Scores(scores)), _] = inputs {
        return Ok(vec![Value::Scores(scores.picked(&wanted)?)]);
    }
    let from = columns(inputs, 0)?;
    if node.operator == "Gather" && !matches!(node.integer("axis", 0)?, 1 | -1) {
        return Err(unsupported("a choice of rows"));
    }
    let width = from.ids.len() as i64;
    let place = |wanted: &i64| {
        let place = if *wanted < 0 { wanted + width } else { *wanted };
        let id = usize::try_from(place).ok().and_then(|place| from.ids.get(place));
        id.copied().ok_or_else(|| damaged("a column is chosen that is not there").with("column", wanted))
    };
    made(wanted.iter().map(place).collect::<Result<_>>()?, from.element)
}

/// The names of classes in a constant.
fn names(classes: &Tensor) -> Vec<String> {
    if classes.texts.is_empty() {
        classes.numbers.iter().map(|number| number.to_string()).collect()
    } else {
        classes.texts.clone()
    }
}

/// Rows stay rows: only the shape of what a row has may be told anew.
fn reshape(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let value = inputs.first().copied().flatten().ok_or_else(|| damaged("an operator lacks an input"))?;
    let width = match value {
        Value::Columns(columns) => columns.ids.len(),
        Value::Scores(scores) => scores.width(),
        Value::Label(_) => return Ok(vec![value.clone()]),
        _ => return Err(unsupported("a change of shape of something that is neither columns nor scores")),
    };
    if node.operator == "Reshape" {
        let shape = constant(inputs, 1)?.integers().unwrap_or_default();
        let fits = match shape[..] {
            [-1] => width == 1,
            [-1 | 0, own] => own == width as i64 || own == -1,
            _ => false,
        };
        if !fits {
            return Err(unsupported(format!("a change of shape to {shape:?}")));
        }
    } else if node.operator == "Flatten" && node.integer("axis", 1)? != 1 {
        return Err(unsupported("a change of shape that joins rows"));
    }
    Ok(vec![value.clone()])
}

/// A number for each column, from a constant that has one for each or one for all.
pub(super) fn for_each(tensor: &Tensor, width: usize) -> Result<Vec<f64>> {
    let row = tensor.shape.iter().rev().skip(1).all(|size| *size == 1);
    match tensor.numbers.as_slice() {
        [one] => Ok(vec![*one; width]),
        all if row && all.len() == width => Ok(all.to_vec()),
        _ => Err(unsupported("arithmetic with a constant that has another shape than a row")),
    }
}

fn arithmetic(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let (value, number, swapped) = match inputs {
        [Some(value), Some(Value::Constant(number))] => (*value, number, false),
        [Some(Value::Constant(number)), Some(value)] => (*value, number, true),
        _ => return Err(unsupported("arithmetic between columns")),
    };
    if let Value::Scores(scores) = value {
        return scores.arithmetic(node.operator, number, swapped).map(|value| vec![value]);
    }
    let Value::Columns(from) = value else { return Err(unsupported("arithmetic with what is no column")) };
    if !matches!(from.element, Element::Float | Element::Double) {
        return Err(unsupported("arithmetic in another type than float or double"));
    }
    let double = from.element == Element::Double;
    let numbers = for_each(number, from.ids.len())?;
    let mut ids = Vec::with_capacity(from.ids.len());
    for (id, number) in from.ids.iter().zip(numbers) {
        let compute = |how, with| Operation::Compute { how, with, double };
        let steps = match (node.operator, swapped) {
            ("Add", _) => vec![compute(Arithmetic::Add, number)],
            ("Mul", _) => vec![compute(Arithmetic::Multiply, number)],
            ("Sub", false) => vec![compute(Arithmetic::Add, -number)],
            ("Sub", true) => vec![compute(Arithmetic::Multiply, -1.0), compute(Arithmetic::Add, number)],
            ("Div", false) if number != 0.0 => vec![compute(Arithmetic::Divide, number)],
            _ => return Err(unsupported("a division of or by such a number")),
        };
        ids.push(steps.into_iter().fold(*id, |id, step| pipeline.each(id, step)));
    }
    made(ids, from.element)
}

/// An attribute's number for each column: one for each, or one for all.
fn spread(numbers: &[f64], width: usize, what: &str) -> Result<Vec<f64>> {
    match numbers {
        [one] => Ok(vec![*one; width]),
        all if all.len() == width => Ok(all.to_vec()),
        _ => Err(damaged(format!("`{what}` has {} numbers for {width} columns", numbers.len()))),
    }
}

fn wide(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

fn scaler(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    if matches!(from.element, Element::Double | Element::Text) {
        return Err(unsupported("a scaler of doubles or texts"));
    }
    let width = from.ids.len();
    let offsets = spread(&wide(node.floats("offset")?), width, "offset")?;
    let scales = spread(&wide(node.floats("scale")?), width, "scale")?;
    let each = from.ids.iter().zip(offsets.iter().zip(scales));
    let ids = each.map(|(id, (offset, scale))| {
        pipeline.each(*id, Operation::Scale { offset: *offset as f32, scale: scale as f32 })
    });
    made(ids.collect(), Element::Float)
}

fn imputer(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    let (values, replaced) = match from.element {
        Element::Float => {
            (wide(node.floats("imputed_value_floats")?), f64::from(node.float("replaced_value_float", 0.0)?))
        }
        Element::Integer => {
            let values = node.integers("imputed_value_int64s")?.into_iter().map(|value| value as f64).collect();
            (values, node.integer("replaced_value_int64", 0)? as f64)
        }
        _ => return Err(unsupported("an imputer of something else than floats or integers")),
    };
    let values = spread(&values, from.ids.len(), "imputed_value")?;
    let mut ids = Vec::with_capacity(values.len());
    for (id, value) in from.ids.iter().zip(values) {
        let operation =
            if replaced.is_nan() { Operation::Fill(value) } else { Operation::Replace { value: replaced, by: value } };
        let id = pipeline.single(*id, from.element);
        ids.push(pipeline.each(id, operation));
    }
    made(ids, from.element)
}

fn normalizer(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let norm = match node.text("norm", "MAX")? {
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        "MAX" => Norm::Max,
        other => return Err(unsupported(format!("the norm {other:.40}"))),
    };
    if let [Some(Value::Scores(scores))] = inputs {
        return Ok(vec![Value::Scores(scores.normalised(norm)?)]);
    }
    let from = columns(inputs, 0)?;
    if from.element == Element::Text {
        return Err(damaged("texts are normalised"));
    }
    let ids = pipeline.normalised(from.ids.clone(), norm);
    made(ids, Element::Float)
}

fn binarizer(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    if from.element != Element::Float {
        return Err(unsupported("a binarizer of something else than floats"));
    }
    let threshold = f64::from(node.float("threshold", 0.0)?);
    let mut ids = Vec::with_capacity(from.ids.len());
    for id in &from.ids {
        let id = pipeline.single(*id, from.element);
        ids.push(pipeline.each(id, Operation::Above(threshold)));
    }
    made(ids, Element::Float)
}
