//! Rows for golden predictions of an imported model: of the rows at hand, or made of the model itself.

use crate::error::{Error, Result};
use crate::features::{ColumnKind, Encoder, FittedColumn};
use crate::forest::Rule;
use crate::models::{Form, Predictor};
use crate::registry::golden::GOLDEN_ROWS;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use std::sync::Arc;

/// How many rows are looked at for some that can be golden.
const LOOKED_AT: usize = 1024;

/// A few rows for which the model gives finite predictions.
///
/// # Errors
/// Check: no such row, or rows that do not fit the model.
pub fn rows(encoder: &Encoder, predictor: &Predictor, given: &[RecordBatch]) -> Result<RecordBatch> {
    let rows = match given.iter().find(|batch| batch.num_rows() > 0) {
        Some(first) => selected(encoder, &first.slice(0, first.num_rows().min(LOOKED_AT)))?,
        None => made(encoder, predictor)?,
    };
    let encoded = encoder.apply(&rows)?;
    let outputs = predictor.predict(&encoded.block);
    let finite = |row: &usize| {
        let outputs = &outputs[row * predictor.outputs()..(row + 1) * predictor.outputs()];
        // A golden row is kept as JSON, which knows no infinity.
        outputs.iter().all(|output| output.is_finite()) && !infinite(&rows, *row)
    };
    let kept: Vec<u32> = (0..rows.num_rows()).filter(finite).take(GOLDEN_ROWS).map(|row| row as u32).collect();
    if kept.is_empty() {
        return Err(Error::check("the model gives no finite prediction for any row that was tried")
            .hint("give rows that it can score, with --check"));
    }
    take_record_batch(&rows, &UInt32Array::from(kept)).map_err(unbuildable)
}

/// The model's columns alone.
fn selected(encoder: &Encoder, batch: &RecordBatch) -> Result<RecordBatch> {
    encoder.signature().check(batch.schema_ref())?;
    let names = encoder.signature().columns.iter().map(|column| column.name.as_str());
    let columns = names.filter_map(|name| Some((name, batch.column_by_name(name)?.clone(), true)));
    RecordBatch::try_from_iter_with_nullable(columns).map_err(unbuildable)
}

fn infinite(rows: &RecordBatch, row: usize) -> bool {
    rows.columns().iter().filter(|column| column.data_type().is_floating()).any(|column| {
        let value = cast(&column.slice(row, 1), &DataType::Float64);
        value.is_ok_and(|value| value.as_primitive::<Float64Type>().value(0).is_infinite())
    })
}

/// Rows on the model's own thresholds, where a comparison that is wrong shows.
fn made(encoder: &Encoder, predictor: &Predictor) -> Result<RecordBatch> {
    let thresholds = thresholds(predictor);
    let columns = encoder.signature().columns.iter().zip(encoder.columns()).enumerate();
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (feature, (column, fitted)) in columns {
        let own = thresholds.get(feature).map_or(&[][..], Vec::as_slice);
        let rows = 0..GOLDEN_ROWS;
        let array: ArrayRef = match (column.kind, fitted) {
            (ColumnKind::Category, FittedColumn::Codes { levels, .. }) => {
                let names = levels.names();
                let of = |row: usize| (row > 0).then(|| names[(row + feature) % names.len()].as_str());
                Arc::new(StringArray::from_iter(rows.map(of)))
            }
            _ => Arc::new(Float64Array::from_iter(rows.map(|row| (row > 0).then(|| value(own, row, feature))))),
        };
        fields.push(Field::new(&column.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let first = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(unbuildable)?;
    // A row without any missing value comes first: not every model takes one.
    let schema = first.schema();
    let rest = first.slice(1, first.num_rows() - 1);
    concat_batches(&schema, &[rest, first.slice(0, 1)]).map_err(unbuildable)
}

fn value(thresholds: &[f64], row: usize, feature: usize) -> f64 {
    match thresholds.len() {
        0 => ((row * 5 + feature * 3) % 7) as f64 - 3.0,
        count => thresholds[(row * count / GOLDEN_ROWS + feature * 7) % count],
    }
}

/// The finite thresholds of each feature, ascending; none where steps stand between features and trees.
fn thresholds(predictor: &Predictor) -> Vec<Vec<f64>> {
    let (Form::Forest(forest), None) = (predictor.form(), predictor.preparation()) else { return Vec::new() };
    let mut thresholds = vec![Vec::new(); forest.features()];
    for node in forest.trees().iter().flat_map(|tree| tree.nodes()) {
        if let Rule::Threshold { value, .. } = node.rule
            && value.is_finite()
        {
            thresholds[node.feature as usize].push(value);
        }
    }
    for own in &mut thresholds {
        own.sort_unstable_by(f64::total_cmp);
        own.dedup();
    }
    thresholds
}

fn unbuildable(source: arrow::error::ArrowError) -> Error {
    Error::failed("could not build the golden rows").because(source)
}
