//! Delta tables made here by hand: what the shared ones lack, and combinations of features.

use super::cells::Rows;
use super::delta::{in_polars, well_told};
use super::log::*;
use super::outcomes::{Outcome, Read, judge};
use super::{pin, rows_of, select};
use arrow::array::{
    ArrayRef, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use lakemill::tables::At;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tempfile::TempDir;

/// What a case must give: rows, or words of a refusal.
pub enum Expected {
    Rows(RecordBatch),
    Refused(&'static [&'static str]),
    /// Either is right: nothing would be lost or invented.
    RowsOrRefused(RecordBatch),
}

/// Makes a table, and says what it must give.
pub type Make = fn(&Log) -> Expected;

/// Features, name, maker.
pub type Cases = &'static [(&'static [&'static str], &'static str, Make)];

static CASES: Cases = &[
    (
        &["deletionVectors", "columnMapping by name", "partitions"],
        "vectors, mapped names and partitions",
        vectors_and_names,
    ),
    (&["deletionVectors", "columnMapping by id"], "vectors and mapped ids, renamed and added columns", vectors_and_ids),
    (&["deletionVectors"], "a file whose vector was replaced", replaced_vector),
    (&["v2Checkpoint", "sidecars"], "sidecars named by JSON", |log| sidecars(log, "json")),
    (&["v2Checkpoint", "sidecars"], "sidecars named by Parquet", |log| sidecars(log, "parquet")),
    (
        &["v2Checkpoint", "sidecars", "deletionVectors", "columnMapping by name"],
        "sidecars, vectors, mapped names",
        sidecars_and_vectors,
    ),
    (&["a checkpoint", "a checkpoint in parts"], "a checkpoint in three parts", |log| in_parts(log, None)),
    (&["a checkpoint in parts", "a damaged _last_checkpoint"], "a part of the checkpoint is lost", |log| {
        in_parts(log, Some(1))
    }),
    (&["a checkpoint", "statistics as structs"], "statistics as structs only", struct_statistics),
    (&["a checkpoint", "a log that starts at a checkpoint"], "the log starts at a checkpoint", |log| {
        from_checkpoint(log, true)
    }),
    (
        &["a checkpoint", "a log that starts at a checkpoint", "a damaged _last_checkpoint"],
        "no _last_checkpoint",
        |log| from_checkpoint(log, false),
    ),
    (&["a damaged _last_checkpoint"], "_last_checkpoint names one that is not there", lying_hint),
    (&["log compaction files"], "a compacted log file", compacted),
    (&["no files"], "a table without rows", no_files),
    (&["partitions", "special characters"], "partition values with special characters and nulls", special_values),
    (&["partitions"], "empty texts as partition values", super::partitions::empty_texts),
    (&["deletionVectors", "columnMapping by id"], "fields of structs under other names", super::ids::inside_structs),
    (&["absolute paths"], "files outside the folder", |log| absolute(log, false)),
    (&["absolute paths", "deletionVectors"], "files outside the folder, some with vectors", |log| absolute(log, true)),
    (&["typeWidening"], "columns that were widened", widened),
    (&["vacuumProtocolCheck"], "vacuumProtocolCheck", |log| harmless(log, &["vacuumProtocolCheck"], &[])),
    (&["writers' features"], "every feature that concerns writers only", writers_only),
    (&["a changed schema"], "an old file lacks a column and a field", evolved),
    (&["variantType"], "variants", variants),
    (&["unknown features"], "a feature that is not known", |log| {
        refused(log, &["deletionVectors", "somethingNew"], &["`somethingNew`"])
    }),
    (&["variantShredding"], "variantShredding", |log| refused(log, &["variantShredding"], &["`variantShredding`"])),
    (&["catalogManaged"], "catalogManaged", |log| refused(log, &["catalogManaged"], &["`catalogManaged`"])),
    (&["geospatial"], "geospatial", |log| refused(log, &["geospatial"], &["`geospatial`"])),
    (&["timestampNanos"], "timestampNanos", |log| refused(log, &["timestampNanos"], &["`timestampNanos`"])),
    (&["adaptiveMetadata-preview"], "adaptiveMetadata-preview", |log| {
        refused(log, &["adaptiveMetadata-preview"], &["`adaptiveMetadata-preview`"])
    }),
    (&["a protocol of the future"], "reader version 4", newer_reader),
    (&["a log that is lost or damaged"], "a gap in the log", gap),
    (&["a log that is lost or damaged"], "no protocol", |log| without(log, "protocol")),
    (&["a log that is lost or damaged"], "no metadata", |log| without(log, "metadata")),
    (&["a log that is lost or damaged"], "a commit that is cut off", cut_off),
    (&["a log that is lost or damaged"], "a checkpoint that is cut off", cut_off_checkpoint),
    (&["a log that is lost or damaged"], "a deletion vector that is lost", lost_vector),
    (&["a lost data file"], "a listed file is not there", lost_file),
];

