//! A model for each segment, end to end: trained, judged, scored, asked in SQL, told; the same bytes whatever computes
//! them; and what is refused.

use crate::bad_inputs::{Place, call};
use crate::command::{Outcome, files};
use serde_json::Value;

/// Regions with enough rows, many that are small, one of rows that are all alike, one that is new on the scored day,
/// and rows of none. What is to be learned differs from region to region.
const SQL: &str = "
WITH rows AS (
  SELECT transaction_id, tx_datetime, tx_amount, transaction_id % 3 = 0 AS online,
    extract(hour FROM tx_datetime) AS hour,
    CASE terminal_id % 8
      WHEN 0 THEN 'north' WHEN 1 THEN 'south' WHEN 2 THEN 'east' WHEN 3 THEN 'west' WHEN 4 THEN 'alike'
      WHEN 5 THEN concat('small ', transaction_id % 150)
      WHEN 6 THEN CASE WHEN tx_datetime >= '2018-06-11' THEN 'new' ELSE 'north' END
    END AS region
  FROM transactions
  WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
)
SELECT *, CASE region WHEN 'north' THEN 1 WHEN 'south' THEN -1 WHEN 'east' THEN 3 ELSE 0 END * tx_amount + hour AS y,
  CASE region WHEN 'alike' THEN 0 WHEN 'north' THEN CAST(tx_amount > 40 AS INT) ELSE CAST(tx_amount < 40 AS INT) END AS low
FROM rows
";

/// A job of this task with these lines for its model; the label is `y` or `low`.
fn segmented(task: &str, model: &str) -> Place {
    let place = Place::new();
    place.write("risk.sql", SQL);
    let (label, other) = if task == "regression" { ("y", "low") } else { ("low", "y") };
    place.edit("job.toml", "home = \"home\"", "home = \"own\"");
    place.edit("job.toml", "label = \"tx_fraud\"", &format!("label = \"{label}\""));
    place.edit("job.toml", "exclude = [\"customer_id\"]", &format!("exclude = [\"{other}\"]"));
    place.edit("job.toml", "task = \"binary\"", &format!("task = \"{task}\""));
    place.edit("job.toml", "passthrough = [\"customer_id\"]", "passthrough = [\"region\"]");
    place.edit("job.toml", "key = \"customer_id\"", "key = \"transaction_id\"");
    place.edit("job.toml", "algorithm = \"logistic_regression\"", model);
    place
}

fn run(place: &Place, command: &str, more: &[&str]) -> Outcome {
    let args = [command, "job.toml", "--interval", "2018-06-11", "--output", "json"];
    call(place, &[&args, more].concat())
}

