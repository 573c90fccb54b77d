//! An imported LightGBM model on a Parquet table, whole process against whole process: `lakemill score`, and the
//! script that people write today (`imported_peer.py`: Polars, `Booster.predict`, Delta, LMDB).
//!
//! What is measured: wall and CPU seconds from start to exit of scoring 1,000,000 rows of 28 features with the models of
//! `../shared/peers/make_models.py` (500 trees of 64 leaves; 100 of 31), predictions to Delta and to LMDB; the best of
//! three runs here and of two there. Both use all cores. How to read it: `x` is how many times as long the script takes.
//!
//! `LAKEMILL_PEER_PYTHON=/path/to/venv/bin/python cargo bench --bench imported`, on an otherwise idle machine; the
//! environment needs numpy, pyarrow, polars, lightgbm, xgboost, deltalake and lmdb. `LAKEMILL_PEER_MODELS` is a folder
//! with the models, where they are made already; `LAKEMILL_PEER_ROWS` is another number of rows.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Writes the rows that `make_models.py` would write beside its models.
const ROWS: &str = "import sys; sys.path.insert(0, sys.argv[1])
import numpy as np, polars as pl
from common import make
rows = int(sys.argv[2])
x, _ = make(100_000 + rows)
x = x[100_000:]
pl.DataFrame({'id': np.arange(rows), **{f'f{i}': x[:, i] for i in range(x.shape[1])}}).write_parquet(sys.argv[3], row_group_size=131_072)";

const JOB: &str = r#"
version = 1
name = "imported"
home = "home"
[tables]
samples = { path = "rows.parquet" }
[features]
sql = "rows.sql"
key = ["id"]
time = "at"
label = "y"
[model]
task = "binary"
algorithm = "gradient_boosting"
window = "1d"
split = { by = "time", test = "1d" }
[lookup]
store = "file"
key = "id"
value = ["score", "prediction"]
"#;

const SQL: &str = "SELECT *, TIMESTAMP '2024-01-01T12:00:00' AS at, CAST(NULL AS INT) AS y FROM samples";

fn main() {
    let shared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/peers");
    let Ok(python) = std::env::var("LAKEMILL_PEER_PYTHON") else {
        return println!("skipped: LAKEMILL_PEER_PYTHON is not set, and LightGBM makes the models");
    };
    if !shared.exists() {
        return println!("skipped: the scripts in ../shared/peers are not at hand");
    }
    let rows = std::env::var("LAKEMILL_PEER_ROWS").unwrap_or_else(|_| "1000000".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let models = std::env::var("LAKEMILL_PEER_MODELS").map_or_else(|_| root.join("models"), PathBuf::from);
    if !models.join("lightgbm_500x64.txt").exists() {
        time(Command::new(&python).arg(shared.join("make_models.py")).arg(&models).arg("1000"));
    }
    time(Command::new(&python).args(["-c", ROWS]).arg(&shared).arg(&rows).arg(root.join("rows.parquet")));
    std::fs::write(root.join("rows.sql"), SQL).unwrap();
    std::fs::write(root.join("job.toml"), JOB).unwrap();
    for model in ["lightgbm_500x64", "lightgbm_100x31"] {
        let file = models.join(format!("{model}.txt"));
        let ours = lakemill(root, model, &file);
        println!("{model}: lakemill score     {:7.2} s wall {:7.2} s CPU", ours.0, ours.1);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/imported_peer.py");
        let theirs = best((0..2).map(|run| {
            let out = root.join(format!("peer-{model}-{run}"));
            time(Command::new(&python).arg(&script).arg(&file).arg(root.join("rows.parquet")).arg(out))
        }));
        println!("{model}: Polars + LightGBM  {:7.2} s wall {:7.2} s CPU", theirs.0, theirs.1);
        println!("{model}: {:.1}x wall, {:.1}x CPU", theirs.0 / ours.0, theirs.1 / ours.1);
    }
}

/// Imports the model, then scores the rows into three homes that have nothing but the model.
fn lakemill(root: &Path, model: &str, file: &Path) -> (f64, f64) {
    let run = |arguments: &[&str], home: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lakemill"));
        time(command.args(arguments).arg(home).arg("--quiet").current_dir(root))
    };
    let home = root.join(model);
    run(&["models", "import", "imported", &file.display().to_string(), "--home"], &home);
    best((0..3).map(|index| {
        let fresh = root.join(format!("{model}-{index}"));
        time(Command::new("cp").arg("-r").arg(&home).arg(&fresh));
        let set = format!("home={}", fresh.display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_lakemill"));
        let arguments = ["score", "job.toml", "--interval", "2024-01-01", "--model", "challenger", "--quiet"];
        time(command.args(arguments).args(["--set", &set]).current_dir(root))
    }))
}

fn best(runs: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    runs.fold((f64::INFINITY, f64::INFINITY), |best, run| (best.0.min(run.0), best.1.min(run.1)))
}

/// Runs a command to its end; wall and CPU seconds as the shell's own `time` tells them.
fn time(command: &mut Command) -> (f64, f64) {
    let mut shell = Command::new("bash");
    let script = "TIMEFORMAT='%R %U %S'; time \"$@\" >/dev/null";
    shell.args(["-c", script, "bash"]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    let output = shell.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}\n{told}");
    let numbers: Vec<f64> = told.lines().last().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    (numbers[0], numbers[1] + numbers[2])
}
