//! Features of Delta in combinations that writers make and collections of examples lack.

use super::cells::Rows;
use super::log::*;
use super::made::{Cases, Expected, Make, batch, ids, longs, texts};
use super::{pin, select};
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use lakemill::tables::At;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

pub static CASES: Cases = &[
    (
        &["typeWidening", "deletionVectors", "columnMapping by name", "partitions"],
        "widened columns and partitions under other names, with vectors",
        widened_everywhere,
    ),
    (&["typeWidening"], "fields of structs, items of lists and values of maps that were widened", widened_inside),
    (&["typeWidening", "columnMapping by id"], "widened columns that are found by their ids", widened_by_id),
    (
        &["typeWidening-preview", "v2Checkpoint", "sidecars", "deletionVectors"],
        "widened by the preview, in sidecars, with vectors",
        widened_in_sidecars,
    ),
    (&["v2Checkpoint"], "a checkpoint of the second form without sidecars", |log| second_form(log, "json", false)),
    (&["v2Checkpoint"], "the same as Parquet, beside one of the first form", |log| second_form(log, "parquet", true)),
    (&["v2Checkpoint", "sidecars"], "the second form under the first one's name", classic_name),
    (
        &["a checkpoint", "a checkpoint in parts", "deletionVectors", "columnMapping by name"],
        "parts of a checkpoint with vectors and mapped names",
        parts_with_vectors,
    ),
    (&["deletionVectors"], "several vectors in one file in a folder of its own", shared_vector_file),
    (&["deletionVectors", "statistics that are not tight"], "wide statistics beside vectors", wide_statistics),
    (&["partitions"], "partitions of every type", partitions_of_every_type),
    (&["columnMapping by name"], "a column that was dropped and added again", dropped_and_added),
    (&["columnMapping by name", "special characters"], "column names with dots, spaces and signs", special_columns),
    (&["writers' features"], "row tracking with its columns in the files", row_tracking),
    (&["writers' features"], "liquid clustering", clustering),
    (&["writers' features"], "collations, identity, defaults and lengths of texts", annotated),
    (&["variantType", "deletionVectors"], "variants with vectors and NULLs", variants_with_vectors),
    (&["timestampNtz", "statistics"], "instants whose statistics are cut to milliseconds", cut_instants),
    (&["statistics"], "texts whose statistics are cut", cut_texts),
    (&["a file that is added twice"], "a file that later commits add again", added_again),
    (&["unknown actions"], "actions and fields of the future", unknown_actions),
];

fn typed(kind: &str) -> DataType {
    match kind {
        "int" => DataType::Int32,
        _ => DataType::Int64,
    }
}

fn ints(values: impl IntoIterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(values))
}

const WIDE: &[&str] = &["typeWidening", "deletionVectors", "columnMapping"];

fn widened_everywhere(log: &Log) -> Expected {
    let fields = [mapped("id", "long", 1, "c-1"), mapped("p", "long", 2, "c-2"), mapped("x", "double", 3, "c-3")];
    let config = json!({"delta.columnMapping.mode": "name", "delta.enableTypeWidening": "true"});
    let small: ArrayRef = Arc::new(arrow::array::Float32Array::from(vec![0.5, 1.5, 2.5]));
    let old = batch(vec![("c-1", ints([1, 2, 3])), ("c-3", small)]);
    let new = batch(vec![("c-1", longs([1 << 40, 4])), ("c-3", Arc::new(Float64Array::from(vec![0.1, 0.2])))]);
    let stats = json!({"numRecords": 3, "tightBounds": false, "minValues": {"c-1": 1, "c-3": 0.5},
        "maxValues": {"c-1": 3, "c-3": 2.5}, "nullCount": {"c-1": 0, "c-3": 0}});
    let old = with(log.add("old.parquet", &old), "/add/partitionValues", json!({"c-2": "7"}));
    let old = with(old, "/add/stats", json!(stats.to_string()));
    let old = with(old, "/add/deletionVector", inline_deletion_vector(&[1]));
    let new = with(log.add("new.parquet", &new), "/add/partitionValues", json!({"c-2": "1099511627776"}));
    log.commit(0, &[features(WIDE, &[]), metadata(&fields, &["p"], config), old, new]);
    Expected::Rows(batch(vec![
        ("id", longs([1, 3, 1 << 40, 4])),
        ("p", longs([7, 7, 1 << 40, 1 << 40])),
        ("x", Arc::new(Float64Array::from(vec![0.5, 2.5, 0.1, 0.2]))),
    ]))
}