#[tokio::test]
async fn made_delta_tables_give_their_rows_or_a_reason() {
    judge(&made_cases().await);
}

/// Combinations of features, and logs that no sound writer makes.
#[tokio::test]
async fn combined_and_hostile_tables_give_their_rows_or_a_reason() {
    judge(&outcomes(super::combined::CASES).await);
    judge(&outcomes(super::hostile::CASES).await);
}

/// Every case that the README counts, made afresh.
pub fn made_cases() -> Pin<Box<dyn Future<Output = Vec<Outcome>>>> {
    Box::pin(outcomes(CASES))
}

async fn outcomes(cases: Cases) -> Vec<Outcome> {
    let lake = TempDir::new().unwrap();
    let mut outcomes = Vec::new();
    for (index, (features, name, make)) in cases.iter().enumerate() {
        let log = Log::new(lake.path().join(format!("t{index}")));
        let expected = make(&log);
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        outcomes.push(Outcome { features, name: (*name).to_owned(), result: judged(&log, expected).await });
    }
    outcomes
}

async fn judged(log: &Log, expected: Expected) -> Read {
    let read = async {
        let table = pin(&log.root, At::Latest).await?;
        let rows = rows_of(&table).await?;
        let filtered = match table.schema.field_with_name("id") {
            Ok(_) => Some(Rows::of(&select(&table, "SELECT id FROM t WHERE id >= 3").await?)),
            Err(_) => None,
        };
        Ok::<_, lakemill::error::Error>((table, rows, filtered))
    };
    match (read.await, expected) {
        (Err(error), Expected::RowsOrRefused(_)) => well_told(&error),
        (Err(error), Expected::Refused(words)) => {
            let told = format!("{error}");
            match words.iter().find(|word| !told.contains(**word)) {
                Some(word) => Read::Wrong(format!("`{word}` is not in: {error:?}")),
                None => well_told(&error),
            }
        }
        (Ok((_, rows, _)), Expected::Refused(words)) => {
            Read::Wrong(format!("read, with {} rows, instead of {words:?}", rows.rows.len()))
        }
        (Err(error), Expected::Rows(_)) => Read::Wrong(format!("{error:?}")),
        (Ok((table, rows, filtered)), Expected::Rows(batch) | Expected::RowsOrRefused(batch)) => {
            let all = Rows::of(std::slice::from_ref(&batch));
            if let Some(difference) = rows.differs(&all) {
                return Read::Wrong(difference);
            }
            if let Some(filtered) = filtered {
                let ids: Vec<String> =
                    Rows::of(&[batch.project(&[batch.schema().index_of("id").unwrap()]).unwrap()]).rows;
                let kept = |row: &&String| row.trim_start_matches("id=").parse::<i64>().is_ok_and(|id| id >= 3);
                let wanted: Vec<String> = ids.iter().filter(kept).cloned().collect();
                if filtered.rows != wanted {
                    return Read::Wrong(format!("id >= 3 gives {:?} instead of {wanted:?}", filtered.rows));
                }
            }
            match in_polars(&table).await {
                Some(Ok(polars)) => {
                    polars.differs(&rows).map_or(Read::EqualInBoth, |told| Read::Wrong(format!("polars: {told}")))
                }
                Some(Err(told)) => Read::Wrong(format!("polars: {told}")),
                None => Read::Equal,
            }
        }
    }
}

pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

