//! Tables: formats are found, states are pinned, and exactly the pinned rows are read.

use crate::shared::shared;
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use chrono::{TimeDelta, Utc};
use deltalake::DeltaTable;
use lakemill::error::{ErrorKind, Result};
use lakemill::lake::Location;
use lakemill::query::{Session, SessionOptions};
use lakemill::tables::{self, At, PinnedTable, TableRequest};
use parquet::arrow::ArrowWriter;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn location(path: &Path) -> Location {
    Location::parse(path.to_str().unwrap(), Path::new("/")).unwrap()
}

async fn pin_at(path: &Path, at: At) -> Result<PinnedTable> {
    tables::pin(&TableRequest { at, ..TableRequest::latest("t", location(path)) }).await
}

async fn pin(path: &Path) -> Result<PinnedTable> {
    pin_at(path, At::Latest).await
}

fn batch(numbers: &[i64]) -> RecordBatch {
    let values: Vec<f64> = numbers.iter().map(|number| *number as f64 / 2.0).collect();
    let names: Vec<String> = numbers.iter().map(|number| format!("n{number}")).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef),
        ("value", Arc::new(Float64Array::from(values))),
        ("name", Arc::new(StringArray::from(names))),
    ])
    .unwrap()
}

fn write_parquet(path: &Path, batch: &RecordBatch) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