/// Columns `id`, `s: {a}`, `l: [..]`, `m: {k -> ..}` of numbers of a type.
fn nested(kind: &str, first: i64) -> RecordBatch {
    let number = typed(kind);
    let numbers = |tens: i64| arrow::compute::cast(&longs([first + tens, first + tens + 1]), &number).unwrap();
    let s = StructArray::from(vec![(Arc::new(Field::new("a", number.clone(), true)), numbers(10))]);
    let offsets = || OffsetBuffer::new(vec![0, 1, 2].into());
    let l = ListArray::new(Arc::new(Field::new("element", number.clone(), true)), offsets(), numbers(20), None);
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("key", DataType::Utf8, false)), texts(&["k", "k"])),
        (Arc::new(Field::new("value", number.clone(), true)), numbers(30)),
    ]);
    let entry = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
    let m = MapArray::new(entry, offsets(), entries, None, false);
    batch(vec![("id", longs([first, first + 1])), ("s", Arc::new(s)), ("l", Arc::new(l)), ("m", Arc::new(m))])
}

fn widened_inside(log: &Log) -> Expected {
    let fields = [
        field("id", "long"),
        field("s", json!({"type": "struct", "fields": [field("a", "long")]})),
        field("l", json!({"type": "array", "elementType": "long", "containsNull": true})),
        field("m", json!({"type": "map", "keyType": "string", "valueType": "long", "valueContainsNull": true})),
    ];
    let config = json!({"delta.enableTypeWidening": "true"});
    let (old, new) = (nested("int", 1), nested("long", 3));
    let adds = [log.add("old.parquet", &old), log.add("new.parquet", &new)];
    log.commit(0, &[features(&["typeWidening"], &[]), metadata(&fields, &[], config)]);
    log.commit(1, &adds);
    let all = [nested("long", 1), new];
    Expected::Rows(arrow::compute::concat_batches(&all[0].schema(), &all).unwrap())
}

fn widened_by_id(log: &Log) -> Expected {
    let of = |name: &str, kind: DataType, id: &str| {
        Field::new(name, kind, true).with_metadata(HashMap::from([("PARQUET:field_id".to_owned(), id.to_owned())]))
    };
    let old = Schema::new(vec![of("before", DataType::Int32, "1"), of("y", DataType::Date32, "2")]);
    let days: ArrayRef = Arc::new(Date32Array::from(vec![0, 1]));
    let old = RecordBatch::try_new(Arc::new(old), vec![ints([1, 4]), days]).unwrap();
    let new = Schema::new(vec![of("after", DataType::Int64, "1")]);
    let new = RecordBatch::try_new(Arc::new(new), vec![longs([1 << 40])]).unwrap();
    let fields = [mapped("id", "long", 1, "p-1"), mapped("day", "timestamp_ntz", 2, "p-2")];
    let config = json!({"delta.columnMapping.mode": "id", "delta.columnMapping.maxColumnId": "2"});
    let adds = [log.add("old.parquet", &old), log.add("new.parquet", &new)];
    let needed = features(&["typeWidening", "columnMapping", "timestampNtz"], &[]);
    log.commit(0, &[needed, metadata(&fields, &[], config), adds[0].clone(), adds[1].clone()]);
    let micros = TimestampMicrosecondArray::from(vec![Some(0), Some(86_400_000_000), None]);
    Expected::Rows(batch(vec![("id", longs([1, 4, 1 << 40])), ("day", Arc::new(micros))]))
}

