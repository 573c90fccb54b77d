//! Metrics against scikit-learn's numbers, their invariances, and what they say where there is nothing
//! to say.

use lakemill::error::ErrorKind;
use lakemill::metrics::{
    METRICS, MetricOptions, MetricValue, Predictions, confusion_matrix, default_metrics, evaluate, lookup,
};
use lakemill::task::Task;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

const REFERENCE: &str = include_str!("../reference/metrics.json");

/// Predictions that own their rows.
#[derive(Debug, Clone)]
struct Case {
    task: Task,
    classes: usize,
    labels: Vec<f64>,
    outputs: Vec<f64>,
    weights: Option<Vec<f64>>,
    days: Option<Vec<i32>>,
}

impl Case {
    fn binary(labels: &[f64], outputs: &[f64]) -> Self {
        let (labels, outputs) = (labels.to_vec(), outputs.to_vec());
        Self { task: Task::Binary, classes: 2, labels, outputs, weights: None, days: None }
    }

    fn regression(labels: &[f64], outputs: &[f64]) -> Self {
        Self { task: Task::Regression, classes: 0, ..Self::binary(labels, outputs) }
    }

    fn stored(task: Task, weighted: bool) -> (Self, Value) {
        let reference: Value = serde_json::from_str(REFERENCE).unwrap();
        let stored = &reference[task.name()];
        let numbers = |key: &str| -> Vec<f64> { serde_json::from_value(stored[key].clone()).unwrap() };
        let days = stored.get("days").map(|days| serde_json::from_value(days.clone()).unwrap());
        let case = Self {
            task,
            classes: stored["classes"].as_u64().unwrap_or(2) as usize,
            labels: numbers("labels"),
            outputs: numbers("outputs"),
            weights: weighted.then(|| numbers("weights")),
            days,
        };
        (case, stored[if weighted { "weighted" } else { "plain" }].clone())
    }

    fn predictions(&self) -> Predictions<'_> {
        Predictions {
            task: self.task,
            classes: self.classes,
            labels: &self.labels,
            outputs: &self.outputs,
            weights: self.weights.as_deref(),
            days: self.days.as_deref(),
        }
    }

    fn measure(&self, options: &MetricOptions) -> BTreeMap<String, MetricValue> {
        let values = evaluate(&self.predictions(), options, None).unwrap();
        values.into_iter().map(|value| (value.metric.clone(), value)).collect()
    }

    /// Each row as often as its weight says.
    fn repeated(&self) -> Self {
        let weights = self.weights.as_ref().unwrap();
        let width = self.task.outputs(self.classes);
        let rows: Vec<usize> = (0..self.labels.len()).flat_map(|row| vec![row; weights[row] as usize]).collect();
        Self {
            labels: rows.iter().map(|row| self.labels[*row]).collect(),
            outputs: rows.iter().flat_map(|row| self.outputs[row * width..(row + 1) * width].to_vec()).collect(),
            weights: None,
            days: self.days.as_ref().map(|days| rows.iter().map(|row| days[*row]).collect()),
            ..self.clone()
        }
    }
}

/// The options of the stored numbers; few resamples, because only values are compared.
fn reference_options() -> MetricOptions {
    MetricOptions { threshold: 0.5, at_precision: 0.8, k_per_day: 5, resamples: 3, ..MetricOptions::default() }
}

fn value(values: &BTreeMap<String, MetricValue>, name: &str) -> Option<f64> {
    values[name].estimate.map(|estimate| estimate.value)
}

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-12 * (1.0 + theirs.abs())
}

#[test]
fn values_equal_those_of_scikit_learn() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        for weighted in [false, true] {
            let (case, stored) = Case::stored(task, weighted);
            let ours = case.measure(&reference_options());
            let theirs = stored["values"].as_object().unwrap();
            for (name, number) in theirs {
                let (ours, theirs) = (value(&ours, name).unwrap(), number.as_f64().unwrap());
                assert!(close(ours, theirs), "{task} {name}, weighted = {weighted}: {ours} instead of {theirs}");
            }
            // Every metric of the task has a stored number, but for the one that has no weighted definition.
            let missing = ours.keys().filter(|name| !theirs.contains_key(*name)).collect::<Vec<_>>();
            assert!(missing.is_empty() || (weighted && missing == ["precision_at_k"]), "{task}: {missing:?}");
        }
    }
}

