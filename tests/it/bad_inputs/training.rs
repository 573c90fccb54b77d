//! Trainings that can't be: labels, weights, windows.

use super::place::Place;
use super::{Case, call, case, train};

pub fn cases() -> Vec<Case> {
    vec![
        train("train_one_class_only", 3).sql("  tx_fraud,", "  0 * tx_fraud AS tx_fraud,"),
        train("train_no_label_is_known", 3).sql("  tx_fraud,", "  nullif(tx_fraud, tx_fraud) AS tx_fraud,"),
        train("train_label_is_not_a_number", 3).sql("  tx_fraud,", "  CAST('nan' AS DOUBLE) AS tx_fraud,"),
        train("train_label_is_neither_0_nor_1", 3).sql("  tx_fraud,", "  2 * tx_fraud AS tx_fraud,"),
        train("train_label_is_a_text", 3)
            .sql("  tx_fraud,", "  CASE tx_fraud WHEN 1 THEN 'yes' ELSE 'no' END AS tx_fraud,"),
        train("train_label_is_an_instant", 3).sql("  tx_fraud,", "  tx_datetime AS tx_fraud,"),
        train("train_number_from_a_text", 3)
            .sql("  tx_fraud,", "  'a' AS tx_fraud,")
            .set("model.task=regression")
            .set("model.algorithm=linear_regression"),
        train("train_negative_weight", 3)
            .sql("  tx_amount,", "  -1.0 AS weight, tx_amount,")
            .set("features.weight=weight"),
        train("train_weight_of_an_unknown_class", 2).set("model.class_weight={ fraud = 2.0 }"),
        train("train_every_row_rejected", 3).sql("  tx_amount,", "  CAST('Infinity' AS DOUBLE) AS tx_amount,"),
        case("train_before_the_first_day", 4, &["train", "job.toml", "--interval", "2018-06-02"]),
        case("train_after_the_last_day", 4, &["train", "job.toml", "--interval", "2018-06-16"]),
        // What the gate can't judge is not registered.
        train("train_for_another_task_than_the_champion", 3)
            .set("model.task=regression")
            .set("model.algorithm=linear_regression"),
        train("train_two_rows_of_one_key", 3)
            .sql("  transaction_id,", "  transaction_id / 2 AS transaction_id,")
            .change(champion_of_the_same_sql),
        train("train_no_row_in_common_with_the_champion", 3)
            .sql("  transaction_id,", "  -transaction_id AS transaction_id,"),
        // A slip of the keyboard would make a feature of what was to be left out.
        train("train_excludes_an_unknown_column", 2).set("features.exclude=[\"custmer_id\"]"),
    ]
}

/// A champion whose SQL gives what the job's gives.
fn champion_of_the_same_sql(place: &Place) {
    place.remove("home");
    call(place, &["train", "job.toml", "--interval", "2018-06-10", "--quiet"]).expect(0);
}
