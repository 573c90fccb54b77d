//! Gradient boosting through its public face: what it learns, what it refuses, and that it is the same again.

use lakemill::error::{Error, ErrorKind};
use lakemill::features::{BinnedBlock, FeatureBins, FeatureBlock};
use lakemill::models::{BinnedSet, Form, Learned, Link, Params, Predictor, lookup};
use lakemill::task::Task;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// Rows in memory; a category has its number of codes.
struct Data {
    columns: Vec<(String, Vec<f64>, Option<usize>)>,
    labels: Vec<f64>,
    weights: Option<Vec<f64>>,
    validation: Option<Vec<bool>>,
    task: Task,
    classes: usize,
}

impl Data {
    /// A number of features between -1 and 1 and labels by a rule of the row and some noise between -1 and 1.
    fn new(rows: usize, features: usize, seed: u64, label: impl Fn(&[f64], f64) -> f64) -> Self {
        let mut stream = ChaCha8Rng::seed_from_u64(seed);
        let mut unit = || f64::from(stream.next_u32()) / 2f64.powi(31) - 1.0;
        let mut columns = vec![Vec::with_capacity(rows); features];
        let mut labels = Vec::with_capacity(rows);
        for _ in 0..rows {
            let row: Vec<f64> = (0..features).map(|_| unit()).collect();
            labels.push(label(&row, unit()));
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let columns = columns.into_iter().enumerate().map(|(index, own)| (format!("x{index}"), own, None)).collect();
        Self { columns, labels, weights: None, validation: None, task: Task::Regression, classes: 0 }
    }

    fn of_task(mut self, task: Task, classes: usize) -> Self {
        (self.task, self.classes) = (task, classes);
        self
    }

    fn rows(&self) -> usize {
        self.labels.len()
    }

    fn block(&self) -> FeatureBlock {
        let columns: Vec<&[f64]> = self.columns.iter().map(|(_, values, _)| values.as_slice()).collect();
        FeatureBlock::from_columns(self.rows(), &columns)
    }

    fn take(&self, rows: &[usize]) -> Self {
        let of = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<f64>>();
        let columns = self.columns.iter().map(|(name, values, codes)| (name.clone(), of(values), *codes)).collect();
        let weights = self.weights.as_deref().map(of);
        Self { columns, labels: of(&self.labels), weights, validation: None, ..*self }
    }

    fn binned(&self) -> BinnedBlock {
        let bins = |(_, values, codes): &(String, Vec<f64>, Option<usize>)| match codes {
            None => FeatureBins::of_numbers(&mut values.clone()),
            Some(codes) => {
                let mut counts = vec![0; *codes];
                values.iter().filter(|value| !value.is_nan()).for_each(|value| counts[*value as usize] += 1);
                FeatureBins::of_codes(&counts)
            }
        };
        BinnedBlock::of_block(&self.block(), self.columns.iter().map(bins).collect()).unwrap()
    }

    fn learn(&self, params: Value, seed: u64) -> Result<Learned, Error> {
        let names: Vec<String> = self.columns.iter().map(|(name, _, _)| name.clone()).collect();
        let bins = self.binned();
        let set = BinnedSet {
            bins: &bins,
            names: &names,
            dropped: &["constant".to_owned()],
            labels: &self.labels,
            weights: self.weights.as_deref(),
            task: self.task,
            classes: self.classes,
            validation: self.validation.as_deref(),
        };
        let params: Params = params.as_object().unwrap().clone();
        lookup("gradient_boosting").unwrap().fit_binned(&set, &params, seed)
    }

    fn try_fit(&self, params: Value, seed: u64) -> Result<Predictor, Error> {
        self.learn(params, seed).map(|learned| learned.predictor)
    }

    fn fit(&self, params: Value) -> Predictor {
        self.try_fit(params, 1).unwrap()
    }

    /// The mean of a loss of label and prediction over these rows.
    fn loss(&self, predictor: &Predictor, of: impl Fn(f64, &[f64]) -> f64) -> f64 {
        let predictions = predictor.predict(&self.block());
        let rows = self.labels.iter().zip(predictions.chunks(predictor.outputs()));
        rows.map(|(label, own)| of(*label, own)).sum::<f64>() / self.rows() as f64
    }
}

fn squared(label: f64, own: &[f64]) -> f64 {
    (label - own[0]).powi(2)
}

fn trees(predictor: &Predictor) -> usize {
    match predictor.form() {
        Form::Forest(forest) => forest.trees().len(),
        _ => 0,
    }
}

fn predict(predictor: &Predictor, rows: &[Vec<f64>]) -> Vec<f64> {
    let features = rows[0].len();
    let columns: Vec<Vec<f64>> = (0..features).map(|feature| rows.iter().map(|row| row[feature]).collect()).collect();
    predictor.predict(&FeatureBlock::from_columns(rows.len(), &columns))
}

fn bumpy(row: &[f64], noise: f64) -> f64 {
    (3.0 * row[0]).sin() + row[1] * row[2] + 0.1 * noise
}

#[test]
fn every_task_is_learned_far_better_than_by_a_constant() {
    let (train, test) = (Data::new(2000, 4, 1, bumpy), Data::new(1000, 4, 2, bumpy));
    let variance = |data: &Data| {
        let mean = data.labels.iter().sum::<f64>() / data.rows() as f64;
        data.labels.iter().map(|label| (label - mean).powi(2)).sum::<f64>() / data.rows() as f64
    };
    let error = test.loss(&train.fit(json!({})), squared) / variance(&test);
    assert!(error < 0.06, "{error}");
    let binary = |row: &[f64], noise: f64| f64::from(u8::from(bumpy(row, 0.0) + 0.3 * noise > 0.2));
    let (train, test) = (Data::new(2000, 4, 3, binary), Data::new(1000, 4, 4, binary));
    let predictor = train.of_task(Task::Binary, 2).fit(json!({"trees": 60}));
    assert_eq!(predictor.link(), Link::Logistic);
    let wrong = test.loss(&predictor, |label, own| f64::from(u8::from((own[0] > 0.5) != (label == 1.0))));
    assert!(wrong < 0.12, "{wrong}");
    let three = |row: &[f64], noise: f64| (bumpy(row, 2.0 * noise) * 1.5 + 1.5).floor().clamp(0.0, 2.0);
    let (train, test) = (Data::new(2000, 4, 5, three), Data::new(1000, 4, 6, three));
    let predictor = train.of_task(Task::Multiclass, 3).fit(json!({"trees": 40}));
    assert_eq!((predictor.link(), trees(&predictor)), (Link::Softmax, 120));
    let test = test.of_task(Task::Multiclass, 3);
    let wrong = test.loss(&predictor, |label, own| {
        assert!((own.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        f64::from(u8::from(own.iter().any(|share| *share > own[label as usize])))
    });
    assert!(wrong < 0.2, "{wrong}");
}

/// The mean, the median and the quantile of skewed noise are different things, and so is the mean of counts.
#[test]
fn each_objective_predicts_what_it_says() {
    let skewed = |row: &[f64], noise: f64| row[0] + (-(noise + 1.0) / 2.0).mul_add(0.999, 1.0).ln().abs();
    let data = Data::new(4000, 2, 11, skewed);
    let settings = |objective: &str, alpha: f64| json!({"objective": objective, "alpha": alpha, "trees": 60, "leaves": 8, "min_samples_leaf": 100});
    let below = |predictor: &Predictor| data.loss(predictor, |label, own| f64::from(u8::from(label < own[0])));
    for (objective, alpha, wanted) in [("absolute", 0.9, 0.5), ("quantile", 0.9, 0.9), ("quantile", 0.2, 0.2)] {
        let share = below(&data.fit(settings(objective, alpha)));
        assert!((share - wanted).abs() < 0.02, "{objective} {alpha}: {share}");
    }
    // The share of an exponential's mass below its mean.
    let share = below(&data.fit(settings("squared", 0.5)));
    assert!((share - 0.632).abs() < 0.03, "{share}");
    let counts = Data::new(4000, 2, 12, |row, noise| ((row[0] + 1.0).exp() + 0.8 * noise).round().max(0.0));
    let predictor = counts.fit(settings("poisson", 0.5));
    assert_eq!(predictor.link(), Link::Exponential);
    for step in -4..4 {
        let x = f64::from(step) * 0.2 + 0.1;
        let found = predict(&predictor, &[vec![x, 0.0]])[0];
        assert!((found / (x + 1.0).exp() - 1.0).abs() < 0.2, "{x}: {found}");
    }
}

#[test]
fn missing_values_go_where_they_lower_the_loss() {
    // Values are missing where the label is high, or where it is low, or anywhere.
    for (high, low) in [(5.0, 0.0), (0.0, 5.0)] {
        let mut data = Data::new(1000, 2, 21, |row, _| if row[1] > 0.3 { high } else { low + row[0] });
        for row in 0..data.rows() {
            if data.columns[1].1[row] > 0.3 {
                data.columns[0].1[row] = f64::NAN;
            }
        }
        data.columns[1].1.fill(0.0);
        let predictor = data.fit(json!({"trees": 80}));
        let found = predict(&predictor, &[vec![f64::NAN, 0.0], vec![0.5, 0.0], vec![-0.5, 0.0]]);
        for (found, wanted) in found.iter().zip([high, low + 0.5, low - 0.5]) {
            assert!((found - wanted).abs() < 0.15, "{found} for {wanted}");
        }
    }
    // None in training: the larger side.
    let data = Data::new(1000, 1, 22, |row, _| f64::from(u8::from(row[0] > 0.5)));
    let found = predict(&data.fit(json!({"trees": 50})), &[vec![f64::NAN], vec![-1.0], vec![1.0]]);
    assert!((found[0] - found[1]).abs() < 1e-9 && found[2] > 0.9, "{found:?}");
}

#[test]
fn categories_are_split_as_sets() {
    let effect = |code: f64| [0.0, 3.0, -2.0, 3.0, 0.5, -2.0, 1.0, 0.0, 3.0, -2.0][code as usize];
    let mut data = Data::new(3000, 2, 31, |row, noise| effect(((row[0] + 1.0) * 4.9999).floor()) + 0.2 * noise);
    data.columns[0].1.iter_mut().for_each(|value| *value = ((*value + 1.0) * 4.9999).floor());
    data.columns[0].2 = Some(10);
    let predictor = data.fit(json!({"trees": 60, "min_data_per_group": 10}));
    for code in 0..10 {
        let code = f64::from(code);
        let found = predict(&predictor, &[vec![code, 0.0]])[0];
        assert!((found - effect(code)).abs() < 0.3, "{code}: {found} for {}", effect(code));
    }
    // Four levels in one split (of all subsets it leaves the least squares), which an order of codes could not do.
    let stump = data.fit(json!({"trees": 1, "leaves": 2, "learning_rate": 1.0, "min_data_per_group": 10}));
    let found: Vec<f64> = (0..10).map(|code| predict(&stump, &[vec![f64::from(code), 0.0]])[0]).collect();
    let high: Vec<usize> = (0..10).filter(|code| found[*code] > 0.5).collect();
    assert_eq!(high, [1, 3, 6, 8], "{found:?}");
    // Of few levels one is split from the rest; what training did not have falls to the rest.
    let mut few = Data::new(900, 1, 32, |row, _| if row[0] > 0.3 { 4.0 } else { 0.0 });
    few.columns[0].1.iter_mut().for_each(|value| *value = if *value > 0.3 { 2.0 } else { f64::from(*value > -0.3) });
    few.columns[0].2 = Some(3);
    let found = predict(&few.fit(json!({"trees": 80})), &[vec![2.0], vec![0.0], vec![1.0], vec![3.0]]);
    assert!(found[0] > 3.9 && found[1..].iter().all(|own| *own < 0.1), "{found:?}");
    // A missing category is one like the others.
    few.columns[0].1.iter_mut().filter(|value| **value == 2.0).for_each(|value| *value = f64::NAN);
    let found = predict(&few.fit(json!({"trees": 80})), &[vec![f64::NAN], vec![0.0], vec![1.0]]);
    assert!(found[0] > 3.9 && found[1..].iter().all(|own| *own < 0.1), "{found:?}");
}

#[test]
fn constrained_features_only_raise_or_lower_predictions() {
    let data = Data::new(1500, 3, 41, |row, noise| row[0] + (6.0 * row[0]).sin() * 0.5 + row[1] * row[2] + noise);
    let binary = |data: &Data| data.labels.iter().map(|label| f64::from(u8::from(*label > 0.0))).collect::<Vec<_>>();
    let steps: Vec<f64> = (-20..=20).map(|step| f64::from(step) * 0.05).collect();
    let falls = |predictor: &Predictor, feature: usize, direction: f64| {
        let mut falls = 0;
        for other in [-0.8, -0.1, 0.4, 0.9] {
            let rows: Vec<Vec<f64>> = steps
                .iter()
                .map(|value| {
                    let mut row = vec![other; 3];
                    row[feature] = *value;
                    row
                })
                .collect();
            let found = predict(predictor, &rows);
            falls += found.windows(2).filter(|pair| (pair[1] - pair[0]) * direction < 0.0).count();
        }
        falls
    };
    for objective in ["auto", "poisson"] {
        let mut data = Data { labels: data.labels.clone(), ..data.take(&(0..1500).collect::<Vec<_>>()) };
        if objective == "poisson" {
            data.labels.iter_mut().for_each(|label| *label = label.abs());
        }
        let free = data.fit(json!({"trees": 40, "objective": objective}));
        let bound = data.fit(json!({"trees": 40, "objective": objective, "monotone": {"x0": 1, "x2": -1, "x1": 0}}));
        assert!(falls(&free, 0, 1.0) > 10 && falls(&free, 2, -1.0) > 10);
        assert_eq!((falls(&bound, 0, 1.0), falls(&bound, 2, -1.0)), (0, 0), "{objective}");
    }
    let data = Data { labels: binary(&data), ..data }.of_task(Task::Binary, 2);
    let bound = data.fit(json!({"trees": 40, "monotone": {"x0": 1}}));
    // What does not vary rises with everything.
    assert_eq!(data.fit(json!({"trees": 40, "monotone": {"x0": 1, "constant": -1}})), bound);
    assert_eq!(falls(&bound, 0, 1.0), 0);
    assert!(data.loss(&bound, squared) < 0.2);
}

#[test]
fn a_weight_of_two_is_the_row_twice_and_of_zero_no_row() {
    for (objective, task, classes) in [
        ("auto", Task::Regression, 0),
        ("absolute", Task::Regression, 0),
        ("quantile", Task::Regression, 0),
        ("auto", Task::Binary, 2),
        ("auto", Task::Multiclass, 3),
    ] {
        let label = |row: &[f64], noise: f64| match task {
            Task::Regression => bumpy(row, noise),
            _ => (bumpy(row, noise) + 1.5).floor().clamp(0.0, classes as f64 - 1.0),
        };
        let mut data = Data::new(400, 3, 51, label).of_task(task, classes);
        // Fewer values than bins, so that both have the same bins.
        data.columns
            .iter_mut()
            .for_each(|(_, own, _)| own.iter_mut().for_each(|value| *value = (*value * 9.0).round()));
        let times = |row: usize| row % 4 % 3;
        let rows: Vec<usize> = (0..400).flat_map(|row| vec![row; times(row)]).collect();
        // Weights that are all different, so that no two splits gain the same.
        let once = |row: usize| 1.0 + (row as f64).sin() * 0.5;
        let mut repeated = data.take(&rows);
        repeated.weights = Some(rows.iter().map(|row| once(*row)).collect());
        data.weights = Some((0..400).map(|row| times(row) as f64 * once(row)).collect());
        let settings = json!({"trees": 15, "leaves": 8, "min_samples_leaf": 1, "min_child_weight": 3.0,
            "objective": objective});
        let (weighted, repeated) = (data.fit(settings.clone()), repeated.fit(settings.clone()));
        let block = data.block();
        let (weighted, repeated) = (weighted.predict(&block), repeated.predict(&block));
        let distance = weighted.iter().zip(&repeated).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(distance < 1e-6, "{objective} {task}: {distance}");
        data.weights = None;
        let plain = data.fit(settings).predict(&block);
        assert!(weighted.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3), "{objective} {task}: no effect");
    }
}

#[test]
fn training_ends_with_the_best_round_of_the_watched_rows() {
    let noisy = |row: &[f64], noise: f64| row[0] + 2.0 * noise;
    let mut data = Data::new(900, 5, 61, noisy);
    let watched: Vec<usize> = (600..900).collect();
    data.validation = Some((0..900).map(|row| row >= 600).collect());
    let settings = json!({"trees": 150, "learning_rate": 0.3, "early_stopping_rounds": 10});
    let stopped = data.fit(settings);
    let rounds = trees(&stopped);
    assert!((1..140).contains(&rounds), "{rounds}");
    // The same rounds without watched rows, which are no part of the fit.
    let learned = data.take(&(0..600).collect::<Vec<_>>());
    let watched = data.take(&watched);
    let bins = |trees: usize| {
        let mut own = data.take(&(0..900).collect::<Vec<_>>());
        own.weights = Some((0..900).map(|row| f64::from(row < 600)).collect());
        own.fit(json!({"trees": trees, "learning_rate": 0.3}))
    };
    assert_eq!(bins(rounds).predict(&learned.block()), stopped.predict(&learned.block()));
    let best = watched.loss(&stopped, squared);
    for other in [rounds.saturating_sub(3).max(1), rounds + 1, rounds + 5, rounds + 9] {
        assert!(watched.loss(&bins(other), squared) >= best, "{other} rounds are better than {rounds}");
    }
}

#[test]
fn one_two_and_seven_threads_give_the_same_bytes() {
    let three = |row: &[f64], noise: f64| (bumpy(row, noise) + 1.5).floor().clamp(0.0, 2.0);
    let mut data = Data::new(3000, 9, 71, three).of_task(Task::Multiclass, 3);
    data.columns[3].1.iter_mut().for_each(|value| *value = ((*value + 1.0) * 8.0).floor());
    data.columns[3].2 = Some(16);
    data.columns[4].1.iter_mut().step_by(3).for_each(|value| *value = f64::NAN);
    data.validation = Some((0..3000).map(|row| row >= 2700).collect());
    let settings = json!({"trees": 8, "subsample": 0.7, "colsample": 0.6, "early_stopping_rounds": 5});
    let payload = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| data.try_fit(settings.clone(), seed).unwrap().to_payload().unwrap())
    };
    let one = payload(1, 5);
    assert!(one == payload(2, 5) && one == payload(7, 5));
    assert!(one != payload(2, 6), "the seed does nothing");
    let stored = Predictor::from_payload(&one).unwrap();
    assert_eq!(stored.predict(&data.block()), data.try_fit(settings, 5).unwrap().predict(&data.block()));
}