#[test]
fn confusion_matrices_equal_those_of_scikit_learn() {
    for task in [Task::Binary, Task::Multiclass] {
        for weighted in [false, true] {
            let (case, stored) = Case::stored(task, weighted);
            let ours = confusion_matrix(&case.predictions(), &reference_options()).unwrap();
            let theirs: Vec<Vec<f64>> = serde_json::from_value(stored["confusion"].clone()).unwrap();
            assert_eq!(ours.counts, theirs, "{task}, weighted = {weighted}");
        }
    }
    let (case, _) = Case::stored(Task::Regression, false);
    assert!(confusion_matrix(&case.predictions(), &reference_options()).is_err());
}

#[test]
fn the_thread_count_changes_no_byte() {
    for task in [Task::Binary, Task::Multiclass, Task::Regression] {
        let (case, _) = Case::stored(task, true);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let values = pool.install(|| evaluate(&case.predictions(), &MetricOptions::default(), None)).unwrap();
            serde_json::to_string(&values).unwrap()
        };
        assert_eq!(run(1), run(4), "{task}");
    }
}

#[test]
fn the_seed_changes_the_interval_but_not_the_value() {
    let (case, _) = Case::stored(Task::Binary, false);
    let [seven, eight] = [7, 8].map(|seed| case.measure(&MetricOptions { seed, ..MetricOptions::default() }));
    let [seven, eight] = [seven, eight].map(|values| values["roc_auc"].estimate.unwrap());
    assert_eq!(seven.value, eight.value);
    assert_ne!((seven.low, seven.high), (eight.low, eight.high));
}

#[test]
fn the_interval_of_a_mean_is_that_of_the_normal_distribution() {
    // Absolute errors 0, 1, ..., 999: the mean's standard error is known.
    let rows = 1000;
    let labels: Vec<f64> = (0..rows).map(f64::from).collect();
    let case = Case::regression(&labels, &vec![0.0; labels.len()]);
    let options = MetricOptions { resamples: 4000, confidence: 0.9, ..MetricOptions::default() };
    let mae = case.measure(&options)["mae"].estimate.unwrap();
    let error = (f64::from(rows).powi(2) / 12.0).sqrt() / f64::from(rows).sqrt();
    assert!(((mae.low - (mae.value - 1.6449 * error)) / error).abs() < 0.12, "{mae:?}");
    assert!(((mae.high - (mae.value + 1.6449 * error)) / error).abs() < 0.12, "{mae:?}");
}

#[test]
fn more_confidence_is_a_wider_interval() {
    let (case, _) = Case::stored(Task::Binary, false);
    let widths = [0.5, 0.8, 0.95].map(|confidence| {
        let estimate =
            case.measure(&MetricOptions { confidence, ..MetricOptions::default() })["roc_auc"].estimate.unwrap();
        assert!(estimate.low < estimate.value && estimate.value < estimate.high, "{estimate:?}");
        estimate.high - estimate.low
    });
    assert!(widths[0] < widths[1] && widths[1] < widths[2], "{widths:?}");
}

#[test]
fn a_single_class_has_no_ranking_and_says_so() {
    for label in [0.0, 1.0] {
        let values = Case::binary(&[label; 4], &[0.1, 0.6, 0.6, 0.9]).measure(&MetricOptions::default());
        for name in ["roc_auc", "average_precision", "recall_at_precision"] {
            assert_eq!(values[name].estimate, None, "{name}");
            assert_eq!(values[name].note.as_deref(), Some("there is only one class among the labels"), "{name}");
        }
        for name in ["log_loss", "brier", "accuracy"] {
            assert!(value(&values, name).unwrap().is_finite(), "{name}");
        }
    }
}

#[test]
fn a_class_without_rows_is_left_out_of_the_mean() {
    // Class 2 of three never occurs; classes 0 and 1 are separated perfectly.
    let outputs = [0.8, 0.1, 0.1, 0.7, 0.2, 0.1, 0.1, 0.9, 0.0];
    let case = Case { task: Task::Multiclass, classes: 3, ..Case::binary(&[0.0, 0.0, 1.0], &outputs) };
    let values = case.measure(&MetricOptions::default());
    for name in ["roc_auc", "average_precision", "precision", "recall", "f1", "accuracy"] {
        assert_eq!(value(&values, name), Some(1.0), "{name}");
    }
}

