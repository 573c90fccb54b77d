//! Point-in-time joins against a brute-force oracle, their mistakes, what they read, and a job that
//! trains, scores and evaluates with them in both engines.

use crate::command::run;
use crate::sites::{HOUR, Job, PLAIN, Spine, Way, blocking, cut, dice, instants, pair, rare_null, spine_batch, word};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use chrono::TimeDelta;
use futures::{StreamExt, TryStreamExt, stream};
use lakemill::demo::{Generator, Spec, write_lake};
use lakemill::error::{Error, ErrorKind};
use lakemill::lake::Location;
use lakemill::query::{AsofJoin, PointInTime, Session, SessionOptions};
use lakemill::tables::{self, TableRequest};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

/// A row of the table: key, second part of the key, time, available time, and two values.
type Row = (Option<i64>, Option<String>, Option<i64>, Option<i64>, Option<i64>, Option<String>);

/// What a spine row gets.
type Joined = (Option<i64>, Option<String>);

/// How the rules of the module's documentation read where every row is compared with every row.
fn oracle(spine: &[Spine], table: &[Row], both_keys: bool, max_age: Option<i64>) -> Vec<Joined> {
    let newest = |(key, text, at): &Spine| {
        let at = (*at)?;
        let counts = |row: &&Row| {
            let (time, available) = (row.2?, row.3?);
            let same_key = key.is_some() && row.0 == *key && (!both_keys || text.is_some() && row.1 == *text);
            let known = available <= at && time <= at && max_age.is_none_or(|age| time >= at - age);
            (same_key && known).then_some(())
        };
        let rows = table.iter().filter(|row| counts(row).is_some());
        let best = rows.max_by(|a, b| (a.2, a.3, a.4, &a.5).cmp(&(b.2, b.3, b.4, &b.5)))?;
        Some((best.4, best.5.clone()))
    };
    spine.iter().map(|row| newest(row).unwrap_or_default()).collect()
}

fn table_batch(rows: &[Row]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("k", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))) as ArrayRef, true),
        ("part", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.as_deref()))), true),
        ("time", instants(rows.iter().map(|row| row.2)), true),
        ("known", instants(rows.iter().map(|row| row.3)), true),
        ("number", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.4))), true),
        ("text", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.5.as_deref()))), true),
    ])
    .unwrap()
}

/// `number` as `n` and `text` as `t`.
fn join(both_keys: bool, max_age: Option<i64>) -> AsofJoin {
    let keys = if both_keys { vec![pair("key", "k"), pair("part", "part")] } else { vec![pair("key", "k")] };
    AsofJoin {
        table: "facts".to_owned(),
        keys,
        time: "time".to_owned(),
        available_time: Some("known".to_owned()),
        max_age: max_age.map(TimeDelta::seconds),
        columns: vec![pair("n", "number"), pair("t", "text")],
    }
}

fn session(memory_bytes: usize) -> Session {
    Session::new(SessionOptions { memory_bytes, ..SessionOptions::features(memory_bytes) }).unwrap()
}

async fn joined(spine: &[Spine], table: &[Row], join: &AsofJoin, way: Way) -> Vec<Joined> {
    let (spine, table) = (spine_batch(spine), table_batch(table));
    let mut session = session(way.memory);
    session.register_batches("facts", table.schema(), cut(&table, way.table)).unwrap();
    let planned = PointInTime::plan(&session, &spine.schema(), "at", std::slice::from_ref(join)).await.unwrap();
    let batches = cut(&spine, way.spine);
    let rows = stream::iter(batches.clone().into_iter().map(Ok)).boxed();
    let given: Vec<RecordBatch> = planned.stream(rows).try_collect().await.unwrap();
    let mut all = Vec::new();
    assert_eq!(given.len(), batches.len());
    for (given, batch) in given.iter().zip(&batches) {
        assert_eq!(given.schema().fields(), planned.schema().fields());
        assert_eq!(given.columns()[..4], batch.columns()[..], "the rows of the spine, in their order");
        let (numbers, texts) = (given.column(4).as_primitive::<Int64Type>(), given.column(5).as_string::<i32>());
        let text = |row| texts.is_valid(row).then(|| texts.value(row).to_owned());
        let number = |row| numbers.is_valid(row).then(|| numbers.value(row));
        all.extend((0..given.num_rows()).map(|row| (number(row), text(row))));
    }
    all
}

