//! LightGBM: what each bit and each objective means. The expected numbers follow from `tree.h` and the objectives'
//! `ConvertOutput`; `tests/reference/imports.py` compares with the library itself.

use super::made::{lightgbm, stump};
use super::{NAN, one, predictions, read, refused};
use lakemill::models::import::{self, ImportOptions, Rounds};
use lakemill::task::Task;

fn side(decision: u8, value: f64) -> f64 {
    one(&lightgbm(1, 1, "objective=regression", &[&stump(decision, "0.5")], ""), &[value])[0]
}

#[test]
fn missing_values_follow_the_decision_type() {
    // None: missing is 0, which is at most 0.5.
    assert_eq!([NAN, 0.0, 0.5, 0.6].map(|value| side(0, value)), [1.0, 1.0, 1.0, 2.0]);
    assert_eq!([NAN, 0.0].map(|value| side(2, value)), [1.0, 1.0]);
    // Zero: 0 and what is as good as 0 are missing.
    assert_eq!([NAN, 0.0, 1e-36, -1e-36, 0.25].map(|value| side(4, value)), [2.0, 2.0, 2.0, 2.0, 1.0]);
    assert_eq!([NAN, 0.0, 0.7].map(|value| side(4 | 2, value)), [1.0, 1.0, 2.0]);
    // NaN: to the default side.
    assert_eq!([NAN, 0.0, 0.7].map(|value| side(8, value)), [2.0, 1.0, 2.0]);
    assert_eq!([NAN, 0.7].map(|value| side(8 | 2, value)), [1.0, 2.0]);
    assert!(refused(&lightgbm(1, 1, "objective=regression", &[&stump(12, "0")], "")).contains("decision_type"));
}

const CATEGORIES: &str = "num_leaves=2\nnum_cat=1\nsplit_feature=0\nthreshold=0\ndecision_type=1\nleft_child=-1\n\
                          right_child=-2\nleaf_value=1 2\ncat_boundaries=0 2\ncat_threshold=5 2\nshrinkage=1";