#[test]
fn a_class_that_is_only_predicted_pulls_the_mean_down() {
    let outputs = [0.8, 0.1, 0.1, 0.1, 0.2, 0.7, 0.1, 0.9, 0.0];
    let case = Case { task: Task::Multiclass, classes: 3, ..Case::binary(&[0.0, 0.0, 1.0], &outputs) };
    let values = case.measure(&MetricOptions::default());
    // scikit-learn gives the same for actual 0, 0, 1 and predicted 0, 2, 1.
    for (name, expected) in [("precision", 2.0 / 3.0), ("recall", 0.5), ("f1", 5.0 / 9.0)] {
        assert!(close(value(&values, name).unwrap(), expected), "{name}");
    }
}

#[test]
fn rows_of_weight_zero_are_in_no_interval() {
    let labels: Vec<f64> = (0..100).map(|row| if row % 2 == 0 { f64::from(row % 10) } else { 1e6 }).collect();
    let weights = labels.iter().map(|label| if *label < 10.0 { 1.0 } else { 0.0 }).collect();
    let case = Case { weights: Some(weights), ..Case::regression(&labels, &[0.0; 100]) };
    let mae = case.measure(&MetricOptions::default())["mae"].estimate.unwrap();
    assert!(mae.low < mae.value && mae.value < mae.high && mae.high < 10.0, "{mae:?}");
}

#[test]
fn division_by_zero_is_zero_and_says_so() {
    let values = Case::binary(&[0.0, 0.0], &[0.1, 0.2]).measure(&MetricOptions::default());
    for name in ["precision", "recall", "f1"] {
        assert_eq!(value(&values, name), Some(0.0), "{name}");
        assert!(values[name].note.as_ref().unwrap().contains("by convention"), "{name}");
    }
}

#[test]
fn an_unreachable_precision_has_recall_zero() {
    let values = Case::binary(&[0.0, 1.0, 0.0], &[0.9, 0.5, 0.1]).measure(&MetricOptions::default());
    assert_eq!(value(&values, "recall_at_precision"), Some(0.0));
    assert!(values["recall_at_precision"].note.as_ref().unwrap().contains("no threshold"));
}

#[test]
fn without_days_there_is_no_precision_a_day() {
    let values = Case::binary(&[0.0, 1.0], &[0.2, 0.8]).measure(&MetricOptions::default());
    assert_eq!(values["precision_at_k"].estimate, None);
    assert_eq!(values["precision_at_k"].note.as_deref(), Some("the days of the events are not known"));
}

#[test]
fn constant_labels_have_no_r2_and_huge_errors_no_rmse() {
    let constant = Case::regression(&[0.1, 0.1, 0.1], &[0.1, 0.2, 0.3]).measure(&MetricOptions::default());
    assert_eq!(constant["r2"].estimate, None);
    assert!(value(&constant, "rmse").is_some());
    let huge = Case::regression(&[1e300, -1e300], &[0.0, 0.0]).measure(&MetricOptions::default());
    assert_eq!([value(&huge, "rmse"), value(&huge, "r2"), value(&huge, "mae")], [None, None, Some(1e300)]);
}

#[test]
fn one_row_is_enough_for_every_metric_to_answer() {
    for (task, classes, outputs) in
        [(Task::Binary, 2, vec![0.4]), (Task::Multiclass, 3, vec![0.2, 0.3, 0.5]), (Task::Regression, 0, vec![1.5])]
    {
        let case = Case { task, classes, days: Some(vec![17_000]), ..Case::binary(&[1.0], &outputs) };
        let json = serde_json::to_string(&case.measure(&MetricOptions::default())).unwrap();
        let back: BTreeMap<String, MetricValue> = serde_json::from_str(&json).unwrap();
        assert_eq!(back.len(), default_metrics(task).len());
        for measured in back.values() {
            assert!(measured.estimate.is_some() || measured.note.is_some(), "{measured:?}");
        }
    }
}

#[test]
fn resamples_without_a_value_are_counted() {
    // One positive row: in about 37 of 100 resamples it is not drawn.
    let case = Case::binary(&[1.0, 0.0, 0.0, 0.0], &[0.9, 0.1, 0.2, 0.95]);
    let values = case.measure(&MetricOptions { resamples: 1000, ..MetricOptions::default() });
    let note = values["roc_auc"].note.clone().unwrap();
    let undefined: f64 = note.split(' ').next().unwrap().parse().unwrap();
    // The other way to have no value is to draw nothing but the positive row: 1 in 256.
    assert!((undefined / 1000.0 - (0.75_f64.powi(4) + 1.0 / 256.0)).abs() < 0.06, "{note}");
    assert!(note.ends_with("of 1000 resamples have no value"), "{note}");
    assert!(values["log_loss"].note.is_none());
}

