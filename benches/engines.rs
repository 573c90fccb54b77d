//! Feature queries on the demo lake in both engines: which one is better at what.
//!
//! What is measured, for each query and engine in a process of its own (`lakemill evaluate`-like runs would measure
//! more than the SQL): wall-clock seconds and CPU seconds (user and system) of planning and running, and the largest
//! resident set of the process. How to read it: the ratios of one run, least of three; absolute numbers belong to a
//! machine. Polars has its kernels compiled at lower levels here than DataFusion (see `Cargo.toml`).
//!
//! `cargo bench --bench engines`; takes about two minutes and 200 MB of disk. `LAKEMILL_BENCH_ROWS` is the number of
//! transactions (2,000,000 unless it is set).

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used, missing_docs)]

mod common;

use common::{cpu_seconds, mib, printed};
use futures::TryStreamExt;
use lakemill::interval::Interval;
use lakemill::lake::Location;
use lakemill::query::polars::PolarsQuery;
use lakemill::query::{FeatureSql, Parameters, Session, SessionOptions, from_datafusion};
use lakemill::runtime::{Runtime, peak_rss_bytes};
use lakemill::tables::{TableRequest, pin};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Name, what it is typical of, the SQL. Keys come first and decide the order of rows.
const QUERIES: [(&str, &str); 7] = [
    (
        "scan, filter, few rows",
        "SELECT transaction_id, tx_amount FROM transactions WHERE tx_amount > 400 AND terminal_id < 500",
    ),
    (
        "a month of rows, ten scalars",
        "SELECT transaction_id, tx_datetime, customer_id, tx_amount, tx_amount * 2 + 1 AS a, round(tx_amount, 1) AS b, \
         extract(hour FROM tx_datetime) AS hour, extract(isodow FROM tx_datetime) >= 6 AS weekend, \
         CASE WHEN tx_amount > 100 THEN 1 ELSE 0 END AS large, terminal_id % 100 AS bucket FROM transactions \
         WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end",
    ),
    (
        "group by a small key",
        "SELECT tx_date, count(*) AS n, sum(tx_amount) AS s, avg(tx_amount) AS m, max(tx_amount) AS x \
         FROM transactions GROUP BY tx_date",
    ),
    (
        "group by a large key",
        "SELECT terminal_id, customer_id, count(*) AS n, sum(tx_amount) AS s FROM transactions \
         GROUP BY terminal_id, customer_id",
    ),
    (
        "join two small tables",
        "SELECT t.transaction_id, c.segment, m.category, t.tx_amount FROM transactions t \
         JOIN customers c ON c.customer_id = t.customer_id JOIN terminals m ON m.terminal_id = t.terminal_id \
         WHERE t.tx_datetime >= $interval_start AND t.tx_datetime < $interval_end",
    ),
    (
        "join a group back",
        "WITH mean AS (SELECT customer_id, avg(tx_amount) AS mean, count(*) AS n FROM transactions GROUP BY customer_id) \
         SELECT t.transaction_id, t.tx_amount / m.mean AS ratio, m.n FROM transactions t \
         JOIN mean m ON m.customer_id = t.customer_id",
    ),
    (
        "running window",
        "SELECT transaction_id, count(*) OVER w AS n, sum(tx_fraud) OVER w AS frauds, \
         lag(tx_amount) OVER w AS before FROM transactions \
         WINDOW w AS (PARTITION BY customer_id ORDER BY transaction_id)",
    ),
];

const MEMORY_BYTES: usize = 1 << 30;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(place) = args.iter().position(|arg| arg == "--one") {
        return one(&args[place + 1], &args[place + 2], args[place + 3].parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let rows = std::env::var("LAKEMILL_BENCH_ROWS").unwrap_or_else(|_| "2000000".to_owned());
    printed(&mut common::lakemill(folder.path(), &["demo", "--lake-only", "--rows", &rows, "--dir", "."]));
    println!("{:<32}{:>10} rows   datafusion: wall s   CPU s   MiB      polars: wall s   CPU s   MiB", "", "");
    for (index, (name, _)) in QUERIES.iter().enumerate() {
        let [datafusion, polars] = ["datafusion", "polars"].map(|engine| best(folder.path(), engine, index));
        assert_eq!(datafusion[0], polars[0], "{name}: the engines do not give as many rows");
        println!(
            "{name:<32}{:>10} {:>24.2} {:>7.2} {:>6.0} {:>20.2} {:>7.2} {:>6.0}",
            datafusion[0], datafusion[1], datafusion[2], datafusion[3], polars[1], polars[2], polars[3]
        );
    }
}

/// Rows, and the least wall seconds, CPU seconds and MiB of three processes.
fn best(lake: &Path, engine: &str, query: usize) -> [f64; 4] {
    let run = |_| {
        let program = std::env::current_exe().unwrap();
        let args = ["--one", lake.to_str().unwrap(), engine, &query.to_string()].map(str::to_owned);
        let text = printed(Command::new(program).args(args));
        let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
        [numbers[0], numbers[1], numbers[2], numbers[3]]
    };
    (0..3).map(run).reduce(|a, b| std::array::from_fn(|index| a[index].min(b[index]))).unwrap()
}

/// Runs one query and prints rows, wall seconds, CPU seconds and MiB.
fn one(lake: &str, engine: &str, query: usize) {
    let runtime = Runtime::new(None).unwrap();
    let (wall, cpu) = (Instant::now(), cpu_seconds());
    let rows = runtime.run_recorded(async {
        let mut session = Session::new(SessionOptions::features(MEMORY_BYTES)).unwrap();
        for table in ["transactions", "customers", "terminals"] {
            let place = Path::new(lake).join("lake").join(table);
            let location = Location::parse(place.to_str().unwrap(), Path::new("/")).unwrap();
            session.register(&pin(&TableRequest::latest(table, location)).await.unwrap()).await.unwrap();
        }
        let sql = FeatureSql::parse(QUERIES[query].1, "query.sql").unwrap();
        let month: Interval = "2018-06-01/2018-07-01".parse().unwrap();
        let planned = session.plan(&sql, &Parameters::of_interval(&month)).await.unwrap();
        let mut rows = 0;
        if engine == "polars" {
            let query = PolarsQuery::plan(&planned, &sql).await.unwrap();
            assert!(query.reads().iter().all(|read| read.natively), "{:?}", query.reads());
            let mut stream = query.stream(&["transaction_id".to_owned()]).await.unwrap();
            while let Some(batch) = stream.try_next().await.unwrap() {
                rows += batch.num_rows();
            }
        } else {
            let mut stream = planned.stream().unwrap();
            while let Some(batch) = stream.try_next().await.map_err(from_datafusion).unwrap() {
                rows += batch.num_rows();
            }
        }
        rows
    });
    println!("{rows} {} {} {}", wall.elapsed().as_secs_f64(), cpu_seconds() - cpu, mib(peak_rss_bytes()));
}
