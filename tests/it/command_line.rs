//! What a person or a caller's code sees of the command line: help, plans, progress, receipts, homes, closed pipes.

use crate::bad_inputs::{Place, call};
use crate::command::{Outcome, run, run_json};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::process::{Command, Stdio};

const DAY: &str = "2018-06-11";
/// The day that the template has scored already.
const SCORED: &str = "2018-06-10";

fn in_json(place: &Place, args: &[&str]) -> Outcome {
    call(place, &[args, &["--output", "json"]].concat())
}

fn plan(place: &Place, more: &[&str]) -> Value {
    in_json(place, &[&["plan", "job.toml"], more].concat()).expect(0).json()
}

/// The template's interval, scored in this place: it lies elsewhere than the template.
fn scored() -> Place {
    let place = Place::new();
    call(&place, &["score", "job.toml", "--interval", SCORED]).expect(0);
    place
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = ["demo", "check", "plan", "train", "score", "run", "evaluate", "promote", "rollback", "query"];
    let more = ["schema", "models list", "models show", "models history", "runs list", "runs show"];
    let lookups = ["lookup get", "lookup stats", "lookup dump", "lookup verify"];
    for command in commands.iter().chain(&more).chain(&lookups) {
        let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let help = run(&words).expect(0).stdout;
        assert!(help.contains("Example"), "{command}:\n{help}");
        assert!(help.contains(&format!("  lakemill {command}")), "{command}:\n{help}");
    }
    let all = run(&["--help"]).expect(0).stdout;
    assert!(all.contains("Exit codes: 0 done"), "{all}");
    let nothing = run(&[]).expect(2);
    assert!(nothing.stderr.contains("Usage: lakemill"), "{}", nothing.stderr);
}

#[test]
fn a_plan_says_of_the_lookup_table_what_the_action_does() {
    let place = scored();
    let again = plan(&place, &["--interval", SCORED]);
    assert_eq!(again["action"], "nothing: these inputs are scored already");
    assert_eq!(again["lookup"], "risk: stays as it is: it shows these predictions already");
    let next = plan(&place, &["--interval", DAY]);
    assert_eq!(next["action"], "score: the interval has no predictions yet");
    assert_eq!(next["lookup"], "risk: a new generation becomes the current one");
    let earlier = plan(&place, &["--interval", "2018-06-09"]);
    assert_eq!(earlier["lookup"], format!("risk: the newer interval {SCORED} is published; left as it is"));
    // As after a crash between the commit and the flip.
    place.remove("home/lookup/risk");
    let behind = plan(&place, &["--interval", SCORED]);
    assert_eq!(behind["action"], "publish: scored already, but the lookup table does not show it");
    assert_eq!(behind["lookup"], "risk: a new generation becomes the current one");
    let receipt = in_json(&place, &["score", "job.toml", "--interval", SCORED]).expect(0).json();
    assert_eq!((&receipt["status"], receipt["lookup"]["generation"].is_u64()), (&json!("done"), true), "{receipt}");
}

#[test]
fn a_plan_says_how_much_is_read() {
    let place = Place::new();
    let planned = plan(&place, &["--interval", DAY]);
    assert_eq!(planned["reads"]["files"], 1, "{planned}");
    assert_eq!(planned["reads"]["rows"], planned["tables"][0]["rows"]);
    assert_eq!(planned["reads"]["bytes"], planned["tables"][0]["bytes"]);
    assert_eq!(planned["training_reads"], Value::Null, "there is a model");
    let text = call(&place, &["plan", "job.toml", "--interval", DAY]).expect(0).stdout;
    let line = text.lines().find(|line| line.trim_start().starts_with("scoring reads")).unwrap();
    assert!(line.contains(" rows in 1 file, ") && line.ends_with("KiB"), "{line}");
    place.remove("home/models");
    let untrained = plan(&place, &["--interval", DAY]);
    assert_eq!(untrained["training_reads"]["files"], 6, "four days to fit on, two to measure on: {untrained}");
}