#[test]
fn leaves_hold_to_their_limits() {
    let data = Data::new(1000, 3, 81, bumpy);
    let leaves = |settings: Value| match data.fit(settings).form() {
        Form::Forest(forest) => forest.trees().iter().map(|tree| tree.leaves().len()).max().unwrap(),
        _ => 1,
    };
    assert_eq!(leaves(json!({"trees": 3, "leaves": 7})), 7);
    assert!(leaves(json!({"trees": 3, "leaves": 1000, "max_depth": 3})) <= 8);
    assert!(leaves(json!({"trees": 3, "leaves": 1000, "min_samples_leaf": 200})) <= 5);
    assert!(leaves(json!({"trees": 3, "leaves": 1000, "min_child_weight": 300.0})) <= 3);
    assert_eq!(leaves(json!({"trees": 3, "min_split_gain": 1e9})), 1, "no split is worth that");
    let few = leaves(json!({"trees": 1, "leaves": 1000, "l1": 30.0}));
    assert!(few < leaves(json!({"trees": 1, "leaves": 1000})), "{few}");
    let spread = |settings: Value| {
        let own = data.fit(settings).predict(&data.block());
        own.iter().copied().fold(0.0, f64::max) - own.iter().copied().fold(0.0, f64::min)
    };
    assert!(spread(json!({"trees": 3, "l2": 1000.0})) < 0.5 * spread(json!({"trees": 3})));
}

