//! What is refused and how, and that weights act.

use crate::models::{REFERENCE, classes, fit, params};
use lakemill::error::{Error, ErrorKind};
use lakemill::features::FeatureBlock;
use lakemill::models::{ALGORITHMS, Form, Predictor, TrainingSet, baseline, lookup};
use lakemill::task::Task;
use serde_json::{Value, json};

const TASKS: [Task; 3] = [Task::Binary, Task::Multiclass, Task::Regression];

#[test]
fn names_are_found_and_near_misses_get_a_hint() {
    for algorithm in ALGORITHMS {
        assert_eq!(lookup(algorithm.name()).unwrap().name(), algorithm.name());
        assert!(!algorithm.summary().is_empty());
    }
    let error = lookup("random_forrest").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.hint_text(), Some("did you mean `random_forest`?"));
    assert!(lookup("svm").err().unwrap().hint_text().unwrap().contains("extra_trees"));
}

fn refused(name: &str, value: Value) -> Error {
    lookup(name).unwrap().check_params(&params(value)).unwrap_err()
}

#[test]
fn parameters_are_checked_by_name_type_and_range() {
    let error = refused("random_forest", json!({"tree": 10}));
    assert_eq!(error.to_string(), "unknown parameter (parameter = tree, algorithm = random_forest)");
    assert_eq!(error.hint_text(), Some("did you mean `trees`?"));
    assert_eq!(refused("prior", json!({"trees": 1})).hint_text(), Some("it takes no parameters"));
    let error = refused("elastic_net", json!({"alpha": 0.1, "l1_ratio": "half"}));
    assert!(error.to_string().contains("parameter = l1_ratio"), "{error}");
    let wrong = [
        ("logistic_regression", json!({"c": 0.0})),
        ("logistic_regression", json!({"max_iterations": 0})),
        ("elastic_net", json!({"alpha": -1.0})),
        ("elastic_net", json!({"l1_ratio": 1.5})),
        ("elastic_net", json!({"tolerance": 0})),
        ("decision_tree", json!({"max_depth": 0})),
        ("decision_tree", json!({"max_depth": 65})),
        ("decision_tree", json!({"min_leaf_weight": 0})),
        ("decision_tree", json!({"min_impurity_decrease": 0})),
        ("random_forest", json!({"trees": 0})),
        ("random_forest", json!({"min_samples_leaf": 0})),
        ("extra_trees", json!({"max_depth": 1000})),
        ("extra_trees", json!({"max_features": "most"})),
    ];
    for (name, value) in wrong {
        let error = refused(name, value.clone());
        assert_eq!(error.kind(), ErrorKind::Usage, "{name} {value}");
        let parameter = value.as_object().unwrap().keys().next().unwrap();
        assert!(error.to_string().contains(&format!("parameter = {parameter}")), "{error}");
    }
}

#[test]
fn every_schema_lists_its_parameters_with_defaults() {
    for algorithm in ALGORITHMS {
        let schema = algorithm.params_schema();
        assert_eq!(schema.get("additionalProperties"), Some(&json!(false)), "{}", algorithm.name());
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        for (name, property) in properties {
            let default = property.get("default").unwrap_or_else(|| panic!("{} {name}", algorithm.name()));
            algorithm.check_params(&params(json!({name: default}))).unwrap();
        }
    }
}

struct Rows {
    block: FeatureBlock,
    labels: Vec<f64>,
    weights: Vec<f64>,
}

impl Rows {
    fn new() -> Self {
        let block = FeatureBlock::from_columns(4, &[vec![1.0, 2.0, 3.0, 4.0]]);
        Self { block, labels: vec![0.0, 1.0, 0.0, 1.0], weights: vec![1.0; 4] }
    }

    fn fit(&self, name: &str, task: Task, classes: usize) -> Result<Predictor, Error> {
        let (labels, weights) = (&self.labels, &self.weights);
        let training = TrainingSet { features: &self.block, labels, weights, task, classes };
        lookup(name).unwrap().fit(&training, &params(json!({})), 0)
    }
}

