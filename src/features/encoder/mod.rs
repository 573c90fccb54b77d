//! The encoder: fitted on the training rows, stored in the model, applied to every batch that is scored.
//!
//! A numeric or boolean column becomes one feature (its value) and, where training had missing values, a
//! second one that says so. A category becomes one feature a level, 1 where the row has that level (one-hot).
//! The rules for everything that is not plain are the table in [`crate::features`].
//!
//! Algorithms that take missing values and categories natively ask for [`Encoding::Native`]: each column that
//! is not dropped is one feature, NaN where its value is missing, and a category is the code of its level.

mod apply;
mod column;
mod fit;
mod levels;
mod native;

pub use apply::Encoded;
pub use column::{Dropped, Encoding, FittedColumn, Folded};
pub use levels::Levels;
pub use native::{NATIVE_LEVELS, NativeFit, finite_rows};

use super::counts::Rejections;
use super::signature::{Signature, SignatureColumn};
use crate::error::{Error, Result, ResultExt};
use arrow::record_batch::RecordBatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What a user may choose about the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderOptions {
    /// How many levels of a category get a feature of their own (natively: a code of their own, at most
    /// [`NATIVE_LEVELS`]): the most frequent in training, ties by name. The others share "all zero", or one
    /// code, with values never seen. A null level does not count.
    #[schemars(range(min = 1))]
    pub max_categories: usize,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { max_categories: 100 }
    }
}

/// A fitted encoder. Serialised as JSON it is part of the model's artifact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Encoder {
    signature: Signature,
    options: EncoderOptions,
    columns: Vec<FittedColumn>,
    rows: u64,
    rejected: Rejections,
    names: Vec<String>,
}

/// The encoder as it is written down: without what follows from the rest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    signature: Signature,
    options: EncoderOptions,
    columns: Vec<FittedColumn>,
    rows: u64,
    rejected: Rejections,
}

/// Something about the training data that a user should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The column of the SQL's output.
    pub column: String,
    /// What was found and what was done, a lower-case fragment.
    pub message: String,
}

impl Encoder {
    /// Fits an encoder to the `rows` (all rows, if `None`) of the concatenated `batches`.
    ///
    /// `rows` is read as a set. Medians are exact. Rows with an infinite value are rejected first and
    /// don't take part in medians, levels and frequencies.
    ///
    /// # Errors
    /// A batch that does not fit the signature, options out of range, no row, or no feature that varies.
    pub fn fit(
        signature: &Signature,
        batches: &[RecordBatch],
        rows: Option<&[usize]>,
        options: &EncoderOptions,
    ) -> Result<Self> {
        fit::fit(signature, batches, rows, options)
    }

    /// A native encoder that was not fitted here: that of a model of another library. One column each, in the
    /// order of the signature.
    ///
    /// # Errors
    /// `verification` where the columns do not fit the signature.
    pub fn native(signature: Signature, columns: Vec<FittedColumn>) -> Result<Self> {
        let (options, rejected) = (EncoderOptions::default(), Rejections::default());
        Self::new(Stored { signature, options, columns, rows: 0, rejected })
    }

    /// The same encoder with columns that name a row's segment, behind all features.
    ///
    /// # Errors
    /// `verification` where they are no such columns.
    pub(super) fn routed(self, columns: Vec<SignatureColumn>, fitted: Vec<FittedColumn>) -> Result<Self> {
        let mut stored = Stored::from(self);
        stored.signature.columns.extend(columns);
        stored.columns.extend(fitted);
        Self::new(stored)
    }

    /// How many of the features, the last ones, are none but name a row's segment.
    pub fn routes(&self) -> usize {
        self.columns.iter().filter(|column| matches!(column, FittedColumn::Route { .. })).count()
    }

    /// Encodes one batch: a pure function of the encoder and the batch, row by row independent.
    ///
    /// # Errors
    /// A batch that does not fit the signature.
    pub fn apply(&self, batch: &RecordBatch) -> Result<Encoded> {
        apply::apply(self, batch)
    }

    /// The names of the features, in the order of the block's columns: `dep_delay`, `dep_delay_missing`,
    /// `carrier=AA`, `carrier is null`; natively the columns' own. Unique: a name that is taken gets `_2`, `_3` ... behind it.
    pub fn feature_names(&self) -> &[String] {
        &self.names
    }

    /// The columns of the signature of which no feature was made: they did not vary.
    pub fn dropped(&self) -> Vec<String> {
        let columns = self.signature.columns.iter().zip(&self.columns);
        let dropped = columns.filter(|(column, fitted)| {
            !matches!(fitted, FittedColumn::Route { .. }) && fitted.feature_names(&column.name).is_empty()
        });
        dropped.map(|(column, _)| column.name.clone()).collect()
    }

    /// How many features a row has.
    pub fn features(&self) -> usize {
        self.names.len()
    }

    /// The columns that a batch must have.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// What it was fitted with.
    pub fn options(&self) -> &EncoderOptions {
        &self.options
    }

    /// What was learned about each column of the signature, in its order.
    pub fn columns(&self) -> &[FittedColumn] {
        &self.columns
    }

    /// How many rows it was fitted on, without those rejected.
    pub fn fitted_rows(&self) -> u64 {
        self.rows
    }