/// Far apart or close together: one goes through a hash table, the other through a direct one.
fn key() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![4 => rare_null(0..4), 1 => Just(Some(i64::MIN)), 1 => Just(Some(i64::MAX))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn joins_are_what_the_oracle_says(
        spine in prop::collection::vec((key(), word(), rare_null(0..40)), 0..70),
        table in prop::collection::vec((key(), word(), rare_null(0..40), rare_null(0..45), rare_null(0..3), word()), 0..120),
        both_keys in any::<bool>(),
        max_age in prop::option::of(0_i64..20),
        way in (1_usize..20, 1_usize..30, prop::sample::select(vec![1_usize, 4_000, 12_000, 40_000, 1 << 24]))
            .prop_map(|(spine, table, memory)| Way { spine, table, memory }),
        turned in any::<prop::sample::Index>(),
    ) {
        let (expected, join) = (oracle(&spine, &table, both_keys, max_age), join(both_keys, max_age));
        let found = blocking(joined(&spine, &table, &join, way));
        prop_assert_eq!(&found, &expected);
        let mut other = table.clone();
        if !other.is_empty() {
            other.rotate_left(turned.index(table.len()));
            other.reverse();
        }
        prop_assert_eq!(&blocking(joined(&spine, &other, &join, PLAIN)), &expected);
    }
}

fn fact(time: i64, known: i64, number: i64, text: &str) -> Row {
    (Some(1), None, Some(time), Some(known), Some(number), Some(text.to_owned()))
}

#[test]
fn bounds_are_inclusive_and_nothing_is_used_before_it_is_known() {
    let table = [fact(10, 12, 1, "late"), fact(20, 20, 2, "at once"), fact(15, 40, 3, "very late")];
    let spine: Vec<Spine> = [9, 10, 11, 12, 19, 20, 25, 26, 39, 40].map(|at| (Some(1), None, Some(at))).to_vec();
    let texts = |max_age| {
        let found = blocking(joined(&spine, &table, &join(false, max_age), PLAIN));
        found.into_iter().map(|(_, text)| text.unwrap_or_default()).collect::<Vec<_>>()
    };
    // The row of second 15 is known at 40, when that of second 20 is newer.
    let newest = ["", "", "", "late", "late", "at once", "at once", "at once", "at once", "at once"];
    assert_eq!(texts(None), newest);
    assert_eq!(texts(Some(5)), ["", "", "", "late", "", "at once", "at once", "", "", ""]);
    assert_eq!(texts(Some(0)), ["", "", "", "", "", "at once", "", "", "", ""]);
}

#[test]
fn ties_go_by_available_time_and_then_by_values_whatever_the_order() {
    let mut table = vec![fact(5, 6, 9, "a"), fact(5, 7, 1, "z"), fact(5, 7, 2, "a"), fact(5, 7, 2, "b")];
    table.push((Some(1), None, Some(5), Some(7), None, Some("z".to_owned())));
    let spine: Vec<Spine> = vec![(Some(1), None, Some(7)), (Some(1), None, Some(6))];
    for first in 0..table.len() {
        table.rotate_left(first);
        for batch in [1, 2, 100] {
            let found = blocking(joined(&spine, &table, &join(false, None), Way { table: batch, ..PLAIN }));
            assert_eq!(found, [(Some(2), Some("b".to_owned())), (Some(9), Some("a".to_owned()))]);
        }
    }
}

/// Many more rows than a batch, the values wider than the memory: chunks, halves, and spilled batches.
#[test]
fn a_spine_beyond_memory_is_joined_in_parts() {
    let mut next = dice();
    let spine: Vec<Spine> = (0..20_000).map(|_| (Some(next(500)), None, Some(next(100_000)))).collect();
    let row = |number: i64| {
        let time = next(100_000);
        let text = format!("{number} {}", "x".repeat(next(300) as usize));
        (Some(next(500)), None, Some(time), Some(time + next(50)), Some(number), Some(text))
    };
    let table: Vec<Row> = (0..30_000).map(row).collect();
    let join = join(false, Some(1_000));
    let whole = blocking(joined(&spine, &table, &join, PLAIN));
    assert!(whole.iter().filter(|row| row.0.is_some()).count() > 5_000);
    for memory in [1 << 20, 4 << 20] {
        let parts = blocking(joined(&spine, &table, &join, Way { spine: 100, table: 1_000, memory }));
        assert!(parts == whole, "{memory} bytes give other rows");
    }
}

