//! Fitting: medians, levels, and which columns are of no use. One independent unit of work a column.

use super::column::{Dropped, Folded};
use super::{Encoder, EncoderOptions, FittedColumn, Levels, Stored};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::features::arrays::{numbers_into, selected, text_codes};
use crate::features::counts::{Reason, Rejections};
use crate::features::signature::{ColumnKind, Signature};
use arrow::array::{Array, ArrayRef};
use arrow::record_batch::RecordBatch;
use rayon::prelude::*;
use std::collections::HashMap;

pub(super) fn fit(
    signature: &Signature,
    batches: &[RecordBatch],
    rows: Option<&[usize]>,
    options: &EncoderOptions,
) -> Result<Encoder> {
    if options.max_categories == 0 {
        return Err(Error::usage("`max_categories` must be at least 1"));
    }
    let columns = gather(signature, batches)?;
    let mut included = selected(batches, rows)?;
    if !included.contains(&true) {
        return Err(Error::new(ErrorKind::Empty, "there is no training row")
            .hint("look at the training window, the split and the label delay"));
    }
    let rejected = reject_infinite(signature, &columns, &mut included)?;
    let rows = included.iter().filter(|included| **included).count() as u64;
    if rows == 0 {
        return Err(Error::check(format!("all {} training rows have an infinite value", rejected.rows))
            .hint("guard divisions in the SQL, e.g. a / NULLIF(b, 0)"));
    }
    let fitted: Vec<Result<FittedColumn>> = signature
        .columns
        .par_iter()
        .zip(&columns)
        .map(|(column, parts)| match column.kind {
            ColumnKind::Category => fit_category(parts, &included, options),
            ColumnKind::Numeric | ColumnKind::Boolean => numbers(parts, &included).map(fit_number),
        })
        .collect();
    let columns = fitted
        .into_iter()
        .zip(&signature.columns)
        .map(|(fitted, column)| fitted.at("column", &column.name))
        .collect::<Result<Vec<_>>>()?;
    let encoder =
        Encoder::new(Stored { signature: signature.clone(), options: options.clone(), columns, rows, rejected })?;
    if encoder.features() == 0 {
        return Err(no_feature_left(&encoder));
    }
    Ok(encoder)
}

/// The parts of each column of the signature, batch after batch.
fn gather(signature: &Signature, batches: &[RecordBatch]) -> Result<Vec<Vec<ArrayRef>>> {
    let mut columns = vec![Vec::with_capacity(batches.len()); signature.columns.len()];
    for batch in batches {
        for (column, place) in columns.iter_mut().zip(signature.locate(batch.schema_ref())?) {
            column.push(batch.column(place).clone());
        }
    }
    Ok(columns)
}

/// Takes rows with an infinite value out of `included` and counts them.
fn reject_infinite(signature: &Signature, columns: &[Vec<ArrayRef>], included: &mut [bool]) -> Result<Rejections> {
    let mut rejected = Rejections::default();
    let mut out = Vec::new();
    for (column, parts) in signature.columns.iter().zip(columns) {
        // Only floats know infinity.
        if !parts.iter().any(|part| part.data_type().is_floating()) {
            continue;
        }
        let (mut first, mut count, mut values) = (0, 0, Vec::new());
        for part in parts {
            values.resize(part.len(), 0.0);
            numbers_into(part.as_ref(), &mut values)?;
            for (row, value) in (first..).zip(&values) {
                if value.is_infinite() && included[row] {
                    count += 1;
                    out.push(row);
                }
            }
            first += part.len();
        }
        rejected.count(&column.name, Reason::Infinite, count);
    }
    // Only now, since a row counts in each of its columns.
    for row in out {
        rejected.rows += u64::from(std::mem::replace(&mut included[row], false));
    }
    Ok(rejected)
}

