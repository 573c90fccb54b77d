//! Two thousand models in one command: `lakemill train` and `score` with `segment_by`, and a loop over LightGBM or
//! scikit-learn fits in Python (`segments_peer.py`), whole process against whole process.
//!
//! What is measured: wall and CPU seconds from start to exit of fitting a model for each of 2,000 segments of 500 rows
//! and 10 features (100 trees of 31 leaves; logistic regression), measuring them on 20 later rows each, and of scoring
//! the 1,000,000 rows in one pass; the peak memory of both, beside what was predicted. The best of three runs, and one of
//! the loop, since it takes minutes. How to read it: `x` is how many times as long the loop takes.
//!
//! `LAKEMILL_PEER_PYTHON=/path/to/venv/bin/python cargo bench --bench segments`, on an otherwise idle machine; the
//! environment needs polars, numpy, lightgbm and scikit-learn. `LAKEMILL_BENCH_SEGMENTS` is another number of segments.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::{Run, best, receipt_of, time};
use parquet::arrow::ArrowWriter;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const TRAIN: usize = 500;
const TEST: usize = 20;
const FEATURES: usize = 10;
const DAY: i64 = 86_400_000_000;

const JOB: &str = r#"
version = 1
name = "regions"
home = "home"
[tables]
samples = { path = "rows.parquet" }
[features]
sql = "rows.sql"
key = ["id"]
time = "at"
label = "y"
exclude = ["day"]
[model]
task = "binary"
algorithm = "gradient_boosting"
segment_by = "region"
window = "1d"
split = { by = "time", test = "1d" }
"#;

const SQL: &str = "SELECT * FROM samples WHERE at >= $interval_start AND at < $interval_end";

fn main() {
    let segments = std::env::var("LAKEMILL_BENCH_SEGMENTS").map_or(2000, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_rows(&root.join("rows.parquet"), segments);
    std::fs::write(root.join("rows.sql"), SQL).unwrap();
    let python = std::env::var("LAKEMILL_PEER_PYTHON").ok();
    if python.is_none() {
        println!("the peers are skipped: LAKEMILL_PEER_PYTHON is not set");
    }
    for (algorithm, peer) in [("gradient_boosting", "lightgbm"), ("logistic_regression", "logistic")] {
        std::fs::write(root.join("job.toml"), JOB.replace("gradient_boosting", algorithm)).unwrap();
        // What was done in a home is not done again: each run has its own.
        let ours = |command: &str, interval: &str| {
            best((0..3).map(|run| {
                let home = format!("home={}", root.join(format!("{algorithm}-{run}")).display());
                let arguments = [command, "job.toml", "--interval", interval, "--set", &home, "--output", "json"];
                time(&mut common::lakemill(root, &arguments))
            }))
        };
        let theirs = |command: &str| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/segments_peer.py");
            let python = python.as_ref()?;
            let arguments = [root.join("rows.parquet"), root.join(peer)];
            Some(time(Command::new(python).arg(script).args(arguments).args([command, peer])))
        };
        let trained = ours("train", "2024-01-02");
        let receipt = receipt_of(&trained);
        let auc = receipt["metrics"].as_array().unwrap().iter().find(|own| own["metric"] == "roc_auc").unwrap();
        let models = &receipt["data"]["segments"]["models"];
        println!("{algorithm}: {models} models, auc={:.4}", auc["estimate"]["value"].as_f64().unwrap());
        println!("  seconds of the steps: {}", receipt["seconds"]);
        compare("train", &trained, theirs("train"));
        println!("  trained, {}", memory(&receipt));
        let scored = ours("score", "2024-01-01");
        let receipt = receipt_of(&scored);
        compare("score", &scored, theirs("score"));
        println!("  {} rows scored in one pass, {}", receipt["rows_out"], memory(&receipt));
    }
}

/// The largest memory of a run, and what was predicted.
fn memory(receipt: &Value) -> String {
    let mib = |value: &Value| value["memory_bytes"].as_f64().unwrap() / f64::from(1 << 20);
    format!("peak {:.0} MiB, predicted {:.0} MiB", mib(&receipt["actual"]), mib(&receipt["predicted"]))
}

fn compare(what: &str, ours: &Run, theirs: Option<Run>) {
    println!("  {what:6} lakemill {}", ours.told());
    let Some(theirs) = theirs else { return };
    println!("  {what:6} loop     {}  {}", theirs.told(), theirs.text.trim());
    println!("  {what:6} {}", ours.compared(&theirs));
}

/// Rows of all segments in turn, as they come in; each segment has a weight of its own for each feature.
fn write_rows(file: &Path, segments: usize) {
    let mut stream = ChaCha8Rng::seed_from_u64(7);
    let mut unit = move || (f64::from(stream.next_u32()) + 0.5) / 2f64.powi(32);
    let mut normal = move || (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
    let weights: Vec<f64> = (0..segments * FEATURES).map(|_| normal()).collect();
    let mut writer = None;
    for turn in 0..TRAIN + TEST {
        let day = i64::from(turn >= TRAIN);
        let columns: Vec<Vec<f64>> = (0..FEATURES).map(|_| (0..segments).map(|_| normal()).collect()).collect();
        let label = |segment: usize| {
            let x = |feature: usize| columns[feature][segment];
            let linear: f64 = (0..FEATURES).map(|feature| x(feature) * weights[segment * FEATURES + feature]).sum();
            linear + x(0) * x(1) * weights[segment * FEATURES]
        };
        let labels: Vec<i64> = (0..segments).map(|segment| i64::from(label(segment) + 1.5 * normal() > 0.0)).collect();
        let first = (turn * segments) as i64;
        let names = (0..segments).map(|segment| format!("region {}", segment * 7919 % segments));
        let at = 1_704_067_200_000_000 + day * DAY + turn as i64;
        let mut all: Vec<(String, ArrayRef)> = vec![
            ("id".to_owned(), Arc::new(Int64Array::from_iter_values(first..first + segments as i64))),
            ("at".to_owned(), Arc::new(TimestampMicrosecondArray::from_value(at, segments))),
            ("region".to_owned(), Arc::new(StringArray::from_iter_values(names))),
            ("day".to_owned(), Arc::new(Int64Array::from_value(day, segments))),
        ];
        for (feature, column) in columns.iter().enumerate() {
            all.push((format!("f{feature}"), Arc::new(Float64Array::from(column.clone()))));
        }
        all.push(("y".to_owned(), Arc::new(Int64Array::from(labels))));
        let batch = RecordBatch::try_from_iter(all).unwrap();
        let writer = writer
            .get_or_insert_with(|| ArrowWriter::try_new(File::create(file).unwrap(), batch.schema(), None).unwrap());
        writer.write(&batch).unwrap();
    }
    writer.unwrap().close().unwrap();
}
