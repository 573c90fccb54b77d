//! Operators of which some windows are ours and others DataFusion's, and windows that became ours later.

use super::{Operator, Row, ask, session};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use lakemill::query::{Session, SessionOptions};

fn rows() -> Vec<Row> {
    let row = |at: usize| Row {
        part: (at % 7 != 3).then(|| format!("p{}", at % 5)),
        key: (!at.is_multiple_of(11)).then_some((at * 37 % 41) as f64),
        whole: (at % 4 != 1).then_some((at * 13 % 17) as i64 - 5),
        float: (at % 6 != 2).then_some((at * 29 % 31) as f64 * 0.25),
    };
    (0..300).map(row).collect()
}

/// Equal, but for the last digits of floats.
fn same(found: &RecordBatch, wanted: &RecordBatch, sql: &str) {
    assert_eq!(found.schema(), wanted.schema(), "{sql}");
    for (field, (found, wanted)) in found.schema().fields().iter().zip(found.columns().iter().zip(wanted.columns())) {
        if field.data_type() != &DataType::Float64 {
            assert_eq!(found, wanted, "{} of {sql}", field.name());
            continue;
        }
        let pairs = found.as_primitive::<Float64Type>().iter().zip(wanted.as_primitive::<Float64Type>());
        for (found, wanted) in pairs {
            match (found, wanted) {
                (Some(found), Some(wanted)) => assert!((found - wanted).abs() < 1e-9, "{} of {sql}", field.name()),
                (found, wanted) => assert_eq!(found, wanted, "{} of {sql}", field.name()),
            }
        }
    }
}

/// Both operators give the same, and this many of each kind are in our plan.
async fn compare(select: &str, ours: usize, stock: usize) {
    let sql = format!("SELECT id, {select} FROM t");
    let plan = session(&rows(), 16, Operator::Ours).ad_hoc(&sql).await.unwrap().explain().physical;
    assert_eq!(plan.matches("SlidingWindowExec").count(), ours, "{sql}\n{plan}");
    assert_eq!(plan.matches("WindowAggExec").count(), stock, "{sql}\n{plan}");
    let sql = format!("{sql} ORDER BY id");
    let wanted = ask(&session(&rows(), 16, Operator::Stock), &sql).await.unwrap();
    for batch in [1, 16, 8192] {
        same(&ask(&session(&rows(), batch, Operator::Ours), &sql).await.unwrap(), &wanted, &sql);
    }
}

const OVER: &str = "OVER (PARTITION BY part ORDER BY id ROWS BETWEEN 5 PRECEDING AND 1 FOLLOWING)";

#[tokio::test]
async fn one_window_that_is_not_ours_leaves_us_the_others() {
    for other in [
        format!("median(whole) FILTER (WHERE whole > 3) {OVER}"),
        format!("sum(DISTINCT whole) {OVER}"),
        format!("min(part) {OVER}"),
        format!("first_value(whole) IGNORE NULLS {OVER}"),
        "rank() OVER (PARTITION BY part ORDER BY id)".to_owned(),
        "lag(whole, 2) OVER (PARTITION BY part ORDER BY id)".to_owned(),
    ] {
        let ours = [format!("count(*) {OVER}"), format!("avg(float) {OVER}"), format!("sum(whole) {OVER}")];
        for place in 0..=ours.len() {
            let mut all = ours.to_vec();
            all.insert(place, other.clone());
            let columns: Vec<String> = all.iter().enumerate().map(|(at, call)| format!("{call} AS c{at}")).collect();
            compare(&columns.join(", "), 1, 1).await;
        }
    }
}

#[tokio::test]
async fn windows_to_the_end_are_parted_too() {
    let over = "OVER (PARTITION BY part ORDER BY id ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)";
    let select =
        format!("max(part) {over} AS a, sum(whole) {over} AS b, min(part) {over} AS c, avg(float) {over} AS d");
    compare(&select, 1, 1).await;
    compare("min(part) OVER () AS a, count(*) OVER () AS b", 1, 1).await;
}

#[tokio::test]
async fn a_sort_below_both_parts_is_ours_and_another_order_is_another_operator() {
    let by_key = "OVER (PARTITION BY whole ORDER BY key ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)";
    let sql = format!("SELECT id, count(id) {by_key} AS a, min(part) {by_key} AS b, sum(float) {OVER} AS c FROM t");
    let plan = session(&rows(), 16, Operator::Ours).ad_hoc(&sql).await.unwrap().explain().physical;
    assert_eq!(plan.matches("SlidingWindowExec").count(), 2, "{plan}");
    assert_eq!(plan.matches("KeySortExec").count(), 1, "by numbers; the other is by texts\n{plan}");
}

#[tokio::test]
async fn different_values_are_counted_as_stock_counts_them() {
    for frame in [
        "ROWS BETWEEN 5 PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN 9 PRECEDING AND 4 PRECEDING",
        "ROWS BETWEEN 2 FOLLOWING AND 6 FOLLOWING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
        "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
        "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    ] {
        for partition in ["PARTITION BY part", ""] {
            let over = format!("OVER ({partition} ORDER BY id {frame})");
            let calls = ["whole", "float", "part", "whole > 2", "CAST(id % 9 AS DECIMAL(9, 2))"];
            let calls: Vec<String> =
                calls.iter().enumerate().map(|(at, of)| format!("count(DISTINCT {of}) {over} AS c{at}")).collect();
            compare(&calls.join(", "), 1, 0).await;
        }
    }
}

