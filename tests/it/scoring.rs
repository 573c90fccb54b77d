//! Scoring: what is told of rows and intervals that are not as they should be, and what an interval
//! without rows leaves to readers.

use crate::bad_inputs::call;
use crate::bad_inputs::place::Place;
use crate::command::Outcome;
use serde_json::Value;
use std::path::Path;

fn score(place: &Place, interval: &str, more: &[&str]) -> Outcome {
    let args = ["score", "job.toml", "--interval", interval, "--output", "json"];
    call(place, &[&args, more].concat())
}

fn scored(place: &Place, interval: &str, more: &[&str]) -> Value {
    score(place, interval, more).expect(0).json()
}

/// The numbers of a query over the predictions, in one line.
fn asked(place: &Place, table: &str, select: &str) -> String {
    let sql = format!("SELECT {select} FROM p");
    let outcome = call(place, &["query", &sql, "--table", &format!("p={table}"), "--format", "csv"]).expect(0);
    outcome.stdout.lines().nth(1).unwrap_or_default().to_owned()
}

fn stats(place: &Place) -> Value {
    call(place, &["lookup", "stats", "risk", "--home", "home", "--output", "json"]).expect(0).json()
}

fn dump(place: &Place) -> String {
    call(place, &["lookup", "dump", "risk", "--home", "home"]).expect(0).stdout
}

const TABLE: &str = "home/predictions/risk";

#[test]
fn rows_of_one_key_are_counted_and_told() {
    let place = Place::new();
    let outcome = score(&place, "2018-06-11", &[]).expect(0);
    assert_eq!(outcome.json()["data"]["counts"]["duplicate_keys"], 0);
    assert!(!outcome.stderr.contains("a key that another row has"), "{}", outcome.stderr);

    place.edit("risk.sql", "  transaction_id,", "  transaction_id / 3 AS transaction_id,");
    let outcome = score(&place, "2018-06-11", &[]).expect(0);
    assert!(outcome.stderr.contains("rows have a key that another row has too"), "{}", outcome.stderr);
    let receipt = outcome.json();
    let wanted = asked(
        &place,
        TABLE,
        "sum(CASE WHEN \"interval\" = '2018-06-11' THEN 1 END) - count(DISTINCT CASE WHEN \"interval\" = '2018-06-11' THEN transaction_id END)",
    );
    assert_eq!(receipt["data"]["counts"]["duplicate_keys"].to_string(), wanted);
    assert!(receipt["data"]["counts"]["duplicate_keys"].as_u64().unwrap() > 100, "{receipt}");
    // A run that finds it done tells the same.
    let again = scored(&place, "2018-06-11", &[]);
    assert_eq!((&again["status"], &again["data"]), (&Value::from("noop"), &receipt["data"]));
}

#[test]
fn a_plan_refuses_columns_that_can_not_be_published() {
    let place = Place::new();
    place.edit("risk.sql", "  customer_id,", "  CAST(customer_id AS DOUBLE) AS customer_id,");
    for command in ["plan", "run"] {
        let outcome = call(&place, &[command, "job.toml", "--interval", "2018-06-11"]).expect(2);
        assert!(outcome.stderr.contains("a column of this type cannot be a lookup key"), "{}", outcome.stderr);
    }
}

#[test]
fn overlapping_intervals_are_refused_until_they_have_a_table_of_their_own() {
    let place = Place::new();
    let before = place.everything();
    for interval in ["2018-06-09/2018-06-11", "2018-06-10T06:00:00Z/2018-06-10T07:00:00Z", "2018-06-01/2018-07-01"] {
        for command in ["score", "plan"] {
            let outcome = call(&place, &[command, "job.toml", "--interval", interval]).expect(2);
            assert!(outcome.stderr.contains("holds = 2018-06-10"), "{}", outcome.stderr);
            assert!(outcome.stderr.contains("an `output` of its own"), "{}", outcome.stderr);
        }
    }
    assert_eq!(before.keys().collect::<Vec<_>>(), place.everything().keys().collect::<Vec<_>>());
    // Neighbours are no overlap, nor is the interval itself.
    assert_eq!(scored(&place, "2018-06-11/2018-06-13", &[])["status"], "done");
    assert_eq!(scored(&place, "2018-06-10", &[])["status"], "noop");
    assert_eq!(score(&place, "2018-06-12", &[]).code, 2);
    let hour = "2018-06-10T06:00:00Z/2018-06-10T07:00:00Z";
    let own = ["--set", "score.output=predictions/hours"];
    assert_eq!(scored(&place, hour, &own)["status"], "done");
    // An hour within a day that has no rows in the table any more: an empty slice has no time.
    place.edit("risk.sql", "< $interval_end", "< $interval_end AND tx_amount < 0");
    scored(&place, "2018-06-11/2018-06-13", &["--allow-empty"]);
    assert_eq!(scored(&place, "2018-06-12", &["--allow-empty"])["status"], "done");
}

