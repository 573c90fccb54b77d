//! Logs that no sound writer makes: they are read right, or refused in plain words; never a panic, never other rows.

use super::log::*;
use super::made::{Cases, Expected, batch, ids, longs};
use serde_json::{Value, json};
use std::fs;

pub static CASES: Cases = &[
    (DAMAGED, "a vector whose checksum is wrong", |log| vector(log, |bytes| *bytes.last_mut().unwrap() ^= 1)),
    (DAMAGED, "a vector whose magic number is wrong", |log| vector(log, |bytes| bytes[5] ^= 1)),
    (DAMAGED, "a vector that is cut off", |log| vector(log, |bytes| bytes.truncate(bytes.len() / 2))),
    (DAMAGED, "a vector at no offset of its file", beyond_its_file),
    (DAMAGED, "a vector of a negative size", |log| vector_with(log, "sizeInBytes", json!(-1))),
    (DAMAGED, "a vector of another size", |log| vector_with(log, "sizeInBytes", json!(3))),
    (DAMAGED, "a vector that is stored in no known way", |log| vector_with(log, "storageType", json!("q"))),
    (DAMAGED, "a vector whose text is none", |log| vector_with(log, "pathOrInlineDv", json!("~~~"))),
    (DAMAGED, "a schema that is no JSON", |log| schema(log, json!("{"))),
    (DAMAGED, "a schema of an unknown type", |log| schema_of(log, "hyperlong", &["`hyperlong`", "column = x"])),
    (DAMAGED, "a schema of a type of SQL", |log| schema_of(log, "varchar(5)", &["`varchar(5)`", "column = x"])),
    (DAMAGED, "a decimal of no precision", |log| schema_of(log, "decimal(99,2)", &["`decimal(99,2)`"])),
    (DAMAGED, "features of version 3 that are not named", unnamed_features),
    (DAMAGED, "a partition column that the schema lacks", lost_partition_column),
    (DAMAGED, "a partition value that is no number", |log| partition(log, json!({"p": "seven"}))),
    (DAMAGED, "a partition value beyond its type", |log| partition(log, json!({"p": "99999999999"}))),
    (DAMAGED, "statistics of other types", |log| {
        statistics(log, json!("{\"numRecords\":2,\"minValues\":{\"id\":\"x\"},\"maxValues\":{\"id\":[1]}}"))
    }),
    (DAMAGED, "statistics that are no JSON", |log| unparsed_statistics(log, "not json")),
    (DAMAGED, "statistics that are cut off", |log| unparsed_statistics(log, "{\"numRecords\":2,\"minValues\":{")),
    (DAMAGED, "a file of another size than the log says", other_size),
    (DAMAGED, "a commit of nothing but an empty line", blank_commit),
    (DAMAGED, "a commit that is no text", binary_commit),
];

const DAMAGED: &[&str] = &["a log that is lost or damaged"];

fn id_only() -> Value {
    metadata(&[field("id", "long")], &[], json!({}))
}

fn vector(log: &Log, change: fn(&mut Vec<u8>)) -> Expected {
    let vector = log.deletion_vector_file(&[0, 2]);
    let add = with(log.add("a.parquet", &ids(1..=5)), "/add/deletionVector", vector);
    log.commit(0, &[features(&["deletionVectors"], &[]), id_only(), add]);
    for entry in fs::read_dir(&log.root).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|ending| ending == "bin") {
            let mut bytes = fs::read(&entry).unwrap();
            change(&mut bytes);
            fs::write(&entry, bytes).unwrap();
        }
    }
    Expected::Refused(&["deletion vector"])
}

fn vector_with(log: &Log, key: &str, value: Value) -> Expected {
    vector(log, |_| {});
    let mut vector = log.deletion_vector_file(&[0, 2]);
    vector[key] = value;
    let add = with(log.add("a.parquet", &ids(1..=5)), "/add/deletionVector", vector);
    log.commit(0, &[features(&["deletionVectors"], &[]), id_only(), add]);
    Expected::Refused(&[])
}

fn typed(kind: &str) -> Value {
    json!(json!({"type": "struct", "fields": [field("id", "long"), field("x", kind)]}).to_string())
}

fn schema(log: &Log, schema: Value) -> Expected {
    let top = with(id_only(), "/metaData/schemaString", schema);
    log.commit(0, &[protocol(1, 2), top, log.add("a.parquet", &ids([1]))]);
    Expected::Refused(&[])
}

fn schema_of(log: &Log, kind: &str, words: &'static [&'static str]) -> Expected {
    schema(log, typed(kind));
    Expected::Refused(words)
}

/// Told with the file of the vector.
fn beyond_its_file(log: &Log) -> Expected {
    vector_with(log, "offset", json!(1_000_000));
    Expected::Refused(&["deletion vector", "deletion_vector_", ".bin", "table = t"])
}

/// Told with the file whose statistics they are: of several, since no reader says which.
fn unparsed_statistics(log: &Log, stats: &str) -> Expected {
    let damaged = with(log.add("b.parquet", &ids([7])), "/add/stats", json!(stats));
    let sound = [log.add("a.parquet", &ids([1, 4])), log.add("c.parquet", &ids([9]))];
    let [first, last] = sound;
    log.commit(0, &[protocol(1, 2), id_only(), first, damaged, last]);
    Expected::Refused(&["statistics", "b.parquet", "table = t"])
}

fn unnamed_features(log: &Log) -> Expected {
    let top = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7}});
    log.commit(0, &[top, id_only(), log.add("a.parquet", &ids([1]))]);
    Expected::RowsOrRefused(ids([1]))
}

fn lost_partition_column(log: &Log) -> Expected {
    let add = with(log.add("a.parquet", &ids([1])), "/add/partitionValues", json!({"gone": "1"}));
    log.commit(0, &[protocol(1, 2), metadata(&[field("id", "long")], &["gone"], json!({})), add]);
    Expected::Refused(&[])
}

fn partition(log: &Log, values: Value) -> Expected {
    let add = with(log.add("a.parquet", &ids([1])), "/add/partitionValues", values);
    let fields = [field("id", "long"), field("p", "integer")];
    log.commit(0, &[protocol(1, 2), metadata(&fields, &["p"], json!({})), add]);
    Expected::Refused(&[])
}

fn statistics(log: &Log, stats: Value) -> Expected {
    let add = with(log.add("a.parquet", &ids([1, 4])), "/add/stats", stats);
    log.commit(0, &[protocol(1, 2), id_only(), add]);
    Expected::RowsOrRefused(ids([1, 4]))
}

fn other_size(log: &Log) -> Expected {
    let add = with(log.add("a.parquet", &batch(vec![("id", longs([1, 4]))])), "/add/size", json!(12));
    log.commit(0, &[protocol(1, 2), id_only(), add]);
    Expected::Refused(&["a.parquet"])
}

fn blank_commit(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only(), log.add("a.parquet", &ids([1, 4]))]);
    fs::write(log.file(&format!("{:020}.json", 1)), "\n").unwrap();
    Expected::RowsOrRefused(ids([1, 4]))
}

fn binary_commit(log: &Log) -> Expected {
    log.commit(0, &[protocol(1, 2), id_only(), log.add("a.parquet", &ids([1, 4]))]);
    fs::write(log.file(&format!("{:020}.json", 1)), [0_u8, 255, 254, 10, 200]).unwrap();
    Expected::Refused(&["00000000000000000001.json"])
}
