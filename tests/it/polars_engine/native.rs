//! Which tables Polars scans itself, with what pushed into the files, and that the rows are those of DataFusion.

use super::{Both, assert_same, both};
use crate::conformance::log::{Log, features, field, inline_deletion_vector, metadata, protocol, with, write_parquet};
use arrow::array::AsArray;
use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampSecondArray,
};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use lakemill::lake::Location;
use lakemill::query::polars::{PolarsQuery, TableRead};
use lakemill::query::{FeatureSql, Parameters, Session, SessionOptions};
use lakemill::tables::{self, TableRequest};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

async fn session(path: &Path) -> Session {
    let mut session = Session::new(SessionOptions::features(256 << 20)).unwrap();
    let location = Location::parse(path.to_str().unwrap(), Path::new("/")).unwrap();
    session.register(&tables::pin(&TableRequest::latest("t", location)).await.unwrap()).await.unwrap();
    session
}

async fn query(session: &Session, text: &str) -> PolarsQuery {
    let sql = FeatureSql::parse(text, "sql/test.sql").unwrap();
    PolarsQuery::plan(&session.plan(&sql, &Parameters::new()).await.unwrap(), &sql).await.unwrap()
}

async fn read(session: &Session, text: &str) -> TableRead {
    query(session, text).await.reads().remove(0)
}

fn ids(from: i64, rows: i64) -> Vec<(&'static str, ArrayRef)> {
    let of = |f: fn(i64) -> i64| Int64Array::from_iter_values((from..from + rows).map(f));
    let at = TimestampMicrosecondArray::from_iter_values((from..from + rows).map(|id| id * 3_600_000_000));
    vec![
        ("id", Arc::new(of(|id| id)) as ArrayRef),
        ("at", Arc::new(at.with_timezone("UTC"))),
        ("s", Arc::new(StringArray::from_iter((from..from + rows).map(|id| (id % 3 > 0).then(|| format!("s{id}")))))),
        ("y", Arc::new(Float64Array::from_iter((from..from + rows).map(|id| (id % 5 > 0).then_some(id as f64 / 4.0))))),
    ]
}

