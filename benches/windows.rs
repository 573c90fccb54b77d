//! Features of the real fraud job: our window operator beside DataFusion's own, and beside DuckDB; and the same features
//! with their windows declared.
//!
//! What is measured: CPU and wall seconds from the SQL to its last row (planning, scan, sorts, windows), one thread,
//! the best of three; for one day of the real transactions, and for all of them. How to read it: the ratios; below
//! 0.10 of stock's and 0.33 of DuckDB's CPU seconds is the aim for the day.
//!
//! `LAKEMILL_PEER_PYTHON=.../bin/python cargo bench --bench windows`, on an otherwise idle machine; needs the tables
//! in ../shared, and for DuckDB an environment with duckdb, deltalake, lightgbm, pyarrow and numpy.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use common::{cpu_seconds, printed};
use futures::TryStreamExt;
use lakemill::interval::Interval;
use lakemill::lake::Location;
use lakemill::query::{FeatureSql, Parameters, Session, SessionOptions};
use lakemill::tables::{self, TableRequest};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Wall and CPU seconds.
type Seconds = (f64, f64);

/// The SQL of declared windows, as `lakemill plan` shows it.
fn declared(root: &Path, shared: &Path, interval: &str) -> String {
    let table = format!("tables.transactions.path={}", shared.join("lake/transactions").display());
    let args = ["plan", "jobs/card_fraud_declared.toml", "--interval", interval, "--set", &table, "--sql"];
    printed(&mut common::lakemill(root, &args))
}

/// Rows and seconds of the features of an interval by this SQL.
async fn features(shared: &Path, text: &str, interval: &str, sliding_windows: bool) -> (usize, Seconds) {
    let (start, cpu_start) = (Instant::now(), cpu_seconds());
    let options = SessionOptions { sliding_windows, ..SessionOptions::features(2 << 30) };
    let mut session = Session::new(options).unwrap();
    let location = Location::parse(shared.join("lake/transactions").to_str().unwrap(), Path::new("/")).unwrap();
    session.register(&tables::pin(&TableRequest::latest("transactions", location)).await.unwrap()).await.unwrap();
    let sql = FeatureSql::parse(text, "features.sql").unwrap();
    let parameters = Parameters::of_interval(&interval.parse::<Interval>().unwrap());
    let query = session.plan(&sql, &parameters).await.unwrap();
    let rows: Vec<usize> = query.stream().unwrap().map_ok(|batch| batch.num_rows()).try_collect().await.unwrap();
    (rows.iter().sum(), (start.elapsed().as_secs_f64(), cpu_seconds() - cpu_start))
}

fn best(mut run: impl FnMut() -> (usize, Seconds), times: usize) -> (usize, Seconds) {
    let mut best = run();
    for _ in 1..times {
        let (_, (wall, cpu)) = run();
        best.1 = (best.1.0.min(wall), best.1.1.min(cpu));
    }
    best
}

/// The features of `nightly_duckdb.py` alone, without its imports.
fn duckdb(python: &str, shared: &Path, start: &str, end: &str) -> (usize, Seconds) {
    let code = format!(
        "import sys, time, resource, tempfile, datetime as dt\n\
         source = open({script:?}).read().split('steps = {{}}')[0]\n\
         sys.argv = ['x', {lake:?}, tempfile.mkdtemp(), '{start}', 'none']\n\
         exec(source)\n\
         used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])\n\
         wall, cpu = time.perf_counter(), used()\n\
         table = features(dt.datetime.fromisoformat('{start}'), dt.datetime.fromisoformat('{end}'))\n\
         print(table.num_rows, time.perf_counter() - wall, used() - cpu)",
        script = shared.join("peers/nightly_duckdb.py").display().to_string(),
        lake = shared.join("lake").display().to_string(),
    );
    let text = printed(Command::new(python).args(["-c", &code]));
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    (numbers[0] as usize, (numbers[1], numbers[2]))
}

fn show(name: &str, (rows, (wall, cpu)): (usize, Seconds)) {
    println!("  {name:<8} {wall:>6.2} s wall {cpu:>6.2} s CPU, {rows} rows");
}

fn main() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared");
    if !shared.join("lake/transactions").exists() {
        return println!("skipped: the real tables in ../shared are not at hand");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let written = std::fs::read_to_string(root.join("sql/card_fraud.sql")).unwrap();
    let run = |sql: &str, interval: &str, ours: bool| runtime.block_on(features(&shared, sql, interval, ours));
    let python = std::env::var("LAKEMILL_PEER_PYTHON").ok();
    for (name, start, end, times) in
        [("one day", "2018-06-20", "2018-06-21", 3), ("all rows", "2018-04-01", "2018-07-01", 1)]
    {
        println!("{name}");
        let interval = format!("{start}/{end}");
        let ours = best(|| run(&written, &interval, true), 3);
        show("ours", ours);
        let sql = declared(&root, &shared, &interval);
        let declared = best(|| run(&sql, &interval, true), 3);
        show("declared", declared);
        assert_eq!(ours.0, declared.0);
        println!("  declared is {:.3} of written's CPU", declared.1.1 / ours.1.1);
        let stock = best(|| run(&written, &interval, false), times);
        show("stock", stock);
        assert_eq!(ours.0, stock.0);
        println!("  ours is {:.3} of stock's wall, {:.3} of its CPU", ours.1.0 / stock.1.0, ours.1.1 / stock.1.1);
        let Some(python) = &python else {
            println!("  DuckDB was skipped: LAKEMILL_PEER_PYTHON is not set");
            continue;
        };
        let peer = best(|| duckdb(python, &shared, start, end), 3);
        show("DuckDB", peer);
        assert_eq!(ours.0, peer.0);
        println!("  ours is {:.3} of DuckDB's wall, {:.3} of its CPU", ours.1.0 / peer.1.0, ours.1.1 / peer.1.1);
    }
}