fn widened_in_sidecars(log: &Log) -> Expected {
    let needed = features(&["typeWidening-preview", "v2Checkpoint", "deletionVectors"], &[]);
    let top = [needed, metadata(&[field("id", "long")], &[], json!({"delta.enableTypeWidening": "true"}))];
    let old = log.add("old.parquet", &batch(vec![("id", ints([1, 2, 3]))]));
    let old = with(old, "/add/deletionVector", log.deletion_vector_file(&[0]));
    let new = log.add("new.parquet", &ids([1 << 40]));
    log.checkpoint_with_sidecars(4, "json", &top, &[&[old], std::slice::from_ref(&new)]);
    log.commit(5, &[remove(&new), log.add("newer.parquet", &ids([9]))]);
    Expected::Rows(ids([2, 3, 9]))
}

fn second_form(log: &Log, form: &str, beside: bool) -> Expected {
    let top = [features(&["v2Checkpoint"], &[]), id_only()];
    let a = log.add("a.parquet", &ids([1, 2]));
    let actions = [top[0].clone(), top[1].clone(), a.clone()];
    // The files stand in the checkpoint itself.
    log.checkpoint_with_sidecars(3, form, &actions, &[]);
    if beside {
        log.checkpoint(3, &actions);
    }
    log.commit(4, &[log.add("b.parquet", &ids([3]))]);
    Expected::Rows(ids(1..=3))
}

fn classic_name(log: &Log) -> Expected {
    let top = [features(&["v2Checkpoint"], &[]), id_only()];
    let (a, b) = (log.add("a.parquet", &ids([1, 2])), log.add("b.parquet", &ids([3])));
    log.checkpoint_with_sidecars(3, "parquet", &top, &[&[a], &[b]]);
    let named = fs::read_dir(log.file("")).unwrap().map(|entry| entry.unwrap().path());
    let named = named.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "parquet")).unwrap();
    fs::rename(named, log.file(&format!("{:020}.checkpoint.parquet", 3))).unwrap();
    log.last_checkpoint(json!({"version": 3, "size": 4}));
    log.commit(4, &[log.add("c.parquet", &ids([4]))]);
    Expected::Rows(ids(1..=4))
}

fn parts_with_vectors(log: &Log) -> Expected {
    let fields = [mapped("id", "long", 1, "c-1")];
    let config = json!({"delta.columnMapping.mode": "name", "delta.enableDeletionVectors": "true"});
    let top = [features(&["deletionVectors", "columnMapping"], &[]), metadata(&fields, &[], config)];
    let of = |values: &[i64]| batch(vec![("c-1", longs(values.iter().copied()))]);
    let a = with(log.add("a.parquet", &of(&[1, 2, 3])), "/add/deletionVector", inline_deletion_vector(&[2]));
    let b = log.add("b.parquet", &of(&[4, 5]));
    log.checkpoint_in_parts(7, &[&top, std::slice::from_ref(&a), &[b]], None);
    let again = with(a.clone(), "/add/deletionVector", inline_deletion_vector(&[0, 2]));
    log.commit(8, &[remove(&a), again]);
    Expected::Rows(ids([2, 4, 5]))
}

fn shared_vector_file(log: &Log) -> Expected {
    let vectors = log.deletion_vectors_in_one_file("ab", &[&[0], &[1, 2], &[0, 1, 2]]);
    let mut actions = vec![features(&["deletionVectors"], &[]), id_only()];
    for (number, vector) in vectors.into_iter().enumerate() {
        let first = number as i64 * 10;
        let add = log.add(&format!("{number}.parquet"), &ids(first..first + 3));
        actions.push(with(add, "/add/deletionVector", vector));
    }
    log.commit(0, &actions);
    Expected::Rows(ids([1, 2, 10]))
}

/// Of ten rows eight are deleted; the statistics are those of all ten.
fn wide_statistics(log: &Log) -> Expected {
    let stats = json!({"numRecords": 10, "tightBounds": false, "minValues": {"id": 0}, "maxValues": {"id": 9},
        "nullCount": {"id": 0}});
    let a = with(log.add("a.parquet", &ids(0..10)), "/add/stats", json!(stats.to_string()));
    let a = with(a, "/add/deletionVector", inline_deletion_vector(&[0, 1, 2, 5, 6, 7, 8, 9]));
    log.commit(0, &[features(&["deletionVectors"], &[]), id_only(), a]);
    Expected::Rows(ids([3, 4]))
}