#[test]
fn unsound_predictions_are_refused() {
    let good = Case::binary(&[0.0, 1.0], &[0.2, 0.8]);
    let multiclass = Case { task: Task::Multiclass, classes: 3, ..Case::binary(&[0.0, 2.0], &[0.3; 6]) };
    let bad = [
        ("there are no rows to measure", Case::binary(&[], &[])),
        ("lengths do not fit together (outputs = 1, expected = 2)", Case { outputs: vec![0.2], ..good.clone() }),
        ("lengths do not fit together (outputs = 6, expected = 8)", Case { classes: 4, ..multiclass.clone() }),
        ("a multiclass label needs two classes (classes = 1)", Case { classes: 1, ..multiclass.clone() }),
        ("lengths do not fit together (weights = 1, expected = 2)", Case { weights: Some(vec![1.0]), ..good.clone() }),
        ("lengths do not fit together (days = 3, expected = 2)", Case { days: Some(vec![1, 2, 3]), ..good.clone() }),
        ("label out of range (label = 2, row = 1, task = binary)", Case::binary(&[0.0, 2.0], &[0.2, 0.8])),
        ("label out of range (label = 0.5, row = 0, task = binary)", Case::binary(&[0.5, 1.0], &[0.2, 0.8])),
        ("label out of range (label = NaN, row = 0, task = regression)", Case::regression(&[f64::NAN], &[0.2])),
        ("label out of range (label = 3, row = 1, task = multiclass)", Case { labels: vec![0.0, 3.0], ..multiclass }),
        (
            "a prediction is not a finite number (output = NaN, row = 1, task = binary)",
            Case::binary(&[0.0, 1.0], &[0.2, f64::NAN]),
        ),
        (
            "a prediction is not a finite number (output = inf, row = 0, task = regression)",
            Case::regression(&[0.0], &[f64::INFINITY]),
        ),
        (
            "a prediction is no probability (output = 1.5, row = 0, task = binary)",
            Case::binary(&[0.0, 1.0], &[1.5, 0.8]),
        ),
        (
            "a weight is negative or not finite (weight = -1, row = 1)",
            Case { weights: Some(vec![1.0, -1.0]), ..good.clone() },
        ),
        ("all rows have weight zero", Case { weights: Some(vec![0.0, 0.0]), ..good }),
    ];
    for (message, case) in bad {
        let error = evaluate(&case.predictions(), &MetricOptions::default(), None).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn names_are_looked_up_and_kept_in_order() {
    let (case, _) = Case::stored(Task::Binary, false);
    let ask = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        evaluate(&case.predictions(), &MetricOptions::default(), Some(&names))
    };
    let names: Vec<String> = ask(&["brier", "roc_auc"]).unwrap().into_iter().map(|value| value.metric).collect();
    assert_eq!(names, ["brier", "roc_auc"]);
    let unknown = ask(&["roc_acu"]).unwrap_err();
    assert_eq!((unknown.kind(), unknown.hint_text()), (ErrorKind::Usage, Some("did you mean `roc_auc`?")));
    assert_eq!(ask(&["rmse"]).unwrap_err().message(), "the metric is not defined for the task");
    assert_eq!(ask(&["brier", "brier"]).unwrap_err().message(), "the metric is named twice");
}

#[test]
fn every_metric_is_found_under_its_name_and_has_a_task() {
    for metric in METRICS {
        assert_eq!(lookup(metric.name()).unwrap().name(), metric.name());
        assert!(!metric.tasks().is_empty() && !metric.summary().is_empty());
        let lower_is_better = ["log_loss", "brier", "rmse", "mae"].contains(&metric.name());
        assert_eq!(metric.greater_is_better(), !lower_is_better, "{}", metric.name());
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let (case, _) = Case::stored(Task::Binary, false);
    let good = MetricOptions::default;
    let bad = [
        ("threshold", MetricOptions { threshold: f64::NAN, ..good() }),
        ("at_precision", MetricOptions { at_precision: 0.0, ..good() }),
        ("k_per_day", MetricOptions { k_per_day: 0, ..good() }),
        ("confidence", MetricOptions { confidence: 1.0, ..good() }),
        ("resamples", MetricOptions { resamples: 0, ..good() }),
    ];
    for (field, options) in bad {
        let error = evaluate(&case.predictions(), &options, None).unwrap_err();
        assert_eq!((error.kind(), error.context()[0].0), (ErrorKind::Usage, field));
    }
    assert_eq!(serde_json::from_str::<MetricOptions>("{}").unwrap(), good());
    assert!(serde_json::from_str::<MetricOptions>(r#"{"treshold": 0.5}"#).is_err());
}

/// Binary rows with many ties, both classes, days and small integer weights.
fn binary_rows() -> impl Strategy<Value = Case> {
    let row = (any::<bool>(), 0..=20_u8, 0..4_u8, 0..3_i32);
    prop::collection::vec(row, 4..80).prop_map(|mut rows| {
        (rows[0].0, rows[0].2, rows[1].0, rows[1].2) = (true, 1, false, 1);
        Case {
            task: Task::Binary,
            classes: 2,
            labels: rows.iter().map(|row| f64::from(u8::from(row.0))).collect(),
            outputs: rows.iter().map(|row| f64::from(row.1) / 20.0).collect(),
            weights: Some(rows.iter().map(|row| f64::from(row.2)).collect()),
            days: Some(rows.iter().map(|row| row.3).collect()),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_weight_is_a_number_of_repetitions(case in binary_rows()) {
        let options = reference_options();
        let (weighted, repeated) = (case.measure(&options), case.repeated().measure(&options));
        for name in weighted.keys() {
            let (weighted, repeated) = (value(&weighted, name).unwrap(), value(&repeated, name).unwrap());
            prop_assert!(close(weighted, repeated), "{}: {} and {}", name, weighted, repeated);
        }
    }

    #[test]
    fn the_scale_of_weights_does_not_matter(case in binary_rows(), scale in 0.01..100.0_f64) {
        let options = MetricOptions { k_per_day: 1_000_000, ..reference_options() };
        let weights = case.weights.iter().flatten().map(|weight| weight * scale).collect();
        let scaled = Case { weights: Some(weights), ..case.clone() }.measure(&options);
        // A precision of exactly `at_precision` may round to the other side.
        for (name, plain) in case.measure(&options).iter().filter(|(name, _)| *name != "recall_at_precision") {
            prop_assert!(close(plain.estimate.unwrap().value, value(&scaled, name).unwrap()), "{}", name);
        }
    }

    #[test]
    fn rankings_survive_a_monotone_transformation_bit_by_bit(case in binary_rows()) {
        let outputs = case.outputs.iter().map(|score| (score + score.powi(3)) / 2.5 + 0.1).collect();
        let transformed = Case { outputs, ..case.clone() }.measure(&reference_options());
        let plain = case.measure(&reference_options());
        for name in ["roc_auc", "average_precision", "recall_at_precision", "precision_at_k"] {
            prop_assert_eq!(&plain[name], &transformed[name]);
        }
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_order(case in binary_rows()) {
        let weights = case.weights.clone().unwrap();
        let (mut right, mut all) = (0.0, 0.0);
        for (a, b) in (0..weights.len()).flat_map(|a| (0..weights.len()).map(move |b| (a, b))) {
            if case.labels[a] > case.labels[b] {
                let in_order = if case.outputs[a] > case.outputs[b] { 1.0 } else if case.outputs[a] == case.outputs[b] { 0.5 } else { 0.0 };
                right += weights[a] * weights[b] * in_order;
                all += weights[a] * weights[b];
            }
        }
        prop_assert!(close(value(&case.measure(&reference_options()), "roc_auc").unwrap(), right / all));
    }

    #[test]
    fn values_and_intervals_stay_within_the_metrics_range(case in binary_rows()) {
        for (name, measured) in case.measure(&MetricOptions { resamples: 40, ..reference_options() }) {
            let estimate = measured.estimate.unwrap();
            let top = if name == "log_loss" { 36.1 } else { 1.0 };
            prop_assert!(0.0 <= estimate.low && estimate.low <= estimate.high && estimate.high <= top, "{} {:?}", name, estimate);
        }
    }
}
