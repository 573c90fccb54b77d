//! Times, keys and values of all types.

use super::{Asked, column, interval, rolled, session, windows};
use crate::sites::{PLAIN, blocking, instants, pair};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use chrono::TimeDelta;
use lakemill::query::rolling::{Closed, RollingColumn, RollingFunction, RollingWindows};
use std::sync::Arc;

/// Days as dates, and as timestamps of every unit with and without a zone, on both sides.
#[test]
fn times_of_all_types_meet() {
    let days = |numbers: &[i32]| -> ArrayRef { Arc::new(Date32Array::from(numbers.to_vec())) };
    let kinds = |dates: &ArrayRef| {
        let micros = cast(dates, &DataType::Timestamp(TimeUnit::Microsecond, None)).unwrap();
        let mut all = vec![Arc::clone(dates), cast(dates, &DataType::Date64).unwrap()];
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            all.push(cast(&micros, &DataType::Timestamp(unit, None)).unwrap());
            let utc = cast(&micros, &DataType::Timestamp(unit, Some("UTC".into()))).unwrap();
            all.push(cast(&utc, &DataType::Timestamp(unit, Some("+02:00".into()))).unwrap());
            all.push(utc);
        }
        all
    };
    let (ours, theirs) = (days(&[10, 12, 19]), days(&[3, 9, 10, 12, 12, 18, 19, 30]));
    let over = RollingColumn {
        name: "n".to_owned(),
        function: RollingFunction::Count,
        column: None,
        over: ("2d".to_owned(), TimeDelta::days(2)),
    };
    for (one, at) in kinds(&ours).into_iter().enumerate() {
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![1; 3]));
        let spine = RecordBatch::try_from_iter([("key", keys), ("at", at)]).unwrap();
        for (other, time) in kinds(&theirs).into_iter().enumerate() {
            let keys: ArrayRef = Arc::new(Int64Array::from(vec![1; 8]));
            let table = RecordBatch::try_from_iter([("k", keys), ("time", time)]).unwrap();
            let ends = [(Closed::Left, [1, 1, 1]), (Closed::Both, [2, 3, 2]), (Closed::Right, [2, 2, 2])];
            let (closed, wanted) = ends[(one + other) % ends.len()];
            let windows = RollingWindows {
                table: "facts".to_owned(),
                keys: vec![pair("key", "k")],
                time: "time".to_owned(),
                delay: TimeDelta::zero(),
                closed,
                columns: vec![over.clone()],
            };
            let types = format!("{} and {}", spine.column(1).data_type(), table.column(1).data_type());
            let session = session(&spine, &table, PLAIN);
            let day = interval(10 * 86_400, 20 * 86_400);
            let (found, plan) = blocking(rolled(&session, &[windows], &day)).unwrap_or_else(|e| panic!("{types}: {e}"));
            let found: Vec<i64> = found["n"].as_primitive::<Int64Type>().values().to_vec();
            assert_eq!(found, wanted, "{closed:?}, {types}");
            assert!(!plan.contains("WindowAggExec"), "{types}\n{plan}");
        }
    }
}

