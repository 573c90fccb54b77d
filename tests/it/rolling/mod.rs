//! Declared windows against a brute-force oracle, in all types of times and keys, within small memory; their mistakes;
//! and a job that trains, scores and evaluates with them in both engines.

mod job;
mod types;

use crate::sites::{PLAIN, Spine, Way, blocking, cut, dice, instants, pair, rare_null, spine_batch, word};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float64Type, Int64Type};
use chrono::{DateTime, TimeDelta};
use futures::TryStreamExt;
use lakemill::error::{Error, ErrorKind};
use lakemill::interval::Interval;
use lakemill::query::rolling::{Closed, Rolling, RollingColumn, RollingFunction, RollingWindows, one_for_one};
use lakemill::query::{FeatureSql, Parameters, Session, SessionOptions};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A row of the table: key, second part of the key, time, and two values.
type Row = (Option<i64>, Option<String>, Option<i64>, Option<i64>, Option<f64>);

/// What windows are asked for, in seconds.
#[derive(Debug, Clone)]
struct Asked {
    both_keys: bool,
    closed: Closed,
    delay: i64,
    over: [i64; 2],
}

/// What one window gives: rows, count, sum, least, largest, last, and number of different whole numbers; sum, mean and
/// deviation of the floats.
#[derive(Debug, Clone, PartialEq)]
struct Window {
    rows: i64,
    count: i64,
    wholes: [Option<i64>; 4],
    distinct: i64,
    floats: [Option<f64>; 3],
}

const WHOLES: [&str; 4] = ["sum", "min", "max", "last"];

/// The rules of the module's documentation, where every row is compared with every row.
fn oracle(spine: &Spine, table: &[Row], asked: &Asked, over: i64) -> Window {
    let counts = |row: &&Row| {
        let (Some(at), Some(time)) = (spine.2, row.2) else { return false };
        let same_key = spine.0.is_some()
            && row.0 == spine.0
            && (!asked.both_keys || spine.1.is_some() && row.1.as_deref() == spine.1.as_deref());
        let (start, end) = (at - asked.delay - over, at - asked.delay);
        let (after, before) = match asked.closed {
            Closed::Left => (time >= start, time < end),
            Closed::Right => (time > start, time <= end),
            Closed::Both => (time >= start, time <= end),
            Closed::Neither => (time > start, time < end),
        };
        same_key && after && before
    };
    let inside: Vec<&Row> = table.iter().filter(counts).collect();
    let wholes: Vec<i64> = inside.iter().filter_map(|row| row.3).collect();
    let floats: Vec<f64> = inside.iter().filter_map(|row| row.4).collect();
    let last = inside.iter().filter(|row| row.3.is_some()).max_by_key(|row| (row.2, row.3));
    let sum: f64 = floats.iter().sum();
    let mean = sum / floats.len() as f64;
    let squares: f64 = floats.iter().map(|float| (float - mean) * (float - mean)).sum();
    Window {
        rows: inside.len() as i64,
        count: wholes.len() as i64,
        wholes: [
            (!wholes.is_empty()).then(|| wholes.iter().sum()),
            wholes.iter().copied().min(),
            wholes.iter().copied().max(),
            last.and_then(|row| row.3),
        ],
        distinct: wholes.iter().collect::<BTreeSet<_>>().len() as i64,
        floats: [
            (!floats.is_empty()).then_some(sum),
            (!floats.is_empty()).then_some(mean),
            (floats.len() > 1).then(|| (squares / (floats.len() - 1) as f64).sqrt()),
        ],
    }
}

fn table_batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))) as ArrayRef, true),
        ("part", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.as_deref()))), true),
        ("time", instants(rows.iter().map(|row| row.2)), true),
        ("number", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.3))), true),
        ("float", Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.4))), true),
    ])
    .unwrap()
}

fn column(name: &str, function: RollingFunction, of: Option<&str>, over: i64) -> RollingColumn {
    let name = format!("{name}_{over}s");
    RollingColumn {
        name,
        function,
        column: of.map(str::to_owned),
        over: (format!("{over}s"), TimeDelta::seconds(over)),
    }
}

