//! Files whose columns and fields are found by their ids alone.

use super::log::*;
use super::made::Expected;
use super::{pin, select};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use lakemill::tables::At;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use tempfile::TempDir;

fn of(name: &str, kind: DataType, id: &str) -> Arc<Field> {
    let metadata = HashMap::from([("PARQUET:field_id".to_owned(), id.to_owned())]);
    Arc::new(Field::new(name, kind, true).with_metadata(metadata))
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

/// The names under which a file, or a reader, knows the columns: `id`; `s` with `a` and `t` with `x`; `l` with `y`;
/// `m` with `z`. `ids`: with Parquet's field ids.
fn rows(names: &HashMap<&str, &str>, ids: bool, first: i64) -> RecordBatch {
    let named = |name: &str, kind: DataType, id: &str| {
        let name = names.get(name).copied().unwrap_or(name);
        if ids { of(name, kind, id) } else { Arc::new(Field::new(name, kind, true)) }
    };
    let numbers = |tens: i64| longs(&[first + tens, first + tens + 1]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["p", "q"]));
    let long = DataType::Int64;
    let t = StructArray::from(vec![(named("x", DataType::Utf8, "5"), text)]);
    let s = StructArray::from(vec![
        (named("a", long.clone(), "3"), numbers(10)),
        (named("t", t.data_type().clone(), "4"), Arc::new(t) as ArrayRef),
    ]);
    let offsets = || OffsetBuffer::new(vec![0, 1, 2].into());
    let y = StructArray::from(vec![(named("y", long.clone(), "7"), numbers(20))]);
    let element = Arc::new(Field::new("element", y.data_type().clone(), true));
    let l = ListArray::new(element, offsets(), Arc::new(y), None);
    let z = StructArray::from(vec![(named("z", long.clone(), "9"), numbers(30))]);
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["k", "k"]));
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("key", DataType::Utf8, false)), keys),
        (Arc::new(Field::new("value", z.data_type().clone(), true)), Arc::new(z) as ArrayRef),
    ]);
    let entry = Arc::new(Field::new("key_value", entries.data_type().clone(), false));
    let m = MapArray::new(entry, offsets(), entries, None, false);
    let fields = vec![
        named("id", long, "1"),
        named("s", s.data_type().clone(), "2"),
        named("l", l.data_type().clone(), "6"),
        named("m", m.data_type().clone(), "8"),
    ];
    let columns: Vec<ArrayRef> = vec![numbers(0), Arc::new(s), Arc::new(l), Arc::new(m)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn structure(fields: &[Value]) -> Value {
    json!({"type": "struct", "fields": fields})
}

/// A table that was converted in place: its files keep the names of their writer, in structs, lists and maps too.
pub fn inside_structs(log: &Log) -> Expected {
    let foreign = HashMap::from([
        ("id", "was_id"),
        ("s", "was_s"),
        ("a", "was_a"),
        ("t", "was_t"),
        ("x", "was_x"),
        ("l", "was_l"),
        ("y", "was_y"),
        ("m", "was_m"),
        ("z", "was_z"),
    ]);
    // Names of one field that another one has today.
    let swapped = HashMap::from([("a", "p-4"), ("t", "p-3"), ("x", "a"), ("y", "z"), ("z", "y")]);
    let list = |element: Value| json!({"type": "array", "elementType": element, "containsNull": true});
    let map = |value: Value| json!({"type": "map", "keyType": "string", "valueType": value, "valueContainsNull": true});
    let t = mapped("t", structure(&[mapped("x", "string", 5, "p-5")]), 4, "p-4");
    let fields = [
        mapped("id", "long", 1, "p-1"),
        mapped("s", structure(&[mapped("a", "long", 3, "p-3"), t]), 2, "p-2"),
        mapped("l", list(structure(&[mapped("y", "long", 7, "p-7")])), 6, "p-6"),
        mapped("m", map(structure(&[mapped("z", "long", 9, "p-9")])), 8, "p-8"),
    ];
    let config = json!({"delta.columnMapping.mode": "id", "delta.enableDeletionVectors": "true",
        "delta.columnMapping.maxColumnId": "9"});
    let one = log.add("one.parquet", &rows(&foreign, true, 1));
    let two =
        with(log.add("two.parquet", &rows(&swapped, true, 3)), "/add/deletionVector", inline_deletion_vector(&[0]));
    log.commit(0, &[features(&["columnMapping", "deletionVectors"], &[]), metadata(&fields, &[], config), one, two]);
    let (one, two) = (rows(&HashMap::new(), false, 1), rows(&HashMap::new(), false, 3).slice(1, 1));
    Expected::Rows(arrow::compute::concat_batches(&one.schema(), [&one, &two]).unwrap())
}

#[tokio::test]
async fn a_field_inside_a_struct_is_read_and_filtered_by_its_id() {
    let lake = TempDir::new().unwrap();
    let log = Log::new(lake.path().join("t"));
    inside_structs(&log);
    let table = pin(&log.root, At::Latest).await.unwrap();
    for (sql, wanted) in [
        ("SELECT s['a'] AS v FROM t ORDER BY id", vec![11, 12, 14]),
        ("SELECT id AS v FROM t WHERE s['t']['x'] = 'q' ORDER BY id", vec![2, 4]),
        ("SELECT l[1]['y'] AS v FROM t WHERE s['a'] > 11 ORDER BY id", vec![22, 24]),
        ("SELECT sum(s['a']) AS v FROM t", vec![37]),
    ] {
        let found = select(&table, sql).await.unwrap();
        let values = found.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        assert_eq!(values.collect::<Vec<_>>(), wanted, "{sql}");
    }
}
