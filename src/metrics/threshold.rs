//! Metrics of decisions: binary predictions are 1 from `threshold` on, multiclass predictions are the
//! most probable class.
//!
//! For multiclass, precision, recall and F1 are the plain mean over the classes that occur among the
//! labels or the predictions (macro average, as scikit-learn's). Where a formula divides zero by zero
//! (no row predicted as the class, or none of the class) its value is 0; for binary the note says so.

use super::confusion::predicted_classes;
use super::mean::measured_mean;
use super::{Measure, Measured, Metric, MetricOptions, Rows};
use crate::task::Task;

const NONE_PREDICTED: &str = "no row is predicted as positive, so precision is 0 by convention";
const NONE_POSITIVE: &str = "no row is positive, so recall is 0 by convention";
const NONE_EITHER: &str = "no row is positive or predicted as such, so F1 is 0 by convention";
const CLASSIFICATION: &[Task] = &[Task::Binary, Task::Multiclass];

/// The weights of one class's rows.
#[derive(Clone, Copy, Default)]
struct Tally {
    /// Of the class and predicted as such.
    hits: f64,
    /// Of the class.
    actual: f64,
    /// Predicted as the class.
    predicted: f64,
}

struct Case {
    row: u32,
    actual: u32,
    predicted: u32,
}

/// The rows that can change a class's tally, with actual and predicted class.
struct Decisions {
    task: Task,
    classes: usize,
    cases: Vec<Case>,
}

impl Decisions {
    fn of(rows: &Rows<'_>, threshold: f64) -> Self {
        let predicted = predicted_classes(rows, threshold);
        let cases = rows.labels().iter().zip(predicted).zip(0..);
        let cases = cases.map(|((label, predicted), row)| Case { row, actual: *label as u32, predicted });
        // True negatives of a binary task are most of its rows, and count nowhere here.
        let cases = cases.filter(|case| rows.task() != Task::Binary || case.actual + case.predicted > 0);
        Self { task: rows.task(), classes: rows.classes(), cases: cases.collect() }
    }

    fn tallies(&self, weights: &[f64]) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.classes];
        for case in &self.cases {
            let weight = weights[case.row as usize];
            tallies[case.actual as usize].actual += weight;
            tallies[case.predicted as usize].predicted += weight;
            if case.actual == case.predicted {
                tallies[case.actual as usize].hits += weight;
            }
        }
        tallies
    }

    /// The quotient that `ratio` gives for the positive class, or its mean over the classes that occur.
    fn measure(&self, weights: &[f64], note: &'static str, ratio: impl Fn(&Tally) -> (f64, f64)) -> Measured {
        let tallies = self.tallies(weights);
        if self.task == Task::Binary {
            let (part, whole) = ratio(&tallies[1]);
            return if whole > 0.0 { Measured::of(part / whole) } else { Measured::by_convention(0.0, note) };
        }
        let (mut sum, mut count) = (0.0, 0);
        for tally in tallies.iter().filter(|tally| tally.actual + tally.predicted > 0.0) {
            let (part, whole) = ratio(tally);
            sum += if whole > 0.0 { part / whole } else { 0.0 };
            count += 1;
        }
        if count == 0 { Measured::undefined(super::mean::NO_WEIGHT) } else { Measured::of(sum / f64::from(count)) }
    }
}

/// The share of rows whose predicted class is the actual one.
///
/// Source: scikit-learn's `accuracy_score`. Range 0 to 1. Defined for a single class too.
pub(super) struct Accuracy;

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn summary(&self) -> &'static str {
        "the share of rows that are classified correctly"
    }

    fn tasks(&self) -> &'static [Task] {
        CLASSIFICATION
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a> {
        let predicted = predicted_classes(rows, options.threshold);
        let right = |(label, predicted): (&f64, u32)| if *label as u32 == predicted { 1.0 } else { 0.0 };
        let hits: Vec<f64> = rows.labels().iter().zip(predicted).map(right).collect();
        Box::new(move |weights| measured_mean(&hits, weights))
    }
}

/// Of the rows predicted as positive, the share that is: TP / (TP + FP).
///
/// Source: van Rijsbergen, *Information Retrieval* (1979), chapter 7. Range 0 to 1; 0 if no row is
/// predicted as positive, and the note says so.
pub(super) struct Precision;

impl Metric for Precision {
    fn name(&self) -> &'static str {
        "precision"
    }

    fn summary(&self) -> &'static str {
        "the share of alarms that are right"
    }

    fn tasks(&self) -> &'static [Task] {
        CLASSIFICATION
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a> {
        let decisions = Decisions::of(rows, options.threshold);
        Box::new(move |weights| decisions.measure(weights, NONE_PREDICTED, |tally| (tally.hits, tally.predicted)))
    }
}

/// Of the positive rows, the share predicted as such: TP / (TP + FN).
///
/// Source: van Rijsbergen, *Information Retrieval* (1979), chapter 7. Range 0 to 1; 0 if no row is
/// positive, and the note says so.
pub(super) struct Recall;

impl Metric for Recall {
    fn name(&self) -> &'static str {
        "recall"
    }

    fn summary(&self) -> &'static str {
        "the share of positives that raise an alarm"
    }

    fn tasks(&self) -> &'static [Task] {
        CLASSIFICATION
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a> {
        let decisions = Decisions::of(rows, options.threshold);
        Box::new(move |weights| decisions.measure(weights, NONE_POSITIVE, |tally| (tally.hits, tally.actual)))
    }
}

/// The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN).
///
/// Source: van Rijsbergen, *Information Retrieval* (1979), chapter 7. Range 0 to 1; 0 if no row is
/// positive or predicted as such, and the note says so.
pub(super) struct F1;

impl Metric for F1 {
    fn name(&self) -> &'static str {
        "f1"
    }

    fn summary(&self) -> &'static str {
        "the harmonic mean of precision and recall"
    }

    fn tasks(&self) -> &'static [Task] {
        CLASSIFICATION
    }

    fn prepare<'a>(&self, rows: &'a Rows<'_>, options: &MetricOptions) -> Measure<'a> {
        let decisions = Decisions::of(rows, options.threshold);
        Box::new(move |weights| {
            decisions.measure(weights, NONE_EITHER, |tally| (2.0 * tally.hits, tally.actual + tally.predicted))
        })
    }
}