/// All aggregates of `number`, sum, mean and deviation of `float`, and the count of rows.
fn windows(asked: &Asked) -> RollingWindows {
    use RollingFunction::{Count, Distinct, Last, Max, Mean, Min, Stddev, Sum};
    let mut columns = Vec::new();
    for over in asked.over {
        columns.push(column("rows", Count, None, over));
        columns.push(column("count", Count, Some("number"), over));
        for (name, function) in WHOLES.into_iter().zip([Sum, Min, Max, Last]) {
            columns.push(column(name, function, Some("number"), over));
        }
        columns.push(column("distinct", Distinct, Some("number"), over));
        for (name, function) in [("total", Sum), ("mean", Mean), ("spread", Stddev)] {
            columns.push(column(name, function, Some("float"), over));
        }
    }
    let keys = if asked.both_keys { vec![pair("key", "k"), pair("part", "part")] } else { vec![pair("key", "k")] };
    RollingWindows {
        table: "facts".to_owned(),
        keys,
        time: "time".to_owned(),
        delay: TimeDelta::seconds(asked.delay),
        closed: asked.closed,
        columns,
    }
}

fn interval(first: i64, end: i64) -> Interval {
    let at = |second| DateTime::from_timestamp(second, 0).unwrap();
    Interval::new(at(first), at(end)).unwrap()
}

fn session(spine: &RecordBatch, table: &RecordBatch, way: Way) -> Session {
    let options = SessionOptions { batch_size: way.spine.max(2), ..SessionOptions::features(way.memory) };
    let mut session = Session::new(options).unwrap();
    session.register_batches("events", spine.schema(), cut(spine, way.spine)).unwrap();
    session.register_batches("facts", table.schema(), cut(table, way.table)).unwrap();
    session
}

/// The rows of `SELECT * FROM events` with windows, by way of their SQL, and the plan of that.
async fn rolled(
    session: &Session,
    windows: &[RollingWindows],
    interval: &Interval,
) -> Result<(RecordBatch, String), Error> {
    let sql = FeatureSql::parse("SELECT * FROM events -- all\n;", "events.sql").unwrap();
    let parameters = Parameters::of_interval(interval);
    let spine = session.check(&sql, &parameters).await?;
    let whole = Rolling::plan(session, &spine, "at", windows).await?.sql(&sql)?;
    assert!(whole.text().contains("-- all"), "the user's text as it stands:\n{}", whole.text());
    let planned = session.plan(&whole, &parameters).await?;
    let batches: Vec<RecordBatch> = one_for_one(&planned)?.try_collect().await?;
    Ok((concat_batches(&planned.schema(), &batches).unwrap(), planned.explain().physical))
}

fn found(spine: &[Spine], table: &[Row], asked: &Asked, way: Way) -> RecordBatch {
    let (spine, table) = (spine_batch(spine), table_batch(table));
    let session = session(&spine, &table, way);
    let (found, _) = blocking(rolled(&session, &[windows(asked)], &interval(0, 100))).unwrap();
    assert_eq!(found.num_rows(), spine.num_rows());
    assert_eq!(found.columns()[..4], spine.columns()[..], "the rows of the query, in their order");
    found
}

fn whole(batch: &RecordBatch, name: &str, row: usize) -> Option<i64> {
    let column = batch[name].as_primitive::<Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}

fn near(found: Option<f64>, wanted: Option<f64>) -> bool {
    match (found, wanted) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= 1e-9 * wanted.abs().max(1.0),
        (found, wanted) => found == wanted,
    }
}

fn compare(found: &RecordBatch, row: usize, over: i64, wanted: &Window) -> Result<(), String> {
    let told = |name: &str| format!("{name} over {over} of row {row}: not {wanted:?}");
    let equal = |name: &str, wanted: Option<i64>| {
        let found = whole(found, &format!("{name}_{over}s"), row);
        if found == wanted { Ok(()) } else { Err(format!("{found:?} is {}", told(name))) }
    };
    equal("rows", Some(wanted.rows))?;
    equal("count", Some(wanted.count))?;
    equal("distinct", Some(wanted.distinct))?;
    for (name, wanted) in WHOLES.iter().zip(wanted.wholes) {
        equal(name, wanted)?;
    }
    for (name, wanted) in ["total", "mean", "spread"].iter().zip(wanted.floats) {
        let column = found[format!("{name}_{over}s").as_str()].as_primitive::<Float64Type>();
        let found = column.is_valid(row).then(|| column.value(row));
        if !near(found, wanted) {
            return Err(format!("{found:?} is {}", told(name)));
        }
    }
    Ok(())
}

fn key() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![6 => rare_null(0..3), 1 => Just(Some(i64::MIN)), 1 => Just(Some(i64::MAX))]
}

