//! A predictor as bytes: an Arrow IPC file that any Arrow reader opens.
//!
//! One record batch holds the numbers: a row a tree, or a row an output. The footer's metadata holds
//! the rest as JSON under the key `lakemill`. Equal predictors give equal bytes.
//!
//! Reading trusts nothing: the general Arrow reader panics on some malformed files, so `file` reads
//! the one shape that is written here, with every offset and length checked.

mod file;

use super::{Form, Linear, Link, Predictor};
use crate::error::{Error, Result};
use crate::forest::{Aggregation, Child, Forest, Node, Tree};
use crate::task::Task;
use arrow::array::{ArrayRef, Float64Builder, Int32Array, ListBuilder, RecordBatch, UInt32Builder};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use file::{Column, Columns};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The footer's metadata key.
const KEY: &str = "lakemill";
/// Raised when the layout changes; older layouts stay readable.
const VERSION: u32 = 1;
/// The columns of trees; `output` is -1 for a tree that adds to all outputs.
const TREES: &[(&str, Column)] = &[
    ("output", Column::I32),
    ("feature", Column::ListU32),
    ("threshold", Column::ListF64),
    ("left", Column::ListU32),
    ("right", Column::ListU32),
    ("leaves", Column::ListF64),
];
/// The columns of coefficients; a constant has empty lists.
const OUTPUTS: &[(&str, Column)] = &[("intercept", Column::ListF64), ("coefficients", Column::ListF64)];

/// All that is not in the columns.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    task: Task,
    classes: usize,
    features: usize,
    link: Link,
    form: FormHeader,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormHeader {
    Constant,
    Linear,
    Average { base: Vec<f64> },
    Sum { base: Vec<f64> },
}

/// The predictor as an Arrow IPC file.
pub(super) fn encode(predictor: &Predictor) -> Result<Vec<u8>> {
    let base = |forest: &Forest| forest.base().to_vec();
    let (form, columns, arrays) = match predictor.form() {
        Form::Constant(scores) => {
            let none = vec![Vec::new(); scores.len()];
            (FormHeader::Constant, OUTPUTS, output_arrays(scores, &none))
        }
        Form::Linear(linear) => (FormHeader::Linear, OUTPUTS, output_arrays(&linear.intercepts, &linear.coefficients)),
        Form::Forest(forest) => {
            let form = match forest.aggregation() {
                Aggregation::Average => FormHeader::Average { base: base(forest) },
                Aggregation::Sum => FormHeader::Sum { base: base(forest) },
            };
            (form, TREES, tree_arrays(forest))
        }
    };
    let header = Header {
        version: VERSION,
        task: predictor.task(),
        classes: predictor.classes(),
        features: predictor.features(),
        link: predictor.link(),
        form,
    };
    let json = serde_json::to_string(&header).map_err(|reason| unwritten(&reason))?;
    write(&json, columns, arrays).map_err(|reason| unwritten(&reason))
}

fn unwritten(reason: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("the predictor could not be written: {reason}"))
}

fn write(header: &str, columns: &[(&str, Column)], arrays: Vec<ArrayRef>) -> Result<Vec<u8>, ArrowError> {
    let names = columns.iter().map(|(name, _)| *name);
    let batch = RecordBatch::try_from_iter(names.zip(arrays))?;
    let mut writer = FileWriter::try_new(Vec::new(), batch.schema_ref())?;
    writer.write_metadata(KEY, header);
    writer.write(&batch)?;
    writer.into_inner()
}

fn output_arrays(intercepts: &[f64], coefficients: &[Vec<f64>]) -> Vec<ArrayRef> {
    let one: Vec<Vec<f64>> = intercepts.iter().map(|intercept| vec![*intercept]).collect();
    vec![float_lists(one.iter().map(Vec::as_slice)), float_lists(coefficients.iter().map(Vec::as_slice))]
}

