//! One test for each known trap of linfa and smartcore: where the library would go wrong, ours does not.

use crate::models::{REFERENCE, fit, params, roc_auc};
use lakemill::features::FeatureBlock;
use lakemill::models::{Form, Predictor, TrainingSet, lookup};
use lakemill::task::Task;
use serde_json::{Value, json};

fn learn(name: &str, task: Task, columns: &[Vec<f64>], labels: &[f64], settings: Value) -> Predictor {
    let block = FeatureBlock::from_columns(labels.len(), columns);
    let weights = vec![1.0; labels.len()];
    let classes = match task {
        Task::Regression => 0,
        _ => labels.iter().fold(0.0_f64, |largest, label| largest.max(*label)) as usize + 1,
    };
    let training = TrainingSet { features: &block, labels, weights: &weights, task, classes };
    lookup(name).unwrap().fit(&training, &params(settings), 11).unwrap()
}

fn predict(predictor: &Predictor, columns: &[Vec<f64>]) -> Vec<f64> {
    predictor.predict(&FeatureBlock::from_columns(columns[0].len(), columns))
}

fn splits(predictor: &Predictor) -> Vec<usize> {
    match predictor.form() {
        Form::Forest(forest) => forest.trees().iter().map(|tree| tree.nodes().len()).collect(),
        other => panic!("not a forest: {other:?}"),
    }
}

/// linfa-logistic: the positive class is the more frequent one.
#[test]
fn the_positive_class_is_1_whichever_is_more_frequent() {
    for share in [20, 80] {
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let labels: Vec<f64> = (0..100).map(|row| f64::from(u8::from(row >= 100 - share))).collect();
        let predictor = learn("logistic_regression", Task::Binary, std::slice::from_ref(&x), &labels, json!({}));
        let ends = predict(&predictor, &[vec![0.0, 99.0]]);
        assert!(ends[0] < 0.5 && ends[1] > 0.5, "{share} % positive: {ends:?}");
    }
}

/// linfa-logistic: the penalty is not divided by the number of rows, so it weakens with more rows.
#[test]
fn the_penalty_has_scikit_learns_meaning() {
    let slope = |times: usize, c: f64| {
        let x = [-1.0, -1.0, 1.0, 1.0].repeat(times);
        let labels = [0.0, 1.0, 1.0, 1.0].repeat(times);
        match learn("logistic_regression", Task::Binary, &[x], &labels, json!({"c": c})).form() {
            Form::Linear(linear) => linear.coefficients[0][0],
            other => panic!("not linear: {other:?}"),
        }
    };
    assert!((slope(10, 1.0) - slope(1, 10.0)).abs() < 1e-8, "ten times the rows is a tenth of the penalty");
    assert!(slope(10, 1.0) - slope(1, 1.0) > 0.1);
}

/// linfa-logistic, multinomial: needs scaled features, and loses precision on rows far out.
#[test]
fn multinomial_fits_survive_wild_scales_and_outliers() {
    let reference = &REFERENCE.train;
    let block = reference.block();
    let mut columns: Vec<Vec<f64>> = (0..block.features()).map(|feature| block.column(feature).to_vec()).collect();
    let plain = learn("logistic_regression", Task::Multiclass, &columns, &reference.multiclass, json!({}));
    columns[0].iter_mut().for_each(|value| *value = *value * 1e9 + 1e12);
    let scaled = learn("logistic_regression", Task::Multiclass, &columns, &reference.multiclass, json!({}));
    for (a, b) in predict(&plain, &columns_of(&block)).iter().zip(predict(&scaled, &columns)) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    let mut far = columns_of(&block);
    far[5][0] = 1e6;
    let labels = &reference.multiclass;
    let predictor = learn("logistic_regression", Task::Multiclass, &far, labels, json!({"c": 100.0}));
    assert!(predict(&predictor, &far).iter().all(|share| share.is_finite()));
}

fn columns_of(block: &FeatureBlock) -> Vec<Vec<f64>> {
    (0..block.features()).map(|feature| block.column(feature).to_vec()).collect()
}

