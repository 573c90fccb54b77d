//! Metrics that look only at the order of the scores.
//!
//! A threshold cannot tell rows with the same score apart, so they pass it together: all metrics here
//! walk over distinct scores, from the highest to the lowest, as scikit-learn does. For multiclass,
//! each class is ranked by its own probability against the rest, and the mean over the classes that
//! have both rows of their own and rows of the rest is taken (macro one-vs-rest); other classes have
//! no value and are left out.

use super::{Measure, Measured, Metric, MetricOptions, Rows};
use crate::task::Task;

const ONE_CLASS: &str = "there is only one class among the labels";
const UNREACHED: &str = "no threshold reaches the precision, so the recall is 0";

/// The rows from the highest to the lowest score.
pub struct Ranking {
    steps: Vec<Step>,
}

struct Step {
    row: u32,
    positive: bool,
    last_of_tie: bool,
}

impl Ranking {
    /// Sorts rows by finite scores; `positive` tells which rows should be on top.
    pub(super) fn new(scores: impl Iterator<Item = f64>, positive: impl Fn(usize) -> bool) -> Self {
        let mut order: Vec<(f64, u32)> = scores.zip(0..).collect();
        // Equal scores in the order of the rows: sums are then the same whichever way the sort goes.
        order.sort_unstable_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal).then(a.1.cmp(&b.1)));
        let steps = order.iter().enumerate().map(|(at, (score, row))| Step {
            row: *row,
            positive: positive(*row as usize),
            last_of_tie: order.get(at + 1).is_none_or(|(next, _)| next != score),
        });
        Self { steps: steps.collect() }
    }

    /// Walks over the distinct scores, from the highest on: `visit` gets the weights of the positive
    /// and of the negative rows of the tie, and those of all rows up to and including it. Gives the
    /// total weights of the positive and of the negative rows.
    fn walk(&self, weights: &[f64], mut visit: impl FnMut([f64; 2], [f64; 2])) -> [f64; 2] {
        let (mut tie, mut above) = ([0.0; 2], [0.0; 2]);
        for step in &self.steps {
            let weight = weights[step.row as usize];
            if step.positive {
                tie[0] += weight;
            } else {
                tie[1] += weight;
            }
            if step.last_of_tie {
                above = [above[0] + tie[0], above[1] + tie[1]];
                visit(tie, above);
                tie = [0.0; 2];
            }
        }
        above
    }

    fn roc_auc(&self, weights: &[f64]) -> Option<f64> {
        // Each negative row counts the positive rows above it, and half of those beside it.
        let mut area = 0.0;
        let [positives, negatives] =
            self.walk(weights, |[positive, negative], [above, _]| area += negative * (above - 0.5 * positive));
        has_both(positives, negatives).then(|| (area / positives / negatives).min(1.0))
    }

    fn average_precision(&self, weights: &[f64]) -> Option<f64> {
        let mut sum = 0.0;
        let [positives, negatives] = self.walk(weights, |[positive, _], [hits, misses]| {
            if positive > 0.0 {
                sum += positive * hits / (hits + misses);
            }
        });
        has_both(positives, negatives).then(|| (sum / positives).min(1.0))
    }

    fn recall_at_precision(&self, weights: &[f64], precision: f64) -> Option<f64> {
        let mut found = 0.0;
        let [positives, negatives] = self.walk(weights, |_, [hits, misses]| {
            // Hits only grow on the way down, so the last threshold that is precise enough has the most.
            if hits / (hits + misses) >= precision {
                found = hits;
            }
        });
        has_both(positives, negatives).then(|| found / positives)
    }
}

fn has_both(positives: f64, negatives: f64) -> bool {
    positives > 0.0 && negatives > 0.0
}

/// The mean over the rankings that have a value.
fn macro_mean(rankings: &[&Ranking], value: impl Fn(&Ranking) -> Option<f64>) -> Measured {
    let (mut sum, mut count) = (0.0, 0);
    for value in rankings.iter().filter_map(|ranking| value(ranking)) {
        sum += value;
        count += 1;
    }
    if count == 0 { Measured::undefined(ONE_CLASS) } else { Measured::of(sum / f64::from(count)) }
}

/// Area under the ROC curve: the probability that a positive row has a higher score than a negative
/// one, where equal scores count half.
///
/// Source: Fawcett, *An introduction to ROC analysis*, Pattern Recognition Letters 27 (2006); Hanley
/// and McNeil (1982) for the equality with the Wilcoxon statistic. Range 0 to 1, 0.5 for scores that
/// say nothing. A single class: no value.
pub(super) struct RocAuc;