fn write_text(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Appends one commit with one file to the Delta table at `path`.
async fn append(path: &Path, numbers: &[i64]) {
    fs::create_dir_all(path).unwrap();
    let url = url::Url::from_directory_path(path).unwrap();
    let table = DeltaTable::try_from_url(url).await.unwrap();
    table.write(vec![batch(numbers)]).await.unwrap();
}

/// All rows, really read, as the values of `id` in the order in which they come.
async fn ids(table: &PinnedTable) -> Result<Vec<i64>> {
    let mut session = Session::new(SessionOptions::features(1 << 30))?;
    session.register(table).await?;
    let rows = session.ad_hoc("SELECT id FROM t").await?.collect().await?;
    Ok(rows.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}

#[tokio::test]
async fn formats_are_found_from_the_location() {
    let lake = TempDir::new().unwrap();
    write_parquet(&lake.path().join("p/a.snappy.parquet"), &batch(&[1, 2]));
    write_text(&lake.path().join("p/_SUCCESS"), "");
    write_text(&lake.path().join("c/a.csv"), "id,name\n1,x\n2,\n");
    write_text(&lake.path().join("j/a.jsonl"), "{\"id\": 1}\n{\"id\": 2, \"name\": \"x\"}\n");
    append(&lake.path().join("d"), &[1, 2]).await;
    for (folder, format) in [("p", "parquet"), ("c", "csv"), ("j", "json"), ("d", "delta"), ("c/a.csv", "csv")] {
        let table = pin(&lake.path().join(folder)).await.unwrap();
        assert_eq!((table.format.as_str(), table.files), (format, 1), "{folder}");
        assert_eq!(ids(&table).await.unwrap(), [1, 2], "{folder}");
    }
    let parquet = pin(&lake.path().join("p")).await.unwrap();
    assert_eq!(parquet.rows, Some(2));
    assert!(parquet.version.starts_with("files-"));
    assert_eq!(pin(&lake.path().join("d")).await.unwrap().rows, Some(2));
}

#[tokio::test]
async fn what_is_no_table_is_told() {
    let lake = TempDir::new().unwrap();
    write_text(&lake.path().join("mixed/a.csv"), "id\n1\n");
    write_text(&lake.path().join("mixed/b.json"), "{\"id\": 1}\n");
    write_text(&lake.path().join("odd/a.xlsx"), "?");
    write_text(&lake.path().join("broken/a.parquet"), "this is no parquet file");
    write_text(&lake.path().join("folders/a=1/x.csv"), "id\n1\n");
    write_text(&lake.path().join("folders/b=1/x.csv"), "id\n1\n");
    write_text(&lake.path().join("twice/id=1/x.csv"), "id\n1\n");
    let cases = [
        ("mixed", ErrorKind::Usage, "no table format is recognised: found files 1 with .csv, 1 with .json"),
        ("odd", ErrorKind::Usage, "no table format is recognised: found files 1 with .xlsx"),
        ("absent", ErrorKind::Usage, "the table does not exist: nothing lies there"),
        ("broken", ErrorKind::Failed, "the parquet files cannot be read"),
        ("folders", ErrorKind::Usage, "the files do not agree on their partition folders"),
        ("twice", ErrorKind::Usage, "a column stands both in the files and in the folder names"),
    ];
    for (folder, kind, message) in cases {
        let error = pin(&lake.path().join(folder)).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{folder}: {error:?}");
        assert!(error.message().starts_with(message), "{folder}: {error:?}");
        assert!(error.to_string().contains("table = t"), "{error}");
    }
    let error = pin_at(&lake.path().join("twice/id=1"), At::Version(3)).await.unwrap_err();
    assert_eq!(error.message(), "csv files have no versions: only the present state can be read");
}

#[tokio::test]
async fn delta_files_without_their_log_are_refused_unless_they_are_said_to_be_plain() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("t");
    write_parquet(&path.join("part-00000-d064d3e2-ed60-4836-a9dc-e09964b59c22-c000.snappy.parquet"), &batch(&[1]));
    let error = pin(&path).await.unwrap_err();
    assert!(error.message().starts_with("the folder looks like a Delta table without its _delta_log"), "{error}");
    let request = TableRequest::latest("t", location(&path));
    assert_eq!(ids(&tables::pin_as(&request, "parquet").await.unwrap()).await.unwrap(), [1]);
    let error = tables::pin_as(&request, "delta").await.unwrap_err();
    assert_eq!(error.message(), "what lies there is not a table of the format `delta`");
    write_text(&path.join("_SUCCESS"), "");
    assert_eq!(ids(&pin(&path).await.unwrap()).await.unwrap(), [1]);
}

#[tokio::test]
async fn hive_folders_become_typed_columns_and_rule_out_files() {
    let lake = TempDir::new().unwrap();
    for (day, store, id) in [("2018-06-20", 1, 10), ("2018-06-20", 2, 20), ("2018-06-21", 1, 30)] {
        write_parquet(&lake.path().join(format!("t/day={day}/store={store}/a.parquet")), &batch(&[id]));
    }
    let table = pin(&lake.path().join("t")).await.unwrap();
    assert_eq!(table.schema.field_with_name("day").unwrap().data_type(), &DataType::Date32);
    assert_eq!(table.schema.field_with_name("store").unwrap().data_type(), &DataType::Int64);
    assert_eq!(table.schema.fields().last().unwrap().name(), "store");

    let mut session = Session::new(SessionOptions::features(1 << 30)).unwrap();
    session.register(&table).await.unwrap();
    let query = session.ad_hoc("SELECT id, store FROM t WHERE day = DATE '2018-06-20' AND store > 1").await.unwrap();
    let estimate = &query.estimate()[0];
    assert_eq!((estimate.files, estimate.files_total, estimate.rows), (1, 3, Some(1)));
    let rows = query.collect().await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().values(), &[20]);
    assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().values(), &[2]);
}

#[tokio::test]
async fn delta_travels_in_time() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("d");
    let before = Utc::now() - TimeDelta::hours(1);
    for number in 1..=3 {
        append(&path, &[number]).await;
    }
    assert_eq!(pin(&path).await.unwrap().version, "2");
    let first = pin_at(&path, At::Version(0)).await.unwrap();
    assert_eq!((first.version.as_str(), first.files, first.rows), ("0", 1, Some(1)));
    assert_eq!(ids(&first).await.unwrap(), [1]);
    let now = pin_at(&path, At::AsOf(Utc::now() + TimeDelta::hours(1))).await.unwrap();
    assert_eq!(now.version, "2");

    let error = pin_at(&path, At::Version(7)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Usage, "the table has no version 7"));
    assert_eq!(error.hint_text(), Some("versions 0 to 2 exist"));
    let error = pin_at(&path, At::AsOf(before)).await.unwrap_err();
    assert!(error.message().starts_with("the table did not exist yet at "), "{error}");
}

