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

mod common;

use common::{Run, best, time};
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
        println!("{model}: lakemill score     {}", ours.told());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/imported_peer.py");
        let theirs = best((0..2).map(|run| {
            let out = root.join(format!("peer-{model}-{run}"));
            time(Command::new(&python).arg(&script).arg(&file).arg(root.join("rows.parquet")).arg(out))
        }));
        println!("{model}: Polars + LightGBM  {}", theirs.told());
        println!("{model}: {}", ours.compared(&theirs));
    }
}

/// Imports the model, then scores the rows into three homes that have nothing but the model.
fn lakemill(root: &Path, model: &str, file: &Path) -> Run {
    let home = root.join(model);
    let file = file.display().to_string();
    time(common::lakemill(root, &["models", "import", "imported", &file, "--quiet", "--home"]).arg(&home));
    best((0..3).map(|index| {
        let fresh = root.join(format!("{model}-{index}"));
        time(Command::new("cp").arg("-r").arg(&home).arg(&fresh));
        let set = format!("home={}", fresh.display());
        let arguments = ["score", "job.toml", "--interval", "2024-01-01", "--model", "challenger", "--quiet"];
        time(common::lakemill(root, &arguments).args(["--set", &set]))
    }))
}
