//! A home in a bucket: served from a copy on this machine, which outlives the bucket's absence.

use super::routes::samples;
use super::server::Server;
use crate::s3::project;
use crate::s3::proxy::Proxy;
use crate::s3::server::Bucket;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Serves the bucket's table with this configuration, with the bucket's cache or another one. A bucket that does not
/// answer is asked twice.
fn serve(bucket: &Bucket, file: &Path, cache: Option<&Path>) -> Server {
    let (home, file) = (bucket.home(), file.display().to_string());
    let args = ["serve", "--output", "json", "--listen", "127.0.0.1:0", "--home", &home, "--config", &file];
    let mut command = bucket.command(&args);
    command.env("AWS_MAX_ATTEMPTS", "2").env_remove("LAKEMILL_SERVE_TOKENS").env_remove("LAKEMILL_LOOKUP_STORE");
    command.envs(cache.map(|cache| ("LAKEMILL_CACHE", cache)));
    Server::of(command)
}

/// The values of a day are made for the interval that ends then.
fn age_secs(as_of: &str) -> i64 {
    let as_of = chrono::DateTime::parse_from_rfc3339(as_of).unwrap();
    chrono::Utc::now().signed_duration_since(as_of).num_seconds()
}

/// A key of generations 1 and 2: what is dumped of it in the first one, and its path.
fn key_of_both(bucket: &Bucket) -> (Value, String) {
    let dump = |generation: &str| -> Vec<Value> {
        let args = ["lookup", "dump", "risk", "--home", &bucket.home(), "--generation", generation];
        bucket.run(&args).expect(0).stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let second = dump("2");
    let is_in_both = |row: &Value| second.iter().any(|other| other["key"] == row["key"]);
    let first = dump("1").into_iter().find(is_in_both).unwrap();
    let path = format!("/v1/risk/{}", first["key"].as_str().unwrap());
    (first, path)
}

/// The bucket refuses, then hangs, then refuses: `server` goes on with what it has.
fn go_away(proxy: &Proxy, server: &Server, path: &str, value: &Value) {
    let (refuses, hangs) = (&proxy.faults.slow_down, &proxy.faults.hangs);
    // What there is is served on, is called old once it is, and the server is ready.
    refuses.store(i64::MAX, Ordering::SeqCst);
    let failures = "lakemill_serve_reload_failures_total{table=\"risk\"}";
    server.wait("/metrics", |answer| samples(&answer.text())[failures] >= 1.0);
    let answer = server.wait(path, |answer| answer.header("lakemill-stale") == Some("true"));
    assert_eq!((answer.header("lakemill-source"), &answer.json()), (Some("current"), value));
    server.get("/ready").expect(200);

    // Nobody waits for it.
    hangs.store(true, Ordering::SeqCst);
    refuses.store(0, Ordering::SeqCst);
    let came = proxy.faults.requests.load(Ordering::SeqCst);
    while proxy.faults.requests.load(Ordering::SeqCst) == came {
        std::thread::sleep(Duration::from_millis(20));
    }
    let began = Instant::now();
    (0..20).for_each(|_| drop(server.get(path).expect(200)));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.get("/ready").expect(200);
    refuses.store(i64::MAX, Ordering::SeqCst);
    hangs.store(false, Ordering::SeqCst);
}

#[test]
fn a_table_in_a_bucket_is_served_its_flips_are_followed_and_the_bucket_may_go_away() {
    let Some(mut bucket) = project("served") else { return };
    bucket.on_day("run", &[]).expect(0);
    bucket.run(&["score", &bucket.job(), "--interval", "2018-06-11"]).expect(0);
    let (first, path) = key_of_both(&bucket);

    let proxy = Proxy::before(bucket.port);
    let direct = std::mem::replace(&mut bucket.port, proxy.port);
    let folder = tempdir().unwrap();
    let file = folder.path().join("serve.toml");
    // Generation 2 is a day younger than generation 1, which soon is too old.
    let soon = age_secs("2018-06-11T00:00:00Z") + 20;
    std::fs::write(&file, format!("poll = \"200ms\"\n[tables.risk]\nstale_after = \"{soon}s\"\n")).unwrap();
    let server = serve(&bucket, &file, None);
    let answer = server.get(&path);
    assert_eq!(answer.header("lakemill-generation"), Some("2"), "{answer:?}");
    assert_eq!((answer.header("lakemill-source"), answer.header("lakemill-stale")), (Some("current"), None));
    assert_eq!(answer.header("lakemill-as-of"), Some("2018-06-12T00:00:00Z"));
    server.get("/ready").expect(200);

    // Flipped by somebody who goes to the bucket by another way.
    let through = std::mem::replace(&mut bucket.port, direct);
    bucket.run(&["lookup", "rollback", "risk", "--home", &bucket.home(), "--why", "test"]).expect(0);
    bucket.port = through;
    let answer = server.wait(&path, |answer| answer.header("lakemill-generation") == Some("1"));
    assert_eq!((answer.header("lakemill-source"), answer.json()), (Some("current"), first["value"].clone()));

    go_away(&proxy, &server, &path, &first["value"]);
    // A server that begins now serves the copy on its machine; one that has none says that it is not ready.
    let again = serve(&bucket, &file, None);
    let answer = again.get(&path).expect(200);
    assert_eq!((answer.header("lakemill-source"), answer.json()), (Some("previous"), first["value"].clone()));
    assert_eq!((answer.header("lakemill-generation"), answer.header("lakemill-stale")), (Some("1"), Some("true")));
    again.get("/ready").expect(200);
    let empty = tempdir().unwrap();
    let strange = serve(&bucket, &file, Some(empty.path()));
    strange.get(&path).problem(503, "store_unavailable");
    strange.get("/ready").problem(503, "not_ready");

    // It is back: all of them follow it again.
    proxy.faults.slow_down.store(0, Ordering::SeqCst);
    for server in [&server, &again, &strange] {
        server.wait(&path, |answer| answer.header("lakemill-source") == Some("current"));
        server.get("/ready").expect(200);
    }
    bucket.port = direct;
    bucket.run(&["score", &bucket.job(), "--interval", "2018-06-12"]).expect(0);
    for server in [server, again, strange] {
        let answer = server.wait(&path, |answer| answer.header("lakemill-generation") == Some("3"));
        assert_eq!(answer.header("lakemill-stale"), None);
        server.signal("-TERM");
        let (code, told) = server.end();
        assert_eq!(code, Some(0), "{told}");
        assert!(!told.contains(crate::s3::server::SECRET), "{told}");
    }
}