fn asked() -> impl Strategy<Value = Asked> {
    let closed = prop::sample::select(vec![Closed::Left, Closed::Right, Closed::Both, Closed::Neither]);
    let delay = prop_oneof![Just(0), 1_i64..20];
    (any::<bool>(), closed, delay, 1_i64..6, 6_i64..40).prop_map(|(both_keys, closed, delay, short, long)| Asked {
        both_keys,
        closed,
        delay,
        over: [short, long],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_what_the_oracle_says(
        spine in prop::collection::vec((key(), word(), rare_null(0..60)), 0..50),
        table in prop::collection::vec(
            (key(), word(), rare_null(-60..70), rare_null(0..4), prop::option::weighted(0.9, -9.0..9.0)), 0..120,
        ),
        asked in asked(),
        way in (1_usize..20, 1_usize..30).prop_map(|(spine, table)| Way { spine, table, ..PLAIN }),
    ) {
        let given = found(&spine, &table, &asked, way);
        for (number, row) in spine.iter().enumerate() {
            for over in asked.over {
                let checked = compare(&given, number, over, &oracle(row, &table, &asked, over));
                prop_assert!(checked.is_ok(), "{}", checked.unwrap_err());
            }
        }
        // Whatever the order of the table's rows is.
        let turned: Vec<Row> = table.iter().rev().cloned().collect();
        let again = found(&spine, &turned, &asked, PLAIN);
        for (number, row) in spine.iter().enumerate() {
            for over in asked.over {
                let checked = compare(&again, number, over, &oracle(row, &turned, &asked, over));
                prop_assert!(checked.is_ok(), "reversed: {}", checked.unwrap_err());
            }
        }
    }
}

/// An ORDER BY of the query is that of its rows; one by what the query does not give is refused.
#[tokio::test]
async fn the_querys_own_order_is_kept() {
    let spine: Vec<Spine> = (0..200).map(|row| (Some(row % 7), None, Some(row * 37 % 90))).collect();
    let (spine, table) = (spine_batch(&spine), table_batch(&[fact(3, 1)]));
    let session = session(&spine, &table, Way { spine: 16, ..PLAIN });
    let windows = windows(&Asked { both_keys: false, closed: Closed::Both, delay: 0, over: [1, 9] });
    let parameters = Parameters::of_interval(&interval(0, 100));
    let given = async |select: &str| {
        let sql = FeatureSql::parse(select, "events.sql").unwrap();
        let columns = session.check(&sql, &parameters).await?;
        let whole = Rolling::plan(&session, &columns, "at", std::slice::from_ref(&windows)).await?.sql(&sql)?;
        let planned = session.plan(&whole, &parameters).await?;
        let batches: Vec<RecordBatch> = one_for_one(&planned)?.try_collect().await?;
        let plain: Vec<RecordBatch> = session.plan(&sql, &parameters).await?.collect().await?;
        let [batches, plain] = [batches, plain].map(|all| concat_batches(&all[0].schema(), &all).unwrap());
        assert_eq!(batches.columns()[..3], plain.columns()[..], "{select}");
        Ok::<_, Error>(batches.num_rows())
    };
    assert_eq!(given("SELECT id, key, at FROM events ORDER BY at DESC, id").await.unwrap(), 200);
    assert_eq!(given("SELECT id, key, at FROM events e ORDER BY e.key, 3 DESC, 1").await.unwrap(), 200);
    assert_eq!(given("SELECT id, key, at FROM events ORDER BY key DESC, id LIMIT 30").await.unwrap(), 30);
    assert_eq!(
        given("SELECT e.id, key AS key, e.at AS at FROM events e ORDER BY e.at, e.key, e.id").await.unwrap(),
        200
    );
    // What the result calls by this name is not the table's column.
    let joined = "SELECT e.* FROM events e JOIN events o ON o.id = e.id ORDER BY o.key";
    for (select, named) in [("SELECT id, key, at FROM events ORDER BY -id", "-id"), (joined, "o.key")] {
        let error = given(select).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Usage && error.to_string().contains(named), "{error}");
    }
}

/// The query's own row numbers may have no name of their own; the windows' are told from them.
#[tokio::test]
async fn rows_that_are_numbered_already_are_counted_once() {
    let spine = spine_batch(&[(Some(1), None, Some(5)), (Some(1), None, Some(3)), (Some(2), None, Some(4))]);
    let session = session(&spine, &table_batch(&[fact(3, 1), fact(4, 2)]), PLAIN);
    let windows = windows(&Asked { both_keys: false, closed: Closed::Both, delay: 0, over: [1, 9] });
    let parameters = Parameters::of_interval(&interval(0, 100));
    let sql = FeatureSql::parse("SELECT key, at, row_number() OVER (ORDER BY at) FROM events", "events.sql").unwrap();
    let columns = session.check(&sql, &parameters).await.unwrap();
    let whole = Rolling::plan(&session, &columns, "at", &[windows]).await.unwrap().sql(&sql).unwrap();
    let planned = session.plan(&whole, &parameters).await.unwrap();
    let batches: Vec<RecordBatch> = one_for_one(&planned).unwrap().try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

fn fact(time: i64, number: i64) -> Row {
    (Some(1), None, Some(time), Some(number), None)
}

#[test]
fn ends_belong_to_a_window_as_closed_says() {
    let table = [fact(10, 1), fact(20, 10), fact(20, 100), fact(30, 1000)];
    let spine = vec![(Some(1), None, Some(30))];
    for (closed, delay, wanted) in [
        (Closed::Left, 0, Some(111)),
        (Closed::Right, 0, Some(1110)),
        (Closed::Both, 0, Some(1111)),
        (Closed::Neither, 0, Some(110)),
        (Closed::Left, 10, Some(1)),
        (Closed::Right, 10, Some(111)),
        (Closed::Both, 20, Some(1)),
        (Closed::Left, 20, None),
    ] {
        let asked = Asked { both_keys: false, closed, delay, over: [20, 40] };
        let sum = whole(&found(&spine, &table, &asked, PLAIN), "sum_20s", 0);
        assert_eq!(sum, wanted, "{closed:?}, {delay}");
    }
}

/// More rows than fit into the memory of a sort: the same rows, and the sorts below the windows are ours.
#[test]
fn windows_beyond_memory_are_the_same() {
    let mut next = dice();
    let spine: Vec<Spine> = (0..30_000).map(|_| (Some(next(500)), None, Some(next(80_000)))).collect();
    let table: Vec<Row> =
        (0..120_000).map(|_| (Some(next(500)), None, Some(next(80_000)), Some(next(50)), Some(0.1))).collect();
    let (spine, table) = (spine_batch(&spine), table_batch(&table));
    let windows = RollingWindows {
        columns: vec![
            column("mean", RollingFunction::Mean, Some("float"), 700),
            column("last", RollingFunction::Last, Some("number"), 9_000),
            column("distinct", RollingFunction::Distinct, Some("number"), 9_000),
        ],
        ..windows(&Asked { both_keys: false, closed: Closed::Left, delay: 50, over: [9, 9] })
    };
    let mut all = Vec::new();
    for memory in [1 << 28, 40_000_000] {
        let session = session(&spine, &table, Way { memory, ..PLAIN });
        let (found, plan) = blocking(rolled(&session, std::slice::from_ref(&windows), &interval(0, 80_000))).unwrap();
        assert!(plan.contains("parts in sequence"), "{plan}");
        assert!(!plan.contains("SortPreservingMerge") && !plan.contains("WindowAggExec"), "{plan}");
        all.push(found);
    }
    assert_eq!(all[0].num_rows(), 30_000);
    assert!(all[0]["mean_700s"].null_count() < 30_000);
    assert!(all[0] == all[1], "with less memory other rows");
}

async fn refusal(change: impl Fn(&mut RollingWindows)) -> Error {
    let (spine, table) = (spine_batch(&[]), table_batch(&[]));
    let session = session(&spine, &table, PLAIN);
    let mut windows = windows(&Asked { both_keys: true, closed: Closed::Left, delay: 0, over: [1, 2] });
    change(&mut windows);
    Rolling::plan(&session, &spine.schema(), "at", &[windows]).await.unwrap_err()
}

#[tokio::test]
async fn mistakes_are_named_with_a_hint() {
    type Change = fn(&mut RollingWindows);
    let cases: [(&str, Change); 9] = [
        ("a table that is not there", |windows| windows.table = "fact".to_owned()),
        ("did you mean `time`?", |windows| windows.time = "tme".to_owned()),
        ("this column is no time but Int64", |windows| windows.time = "number".to_owned()),
        ("did you mean `number`?", |windows| windows.columns[1].column = Some("numbr".to_owned())),
        ("there is a column of this name already", |windows| windows.columns[0].name = "at".to_owned()),
        ("there is a column of this name already", |windows| windows.columns[0].name = "count_1s".to_owned()),
        ("gives no such column", |windows| windows.keys[0].0 = "nokey".to_owned()),
        ("a key of type Utf8 never equals one of type Int64", |windows| windows.keys = vec![pair("part", "k")]),
        ("`sum` is not defined for columns of type Utf8", |windows| {
            windows.columns[2].column = Some("part".to_owned());
        }),
    ];
    for (wanted, change) in cases {
        let error = refusal(change).await;
        let shown = format!("{error} {}", error.hint_text().unwrap_or_default());
        assert_eq!(error.kind(), ErrorKind::Usage, "{shown}");
        assert!(shown.contains(wanted) && error.hint_text().is_some(), "{shown}");
    }
}
