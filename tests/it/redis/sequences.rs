//! Any sequence of publications, rollbacks, collections and deaths, as for the embedded store.

use super::server::Server;
use super::*;
use crate::lookup::sequences::{Harness, step};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

/// What a loader of another process leaves that is killed: before it wrote anything, while it loads in either layout,
/// after the seal, while an old generation is removed.
fn dies(server: &Server, kind: u8) {
    let books = "lakemill:{lakemill:fraud:current}";
    let generation = server.cli(&["INCR", &format!("{books}:next")]);
    // Number 1 is alive, but it began at another time.
    let entry = |layout: &str| {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
        let process = format!("{}/{}/1/7", boot.trim(), namespace.display());
        format!(r#"{{"attempt":"dead","partitions":2,"layout":"{layout}","process":"{process}"}}"#)
    };
    let set = |book: &str, layout: &str| server.cli(&["HSET", &format!("{books}:{book}"), &generation, &entry(layout)]);
    let bucket = format!("lakemill:{{fraud:1}}:{generation}");
    match kind % 5 {
        0 => set("attempts", "buckets"),
        1 => {
            set("attempts", "buckets");
            server.cli(&["HSET", &bucket, "k1", "{\"value\":9}"])
        }
        2 => {
            set("attempts", "strings");
            server.cli(&["SET", &format!("lakemill:fraud:{generation}:k1"), "{\"value\":9}"]);
            server.cli(&["EVAL", "return redis.call('SET', KEYS[1], '\\2\\0\\0\\0k1')", "1", &bucket])
        }
        3 => {
            set("attempts", "buckets");
            server.cli(&["HSET", &bucket, "k1", "{\"value\":9}"]);
            server.cli(&["SET", &format!("lakemill:fraud:generation:{generation}"), "{}"])
        }
        _ => {
            set("garbage", "buckets");
            server.cli(&["HSET", &bucket, "k1", "{\"value\":9}"])
        }
    };
}

#[test]
fn any_sequence_leaves_one_committed_slice() {
    let Some(server) = Server::start(&[]) else { return };
    let server = &server;
    let dies = |_: &LookupTable, kind| dies(server, kind);
    let case = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(32));
    let steps = prop::collection::vec(step(), 1..14);
    let run = runner.run(&steps, |steps| {
        case.set(case.get() + 1);
        let layout = if case.get() % 3 == 0 { Layout::Strings } else { Layout::Buckets };
        server.cli(&["FLUSHALL"]);
        let harness = Harness { store: store(), table: with_layout(&server.url(), layout), dies: &dies };
        harness.follow(&steps);
        // Not only is nothing listed: nothing is there.
        let current = store().current(&harness.table).unwrap();
        let kept: Vec<u64> = store().generations(&harness.table).unwrap().iter().map(|kept| kept.generation).collect();
        let is_known = |key: &String| {
            let of_generation = key.strip_prefix("lakemill:fraud:generation:").map(str::to_owned);
            let of_bucket = key.strip_prefix("lakemill:{fraud:").and_then(|rest| rest.rsplit(':').next());
            let of_string = key.strip_prefix("lakemill:fraud:").and_then(|rest| rest.split_once(':'));
            let number = of_generation.or_else(|| of_bucket.map(str::to_owned));
            let number = number.or_else(|| of_string.map(|(number, _)| number.to_owned()));
            number.is_none_or(|number| number.parse().is_ok_and(|number| kept.contains(&number)))
        };
        if current.is_some() {
            let keys = server.keys();
            let strange: Vec<&String> = keys.iter().filter(|key| !is_known(key)).collect();
            assert!(strange.is_empty(), "left behind: {strange:?}, kept: {kept:?}");
        }
        Ok(())
    });
    run.unwrap();
}
