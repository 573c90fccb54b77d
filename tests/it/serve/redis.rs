//! Lookup tables in a Redis server: generations are removed under their readers there, and servers go away.

use super::server::{AS_OF, Server, config, publish_rows};
use crate::redis::server::Server as Redis;
use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use lakemill::lookup::{LookupTable, lookup};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;

pub fn publish(table: &LookupTable, mark: u64) -> u64 {
    let keys: Vec<String> = (0..100).map(|key| key.to_string()).collect();
    let columns: [(&str, ArrayRef); 2] =
        [("key", Arc::new(StringArray::from(keys))), ("mark", Arc::new(UInt64Array::from(vec![mark; 100])))];
    publish_rows(table, RecordBatch::try_from_iter(columns).unwrap(), (1, mark), AS_OF).generation
}

/// Serves `fraud` with this configuration after the poll's.
pub fn serve(folder: &Path, url: &str, text: &str) -> Server {
    let file = config(folder, text);
    Server::start_with(folder, &["--table", "fraud", "--config", &file], &[("LAKEMILL_LOOKUP_STORE", url)])
}

#[test]
fn every_answer_belongs_to_one_generation_while_a_redis_server_removes_the_old_ones() {
    let Some(redis) = Redis::start(&[]) else { return };
    let folder = tempdir().unwrap();
    let table = LookupTable::of_server("fraud", &redis.url());
    assert_eq!(lookup(&redis.url()).unwrap().current(&table).unwrap(), None);
    publish(&table, 1);
    let server = serve(folder.path(), &redis.url(), "");
    // One that looks so seldom that generations go while it serves them.
    let seldom = folder.path().join("seldom.toml").to_string_lossy().into_owned();
    std::fs::write(&seldom, "poll = \"1h\"\n").unwrap();
    let url = redis.url();
    let args = ["--table", "fraud", "--config", seldom.as_str()];
    let blind = Server::start_with(folder.path(), &args, &[("LAKEMILL_LOOKUP_STORE", url.as_str())]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for server in [&server, &blind] {
            let done = &done;
            scope.spawn(move || {
                let mut connection = server.connect();
                let body = r#"{"keys": ["1", "50", "99"]}"#;
                while !done.load(Ordering::Relaxed) {
                    let answer = connection.get("/v1/fraud/42").expect(200);
                    let generation: u64 = answer.header("lakemill-generation").unwrap().parse().unwrap();
                    assert_eq!(answer.json()["mark"], generation, "{answer:?}");
                    let batch = connection.post("/v1/fraud:mget", body).expect(200).json();
                    let results = batch["results"].as_array().unwrap();
                    assert!(results.iter().all(|result| result["value"]["mark"] == batch["generation"]), "{batch}");
                }
            });
        }
        for mark in 2..=12 {
            assert_eq!(publish(&table, mark), mark);
            std::thread::sleep(std::time::Duration::from_millis(30));
        }
        server.wait("/v1/fraud/1", |answer| answer.header("lakemill-generation") == Some("12"));
        done.store(true, Ordering::Relaxed);
    });
    server.get("/v1/fraud/100").problem(404, "no_such_key");
}

#[test]
fn a_server_that_is_away_is_told_apart_or_stood_in_for_in_time() {
    let Some(mut redis) = Redis::start(&["--requirepass", "very-secret"]) else { return };
    let url = format!("redis://:very-secret@127.0.0.1:{}/0?timeout_secs=1", redis.port);
    let table = LookupTable::of_server("fraud", &url);
    publish(&table, 1);
    let (plain, with_fallback) = (tempdir().unwrap(), tempdir().unwrap());
    let limits = "[limits]\nrequest_timeout = \"500ms\"\n";
    let plain = serve(plain.path(), &url, limits);
    let tables = format!("{limits}[tables.fraud]\nfallback = {{ mark = 0 }}\n");
    let with_fallback = serve(with_fallback.path(), &url, &tables);
    plain.get("/v1/fraud/42").expect(200);
    redis.kill();
    let answer = plain.get("/v1/fraud/42").expect(503);
    assert!(["store_unavailable", "store_too_slow"].contains(&answer.json()["code"].as_str().unwrap()), "{answer:?}");
    let began = std::time::Instant::now();
    let answer = with_fallback.get("/v1/fraud/42").expect(200);
    assert_eq!((answer.header("lakemill-source"), answer.text().as_str()), (Some("fallback"), r#"{"mark":0}"#));
    let batch = with_fallback.post("/v1/fraud:mget", r#"{"keys": ["1"]}"#).expect(200);
    assert_eq!(batch.json()["source"], "fallback");
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());

    // It comes back with nothing, and then with something.
    redis.restart();
    publish(&table, 7);
    for server in [plain, with_fallback] {
        server.wait("/v1/fraud/42", |answer| answer.text() == r#"{"mark":7}"#);
        server.signal("-TERM");
        let (code, told) = server.end();
        assert!(code == Some(0) && !told.contains("very-secret"), "{told}");
    }
}
