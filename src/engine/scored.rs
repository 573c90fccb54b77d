//! What a registered model says about rows whose labels are known, by key.

use super::Engine;
use super::dataset::{Observed, predicted, take_rows};
use super::features::FeatureQuery;
use crate::error::{Error, Result, ResultExt};
use crate::features::{LabelReader, ReadLabels, Split};
use crate::interval::Interval;
use crate::plan::Plan;
use crate::query::FeatureSql;
use crate::registry::LoadedModel;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use futures::TryStreamExt;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows with known labels and what one model gives for them.
pub struct ScoredRows {
    /// Their labels, days and weights.
    pub observed: Observed,
    /// The model's outputs, row-major.
    pub outputs: Vec<f64>,
    /// The key of each row.
    pub keys: Vec<Key>,
}

/// The values of a row's key columns as text, each with its length before it; bytes in hexadecimal.
pub type Key = Box<str>;

/// Which rows of a span are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// All.
    All,
    /// Those that a split by hash keeps for testing: the share, and the seed.
    HeldOut(f64, u64),
}

/// Runs the model's own SQL (an imported model's is the job's), with its own variables, over `span` and predicts every wanted row whose
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
    let query = match &model.artifact.origin {
        // An imported model has no SQL of its own.
        Some(_) => FeatureQuery::new(engine, plan, &plan.sql, span).await?,
        None => {
            let sql = FeatureSql::parse(&model.artifact.features.sql, &format!("the SQL inside version {version}"))?;
            FeatureQuery::of_model(engine, plan, &sql, span, &model.artifact.features).await?
        }
    };
    model.artifact.signature().check(&query.schema()).at("model version", version)?;
    let mut scoring = LabelledScoring {
        labels: LabelReader::new(&label, model.artifact.task),
        model: Arc::clone(model),
        key: features.key.clone(),
        time: features.time.clone(),
        weight: features.weight.clone(),
        wanted,
        passed: 0,
        rows: ScoredRows {
            observed: Observed { samples: features.weight.as_ref().map(|_| Vec::new()), ..Observed::default() },
            outputs: Vec::new(),
            keys: Vec::new(),
        },
    };
    let mut batches = query.stream(plan).await?;
    while let Some(batch) = batches.try_next().await? {
        let work = move || {
            scoring.add(&batch)?;
            Ok(scoring)
        };
        scoring = engine.runtime.compute(work).await?;
    }
    let LabelledScoring { labels, mut rows, .. } = scoring;
    labels.finish(Some(&model.artifact.classes))?.apply(&mut rows.observed.labels);
    Ok(rows)
}

/// Labelled rows on their way through a model; of each batch only what is measured stays.
struct LabelledScoring {
    labels: LabelReader,
    model: Arc<LoadedModel>,
    key: Vec<String>,
    time: String,
    weight: Option<String>,
    wanted: Wanted,
    /// Rows of the batches before.
    passed: usize,
    rows: ScoredRows,
}

impl LabelledScoring {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.passed;
        self.passed += batch.num_rows();
        let mask = match self.wanted {
            Wanted::All => None,
            Wanted::HeldOut(test, seed) => {
                let key: Vec<&str> = self.key.iter().map(String::as_str).collect();
                let mut mask = vec![false; batch.num_rows()];
                Split::by_hash(std::slice::from_ref(batch), &key, test, seed)?
                    .test
                    .iter()
                    .for_each(|row| mask[*row] = true);
                Some(mask)
            }
        };
        let ReadLabels { rows, values } = self.labels.read(batch, mask.as_deref())?;
        let encoded = self.model.artifact.encoder.apply(&take_rows(batch, &rows)?)?;
        let (rows, values) = match &encoded.kept {
            None => (rows, values),
            Some(kept) => (kept.iter().map(|row| rows[*row]).collect(), kept.iter().map(|row| values[*row]).collect()),
        };
        self.rows.outputs.extend(predicted(&encoded.block, &self.model.predictor));
        self.rows.keys.extend(keys_of(std::slice::from_ref(batch), &self.key, &rows)?);
        self.rows.observed.add(batch, &self.time, self.weight.as_deref(), &rows, first)?;
        self.rows.observed.labels.extend(values);
        Ok(())
    }
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
            let column = as_text(column)
                .map_err(|source| Error::usage("the key has no text form").with("column", name).because(source))?;
            let column = column.as_string::<i32>();
            for (row, text) in texts.iter_mut().enumerate() {
                if column.is_valid(row) {
                    text.push_str(&format!("{}:{}", column.value(row).len(), column.value(row)));
                } else {
                    text.push_str("null:");
                }
            }
        }
        all.extend(texts.into_iter().map(String::into_boxed_str));
    }
    Ok(rows.iter().map(|row| all[*row].clone()).collect())
}

/// A column as texts that differ where its values do.
fn as_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    if !matches!(column.data_type(), Binary | BinaryView | FixedSizeBinary(_) | LargeBinary) {
        return cast(column, &DataType::Utf8);
    }
    // Bytes need not be UTF-8.
    let bytes = cast(column, &Binary)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(Arc::new(bytes.as_binary::<i32>().iter().map(|value| value.map(hex)).collect::<StringArray>()))
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