pub fn longs(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

pub fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

pub fn ids(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    batch(vec![("id", longs(values))])
}

fn id_only() -> Value {
    metadata(&[field("id", "long")], &[], json!({}))
}

fn named() -> Value {
    json!({"delta.columnMapping.mode": "name", "delta.enableDeletionVectors": "true"})
}

const DV_AND_MAPPING: &[&str] = &["deletionVectors", "columnMapping"];

fn vectors_and_names(log: &Log) -> Expected {
    let fields =
        [mapped("id", "long", 1, "c-1"), mapped("a name", "string", 2, "c-2"), mapped("day", "date", 3, "c-3")];
    let part = |ids: &[i64], names: &[&str]| batch(vec![("c-1", longs(ids.iter().copied())), ("c-2", texts(names))]);
    let first = with(
        log.add("x/a.parquet", &part(&[1, 2, 3], &["a", "b", "c"])),
        "/add/partitionValues",
        json!({"c-3": "2024-01-01"}),
    );
    let second =
        with(log.add("y/b.parquet", &part(&[4, 5, 6], &["d", "e", "f"])), "/add/partitionValues", json!({"c-3": null}));
    let third =
        with(log.add("z/c.parquet", &part(&[7, 8], &["g", "h"])), "/add/partitionValues", json!({"c-3": "2024-01-03"}));
    let first = with(first, "/add/deletionVector", inline_deletion_vector(&[1]));
    let second = with(second, "/add/deletionVector", log.deletion_vector_file(&[0, 2]));
    log.commit(0, &[features(DV_AND_MAPPING, &[]), metadata(&fields, &["day"], named()), first, second, third]);
    let days = Date32Array::from(vec![Some(19723), Some(19723), None, Some(19725), Some(19725)]);
    Expected::Rows(batch(vec![
        ("id", longs([1, 3, 5, 7, 8])),
        ("a name", texts(&["a", "c", "e", "g", "h"])),
        ("day", Arc::new(days)),
    ]))
}

fn vectors_and_ids(log: &Log) -> Expected {
    let of = |name: &str, kind: DataType, id: &str| {
        Field::new(name, kind, true).with_metadata(HashMap::from([("PARQUET:field_id".to_owned(), id.to_owned())]))
    };
    // In id mode the names inside the files say nothing.
    let old = Schema::new(vec![of("was_id", DataType::Int64, "1"), of("dropped", DataType::Utf8, "2")]);
    let old = RecordBatch::try_new(Arc::new(old), vec![longs([1, 2, 3]), texts(&["x", "y", "z"])]).unwrap();
    let new = Schema::new(vec![of("other", DataType::Utf8, "3"), of("id_now", DataType::Int64, "1")]);
    let new = RecordBatch::try_new(Arc::new(new), vec![texts(&["n", "m"]), longs([4, 5])]).unwrap();
    let fields = [mapped("id", "long", 1, "p-1"), mapped("note", "string", 3, "p-3")];
    let old = with(log.add("old.parquet", &old), "/add/deletionVector", inline_deletion_vector(&[0]));
    let config = json!({"delta.columnMapping.mode": "id", "delta.enableDeletionVectors": "true", "delta.columnMapping.maxColumnId": "3"});
    log.commit(0, &[features(DV_AND_MAPPING, &[]), metadata(&fields, &[], config), old, log.add("new.parquet", &new)]);
    let notes = StringArray::from(vec![None, None, Some("n"), Some("m")]);
    Expected::Rows(batch(vec![("id", longs([2, 3, 4, 5])), ("note", Arc::new(notes))]))
}

fn replaced_vector(log: &Log) -> Expected {
    let add = log.add("a.parquet", &ids(0..100_000));
    let first = with(add.clone(), "/add/deletionVector", inline_deletion_vector(&[5]));
    let more: Vec<u32> = (0..100_000).filter(|row| row % 1000 != 7).collect();
    let second = with(add.clone(), "/add/deletionVector", log.deletion_vector_file(&more));
    log.commit(0, &[features(&["deletionVectors"], &[]), id_only(), add.clone()]);
    log.commit(1, &[remove(&add), first.clone()]);
    log.commit(2, &[remove(&first), second]);
    Expected::Rows(ids((0..100).map(|thousand| thousand * 1000 + 7)))
}

fn sidecars(log: &Log, form: &str) -> Expected {
    let (a, b, c, d) = (
        log.add("a.parquet", &ids([1, 2])),
        log.add("b.parquet", &ids([3])),
        log.add("c.parquet", &ids([4])),
        log.add("d.parquet", &ids([5])),
    );
    let top = [features(&["v2Checkpoint"], &[]), id_only()];
    log.commit(0, &[top[0].clone(), top[1].clone(), a.clone(), b.clone()]);
    log.commit(1, std::slice::from_ref(&c));
    log.checkpoint_with_sidecars(1, form, &top, &[&[a, b.clone()], &[c]]);
    log.commit(2, &[remove(&b), d]);
    log.remove_commits(0..=1);
    Expected::Rows(ids([1, 2, 4, 5]))
}

fn sidecars_and_vectors(log: &Log) -> Expected {
    let fields = [mapped("id", "long", 1, "c-1")];
    let top = [features(&["v2Checkpoint", "deletionVectors", "columnMapping"], &[]), metadata(&fields, &[], named())];
    let of = |values: &[i64]| batch(vec![("c-1", longs(values.iter().copied()))]);
    let a = with(log.add("a.parquet", &of(&[1, 2, 3])), "/add/deletionVector", inline_deletion_vector(&[0]));
    let b = log.add("b.parquet", &of(&[4, 5]));
    log.commit(0, &[top[0].clone(), top[1].clone(), a.clone(), b.clone()]);
    log.checkpoint_with_sidecars(0, "parquet", &top, &[&[a], &[b]]);
    log.remove_commits(0..=0);
    log.commit(1, &[json!({"commitInfo": {"operation": "NOTHING"}})]);
    Expected::Rows(ids([2, 3, 4, 5]))
}

fn in_parts(log: &Log, lost: Option<usize>) -> Expected {
    let top = [protocol(1, 2), id_only()];
    let (a, b) = (log.add("a.parquet", &ids([1, 2])), log.add("b.parquet", &ids([3, 4])));
    log.commit(0, &[top[0].clone(), top[1].clone(), a.clone()]);
    log.commit(1, std::slice::from_ref(&b));
    log.checkpoint_in_parts(1, &[&top, &[a], &[b]], lost);
    if lost.is_none() {
        log.remove_commits(0..=1);
    }
    log.commit(2, &[log.add("c.parquet", &ids([5]))]);
    Expected::Rows(ids(1..=5))
}

fn struct_statistics(log: &Log) -> Expected {
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    let of_columns = |name: &str| Field::new_struct(name, vec![number("id")], true);
    let statistics = Field::new_struct(
        "stats_parsed",
        vec![number("numRecords"), of_columns("minValues"), of_columns("maxValues"), of_columns("nullCount")],
        true,
    );
    let parsed = |add: Value, rows: i64, min: i64, max: i64| {
        let parsed =
            json!({"numRecords": rows, "minValues": {"id": min}, "maxValues": {"id": max}, "nullCount": {"id": 0}});
        let mut add = with(add, "/add/stats_parsed", parsed);
        add["add"].as_object_mut().unwrap().remove("stats");
        add
    };
    let a = parsed(log.add("a.parquet", &ids([1, 2])), 2, 1, 2);
    let b = parsed(log.add("b.parquet", &ids([3, 4])), 2, 3, 4);
    let config = json!({"delta.checkpoint.writeStatsAsStruct": "true", "delta.checkpoint.writeStatsAsJson": "false"});
    let actions = [protocol(1, 2), metadata(&[field("id", "long")], &[], config), a, b];
    write_actions(&log.file(&format!("{:020}.checkpoint.parquet", 3)), &actions, &checkpoint_schema_with(statistics));
    log.last_checkpoint(json!({"version": 3, "size": 4}));
    log.commit(4, &[log.add("c.parquet", &ids([5]))]);
    Expected::Rows(ids(1..=5))
}

fn from_checkpoint(log: &Log, hint: bool) -> Expected {
    let a = log.add("a.parquet", &ids([1, 2]));
    log.checkpoint(10, &[protocol(1, 2), id_only(), a.clone()]);
    if !hint {
        fs::remove_file(log.file("_last_checkpoint")).unwrap();
    }
    log.commit(11, &[log.add("b.parquet", &ids([3]))]);
    log.commit(12, &[remove(&a)]);
    Expected::Rows(ids([3]))
}

fn lying_hint(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only(), log.add("a.parquet", &ids([1, 4]))]);
    log.last_checkpoint(json!({"version": 77, "size": 4}));
    Expected::Rows(ids([1, 4]))
}

