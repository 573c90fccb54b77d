//! How rows become a generation: over nothing, over the one before, or as what differs from it.

use super::*;
use lakemill::lookup::{Difference, Mode, difference};

fn made(run: &str, mode: Mode, base: Base) -> Origin {
    Origin { provenance: provenance(run), mode, base, partitions: 1 }
}

/// Publishes keys with their values, over the current generation where the mode wants one.
fn publish_as(table: &LookupTable, mode: Mode, pairs: &BTreeMap<String, i64>) -> Result<Flip> {
    let current = store().current(table)?;
    let base = match (mode, current) {
        (Mode::Merge, Some(current)) => Base::Merge(current),
        (Mode::Changed, Some(current)) => Base::Changed(current),
        _ => Base::Nothing,
    };
    let keys = StringArray::from_iter_values(pairs.keys());
    let values = Int64Array::from_iter_values(pairs.values().copied());
    let rows = batch(&[("key", Arc::new(keys)), ("value", Arc::new(values))]);
    seal_with(table, "attempt", made("run", mode, base), &[rows])?.flip(current, 3, &note("test"))
}

fn numbered(count: usize, value: impl Fn(usize) -> i64) -> BTreeMap<String, i64> {
    (0..count).map(|i| (format!("{i:07}"), value(i))).collect()
}

fn counts(table: &LookupTable) -> (u64, u64, u64, u64) {
    let reader = reader(table);
    let metadata = reader.metadata();
    (metadata.keys, metadata.written, metadata.unchanged, metadata.removed)
}

#[test]
fn what_changed_is_sent_and_the_contents_are_those_of_all_rows() {
    let (whole, changed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (whole, changed) = (table(&whole), table(&changed));
    let count = 30_000;
    let first = numbered(count, |i| i as i64);
    // A hundredth of the values move; some keys go, some come.
    let mut second = numbered(count, |i| if i % 100 == 7 { -(i as i64) } else { i as i64 });
    second.retain(|key, _| !key.ends_with("999"));
    second.extend((0..5).map(|i| (format!("9{i:06}"), i)));
    publish_as(&whole, Mode::Replace, &first).unwrap();
    publish_as(&whole, Mode::Replace, &second).unwrap();
    publish_as(&changed, Mode::Changed, &first).unwrap();
    assert_eq!(counts(&changed), (count as u64, count as u64, 0, 0), "there was nothing to compare with");
    publish_as(&changed, Mode::Changed, &second).unwrap();
    let (one, other) = (reader(&whole), reader(&changed));
    other.verify().unwrap();
    assert_eq!(pairs(&*one), pairs(&*other));
    assert_eq!(one.metadata().checksum, other.metadata().checksum);
    let moved = 300 + 5;
    let keys = second.len() as u64;
    assert_eq!(counts(&changed), (keys, moved, keys - moved, 30));
    assert_eq!((other.metadata().mode, other.metadata().base), (Mode::Changed, Some(1)));
    // The file does not grow beyond what it replaces by more than the pages that were touched.
    let packed = one.metadata().file_bytes;
    assert!(other.metadata().file_bytes < 2 * packed + (32 << 20), "{} of {packed}", other.metadata().file_bytes);
    // Nothing moved: nothing is sent.
    publish_as(&changed, Mode::Changed, &second).unwrap();
    assert_eq!(counts(&changed), (keys, 0, keys, 0));
    reader(&changed).verify().unwrap();
}

#[test]
fn a_merge_keeps_the_keys_that_are_not_among_the_rows() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    publish_as(&table, Mode::Merge, &numbered(1000, |i| i as i64)).unwrap();
    let before = reader(&table);
    let mut rows: BTreeMap<String, i64> = (0..1000).step_by(10).map(|i| (format!("{i:07}"), -1)).collect();
    rows.insert("0000001".into(), 1);
    rows.insert("new".into(), 7);
    publish_as(&table, Mode::Merge, &rows).unwrap();
    let after = reader(&table);
    after.verify().unwrap();
    let mut wanted = numbered(1000, |i| if i % 10 == 0 { -1 } else { i as i64 });
    wanted.insert("new".into(), 7);
    let wanted: Vec<_> = wanted.into_iter().map(|(key, value)| (key, format!("{{\"value\":{value}}}"))).collect();
    assert_eq!(pairs(&*after), wanted);
    assert_eq!(counts(&table), (1001, 101, 1, 0));
    assert_eq!(after.metadata().bytes, wanted.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>());
    // The one that it was made from is as it was.
    before.verify().unwrap();
    assert_eq!(store().open_generation(&table, 1).unwrap().get(b"0000000").unwrap().unwrap(), br#"{"value":0}"#);
    let found = difference(&*before, &*after, 2).unwrap();
    let Difference { added, removed, changed, same, examples } = found;
    assert_eq!((added, removed, changed, same), (1, 0, 100, 900));
    let shown: Vec<&str> = examples.iter().map(|differing| differing.key.as_str()).collect();
    assert_eq!(shown, ["0000000", "0000010", "new"]);
    // No rows: nothing happens to what is there.
    publish_as(&table, Mode::Merge, &BTreeMap::new()).unwrap();
    assert_eq!(pairs(&*reader(&table)), wanted);
    assert_eq!(difference(&*after, &*reader(&table), 2).unwrap().same, 1001);
}

#[test]
fn a_file_that_changes_leave_sparse_is_packed() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    let wide = |i: usize| "x".repeat(700 + i % 100);
    let rows = |count: usize| {
        let keys = StringArray::from_iter_values((0..count).map(|i| format!("{i:07}")));
        batch(&[("key", Arc::new(keys)), ("text", Arc::new(StringArray::from_iter_values((0..count).map(wide))))])
    };
    seal_with(&table, "attempt", made("a", Mode::Replace, Base::Nothing), &[rows(60_000)])
        .unwrap()
        .flip(None, 3, &note("test"))
        .unwrap();
    let large = reader(&table).metadata().file_bytes;
    assert!(large > 40 << 20);
    // Nearly all keys go: the pages that they leave behind are not carried along.
    seal_with(&table, "attempt", made("b", Mode::Changed, Base::Changed(1)), &[rows(100)])
        .unwrap()
        .flip(Some(1), 3, &note("test"))
        .unwrap();
    let small = reader(&table);
    small.verify().unwrap();
    assert_eq!((small.metadata().keys, small.metadata().removed), (100, 59_900));
    assert!(small.metadata().file_bytes < 1 << 20, "{}", small.metadata().file_bytes);
    assert_eq!(names(&table.folder.join("v=000002")), ["data.mdb", "generation.json"]);
}

