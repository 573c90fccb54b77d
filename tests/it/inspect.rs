//! `lakemill inspect`: what it tells about tables that can be read, and about those that cannot.

use crate::command::{run, run_json};
use crate::conformance::log::*;
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use serde_json::json;
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;

fn rows(numbers: &[i64]) -> RecordBatch {
    let names: Vec<String> = numbers.iter().map(|number| format!("n{number}")).collect();
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef),
        ("name", Arc::new(StringArray::from(names))),
    ])
    .unwrap()
}

/// Two commits, one of them with a deletion vector and without statistics, then a vacuum.
fn delta(log: &Log) {
    let config = json!({"delta.appendOnly": "false", "owner.token": "SECRET-TOKEN"});
    let fields = [field("id", "long"), field("name", "string"), field("day", "date")];
    let stats =
        json!({"numRecords": 3, "minValues": {"id": 1}, "maxValues": {"id": 3}, "nullCount": {"id": 0, "name": 0}});
    let a = with(log.add("a.parquet", &rows(&[1, 2, 3])), "/add/stats", json!(stats.to_string()));
    let a = with(a, "/add/partitionValues", json!({"day": "2024-01-01"}));
    let b = with(log.add("b.parquet", &rows(&[4, 5])), "/add/partitionValues", json!({"day": "2024-01-02"}));
    let b = with(b, "/add/deletionVector", inline_deletion_vector(&[0]));
    let write = |rows: &str| json!({"commitInfo": {"operation": "WRITE", "engineInfo": "test", "operationMetrics": {"numOutputRows": rows}}});
    log.commit(
        0,
        &[write("3"), features(&["deletionVectors"], &["appendOnly"]), metadata(&fields, &["day"], config), a],
    );
    log.commit(1, &[b, write("2")]);
    log.commit(2, &[json!({"commitInfo": {"operation": "VACUUM END"}})]);
}

#[test]
fn a_delta_table_is_described() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    delta(&log);
    let path = log.root.to_str().unwrap();
    let found = run_json(&["inspect", path]).expect(0).json();
    assert_eq!((&found["format"], &found["version"], &found["refusal"]), (&json!("delta"), &json!("2"), &json!(null)));
    assert_eq!((&found["files"], &found["rows"]), (&json!(2), &json!(4)));
    assert_eq!(found["small_files"]["files"], 2);
    let delta = &found["delta"];
    assert_eq!(delta["protocol"]["minReaderVersion"], 3);
    assert_eq!(delta["reader_features"], json!({"deletionVectors": "read"}));
    assert_eq!(delta["properties"], json!({"delta.appendOnly": "false"}));
    assert_eq!(delta["partition_columns"], json!(["day"]));
    assert_eq!((&delta["deletion_vectors"], &delta["deleted_rows"]), (&json!(1), &json!(1)));
    assert_eq!((&delta["checkpoint"], &delta["commits_since_checkpoint"]), (&json!(null), &json!(3)));
    assert!(delta["last_vacuum"].is_string());
    let operations: Vec<_> = delta["commits"].as_array().unwrap().iter().map(|commit| &commit["operation"]).collect();
    assert_eq!(operations, ["VACUUM END", "WRITE", "WRITE"]);
    assert_eq!(delta["commits"][1]["metrics"]["numOutputRows"], "2");
    let column = |index: usize| &found["columns"][index];
    assert_eq!(
        *column(0),
        json!({"name": "id", "type": "long", "partition": false, "min_max_files": 1, "null_count_files": 1})
    );
    assert_eq!((&column(1)["min_max_files"], &column(1)["null_count_files"]), (&json!(0), &json!(1)));
    assert_eq!((&column(2)["partition"], &column(2)["min_max_files"]), (&json!(true), &json!(null)));

    let short = run_json(&["inspect", path, "--versions", "1"]).expect(0).json();
    assert_eq!(short["delta"]["commits"].as_array().unwrap().len(), 1);
    let early = run_json(&["inspect", &format!("{path}@0")]).expect(0).json();
    assert_eq!(
        (&early["version"], &early["rows"], &early["delta"]["newest_version"]),
        (&json!("0"), &json!(3), &json!(2))
    );
    let text = run(&["inspect", path, "--versions", "all"]).expect(0).stdout;
    for word in
        ["readable", "yes", "partitioned by", "day", "VACUUM END", "1 files, 1 deleted rows", "none in 3 commits"]
    {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(!format!("{found}{text}").contains("SECRET-TOKEN"));
}

