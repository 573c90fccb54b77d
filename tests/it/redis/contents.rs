//! What is in the server after loads of every mode and layout.

use super::server::Server;
use super::*;
use std::time::{Duration, Instant};

const LAYOUTS: [Layout; 2] = [Layout::Buckets, Layout::Strings];

#[test]
fn what_was_put_is_found() {
    let Some(server) = Server::start(&[]) else { return };
    for layout in LAYOUTS {
        let table = with_layout(&server.url(), layout);
        assert_eq!(store().current(&table).unwrap(), None);
        assert!(store().open(&table).unwrap().is_none());
        let mut wanted = rows(3000, 1);
        wanted.insert("é \"\r\n|".into(), "{}".into());
        wanted.insert("long".into(), "x".repeat(100_000));
        let flip = publish(&table, "first", &wanted).unwrap();
        assert_eq!((flip.generation, flip.from), (1, None));
        let reader = reader(&table);
        assert_eq!(reader.metadata().keys, 3002);
        assert_eq!(contents(&*reader), wanted);
        reader.verify().unwrap();
        assert_eq!(reader.get(b"17").unwrap().as_deref(), Some(wanted["17"].as_bytes()));
        assert_eq!(reader.get("é \"\r\n|".as_bytes()).unwrap().as_deref(), Some(&b"{}"[..]));
        assert_eq!(reader.get(b"no").unwrap(), None);
        assert_eq!(reader.get(b"").unwrap(), None);
        let keys: Vec<String> = (2900..4200).map(|key| key.to_string()).collect();
        let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
        let found = reader.mget(&keys).unwrap();
        assert_eq!(found.iter().filter(|value| value.is_some()).count(), 100);
        assert_eq!(found[99].as_deref(), Some(wanted["2999"].as_bytes()));
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&server.url());
    let wanted = rows(1000, 1);
    publish(&table, "a", &wanted).unwrap();
    assert_eq!(server.cli(&["GET", "lakemill:fraud:current"]), "1");
    let metadata: serde_json::Value =
        serde_json::from_str(&server.cli(&["GET", "lakemill:fraud:generation:1"])).unwrap();
    assert_eq!((metadata["partitions"].as_u64(), metadata["keys"].as_u64()), (Some(16), Some(1000)));
    assert_eq!((metadata["layout"].as_str(), metadata["generation"].as_u64()), (Some("buckets"), Some(1)));
    for key in ["0", "17", "999"] {
        let bucket = format!("lakemill:{{fraud:{}}}:1", crc32fast::hash(key.as_bytes()) % 16);
        assert_eq!(server.cli(&["HGET", &bucket, key]), wanted[key]);
        assert_eq!(server.cli(&["OBJECT", "ENCODING", &bucket]), "listpack");
    }
    let strings = with_layout(&server.url(), Layout::Strings);
    publish(&strings, "b", &wanted).unwrap();
    assert_eq!(server.cli(&["GET", "lakemill:fraud:2:17"]), wanted["17"]);
    let ours: Vec<String> = server.keys();
    assert!(ours.iter().all(|key| key.starts_with("lakemill:")), "{ours:?}");
}

/// Reads a key as README.md says, with a client that knows nothing of lakemill.
fn foreign(connection: &mut impl ::redis::ConnectionLike, key: &str) -> Option<String> {
    let mut ask = |words: &[&str]| -> Option<String> {
        let mut command = ::redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(connection).unwrap()
    };
    let current = ask(&["GET", "lakemill:fraud:current"]).unwrap();
    let metadata = ask(&["GET", &format!("lakemill:fraud:generation:{current}")]).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    if metadata["layout"] == "strings" {
        return ask(&["GET", &format!("lakemill:fraud:{current}:{key}")]);
    }
    let partitions = u32::try_from(metadata["partitions"].as_u64().unwrap()).unwrap();
    let bucket = crc32fast::hash(key.as_bytes()) % partitions;
    ask(&["HGET", &format!("lakemill:{{fraud:{bucket}}}:{current}"), key])
}