fn tree_arrays(forest: &Forest) -> Vec<ArrayRef> {
    let trees = forest.trees();
    let outputs = trees.iter().map(|tree| tree.output().map_or(-1, |output| output as i32));
    let whole = |field: fn(&Node) -> u32| {
        let mut lists = ListBuilder::new(UInt32Builder::new());
        for tree in trees {
            lists.append_value(tree.nodes().iter().map(|node| Some(field(node))));
        }
        Arc::new(lists.finish()) as ArrayRef
    };
    let thresholds: Vec<Vec<f64>> =
        trees.iter().map(|tree| tree.nodes().iter().map(|node| node.threshold).collect()).collect();
    vec![
        Arc::new(Int32Array::from_iter_values(outputs)),
        whole(|node| node.feature),
        float_lists(thresholds.iter().map(Vec::as_slice)),
        whole(|node| node.left.bits()),
        whole(|node| node.right.bits()),
        float_lists(trees.iter().map(Tree::leaves)),
    ]
}

fn float_lists<'a>(lists: impl Iterator<Item = &'a [f64]>) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for list in lists {
        builder.values().append_slice(list);
        builder.append(true);
    }
    Arc::new(builder.finish())
}

/// The predictor in the bytes of an Arrow IPC file, checked from the first offset to the last leaf.
pub(super) fn decode(bytes: &[u8]) -> Result<Predictor> {
    let file = file::open(bytes)?;
    let text = file.metadata(KEY)?;
    let broken = |reason: serde_json::Error| file::broken("its header cannot be read").because(reason);
    let version: VersionOnly = serde_json::from_str(text).map_err(broken)?;
    if version.version != VERSION {
        return Err(file::broken("it has a version that this binary does not know")
            .with("version", version.version)
            .hint("use a newer lakemill, or train the model again"));
    }
    let header: Header = serde_json::from_str(text).map_err(broken)?;
    let features = header.features;
    let form = match header.form {
        FormHeader::Constant => Form::Constant(read_outputs(&file)?.0),
        FormHeader::Linear => {
            let (intercepts, coefficients) = read_outputs(&file)?;
            Form::Linear(Linear { coefficients, intercepts })
        }
        FormHeader::Average { base } => {
            Form::Forest(Forest::new(features, base, Aggregation::Average, read_trees(&file)?)?)
        }
        FormHeader::Sum { base } => Form::Forest(Forest::new(features, base, Aggregation::Sum, read_trees(&file)?)?),
    };
    Predictor::new(header.task, header.classes, features, form, header.link)
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn read_outputs(file: &file::File<'_>) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let mut columns = file.columns(OUTPUTS)?;
    let intercepts = columns.f64_lists()?.into_iter().flatten().collect();
    Ok((intercepts, columns.f64_lists()?))
}

fn read_trees(file: &file::File<'_>) -> Result<Vec<Tree>> {
    let mut columns: Columns<'_> = file.columns(TREES)?;
    let outputs = columns.i32s()?;
    let features = columns.u32_lists()?;
    let thresholds = columns.f64_lists()?;
    let left = columns.u32_lists()?;
    let right = columns.u32_lists()?;
    let leaves = columns.f64_lists()?;
    let mut trees = Vec::with_capacity(outputs.len());
    for (tree, leaves) in leaves.into_iter().enumerate() {
        let count = features[tree].len();
        if [thresholds[tree].len(), left[tree].len(), right[tree].len()] != [count; 3] {
            return Err(file::broken("the columns of a tree differ in length"));
        }
        let node = |index: usize| Node {
            threshold: thresholds[tree][index],
            feature: features[tree][index],
            left: Child::from_bits(left[tree][index]),
            right: Child::from_bits(right[tree][index]),
        };
        let output = match outputs[tree] {
            -1 => None,
            output => Some(u32::try_from(output).map_err(|_| file::broken("a tree adds to an output below 0"))?),
        };
        trees.push(Tree::from_parts(output, (0..count).map(node).collect(), leaves));
    }
    Ok(trees)
}