fn compacted(log: &Log) -> Expected {
    let (a, b) = (log.add("a.parquet", &ids([1])), log.add("b.parquet", &ids([3])));
    log.commit(0, &[protocol(1, 2), id_only()]);
    log.commit(1, std::slice::from_ref(&a));
    log.commit(2, &[remove(&a), b.clone()]);
    let name = log.file(&format!("{:020}.{:020}.compacted.json", 1, 2));
    fs::write(name, lines(&[b, remove(&a)])).unwrap();
    Expected::Rows(ids([3]))
}

fn no_files(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only()]);
    Expected::Rows(ids([]))
}

fn special_values(log: &Log) -> Expected {
    // As the protocol wants it: hive's escapes in the folder's name, and those encoded once more in the log.
    let values: [(Option<&str>, &str, &str); 6] = [
        (Some("a b"), "p=a b", "p=a%20b"),
        (Some("50%/year"), "p=50%25%2Fyear", "p=50%2525%252Fyear"),
        (Some("größe=1?#"), "p=größe%3D1%3F%23", "p=gr%C3%B6%C3%9Fe%253D1%253F%2523"),
        (Some("it's \"x\" : 1"), "p=it%27s %22x%22 %3A 1", "p=it%2527s%20%2522x%2522%20%253A%201"),
        (None, "p=__HIVE_DEFAULT_PARTITION__", "p=__HIVE_DEFAULT_PARTITION__"),
        (Some("\u{1F980}"), "p=\u{1F980}", "p=%F0%9F%A6%80"),
    ];
    let (mut actions, mut p, mut id) = (vec![features(&["deletionVectors"], &[])], Vec::new(), Vec::new());
    actions.push(metadata(&[field("id", "long"), field("p", "string")], &["p"], json!({})));
    for (index, (value, folder, in_log)) in values.iter().enumerate() {
        let number = index as i64;
        let add = log.add(&format!("{folder}/{index}.parquet"), &ids([number, number + 10]));
        let add = with(add, "/add/path", json!(format!("{in_log}/{index}.parquet")));
        let add = with(add, "/add/partitionValues", json!({ "p": value }));
        // Every second file has lost its first row, so that both kinds of scan meet such names.
        let lost = index % 2 == 1;
        actions.push(if lost { with(add, "/add/deletionVector", inline_deletion_vector(&[0])) } else { add });
        for kept in [number, number + 10].into_iter().skip(usize::from(lost)) {
            id.push(kept);
            p.push(*value);
        }
    }
    log.commit(0, &actions);
    Expected::Rows(batch(vec![("id", longs(id)), ("p", Arc::new(StringArray::from(p)))]))
}