#[test]
fn categories_are_bits_and_missing_ones_are_in_no_set() {
    let model = lightgbm(1, 1, "objective=regression", &[CATEGORIES], "");
    // Bits 0 and 2 of the first word, 1 of the second.
    let rows = [0.0, 2.0, 33.0, 2.9, 1.0, 32.0, 34.0, 1e9, -1.0, NAN];
    let sides = [1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    assert_eq!(rows.map(|value| one(&model, &[value])[0]), sides);
    // A set that two splits share is none that LightGBM writes.
    let shared = CATEGORIES
        .replace("num_leaves=2", "num_leaves=3")
        .replace(
            "=0\nthreshold=0\ndecision_type=1\nleft_child=-1",
            "=0 0\nthreshold=0 0\ndecision_type=1 1\nleft_child=1 -1",
        )
        .replace("right_child=-2\nleaf_value=1 2", "right_child=-2 -3\nleaf_value=1 2 3");
    assert!(refused(&lightgbm(1, 1, "objective=regression", &[&shared], "")).contains("category set"));
}

#[test]
fn objectives_decide_task_and_link() {
    let leaf = "num_leaves=1\nnum_cat=0\nleaf_value=0.5";
    let of = |objective: &str, outputs: usize| {
        let model = lightgbm(1, outputs, objective, &vec![leaf; outputs], "");
        let task = read(&model).unwrap().task;
        (task, one(&model, &[0.0]))
    };
    let logistic = |score: f64| 1.0 / (1.0 + (-score).exp());
    assert_eq!(of("objective=binary sigmoid:1", 1), (Task::Binary, vec![logistic(0.5)]));
    assert_eq!(of("objective=binary sigmoid:2", 1), (Task::Binary, vec![logistic(1.0)]));
    assert_eq!(of("objective=cross_entropy", 1), (Task::Binary, vec![logistic(0.5)]));
    assert_eq!(of("objective=cross_entropy_lambda", 1), (Task::Regression, vec![0.5f64.exp().ln_1p()]));
    assert_eq!(of("objective=multiclass num_class:2", 2), (Task::Multiclass, vec![0.5, 0.5]));
    assert_eq!(of("objective=multiclassova num_class:2 sigmoid:2", 2), (Task::Multiclass, vec![logistic(1.0); 2]));
    assert_eq!(of("objective=regression", 1), (Task::Regression, vec![0.5]));
    assert_eq!(of("objective=regression sqrt", 1), (Task::Regression, vec![0.25]));
    for objective in ["poisson max_delta_step:0.7", "gamma", "tweedie tweedie_variance_power:1.5"] {
        assert_eq!(of(&format!("objective={objective}"), 1), (Task::Regression, vec![0.5f64.exp()]));
    }
    for objective in ["lambdarank", "rank_xendcg", "huber", "fair", "quantile alpha:0.9", "mape", "regression_l1"] {
        assert_eq!(of(&format!("objective={objective}"), 1), (Task::Regression, vec![0.5]));
    }
    assert_eq!(of("no_objective=1", 1), (Task::Regression, vec![0.5]));
}

#[test]
fn random_forests_are_averages_and_rounds_can_be_cut() {
    let trees = ["num_leaves=1\nleaf_value=1", "num_leaves=1\nleaf_value=2", "num_leaves=1\nleaf_value=6"];
    assert_eq!(one(&lightgbm(1, 1, "objective=regression\naverage_output", &trees, ""), &[0.0]), [3.0]);
    let model = lightgbm(1, 1, "objective=regression", &trees, "");
    let first = |rounds| {
        let options = ImportOptions { rounds, ..ImportOptions::default() };
        predictions(&import::read(&model, &options).unwrap().predictor(None).unwrap(), &[vec![0.0]])[0][0]
    };
    assert_eq!([Rounds::Best, Rounds::All, Rounds::First(2), Rounds::First(9)].map(first), [9.0, 9.0, 3.0, 9.0]);
}

#[test]
fn pandas_categories_become_levels_or_are_looked_up() {
    let header = "objective=regression\nfeature_infos=0:1:2 0:1";
    let pandas = "pandas_categorical:[[\"z\", \"y\", \"x\"], [30, 10]]\n";
    let second =
        CATEGORIES.replace("split_feature=0", "split_feature=1").replace("cat_threshold=5 2", "cat_threshold=2 0");
    let model = lightgbm(2, 1, header, &[CATEGORIES, &second], pandas);
    let imported = read(&model).unwrap();
    assert_eq!(imported.features[0].levels.as_deref().unwrap(), ["z", "y", "x"]);
    assert_eq!(imported.features[1].levels, None);
    // The second feature comes as a number; 10 has the code 1, which is in the set.
    let sum = |row: [f64; 2]| one(&model, &row)[0];
    assert_eq!(
        [sum([0.0, 10.0]), sum([1.0, 10.0]), sum([3.0, 30.0]), sum([2.0, 77.0]), sum([2.0, NAN])],
        [2.0, 3.0, 4.0, 3.0, 3.0]
    );
    let unclear = lightgbm(2, 1, "objective=regression\nfeature_infos=0:1:2 [0:1]", &[CATEGORIES], pandas);
    assert!(refused(&unclear).contains("pandas categories"));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let model = |header: &str, tree: &str| refused(&lightgbm(1, 1, header, &[tree], ""));
    let linear = stump(0, "0").replace("is_linear=0", "is_linear=1");
    assert!(model("objective=regression", &linear).contains("linear_tree"));
    assert!(model("objective=made_up", &stump(0, "0")).contains("objective made_up"));
    assert!(model("objective=multiclass num_class:1", &stump(0, "0")).contains("does not fit its trees"));
    let text = String::from_utf8(lightgbm(1, 1, "objective=regression", &[&stump(0, "0")], "")).unwrap();
    assert!(refused(text.replace("version=v4", "version=v9").as_bytes()).contains("version v9"));
    assert!(refused(text.split("end of trees").next().unwrap().as_bytes()).contains("cut off"));
    for (from, to) in [
        ("leaf_value=1 2", "leaf_value=1"),
        ("leaf_value=1 2", "leaf_value=1 inf"),
        ("split_feature=0", "split_feature=7"),
        ("left_child=-1", "left_child=0"),
        ("right_child=-2", "right_child=-9"),
        ("threshold=0\n", "threshold=nan\n"),
        ("num_leaves=2", "num_leaves=4000000000"),
        ("max_feature_idx=0", "max_feature_idx=18446744073709551615"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0"),
        ("Tree=0", "Tree=1"),
    ] {
        assert!(text.contains(from), "{from}");
        assert!(refused(text.replace(from, to).as_bytes()).contains("damaged"), "{to} was accepted");
    }
}