#[test]
fn rows_from_which_nothing_can_be_learned_are_refused() {
    type Change = fn(&mut Rows);
    let changes: [(&str, Change); 10] = [
        ("the training rows are all of one class", |rows| rows.labels = vec![1.0; 4]),
        ("the training rows are all of one class", |rows| rows.weights = vec![0.0, 1.0, 0.0, 1.0]),
        ("a label is out of range", |rows| rows.labels[2] = 2.0),
        ("a label is out of range", |rows| rows.labels[2] = 0.5),
        ("a label is out of range", |rows| rows.labels[2] = f64::NAN),
        ("a feature is not a number up to 1e150", |rows| rows.block.column_mut(0)[3] = f64::NAN),
        ("a feature is not a number up to 1e150", |rows| rows.block.column_mut(0)[3] = -1.7e308),
        ("a weight is not a finite number of at least 0", |rows| rows.weights[0] = -1.0),
        ("the weights do not add up to a positive number", |rows| rows.weights = vec![0.0; 4]),
        ("features, labels and weights differ in length", |rows| rows.weights.truncate(3)),
    ];
    for name in ["logistic_regression", "decision_tree", "random_forest", "extra_trees", "prior"] {
        assert!(Rows::new().fit(name, Task::Binary, 2).is_ok());
        for (message, change) in changes {
            let mut rows = Rows::new();
            change(&mut rows);
            let error = rows.fit(name, Task::Binary, 2).unwrap_err();
            assert_eq!((error.message(), error.kind()), (message, ErrorKind::Check), "{name}");
        }
    }
    let empty = Rows { block: FeatureBlock::zeros(0, 1), labels: vec![], weights: vec![] };
    assert_eq!(empty.fit("mean", Task::Regression, 0).unwrap_err().message(), "there is no training row");
    let narrow = Rows { block: FeatureBlock::zeros(4, 0), ..Rows::new() };
    assert_eq!(narrow.fit("random_forest", Task::Binary, 2).unwrap_err().kind(), ErrorKind::Check);
    assert!(narrow.fit("prior", Task::Binary, 2).is_ok(), "a baseline needs no feature");
}

#[test]
fn tasks_that_an_algorithm_cannot_learn_are_refused() {
    for algorithm in ALGORITHMS {
        for task in TASKS {
            let found = Rows::new().fit(algorithm.name(), task, classes(task).min(2));
            assert_eq!(found.is_ok(), algorithm.tasks().contains(&task), "{} {task}", algorithm.name());
            if let Err(error) = found {
                assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
            }
        }
    }
}

/// Algorithms without chance: a weight of 2 is the row twice, a weight of 0 is no row, to the last digits.
#[test]
fn a_weight_of_two_is_the_row_twice() {
    let part = &REFERENCE.train;
    let block = part.block();
    let times: Vec<usize> = (0..part.binary.len()).map(|row| row % 4 % 3).collect();
    let rows: Vec<usize> = times.iter().enumerate().flat_map(|(row, times)| vec![row; *times]).collect();
    let weights: Vec<f64> = times.iter().map(|times| *times as f64).collect();
    let repeated = block.take(&rows);
    let ones = vec![1.0; rows.len()];
    for name in ["logistic_regression", "linear_regression", "elastic_net", "decision_tree", "prior", "mean"] {
        let algorithm = lookup(name).unwrap();
        assert!(algorithm.takes_weights());
        for task in algorithm.tasks() {
            let labels = part.labels(*task);
            let again: Vec<f64> = rows.iter().map(|row| labels[*row]).collect();
            let settings = match name {
                "elastic_net" => params(json!({"tolerance": 1e-13, "alpha": 0.1})),
                _ => params(json!({})),
            };
            let fit = |features: &FeatureBlock, labels: &[f64], weights: &[f64]| {
                let training = TrainingSet { features, labels, weights, task: *task, classes: classes(*task) };
                algorithm.fit(&training, &settings, 0).unwrap().predict(&block)
            };
            let weighted = fit(&block, labels, &weights);
            let repeated = fit(&repeated, &again, &ones);
            let plain = fit(&block, labels, &vec![1.0; labels.len()]);
            let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(distance(&weighted, &repeated) < 1e-7, "{name} {task}: {}", distance(&weighted, &repeated));
            assert!(distance(&weighted, &plain) > 1e-4, "{name} {task}: the weights do nothing");
        }
    }
}

