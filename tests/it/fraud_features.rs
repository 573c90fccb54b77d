//! The shipped fraud features on the real table, every row of it, against their definition.
//!
//! The definition is that of the Fraud Detection Handbook, in whole seconds: a window of d days that ends at second t
//! is (t - d days, t]. A customer's windows end at the transaction and hold it; a terminal's end a week before it.
//! It is computed here row by row over all of the customer's and the terminal's transactions, in integers, without
//! sorted frames: slow and plain, so that it shares nothing with the SQL. `tests/reference/fraud_features.py` is the
//! same comparison with DuckDB.

use crate::command::run;
use crate::shared::shared;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DAY: i64 = 86_400;

/// Rows of the table; frauds among them.
const ROWS: usize = 872_795;

/// One transaction as it is in the table.
struct Transaction {
    id: i64,
    second: i64,
    customer: i64,
    terminal: i64,
    amount: f64,
    cents: i64,
    fraud: i64,
}

/// A file that a query wrote, as one batch.
fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
    let (schema, batches) = (reader.schema().clone(), reader.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap());
    concat_batches(&schema, &batches).unwrap()
}

fn integers(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let values: ArrayRef = cast(&batch[column], &DataType::Int64).unwrap();
    assert_eq!(values.null_count(), 0, "{column}");
    values.as_primitive::<Int64Type>().values().to_vec()
}

fn floats(batch: &RecordBatch, column: &str) -> Vec<f64> {
    assert_eq!(batch[column].null_count(), 0, "{column}");
    batch[column].as_primitive::<Float64Type>().values().to_vec()
}

fn seconds(batch: &RecordBatch) -> Vec<i64> {
    let micros = batch["tx_datetime"].as_primitive::<TimestampMicrosecondType>().values();
    micros.iter().map(|micros| micros.div_euclid(1_000_000)).collect()
}

fn transactions(lake: &Path, folder: &Path) -> Vec<Transaction> {
    let (file, table) = (folder.join("transactions.parquet"), format!("t={}", lake.display()));
    let sql = "SELECT transaction_id, tx_datetime, customer_id, terminal_id, tx_amount, tx_fraud FROM t";
    run(&["query", sql, "--table", &table, "--format", "parquet", "--out", &file.display().to_string()]).expect(0);
    let batch = read(&file);
    let [ids, customers, terminals, frauds] =
        ["transaction_id", "customer_id", "terminal_id", "tx_fraud"].map(|column| integers(&batch, column));
    let (seconds, amounts) = (seconds(&batch), floats(&batch, "tx_amount"));
    (0..batch.num_rows())
        .map(|row| {
            // Amounts are cents, some with the noise of a sum of floats: 88.14999999999999.
            let cents = (amounts[row] * 100.0).round();
            assert!((cents / 100.0 - amounts[row]).abs() < 1e-9, "{} is not in cents", amounts[row]);
            Transaction {
                id: ids[row],
                second: seconds[row],
                customer: customers[row],
                terminal: terminals[row],
                amount: amounts[row],
                cents: cents as i64,
                fraud: frauds[row],
            }
        })
        .collect()
}

/// The rows of the shipped SQL for an interval, by way of the shipped job.
fn features(lake: &Path, interval: &str, folder: &Path) -> RecordBatch {
    let file: PathBuf = folder.join("features.parquet");
    let (table, out) = (format!("tables.transactions.path={}", lake.display()), file.display().to_string());
    let job = ["query", "sql/card_fraud.sql", "--job", "jobs/card_fraud.toml", "--interval", interval];
    run(&[&job[..], &["--set", &table, "--format", "parquet", "--out", &out]].concat()).expect(0);
    read(&file)
}