async fn refusal(change: impl Fn(&mut AsofJoin)) -> Error {
    let mut session = session(1 << 24);
    let (spine, table) = (spine_batch(&[]), table_batch(&[]));
    session.register_batches("facts", table.schema(), vec![]).unwrap();
    let mut join = join(true, None);
    change(&mut join);
    PointInTime::plan(&session, &spine.schema(), "at", &[join]).await.err().unwrap()
}

#[tokio::test]
async fn mistakes_are_named_with_a_hint() {
    type Change = fn(&mut AsofJoin);
    let cases: [(&str, Change); 8] = [
        ("table", |join| join.table = "fact".to_owned()),
        ("did you mean `time`?", |join| join.time = "tme".to_owned()),
        ("this column is no time but Int64", |join| join.time = "number".to_owned()),
        ("did you mean `known`?", |join| join.available_time = Some("knwon".to_owned())),
        ("did you mean `number`?", |join| join.columns[0].1 = "numbr".to_owned()),
        ("gives a column of this name already", |join| join.columns[0].0 = "at".to_owned()),
        ("gives no such column", |join| join.keys[0].0 = "nokey".to_owned()),
        ("a key of type Utf8 never equals one of type Int64", |join| join.keys = vec![pair("part", "k")]),
    ];
    for (wanted, change) in cases {
        let error = refusal(change).await;
        let shown = format!("{error} {}", error.hint_text().unwrap_or_default());
        assert_eq!(error.kind(), ErrorKind::Usage, "{shown}");
        assert!(shown.contains(wanted) && error.hint_text().is_some(), "{shown}");
    }
    let twice = [join(false, None), join(true, None)];
    let mut session = session(1 << 24);
    session.register_batches("facts", table_batch(&[]).schema(), vec![]).unwrap();
    let error = PointInTime::plan(&session, &spine_batch(&[]).schema(), "at", &twice).await.err().unwrap();
    assert!(error.to_string().contains("two point-in-time joins give a column of this name"), "{error}");
}

#[tokio::test]
async fn an_error_of_the_rows_is_the_error_of_the_join() {
    let mut session = session(1 << 24);
    session.register_batches("facts", table_batch(&[]).schema(), vec![]).unwrap();
    let spine = spine_batch(&[(Some(1), None, Some(1))]);
    let planned = PointInTime::plan(&session, &spine.schema(), "at", &[join(false, None)]).await.unwrap();
    let rows = stream::iter([Ok(spine), Err(Error::check("broken"))]).boxed();
    let error = planned.stream(rows).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Check, "broken"));
}

/// Only the files of a Delta table whose statistics reach into the bounds are opened.
#[tokio::test]
async fn the_scan_is_pruned_by_the_spines_times() {
    let folder = tempfile::tempdir().unwrap();
    let spec = Spec { customers: 50, terminals: 50, days: 20, ..Spec::default() };
    write_lake(&Generator::new(spec).unwrap(), folder.path(), &mut |_, _| ()).await.unwrap();
    let location = Location::parse("transactions", folder.path()).unwrap();
    let table = tables::pin(&TableRequest::latest("transactions", location)).await.unwrap();
    let mut session = session(1 << 28);
    session.register(&table).await.unwrap();
    let spine: SchemaRef = spine_batch(&[]).schema();
    let of = async |max_age: Option<i64>| {
        let join = AsofJoin {
            table: "transactions".to_owned(),
            keys: vec![pair("key", "customer_id")],
            time: "tx_datetime".to_owned(),
            available_time: None,
            max_age: max_age.map(TimeDelta::days),
            columns: vec![pair("amount", "tx_amount")],
        };
        let planned = PointInTime::plan(&session, &spine, "at", &[join]).await.unwrap();
        let estimates = planned.estimate(&"2018-04-11".parse().unwrap()).await.unwrap();
        assert!(planned.explain().starts_with("AsofJoin: table=transactions, on=[key = customer_id]"));
        (estimates.len(), estimates[0].files, estimates[0].files_total)
    };
    assert_eq!(of(None).await, (1, 11, 20), "all days up to the interval's");
    assert_eq!(of(Some(2)).await, (1, 3, 20), "the interval's day and two before");
}