fn absolute(log: &Log, vectors: bool) -> Expected {
    let elsewhere = log.root.with_file_name(format!("elsewhere {vectors}"));
    let file = elsewhere.join("a b.parquet");
    let size = write_parquet(&file, &ids([1, 2, 3]));
    let url = url::Url::from_file_path(&file).unwrap();
    let mut away = json!({"add": {"path": url.as_str(), "partitionValues": {}, "size": size, "modificationTime": 1,
        "dataChange": true, "stats": "{\"numRecords\":3}"}});
    let here = log.add("here.parquet", &ids([4, 5]));
    let mut kept = vec![1, 2, 3, 4, 5];
    if vectors {
        away = with(away, "/add/deletionVector", inline_deletion_vector(&[1]));
        kept.remove(1);
    }
    log.commit(0, &[features(&["deletionVectors"], &[]), id_only(), away, here]);
    Expected::Rows(ids(kept))
}

fn widened(log: &Log) -> Expected {
    let fields = [
        field("id", "long"),
        field("d", "double"),
        field("f", "double"),
        field("day", "timestamp_ntz"),
        field("m", "decimal(20,4)"),
    ];
    let decimal = |values: Vec<i128>, precision, scale| -> ArrayRef {
        Arc::new(arrow::array::Decimal128Array::from(values).with_precision_and_scale(precision, scale).unwrap())
    };
    let old = batch(vec![
        ("id", Arc::new(Int32Array::from(vec![1, 2, i32::MAX]))),
        ("d", Arc::new(Int32Array::from(vec![7, 8, 9]))),
        ("f", Arc::new(Float32Array::from(vec![0.5, 1.5, 2.5]))),
        ("day", Arc::new(Date32Array::from(vec![0, 1, 19723]))),
        ("m", decimal(vec![123, 456, 789], 10, 2)),
    ]);
    let micros = |values: Vec<i64>| -> ArrayRef { Arc::new(arrow::array::TimestampMicrosecondArray::from(values)) };
    let new = batch(vec![
        ("id", longs([i64::from(i32::MAX) + 1, 3])),
        ("d", Arc::new(Float64Array::from(vec![0.25, 0.75]))),
        ("f", Arc::new(Float64Array::from(vec![0.1, 0.2]))),
        ("day", micros(vec![1_000_001, 5])),
        ("m", decimal(vec![12_345, 67_890], 20, 4)),
    ]);
    let stats = json!({"numRecords": 3, "minValues": {"id": 1, "d": 7, "f": 0.5, "day": "1970-01-01", "m": 1.23},
        "maxValues": {"id": i32::MAX, "d": 9, "f": 2.5, "day": "2024-01-01", "m": 7.89},
        "nullCount": {"id": 0, "d": 0, "f": 0, "day": 0, "m": 0}});
    let old = with(log.add("old.parquet", &old), "/add/stats", json!(stats.to_string()));
    log.commit(
        0,
        &[
            features(&["typeWidening", "timestampNtz"], &[]),
            metadata(&fields, &[], json!({"delta.enableTypeWidening": "true"})),
        ],
    );
    log.commit(1, &[old, log.add("new.parquet", &new)]);
    Expected::Rows(batch(vec![
        ("id", longs([1, 2, i64::from(i32::MAX), i64::from(i32::MAX) + 1, 3])),
        ("d", Arc::new(Float64Array::from(vec![7.0, 8.0, 9.0, 0.25, 0.75]))),
        ("f", Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5, 0.1, 0.2]))),
        ("day", micros(vec![0, 86_400_000_000, 19723 * 86_400_000_000, 1_000_001, 5])),
        ("m", decimal(vec![12_300, 45_600, 78_900, 12_345, 67_890], 20, 4)),
    ]))
}

