//! Every algorithm against scikit-learn's stored numbers (`tests/reference/models.py`).

use lakemill::features::FeatureBlock;
use lakemill::models::{ALGORITHMS, Form, Params, Predictor, TrainingSet, baseline, lookup};
use lakemill::task::Task;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// One half of the stored data set.
#[derive(Deserialize)]
pub struct Part {
    x: Vec<Vec<f64>>,
    pub binary: Vec<f64>,
    pub multiclass: Vec<f64>,
    pub regression: Vec<f64>,
    pub weights: Vec<f64>,
}

impl Part {
    pub fn block(&self) -> FeatureBlock {
        FeatureBlock::from_columns(self.binary.len(), &self.x)
    }

    pub fn labels(&self, task: Task) -> &[f64] {
        match task {
            Task::Binary => &self.binary,
            Task::Multiclass => &self.multiclass,
            Task::Regression => &self.regression,
        }
    }
}

/// The stored data set and what scikit-learn found.
#[derive(Deserialize)]
pub struct Reference {
    pub train: Part,
    pub test: Part,
    found: Value,
}

impl Reference {
    fn number(&self, model: &str, name: &str) -> f64 {
        self.found[model][name].as_f64().unwrap()
    }

    fn numbers(&self, model: &str, name: &str) -> Vec<f64> {
        flat(&self.found[model][name])
    }
}

fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(values) => values.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

pub static REFERENCE: LazyLock<Reference> =
    LazyLock::new(|| serde_json::from_str(include_str!("../reference/models.json")).unwrap());

pub const fn classes(task: Task) -> usize {
    match task {
        Task::Binary => 2,
        Task::Multiclass => 3,
        Task::Regression => 0,
    }
}

pub fn params(value: Value) -> Params {
    value.as_object().unwrap().clone()
}

/// Fits on the stored training half; `weights: None` gives every row the weight 1.
pub fn fit(name: &str, task: Task, value: Value, weights: Option<&[f64]>, seed: u64) -> Predictor {
    let part = &REFERENCE.train;
    let (block, ones) = (part.block(), vec![1.0; part.binary.len()]);
    let weights = weights.unwrap_or(&ones);
    let training = TrainingSet { features: &block, labels: part.labels(task), weights, task, classes: classes(task) };
    lookup(name).unwrap().fit(&training, &params(value), seed).unwrap()
}

fn close(found: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (index, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let distance = (found - wanted).abs() / wanted.abs().max(1.0);
        assert!(distance <= tolerance, "{what}[{index}]: {found} instead of {wanted}");
    }
}

fn linear(predictor: &Predictor) -> (Vec<f64>, Vec<f64>) {
    match predictor.form() {
        Form::Linear(linear) => (linear.coefficients.concat(), linear.intercepts.clone()),
        other => panic!("not linear: {other:?}"),
    }
}

/// The share of pairs of a positive and a negative row that are in order.
pub fn roc_auc(labels: &[f64], scores: &[f64]) -> f64 {
    let (mut ordered, mut pairs) = (0.0, 0.0);
    for (_, a) in labels.iter().zip(scores).filter(|(label, _)| **label == 1.0) {
        for (_, b) in labels.iter().zip(scores).filter(|(label, _)| **label == 0.0) {
            pairs += 1.0;
            ordered += if a > b { 1.0 } else { 0.5 * f64::from(u8::from(a == b)) };
        }
    }
    ordered / pairs
}

/// Rows of the same score count as one step, as scikit-learn does.
fn average_precision(labels: &[f64], scores: &[f64]) -> f64 {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut hits, mut seen, mut sum) = (0.0, 0.0, 0.0);
    for step in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let new: f64 = step.iter().map(|row| labels[*row]).sum();
        hits += new;
        seen += step.len() as f64;
        sum += new * hits / seen;
    }
    sum / hits
}

fn log_loss(labels: &[f64], shares: &[f64], classes: usize) -> f64 {
    let loss: f64 = labels
        .iter()
        .zip(shares.chunks(classes))
        .map(|(label, row)| -row[*label as usize].clamp(f64::EPSILON, 1.0).ln())
        .sum();
    loss / labels.len() as f64
}

pub fn r2(labels: &[f64], values: &[f64]) -> f64 {
    let mean = labels.iter().sum::<f64>() / labels.len() as f64;
    let rest: f64 = labels.iter().zip(values).map(|(label, value)| (label - value).powi(2)).sum();
    1.0 - rest / labels.iter().map(|label| (label - mean).powi(2)).sum::<f64>()
}