/// The rows of the job that declares the same windows, by the SQL that its plan shows. Where a terminal has had no
/// transactions, the declared share of frauds is NULL and the written one 0.
fn declared(lake: &Path, interval: &str, folder: &Path) -> RecordBatch {
    let (sql, file) = (folder.join("declared.sql"), folder.join("declared.parquet"));
    let table = format!("tables.transactions.path={}", lake.display());
    let job = "jobs/card_fraud_declared.toml";
    let shown = run(&["plan", job, "--interval", interval, "--set", &table, "--sql"]).expect(0).stdout;
    std::fs::write(&sql, shown).unwrap();
    let (sql, out) = (sql.display().to_string(), file.display().to_string());
    let query = ["query", &sql, "--job", job, "--interval", interval, "--set", &table];
    run(&[&query[..], &["--format", "parquet", "--out", &out]].concat()).expect(0);
    let given = read(&file);
    let schema = given.schema();
    let columns = schema.fields().iter().zip(given.columns()).map(|(field, column)| {
        let (name, counts) = (field.name().clone(), field.name().replace("fraud_share", "count"));
        if name == counts {
            return (name, Arc::clone(column));
        }
        let shares = column.as_primitive::<Float64Type>().iter().zip(integers(&given, &counts));
        let share = |(share, count): (Option<f64>, i64)| {
            assert_eq!(share.is_none(), count == 0, "{name}");
            share.unwrap_or(0.0)
        };
        let shares: ArrayRef = Arc::new(Float64Array::from_iter_values(shares.map(share)));
        (name, shares)
    });
    RecordBatch::try_from_iter(columns.collect::<Vec<_>>()).unwrap()
}

/// What happened to whom, with what is summed of it: (second, amount or fraud).
fn by<'a>(all: &'a [Transaction], who: impl Fn(&'a Transaction) -> (i64, i64)) -> HashMap<i64, Vec<(i64, i64)>> {
    let mut groups: HashMap<i64, Vec<(i64, i64)>> = HashMap::new();
    for transaction in all {
        let (group, value) = who(transaction);
        groups.entry(group).or_default().push((transaction.second, value));
    }
    groups
}

/// How many of `events` are in (end - days, end], and the sum of their values; for 1, 7 and 30 days.
fn windows(events: &[(i64, i64)], end: i64) -> [(i64, i64); 3] {
    let mut found = [(0, 0); 3];
    for &(second, value) in events {
        for (window, days) in found.iter_mut().zip([1, 7, 30]) {
            let within = i64::from(second <= end && second > end - days * DAY);
            window.0 += within;
            window.1 += within * value;
        }
    }
    found
}

/// Integers, and numbers that may differ by rounding, in the order of [`COUNTS`] and [`MEANS`].
struct Row {
    counts: [i64; 12],
    means: [f64; 6],
}

const COUNTS: [&str; 12] = [
    "transaction_id",
    "second",
    "customer_id",
    "tx_fraud",
    "weekend",
    "night",
    "customer_count_1d",
    "customer_count_7d",
    "customer_count_30d",
    "terminal_count_1d",
    "terminal_count_7d",
    "terminal_count_30d",
];

const MEANS: [&str; 6] = [
    "customer_mean_amount_1d",
    "customer_mean_amount_7d",
    "customer_mean_amount_30d",
    "terminal_fraud_share_1d",
    "terminal_fraud_share_7d",
    "terminal_fraud_share_30d",
];

/// The rows by definition, of all transactions.
fn definition(all: &[Transaction]) -> HashMap<i64, Row> {
    let customers = by(all, |transaction| (transaction.customer, transaction.cents));
    let terminals = by(all, |transaction| (transaction.terminal, transaction.fraud));
    let row = |of: &Transaction| {
        let paid = windows(&customers[&of.customer], of.second);
        let seen = windows(&terminals[&of.terminal], of.second - 7 * DAY);
        // 1970-01-01 was a Thursday; Monday is 0.
        let weekday = (of.second.div_euclid(DAY) + 3).rem_euclid(7);
        let (weekend, night) = (i64::from(weekday >= 5), i64::from(of.second.rem_euclid(DAY) < 7 * 3600));
        let facts = [of.id, of.second, of.customer, of.fraud, weekend, night];
        let counts = [paid[0].0, paid[1].0, paid[2].0, seen[0].0, seen[1].0, seen[2].0];
        let mean = |(count, cents): (i64, i64)| cents as f64 / (100 * count) as f64;
        let share = |(count, frauds): (i64, i64)| if count == 0 { 0.0 } else { frauds as f64 / count as f64 };
        let mut both = [0; 12];
        both[..6].copy_from_slice(&facts);
        both[6..].copy_from_slice(&counts);
        let means = [mean(paid[0]), mean(paid[1]), mean(paid[2]), share(seen[0]), share(seen[1]), share(seen[2])];
        (of.id, Row { counts: both, means })
    };
    all.iter().map(row).collect()
}

