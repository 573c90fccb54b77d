//! Linear models.

use super::node::{Element, Node};
use super::pipeline::{Columns, Pipeline, columns, constant};
use super::scores::{Pick, Scores, all, class_names, post_transform, single_target};
use super::{Operator, Value, damaged, unsupported};
use crate::error::Result;
use crate::models::{Form, Linear, Link};

const ML: &str = "ai.onnx.ml";

pub(super) static OPERATORS: &[(&str, &str, Operator)] = &[
    (ML, "LinearRegressor", regressor),
    (ML, "LinearClassifier", classifier),
    ("", "MatMul", matrix_product),
    ("", "Gemm", general_product),
];

/// `coefficients` are output after output, one a column.
fn form(from: &Columns, coefficients: &[f64], intercepts: Vec<f64>) -> Result<Form> {
    let (width, outputs) = (from.ids.len(), intercepts.len());
    if from.element == Element::Text {
        return Err(damaged("a linear model of texts"));
    }
    if outputs == 0 || width.checked_mul(outputs) != Some(coefficients.len()) {
        return Err(damaged(format!(
            "a linear model has {} coefficients for {width} columns and {outputs} outputs",
            coefficients.len()
        )));
    }
    if coefficients.iter().chain(&intercepts).any(|number| !number.is_finite()) {
        return Err(damaged("a coefficient is not finite"));
    }
    let coefficients = coefficients.chunks_exact(width.max(1)).map(<[f64]>::to_vec).collect();
    Ok(Form::Linear(Linear { coefficients, intercepts }))
}

fn numbers(node: &Node<'_>, name: &str) -> Result<Vec<f64>> {
    Ok(node.floats(name)?.into_iter().map(f64::from).collect())
}

fn regressor(pipeline: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    let targets = usize::try_from(node.integer("targets", 1)?).unwrap_or(0);
    let coefficients = numbers(node, "coefficients")?;
    let mut intercepts = numbers(node, "intercepts")?;
    if targets == 0 || targets > coefficients.len() {
        return Err(damaged("a linear model has fewer coefficients than targets").with("targets", targets));
    }
    if intercepts.is_empty() {
        intercepts = vec![0.0; targets];
    }
    if intercepts.len() != targets {
        return Err(damaged("a linear model has another number of intercepts than of targets"));
    }
    let mut link = post_transform(node.text("post_transform", "NONE")?)?;
    if targets == 1 {
        link = single_target(link, pipeline);
    }
    let form = form(from, &coefficients, intercepts)?;
    Ok(vec![Value::Scores(Scores::new(form, from.ids.clone(), link, all(targets), Vec::new()))])
}

fn classifier(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let from = columns(inputs, 0)?;
    let classes = class_names(node, "classlabels_ints", "classlabels_strings")?;
    let form = form(from, &numbers(node, "coefficients")?, numbers(node, "intercepts")?)?;
    let link = post_transform(node.text("post_transform", "NONE")?)?;
    let ids = from.ids.clone();
    let scores = match (form.scores(), classes.len()) {
        // One score for two classes: the second is told, the first follows.
        (1, 2) => {
            let link = match link {
                Link::Logistic => Link::Logistic,
                Link::Identity | Link::Softmax | Link::SoftmaxZero => Link::Identity,
                _ => return Err(unsupported("PROBIT of one score for two classes")),
            };
            Scores::new(form, ids, link, vec![Pick::Counterpart, Pick::Column(0)], classes.clone())
        }
        (1, _) => {
            let link = if link == Link::Probit { link } else { Link::Identity };
            Scores::new(form, ids, link, all(1), Vec::new())
        }
        (scores, known) if scores == known => Scores::new(form, ids, link, all(scores), classes.clone()),
        (scores, known) => {
            return Err(damaged(format!("a linear classifier has {scores} scores for {known} classes")));
        }
    };
    Ok(vec![Value::Label(classes), Value::Scores(scores)])
}

/// Columns times a constant matrix: a linear model without intercepts.
fn matrix_product(_: &mut Pipeline, _: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let (from, matrix) = (columns(inputs, 0)?, constant(inputs, 1)?);
    let (width, outputs) = match matrix.shape[..] {
        [width] => (width, 1),
        [width, outputs] => (width, outputs),
        _ => return Err(unsupported("a product with more than a matrix")),
    };
    let (width, outputs) = sizes(&matrix.numbers, width, outputs)?;
    let coefficients = transposed(&matrix.numbers, width, outputs);
    let form = form(from, &coefficients, vec![0.0; outputs])?;
    Ok(vec![Value::Scores(Scores::new(form, from.ids.clone(), Link::Identity, all(outputs), Vec::new()))])
}

/// `alpha * columns * matrix + beta * constant`.
fn general_product(_: &mut Pipeline, node: &Node<'_>, inputs: &[Option<&Value>]) -> Result<Vec<Value>> {
    let (from, matrix) = (columns(inputs, 0)?, constant(inputs, 1)?);
    let [rows, across] = matrix.shape[..] else { return Err(unsupported("a product with another than a matrix")) };
    if node.integer("transA", 0)? != 0 {
        return Err(unsupported("a product with transposed rows"));
    }
    let (rows, across) = sizes(&matrix.numbers, rows, across)?;
    let (coefficients, outputs) = if node.integer("transB", 0)? == 0 {
        (transposed(&matrix.numbers, rows, across), across)
    } else {
        (matrix.numbers.clone(), rows)
    };
    let (alpha, beta) = (f64::from(node.float("alpha", 1.0)?), f64::from(node.float("beta", 1.0)?));
    let intercepts = match inputs.get(2).copied().flatten() {
        Some(_) => super::columns::for_each(constant(inputs, 2)?, outputs)?,
        None => vec![0.0; outputs],
    };
    let coefficients: Vec<f64> = coefficients.iter().map(|coefficient| coefficient * alpha).collect();
    let form = form(from, &coefficients, intercepts.iter().map(|intercept| intercept * beta).collect())?;
    Ok(vec![Value::Scores(Scores::new(form, from.ids.clone(), Link::Identity, all(outputs), Vec::new()))])
}

/// The sizes of a matrix, each of which is at most the count of its numbers: a matrix without rows may say that it has
/// any number of columns.
fn sizes(numbers: &[f64], rows: i64, across: i64) -> Result<(usize, usize)> {
    let (rows, across) = (usize::try_from(rows).unwrap_or(0), usize::try_from(across).unwrap_or(0));
    if numbers.is_empty() || rows.checked_mul(across) != Some(numbers.len()) {
        return Err(damaged("a matrix has no numbers, or another count of them than its shape says"));
    }
    Ok((rows, across))
}

fn transposed(numbers: &[f64], rows: usize, across: usize) -> Vec<f64> {
    (0..across).flat_map(|column| (0..rows).map(move |row| numbers[row * across + column])).collect()
}
