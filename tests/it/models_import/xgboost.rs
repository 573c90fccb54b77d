//! XGBoost: comparisons, default directions, categories, base scores, tree weights, rounds. The expected numbers follow
//! from its model schema; `tests/reference/imports.py` compares with the library itself.

use super::made::{ubj, xgboost, xgboost_stump};
use super::{NAN, close, one, predictions, read, refused};
use lakemill::models::import::{self, ImportOptions, Rounds};
use lakemill::task::Task;
use serde_json::{Value, json};

/// The predictions for one row, which are the same from both kinds of files.
fn both(model: &Value, row: &[f64]) -> Vec<f64> {
    let json = one(model.to_string().as_bytes(), row);
    assert_eq!(one(&ubj(model), row), json);
    json
}

fn told(model: &Value) -> String {
    refused(model.to_string().as_bytes())
}

#[test]
fn values_below_go_left_in_single_precision() {
    let threshold = f64::from(0.1f32);
    for (default_left, missing) in [(1, 1.0), (0, 2.0)] {
        let model = xgboost("reg:squarederror", "0", vec![xgboost_stump(threshold, default_left)]);
        let rows = [0.05, 0.1, threshold, 0.2, NAN];
        // 0.1 is the threshold once it is an f32.
        assert_eq!(rows.map(|value| both(&model, &[value, 0.0])[0]), [1.0, 2.0, 2.0, 2.0, missing]);
    }
}

#[test]
fn members_of_a_category_set_go_right() {
    let mut tree = xgboost_stump(0.0, 1);
    for (key, value) in [
        ("split_type", json!([1, 0, 0])),
        ("categories", json!([1, 70])),
        ("categories_nodes", json!([0])),
        ("categories_segments", json!([0])),
        ("categories_sizes", json!([2])),
    ] {
        tree[key] = value;
    }
    let model = xgboost("reg:squarederror", "0", vec![tree.clone()]);
    assert_eq!(
        [1.0, 70.0, 0.0, 2.0, 1e9, NAN].map(|value| both(&model, &[value, 0.0])[0]),
        [2.0, 2.0, 1.0, 1.0, 1.0, 1.0]
    );
    tree["categories_sizes"] = json!([9]);
    assert!(told(&xgboost("reg:squarederror", "0", vec![tree])).contains("categories"));
}