fn batch(columns: Vec<(&'static str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

const QUERIES: [&str; 8] = [
    "SELECT * FROM t",
    "SELECT id, s FROM t WHERE id >= 12 AND id < 31 AND s IS NOT NULL",
    "SELECT count(*) AS n FROM t",
    "SELECT 1 AS one, 'x' AS text FROM t",
    "SELECT count(*) AS n, count(DISTINCT one) AS m FROM (SELECT 1 AS one FROM t LIMIT 30)",
    "SELECT id, at FROM t WHERE at >= arrow_cast('1970-01-01T20:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')",
    "SELECT s, count(*) AS n, sum(y) AS y FROM t GROUP BY s",
    "SELECT a.id, b.y FROM t a JOIN t b ON a.id = b.id + 1 WHERE b.y > 2 OR b.s LIKE 's1%'",
];

#[tokio::test]
async fn plain_files_with_older_ones_that_lack_columns() {
    let lake = TempDir::new().unwrap();
    let old = ids(0, 20).into_iter().filter(|(name, _)| *name != "y").collect();
    write_parquet(&lake.path().join("t/a.parquet"), &batch(old));
    let mut newer = ids(20, 20);
    newer.push(("more", Arc::new(Int64Array::from_iter_values(0..20))));
    write_parquet(&lake.path().join("t/b c%20d.parquet"), &batch(newer));
    let session = session(&lake.path().join("t")).await;
    assert_eq!(read(&session, QUERIES[0]).await, TableRead { table: "t".into(), natively: true, because: None });
    assert_same(&session, &QUERIES, &Parameters::new()).await;
    assert_same(&session, &["SELECT id, more, y FROM t WHERE y IS NULL OR more > 7"], &Parameters::new()).await;
}

#[tokio::test]
async fn projections_and_filters_reach_the_files() {
    let lake = TempDir::new().unwrap();
    write_parquet(&lake.path().join("t/a.parquet"), &batch(ids(0, 40)));
    let session = session(&lake.path().join("t")).await;
    let plan = query(&session, "SELECT s FROM t WHERE id >= 12 AND id < 31").await.explain().await.unwrap();
    let scan = plan.split("Parquet SCAN").nth(1).unwrap_or_else(|| panic!("{plan}"));
    assert!(scan.contains("SELECTION") && scan.contains("\"id\"") && scan.contains("31"), "{plan}");
    assert!(!plan.contains("FILTER"), "the filter is computed above the scan:\n{plan}");
    assert!(scan.contains("PROJECT 2/2") || scan.contains("PROJECT */2"), "{plan}");
}

#[tokio::test]
async fn partitions_by_folders() {
    let lake = TempDir::new().unwrap();
    let parts = ["2018-06-20", "2018-06-21", "__HIVE_DEFAULT_PARTITION__"];
    for (index, day) in parts.iter().enumerate() {
        for (half, name) in ["x", "a%2Fb"].iter().enumerate() {
            let file = lake.path().join(format!("t/day={day}/n={}/name={name}/f.parquet", index * 7));
            write_parquet(&file, &batch(ids((index * 2 + half) as i64 * 7, 7)));
        }
    }
    let session = session(&lake.path().join("t")).await;
    assert!(read(&session, QUERIES[0]).await.natively);
    assert_same(&session, &QUERIES, &Parameters::new()).await;
    let texts = [
        "SELECT id, day, n, name FROM t WHERE day >= DATE '2018-06-21'",
        "SELECT id FROM t WHERE day IS NULL AND n > 3",
        "SELECT day, name, count(*) AS rows, min(id) AS first FROM t GROUP BY day, name",
        "SELECT day FROM t WHERE name = 'a/b'",
        "SELECT id FROM t WHERE n + id > 20 AND name <> 'x'",
        "SELECT id FROM t WHERE day = DATE '2001-01-01'",
    ];
    assert_same(&session, &texts, &Parameters::new()).await;
}

#[tokio::test]
async fn delta_tables_by_their_log() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    let fields = [
        field("id", "long"),
        field("at", "timestamp"),
        field("s", "string"),
        field("y", "double"),
        field("more", "integer"),
        field("p", "string"),
        field("q", "integer"),
        field("day", "date"),
    ];
    let valued = |add, p, q, day| with(add, "/add/partitionValues", json!({"p": p, "q": q, "day": day}));
    let old = ids(0, 10).into_iter().filter(|(name, _)| *name != "y").collect();
    log.commit(
        0,
        &[
            protocol(1, 2),
            metadata(&fields, &["p", "q", "day"], json!({})),
            valued(log.add("p=x/a.parquet", &batch(old)), json!("x"), json!("1"), json!("2018-06-20")),
            // What the folder says is not what counts.
            valued(log.add("p=x/b.parquet", &batch(ids(10, 10))), json!("y"), json!(null), json!("2018-06-21")),
            valued(log.add("c.parquet", &batch(ids(20, 10))), json!(""), json!(""), json!(null)),
            valued(log.add("d e.parquet", &batch(ids(30, 10))), json!("x"), json!("1"), json!("2018-06-20")),
        ],
    );
    let session = session(&log.root).await;
    assert!(read(&session, QUERIES[0]).await.natively, "{:?}", read(&session, QUERIES[0]).await);
    assert_same(&session, &QUERIES, &Parameters::new()).await;
    let texts = [
        "SELECT id, p, q, day, more FROM t WHERE day = DATE '2018-06-20'",
        "SELECT p, q, count(*) AS n FROM t GROUP BY p, q",
        "SELECT id FROM t WHERE p IS NULL OR q IS NULL",
        "SELECT id FROM t WHERE q = 1 AND y > 3",
    ];
    assert_same(&session, &texts, &Parameters::new()).await;
}

#[tokio::test]
async fn what_is_not_exact_goes_through_datafusion() {
    let lake = TempDir::new().unwrap();
    let at = |name: &str| lake.path().join(name);
    // Rows that are deleted.
    let deleted = Log::new(at("deleted"));
    let fields = [field("id", "long"), field("at", "timestamp"), field("s", "string"), field("y", "double")];
    let add = deleted.add("a.parquet", &batch(ids(0, 30)));
    let add = with(add, "/add/deletionVector", inline_deletion_vector(&[1, 4, 29]));
    deleted.commit(0, &[features(&["deletionVectors"], &[]), metadata(&fields, &[], json!({})), add]);
    // A file whose type is not the table's.
    let narrow = Log::new(at("narrow"));
    let mut columns = ids(0, 30);
    columns[0].1 = Arc::new(Int32Array::from_iter_values(0..30));
    narrow.commit(0, &[protocol(1, 2), metadata(&fields, &[], json!({})), narrow.add("a.parquet", &batch(columns))]);
    // A format that Polars is not given.
    std::fs::create_dir_all(at("csv")).unwrap();
    let rows: String = (0..30).map(|id| format!("{id},1970-01-02T00:00:00Z,s{id},{}\n", id * 2)).collect();
    std::fs::write(at("csv/a.csv"), format!("id,at,s,y\n{rows}")).unwrap();
    // Seconds, for which Parquet has no type: milliseconds with a note.
    let mut columns = ids(0, 30);
    let seconds = TimestampSecondArray::from_iter_values((0..30).map(|id| id * 3600)).with_timezone("UTC");
    columns[1].1 = Arc::new(seconds);
    let noted = batch(columns.clone());
    columns[1].1 =
        arrow::compute::cast(&columns[1].1, &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))).unwrap();
    write_noted(&at("seconds/a.parquet"), &batch(columns), &noted);
    for (name, reason) in [
        ("seconds", "`at` was written from Timestamp(s, \"UTC\")"),
        ("deleted", "some of its rows are deleted by deletion vectors"),
        ("narrow", "`id` is Int32 in a file and Int64 in the table"),
        ("csv", "csv files"),
    ] {
        let session = session(&at(name)).await;
        let told = read(&session, QUERIES[0]).await;
        assert_eq!((told.natively, told.because.as_deref()), (false, Some(reason)), "{name}");
        let texts = [QUERIES[0], QUERIES[1], QUERIES[2], QUERIES[3], QUERIES[6]];
        assert_same(&session, &texts, &Parameters::new()).await;
    }
}