/// The included rows' numbers; missing ones are NaN.
fn numbers(parts: &[ArrayRef], included: &[bool]) -> Result<Vec<f64>> {
    let (mut all, mut first, mut values) = (Vec::new(), 0, Vec::new());
    for part in parts {
        values.resize(part.len(), 0.0);
        numbers_into(part.as_ref(), &mut values)?;
        let included = &included[first..first + part.len()];
        all.extend(values.iter().zip(included).filter(|(_, included)| **included).map(|(value, _)| *value));
        first += part.len();
    }
    Ok(all)
}

fn fit_number(mut values: Vec<f64>) -> FittedColumn {
    let rows = values.len();
    values.retain(|value| !value.is_nan());
    let missing = values.len() < rows;
    let Some(first) = values.first().copied() else { return FittedColumn::Dropped { reason: Dropped::AllNull } };
    let constant = values.iter().all(|value| *value == first);
    if constant && !missing {
        return FittedColumn::Dropped { reason: Dropped::Constant };
    }
    FittedColumn::Number { fill: median(&mut values), value: !constant, missing }
}

/// The exact median by selection: the mean of the two middle values where their number is even.
fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    match below.iter().copied().max_by(f64::total_cmp) {
        Some(lower) if even => f64::midpoint(lower, *upper),
        _ => *upper,
    }
}

fn fit_category(parts: &[ArrayRef], included: &[bool], options: &EncoderOptions) -> Result<FittedColumn> {
    const NULL: u32 = u32::MAX;
    let mut codes: HashMap<String, u32> = HashMap::new();
    let (mut counts, mut nulls, mut first): (Vec<u64>, u64, usize) = (Vec::new(), 0, 0);
    for part in parts {
        let code_of = |text: &str| match codes.get(text) {
            Some(code) => *code,
            None => {
                let code = codes.len() as u32;
                codes.insert(text.to_owned(), code);
                code
            }
        };
        text_codes(part.as_ref(), NULL, code_of, |row, code| {
            let seen = u64::from(included[first + row]);
            if code == NULL {
                nulls += seen;
                return;
            }
            if counts.len() <= code as usize {
                counts.resize(code as usize + 1, 0);
            }
            counts[code as usize] += seen;
        })?;
        first += part.len();
    }
    let levels: Vec<(u64, String)> =
        codes.into_iter().map(|(name, code)| (counts[code as usize], name)).filter(|(count, _)| *count > 0).collect();
    match (levels.len(), nulls) {
        (0, _) => return Ok(FittedColumn::Dropped { reason: Dropped::AllNull }),
        (1, 0) => return Ok(FittedColumn::Dropped { reason: Dropped::Constant }),
        _ => {}
    }
    let (kept, folded) = most_frequent(levels, options.max_categories);
    let names = kept.into_iter().map(|(_, name)| name).collect();
    Ok(FittedColumn::Category { levels: Levels::new(names)?, null_level: nulls > 0, folded })
}

/// The `most` most frequent levels, ties by name, in the order of their names; and what was cut.
pub(super) fn most_frequent(mut levels: Vec<(u64, String)>, most: usize) -> (Vec<(u64, String)>, Folded) {
    levels.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let rest = levels.split_off(levels.len().min(most));
    let folded = Folded { levels: rest.len() as u64, rows: rest.iter().map(|(count, _)| count).sum() };
    levels.sort_unstable_by(|a, b| a.1.cmp(&b.1));
    (levels, folded)
}

pub(super) fn no_feature_left(encoder: &Encoder) -> Error {
    let warnings = encoder.warnings();
    let columns: Vec<String> = warnings.iter().map(|it| format!("`{}` {}", it.column, it.message)).collect();
    Error::check(format!("no feature is left to train on: {}", columns.join(", ")))
        .hint("select at least one column that varies over the training rows")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_exact() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&mut [7.0]), 7.0);
        assert_eq!(median(&mut [f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(median(&mut [-f64::MAX, f64::MAX]), 0.0);
    }

    #[test]
    fn the_median_is_that_of_sorting() {
        let mut state = 1u64;
        for length in 1..200 {
            let mut values: Vec<f64> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 60) as f64
                })
                .collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let expected = (sorted[(length - 1) / 2] + sorted[length / 2]) / 2.0;
            assert_eq!(median(&mut values), expected);
        }
    }
}
