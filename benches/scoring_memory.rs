//! Peak memory of scoring, for one million and ten million rows of a demo lake; and of fifty million within 1 GiB.
//!
//! What is measured: the largest resident set of the whole `lakemill score` process, as its receipt
//! tells it, for one interval that is the whole lake. How to read it: the ratio must stay near 1;
//! scoring is a bounded pipeline, and the lookup table is sorted out of core in a budget of its own.
//!
//! `cargo bench --bench scoring_memory`; takes about a minute and 500 MB of disk.
//!
//! `LAKEMILL_BENCH_ROWS=50000000 cargo bench --bench scoring_memory` makes a lake of so many rows instead and scores
//! within `--memory 1GiB` (`LAKEMILL_BENCH_MEMORY`): all of its rows by the plain job of this file, and its last day by
//! the shipped job, whose windows sort 38 days of it. The peak of both must stay below five quarters of the limit.
//! Takes about five minutes and 10 GB of disk, most of it for the lookup table and for what is spilled.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use common::{mib, receipt};
use std::process::Command;

const SQL: &str = "
SELECT transaction_id, tx_datetime, customer_id, tx_fraud, tx_amount,
  extract(hour FROM tx_datetime) AS hour, extract(isodow FROM tx_datetime) AS weekday, terminal_id % 100 AS terminal_group
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
";

const JOB: &str = r#"
version = 1
name = "memory"
home = "home"
[tables]
transactions = { path = "lake/transactions" }
[features]
sql = "sql/memory.sql"
key = ["transaction_id"]
time = "tx_datetime"
label = "tx_fraud"
[model]
task = "binary"
algorithm = "logistic_regression"
window = "3d"
split = { by = "time", test = "1d" }
[score]
passthrough = ["customer_id"]
[lookup]
store = "file"
key = "transaction_id"
value = ["score", "prediction"]
"#;

/// The job as it is shipped.
const SHIPPED: [(&str, &str); 2] = [
    ("sql/card_fraud.sql", include_str!("../sql/card_fraud.sql")),
    ("jobs/card_fraud.toml", include_str!("../jobs/card_fraud.toml")),
];

/// A folder with a lake and the jobs.
fn lake(rows: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    common::write(folder.path(), &[("sql/memory.sql", SQL), ("jobs/memory.toml", JOB)]);
    common::write(folder.path(), &SHIPPED);
    receipt(folder.path(), "1GiB", &["demo", "--rows", rows, "--dir", ".", "--lake-only"]);
    folder
}

/// Tells what a scoring took; gives its rows and its peak in MiB.
fn told(receipt: &serde_json::Value) -> (u64, f64) {
    let mib = |bytes: &serde_json::Value| mib(bytes.as_u64().unwrap());
    let peak = mib(&receipt["peak_rss_bytes"]);
    println!(
        "{:>12} rows scored, {} keys published: peak {peak:.0} MiB ({:.0} predicted), {} s",
        receipt["rows_out"],
        receipt["lookup"]["keys"],
        mib(&receipt["predicted"]["memory_bytes"]),
        receipt["seconds"]["total"]
    );
    (receipt["rows_out"].as_u64().unwrap(), peak)
}

const ALL: &str = "2018-04-01/2018-07-01";

fn peak(rows: &str) -> (u64, f64) {
    let folder = lake(rows);
    let root = folder.path();
    receipt(root, "256MiB", &["train", "jobs/memory.toml", "--interval", "2018-06-30"]);
    told(&receipt(root, "256MiB", &["score", "jobs/memory.toml", "--interval", ALL]))
}

/// So many rows within a limit.
fn within(rows: &str, memory: &str) {
    let small = lake("350000");
    let large = lake(rows);
    let paths = ["--set", "tables.transactions.path=lake/transactions", "--set", "home=home"];
    for (job, interval) in [("jobs/memory.toml", ALL), ("jobs/card_fraud.toml", "2018-06-30")] {
        // The model is of a small lake: what is measured is the scoring.
        receipt(small.path(), "1GiB", &[&["train", job, "--interval", "2018-06-30"][..], &paths].concat());
        let copied =
            Command::new("cp").arg("-r").args([small.path().join("home"), large.path().to_path_buf()]).status();
        assert!(copied.unwrap().success());
        let (_, peak) =
            told(&receipt(large.path(), memory, &[&["score", job, "--interval", interval][..], &paths].concat()));
        let limit = limit_mib(memory);
        assert!(peak < limit * 1.25, "{peak:.0} MiB within {limit} MiB");
    }
}

fn limit_mib(memory: &str) -> f64 {
    let (number, factor) = match memory.strip_suffix("GiB") {
        Some(number) => (number, 1024.0),
        None => (memory.trim_end_matches("MiB"), 1.0),
    };
    number.parse::<f64>().unwrap() * factor
}

fn main() {
    if let Ok(rows) = std::env::var("LAKEMILL_BENCH_ROWS") {
        let memory = std::env::var("LAKEMILL_BENCH_MEMORY").unwrap_or_else(|_| "1GiB".to_owned());
        return within(&rows, &memory);
    }
    let (few, small) = peak("1000000");
    let (many, large) = peak("10000000");
    println!("{:.1} times the rows, {:.2} times the memory", many as f64 / few as f64, large / small);
    assert!(large / small < 1.25, "memory grows with the rows");
}