#[test]
fn keys_of_all_types_meet_or_are_refused() {
    let text = |kind: &DataType| cast(&(Arc::new(StringArray::from(vec!["1", "2"])) as ArrayRef), kind).unwrap();
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let int = |kind: &DataType| cast(&(Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef), kind).unwrap();
    let (day, truth): (ArrayRef, ArrayRef) =
        (Arc::new(Date32Array::from(vec![1, 2])), Arc::new(BooleanArray::from(vec![true, false])));
    let float: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let huge: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    let cases: Vec<(ArrayRef, ArrayRef, Option<[i64; 2]>)> = vec![
        (int(&DataType::Int64), int(&DataType::Int32), Some([1, 1])),
        (int(&DataType::UInt8), int(&DataType::Int16), Some([1, 1])),
        (int(&DataType::Int64), Arc::clone(&huge), Some([1, 0])),
        (Arc::clone(&huge), Arc::clone(&huge), Some([1, 1])),
        (text(&DataType::Utf8), text(&DataType::Utf8View), Some([1, 1])),
        (text(&DataType::LargeUtf8), text(&words), Some([1, 1])),
        (text(&words), text(&words), Some([1, 1])),
        (Arc::clone(&day), Arc::clone(&day), Some([1, 1])),
        (Arc::clone(&truth), Arc::clone(&truth), Some([1, 1])),
        (text(&DataType::Utf8), int(&DataType::Int64), None),
        (day, int(&DataType::Int64), None),
        (Arc::clone(&float), float, None),
    ];
    for (left, right, wanted) in cases {
        let types = format!("{} and {}", left.data_type(), right.data_type());
        let at = instants([Some(50), Some(50)].into_iter());
        let spine = RecordBatch::try_from_iter([("key", left), ("at", at.clone())]).unwrap();
        let table = RecordBatch::try_from_iter([("k", right), ("time", at)]).unwrap();
        let windows = RollingWindows {
            columns: vec![column("n", RollingFunction::Count, None, 9)],
            ..windows(&Asked { both_keys: false, closed: Closed::Right, delay: 0, over: [9, 9] })
        };
        let found = blocking(rolled(&session(&spine, &table, PLAIN), &[windows], &interval(0, 100)));
        match (found, wanted) {
            (Ok((found, _)), Some(wanted)) => {
                assert_eq!(found["n_9s"].as_primitive::<Int64Type>().values().to_vec(), wanted, "{types}");
            }
            (Err(error), None) => assert!(error.to_string().contains("never equals"), "{types}: {error}"),
            (found, _) => panic!("{types}: {:?}", found.map(|(batch, _)| batch)),
        }
    }
}

/// Texts, truth values, decimals and names that need quotes; two declarations of which one reads the other's names.
#[test]
fn columns_of_all_types_are_aggregated() {
    let at = instants([Some(50), Some(51)].into_iter());
    let keys: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let spine = RecordBatch::try_from_iter([("_row", Arc::clone(&keys)), ("the \"key\"", keys), ("at", at)]).unwrap();
    let rows = 6;
    let times = instants((0..rows).map(|row| Some(45 + row / 2)));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| 1 + row % 2)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(["a", "x", "b", "z", "b", "y"]));
    let truth: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None, Some(true), None]));
    let price = cast(&(Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5, 6])) as ArrayRef), &DataType::Decimal128(9, 2));
    let columns = [("my key", keys), ("time", times), ("text", texts), ("truth", truth), ("price", price.unwrap())];
    let table = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    use RollingFunction::{Count, Distinct, Last, Max, Mean, Min, Stddev, Sum};
    let of = |columns: Vec<RollingColumn>| RollingWindows {
        table: "facts".to_owned(),
        keys: vec![pair("the \"key\"", "my key")],
        time: "time".to_owned(),
        delay: TimeDelta::zero(),
        closed: Closed::Both,
        columns,
    };
    let first = of(vec![
        column("different", Distinct, Some("text"), 30),
        column("latest", Last, Some("text"), 30),
        column("first word", Min, Some("text"), 30),
        column("last_word", Max, Some("text"), 30),
        column("words", Count, Some("text"), 30),
    ]);
    let second = of(vec![
        column("share", Mean, Some("truth"), 30),
        column("true", Sum, Some("truth"), 30),
        column("deviation", Stddev, Some("truth"), 30),
        column("truths", Distinct, Some("truth"), 30),
        column("cost", Sum, Some("price"), 30),
        column("mean_cost", Mean, Some("price"), 30),
        column("last_cost", Last, Some("price"), 30),
    ]);
    let (found, _) = blocking(rolled(&session(&spine, &table, PLAIN), &[first, second], &interval(0, 100))).unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&[found]).unwrap().to_string();
    let lines: Vec<String> = shown.lines().skip(3).take(2).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [
            "|1|1|1970-01-01T00:00:50Z|2|b|a|b|3|0.6666666666666666|2|0.5773502691896257|2|9.00|3.0|5.00|",
            "|2|2|1970-01-01T00:00:51Z|3|y|x|z|3||||0|12.00|4.0|6.00|",
        ],
        "{shown}"
    );
}
