//! A predictor as bytes: an Arrow IPC file that any Arrow reader opens.
//!
//! One record batch holds the numbers: a row a tree, or a row an output. The footer's metadata holds
//! the rest as JSON under the key `lakemill`. Equal predictors give equal bytes.
//!
//! Reading trusts nothing: the general Arrow reader panics on some malformed files, so `file` reads
//! the one shape that is written here, with every offset and length checked. Lists are read where they stand, tree by
//! tree, on all threads of the pool that calls; what they become is all that is allocated.
//!
//! Version 2 gave trees comparison, precision, missing rules and category sets; version 3 is that of models with
//! segments, and of those alone. Older versions are still read.

mod file;
mod segments;
mod trees;

use super::{Form, Linear, Link, Predictor, Preparation};
use crate::error::{Error, Result};
use crate::forest::{Aggregation, Forest, Tree};
use crate::task::Task;
use arrow::array::{ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{Field, Float64Type, UInt32Type};
use arrow::error::ArrowError;
use arrow::ipc::writer::FileWriter;
use file::Column;
use rayon::prelude::*;
use segments::SegmentsHeader;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use trees::Trees;

/// The footer's metadata key.
const KEY: &str = "lakemill";
/// Raised when the layout changes; older layouts stay readable.
const VERSION: u32 = 3;
/// The version of predictors without segments.
const WITHOUT_SEGMENTS: u32 = 2;
/// Trees that a thread reads before it looks for more.
const TREES_AT_ONCE: usize = 16;
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
    /// The steps before the form, of an imported pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preparation: Option<Preparation>,
    /// The only linked score that is a prediction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FormHeader {
    Constant,
    Linear,
    Average {
        base: Vec<f64>,
    },
    Sum {
        base: Vec<f64>,
    },
    Minimum {
        base: Vec<f64>,
    },
    Maximum {
        base: Vec<f64>,
    },
    /// Since version 3.
    Segmented(SegmentsHeader),
}

/// Everything of a predictor as it is written.
type Written = (String, &'static [(&'static str, Column)], Vec<ArrayRef>);

/// The predictor as an Arrow IPC file.
pub(super) fn encode(predictor: &Predictor) -> Result<Vec<u8>> {
    let (header, columns, arrays) = written(predictor)?;
    write(&header, columns, arrays).map_err(|reason| unwritten(&reason))
}

/// The same of a predictor that nobody needs any more: it is gone before the file is put together.
pub(super) fn encode_last(predictor: Predictor) -> Result<Vec<u8>> {
    let (header, columns, arrays) = written(&predictor)?;
    drop(predictor);
    write(&header, columns, arrays).map_err(|reason| unwritten(&reason))
}

fn written(predictor: &Predictor) -> Result<Written> {
    let (form, columns, arrays) = match predictor.form() {
        Form::Constant(scores) => {
            let none = vec![Vec::new(); scores.len()];
            (FormHeader::Constant, OUTPUTS, output_arrays(scores, &none)?)
        }
        Form::Linear(linear) => (FormHeader::Linear, OUTPUTS, output_arrays(&linear.intercepts, &linear.coefficients)?),
        Form::Forest(forest) => {
            let base = forest.base().to_vec();
            let form = match forest.aggregation() {
                Aggregation::Average => FormHeader::Average { base },
                Aggregation::Sum => FormHeader::Sum { base },
                Aggregation::Minimum => FormHeader::Minimum { base },
                Aggregation::Maximum => FormHeader::Maximum { base },
            };
            (form, trees::COLUMNS, trees::arrays(&forest.trees().iter().collect::<Vec<&Tree>>())?)
        }
        Form::Segmented(segmented) => {
            let (header, columns, arrays) = segments::encode(segmented)?;
            (FormHeader::Segmented(header), columns, arrays)
        }
    };
    let header = Header {
        version: if matches!(form, FormHeader::Segmented(_)) { VERSION } else { WITHOUT_SEGMENTS },
        task: predictor.task(),
        classes: predictor.classes(),
        features: predictor.features(),
        link: predictor.link(),
        form,
        preparation: predictor.preparation().cloned(),
        chosen: predictor.chosen(),
    };
    let json = serde_json::to_string(&header).map_err(|reason| unwritten(&reason))?;
    Ok((json, columns, arrays))
}

fn unwritten(reason: &dyn std::fmt::Display) -> Error {
    Error::failed(format!("the predictor could not be written: {reason}"))
}

fn write(header: &str, columns: &[(&str, Column)], arrays: Vec<ArrayRef>) -> Result<Vec<u8>, ArrowError> {
    let names = columns.iter().map(|(name, _)| *name);
    let batch = RecordBatch::try_from_iter(names.zip(arrays))?;
    // The file is its buffers and little more.
    let file = Vec::with_capacity(batch.get_array_memory_size() + header.len() + (64 << 10));
    let mut writer = FileWriter::try_new(file, batch.schema_ref())?;
    writer.write_metadata(KEY, header);
    writer.write(&batch)?;
    writer.into_inner()
}

fn output_arrays(intercepts: &[f64], coefficients: &[Vec<f64>]) -> Result<Vec<ArrayRef>> {
    Ok(vec![
        float_lists(intercepts, |_| 1, |intercept, out| out.push(*intercept))?,
        float_lists(coefficients, Vec::len, |own, out| out.extend_from_slice(own))?,
    ])
}

/// A list of numbers for each item; `length` says how many `fill` will append.
fn whole_lists<T>(items: &[T], length: impl Fn(&T) -> usize, fill: impl Fn(&T, &mut Vec<u32>)) -> Result<ArrayRef> {
    lists::<T, UInt32Type>(items, length, fill)
}

