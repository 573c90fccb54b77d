//! Lookup tables: what keys and values look like, that a generation is all or nothing for readers,
//! and that what crashes leave does no harm.

mod bucket;
mod commands;
pub mod crash;
mod damage;
mod generations;
mod modes;
pub mod sequences;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, LargeStringArray, ListArray, NullArray, RecordBatch,
    StringArray, StringViewArray, TimestampMicrosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::Int32Type;
use lakemill::error::{Error, ErrorKind, Result};
use lakemill::lookup::{
    Base, Checksum, Columns, Contents, Expected, Flip, FlipNote, Load, LookupReader, LookupStore, LookupTable, Origin,
    Provenance, STORES, Sampled, Sealed, encoded_keys, lookup,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tempfile::TempDir;

fn store() -> &'static dyn LookupStore {
    lookup("file").unwrap()
}

fn table(home: &TempDir) -> LookupTable {
    LookupTable { folder: home.path().join("lookup/fraud"), ..LookupTable::of_server("fraud", "file") }
}

/// What the clock says when a generation is sealed.
const SEALED_AT: &str = "2018-06-21T03:00:00Z";

fn note(why: &str) -> FlipNote {
    FlipNote { at: SEALED_AT.into(), by: "ann".into(), why: why.into() }
}

fn provenance(run: &str) -> Provenance {
    Provenance {
        run_id: run.into(),
        job: "fraud".into(),
        interval: "2018-06-20".into(),
        interval_end: "2018-06-21T00:00:00Z".into(),
        model: "fraud".into(),
        model_version: 3,
        keep: "latest".into(),
    }
}

fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true))).unwrap()
}

/// Rows with keys as given and `value` as their only value.
fn rows(keys: &[&str], value: i64) -> RecordBatch {
    let values = Int64Array::from(vec![value; keys.len()]);
    batch(&[("key", Arc::new(StringArray::from(keys.to_vec()))), ("value", Arc::new(values))])
}

fn by_encoded_key(batch: &RecordBatch, key: &str) -> RecordBatch {
    let order = sort_to_indices(&encoded_keys(batch, &[key.to_owned()]).unwrap(), None, None).unwrap();
    take_record_batch(batch, &order).unwrap()
}

/// Loads and verifies all columns but `key` as values.
fn seal(table: &LookupTable, attempt: &str, batches: &[RecordBatch]) -> Result<Sealed> {
    seal_with(table, attempt, Origin::replacing(provenance("run")), batches)
}

fn seal_with(table: &LookupTable, attempt: &str, origin: Origin, batches: &[RecordBatch]) -> Result<Sealed> {
    let schema = batches[0].schema();
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let columns = Columns { schema: &schema, key: &names[..1], values: &names[1..] };
    let mut load = Load::begin(store(), table, &columns, origin, attempt)?;
    batches.iter().try_for_each(|batch| load.push(batch))?;
    load.verify()?.seal(SEALED_AT)
}

/// Begins a load of the columns `key` and `value` of some rows.
fn begin(table: &LookupTable, rows: &RecordBatch, attempt: &str) -> Result<Load> {
    begin_with(table, rows, &["value"], attempt)
}

fn begin_with(table: &LookupTable, rows: &RecordBatch, values: &[&str], attempt: &str) -> Result<Load> {
    let values: Vec<String> = values.iter().map(|&name| name.to_owned()).collect();
    let columns = Columns { schema: rows.schema_ref(), key: &["key".to_owned()], values: &values };
    Load::begin(store(), table, &columns, Origin::replacing(provenance("run")), attempt)
}

fn publish(table: &LookupTable, batches: &[RecordBatch]) -> Result<Flip> {
    let expected = store().current(table)?;
    seal(table, "attempt", batches)?.flip(expected, 3, &note("test"))
}

fn reader(table: &LookupTable) -> Box<dyn LookupReader> {
    store().open(table).unwrap().unwrap()
}

fn pairs(reader: &dyn LookupReader) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut visit = |key: &[u8], value: &[u8]| -> Result<()> {
        pairs.push((text(key), text(value)));
        Ok(())
    };
    reader.each(&mut visit).unwrap();
    pairs
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn refused<T>(result: Result<T>, kind: ErrorKind, message: &str) -> Error {
    let error = result.err().unwrap_or_else(|| panic!("not refused: {message}"));
    assert_eq!((error.kind(), error.message()), (kind, message), "{error:?}");
    error
}

