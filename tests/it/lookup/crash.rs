//! The publishing process killed at random instants, while a reader polls: it always has one whole slice,
//! never an older one than before, and what the killed leave is gone after a collection.
//!
//! The publisher is this test binary itself, started with [`PUBLISHER`] set. Nothing in here but the last
//! lines knows the store.

use super::sequences::{Slice, contents, load};
use super::{names, store, table};
use lakemill::lookup::{Base, FlipNote, LookupStore, LookupTable, Mode};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Names the folder of the table that the process is to publish in until it is killed.
pub const PUBLISHER: &str = "LAKEMILL_TEST_PUBLISHER";

const KEYS: u64 = 2000;
const KILLS: u64 = 50;

/// The slice of a day: every key is there; a hundredth of the values are of this day, the others older.
pub fn slice(day: u64) -> Slice {
    let value = |key: u64| day.saturating_sub((day + 100 - key % 100) % 100) as i64;
    (0..KEYS).map(|key| (format!("{key:05}"), value(key))).collect()
}

/// The day whose slice a table shows.
pub fn day(run_id: &str) -> u64 {
    run_id.strip_prefix("day-").unwrap().parse().unwrap()
}

/// Publishes the slices of the days from the one after the current one, in all modes by turns.
pub fn publish(store: &'static dyn LookupStore, table: &LookupTable, days: usize, mut published: impl FnMut(u64)) {
    for _ in 0..days {
        let before = store.open(table).unwrap();
        let current = before.as_ref().map(|reader| reader.metadata().generation);
        let next = before.as_ref().map_or(1, |reader| day(&reader.metadata().provenance.run_id) + 1);
        drop(before);
        let (mode, base) = match (next % 3, current) {
            (1, Some(current)) => (Mode::Changed, Base::Changed(current)),
            (2, Some(current)) => (Mode::Merge, Base::Merge(current)),
            _ => (Mode::Replace, Base::Nothing),
        };
        let loaded = load(store, table, &format!("day-{next}"), (mode, base), &slice(next));
        let sealed = loaded.verify().unwrap().seal("2018-06-21T03:00:00Z").unwrap();
        let note = FlipNote { at: "2018-06-21T03:00:00Z".into(), by: "ann".into(), why: "test".into() };
        sealed.flip(current, 2, &note).unwrap();
        published(next);
    }
}

/// Looks at the table until it is told to stop; gives how often it has.
pub fn poll(store: &'static dyn LookupStore, table: &LookupTable, is_done: &AtomicBool, looks: &AtomicU64) {
    let mut newest = 0;
    while !is_done.load(Ordering::Relaxed) {
        let reader = store.open(table).unwrap().expect("the table is gone");
        let day = day(&reader.metadata().provenance.run_id);
        assert!(day >= newest, "day {day} after day {newest}");
        newest = day;
        let wanted = slice(day);
        assert!(contents(&*reader) == wanted, "day {day} is not the slice that was committed");
        for key in ["00000", "01234", "01999"] {
            let value = reader.get(key.as_bytes()).unwrap().expect("a key is missing");
            assert_eq!(value, format!("{{\"value\":{}}}", wanted[key]).into_bytes(), "{key} of day {day}");
        }
        looks.fetch_add(1, Ordering::Relaxed);
    }
}

/// Kills publishers one after the other at instants that no one chooses, and lets a reader look all the time.
pub fn kill_publishers(store: &'static dyn LookupStore, table: &LookupTable, start: impl Fn() -> Child) {
    publish(store, table, 1, |_| {});
    let (is_done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| poll(store, table, &is_done, &looks));
        // A failure here must not leave the reader looking for ever.
        let stop = Stop(&is_done);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..KILLS {
            let mut child = start();
            // It says when it begins; what goes before is none of a publication.
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            while !lines.next().expect("the publisher has ended").unwrap().contains("publishing") {}
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros(random >> 47));
            child.kill().unwrap();
            child.wait().unwrap();
            if reader.is_finished() {
                break;
            }
        }
        drop(stop);
        reader.join().unwrap();
    });
    assert!(looks.into_inner() > KILLS, "the reader has hardly looked");
    // A run after all that finishes, and what the killed have left goes.
    publish(store, table, 3, |_| {});
    store.gc(table, 2).unwrap();
    let kept = store.generations(table).unwrap();
    assert_eq!(kept.len(), 2);
    assert_eq!(kept.last().map(|metadata| metadata.generation), store.current(table).unwrap());
    store.open(table).unwrap().unwrap().verify().unwrap();
}

/// Tells the reader to stop when it goes.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts this binary as a publisher.
pub fn start(test: &str, folder: &std::path::Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]).env(PUBLISHER, folder);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn publisher() {
    if let Some(folder) = std::env::var_os(PUBLISHER) {
        let table = LookupTable { folder: folder.into(), ..LookupTable::of_server("fraud", "file") };
        println!("publishing");
        publish(store(), &table, usize::MAX, |_| {});
    }
    // Undisturbed, each day is what it has to be.
    let home = TempDir::new().unwrap();
    let table = table(&home);
    publish(store(), &table, 7, |day| {
        let reader = store().open(&table).unwrap().unwrap();
        assert_eq!(contents(&*reader), slice(day));
    });
    let last = store().open(&table).unwrap().unwrap();
    assert_eq!((last.metadata().mode, last.metadata().written), (Mode::Changed, KEYS / 100));
}

#[test]
fn a_publisher_that_is_killed_fifty_times_is_never_noticed() {
    let home = TempDir::new().unwrap();
    let table = table(&home);
    kill_publishers(store(), &table, || start("lookup::crash::publisher", &table.folder));
    let left = names(&table.folder);
    let is_garbage =
        |name: &&String| !(name.starts_with("v=") || [".lock", "CURRENT", "flips.jsonl"].contains(&name.as_str()));
    let garbage: Vec<&String> = left.iter().filter(is_garbage).collect();
    assert!(garbage.is_empty(), "{garbage:?}");
}
