//! Rows without an order key: all of them are peers of each other, however many batches they come in, in every window
//! over a distance of the key, whichever operator computes it.
//!
//! DataFusion's bounded windows count such rows before all of them are there, where a frame ends before its row.

use super::ask;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use chrono::{Datelike, NaiveDate};
use lakemill::query::{Session, SessionOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Several batches, so that the NULLs lie in more than one, whose rows the operators hold in more than one piece.
const ROWS: i64 = 40_000;
const KEYS: i64 = 700;
const DAY: i64 = 86_400_000_000;

/// The key of a row; every fourth has none.
fn key(id: i64) -> Option<i64> {
    (id % 4 != 1).then_some(id * 7 % KEYS)
}

/// A value that goes with the key, so that it does not matter which of several peers is taken; NULL for some keys.
fn value(id: i64) -> Option<i64> {
    let value = key(id).map_or(id % 50, |key| key * 3 % 41);
    (value % 5 != 0).then_some(value)
}

fn word(id: i64) -> Option<String> {
    value(id).map(|value| format!("{}{value}", ["b", "aa", "c"][value as usize % 3]))
}

fn open(sliding_windows: bool, threads: usize) -> Session {
    let options = SessionOptions { sliding_windows, ..SessionOptions::ad_hoc(1 << 30, threads) };
    let mut session = Session::new(options).unwrap();
    let ids = || 0..ROWS;
    let at: TimestampMicrosecondArray = ids().map(|id| key(id).map(|key| key * DAY)).collect();
    let all = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter_values(ids())) as ArrayRef, false),
        ("tick", Arc::new(ids().map(key).collect::<Int64Array>()), true),
        ("at", Arc::new(at), true),
        ("value", Arc::new(ids().map(value).collect::<Int64Array>()), true),
        ("word", Arc::new(ids().map(word).collect::<StringArray>()), true),
    ])
    .unwrap();
    let batches = (0..all.num_rows()).step_by(8192).map(|at| all.slice(at, 8192.min(all.num_rows() - at)));
    session.register_batches("t", all.schema(), batches.collect()).unwrap();
    session
}

