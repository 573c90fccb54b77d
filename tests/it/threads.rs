//! Every algorithm gives the same bytes at any number of threads.

use crate::models::{REFERENCE, fit, params};
use lakemill::features::FeatureBlock;
use lakemill::models::{ALGORITHMS, TrainingSet, lookup};
use lakemill::task::Task;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// What `work` gives on 1, 2 and 7 threads, which must be one and the same.
fn the_same<T: PartialEq + Send>(what: &str, work: impl Fn() -> T + Sync) -> T {
    let on = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&work);
    let first = on(1);
    assert!(first == on(2) && first == on(7), "{what}");
    first
}

/// Settings under which an algorithm takes another path.
fn settings(algorithm: &str) -> Vec<Value> {
    match algorithm {
        "random_forest" => {
            vec![json!({"trees": 9, "library": "lakemill"}), json!({"trees": 9, "library": "smartcore"})]
        }
        "extra_trees" => vec![json!({"trees": 9})],
        "decision_tree" => vec![json!({"library": "lakemill"}), json!({"library": "linfa"})],
        "gradient_boosting" => vec![json!({"trees": 12}), json!({"trees": 12, "subsample": 0.6, "colsample": 0.5})],
        _ => vec![json!({})],
    }
}

#[test]
fn every_algorithm_gives_the_same_bytes() {
    let heavy: Vec<f64> = REFERENCE.train.binary.iter().map(|label| 0.3 + 7.1 * label).collect();
    for algorithm in ALGORITHMS {
        for task in algorithm.tasks() {
            for settings in settings(algorithm.name()) {
                let weights = (*task == Task::Binary && algorithm.takes_weights()).then_some(heavy.as_slice());
                let name = algorithm.name();
                let work = || fit(name, *task, settings.clone(), weights, 5).to_payload().unwrap();
                assert!(!the_same(&format!("{name} {task} {settings}"), work).is_empty());
            }
        }
    }
}

/// Enough rows for all that is parallel within a tree, and values in more than 255 bins.
#[test]
fn trees_on_bins_of_many_rows_give_the_same_bytes() {
    let mut stream = ChaCha8Rng::seed_from_u64(11);
    let mut unit = || f64::from(stream.next_u32()) / 2f64.powi(32);
    let rows = 40_000;
    let columns: Vec<Vec<f64>> = (0..8).map(|_| (0..rows).map(|_| unit()).collect()).collect();
    let labels: Vec<f64> =
        (0..rows).map(|row| f64::from(u8::from(columns[1][row] * columns[2][row] + 0.3 * unit() > 0.5))).collect();
    let weights: Vec<f64> = (0..rows).map(|row| 0.1 + (row % 7) as f64 / 3.0).collect();
    let block = FeatureBlock::from_columns(rows, &columns);
    let training = TrainingSet { features: &block, labels: &labels, weights: &weights, task: Task::Binary, classes: 2 };
    for (name, settings) in [
        ("random_forest", json!({"trees": 5, "max_depth": 8, "library": "lakemill"})),
        ("decision_tree", json!({"max_depth": 12, "library": "lakemill"})),
        ("gradient_boosting", json!({"trees": 4})),
    ] {
        let work = || lookup(name).unwrap().fit(&training, &params(settings.clone()), 3).unwrap().to_payload().unwrap();
        the_same(name, work);
    }
}
