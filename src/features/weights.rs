//! How much each row counts in training: by its class, by a weight column, or both.

use super::arrays::{column, is_number, numbers_into};
use super::labels::Labels;
use crate::error::{Error, Result, did_you_mean};
use crate::task::Task;
use arrow::record_batch::RecordBatch;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// The weight of each class: `"balanced"`, or a table from class to weight.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeight {
    /// Each class counts the same in all: rows / (classes x rows of the class), as in scikit-learn.
    Balanced,
    /// These weights, each 0 or between 1e-50 and 1e50; a class that is not named weighs 1.
    Table(BTreeMap<String, f64>),
}

impl Serialize for ClassWeight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str("balanced"),
            Self::Table(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClassWeight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTable;

        impl<'de> Visitor<'de> for WordOrTable {
            type Value = ClassWeight;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("\"balanced\" or a table from class to weight, e.g. { 0 = 1.0, 1 = 20.0 }")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ClassWeight, E> {
                match word {
                    "balanced" => Ok(ClassWeight::Balanced),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<ClassWeight, M::Error> {
                let mut weights = BTreeMap::new();
                while let Some((class, weight)) = map.next_entry::<String, f64>()? {
                    if !is_weight(weight) {
                        let found = de::Unexpected::Float(weight);
                        return Err(de::Error::invalid_value(found, &WEIGHTS));
                    }
                    weights.insert(class, weight);
                }
                Ok(ClassWeight::Table(weights))
            }
        }

        deserializer.deserialize_any(WordOrTable)
    }
}

impl JsonSchema for ClassWeight {
    fn schema_name() -> Cow<'static, str> {
        "ClassWeight".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The weight of each class: \"balanced\" (each class counts the same in all), or a table from class to weight; a class that is not named weighs 1.",
            "oneOf": [
                { "type": "string", "const": "balanced" },
                { "type": "object", "additionalProperties": { "type": "number", "minimum": 0 } }
            ]
        })
    }
}

impl ClassWeight {
    /// The weight of each class of `labels`, in the order of its classes. A class without rows weighs
    /// nothing when balanced.
    ///
    /// # Errors
    /// A usage error for regression, and for a class in the table that the labels don't have.
    pub fn of_classes(&self, labels: &Labels) -> Result<Vec<f64>> {
        if labels.task == Task::Regression {
            return Err(Error::usage("`class_weight` needs classes, and the task is regression")
                .hint("leave it out, or weigh rows by a weight column"));
        }
        match self {
            Self::Balanced => {
                let counts = labels.class_counts();
                let share = labels.values.len() as f64 / counts.len() as f64;
                Ok(counts.iter().map(|count| if *count == 0 { 0.0 } else { share / *count as f64 }).collect())
            }
            Self::Table(weights) => {
                let known = || labels.classes.iter().map(String::as_str);
                if let Some(stranger) = weights.keys().find(|class| !labels.classes.contains(class)) {
                    let error = Error::usage(format!("`class_weight` names a class that no label has: `{stranger}`"));
                    return Err(match did_you_mean(stranger, known()) {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error.hint(format!("the classes are {}", labels.classes.join(", "))),
                    });
                }
                Ok(known().map(|class| weights.get(class).copied().unwrap_or(1.0)).collect())
            }
        }
    }
}

/// What a weight may be.
const WEIGHTS: &str = "0, or between 1e-50 and 1e50";

/// Squares of sums of weights have to be numbers still.
fn is_weight(weight: f64) -> bool {
    weight == 0.0 || (1e-50..=1e50).contains(&weight)
}

/// Reads the weights of `rows` (numbered through all batches, in any order) from a numeric column.
///
/// # Errors
/// A check error that names the row of a weight that is null, NaN, or neither 0 nor between 1e-50 and 1e50.
pub fn sample_weights(batches: &[RecordBatch], name: &str, rows: &[usize]) -> Result<Vec<f64>> {
    let mut all = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
    for batch in batches {
        let part = column(batch, name)?;
        if !is_number(part.data_type()) {
            return Err(Error::check(format!("a weight can't be {}", part.data_type())).with("column", name));
        }
        let first = all.len();
        all.resize(first + part.len(), 0.0);
        numbers_into(part, &mut all[first..])?;
    }
    rows.iter()
        .map(|row| match all.get(*row) {
            Some(weight) if is_weight(*weight) => Ok(*weight),
            Some(weight) => {
                let found = if weight.is_nan() { "null or NaN".to_owned() } else { weight.to_string() };
                Err(Error::check(format!("a weight must be {WEIGHTS}, got {found}"))
                    .with("column", name)
                    .with("row", row)
                    .hint("guard it in the SQL, e.g. COALESCE(weight, 1)"))
            }
            None => Err(Error::failed(format!("row {row} was selected, but there are {} rows", all.len()))),
        })
        .collect()
}