#[tokio::test]
async fn as_of_is_the_newest_commit_at_or_before() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("d");
    for number in 1..=3 {
        append(&path, &[number]).await;
        // Commits an hour apart, by the time at which the store received them.
        let commit = path.join(format!("_delta_log/{:020}.json", number - 1));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(3600 * number as u64);
        fs::File::options().write(true).open(commit).unwrap().set_modified(time).unwrap();
    }
    let at = |seconds: i64| At::AsOf(chrono::DateTime::from_timestamp(seconds, 0).unwrap());
    for (seconds, version) in [(3600, "0"), (7199, "0"), (7200, "1"), (99_999, "2")] {
        assert_eq!(pin_at(&path, at(seconds)).await.unwrap().version, version, "{seconds}");
    }
    assert!(pin_at(&path, at(3599)).await.is_err());
}

#[tokio::test]
async fn pins_hold_while_others_write() {
    let lake = TempDir::new().unwrap();
    let (delta, plain) = (lake.path().join("d"), lake.path().join("p"));
    append(&delta, &[1]).await;
    write_parquet(&plain.join("a.parquet"), &batch(&[1]));
    let pins = [pin(&delta).await.unwrap(), pin(&plain).await.unwrap()];
    append(&delta, &[2]).await;
    write_parquet(&plain.join("b.parquet"), &batch(&[2]));
    for (table, path) in pins.iter().zip([&delta, &plain]) {
        assert_eq!(ids(table).await.unwrap(), [1], "{table:?}");
        let later = pin(path).await.unwrap();
        assert_ne!(later.version, table.version);
        let mut all = ids(&later).await.unwrap();
        // Files come in the order of their paths, and those of Delta are random.
        all.sort_unstable();
        assert_eq!(all, [1, 2], "{later:?}");
    }
}

#[tokio::test]
async fn a_file_that_changed_or_vanished_fails_by_name() {
    let lake = TempDir::new().unwrap();
    let plain = lake.path().join("p");
    for name in ["a", "b"] {
        write_parquet(&plain.join(format!("{name}.parquet")), &batch(&[1]));
    }
    let table = pin(&plain).await.unwrap();
    write_parquet(&plain.join("b.parquet"), &batch(&[1, 2, 3]));
    let error = ids(&table).await.unwrap_err();
    assert_eq!(error.message(), "a data file changed after the table was pinned");
    assert!(error.to_string().contains("b.parquet"), "{error}");

    fs::remove_file(plain.join("b.parquet")).unwrap();
    let error = ids(&table).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert_eq!(error.message(), "a data file that the table lists does not exist");
    assert!(error.to_string().contains("b.parquet"), "{error}");
}

