//! What the card says of a model for each segment.

use super::{number, table};
use crate::registry::artifact::SegmentModels;
use crate::task::Task;

/// How many segments have a model, who falls back, and where a model of its own does not pay.
pub(super) fn render(own: &SegmentModels, task: Task) -> String {
    let loss = match task {
        Task::Regression => "squared error",
        Task::Binary | Task::Multiclass => "logarithmic loss",
    };
    let rows = [
        ["with a model of their own".to_owned(), own.models.to_string(), own.train_rows.to_string()],
        [format!("too small (fewer than {} training rows)", own.min_rows), own.small.to_string(), String::new()],
        ["nothing to be learned from".to_owned(), own.refused.to_string(), String::new()],
        [
            "all, and rows of none".to_owned(),
            own.found.to_string(),
            (own.train_rows + own.fallback_train_rows).to_string(),
        ],
    ];
    let mut text = format!(
        "\nA model for each {}, and a fallback, learned from all rows, for all others: it scored {} of the {} test rows. \
         The mean {loss} of the test rows is {}; by the fallback alone it would be {}.\n\n{}",
        own.by.join(" and "),
        own.fallback_test_rows,
        own.test_rows,
        number(own.loss),
        number(own.fallback_loss),
        table(["segments", "count", "training rows"], &rows)
    );
    let refused: Vec<[String; 3]> = own
        .refused_first
        .iter()
        .map(|refused| [refused.segment.join(", "), refused.rows.to_string(), refused.why.clone()])
        .collect();
    if !refused.is_empty() {
        text.push_str(&format!(
            "\nSegments with enough rows that fall back all the same{}.\n\n{}",
            if own.refused > refused.len() as u64 { ", the first of them" } else { "" },
            table(["segment", "training rows", "why"], &refused)
        ));
    }
    if !own.worst.is_empty() {
        let worst: Vec<[String; 4]> = own
            .worst
            .iter()
            .map(|segment| {
                let [loss, fallback] = [segment.loss, segment.fallback_loss].map(number);
                [segment.segment.join(", "), segment.rows.to_string(), loss, fallback]
            })
            .collect();
        text.push_str(&format!(
            "\nThe segments whose own model is worst beside the fallback; {} of {} with enough test rows would lose less by \
             it. Mean {loss} of their test rows.\n\n{}",
            own.worse,
            own.judged,
            table(["segment", "test rows", "own model", "fallback"], &worst)
        ));
    }
    text
}