/// Compares every row of `found`; each must be in `wanted`, and none twice.
fn compare(found: &RecordBatch, wanted: &HashMap<i64, Row>) {
    let counts: Vec<Vec<i64>> =
        COUNTS.iter().map(|name| if *name == "second" { seconds(found) } else { integers(found, name) }).collect();
    let means: Vec<Vec<f64>> = MEANS.iter().map(|name| floats(found, name)).collect();
    let mut seen = BTreeSet::new();
    for row in 0..found.num_rows() {
        let id = counts[0][row];
        assert!(seen.insert(id), "transaction {id} stands twice");
        let want = wanted.get(&id).unwrap_or_else(|| panic!("there is no transaction {id}"));
        for (column, name) in COUNTS.iter().enumerate() {
            assert_eq!(counts[column][row], want.counts[column], "{name} of transaction {id}");
        }
        for (column, name) in MEANS.iter().enumerate() {
            let (got, want) = (means[column][row], want.means[column]);
            assert!((got - want).abs() <= 1e-12 * want.abs(), "{name} of transaction {id}: {got}, not {want}");
        }
    }
}

#[test]
fn every_row_of_the_real_table_has_the_features_of_the_definition() {
    let Some(lake) = shared("lake/transactions") else { return };
    let folder = tempfile::tempdir().unwrap();
    let all = transactions(&lake, folder.path());
    assert_eq!(all.len(), ROWS);
    let wanted = definition(&all);
    assert_eq!(wanted.len(), ROWS, "ids are unique");

    let found = features(&lake, "2018-04-01/2018-07-01", folder.path());
    let schema = found.schema();
    let names: BTreeSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let compared = COUNTS.iter().chain(&MEANS).copied().filter(|name| *name != "second");
    assert_eq!(names, compared.chain(["tx_datetime", "tx_amount"]).collect(), "every column is compared");
    assert_eq!(found.num_rows(), ROWS);
    compare(&found, &wanted);
    let amounts: HashMap<i64, f64> = all.iter().map(|transaction| (transaction.id, transaction.amount)).collect();
    for (id, amount) in integers(&found, "transaction_id").into_iter().zip(floats(&found, "tx_amount")) {
        assert_eq!(amount, amounts[&id]);
    }

    // One night reads only its history; its rows are the same.
    let night = features(&lake, "2018-06-20", folder.path());
    let in_night = all.iter().filter(|transaction| transaction.second.div_euclid(DAY) == 17_702).count();
    assert_eq!((night.num_rows(), in_night), (9_523, 9_523));
    compare(&night, &wanted);
}

/// Counts and labels as they are, means and shares to the last digits.
fn same(declared: &RecordBatch, written: &RecordBatch) {
    assert_eq!(declared.num_rows(), written.num_rows());
    let place = |batch: &RecordBatch| -> Vec<(i64, usize)> {
        let mut rows: Vec<_> =
            integers(batch, "transaction_id").into_iter().enumerate().map(|(row, id)| (id, row)).collect();
        rows.sort_unstable();
        rows
    };
    let (declared_rows, written_rows) = (place(declared), place(written));
    for field in written.schema().fields() {
        let name = field.name().as_str();
        if MEANS.contains(&name) || name == "tx_amount" {
            let (found, wanted) = (floats(declared, name), floats(written, name));
            for ((id, row), (_, other)) in declared_rows.iter().zip(&written_rows) {
                let (got, want) = (found[*row], wanted[*other]);
                assert!((got - want).abs() <= 1e-12 * want.abs(), "{name} of transaction {id}: {got}, not {want}");
            }
        } else {
            let of = |batch| if name == "tx_datetime" { seconds(batch) } else { integers(batch, name) };
            let (found, wanted) = (of(declared), of(written));
            for ((id, row), (same, other)) in declared_rows.iter().zip(&written_rows) {
                assert_eq!((id, found[*row]), (same, wanted[*other]), "{name} of transaction {id}");
            }
        }
    }
}

#[test]
fn declared_windows_are_the_written_ones_on_every_row_of_the_real_table() {
    let Some(lake) = shared("lake/transactions") else { return };
    let folder = tempfile::tempdir().unwrap();
    for (interval, rows) in [("2018-04-01/2018-07-01", ROWS), ("2018-06-20", 9_523)] {
        let (declared, written) = (declared(&lake, interval, folder.path()), features(&lake, interval, folder.path()));
        assert_eq!(declared.num_rows(), rows);
        let mut names: BTreeSet<String> = declared.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert!(names.remove("terminal_id"), "the windows need it");
        assert_eq!(names, written.schema().fields().iter().map(|field| field.name().clone()).collect());
        same(&declared, &written);
    }
}
