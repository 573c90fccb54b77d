//! Peak memory of scoring, for one million and ten million rows of a demo lake.
//!
//! What is measured: the largest resident set of the whole `lakemill score` process, as its receipt
//! tells it, for one interval that is the whole lake. How to read it: the ratio must stay near 1;
//! scoring is a bounded pipeline, and the lookup table is sorted out of core in a budget of its own.
//!
//! `cargo bench --bench scoring_memory`; takes about a minute and 500 MB of disk.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::Path;
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

fn lakemill(folder: &Path, args: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_lakemill"))
        .args(args)
        .args(["--output", "json", "--memory", "128MiB"])
        .current_dir(folder)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(text.lines().last().unwrap_or("null")).unwrap()
}

fn peak(rows: &str) -> (u64, f64) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, text) in [("sql/memory.sql", SQL), ("jobs/memory.toml", JOB)] {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), text).unwrap();
    }
    lakemill(root, &["demo", "--rows", rows, "--dir", ".", "--lake-only"]);
    lakemill(root, &["train", "jobs/memory.toml", "--interval", "2018-06-30"]);
    let receipt = lakemill(root, &["score", "jobs/memory.toml", "--interval", "2018-04-01/2018-07-01"]);
    let mib = receipt["peak_rss_bytes"].as_u64().unwrap() as f64 / f64::from(1 << 20);
    println!(
        "{:>12} rows scored, {} keys published: peak {mib:.0} MiB, {} s",
        receipt["rows_out"], receipt["lookup"]["keys"], receipt["seconds"]["total"]
    );
    (receipt["rows_out"].as_u64().unwrap(), mib)
}

fn main() {
    let (few, small) = peak("1000000");
    let (many, large) = peak("10000000");
    println!("{:.1} times the rows, {:.2} times the memory", many as f64 / few as f64, large / small);
    assert!(large / small < 1.25, "memory grows with the rows");
}
