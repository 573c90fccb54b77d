//! The pointer's moves: back, forth, by several at once, and what garbage collection takes.

use super::*;
use lakemill::lookup::{Collected, FlipAction, Mode};

fn publish_value(table: &LookupTable, run: &str, value: i64, keep: usize) -> Flip {
    let expected = store().current(table).unwrap();
    let origin = Origin::replacing(provenance(run));
    let sealed = seal_with(table, "attempt", origin, &[rows(&["a"], value)]).unwrap();
    sealed.flip(expected, keep, &note(&format!("scored {run}"))).unwrap()
}

fn value(table: &LookupTable) -> String {
    String::from_utf8(reader(table).get(b"a").unwrap().unwrap()).unwrap()
}

fn moves(table: &LookupTable) -> Vec<(Option<u64>, u64, FlipAction)> {
    store().flips(table).unwrap().iter().map(|flip| (flip.from, flip.generation, flip.action)).collect()
}

#[test]
fn a_rollback_moves_the_pointer_and_is_logged() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    for value in 1..=3 {
        publish_value(&table, &format!("run-{value}"), value, 5);
    }
    let before = names(&table.folder);
    let back = store().rollback(&table, None, 3, &note("a broken feed")).unwrap();
    assert_eq!((back.generation, back.from, back.removed.len()), (2, Some(3), 0));
    assert_eq!((value(&table).as_str(), names(&table.folder)), (r#"{"value":2}"#, before));
    store().rollback(&table, None, 2, &note("older still")).unwrap();
    assert_eq!(value(&table), r#"{"value":1}"#);
    let forth = store().rollback(&table, Some(3), 1, &note("it was right")).unwrap();
    assert_eq!((forth.generation, value(&table).as_str()), (3, r#"{"value":3}"#));
    let flips = store().flips(&table).unwrap();
    assert_eq!(flips.len(), 6);
    let last = flips.last().unwrap();
    assert_eq!((last.by.as_str(), last.why.as_str(), last.at.as_str()), ("ann", "it was right", SEALED_AT));
    assert_eq!((last.run_id.as_str(), last.from, last.action), ("run-3", Some(1), FlipAction::Rollback));
    assert_eq!(flips[3].why, "a broken feed");
}

#[test]
fn rollbacks_that_cannot_be_are_refused_and_change_nothing() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    let back = |to, expected| store().rollback(&table, to, expected, &note("no")).map(|_| ());
    let moved = "another run has published this lookup table meanwhile";
    refused(back(None, 1), ErrorKind::Conflict, moved);
    assert!(!table.folder.exists(), "nothing is made for a table that is not there");
    publish_value(&table, "one", 1, 5);
    refused(back(None, 1), ErrorKind::Usage, "there is no older generation to roll back to");
    publish_value(&table, "two", 2, 5);
    refused(back(None, 1), ErrorKind::Conflict, moved);
    refused(back(Some(2), 2), ErrorKind::Usage, "readers see this generation already");
    let error = refused(back(Some(7), 2), ErrorKind::Usage, "there is no such generation to roll back to");
    assert_eq!(error.hint_text(), Some("kept are: 1"));
    // One that was sealed and never published is nobody's to go to.
    let sealed = seal(&table, "aside", &[rows(&["a"], 9)]).unwrap();
    refused(back(Some(3), 2), ErrorKind::Usage, "there is no such generation to roll back to");
    drop(sealed);
    fs::write(table.folder.join("v=000001/data.mdb"), "short").unwrap();
    refused(back(None, 2), ErrorKind::Verification, "the generation's data is truncated or altered");
    assert_eq!(value(&table), r#"{"value":2}"#);
    assert_eq!(moves(&table), [(None, 1, FlipAction::Publish), (Some(1), 2, FlipAction::Publish)]);
}

#[test]
fn what_was_rolled_back_from_goes_with_the_next_publication() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    for value in 1..=3 {
        publish_value(&table, "run", value, 5);
    }
    store().rollback(&table, Some(1), 3, &note("both are wrong")).unwrap();
    let slow = seal(&table, "slow", &[rows(&["a"], 9)]).unwrap();
    let flip = publish_value(&table, "run", 4, 5);
    assert_eq!((flip.generation, flip.from), (5, Some(1)));
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000001", "v=000005"]);
    // A loader that saw the same pointer before all that finds its own generation gone.
    store().rollback(&table, None, 5, &note("back once more")).unwrap();
    refused(
        slow.flip(Some(1), 5, &note("late")),
        ErrorKind::Conflict,
        "the generation was removed before it was published",
    );
    assert_eq!(value(&table), r#"{"value":1}"#);
}

#[test]
fn a_flip_that_was_logged_and_did_not_happen_is_none() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    publish_value(&table, "one", 1, 5);
    let log = table.folder.join("flips.jsonl");
    let before = fs::read_to_string(&log).unwrap();
    publish_value(&table, "two", 2, 5);
    // A crash between the log and the pointer.
    fs::write(table.folder.join("CURRENT"), "v=000001\n").unwrap();
    assert_eq!(moves(&table), [(None, 1, FlipAction::Publish)]);
    // A torn line, which an atomic rename never leaves, does no harm either.
    fs::write(&log, format!("{before}{{\"generation\":")).unwrap();
    assert_eq!(moves(&table), [(None, 1, FlipAction::Publish)]);
    publish_value(&table, "three", 3, 5);
    assert_eq!(moves(&table), [(None, 1, FlipAction::Publish), (Some(1), 3, FlipAction::Publish)]);
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 2);
}

#[test]
fn garbage_is_collected_and_what_lives_is_left() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    assert_eq!(store().gc(&table, 1).unwrap(), Collected { bytes: Some(0), ..Collected::default() });
    assert!(!table.folder.exists());
    for value in 1..=4 {
        publish_value(&table, "run", value, 9);
    }
    store().rollback(&table, Some(3), 4, &note("back")).unwrap();
    let loading = begin(&table, &rows(&["b"], 7), "loading").unwrap();
    let sealed = seal(&table, "sealed", &[rows(&["a"], 5)]).unwrap();
    assert_eq!(sealed.metadata().generation, 5);
    // What dead attempts leave: a folder while loading, a sealed generation, one on its way out.
    fs::create_dir(table.folder.join(".staging-dead")).unwrap();
    fs::write(table.folder.join(".staging-dead/owner.lock"), "").unwrap();
    fs::write(table.folder.join(".staging-dead/data.mdb"), "half a file").unwrap();
    fs::create_dir(table.folder.join(".staging-dead/base")).unwrap();
    let base = table.folder.join("v=000001/data.mdb");
    fs::hard_link(base, table.folder.join(".staging-dead/base/data.mdb")).unwrap();
    fs::create_dir(table.folder.join("v=000006")).unwrap();
    for file in ["data.mdb", "generation.json"] {
        fs::copy(table.folder.join("v=000001").join(file), table.folder.join("v=000006").join(file)).unwrap();
    }
    let dead = table.folder.join("v=000006");
    let sealed_bytes: u64 = names(&dead).iter().map(|name| dead.join(name).metadata().unwrap().len()).sum();
    let collected = store().gc(&table, usize::MAX).unwrap();
    assert_eq!((collected.generations, collected.attempts), (vec![6], 1));
    assert_eq!(collected.bytes, Some(sealed_bytes + "half a file".len() as u64), "a base that is linked stays");
    let left = [
        ".lock",
        ".staging-loading",
        "CURRENT",
        "flips.jsonl",
        "v=000001",
        "v=000002",
        "v=000003",
        "v=000004",
        "v=000005",
    ];
    assert_eq!(names(&table.folder), left);
    drop(loading);
    // Of what was published, as many as asked; what was rolled back from can still be gone back to.
    let collected = store().gc(&table, 2).unwrap();
    assert_eq!(collected.generations, [1]);
    assert_eq!(value(&table), r#"{"value":3}"#);
    sealed.flip(Some(3), 9, &note("after all")).unwrap();
    assert_eq!(value(&table), r#"{"value":5}"#);
    assert_eq!(names(&table.folder), [".lock", "CURRENT", "flips.jsonl", "v=000002", "v=000003", "v=000005"]);
}

#[test]
fn a_load_goes_no_faster_than_asked() {
    let home = TempDir::new().unwrap();
    let mut table = table(&home);
    let keys: Vec<String> = (0..200).map(|i| format!("{i:03}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    table.options.max_rows_per_sec = Some(100);
    for (base, mode) in [(Base::Nothing, Mode::Replace), (Base::Changed(1), Mode::Changed)] {
        let rows = rows(&keys, 1);
        let columns = Columns { schema: rows.schema_ref(), key: &["key".to_owned()], values: &["value".to_owned()] };
        let origin = Origin { mode, base, ..Origin::replacing(provenance("run")) };
        let mut load = Load::begin(store(), &table, &columns, origin, "attempt").unwrap();
        // Two hundred pairs are kept in memory until the load ends: nothing but the pace takes this long.
        let began = std::time::Instant::now();
        load.push(&rows).unwrap();
        assert!(began.elapsed() >= std::time::Duration::from_millis(1900), "{:?}", began.elapsed());
        let sealed = load.verify().unwrap().seal(SEALED_AT).unwrap();
        let expected = store().current(&table).unwrap();
        sealed.flip(expected, 3, &note("test")).unwrap();
    }
    // What is equal in the base passes at the same pace, and is not written.
    assert_eq!((reader(&table).metadata().written, reader(&table).metadata().unchanged), (0, 200));
}

#[test]
fn garbage_goes_no_faster_than_asked() {
    let home = TempDir::new().unwrap();
    let mut table = table(&home);
    let keys: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for value in 1..=4 {
        let expected = store().current(&table).unwrap();
        seal(&table, "attempt", &[rows(&keys, value)]).unwrap().flip(expected, 9, &note("test")).unwrap();
    }
    table.options.max_rows_per_sec = Some(1000);
    let began = std::time::Instant::now();
    assert_eq!(store().gc(&table, 1).unwrap().generations, [1, 2, 3]);
    assert!(began.elapsed() >= std::time::Duration::from_millis(200), "{:?}", began.elapsed());
}

#[test]
fn rollbacks_and_publications_at_once_leave_one_pointer_and_a_whole_log() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    for value in 1..=2 {
        publish_value(&table, "run", value, 20);
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..10 {
                    let expected = store().current(table).unwrap();
                    if thread % 2 == 0 {
                        let attempt = format!("attempt-{thread}-{round}");
                        let sealed = seal(table, &attempt, &[rows(&["a"], round)]).unwrap();
                        let _ = sealed.flip(expected, 20, &note("publish"));
                    } else if let Err(error) = store().rollback(table, None, expected.unwrap(), &note("back")) {
                        let kinds = [ErrorKind::Conflict, ErrorKind::Usage];
                        assert!(kinds.contains(&error.kind()), "{error:?}");
                    }
                }
            });
        }
    });
    let flips = moves(&table);
    let mut before = None;
    for (from, generation, _) in &flips {
        assert_eq!(*from, before, "{flips:?}");
        before = Some(*generation);
    }
    assert_eq!(store().current(&table).unwrap(), before);
    reader(&table).verify().unwrap();
}