/// The same of `f64`.
fn float_lists<T>(items: &[T], length: impl Fn(&T) -> usize, fill: impl Fn(&T, &mut Vec<f64>)) -> Result<ArrayRef> {
    lists::<T, Float64Type>(items, length, fill)
}

fn lists<T, V: ArrowPrimitiveType>(
    items: &[T],
    length: impl Fn(&T) -> usize,
    fill: impl Fn(&T, &mut Vec<V::Native>),
) -> Result<ArrayRef> {
    let mut offsets = Vec::with_capacity(items.len() + 1);
    let mut end = 0;
    offsets.push(0);
    for item in items {
        end += length(item);
        offsets.push(i32::try_from(end).map_err(|_| {
            Error::failed("the model is too large: a column of its payload has more numbers than 32 bits can tell")
                .with("limit", i32::MAX)
        })?);
    }
    let mut values = Vec::with_capacity(end);
    items.iter().for_each(|item| fill(item, &mut values));
    let field = Arc::new(Field::new_list_field(V::DATA_TYPE, true));
    let values = Arc::new(PrimitiveArray::<V>::new(values.into(), None));
    let lists = ListArray::try_new(field, OffsetBuffer::new(offsets.into()), values, None);
    Ok(Arc::new(lists.map_err(|reason| unwritten(&reason))?))
}

/// What `make` gives for each number below `count`, or the first error in that order. A thread of a pool shares the
/// work with the others, `grain` numbers at a time; any other thread does it alone, so that no second pool comes up.
fn in_order<T: Send>(count: usize, grain: usize, make: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let part = |range: Range<usize>| -> Result<Vec<T>> {
        let mut own = Vec::with_capacity(range.len());
        for index in range {
            own.push(make(index)?);
        }
        Ok(own)
    };
    if count <= grain || rayon::current_thread_index().is_none() {
        return part(0..count);
    }
    let starts = (0..count).into_par_iter().step_by(grain);
    let parts: Vec<Result<Vec<T>>> = starts.map(|start| part(start..count.min(start + grain))).collect();
    let mut all = Vec::with_capacity(count);
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

/// The predictor in the bytes of an Arrow IPC file, checked from the first offset to the last leaf.
pub(super) fn decode(bytes: &[u8]) -> Result<Predictor> {
    let file = file::open(bytes)?;
    let text = file.metadata(KEY)?;
    let broken = |reason: serde_json::Error| file::broken("its header cannot be read").because(reason);
    let version: VersionOnly = serde_json::from_str(text).map_err(broken)?;
    let version = version.version;
    if !(1..=VERSION).contains(&version) {
        return Err(file::broken("it has a version that this binary does not know")
            .with("version", version)
            .hint("use a newer lakemill, or train the model again"));
    }
    let header: Header = serde_json::from_str(text).map_err(broken)?;
    // The form sees what the preparation makes of the features.
    let inputs = header.preparation.as_ref().map_or(header.features, Preparation::inputs);
    let form = match header.form {
        FormHeader::Constant => Form::Constant(read_outputs(&file)?.0),
        FormHeader::Linear => {
            let (intercepts, coefficients) = read_outputs(&file)?;
            Form::Linear(Linear { coefficients, intercepts })
        }
        FormHeader::Average { base } => read_forest(&file, version, inputs, base, Aggregation::Average)?,
        FormHeader::Sum { base } => read_forest(&file, version, inputs, base, Aggregation::Sum)?,
        FormHeader::Minimum { base } => read_forest(&file, version, inputs, base, Aggregation::Minimum)?,
        FormHeader::Maximum { base } => read_forest(&file, version, inputs, base, Aggregation::Maximum)?,
        FormHeader::Segmented(_) if version <= WITHOUT_SEGMENTS => {
            return Err(file::broken("its version has no segments"));
        }
        FormHeader::Segmented(models) => Form::Segmented(segments::decode(&file, version, models)?),
    };
    let (task, classes, link) = (header.task, header.classes, header.link);
    let predictor = match header.chosen {
        Some(chosen) => Predictor::choosing(task, classes, inputs, form, link, chosen)?,
        None => Predictor::new(task, classes, inputs, form, link)?,
    };
    let predictor = match header.preparation {
        Some(preparation) => predictor.behind(preparation)?,
        None => predictor,
    };
    if predictor.features() == header.features {
        return Ok(predictor);
    }
    Err(file::broken("its preparation takes another number of features"))
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn read_outputs(file: &file::File<'_>) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let mut columns = file.columns(OUTPUTS)?;
    let (intercepts, coefficients) = (columns.f64_lists()?, columns.f64_lists()?);
    let list = |list: &[[u8; 8]]| -> Vec<f64> { list.iter().map(|value| f64::from_le_bytes(*value)).collect() };
    let intercepts = (0..intercepts.len()).flat_map(|row| list(intercepts.get(row))).collect();
    Ok((intercepts, (0..coefficients.len()).map(|row| list(coefficients.get(row))).collect()))
}

fn read_forest(
    file: &file::File<'_>,
    version: u32,
    features: usize,
    base: Vec<f64>,
    aggregation: Aggregation,
) -> Result<Form> {
    let trees = Trees::open(file, version)?;
    let trees = in_order(trees.len(), TREES_AT_ONCE, |index| trees.tree(index))?;
    Ok(Form::Forest(Forest::new(features, base, aggregation, trees)?))
}