#[tokio::test]
async fn a_missing_delta_file_fails_by_name() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("d");
    append(&path, &[1]).await;
    append(&path, &[2]).await;
    let mut data = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let lost = data.find(|path| path.extension().is_some_and(|ending| ending == "parquet")).unwrap();
    let table = pin(&path).await.unwrap();
    fs::remove_file(&lost).unwrap();
    let error = ids(&table).await.unwrap_err();
    assert_eq!(error.message(), "a data file that the table lists does not exist", "{error:?}");
    assert!(error.to_string().contains(lost.file_name().unwrap().to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn delta_rows_come_in_the_order_of_paths_with_and_without_checkpoint() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("d");
    for number in 1..=6 {
        append(&path, &[number]).await;
    }
    let before = ids(&pin(&path).await.unwrap()).await.unwrap();
    let url = url::Url::from_directory_path(&path).unwrap();
    let table = deltalake::open_table(url).await.unwrap();
    deltalake::checkpoints::create_checkpoint(&table, None).await.unwrap();
    let after = ids(&pin(&path).await.unwrap()).await.unwrap();
    assert_eq!(before, after);
    let mut sorted = before.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_delta_feature_that_cannot_be_read_is_named_at_pin_time() {
    let lake = TempDir::new().unwrap();
    for feature in ["geospatial", "somethingNew"] {
        let path = lake.path().join(feature);
        let log = format!(
            "{{\"protocol\":{{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"{feature}\"],\"writerFeatures\":[\"{feature}\"]}}}}\n\
             {{\"metaData\":{{\"id\":\"5fba94ed-9794-4965-ba6e-6ee3c0d22af9\",\"format\":{{\"provider\":\"parquet\",\"options\":{{}}}},\
             \"schemaString\":\"{{\\\"type\\\":\\\"struct\\\",\\\"fields\\\":[{{\\\"name\\\":\\\"id\\\",\\\"type\\\":\\\"long\\\",\\\"nullable\\\":true,\\\"metadata\\\":{{}}}}]}}\",\
             \"partitionColumns\":[],\"configuration\":{{}},\"createdTime\":1587968585495}}}}\n"
        );
        write_text(&path.join("_delta_log/00000000000000000000.json"), &log);
        let error = pin(&path).await.unwrap_err();
        println!("{error:?}");
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
        assert!(error.message().contains(feature), "{error:?}");
    }
}

#[tokio::test]
async fn csv_values_that_do_not_fit_fail_the_read() {
    let lake = TempDir::new().unwrap();
    let mut text = String::from("id\n");
    for number in 0..100_010 {
        text.push_str(&format!("{number}\n"));
    }
    text.push_str("not a number\n");
    write_text(&lake.path().join("c.csv"), &text);
    let error = ids(&pin(&lake.path().join("c.csv")).await.unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Check, "{error:?}");
    assert!(error.message().contains("not a number"), "{error:?}");
}

#[test]
fn an_unknown_format_is_told_with_the_nearest() {
    assert_eq!(tables::lookup("parqet").unwrap_err().hint_text(), Some("did you mean `parquet`?"));
    assert_eq!(tables::lookup("xml").unwrap_err().hint_text(), Some("formats are delta, parquet, csv, json"));
}

#[tokio::test]
async fn the_shared_lake_opens() {
    let Some(lake) = shared("lake") else { return };
    let started = std::time::Instant::now();
    let transactions = pin(&lake.join("transactions")).await.unwrap();
    println!("transactions: pinned in {:?}", started.elapsed());
    assert_eq!((transactions.version.as_str(), transactions.rows), ("90", Some(872_795)));
    let flights = pin(&lake.join("flights")).await.unwrap();
    assert_eq!((flights.version.as_str(), flights.rows), ("11", Some(336_776)));
    assert_eq!(pin_at(&lake.join("transactions"), At::Version(0)).await.unwrap().files, 1);
    let weather = pin(&lake.join("weather")).await.unwrap();
    assert_eq!((weather.format.as_str(), weather.files), ("parquet", 3));
    assert_eq!(weather.schema.fields().last().unwrap().name(), "origin");
    for name in ["planes", "airlines", "airports"] {
        let table = pin(&lake.join(name)).await.unwrap();
        assert_eq!(table.format, "parquet", "{name}");
    }
}

#[tokio::test]
async fn rows_of_files_with_and_without_deletion_vectors_come_in_one_order() {
    let Some(path) = shared("conformance/delta/golden/dv-partitioned-with-checkpoint/delta") else { return };
    let mut seen = None;
    for _ in 0..5 {
        let table = pin(&path).await.unwrap();
        let mut session = Session::new(SessionOptions::features(1 << 30)).unwrap();
        session.register(&table).await.unwrap();
        let query = session.ad_hoc("SELECT * FROM t").await.unwrap();
        assert!(query.explain().physical.contains("InOrderExec"), "{}", query.explain().physical);
        let estimate = query.estimate();
        assert_eq!((estimate[0].files, estimate[0].bytes), (table.files, table.bytes));
        let rows = query.collect().await.unwrap();
        assert_eq!(seen.get_or_insert_with(|| rows.clone()), &rows);
    }
}

#[tokio::test]
async fn as_of_believes_in_commit_timestamps() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("d");
    for number in 1..=2 {
        append(&path, &[number]).await;
        let commit = path.join(format!("_delta_log/{:020}.json", number - 1));
        let text = fs::read_to_string(&commit).unwrap();
        let rest: Vec<&str> = text.lines().filter(|line| !line.contains("commitInfo")).collect();
        let info = format!("{{\"commitInfo\":{{\"inCommitTimestamp\":{},\"operation\":\"WRITE\"}}}}", number * 1000);
        fs::write(&commit, format!("{info}\n{}\n", rest.join("\n"))).unwrap();
    }
    let at = |millis: i64| At::AsOf(chrono::DateTime::from_timestamp_millis(millis).unwrap());
    assert_eq!(pin_at(&path, at(1999)).await.unwrap().version, "0");
    assert_eq!(pin_at(&path, at(2000)).await.unwrap().version, "1");
    assert!(pin_at(&path, at(999)).await.is_err());
}