#[test]
fn categories_of_the_training_data_become_levels_or_are_looked_up() {
    let mut tree = xgboost_stump(0.0, 1);
    tree["split_type"] = json!([1, 0, 0]);
    tree["categories"] = json!([1]);
    (tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"]) =
        (json!([0]), json!([0]), json!([1]));
    let mut model = xgboost("reg:squarederror", "0", vec![tree]);
    let with = |model: &mut Value, first: Value| {
        let none = json!({"offsets": [], "values": []});
        model["learner"]["gradient_booster"]["model"]["cats"] =
            json!({"enc": [first, none], "feature_segments": [], "sorted_idx": []});
    };
    with(&mut model, json!({"offsets": [0, 1, 3], "values": [120, 121, 122]}));
    let imported = read(model.to_string().as_bytes()).unwrap();
    assert_eq!(imported.features[0].levels.as_deref().unwrap(), ["x", "yz"]);
    // "Kö" and "Ulm" of pandas, whose five letters are taken for bytes: half a letter.
    with(&mut model, json!({"offsets": [0, 2, 5], "values": [75, -61, -74, 85, 108]}));
    assert!(told(&model).contains("beyond ASCII"));
    // Whole letters, which may be right or another name's.
    with(&mut model, json!({"offsets": [0, 3, 6], "values": [120, -61, -74, 85, 108, 109]}));
    assert!(told(&model).contains("beyond ASCII"));
    with(&mut model, json!({"type": 15, "values": [30, 10]}));
    assert_eq!([30.0, 10.0, 11.0, NAN].map(|value| both(&model, &[value, 0.0])[0]), [1.0, 2.0, 1.0, 1.0]);
}

#[test]
fn objectives_decide_task_link_and_base_score() {
    let logistic = |score: f64| 1.0 / (1.0 + (-score).exp());
    let logit = |score: f64| (score / (1.0 - score)).ln();
    // The leaf is 1.
    let of = |objective: &str, base: &str| {
        let model = xgboost(objective, base, vec![xgboost_stump(10.0, 1)]);
        (read(model.to_string().as_bytes()).unwrap().task, both(&model, &[0.0, 0.0])[0])
    };
    for (objective, base, task, expected) in [
        ("binary:logistic", "2E-1", Task::Binary, logistic(1.0 + logit(0.2))),
        ("binary:logistic", "[5E-1]", Task::Binary, logistic(1.0)),
        ("reg:logistic", "0.2", Task::Regression, logistic(1.0 + logit(0.2))),
        ("binary:logitraw", "0.25", Task::Regression, 1.25),
        ("binary:hinge", "0.25", Task::Binary, 1.0),
        ("reg:squarederror", "-2", Task::Regression, -1.0),
        ("count:poisson", "0.5", Task::Regression, 0.5 * 1f64.exp()),
        ("reg:gamma", "2", Task::Regression, 2.0 * 1f64.exp()),
        ("reg:tweedie", "2", Task::Regression, 2.0 * 1f64.exp()),
        ("survival:cox", "0.5", Task::Regression, 0.5 * 1f64.exp()),
        ("rank:pairwise", "0.5", Task::Regression, 1.5),
    ] {
        let (found_task, found) = of(objective, base);
        assert_eq!(found_task, task, "{objective}");
        close(found, expected, 1e-7, objective);
    }
    assert!(told(&xgboost("binary:logistic", "1", vec![xgboost_stump(0.0, 1)])).contains("base_score"));
    assert!(told(&xgboost("binary:logistic", "[0.1,0.2]", vec![xgboost_stump(0.0, 1)])).contains("base_score"));
}

#[test]
fn dart_weighs_its_trees_and_the_best_round_ends_the_sum() {
    let trees = vec![xgboost_stump(10.0, 1), xgboost_stump(10.0, 1), xgboost_stump(10.0, 1)];
    let mut model = xgboost("reg:squarederror", "0", trees);
    model["learner"]["attributes"] = json!({"best_iteration": "1"});
    let with = |rounds| {
        let options = ImportOptions { rounds, ..ImportOptions::default() };
        let imported = import::read(model.to_string().as_bytes(), &options).unwrap();
        predictions(&imported.predictor(None).unwrap(), &[vec![0.0, 0.0]])[0][0]
    };
    assert_eq!([Rounds::Best, Rounds::All, Rounds::First(1)].map(with), [2.0, 3.0, 1.0]);
    let inner = model["learner"]["gradient_booster"].take();
    model["learner"]["gradient_booster"] = json!({"name": "dart", "gbtree": inner, "weight_drop": [0.5, 0.25, 4.0]});
    model["learner"]["attributes"] = json!({});
    assert_eq!(both(&model, &[0.0, 0.0]), [4.75]);
}

#[test]
fn leaves_may_have_a_value_for_each_target() {
    let mut tree = xgboost_stump(0.5, 1);
    tree["tree_param"]["size_leaf_vector"] = json!("2");
    let old = {
        let mut tree = tree.clone();
        tree["base_weights"] = json!([0.0, 0.0, 1.0, 2.0, 3.0, 4.0]);
        tree
    };
    tree["leaf_weights"] = json!([1.0, 2.0, 3.0, 4.0]);
    tree["right_children"] = json!([2, 0, 1]);
    for tree in [tree, old] {
        let mut model = xgboost("reg:squarederror", "[1E0,2E0]", vec![tree]);
        model["learner"]["learner_model_param"]["num_target"] = json!("2");
        let imported = read(model.to_string().as_bytes()).unwrap();
        assert_eq!(imported.targets, ["0", "1"]);
        assert!(imported.predictor(None).unwrap_err().hint_text().unwrap().contains("--target"));
        assert!(imported.predictor(Some(2)).is_err());
        let of = |target| predictions(&imported.predictor(Some(target)).unwrap(), &[vec![0.0, 0.0], vec![1.0, 0.0]]);
        assert_eq!([of(0), of(1)], [[[2.0], [4.0]], [[4.0], [6.0]]]);
    }
}

/// Else a file of a few bytes could ask for as many numbers as it has leaves times outputs.
#[test]
fn leaves_do_not_share_their_values() {
    let mut tree = xgboost_stump(0.5, 1);
    tree["tree_param"]["size_leaf_vector"] = json!("2");
    tree["leaf_weights"] = json!([1.0, 2.0, 3.0, 4.0]);
    for right in [[2, 0, 0], [2, 0, 2]] {
        tree["right_children"] = json!(right);
        let mut model = xgboost("reg:squarederror", "0", vec![tree.clone()]);
        model["learner"]["learner_model_param"]["num_target"] = json!("2");
        let told = told(&model);
        assert!(told.contains("values of its own"), "{told}");
    }
}

#[test]
fn linear_boosters_take_what_is_missing_for_nothing() {
    let mut model = xgboost("binary:logistic", "0.5", Vec::new());
    model["learner"]["gradient_booster"] = json!({"name": "gblinear", "model": {"weights": [2.0, -1.0, 0.5]}});
    let logistic = |score: f64| 1.0 / (1.0 + (-score).exp());
    close(both(&model, &[1.0, 3.0])[0], logistic(-0.5), 1e-12, "all there");
    close(both(&model, &[NAN, 3.0])[0], logistic(-2.5), 1e-12, "one missing");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let good = || xgboost("reg:squarederror", "0", vec![xgboost_stump(0.0, 1)]);
    let with = |pointer: &str, value: Value| {
        let mut model = good();
        *model.pointer_mut(pointer).unwrap() = value;
        told(&model)
    };
    assert!(with("/version", json!([4, 0, 0])).contains("XGBoost 4"));
    assert!(with("/learner/objective/name", json!("reg:made_up")).contains("`reg:made_up`"));
    assert!(with("/learner/gradient_booster/name", json!("gbforest")).contains("`gbforest`"));
    assert!(told(&json!({"name": "tree", "tree_info": []})).contains("save_model"));
    let mut configuration = good();
    configuration["learner"]["learner_train_param"] = json!({"booster": "gbtree"});
    configuration["learner"]["gradient_booster"].as_object_mut().unwrap().remove("model");
    assert!(told(&configuration).contains("save_config"));
    let model = "/learner/gradient_booster/model";
    for (place, value) in [
        ("/tree_info", json!([1])),
        ("/tree_info", json!([])),
        ("/trees/0/left_children", json!([1, 0, -1])),
        ("/trees/0/left_children", json!([9, -1, -1])),
        ("/trees/0/split_indices", json!([5, 0, 0])),
        ("/trees/0/split_conditions", json!([0.0, 1.0])),
        ("/trees/0/split_conditions", json!([0.0, 1e60, 1.0])),
        ("/trees/0/split_type", json!([1, 0, 0])),
    ] {
        assert!(with(&format!("{model}{place}"), value.clone()).contains("damaged"), "{place} {value} was accepted");
    }
    assert!(with("/learner/learner_model_param/num_feature", json!("4000000000")).contains("not supported"));
    assert!(with("/learner/learner_model_param/num_class", json!("3")).contains("does not fit"));
}
