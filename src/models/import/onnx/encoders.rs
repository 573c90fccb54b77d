//! Operators that make numbers of categories.

use super::node::{Element, Node};
use super::pipeline::{Columns, Pipeline, columns};
use super::{Operator, Value, damaged, unsupported};
use crate::error::Result;
use crate::models::{Lookup, Operation};

const ML: &str = "ai.onnx.ml";

pub(super) static OPERATORS: &[(&str, &str, Operator)] =
    &[(ML, "OneHotEncoder", one_hot), (ML, "LabelEncoder", label_encoder)];

/// One column a category: 1 where the row has it. A value that is none of them is 0 in all.
fn one_hot(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?.clone();
    if node.integer("zeros", 1)? == 0 {
        let note = "a category that was not in training is 0 in all columns; ONNX Runtime refuses the row";
        if !pipeline.notes.iter().any(|own| own == note) {
            pipeline.notes.push(note.to_owned());
        }
    }
    let texts = node.texts("cats_strings")?;
    let numbers = node.integers("cats_int64s")?;
    if texts.is_empty() == numbers.is_empty() || (from.element == Element::Text) == texts.is_empty() {
        return Err(unsupported("one-hot categories of another type than the column"));
    }
    pipeline.room(from.ids.len().saturating_mul(texts.len() + numbers.len() + 2))?;
    let mut ids = Vec::new();
    for id in &from.ids {
        if from.element == Element::Text {
            for text in &texts {
                let code = pipeline.code(*id, text)?;
                ids.push(pipeline.each(*id, Operation::Equals(code)));
            }
            continue;
        }
        let single = pipeline.single(*id, from.element);
        let whole = if from.element == Element::Integer { single } else { pipeline.each(single, Operation::Truncate) };
        ids.extend(numbers.iter().map(|number| pipeline.each(whole, Operation::Equals(*number as f64))));
    }
    Ok(vec![Value::Columns(Columns { ids, element: Element::Float })])
}

/// What a category is looked up as. The names of classes behind a label are looked up too: they are a label still.
fn label_encoder(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    if let [Some(Value::Label(_))] = inputs {
        return Ok(vec![Value::Label(Vec::new())]);
    }
    let from = columns(inputs, 0)?.clone();
    let classes = node.texts("classes_strings")?;
    let (keys, values) = if classes.is_empty() { pairs(node)? } else { by_place(&classes, from.element)? };
    let (values, other, element) = values;
    pipeline.room(from.ids.len().saturating_mul(values.len()))?;
    let mut ids = Vec::with_capacity(from.ids.len());
    for id in &from.ids {
        let mut list: Vec<(f64, Option<f64>)> = Vec::with_capacity(values.len());
        let mut missing = other;
        for (key, value) in keys.iter().zip(&values) {
            match key {
                Key::Text(text) => list.push((pipeline.code(*id, text)?, *value)),
                Key::Number(number) if number.is_nan() => missing = *value,
                Key::Number(number) => list.push((number + 0.0, *value)),
            }
        }
        list.sort_by(|a, b| a.0.total_cmp(&b.0));
        if list.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(damaged("a category stands twice in an encoder"));
        }
        let (keys, values) = list.into_iter().unzip();
        let single = pipeline.single(*id, from.element);
        ids.push(pipeline.each(single, Operation::Lookup(Lookup { keys, values, other, missing })));
    }
    Ok(vec![Value::Columns(Columns { ids, element })])
}

enum Key {
    Text(String),
    Number(f64),
}

/// What stands for each key, what for all others, and their type.
type Values = (Vec<Option<f64>>, Option<f64>, Element);

/// The first version of the operator: a text is its place in the list.
fn by_place(classes: &[&str], from: Element) -> Result<(Vec<Key>, Values)> {
    if from != Element::Text {
        return Err(unsupported("an encoder that makes texts of numbers"));
    }
    let keys = classes.iter().map(|text| Key::Text((*text).to_owned())).collect();
    let places = (0..classes.len()).map(|place| Some(place as f64)).collect();
    Ok((keys, (places, Some(-1.0), Element::Integer)))
}

fn pairs(node: &Node<'_>) -> Result<(Vec<Key>, Values)> {
    let numbers = |values: Vec<f64>| values.into_iter().map(Key::Number).collect::<Vec<Key>>();
    let texts = |values: Vec<String>| values.into_iter().map(Key::Text).collect::<Vec<Key>>();
    let whole = |values: Vec<i64>| values.into_iter().map(|value| value as f64).collect::<Vec<f64>>();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let keys = if let Some(tensor) = node.tensor("keys_tensor")? {
        if tensor.element == Element::Text { texts(tensor.texts) } else { numbers(tensor.numbers) }
    } else if node.has("keys_strings") {
        texts(node.texts("keys_strings")?.into_iter().map(str::to_owned).collect())
    } else if node.has("keys_int64s") {
        numbers(whole(node.integers("keys_int64s")?))
    } else {
        numbers(wide(node.floats("keys_floats")?))
    };
    let default = node.tensor("default_tensor")?.and_then(|tensor| tensor.numbers.first().copied());
    let (values, other, element) = if let Some(tensor) = node.tensor("values_tensor")? {
        let float = matches!(tensor.element, Element::Float | Element::Double);
        (tensor.numbers, default.unwrap_or(if float { 0.0 } else { -1.0 }), tensor.element)
    } else if node.has("values_int64s") {
        (whole(node.integers("values_int64s")?), node.integer("default_int64", -1)? as f64, Element::Integer)
    } else if node.has("values_floats") {
        (wide(node.floats("values_floats")?), f64::from(node.float("default_float", 0.0)?), Element::Float)
    } else {
        return Err(unsupported("an encoder that makes texts"));
    };
    if element == Element::Text || element == Element::Boolean {
        return Err(unsupported("an encoder that makes texts or booleans"));
    }
    if keys.is_empty() || keys.len() != values.len() {
        return Err(damaged("an encoder has another number of keys than of values"));
    }
    let present = |value: f64| (!value.is_nan()).then_some(value);
    Ok((keys, (values.into_iter().map(present).collect(), present(other), element)))
}