/// The weight of each known row: that of its class times that of its sample; 1 where neither is given.
///
/// # Errors
/// Those of [`ClassWeight::of_classes`]; a check error where no row weighs anything.
pub fn row_weights(labels: &Labels, classes: Option<&ClassWeight>, samples: Option<&[f64]>) -> Result<Vec<f64>> {
    let mut weights = match classes {
        Some(classes) => {
            let of_class = classes.of_classes(labels)?;
            labels.values.iter().map(|class| of_class[*class as usize]).collect()
        }
        None => vec![1.0; labels.values.len()],
    };
    if let Some(samples) = samples {
        if samples.len() != weights.len() {
            let (rows, given) = (weights.len(), samples.len());
            return Err(Error::failed(format!("{given} sample weights were given for {rows} labels")));
        }
        for (weight, sample) in weights.iter_mut().zip(samples) {
            *weight *= sample;
        }
    }
    if !weights.is_empty() && !weights.iter().any(|weight| *weight > 0.0) {
        return Err(Error::check("every row weighs 0").hint("look at `class_weight` and the weight column"));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::counts::Rejections;
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    fn labels(values: &[f64], classes: &[&str]) -> Labels {
        let task = match classes.len() {
            0 => Task::Regression,
            2 => Task::Binary,
            _ => Task::Multiclass,
        };
        Labels {
            task,
            values: values.to_vec(),
            known: (0..values.len()).collect(),
            classes: classes.iter().map(|class| (*class).to_owned()).collect(),
            unlabelled: 0,
            rejected: Rejections::default(),
        }
    }

    fn read(json: &str) -> serde_json::Result<ClassWeight> {
        serde_json::from_str(json)
    }

    #[test]
    fn balanced_is_that_of_scikit_learn() {
        // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 1, 2])
        let labels = labels(&[0.0, 0.0, 0.0, 1.0, 1.0, 2.0], &["a", "b", "c"]);
        let weights = ClassWeight::Balanced.of_classes(&labels).unwrap();
        assert_eq!(weights, [2.0 / 3.0, 1.0, 2.0]);
        assert_eq!(row_weights(&labels, Some(&ClassWeight::Balanced), None).unwrap().iter().sum::<f64>(), 6.0);
    }

    #[test]
    fn a_word_or_a_table_is_read_and_written_back() {
        for json in [r#""balanced""#, r#"{"0":1.0,"1":20.5}"#] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), json);
        }
        assert_eq!(read(r#"{"1": 20}"#).unwrap(), ClassWeight::Table([("1".to_owned(), 20.0)].into()));
        for json in [r#""even""#, r#"{"1":-1.0}"#, "3", r#"{"1":"x"}"#] {
            assert!(read(json).is_err(), "{json} was accepted");
        }
        assert!(read(r#""even""#).unwrap_err().to_string().contains(r#"expected "balanced" or a table"#));
        let schema = serde_json::to_value(schemars::schema_for!(ClassWeight)).unwrap();
        assert_eq!(schema["oneOf"][0]["const"], "balanced");
    }

    #[test]
    fn a_class_without_a_weight_weighs_1_and_a_stranger_is_refused() {
        let labels = labels(&[0.0, 1.0], &["0", "1"]);
        let weights = row_weights(&labels, Some(&read(r#"{"1": 20}"#).unwrap()), Some(&[0.5, 2.0])).unwrap();
        assert_eq!(weights, [0.5, 40.0]);
        let error = row_weights(&labels, Some(&read(r#"{"fraud": 20}"#).unwrap()), None).unwrap_err();
        assert!(error.message().contains("`fraud`") && error.hint_text().unwrap().contains("0, 1"));
    }

    #[test]
    fn regression_has_no_class_weights_and_weights_may_not_all_be_zero() {
        let values = labels(&[3.0, 4.0], &[]);
        assert!(row_weights(&values, Some(&ClassWeight::Balanced), None).is_err());
        assert_eq!(row_weights(&values, None, None).unwrap(), [1.0, 1.0]);
        assert!(row_weights(&values, None, Some(&[0.0, 0.0])).is_err());
        assert!(row_weights(&values, None, Some(&[1.0])).is_err());
    }

    #[test]
    fn a_bad_sample_weight_is_refused_with_its_row() {
        let column = |values: Vec<Option<f64>>| {
            [RecordBatch::try_from_iter([("w", Arc::new(Float64Array::from(values)) as ArrayRef)]).unwrap()]
        };
        let good = column(vec![Some(0.0), Some(2.0), None]);
        assert_eq!(sample_weights(&good, "w", &[1, 0]).unwrap(), [2.0, 0.0]);
        for bad in [None, Some(f64::NAN), Some(f64::INFINITY), Some(-0.5), Some(1e51), Some(1e-51)] {
            let error = sample_weights(&column(vec![Some(1.0), bad]), "w", &[0, 1]).unwrap_err();
            assert_eq!(error.context(), [("column", "w".to_owned()), ("row", "1".to_owned())]);
        }
        let text = RecordBatch::try_from_iter([("w", Arc::new(StringArray::from(vec!["1"])) as ArrayRef)]).unwrap();
        assert!(sample_weights(&[text], "w", &[0]).is_err());
    }
}