/// Algorithms with chance: rows of weight 0 are never seen, and heavy rows pull the prediction.
#[test]
fn weights_act_in_forests() {
    let part = &REFERENCE.train;
    let block = part.block();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for name in ["random_forest", "extra_trees"] {
        for task in TASKS {
            let labels = part.labels(task);
            let outputs = task.outputs(classes(task));
            let last = |predictor: &Predictor| -> Vec<f64> {
                predictor.predict(&block).chunks(outputs).map(|row| row[outputs - 1]).collect()
            };
            let settings = json!({"min_samples_leaf": 5});
            let middle = mean(labels);
            let heavy: Vec<f64> = labels.iter().map(|label| if *label > middle { 20.0 } else { 1.0 }).collect();
            let plain = mean(&last(&fit(name, task, settings.clone(), None, 2)));
            let pulled = mean(&last(&fit(name, task, settings.clone(), Some(&heavy), 2)));
            assert!(pulled > plain + 0.05, "{name} {task}: {plain} {pulled}");
            let same = vec![3.0; labels.len()];
            let scaled = fit(name, task, settings.clone(), Some(&same), 2);
            assert_eq!(scaled, fit(name, task, settings, None, 2), "{name} {task}: one weight for all is none");
        }
    }
    // Half of the rows have the wrong label and no weight.
    let labels: Vec<f64> = (0..400).map(|row| f64::from(u8::from((row / 100) % 2 == 0))).collect();
    let x: Vec<f64> = (0..400).map(|row| f64::from(row % 200)).collect();
    let labels: Vec<f64> =
        labels.iter().enumerate().map(|(row, label)| if row < 200 { *label } else { 1.0 - label }).collect();
    let weights: Vec<f64> = (0..400).map(|row| f64::from(u8::from(row < 200))).collect();
    let block = FeatureBlock::from_columns(400, &[x]);
    let training = TrainingSet { features: &block, labels: &labels, weights: &weights, task: Task::Binary, classes: 2 };
    for name in ["random_forest", "extra_trees"] {
        let predictor = lookup(name).unwrap().fit(&training, &params(json!({})), 4).unwrap();
        let scores = predictor.predict(&block);
        assert!((0..200).all(|row| (scores[row] - labels[row]).abs() < 0.5), "{name}");
    }
}

#[test]
fn a_class_without_rows_has_the_probability_0() {
    let part = &REFERENCE.train;
    let (block, weights) = (part.block(), vec![1.0; part.binary.len()]);
    // Classes 0, 2 and 3 of five.
    let labels: Vec<f64> = part.multiclass.iter().map(|label| if *label > 0.0 { label + 1.0 } else { 0.0 }).collect();
    for name in ["logistic_regression", "decision_tree", "random_forest", "extra_trees", "prior"] {
        let training =
            TrainingSet { features: &block, labels: &labels, weights: &weights, task: Task::Multiclass, classes: 5 };
        let predictor = lookup(name).unwrap().fit(&training, &params(json!({})), 0).unwrap();
        let shares = predictor.predict(&block);
        assert_eq!(shares.len(), 5 * labels.len());
        for row in shares.chunks(5) {
            assert_eq!((row[1], row[4]), (0.0, 0.0), "{name}");
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{name}: {row:?}");
        }
    }
}

