//! Clients that mean no good, or know no better.

use super::client::{Connection, connect};
use super::server::{Server, config, publish, refused};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

fn home() -> TempDir {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42", "7"], 0.5, 1);
    home
}

/// That the server answers others as ever.
#[track_caller]
fn is_well(server: &Server) {
    server.get("/v1/fraud/42").expect(200);
}

#[test]
fn malformed_keys_are_refused_one_by_one() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    let long = format!("/v1/fraud/{}", "k".repeat(512));
    let escaped = format!("/v1/fraud/{}", "%C3%A9".repeat(256));
    for path in [
        "/v1/fraud/",
        "/v1/fraud/%",
        "/v1/fraud/%4",
        "/v1/fraud/%zz",
        "/v1/fraud/%FF",
        "/v1/fraud/%ED%A0%80",
        &long,
        &escaped,
    ] {
        server.get(path).problem(400, "invalid_key");
    }
    server.get(&format!("/v1/fraud/{}", "k".repeat(511))).problem(404, "no_such_key");
    server.get("/v1/fraud/%00%0A%0D%1B").problem(404, "no_such_key");
    server.get("/v1/%FF/42").problem(400, "invalid_key");
    server.get("/v1/%00/42").problem(404, "unknown_table");
    server.get("/v1//42").problem(404, "unknown_table");
    server.get("/v1/../lookup/fraud").problem(404, "unknown_table");
    let keys = |keys: serde_json::Value| json!({ "keys": keys }).to_string();
    let most = server.post("/v1/fraud:mget", &keys(json!(["42", "k".repeat(512)]))).problem(400, "invalid_key");
    assert_eq!(most.json()["index"], 1);
    server.post("/v1/fraud:mget", &keys(json!([""]))).problem(400, "invalid_key");
    for body in
        ["", "{", "[]", "{\"keys\":1}", "{\"keys\":[1.5]}", "{\"keys\":[\"a\"],\"x\":1}", "{\"keys\":[\"\u{1}\"]}"]
    {
        server.post("/v1/fraud:mget", body).problem(400, "invalid_body");
    }
    let bytes = b"{\"keys\":[\"\xff\"]}";
    let answer = server.connect().request("POST", "/v1/fraud:mget", &[], bytes).unwrap();
    answer.problem(400, "invalid_body");
    let nested = format!("{{\"keys\":{}", "[".repeat(100_000));
    server.post("/v1/fraud:mget", &nested).problem(400, "invalid_body");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    server.connect().request("POST", "/v1/fraud:mget", &form, b"keys=42").unwrap().problem(415, "not_json");
    is_well(&server);
}

#[test]
fn what_is_too_much_is_refused() {
    let home = home();
    let file = config(home.path(), "[limits]\nkeys = 3\nbody_bytes = 1000\n");
    let server = Server::start(home.path(), &["--config", &file]);
    server.post("/v1/fraud:mget", r#"{"keys":[1,2,3]}"#).expect(200);
    server.post("/v1/fraud:mget", r#"{"keys":[1,2,3,4]}"#).problem(400, "too_many_keys");

    let huge = format!("{{\"keys\":[\"{}\"]}}", "k".repeat(3 << 20));
    let answer = server.post("/v1/fraud:mget", &huge).problem(413, "body_too_large");
    assert_eq!(answer.header("connection"), Some("close"));
    // In pieces, without a length, and more than anybody reads.
    let mut endless = connect(server.address);
    endless.stream.write_all(b"POST /v1/fraud:mget HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
    let piece = format!("10000\r\n{}\r\n", "k".repeat(0x10000));
    let mut sent = 0;
    while endless.stream.write_all(piece.as_bytes()).is_ok() && sent < (64 << 20) {
        sent += piece.len();
    }
    assert!(sent < 64 << 20, "somebody reads all of it");
    // A client that asks first is told before it sends.
    let mut polite = connect(server.address);
    let head = "POST /v1/fraud:mget HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n";
    polite.send(head.as_bytes()).unwrap().problem(413, "body_too_large");

    let mut heads = connect(server.address);
    let head = format!("GET /v1/fraud/42 HTTP/1.1\r\nhost: t\r\nx: {}\r\n\r\n", "x".repeat(20 << 10));
    assert_eq!(heads.send(head.as_bytes()).unwrap().status, 431);
    let many: String = (0..200).map(|header| format!("x-{header}: x\r\n")).collect();
    let head = format!("GET /v1/fraud/42 HTTP/1.1\r\nhost: t\r\n{many}\r\n");
    assert_eq!(connect(server.address).send(head.as_bytes()).unwrap().status, 431);
    is_well(&server);
}

#[test]
fn what_is_no_http_ends_the_connection() {
    let home = home();
    let server = Server::start(home.path(), &[]);
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/fraud/\xff HTTP/1.1\r\nhost: t\r\n\r\n",
        b"GET /v1/fraud/42 HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/fraud:mget HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || text.starts_with("HTTP/1.1 4"), "{bytes:?}: {text}");
    }
    is_well(&server);
}

#[test]
fn slow_clients_are_cut_off_and_hold_up_nobody() {
    let home = home();
    let limits =
        "connections = 8\nheader_timeout = \"700ms\"\nrequest_timeout = \"700ms\"\nwrite_timeout = \"700ms\"\n";
    // Ten megabytes an answer, which no buffer of the system takes.
    let big = format!("[tables.fraud]\n[tables.big]\nfallback = {{ text = \"{}\" }}\n", "t".repeat(2000));
    let file = config(home.path(), &format!("[limits]\n{limits}keys = 5000\n{big}"));
    let server = Server::start(home.path(), &["--config", &file]);

    // Slowloris: heads that never end take all places, but only for a while.
    let began = Instant::now();
    let mut slow: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET /v1/fraud/42 HTTP/1.1\r\nx: ").unwrap());
    std::thread::sleep(Duration::from_millis(300));
    slow.iter_mut().for_each(|stream| drop(stream.write_all(b"y")));
    is_well(&server);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{rest:?}");
    }

    // A body that never ends is told so.
    let mut body = connect(server.address);
    let head = b"POST /v1/fraud:mget HTTP/1.1\r\nhost: t\r\ncontent-length: 50\r\n\r\n{\"keys\"";
    body.send(head).unwrap().problem(408, "too_slow");

    // An answer that nobody takes: the connection ends, and so does what it holds.
    let keys = json!({ "keys": vec!["42"; 5000] }).to_string();
    let mut deaf: Vec<Connection<TcpStream>> = (0..8).map(|_| connect(server.address)).collect();
    for client in &mut deaf {
        let head = format!("POST /v1/big:mget HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", keys.len());
        client.stream.write_all(head.as_bytes()).unwrap();
        client.stream.write_all(keys.as_bytes()).unwrap();
    }
    let began = Instant::now();
    is_well(&server);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let home = home();
    let file = config(home.path(), "[limits]\nconnections = 2\n");
    let server = Server::start(home.path(), &["--config", &file]);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..5).for_each(|_| is_well(&server)));
        }
    });
}