fn harmless(log: &Log, both: &[&str], writers: &[&str]) -> Expected {
    log.commit(0, &[features(both, writers), id_only(), log.add("a.parquet", &ids([1, 2, 3]))]);
    log.checkpoint(0, &[features(both, writers), id_only(), log.add("a.parquet", &ids([1, 2, 3]))]);
    log.commit(1, &[log.add("b.parquet", &ids([4]))]);
    Expected::Rows(ids(1..=4))
}

fn writers_only(log: &Log) -> Expected {
    let writers = [
        "appendOnly",
        "invariants",
        "checkConstraints",
        "changeDataFeed",
        "generatedColumns",
        "identityColumns",
        "rowTracking",
        "domainMetadata",
        "icebergCompatV1",
        "icebergCompatV2",
        "clustering",
        "allowColumnDefaults",
        "inCommitTimestamp",
        "checkpointProtection",
        "writtenByTheFuture",
    ];
    let config = json!({"delta.constraints.positive": "id > 0", "delta.enableChangeDataFeed": "true", "delta.enableRowTracking": "true",
        "delta.enableInCommitTimestamps": "true", "delta.appendOnly": "true"});
    let generated = json!({"name": "twice", "type": "long", "nullable": true, "metadata": {"delta.generationExpression": "id * 2"}});
    let rows = batch(vec![("id", longs([1, 5])), ("twice", longs([2, 10]))]);
    let add = with(log.add("a.parquet", &rows), "/add/baseRowId", json!(0));
    let add = with(add, "/add/defaultRowCommitVersion", json!(0));
    let info = json!({"commitInfo": {"inCommitTimestamp": 1000, "operation": "WRITE"}});
    let domain = json!({"domainMetadata": {"domain": "delta.rowTracking", "configuration": "{\"rowIdHighWaterMark\":1}", "removed": false}});
    let cdc = json!({"cdc": {"path": "_change_data/x.parquet", "partitionValues": {}, "size": 1, "dataChange": false}});
    log.commit(
        0,
        &[info.clone(), features(&[], &writers), metadata(&[field("id", "long"), generated], &[], config), domain, add],
    );
    log.commit(1, &[with(info, "/commitInfo/inCommitTimestamp", json!(2000)), cdc]);
    Expected::Rows(rows)
}

