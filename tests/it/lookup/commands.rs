//! `lakemill lookup` and what a nightly run does with generations, as a caller sees it.

use crate::bad_inputs::place::Place;
use crate::command::{Outcome, lakemill};
use serde_json::{Value, json};

/// Runs a command in the project's folder.
fn call(place: &Place, args: &[&str]) -> Outcome {
    let output = lakemill(args).current_dir(place.path()).args(["--output", "json"]).output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn lookup(place: &Place, args: &[&str]) -> Outcome {
    call(place, &[&["lookup"], args, &["--home", "home"]].concat())
}

fn score(place: &Place, day: &str, more: &[&str]) -> Value {
    call(place, &[&["score", "job.toml", "--interval", day], more].concat()).expect(0).json()
}

#[test]
fn generations_are_seen_compared_rolled_back_and_collected() {
    let place = Place::new();
    let second = score(&place, "2018-06-11", &[])["lookup"].clone();
    assert_eq!((&second["generation"], &second["mode"]), (&json!(2), &json!("replace")));
    assert_eq!(second["written"], second["keys"]);
    assert!(second["duplicates"].as_u64().unwrap() > 0, "customers have several transactions a day: {second}");
    assert_eq!(second["duplicate_keys"].as_array().unwrap().len(), 3);

    let status = lookup(&place, &["status", "risk"]).expect(0).json();
    assert_eq!(status["current"], 2);
    let intervals: Vec<&Value> = status["generations"].as_array().unwrap().iter().map(|one| &one["interval"]).collect();
    assert_eq!(intervals, ["2018-06-10", "2018-06-11"]);
    assert_eq!(status["generations"][1]["expired"], false);
    assert_eq!((&status["flips"][1]["action"], &status["flips"][1]["from"]), (&json!("publish"), &json!(1)));
    assert_eq!(
        (&status["flips"][1]["by"], &status["flips"][1]["why"]),
        (&json!("tester"), &json!("scored 2018-06-11"))
    );

    let dump = |generation: &str| {
        let dumped = lookup(&place, &["dump", "risk", "--generation", generation]).expect(0).stdout;
        let row = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        dumped.lines().map(row).map(|row| (row["key"].to_string(), row["value"].to_string())).collect::<Vec<_>>()
    };
    let (one, two) = (dump("1"), dump("2"));
    let diff = lookup(&place, &["diff", "risk", "1", "2", "--examples", "2"]).expect(0).json();
    let number = |name: &str| diff[name].as_u64().unwrap();
    assert_eq!(number("same") + number("changed") + number("removed"), one.len() as u64);
    assert_eq!(number("same") + number("changed") + number("added"), two.len() as u64);
    assert!(number("changed") > 0 && diff["examples"].as_array().unwrap().len() <= 6);

    let key = two[0].0.trim_matches('"').to_owned();
    let several = lookup(&place, &["mget", "risk", &key, "no-such-key"]).expect(0).json();
    assert_eq!(several[0]["value"].to_string(), two[0].1);
    assert_eq!(several[1], json!({ "key": "no-such-key", "value": null }));
    let was = lookup(&place, &["get", "risk", &key, "--generation", "2"]).expect(0).json();
    assert_eq!(was, several[0]["value"]);

    let back = lookup(&place, &["rollback", "risk", "--why", "a broken feed"]).expect(0).json();
    assert_eq!(back, json!({ "table": "risk", "generation": 1, "was": 2, "why": "a broken feed" }));
    assert_eq!(lookup(&place, &["stats", "risk"]).expect(0).json()["interval"], "2018-06-10");
    lookup(&place, &["verify", "risk"]).expect(0);
    lookup(&place, &["verify", "risk", "--generation", "2"]).expect(0);

    let collected = lookup(&place, &["gc", "risk"]).expect(0).json();
    assert_eq!((&collected["generations"], &collected["attempts"]), (&json!([]), &json!(0)));
    let forth = lookup(&place, &["rollback", "risk", "--to", "2"]).expect(0).json();
    assert_eq!(forth["generation"], 2);
    let collected = lookup(&place, &["gc", "risk", "--keep", "1", "--max-rows-per-sec", "1000000"]).expect(0).json();
    assert_eq!(collected["generations"], json!([1]));
    assert!(collected["bytes"].as_u64().unwrap() > 0, "{collected}");
    let people = lakemill(&["lookup", "status", "risk", "--home", "home"]).current_dir(place.path()).output().unwrap();
    let people = String::from_utf8(people.stdout).unwrap();
    assert!(people.contains("readers see generation 2") && people.contains("a broken feed"), "{people}");
}

#[test]
fn a_rollback_outlives_the_same_run_and_not_another_one() {
    let place = Place::new();
    let first = score(&place, "2018-06-11", &[]);
    lookup(&place, &["rollback", "risk", "--why", "a broken feed"]).expect(0);
    let shown = || lookup(&place, &["stats", "risk"]).expect(0).json()["interval"].clone();

    // The same inputs: done already, and left as somebody has put it. The receipt says so.
    let again = score(&place, "2018-06-11", &[]);
    assert_eq!((&again["status"], &again["run_id"]), (&json!("noop"), &first["run_id"]));
    assert_eq!((&again["lookup"]["generation"], shown()), (&Value::Null, json!("2018-06-10")));
    let note = again["lookup"]["note"].as_str().unwrap();
    assert!(note.contains("rolled back to generation 1 by tester") && note.contains("(a broken feed)"), "{note}");
    assert!(note.contains("lookup rollback risk --to 2"), "{note}");
    let plan = call(&place, &["plan", "job.toml", "--interval", "2018-06-11"]).expect(0).json();
    assert!(plan["lookup"].as_str().unwrap().contains("rolled back to generation 1"), "{plan}");
    assert_eq!(plan["action"], "nothing: these inputs are scored already");

    // Somebody insists.
    let forced = score(&place, "2018-06-11", &["--force"]);
    assert_eq!((&forced["lookup"]["generation"], shown()), (&json!(3), json!("2018-06-11")));

    // Other inputs are another run: what was mended is published.
    lookup(&place, &["rollback", "risk"]).expect(0);
    let mended = score(&place, "2018-06-11", &["--set", "evaluate.threshold=0.01"]);
    assert_ne!(mended["run_id"], first["run_id"]);
    assert_eq!((mended["lookup"]["note"].clone(), shown()), (Value::Null, json!("2018-06-11")));
    // And so is the next day.
    lookup(&place, &["rollback", "risk"]).expect(0);
    assert_eq!(score(&place, "2018-06-12", &[])["lookup"]["note"], Value::Null);
    assert_eq!(shown(), "2018-06-12");
}

#[test]
fn modes_and_keys_of_several_columns_are_settings_of_the_job() {
    let place = Place::new();
    let sql = String::from_utf8(place.read("risk.sql")).unwrap();
    assert!(sql.contains("extract(hour FROM tx_datetime) AS hour"));
    let keys = r#"lookup.key=["customer_id", "prediction"]"#;
    // Another key is another table: what is there can't be merged over.
    let refused =
        call(&place, &["score", "job.toml", "--interval", "2018-06-11", "--set", keys, "--set", "lookup.mode=merge"]);
    assert!(refused.expect(2).stderr.contains("the generation to merge over has other columns"));
    let replaced = score(&place, "2018-06-11", &["--set", keys]);
    let keys_before = replaced["lookup"]["keys"].as_u64().unwrap();
    let stats = lookup(&place, &["stats", "risk"]).expect(0).json();
    let names: Vec<&Value> = stats["key"].as_array().unwrap().iter().map(|column| &column["name"]).collect();
    assert_eq!(names, ["customer_id", "prediction"]);
    let dumped = lookup(&place, &["dump", "risk"]).expect(0).stdout;
    let first: Value = serde_json::from_str(dumped.lines().next().unwrap()).unwrap();
    let (customer, prediction) = first["key"].as_str().unwrap().split_once('|').unwrap();
    assert_eq!(lookup(&place, &["get", "risk", customer, prediction]).expect(0).json(), first["value"]);
    let wrong = lookup(&place, &["get", "risk", customer]).expect(2);
    assert!(wrong.stderr.contains("the key is: customer_id, prediction"), "{}", wrong.stderr);

    // Merged: yesterday's keys stay, and a day that is scored again loses those that it has lost.
    let merge = ["--set", keys, "--set", "lookup.mode=merge", "--set", "lookup.ttl=7d"];
    let merged = score(&place, "2018-06-12", &merge)["lookup"].clone();
    assert_eq!(merged["mode"], "merge");
    assert!(merged["keys"].as_u64().unwrap() > keys_before, "{merged}");
    let all = lookup(&place, &["dump", "risk"]).expect(0).stdout;
    place.edit("risk.sql", "WHERE ", "WHERE customer_id % 2 = 0 AND ");
    let fewer = score(&place, "2018-06-12", &merge)["lookup"].clone();
    assert!(fewer["keys"].as_u64().unwrap() < merged["keys"].as_u64().unwrap(), "{fewer}");
    place.edit("risk.sql", "WHERE customer_id % 2 = 0 AND ", "WHERE ");
    score(&place, "2018-06-12", &merge);
    assert_eq!(lookup(&place, &["dump", "risk"]).expect(0).stdout, all);
    let stats = lookup(&place, &["stats", "risk"]).expect(0).json();
    assert_eq!((&stats["ttl_secs"], &stats["expired"]), (&json!(7 * 86_400), &json!(false)));

    // Changed: the same contents as replaced, and only what differs is sent.
    let day = ["--set", keys, "--set", "evaluate.threshold=0.02"];
    let whole = score(&place, "2018-06-12", &day)["lookup"].clone();
    let wanted = lookup(&place, &["dump", "risk"]).expect(0).stdout;
    let changed = [&day[..], &["--set", "lookup.mode=changed"]].concat();
    let changed = score(&place, "2018-06-12", &changed)["lookup"].clone();
    assert_eq!(
        (&changed["keys"], &changed["written"], &changed["unchanged"]),
        (&whole["keys"], &json!(0), &whole["keys"])
    );
    assert_eq!(lookup(&place, &["dump", "risk"]).expect(0).stdout, wanted);
}

#[test]
fn a_job_says_how_fast_a_generation_is_loaded() {
    let place = Place::new();
    let receipt = score(&place, "2018-06-11", &["--set", "lookup.max_rows_per_sec=100"]);
    let keys = receipt["lookup"]["keys"].as_f64().unwrap();
    assert!(keys > 200.0, "{receipt}");
    let seconds = receipt["seconds"]["lookup"].as_f64().unwrap();
    assert!(seconds > keys / 100.0 - 0.2, "{keys} keys in {seconds} s");
}

#[test]
fn several_rows_of_a_key_can_be_refused_before_anything_is_written() {
    let place = Place::new();
    let before = place.everything();
    let refused = call(&place, &["score", "job.toml", "--interval", "2018-06-11", "--set", "lookup.keep=refuse"]);
    let refused = refused.expect(3);
    assert!(refused.stderr.contains("rows have the key of another row"), "{}", refused.stderr);
    assert!(refused.stderr.contains("column = customer_id, key = "), "{}", refused.stderr);
    let after = place.everything();
    let is_new =
        |name: &&String| !before.contains_key(*name) && !name.ends_with('/') && !name.starts_with("home/runs/");
    let new: Vec<&String> = after.keys().filter(is_new).collect();
    assert!(new.is_empty(), "{new:?}");
    // A key that has one row each is fine.
    let unique = ["--set", "lookup.keep=refuse", "--set", "lookup.key=transaction_id"];
    assert_eq!(score(&place, "2018-06-11", &unique)["lookup"]["duplicates"], 0);
}

#[test]
fn wrong_wishes_are_refused() {
    let place = Place::new();
    let before = place.everything();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["rollback", "risk"], 2, "there is no older generation to roll back to"),
        (&["rollback", "risk", "--to", "1"], 2, "readers see this generation already"),
        (&["rollback", "risk", "--to", "9"], 2, "there is no such generation to roll back to"),
        (&["rollback", "rsk"], 2, "did you mean `risk`?"),
        (&["status", "rsk"], 2, "did you mean `risk`?"),
        (&["diff", "risk", "1", "2"], 2, "there is no such generation"),
        (&["get", "risk", "1", "--generation", "2"], 2, "kept are: 1"),
        (&["gc", "risk", "--keep", "0"], 2, "0 is not in"),
        (&["gc", "../risk"], 2, "name"),
        (&["stats", "risk", "--store", "etcd://user:secret@host"], 2, "unknown lookup store `etcd`"),
    ];
    for (args, code, said) in cases {
        let outcome = lookup(&place, args);
        assert!(outcome.stderr.contains(said), "{args:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("secret") && !outcome.stdout.contains("secret"));
        outcome.expect(*code);
    }
    assert!(place.everything() == before, "something was changed");
}
