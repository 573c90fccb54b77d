//! The point-in-time join of 1 M spine rows with 10 M rows of a table, beside DuckDB's ASOF JOIN.
//!
//! What is measured: CPU seconds (all threads, user and system) and the peak resident memory of one process each that
//! reads both sides from the same Parquet files, joins them, and adds up what came out; the sums of both must be the
//! same. Twice: with the table's rows in random order, and in the order of their times, as an appended table has
//! them. The best of three runs each. How to read it: a ratio below 1 means that lakemill needs less CPU time; the
//! limit of `--memory` is 1 GiB, so the peak must stay below 1,024 MiB.
//!
//! `LAKEMILL_PEER_PYTHON=/path/to/venv/bin/python cargo bench --bench asof`; the environment needs duckdb. Takes about
//! a minute and 600 MB of disk.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use common::{cpu_seconds, mib, printed};
use futures::{StreamExt, TryStreamExt};
use lakemill::lake::Location;
use lakemill::query::{AsofJoin, FeatureSql, Parameters, PointInTime, Session, SessionOptions, from_datafusion};
use lakemill::runtime::peak_rss_bytes;
use lakemill::tables::{TableRequest, pin};
use parquet::arrow::ArrowWriter;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const SPINE: usize = 1_000_000;
const FACTS: usize = 10_000_000;
const KEYS: u64 = 100_000;
const SPAN: u64 = 90 * 86_400 * 1_000_000;
const MEMORY: usize = 1 << 30;

const DUCKDB: &str = "
import duckdb, resource, sys, time
folder, facts = sys.argv[1], sys.argv[2]
connection = duckdb.connect()
connection.execute(\"SET memory_limit = '1GiB'\")
connection.execute('SET enable_progress_bar = false')
started = time.process_time()
rows = connection.execute(f'''
  SELECT count(*), count(number), sum(id * (number % 1000))::BIGINT FROM (
    SELECT s.id, f.value, f.number
    FROM '{folder}/spine.parquet' s ASOF LEFT JOIN '{folder}/{facts}.parquet' f ON s.key = f.key AND s.at >= f.time)
''').fetchall()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time() - started, peak // 1024, *rows[0])
";

/// A cheap sequence of random numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(limit)) >> 64) as u64
    }
}

/// Rows `(key, time)` in batches; `in_order` of their times.
fn write(path: &Path, names: [&str; 2], rows: usize, dice: &mut Dice, in_order: bool) {
    const BATCH: usize = 100_000;
    let batches = rows / BATCH;
    let mut writer = None;
    for number in 0..batches {
        let keys: Vec<i64> = (0..BATCH).map(|_| dice.below(KEYS) as i64).collect();
        let part = SPAN / batches as u64;
        let mut times: Vec<i64> = match in_order {
            true => (0..BATCH).map(|_| (number as u64 * part + dice.below(part)) as i64).collect(),
            false => (0..BATCH).map(|_| dice.below(SPAN) as i64).collect(),
        };
        if in_order {
            times.sort_unstable();
        }
        let ids = Int64Array::from_iter_values((0..BATCH).map(|row| (number * BATCH + row) as i64));
        let numbers = Int64Array::from_iter_values(times.iter().map(|time| time / 7));
        let values = Float64Array::from_iter_values(times.iter().map(|time| *time as f64 * 0.5));
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(ids) as ArrayRef),
            (names[0], Arc::new(Int64Array::from(keys))),
            (names[1], Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))),
            ("value", Arc::new(values)),
            ("number", Arc::new(numbers)),
        ])
        .unwrap();
        let writer = writer.get_or_insert_with(|| {
            ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap()
        });
        writer.write(&batch).unwrap();
    }
    writer.unwrap().close().unwrap();
}

async fn ours(folder: &Path, facts: &str) {
    let mut session = Session::new(SessionOptions::features(MEMORY)).unwrap();
    for (name, file) in [("spine", "spine"), ("facts", facts)] {
        let location = Location::parse(&format!("{file}.parquet"), folder).unwrap();
        session.register(&pin(&TableRequest::latest(name, location)).await.unwrap()).await.unwrap();
    }
    let before = cpu_seconds();
    let sql = FeatureSql::parse("SELECT id, key, at FROM spine", "spine.sql").unwrap();
    let spine = session.plan(&sql, &Parameters::new()).await.unwrap();
    let pair = |left: &str, right: &str| (left.to_owned(), right.to_owned());
    let join = AsofJoin {
        table: "facts".to_owned(),
        keys: vec![pair("key", "key")],
        time: "time".to_owned(),
        available_time: None,
        max_age: None,
        columns: vec![pair("value", "value"), pair("number", "number")],
    };
    let joined = PointInTime::plan(&session, &spine.schema(), "at", &[join]).await.unwrap();
    let mut stream = joined.stream(spine.stream().unwrap().map_err(from_datafusion).boxed());
    let (mut rows, mut found, mut sum) = (0, 0, 0_i64);
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        let ids = batch["id"].as_primitive::<Int64Type>();
        let numbers = batch["number"].as_primitive::<Int64Type>();
        rows += batch.num_rows();
        for (id, number) in ids.values().iter().zip(numbers) {
            found += usize::from(number.is_some());
            sum += id * (number.unwrap_or(0) % 1000);
        }
    }
    let (seconds, peak) = (cpu_seconds() - before, mib(peak_rss_bytes()));
    println!("{seconds} {peak} {rows} {found} {sum}");
}

/// The best CPU seconds and the peak memory of three runs, and what came out.
fn best(command: &mut Command) -> (f64, f64, String) {
    let runs = (0..3).map(|_| {
        let text = printed(command);
        let (seconds, rest) = text.trim().lines().last().unwrap().split_once(' ').unwrap();
        let (peak, sums) = rest.split_once(' ').unwrap();
        (seconds.parse::<f64>().unwrap(), peak.parse::<f64>().unwrap(), sums.to_owned())
    });
    runs.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1), other.2)).unwrap()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(place) = args.iter().position(|arg| arg == "--ours") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(ours(Path::new(&args[place + 1]), &args[place + 2]));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    write(&folder.path().join("spine.parquet"), ["key", "at"], SPINE, &mut dice, false);
    write(&folder.path().join("facts.parquet"), ["key", "time"], FACTS, &mut dice, false);
    write(&folder.path().join("ordered.parquet"), ["key", "time"], FACTS, &mut dice, true);
    let python = std::env::var("LAKEMILL_PEER_PYTHON").ok();
    for (facts, order) in [("facts", "in random order"), ("ordered", "in the order of time")] {
        println!("{SPINE} x {FACTS} rows {order}");
        let mut own = Command::new(std::env::current_exe().unwrap());
        let ours = best(own.arg("--ours").arg(folder.path()).arg(facts));
        println!("  lakemill  {:.2} s CPU, peak {:.0} MiB", ours.0, ours.1);
        let Some(python) = &python else {
            println!("  the peer was skipped: LAKEMILL_PEER_PYTHON is not set");
            continue;
        };
        let theirs = best(Command::new(python).args(["-c", DUCKDB]).arg(folder.path()).arg(facts));
        println!("  duckdb    {:.2} s CPU, peak {:.0} MiB", theirs.0, theirs.1);
        println!("  ratio     {:.2} CPU, {:.2} memory", ours.0 / theirs.0, ours.1 / theirs.1);
        assert_eq!(ours.2, theirs.2, "both must find the same rows");
    }
}
