//! Fitting natively: one pass over the training rows, batch after batch, which need not be held.

use super::fit::{most_frequent, no_feature_left};
use super::{Dropped, Encoder, EncoderOptions, FittedColumn, Levels, Stored};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::features::arrays::{numbers_into, text_codes};
use crate::features::bins::{FeatureBins, RowSample};
use crate::features::block::FeatureBlock;
use crate::features::counts::{Reason, Rejections};
use crate::features::signature::{ColumnKind, Signature};
use arrow::array::{Array, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use rayon::prelude::*;
use std::collections::HashMap;

/// How many levels of a category have a code of their own at most, whatever `max_categories` says: as many as
/// have a bin of their own beside the one for all others.
pub const NATIVE_LEVELS: usize = 254;

/// How many different values of a category are counted. A column with more is a name, not a category.
const COUNTED_LEVELS: usize = 1_000_000;

/// The rows of a batch without an infinite value in a column of the signature (`None`: all), and the others.
///
/// # Errors
/// A batch that does not fit the signature.
pub fn finite_rows(signature: &Signature, batch: &RecordBatch) -> Result<(Option<Vec<usize>>, Rejections)> {
    let (rows, mut rejected) = (batch.num_rows(), Rejections::default());
    let (mut infinite, mut values) = (Vec::new(), vec![0.0; rows]);
    for (column, place) in signature.columns.iter().zip(signature.locate(batch.schema_ref())?) {
        let array = batch.column(place);
        // Only floats know infinity.
        if !array.data_type().is_floating() {
            continue;
        }
        numbers_into(array.as_ref(), &mut values).at("column", &column.name)?;
        let count = values.iter().filter(|value| value.is_infinite()).count();
        if count > 0 {
            infinite.resize(rows, false);
            infinite.iter_mut().zip(&values).for_each(|(flag, value)| *flag |= value.is_infinite());
            rejected.count(&column.name, Reason::Infinite, count as u64);
        }
    }
    if infinite.is_empty() {
        return Ok((None, rejected));
    }
    let kept: Vec<usize> = (0..rows).filter(|row| !infinite[*row]).collect();
    rejected.rows = (rows - kept.len()) as u64;
    Ok((Some(kept), rejected))
}

/// Learns a native encoder, and the bins of its features, from the training rows as they pass.
///
/// Its memory is that of the levels' counts and of a sample of rows for the bins (see
/// [`RowSample`]); the result does not depend on where batches end.
#[derive(Debug)]
pub struct NativeFit {
    signature: Signature,
    options: EncoderOptions,
    seen: Vec<Seen>,
    sample: RowSample,
    rows: u64,
    rejected: Rejections,
}

/// What was seen of one column.
#[derive(Debug)]
enum Seen {
    Number { least: f64, greatest: f64, missing: bool },
    Category { codes: HashMap<String, u32>, counts: Vec<u64>, nulls: u64 },
}

impl NativeFit {
    /// Nothing seen yet; `seed` decides the sample for the bins.
    ///
    /// # Errors
    /// A usage error for options out of range.
    pub fn new(signature: &Signature, options: &EncoderOptions, seed: u64) -> Result<Self> {
        if options.max_categories == 0 {
            return Err(Error::usage("`max_categories` must be at least 1"));
        }
        let seen: Vec<Seen> = signature
            .columns
            .iter()
            .map(|column| match column.kind {
                ColumnKind::Category => Seen::Category { codes: HashMap::new(), counts: Vec::new(), nulls: 0 },
                ColumnKind::Numeric | ColumnKind::Boolean => {
                    Seen::Number { least: f64::INFINITY, greatest: f64::NEG_INFINITY, missing: false }
                }
            })
            .collect();
        let numbers = seen.iter().filter(|seen| matches!(seen, Seen::Number { .. })).count();
        let sample = RowSample::new(numbers, seed);
        let (signature, options) = (signature.clone(), options.clone());
        Ok(Self { signature, options, seen, sample, rows: 0, rejected: Rejections::default() })
    }

    /// Learns from the next training rows that have no infinite value; gives what [`finite_rows`] gives.
    ///
    /// # Errors
    /// A batch that does not fit the signature; `check` for a category of more than a million values.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(Option<Vec<usize>>, Rejections)> {
        let (kept, rejected) = finite_rows(&self.signature, batch)?;
        self.rejected.merge(&rejected);
        match &kept {
            None => self.learn(batch)?,
            Some(rows) => {
                let mut mask = vec![false; batch.num_rows()];
                rows.iter().for_each(|row| mask[*row] = true);
                let batch = filter_record_batch(batch, &BooleanArray::from(mask))
                    .map_err(|source| Error::failed("could not cut a batch").because(source))?;
                self.learn(&batch)?;
            }
        }
        Ok((kept, rejected))
    }

    fn learn(&mut self, batch: &RecordBatch) -> Result<()> {
        let places = self.signature.locate(batch.schema_ref())?;
        let learned: Vec<Result<Option<Vec<f64>>>> = self
            .seen
            .par_iter_mut()
            .zip(&places)
            .map(|(seen, place)| seen.learn(batch.column(*place).as_ref()))
            .collect();
        let mut numbers = Vec::new();
        for (learned, column) in learned.into_iter().zip(&self.signature.columns) {
            numbers.extend(learned.at("column", &column.name)?);
        }
        self.sample.add(&FeatureBlock::from_columns(batch.num_rows(), &numbers));
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The encoder, and the bins of each of its features.
    ///
    /// # Errors
    /// `empty` where no row was given; `check` where all were rejected, or no column varies.
    pub fn finish(self) -> Result<(Encoder, Vec<FeatureBins>)> {
        let Self { signature, options, seen, sample, rows, rejected } = self;
        if rows == 0 && rejected.rows == 0 {
            return Err(Error::new(ErrorKind::Empty, "there is no training row")
                .hint("look at the training window, the split and the label delay"));
        }
        if rows == 0 {
            return Err(Error::check(format!("all {} training rows have an infinite value", rejected.rows))
                .hint("guard divisions in the SQL, e.g. a / NULLIF(b, 0)"));
        }
        let mut sampled = sample.columns().into_iter();
        let given: Vec<(Seen, Vec<f64>)> = seen
            .into_iter()
            .map(|seen| {
                let values = if matches!(seen, Seen::Number { .. }) { sampled.next() } else { None };
                (seen, values.unwrap_or_default())
            })
            .collect();
        let most = options.max_categories.min(NATIVE_LEVELS);
        let fitted: Vec<Result<(FittedColumn, Option<FeatureBins>)>> =
            given.into_par_iter().map(|(seen, values)| seen.fitted(values, most)).collect();
        let (mut columns, mut bins) = (Vec::new(), Vec::new());
        for fitted in fitted {
            let (column, of_feature) = fitted?;
            columns.push(column);
            bins.extend(of_feature);
        }
        let encoder = Encoder::new(Stored { signature, options, columns, rows, rejected })?;
        if encoder.features() == 0 {
            return Err(no_feature_left(&encoder));
        }
        Ok((encoder, bins))
    }
}

impl Seen {
    /// Looks at the next rows; gives their numbers, if that is what they are.
    fn learn(&mut self, array: &dyn Array) -> Result<Option<Vec<f64>>> {
        const NULL: u32 = u32::MAX;
        match self {
            Self::Number { least, greatest, missing } => {
                let mut values = vec![0.0; array.len()];
                numbers_into(array, &mut values)?;
                for value in &values {
                    *missing |= value.is_nan();
                    // NaN is neither less nor greater.
                    *least = least.min(*value);
                    *greatest = greatest.max(*value);
                }
                Ok(Some(values))
            }
            Self::Category { codes, counts, nulls } => {
                let code_of = |text: &str| match codes.get(text) {
                    Some(code) => *code,
                    None => {
                        let code = codes.len() as u32;
                        codes.insert(text.to_owned(), code);
                        code
                    }
                };
                text_codes(array, NULL, code_of, |_, code| {
                    if code == NULL {
                        *nulls += 1;
                        return;
                    }
                    if counts.len() <= code as usize {
                        counts.resize(code as usize + 1, 0);
                    }
                    counts[code as usize] += 1;
                })?;
                if codes.len() > COUNTED_LEVELS {
                    return Err(Error::check(format!("a category has more than {COUNTED_LEVELS} different values"))
                        .hint(
                            "that is a name and no category: list it in `features.exclude`, or group it in the SQL",
                        ));
                }
                Ok(None)
            }
        }
    }

    /// What the column becomes, and the bins of its feature; `sampled` has the sampled values of a number.
    fn fitted(self, mut sampled: Vec<f64>, most: usize) -> Result<(FittedColumn, Option<FeatureBins>)> {
        let dropped = |reason| Ok((FittedColumn::Dropped { reason }, None));
        match self {
            Self::Number { least, greatest, .. } if least > greatest => dropped(Dropped::AllNull),
            Self::Number { least, greatest, missing: false } if least == greatest => dropped(Dropped::Constant),
            Self::Number { least, greatest, .. } => {
                // Rare values at the ends are no less there for not being sampled.
                for end in [least, greatest] {
                    if !sampled.contains(&end) {
                        sampled.push(end);
                    }
                }
                Ok((FittedColumn::Native { infinite: false }, Some(FeatureBins::of_numbers(&mut sampled))))
            }
            Self::Category { codes, counts, nulls } => {
                let levels: Vec<(u64, String)> =
                    codes.into_iter().map(|(name, code)| (counts[code as usize], name)).collect();
                match (levels.len(), nulls) {
                    (0, _) => return dropped(Dropped::AllNull),
                    (1, 0) => return dropped(Dropped::Constant),
                    _ => {}
                }
                let (kept, folded) = most_frequent(levels, most);
                let (counts, names): (Vec<u64>, Vec<String>) = kept.into_iter().unzip();
                let bins = FeatureBins::of_codes(&counts);
                Ok((FittedColumn::Codes { levels: Levels::new(names)?, folded }, Some(bins)))
            }
        }
    }
}
