//! Queries: SQL is checked before anything is read, refused by name, bound by typed values, planned
//! within a memory limit, and gives the same rows in both engines.

use crate::shared::shared;
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use lakemill::error::{ErrorKind, Result};
use lakemill::interval::Interval;
use lakemill::lake::Location;
use lakemill::query::{FeatureSql, Parameters, Session, SessionOptions, Value, from_datafusion, polars};
use lakemill::tables::{self, TableRequest};
use parquet::arrow::ArrowWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const MEMORY: usize = 1 << 30;

/// Sales: `id`, `shop`, `amount`, `at` (UTC), and `Kind` with a capital.
fn sales() -> Session {
    let mut session = Session::new(SessionOptions::features(MEMORY)).unwrap();
    let ids: Vec<i64> = (0..1000).collect();
    let day = 86_400_000_000_i64;
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.clone())) as ArrayRef),
        ("shop", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("s{}", id % 7))))),
        ("amount", Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| *id as f64 * 0.1)))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| 17_700 * day + id * day / 100))
                    .with_timezone("UTC"),
            ),
        ),
        ("Kind", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("k{}", id % 3))))),
    ])
    .unwrap();
    session.register_batches("sales", batch.schema(), vec![batch]).unwrap();
    session
}

fn day() -> Parameters {
    Parameters::of_interval(&"2018-06-20".parse::<Interval>().unwrap())
}

async fn rows(session: &Session, text: &str, parameters: &Parameters) -> Result<Vec<RecordBatch>> {
    let sql = FeatureSql::parse(text, "sql/test.sql")?;
    session.plan(&sql, parameters).await?.collect().await
}

