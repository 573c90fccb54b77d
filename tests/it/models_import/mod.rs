//! Models of other libraries: the conformance cases, models made here, damaged files, and the command.

mod command;
mod conformance;
mod damaged;
mod lightgbm;
mod made;
mod onnx;
mod xgboost;

use lakemill::error::Error;
use lakemill::features::FeatureBlock;
use lakemill::models::Predictor;
use lakemill::models::import::{self, ImportOptions, Imported};

/// The model in the bytes, as somebody who names no features imports it.
fn read(bytes: &[u8]) -> Result<Imported, Error> {
    import::read(bytes, &ImportOptions::default())
}

/// What the error says when a model is not read.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let error = read(bytes).and_then(|model| model.predictor(None)).unwrap_err();
    format!("{error}{}", error.hint_text().unwrap_or_default())
}

/// Rows as a block.
fn block(rows: &[Vec<f64>]) -> FeatureBlock {
    let width = rows.first().map_or(0, Vec::len);
    let columns: Vec<Vec<f64>> = (0..width).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
    FeatureBlock::from_columns(rows.len(), &columns)
}

/// Predictions row by row.
fn predictions(predictor: &Predictor, rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let outputs = predictor.predict(&block(rows));
    outputs.chunks(predictor.outputs()).map(<[f64]>::to_vec).collect()
}

/// The predictions of a model for one row.
#[track_caller]
fn one(bytes: &[u8], row: &[f64]) -> Vec<f64> {
    let predictor = read(bytes).unwrap().predictor(None).unwrap();
    // What a payload keeps is what was read.
    assert_eq!(Predictor::from_payload(&predictor.to_payload().unwrap()).unwrap(), predictor);
    predictions(&predictor, &[row.to_vec()]).remove(0)
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, place: &str) {
    let same = found == expected || (found.is_nan() && expected.is_nan());
    let off = (found - expected).abs() / expected.abs().max(1.0);
    assert!(same || off <= tolerance, "{place}: found {found}, expected {expected}");
}

const NAN: f64 = f64::NAN;
