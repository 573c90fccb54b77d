//! From a fitted model to the artifact that describes it.

use super::fit::Fitted;
use crate::error::Result;
use crate::job::{self, JobSpec, VarValue};
use crate::metrics::MetricValue;
use crate::models::baseline;
use crate::plan::{BINARY_FORMAT, Plan, Windows};
use crate::registry::Artifact;
use crate::registry::artifact::{
    Baseline, CrossValidation, FeatureGain, FeatureRise, FeatureSql, Input, Measured, RowCounts, TrainingWindows,
};
use crate::task::Task;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Everything that makes the model, apart from its predictor.
///
/// # Errors
/// None in practice; the job's values have JSON forms.
pub fn describe(plan: &Plan, windows: &Windows, fitted: &Fitted, fingerprint: String) -> Result<Artifact> {
    let spec = &plan.job.spec;
    let inputs = plan.tables.iter().map(|table| {
        let input = Input { version: table.version.clone(), identity: table.identity(), location: None };
        (table.name.clone(), input)
    });
    Ok(Artifact {
        model: spec.name.clone(),
        task: spec.model.task,
        classes: fitted.classes.clone(),
        algorithm: spec.model.algorithm.clone(),
        params: fitted.params.clone(),
        seed: spec.model.seed,
        class_weight: class_weight(spec),
        threshold: (spec.model.task == Task::Binary).then_some(spec.evaluate.threshold),
        features: features(plan),
        encoder: fitted.encoder.clone(),
        windows: TrainingWindows {
            interval: plan.interval.to_string(),
            train: windows.train.to_string(),
            test: windows.test.to_string(),
        },
        rows: rows(fitted),
        inputs: inputs.collect(),
        metrics: measured(&fitted.metrics),
        confusion: fitted.confusion.as_ref().map(|confusion| confusion.counts.clone()),
        baseline: Baseline {
            algorithm: baseline(spec.model.task).name().to_owned(),
            metrics: measured(&fitted.baseline),
        },
        cross_validation: spec
            .model
            .folds
            .map(|folds| CrossValidation { folds: u64::from(folds), metrics: measured(&fitted.cross_validation) }),
        search: fitted.search.clone(),
        gains: gains(fitted),
        permutation: rises(fitted),
        segments: fitted.segments.clone(),
        job: serde_json::from_str(&spec.training_json()).unwrap_or_default(),
        fingerprint,
        binary_format: BINARY_FORMAT,
        origin: None,
    })
}

/// Each feature's share of what all splits gained, the largest first, ties by name.
fn gains(fitted: &Fitted) -> Vec<FeatureGain> {
    let Some(gains) = &fitted.gains else { return Vec::new() };
    let total: f64 = gains.iter().sum();
    let share = |gain: &f64| if total > 0.0 && total.is_finite() { gain / total } else { 0.0 };
    let names = fitted.encoder.feature_names().iter();
    let mut shares: Vec<FeatureGain> =
        names.zip(gains).map(|(name, gain)| FeatureGain { feature: name.clone(), share: share(gain) }).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.feature.cmp(&b.feature)));
    shares
}

/// By how much the loss rises when a feature is shuffled, the most first, ties by name.
fn rises(fitted: &Fitted) -> Vec<FeatureRise> {
    let names = fitted.encoder.feature_names().iter();
    let named = names.zip(&fitted.rises).map(|(name, rise)| FeatureRise {
        feature: name.clone(),
        rise: Measured { value: rise.value, low: rise.low, high: rise.high },
    });
    let mut rises: Vec<FeatureRise> = named.collect();
    rises.sort_by(|a, b| b.rise.value.total_cmp(&a.rise.value).then_with(|| a.feature.cmp(&b.feature)));
    rises
}

fn features(plan: &Plan) -> FeatureSql {
    let spec = &plan.job.spec.features;
    FeatureSql {
        sql: plan.sql.text().to_owned(),
        normalised: plan.sql.normalized(),
        engine: match spec.engine {
            job::Engine::Datafusion => "datafusion".to_owned(),
            job::Engine::Polars => "polars".to_owned(),
        },
        vars: plan.job.spec.vars.iter().map(|(name, var)| (name.clone(), value(var))).collect::<Map<_, _>>(),
        key: spec.key.clone(),
        time: spec.time.clone(),
        label: spec.label.clone().unwrap_or_default(),
        label_delay: spec.label_delay.to_string(),
        weight: spec.weight.clone(),
        asof: joins(plan),
        windows: windows(plan),
    }
}

/// The declared windows of the job, as the artifact keeps them.
fn windows(plan: &Plan) -> Vec<Value> {
    // Texts, and lists and tables of texts: this can't fail.
    plan.job.spec.features.windows.iter().filter_map(|windows| serde_json::to_value(windows).ok()).collect()
}

/// The point-in-time joins of the job, as the artifact keeps them.
fn joins(plan: &Plan) -> Vec<Value> {
    // Texts and lists of texts: this can't fail.
    plan.job.spec.features.asof.iter().filter_map(|join| serde_json::to_value(join).ok()).collect()
}

/// In what the job computes its features otherwise than the model's were; `None` where it does not.
pub fn other_features(plan: &Plan, model: &FeatureSql) -> Option<&'static str> {
    if plan.sql.normalized() != model.normalised {
        return Some("the job's SQL is not the SQL that the model was trained on");
    }
    if windows(plan) != model.windows {
        return Some("the job's windows are not those that the model was trained on");
    }
    (joins(plan) != model.asof).then_some("the job's point-in-time joins are not those that the model was trained on")
}

fn rows(fitted: &Fitted) -> RowCounts {
    let (train, test) = (&fitted.train_counts, &fitted.test_counts);
    RowCounts {
        train: fitted.train_rows,
        test: fitted.test_rows,
        unlabelled: train.unlabelled + test.unlabelled,
        rejected: train.rejected.rows + test.rejected.rows,
        gap: fitted.gap_rows,
        train_classes: fitted.train_classes.clone(),
    }
}

fn class_weight(spec: &JobSpec) -> Option<String> {
    spec.model.class_weight.as_ref().map(|written| match written {
        job::ClassWeight::Rule(_) => "balanced".to_owned(),
        job::ClassWeight::Each(weights) => {
            let each: Vec<String> = weights.iter().map(|(class, weight)| format!("{class} = {weight}")).collect();
            each.join(", ")
        }
    })
}

fn measured(values: &[MetricValue]) -> BTreeMap<String, Measured> {
    let pairs = values.iter().map(|value| {
        let none = Measured { value: f64::NAN, low: f64::NAN, high: f64::NAN };
        let measured = value.estimate.as_ref().map_or(none, |estimate| Measured {
            value: estimate.value,
            low: estimate.low,
            high: estimate.high,
        });
        (value.metric.clone(), measured)
    });
    pairs.collect()
}

fn value(var: &VarValue) -> Value {
    match var {
        VarValue::Boolean(value) => Value::from(*value),
        VarValue::Integer(value) => Value::from(*value),
        VarValue::Float(value) => Value::from(*value),
        VarValue::String(value) => Value::from(value.as_str()),
    }
}
