//! A store that does not answer: nobody waits for it, and all is well again once it does.

use super::client::{self, Answer};
use super::redis::{publish, serve};
use super::routes::samples;
use super::server::Server;
use crate::redis::server::Server as Redis;
use lakemill::lookup::LookupTable;
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// As long as one read may take; long enough to tell who has waited for it.
const READ_TIMEOUT: Duration = Duration::from_secs(4);

/// What a machine that is busy with other tests may need to answer that many at once.
const AT_ONCE: Duration = Duration::from_secs(3);

const CLIENTS: usize = 150;

/// Many clients ask once each, at the same time; gives the answers, and how long the slowest waited.
fn all_ask(server: &Server) -> (Vec<Answer>, Duration) {
    std::thread::scope(|scope| {
        let ask = |client: usize| {
            move || {
                let began = Instant::now();
                let answer = match client % 3 {
                    0 => server.post("/v1/fraud:mget", r#"{"keys": ["1", "2"]}"#),
                    _ => client::get(server.address, &format!("/v1/fraud/{client}")),
                };
                (answer, began.elapsed())
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(ask(client % 100))).collect();
        let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        let slowest = answers.iter().map(|(_, took)| *took).max().unwrap();
        (answers.into_iter().map(|(answer, _)| answer).collect(), slowest)
    })
}

fn metric(server: &Server, name: &str) -> f64 {
    samples(&server.get("/metrics").text())[&format!("lakemill_serve_{name}")]
}

const FAILURES: &str = "read_failures_total{table=\"fraud\"}";

#[test]
fn a_store_that_hangs_is_not_waited_for_and_asked_again_when_it_answers() {
    let Some(redis) = Redis::start(&[]) else { return };
    let table = LookupTable::of_server("fraud", &redis.url());
    publish(&table, 1);
    let limits = format!("[limits]\nread_timeout = \"{}s\"\n", READ_TIMEOUT.as_secs());
    let (folder, other) = (tempdir().unwrap(), tempdir().unwrap());
    let server = serve(folder.path(), &redis.url(), &limits);
    let with_fallback =
        serve(other.path(), &redis.url(), &format!("{limits}[tables.fraud]\nfallback = {{ mark = 0 }}\n"));
    for server in [&server, &with_fallback] {
        assert!(all_ask(server).0.iter().all(|answer| answer.status == 200));
        assert_eq!(metric(server, "store_circuit_open"), 0.0);
    }

    // Twice: what is learnt from one outage does no harm in the next.
    for outage in 1..=2_u64 {
        redis.signal("-STOP");
        for server in [&server, &with_fallback] {
            let is_right = |answer: &Answer| match std::ptr::eq(server, &with_fallback) {
                true => answer.status == 200 && answer.text().contains(r#"{"mark":0}"#),
                false => answer.status == 503 && answer.header("retry-after") == Some("1"),
            };
            // Those who come first wait once, and nobody else does: neither who waits for his turn to read, nor who comes now.
            let (answers, slowest) = all_ask(server);
            assert!(answers.iter().all(is_right), "{answers:?}");
            assert!(slowest < READ_TIMEOUT + AT_ONCE, "{slowest:?}");
            let (failures, refused) = (metric(server, FAILURES), metric(server, "store_reads_refused_total"));
            let (answers, slowest) = all_ask(server);
            assert!(answers.iter().all(is_right), "{answers:?}");
            assert!(slowest < AT_ONCE, "{slowest:?}");
            assert_eq!(metric(server, FAILURES), failures, "the store was asked");
            assert_eq!(metric(server, "store_reads_refused_total"), refused + CLIENTS as f64);
            assert_eq!(metric(server, "store_circuit_open"), 1.0);
            assert_eq!(metric(server, "store_circuit_openings_total"), outage as f64);
            server.get("/health").expect(200);
            let unready = server.get("/ready").problem(503, "not_ready");
            assert!(unready.text().contains("the store does not answer"), "{unready:?}");
        }
        server.get("/v1/fraud/42").problem(503, "store_unavailable");
        assert_eq!(with_fallback.get("/v1/fraud/42").header("lakemill-source"), Some("fallback"));

        redis.signal("-CONT");
        for server in [&server, &with_fallback] {
            server.wait("/ready", |answer| answer.status == 200);
            let (answers, _) = all_ask(server);
            assert!(answers.iter().all(|answer| answer.header("lakemill-source") == Some("current")), "{answers:?}");
            assert_eq!(metric(server, "store_circuit_open"), 0.0);
        }
        // A flip is taken up as ever.
        let mark = publish(&table, outage + 1);
        server.wait("/v1/fraud/42", |answer| answer.text() == format!(r#"{{"mark":{mark}}}"#));
    }
}

#[test]
fn a_server_that_begins_while_its_store_hangs_says_so_at_once_and_recovers() {
    let Some(redis) = Redis::start(&[]) else { return };
    let url = format!("{}?timeout_secs=1", redis.url());
    publish(&LookupTable::of_server("fraud", &url), 1);
    redis.signal("-STOP");
    let folder = tempdir().unwrap();
    let server = serve(folder.path(), &url, "");
    let (answers, slowest) = all_ask(&server);
    for answer in answers {
        answer.problem(503, "store_unavailable");
    }
    assert!(slowest < AT_ONCE, "{slowest:?}");
    server.get("/ready").problem(503, "not_ready");
    redis.signal("-CONT");
    server.wait("/ready", |answer| answer.status == 200);
    assert_eq!(server.get("/v1/fraud/42").expect(200).text(), r#"{"mark":1}"#);
}

#[test]
fn a_store_that_has_gone_is_asked_again_when_it_is_back() {
    let Some(mut redis) = Redis::start(&[]) else { return };
    let table = LookupTable::of_server("fraud", &redis.url());
    publish(&table, 1);
    let folder = tempdir().unwrap();
    let server = serve(folder.path(), &redis.url(), "[limits]\nread_timeout = \"300ms\"\n");
    server.get("/v1/fraud/42").expect(200);
    redis.kill();
    server.wait("/v1/fraud/42", |answer| answer.status == 503 && metric(&server, "store_circuit_open") == 1.0);
    redis.restart();
    publish(&table, 7);
    server.wait("/v1/fraud/42", |answer| answer.text() == r#"{"mark":7}"#);
    server.wait("/ready", |answer| answer.status == 200);
}
