//! A/B splits: each key has its arm, for ever.

use super::routes::samples;
use super::server::{Server, config, publish};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::tempdir;

const SPLIT: &str = "
[tables.card_fraud]
split = { champion = 90, challenger = 10 }
arms = { champion = \"fraud_a\", challenger = \"fraud_b\" }
";

/// The arm as README.md says that it is computed.
fn arm(key: &str) -> &'static str {
    let digest = Sha256::digest(format!("card_fraud:{key}").as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let point = u64::from_str_radix(&hex[..15], 16).unwrap() % 100;
    if point < 90 { "champion" } else { "challenger" }
}

#[test]
fn each_key_has_the_arm_that_the_documented_hash_says() {
    let home = tempdir().unwrap();
    let keys: Vec<String> = (0..500).map(|key| key.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    publish(home.path(), "fraud_a", &keys, 0.25, 1);
    publish(home.path(), "fraud_b", &keys, 0.75, 2);
    publish(home.path(), "fraud_b", &keys, 0.75, 3);
    let file = config(home.path(), SPLIT);
    let mut challenged = 0;
    for _restart in 0..2 {
        let server = Server::start(home.path(), &["--config", &file]);
        let mut connection = server.connect();
        for key in &keys[..100] {
            let answer = connection.get(&format!("/v1/card_fraud/{key}")).expect(200);
            assert_eq!(answer.header("lakemill-arm"), Some(arm(key)), "{key}");
            let (table, generation, mark) =
                if arm(key) == "champion" { ("fraud_a", "1", 1) } else { ("fraud_b", "2", 3) };
            assert_eq!(answer.header("lakemill-table"), Some(table));
            assert_eq!(answer.header("lakemill-generation"), Some(generation));
            assert_eq!(answer.json()["mark"], mark);
        }
        let batch = connection.post("/v1/card_fraud:mget", &json!({ "keys": keys }).to_string()).expect(200);
        assert_eq!(batch.header("lakemill-generation"), Some("champion=1, challenger=2"));
        let batch = batch.json();
        assert_eq!(batch["arms"]["champion"]["generation"], 1);
        assert_eq!(batch["arms"]["challenger"]["table"], "fraud_b");
        let results = batch["results"].as_array().unwrap();
        assert_eq!(results.len(), keys.len());
        challenged = 0;
        for (key, result) in keys.iter().zip(results) {
            assert_eq!((&result["key"], &result["arm"]), (&json!(key), &json!(arm(key))));
            assert_eq!(result["value"]["mark"], if arm(key) == "champion" { 1 } else { 3 });
            challenged += u64::from(result["arm"] == "challenger");
        }
        let samples = samples(&server.get("/metrics").text());
        let expected = challenged + keys[..100].iter().filter(|key| arm(key) == "challenger").count() as u64;
        let name = "lakemill_serve_arm_keys_total{table=\"card_fraud\",arm=\"challenger\"}";
        assert_eq!(samples[name], expected as f64);
        server.get("/v1/fraud_a/1").problem(404, "unknown_table");
    }
    assert!((20..=90).contains(&challenged), "a tenth of 500: {challenged}");
}

/// What readers in other languages compute, and their tests compare themselves with.
#[test]
fn the_arms_of_the_readers_test_vectors_are_those_that_are_served() {
    let home = tempdir().unwrap();
    let vectors = std::fs::read(crate::command::root().join("clients/vectors.json")).unwrap();
    let vectors: Value = serde_json::from_slice(&vectors).unwrap();
    let splits = vectors["splits"].as_array().unwrap();
    let mut tables = String::new();
    for (index, vector) in splits.iter().enumerate() {
        let arms: Vec<String> = vector["arms"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arm| format!("{} = {}", arm[0].as_str().unwrap(), arm[1]))
            .collect();
        // Nothing is published: the fallback is answered by the arm.
        tables += &format!(
            "[tables.t{index}]\nsalt = {}\nsplit = {{ {} }}\nfallback = {{ x = 1 }}\n",
            vector["salt"],
            arms.join(", ")
        );
    }
    let server = Server::start(home.path(), &["--config", &config(home.path(), &tables)]);
    for (index, vector) in splits.iter().enumerate() {
        let pairs = vector["keys"].as_array().unwrap();
        assert!(pairs.len() >= 10);
        let keys: Vec<&Value> = pairs.iter().map(|pair| &pair[0]).collect();
        let batch = server.post(&format!("/v1/t{index}:mget"), &json!({ "keys": keys }).to_string()).expect(200).json();
        let arms: Vec<Value> =
            batch["results"].as_array().unwrap().iter().map(|result| json!([result["key"], result["arm"]])).collect();
        assert_eq!(&arms, pairs, "{}", vector["salt"]);
    }
}

#[test]
fn an_arm_without_a_table_is_told_apart_from_a_missing_key() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud_a", &["1"], 0.25, 1);
    let file = config(home.path(), SPLIT);
    let server = Server::start(home.path(), &["--config", &file]);
    let keys: Vec<String> = (0..100).map(|key| key.to_string()).collect();
    for key in &keys {
        let answer = server.get(&format!("/v1/card_fraud/{key}"));
        let expected = match (arm(key), key.as_str()) {
            ("champion", "1") => 200,
            ("champion", _) => 404,
            _ => 503,
        };
        assert_eq!(answer.status, expected, "{key}: {answer:?}");
    }
}
