//! One nightly day, whole process against whole process: `lakemill score` and the script that people
//! write today (DuckDB over Delta, LightGBM, deltalake, LMDB, in Python), on the same real table.
//!
//! What is measured: wall and CPU seconds from start to exit of scoring 2018-06-20 of
//! `../shared/lake/transactions` with a saved model, predictions to Delta and to LMDB; the best of
//! three runs each. How to read it: the ratio below 1 means that lakemill is faster. The models
//! differ (a random forest of 100 trees here, LightGBM with 200 trees there); features dominate both.
//!
//! `LAKEMILL_PEER_PYTHON=/path/to/venv/bin/python cargo bench --bench nightly`, on an otherwise idle
//! machine; the environment needs duckdb, deltalake, lightgbm, pyarrow, numpy and lmdb.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Wall and CPU seconds of a command, as the shell's own `time` tells them.
fn time(command: &str) -> (f64, f64) {
    let script = format!("TIMEFORMAT='%R %U %S'; time {command} >/dev/null");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command}\n{text}");
    let numbers: Vec<f64> = text.lines().last().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    (numbers[0], numbers[1] + numbers[2])
}

fn best(runs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    runs.fold((f64::INFINITY, f64::INFINITY), |best, run| (best.0.min(run.0), best.1.min(run.1)))
}

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared");
    if !shared.join("lake/transactions").exists() {
        return println!("skipped: the real tables in ../shared are not at hand");
    }
    let folder = tempfile::tempdir().unwrap();
    let ours = lakemill(&root, &shared, folder.path());
    println!("lakemill score       {:.2} s wall, {:.2} s CPU", ours.0, ours.1);
    let Ok(python) = std::env::var("LAKEMILL_PEER_PYTHON") else {
        return println!("the peer was skipped: LAKEMILL_PEER_PYTHON is not set");
    };
    let theirs = peer(&python, &shared, folder.path());
    println!("nightly_duckdb.py    {:.2} s wall, {:.2} s CPU", theirs.0, theirs.1);
    println!("ratio                {:.2} wall, {:.2} CPU", ours.0 / theirs.0, ours.1 / theirs.1);
}

fn lakemill(root: &Path, shared: &Path, folder: &Path) -> (f64, f64) {
    let command = |verb: &str, home: &Path| {
        format!(
            "{} {verb} {}/jobs/card_fraud.toml --interval 2018-06-20 --quiet --set model.algorithm=random_forest \
             --set tables.transactions.path={}/lake/transactions --set home={}",
            env!("CARGO_BIN_EXE_lakemill"),
            root.display(),
            shared.display(),
            home.display()
        )
    };
    let home = folder.join("home");
    time(&command("train", &home));
    // A scored interval is a no-op, so each run scores into a home that has only the model.
    best((0..3).map(|run| {
        let fresh = folder.join(format!("home-{run}"));
        time(&format!("cp -r {} {}", home.display(), fresh.display()));
        time(&command("score", &fresh))
    }))
}

fn peer(python: &str, shared: &Path, folder: &Path) -> (f64, f64) {
    let script = shared.join("peers/nightly_duckdb.py");
    let run = |model: &str, out: &Path| {
        format!("{python} {} {}/lake {} 2018-06-20 {model}", script.display(), shared.display(), out.display())
    };
    let trained = folder.join("trained");
    time(&run("train", &trained));
    let model = trained.join("model.txt");
    best((0..3).map(|index| time(&run(&model.display().to_string(), &folder.join(format!("peer-{index}"))))))
}