#[test]
fn another_client_reads_by_the_documented_layout() {
    let Some(server) = Server::start(&[]) else { return };
    let Some(nodes) = super::server::cluster() else { return };
    let mut single = ::redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut cluster = ::redis::cluster::ClusterClient::new(vec![nodes[1].url()]).unwrap().get_connection().unwrap();
    for layout in LAYOUTS {
        let wanted = rows(2000, 1);
        publish(&with_layout(&server.url(), layout), &format!("{layout:?}"), &wanted).unwrap();
        publish(&with_layout(&nodes[0].url(), layout), &format!("{layout:?}"), &wanted).unwrap();
        for key in (0..2010).step_by(67) {
            let key = key.to_string();
            assert_eq!(foreign(&mut single, &key), wanted.get(&key).cloned(), "{layout:?} {key}");
            assert_eq!(foreign(&mut cluster, &key), wanted.get(&key).cloned(), "{layout:?} {key}");
        }
    }
}

#[test]
fn buckets_follow_the_servers_settings() {
    let Some(server) = Server::start(&["--hash-max-listpack-entries", "32"]) else { return };
    let table = table(&server.url());
    publish(&table, "a", &rows(20_000, 1)).unwrap();
    for bucket in server.keys().iter().filter(|key| key.contains("{fraud:")).step_by(20) {
        assert_eq!(server.cli(&["OBJECT", "ENCODING", bucket]), "listpack", "{bucket}");
    }
}