fn partitions_of_every_type(log: &Log) -> Expected {
    let kinds = [
        "byte",
        "short",
        "integer",
        "long",
        "float",
        "double",
        "boolean",
        "date",
        "timestamp",
        "timestamp_ntz",
        "decimal(12,3)",
        "string",
        "binary",
    ];
    let names: Vec<String> = kinds.iter().map(|kind| kind.split('(').next().unwrap().to_owned()).collect();
    let mut fields = vec![field("id", "long")];
    fields.extend(names.iter().zip(kinds).map(|(name, kind)| field(name, kind)));
    let some = [
        "-7",
        "300",
        "-70000",
        "1099511627776",
        "0.5",
        "-1e300",
        "true",
        "1969-12-31",
        "2024-01-02T03:04:05.678901Z",
        "2024-01-02 03:04:05.678901",
        "-123.450",
        "a b",
        "a b",
    ];
    let values: serde_json::Map<String, Value> =
        names.iter().zip(some).map(|(name, value)| (name.clone(), json!(value))).collect();
    let nulls: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), Value::Null)).collect();
    let a = with(log.add("a.parquet", &ids([1])), "/add/partitionValues", Value::Object(values.clone()));
    let b = with(log.add("b.parquet", &ids([3])), "/add/partitionValues", Value::Object(nulls));
    // As Spark wrote instants before.
    let mut older = values;
    older["timestamp"] = json!("2024-01-02 03:04:05.678901");
    let c = with(log.add("c.parquet", &ids([5])), "/add/partitionValues", Value::Object(older));
    let by: Vec<&str> = names.iter().map(String::as_str).collect();
    log.commit(0, &[features(&["timestampNtz"], &[]), metadata(&fields, &by, json!({})), a, b, c]);
    let micros = 1_704_164_645_678_901_i64;
    let decimal = Decimal128Array::from(vec![Some(-123_450), None, Some(-123_450)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", longs([1, 3, 5])),
        ("byte", Arc::new(Int8Array::from(vec![Some(-7), None, Some(-7)]))),
        ("short", Arc::new(Int16Array::from(vec![Some(300), None, Some(300)]))),
        ("integer", Arc::new(Int32Array::from(vec![Some(-70_000), None, Some(-70_000)]))),
        ("long", Arc::new(Int64Array::from(vec![Some(1 << 40), None, Some(1 << 40)]))),
        ("float", Arc::new(arrow::array::Float32Array::from(vec![Some(0.5), None, Some(0.5)]))),
        ("double", Arc::new(Float64Array::from(vec![Some(-1e300), None, Some(-1e300)]))),
        ("boolean", Arc::new(BooleanArray::from(vec![Some(true), None, Some(true)]))),
        ("date", Arc::new(Date32Array::from(vec![Some(-1), None, Some(-1)]))),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(vec![Some(micros), None, Some(micros)]))),
        ("timestamp_ntz", Arc::new(TimestampMicrosecondArray::from(vec![Some(micros), None, Some(micros)]))),
        ("decimal", Arc::new(decimal.with_precision_and_scale(12, 3).unwrap())),
        ("string", Arc::new(StringArray::from(vec![Some("a b"), None, Some("a b")]))),
        ("binary", Arc::new(BinaryArray::from(vec![Some(&b"a b"[..]), None, Some(b"a b")]))),
    ];
    Expected::Rows(batch(columns))
}

