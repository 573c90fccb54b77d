//! The same SQL on our operator and on DataFusion's own, over types and clauses that the oracle does not know.

use super::{Operator, ask};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, DictionaryArray, DurationMicrosecondArray, Float32Array,
    Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int8Type};
use lakemill::query::{Session, SessionOptions};
use std::sync::Arc;

/// Numbers that look random and are the same each time.
fn number(row: usize, column: u64) -> u64 {
    let mut mixed =
        (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (column + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 29;
    mixed = mixed.wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed >> 32
}

/// A column of what `value` makes of a number; NULL in every eighth row.
fn column<A: FromIterator<Option<T>>, T>(rows: usize, column: u64, value: impl Fn(u64) -> T) -> A {
    (0..rows).map(|row| number(row, column)).map(|number| (number % 8 != 0).then(|| value(number / 8))).collect()
}

fn table(rows: usize) -> RecordBatch {
    let micros: TimestampMicrosecondArray = column(rows, 2, |number| (number % 3000) as i64 * 7_200_000_000);
    let part: DictionaryArray<Int8Type> =
        (0..rows).map(|row| Some(["a", "b", "c"][number(row, 0) as usize % 3])).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values((0..rows).map(|row| number(row, 99) as i64 * 1000 + row as i64)))),
        ("part", Arc::new(part)),
        ("shop", Arc::new(column::<StringArray, _>(rows, 1, |number| format!("s{}", number % 4)))),
        ("at", Arc::new(micros.clone())),
        ("at_utc", Arc::new(micros.with_timezone("UTC"))),
        ("day", Arc::new(column::<Date32Array, _>(rows, 3, |number| (number % 300) as i32))),
        ("tiny", Arc::new(column::<Int8Array, _>(rows, 4, |number| (number % 20) as i8 - 10))),
        ("small", Arc::new(column::<Int32Array, _>(rows, 5, |number| number as i32 % 500))),
        ("large", Arc::new(column::<UInt64Array, _>(rows, 6, |number| number << 33))),
        ("single", Arc::new(column::<Float32Array, _>(rows, 7, |number| (number % 1000) as f32 * 0.25))),
        ("float", Arc::new(column::<Float64Array, _>(rows, 8, |number| (number % 10_000) as f64 * 0.01))),
        ("price", Arc::new(column::<Decimal128Array, _>(rows, 9, i128::from).with_precision_and_scale(18, 2).unwrap())),
        ("took", Arc::new(column::<DurationMicrosecondArray, _>(rows, 10, |number| (number % 1000) as i64))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn open(rows: usize, operator: Operator, threads: usize) -> Session {
    let batch = 100.max(rows / 50);
    let options = SessionOptions {
        sliding_windows: operator == Operator::Ours,
        batch_size: batch,
        ..SessionOptions::ad_hoc(1 << 30, threads)
    };
    let mut session = Session::new(options).unwrap();
    let all = table(rows);
    let batches: Vec<RecordBatch> = (0..rows).step_by(batch).map(|at| all.slice(at, batch.min(rows - at))).collect();
    session.register_batches("t", all.schema(), batches).unwrap();
    session
}

/// Both operators must give the same; floats to twelve digits of `scale`.
async fn compare(rows: usize, threads: usize, select: &str) {
    let sql = format!("SELECT id, {select} FROM t");
    let ours = open(rows, Operator::Ours, threads);
    let plan = ours.ad_hoc(&sql).await.unwrap().explain().physical;
    assert!(plan.contains("SlidingWindowExec") && !plan.contains("WindowAggExec"), "{sql}\n{plan}");
    let sql = format!("SELECT * FROM ({sql}) ORDER BY id");
    let ours = ask(&ours, &sql).await.unwrap();
    let stock = ask(&open(rows, Operator::Stock, threads), &sql).await.unwrap();
    assert_eq!(ours.schema(), stock.schema(), "{sql}");
    for (index, field) in ours.schema().fields().iter().enumerate() {
        let (found, wanted) = (ours.column(index), stock.column(index));
        if field.data_type() != &DataType::Float64 {
            assert_eq!(found, wanted, "{} of {sql}", field.name());
            continue;
        }
        let (found, wanted) = (found.as_primitive::<Float64Type>(), wanted.as_primitive::<Float64Type>());
        for row in 0..found.len() {
            assert_eq!(found.is_null(row), wanted.is_null(row), "{} of row {row}: {sql}", field.name());
            if found.is_null(row) {
                continue;
            }
            let (found, wanted) = (found.value(row), wanted.value(row));
            // What DataFusion took out again leaves traces, most in deviations of next to nothing.
            let near = (found - wanted).abs() <= wanted.abs() * 1e-9 + 1e-4;
            assert!(near, "{} of row {row}: {found}, stock {wanted}: {sql}", field.name());
        }
    }
}

const ROWS: [&str; 10] = [
    "ROWS BETWEEN 3 PRECEDING AND CURRENT ROW",
    "ROWS BETWEEN 5 PRECEDING AND 2 PRECEDING",
    "ROWS BETWEEN 1 FOLLOWING AND 4 FOLLOWING",
    "ROWS BETWEEN CURRENT ROW AND CURRENT ROW",
    "ROWS BETWEEN 2 PRECEDING AND 150 FOLLOWING",
    "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
    "ROWS BETWEEN UNBOUNDED PRECEDING AND 3 FOLLOWING",
    "ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING",
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
];

#[tokio::test]
async fn every_type_goes_through_rows_frames() {
    let mut columns = Vec::new();
    for (at, frame) in ROWS.iter().enumerate() {
        let over = format!("OVER (PARTITION BY part, shop ORDER BY id {frame})");
        let calls = [
            "sum(small)",
            "sum(tiny)",
            "sum(large)",
            "sum(single)",
            "sum(float)",
            "sum(price)",
            "sum(took)",
            "avg(small)",
            "avg(float)",
            "count(shop)",
            "count(*)",
            "count(1)",
            "stddev(float)",
            "stddev_pop(small)",
            "var(float)",
            "var_pop(single)",
            "min(day)",
            "max(day)",
            "min(at_utc)",
            "max(at)",
            "min(tiny)",
            "max(large)",
            "min(single)",
            "max(float)",
            "min(price)",
            "max(price)",
            "min(took)",
            "first_value(shop)",
            "last_value(part)",
            "first_value(float)",
            "last_value(at_utc)",
            "first_value(price + 1)",
        ];
        for (call, text) in calls.iter().enumerate() {
            columns.push(format!("{text} {over} AS c{at}_{call}"));
        }
        compare(1000, 1, &columns.join(", ")).await;
        columns.clear();
    }
}

#[tokio::test]
async fn every_key_goes_through_range_frames() {
    let keys = [
        ("at", "INTERVAL '5 days'", "INTERVAL '12 hours'"),
        ("at_utc", "INTERVAL '1 day 2 hours'", "INTERVAL '0 days'"),
        ("day", "INTERVAL '20 days'", "INTERVAL '1 day'"),
        ("tiny", "6", "2"),
        ("small", "17", "0"),
        ("single", "3.5", "0.25"),
        ("float", "2.5", "1.0"),
        ("-small", "17", "4"),
    ];
    for (key, far, near) in keys {
        for order in ["ASC NULLS FIRST", "ASC NULLS LAST", "DESC NULLS FIRST", "DESC NULLS LAST"] {
            let frames = [
                format!("{far} PRECEDING AND CURRENT ROW"),
                format!("{far} PRECEDING AND {near} PRECEDING"),
                format!("{near} PRECEDING AND {far} FOLLOWING"),
                format!("{near} FOLLOWING AND {far} FOLLOWING"),
                format!("UNBOUNDED PRECEDING AND {near} FOLLOWING"),
                format!("{near} PRECEDING AND UNBOUNDED FOLLOWING"),
                "CURRENT ROW AND UNBOUNDED FOLLOWING".to_owned(),
                "UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
            ];
            let columns: Vec<String> = frames
                .iter()
                .enumerate()
                .flat_map(|(at, frame)| {
                    let over = format!("OVER (PARTITION BY part ORDER BY {key} {order} RANGE BETWEEN {frame})");
                    ["count(*)", "sum(small)", "sum(float)", "max(price)"]
                        .iter()
                        .enumerate()
                        .map(|(call, text)| format!("{text} {over} AS c{at}_{call}"))
                        .collect::<Vec<_>>()
                })
                .collect();
            compare(600, 1, &columns.join(", ")).await;
        }
    }
}

/// Frames that lie far from their row, or reach over so many that what they left is let go in between.
#[tokio::test]
async fn frames_of_many_rows_are_no_others() {
    const ROWS: usize = 90_000;
    let wide = ["count(float)", "sum(small)", "avg(float)", "stddev(float)", "min(float)", "max(price)"];
    let of_rows = [&wide[..], &["first_value(shop)", "last_value(float)"]].concat();
    let (wide, of_rows) = (&wide[..], &of_rows[..]);
    let cases = [
        ("id ROWS", "50000 PRECEDING AND 40000 PRECEDING", of_rows),
        ("id ROWS", "UNBOUNDED PRECEDING AND 40000 PRECEDING", of_rows),
        ("id ROWS", "35000 PRECEDING AND 35000 FOLLOWING", of_rows),
        ("id ROWS", "40000 FOLLOWING AND 41000 FOLLOWING", of_rows),
        ("id ROWS", "40000 FOLLOWING AND UNBOUNDED FOLLOWING", of_rows),
        // 30 rows of each key; without NULL, of whose peers DataFusion may leave some out.
        ("id % 3000 RANGE", "1680 PRECEDING AND 1200 PRECEDING", wide),
        ("id % 3000 DESC RANGE", "UNBOUNDED PRECEDING AND 1500 PRECEDING", wide),
        ("id % 3000 RANGE", "12 FOLLOWING AND 1300 FOLLOWING", wide),
        ("id % 3000 DESC RANGE", "CURRENT ROW AND UNBOUNDED FOLLOWING", wide),
    ];
    for (number, (order, frame, calls)) in cases.into_iter().enumerate() {
        let parts = ["", "PARTITION BY shop IS NULL "][number % 2];
        let over = format!("OVER ({parts}ORDER BY {order} BETWEEN {frame})");
        let calls = calls.iter().enumerate().map(|(call, text)| format!("{text} {over} AS c{call}"));
        compare(ROWS, 1, &calls.collect::<Vec<_>>().join(", ")).await;
    }
}

#[tokio::test]
async fn orders_without_a_single_key_and_without_partitions() {
    compare(500, 1, "sum(small) OVER () AS a, avg(float) OVER (PARTITION BY shop) AS b, min(day) OVER (PARTITION BY day, tiny) AS c").await;
    compare(
        500,
        1,
        "sum(small) OVER (ORDER BY shop, day) AS a, count(*) OVER (ORDER BY part DESC, shop NULLS FIRST) AS b",
    )
    .await;
    compare(500, 1, "sum(small) OVER (ORDER BY shop RANGE BETWEEN CURRENT ROW AND CURRENT ROW) AS a").await;
    compare(500, 1, "sum(small) OVER (RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS a, max(float) OVER (PARTITION BY part ORDER BY part, id) AS b").await;
    compare(0, 1, "sum(small) OVER (ORDER BY id) AS a").await;
}

#[tokio::test]
async fn integer_keys_are_sorted_as_numbers() {
    for (by, order) in [
        ("tiny", "id"),
        ("tiny, day", "id DESC"),
        ("day", "float DESC NULLS FIRST, id"),
        ("at_utc", "large DESC NULLS LAST, single NULLS FIRST, id"),
        ("took", "at DESC NULLS LAST, id"),
        // Three columns over all of their ranges: more than a number holds, so DataFusion sorts.
        ("large", "id * 1000000000, id * -1000000007, id"),
    ] {
        let over = format!("OVER (PARTITION BY {by} ORDER BY {order} ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)");
        let select = format!("sum(small) {over} AS a, first_value(shop) {over} AS b, max(price) {over} AS c");
        let plan = open(10, Operator::Ours, 1).ad_hoc(&format!("SELECT {select} FROM t")).await.unwrap();
        assert!(plan.explain().physical.contains("KeySortExec"), "{by} {order}\n{}", plan.explain().physical);
        compare(1000, 1, &select).await;
        compare(1000, 3, &select).await;
    }
}

#[tokio::test]
async fn threads_change_nothing() {
    let select = "sum(float) OVER (PARTITION BY part, shop ORDER BY id ROWS BETWEEN 7 PRECEDING AND CURRENT ROW) AS a, \
        stddev(float) OVER (PARTITION BY part, shop ORDER BY id ROWS BETWEEN 7 PRECEDING AND 1 FOLLOWING) AS b";
    compare(2000, 4, select).await;
    let sql = format!("SELECT id, {select} FROM t ORDER BY id");
    let one = ask(&open(2000, Operator::Ours, 1), &sql).await.unwrap();
    assert_eq!(one, ask(&open(2000, Operator::Ours, 4), &sql).await.unwrap());
}

#[tokio::test]
async fn nested_types_make_partitions_too() {
    let all = table(300);
    let shops = cast(&all["shop"], &DataType::Utf8View).unwrap();
    let lists: ArrayRef = Arc::new(arrow::array::ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>(
        (0..300).map(|row| Some(vec![Some(number(row, 20) as i64 % 3)])),
    ));
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::clone(&all["id"])),
        ("shop", shops),
        ("list", lists),
        ("small", Arc::clone(&all["small"])),
    ])
    .unwrap();
    let sql =
        "SELECT id, sum(small) OVER (PARTITION BY list, shop ORDER BY id ROWS 3 PRECEDING) AS x FROM t ORDER BY id";
    let mut found = Vec::new();
    for sliding_windows in [true, false] {
        let mut session =
            Session::new(SessionOptions { sliding_windows, ..SessionOptions::features(1 << 30) }).unwrap();
        session.register_batches("t", batch.schema(), vec![batch.clone()]).unwrap();
        let query = session.ad_hoc(sql).await.unwrap();
        found.push(concat_batches(&query.schema(), &query.collect().await.unwrap()).unwrap());
    }
    assert_eq!(found[0], found[1]);
}
