//! Peak memory of training by gradient boosting on 2 million and 20 million rows of 30 features.
//!
//! What is measured: the largest resident set of the whole `lakemill train --memory 2GiB` process, as its
//! receipt tells it; mapped files that are in memory count. How to read it: the second must stay below
//! 2 GiB. Rows stream from the query into one byte a value in a mapped file; in memory are a few numbers a row
//! (ARCHITECTURE.md lists them).
//!
//! `cargo bench --bench training_memory` makes and removes about 8 GB in the temporary folder;
//! `cargo bench --bench training_memory -- 2000000` trains on so many rows alone.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use common::{mib, receipt};
use parquet::arrow::ArrowWriter;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Beside 2 categories.
const NUMBERS: u64 = 28;
const FILE_ROWS: u64 = 1_000_000;
const BATCH_ROWS: u64 = 8192;
const LIMIT_MIB: f64 = 2048.0;

const JOB: &str = r#"
version = 1
name = "memory"
home = "home"
[tables]
records = { path = "lake/rows" }
[features]
sql = "sql/memory.sql"
key = ["id"]
time = "at"
label = "y"
[model]
task = "binary"
algorithm = "gradient_boosting"
window = "19d"
split = { by = "time", test = "1d" }
[model.params]
trees = 10
leaves = 31
[evaluate]
metrics = ["roc_auc"]
resamples = 20
"#;

/// The finaliser of SplitMix64: any number of any row, without a state.
fn random(row: u64, column: u64) -> f64 {
    let mut number = (row * (NUMBERS + 8) + column).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((number ^ (number >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn batch(first: u64, count: u64, rows: u64) -> RecordBatch {
    let numbers = || first..first + count;
    // 20 days, in the order of time.
    let micros = |row: u64| (u128::from(row) * 20 * 86_400_000_000 / u128::from(rows)) as i64;
    let score = |row: u64| random(row, 0) + random(row, 1) * random(row, 2) + 0.3 * random(row, NUMBERS + 3);
    let mut columns: Vec<(String, ArrayRef)> = vec![
        ("id".to_owned(), Arc::new(Int64Array::from_iter_values(numbers().map(|row| row as i64)))),
        ("at".to_owned(), Arc::new(TimestampMicrosecondArray::from_iter_values(numbers().map(micros)))),
        ("y".to_owned(), Arc::new(Int64Array::from_iter_values(numbers().map(|row| i64::from(score(row) > 1.1))))),
    ];
    for column in 0..NUMBERS {
        let value = |row: u64| (random(row, column) > 0.02 * (column % 3) as f64).then(|| random(row, column) as f32);
        columns.push((format!("x{column}"), Arc::new(Float32Array::from_iter(numbers().map(value)))));
    }
    for (name, levels) in [("few", 5.0), ("many", 400.0)] {
        let level = |row: u64| format!("{name} {}", (random(row, NUMBERS + levels as u64 % 7) * levels) as u32);
        columns.push((name.to_owned(), Arc::new(StringArray::from_iter_values(numbers().map(level)))));
    }
    RecordBatch::try_from_iter(columns).unwrap()
}

fn write_lake(folder: &Path, rows: u64) {
    std::fs::create_dir_all(folder).unwrap();
    for start in (0..rows).step_by(FILE_ROWS as usize) {
        let file = File::create(folder.join(format!("part-{:04}.parquet", start / FILE_ROWS))).unwrap();
        let end = rows.min(start + FILE_ROWS);
        let mut writer = ArrowWriter::try_new(file, batch(start, 1, rows).schema(), None).unwrap();
        for first in (start..end).step_by(BATCH_ROWS as usize) {
            writer.write(&batch(first, BATCH_ROWS.min(end - first), rows)).unwrap();
        }
        writer.close().unwrap();
    }
}

fn peak(rows: u64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_lake(&root.join("lake/rows"), rows);
    let sql = "SELECT * FROM records WHERE at >= $interval_start AND at < $interval_end";
    common::write(root, &[("sql/memory.sql", sql), ("jobs/memory.toml", JOB)]);
    let receipt = receipt(root, "2GiB", &["train", "jobs/memory.toml", "--interval", "1970-01-20"]);
    let mib = mib(receipt["peak_rss_bytes"].as_u64().unwrap());
    println!(
        "{:>12} rows in, {} to train on: peak {mib:.0} MiB, seconds {}",
        receipt["rows_in"], receipt["data"]["train_rows"], receipt["seconds"]
    );
    println!("             {}", receipt["metrics"][0]["estimate"]);
    mib
}

fn main() {
    if let Some(rows) = std::env::args().skip(1).find_map(|argument| argument.parse().ok()) {
        peak(rows);
        return;
    }
    peak(2_000_000);
    let large = peak(20_000_000);
    assert!(large < LIMIT_MIB, "a training on 20 M rows takes more than 2 GiB");
}
