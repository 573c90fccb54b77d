//! What a registered model says about rows whose labels are known, by key.

use super::Engine;
use super::dataset::{Dataset, Source};
use super::features::FeatureQuery;
use crate::error::{Error, Result, ResultExt};
use crate::features::{Labels, Split};
use crate::interval::Interval;
use crate::plan::Plan;
use crate::query::FeatureSql;
use crate::registry::LoadedModel;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows with known labels and what one model gives for them.
pub struct ScoredRows {
    /// The encoded rows with labels, days and weights.
    pub data: Dataset,
    /// The model's outputs, row-major.
    pub outputs: Vec<f64>,
    /// The key of each row.
    pub keys: Vec<Key>,
}

/// The values of a row's key columns as text, each with its length before it.
pub type Key = Box<str>;

/// Which rows of a span are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// All.
    All,
    /// Those that a split by hash keeps for testing: the share, and the seed.
    HeldOut(f64, u64),
}

/// Runs the model's own SQL, with its own variables, over `span` and predicts every wanted row whose
/// label is known.
///
/// # Errors
/// `check` where the label column holds what the model does not know; what the query fails with.
pub async fn score_labelled(
    engine: &Engine,
    plan: &Plan,
    model: &Arc<LoadedModel>,
    span: Interval,
    wanted: Wanted,
) -> Result<ScoredRows> {
    let features = &plan.job.spec.features;
    let label = features.label.clone().ok_or_else(no_label)?;
    let version = model.version.version;
    let sql = FeatureSql::parse(&model.artifact.features.sql, &format!("the SQL inside version {version}"))?;
    let query = FeatureQuery::of_model(engine, plan, &sql, span, &model.artifact.features).await?;
    model.artifact.signature().check(&query.schema()).at("model version", version)?;
    let batches = query.collect(plan, |_| {}).await?;
    let (time, weight, key) = (features.time.clone(), features.weight.clone(), features.key.clone());
    let model = Arc::clone(model);
    let work = move || {
        let source = Source { batches: &batches, label: &label, time: &time, weight: weight.as_deref() };
        let (artifact, predictor) = (&model.artifact, &model.predictor);
        let rows = match wanted {
            Wanted::All => None,
            Wanted::HeldOut(test, seed) => {
                let key: Vec<&str> = key.iter().map(String::as_str).collect();
                Some(Split::by_hash(&batches, &key, test, seed)?.test)
            }
        };
        let labels = Labels::encode(&batches, &label, artifact.task, &artifact.classes, rows.as_deref())?;
        let data = Dataset::encode(source, &artifact.encoder, &labels)?;
        let outputs = data.predict(predictor);
        let keys = keys_of(&batches, &key, &data.rows)?;
        Ok(ScoredRows { data, outputs, keys })
    };
    engine.runtime.compute(work).await
}

/// The rows of `rows` (numbered through all batches) by their key.
///
/// # Errors
/// A usage error where a key column is missing.
pub fn keys_of(batches: &[RecordBatch], key: &[String], rows: &[usize]) -> Result<Vec<Key>> {
    let mut all: Vec<Key> = Vec::new();
    for batch in batches {
        let mut texts = vec![String::new(); batch.num_rows()];
        for name in key {
            let column = batch
                .column_by_name(name)
                .ok_or_else(|| Error::usage("the features SQL gives no such key column").with("column", name))?;
            let column = cast(column, &DataType::Utf8)
                .map_err(|source| Error::usage("the key has no text form").with("column", name).because(source))?;
            let column = column.as_string::<i32>();
            for (row, text) in texts.iter_mut().enumerate() {
                let value = if column.is_valid(row) { column.value(row) } else { "" };
                text.push_str(&format!("{}:{value}", value.len()));
            }
        }
        all.extend(texts.into_iter().map(String::into_boxed_str));
    }
    Ok(rows.iter().map(|row| all[*row].clone()).collect())
}

/// For each key of `wanted` the row of `keys` that has it.
///
/// # Errors
/// `check` where a key stands twice: rows can't be compared then.
pub fn positions(keys: &[Key], wanted: &[Key]) -> Result<Vec<Option<usize>>> {
    let mut rows: HashMap<&str, usize> = HashMap::with_capacity(keys.len());
    for (row, key) in keys.iter().enumerate() {
        if rows.insert(key, row).is_some() {
            return Err(Error::check("two rows have the same key, so models can't be compared row by row")
                .with("key", key)
                .hint("make `features.key` name the columns that tell rows apart"));
        }
    }
    Ok(wanted.iter().map(|key| rows.get(key.as_ref()).copied()).collect())
}

/// The outputs of the given rows, row-major.
pub fn outputs_of(outputs: &[f64], width: usize, rows: &[usize]) -> Vec<f64> {
    rows.iter().flat_map(|row| outputs[row * width..(row + 1) * width].iter().copied()).collect()
}

/// The job has no label, and something needs one.
pub fn no_label() -> Error {
    Error::usage("this job has no label, so nothing can be learned or measured")
        .with("key", "features.label")
        .hint("name the label's column of the SQL in [features]")
}
