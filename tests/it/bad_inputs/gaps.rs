//! Wrong inputs that are refused too late or told badly; each goes to its part once it is mended.

use super::{Case, score, train};

pub fn cases() -> Vec<Case> {
    vec![
        // The staged prediction file and the staged generation stay behind.
        score("data_null_lookup_key", 3)
            .sql("  customer_id,", "  CASE WHEN tx_amount <= 100 THEN customer_id END AS customer_id,"),
        // As above; the type of the key is known before a row is scored.
        score("lookup_key_is_a_float", 2)
            .sql("  customer_id,", "  customer_id, tx_amount AS amount,")
            .set("lookup.key=amount")
            .set("score.passthrough=[\"amount\"]"),
        // Registered before the gate finds that it can't be compared with the champion.
        train("train_for_another_task_than_the_champion", 3).set("model.task=multiclass"),
        // A slip of the keyboard makes a feature of what was to be left out.
        train("train_excludes_an_unknown_column", 2).set("features.exclude=[\"custmer_id\"]"),
        train("train_key_does_not_tell_rows_apart", 3)
            .sql("  transaction_id,", "  transaction_id % 100 AS transaction_id,"),
    ]
}
