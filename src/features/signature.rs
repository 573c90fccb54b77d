//! The signature: which columns the SQL gives a model, in which order, and of which kind.
//!
//! It is taken from the training query's schema and stored in the model. Scoring compares it with the
//! schema it gets, before a row is read. Widths don't matter (`int32`, `int64` and `float64` are all
//! numeric), kinds do (though true and false are numbers where a number is wanted), and further columns are fine.

use super::arrays::{is_number, is_text};
use crate::error::{Error, Result, did_you_mean};
use arrow::datatypes::{DataType, Schema};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// How a feature column is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Integers, unsigned integers, floats and decimals.
    Numeric,
    /// True and false.
    Boolean,
    /// Strings: plain, large, views, and dictionaries of them.
    Category,
}

impl ColumnKind {
    /// The kind of a column of this type; `None` where it can't be a feature.
    pub fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Boolean => Some(Self::Boolean),
            number if is_number(number) => Some(Self::Numeric),
            text if is_text(text) => Some(Self::Category),
            _ => None,
        }
    }
}

impl ColumnKind {
    /// Whether a column of this type can stand where this kind is wanted: one of the same kind, or true and false, which
    /// are 1 and 0, in place of numbers.
    fn takes(self, data_type: &DataType) -> bool {
        let found = Self::of(data_type);
        found == Some(self) || (self == Self::Numeric && found == Some(Self::Boolean))
    }
}

impl fmt::Display for ColumnKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Numeric => "numeric",
            Self::Boolean => "boolean",
            Self::Category => "category",
        })
    }
}

/// One feature column of the SQL's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureColumn {
    /// The column's name in the SQL's output.
    pub name: String,
    /// What is compared when the model is used.
    pub kind: ColumnKind,
    /// The Arrow type at training time, for people to read; another type of the same kind is fine.
    pub arrow_type: String,
}

/// The ordered feature columns of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// In the order of the SQL's output.
    pub columns: Vec<SignatureColumn>,
}

impl Signature {
    /// The signature of a query's output without the `excluded` columns (key, time, label, weight ...).
    ///
    /// # Errors
    /// A usage error that names every column whose type can't be a feature, every column that stands
    /// twice, or says that no column is left.
    pub fn of(schema: &Schema, excluded: &[&str]) -> Result<Self> {
        let (mut columns, mut refused, mut hints) = (Vec::new(), Vec::new(), Vec::new());
        let mut names = HashSet::new();
        for field in schema.fields() {
            let name = field.name();
            if excluded.contains(&name.as_str()) {
                continue;
            }
            if !names.insert(name) {
                refused.push(format!("`{name}` stands twice"));
                hints.push("give each column a name of its own with AS".to_owned());
                continue;
            }
            match ColumnKind::of(field.data_type()) {
                Some(kind) => columns.push(SignatureColumn {
                    name: name.clone(),
                    kind,
                    arrow_type: field.data_type().to_string(),
                }),
                None => {
                    refused.push(format!("`{name}` is {}", field.data_type()));
                    hints.push(way_out(name, field.data_type()));
                }
            }
        }
        if !refused.is_empty() {
            hints.dedup();
            let message = format!("columns of the SQL's output can't be features: {}", refused.join(", "));
            return Err(Error::usage(message).hint(hints.join("; ")));
        }
        if columns.is_empty() {
            return Err(Error::usage("the SQL's output has no feature column")
                .hint("select at least one column beside the key, the time and the label"));
        }
        Ok(Self { columns })
    }

    /// Compares a schema with this signature; further columns are fine.
    ///
    /// # Errors
    /// A check error that names every missing, retyped and doubled column at once.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        self.locate(schema)?;
        let wanted: HashSet<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let mut seen = HashSet::new();
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let twice: Vec<String> = names
            .filter(|name| wanted.contains(name) && !seen.insert(*name))
            .map(|name| format!("`{name}` stands twice"))
            .collect();
        if twice.is_empty() { Ok(()) } else { Err(mismatch(&twice)) }
    }

    /// Where each column stands in `schema`.
    pub(super) fn locate(&self, schema: &Schema) -> Result<Vec<usize>> {
        let fields = schema.fields();
        let mut places = Vec::with_capacity(self.columns.len());
        let mut faults = Vec::new();
        for column in &self.columns {
            // Columns mostly come in the signature's order, so the search begins behind the last one.
            let next = places.last().map_or(0, |place: &usize| *place + 1);
            let place = (next..fields.len()).chain(0..next).find(|place| fields[*place].name() == &column.name);
            match place {
                None => faults.push(self.missing(column, schema)),
                Some(place) if !column.kind.takes(fields[place].data_type()) => {
                    faults.push(retyped(column, fields[place].data_type()));
                }
                Some(place) => places.push(place),
            }
        }
        if faults.is_empty() { Ok(places) } else { Err(mismatch(&faults)) }
    }

    fn missing(&self, column: &SignatureColumn, schema: &Schema) -> String {
        let taken: HashSet<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let free = schema.fields().iter().map(|field| field.name().as_str()).filter(|name| !taken.contains(name));
        match did_you_mean(&column.name, free) {
            Some(near) => format!("`{}` is missing (did you mean `{near}`?)", column.name),
            None => format!("`{}` is missing", column.name),
        }
    }
}

