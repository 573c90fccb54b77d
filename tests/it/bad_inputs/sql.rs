//! The features SQL: shown with its line where that is known.

use super::{Case, score, train};

pub fn cases() -> Vec<Case> {
    vec![
        score("sql_syntax", 2).sql("tx_amount,", "tx_amount,,"),
        score("sql_unknown_column", 2).sql("tx_amount", "tx_amuont"),
        score("sql_unknown_table", 2).sql("FROM transactions", "FROM transaction"),
        score("sql_path_as_a_table", 2).sql("FROM transactions", "FROM 'lake/transactions'"),
        score("sql_unknown_function", 2).sql("extract(hour FROM tx_datetime)", "hour_of(tx_datetime)"),
        score("sql_function_of_another_type", 2).sql("extract(hour FROM tx_datetime)", "sqrt(tx_datetime)"),
        score("sql_inserts", 2)
            .change(|place| place.write("risk.sql", "INSERT INTO transactions SELECT * FROM transactions\n")),
        score("sql_two_statements", 2).sql("< $interval_end", "< $interval_end;\nDROP TABLE transactions"),
        score("sql_copies", 2).change(|place| place.write("risk.sql", "COPY (SELECT 1) TO 'stolen.csv'\n")),
        score("sql_is_empty", 2).change(|place| place.write("risk.sql", "-- nothing yet\n")),
        score("sql_unknown_parameter", 2).sql("$interval_end", "$interval_stop"),
        score("sql_random", 2).sql("  tx_amount", "  random() AS luck, tx_amount"),
        score("sql_clock", 2).sql("  tx_amount", "  now() AS today, tx_amount"),
        score("sql_column_twice", 2).sql("  tx_amount,", "  tx_amount, tx_amount,"),
        score("sql_without_the_key", 2).sql("  transaction_id,\n", ""),
        score("sql_without_the_time", 2).sql("  tx_datetime,\n", ""),
        score("sql_without_a_column_that_is_carried", 2).sql("  customer_id,\n", ""),
        score("sql_lookup_key_is_a_float", 2).sql("  customer_id,", "  CAST(customer_id AS DOUBLE) AS customer_id,"),
        train("sql_lookup_key_is_a_float_when_training", 2)
            .sql("  customer_id,", "  CAST(customer_id AS DOUBLE) AS customer_id,"),
        score("sql_lookup_value_is_binary", 2)
            .sql("  customer_id,", "  customer_id, arrow_cast('a', 'Binary') AS image,")
            .job("passthrough = [\"customer_id\"]", "passthrough = [\"customer_id\", \"image\"]")
            .job("value = [\"score\", \"prediction\"]", "value = [\"score\", \"image\"]"),
        train("sql_without_the_label", 2).sql("  tx_fraud,\n", ""),
        train("sql_without_the_weight", 2).set("features.weight=tx_amuont"),
        train("sql_without_a_feature", 2)
            .sql("  tx_amount,\n  extract(hour FROM tx_datetime) AS hour\n", "")
            .sql("tx_fraud,\n", "tx_fraud\n"),
        train("sql_date_as_a_feature", 2).sql("  tx_amount", "  CAST(tx_datetime AS DATE) AS day, tx_amount"),
    ]
}