#[test]
fn logistic_regression_has_scikit_learns_coefficients() {
    let reference = &*REFERENCE;
    let weights = reference.train.weights.as_slice();
    for (model, weights) in [("logistic_regression", None), ("logistic_regression_weighted", Some(weights))] {
        let predictor = fit("logistic_regression", Task::Binary, json!({}), weights, 0);
        let (coefficients, intercepts) = linear(&predictor);
        close(&coefficients, &reference.numbers(model, "coefficients"), 1e-6, model);
        close(&intercepts, &reference.numbers(model, "intercepts"), 1e-6, model);
        let predictions = predictor.predict(&reference.test.block());
        close(&predictions[..40], &reference.numbers(model, "predictions"), 1e-6, model);
    }
}

#[test]
fn multinomial_logistic_regression_has_scikit_learns_probabilities() {
    let reference = &*REFERENCE;
    let weights = reference.train.weights.as_slice();
    let cases = [("logistic_regression_multiclass", None), ("logistic_regression_multiclass_weighted", Some(weights))];
    for (model, weights) in cases {
        let predictor = fit("logistic_regression", Task::Multiclass, json!({}), weights, 0);
        close(&linear(&predictor).0, &reference.numbers(model, "coefficients"), 1e-6, model);
        let predictions = predictor.predict(&reference.test.block());
        close(&predictions[..120], &reference.numbers(model, "predictions"), 1e-6, model);
    }
}

#[test]
fn linear_regression_has_scikit_learns_coefficients() {
    let reference = &*REFERENCE;
    let weights = reference.train.weights.as_slice();
    for (model, weights) in [("linear_regression", None), ("linear_regression_weighted", Some(weights))] {
        let (coefficients, intercepts) = linear(&fit("linear_regression", Task::Regression, json!({}), weights, 0));
        close(&coefficients, &reference.numbers(model, "coefficients"), 1e-9, model);
        close(&intercepts, &reference.numbers(model, "intercepts"), 1e-9, model);
    }
}

#[test]
fn elastic_net_has_scikit_learns_coefficients() {
    let reference = &*REFERENCE;
    let weights = reference.train.weights.as_slice();
    let settings = json!({"alpha": 0.2, "l1_ratio": 0.6, "tolerance": 1e-12});
    for (model, weights) in [("elastic_net", None), ("elastic_net_weighted", Some(weights))] {
        let (coefficients, intercepts) = linear(&fit("elastic_net", Task::Regression, settings.clone(), weights, 0));
        close(&coefficients, &reference.numbers(model, "coefficients"), 1e-5, model);
        close(&intercepts, &reference.numbers(model, "intercepts"), 1e-5, model);
    }
}

fn classifier(name: &str, settings: Value, weights: Option<&[f64]>, model: &str, tolerance: f64) {
    let reference = &*REFERENCE;
    let (test, block) = (&reference.test, reference.test.block());
    let near = |what: &str, found: f64, tolerance: f64| {
        let wanted = reference.number(model, what);
        assert!((found - wanted).abs() <= tolerance, "{model} {what}: {found} instead of {wanted}");
    };
    let scores = fit(name, Task::Binary, settings.clone(), weights, 3).predict(&block);
    near("roc_auc", roc_auc(&test.binary, &scores), tolerance);
    near("average_precision", average_precision(&test.binary, &scores), 2.0 * tolerance);
    if weights.is_none() {
        near("mean_prediction", scores.iter().sum::<f64>() / scores.len() as f64, 0.02);
        let shares = fit(name, Task::Multiclass, settings, None, 3).predict(&block);
        // Ours are one against the rest, so they need not be equal, but must not be worse.
        let loss = log_loss(&test.multiclass, &shares, 3);
        assert!(loss <= reference.number(model, "log_loss") + 0.03, "{model}: {loss}");
    }
}

#[test]
fn decision_tree_ranks_as_scikit_learns_does() {
    let settings = json!({"max_depth": 4, "min_leaf_weight": 10.0});
    classifier("decision_tree", settings.clone(), None, "decision_tree", 0.01);
    let predictor = fit("decision_tree", Task::Binary, settings, None, 0);
    let (found, wanted) =
        (predictor.predict(&REFERENCE.test.block()), REFERENCE.numbers("decision_tree", "predictions"));
    let equal = found.iter().zip(&wanted).filter(|(found, wanted)| (*found - *wanted).abs() < 1e-12).count();
    // A tie between two splits may be broken otherwise.
    assert!(equal * 10 >= wanted.len() * 9, "{equal} of {} leaves are the same", wanted.len());
}