    /// The training rows that were rejected.
    pub fn fitted_rejections(&self) -> &Rejections {
        &self.rejected
    }

    /// The columns that were dropped or cut in training, and why.
    pub fn warnings(&self) -> Vec<Warning> {
        let columns = self.signature.columns.iter().zip(&self.columns);
        columns
            .filter_map(|(column, fitted)| Some(Warning { column: column.name.clone(), message: fitted.warning()? }))
            .collect()
    }

    fn new(stored: Stored) -> Result<Self> {
        let Stored { signature, options, columns, rows, rejected } = stored;
        if columns.len() != signature.columns.len() {
            let (fitted, signed) = (columns.len(), signature.columns.len());
            return Err(Error::verification(format!("the encoder has {fitted} columns, its signature {signed}")));
        }
        for (column, fitted) in signature.columns.iter().zip(&columns) {
            fitted.check(column.kind).at("column", &column.name)?;
        }
        let is_route = |column: &FittedColumn| matches!(column, FittedColumn::Route { .. });
        if !columns.is_sorted_by_key(is_route) {
            return Err(Error::verification("a feature of the encoder stands behind the columns of segments"));
        }
        let names = feature_names(&signature.columns, &columns);
        Ok(Self { signature, options, columns, rows, rejected, names })
    }
}

/// Names every feature; a name that is taken already gets a number, so that names stay unique.
fn feature_names(columns: &[SignatureColumn], fitted: &[FittedColumn]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut names = Vec::new();
    for name in columns.iter().zip(fitted).flat_map(|(column, fitted)| fitted.feature_names(&column.name)) {
        let mut unique = name.clone();
        let mut number = 2;
        while !taken.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        names.push(unique);
    }
    names
}

impl TryFrom<Stored> for Encoder {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        Self::new(stored)
    }
}

impl From<Encoder> for Stored {
    fn from(encoder: Encoder) -> Self {
        let Encoder { signature, options, columns, rows, rejected, names: _ } = encoder;
        Self { signature, options, columns, rows, rejected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::signature::ColumnKind;

    #[test]
    fn names_stay_unique() {
        let column = |name: &str| SignatureColumn {
            name: name.to_owned(),
            kind: ColumnKind::Numeric,
            arrow_type: "Float64".to_owned(),
        };
        let number = |missing| FittedColumn::Number { fill: 0.0, value: true, missing };
        let names = feature_names(&[column("a"), column("a_missing")], &[number(true), number(false)]);
        assert_eq!(names, ["a", "a_missing", "a_missing_2"]);
    }

    #[test]
    fn an_altered_native_encoder_is_refused() {
        let good = r#"{"signature":{"columns":[{"name":"a","kind":"numeric","arrow_type":"Int64"},
            {"name":"c","kind":"category","arrow_type":"Utf8"}]},"options":{"max_categories":100},
            "columns":[{"encoding":"native"},{"encoding":"codes","levels":["b","a"],"folded":{"levels":0,"rows":0}}],
            "rows":3,"rejected":{"rows":0,"counts":[]}}"#;
        let encoder: Encoder = serde_json::from_str(good).unwrap();
        assert_eq!(encoder.feature_names(), ["a", "c"]);
        assert_eq!(serde_json::from_str::<Encoder>(&serde_json::to_string(&encoder).unwrap()).unwrap(), encoder);
        for (from, to) in [
            (r#""kind":"numeric""#, r#""kind":"category""#),
            (r#""kind":"category""#, r#""kind":"boolean""#),
            (r#"["b","a"]"#, r#"["b","b"]"#),
            (r#"["b","a"]"#, "[]"),
            (r#"{"encoding":"native"}"#, r#"{"encoding":"native","fill":1.0}"#),
            (r#"{"encoding":"native"},"#, ""),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(serde_json::from_str::<Encoder>(&good.replace(from, to)).is_err(), "{to} was accepted");
        }
    }

    #[test]
    fn an_altered_encoder_is_refused() {
        let good = r#"{"signature":{"columns":[{"name":"a","kind":"numeric","arrow_type":"Int64"}]},
            "options":{"max_categories":100},"columns":[{"encoding":"number","fill":0.1,"value":true,"missing":false}],
            "rows":3,"rejected":{"rows":0,"counts":[]}}"#;
        assert!(serde_json::from_str::<Encoder>(good).is_ok());
        for (from, to) in [
            (r#""kind":"numeric""#, r#""kind":"category""#),
            (r#""value":true"#, r#""value":false"#),
            (r#"[{"encoding":"number","fill":0.1,"value":true,"missing":false}]"#, "[]"),
            (
                r#"{"encoding":"number","fill":0.1,"value":true,"missing":false}"#,
                r#"{"encoding":"category","levels":["b","a"],"null_level":false,"folded":{"levels":0,"rows":0}}"#,
            ),
            (
                r#"{"encoding":"number","fill":0.1,"value":true,"missing":false}"#,
                r#"{"encoding":"codes","levels":["a","b"]}"#,
            ),
            (r#""fill":0.1"#, r#""fill":1e999"#),
        ] {
            assert!(good.contains(from), "{from}");
            assert!(serde_json::from_str::<Encoder>(&good.replace(from, to)).is_err(), "{to} was accepted");
        }
    }
}
