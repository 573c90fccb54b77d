//! ONNX: modes, missing values, classes that share a score, aggregates, pipelines. The expected numbers are those of
//! ONNX Runtime 1.31, or follow from the standard; `tests/reference/imports.py` compares whole pipelines with it.

use super::made::Attribute::{Float, Floats, Int, Ints, Tensor, Text, Texts};
use super::made::{Attribute, Proto, node, onnx, tensor};
use super::{NAN, close, one, predictions, read, refused};
use lakemill::task::Task;

const ML: &str = "ai.onnx.ml";
const FLOAT: i64 = 1;
const X: &[(&str, i64, i64)] = &[("X", FLOAT, 1)];

fn with<'a>(base: Vec<(&'a str, Attribute<'a>)>, more: Vec<(&'a str, Attribute<'a>)>) -> Vec<(&'a str, Attribute<'a>)> {
    base.into_iter().chain(more).collect()
}

/// One split at 0 on the first column, in this mode.
fn stump(modes: &'static [&'static str]) -> Vec<(&'static str, Attribute<'static>)> {
    vec![
        ("nodes_treeids", Ints(&[0, 0, 0])),
        ("nodes_nodeids", Ints(&[0, 1, 2])),
        ("nodes_featureids", Ints(&[0, 0, 0])),
        ("nodes_values", Floats(&[0.0, 0.0, 0.0])),
        ("nodes_modes", Texts(modes)),
        ("nodes_truenodeids", Ints(&[1, 0, 0])),
        ("nodes_falsenodeids", Ints(&[2, 0, 0])),
    ]
}

const LEQ: &[&str] = &["BRANCH_LEQ", "LEAF", "LEAF"];

fn targets(ids: &'static [i64], weights: &'static [f32]) -> Vec<(&'static str, Attribute<'static>)> {
    vec![
        ("target_treeids", Ints(&[0, 0])),
        ("target_nodeids", Ints(&[1, 2])),
        ("target_ids", Ints(ids)),
        ("target_weights", Floats(weights)),
    ]
}

