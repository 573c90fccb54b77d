//! SIGTERM in the middle of a computation: the process ends soon, with 143, and its receipt says why.

#![cfg(unix)]

use crate::command::lakemill;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Compares every transaction with every other: no machine is done with it before the signal comes.
const SQL: &str = "
SELECT t.transaction_id, t.tx_datetime, t.customer_id, t.terminal_id, t.tx_fraud, count(o.transaction_id) AS smaller
FROM transactions t JOIN transactions o ON o.tx_amount < t.tx_amount
WHERE t.tx_datetime >= $interval_start AND t.tx_datetime < $interval_end
GROUP BY t.transaction_id, t.tx_datetime, t.customer_id, t.terminal_id, t.tx_fraud
";

fn start(folder: &Path, args: &[&str]) -> Child {
    lakemill(args).current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Lets the process compute for a while, then stops it.
fn terminated(mut child: Child) {
    std::thread::sleep(Duration::from_secs(3));
    let id = child.id().to_string();
    assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}: {told}", began.elapsed());
    assert_eq!(output.status.code(), Some(143), "{told}");
    assert!(told.contains("stopped by a signal"), "{told}");
}

fn is_receipt_of_a_stopped_training(text: &[u8]) {
    let receipt: Value = serde_json::from_slice(text).unwrap();
    assert_eq!(receipt["command"], "train", "{receipt}");
    assert_eq!(receipt["status"], "failed", "{receipt}");
    assert_eq!(receipt["error"]["code"], "terminated", "{receipt}");
    assert!(!receipt["run_id"].as_str().unwrap().is_empty(), "{receipt}");
}

#[test]
fn a_computation_is_stopped_within_seconds_and_the_receipt_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The demo's own SQL is written only where there is none.
    fs::create_dir(folder.join("sql")).unwrap();
    fs::write(folder.join("sql/card_fraud.sql"), SQL).unwrap();
    let made = start(folder, &["demo", "--rows", "300000", "--lake-only", "--quiet"]).wait_with_output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    // One thread computes, and somebody has to hear the signal all the same.
    terminated(start(folder, &["demo", "--rows", "300000", "--threads", "1"]));
    let filed = crate::command::files(&folder.join("demo/home/runs"));
    assert_eq!(filed.len(), 1, "{:?}", filed.iter().map(|(name, _)| name).collect::<Vec<_>>());
    is_receipt_of_a_stopped_training(&filed[0].1);

    let interval = filed[0].0.split('/').nth(1).unwrap().to_owned();
    let sets = ["--set", "tables.transactions.path=demo/lake/transactions", "--set", "home=home"];
    let run = ["run", "jobs/card_fraud.toml", "--interval", &interval, "--receipt", "receipt.json"];
    terminated(start(folder, &[&run, &sets[..]].concat()));
    is_receipt_of_a_stopped_training(&fs::read(folder.join("receipt.json")).unwrap());
    let written: Vec<String> = crate::command::files(&folder.join("home")).into_iter().map(|(name, _)| name).collect();
    assert!(written.len() == 1 && written[0].starts_with("runs/"), "{written:?}");
}