/// Writes a file that says it was written from the columns of `noted`.
fn write_noted(file: &Path, written: &RecordBatch, noted: &RecordBatch) {
    use parquet::arrow::arrow_writer::ArrowWriterOptions;
    let note = parquet::arrow::encode_arrow_schema(&noted.schema());
    let note = parquet::file::metadata::KeyValue::new("ARROW:schema".to_owned(), note);
    let properties = parquet::file::properties::WriterProperties::builder().set_key_value_metadata(Some(vec![note]));
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let to = std::fs::File::create(file).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new_with_options(to, written.schema(), options).unwrap();
    writer.write(written).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn files_that_are_gone_or_damaged_are_told_by_name() {
    let lake = TempDir::new().unwrap();
    for (name, from) in [("a", 0), ("b", 2000)] {
        write_parquet(&lake.path().join(format!("t/{name}.parquet")), &batch(ids(from, 2000)));
    }
    let pinned = session(&lake.path().join("t")).await;
    let file = lake.path().join("t/b.parquet");
    let whole = std::fs::read(&file).unwrap();
    // The pages, not the footer; the time of the file stays as it was pinned.
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    let mut damaged = whole.clone();
    damaged[20..whole.len() / 3].fill(0xff);
    std::fs::write(&file, &damaged).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
    if let Ok(Both { polars, .. }) = both(&pinned, "SELECT sum(id) AS s, max(s) AS m FROM t", &Parameters::new()).await
    {
        let told = polars.unwrap_err().to_string();
        assert!(told.contains("b.parquet"), "{told}");
    }
    std::fs::remove_file(&file).unwrap();
    let sql = FeatureSql::parse("SELECT id FROM t", "sql/test.sql").unwrap();
    let gone = match pinned.plan(&sql, &Parameters::new()).await {
        Ok(planned) => PolarsQuery::plan(&planned, &sql).await.map(drop).unwrap_err(),
        Err(error) => error,
    };
    assert!(gone.to_string().contains("b.parquet"), "{gone}");
}

/// What `--memory` bounds: tables that are put aside go to a file batch by batch, and the rows are sorted out of core.
#[tokio::test]
async fn more_rows_than_memory_are_put_aside_and_sorted() {
    let rows = 600_000_i64;
    let batches: Vec<RecordBatch> = (0..rows / 8000)
        .map(|part| {
            let ids = (0..8000).map(|row| ((part * 8000 + row) * 7919) % rows);
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
            let names = (0..8000).map(|row| format!("a name that is long enough not to be inlined {row}"));
            RecordBatch::try_from_iter([("id", ids), ("s", Arc::new(StringArray::from_iter_values(names)))]).unwrap()
        })
        .collect();
    let mut session = Session::new(SessionOptions::features(16 << 20)).unwrap();
    session.register_batches("t", batches[0].schema(), batches).unwrap();
    let query = query(&session, "SELECT id, s FROM t WHERE id >= 0").await;
    let mut sorted = query.stream(&["id".to_owned()]).await.unwrap();
    let mut next = 0;
    while let Some(batch) = futures::TryStreamExt::try_next(&mut sorted).await.unwrap() {
        assert!(batch.num_rows() <= 8192);
        for id in batch.column(0).as_primitive::<Int64Type>().values() {
            assert_eq!(*id, next);
            next += 1;
        }
    }
    assert_eq!(next, rows);
}

/// A job's receipt tells what its plan told.
#[test]
fn receipts_tell_how_tables_were_read() {
    let folder = tempfile::tempdir().unwrap();
    crate::risk::make(folder.path(), "jobs/risk.toml", "sql/risk.sql");
    let job = folder.path().join("jobs/risk.toml").display().to_string();
    let lake = folder.path().join("lake/transactions").display().to_string();
    let csv = folder.path().join("lake/transactions.csv").display().to_string();
    let table = format!("t={lake}");
    let copied =
        ["query", "SELECT * FROM t ORDER BY transaction_id", "--table", &table, "--format", "csv", "--out", &csv];
    crate::command::run(&copied).expect(0);
    let on_day = |command: &str, more: &[&str]| {
        let args = [&[command, &job, "--interval", "2018-06-10"], more].concat();
        crate::command::run_json(&args).expect(0).json()
    };
    let polars = ["--set", "features.engine=polars"];
    let natively = serde_json::json!([{"table": "transactions", "natively": true, "because": null}]);
    assert_eq!(on_day("train", &polars)["polars"], natively);
    assert_eq!(on_day("plan", &polars)["tables"][0]["polars"], natively[0]);
    assert_eq!(on_day("score", &polars)["polars"], natively);

    let from_csv = format!("tables.transactions.path={csv}");
    let home = format!("home={}", folder.path().join("other").display());
    let more = ["--set", &from_csv, "--set", &home];
    let receipt = on_day("train", &[&polars[..], &more].concat());
    assert_eq!(
        receipt["polars"],
        serde_json::json!([{"table": "transactions", "natively": false, "because": "csv files"}])
    );
    let other = on_day("score", &more);
    assert!(other.get("polars").is_none(), "{other}");
}
