//! The models of segments in one record batch: the rows of the fallback, then those of each model in their order.
//!
//! The columns are those of a predictor without segments, of trees or of coefficients; all models have the same kind,
//! but one may be a constant, whose numbers stand in the header. The header says how many rows are each model's.

use super::file::{self, Column};
use super::trees::{self, Trees};
use super::{OUTPUTS, in_order, output_arrays, read_outputs};
use crate::error::{Error, Result};
use crate::forest::{Aggregation, Forest, Tree};
use crate::models::{Form, Linear, Segmented};
use arrow::array::ArrayRef;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The lists of a column hold at most so many values.
const LONGEST: usize = i32::MAX as usize;

/// The models of a [`Segmented`], without what is in the columns.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SegmentsHeader {
    features: usize,
    /// The routes' values of each model.
    keys: Vec<Vec<f64>>,
    fallback: ModelHeader,
    models: Vec<ModelHeader>,
}

/// One model.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum ModelHeader {
    /// No row of the columns.
    Constant(Vec<f64>),
    /// So many rows of coefficients, one an output.
    Linear(usize),
    /// Rows of trees.
    Forest { aggregation: Joined, base: Vec<f64>, trees: usize },
}

/// [`Aggregation`], written.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Joined {
    Average,
    Sum,
    Minimum,
    Maximum,
}

/// The header of the models, the names of the columns and their values.
type Encoded = (SegmentsHeader, &'static [(&'static str, Column)], Vec<ArrayRef>);

/// The models of segments as columns.
pub(super) fn encode(segmented: &Segmented) -> Result<Encoded> {
    let all = || std::iter::once(segmented.fallback()).chain(segmented.models());
    let forests: Vec<&Forest> =
        all().filter_map(|form| if let Form::Forest(own) = form { Some(own) } else { None }).collect();
    let linear: Vec<&Linear> =
        all().filter_map(|form| if let Form::Linear(own) = form { Some(own) } else { None }).collect();
    if !forests.is_empty() && !linear.is_empty() {
        return Err(Error::failed("the models of segments are of several kinds, which have no common form"));
    }
    let (columns, arrays) = if linear.is_empty() {
        let own: Vec<&Tree> = forests.iter().flat_map(|forest| forest.trees()).collect();
        let words = |tree: &Tree| tree.sets().iter().map(|set| set.words().len()).sum::<usize>();
        let values: usize = own.iter().map(|tree| tree.leaves().len().max(words(tree))).sum();
        if values > LONGEST {
            return Err(Error::failed("the trees of all segments together are too many")
                .with("values", values)
                .with("limit", LONGEST)
                .hint("use fewer or smaller trees, or raise segment_min_rows"));
        }
        (trees::COLUMNS, trees::arrays(&own)?)
    } else {
        let intercepts: Vec<f64> = linear.iter().flat_map(|own| own.intercepts.iter().copied()).collect();
        let coefficients: Vec<Vec<f64>> = linear.iter().flat_map(|own| own.coefficients.iter().cloned()).collect();
        if coefficients.iter().map(Vec::len).sum::<usize>() > LONGEST {
            return Err(Error::failed("the coefficients of all segments together are too many").with("limit", LONGEST));
        }
        (OUTPUTS, output_arrays(&intercepts, &coefficients)?)
    };
    let header = SegmentsHeader {
        features: segmented.features(),
        keys: segmented.keys().to_vec(),
        fallback: header_of(segmented.fallback())?,
        models: segmented.models().iter().map(header_of).collect::<Result<_>>()?,
    };
    Ok((header, columns, arrays))
}

fn header_of(form: &Form) -> Result<ModelHeader> {
    Ok(match form {
        Form::Constant(scores) => ModelHeader::Constant(scores.clone()),
        Form::Linear(linear) => ModelHeader::Linear(linear.intercepts.len()),
        Form::Forest(forest) => ModelHeader::Forest {
            aggregation: match forest.aggregation() {
                Aggregation::Average => Joined::Average,
                Aggregation::Sum => Joined::Sum,
                Aggregation::Minimum => Joined::Minimum,
                Aggregation::Maximum => Joined::Maximum,
            },
            base: forest.base().to_vec(),
            trees: forest.trees().len(),
        },
        Form::Segmented(_) => return Err(Error::failed("the model of a segment has segments itself")),
    })
}

