//! Training that streams, end to end: gradient boosting on columns with missing values and categories, gated,
//! scored, and the same bytes whatever computes them; and the refusal of what cannot stream.

use crate::bad_inputs::Place;
use crate::bad_inputs::call;
use crate::command::{Outcome, files};
use serde_json::Value;

const SQL: &str = "SELECT
  transaction_id,
  tx_datetime,
  customer_id,
  tx_fraud,
  CASE WHEN transaction_id % 10 = 3 THEN NULL ELSE tx_amount END AS amount,
  extract(hour FROM tx_datetime) AS hour,
  CASE
    WHEN tx_datetime >= '2018-06-11' AND transaction_id % 4 = 0 THEN 'a new one'
    WHEN transaction_id % 7 = 0 THEN NULL
    ELSE concat('group ', terminal_id % 12)
  END AS terminal_group,
  1 AS always
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
";

/// A job that boosts; its home is a new one.
fn boosting() -> Place {
    let place = Place::new();
    place.write("risk.sql", SQL);
    place.edit("job.toml", "home = \"home\"", "home = \"own\"");
    place.edit("job.toml", "algorithm = \"logistic_regression\"", "algorithm = \"gradient_boosting\"");
    place.edit(
        "job.toml",
        "[score]",
        "[model.params]\ntrees = 20\nleaves = 8\nvalidation = 0.2\nearly_stopping_rounds = 5\n\n[score]",
    );
    place
}

fn run(place: &Place, command: &str, more: &[&str]) -> Outcome {
    let args = [command, "job.toml", "--interval", "2018-06-11", "--output", "json"];
    call(place, &[&args, more].concat())
}

fn number(receipt: &Value, pointer: &str) -> u64 {
    receipt.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {receipt}"))
}

/// One line a query gives.
fn asked(place: &Place, select: &str) -> String {
    let sql = format!("SELECT {select} FROM p");
    let outcome = call(place, &["query", &sql, "--table", "p=own/predictions/risk", "--format", "csv"]).expect(0);
    outcome.stdout.lines().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn missing_values_and_new_levels_are_learned_from_and_scored() {
    let place = boosting();
    let trained = run(&place, "train", &[]).expect(0).json();
    let artifact: Value = serde_json::from_slice(&place.read("own/models/risk/versions/000001/artifact.json")).unwrap();
    let encoder = &artifact["artifact"]["encoder"];
    let encodings: Vec<&str> =
        encoder["columns"].as_array().unwrap().iter().map(|column| column["encoding"].as_str().unwrap()).collect();
    assert_eq!(encodings, ["native", "native", "codes", "dropped"]);
    assert_eq!(encoder["columns"][2]["levels"].as_array().unwrap().len(), 12);
    assert_eq!(trained["data"]["warnings"][0]["column"], "always");
    assert!(number(&trained, "/data/train_rows") > 1000, "{trained}");
    assert_eq!(
        number(&trained, "/rows_in"),
        number(&trained, "/data/train_rows") + number(&trained, "/data/test_rows"),
        "all labels are known and no row is rejected"
    );
    let card = String::from_utf8(place.read("own/models/risk/versions/000001/card.md")).unwrap();
    assert!(card.contains("value; missing stays missing"), "{card}");
    assert!(card.contains("one feature, the level: group 0"), "{card}");

    let scored = run(&place, "score", &[]).expect(0).json();
    assert_eq!(scored["rows_in"], scored["rows_out"]);
    assert_eq!(scored["data"]["counts"]["imputed"], serde_json::json!([]));
    let unseen = &scored["data"]["counts"]["unseen"][0];
    assert_eq!(unseen["column"], "terminal_group");
    assert!(number(unseen, "/rows") > 100, "{scored}");
    assert_eq!(asked(&place, "sum(CASE WHEN score >= 0 AND score <= 1 THEN 0 ELSE 1 END)"), "0");
    assert_ne!(asked(&place, "count(DISTINCT score)"), "1");
    assert_eq!(run(&place, "score", &["--force"]).expect(0).json()["status"], "noop");
}

#[test]
fn threads_and_memory_change_no_byte() {
    // Kept: the last of them takes the lake with it, and another lake is another table.
    let (mut places, mut all) = (Vec::new(), Vec::new());
    for (threads, memory) in [("1", "2GiB"), ("2", "300MiB"), ("7", "2GiB")] {
        let place = boosting();
        place.edit("job.toml", "[score]", "[gate]\nroc_auc = { threshold = 0.1 }\n\n[score]");
        place.edit("job.toml", "window = \"4d\"", "window = \"4d\"\nfolds = 3");
        let receipt = run(&place, "run", &["--threads", threads, "--memory", memory]).expect(0).json();
        let trained = run(&place, "train", &["--threads", threads, "--force"]).expect(0).json();
        assert_eq!(trained["model"]["version"], 1, "the same inputs, the same model");
        let models = files(&place.path().join("own/models/risk/versions"));
        assert!(models.len() >= 3, "artifact, payload and card");
        let (metrics, output) = (&trained["metrics"], &receipt["output"]["sha256"]);
        let folds = &trained["data"]["cross_validation"];
        assert!(folds[0]["estimate"]["value"].as_f64().is_some_and(|auc| (0.0..=1.0).contains(&auc)), "{folds}");
        all.push((models, metrics.to_string(), output.to_string(), folds.to_string()));
        places.push(place);
    }
    assert!(all[0] == all[1] && all[0] == all[2]);
}

#[test]
fn a_boosted_challenger_is_judged_against_a_dense_champion() {
    let place = Place::new();
    place.write("risk.sql", SQL);
    place.edit("job.toml", "algorithm = \"logistic_regression\"", "algorithm = \"gradient_boosting\"");
    place.edit("job.toml", "[score]", "[gate]\nroc_auc = { threshold = 0.1 }\n\n[score]");
    let receipt = run(&place, "train", &[]).expect(0).json();
    assert_eq!((&receipt["gates"]["champion"], &receipt["gates"]["challenger"]), (&1.into(), &2.into()), "{receipt}");
    assert_eq!(receipt["gates"]["passed"], true, "no more than the threshold is asked for: {receipt}");
    assert_eq!(receipt["gates"]["rows"], receipt["data"]["test_rows"]);
    // Judged again from the registry, it has the same quality.
    let again = run(&place, "train", &[]).expect(0).json();
    assert_eq!(again["status"], "noop");
    let args = ["evaluate", "job.toml", "--interval", "2018-06-09/2018-06-11", "--models", "1,2", "--output", "json"];
    let evaluation = call(&place, &args).expect(0).json();
    assert!(number(&evaluation, "/rows") > 500, "{evaluation}");
}

#[test]
fn rows_that_an_algorithm_needs_in_memory_and_that_do_not_fit_are_refused() {
    let place = Place::new();
    place.write(
        "risk.sql",
        SQL.replace("FROM transactions", "FROM transactions CROSS JOIN (SELECT unnest(range(2000)) AS copy)"),
    );
    let before = place.everything();
    let outcome = run(&place, "train", &["--memory", "320MiB"]).expect(8);
    assert!(outcome.stderr.contains("do not fit into memory all at once"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("algorithm = logistic_regression"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("gradient_boosting"), "{}", outcome.stderr);
    let models = |all: &std::collections::BTreeMap<String, Vec<u8>>| {
        all.keys().filter(|name| name.starts_with("home/models")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(models(&before), models(&place.everything()));
}