#[test]
fn baselines_are_the_weighted_shares_and_mean() {
    let weights = &REFERENCE.train.weights;
    let total: f64 = weights.iter().sum();
    let share = |labels: &[f64], class: f64| {
        labels.iter().zip(weights).filter(|(label, _)| **label == class).map(|(_, weight)| weight).sum::<f64>() / total
    };
    let block = FeatureBlock::zeros(2, 6);
    for task in TASKS {
        let labels = REFERENCE.train.labels(task);
        let wanted = match task {
            Task::Binary => vec![share(labels, 1.0)],
            Task::Multiclass => vec![share(labels, 0.0), share(labels, 1.0), share(labels, 2.0)],
            Task::Regression => {
                vec![labels.iter().zip(weights).map(|(label, weight)| label * weight).sum::<f64>() / total]
            }
        };
        let predictor = fit(baseline(task).name(), task, json!({}), Some(weights), 0);
        for (found, wanted) in predictor.predict(&block).iter().zip(wanted.repeat(2)) {
            assert!((found - wanted).abs() < 1e-12);
        }
        assert!(matches!(predictor.form(), Form::Constant(_)));
    }
}

#[test]
fn features_that_do_not_vary_do_no_harm() {
    for algorithm in ALGORITHMS {
        for task in algorithm.tasks() {
            let rows = Rows { block: FeatureBlock::from_columns(4, &[vec![0.1; 4]]), ..Rows::new() };
            let predictor = rows.fit(algorithm.name(), *task, classes(*task).min(2)).unwrap();
            let values = predictor.predict(&rows.block);
            assert!(values.iter().all(|value| (value - 0.5).abs() < 0.2), "{} {task}: {values:?}", algorithm.name());
        }
    }
}

/// The largest numbers that are accepted give an answer or an error, never a panic.
#[test]
fn extreme_numbers_do_not_panic() {
    for algorithm in ALGORITHMS {
        for task in algorithm.tasks() {
            let columns = [vec![-1e150, 1e150, 0.0, 5e-324], vec![1e-300, 2e-300, -1e150, 3.0], vec![1e150; 4]];
            let mut rows = Rows { block: FeatureBlock::from_columns(4, &columns), ..Rows::new() };
            if *task == Task::Regression {
                rows.labels = vec![1e150, -1e150, 0.0, 1e-300];
            }
            rows.weights = vec![1e-100, 1e100, 1.0, 0.0];
            for weights in [rows.weights.clone(), vec![1.0; 4]] {
                rows.weights = weights;
                if let Ok(predictor) = rows.fit(algorithm.name(), *task, classes(*task).min(2)) {
                    assert_eq!(predictor.predict(&rows.block).len(), 4 * predictor.outputs());
                }
            }
        }
    }
}

/// What the schema says of a number is what the algorithm holds it to: an editor and `lakemill check` know all bounds.
#[test]
fn the_bounds_of_the_schema_are_those_of_the_algorithms() {
    let mut seen = 0;
    for algorithm in ALGORITHMS {
        let schema = algorithm.params_schema().to_value();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let whole = property["type"] == "integer";
            if !whole && property["type"] != "number" {
                continue;
            }
            let takes = |value: f64| {
                let value = if whole { json!(value as i64) } else { json!(value) };
                algorithm.check_params(&params(json!({ name.as_str(): value }))).is_ok()
            };
            let step = if whole { 1.0 } else { 1e-12 };
            let bound = |key: &str| property[key].as_f64();
            for (key, outside) in [("minimum", -step), ("maximum", step)] {
                let Some(bound) = bound(key) else { continue };
                assert!(takes(bound) && !takes(bound + outside), "{} {name} {key}", algorithm.name());
                seen += 1;
            }
            for (key, inside) in [("exclusiveMinimum", step), ("exclusiveMaximum", -step)] {
                let Some(bound) = bound(key) else { continue };
                assert!(takes(bound + inside) && !takes(bound), "{} {name} {key}", algorithm.name());
                seen += 1;
            }
            assert!(["minimum", "exclusiveMinimum"].into_iter().any(|key| bound(key).is_some()), "{name}");
        }
    }
    assert!(seen > 30, "{seen}");
}