#[test]
fn every_kind_of_key_is_text() {
    let home = TempDir::new().unwrap();
    let strings = ["a", "é\"\n"];
    let dictionary: DictionaryArray<Int32Type> = strings.iter().copied().collect();
    let cases: Vec<(ArrayRef, &[&str])> = vec![
        (Arc::new(Int8Array::from(vec![-128, 9])), &["-128", "9"]),
        (
            Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX, 0, 10])),
            &["-9223372036854775808", "0", "10", "9223372036854775807"],
        ),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), &["18446744073709551615"]),
        (Arc::new(BooleanArray::from(vec![true, false])), &["false", "true"]),
        (Arc::new(Date32Array::from(vec![17_702, -719_528])), &["0000-01-01", "2018-06-20"]),
        (Arc::new(Date64Array::from(vec![17_702 * 86_400_000])), &["2018-06-20"]),
        (Arc::new(StringArray::from(strings.to_vec())), &["a", "é\"\n"]),
        (Arc::new(LargeStringArray::from(strings.to_vec())), &["a", "é\"\n"]),
        (Arc::new(StringViewArray::from(strings.to_vec())), &["a", "é\"\n"]),
        (Arc::new(dictionary), &["a", "é\"\n"]),
    ];
    for (array, expected) in cases {
        let rows = batch(&[("key", array.clone()), ("value", Arc::new(BooleanArray::from(vec![true; array.len()])))]);
        publish(&table(&home), &[by_encoded_key(&rows, "key")]).unwrap();
        let reader = reader(&table(&home));
        let keys: Vec<String> = pairs(&*reader).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, expected, "{}", array.data_type());
        assert_eq!(reader.metadata().key[0].data_type, array.data_type().to_string());
        for key in expected {
            assert_eq!(reader.get(key.as_bytes()).unwrap().unwrap(), br#"{"value":true}"#);
        }
        assert_eq!(reader.get(b"no such key").unwrap(), None);
        assert_eq!(reader.get(b"").unwrap(), None);
        assert_eq!(reader.get(&[b'x'; 512]).unwrap(), None);
    }
}

