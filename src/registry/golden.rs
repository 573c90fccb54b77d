//! Golden predictions: a few rows as they came from SQL, and what the model made of them.
//!
//! They are recomputed through encoder and predictor whenever a model is loaded, and compared bit for
//! bit. So a model that this binary or this machine would score in another way is never used.
//!
//! Rows are kept as JSON with one canonical type a kind (`f64`, boolean, string), which the encoder
//! takes like the types of the training query.

use crate::error::{Error, Result, ResultExt};
use crate::features::{ColumnKind, Encoder, Signature, finite_rows};
use crate::models::Predictor;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, StringArray, UInt64Array};
use arrow::compute::{cast, take_record_batch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// At most so many rows are kept.
pub const GOLDEN_ROWS: usize = 16;

/// Rows and their predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// The columns of the signature, in its order.
    columns: Vec<Values>,
    /// The bits of each output in hex, row-major.
    outputs: Vec<String>,
}

/// The values of one column; null and NaN are the same to the encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Values {
    Numeric(Vec<Option<f64>>),
    Boolean(Vec<Option<bool>>),
    Category(Vec<Option<String>>),
}

impl Golden {
    /// Keeps the first rows of `batch` that the encoder takes, and what the model gives for them.
    ///
    /// # Errors
    /// `check` for a batch that does not fit the signature or has no row that can be scored; `failed`
    /// where a prediction is not finite.
    pub fn record(encoder: &Encoder, predictor: &Predictor, batch: &RecordBatch) -> Result<Self> {
        let signature = encoder.signature();
        signature.check(batch.schema_ref())?;
        let batch = batch.slice(0, GOLDEN_ROWS.min(batch.num_rows()));
        let batch = match encoder.apply(&batch)?.kept {
            None => batch,
            Some(kept) => taken(&batch, &kept)?,
        };
        // JSON has no infinity; only imported models take it.
        let batch = match finite_rows(signature, &batch)? {
            (None, _) => batch,
            (Some(kept), _) => taken(&batch, &kept)?,
        };
        if batch.num_rows() == 0 {
            return Err(Error::check(
                "there is no row for a golden prediction: the encoder rejects all that were given",
            ));
        }
        let columns: Vec<Values> = signature
            .columns
            .iter()
            .map(|column| {
                let array = batch.column_by_name(&column.name).ok_or_else(|| Error::check("the column is missing"));
                Values::of(array.and_then(|array| canonical(array, column.kind)), column.kind)
                    .at("column", &column.name)
            })
            .collect::<Result<_>>()?;
        let mut golden = Self { columns, outputs: Vec::new() };
        let outputs = golden.predict(encoder, predictor)?;
        if outputs.iter().any(|output| !output.is_finite()) {
            return Err(Error::failed("the model gives a prediction that is not finite"));
        }
        golden.outputs = outputs.iter().map(|output| bits(*output)).collect();
        Ok(golden)
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, Values::len)
    }

    /// Recomputes the predictions and compares them bit for bit.
    ///
    /// # Errors
    /// `verification` where one differs, or the rows don't fit the model.
    pub fn verify(&self, encoder: &Encoder, predictor: &Predictor) -> Result<()> {
        let outputs = self.predict(encoder, predictor)?;
        if outputs.is_empty() || outputs.len() != self.outputs.len() {
            return Err(misfit("their number is another one"));
        }
        for (at, (now, expected)) in outputs.iter().zip(&self.outputs).enumerate() {
            if bits(*now) != *expected {
                let then = u64::from_str_radix(expected, 16).map(f64::from_bits).unwrap_or(f64::NAN);
                return Err(Error::verification("the model does not reproduce its golden predictions")
                    .with("row", at / predictor.outputs())
                    .with("expected", then)
                    .with("found", now)
                    .hint("use the lakemill version and platform that trained it, or train it again here"));
            }
        }
        Ok(())
    }

    fn predict(&self, encoder: &Encoder, predictor: &Predictor) -> Result<Vec<f64>> {
        let encoded = encoder.apply(&self.batch(encoder.signature())?).map_err(|error| misfit("").because(error))?;
        if encoded.kept.is_some() || encoded.block.features() != predictor.features() {
            return Err(misfit("the model cannot score them"));
        }
        Ok(predictor.predict(&encoded.block))
    }

    fn batch(&self, signature: &Signature) -> Result<RecordBatch> {
        let rows = self.rows();
        let fits = self.columns.len() == signature.columns.len()
            && self
                .columns
                .iter()
                .zip(&signature.columns)
                .all(|(own, column)| own.kind() == column.kind && own.len() == rows);
        if !fits {
            return Err(misfit("their columns are others"));
        }
        let arrays: Vec<ArrayRef> = self.columns.iter().map(Values::array).collect();
        let names = signature.columns.iter().map(|column| column.name.as_str());
        let fields: Vec<Field> =
            names.zip(&arrays).map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).map_err(|source| misfit("").because(source))
    }
}

impl Values {
    fn of(array: Result<ArrayRef>, kind: ColumnKind) -> Result<Self> {
        let array = array?;
        Ok(match kind {
            ColumnKind::Numeric => {
                let values = array.as_primitive::<Float64Type>();
                Self::Numeric(values.iter().map(|value| value.filter(|value| !value.is_nan())).collect())
            }
            ColumnKind::Boolean => Self::Boolean(array.as_boolean().iter().collect()),
            ColumnKind::Category => {
                Self::Category(array.as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect())
            }
        })
    }

    fn kind(&self) -> ColumnKind {
        match self {
            Self::Numeric(_) => ColumnKind::Numeric,
            Self::Boolean(_) => ColumnKind::Boolean,
            Self::Category(_) => ColumnKind::Category,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Numeric(values) => values.len(),
            Self::Boolean(values) => values.len(),
            Self::Category(values) => values.len(),
        }
    }

    fn array(&self) -> ArrayRef {
        match self {
            Self::Numeric(values) => Arc::new(Float64Array::from(values.clone())),
            Self::Boolean(values) => Arc::new(BooleanArray::from(values.clone())),
            Self::Category(values) => Arc::new(StringArray::from_iter(values)),
        }
    }
}

fn canonical(array: &ArrayRef, kind: ColumnKind) -> Result<ArrayRef> {
    let to = match kind {
        ColumnKind::Numeric => DataType::Float64,
        ColumnKind::Boolean => DataType::Boolean,
        ColumnKind::Category => DataType::Utf8,
    };
    cast(array, &to).map_err(|source| Error::check("the column has values of another kind").because(source))
}

fn taken(batch: &RecordBatch, rows: &[usize]) -> Result<RecordBatch> {
    let rows = UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64));
    take_record_batch(batch, &rows)
        .map_err(|source| Error::failed("could not take rows out of a batch").because(source))
}

fn bits(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

fn misfit(why: &str) -> Error {
    let colon = if why.is_empty() { "" } else { ": " };
    Error::verification(format!("the golden rows do not fit the model{colon}{why}"))
}
