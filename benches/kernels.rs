//! The three loops that every scored row goes through: encoding, a linear model, a forest.
//!
//! What is measured: one batch of 8,192 rows x 28 features on one thread. How to read it: `thrpt` is
//! rows a second; the forest has 100 trees of depth 8 fitted on 20,000 rows.
//!
//! `cargo bench --bench kernels`

#![allow(clippy::expect_used, clippy::unwrap_used, missing_docs)]

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lakemill::features::{Encoder, EncoderOptions, FeatureBlock, Signature};
use lakemill::models::{Params, Predictor, TrainingSet, lookup};
use lakemill::task::Task;
use std::hint::black_box;
use std::sync::Arc;

const ROWS: usize = 8_192;
const FEATURES: usize = 28;

/// Numbers that look random and are the same each time.
fn number(row: usize, feature: usize) -> f64 {
    let mixed = (row as u64 * 0x9e37_79b9_7f4a_7c15) ^ (feature as u64 * 0xbf58_476d_1ce4_e5b9);
    (mixed.wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f64 / f64::from(1 << 24)
}

fn block(rows: usize) -> FeatureBlock {
    let columns: Vec<Vec<f64>> =
        (0..FEATURES).map(|feature| (0..rows).map(|row| number(row, feature)).collect()).collect();
    FeatureBlock::from_columns(rows, &columns)
}

fn fitted(algorithm: &str, params: &str) -> Predictor {
    let features = block(20_000);
    let labels: Vec<f64> =
        (0..features.rows()).map(|row| f64::from(number(row, 0) + number(row, 1) * number(row, 2) > 0.8)).collect();
    let weights = vec![1.0; labels.len()];
    let training =
        TrainingSet { features: &features, labels: &labels, weights: &weights, task: Task::Binary, classes: 2 };
    let params: Params = serde_json::from_str(params).unwrap();
    lookup(algorithm).unwrap().fit(&training, &params, 7).unwrap()
}

fn predict(c: &mut Criterion) {
    let rows = block(ROWS);
    let mut group = c.benchmark_group("predict");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, params) in [("logistic_regression", "{}"), ("random_forest", r#"{"trees": 100, "max_depth": 8}"#)] {
        let model = fitted(name, params);
        group.bench_function(name, |b| b.iter(|| model.predict(black_box(&rows))));
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut columns: Vec<(String, ArrayRef)> = (0..FEATURES - 4)
        .map(|feature| {
            let values = Float64Array::from_iter_values((0..ROWS).map(|row| number(row, feature)));
            (format!("number_{feature}"), Arc::new(values) as ArrayRef)
        })
        .collect();
    for feature in 0..4 {
        let values = StringArray::from_iter_values(
            (0..ROWS).map(|row| format!("level {}", (number(row, feature) * 12.0) as u32)),
        );
        columns.push((format!("category_{feature}"), Arc::new(values)));
    }
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let signature = Signature::of(&batch.schema(), &[]).unwrap();
    let encoder = Encoder::fit(&signature, std::slice::from_ref(&batch), None, &EncoderOptions::default()).unwrap();
    let mut group = c.benchmark_group("encode");
    group.throughput(Throughput::Elements(ROWS as u64));
    group.bench_function("24 numbers, 4 categories", |b| b.iter(|| encoder.apply(black_box(&batch)).unwrap()));
    group.finish();
}

criterion_group!(kernels, predict, encode);
criterion_main!(kernels);
