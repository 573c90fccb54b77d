//! What is answered where a key, a generation or fresh data is missing.

use super::routes::samples;
use super::server::{AS_OF, Server, config, hours_ago, note, publish, publish_as_of, publish_rows, store, table};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use lakemill::lookup::LookupOptions;
use serde_json::json;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use tempfile::tempdir;

/// The data of a generation.
fn data(home: &Path, generation: u64) -> std::path::PathBuf {
    table(home, "fraud").folder.join(format!("v={generation:06}/data.mdb"))
}

/// Changes one digit of a value, and no length.
fn damage(home: &Path, generation: u64) {
    let path = data(home, generation);
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|part| part == b"{\"score\"").unwrap() + 9;
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"9", at as u64).unwrap();
}

#[test]
fn a_missing_key_gets_the_fallback_and_the_answer_says_so() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let file = config(home.path(), "[tables.fraud]\nfallback = { score = 0.0, mark = 0 }\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let answer = server.get("/v1/fraud/no").expect(200);
    assert_eq!(answer.text(), r#"{"score":0.0,"mark":0}"#);
    assert_eq!(answer.header("lakemill-source"), Some("fallback"));
    assert_eq!(answer.header("lakemill-generation"), Some("1"), "the generation that lacks it");
    assert_eq!(server.get("/v1/fraud/42").header("lakemill-source"), Some("current"));
    let batch = server.post("/v1/fraud:mget", r#"{"keys":["42","no"]}"#).expect(200).json();
    assert_eq!(batch["source"], "current");
    assert_eq!(batch["results"][1], json!({ "key": "no", "source": "fallback", "value": { "score": 0.0, "mark": 0 } }));
}

#[test]
fn an_unpublished_table_gets_the_fallback_of_no_generation() {
    let home = tempdir().unwrap();
    let file = config(home.path(), "[tables.fraud]\nfallback = { score = 0.0 }\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let answer = server.get("/v1/fraud/42").expect(200);
    assert_eq!((answer.header("lakemill-source"), answer.header("lakemill-generation")), (Some("fallback"), None));
    let batch = server.post("/v1/fraud:mget", r#"{"keys":["42"]}"#).expect(200).json();
    assert_eq!((&batch["generation"], &batch["source"]), (&json!(null), &json!("fallback")), "{batch}");
    server.get("/ready").problem(503, "not_ready");
}

#[test]
fn a_key_that_is_gone_is_found_in_the_previous_generation_if_that_is_wanted() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["old", "both"], 0.25, 1);
    publish(home.path(), "fraud", &["both", "new"], 0.75, 2);
    let plain = Server::start(home.path(), &[]);
    plain.get("/v1/fraud/old").problem(404, "no_such_key");
    drop(plain);

    let file = config(home.path(), "[tables.fraud]\nprevious = \"when_missing\"\nfallback = { mark = 0 }\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let answer = server.wait("/v1/fraud/old", |answer| answer.header("lakemill-source") == Some("previous"));
    assert_eq!(answer.text(), r#"{"score":0.25,"mark":1}"#);
    assert_eq!(answer.header("lakemill-generation"), Some("1"));
    assert_eq!(server.get("/v1/fraud/both").text(), r#"{"score":0.75,"mark":2}"#);
    let batch = server.post("/v1/fraud:mget", r#"{"keys":["new","old","never"]}"#).expect(200).json();
    assert_eq!((&batch["generation"], &batch["source"]), (&json!(2), &json!("current")));
    assert_eq!(
        batch["results"],
        json!([
            { "key": "new", "source": "current", "value": { "score": 0.75, "mark": 2 } },
            { "key": "old", "source": "previous", "generation": 1, "value": { "score": 0.25, "mark": 1 } },
            { "key": "never", "source": "fallback", "value": { "mark": 0 } },
        ])
    );
}

#[test]
fn a_damaged_generation_is_never_served_and_the_previous_one_is() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.25, 1);
    publish(home.path(), "fraud", &["42"], 0.5, 2);
    damage(home.path(), 2);
    let file = config(home.path(), "[tables.fraud]\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let answer = server.get("/v1/fraud/42").expect(200);
    assert_eq!(answer.text(), r#"{"score":0.25,"mark":1}"#);
    assert_eq!(answer.header("lakemill-source"), Some("previous"));
    assert_eq!(answer.header("lakemill-generation"), Some("1"));
    let batch = server.post("/v1/fraud:mget", r#"{"keys":["42"]}"#).expect(200).json();
    assert_eq!((&batch["generation"], &batch["source"]), (&json!(1), &json!("previous")));
    let samples = samples(&server.get("/metrics").text());
    assert_eq!(samples["lakemill_serve_generation_is_current{table=\"fraud\"}"], 0.0);
    assert!(samples["lakemill_serve_reload_failures_total{table=\"fraud\"}"] >= 1.0);

    // A whole one is taken up as ever.
    publish(home.path(), "fraud", &["42"], 0.75, 3);
    let answer = server.wait("/v1/fraud/42", |answer| answer.header("lakemill-source") == Some("current"));
    assert_eq!(answer.text(), r#"{"score":0.75,"mark":3}"#);
    server.signal("-TERM");
    let (code, told) = server.end();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("the lookup table cannot be read") && told.contains("serving an older generation"), "{told}");
}

#[test]
fn a_server_goes_on_with_what_it_has_when_the_next_generation_is_damaged_or_all_is_gone() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.25, 1);
    let file = config(home.path(), "[tables.fraud]\n");
    let server = Server::start(home.path(), &["--config", &file]);
    assert_eq!(server.get("/v1/fraud/42").header("lakemill-source"), Some("current"));

    // The pointer names a generation whose data is cut short.
    let sealed = table(home.path(), "fraud").folder.join("v=000002");
    fs::create_dir(&sealed).unwrap();
    let metadata = fs::read_to_string(data(home.path(), 1).with_file_name("generation.json")).unwrap();
    fs::write(sealed.join("generation.json"), metadata.replace("\"generation\": 1,", "\"generation\": 2,")).unwrap();
    fs::write(sealed.join("data.mdb"), &fs::read(data(home.path(), 1)).unwrap()[..4096]).unwrap();
    let pointer = table(home.path(), "fraud").folder.join("CURRENT");
    fs::write(&pointer, "v=000002\n").unwrap();
    let answer = server.wait("/v1/fraud/42", |answer| answer.header("lakemill-source") == Some("previous"));
    assert_eq!(answer.text(), r#"{"score":0.25,"mark":1}"#);

    fs::write(&pointer, "v=000001\n").unwrap();
    server.wait("/v1/fraud/42", |answer| answer.header("lakemill-source") == Some("current"));
    fs::remove_dir_all(home.path().join("lookup")).unwrap();
    let answer = server.wait("/v1/fraud/42", |answer| answer.header("lakemill-source") == Some("previous"));
    assert_eq!(answer.text(), r#"{"score":0.25,"mark":1}"#);

    // The home is made anew: the same number, another generation.
    publish(home.path(), "fraud", &["42"], 1.0, 9);
    assert_eq!(store().current(&table(home.path(), "fraud")).unwrap(), Some(1));
    let answer = server.wait("/v1/fraud/42", |answer| answer.text() == r#"{"score":1.0,"mark":9}"#);
    assert_eq!((answer.header("lakemill-generation"), answer.header("lakemill-source")), (Some("1"), Some("current")));
}

#[test]
fn nothing_but_what_is_published_is_served_where_that_is_wanted() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.25, 1);
    publish(home.path(), "fraud", &["42"], 0.5, 2);
    damage(home.path(), 2);
    let file = config(home.path(), "[tables.fraud]\nprevious = \"never\"\n");
    let server = Server::start(home.path(), &["--config", &file]);
    server.get("/v1/fraud/42").problem(503, "no_generation");
    drop(server);
    // Unread, the damage is not seen.
    let file = config(home.path(), "[tables.fraud]\nverify = false\n");
    let server = Server::start(home.path(), &["--config", &file]);
    assert_eq!(server.get("/v1/fraud/42").expect(200).text(), r#"{"score":9.5,"mark":2}"#);
}

#[test]
fn a_rollback_is_followed_and_what_it_left_is_never_asked_again() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    publish(home.path(), "fraud", &["42", "bad"], 0.5, 2);
    let file = config(home.path(), "[tables.fraud]\nprevious = \"when_missing\"\n");
    let server = Server::start(home.path(), &["--config", &file]);
    assert_eq!(server.get("/v1/fraud/bad").expect(200).header("lakemill-generation"), Some("2"));
    store().rollback(&table(home.path(), "fraud"), None, 2, &note()).unwrap();
    let answer = server.wait("/v1/fraud/42", |answer| answer.header("lakemill-generation") == Some("1"));
    assert_eq!(answer.header("lakemill-source"), Some("current"), "it is what is published");
    assert_eq!(answer.text(), r#"{"score":0.5,"mark":1}"#);
    server.get("/v1/fraud/bad").problem(404, "no_such_key");

    // The next one comes after generation 1, though 2 may still lie there.
    let next = publish(home.path(), "fraud", &["43"], 0.5, 3).generation;
    server.wait("/v1/fraud/43", |answer| answer.header("lakemill-generation") == Some(next.to_string().as_str()));
    let again = Server::start(home.path(), &["--config", &file]);
    for server in [&server, &again] {
        let answer = server.wait("/v1/fraud/42", |answer| answer.header("lakemill-source") == Some("previous"));
        assert_eq!(answer.header("lakemill-generation"), Some("1"));
        server.get("/v1/fraud/bad").problem(404, "no_such_key");
    }
}

#[test]
fn an_expired_generation_is_served_and_called_stale() {
    let home = tempdir().unwrap();
    let rows = RecordBatch::try_from_iter([
        ("region", Arc::new(StringArray::from(vec!["eu", "e|u"])) as ArrayRef),
        ("customer", Arc::new(Int64Array::from(vec![42, 42]))),
        ("score", Arc::new(Float64Array::from(vec![0.25, 0.75]))),
    ]);
    let options = LookupOptions { ttl_secs: Some(1), ..LookupOptions::default() };
    publish_rows(&table(home.path(), "fraud").with(options), rows.unwrap(), (2, 1), AS_OF);
    let server = Server::start(home.path(), &[]);
    let answer = server.wait("/v1/fraud/eu%7C42", |answer| answer.header("lakemill-stale") == Some("true"));
    assert_eq!(answer.text(), r#"{"score":0.25}"#);

    // A key of two columns, as it is stored and column by column.
    let batch = server.post("/v1/fraud:mget", r#"{"keys":["e\\|u|42",["eu",42],["e|u","42"]]}"#).expect(200).json();
    let found = |key: &str, score: f64| json!({ "key": key, "source": "current", "value": { "score": score } });
    assert_eq!(batch["results"], json!([found("e\\|u|42", 0.75), found("eu|42", 0.25), found("e\\|u|42", 0.75)]));
    assert_eq!(batch["stale"], true);
    server.post("/v1/fraud:mget", r#"{"keys":[["eu"]]}"#).problem(400, "invalid_key");
}

#[test]
fn old_values_are_served_and_called_stale() {
    let home = tempdir().unwrap();
    publish_as_of(home.path(), "fraud", &["42"], (0.5, 1), &hours_ago(30));
    let file = config(home.path(), "[tables.fraud]\nstale_after = \"24h\"\n");
    let server = Server::start(home.path(), &["--config", &file]);
    let answer = server.get("/v1/fraud/42").expect(200);
    assert_eq!((answer.header("lakemill-stale"), answer.header("lakemill-source")), (Some("true"), Some("current")));
    let batch = server.post("/v1/fraud:mget", r#"{"keys":["42"]}"#).expect(200);
    assert_eq!((batch.header("lakemill-stale"), &batch.json()["stale"]), (Some("true"), &json!(true)));
    publish_as_of(home.path(), "fraud", &["42"], (0.5, 2), &hours_ago(2));
    let answer = server.wait("/v1/fraud/42", |answer| answer.header("lakemill-generation") == Some("2"));
    assert_eq!(answer.header("lakemill-stale"), None);
    assert_eq!(server.post("/v1/fraud:mget", r#"{"keys":["42"]}"#).json()["stale"], false);
}
