//! A registered model as a function in SQL: `predict('card_fraud@champion')`.

use super::CHAMPION;
use crate::error::{Error, Result, ResultExt};
use crate::features::ColumnKind;
use crate::lake::Location;
use crate::query::ModelFunction;
use crate::registry::{LoadedModel, Registry};
use crate::task::Task;
use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use std::fmt;
use std::sync::Arc;

/// The model that `reference` names under `home`: `MODEL@ALIAS`, `MODEL@VERSION`, or `MODEL` for its champion.
///
/// It gives the probability of the positive class (binary), the value (regression), both `Float64`; or a struct
/// with one `Float64` a class, under the class's name. Rows that the model rejects give null.
///
/// # Errors
/// `usage` for a model, alias or version that does not exist; `verification` for a version that was altered.
pub async fn model_function(home: &Location, reference: &str) -> Result<Arc<dyn ModelFunction>> {
    let (model, version) = reference.split_once('@').unwrap_or((reference, CHAMPION));
    let registry = Registry::new(home);
    let load = async {
        let version = registry.resolve(model, version).await?;
        registry.load(model, version).await
    };
    let loaded = load.await.at("predict", reference)?;
    Ok(Arc::new(Scoring { outputs: outputs(&loaded), loaded }))
}

/// A loaded model and the type of what it predicts.
struct Scoring {
    loaded: LoadedModel,
    outputs: DataType,
}

impl fmt::Debug for Scoring {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.loaded.version.model, self.loaded.version.version)
    }
}

fn outputs(loaded: &LoadedModel) -> DataType {
    match loaded.artifact.task {
        Task::Binary | Task::Regression => DataType::Float64,
        Task::Multiclass => {
            let classes = loaded.artifact.classes.iter();
            DataType::Struct(classes.map(|class| Field::new(class, DataType::Float64, false)).collect())
        }
    }
}

impl ModelFunction for Scoring {
    fn inputs(&self) -> Vec<String> {
        self.loaded.artifact.signature().columns.iter().map(|column| column.name.clone()).collect()
    }

    fn accepts(&self, input: usize, data_type: &DataType) -> Result<(), String> {
        match self.loaded.artifact.signature().columns.get(input) {
            Some(column) if ColumnKind::of(data_type) != Some(column.kind) => {
                Err(format!("{} ({})", column.kind, column.arrow_type))
            }
            _ => Ok(()),
        }
    }

    fn output(&self) -> DataType {
        self.outputs.clone()
    }

    fn predict(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        let encoded = self.loaded.artifact.encoder.apply(rows)?;
        let values = self.loaded.predictor.predict(&encoded.block);
        let width = self.loaded.predictor.outputs();
        let nulls = encoded.kept.as_deref().map(|kept| only(kept, rows.num_rows()));
        let column = |output: usize| -> Vec<f64> {
            let own = values.iter().skip(output).step_by(width).copied();
            match &encoded.kept {
                None => own.collect(),
                Some(kept) => {
                    let mut all = vec![0.0; rows.num_rows()];
                    kept.iter().zip(own).for_each(|(row, value)| all[*row] = value);
                    all
                }
            }
        };
        match &self.outputs {
            DataType::Struct(fields) => classes(fields, column, nulls),
            _ => Ok(Arc::new(Float64Array::new(column(0).into(), nulls))),
        }
    }
}

fn classes(fields: &Fields, column: impl Fn(usize) -> Vec<f64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let columns = (0..fields.len()).map(|class| Arc::new(Float64Array::from(column(class))) as ArrayRef).collect();
    let all = StructArray::try_new(fields.clone(), columns, nulls)
        .map_err(|source| Error::failed("the predictions make no column").because(source))?;
    debug_assert_eq!(all.data_type(), &DataType::Struct(fields.clone()));
    Ok(Arc::new(all))
}

/// Valid at these rows alone.
fn only(kept: &[usize], rows: usize) -> NullBuffer {
    let mut valid = vec![false; rows];
    kept.iter().for_each(|row| valid[*row] = true);
    NullBuffer::from(valid)
}