#[test]
fn every_kind_of_value_has_its_json_form() {
    let home = TempDir::new().unwrap();
    let micros = TimestampMicrosecondArray::from(vec![Some(1_529_474_400_000_000), Some(1_529_474_400_000_001)]);
    let rows = batch(&[
        ("key", Arc::new(Int32Array::from(vec![1, 2]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("int", Arc::new(Int64Array::from(vec![i64::MIN, 0]))),
        ("uint", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
        ("float", Arc::new(Float32Array::from(vec![0.1, -0.0]))),
        ("double", Arc::new(Float64Array::from(vec![0.1 + 0.2, 1e300]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![1250, -5]).with_precision_and_scale(9, 2).unwrap())),
        ("say \"hi\"", Arc::new(StringArray::from(vec!["tab\tquote\" \u{1}é", ""]))),
        ("date", Arc::new(Date32Array::from(vec![17_702, 0]))),
        ("at", Arc::new(micros.with_timezone("Europe/Berlin"))),
        ("second", Arc::new(TimestampSecondArray::from(vec![0, -1]))),
        ("nothing", Arc::new(NullArray::new(2))),
    ]);
    publish(&table(&home), &[rows]).unwrap();
    let values: Vec<String> = pairs(&*reader(&table(&home))).into_iter().map(|(_, value)| value).collect();
    let first = concat!(
        r#"{"bool":true,"int":-9223372036854775808,"uint":18446744073709551615,"float":0.1,"#,
        r#""double":0.30000000000000004,"decimal":12.50,"say \"hi\"":"tab\tquote\" \u0001é","date":"2018-06-20","#,
        r#""at":"2018-06-20T06:00:00Z","second":"1970-01-01T00:00:00Z","nothing":null}"#
    );
    let second = concat!(
        r#"{"bool":null,"int":0,"uint":0,"float":-0.0,"double":1e+300,"decimal":-0.05,"say \"hi\"":"","#,
        r#""date":"1970-01-01","at":"2018-06-20T06:00:00.000001Z","second":"1969-12-31T23:59:59Z","nothing":null}"#
    );
    assert_eq!(values, [first, second]);
}

#[test]
fn keys_that_cannot_be_looked_up_are_refused() {
    let home = TempDir::new().unwrap();
    let try_keys = |keys: ArrayRef| {
        let value: ArrayRef = Arc::new(BooleanArray::from(vec![true; keys.len()]));
        seal(&table(&home), "a", &[batch(&[("key", keys), ("value", value)])])
    };
    let strings = |keys: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(keys)) };

    let error = refused(try_keys(strings(vec![Some("a"), None, None])), ErrorKind::Check, "null keys: 2 of 3 rows");
    assert!(
        error.to_string().contains(
            "column = key, example = {key: null, value: true}, example = {key: null, value: true}, table = fraud"
        ),
        "{error}"
    );
    refused(try_keys(strings(vec![Some("")])), ErrorKind::Check, "empty keys: 1 of 1 rows");
    let (fits, long) = ("x".repeat(511), "é".repeat(256));
    assert!(try_keys(strings(vec![Some(&fits)])).is_ok());
    let error = refused(try_keys(strings(vec![Some(&long)])), ErrorKind::Check, "keys over 511 bytes: 1 of 1 rows");
    assert!(error.to_string().contains("... (512 bytes)"), "{error}");
    refused(
        try_keys(Arc::new(Date32Array::from(vec![i32::MAX]))),
        ErrorKind::Check,
        "dates beyond the year 9999 as keys: 1 of 1 rows",
    );
    for array in [Arc::new(Float64Array::from(vec![1.0])) as ArrayRef, Arc::new(TimestampSecondArray::from(vec![1]))] {
        refused(try_keys(array), ErrorKind::Usage, "a column of this type cannot be a lookup key");
    }
    let rows = rows(&["a"], 1);
    let error = refused(encoded_keys(&rows, &["vaule".to_owned()]), ErrorKind::Usage, "no such column to look up");
    assert_eq!(error.hint_text(), Some("did you mean `value`?"));
    assert_eq!(store().current(&table(&home)).unwrap(), None, "something became visible");
}

#[test]
fn values_without_a_json_form_are_refused() {
    let home = TempDir::new().unwrap();
    let try_values = |name: &str, array: ArrayRef| {
        let keys: ArrayRef = Arc::new(Int32Array::from_iter_values(1..=array.len() as i32));
        seal(&table(&home), "a", &[batch(&[("key", keys), (name, array)])])
    };
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = refused(
            try_values("score", Arc::new(Float64Array::from(vec![0.5, bad]))),
            ErrorKind::Check,
            "values that are NaN or infinite: 1 of 2 keys",
        );
        assert!(error.to_string().contains("column = score, key = 2"), "{error}");
    }
    let far = Arc::new(Date32Array::from(vec![i32::MAX]));
    refused(try_values("date", far), ErrorKind::Check, "values that have no JSON form: 1 of 1 keys");
    let far = Arc::new(TimestampSecondArray::from(vec![i64::MAX]));
    refused(try_values("at", far), ErrorKind::Check, "values that have no JSON form: 1 of 1 keys");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1)])]);
    refused(try_values("list", Arc::new(list)), ErrorKind::Usage, "a column of this type cannot be a lookup value");

    let rows = rows(&["a"], 1);
    let begin = |values: &[&str]| begin_with(&table(&home), &rows, values, "a");
    refused(begin(&[]), ErrorKind::Usage, "a lookup table needs at least one value column");
    refused(begin(&["value", "value"]), ErrorKind::Usage, "a value column is named twice");
    refused(begin(&["valu"]), ErrorKind::Usage, "no such column to look up");
}