/// linfa-linear: fails on columns that depend on each other, and asserts shapes.
#[test]
fn dependent_columns_get_the_coefficient_0() {
    let x: Vec<f64> = (0..50).map(|row| f64::from(row % 7)).collect();
    let yes: Vec<f64> = (0..50).map(|row| f64::from(u8::from(row % 3 == 0))).collect();
    let no: Vec<f64> = yes.iter().map(|value| 1.0 - value).collect();
    let twice: Vec<f64> = x.iter().map(|value| 2.0 * value + 5.0).collect();
    let labels: Vec<f64> = x.iter().zip(&yes).map(|(x, yes)| 3.0 * x - 2.0 * yes + 1.0).collect();
    let columns = [x, yes, no, twice, vec![4.0; 50]];
    let predictor = learn("linear_regression", Task::Regression, &columns, &labels, json!({}));
    let Form::Linear(linear) = predictor.form() else { panic!("not linear") };
    for (found, wanted) in linear.coefficients[0].iter().zip([3.0, -2.0, 0.0, 0.0, 0.0]) {
        assert!((found - wanted).abs() < 1e-9, "{:?}", linear.coefficients);
    }
    assert!((linear.intercepts[0] - 1.0).abs() < 1e-9);
}

/// linfa-linear: more features than rows.
#[test]
fn more_features_than_rows_still_fit() {
    let columns: Vec<Vec<f64>> =
        (0..9).map(|at| (0..4).map(|row| f64::from((row * 7 + at * row * row) % 5)).collect()).collect();
    let labels = [1.0, 4.0, -2.0, 0.5];
    let predictor = learn("linear_regression", Task::Regression, &columns, &labels, json!({}));
    for (found, wanted) in predict(&predictor, &columns).iter().zip(labels) {
        assert!((found - wanted).abs() < 1e-8, "{found} instead of {wanted}");
    }
}

/// linfa-elasticnet: the intercept is the mean label, which is right only for centred features.
#[test]
fn the_intercept_of_an_elastic_net_knows_the_features_means() {
    let x: Vec<f64> = (0..40).map(|row| 1000.0 + f64::from(row)).collect();
    let labels: Vec<f64> = x.iter().map(|x| 2.0 * x + 7.0).collect();
    let settings = json!({"alpha": 1e-9, "tolerance": 1e-12});
    let predictor = learn("elastic_net", Task::Regression, std::slice::from_ref(&x), &labels, settings);
    let found = predict(&predictor, &[vec![0.0]]);
    assert!((found[0] - 7.0).abs() < 1e-3, "{found:?}");
}

/// linfa-elasticnet: says nothing when it stops before it has converged.
#[test]
fn an_elastic_net_that_does_not_converge_is_an_error() {
    let part = &REFERENCE.train;
    let (block, weights) = (part.block(), vec![1.0; part.binary.len()]);
    let training = TrainingSet {
        features: &block,
        labels: &part.regression,
        weights: &weights,
        task: Task::Regression,
        classes: 0,
    };
    let settings = params(json!({"alpha": 1e-6, "max_iterations": 2, "tolerance": 1e-14}));
    let error = lookup("elastic_net").unwrap().fit(&training, &settings, 0).unwrap_err();
    assert_eq!(error.message(), "the fit did not converge");
}

/// linfa-trees: neighbouring values that differ by less than 1e-5 are one value.
#[test]
fn a_tree_splits_features_of_any_scale() {
    for scale in [1e-9, 1.0, 1e12] {
        let x: Vec<f64> = (0..40).map(|row| scale * f64::from(row)).collect();
        let labels: Vec<f64> = (0..40).map(|row| f64::from(u8::from(row >= 13))).collect();
        for library in ["linfa", "lakemill"] {
            let settings = json!({"min_leaf_weight": 1.0, "library": library});
            let predictor = learn("decision_tree", Task::Binary, std::slice::from_ref(&x), &labels, settings);
            let found = predict(&predictor, &[vec![12.4 * scale, 12.6 * scale]]);
            assert_eq!(found, [0.0, 1.0], "scale {scale}: the threshold is the midpoint of 12 and 13");
        }
    }
}

/// linfa-trees: leaves hold the modal class only, and siblings of the same one are pruned away.
#[test]
fn leaves_hold_class_shares_where_positives_are_rare() {
    let x: Vec<f64> = (0..1000).map(|row| f64::from(row / 500)).collect();
    let labels: Vec<f64> =
        (0..1000).map(|row| f64::from(u8::from(row >= 500 && row % 10 == 0 || row < 500 && row % 250 == 0))).collect();
    for library in ["linfa", "lakemill"] {
        let settings = json!({"library": library});
        let predictor = learn("decision_tree", Task::Binary, std::slice::from_ref(&x), &labels, settings);
        assert_eq!(predict(&predictor, &[vec![0.0, 1.0]]), [2.0 / 500.0, 50.0 / 500.0]);
    }
}

/// linfa-trees: several classes are added up in the random order of a hash map, and modal ties are
/// broken by it.
#[test]
fn a_tree_is_the_same_every_time() {
    for task in [Task::Binary, Task::Multiclass] {
        let settings = json!({"min_leaf_weight": 1.0, "max_depth": 12});
        let first = fit("decision_tree", task, settings.clone(), None, 0);
        for _ in 0..5 {
            assert_eq!(fit("decision_tree", task, settings.clone(), None, 0), first);
        }
    }
}

