//! Partition values that writers are not to write: empty texts, which the protocol reads as NULL.

use super::cells::Rows;
use super::log::*;
use super::made::Expected;
use super::{pin, select};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use lakemill::tables::At;
use serde_json::json;
use std::sync::Arc;
use tempfile::TempDir;

fn ids(values: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

/// A text and a number, each with values, empty ones and NULL.
pub fn empty_texts(log: &Log) -> Expected {
    let fields = [mapped("id", "long", 1, "id"), mapped("p", "string", 2, "c-2"), mapped("n", "integer", 3, "n")];
    let values = [
        json!({"c-2": "a", "n": "1"}),
        json!({"c-2": "", "n": ""}),
        json!({"c-2": null, "n": null}),
        json!({"c-2": "b", "n": "2"}),
    ];
    let config = json!({"delta.columnMapping.mode": "name"});
    let mut actions =
        vec![features(&["columnMapping", "deletionVectors"], &[]), metadata(&fields, &["p", "n"], config)];
    for (index, values) in values.into_iter().enumerate() {
        let number = index as i64 * 2;
        let add =
            with(log.add(&format!("{index}.parquet"), &ids(&[number, number + 1])), "/add/partitionValues", values);
        actions.push(match index {
            3 => with(add, "/add/deletionVector", inline_deletion_vector(&[0])),
            _ => add,
        });
    }
    log.commit(0, &actions);
    let twice = |values: &[Option<&str>]| -> ArrayRef {
        let rows: Vec<Option<&str>> = values.iter().flat_map(|value| [*value, *value]).take(7).collect();
        Arc::new(StringArray::from(rows))
    };
    let n = arrow::array::Int32Array::from(vec![Some(1), Some(1), None, None, None, None, Some(2)]);
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("id", Arc::new(Int64Array::from(vec![0, 1, 2, 3, 4, 5, 7])), true),
        ("p", twice(&[Some("a"), None, None, Some("b")]), true),
        ("n", Arc::new(n), true),
    ];
    Expected::Rows(RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}

#[tokio::test]
async fn filters_and_counts_see_null_instead_of_an_empty_text() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    empty_texts(&log);
    let table = pin(&log.root, At::Latest).await.unwrap();
    for (filter, wanted) in [
        ("p IS NULL", vec![2, 3, 4, 5]),
        ("p IS NOT NULL", vec![0, 1, 7]),
        ("p = ''", vec![]),
        ("p <> 'a'", vec![7]),
        ("coalesce(p, 'none') = 'none' AND id > 2", vec![3, 4, 5]),
        ("n IS NULL", vec![2, 3, 4, 5]),
        ("p = 'b'", vec![7]),
    ] {
        let found = select(&table, &format!("SELECT id FROM t WHERE {filter}")).await.unwrap();
        assert_eq!(Rows::of(&found).rows, Rows::of(&[ids(&wanted)]).rows, "{filter}");
    }
    let counts = select(&table, "SELECT count(p) AS id FROM t").await.unwrap();
    assert_eq!(Rows::of(&counts).rows, Rows::of(&[ids(&[3])]).rows);
    let distinct = select(&table, "SELECT count(DISTINCT p) AS id FROM t").await.unwrap();
    assert_eq!(Rows::of(&distinct).rows, Rows::of(&[ids(&[2])]).rows);
}