#[test]
fn a_table_that_cannot_be_read_is_described_with_the_reason() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    let actions = [features(&["geospatial"], &[]), metadata(&[field("id", "long")], &[], json!({}))];
    log.commit(0, &actions);
    log.commit(1, &[log.add("a.parquet", &rows(&[1]))]);
    // Once from commits, once from a checkpoint.
    for _ in 0..2 {
        let found = run_json(&["inspect", log.root.to_str().unwrap()]).expect(0).json();
        assert!(found["refusal"]["message"].as_str().unwrap().contains("`geospatial`"), "{found}");
        assert_eq!(found["delta"]["reader_features"], json!({"geospatial": "refused"}));
        assert_eq!((&found["files"], &found["columns"][0]["name"]), (&json!(null), &json!("id")));
        let text = run(&["inspect", log.root.to_str().unwrap()]).expect(0).stdout;
        assert!(text.contains("no: the table needs the Delta reader feature `geospatial`"), "{text}");
        assert!(text.contains("remedy") && text.contains("unknown"), "{text}");
        if log.file(&format!("{:020}.json", 0)).exists() {
            log.checkpoint(1, &[actions[0].clone(), actions[1].clone(), log.add("a.parquet", &rows(&[1]))]);
            log.remove_commits(0..=1);
        }
    }
}

#[test]
fn plain_files_are_described() {
    let lake = TempDir::new().unwrap();
    let parquet = lake.path().join("p");
    write_parquet(&parquet.join("k=1/a.parquet"), &rows(&[1, 2]));
    write_parquet(&parquet.join("k=2/b.parquet"), &rows(&[3]));
    let found = run_json(&["inspect", parquet.to_str().unwrap()]).expect(0).json();
    assert_eq!((&found["format"], &found["files"], &found["rows"]), (&json!("parquet"), &json!(2), &json!(3)));
    assert_eq!(found["parquet"]["row_groups"], 2);
    assert_eq!(found["parquet"]["codecs"], json!({"uncompressed": 4}));
    assert!(found["parquet"]["created_by"].as_object().unwrap().keys().all(|key| key.starts_with("parquet-rs")));
    assert_eq!(
        found["columns"][1],
        json!({"name": "name", "type": "string", "partition": false, "min_max_files": 2, "null_count_files": 2})
    );
    assert_eq!(found["columns"][2]["partition"], true);

    fs::write(lake.path().join("c.csv"), "id,name\n1,x\n").unwrap();
    let found = run_json(&["inspect", lake.path().join("c.csv").to_str().unwrap()]).expect(0).json();
    assert_eq!((&found["format"], &found["rows"], &found["parquet"]), (&json!("csv"), &json!(null), &json!(null)));
    assert!(run(&["inspect", lake.path().join("c.csv").to_str().unwrap()]).expect(0).stdout.contains("unknown"));

    fs::write(lake.path().join("broken.parquet"), "PAR1 no more").unwrap();
    let found = run_json(&["inspect", lake.path().join("broken.parquet").to_str().unwrap()]).expect(0).json();
    assert!(found["refusal"]["message"].as_str().unwrap().starts_with("the parquet files cannot be read"), "{found}");
}

#[test]
fn what_is_no_table_is_an_error() {
    let lake = TempDir::new().unwrap();
    let path = lake.path().join("nothing");
    assert!(run(&["inspect", path.to_str().unwrap()]).expect(2).stderr.contains("does not exist"));
    fs::write(lake.path().join("c.csv"), "id\n1\n").unwrap();
    let at = format!("{}@3", lake.path().join("c.csv").display());
    assert!(run(&["inspect", &at]).expect(2).stderr.contains("have no versions"));
    assert!(run(&["inspect", at.trim_end_matches("@3"), "--versions", "some"]).expect(2).stderr.contains("`all`"));
}