/// linfa-trees: its 32-bit sums of fractional weights drift, and an assertion fails on an empty side.
#[test]
fn fractional_weights_neither_drift_nor_panic() {
    let part = &REFERENCE.train;
    let weights: Vec<f64> = (0..part.binary.len()).map(|row| 1e-7 + 0.1 * (row % 13) as f64).collect();
    for library in ["linfa", "lakemill"] {
        let settings = json!({"min_leaf_weight": 1e-7, "max_depth": 30, "library": library});
        let predictor = fit("decision_tree", Task::Binary, settings, Some(&weights), 0);
        let scores = predictor.predict(&part.block());
        assert!(roc_auc(&part.binary, &scores) > 0.99, "so small leaves learn the training rows by heart");
    }
}

/// A side whose weight is lost in the other's has no impurity to compare with.
#[test]
fn a_split_that_parts_off_next_to_no_weight_is_no_better_than_others() {
    let features = FeatureBlock::from_columns(4, &[vec![0.0, 0.0, 1.0, 1.0], vec![0.0, 0.0, 0.0, 1.0]]);
    let (labels, weights) = ([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1e-20]);
    let training =
        TrainingSet { features: &features, labels: &labels, weights: &weights, task: Task::Binary, classes: 2 };
    let settings = params(json!({"min_leaf_weight": 1e-30, "min_impurity_decrease": 1e-9}));
    let predictor = lookup("decision_tree").unwrap().fit(&training, &settings, 0).unwrap();
    assert_eq!(predictor.predict(&features), labels);
}

/// smartcore: forests have no probabilities; a forest of ours predicts shares, not votes.
#[test]
fn forests_predict_shares() {
    let x = vec![0.0; 400];
    let labels: Vec<f64> = (0..400).map(|row| f64::from(u8::from(row % 4 == 0))).collect();
    let one_hot: Vec<f64> = (0..400).map(|row| f64::from(row % 2)).collect();
    for name in ["random_forest", "extra_trees"] {
        let predictor =
            learn(name, Task::Binary, &[x.clone(), one_hot.clone()], &labels, json!({"max_features": "all"}));
        let found = predict(&predictor, &[vec![0.0, 0.0], vec![0.0, 1.0]]);
        assert!((found[0] - 0.5).abs() < 0.05 && found[1] == 0.0, "{name}: {found:?}");
    }
}

/// smartcore's regressors go on splitting rows that are alike: none of those splits is left.
#[test]
fn splits_of_pure_nodes_are_left_out() {
    let x: Vec<f64> = (0..300).map(f64::from).collect();
    let labels: Vec<f64> = (0..300).map(|row| f64::from(u8::from(row >= 150))).collect();
    for name in ["random_forest", "extra_trees"] {
        let predictor = learn(name, Task::Binary, std::slice::from_ref(&x), &labels, json!({"trees": 7}));
        assert!(splits(&predictor).iter().all(|count| (1..=40).contains(count)), "{name}: {:?}", splits(&predictor));
    }
    let predictor = learn("random_forest", Task::Binary, std::slice::from_ref(&x), &labels, json!({"trees": 7}));
    assert_eq!(splits(&predictor), [1; 7], "one question is enough");
}

/// smartcore counts levels of nodes; a depth of ours is a number of questions.
#[test]
fn max_depth_counts_questions() {
    for name in ["random_forest", "extra_trees", "decision_tree"] {
        for (depth, most) in [(1, 1), (2, 3)] {
            let mut settings = params(json!({"max_depth": depth}));
            if name != "decision_tree" {
                settings.insert("trees".to_owned(), json!(3));
            }
            let found = splits(&fit(name, Task::Binary, Value::Object(settings), None, 0));
            assert!(found.iter().all(|count| (1..=most).contains(count)), "{name} {depth}: {found:?}");
        }
    }
}

/// smartcore's forests are seeded by one number: trees and groups of trees must still differ.
#[test]
fn trees_differ_and_more_of_them_keep_the_first_ones() {
    let forest = |trees: usize| match fit("random_forest", Task::Binary, json!({"trees": trees}), None, 9).form() {
        Form::Forest(forest) => forest.trees().to_vec(),
        other => panic!("not a forest: {other:?}"),
    };
    let many = forest(12);
    for (index, tree) in many.iter().enumerate() {
        assert!(!many[..index].contains(tree), "tree {index} is there twice");
    }
    assert_eq!(forest(8), many[..8]);
    assert_eq!(many.len(), 12);
    assert_eq!(forest(5).len(), 5);
}
