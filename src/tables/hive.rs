//! Partition columns of plain files: folders called `column=value`.
//!
//! A column exists if every file of the table lies below a folder of that name. Its type is found
//! from all of its values: `Int64` where every value is a whole number that is written without
//! leading zeros, `Date32` where every value is a date `YYYY-MM-DD`, otherwise a string.
//! `__HIVE_DEFAULT_PARTITION__` is NULL. Values are percent-decoded, as Spark and Hive write them.

use crate::error::{Error, Result};
use chrono::NaiveDate;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::scalar::ScalarValue;
use object_store::path::Path;
use std::sync::Arc;

/// What Hive writes for NULL.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The partition columns and each file's values, in the order of the files.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    pub(super) fields: Vec<Arc<Field>>,
    pub(super) values: Vec<Vec<ScalarValue>>,
}

/// Reads the folder names of `files` below `root`.
///
/// # Errors
/// Where the files do not agree on the columns.
pub(super) fn partitions(files: &[&Path], root: &Path) -> Result<Partitions> {
    let mut names: Vec<String> = Vec::new();
    let mut texts: Vec<Vec<Option<String>>> = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let pairs = pairs(file, root);
        let of_this: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        if index == 0 {
            names = of_this.iter().map(|name| (*name).to_owned()).collect();
        } else if of_this != names {
            return Err(Error::usage("the files do not agree on their partition folders")
                .with("file", file)
                .with("expected", names.join("/"))
                .hint("every file must lie below the same `column=value` folders, in one order"));
        }
        texts.push(pairs.into_iter().map(|(_, value)| value).collect());
    }
    let types: Vec<DataType> = (0..names.len()).map(|column| data_type(texts.iter().map(|row| &row[column]))).collect();
    let fields = names.iter().zip(&types).map(|(name, kind)| Arc::new(Field::new(name, kind.clone(), true))).collect();
    let values = texts
        .iter()
        .map(|row| row.iter().zip(&types).map(|(text, kind)| scalar(text.as_deref(), kind)).collect())
        .collect();
    Ok(Partitions { fields, values })
}

/// The `column=value` folders of a file, outermost first.
fn pairs(file: &Path, root: &Path) -> Vec<(String, Option<String>)> {
    let Some(parts) = file.prefix_match(root) else { return Vec::new() };
    let mut folders: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
    folders.pop();
    folders
        .iter()
        .filter_map(|folder| folder.split_once('='))
        .map(|(name, value)| (decoded(name), Some(decoded(value)).filter(|value| value != NULL)))
        .collect()
}

/// Percent-decoded: stores list names as the writer has encoded them.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let pair = tail.get(..2).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let digits = pair.and_then(|pair| std::str::from_utf8(pair).ok());
        match digits.filter(|_| byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn data_type<'a>(values: impl Iterator<Item = &'a Option<String>> + Clone) -> DataType {
    let mut present = values.flatten().peekable();
    if present.peek().is_none() {
        return DataType::Utf8View;
    }
    let (mut whole, mut date) = (true, true);
    for value in present {
        whole &= value.parse::<i64>().is_ok_and(|number| number.to_string() == *value);
        date &= day(value).is_some();
    }
    match (whole, date) {
        (true, _) => DataType::Int64,
        (_, true) => DataType::Date32,
        _ => DataType::Utf8View,
    }
}

fn scalar(text: Option<&str>, kind: &DataType) -> ScalarValue {
    match kind {
        DataType::Int64 => ScalarValue::Int64(text.and_then(|text| text.parse().ok())),
        DataType::Date32 => ScalarValue::Date32(text.and_then(day)),
        _ => ScalarValue::Utf8View(text.map(str::to_owned)),
    }
}

/// Days since 1970-01-01 of a date in full ISO form.
fn day(text: &str) -> Option<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|date| date.to_string() == text)?;
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(values: &[&str]) -> (DataType, Vec<ScalarValue>) {
        let paths: Vec<Path> = values.iter().map(|value| Path::parse(format!("t/c={value}/a.csv")).unwrap()).collect();
        let found = partitions(&paths.iter().collect::<Vec<_>>(), &Path::from("t")).unwrap();
        (found.fields[0].data_type().clone(), found.values.into_iter().flatten().collect())
    }

    #[test]
    fn types_are_found_from_all_values() {
        assert_eq!(types(&["1", "-20"]).0, DataType::Int64);
        assert_eq!(types(&["1", "01"]).0, DataType::Utf8View);
        assert_eq!(types(&["2018-06-20", "2018-06-21"]).1[0], ScalarValue::Date32(Some(17702)));
        assert_eq!(types(&["2018-06-20", "2018-6-21"]).0, DataType::Utf8View);
    }

    #[test]
    fn null_and_escapes() {
        let (kind, values) = types(&["7", NULL]);
        assert_eq!((kind, &values[1]), (DataType::Int64, &ScalarValue::Int64(None)));
        assert_eq!(types(&["a%2Fb"]).1[0], ScalarValue::Utf8View(Some("a/b".into())));
        assert_eq!(types(&["10%252F"]).1[0], ScalarValue::Utf8View(Some("10%2F".into())), "once");
        assert_eq!(types(&["10%+a"]).1[0], ScalarValue::Utf8View(Some("10%+a".into())), "no digits");
        assert_eq!(types(&[NULL]).1[0], ScalarValue::Utf8View(None));
    }

    #[test]
    fn disagreeing_folders_are_refused() {
        let paths = [Path::from("t/a=1/x.csv"), Path::from("t/b=1/x.csv")];
        assert!(partitions(&paths.iter().collect::<Vec<_>>(), &Path::from("t")).is_err());
    }
}