fn dropped_and_added(log: &Log) -> Expected {
    let config = json!({"delta.columnMapping.mode": "name"});
    let needed = json!({"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}});
    let before = [mapped("id", "long", 1, "c-1"), mapped("v", "string", 2, "c-2")];
    let after = [mapped("id", "long", 1, "c-1"), mapped("v", "long", 3, "c-3")];
    let old = log.add("old.parquet", &batch(vec![("c-1", longs([1, 2])), ("c-2", texts(&["x", "y"]))]));
    log.commit(0, &[needed, metadata(&before, &[], config.clone()), old]);
    log.commit(1, &[metadata(&after, &[], config)]);
    log.commit(2, &[log.add("new.parquet", &batch(vec![("c-1", longs([3])), ("c-3", longs([30]))]))]);
    let v = Int64Array::from(vec![None, None, Some(30)]);
    Expected::Rows(batch(vec![("id", longs([1, 2, 3])), ("v", Arc::new(v))]))
}

fn special_columns(log: &Log) -> Expected {
    let names = ["id", "a.b", "a b,;{}()\n\t=", "Case", "ключ", "`q`", "\"d\""];
    let fields: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(number, name)| mapped(name, "long", number as i32 + 1, &format!("c-{number}")))
        .collect();
    let physical: Vec<String> = (0..names.len()).map(|number| format!("c-{number}")).collect();
    let column = |number: usize| longs([number as i64, number as i64 + 10]);
    let inside: Vec<(&str, ArrayRef)> =
        physical.iter().enumerate().map(|(number, name)| (name.as_str(), column(number))).collect();
    let add = log.add("a.parquet", &batch(inside));
    let config = json!({"delta.columnMapping.mode": "name"});
    log.commit(0, &[features(&["columnMapping"], &[]), metadata(&fields, &[], config), add]);
    let columns = names.iter().enumerate().map(|(number, name)| (*name, column(number)));
    Expected::Rows(batch(columns.collect()))
}

fn row_tracking(log: &Log) -> Expected {
    let config = json!({"delta.enableRowTracking": "true",
        "delta.rowTracking.materializedRowIdColumnName": "_row-id-col-1",
        "delta.rowTracking.materializedRowCommitVersionColumnName": "_row-commit-version-col-1"});
    let rows = batch(vec![
        ("_row-id-col-1", longs([70, 71])),
        ("id", longs([1, 4])),
        ("_row-commit-version-col-1", longs([0, 0])),
    ]);
    let add = with(log.add("a.parquet", &rows), "/add/baseRowId", json!(0));
    let add = with(add, "/add/defaultRowCommitVersion", json!(1));
    let fields = [field("id", "long")];
    let needed = features(&["deletionVectors"], &["rowTracking", "domainMetadata"]);
    let add = with(add, "/add/deletionVector", inline_deletion_vector(&[0]));
    log.commit(0, &[needed, metadata(&fields, &[], config), add]);
    Expected::Rows(ids([4]))
}

fn clustering(log: &Log) -> Expected {
    let domain = |configuration: &str, removed: bool| json!({"domainMetadata": {"domain": "delta.clustering", "configuration": configuration, "removed": removed}});
    let add = |name: &str, values: &[i64]| {
        let add = with(log.add(name, &ids(values.iter().copied())), "/add/clusteringProvider", json!("liquid"));
        with(add, "/add/tags", json!({"ZCUBE_ID": "1", "INSERTION_TIME": "5"}))
    };
    let columns = "{\"clusteringColumns\":[[\"id\"]],\"domainName\":\"delta.clustering\"}";
    let needed = features(&["v2Checkpoint"], &["clustering", "domainMetadata"]);
    let top = [needed, id_only(), domain(columns, false)];
    let (a, b) = (add("a.parquet", &[1]), add("b.parquet", &[5]));
    log.commit(0, &[top[0].clone(), top[1].clone(), top[2].clone(), a.clone()]);
    log.commit(1, &[domain(columns, true), remove(&a), b]);
    Expected::Rows(ids([5]))
}

fn annotated(log: &Log) -> Expected {
    let text = json!({"name": "t", "type": "string", "nullable": true, "metadata":
        {"__COLLATIONS": {"t": "ICU.UNICODE_CI"}, "__CHAR_VARCHAR_TYPE_STRING": "varchar(3)", "CURRENT_DEFAULT": "'x'"}});
    let identity = json!({"name": "id", "type": "long", "nullable": false, "metadata":
        {"delta.identity.start": 1, "delta.identity.step": 1, "delta.identity.highWaterMark": 4,
         "delta.identity.allowExplicitInsert": false, "delta.invariants": "{\"expression\":{\"expression\":\"id > 0\"}}"}});
    let rows = batch(vec![("id", longs([1, 4])), ("t", texts(&["abc", "ABC"]))]);
    let needed = features(&[], &["collations-preview", "identityColumns", "allowColumnDefaults", "invariants"]);
    log.commit(0, &[needed, metadata(&[identity, text], &[], json!({})), log.add("a.parquet", &rows)]);
    Expected::Rows(rows)
}

fn variants_with_vectors(log: &Log) -> Expected {
    let bytes = |name: &str| Arc::new(Field::new(name, DataType::Binary, false));
    let binary = |values: Vec<&[u8]>| -> ArrayRef { Arc::new(BinaryArray::from(values)) };
    let variant = |valid: Vec<bool>, metadata: Vec<&[u8]>, value: Vec<&[u8]>| -> ArrayRef {
        let columns = vec![binary(metadata), binary(value)];
        let nulls = Some(arrow::buffer::NullBuffer::from(valid));
        Arc::new(StructArray::new(vec![bytes("metadata"), bytes("value")].into(), columns, nulls))
    };
    let v = variant(vec![true, false, true], vec![&[1, 0, 0]; 3], vec![&[12, 34], &[0], &[9, 104, 105]]);
    let rows = batch(vec![("id", longs([1, 3, 4])), ("v", v)]);
    let add = with(log.add("a.parquet", &rows), "/add/deletionVector", inline_deletion_vector(&[0]));
    let fields = [field("id", "long"), field("v", "variant")];
    log.commit(
        0,
        &[features(&["variantType-preview", "deletionVectors"], &[]), metadata(&fields, &[], json!({})), add],
    );
    Expected::Rows(rows.slice(1, 2))
}

/// The protocol lets writers cut the greatest instant to the millisecond below it.
fn cut_instants(log: &Log) -> Expected {
    let micros = |values: [i64; 2]| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(values.to_vec())) };
    let rows = batch(vec![("id", longs([1, 4])), ("at", micros([1_000_000_999, 1_000_001_999]))]);
    let stats = json!({"numRecords": 2, "minValues": {"id": 1, "at": "1970-01-01T00:16:40.000"},
        "maxValues": {"id": 4, "at": "1970-01-01T00:16:40.001"}, "nullCount": {"id": 0, "at": 0}});
    let add = with(log.add("a.parquet", &rows), "/add/stats", json!(stats.to_string()));
    let fields = [field("id", "long"), field("at", "timestamp_ntz")];
    log.commit(0, &[features(&["timestampNtz"], &[]), metadata(&fields, &[], json!({})), add]);
    Expected::Rows(rows)
}

