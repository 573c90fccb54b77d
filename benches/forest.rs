//! The forest scorer beside LightGBM, ONNX Runtime and XGBoost, on the same models and rows in one run.
//!
//! What is measured: CPU microseconds a row of scoring rows that are in memory, on one thread, best of
//! three; the models are those of `../shared/peers/make_models.py`, and one of ten classes (`forest_classes.py`), read by
//! the importers, and the peers are timed by `../shared/peers/score_peers.py`. For each instruction set of the machine,
//! and once more on two threads by wall time. How to read it: `x` is how many times as many rows a CPU second as the peer.
//!
//! `LAKEMILL_PEER_PYTHON=/path/to/venv/bin/python cargo bench --bench forest`, on an otherwise idle machine;
//! the environment needs numpy, pyarrow, lightgbm, xgboost, onnxruntime and onnxmltools. `LAKEMILL_PEER_ROWS`
//! is the number of rows (1,000,000); `LAKEMILL_PEER_MODELS` keeps models and rows in a folder for the next run.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use lakemill::features::FeatureBlock;
use lakemill::forest::{Compiled, Forest, Instructions};
use lakemill::models::import::{ImportOptions, read};
use lakemill::models::{Form, Predictor};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use std::fs::File;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Rows of a batch, as scoring has them.
const BATCH_ROWS: usize = 8192;
const FEATURES: usize = 28;

/// A peer's name and its CPU microseconds a row for a model.
struct Peer {
    model: String,
    name: String,
    micros: f64,
}

fn run(python: &str, script: &Path, args: &[&str]) -> String {
    let output = Command::new(python).arg(script).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}\n{}", script.display(), String::from_utf8_lossy(&output.stderr));
    text
}

/// CPU seconds of the calling thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// The least of three.
fn least(run: impl Fn() -> f64) -> f64 {
    (0..3).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn blocks(file: &Path) -> Vec<FeatureBlock> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file).unwrap()).unwrap();
    let reader = reader.with_batch_size(BATCH_ROWS).build().unwrap();
    let block = |batch: arrow::array::RecordBatch| {
        let columns: Vec<Vec<f64>> = (0..FEATURES)
            .map(|feature| {
                let column = batch.column_by_name(&format!("f{feature}")).unwrap();
                let column = cast(column, &DataType::Float64).unwrap();
                column.as_primitive::<Float64Type>().values().to_vec()
            })
            .collect();
        FeatureBlock::from_columns(batch.num_rows(), &columns)
    };
    reader.map(|batch| block(batch.unwrap())).collect()
}

fn peers(text: &str) -> Vec<Peer> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (model, name) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (_, micros) = line.split_once("cpu=")?;
        Some(Peer { model, name, micros: micros.split_whitespace().next()?.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}

fn compare(model: &str, micros: f64, peers: &[Peer]) -> String {
    let own = peers.iter().filter(|peer| peer.model == model);
    own.map(|peer| format!("  {:6.1}x {}", peer.micros / micros, peer.name)).collect()
}

fn measure(model: &str, predictor: &Predictor, forest: &Forest, blocks: &[FeatureBlock], peers: &[Peer]) {
    let rows: usize = blocks.iter().map(FeatureBlock::rows).sum();
    for instructions in Instructions::available() {
        let begun = Instant::now();
        let compiled = Compiled::new(forest, instructions).unwrap();
        let compiling = begun.elapsed().as_secs_f64() * 1e3;
        let micros = 1e6 / rows as f64
            * least(|| {
                let begun = cpu_seconds();
                blocks.iter().for_each(|block| drop(black_box(compiled.score(forest, block))));
                cpu_seconds() - begun
            });
        let name = format!("{instructions:?}");
        println!(
            "{model:20} {name:10} {micros:8.3} us/row, compiled in {compiling:4.1} ms{}",
            compare(model, micros, peers)
        );
    }
    let seconds = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        least(|| {
            let begun = Instant::now();
            pool.install(|| blocks.par_iter().for_each(|block| drop(black_box(predictor.predict(block)))));
            begun.elapsed().as_secs_f64()
        })
    });
    println!("{model:20} predictions on two threads: {:.2} times one thread", seconds[0] / seconds[1]);
}

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let scripts = root.join("../shared/peers");
    let Ok(python) = std::env::var("LAKEMILL_PEER_PYTHON") else {
        return println!("skipped: LAKEMILL_PEER_PYTHON is not set, and the peers make the models");
    };
    if !scripts.exists() {
        return println!("skipped: the scripts in ../shared/peers are not at hand");
    }
    let rows = std::env::var("LAKEMILL_PEER_ROWS").unwrap_or_else(|_| "1000000".to_owned());
    let temporary = tempfile::tempdir().unwrap();
    let folder = std::env::var("LAKEMILL_PEER_MODELS").map_or_else(|_| temporary.path().to_owned(), PathBuf::from);
    let place = folder.display().to_string();
    if !folder.join("score.parquet").exists() {
        run(&python, &scripts.join("make_models.py"), &[&place, &rows]);
    }
    if !folder.join("lightgbm_10x100x31.txt").exists() {
        run(&python, &root.join("benches/forest_classes.py"), &[&place]);
    }
    let blocks = blocks(&folder.join("score.parquet"));
    // A kept folder may hold fewer rows than are asked for.
    let there: usize = blocks.iter().map(FeatureBlock::rows).sum();
    let rows = there.min(rows.parse().unwrap()).to_string();
    let peers = peers(&run(&python, &scripts.join("score_peers.py"), &[&place, &rows, "1"]));
    for peer in &peers {
        println!("{:20} {:14} {:8.3} us/row", peer.model, peer.name, peer.micros);
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|own| own == "txt" || own == "json"));
    files.sort();
    for file in files {
        let model = file.file_stem().unwrap().to_string_lossy().into_owned();
        let predictor =
            read(&std::fs::read(&file).unwrap(), &ImportOptions::default()).unwrap().predictor(None).unwrap();
        let Form::Forest(forest) = predictor.form() else { panic!("{model} is no forest") };
        measure(&model, &predictor, forest, &blocks, &peers);
    }
}
