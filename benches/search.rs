//! A search for hyperparameters on the real fraud table: 20 settings, each fitted on 5 folds, by
//! `jobs/card_fraud_search.toml`.
//!
//! What is measured: wall and CPU seconds from start to exit of `lakemill train` on one thread and on two, and how many
//! cores the step that fits keeps busy (the process's CPU seconds there over the wall). How to read it: with two
//! threads 2.00 would be both cores all the time. The models of all runs are compared byte by byte.
//!
//! `cargo bench --bench search`, on an otherwise idle machine.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use common::{receipt_of, time};
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let table = root.join("../shared/lake/transactions");
    if !table.exists() {
        return println!("skipped: the real tables in ../shared are not at hand");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut models = Vec::new();
    for (run, threads) in ["1", "2", "2"].into_iter().enumerate() {
        let home = folder.path().join(format!("home-{run}"));
        let sets = [
            format!("tables.transactions.path={}", table.display()),
            format!("home={}", home.display()),
            "model.search.max_time=1h".to_owned(),
        ];
        let arguments = ["train", "jobs/card_fraud_search.toml", "--interval", "2018-06-20", "--output", "json"];
        let mut command = common::lakemill(&root, &arguments);
        command.args(["--threads", threads]).args(sets.iter().flat_map(|set| ["--set", set]));
        let trained = time(&mut command);
        let receipt = receipt_of(&trained);
        let search = &receipt["data"]["search"];
        let chosen = search["chosen"].as_u64().unwrap() as usize;
        let (mean, tried) = (&search["tried"][chosen]["mean"], search["tried"].as_array().unwrap().len());
        let fit = receipt["seconds"]["fit"].as_f64().unwrap();
        // As if all else had kept all threads busy.
        let count: f64 = threads.parse().unwrap();
        let busy = (trained.cpu - count * (trained.wall - fit)) / fit;
        println!("{threads} threads: {}; the fits {fit:.2} s, at least {busy:.2} cores busy", trained.told());
        println!("  setting {} of {tried}, average precision {mean:.4}", chosen + 1);
        models.push(artifact(&home));
    }
    assert!(models.iter().all(|model| *model == models[0]), "the models differ");
    println!("the models of all runs are equal, byte by byte");
}

/// The files of the only version.
fn artifact(home: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = home.join("models/card_fraud_search/versions");
    let version = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    let mut files: Vec<_> = std::fs::read_dir(version).unwrap().map(file).collect();
    files.sort();
    files
}
