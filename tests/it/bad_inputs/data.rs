//! Data that is not what the job says it is, or is not there; what is a stated policy is no failure.

use super::place::Place;
use super::{Case, call, case, score};
use std::fs;

pub fn cases() -> Vec<Case> {
    vec![
        score("data_null_key", 3)
            .sql("  transaction_id,", "  CASE WHEN tx_amount <= 100 THEN transaction_id END AS transaction_id,"),
        score("data_null_lookup_key", 3)
            .sql("  customer_id,", "  CASE WHEN tx_amount <= 100 THEN customer_id END AS customer_id,"),
        score("data_empty_lookup_key", 3)
            .sql(
                "  customer_id,",
                "  CASE WHEN tx_amount > 100 THEN '' ELSE CAST(customer_id AS VARCHAR) END AS customer_id,",
            )
            .set("score.output=predictions/texts")
            // The table of another type needs a folder, which stays empty.
            .change(|place| fs::create_dir(place.path().join("home/predictions/texts")).unwrap()),
        score("data_null_time", 3)
            .sql("  tx_datetime,", "  CASE WHEN tx_amount <= 100 THEN tx_datetime END AS tx_datetime,"),
        score("data_outside_the_interval", 3).sql("< $interval_end", "< $interval_end + INTERVAL '1 day'"),
        score("data_excludes_an_unknown_column", 2).set("features.exclude=[\"custmer_id\"]"),
        score("data_time_is_a_text", 2).sql("  tx_datetime,", "  CAST(tx_datetime AS VARCHAR) AS tx_datetime,"),
        score("data_every_row_rejected", 3).sql("  tx_amount,", "  CAST('Infinity' AS DOUBLE) AS tx_amount,"),
        score("data_division_by_zero", 3).sql("  tx_amount", "  1 / (tx_fraud - tx_fraud) AS share, tx_amount"),
        score("data_cast_fails", 3).sql("  tx_amount", "  CAST('c' || customer_id AS BIGINT) AS number, tx_amount"),
        case("data_no_rows_to_score", 4, &["score", "job.toml", "--interval", "2019-06-11"]),
        case("data_no_rows_to_train", 4, &["train", "job.toml", "--interval", "2019-06-11"]),
        case("data_no_rows_to_evaluate", 4, &["evaluate", "job.toml", "--interval", "2019-06-11"]),
    ]
}

fn score_json(place: &Place, interval: &str, more: &[&str]) -> serde_json::Value {
    let args = ["score", "job.toml", "--interval", interval, "--output", "json"];
    call(place, &[&args, more].concat()).expect(0).json()
}

#[test]
fn infinite_and_null_features_are_counted_and_do_not_fail_the_run() {
    let place = Place::new();
    place.edit(
        "risk.sql",
        "  tx_amount,",
        "  CASE WHEN tx_amount > 100 THEN CAST('Infinity' AS DOUBLE) WHEN tx_amount > 10 THEN tx_amount END AS tx_amount,",
    );
    let receipt = score_json(&place, "2018-06-11", &[]);
    let rejected = receipt["rows_rejected"].as_u64().unwrap();
    assert!(rejected > 0, "{receipt}");
    assert_eq!(receipt["rows_in"].as_u64().unwrap(), receipt["rows_out"].as_u64().unwrap() + rejected);
    let counts = &receipt["data"]["counts"]["rejected"]["counts"][0];
    assert_eq!(counts["column"], "tx_amount", "{receipt}");
    assert_eq!(counts["reason"], "infinite", "{receipt}");
    assert!(receipt["data"]["counts"]["imputed"].to_string().contains("tx_amount"), "{receipt}");
}

#[test]
fn rows_without_a_time_are_counted_by_a_training() {
    let place = Place::new();
    place.edit(
        "risk.sql",
        "  tx_datetime,",
        "  CASE WHEN transaction_id % 10 > 0 THEN tx_datetime END AS tx_datetime,",
    );
    let receipt = call(&place, &["train", "job.toml", "--interval", "2018-06-11", "--output", "json"]).json();
    let count = |name: &str| receipt["data"][name].as_u64().unwrap();
    assert!(count("undated_rows") > 0, "{receipt}");
    let all = count("train_rows") + count("test_rows") + count("gap_rows") + count("undated_rows");
    assert_eq!(receipt["rows_in"].as_u64().unwrap(), all, "{receipt}");
}
