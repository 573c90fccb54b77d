//! The models of segments in one record batch: the rows of the fallback, then those of each model in their order.
//!
//! The columns are those of a predictor without segments, of trees or of coefficients; all models have the same kind,
//! but one may be a constant, whose numbers stand in the header. The header says how many rows are each model's.

use super::file::{self, Column};
use super::{OUTPUTS, output_arrays, read_outputs, trees};
use crate::error::{Error, Result};
use crate::forest::{Aggregation, Forest, Tree};
use crate::models::{Form, Linear, Segmented};
use arrow::array::ArrayRef;
use serde::{Deserialize, Serialize};

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
        (trees::COLUMNS, trees::arrays(&own))
    } else {
        let intercepts: Vec<f64> = linear.iter().flat_map(|own| own.intercepts.iter().copied()).collect();
        let coefficients: Vec<Vec<f64>> = linear.iter().flat_map(|own| own.coefficients.iter().cloned()).collect();
        if coefficients.iter().map(Vec::len).sum::<usize>() > LONGEST {
            return Err(Error::failed("the coefficients of all segments together are too many").with("limit", LONGEST));
        }
        (OUTPUTS, output_arrays(&intercepts, &coefficients))
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
    let all = || header.models.iter().chain([&header.fallback]);
    let none = Rows {
        intercepts: Vec::new().into_iter(),
        coefficients: Vec::new().into_iter(),
        trees: Vec::new().into_iter(),
    };
    let mut rows = if all().any(|model| matches!(model, ModelHeader::Linear(_))) {
        let (intercepts, coefficients) = read_outputs(file)?;
        Rows { intercepts: intercepts.into_iter(), coefficients: coefficients.into_iter(), ..none }
    } else if all().any(|model| matches!(model, ModelHeader::Forest { trees, .. } if *trees > 0)) {
        Rows { trees: trees::read(file, version)?.into_iter(), ..none }
    } else {
        // A column without rows has no offsets that could be read.
        none
    };
    let fallback = rows.form(header.fallback, header.features)?;
    let models = header.models.into_iter().map(|model| rows.form(model, header.features)).collect::<Result<_>>()?;
    if rows.trees.len() + rows.intercepts.len() + rows.coefficients.len() > 0 {
        return Err(file::broken("its columns have rows of no model"));
    }
    Segmented::new(header.features, header.keys, models, fallback)
}

/// The rows that belong to models which were not read yet.
struct Rows {
    intercepts: std::vec::IntoIter<f64>,
    coefficients: std::vec::IntoIter<Vec<f64>>,
    trees: std::vec::IntoIter<Tree>,
}

impl Rows {
    fn form(&mut self, header: ModelHeader, features: usize) -> Result<Form> {
        let missing = || file::broken("its columns lack rows of a model");
        Ok(match header {
            ModelHeader::Constant(scores) => Form::Constant(scores),
            ModelHeader::Linear(outputs) => {
                if outputs > self.intercepts.len().min(self.coefficients.len()) {
                    return Err(missing());
                }
                let coefficients = self.coefficients.by_ref().take(outputs).collect();
                Form::Linear(Linear { coefficients, intercepts: self.intercepts.by_ref().take(outputs).collect() })
            }
            ModelHeader::Forest { aggregation, base, trees } => {
                if trees > self.trees.len() {
                    return Err(missing());
                }
                let aggregation = match aggregation {
                    Joined::Average => Aggregation::Average,
                    Joined::Sum => Aggregation::Sum,
                    Joined::Minimum => Aggregation::Minimum,
                    Joined::Maximum => Aggregation::Maximum,
                };
                Form::Forest(Forest::new(features, base, aggregation, self.trees.by_ref().take(trees).collect())?)
            }
        })
    }
}