#[test]
fn gains_tell_which_features_were_of_use() {
    let data = Data::new(2000, 4, 82, |row, noise| 2.0 * row[1] + row[3] + 0.1 * noise);
    let gains = data.learn(json!({"trees": 30, "leaves": 8}), 0).unwrap().gains.unwrap();
    assert!(gains[1] > gains[3] && gains[3] > 50.0 * (gains[0] + gains[2]), "{gains:?}");
    // Of the squared error, halved, all that the first split took away: half of the gain, which is twice that.
    let stump = data.learn(json!({"trees": 1, "leaves": 2, "learning_rate": 1.0}), 0).unwrap();
    let mean = data.labels.iter().sum::<f64>() / 2000.0;
    let before: f64 = data.labels.iter().map(|label| (label - mean).powi(2)).sum();
    let after = data.loss(&stump.predictor, squared) * 2000.0;
    assert!((stump.gains.unwrap()[1] / (before - after) - 1.0).abs() < 1e-6);
}

#[test]
fn what_cannot_be_learned_is_refused_by_name() {
    let data = Data::new(100, 2, 91, |row, _| row[0]);
    let refused = |data: &Data, params: Value| data.try_fit(params, 0).unwrap_err();
    let error = refused(&data, json!({"monotone": {"x3": 1}}));
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("feature = x3") && error.hint_text().is_some(), "{error}");
    for (name, value) in [
        ("trees", json!(0)),
        ("leaves", json!(1)),
        ("learning_rate", json!(0.0)),
        ("subsample", json!(1.5)),
        ("colsample", json!(0.0)),
        ("l2", json!(-1.0)),
        ("alpha", json!(1.0)),
        ("validation", json!(0.9)),
        ("early_stopping_rounds", json!(0)),
        ("objective", json!("huber")),
        ("monotone", json!({"x0": 2})),
        ("max_depth", json!(0)),
        ("min_samples_leaf", json!(0)),
    ] {
        let error = refused(&data, json!({name: value}));
        assert_eq!(error.kind(), ErrorKind::Usage, "{name}");
        assert!(error.to_string().contains(&format!("parameter = {name}")), "{error}");
    }
    let error = refused(&data, json!({"objective": "quantile", "monotone": {"x0": 1}}));
    assert!(error.to_string().contains("monotone"), "{error}");
    let error = refused(&data, json!({"objective": "poisson"}));
    assert_eq!((error.kind(), error.message()), (ErrorKind::Check, "a label is below 0, which is no count"));
    let zeros = Data { labels: vec![0.0; 100], ..data.take(&(0..100).collect::<Vec<_>>()) };
    assert_eq!(refused(&zeros, json!({"objective": "poisson"})).kind(), ErrorKind::Check);
    let binary = Data::new(100, 2, 92, |row, _| f64::from(u8::from(row[0] > 0.0))).of_task(Task::Binary, 2);
    let error = refused(&binary, json!({"objective": "absolute"}));
    assert!(error.to_string().contains("objective"), "{error}");
    let mut category = Data::new(100, 1, 93, |row, _| row[0]);
    category.columns[0].1.iter_mut().for_each(|value| *value = value.round().abs());
    category.columns[0].2 = Some(2);
    let error = refused(&category, json!({"monotone": {"x0": 1}}));
    assert_eq!(error.message(), "predictions cannot rise or fall with a category");
    let classes = Data::new(100, 2, 95, |row, _| f64::from(u8::from(row[0] > 0.0) + u8::from(row[1] > 0.0)));
    let error = refused(&classes.of_task(Task::Multiclass, 3), json!({"monotone": {"x0": 1}}));
    assert!(error.message().contains("several classes"), "{error}");
    let mut watched = Data::new(100, 2, 94, |row, _| row[0]);
    watched.validation = Some(vec![true; 100]);
    assert_eq!(refused(&watched, json!({})).kind(), ErrorKind::Check);
}

#[test]
fn constant_labels_and_features_give_a_constant() {
    let data = Data::new(100, 2, 95, |_, _| 3.5);
    let predictor = data.fit(json!({}));
    assert_eq!((trees(&predictor), predict(&predictor, &[vec![0.0, 0.0]])), (0, vec![3.5]));
    let mut flat = Data::new(100, 2, 96, |row, _| row[0]);
    flat.columns.iter_mut().for_each(|(_, own, _)| own.fill(1.0));
    let mean = flat.labels.iter().sum::<f64>() / 100.0;
    assert!((predict(&flat.fit(json!({})), &[vec![1.0, 1.0]])[0] - mean).abs() < 1e-12);
}