/// The models in a file of this version.
pub(super) fn decode(file: &file::File<'_>, version: u32, header: SegmentsHeader) -> Result<Segmented> {
    let SegmentsHeader { features, keys, fallback, models } = header;
    let all: Vec<ModelHeader> = std::iter::once(fallback).chain(models).collect();
    let mut forms = if all.iter().any(|model| matches!(model, ModelHeader::Linear(_))) {
        linear(file, all)?
    } else if all.iter().any(|model| matches!(model, ModelHeader::Forest { trees, .. } if *trees > 0)) {
        forests(Some(&Trees::open(file, version)?), features, &all)?
    } else {
        // A column without rows has no offsets that could be read.
        forests(None, features, &all)?
    };
    let models = forms.split_off(1);
    let fallback = forms.pop().ok_or_else(missing)?;
    Segmented::new(features, keys, models, fallback)
}

fn missing() -> Error {
    file::broken("its columns lack rows of a model")
}

fn left_over() -> Error {
    file::broken("its columns have rows of no model")
}

/// Models of coefficients, each with the rows after those of the model before it.
fn linear(file: &file::File<'_>, headers: Vec<ModelHeader>) -> Result<Vec<Form>> {
    let (intercepts, coefficients) = read_outputs(file)?;
    let (mut intercepts, mut coefficients) = (intercepts.into_iter(), coefficients.into_iter());
    let mut forms = Vec::with_capacity(headers.len());
    for header in headers {
        forms.push(match header {
            ModelHeader::Constant(scores) => Form::Constant(scores),
            ModelHeader::Linear(outputs) if outputs <= intercepts.len().min(coefficients.len()) => {
                Form::Linear(Linear {
                    coefficients: coefficients.by_ref().take(outputs).collect(),
                    intercepts: intercepts.by_ref().take(outputs).collect(),
                })
            }
            ModelHeader::Linear(_) | ModelHeader::Forest { .. } => return Err(missing()),
        });
    }
    if intercepts.len() + coefficients.len() > 0 { Err(left_over()) } else { Ok(forms) }
}

/// Models of trees (where any has one), each with the rows after those of the model before it; read side by side.
fn forests(trees: Option<&Trees<'_>>, features: usize, headers: &[ModelHeader]) -> Result<Vec<Form>> {
    let mut starts = Vec::with_capacity(headers.len());
    let mut end = 0_usize;
    for header in headers {
        starts.push(end);
        if let ModelHeader::Forest { trees: own, .. } = header {
            end = end.checked_add(*own).ok_or_else(missing)?;
        }
    }
    match end.cmp(&trees.map_or(0, Trees::len)) {
        Ordering::Less => return Err(left_over()),
        Ordering::Greater => return Err(missing()),
        Ordering::Equal => {}
    }
    in_order(headers.len(), 1, |model| match (&headers[model], trees) {
        (ModelHeader::Constant(scores), _) => Ok(Form::Constant(scores.clone())),
        (ModelHeader::Linear(_), _) => Err(missing()),
        (ModelHeader::Forest { aggregation, base, trees: own }, rows) => {
            let mut trees = Vec::with_capacity(*own);
            if let Some(rows) = rows {
                for tree in starts[model]..starts[model] + own {
                    trees.push(rows.tree(tree)?);
                }
            }
            let aggregation = match aggregation {
                Joined::Average => Aggregation::Average,
                Joined::Sum => Aggregation::Sum,
                Joined::Minimum => Aggregation::Minimum,
                Joined::Maximum => Aggregation::Maximum,
            };
            Ok(Form::Forest(Forest::new(features, base.clone(), aggregation, trees)?))
        }
    })
}