/// A FILTER is a condition of the argument, in frames of rows as in all others.
#[tokio::test]
async fn filters_are_ours_too() {
    let calls = [
        "count(*)",
        "count(float)",
        "count(DISTINCT whole)",
        "sum(whole)",
        "sum(float)",
        "avg(float)",
        "min(float)",
        "max(whole)",
        "stddev(float)",
        "stddev_pop(float)",
        "var(float)",
        "var_pop(float)",
    ];
    for condition in ["whole > 3", "part = 'p1' OR float IS NULL", "whole IS NULL", "false"] {
        for over in [OVER, "OVER (PARTITION BY part ORDER BY id)", "OVER ()"] {
            let columns: Vec<String> = calls
                .iter()
                .enumerate()
                .map(|(at, call)| format!("{call} FILTER (WHERE {condition}) {over} AS c{at}, {call} {over} AS d{at}"))
                .collect();
            compare(&columns.join(", "), 1, 0).await;
        }
    }
    // Of a window below, and under a name that another expression reads.
    let select = "sum(n) FILTER (WHERE n > 2) OVER (ORDER BY id ROWS 3 PRECEDING) + 1 AS a FROM (SELECT id, \
        count(*) FILTER (WHERE whole > 2) OVER (ORDER BY id ROWS 7 PRECEDING) AS n FROM t)";
    let sql = format!("SELECT id, {select} ORDER BY id");
    let [ours, stock] = [Operator::Ours, Operator::Stock].map(|operator| session(&rows(), 16, operator));
    let plan = ours.ad_hoc(&sql).await.unwrap().explain().physical;
    assert!(plan.contains("SlidingWindowExec") && !plan.contains("WindowAggExec"), "{plan}");
    assert_eq!(ask(&ours, &sql).await.unwrap(), ask(&stock, &sql).await.unwrap());
}

#[tokio::test]
async fn the_last_value_that_is_none_is_found_in_frames_that_move() {
    for frame in [
        "ROWS BETWEEN 5 PRECEDING AND 1 FOLLOWING",
        "ROWS BETWEEN 9 PRECEDING AND 4 PRECEDING",
        "ROWS BETWEEN CURRENT ROW AND CURRENT ROW",
        "ROWS BETWEEN 1 PRECEDING AND UNBOUNDED FOLLOWING",
    ] {
        let over = format!("OVER (PARTITION BY part ORDER BY id {frame})");
        let select = format!(
            "last_value(whole) IGNORE NULLS {over} AS a, last_value(float) IGNORE NULLS {over} AS b, \
             last_value(CASE WHEN whole > 8 THEN part END) IGNORE NULLS {over} AS c, last_value(whole) {over} AS d"
        );
        compare(&select, 1, 0).await;
    }
}

#[tokio::test]
async fn rows_are_numbered() {
    compare(
        "row_number() OVER (PARTITION BY part ORDER BY id) AS a, count(*) OVER (PARTITION BY part ORDER BY id) AS b",
        1,
        0,
    )
    .await;
    compare("row_number() OVER (PARTITION BY part, whole ORDER BY key DESC, id) AS a", 1, 0).await;
    compare("row_number() OVER () AS a", 1, 0).await;
}

/// Many rows, of which those are let go that left all frames: with nothing else held, the memory is enough.
#[tokio::test]
async fn what_left_is_forgotten_and_what_stays_is_not() {
    let row = |at: usize| Row { part: None, key: None, whole: Some(at as i64), float: None };
    let rows: Vec<Row> = (0..400_000).map(row).collect();
    let batches = super::batches(&rows, 8192);
    let mut session = Session::new(SessionOptions::features(16 << 20)).unwrap();
    session.register_batches("t", batches[0].schema(), batches).unwrap();
    let given = async |call: &str, frame: &str| {
        let sql = format!("SELECT {call} OVER (ROWS BETWEEN {frame}) AS x FROM t");
        ask(&session, &sql).await.unwrap()["x"].as_primitive::<Int64Type>().values().to_vec()
    };
    let check = |found: Vec<i64>, wanted: fn(i64) -> i64| {
        assert_eq!(found.len(), 400_000);
        assert!(found.iter().zip(0..).all(|(found, at)| *found == wanted(at)));
    };
    let moving = "99 PRECEDING AND CURRENT ROW";
    check(given("count(DISTINCT whole)", moving).await, |at| (at + 1).min(100));
    check(given("count(DISTINCT whole % 70)", moving).await, |at| (at + 1).min(70));
    let from_the_start = "UNBOUNDED PRECEDING AND CURRENT ROW";
    check(given("count(DISTINCT whole % 1000)", from_the_start).await, |at| (at + 1).min(1000));
    check(given("last_value(CASE WHEN whole % 50 = 0 THEN whole END) IGNORE NULLS", moving).await, |at| at - at % 50);
}
