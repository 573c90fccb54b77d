//! Small models with every kind of column.

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, RecordBatch, StringArray,
};
use arrow::datatypes::Int8Type;
use lakemill::features::{Encoder, EncoderOptions, FeatureBlock, Signature};
use lakemill::models::{Form, Linear, Link, Params, Predictor, TrainingSet, lookup};
use lakemill::registry::Artifact;
use lakemill::registry::artifact::{
    Baseline, CrossValidation, FeatureGain, FeatureRise, FeatureSql, Input, Measured, RowCounts, TrainingWindows,
};
use lakemill::task::Task;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct Trained {
    pub artifact: Artifact,
    pub predictor: Predictor,
    pub rows: RecordBatch,
}

impl Trained {
    /// A model of which only the name and the fingerprint differ from another.
    pub fn new(model: &str, fingerprint: &str) -> Self {
        let rows = rows();
        let encoder = encoder(&rows);
        let coefficients = (0..encoder.features()).map(|feature| 0.1 + feature as f64 / 3.0).collect();
        let form = Form::Linear(Linear { coefficients: vec![coefficients], intercepts: vec![-1.0] });
        let predictor = Predictor::new(Task::Binary, 2, encoder.features(), form, Link::Logistic).unwrap();
        Self { artifact: artifact(model, fingerprint, encoder), predictor, rows }
    }

    /// The same with a forest of this many trees.
    pub fn forest(model: &str, trees: u64) -> Self {
        let mut trained = Self::new(model, "a forest");
        let block = trained.artifact.encoder.apply(&trained.rows).unwrap().block;
        let labels: Vec<f64> = (0..block.rows()).map(|row| (row % 3 == 0) as u8 as f64).collect();
        trained.predictor = fit(&block, &labels, trees);
        trained
    }
}

fn fit(features: &FeatureBlock, labels: &[f64], trees: u64) -> Predictor {
    let weights = vec![1.0; labels.len()];
    let training = TrainingSet { features, labels, weights: &weights, task: Task::Binary, classes: 2 };
    let params = Params::from_iter([("trees".to_owned(), trees.into())]);
    lookup("random_forest").unwrap().fit(&training, &params, 7).unwrap()
}

/// Forty rows; the first has an infinite amount and is rejected by every encoder.
pub fn rows() -> RecordBatch {
    let count = 40;
    let amount = (0..count).map(|row| match row {
        0 => Some(f64::INFINITY),
        1 => None,
        2 => Some(f64::NAN),
        3 => Some(-0.0),
        row => Some(f64::from(row) / 7.0),
    });
    let carriers = ["AA", "B|6", "ä`"];
    let carrier: DictionaryArray<Int8Type> =
        (0..count).map(|row| (row % 4 != 3).then(|| carriers[row as usize % 4])).collect();
    let cents = Decimal128Array::from_iter((0..count).map(|row| (row != 5).then_some(i128::from(row) * 101)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int32Array::from_iter_values(0..count))),
        ("amount", Arc::new(Float64Array::from_iter(amount))),
        ("night", Arc::new(BooleanArray::from_iter((0..count).map(|row| (row % 5 > 0).then_some(row % 2 == 0))))),
        ("carrier", Arc::new(carrier)),
        ("cents", Arc::new(cents.with_precision_and_scale(12, 2).unwrap())),
        ("empty", Arc::new(StringArray::new_null(count as usize))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn encoder(rows: &RecordBatch) -> Encoder {
    let signature = Signature::of(rows.schema_ref(), &["id"]).unwrap();
    let rows: &[RecordBatch] = std::slice::from_ref(rows);
    Encoder::fit(&signature, rows, None, &EncoderOptions { max_categories: 2 }).unwrap()
}

fn artifact(model: &str, fingerprint: &str, encoder: Encoder) -> Artifact {
    let measured = |value: f64| Measured { value, low: value - 0.01, high: value + 0.01 };
    let metrics = |value: f64| {
        let undefined = Measured { value: f64::NAN, low: f64::NAN, high: f64::NEG_INFINITY };
        BTreeMap::from([("roc_auc".to_owned(), measured(value)), ("recall_at_precision".to_owned(), undefined)])
    };
    Artifact {
        model: model.to_owned(),
        task: Task::Binary,
        classes: vec!["0".to_owned(), "1".to_owned()],
        algorithm: "logistic_regression".to_owned(),
        params: Params::from_iter([("l2".to_owned(), serde_json::json!(0.1)), ("fit".to_owned(), true.into())]),
        seed: u64::MAX,
        class_weight: Some("balanced".to_owned()),
        threshold: Some(0.5),
        features: FeatureSql {
            sql: "SELECT id, amount -- in euros\nFROM transactions".to_owned(),
            normalised: "SELECT id, amount FROM transactions".to_owned(),
            engine: "datafusion".to_owned(),
            vars: Params::from_iter([("delay_days".to_owned(), 7.into())]),
            key: vec!["id".to_owned()],
            time: "tx_datetime".to_owned(),
            label: "tx_fraud".to_owned(),
            label_delay: "7d".to_owned(),
            weight: None,
            asof: Vec::new(),
            windows: Vec::new(),
        },
        encoder,
        windows: TrainingWindows {
            interval: "2018-06-26".to_owned(),
            train: "2018-05-30_2018-06-06".to_owned(),
            test: "2018-06-13_2018-06-20".to_owned(),
        },
        rows: RowCounts { train: 39, test: 12, unlabelled: 3, rejected: 1, gap: 5, train_classes: vec![30, 9] },
        inputs: BTreeMap::from([
            (
                "transactions".to_owned(),
                Input { version: "812".to_owned(), identity: "0a1b-2c3d".to_owned(), location: None },
            ),
            ("airlines".to_owned(), Input { version: "a1b2c3".to_owned(), identity: String::new(), location: None }),
        ]),
        metrics: metrics(0.9),
        confusion: Some(vec![vec![9.0, 1.0], vec![0.5, 1.5]]),
        baseline: Baseline { algorithm: "prior".to_owned(), metrics: metrics(0.5) },
        cross_validation: Some(CrossValidation { folds: 5, metrics: metrics(0.88) }),
        search: None,
        gains: vec![
            FeatureGain { feature: "amount".to_owned(), share: 0.75 },
            FeatureGain { feature: "country".to_owned(), share: 0.25 },
            FeatureGain { feature: "hour".to_owned(), share: 0.0 },
        ],
        permutation: vec![FeatureRise { feature: "amount".to_owned(), rise: measured(0.25) }],
        segments: None,
        job: serde_json::json!({
            "features": { "key": ["id"], "label_delay": "7d" },
            "model": { "algorithm": "logistic_regression", "params": { "l2": 0.1 }, "class_weight": "balanced" },
            "name": model,
            "vars": {},
            "version": 1,
            "carried": ["customer_id"],
        }),
        fingerprint: fingerprint.to_owned(),
        binary_format: 1,
        origin: None,
    }
}