const OLD: &str = "old-0123456789abcdef0123456789abcdef";
const NEW: &str = "new-0123456789abcdef0123456789abcdef";

fn ask(server: &Server, path: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    server.connect().request("GET", path, &headers, b"").unwrap().status
}

#[test]
fn without_a_token_nothing_is_told() {
    let home = home();
    let file = home.path().join("tokens");
    std::fs::write(&file, format!("# both count while they are rotated\n{OLD}\n{NEW}\n")).unwrap();
    let server =
        Server::start(home.path(), &["--token-file", file.to_str().unwrap(), "--table", "fraud", "--table", "other"]);
    for path in ["/v1/fraud/42", "/v1/nobody/42", "/v1/fraud", "/metrics", "/openapi.json", "/nowhere"] {
        for token in [None, Some("wrong"), Some(&OLD[..OLD.len() - 1]), Some("")] {
            assert_eq!(ask(&server, path, token), 401, "{path} {token:?}");
        }
    }
    let answer = server.get("/v1/fraud/42").problem(401, "unauthorized");
    assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"), "{answer:?}");
    server.post("/v1/fraud:mget", "{\"keys\":[\"42\"]}").problem(401, "unauthorized");
    server.connect().request("DELETE", "/v1/fraud/42", &[], b"").unwrap().problem(401, "unauthorized");
    assert_eq!([ask(&server, "/v1/fraud/42", Some(OLD)), ask(&server, "/v1/fraud/42", Some(NEW))], [200, 200]);

    // Probes have no token, and are told no name.
    server.get("/health").expect(200);
    let unready = server.get("/ready").problem(503, "not_ready");
    assert!(!unready.text().contains("other"), "{unready:?}");

    // One is taken out of use while the server runs.
    std::fs::write(&file, format!("{NEW}\n")).unwrap();
    let began = Instant::now();
    while ask(&server, "/v1/fraud/42", Some(OLD)) == 200 {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    // A file that says nothing changes nothing.
    std::fs::write(&file, "").unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!([ask(&server, "/v1/fraud/42", Some(OLD)), ask(&server, "/v1/fraud/42", Some(NEW))], [401, 200]);
    server.signal("-TERM");
    let (code, told) = server.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("what was read before is used on") && !told.contains("0123456789"), "{told}");
}

#[test]
fn tokens_come_from_the_environment_too_and_are_never_shown() {
    let home = home();
    let server =
        Server::start_with(home.path(), &["--log", "trace"], &[("LAKEMILL_SERVE_TOKENS", &format!("{OLD} {NEW}"))]);
    assert_eq!([ask(&server, "/v1/fraud/42", Some(OLD)), ask(&server, "/v1/fraud/42", None)], [200, 401]);
    for path in ["/metrics", "/openapi.json", "/v1/fraud", "/ready"] {
        let bearer = format!("Bearer {NEW}");
        let answer = server.connect().request("GET", path, &[("authorization", &bearer)], b"").unwrap().expect(200);
        assert!(!answer.text().contains("0123456789"), "{answer:?}");
    }
    server.signal("-TERM");
    let (code, told) = server.end();
    assert!(code == Some(0) && !told.contains("0123456789"), "{told}");
    for tokens in ["", "short-secret"] {
        let outcome = refused(home.path(), &[], &[("LAKEMILL_SERVE_TOKENS", tokens)]).expect(2);
        assert!(!outcome.stderr.contains("short-secret"), "{}", outcome.stderr);
    }
}