/// On bins, thresholds stand elsewhere, so leaves differ; the quality does not.
#[test]
fn decision_tree_on_bins_ranks_as_scikit_learns_does() {
    let settings = json!({"max_depth": 4, "min_leaf_weight": 10.0, "library": "lakemill"});
    classifier("decision_tree", settings.clone(), None, "decision_tree", 0.02);
    // All values have a bin of their own among a few hundred rows, so the first question is the same.
    let root = |settings: Value| match fit("decision_tree", Task::Binary, settings, None, 0).form() {
        Form::Forest(forest) => forest.trees()[0].clone(),
        other => panic!("not a forest: {other:?}"),
    };
    let (ours, linfa) = (root(settings), root(json!({"max_depth": 4, "min_leaf_weight": 10.0})));
    assert!(ours.leaves().len().abs_diff(linfa.leaves().len()) <= 2);
}

#[test]
fn random_forest_ranks_as_scikit_learns_does() {
    let heavy: Vec<f64> = REFERENCE.train.binary.iter().map(|label| 1.0 + 7.0 * label).collect();
    for library in ["lakemill", "smartcore"] {
        let settings = json!({"min_samples_leaf": 3, "library": library});
        classifier("random_forest", settings.clone(), None, "random_forest", 0.015);
        classifier("random_forest", settings, Some(&heavy), "random_forest_weighted", 0.02);
    }
}

#[test]
fn extra_trees_rank_as_scikit_learns_do() {
    let settings = json!({"min_samples_leaf": 3});
    classifier("extra_trees", settings.clone(), None, "extra_trees", 0.015);
    let heavy: Vec<f64> = REFERENCE.train.binary.iter().map(|label| 1.0 + 7.0 * label).collect();
    classifier("extra_trees", settings, Some(&heavy), "extra_trees_weighted", 0.02);
}

#[test]
fn forests_regress_as_scikit_learns_do() {
    let reference = &*REFERENCE;
    for (name, model) in [("random_forest", "random_forest_regression"), ("extra_trees", "extra_trees_regression")] {
        let values = fit(name, Task::Regression, json!({}), None, 5).predict(&reference.test.block());
        let (found, wanted) = (r2(&reference.test.regression, &values), reference.number(model, "r2"));
        assert!((found - wanted).abs() < 0.015, "{model}: {found} instead of {wanted}");
    }
}

#[test]
fn every_algorithm_beats_its_baseline_and_predicts_probabilities() {
    let reference = &*REFERENCE;
    let block = reference.test.block();
    for algorithm in ALGORITHMS {
        for task in algorithm.tasks() {
            // A hundred rounds are too many for 500 rows (LightGBM's are no better than the baseline then, either).
            let settings = if algorithm.name() == "gradient_boosting" { json!({"trees": 20}) } else { json!({}) };
            let own = fit(algorithm.name(), *task, settings, None, 1).predict(&block);
            let base = fit(baseline(*task).name(), *task, json!({}), None, 1).predict(&block);
            let labels = reference.test.labels(*task);
            let (own, base) = match task {
                Task::Regression => (r2(labels, &own), r2(labels, &base)),
                _ => {
                    assert!(own.iter().all(|share| (0.0..=1.0).contains(share)), "{}", algorithm.name());
                    let per_row = task.outputs(3);
                    if per_row > 1 {
                        assert!(own.chunks(per_row).all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-12));
                    }
                    // The Brier score against the first class's share is enough to tell them apart.
                    let brier = |shares: &[f64]| -> f64 {
                        let own = |label: &f64| f64::from(u8::from(*label == if per_row == 1 { 1.0 } else { 0.0 }));
                        let errors =
                            labels.iter().zip(shares.chunks(per_row)).map(|(l, row)| (own(l) - row[0]).powi(2));
                        errors.sum::<f64>() / labels.len() as f64
                    };
                    (-brier(&own), -brier(&base))
                }
            };
            let is_baseline = algorithm.name() == baseline(*task).name();
            assert!(own > base || is_baseline, "{} {task}: {own} against {base}", algorithm.name());
        }
    }
}