fn evolved(log: &Log) -> Expected {
    let inner = |fields: Vec<(Field, ArrayRef)>| -> ArrayRef {
        Arc::new(arrow::array::StructArray::from(
            fields.into_iter().map(|(field, array)| (Arc::new(field), array)).collect::<Vec<_>>(),
        ))
    };
    let long = |name: &str| Field::new(name, DataType::Int64, true);
    let old = batch(vec![("id", longs([1, 2])), ("s", inner(vec![(long("a"), longs([10, 20]))]))]);
    let new = batch(vec![
        ("s", inner(vec![(long("a"), longs([30])), (long("b"), longs([31]))])),
        ("id", longs([3])),
        ("extra", texts(&["x"])),
    ]);
    let kind = json!({"type": "struct", "fields": [field("a", "long"), field("b", "long")]});
    let fields = [field("id", "long"), field("s", kind), field("extra", "string")];
    log.commit(0, &[protocol(1, 2), metadata(&fields[..1], &[], json!({})), log.add("old.parquet", &old)]);
    log.commit(1, &[metadata(&fields, &[], json!({})), log.add("new.parquet", &new)]);
    let b = Int64Array::from(vec![None, None, Some(31)]);
    Expected::Rows(batch(vec![
        ("id", longs([1, 2, 3])),
        ("s", inner(vec![(long("a"), longs([10, 20, 30])), (long("b"), Arc::new(b))])),
        ("extra", Arc::new(StringArray::from(vec![None, None, Some("x")]))),
    ]))
}

fn variants(log: &Log) -> Expected {
    let bytes = |name: &str| Field::new(name, DataType::Binary, false);
    let binary = |values: Vec<&[u8]>| -> ArrayRef { Arc::new(arrow::array::BinaryArray::from(values)) };
    // The number 34 and the text "hi" in the variant encoding, with an empty dictionary.
    let v: ArrayRef = Arc::new(arrow::array::StructArray::from(vec![
        (Arc::new(bytes("metadata")), binary(vec![&[1, 0, 0], &[1, 0, 0]])),
        (Arc::new(bytes("value")), binary(vec![&[12, 34], &[9, 104, 105]])),
    ]));
    let rows = batch(vec![("id", longs([1, 4])), ("v", v)]);
    let fields = [field("id", "long"), field("v", "variant")];
    log.commit(0, &[features(&["variantType"], &[]), metadata(&fields, &[], json!({})), log.add("a.parquet", &rows)]);
    Expected::Rows(rows)
}

fn refused(log: &Log, both: &[&str], words: &'static [&'static str]) -> Expected {
    harmless(log, both, &[]);
    Expected::Refused(words)
}

fn newer_reader(log: &Log) -> Expected {
    log.commit(0, &[protocol(4, 7), id_only()]);
    Expected::Refused(&["version 4", "reader protocol"])
}

fn gap(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only()]);
    log.commit(1, &[log.add("a.parquet", &ids([1]))]);
    log.commit(3, &[log.add("b.parquet", &ids([2]))]);
    Expected::Refused(&["lacks", "version 2"])
}

fn without(log: &Log, lost: &'static str) -> Expected {
    let kept = if lost == "protocol" { id_only() } else { protocol(1, 2) };
    log.commit(0, &[kept, log.add("a.parquet", &ids([1]))]);
    Expected::Refused(if lost == "protocol" { &["no protocol"] } else { &["no metadata"] })
}

fn cut_off(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only()]);
    let text = lines(&[log.add("a.parquet", &ids([1])), log.add("b.parquet", &ids([2]))]);
    fs::write(log.file(&format!("{:020}.json", 1)), &text[..text.len() - 30]).unwrap();
    Expected::Refused(&["00000000000000000001.json"])
}

fn cut_off_checkpoint(log: &Log) -> Expected {
    from_checkpoint(log, true);
    let name = log.file(&format!("{:020}.checkpoint.parquet", 10));
    let bytes = fs::read(&name).unwrap();
    fs::write(&name, &bytes[..bytes.len() / 2]).unwrap();
    Expected::Refused(&["00000000000000000010.checkpoint.parquet"])
}

fn lost_vector(log: &Log) -> Expected {
    let add = with(log.add("a.parquet", &ids([1, 2])), "/add/deletionVector", log.deletion_vector_file(&[0]));
    log.commit(0, &[features(&["deletionVectors"], &[]), id_only(), add]);
    for entry in fs::read_dir(&log.root).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|ending| ending == "bin") {
            fs::remove_file(entry).unwrap();
        }
    }
    Expected::Refused(&["deletion_vector_", "does not exist"])
}

fn lost_file(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only(), log.add("a.parquet", &ids([1])), log.add("b.parquet", &ids([2]))]);
    fs::remove_file(log.root.join("b.parquet")).unwrap();
    Expected::Refused(&["b.parquet", "does not exist"])
}