impl Metric for RocAuc {
    fn name(&self) -> &'static str {
        "roc_auc"
    }

    fn summary(&self) -> &'static str {
        "how often a positive row is scored above a negative one"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let rankings = rows.rankings();
        Box::new(move |weights| macro_mean(&rankings, |ranking| ranking.roc_auc(weights)))
    }
}

/// Average precision: the sum over thresholds of (R_n - R_(n-1)) P_n with recall R and precision P,
/// without interpolation (steps, as scikit-learn's `average_precision_score`).
///
/// Source: Manning, Raghavan and Schuetze, *Introduction to Information Retrieval* (2008), 8.4.
/// Range 0 to 1; scores that say nothing get the share of positive rows. A single class: no value.
pub(super) struct AveragePrecision;

impl Metric for AveragePrecision {
    fn name(&self) -> &'static str {
        "average_precision"
    }

    fn summary(&self) -> &'static str {
        "the mean of the precisions at every recall"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary, Task::Multiclass]
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, _: &MetricOptions) -> Measure<'a> {
        let rankings = rows.rankings();
        Box::new(move |weights| macro_mean(&rankings, |ranking| ranking.average_precision(weights)))
    }
}

/// The highest recall among all thresholds whose precision is at least `at_precision`.
///
/// Source: a point of the precision-recall curve (scikit-learn's `precision_recall_curve`). Range 0
/// to 1. If no threshold is precise enough, 0, and the note says so. A single class: no value.
pub(super) struct RecallAtPrecision;

impl Metric for RecallAtPrecision {
    fn name(&self) -> &'static str {
        "recall_at_precision"
    }

    fn summary(&self) -> &'static str {
        "the share of positives found while precision is at least `at_precision`"
    }

    fn tasks(&self) -> &'static [Task] {
        &[Task::Binary]
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a> {
        let (ranking, precision) = (rows.ranking(0), options.at_precision);
        Box::new(move |weights| match ranking.recall_at_precision(weights, precision) {
            None => Measured::undefined(ONE_CLASS),
            Some(0.0) => Measured::by_convention(0.0, UNREACHED),
            Some(recall) => Measured::of(recall),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(scores: &[f64], labels: &[u8]) -> Ranking {
        Ranking::new(scores.iter().copied(), |row| labels[row] == 1)
    }

    #[test]
    fn ties_count_half_in_the_area() {
        let tied = ranking(&[0.5, 0.5, 0.5], &[1, 0, 1]);
        assert_eq!(tied.roc_auc(&[1.0; 3]), Some(0.5));
        let zeros = ranking(&[0.0, -0.0], &[1, 0]);
        assert_eq!(zeros.roc_auc(&[1.0; 2]), Some(0.5));
    }

    #[test]
    fn rounding_does_not_lift_a_perfect_ranking_above_one() {
        let labels: Vec<u8> = (0..60).map(|row| u8::from(row < 30)).collect();
        let ranked = ranking(&(0..60).map(|row| -f64::from(row)).collect::<Vec<_>>(), &labels);
        for scale in 1..200 {
            let weights: Vec<f64> = (0..60).map(|row| f64::from(row % 7 + 1) * 0.1 / f64::from(scale)).collect();
            for value in [ranked.roc_auc(&weights), ranked.average_precision(&weights)] {
                assert!(value.is_some_and(|value| value <= 1.0 && value > 1.0 - 1e-12), "{value:?}");
            }
        }
    }

    #[test]
    fn rows_of_weight_zero_on_top_leave_no_trace() {
        let ranked = ranking(&[0.9, 0.8, 0.7, 0.1], &[1, 0, 1, 0]);
        let weights = [0.0, 0.0, 1.0, 1.0];
        assert_eq!(ranked.roc_auc(&weights), Some(1.0));
        assert_eq!(ranked.average_precision(&weights), Some(1.0));
        assert_eq!(ranked.recall_at_precision(&weights, 1.0), Some(1.0));
    }

    #[test]
    fn the_last_precise_threshold_has_the_highest_recall() {
        // Precision is 1, 1/2, 2/3, 3/4, 3/5: it falls below 0.75 and comes back.
        let ranked = ranking(&[0.9, 0.8, 0.7, 0.6, 0.5], &[1, 0, 1, 1, 0]);
        assert_eq!(ranked.recall_at_precision(&[1.0; 5], 0.75), Some(1.0));
        assert_eq!(ranked.recall_at_precision(&[1.0; 5], 0.76), Some(1.0 / 3.0));
    }
}
