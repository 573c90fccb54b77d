//! The limit on the whole process, as the system counts it.

use crate::bad_inputs::call;
use crate::bad_inputs::place::Place;
use crate::command::{Outcome, run};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

#[test]
fn a_limit_that_is_too_small_says_what_is_enough() {
    for limit in ["1KiB", "100MiB"] {
        let outcome = run(&["query", "SELECT 1", "--table", "t=nowhere", "--memory", limit]).expect(2);
        assert!(outcome.stderr.contains("a limit for the whole process"), "{}", outcome.stderr);
        let hint = outcome.stderr.lines().find_map(|line| line.split_once("give at least ")).unwrap().1;
        let enough: u64 = hint.trim_end_matches("MiB").parse().unwrap();
        assert!((200..=400).contains(&enough), "{hint}");
    }
}

#[test]
fn a_plan_predicts_and_the_receipt_tells_both() {
    let place = Place::new();
    let args = ["job.toml", "--interval", "2018-06-11", "--memory", "512MiB", "--output", "json"];
    let plan = call(&place, &[&["plan"][..], &args].concat()).expect(0).json();
    let receipt = call(&place, &[&["score"][..], &args].concat()).expect(0).json();
    assert_eq!(plan["predicted"], receipt["predicted"]);
    assert_eq!(plan["memory_limit_bytes"], 512 * MIB);
    assert_eq!(receipt["actual"]["rows"], receipt["rows_in"]);
    assert_eq!(receipt["actual"]["memory_bytes"], receipt["peak_rss_bytes"]);
    for (field, factor) in [("rows", 1.05), ("bytes", 1.5), ("memory_bytes", 2.0)] {
        let (predicted, actual) = (&receipt["predicted"][field], &receipt["actual"][field]);
        let ratio = predicted.as_f64().unwrap() / actual.as_f64().unwrap();
        assert!((1.0 / factor..=factor).contains(&ratio), "{field}: {predicted} predicted, {actual} actual");
    }
    let text = call(&place, &["plan", "job.toml", "--interval", "2018-06-12", "--memory", "512MiB"]).expect(0).stdout;
    assert!(text.contains("scoring takes") && text.contains("the limit is 512.0 MiB"), "{text}");
    let shown = receipt["run_id"].as_str().unwrap();
    let shown = call(&place, &["runs", "show", shown, "--home", "home"]).expect(0).stdout;
    assert!(shown.contains("(predicted "), "{shown}");
    // A training has to come first: it is predicted too.
    let first = call(&place, &[&["plan"][..], &args, &["--set", "home=other"]].concat()).expect(0).json();
    assert!(first["training_predicted"]["rows"].as_u64().unwrap() > receipt["rows_in"].as_u64().unwrap(), "{first}");
}

/// Wide rows: ten texts of a hundred letters each, one second apart from 2018-06-01 on.
fn wide(place: &Place, rows: i64) {
    let start = 1_527_811_200_000_000_i64;
    let batch = |ids: std::ops::Range<i64>| {
        let text = |column: i64| {
            let texts = ids.clone().map(|id| format!("{:0>100}", id * 7919 % 1_000_003 + column * 10_000_000));
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let ascending = Arc::new(Int64Array::from_iter_values(ids.clone())) as ArrayRef;
        let times = TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| start + id * 1_000_000));
        let labels = Int64Array::from_iter_values(ids.clone().map(|id| i64::from(id % 5 == 0 || id % 7 == 0)));
        let fixed = [
            ("id".to_owned(), ascending),
            ("at".to_owned(), Arc::new(times.with_timezone("UTC")) as ArrayRef),
            ("label".to_owned(), Arc::new(labels) as ArrayRef),
        ];
        RecordBatch::try_from_iter(fixed.into_iter().chain((0..10).map(|column| (format!("t{column}"), text(column)))))
    };
    let path = place.path().join("wide");
    std::fs::create_dir_all(&path).unwrap();
    let schema = batch(0..1).unwrap().schema();
    let mut writer = ArrowWriter::try_new(File::create(path.join("wide.parquet")).unwrap(), schema, None).unwrap();
    for first in (0..rows).step_by(8192) {
        writer.write(&batch(first..(first + 8192).min(rows)).unwrap()).unwrap();
        if first % (8192 * 4) == 0 {
            writer.flush().unwrap();
        }
    }
    writer.close().unwrap();
}

const JOB: &str = r#"version = 1
name = "wide"
home = "home"
[tables]
wide = { path = "wide" }
[features]
sql = "wide.sql"
key = ["id"]
time = "at"
label = "label"
exclude = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "u"]
[model]
task = "binary"
algorithm = "logistic_regression"
window = "1h"
split = { by = "time", test = "1h" }
[score]
passthrough = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "u"]
[lookup]
store = "file"
key = "id"
value = ["score"]
"#;

/// A join of the table with itself, whose collected side does not fit, and a window over all.
const SQL: &str = "SELECT w.*, o.t9 AS u, w.id % 5 AS five, w.id % 7 AS seven,
  count(*) OVER (PARTITION BY w.id % 100 ORDER BY w.id ROWS 10 PRECEDING) AS n
FROM wide w LEFT JOIN wide o ON o.id = w.id + 1
WHERE w.at >= $interval_start AND w.at < $interval_end
";

fn score(place: &Place, home: &str, memory: &str) -> Outcome {
    let set = format!("home={home}");
    let interval = "2018-06-01T02:00:00Z/2018-06-03T00:00:00Z";
    call(place, &["score", "job.toml", "--interval", interval, "--set", &set, "--memory", memory, "--output", "json"])
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn rows_beyond_the_limit_are_scored_within_it_to_the_same_bytes() {
    let place = Place::new();
    let rows = 120_000;
    wide(&place, rows);
    place.write("job.toml", JOB);
    place.write("wide.sql", SQL);
    place.remove("home");
    call(&place, &["train", "job.toml", "--interval", "2018-06-01T00:00:00Z/2018-06-01T02:00:00Z"]).expect(0);
    copy(&place.path().join("home"), &place.path().join("roomy"));
    let little = score(&place, "home", "512MiB").expect(0).json();
    let much = score(&place, "roomy", "4GiB").expect(0).json();
    assert_eq!(little["rows_out"], rows - 7200);
    assert_eq!(little["output"]["sha256"], much["output"]["sha256"]);
    let peak = |receipt: &Value| receipt["peak_rss_bytes"].as_u64().unwrap() / MIB;
    println!("{} MiB within 512 MiB, {} MiB within 4 GiB", peak(&little), peak(&much));
    // The table is 120 MiB of text, twice in the result of the join.
    assert!(peak(&little) <= 520, "{} MiB", peak(&little));
    assert!(peak(&much) > peak(&little) + 50, "the limit was none: {} and {} MiB", peak(&much), peak(&little));
}

#[test]
fn a_process_that_holds_too_much_ends_with_a_word() {
    let place = Place::new();
    // All rows of a table for people are in memory.
    let sql = "SELECT transaction_id, repeat('x', 30000) AS text FROM t";
    let outcome = call(&place, &["query", sql, "--table", "t=lake/transactions", "--memory", "256MiB"]).expect(8);
    assert!(outcome.stderr.contains("the process holds more memory than it may"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("--memory = 256MiB"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "");
    // Row by row they are not.
    let file = "SELECT transaction_id, repeat('x', 300) AS text FROM t";
    call(&place, &["query", file, "--table", "t=lake/transactions", "--memory", "256MiB", "--out", "t.csv"]).expect(0);
}