const JOIN: &str = r#"
[[features.asof]]
table = "facts"
keys = { key = "k" }
time = "time"
available_time = "known"
max_age = "2d"
columns = { risk = "number", level = "text", site_risk = "number" }
"#;

/// What is measured about a site is known an hour after it was measured.
fn job() -> Job {
    let measured = (0..24 * 40_i64).map(|hour| {
        let site = hour % 12;
        let risk = (hour / 24 + site * 5) % 7;
        let text = if risk > 3 { "high" } else { "low" };
        (Some(site), None, Some(hour * HOUR), Some((hour + 1) * HOUR), Some(risk), Some(text.to_owned()))
    });
    Job::new(&table_batch(&measured.collect::<Vec<Row>>()), JOIN, &["risk", "level"])
}

#[test]
fn a_job_with_joins_trains_scores_and_evaluates() {
    let job = job();
    let receipt = job.run("run", &[]).expect(0).json();
    assert_eq!((&receipt["rows_in"], &receipt["rows_out"]), (&Value::from(24 * 12), &Value::from(24 * 12)));
    assert!(receipt["inputs"]["facts"].is_string(), "{receipt}");
    assert_eq!(job.run("run", &[]).expect(0).json()["status"], "noop");

    // What SQL says with a correlated subquery over the same tables.
    let tables = ["events", "facts"].map(|name| format!("{name}={}", job.path(&format!("lake/{name}"))));
    let newest = "SELECT e.id, f.number AS risk, f.text AS level, row_number() OVER (PARTITION BY e.id ORDER BY f.time DESC) AS n
        FROM events e JOIN facts f ON f.k = e.key AND f.known <= e.at AND f.time >= e.at - INTERVAL '2 days'
        WHERE e.at >= '1970-02-05T00:00:00Z' AND e.at < '1970-02-06T00:00:00Z'";
    let sql = format!("SELECT id, risk, level FROM ({newest}) WHERE n = 1 ORDER BY id");
    let expected = run(&["query", &sql, "--table", &tables[0], "--table", &tables[1], "--format", "csv"]);
    let expected = expected.expect(0).stdout;
    assert_eq!(expected.lines().count(), 24 * 12 + 1);
    assert_eq!(job.rows("home", "id, risk, level"), expected);

    let evaluation = job.run("evaluate", &["--models", "champion"]).expect(0).json();
    assert_eq!(evaluation["rows"], 24 * 12);
    let shown = run(&["models", "show", "sites", "--home", &job.path("home")]).expect(0).stdout;
    for part in ["site_risk", "\"table\":\"facts\"", "max_age"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let plan = run(&["plan", &job.path("jobs/sites.toml"), "--interval", "1970-02-05", "--explain"]).expect(0).stdout;
    assert!(plan.contains("AsofJoin: table=facts, on=[key = k]"), "{plan}");
}

#[test]
fn both_engines_join_alike_at_any_memory() {
    job().scores_alike("256MiB", "id, prediction, score, risk, level");
}

#[test]
fn other_joins_are_other_inputs() {
    let job = job();
    let first = job.run("run", &[]).expect(0).json();
    job.edit("max_age = \"2d\"", "max_age = \"36h\"");
    let again = job.run("score", &[]).expect(0);
    assert!(again.stderr.contains("point-in-time joins are not those"), "{}", again.stderr);
    let again = again.json();
    assert_eq!((&again["status"], &again["supersedes"]), (&Value::from("done"), &first["run_id"]));
    assert_eq!(again["data"]["sql_as_trained"], false);
    assert_eq!(job.run("train", &[]).expect(0).json()["model"]["version"], 2, "another training");
    // Each model brings its own joins.
    let both = job.run("evaluate", &["--models", "1,2"]).expect(0).json();
    assert_eq!(both["rows"], 24 * 12);
}

#[test]
fn types_of_the_table_are_kept() {
    let planned = blocking(async {
        let mut session = session(1 << 24);
        session.register_batches("facts", table_batch(&[]).schema(), vec![]).unwrap();
        PointInTime::plan(&session, &spine_batch(&[]).schema(), "at", &[join(false, None)]).await.unwrap()
    });
    let schema = planned.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "key", "part", "at", "n", "t"]);
    assert_eq!(schema.field(5).data_type(), &DataType::Utf8);
}