fn cut_texts(log: &Log) -> Expected {
    let long = format!("{}z", "a".repeat(40));
    let rows = batch(vec![("id", longs([1, 4])), ("t", texts(&["b", &long]))]);
    let stats = json!({"numRecords": 2, "minValues": {"id": 1, "t": "a".repeat(32)},
        "maxValues": {"id": 4, "t": "b"}, "nullCount": {"id": 0, "t": 0}});
    let add = with(log.add("a.parquet", &rows), "/add/stats", json!(stats.to_string()));
    log.commit(0, &[protocol(1, 2), metadata(&[field("id", "long"), field("t", "string")], &[], json!({})), add]);
    Expected::Rows(rows)
}

fn added_again(log: &Log) -> Expected {
    let a = log.add("a.parquet", &ids([1, 2]));
    let b = log.add("b.parquet", &ids([3]));
    log.commit(0, &[protocol(1, 2), id_only(), a.clone(), b.clone()]);
    log.commit(1, &[with(a.clone(), "/add/dataChange", json!(false))]);
    log.checkpoint(1, &[protocol(1, 2), id_only(), a.clone(), b.clone()]);
    log.commit(2, &[with(a.clone(), "/add/dataChange", json!(false)), remove(&b)]);
    log.commit(3, &[b]);
    Expected::Rows(ids(1..=3))
}