#[test]
fn the_first_row_of_a_key_is_kept_and_the_others_are_counted() {
    let home = TempDir::new().unwrap();
    // The dropped row of `b` holds what would be refused if it were kept.
    let rows = |keys: &[&str], scores: &[f64]| {
        batch(&[
            ("key", Arc::new(StringArray::from(keys.to_vec()))),
            ("score", Arc::new(Float64Array::from(scores.to_vec()))),
        ])
    };
    let batches = [rows(&["a", "b", "b"], &[1.0, 2.0, f64::NAN]), rows(&["b", "c"], &[3.0, 4.0])];
    publish(&table(&home), &batches).unwrap();
    let reader = reader(&table(&home));
    let expected = [("a", r#"{"score":1.0}"#), ("b", r#"{"score":2.0}"#), ("c", r#"{"score":4.0}"#)];
    assert_eq!(pairs(&*reader), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let metadata = reader.metadata();
    assert_eq!((metadata.rows, metadata.keys, metadata.bytes), (5, 3, 3 * 14));
    assert_eq!((metadata.duplicates, metadata.written, metadata.unchanged, metadata.removed), (2, 3, 0, 0));
    assert_eq!(metadata.published_at, SEALED_AT);
    assert_eq!(metadata.provenance, provenance("run"));
    let mut checksum = Checksum::default();
    expected.iter().for_each(|(key, value)| checksum.add(key.as_bytes(), value.as_bytes()));
    assert_eq!(metadata.checksum, checksum);
}

#[test]
fn unsorted_rows_fail_and_publish_nothing() {
    let home = TempDir::new().unwrap();
    let message = "the rows of a lookup table are not sorted by their encoded keys";
    refused(publish(&table(&home), &[rows(&["b", "a"], 1)]), ErrorKind::Failed, message);
    refused(publish(&table(&home), &[rows(&["b"], 1), rows(&["a"], 1)]), ErrorKind::Failed, message);
    assert!(store().open(&table(&home)).unwrap().is_none());
    assert!(store().generations(&table(&home)).unwrap().is_empty());
}

#[test]
fn the_same_rows_give_the_same_bytes_however_they_are_batched() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let count = 60_000;
    let keys = StringArray::from_iter_values((0..count).map(|i| format!("{i:08}")));
    // Values of many sizes: several chunks, a grown map, and values that take pages of their own.
    let text = StringArray::from_iter_values((0..count).map(|i| "x".repeat(if i % 500 == 0 { 9000 } else { i % 700 })));
    let rows = batch(&[("key", Arc::new(keys)), ("text", Arc::new(text))]);
    publish(&table(&one), &[rows.slice(0, 0), rows.clone()]).unwrap();
    let pieces: Vec<RecordBatch> = (0..count).step_by(7000).map(|at| rows.slice(at, 7000.min(count - at))).collect();
    publish(&table(&other), &pieces).unwrap();
    for file in ["data.mdb", "generation.json"] {
        let read = |home: &TempDir| fs::read(table(home).folder.join("v=000001").join(file)).unwrap();
        assert!(read(&one) == read(&other), "{file} differs");
    }
    let reader = reader(&table(&one));
    reader.verify().unwrap();
    assert!(reader.metadata().file_bytes > 16 << 20, "the map did not have to grow");
    assert_eq!(pairs(&*reader).len(), count);
}

#[test]
fn an_empty_generation_is_one() {
    let home = TempDir::new().unwrap();
    publish(&table(&home), &[rows(&["a"], 1)]).unwrap();
    publish(&table(&home), &[rows(&[], 2)]).unwrap();
    let reader = reader(&table(&home));
    assert_eq!((reader.metadata().generation, reader.metadata().keys), (2, 0));
    assert_eq!(reader.get(b"a").unwrap(), None);
    reader.verify().unwrap();
}

#[test]
fn a_crash_before_the_flip_changes_nothing_and_the_next_run_clears_up() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    publish(&table, &[rows(&["a"], 1)]).unwrap();
    let old = vec![("a".to_owned(), r#"{"value":1}"#.to_owned())];
    let unseen = |step: &str| {
        assert_eq!(pairs(&*reader(&table)), old, "{step}");
        assert_eq!(store().current(&table).unwrap(), Some(1), "{step}");
    };
    let begin = |attempt: &str| {
        let rows = rows(&["b"], 2);
        let mut load = begin(&table, &rows, attempt).unwrap();
        load.push(&rows).unwrap();
        load
    };
    // What gives up clears up.
    let left = |step: &str| {
        unseen(step);
        assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000001"], "{step}");
    };
    drop(begin("loading"));
    left("while loading");
    drop(begin("verified").verify().unwrap());
    left("after the verification");
    drop(begin("sealed").verify().unwrap().seal(SEALED_AT).unwrap());
    left("after the seal");
    // What crashes does not: a crash while loading, after the seal, while the pointer was being
    // replaced, and while an old generation was being removed.
    fs::create_dir(table.folder.join(".staging-nobody")).unwrap();
    fs::write(table.folder.join(".staging-nobody/owner.lock"), "").unwrap();
    fs::create_dir(table.folder.join("v=000002")).unwrap();
    for file in ["data.mdb", "generation.json"] {
        fs::copy(table.folder.join("v=000001").join(file), table.folder.join("v=000002").join(file)).unwrap();
    }
    fs::write(table.folder.join("CURRENT.new"), "v=0000").unwrap();
    fs::create_dir(table.folder.join(".trash-v=000000")).unwrap();
    unseen("with all kinds of garbage");

    let flip = begin("again").verify().unwrap().seal(SEALED_AT).unwrap().flip(Some(1), 3, &note("test")).unwrap();
    assert_eq!((flip.generation, flip.removed.len()), (3, 0));
    assert!(flip.leftover.is_none());
    assert_eq!(pairs(&*reader(&table)), [("b".to_owned(), r#"{"value":2}"#.to_owned())]);
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000001", "v=000003"]);
    assert_eq!(names(&table.folder.join("v=000003")), ["data.mdb", "generation.json"]);
}

#[test]
fn a_living_loader_is_left_alone() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    let rows = rows(&["a"], 1);
    let begin = |attempt| begin(&table, &rows, attempt);
    let mut slow = begin("slow").unwrap();
    refused(begin("slow"), ErrorKind::Conflict, "this attempt is already loading");
    publish(&table, std::slice::from_ref(&rows)).unwrap();
    slow.push(&rows).unwrap();
    let slow = slow.verify().unwrap().seal(SEALED_AT).unwrap();
    assert_eq!(slow.metadata().generation, 2);
    refused(
        slow.flip(None, 3, &note("test")),
        ErrorKind::Conflict,
        "another run has published this lookup table meanwhile",
    );
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000001"]);
    refused(begin("../x"), ErrorKind::Failed, "an attempt's name is not a plain file name");
}

#[test]
fn one_of_many_flips_wins() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    publish(&table, &[rows(&["a"], -1)]).unwrap();
    let sealed: Vec<Sealed> =
        (0..8).map(|i| seal(&table, &format!("attempt-{i}"), &[rows(&["a"], i)]).unwrap()).collect();
    let outcomes: Vec<Result<Flip>> = std::thread::scope(|scope| {
        let flips: Vec<_> =
            sealed.into_iter().map(|sealed| scope.spawn(|| sealed.flip(Some(1), 5, &note("test")))).collect();
        flips.into_iter().map(|flip| flip.join().unwrap()).collect()
    });
    let winners: Vec<u64> = outcomes.iter().flatten().map(|flip| flip.generation).collect();
    assert_eq!(winners.len(), 1);
    assert!(outcomes.iter().filter_map(|flip| flip.as_ref().err()).all(|error| error.kind() == ErrorKind::Conflict));
    assert_eq!(reader(&table).metadata().generation, winners[0]);
    let left: Vec<u64> = store().generations(&table).unwrap().iter().map(|metadata| metadata.generation).collect();
    assert_eq!(left, [1, winners[0]]);
}

#[test]
fn a_reader_always_has_one_whole_generation() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    let keys: Vec<String> = (0..500).map(|i| format!("{i:04}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let whole = |reader: &dyn LookupReader| {
        let expected = format!("{{\"value\":{}}}", reader.metadata().generation);
        let pairs = pairs(reader);
        assert_eq!(pairs.len(), 500);
        assert!(pairs.iter().all(|(_, value)| *value == expected), "a mixture of generations");
    };
    publish(&table, &[rows(&keys, 1)]).unwrap();
    let first = reader(&table);
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let reader = reader(&table);
                    whole(&*reader);
                    assert!(reader.metadata().generation >= newest, "went back");
                    newest = reader.metadata().generation;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for value in 2..=30 {
            let expected = store().current(&table).unwrap();
            seal(&table, "attempt", &[rows(&keys, value)]).unwrap().flip(expected, 1, &note("test")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 3);
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000030"]);
    // Removed long ago, and still whole for who has it open.
    whole(&*first);
}

#[test]
fn old_generations_stay_as_many_as_asked() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    for value in 1..=4 {
        publish(&table, &[rows(&["a"], value)]).unwrap();
    }
    let flip = seal(&table, "attempt", &[rows(&["a"], 5)]).unwrap().flip(Some(4), 2, &note("test")).unwrap();
    assert_eq!(flip.removed, [2, 3]);
    let kept: Vec<u64> = store().generations(&table).unwrap().iter().map(|metadata| metadata.generation).collect();
    assert_eq!(kept, [4, 5]);
    let older = store().open_generation(&table, 4).unwrap();
    assert_eq!(older.get(b"a").unwrap().unwrap(), br#"{"value":4}"#);
    // None to keep would leave nothing to read.
    seal(&table, "attempt", &[rows(&["a"], 6)]).unwrap().flip(Some(5), 0, &note("test")).unwrap();
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000006"]);
}

#[test]
fn a_store_that_holds_something_else_is_found_before_the_seal() {
    let home = TempDir::new().unwrap();
    let mut right = Checksum::default();
    right.add(b"a", b"1");
    let sampled = |value: &[u8]| vec![Sampled { key: b"a".to_vec(), value: *blake3::hash(value).as_bytes() }];
    let verify = |keys, checksum: Checksum, sample: &[Sampled]| {
        let mut staging = store().begin(&table(&home), "attempt", &Base::Nothing, 1).unwrap();
        staging.put(b"a", b"1").unwrap();
        let expected = Contents { keys: 1, bytes: 2, checksum: right, written: 1, unchanged: 0, removed: 0 };
        assert_eq!(staging.close().unwrap(), expected);
        staging.verify(&Expected { keys, checksum, sample })
    };
    assert!(verify(1, right, &sampled(b"1")).is_ok());
    let message = |what| format!("the generation reads back with {what} than loaded");
    refused(verify(2, right, &sampled(b"1")), ErrorKind::Verification, &message("other keys"));
    refused(verify(1, Checksum::default(), &sampled(b"1")), ErrorKind::Verification, &message("another checksum"));
    refused(verify(1, right, &sampled(b"2")), ErrorKind::Verification, &message("another value"));
}

#[test]
fn stores_are_looked_up_by_name_and_secrets_are_not_shown() {
    assert_eq!(
        STORES.iter().map(|store| lookup(store.name()).unwrap().name()).collect::<Vec<_>>(),
        ["file", "redis", "rediss", "redis+sentinel", "rediss+sentinel"]
    );
    let error = refused(lookup("fille").map(|_| ()), ErrorKind::Usage, "unknown lookup store `fille`");
    assert_eq!(error.hint_text(), Some("did you mean `file`?"));
    let error = refused(lookup("etcd://user:secret@host").map(|_| ()), ErrorKind::Usage, "unknown lookup store `etcd`");
    assert_eq!(error.hint_text(), Some("the stores are: file, redis, rediss, redis+sentinel, rediss+sentinel"));
    let told = format!("{:?}", LookupTable::of_server("risk", "redis://user:secret@host/0"));
    assert!(told.contains("redis") && !told.contains("secret") && !told.contains("user"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_unique_keys_come_back_in_order(
        table_of in prop::collection::btree_map(".{1,40}", (any::<f64>(), proptest::option::of(".{0,300}")), 0..200),
        pieces in 1usize..50,
    ) {
        let table_of: BTreeMap<String, (f64, Option<String>)> =
            table_of.into_iter().filter(|(_, (score, _))| score.is_finite()).collect();
        let home = TempDir::new().unwrap();
        let rows = batch(&[
            ("key", Arc::new(StringArray::from_iter_values(table_of.keys()))),
            ("score", Arc::new(table_of.values().map(|(score, _)| Some(*score)).collect::<Float64Array>())),
            ("note", Arc::new(table_of.values().map(|(_, note)| note.clone()).collect::<StringArray>())),
        ]);
        let sorted = by_encoded_key(&rows, "key");
        let batches: Vec<RecordBatch> =
            (0..=sorted.num_rows()).step_by(pieces).map(|at| sorted.slice(at, pieces.min(sorted.num_rows() - at))).collect();
        publish(&table(&home), &batches).unwrap();
        let reader = reader(&table(&home));
        let found = pairs(&*reader);
        let keys: Vec<&String> = found.iter().map(|(key, _)| key).collect();
        prop_assert_eq!(keys, table_of.keys().collect::<Vec<_>>());
        for (key, value) in &found {
            let (score, note) = &table_of[key];
            let json: serde_json::Value = serde_json::from_str(value).unwrap();
            prop_assert_eq!(json["score"].as_f64().unwrap().to_bits(), score.to_bits());
            prop_assert_eq!(json["note"].as_str(), note.as_deref());
        }
        reader.verify().unwrap();
    }

    #[test]
    fn any_integers_have_unique_keys(numbers in prop::collection::btree_set(any::<i64>(), 1..100)) {
        let array: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers.iter().copied()));
        let keys: BinaryArray = encoded_keys(&batch(&[("key", array)]), &["key".to_owned()]).unwrap();
        let texts: BTreeSet<&[u8]> = keys.iter().flatten().collect();
        prop_assert_eq!(texts.len(), numbers.len());
    }
}