#[test]
fn a_training_tells_what_it_left_in_the_gap_and_which_class_was_taken_for_which() {
    let place = Place::new();
    let gap = "model.split={ by = \"time\", test = \"2d\", gap = \"1d\" }";
    let args = ["train", "job.toml", "--interval", DAY, "--set", gap, "--set", "model.window=3d"];
    let data = in_json(&place, &args).expect(0).json()["data"].clone();
    let count = |name: &str| data[name].as_u64().unwrap();
    let day = count("train_rows") / 3;
    assert!((day / 2..day * 2).contains(&count("gap_rows")), "about a day's rows lie in the gap: {data}");
    assert_eq!(data["confusion"]["classes"], json!(["0", "1"]));
    let cells = data["confusion"]["counts"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(cells.map(|cell| cell.as_f64().unwrap()).sum::<f64>() as u64, count("test_rows"));

    // The card alone is enough to train the same model again, elsewhere.
    let card = call(&place, &["models", "show", "risk", "2", "--home", "home"]).expect(0).stdout;
    assert!(card.contains("| actual | predicted 0 | predicted 1 |"), "{card}");
    let block = |language: &str| {
        let (_, rest) = card.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```\n").unwrap().0.to_owned()
    };
    place.write("again/risk.sql", block("sql"));
    let lies = place.path().join("lake/transactions").display().to_string();
    place.write("again/risk.toml", block("toml").replace("WHERE transactions LIES", &lies));
    let command = block("sh").replace("risk.toml", "again/risk.toml");
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    call(&place, &words).expect(0);
    let artifact = |folder: &str| place.read(&format!("{folder}/artifact.json"));
    let same = artifact("home/models/risk/versions/000002") == artifact("again/home/models/risk/versions/000001");
    assert!(same, "the same fingerprint gives the same bytes:\n{}", block("toml"));
}

#[test]
fn a_failed_run_gives_its_whole_receipt_as_the_object() {
    let place = Place::new();
    let args = ["score", "job.toml", "--interval", "2019-06-11", "--receipt", "receipt.json"];
    let outcome = in_json(&place, &args).expect(4);
    let receipt = outcome.json();
    assert_eq!(outcome.stdout.lines().count(), 1, "one object");
    assert_eq!((&receipt["status"], &receipt["error"]["code"]), (&json!("failed"), &json!("empty")));
    assert_eq!(receipt["inputs"]["transactions"], "11", "{receipt}");
    assert_eq!(receipt, serde_json::from_slice::<Value>(&place.read("receipt.json")).unwrap());
    // A run that could not be planned has one too; a command that has no receipt gives its error.
    let unplanned = in_json(&place, &["run", "job.toml", "--interval", "None"]).expect(2).json();
    assert_eq!((&unplanned["command"], &unplanned["error"]["code"]), (&json!("run"), &json!("usage")), "{unplanned}");
    let planned = in_json(&place, &["plan", "job.toml", "--interval", "None"]).expect(2).json();
    assert_eq!(planned.as_object().unwrap().keys().collect::<Vec<_>>(), ["status", "error"], "{planned}");
}

#[test]
fn run_with_force_computes_again_and_compares() {
    let place = scored();
    let args = ["run", "job.toml", "--interval", SCORED];
    let noop = in_json(&place, &args).expect(0).json();
    assert!(noop["seconds"].get("score").is_none(), "{noop}");
    let forced = in_json(&place, &[&args[..], &["--force"]].concat()).expect(0).json();
    assert_eq!((&forced["status"], &forced["output"]), (&json!("noop"), &noop["output"]), "{forced}");
    assert!(forced["seconds"]["score"].is_f64() && forced["seconds"]["compare"].is_f64(), "{forced}");
}

#[test]
fn a_query_into_a_file_tells_what_it_wrote() {
    let place = Place::new();
    let sql = "SELECT customer_id, tx_amount FROM t ORDER BY transaction_id LIMIT 5";
    for format in ["csv", "json", "parquet", "table"] {
        let args = ["query", sql, "--table", "t=lake/transactions", "--format", format, "--out", "rows.out"];
        let written = in_json(&place, &args).expect(0).json();
        let bytes = place.read("rows.out");
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = json!({ "path": "rows.out", "rows": 5, "bytes": bytes.len(), "sha256": sha256 });
        assert_eq!(written, expected, "{format}");
        assert!(call(&place, &args).expect(0).stdout.starts_with("wrote 5 rows ("));
    }
    let sql = "SELECT a.tx_amount, b.tx_amount FROM t a JOIN t b ON a.transaction_id = b.transaction_id LIMIT 1";
    for (format, code) in [("csv", 0), ("json", 2), ("parquet", 2)] {
        let args = ["query", sql, "--table", "t=lake/transactions", "--format", format, "--out", "twice.out"];
        let told = call(&place, &args).expect(code).stderr;
        assert_eq!(told.contains("two columns of the result have the same name"), code == 2, "{told}");
    }
}

#[test]
fn a_home_that_is_not_there_is_told_and_one_without_models_is_empty() {
    let place = Place::new();
    for args in [["models", "list"], ["runs", "list"]] {
        let outcome = in_json(&place, &[&args[..], &["--home", "hom"]].concat()).expect(2);
        let message = outcome.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.starts_with("there is no such home: nothing lies there (home = "), "{message}");
        std::fs::create_dir_all(place.path().join("empty")).unwrap();
        assert_eq!(in_json(&place, &[&args[..], &["--home", "empty"]].concat()).expect(0).json(), json!([]));
    }
    let looked = call(&place, &["lookup", "get", "risk", "1", "--home", "hom"]).expect(2);
    assert!(looked.stderr.starts_with("error: there is no such home"), "{}", looked.stderr);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let many = "SELECT a.transaction_id FROM t a, t b LIMIT 2000000";
    for (args, lines) in [
        (vec!["query", many, "--table", "t=lake/transactions", "--format", "csv"], 3),
        (vec!["lookup", "dump", "risk", "--home", "home"], 1),
        (vec!["schema"], 1),
    ] {
        let mut child = crate::command::lakemill(&args)
            .current_dir(place.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut head = Command::new("head")
            .args(["-n", &lines.to_string()])
            .stdin(child.stdout.take().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        head.wait().unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

/// Runs the command with standard error on a terminal of 100 columns, and standard output in a file; `None` where
/// there is no `script` (util-linux) that makes one, which is said.
fn on_terminal(place: &Place, args: &[&str]) -> Option<String> {
    let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let line = format!("stty cols 100; '{}' {} > stdout.txt", env!("CARGO_BIN_EXE_lakemill"), quoted.join(" "));
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(place.path())
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: there is no `script` to make a terminal with");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_shows_steps_rows_and_rate_and_nothing_else_does() {
    let place = Place::new();
    let demo = ["demo", "--lake-only", "--rows", "60000", "--dir", "made"];
    let Some(seen) = on_terminal(&place, &demo) else { return };
    assert!(seen.contains("generate  ") && seen.contains(" rows/s"), "{seen:?}");
    // The bar is taken away: what follows the last time that it is drawn clears its line.
    let (_, after) = seen.rsplit_once("generate").unwrap();
    assert!(after.contains("\u{1b}[2K"), "{after:?}");
    assert!(String::from_utf8(place.read("stdout.txt")).unwrap().starts_with("made a demo lake of "));

    let run = ["run", "job.toml", "--interval", DAY, "--retrain", "--set", "model.seed=8"];
    let seen = on_terminal(&place, &run).unwrap();
    for step in ["features", "fit", "gate", "score"] {
        assert!(seen.contains(step), "{step} in {seen:?}");
    }
    assert!(!on_terminal(&place, &["models", "list", "--home", "home"]).unwrap().contains('\u{1b}'), "no step, no bar");
    assert!(!on_terminal(&place, &[&run[..], &["--quiet", "--force"]].concat()).unwrap().contains("score"));

    // A pipe is no terminal; and what a library logs while a table is made is no error.
    let piped = call(&place, &["demo", "--lake-only", "--rows", "60000", "--dir", "again"]).expect(0);
    assert_eq!(piped.stderr, "");
    let quiet = ["run", "job.toml", "--interval", DAY, "--set", "home=fresh", "--quiet"];
    assert_eq!(call(&place, &quiet).expect(0).stderr, "");
}

#[test]
fn the_schema_has_the_parameters_of_every_algorithm() {
    let schema = run_json(&["schema"]).expect(0).json();
    for algorithm in lakemill::models::ALGORITHMS {
        let params = &schema["$defs"][format!("params.{}", algorithm.name())];
        assert_eq!(params["additionalProperties"], false, "{params}");
        let own = algorithm.params_schema().to_value();
        let names = |schema: &Value| -> Vec<String> {
            schema["properties"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
        };
        assert_eq!(names(params), names(&own), "{}", algorithm.name());
    }
    let boosting = &schema["$defs"]["params.gradient_boosting"]["properties"];
    assert_eq!(boosting["learning_rate"]["default"], 0.1);
    assert_eq!(boosting["objective"]["$ref"], "#/$defs/params.gradient_boosting/$defs/Objective");
    assert!(schema.pointer("/$defs/params.gradient_boosting/$defs/Objective").is_some());
}
