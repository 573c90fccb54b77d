//! Which column of the SQL is which feature of an imported model.

use crate::error::{Error, Result, did_you_mean};
use crate::features::{ColumnKind, FittedColumn, Folded, Levels, Signature, SignatureColumn};
use crate::models::import::ImportedFeature;
use arrow::datatypes::Schema;
use std::collections::HashSet;

/// How many features were named, if each was.
pub fn count(written: &[String]) -> Option<usize> {
    let each = !written.is_empty() && written.iter().all(|written| !written.contains('='));
    each.then_some(written.len())
}

/// The column of each feature, in the order of the features.
///
/// Columns alone stand in the order of the features, or bear their names, all of them. With `feature=column`, features
/// that are not mentioned keep their own names.
///
/// # Errors
/// Usage: another number of columns than of features; names that are the model's, but stand in other places; a feature
/// that does not exist or has no name; a column that stands twice.
pub fn columns(features: &[ImportedFeature], written: &[String]) -> Result<Vec<String>> {
    let named: Option<Vec<&str>> = features.iter().map(|feature| feature.name.as_deref()).collect();
    let columns = if written.is_empty() {
        let named = named.ok_or_else(|| {
            Error::usage("the model file does not name its features")
                .with("features", features.len())
                .hint("give --features a,b,c: a column of the SQL for each, in the order of the training data")
        })?;
        named.into_iter().map(str::to_owned).collect()
    } else if written.iter().any(|written| written.contains('=')) {
        by_pairs(features, written)?
    } else {
        by_place(named, features.len(), written)?
    };
    let mut seen = HashSet::new();
    match columns.iter().find(|column| !seen.insert(column.as_str())) {
        Some(twice) => Err(Error::usage("a column is named for two features").with("column", twice)),
        None => Ok(columns),
    }
}

fn by_place(named: Option<Vec<&str>>, count: usize, written: &[String]) -> Result<Vec<String>> {
    if written.len() != count {
        return Err(Error::usage("the model has another number of features than were named")
            .with("named", written.len())
            .with("the model has", count));
    }
    let named = named.unwrap_or_default();
    let known: HashSet<&str> = named.iter().copied().collect();
    let given: HashSet<&str> = written.iter().map(String::as_str).collect();
    // The same names in any order are meant by name.
    if !named.is_empty() && known == given {
        return Ok(named.into_iter().map(str::to_owned).collect());
    }
    let moved = written.iter().zip(&named).find(|(column, own)| column != own && known.contains(column.as_str()));
    match moved {
        Some((column, own)) => {
            Err(Error::usage("a column bears the name of another feature than the one in its place")
                .with("column", column)
                .with("the feature there", own)
                .hint(format!("write feature=column for each that differs, e.g. --features {own}={column}")))
        }
        None => Ok(written.to_vec()),
    }
}

fn by_pairs(features: &[ImportedFeature], written: &[String]) -> Result<Vec<String>> {
    let mut columns: Vec<Option<String>> = features.iter().map(|feature| feature.name.clone()).collect();
    let mut given = HashSet::new();
    for pair in written {
        let (feature, column) = pair.split_once('=').unwrap_or((pair, pair));
        let place = features.iter().position(|own| own.name.as_deref() == Some(feature));
        let Some(place) = place else {
            let known = features.iter().filter_map(|feature| feature.name.as_deref());
            let error = Error::usage("the model has no such feature").with("feature", feature);
            return Err(match did_you_mean(feature, known) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        };
        if !given.insert(place) {
            return Err(Error::usage("a feature is mentioned twice").with("feature", feature));
        }
        columns[place] = Some(column.to_owned());
    }
    let columns: Option<Vec<String>> = columns.into_iter().collect();
    columns.ok_or_else(|| Error::usage("the model file does not name all of its features: give a column for each"))
}

/// What the encoder does with each column: numbers as they are, texts by their levels. The types of the `rows` at hand
/// are kept for people to read.
///
/// # Errors
/// Verification: levels that stand twice.
pub fn encoding(
    features: &[ImportedFeature],
    columns: &[String],
    rows: Option<&Schema>,
) -> Result<(Signature, Vec<FittedColumn>)> {
    let mut signed = Vec::with_capacity(columns.len());
    let mut fitted = Vec::with_capacity(columns.len());
    for (feature, column) in features.iter().zip(columns) {
        let kind = if feature.levels.is_some() { ColumnKind::Category } else { ColumnKind::Numeric };
        let found = rows.and_then(|rows| rows.column_with_name(column)).map(|(_, field)| field.data_type());
        let arrow_type = found.map_or_else(|| "of the imported model".to_owned(), ToString::to_string);
        signed.push(SignatureColumn { name: column.clone(), kind, arrow_type });
        fitted.push(match &feature.levels {
            Some(levels) => FittedColumn::Codes { levels: Levels::new(levels.clone())?, folded: Folded::default() },
            None => FittedColumn::Native { infinite: true },
        });
    }
    Ok((Signature { columns: signed }, fitted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(names: &[&str]) -> Vec<ImportedFeature> {
        names.iter().map(|name| ImportedFeature { name: Some((*name).to_owned()), levels: None }).collect()
    }

    fn mapped(names: &[&str], written: &str) -> Result<Vec<String>> {
        let written: Vec<String> = written.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        columns(&features(names), &written)
    }

    #[test]
    fn columns_go_by_name_where_all_names_are_given_and_by_place_otherwise() {
        assert_eq!(mapped(&["a", "b"], "").unwrap(), ["a", "b"]);
        assert_eq!(mapped(&["a", "b"], "b,a").unwrap(), ["a", "b"]);
        assert_eq!(mapped(&["a", "b"], "x,y").unwrap(), ["x", "y"]);
        assert_eq!(mapped(&["a", "b"], "a,y").unwrap(), ["a", "y"]);
        assert_eq!(mapped(&["a", "b"], "b=z").unwrap(), ["a", "z"]);
    }

    #[test]
    fn what_could_be_meant_in_two_ways_is_refused() {
        for written in ["b,y", "x", "x,x", "c=z", "a=b", "a=x,a=y"] {
            assert!(mapped(&["a", "b"], written).is_err(), "{written}");
        }
        let unnamed = vec![ImportedFeature::default(); 2];
        assert!(columns(&unnamed, &[]).is_err());
        assert_eq!(columns(&unnamed, &["x".to_owned(), "y".to_owned()]).unwrap(), ["x", "y"]);
    }
}