/// The lines of a query over the predictions.
fn asked(place: &Place, sql: &str) -> Vec<String> {
    let args = ["query", sql, "--table", "p=own/predictions/risk", "--format", "csv"];
    call(place, &args).expect(0).stdout.lines().skip(1).map(str::to_owned).collect()
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

#[test]
fn each_segment_is_scored_by_its_own_model_and_all_others_by_the_fallback() {
    let model = "algorithm = \"linear_regression\"\nsegment_by = \"region\"";
    let place = segmented("regression", model);
    place.edit(
        "job.toml",
        "[score]",
        "[evaluate]\nimportance = true\n\n[gate]\nrmse = { threshold = 1000.0 }\n\n[score]",
    );
    let plan = run(&place, "plan", &[]).expect(0).json();
    let told = "a model for each region with at least 100 training rows, one of all rows for the others";
    assert_eq!(plan["segments"], told);

    let trained = run(&place, "train", &[]).expect(0).json();
    let segments = &trained["data"]["segments"];
    assert_eq!((number(segments, "/models"), number(segments, "/refused")), (5.0, 0.0), "{segments}");
    assert!(number(segments, "/small") > 100.0, "{segments}");
    assert_eq!(number(segments, "/found"), number(segments, "/models") + number(segments, "/small"));
    let rows = number(segments, "/train_rows") + number(segments, "/fallback_train_rows");
    assert_eq!(rows, number(&trained, "/data/train_rows"));
    assert!(number(segments, "/fallback_train_rows") > 0.2 * rows && number(segments, "/fallback_test_rows") > 0.0);
    assert!(number(segments, "/loss") < 0.9 * number(segments, "/fallback_loss"), "{segments}");
    assert_eq!((number(segments, "/judged"), number(segments, "/worse")), (5.0, 0.0), "{segments}");

    let scored = run(&place, "score", &[]).expect(0).json();
    assert_eq!(scored["rows_in"], scored["rows_out"]);
    let fell_back =
        asked(&place, "SELECT count(*) FROM p WHERE region IS NULL OR region = 'new' OR region LIKE 'small%'");
    assert_eq!(scored.pointer("/data/counts/fallback_rows").unwrap().to_string(), fell_back[0]);
    assert_eq!(run(&place, "score", &["--force"]).expect(0).json()["status"], "noop");

    // Each region has its own slope, and least squares finds it to the last digits.
    place.write("again.sql", SQL.replace("$interval_start", "'2018-06-11'").replace("$interval_end", "'2018-06-12'"));
    let rows = String::from_utf8(place.read("again.sql")).unwrap();
    let sql = format!(
        "SELECT s.region, max(abs(p.score - s.y)) < 1e-6 FROM ({rows}) s JOIN p ON p.transaction_id = s.transaction_id \
         WHERE s.region IN ('north', 'south', 'east', 'west', 'alike', 'new') GROUP BY s.region ORDER BY s.region"
    );
    let lake = "transactions=lake/transactions";
    let args = ["query", &sql, "--table", "p=own/predictions/risk", "--table", lake, "--format", "csv"];
    let exact = call(&place, &args).expect(0).stdout;
    let lines: Vec<&str> = exact.lines().skip(1).collect();
    assert_eq!(lines, ["alike,true", "east,true", "new,false", "north,true", "south,true", "west,true"]);

    let sql = format!(
        "SELECT count(*), sum(CASE WHEN x.own = p.score THEN 1 ELSE 0 END) \
         FROM (SELECT transaction_id, predict('risk') AS own FROM ({rows})) x JOIN p ON p.transaction_id = x.transaction_id"
    );
    let args =
        ["query", &sql, "--table", "p=own/predictions/risk", "--table", lake, "--home", "own", "--format", "csv"];
    let same = call(&place, &args).expect(0).stdout;
    let line: Vec<&str> = same.lines().nth(1).unwrap().split(',').collect();
    assert_eq!((line[0], line[1]), (&*scored["rows_out"].to_string(), line[0]), "predict() in SQL gives the same");

    let args = ["evaluate", "job.toml", "--interval", "2018-06-11", "--models", "champion", "--output", "json"];
    assert_eq!(call(&place, &args).expect(0).json()["rows"], scored["rows_out"]);
    let card = String::from_utf8(place.read("own/models/risk/versions/000001/card.md")).unwrap();
    for part in
        ["A model for each region", "| region | category", "it chooses the model of the row's segment", "| rise |"]
    {
        assert!(card.contains(part), "no `{part}`:\n{card}");
    }
}

#[test]
fn threads_and_memory_change_no_byte() {
    let model =
        "algorithm = \"gradient_boosting\"\nsegment_by = [\"region\", \"online\"]\nsegment_min_rows = 60\nfolds = 3";
    let (mut places, mut all) = (Vec::new(), Vec::new());
    for (threads, memory) in [("1", "2GiB"), ("2", "300MiB"), ("7", "2GiB")] {
        let place = segmented("binary", model);
        let params =
            "[model.params]\ntrees = 10\nleaves = 5\nvalidation = 0.2\nearly_stopping_rounds = 3\nsubsample = 0.8";
        place.edit("job.toml", "[score]", &format!("{params}\n\n[score]"));
        let limits = ["--threads", threads, "--memory", memory];
        let receipt = run(&place, "run", &limits).expect(0).json();
        let trained = run(&place, "train", &[&limits[..], &["--force"]].concat()).expect(0).json();
        assert_eq!(trained["model"]["version"], 1, "the same inputs, the same model");
        let segments = &trained["data"]["segments"];
        // All rows of `alike` are of one class.
        assert_eq!((number(segments, "/models"), number(segments, "/refused")), (8.0, 2.0), "{segments}");
        assert_eq!(segments["refused_first"][0]["segment"], serde_json::json!(["alike", "false"]));
        assert!(segments["refused_first"][0]["why"].as_str().unwrap().contains("one class"), "{segments}");
        let folds = &trained["data"]["cross_validation"];
        let auc = folds[0]["estimate"]["value"].as_f64().unwrap();
        let models = files(&place.path().join("own/models/risk/versions"));
        let output = receipt["output"]["sha256"].to_string();
        all.push((models, trained["data"].to_string(), output, folds.to_string()));
        assert!((0.8..=1.0).contains(&auc), "{folds}");
        places.push(place);
    }
    assert!(all[0] == all[1] && all[0] == all[2]);
}

#[test]
fn every_algorithm_learns_segments() {
    let forest =
        |library: &str| format!("algorithm = \"random_forest\"\nparams = {{ trees = 5, library = \"{library}\" }}");
    let models = [
        ("binary", "algorithm = \"logistic_regression\"".to_owned()),
        ("binary", "algorithm = \"logistic_regression\"\nclass_weight = \"balanced\"\nfolds = 2".to_owned()),
        ("binary", "algorithm = \"decision_tree\"".to_owned()),
        ("multiclass", "algorithm = \"extra_trees\"\nparams = { trees = 5 }".to_owned()),
        ("multiclass", "algorithm = \"gradient_boosting\"\nparams = { trees = 5 }".to_owned()),
        ("binary", forest("smartcore")),
        ("binary", forest("lakemill")),
        ("binary", "algorithm = \"prior\"".to_owned()),
        ("regression", "algorithm = \"elastic_net\"\nparams = { alpha = 0.1 }".to_owned()),
        ("regression", "algorithm = \"gradient_boosting\"\nparams = { trees = 5 }".to_owned()),
    ];
    for (task, model) in models {
        let place = segmented(task, &format!("{model}\nsegment_by = \"region\""));
        let receipt = run(&place, "run", &[]).expect(0).json();
        let shown = call(&place, &["models", "show", "risk", "--home", "own", "--output", "json"]).expect(0).json();
        let segments = &shown["artifact"]["segments"];
        let wanted = if task == "regression" { 5.0 } else { 4.0 };
        assert!(number(segments, "/models") >= wanted, "{model}: {segments}");
        assert!(number(segments, "/loss") < number(segments, "/fallback_loss"), "{model}: {segments}");
        assert!(number(&receipt, "/data/counts/fallback_rows") > 0.0, "{model}: {receipt}");
    }
}

/// A fold learns from fewer rows: where no segment has enough of them, it measures the fallback.
#[test]
fn folds_in_which_no_segment_is_large_enough_are_measured() {
    for algorithm in ["\"gradient_boosting\"\nparams = { trees = 5 }", "\"logistic_regression\""] {
        let model = |more: &str| format!("algorithm = {algorithm}\nsegment_by = \"region\"{more}");
        let place = segmented("binary", &model(""));
        let trained = run(&place, "train", &[]).expect(0).json();
        let (start, end) = trained["data"]["train"].as_str().unwrap().split_once('_').unwrap();
        let rows = SQL.replace("$interval_start", &format!("'{start}'")).replace("$interval_end", &format!("'{end}'"));
        let sql = format!("SELECT count(*) AS n FROM ({rows}) WHERE region <> 'alike' GROUP BY region ORDER BY n DESC");
        let args = ["query", &sql, "--table", "transactions=lake/transactions", "--format", "csv"];
        let sizes = call(&place, &args).expect(0).stdout;
        let largest = sizes.lines().nth(1).unwrap();
        let place = segmented("binary", &model(&format!("\nsegment_min_rows = {largest}\nfolds = 5")));
        let trained = run(&place, "train", &[]).expect(0).json();
        assert_eq!(number(&trained, "/data/segments/models"), 1.0, "{trained}");
        assert!(number(&trained, "/data/cross_validation/0/estimate/value") > 0.0, "{trained}");
    }
}

#[test]
fn what_cannot_be_segmented_is_refused() {
    for (by, exit, told) in [
        ("\"regoin\"", 2, "did you mean `region`?"),
        ("\"tx_amount\"", 2, "CAST(tx_amount AS VARCHAR)"),
        ("\"low\"", 2, "is the label and can't name segments"),
        ("[]", 2, "`model.segment_by` must not be empty"),
        ("\"transaction_id\"", 3, "no segment has enough training rows"),
        ("\"region\"\nsegment_min_rows = 1", 2, "segment_min_rows"),
    ] {
        let place = segmented("binary", &format!("algorithm = \"gradient_boosting\"\nsegment_by = {by}"));
        let outcome = run(&place, "train", &[]).expect(exit);
        assert!(outcome.stderr.contains(told), "{by}: {}", outcome.stderr);
        assert!(!place.path().join("own/models").exists(), "nothing is registered");
    }
    let place = segmented("binary", "algorithm = \"gradient_boosting\"\nsegment_min_rows = 10");
    assert!(run(&place, "plan", &[]).expect(2).stderr.contains("`segment_min_rows` needs `segment_by`"));
}
