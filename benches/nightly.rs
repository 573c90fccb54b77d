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

mod common;

use common::{Run, best, time};
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared");
    if !shared.join("lake/transactions").exists() {
        return println!("skipped: the real tables in ../shared are not at hand");
    }
    let folder = tempfile::tempdir().unwrap();
    let ours = lakemill(&root, &shared, folder.path());
    println!("lakemill score       {}", ours.told());
    let Ok(python) = std::env::var("LAKEMILL_PEER_PYTHON") else {
        return println!("the peer was skipped: LAKEMILL_PEER_PYTHON is not set");
    };
    let theirs = peer(&python, &shared, folder.path());
    println!("nightly_duckdb.py    {}", theirs.told());
    println!("ratio                {:.2} wall, {:.2} CPU", ours.wall / theirs.wall, ours.cpu / theirs.cpu);
}

fn lakemill(root: &Path, shared: &Path, folder: &Path) -> Run {
    let command = |verb: &str, home: &Path| {
        let sets = [
            "model.algorithm=random_forest".to_owned(),
            format!("tables.transactions.path={}/lake/transactions", shared.display()),
            format!("home={}", home.display()),
        ];
        let arguments = [verb, "jobs/card_fraud.toml", "--interval", "2018-06-20", "--quiet"];
        let mut command = common::lakemill(root, &arguments);
        command.args(sets.iter().flat_map(|set| ["--set", set]));
        time(&mut command)
    };
    let home = folder.join("home");
    command("train", &home);
    // A scored interval is a no-op, so each run scores into a home that has only the model.
    best((0..3).map(|run| {
        let fresh = folder.join(format!("home-{run}"));
        time(Command::new("cp").arg("-r").arg(&home).arg(&fresh));
        command("score", &fresh)
    }))
}

fn peer(python: &str, shared: &Path, folder: &Path) -> Run {
    let run = |model: &Path, out: &Path| {
        let script = shared.join("peers/nightly_duckdb.py");
        let mut command = Command::new(python);
        command.arg(script).arg(shared.join("lake")).arg(out).arg("2018-06-20").arg(model);
        time(&mut command)
    };
    let trained = folder.join("trained");
    run(Path::new("train"), &trained);
    let model = trained.join("model.txt");
    best((0..3).map(|index| run(&model, &folder.join(format!("peer-{index}")))))
}
