//! What each path answers.

use super::server::{AS_OF, Server, config, publish, refused, table};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tempfile::tempdir;

#[test]
fn a_key_has_its_value_and_the_generation_is_named() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42", "é x/y%|", "+"], 0.25, 7);
    let server = Server::start(home.path(), &[]);
    assert_eq!(server.said["tables"], json!({ "fraud": 1 }), "all that is published is served");

    let answer = server.get("/v1/fraud/42").expect(200);
    assert_eq!(answer.text(), r#"{"score":0.25,"mark":7}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("lakemill-generation"), Some("1"));
    assert_eq!(answer.header("lakemill-source"), Some("current"));
    assert_eq!(answer.header("lakemill-as-of"), Some(AS_OF));
    assert_eq!(answer.header("lakemill-stale"), None);
    assert_eq!(answer.header("lakemill-arm"), None);
    for path in ["/v1/fraud/%34%32", "/v1/fraud/%C3%A9%20x%2Fy%25%7C", "/v1/fraud/%C3%A9%20x/y%25|", "/v1/fraud/+"] {
        server.get(path).expect(200);
    }

    let missing = server.get("/v1/fraud/43").problem(404, "no_such_key");
    assert_eq!(missing.header("lakemill-generation"), Some("1"), "a key is missing in a generation");
    let unknown = server.get("/v1/frauds/42").problem(404, "unknown_table");
    assert_eq!(unknown.header("lakemill-generation"), None);
    server.get("/").problem(404, "no_such_route");
    server.get("/v1").problem(404, "no_such_route");
    server.get("/v2/fraud/42").problem(404, "no_such_route");

    // One connection, many requests; HEAD has no body.
    let mut connection = server.connect();
    for _ in 0..3 {
        connection.get("/v1/fraud/42").expect(200);
        let head = connection.send(b"HEAD /v1/fraud/42 HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
        assert_eq!((head.status, head.header("lakemill-generation")), (200, Some("1")));
    }
}

#[test]
fn a_batch_is_answered_in_the_order_of_its_keys() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42", "7", "eu|42"], 0.5, 1);
    let server = Server::start(home.path(), &["--table", "fraud"]);
    let answer = server.post("/v1/fraud:mget", r#"{"keys": ["7", "x\"", 42, "7", "eu|42"]}"#).expect(200);
    assert_eq!(answer.header("lakemill-generation"), Some("1"));
    assert_eq!(answer.header("lakemill-source"), Some("current"));
    let value = json!({ "score": 0.5, "mark": 1 });
    let found = |key: &str| json!({ "key": key, "source": "current", "value": value });
    let missing = json!({ "key": "x\"", "source": "none", "value": null });
    assert_eq!(
        answer.json(),
        json!({
            "table": "fraud",
            "generation": 1,
            "as_of": AS_OF,
            "source": "current",
            "stale": false,
            "results": [found("7"), missing, found("42"), found("7"), found("eu|42")],
        })
    );
    assert_eq!(server.post("/v1/fraud:mget", r#"{"keys":[]}"#).expect(200).json()["results"], json!([]));
    server.post("/v1/fraud%3Amget", r#"{"keys":["7"]}"#).expect(200);
    server.post("/v1/other:mget", r#"{"keys":["7"]}"#).problem(404, "unknown_table");
    let wrong = server.post("/v1/fraud:mget", r#"{"keys":["a", ["b", "c"]]}"#).problem(400, "invalid_key");
    assert_eq!(wrong.json()["index"], 1, "the key has two parts, the table's keys have one");
}

#[test]
fn other_methods_are_refused_with_those_that_are_known() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let server = Server::start(home.path(), &[]);
    for (method, path, allow) in [
        ("DELETE", "/v1/fraud/42", "GET,HEAD"),
        ("POST", "/v1/fraud/42", "GET,HEAD"),
        ("PUT", "/v1/fraud:mget", "POST"),
        ("GET", "/v1/fraud:mget", "POST"),
        ("OPTIONS", "/v1/fraud", "GET,HEAD"),
        ("POST", "/v1/fraud", "GET,HEAD"),
        ("POST", "/health", "GET,HEAD"),
        ("OPTIONS", "/metrics", "GET,HEAD"),
    ] {
        let answer = server.connect().request(method, path, &[], b"").unwrap();
        let answer = answer.problem(405, "method_not_allowed");
        let allowed = answer.header("allow").unwrap();
        assert_eq!(allowed, allow, "{method} {path}");
    }
}

#[test]
fn a_table_tells_what_it_serves() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let server = Server::start(home.path(), &[]);
    let about = server.get("/v1/fraud").expect(200).json();
    assert_eq!(about["arms"]["fraud"]["generation"], 1, "{about}");
    assert_eq!(about["arms"]["fraud"]["metadata"]["keys"], 1);
    assert_eq!(about["arms"]["fraud"]["metadata"]["model_version"], 3);
    server.get("/v1/nobody").problem(404, "unknown_table");
}

#[test]
fn a_table_is_served_as_soon_as_it_is_published() {
    let home = tempdir().unwrap();
    let file = config(home.path(), "");
    let server = Server::start(home.path(), &["--table", "fraud", "--config", &file]);
    server.get("/health").expect(200);
    let answer = server.get("/v1/fraud/42").problem(503, "no_generation");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("lakemill-generation"), None);
    server.post("/v1/fraud:mget", r#"{"keys":["42"]}"#).problem(503, "no_generation");
    let unready = server.get("/ready").problem(503, "not_ready");
    assert!(unready.text().contains("fraud"), "{unready:?}");

    publish(home.path(), "fraud", &["42"], 0.5, 1);
    server.wait("/v1/fraud/42", |answer| answer.status == 200);
    assert_eq!(server.get("/ready").expect(200).json(), json!({ "status": "ready" }));
}

/// The samples of a text in the OpenMetrics format, by name and labels.
pub fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut known = BTreeSet::new();
    let mut samples = BTreeMap::new();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            known.insert(name.to_owned());
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let bare = name.split('{').next().unwrap();
        assert!(known.iter().any(|known| bare.starts_with(known.as_str())), "no TYPE of {line}");
        samples.insert(name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")));
    }
    samples
}

#[test]
fn metrics_count_what_was_asked() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let file = config(home.path(), "[tables.fraud]\nstale_after = \"1s\"\nfallback = { score = 0.0 }\n");
    let server = Server::start(home.path(), &["--config", &file]);
    (0..3).for_each(|_| drop(server.get("/v1/fraud/42").expect(200)));
    (0..2).for_each(|_| drop(server.get("/v1/fraud/x").expect(200)));
    server.post("/v1/fraud:mget", r#"{"keys":["42","y"]}"#).expect(200);
    server.get("/v1/fraud/%").expect(400);
    let answer = server.get("/metrics").expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{answer:?}");
    let samples = samples(&answer.text());
    let expected = [
        ("requests_total{route=\"get\",status=\"200\"}", 5.0),
        ("requests_total{route=\"get\",status=\"400\"}", 1.0),
        ("requests_total{route=\"mget\",status=\"200\"}", 1.0),
        ("request_duration_seconds_count{route=\"get\"}", 6.0),
        ("hits_total{table=\"fraud\"}", 4.0),
        ("misses_total{table=\"fraud\"}", 3.0),
        ("fallback_total{table=\"fraud\"}", 3.0),
        ("stale_total{table=\"fraud\"}", 4.0),
        ("previous_total{table=\"fraud\"}", 0.0),
        ("generation{table=\"fraud\"}", 1.0),
        ("generation_is_current{table=\"fraud\"}", 1.0),
        ("reloads_total{table=\"fraud\"}", 1.0),
        ("reload_failures_total{table=\"fraud\"}", 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(samples.get(&format!("lakemill_serve_{name}")), Some(&value), "{name}\n{}", answer.text());
    }
    let age = samples["lakemill_serve_data_age_seconds{table=\"fraud\"}"];
    assert!(age > 2.0e8 && age.is_finite(), "years have passed since 2018: {age}");
    // Connections that were closed are noticed a moment later; the one that asks is open.
    let connections = || self::samples(&server.get("/metrics").expect(200).text())["lakemill_serve_connections"];
    let is_one = (0..100).any(|_| {
        connections() == 1.0 || {
            std::thread::sleep(Duration::from_millis(50));
            false
        }
    });
    assert!(is_one, "{} connections", connections());
}

/// Every reference inside a document, and whether it leads somewhere.
fn dangling(document: &Value, at: &Value) -> Vec<String> {
    match at {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("$ref", Some(to)) => {
                    let found = document.pointer(to.trim_start_matches('#')).is_some();
                    if found { vec![] } else { vec![to.to_owned()] }
                }
                _ => dangling(document, value),
            })
            .collect(),
        Value::Array(values) => values.iter().flat_map(|value| dangling(document, value)).collect(),
        _ => vec![],
    }
}

#[test]
fn the_document_describes_the_paths_that_there_are() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let file = config(home.path(), "[limits]\nkeys = 2\nbody_bytes = 200\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let document = server.get("/openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(dangling(&document, &document), Vec::<String>::new());

    let long = format!("{{\"keys\":[\"{}\"]}}", "k".repeat(500));
    let asked = [
        ("get", "/v1/{table}/{key}", "/v1/fraud/42", None),
        ("get", "/v1/{table}/{key}", "/v1/fraud/43", None),
        ("get", "/v1/{table}/{key}", "/v1/nobody/43", None),
        ("get", "/v1/{table}/{key}", "/v1/fraud/%", None),
        ("post", "/v1/{table}:mget", "/v1/fraud:mget", Some(r#"{"keys":["42"]}"#)),
        ("post", "/v1/{table}:mget", "/v1/nobody:mget", Some(r#"{"keys":["42"]}"#)),
        ("post", "/v1/{table}:mget", "/v1/fraud:mget", Some("{}")),
        ("post", "/v1/{table}:mget", "/v1/fraud:mget", Some(r#"{"keys":[1,2,3]}"#)),
        ("post", "/v1/{table}:mget", "/v1/fraud:mget", Some(long.as_str())),
        ("get", "/v1/{table}", "/v1/fraud", None),
        ("get", "/v1/{table}", "/v1/nobody", None),
        ("get", "/health", "/health", None),
        ("get", "/ready", "/ready", None),
        ("get", "/metrics", "/metrics", None),
        ("get", "/openapi.json", "/openapi.json", None),
    ];
    let mut described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    for (method, path, asked, body) in asked {
        let answer = match body {
            Some(body) => server.post(asked, body),
            None => server.get(asked),
        };
        let responses = &document["paths"][path][method]["responses"];
        let response = &responses[answer.status.to_string()];
        let content_type = answer.header("content-type").unwrap().split(';').next().unwrap();
        assert!(response["content"][content_type].is_object(), "{method} {asked}: {answer:?}");
        for (name, _) in answer.headers.iter().filter(|(name, _)| name.starts_with("lakemill-") && answer.status == 200)
        {
            assert!(response["headers"][name].is_object(), "{method} {asked}: {name}");
        }
        described.remove(path);
    }
    assert!(described.is_empty(), "never asked: {described:?}");
}

#[test]
fn what_can_not_be_served_is_refused_at_once() {
    let home = tempdir().unwrap();
    let file = |text: &str| {
        let path = home.path().join("refused.toml");
        std::fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let outcome = refused(home.path(), &[], &[]).expect(2);
    assert!(outcome.stderr.contains("no table to serve"), "{}", outcome.stderr);
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let cases = [
        (vec!["--listen", "0.0.0.0:0"], "anybody who reaches this address"),
        (vec!["--table", "../x"], "not a name"),
        (vec!["--store", "fille"], "unknown lookup store"),
        (vec!["--token-file", "/nowhere"], "the file of the tokens cannot be read"),
        (vec!["--tls-certificate", "/nowhere"], "--tls-key"),
    ];
    for (args, why) in cases {
        let outcome = refused(home.path(), &args, &[]).expect(2);
        assert!(outcome.stderr.contains(why), "{args:?}: {}", outcome.stderr);
    }
    for (text, why) in [
        ("listen = \"0.0.0.0:0\"\n[tables.x]\nstale_aftr = \"1h\"", "did you mean `stale_after`?"),
        ("[tables.fraud]\nfallback = { scor = 0.0 }", "did you mean `score`?"),
        ("[tables.fraud]\nsplit = { a = 0 }", "the weights of a split make no split"),
        ("[tables.fraud]\nsalt = \"x\"", "means something only beside `split`"),
        ("[limits]\nkeys = 0", "a limit is out of range"),
        ("[tables.fraud]\nsplit = { \"a/b\" = 1 }", "not a name"),
    ] {
        let outcome = refused(home.path(), &["--config", &file(text)], &[]).expect(2);
        assert!(outcome.stderr.contains(why), "{text}: {}", outcome.stderr);
    }
    assert!(table(home.path(), "fraud").folder.exists());
}