/// The whole message as a user sees it.
fn shown(error: &lakemill::error::Error) -> String {
    let mut text = error.to_string();
    for cause in error.causes() {
        text.push_str(&format!("\n{cause}"));
    }
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

#[test]
fn everything_but_one_select_is_refused_by_name() {
    let cases = [
        ("CREATE TABLE x AS SELECT 1", "CREATE TABLE"),
        ("create external table x stored as csv location 'x'", "CREATE EXTERNAL"),
        ("CREATE VIEW v AS SELECT 1", "CREATE VIEW"),
        ("DROP TABLE x", "DROP TABLE"),
        ("INSERT INTO x VALUES (1)", "INSERT INTO"),
        ("UPDATE x SET a = 1", "UPDATE"),
        ("DELETE FROM x", "DELETE"),
        ("COPY (SELECT 1) TO 'x.parquet'", "COPY"),
        ("SET datafusion.execution.time_zone = 'x'", "SET"),
        ("RESET datafusion.execution.time_zone", "RESET"),
        ("EXPLAIN SELECT 1", "EXPLAIN"),
        ("SHOW TABLES", "SHOW"),
        ("TRUNCATE TABLE x", "TRUNCATE TABLE"),
        ("SELECT 1; DROP TABLE x", "DROP TABLE"),
    ];
    for (text, name) in cases {
        let error = FeatureSql::parse(text, "sql/test.sql").unwrap_err();
        assert!(error.message.starts_with(&format!("{name} is not allowed")), "{text}: {error}");
        assert_eq!(lakemill::error::Error::from(error).kind(), ErrorKind::Usage);
    }
    let several = FeatureSql::parse("SELECT 1;\nSELECT 2", "sql/test.sql").unwrap_err();
    assert_eq!(several.message, "2 statements where one SELECT is expected");
    assert_eq!(several.line, Some(2));
    assert_eq!(FeatureSql::parse("-- nothing\n", "sql/test.sql").unwrap_err().message, "there is no statement");
}

#[test]
fn the_clock_and_dice_are_refused() {
    for call in ["now()", "CURRENT_DATE", "current_timestamp", "random()", "uuid()"] {
        let error = FeatureSql::parse(&format!("SELECT {call} AS x FROM t"), "sql/test.sql").unwrap_err();
        assert!(error.message.contains("is not allowed in feature SQL"), "{error}");
        assert_eq!(error.column, Some(8), "{error}");
    }
}

#[test]
fn comments_and_white_space_do_not_change_the_normal_form() {
    let one = FeatureSql::parse("SELECT a,b -- amounts\nFROM t WHERE x >= $interval_start", "a.sql").unwrap();
    let two = FeatureSql::parse("/* v2 */ select a ,  b\n\n from t where x>=$interval_start;", "b.sql").unwrap();
    assert_eq!(one.normalized(), two.normalized());
    assert_eq!(one.placeholders(), ["interval_start"]);
    assert!(one.unknown_tables(&["t", "u"]).is_empty());
    let nested = FeatureSql::parse("WITH w AS (SELECT * FROM tt) SELECT * FROM w", "a.sql").unwrap();
    let unknown = nested.unknown_tables(&["t1"]);
    assert_eq!((unknown.len(), unknown[0].message.as_str(), unknown[0].column), (1, "unknown table `tt`", Some(26)));
    let other = FeatureSql::parse("SELECT a, c FROM t WHERE x >= $interval_start", "a.sql").unwrap();
    assert_ne!(one.normalized(), other.normalized());
}

#[tokio::test]
async fn mistakes_are_shown_with_line_caret_and_hint() {
    let session = sales();
    let cases = [
        (
            "SELECT id,\n       amuont\nFROM sales",
            "unknown column `amuont` (at = sql/test.sql:2:8)\n  |\n2 |        amuont\n  |        ^^^^^^\nhint: did you mean `amount`? columns: Kind, amount, at, id, shop",
        ),
        (
            "SELECT id FROM\n\tsails s",
            "unknown table `sails` (at = sql/test.sql:2:2)\n  |\n2 | \tsails s\n  | \t^^^^^\nhint: did you mean `sales`? tables: sales",
        ),
        (
            "SELECT kind FROM sales",
            "unknown column `kind` (at = sql/test.sql:1:8)\n  |\n1 | SELECT kind FROM sales\n  |        ^^^^\nhint: did you mean `Kind`? columns: Kind, amount, at, id, shop",
        ),
        (
            "SELECT id, amont(amount) FROM sales",
            "unknown function `amont` (at = sql/test.sql:1:12)\n  |\n1 | SELECT id, amont(amount) FROM sales\n  |            ^^^^^",
        ),
        (
            "SELECT id\nFROM sales\nWHERE at >= $interval_strat",
            "unknown parameter `$interval_strat` (at = sql/test.sql:3:13)\n  |\n3 | WHERE at >= $interval_strat\n  |             ^^^^^^^^^^^^^^^\nhint: did you mean `interval_start`? parameters: interval_end, interval_start",
        ),
        (
            "SELECT id,, amount FROM sales",
            "expected: an expression, found: , (at = sql/test.sql:1:11)\n  |\n1 | SELECT id,, amount FROM sales\n  |           ^",
        ),
        ("SELECT id FROM sales WHERE", "expected: an expression, found: EOF (at = sql/test.sql)"),
        (
            "SELECT id FROM sales WHERE $1 = id",
            "a placeholder has a name, `$1` has none (at = sql/test.sql:1:28)\n  |\n1 | SELECT id FROM sales WHERE $1 = id\n  |                            ^^\nhint: write $interval_start, or $name with the name under [vars]",
        ),
    ];
    for (text, expected) in cases {
        let error = rows(&session, text, &day()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let found = shown(&error);
        assert!(found.starts_with(expected), "{text}\nfound:\n{found}\nexpected:\n{expected}");
    }
}

#[tokio::test]
async fn type_errors_are_found_without_data() {
    let mut session = Session::new(SessionOptions::features(MEMORY)).unwrap();
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ];
    session.register_schema("t", Arc::new(Schema::new(fields))).unwrap();
    let cases = [
        ("SELECT sum(flag) FROM t", "`sum` does not take Boolean (at = sql/test.sql:1:8)"),
        (
            "SELECT at + flag FROM t",
            "cannot coerce arithmetic expression Timestamp(µs, \"UTC\") + Boolean to valid types (at = sql/test.sql:1:8)",
        ),
        (
            "SELECT id FROM t GROUP BY flag",
            "'t.id' must appear in GROUP BY clause because it's not an aggregate expression (at = sql/test.sql:1:8)",
        ),
        ("SELECT * FROM t WHERE at", "cannot create filter with non-boolean predicate"),
    ];
    for (text, expected) in cases {
        let sql = FeatureSql::parse(text, "sql/test.sql").unwrap();
        let error = session.check(&sql, &day()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
        assert!(shown(&error).starts_with(expected), "{text}\n{}\n", shown(&error));
    }
    let sql =
        FeatureSql::parse("SELECT id, $interval_end AS until FROM t WHERE at < $interval_end", "sql/test.sql").unwrap();
    let schema = session.check(&sql, &day()).await.unwrap();
    assert_eq!(schema.field(1).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
}

#[tokio::test]
async fn parameters_are_typed_values() {
    let session = sales();
    let parameters = day()
        .with("least", Value::Float(0.5))
        .with("shop", Value::Text("s'1".into()))
        .with("many", Value::Int(3))
        .with("yes", Value::Bool(true));
    let text = "SELECT $least + 0.0 AS a, $shop AS b, $many * 2 AS c, $yes AS d, count(*) AS n, min(at) AS first \
                FROM sales WHERE at >= $interval_start AND at < $interval_end";
    let rows = rows(&session, text, &parameters).await.unwrap();
    let table = pretty_format_batches(&rows).unwrap().to_string();
    assert!(table.contains("| 0.5 | s'1 | 6 | true | 100 | 2018-06-20T00:00:00Z |"), "{table}");
}

#[tokio::test]
async fn long_and_deep_sql_does_not_crash() {
    let session = sales();
    let chain = |length: usize| {
        let terms: Vec<String> = (0..length).map(|id| format!("id = {id}")).collect();
        format!("SELECT id FROM sales WHERE {}", terms.join(" OR "))
    };
    let found: usize = rows(&session, &chain(400), &day()).await.unwrap().iter().map(RecordBatch::num_rows).sum();
    assert_eq!(found, 400);
    for text in [chain(50_000), format!("EXPLAIN {}", chain(50_000))] {
        let error = session.ad_hoc(&text).await.err().unwrap();
        assert_eq!(error.message(), "an expression is nested 50001 levels deep, 500 are allowed");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    assert_eq!(FeatureSql::parse(&deep, "sql/test.sql").unwrap_err().message, "the SQL is nested too deeply");
}

#[tokio::test]
async fn intervals_compare_with_timestamps_of_any_kind() {
    let folder = tempfile::TempDir::new().unwrap();
    let nanos = 1_529_452_800_000_000_000_i64;
    let kinds: [(&str, ArrayRef); 3] = [
        ("ns", Arc::new(arrow::array::TimestampNanosecondArray::from(vec![nanos - 1, nanos, nanos + 1]))),
        (
            "ms",
            Arc::new(arrow::array::TimestampMillisecondArray::from(vec![0, nanos / 1_000_000]).with_timezone("UTC")),
        ),
        ("date", Arc::new(arrow::array::Date32Array::from(vec![17_701, 17_702, 17_703]))),
    ];
    for (name, column) in kinds {
        let batch = RecordBatch::try_from_iter([("at", column)]).unwrap();
        let path = folder.path().join(format!("{name}.parquet"));
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let mut session = Session::new(SessionOptions::features(MEMORY)).unwrap();
        let location = Location::parse(path.to_str().unwrap(), Path::new("/")).unwrap();
        session.register(&tables::pin(&TableRequest::latest("t", location)).await.unwrap()).await.unwrap();
        let sql = FeatureSql::parse(
            "SELECT count(*) AS n FROM t WHERE at >= $interval_start AND at < $interval_end",
            "x.sql",
        )
        .unwrap();
        let query = session.plan(&sql, &day()).await.unwrap();
        println!("{name}: {}", query.explain().physical);
        let n = query.collect().await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(n, if name == "ns" { 2 } else { 1 }, "{name}");
    }
}

#[tokio::test]
async fn intervals_compare_without_casting_the_column() {
    let session = sales();
    let sql =
        FeatureSql::parse("SELECT id FROM sales WHERE at >= $interval_start - INTERVAL '7' DAY", "x.sql").unwrap();
    let explained = session.plan(&sql, &day()).await.unwrap().explain();
    println!("{}\n{}", explained.logical, explained.physical);
    assert!(!explained.logical.to_uppercase().contains("CAST"), "{}", explained.logical);
    assert!(explained.logical.contains("TimestampMicrosecond"), "{}", explained.logical);
}

#[tokio::test]
async fn errors_in_the_data_are_check_errors() {
    let session = sales();
    for text in ["SELECT id / (id - id) FROM sales", "SELECT CAST(shop AS BIGINT) FROM sales"] {
        let error = rows(&session, text, &day()).await.unwrap_err();
        println!("{error:?}");
        assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    }
}

#[tokio::test]
async fn memory_that_runs_out_is_a_budget_error_that_names_the_operator() {
    let mut session = Session::new(SessionOptions::features(2_000_000)).unwrap();
    for name in ["a", "b"] {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500_000));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        session.register_batches(name, batch.schema(), vec![batch]).unwrap();
    }
    // What a condition leaves of a table is not known before; that it is no equality takes a nested loop.
    let sql = "SELECT a.id FROM a JOIN (SELECT id FROM b WHERE id % 7 >= 0) b ON a.id > b.id + 499990";
    let error = rows(&session, sql, &day()).await.unwrap_err();
    println!("{error:?}");
    assert_eq!(error.kind(), ErrorKind::Budget);
    assert!(error.to_string().contains("NestedLoopJoin"), "{error:?}");
    assert!(error.hint_text().unwrap().contains("--memory"));
}

#[tokio::test]
async fn a_sort_beyond_memory_spills_and_is_right() {
    let folder = tempfile::TempDir::new().unwrap();
    let options = SessionOptions { spill_dir: Some(folder.path().into()), ..SessionOptions::features(30_000_000) };
    let mut session = Session::new(options).unwrap();
    let batches: Vec<RecordBatch> = (0..500)
        .map(|part| {
            let ids: ArrayRef =
                Arc::new(Int64Array::from_iter_values((0..8192).map(|row| (row * 7919 + part) % 1_000_003)));
            RecordBatch::try_from_iter([("id", ids)]).unwrap()
        })
        .collect();
    session.register_batches("a", batches[0].schema(), batches).unwrap();
    let rows = rows(&session, "SELECT id FROM a ORDER BY id", &day()).await.unwrap();
    let ids: Vec<i64> =
        rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(ids.len(), 500 * 8192);
    assert!(ids.is_sorted());
}

#[tokio::test]
async fn ad_hoc_queries_read_only_and_may_explain() {
    let session = sales();
    let plan = session.ad_hoc("EXPLAIN SELECT count(*) FROM sales").await.unwrap().collect().await.unwrap();
    assert!(pretty_format_batches(&plan).unwrap().to_string().contains("physical_plan"));
    let count = session.ad_hoc("SELECT count(*) FROM sales WHERE now() > at").await.unwrap().collect().await.unwrap();
    assert_eq!(count[0].column(0).as_primitive::<Int64Type>().values(), &[1000]);
    for text in
        ["DELETE FROM sales", "EXPLAIN DELETE FROM sales", "SET a = 1", "SELECT 1; SELECT 2", "COPY sales TO 'x.csv'"]
    {
        let error = session.ad_hoc(text).await.err().unwrap_or_else(|| panic!("{text} was accepted"));
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}: {error:?}");
    }
    assert!(session.ad_hoc("SELECT * FROM sales WHERE at > $x").await.is_err());
}

#[tokio::test]
async fn streams_give_batches_in_order() {
    let session = sales();
    let sql = FeatureSql::parse("SELECT id FROM sales WHERE id % 2 = 0", "x.sql").unwrap();
    let stream = session.plan(&sql, &day()).await.unwrap().stream().unwrap();
    let batches: Vec<RecordBatch> = stream.map_err(from_datafusion).try_collect().await.unwrap();
    let ids: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(ids, (0..1000).step_by(2).collect::<Vec<i64>>());
}

/// Both engines' rows as text; DataFusion's SQL must fix the order.
async fn both(session: &Session, text: &str, keys: &[&str]) -> (String, String) {
    let sql = FeatureSql::parse(text, "sql/test.sql").unwrap();
    let one = session.plan(&sql, &day()).await.unwrap().collect().await.unwrap();
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let two = polars::run(session, &sql, &day(), &keys).await.unwrap();
    (pretty_format_batches(&one).unwrap().to_string(), pretty_format_batches(&[two]).unwrap().to_string())
}

#[tokio::test]
async fn polars_gives_the_rows_of_datafusion() {
    let session = sales();
    let texts = [
        "SELECT shop, count(*) AS n, min(amount) AS least, max(at) AS last FROM sales GROUP BY shop ORDER BY shop",
        "SELECT id, at, \"Kind\" FROM sales WHERE at >= $interval_start AND at < $interval_end ORDER BY id",
        "SELECT id FROM sales WHERE at >= $interval_start - INTERVAL '2' DAY AND at < $interval_end ORDER BY id",
        "WITH big AS (SELECT * FROM sales WHERE amount > 50) SELECT a.id, b.shop FROM big a JOIN sales b ON a.id = b.id ORDER BY a.id",
        "SELECT id, CASE WHEN amount > 20 THEN 'much' ELSE NULL END AS size FROM sales ORDER BY id",
    ];
    for text in texts {
        let (one, two) = both(&session, text, &[]).await;
        assert_eq!(one, two, "{text}");
    }
    // Without ORDER BY the keys decide.
    let sql = FeatureSql::parse("SELECT shop, count(*) AS n FROM sales GROUP BY shop", "sql/test.sql").unwrap();
    let sorted = polars::run(&session, &sql, &day(), &["shop".to_owned()]).await.unwrap();
    let shops: Vec<String> = sorted.column(0).as_string::<i32>().iter().map(|shop| shop.unwrap().to_owned()).collect();
    assert_eq!(shops, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
}

#[tokio::test]
async fn polars_refuses_what_it_does_not_know() {
    let session = sales();
    let cases = [
        "SELECT id, sum(amount) OVER (PARTITION BY shop ORDER BY at RANGE BETWEEN INTERVAL '7' DAY PRECEDING AND CURRENT ROW) AS s FROM sales",
        "SELECT id, approx_median(amount) FROM sales GROUP BY id",
        "SELECT id, CAST(amount AS DECIMAL(10, 2)) AS amount FROM sales",
    ];
    let sql = FeatureSql::parse("SELECT id,\n amuont FROM sales", "sql/test.sql").unwrap();
    let error = polars::run(&session, &sql, &day(), &[]).await.unwrap_err();
    assert!(shown(&error).starts_with("unknown column `amuont` (at = sql/test.sql:2:2)"), "{}", shown(&error));
    assert!(error.hint_text().unwrap().starts_with("did you mean `amount`?"));
    for text in cases {
        let sql = FeatureSql::parse(text, "sql/test.sql").unwrap();
        let error = polars::run(&session, &sql, &day(), &[]).await.unwrap_err();
        println!("{error:?}");
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}: {error:?}");
    }
}

async fn shared_session(lake: &Path, names: &[&str], options: SessionOptions) -> Session {
    let mut session = Session::new(options).unwrap();
    for name in names {
        let location = Location::parse(lake.join(name).to_str().unwrap(), Path::new("/")).unwrap();
        let table = tables::pin(&TableRequest::latest(*name, location)).await.unwrap();
        session.register(&table).await.unwrap();
    }
    session
}

#[tokio::test]
async fn both_engines_agree_on_the_flights() {
    let Some(lake) = shared("lake") else { return };
    let session = shared_session(&lake, &["flights", "airlines"], SessionOptions::features(MEMORY)).await;
    let text = "SELECT a.name, f.month, count(*) AS flights, count(f.arr_delay) AS arrived, max(f.arr_delay) AS worst, \
                min(f.dep_delay) AS earliest FROM flights f JOIN airlines a ON f.carrier = a.carrier \
                WHERE f.distance > 500 GROUP BY a.name, f.month ORDER BY a.name, f.month";
    let (one, two) = both(&session, text, &[]).await;
    assert!(one.lines().count() > 100, "{one}");
    assert_eq!(one, two);
}

/// The window features of a day: customers' counts and means, terminals' counts and frauds a week later.
const HANDBOOK: &str = "\
WITH tx AS (SELECT * FROM transactions WHERE tx_datetime >= $interval_start - INTERVAL '38' DAY AND tx_datetime < $interval_end), \
f AS (SELECT transaction_id, customer_id, tx_datetime, tx_amount, tx_fraud, \
  count(*) OVER c1 AS c_nb_1, avg(tx_amount) OVER c1 AS c_avg_1, count(*) OVER c7 AS c_nb_7, avg(tx_amount) OVER c7 AS c_avg_7, \
  count(*) OVER t8 - count(*) OVER t7 AS t_nb_1, sum(tx_fraud) OVER t8 - sum(tx_fraud) OVER t7 AS t_fr_1 \
  FROM tx WINDOW \
  c1 AS (PARTITION BY customer_id ORDER BY tx_datetime RANGE BETWEEN INTERVAL '86399' SECOND PRECEDING AND CURRENT ROW), \
  c7 AS (PARTITION BY customer_id ORDER BY tx_datetime RANGE BETWEEN INTERVAL '604799' SECOND PRECEDING AND CURRENT ROW), \
  t7 AS (PARTITION BY terminal_id ORDER BY tx_datetime RANGE BETWEEN INTERVAL '604799' SECOND PRECEDING AND CURRENT ROW), \
  t8 AS (PARTITION BY terminal_id ORDER BY tx_datetime RANGE BETWEEN INTERVAL '691199' SECOND PRECEDING AND CURRENT ROW)) \
SELECT * FROM f WHERE tx_datetime >= $interval_start";

#[tokio::test]
async fn a_day_of_the_real_table_reads_only_its_days_and_repeats_to_the_bit() {
    let Some(lake) = shared("lake") else { return };
    let sql = FeatureSql::parse(HANDBOOK, "sql/card_fraud.sql").unwrap();
    let mut first: Option<Vec<RecordBatch>> = None;
    for _ in 0..2 {
        let started = Instant::now();
        let session = shared_session(&lake, &["transactions"], SessionOptions::features(MEMORY)).await;
        let pinned = started.elapsed();
        let query = session.plan(&sql, &day()).await.unwrap();
        let planned = started.elapsed() - pinned;
        let estimate = &query.estimate()[0];
        assert!(estimate.files <= 40, "{estimate:?}");
        assert!(estimate.files >= 39 && estimate.rows.is_some(), "{estimate:?}");
        let rows = query.collect().await.unwrap();
        println!("pin {pinned:?}, plan {planned:?}, run {:?}; {estimate:?}", started.elapsed() - pinned - planned);
        assert!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() > 9_000);
        match &first {
            Some(first) => assert_eq!(first, &rows),
            None => first = Some(rows),
        }
    }
}