#[test]
fn changed_sends_what_differs_and_leaves_what_replace_does() {
    let Some(server) = Server::start(&[]) else { return };
    for layout in LAYOUTS {
        let table = with_layout(&server.url(), layout);
        let mut today = rows(10_000, 1);
        publish(&table, "a", &today).unwrap();
        for key in (0..10_000).step_by(100) {
            today.insert(key.to_string(), "{\"score\":1}".into());
        }
        for key in 1..=30 {
            today.remove(&key.to_string());
        }
        today.insert("new".into(), "{}".into());
        let base = store().current(&table).unwrap().unwrap();
        let (_, changed) = publish_over(&table, "b", &today, Base::Changed(base)).unwrap();
        assert_eq!((changed.written, changed.unchanged, changed.removed), (101, 10_000 - 130, 30), "{layout:?}");
        let of_changed = reader(&table);
        assert_eq!(contents(&*of_changed), today);
        of_changed.verify().unwrap();
        let (_, replaced) = publish_over(&table, "c", &today, Base::Nothing).unwrap();
        let sums = |contents: Contents| (contents.keys, contents.bytes, contents.checksum);
        assert_eq!(sums(replaced), sums(changed));
        // Nothing at all has changed, and everything.
        let base = store().current(&table).unwrap().unwrap();
        let (_, same) = publish_over(&table, "d", &today, Base::Changed(base)).unwrap();
        assert_eq!((same.written, same.unchanged, same.removed), (0, 9971, 0));
        let base = store().current(&table).unwrap().unwrap();
        let others: Rows = rows(500, 2).into_iter().map(|(key, value)| (format!("other {key}"), value)).collect();
        let (_, other) = publish_over(&table, "e", &others, Base::Changed(base)).unwrap();
        assert_eq!((other.written, other.unchanged, other.removed), (500, 0, 9971));
        assert_eq!(contents(&*reader(&table)), others);
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn merge_puts_new_pairs_over_the_old_ones() {
    let Some(server) = Server::start(&[]) else { return };
    for layout in LAYOUTS {
        let table = with_layout(&server.url(), layout);
        let mut wanted = rows(5000, 1);
        publish(&table, "a", &wanted).unwrap();
        // A few in some buckets; then so many that the buckets have to be split.
        for (attempt, new) in [("b", rows(7, 2)), ("c", rows(40_000, 3)), ("d", Rows::new())] {
            let base = store().current(&table).unwrap().unwrap();
            let (_, merged) = publish_over(&table, attempt, &new, Base::Merge(base)).unwrap();
            wanted.extend(new);
            assert_eq!((merged.keys, merged.removed), (wanted.len() as u64, 0), "{attempt}");
            let reader = reader(&table);
            assert_eq!(contents(&*reader), wanted, "{layout:?} {attempt}");
            reader.verify().unwrap();
        }
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn a_shrinking_table_joins_its_buckets_and_layouts_may_change() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&server.url());
    publish(&table, "a", &rows(64 * 1024, 1)).unwrap();
    let few = rows(300, 1);
    let (_, shrunk) = publish_over(&table, "b", &few, Base::Changed(1)).unwrap();
    assert_eq!((shrunk.keys, shrunk.removed), (300, 64 * 1024 - 300));
    assert!(reader(&table).metadata().partitions < 1024);
    assert_eq!(contents(&*reader(&table)), few);
    let strings = with_layout(&server.url(), Layout::Strings);
    let base = store().current(&table).unwrap().unwrap();
    publish_over(&strings, "c", &rows(5, 9), Base::Merge(base)).unwrap();
    let mut wanted = few.clone();
    wanted.extend(rows(5, 9));
    assert_eq!(contents(&*reader(&strings)), wanted);
    reader(&table).verify().unwrap();
}

#[test]
fn old_generations_go_and_a_rollback_moves_the_pointer_alone() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&server.url());
    for version in 1..=4 {
        publish(&table, &format!("v{version}"), &rows(500, version)).unwrap();
    }
    let kept: Vec<u64> = store().generations(&table).unwrap().iter().map(|found| found.generation).collect();
    assert_eq!(kept, [3, 4]);
    assert!(!server.keys().iter().any(|key| key.ends_with(":1") || key.ends_with(":2")));
    let before = reader(&table);
    let began = Instant::now();
    let flip = store().rollback(&table, None, 4, &note()).unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!((flip.generation, flip.from), (3, Some(4)));
    assert_eq!(contents(&*reader(&table)), rows(500, 3));
    assert_eq!(contents(&*before), rows(500, 4), "who reads goes on reading");
    let message = "another run has published this lookup table meanwhile";
    refused(store().rollback(&table, Some(4), 4, &note()), ErrorKind::Usage, "this generation is the current one");
    refused(store().rollback(&table, Some(3), 4, &note()), ErrorKind::Conflict, message);
    refused(store().rollback(&table, Some(1), 3, &note()), ErrorKind::Usage, "there is no such generation");
    store().rollback(&table, Some(4), 3, &note()).unwrap();
    let flips: Vec<(u64, Option<u64>)> =
        store().flips(&table).unwrap().iter().map(|flip| (flip.generation, flip.from)).collect();
    assert_eq!(flips, [(1, None), (2, Some(1)), (3, Some(2)), (4, Some(3)), (3, Some(4)), (4, Some(3))]);
    // What was rolled back from stays until something newer is published.
    store().rollback(&table, Some(3), 4, &note()).unwrap();
    assert_eq!(store().gc(&table, 1).unwrap().generations, [0; 0]);
    assert_eq!(publish(&table, "v5", &rows(500, 5)).unwrap().removed, [4]);
    let collected = store().gc(&table, 1).unwrap();
    assert_eq!(collected.generations, [3]);
    assert_eq!(contents(&*reader(&table)), rows(500, 5));
    refused(
        store().open_generation(&table, 3).map(drop),
        ErrorKind::Verification,
        "the generation is missing or incomplete",
    );
}

#[test]
fn a_reader_of_a_generation_that_was_removed_is_told_so() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&server.url());
    publish(&table, "a", &rows(500, 1)).unwrap();
    let old = reader(&table);
    publish(&table, "b", &rows(500, 2)).unwrap();
    assert_eq!(old.get(b"7").unwrap().unwrap(), rows(8, 1)["7"].as_bytes());
    store().gc(&table, 1).unwrap();
    refused(old.get(b"7"), ErrorKind::Verification, "the generation was removed while it was being read");
    refused(old.verify(), ErrorKind::Verification, "the generation was removed while it was being read");
}

