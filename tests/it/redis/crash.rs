//! `kill -9` of the publishing process at random instants, while somebody reads all the time.

use super::server::Server;
use super::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const KILLS: usize = 50;

/// Where the process that is to be killed finds the server.
const URL: &str = "LAKEMILL_TEST_PUBLISH_TO";

const KEYS: usize = 3000;

/// Not a test by itself: the process that the test below starts and kills. It publishes one version after the other, in
/// all modes and layouts.
#[test]
fn a_process_that_publishes() {
    let Ok(url) = std::env::var(URL) else { return };
    let mut version = u32::try_from(store().current(&table(&url)).unwrap().unwrap_or(0)).unwrap() + 1;
    loop {
        let layout = if version % 5 == 0 { Layout::Strings } else { Layout::Buckets };
        let table = with_layout(&url, layout);
        let current = store().current(&table).unwrap();
        let base = match (version % 3, current) {
            (1, Some(current)) => Base::Changed(current),
            (2, Some(current)) => Base::Merge(current),
            _ => Base::Nothing,
        };
        let attempt = format!("{}-{version}", std::process::id());
        publish_over(&table, &attempt, &rows(KEYS, version), base).unwrap();
        version += 1;
    }
}

/// All keys, read at once: of one version, and none is missing.
fn poll(table: &LookupTable, keys: &[&[u8]], polls: &AtomicU64) {
    let Some(reader) = store().open(table).unwrap() else { return };
    match reader.mget(keys) {
        // It was removed under the reader, which says so; nothing was given.
        Err(error) => assert_eq!(error.message(), "the generation was removed while it was being read"),
        Ok(values) => {
            let version = |value: &Option<Vec<u8>>| {
                let value = value.as_ref().expect("a key is missing");
                let value: serde_json::Value = serde_json::from_slice(value).unwrap();
                value["version"].as_u64().unwrap()
            };
            let first = version(&values[0]);
            assert!(values.iter().all(|value| version(value) == first), "a mixture");
            polls.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_killed_load_is_never_seen_and_leaves_nothing_for_good() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&server.url());
    let is_over = AtomicBool::new(false);
    let polls = AtomicU64::new(0);
    let keys: Vec<String> = (0..KEYS).map(|key| key.to_string()).collect();
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    publish(&table, "first", &rows(KEYS, 1)).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut dead = 0;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                poll(&table, &keys, &polls);
            }
        });
        for _ in 0..KILLS {
            let mut process = Command::new(std::env::current_exe().unwrap());
            process.args(["redis::crash::a_process_that_publishes", "--exact"]).env(URL, server.url());
            let mut process = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let begun = server.cli(&["GET", "lakemill:{lakemill:fraud:current}:next"]);
            // Once it has begun: somewhere in its first or second publication.
            let mut waited = 0;
            while server.cli(&["GET", "lakemill:{lakemill:fraud:current}:next"]) == begun && waited < 2000 {
                std::thread::sleep(Duration::from_millis(5));
                waited += 1;
            }
            std::thread::sleep(Duration::from_micros(random.random_range(0..150_000)));
            process.kill().unwrap();
            process.wait().unwrap();
            let under_way = server.cli(&["HLEN", "lakemill:{lakemill:fraud:current}:attempts"]);
            dead += usize::from(under_way != "0");
        }
        is_over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert!(dead > KILLS / 4, "only {dead} of {KILLS} kills hit a load");
    assert!(polls.load(Ordering::SeqCst) > 20, "{polls:?}");
    let last = rows(KEYS, 1000);
    publish(&table, "last", &last).unwrap();
    assert_eq!(contents(&*reader(&table)), last);
    store().gc(&table, 1).unwrap();
    let current = store().current(&table).unwrap().unwrap();
    let left: Vec<String> = server.keys().into_iter().filter(|key| !key.contains("{lakemill:fraud:current}")).collect();
    let is_current = |key: &String| key == "lakemill:fraud:current" || key.ends_with(&format!(":{current}"));
    assert!(left.iter().all(is_current), "left behind: {:?}", left.iter().find(|key| !is_current(key)));
    for book in ["attempts", "garbage"] {
        assert_eq!(server.cli(&["HLEN", &format!("lakemill:{{lakemill:fraud:current}}:{book}")]), "0");
    }
    let sealed = server.cli(&["HLEN", "lakemill:{lakemill:fraud:current}:sealed"]);
    assert_eq!(sealed, "1");
}