fn regressor(attributes: &[(&str, Attribute<'_>)]) -> Vec<u8> {
    onnx(X, vec![node(ML, "TreeEnsembleRegressor", &["X"], &["Y"], attributes)], vec![], &["Y"])
}

#[test]
fn modes_and_missing_values_are_those_of_the_runtime() {
    // For -1, 0, 1 and a missing value; with and without nodes_missing_value_tracks_true.
    for (modes, sides, tracked) in [
        (LEQ, [1.0, 1.0, 2.0, 2.0], 1.0),
        (&["BRANCH_LT", "LEAF", "LEAF"], [1.0, 2.0, 2.0, 2.0], 1.0),
        (&["BRANCH_GTE", "LEAF", "LEAF"], [2.0, 1.0, 1.0, 2.0], 1.0),
        (&["BRANCH_GT", "LEAF", "LEAF"], [2.0, 2.0, 1.0, 2.0], 1.0),
        (&["BRANCH_EQ", "LEAF", "LEAF"], [2.0, 1.0, 2.0, 2.0], 1.0),
        (&["BRANCH_NEQ", "LEAF", "LEAF"], [1.0, 2.0, 1.0, 1.0], 1.0),
    ] {
        let attributes = || with(stump(modes), targets(&[0, 0], &[1.0, 2.0]));
        let rows = |model: &[u8]| [-1.0, 0.0, 1.0, NAN].map(|value| one(model, &[value])[0]);
        assert_eq!(rows(&regressor(&attributes())), sides, "{modes:?}");
        let tracks = ("nodes_missing_value_tracks_true", Ints(&[1, 0, 0]));
        let found = rows(&regressor(&with(attributes(), vec![tracks])));
        assert_eq!(found, [sides[0], sides[1], sides[2], tracked], "{modes:?}");
    }
}

/// The prediction for -1 and for 1, and whether it is a probability.
fn classifier(ids: &[i64], weights: &[f32], transform: &str, base: &[f32]) -> (Task, [f64; 2]) {
    let (mut trees, mut nodes) = (vec![], vec![]);
    // Two classes at each leaf, or one.
    for place in 0..ids.len() {
        trees.push(0);
        nodes.push(if ids.len() == 2 { 1 + place as i64 } else { 1 + place as i64 / 2 });
    }
    let mut attributes = with(
        stump(LEQ),
        vec![
            ("class_treeids", Ints(&trees)),
            ("class_nodeids", Ints(&nodes)),
            ("class_ids", Ints(ids)),
            ("class_weights", Floats(weights)),
            ("classlabels_int64s", Ints(&[0, 1])),
            ("post_transform", Text(transform)),
        ],
    );
    if !base.is_empty() {
        attributes.push(("base_values", Floats(base)));
    }
    let operator = node(ML, "TreeEnsembleClassifier", &["X"], &["L", "P"], &attributes);
    let model = onnx(X, vec![operator], vec![], &["L", "P"]);
    (read(&model).unwrap().task, [-1.0, 1.0].map(|value| one(&model, &[value])[0]))
}

#[test]
fn two_classes_that_share_a_score_are_those_of_the_runtime() {
    use Task::{Binary, Regression};
    let (positive, mixed) = ([0.3, 0.8], [-0.3, 0.8]);
    let pairs = [0.3, 0.8, 0.6, 0.1];
    for (ids, weights, transform, base, task, expected) in [
        (&[0, 0][..], &positive[..], "NONE", &[][..], Binary, [0.3, 0.8]),
        (&[0, 0], &positive, "SOFTMAX", &[], Binary, [0.3, 0.8]),
        (&[0, 0], &positive, "LOGISTIC", &[], Binary, [0.57444, 0.68997]),
        (&[0, 0], &positive, "LOGISTIC", &[0.2], Binary, [0.62246, 0.73106]),
        (&[0, 0], &mixed, "NONE", &[], Regression, [-0.3, 0.8]),
        (&[0, 0], &mixed, "LOGISTIC", &[0.2], Binary, [0.47502, 0.73106]),
        (&[1, 1], &positive, "NONE", &[0.2], Binary, [0.3, 0.8]),
        (&[1, 1], &mixed, "LOGISTIC", &[], Binary, [0.42556, 0.68997]),
        (&[1, 1], &mixed, "SOFTMAX", &[], Binary, [0.42556, 0.68997]),
        (&[0, 1, 0, 1], &pairs, "NONE", &[], Binary, [0.8, 0.1]),
        (&[0, 1, 0, 1], &pairs, "LOGISTIC", &[0.2], Binary, [0.68997, 0.52498]),
        (&[0, 1, 0, 1], &pairs, "SOFTMAX", &[], Binary, [0.62246, 0.37754]),
        (&[0, 1, 0, 1], &pairs, "SOFTMAX", &[0.2], Binary, [0.57444, 0.33181]),
        // A row that hears of the first class alone.
        (&[0, 1], &mixed, "NONE", &[], Regression, [-0.3, 0.8]),
        (&[0, 1], &mixed, "LOGISTIC", &[], Binary, [0.42556, 0.68997]),
    ] {
        let place = format!("{ids:?} {weights:?} {transform} {base:?}");
        let (found_task, found) = classifier(ids, weights, transform, base);
        assert_eq!(found_task, task, "{place}");
        (0..2).for_each(|row| close(found[row], expected[row], 1e-5, &place));
    }
}

#[test]
fn aggregates_know_how_many_trees_there_are() {
    let forest = |aggregate: &'static str, base: &'static [f32]| {
        regressor(&[
            ("nodes_treeids", Ints(&[0, 0, 0, 1])),
            ("nodes_nodeids", Ints(&[0, 1, 2, 0])),
            ("nodes_featureids", Ints(&[0, 0, 0, 0])),
            ("nodes_values", Floats(&[0.0; 4])),
            ("nodes_modes", Texts(&["BRANCH_LEQ", "LEAF", "LEAF", "LEAF"])),
            ("nodes_truenodeids", Ints(&[1, 0, 0, 0])),
            ("nodes_falsenodeids", Ints(&[2, 0, 0, 0])),
            ("target_treeids", Ints(&[0, 0, 1])),
            ("target_nodeids", Ints(&[1, 2, 0])),
            ("target_ids", Ints(&[0, 0, 0])),
            ("target_weights", Floats(&[3.0, 8.0, 1.0])),
            ("aggregate_function", Text(aggregate)),
            ("base_values", Floats(base)),
        ])
    };
    for (aggregate, base, expected) in [
        ("SUM", &[][..], [4.0, 9.0]),
        ("AVERAGE", &[0.5], [2.5, 5.0]),
        ("MIN", &[0.5], [1.5, 1.5]),
        ("MAX", &[0.5], [3.5, 8.5]),
    ] {
        let model = forest(aggregate, base);
        assert_eq!([-1.0, 1.0].map(|value| one(&model, &[value])[0]), expected, "{aggregate}");
    }
    assert!(refused(&forest("MEDIAN", &[])).contains("MEDIAN"));
    // A target of which some rows do not hear has no minimum.
    let silent = with(
        stump(LEQ),
        with(targets(&[0, 1], &[1.0, 2.0]), vec![("n_targets", Int(2)), ("aggregate_function", Text("MIN"))]),
    );
    assert!(refused(&regressor(&silent)).contains("MIN or MAX"));
}

#[test]
fn the_fifth_version_has_sets_and_leaves_of_its_own() {
    let model = |mode: f32, members: &'static [f32]| {
        let attributes = [
            ("n_targets", Int(1)),
            ("tree_roots", Ints(&[0])),
            ("nodes_modes", Tensor(2, Box::leak(Box::new([mode])))),
            ("nodes_featureids", Ints(&[0])),
            ("nodes_splits", Tensor(1, &[0.5])),
            ("nodes_truenodeids", Ints(&[0])),
            ("nodes_trueleafs", Ints(&[1])),
            ("nodes_falsenodeids", Ints(&[1])),
            ("nodes_falseleafs", Ints(&[1])),
            ("leaf_targetids", Ints(&[0, 0])),
            ("leaf_weights", Tensor(1, &[1.0, 2.0])),
            ("membership_values", Tensor(1, members)),
        ];
        onnx(X, vec![node(ML, "TreeEnsemble", &["X"], &["Y"], &attributes)], vec![], &["Y"])
    };
    let rows = |model: &[u8]| [0.0, 1.0, 3.0, NAN].map(|value| one(model, &[value])[0]);
    assert_eq!(rows(&model(0.0, &[])), [1.0, 2.0, 2.0, 2.0]);
    assert_eq!(rows(&model(3.0, &[])), [2.0, 1.0, 1.0, 2.0]);
    assert_eq!(rows(&model(6.0, &[1.0, 3.0, f32::NAN])), [2.0, 1.0, 1.0, 2.0]);
    assert!(refused(&model(6.0, &[-1.0])).contains("sets of numbers"));
    assert!(refused(&model(7.0, &[])).contains("node mode 7"));
}

fn pipeline() -> Vec<u8> {
    let nodes = vec![
        node(
            ML,
            "Imputer",
            &["a"],
            &["a1"],
            &[("imputed_value_floats", Floats(&[2.0])), ("replaced_value_float", Float(f32::NAN))],
        ),
        node(ML, "Scaler", &["a1"], &["a2"], &[("offset", Floats(&[1.0])), ("scale", Floats(&[0.5]))]),
        node(ML, "OneHotEncoder", &["c"], &["c1"], &[("cats_strings", Texts(&["x", "y"])), ("zeros", Int(1))]),
        node("", "Reshape", &["c1", "shape"], &["c2"], &[]),
        node(
            ML,
            "LabelEncoder",
            &["c"],
            &["c3"],
            &[
                ("keys_strings", Texts(&["y", "z"])),
                ("values_floats", Floats(&[10.0, 20.0])),
                ("default_float", Float(-1.0)),
            ],
        ),
        node("", "Concat", &["a2", "c2", "c3"], &["all"], &[("axis", Int(1))]),
        node("", "Gather", &["all", "places"], &["some"], &[("axis", Int(1))]),
        node(
            ML,
            "LinearRegressor",
            &["some"],
            &["y"],
            &[("coefficients", Floats(&[1.0, 100.0, 1000.0, 1.0])), ("intercepts", Floats(&[0.25]))],
        ),
        node("", "Identity", &["y"], &["Y"], &[]),
    ];
    let constants = vec![tensor("shape", 7, &[2], &[-1.0, 2.0]), tensor("places", 7, &[4], &[0.0, 1.0, 2.0, 3.0])];
    onnx(&[("a", FLOAT, 1), ("c", 8, 1)], nodes, constants, &["Y"])
}

#[test]
fn pipelines_prepare_columns_of_numbers_and_texts() {
    let model = read(&pipeline()).unwrap();
    assert_eq!(model.features[0].name.as_deref(), Some("a"));
    assert_eq!(model.features[1].levels.as_deref().unwrap(), ["x", "y", "z"]);
    let predictor = model.predictor(None).unwrap();
    let rows = [[5.0, 0.0], [NAN, 1.0], [1.0, 2.0], [1.0, 3.0], [1.0, NAN]];
    let found = predictions(&predictor, &rows.map(|row| row.to_vec()));
    let expected = [2.0 + 100.0 - 1.0, 0.5 + 1000.0 + 10.0, 20.0, -1.0, -1.0];
    expected.iter().zip(found).for_each(|(expected, found)| close(found[0], expected + 0.25, 1e-12, "pipeline"));
}

/// A linear classifier and what follows it.
fn classified(transform: &'static str, classes: &'static [&'static str], after: Vec<Proto>) -> Vec<u8> {
    let coefficients: &[f32] = if classes.len() == 2 { &[0.5, -0.25] } else { &[0.5, -0.25, 1.0] };
    let intercepts: &[f32] = if classes.len() == 2 { &[0.1, 0.2] } else { &[0.1, 0.2, 0.3] };
    let attributes = [
        ("coefficients", Floats(coefficients)),
        ("intercepts", Floats(intercepts)),
        ("classlabels_strings", Texts(classes)),
        ("post_transform", Text(transform)),
    ];
    let mut nodes = vec![node(ML, "LinearClassifier", &["X"], &["L", "Z"], &attributes)];
    nodes.extend(after);
    onnx(X, nodes, vec![], &["L", "P"])
}

#[test]
fn linear_classifiers_keep_the_names_of_their_classes() {
    let zip = || vec![node(ML, "ZipMap", &["Z"], &["P"], &[("classlabels_strings", Texts(&["no", "yes"]))])];
    let model = classified("SOFTMAX", &["no", "yes"], zip());
    let imported = read(&model).unwrap();
    assert_eq!((imported.task, imported.classes.clone()), (Task::Binary, vec!["no".to_owned(), "yes".to_owned()]));
    close(one(&model, &[1.0])[0], 1.0 / (1.0 + (0.6f64 + 0.05).exp()), 1e-7, "softmax");
    let shares = vec![node(ML, "Normalizer", &["Z"], &["P"], &[("norm", Text("L1"))])];
    let model = classified("LOGISTIC", &["a", "b", "c"], shares);
    let logistic = [0.6f64, -0.05, 1.3].map(|score| 1.0 / (1.0 + (-score).exp()));
    let sum: f64 = logistic.iter().sum();
    one(&model, &[1.0]).iter().zip(logistic).for_each(|(found, own)| close(*found, own / sum, 1e-7, "shares"));
    // Raw scores of two classes are no probability.
    assert_eq!(read(&classified("NONE", &["no", "yes"], zip())).unwrap().task, Task::Regression);
}

#[test]
fn generic_operators_make_a_linear_model_with_a_link() {
    let nodes = vec![
        node("", "MatMul", &["X", "w"], &["m"], &[]),
        node("", "Add", &["m", "b"], &["s"], &[]),
        node("", "Sigmoid", &["s"], &["p"], &[]),
        node("", "Sub", &["one", "p"], &["q"], &[]),
        node("", "Concat", &["q", "p"], &["P"], &[("axis", Int(1))]),
    ];
    let constants =
        || vec![tensor("w", 1, &[1, 1], &[2.0]), tensor("b", 1, &[1], &[-1.0]), tensor("one", 1, &[1], &[1.0])];
    let model = onnx(X, nodes, constants(), &["P"]);
    assert_eq!(read(&model).unwrap().task, Task::Binary);
    close(one(&model, &[1.5])[0], 1.0 / (1.0 + (-2f64).exp()), 1e-12, "logistic");
    let nodes = vec![
        node("", "MatMul", &["X", "w"], &["m"], &[]),
        node("", "Exp", &["m"], &["e"], &[]),
        node("", "Mul", &["e", "w"], &["Y"], &[]),
    ];
    close(one(&onnx(X, nodes, constants(), &["Y"]), &[0.5])[0], 2.0 * 1f64.exp(), 1e-12, "exponential");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refuses = |nodes: Vec<Proto>, what: &str| {
        let told = refused(&onnx(X, nodes, vec![], &["Y"]));
        assert!(told.contains(what), "{told}");
    };
    let linear = |from: &str, to: &str| {
        node(ML, "LinearRegressor", &[from], &[to], &[("coefficients", Floats(&[1.0])), ("intercepts", Floats(&[0.0]))])
    };
    refuses(vec![node("", "Tanh", &["X"], &["t"], &[]), linear("t", "Y")], "the operator Tanh");
    refuses(vec![node("acme", "Magic", &["X"], &["Y"], &[])], "the operator acme.Magic");
    refuses(vec![linear("X", "a"), linear("a", "Y")], "goes on computing");
    refuses(vec![node("", "Identity", &["X"], &["Y"], &[])], "no scores");
    refuses(vec![linear("nowhere", "Y")], "no other one has made");
    refuses(vec![node(ML, "SVMRegressor", &["X"], &["Y"], &[])], "SVMRegressor");
    let short = node(ML, "LinearRegressor", &["X"], &["Y"], &[("coefficients", Floats(&[1.0, 2.0]))]);
    refuses(vec![short], "2 coefficients for 1 columns");
    let far = with(stump(LEQ), targets(&[0, 0], &[1.0, 2.0]));
    let far = far
        .into_iter()
        .map(|(name, value)| if name == "nodes_featureids" { (name, Ints(&[4, 0, 0])) } else { (name, value) });
    assert!(refused(&regressor(&far.collect::<Vec<_>>())).contains("feature 4"));
    let circle = with(stump(LEQ), targets(&[0, 0], &[1.0, 2.0]));
    let circle = circle
        .into_iter()
        .map(|(name, value)| if name == "nodes_truenodeids" { (name, Ints(&[0, 0, 0])) } else { (name, value) });
    assert!(refused(&regressor(&circle.collect::<Vec<_>>())).contains("circles"));
}

#[test]
fn graphs_that_grow_beyond_their_bytes_are_refused() {
    let doubled = |step: usize| {
        let (from, to) = (format!("c{step}"), format!("c{}", step + 1));
        node("", "Concat", &[&from, &from], &[&to], &[("axis", Int(1))])
    };
    let mut nodes = vec![node("", "Identity", &["X"], &["c0"], &[])];
    nodes.extend((0..60).map(doubled));
    nodes.push(node(ML, "LinearRegressor", &["c60"], &["Y"], &[("coefficients", Floats(&[1.0]))]));
    assert!(refused(&onnx(X, nodes, vec![], &["Y"])).contains("so many columns"));
}

#[test]
fn sizes_that_a_file_only_claims_are_not_believed() {
    const HUGE: i64 = 1 << 50;
    let product = |operator: &str, shape: &[i64], more: &[(&str, Attribute<'_>)]| {
        let nodes = vec![node("", operator, &["X", "w"], &["Y"], more)];
        refused(&onnx(X, nodes, vec![tensor("w", FLOAT, shape, &[])], &["Y"]))
    };
    // No numbers, but a shape with any number of columns.
    for shape in [[0, HUGE], [HUGE, 0]] {
        assert!(product("MatMul", &shape, &[]).contains("a matrix has no numbers"));
        for transposed in [0, 1] {
            assert!(product("Gemm", &shape, &[("transB", Int(transposed))]).contains("a matrix has no numbers"));
        }
    }
    let claims = |count: i64| with(stump(LEQ), with(targets(&[0, 0], &[1.0, 2.0]), vec![("n_targets", Int(count))]));
    for count in [HUGE, 1 << 32, (1 << 20) + 1] {
        assert!(refused(&regressor(&claims(count))).contains("so many targets"));
    }
    assert!(refused(&regressor(&claims(-1))).contains("does not exist"));
    assert_eq!(one(&regressor(&claims(1)), &[-1.0]), [1.0]);
    assert_eq!(read(&regressor(&claims(3))).unwrap().targets.len(), 3);
}

/// A pipeline and an ensemble, for tests that damage them.
pub fn examples() -> Vec<Vec<u8>> {
    let forest = regressor(&with(stump(LEQ), targets(&[0, 0], &[1.0, 2.0])));
    let zip = vec![node(ML, "ZipMap", &["Z"], &["P"], &[("classlabels_strings", Texts(&["no", "yes"]))])];
    vec![pipeline(), forest, classified("SOFTMAX", &["no", "yes"], zip)]
}