#[test]
fn an_interval_without_rows_is_an_empty_slice_where_that_is_allowed() {
    let place = Place::new();
    let pointer = place.read("home/lookup/risk/CURRENT");
    let receipt = scored(&place, "2019-06-11", &["--allow-empty"]);
    assert_eq!(receipt["status"], "done");
    assert_eq!(receipt["rows_in"], 0);
    assert_eq!(place.read("home/lookup/risk/CURRENT"), pointer, "readers keep the interval before");
    assert_eq!(scored(&place, "2019-06-11", &["--allow-empty"])["status"], "noop");
}

#[test]
fn an_interval_that_has_lost_its_rows_loses_its_looked_up_values_too() {
    let place = Place::new();
    scored(&place, "2018-06-11", &[]);
    assert_eq!(stats(&place)["interval"], "2018-06-11");
    let (pointer, full) = (place.read("home/lookup/risk/CURRENT"), dump(&place));
    assert!(!full.is_empty());

    place.edit("risk.sql", "< $interval_end", "< $interval_end AND tx_amount < 0");
    assert_eq!(score(&place, "2018-06-11", &[]).code, 4);
    assert_eq!(dump(&place), full);
    let receipt = scored(&place, "2018-06-11", &["--allow-empty"]);
    assert_eq!((&receipt["status"], &receipt["lookup"]["keys"]), (&Value::from("done"), &Value::from(0)));
    assert_eq!(dump(&place), "");
    assert_eq!((&stats(&place)["keys"], &stats(&place)["run_id"]), (&Value::from(0), &receipt["run_id"]));
    assert_eq!(asked(&place, TABLE, "count(*) - sum(CASE WHEN \"interval\" = '2018-06-11' THEN 0 ELSE 1 END)"), "0");

    // A process that dies between commit and flip leaves the old pointer: the next run mends it.
    place.write("home/lookup/risk/CURRENT", &pointer);
    assert_eq!(dump(&place), full);
    assert_eq!(scored(&place, "2018-06-11", &["--allow-empty"])["status"], "done");
    assert_eq!(dump(&place), "");
    assert_eq!(scored(&place, "2018-06-11", &["--allow-empty"])["status"], "noop");
    // An older interval's values must not come back.
    place.edit("risk.sql", " AND tx_amount < 0", "");
    scored(&place, "2018-06-10", &[]);
    assert_eq!(dump(&place), "");
}

#[test]
fn a_run_that_is_refused_late_leaves_neither_files_nor_a_generation() {
    let place = Place::new();
    // Lookup values that are infinite are found when the generation is loaded, after all rows are staged.
    place.edit("job.toml", "passthrough = [\"customer_id\"]", "passthrough = [\"customer_id\", \"share\"]");
    place.edit("job.toml", "value = [\"score\", \"prediction\"]", "value = [\"score\", \"share\"]");
    place.edit("risk.sql", "  customer_id,", "  customer_id, CAST('Infinity' AS DOUBLE) AS share,");
    let names = |place: &Place| {
        let kept = |name: &String| !name.starts_with("home/runs/");
        place.everything().into_keys().filter(kept).collect::<Vec<_>>()
    };
    let before = names(&place);
    let outcome = score(&place, "2018-06-11", &[]).expect(3);
    assert!(outcome.stderr.contains("NaN or infinite"), "{}", outcome.stderr);
    let left: Vec<String> = names(&place).into_iter().filter(|name| !before.contains(name)).collect();
    // A folder of the partition without a file in it is nothing.
    assert!(left.iter().all(|name| name.ends_with('/') && Path::new(name).starts_with(TABLE)), "{left:?}");
}