#[test]
fn a_generation_ends_when_its_time_is_over() {
    let Some(server) = Server::start(&[]) else { return };
    for layout in LAYOUTS {
        let options = LookupOptions { ttl_secs: Some(2), layout, ..LookupOptions::default() };
        let brief = table(&server.url()).with(options);
        publish(&brief, "a", &rows(300, 1)).unwrap();
        let reader = reader(&brief);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            assert!(reader.get(b"7").unwrap().is_some());
        }
        // What is copied from it stays.
        let lasting = with_layout(&server.url(), layout);
        publish_over(&lasting, "b", &rows(200, 1), Base::Changed(1)).unwrap();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(contents(&*super::reader(&lasting)), rows(200, 1), "{layout:?}");
        refused(reader.get(b"7"), ErrorKind::Verification, "the generation has expired");
        refused(store().open_generation(&brief, 1).map(drop), ErrorKind::Verification, "the generation has expired");
        refused(store().rollback(&brief, None, 2, &note()), ErrorKind::Verification, "the generation has expired");
        // The keys of the data are gone; the metadata says why.
        assert!(!server.keys().iter().any(|key| key.starts_with("lakemill:{fraud:") && key.ends_with(":1")));
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn a_database_number_and_a_prefix_keep_tables_apart() {
    let Some(server) = Server::start(&[]) else { return };
    let third = table(&format!("redis://127.0.0.1:{}/3", server.port));
    let other = third.clone().with(LookupOptions { prefix: "acme:prod".into(), ..LookupOptions::default() });
    publish(&third, "a", &rows(10, 1)).unwrap();
    publish(&other, "b", &rows(10, 2)).unwrap();
    assert_eq!(server.keys(), Vec::<String>::new());
    assert_eq!(server.cli(&["-n", "3", "GET", "acme:prod:fraud:current"]), "1");
    assert_eq!(contents(&*reader(&third)), rows(10, 1));
    assert_eq!(contents(&*reader(&other)), rows(10, 2));
    let far = table(&format!("redis://127.0.0.1:{}/99", server.port));
    refused(store().current(&far), ErrorKind::Usage, "the Redis server has no such database");
}

#[test]
fn pairs_pass_no_faster_than_asked() {
    let Some(server) = Server::start(&[]) else { return };
    let options = LookupOptions { max_rows_per_sec: Some(20_000), ..LookupOptions::default() };
    let slow = table(&server.url()).with(options);
    let began = Instant::now();
    publish(&slow, "a", &rows(20_000, 1)).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn garbage_is_told_by_the_memory_that_it_took() {
    let Some(server) = Server::start(&[]) else { return };
    let all = "local sum = 0
        for _, key in ipairs(redis.call('KEYS', '*')) do sum = sum + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0) end
        return sum";
    let taken = || server.cli(&["EVAL", all, "0"]).parse::<u64>().unwrap();
    for layout in LAYOUTS {
        let table = with_layout(&server.url(), layout);
        publish(&table, "a", &rows(5000, 1)).unwrap();
        publish(&table, "b", &rows(10, 2)).unwrap();
        let before = taken();
        let collected = store().gc(&table, 1).unwrap();
        assert_eq!(collected.generations, [1]);
        let told = collected.bytes.unwrap();
        // The books changed by some bytes, too.
        assert!((before - taken()).abs_diff(told) < 1024, "{layout:?}: {told}, {before} before, {} after", taken());
        assert!(told > 5000 * 40, "{layout:?}: {told}");
        assert_eq!(store().gc(&table, 1).unwrap().bytes, Some(0));
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn a_damaged_generation_is_found() {
    let Some(server) = Server::start(&[]) else { return };
    for layout in LAYOUTS {
        let table = with_layout(&server.url(), layout);
        publish(&table, "a", &rows(1000, 1)).unwrap();
        let name = match layout {
            Layout::Buckets => format!("lakemill:{{fraud:{}}}:1", crc32fast::hash(b"7") % 16),
            Layout::Strings => "lakemill:fraud:1:7".to_owned(),
        };
        match layout {
            Layout::Buckets => server.cli(&["HSET", &name, "7", "{}"]),
            Layout::Strings => server.cli(&["SET", &name, "{}"]),
        };
        refused(reader(&table).verify(), ErrorKind::Verification, "the generation has other values than recorded");
        server.cli(&["DEL", &name]);
        assert_eq!(reader(&table).verify().unwrap_err().kind(), ErrorKind::Verification);
        assert!(reader(&table).each(&mut |_, _| Ok(())).is_err());
        server.cli(&["SET", "lakemill:fraud:current", "x"]);
        refused(store().current(&table), ErrorKind::Verification, "the pointer to the current generation is damaged");
        server.cli(&["FLUSHALL"]);
    }
}
