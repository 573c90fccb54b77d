//! Gradient boosting against LightGBM, XGBoost and scikit-learn, on the same rows, one thread each.
//!
//! What is measured: wall and CPU seconds of binning and fitting 200 trees of 31 leaves on 200,000 rows of 28
//! features in memory (`../shared/peers/train_peers.py` and its data), and the AUC on 100,000 other rows; the
//! least of three runs here, one run there. How to read it: the ratio below 1 means that lakemill needs less CPU.
//!
//! `LAKEMILL_PEER_PYTHON=/path/to/venv/bin/python cargo bench --bench training`; the environment needs numpy,
//! lightgbm, xgboost and scikit-learn. Without it only lakemill runs, on rows of the same kind.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use common::cpu_seconds;
use lakemill::features::bins::RowSample;
use lakemill::features::{BinnedBlock, FeatureBins, FeatureBlock};
use lakemill::models::{BinnedSet, Predictor, lookup};
use lakemill::task::Task;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const TRAIN: usize = 200_000;
const TEST: usize = 100_000;
const FEATURES: usize = 28;

/// Writes the peers' own rows: all columns as `f32`, then the labels.
const DUMP: &str = "import sys; sys.path.insert(0, sys.argv[1])
from common import make
x, y = make(int(sys.argv[2]))
open(sys.argv[3], 'wb').write(x.T.astype('<f4').tobytes() + y.astype('<f4').tobytes())";

struct Rows {
    block: FeatureBlock,
    labels: Vec<f64>,
}

fn main() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/peers");
    let python = std::env::var("LAKEMILL_PEER_PYTHON").ok().filter(|_| shared.join("train_peers.py").exists());
    let values = match &python {
        Some(python) => of_peers(python, &shared),
        None => made(),
    };
    let (train, test) = (cut(&values, 0, TRAIN), cut(&values, TRAIN, TRAIN + TEST));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut best = (f64::INFINITY, f64::INFINITY);
    let mut predictor = None;
    for _ in 0..3 {
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        predictor = Some(pool.install(|| fit(&train)));
        let run = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        best = if run.1 < best.1 { run } else { best };
    }
    let own = auc(&test.labels, &predictor.unwrap().predict(&test.block));
    println!("lakemill     wall={:7.2} s cpu={:7.2} s auc={own:.5}", best.0, best.1);
    let Some(python) = python else { return println!("the peers were skipped: LAKEMILL_PEER_PYTHON is not set") };
    let output = Command::new(python).arg(shared.join("train_peers.py")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let cpu = text
        .lines()
        .find(|line| line.starts_with("lightgbm"))
        .and_then(|line| line.split("cpu=").nth(1)?.split_whitespace().next()?.parse::<f64>().ok());
    match cpu {
        Some(cpu) => println!("ratio to lightgbm  {:.2} CPU", best.1 / cpu),
        None => println!("lightgbm did not run: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn fit(rows: &Rows) -> Predictor {
    let mut sample = RowSample::new(FEATURES, 7);
    sample.add(&rows.block);
    let bins = sample.columns().iter_mut().map(FeatureBins::of_numbers).collect();
    let set = BinnedSet {
        bins: &BinnedBlock::of_block(&rows.block, bins).unwrap(),
        names: &[],
        dropped: &[],
        labels: &rows.labels,
        weights: None,
        task: Task::Binary,
        classes: 2,
        validation: None,
    };
    let params = json!({"trees": 200, "leaves": 31});
    lookup("gradient_boosting").unwrap().fit_binned(&set, params.as_object().unwrap(), 7).unwrap().predictor
}

fn of_peers(python: &str, shared: &Path) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.bin");
    let status = Command::new(python)
        .args(["-c", DUMP])
        .arg(shared)
        .arg((TRAIN + TEST).to_string())
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success(), "the peers' rows could not be written");
    let bytes = std::fs::read(file).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Normal features, and a noisy label of sums, products and a sine of them.
fn made() -> Vec<f32> {
    let mut stream = ChaCha8Rng::seed_from_u64(7);
    let unit = |stream: &mut ChaCha8Rng| (f64::from(stream.next_u32()) + 0.5) / 2f64.powi(32);
    let mut normal = || {
        let radius = (-2.0 * unit(&mut stream).ln()).sqrt();
        radius * (std::f64::consts::TAU * unit(&mut stream)).cos()
    };
    let rows = TRAIN + TEST;
    let mut values: Vec<f32> = (0..rows * FEATURES).map(|_| normal() as f32).collect();
    let effects: Vec<f64> = (0..FEATURES).map(|_| normal() * 0.4).collect();
    for row in 0..rows {
        let x = |feature: usize| f64::from(values[feature * rows + row]);
        let linear: f64 = (0..FEATURES).map(|feature| x(feature) * effects[feature]).sum();
        let score = linear + (2.0 * x(0)).sin() * 1.5 + x(1) * x(2) + if x(3) > 0.5 { x(4) } else { -x(5) };
        values.push(f32::from(u8::from(unit(&mut stream) < 1.0 / (1.0 + (-score).exp()))));
    }
    values
}

fn cut(values: &[f32], from: usize, to: usize) -> Rows {
    let rows = TRAIN + TEST;
    let of = |column: usize| -> Vec<f64> {
        values[column * rows + from..column * rows + to].iter().map(|value| f64::from(*value)).collect()
    };
    let columns: Vec<Vec<f64>> = (0..FEATURES).map(of).collect();
    Rows { block: FeatureBlock::from_columns(to - from, &columns), labels: of(FEATURES) }
}

/// The share of pairs of a positive and a negative row that are in order.
fn auc(labels: &[f64], scores: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let (mut below, mut ordered) = (0.0, 0.0);
    for ties in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let positive = ties.iter().filter(|row| labels[**row] == 1.0).count() as f64;
        let negative = ties.len() as f64 - positive;
        ordered += positive * (below + negative / 2.0);
        below += negative;
    }
    ordered / (below * (labels.len() as f64 - below))
}