/// The least and the greatest value that a file tells pass over NaN: they are not all its values, and do not say that it
/// has no greater one.
#[tokio::test]
async fn nan_is_there_whatever_statistics_say() {
    let lake = tempfile::tempdir().unwrap();
    std::fs::create_dir(lake.path().join("t")).unwrap();
    let files = [[f64::NAN, 5.0, f64::NAN], [1.0, 2.0, f64::NAN], [-1.0, f64::INFINITY, 1.0]];
    for (number, values) in files.into_iter().enumerate() {
        let column = Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        let file = std::fs::File::create(lake.path().join(format!("t/{number}.parquet"))).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    let session = shared_session(lake.path(), &["t"], SessionOptions::features(MEMORY)).await;
    let count = async |sql: &str| -> i64 {
        let found = rows(&session, sql, &Parameters::new()).await.unwrap();
        found[0]["n"].as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(count("SELECT sum(CASE WHEN isnan(x) THEN 1 ELSE 0 END) AS n FROM t").await, 3);
    for condition in [
        "x > 5",
        "x >= 2 AND x < 100",
        "x <> 1",
        "x < 5",
        "x = 5",
        "NOT (x <= 1)",
        "x NOT IN (1.0, 2.0)",
        "x IS DISTINCT FROM 1",
        "x = CAST('NaN' AS DOUBLE)",
        "5 < x OR x IS NULL",
    ] {
        let kept = count(&format!("SELECT count(*) AS n FROM t WHERE {condition}")).await;
        let wanted = count(&format!("SELECT sum(CASE WHEN {condition} THEN 1 ELSE 0 END) AS n FROM t")).await;
        assert_eq!(kept, wanted, "{condition}");
    }
}