/// A call, and what it gives for the rows of a frame, as text.
type Call = (&'static str, fn(&[i64]) -> Option<String>);

fn text<T: ToString>(value: Option<T>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn values(rows: &[i64]) -> impl Iterator<Item = i64> {
    rows.iter().filter_map(|id| value(*id))
}

const CALLS: &[Call] = &[
    ("count(*)", |rows| text(Some(rows.len()))),
    ("count(*) FILTER (WHERE value > 20)", |rows| text(Some(values(rows).filter(|value| *value > 20).count()))),
    ("sum(value) FILTER (WHERE value > 20)", |rows| {
        text(values(rows).filter(|value| *value > 20).reduce(|a, b| a + b))
    }),
    ("max(value) FILTER (WHERE word < 'b')", |rows| {
        text(rows.iter().filter(|id| word(**id).is_some_and(|word| *word < *"b")).filter_map(|id| value(*id)).max())
    }),
    ("count(DISTINCT value) FILTER (WHERE value > 9)", |rows| {
        text(Some(values(rows).filter(|value| *value > 9).collect::<BTreeSet<_>>().len()))
    }),
    ("sum(DISTINCT value)", |rows| text(values(rows).collect::<BTreeSet<_>>().into_iter().reduce(|a, b| a + b))),
    ("min(word)", |rows| rows.iter().filter_map(|id| word(*id)).min()),
    ("max(word)", |rows| rows.iter().filter_map(|id| word(*id)).max()),
    ("median(value)", |rows| median(values(rows).collect())),
    // Of the keys, since which of several peers comes first is up to the sort.
    ("nth_value(tick, 12)", |rows| rows.get(11).and_then(|id| text(key(*id)))),
];

/// What only DataFusion computes: a FILTER of what does not merely pass over NULLs.
const STOCK: &[Call] =
    &[("median(value) FILTER (WHERE value > 20)", |rows| median(values(rows).filter(|value| *value > 20).collect()))];

fn median(mut values: Vec<i64>) -> Option<String> {
    values.sort_unstable();
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(format!("{:?}", (values[low] + values[high]) as f64 / 2.0))
}

/// Compares each call over a frame with what the rows of the frame give; `inside` tells whether a key is in the frame
/// of another. Frames of rows without a key hold those without one, as far as `all` of the table's rows do not.
async fn check(calls: &[Call], over: &str, threads: usize, inside: impl Fn(i64, i64) -> bool) {
    let columns: Vec<String> =
        calls.iter().enumerate().map(|(at, (call, _))| format!("{call} OVER ({over}) AS c{at}")).collect();
    let sql = format!("SELECT id, {} FROM t", columns.join(", "));
    let found = ask(&open(true, threads), &sql).await.unwrap();
    assert_eq!(found.num_rows() as i64, ROWS);
    let mut rows: BTreeMap<Option<i64>, Vec<i64>> = BTreeMap::new();
    (0..ROWS).for_each(|id| rows.entry(key(id)).or_default().push(id));
    let frames: BTreeMap<Option<i64>, Vec<i64>> = rows
        .keys()
        .map(|key| {
            let is_inside = |other: &Option<i64>| match (key, other) {
                (Some(key), Some(other)) => inside(*key, *other),
                (key, other) => key == other,
            };
            (*key, rows.iter().filter(|(other, _)| is_inside(other)).flat_map(|(_, ids)| ids.clone()).collect())
        })
        .collect();
    let ids = found["id"].as_primitive::<Int64Type>().values().to_vec();
    for (at, (call, wanted)) in calls.iter().enumerate() {
        let wanted: BTreeMap<Option<i64>, Option<String>> =
            frames.iter().map(|(key, rows)| (*key, wanted(rows))).collect();
        let texts = cast(found.column(at + 1), &DataType::Utf8).unwrap();
        for (id, found) in ids.iter().zip(texts.as_string::<i32>()) {
            let key = key(*id);
            assert_eq!(found, wanted[&key].as_deref(), "{call} OVER ({over}) of row {id}, whose key is {key:?}");
        }
    }
}

/// If this fails, DataFusion has mended it: then ARCHITECTURE.md and `src/query/window/whole.rs` say too much.
#[tokio::test]
async fn stock_still_miscounts_them() {
    let sql = "SELECT tick, count(*) OVER (ORDER BY tick RANGE BETWEEN 10 PRECEDING AND 5 PRECEDING) AS n FROM t";
    let found = ask(&open(false, 1), sql).await.unwrap();
    let (ticks, counts) = (found["tick"].as_primitive::<Int64Type>(), found["n"].as_primitive::<Int64Type>());
    let of_nulls: BTreeSet<i64> =
        ticks.iter().zip(counts.values()).filter(|(tick, _)| tick.is_none()).map(|(_, count)| *count).collect();
    assert!(of_nulls.len() > 1 && of_nulls.last() == Some(&(ROWS / 4)), "{of_nulls:?}");
}

#[tokio::test]
async fn they_are_peers_in_every_window_over_a_distance() {
    for nulls in ["FIRST", "LAST"] {
        for threads in [1, 3] {
            let over = format!("ORDER BY tick NULLS {nulls} RANGE BETWEEN 10 PRECEDING AND 5 PRECEDING");
            check(CALLS, &over, threads, |key, other| (key - 10..=key - 5).contains(&other)).await;
            check(STOCK, &over, threads, |key, other| (key - 10..=key - 5).contains(&other)).await;
        }
        let over = format!("ORDER BY tick DESC NULLS {nulls} RANGE BETWEEN 3 PRECEDING AND 1 PRECEDING");
        check(&CALLS[..8], &over, 1, |key, other| (key + 1..=key + 3).contains(&other)).await;
        let over = format!("ORDER BY tick NULLS {nulls} RANGE BETWEEN 2 FOLLOWING AND 4 FOLLOWING");
        check(&CALLS[..8], &over, 1, |key, other| (key + 2..=key + 4).contains(&other)).await;
    }
}

#[tokio::test]
async fn months_have_the_days_that_they_have() {
    let day = |key: i64| NaiveDate::from_ymd_opt(1970, 1, 1).unwrap() + chrono::Days::new(key as u64);
    let before = |key: i64, months: u32| day(key).checked_sub_months(chrono::Months::new(months)).unwrap();
    for nulls in ["FIRST", "LAST"] {
        let frame = "RANGE BETWEEN INTERVAL '2 months' PRECEDING AND INTERVAL '1 month' PRECEDING";
        check(&CALLS[..8], &format!("ORDER BY at NULLS {nulls} {frame}"), 1, |key, other| {
            (before(key, 2)..=before(key, 1)).contains(&day(other))
        })
        .await;
        let over = format!("ORDER BY CAST(at AS DATE) NULLS {nulls} RANGE INTERVAL '1 month' PRECEDING");
        check(&CALLS[..4], &over, 1, |key, other| (before(key, 1)..=day(key)).contains(&day(other))).await;
    }
    assert_eq!(day(699).year(), 1971);
}

/// A key that no operator of ours has: a decimal of many digits.
#[tokio::test]
async fn keys_that_only_stock_has_are_right_too() {
    for nulls in ["FIRST", "LAST"] {
        let over =
            format!("ORDER BY CAST(tick AS DECIMAL(30, 2)) NULLS {nulls} RANGE BETWEEN 10 PRECEDING AND 5 PRECEDING");
        check(&CALLS[..8], &over, 1, |key, other| (key - 10..=key - 5).contains(&other)).await;
    }
}

/// Peers of a key from which a distance takes nothing away: infinities, and numbers of too many digits.
#[tokio::test]
async fn so_are_keys_that_a_distance_does_not_move() {
    let sql = "SELECT key, n, first_value(n) OVER (PARTITION BY key) AS same FROM (SELECT key, sum(DISTINCT value) OVER \
        (ORDER BY key RANGE BETWEEN 10 PRECEDING AND 5 PRECEDING) AS n FROM \
        (SELECT value, CASE WHEN id % 3 = 0 THEN 1e300 WHEN id % 3 = 1 THEN CAST('inf' AS DOUBLE) END AS key FROM t))";
    let found = ask(&open(true, 1), sql).await.unwrap();
    assert_eq!(found.num_rows() as i64, ROWS);
    assert_eq!(&found["n"], &found["same"]);
    assert_eq!(found["n"].null_count(), 0);
    assert_eq!(found["key"].as_primitive::<Float64Type>().null_count() as i64, ROWS / 3);
}

/// A count goes down again where the keys end, and NULL may be the first of the largest values: what is sorted by them
/// has to be sorted, though DataFusion says that it is.
#[tokio::test]
async fn rows_are_sorted_by_a_window_that_counts() {
    let windows = [
        "count(tick) OVER (ORDER BY tick RANGE BETWEEN 10 PRECEDING AND 5 PRECEDING)",
        "count(tick) OVER (ORDER BY tick ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)",
        "count(tick) OVER (PARTITION BY tick ORDER BY id ROWS 1 PRECEDING)",
        "max(tick) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING)",
        "max(tick) OVER (ORDER BY tick ROWS BETWEEN 5 PRECEDING AND 2 PRECEDING)",
        "min(tick) OVER (ORDER BY tick ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING)",
    ];
    for (window, threads) in windows.into_iter().flat_map(|window| [(window, 1), (window, 3)]) {
        let all = format!("SELECT {window} AS n FROM t WHERE id % 50 < 12");
        for sql in [format!("{all} ORDER BY n"), format!("SELECT n FROM ({all}) ORDER BY n LIMIT 100")] {
            let session = open(true, threads);
            let found = ask(&session, &sql).await.unwrap();
            let found: Vec<Option<i64>> = found["n"].as_primitive::<Int64Type>().iter().collect();
            let mut wanted: Vec<Option<i64>> =
                ask(&session, &all).await.unwrap()["n"].as_primitive::<Int64Type>().iter().collect();
            wanted.sort_by_key(|n| (n.is_none(), *n));
            wanted.truncate(found.len());
            assert_eq!(found, wanted, "{sql}");
        }
    }
}