fn unknown_actions(log: &Log) -> Expected {
    let a = with(log.add("a.parquet", &ids([1, 5])), "/add/somethingNew", json!({"deep": [1, {"x": null}]}));
    let top = with(protocol(1, 2), "/protocol/somethingNew", json!([1, 2]));
    log.commit(0, &[json!({"whatever": {"add": 1}}), top, id_only(), a, json!({"txn": {"appId": "x", "version": 1}})]);
    fs::write(log.file("00000000000000000000.crc"), "{\"numFiles\": 99}").unwrap();
    fs::write(log.file(".00000000000000000001.json.tmp"), "{").unwrap();
    fs::create_dir_all(log.file("_commits")).unwrap();
    fs::write(log.file("_commits/00000000000000000001.uuid.json"), "{").unwrap();
    Expected::Rows(ids([1, 5]))
}

fn id_only() -> Value {
    metadata(&[field("id", "long")], &[], json!({}))
}

/// A query and the values that it gives.
type Asked<'a> = (&'a str, &'a [i64]);

/// Whatever statistics say, filters keep every row that matches, and counts and extremes are those of the rows.
#[tokio::test]
async fn statistics_never_stand_in_for_rows() {
    let lake = TempDir::new().unwrap();
    let cases: [(Make, &[Asked<'_>]); 3] = [
        (
            wide_statistics,
            &[
                ("SELECT count(*) AS v FROM t", &[2]),
                ("SELECT min(id) AS v FROM t", &[3]),
                ("SELECT max(id) AS v FROM t", &[4]),
                ("SELECT count(*) AS v FROM t WHERE id > 3", &[1]),
                ("SELECT id AS v FROM t WHERE id >= 9", &[]),
            ],
        ),
        (
            cut_instants,
            &[
                ("SELECT id AS v FROM t WHERE at > '1970-01-01T00:16:40.0015'", &[4]),
                ("SELECT id AS v FROM t WHERE at = '1970-01-01T00:16:40.001999'", &[4]),
                ("SELECT id AS v FROM t WHERE at < '1970-01-01T00:16:40.001'", &[1]),
                ("SELECT count(*) AS v FROM t WHERE at = (SELECT max(at) FROM t)", &[1]),
            ],
        ),
        (
            cut_texts,
            &[
                ("SELECT id AS v FROM t WHERE t > 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'", &[1, 4]),
                ("SELECT count(*) AS v FROM t WHERE t = (SELECT min(t) FROM t)", &[1]),
            ],
        ),
    ];
    for (index, (make, queries)) in cases.iter().enumerate() {
        let log = Log::new(lake.path().join(format!("t{index}")));
        make(&log);
        let table = pin(&log.root, At::Latest).await.unwrap();
        for (sql, wanted) in *queries {
            let found = select(&table, &format!("SELECT v FROM ({sql}) ORDER BY v")).await.unwrap();
            let wanted = batch(vec![("v", longs(wanted.iter().copied()))]);
            assert_eq!(Rows::of(&found).rows, Rows::of(&[wanted]).rows, "{sql}");
        }
    }
}

/// A log of many bytes is read again whenever its files are asked for; nothing that is read depends on that.
#[tokio::test]
async fn a_log_that_is_not_held_gives_the_same_rows() {
    let lake = TempDir::new().unwrap();
    let makes: [Make; 5] =
        [widened_everywhere, widened_in_sidecars, parts_with_vectors, shared_vector_file, partitions_of_every_type];
    for (index, make) in makes.iter().enumerate() {
        let log = Log::new(lake.path().join(format!("t{index}")));
        make(&log);
        let held = pin(&log.root, At::Latest).await.unwrap();
        let padded = json!({"commitInfo": {"operation": "WRITE", "pad": "x".repeat(13 << 20)}});
        log.commit(held.version.parse::<u64>().unwrap() + 1, &[padded]);
        let streamed = pin(&log.root, At::Latest).await.unwrap();
        assert_ne!(streamed.version, held.version);
        assert_eq!((streamed.files, streamed.rows, streamed.bytes), (held.files, held.rows, held.bytes), "{index}");
        for sql in ["SELECT * FROM t", "SELECT * FROM t WHERE id >= 3"] {
            let (one, other) = (select(&held, sql).await.unwrap(), select(&streamed, sql).await.unwrap());
            assert_eq!(Rows::of(&one).rows, Rows::of(&other).rows, "{index}: {sql}");
        }
    }
}