#[test]
fn a_base_that_is_damaged_or_gone_is_refused_and_nothing_is_left() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    publish_as(&table, Mode::Replace, &numbered(100, |i| i as i64)).unwrap();
    let over = |base| seal_with(&table, "attempt", made("b", Mode::Merge, base), &[rows(&["a"], 1)]).map(|_| ());
    refused(over(Base::Merge(7)), ErrorKind::Verification, "the generation is missing or incomplete");
    let data = table.folder.join("v=000001/data.mdb");
    let mut bytes = fs::read(&data).unwrap();
    let at = bytes.windows(11).position(|window| window == br#"{"value":7}"#).unwrap();
    bytes[at + 9] = b'8';
    fs::write(&data, bytes).unwrap();
    let message = "the generation to begin with is not the one recorded";
    refused(over(Base::Merge(1)), ErrorKind::Verification, message);
    refused(over(Base::Changed(1)), ErrorKind::Verification, message);
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000001"]);
}

#[test]
fn a_generation_says_when_it_expires() {
    let home = TempDir::new().unwrap();
    let mut table = table(&home);
    publish_as(&table, Mode::Replace, &numbered(1, |_| 1)).unwrap();
    let forever = reader(&table).metadata().clone();
    assert_eq!((forever.ttl_secs, forever.expiry()), (None, None));
    table.options.ttl_secs = Some(7 * 86_400);
    publish_as(&table, Mode::Replace, &numbered(1, |_| 2)).unwrap();
    let week = reader(&table).metadata().clone();
    assert_eq!(week.expiry().as_deref(), Some("2018-06-28T03:00:00Z"));
    let at = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert!(!week.is_expired(at("2018-06-28T02:59:59Z")) && week.is_expired(at("2018-06-28T03:00:00Z")));
    assert!(!forever.is_expired(at("9999-01-01T00:00:00Z")));
}
