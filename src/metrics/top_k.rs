//! What is found by people who can look at k rows a day.

use super::{Measure, Measured, Metric, MetricOptions, Rows};
use crate::task::Task;
use std::ops::Range;

const NO_DAYS: &str = "the days of the events are not known";
const NO_WEIGHT: &str = super::mean::NO_WEIGHT;

/// Precision at k a day: of the `k_per_day` rows with the highest scores of a day, the share that is
/// positive; the mean over the days that have rows, each day counting the same.
///
/// Source: the idea of *card precision top-k* in Le Borgne, Siblini, Lebichot and Bontempi,
/// *Reproducible Machine Learning for Credit Card Fraud Detection* (2022), 4.5; there alerts are
/// cards, here rows. Equal scores are taken in the order of the rows. A day with fewer than k rows is
/// divided by the rows that it has, not by k. A row of weight w takes w of the k places, the last one
/// as many as are left. Range 0 to 1. Without days: no value; without a positive row: 0.
pub(super) struct PrecisionAtK;

impl Metric for PrecisionAtK {
    fn name(&self) -> &'static str {
        "precision_at_k"
    }

    fn summary(&self) -> &'static str {
        "the share of positives among the `k_per_day` highest scores of each day"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary]
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a> {
        let Some(days) = rows.days() else {
            return Box::new(|_| Measured::undefined(NO_DAYS));
        };
        let (order, spans) = rank_by_day(days, rows.outputs());
        let (labels, k) = (rows.labels(), f64::from(options.k_per_day));
        Box::new(move |weights| {
            let (mut sum, mut count) = (0.0, 0);
            for span in &spans {
                if let Some(precision) = precision_of_day(&order[span.clone()], labels, weights, k) {
                    sum += precision;
                    count += 1;
                }
            }
            if count == 0 { Measured::undefined(NO_WEIGHT) } else { Measured::of(sum / f64::from(count)) }
        })
    }
}

/// Row numbers by day, within a day from the highest score on; and where each day lies among them.
fn rank_by_day(days: &[i32], scores: &[f64]) -> (Vec<u32>, Vec<Range<usize>>) {
    let mut order: Vec<(i32, f64, u32)> =
        days.iter().zip(scores).zip(0..).map(|((day, score), row)| (*day, *score, row)).collect();
    order.sort_unstable_by(|a, b| {
        let by_score = b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal);
        a.0.cmp(&b.0).then(by_score).then(a.2.cmp(&b.2))
    });
    let mut spans = Vec::new();
    for day in order.chunk_by(|a, b| a.0 == b.0) {
        let start = spans.last().map_or(0, |before: &Range<usize>| before.end);
        spans.push(start..start + day.len());
    }
    (order.iter().map(|(_, _, row)| *row).collect(), spans)
}

fn precision_of_day(order: &[u32], labels: &[f64], weights: &[f64], k: f64) -> Option<f64> {
    let (mut seen, mut hits) = (0.0, 0.0);
    for row in order {
        let taken = weights[*row as usize].min(k - seen);
        seen += taken;
        hits += taken * labels[*row as usize];
        if seen >= k {
            break;
        }
    }
    (seen > 0.0).then(|| hits / seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_taken_in_the_order_of_rows() {
        let (order, spans) = rank_by_day(&[5, 3, 5, 5], &[0.5, 0.1, 0.5, 0.9]);
        assert_eq!(order, [1, 3, 0, 2]);
        assert_eq!(spans, [0..1, 1..4]);
    }

    #[test]
    fn the_last_row_takes_the_places_that_are_left() {
        assert_eq!(precision_of_day(&[0, 1], &[0.0, 1.0], &[3.0, 5.0], 4.0), Some(0.25));
        assert_eq!(precision_of_day(&[0, 1], &[0.0, 1.0], &[0.0, 0.0], 4.0), None);
    }
}