fn retyped(column: &SignatureColumn, now: &DataType) -> String {
    let SignatureColumn { name, kind, arrow_type } = column;
    match ColumnKind::of(now) {
        Some(now_kind) => format!("`{name}` was {kind} ({arrow_type}) and is {now_kind} ({now})"),
        None => format!("`{name}` was {kind} ({arrow_type}) and is {now}, which can't be a feature"),
    }
}

fn mismatch(faults: &[String]) -> Error {
    Error::check(format!("the SQL's output does not fit the model's signature: {}", faults.join(", ")))
        .hint("let the SQL give these columns as it did in training, or train a new model")
}

/// How a column of a type that is refused could become a feature.
fn way_out(name: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            format!("derive a number in SQL, e.g. date_part('hour', {name})")
        }
        DataType::Time32(_) | DataType::Time64(_) | DataType::Duration(_) | DataType::Interval(_) => {
            format!("derive a number in SQL, e.g. date_part('epoch', {name})")
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            format!("derive a number in SQL, e.g. array_length({name})")
        }
        DataType::Struct(_) => format!("select the fields that matter in SQL, e.g. {name}['field'] AS {name}_field"),
        DataType::Null => format!("give it a type in SQL, e.g. CAST({name} AS DOUBLE)"),
        DataType::Dictionary(_, values) => format!("cast it in SQL, e.g. CAST({name} AS {values})"),
        _ => format!("derive a number in SQL from {name}, or leave it out of the SELECT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, TimeUnit};

    fn schema(columns: &[(&str, DataType)]) -> Schema {
        Schema::new(columns.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect::<Vec<_>>())
    }

    #[test]
    fn kinds_follow_the_order_of_the_select() {
        let text = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8View));
        let schema = schema(&[
            ("id", DataType::Int64),
            ("carrier", text),
            ("amount", DataType::Decimal128(10, 2)),
            ("late", DataType::Boolean),
        ]);
        let signature = Signature::of(&schema, &["id"]).unwrap();
        let got: Vec<_> = signature.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect();
        assert_eq!(
            got,
            [("carrier", ColumnKind::Category), ("amount", ColumnKind::Numeric), ("late", ColumnKind::Boolean)]
        );
    }

    #[test]
    fn every_refused_column_is_named_with_a_way_out() {
        let schema = schema(&[
            ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("amount", DataType::Float64),
            ("blob", DataType::Binary),
        ]);
        let error = Signature::of(&schema, &[]).unwrap_err();
        assert!(error.message().contains("`at` is Timestamp") && error.message().contains("`blob` is Binary"));
        assert!(!error.message().contains("amount"));
        assert!(error.hint_text().unwrap().contains("date_part('hour', at)"));
    }

    #[test]
    fn a_select_without_features_is_refused() {
        assert!(Signature::of(&schema(&[("id", DataType::Int64)]), &["id"]).is_err());
        assert!(Signature::of(&schema(&[("a", DataType::Int64), ("a", DataType::Int64)]), &[]).is_err());
    }

    #[test]
    fn widths_and_further_columns_are_fine() {
        let signature = Signature::of(&schema(&[("a", DataType::Int32), ("b", DataType::Utf8)]), &[]).unwrap();
        let wider = schema(&[("new", DataType::Date32), ("b", DataType::LargeUtf8), ("a", DataType::Float64)]);
        assert!(signature.check(&wider).is_ok());
        assert_eq!(signature.locate(&wider).unwrap(), [2, 1]);
    }

    #[test]
    fn true_and_false_are_numbers_but_numbers_are_not_true_or_false() {
        let (number, truth) = (schema(&[("a", DataType::Int32)]), schema(&[("a", DataType::Boolean)]));
        assert!(Signature::of(&number, &[]).unwrap().check(&truth).is_ok());
        assert!(Signature::of(&truth, &[]).unwrap().check(&number).is_err());
    }

    #[test]
    fn all_mismatches_are_told_together() {
        let trained = schema(&[("amount", DataType::Int32), ("carrier", DataType::Utf8), ("night", DataType::Boolean)]);
        let signature = Signature::of(&trained, &[]).unwrap();
        let now = schema(&[("amout", DataType::Int32), ("carrier", DataType::Int64), ("night", DataType::Date32)]);
        let message = signature.check(&now).unwrap_err().message().to_owned();
        assert!(message.contains("`amount` is missing (did you mean `amout`?)"), "{message}");
        assert!(message.contains("`carrier` was category (Utf8) and is numeric (Int64)"), "{message}");
        assert!(message.contains("`night` was boolean (Boolean) and is Date32"), "{message}");
    }

    #[test]
    fn a_doubled_column_is_ambiguous() {
        let signature = Signature::of(&schema(&[("a", DataType::Int32)]), &[]).unwrap();
        let now = schema(&[("a", DataType::Int32), ("a", DataType::Int32)]);
        assert!(signature.check(&now).unwrap_err().message().contains("`a` stands twice"));
    }
}
