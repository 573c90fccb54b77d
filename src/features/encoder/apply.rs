//! Applying: one pass a column, straight from the Arrow buffer into the block's column.

use super::{Encoder, FittedColumn, Levels};
use crate::error::{Result, ResultExt};
use crate::features::arrays::{numbers_into, text_codes};
use crate::features::block::FeatureBlock;
use crate::features::counts::{ColumnCounts, Reason, Rejections};
use arrow::array::Array;
use arrow::record_batch::RecordBatch;

/// One encoded batch and what happened to rows that were not plain.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The kept rows, `kept x features`.
    pub block: FeatureBlock,
    /// The batch's rows that were kept, ascending; `None` where all were.
    pub kept: Option<Vec<usize>>,
    /// The rows that were not kept.
    pub rejected: Rejections,
    /// Rows whose category is none of the levels, by column. Counted before rejection. Levels beyond
    /// `max_categories` are among them: they are not stored.
    pub unseen: ColumnCounts,
    /// Rows whose number was missing and was filled in, by column. Counted before rejection.
    pub imputed: ColumnCounts,
}

pub(super) fn apply(encoder: &Encoder, batch: &RecordBatch) -> Result<Encoded> {
    let places = encoder.signature.locate(batch.schema_ref())?;
    let rows = batch.num_rows();
    let mut pass = Pass { rows, infinite: Vec::new(), rejected: Rejections::default(), scratch: Vec::new() };
    let mut block = FeatureBlock::zeros(rows, encoder.features());
    let (mut unseen, mut imputed) = (ColumnCounts::default(), ColumnCounts::default());
    let mut next = 0;
    for ((column, fitted), place) in encoder.signature.columns.iter().zip(&encoder.columns).zip(places) {
        let array = batch.column(place).as_ref();
        let name = column.name.as_str();
        let features = fitted.features();
        let to = block.columns_mut(next, features);
        match fitted {
            FittedColumn::Category { levels, null_level, .. } => {
                unseen.count(name, one_hot(array, levels, *null_level, to).at("column", name)?);
            }
            FittedColumn::Number { fill, value, .. } => {
                let (values, missing) = to.split_at_mut(if *value { rows } else { 0 });
                imputed.count(name, pass.number(array, name, *fill, values, missing)?);
            }
            FittedColumn::Native { infinite } => pass.native(array, name, *infinite, to)?,
            FittedColumn::Codes { levels, .. } => {
                unseen.count(name, codes(array, levels, to).at("column", name)?);
            }
            // Whoever falls back is counted where the model is chosen.
            FittedColumn::Route { levels: Some(levels) } => drop(codes(array, levels, to).at("column", name)?),
            FittedColumn::Route { levels: None } => numbers_into(array, to).at("column", name)?,
            FittedColumn::Dropped { .. } if array.data_type().is_floating() => {
                pass.number(array, name, 0.0, &mut [], &mut [])?;
            }
            FittedColumn::Dropped { .. } => {}
        }
        next += features;
    }
    let Pass { infinite, mut rejected, .. } = pass;
    if infinite.is_empty() {
        return Ok(Encoded { block, kept: None, rejected, unseen, imputed });
    }
    let kept: Vec<usize> = (0..rows).filter(|row| !infinite[*row]).collect();
    rejected.rows = (rows - kept.len()) as u64;
    Ok(Encoded { block: block.take(&kept), kept: Some(kept), rejected, unseen, imputed })
}

/// What is carried from column to column.
struct Pass {
    rows: usize,
    /// One flag a row once any row is infinite; empty before.
    infinite: Vec<bool>,
    rejected: Rejections,
    scratch: Vec<f64>,
}

impl Pass {
    /// Writes a number's feature into `values` and its indicator into `missing`, either of which may be
    /// empty (no such feature). Gives how many values were missing.
    fn number(
        &mut self,
        array: &dyn Array,
        name: &str,
        fill: f64,
        values: &mut [f64],
        missing: &mut [f64],
    ) -> Result<u64> {
        let values = if values.is_empty() {
            self.scratch.resize(self.rows, 0.0);
            &mut self.scratch[..]
        } else {
            values
        };
        numbers_into(array, values).at("column", name)?;
        // One branch-free look at all values; nearly every column ends here.
        if values.iter().fold(true, |finite, value| finite & value.is_finite()) {
            return Ok(0);
        }
        let (mut imputed, mut infinite) = (0, 0);
        for (row, value) in values.iter_mut().enumerate() {
            if value.is_nan() {
                *value = fill;
                imputed += 1;
                if let Some(indicator) = missing.get_mut(row) {
                    *indicator = 1.0;
                }
            } else if value.is_infinite() {
                infinite += 1;
                self.infinite.resize(self.rows, false);
                self.infinite[row] = true;
            }
        }
        self.rejected.count(name, Reason::Infinite, infinite);
        Ok(imputed)
    }

    /// Writes a number's values as they are, NaN where they are missing.
    fn native(&mut self, array: &dyn Array, name: &str, infinite_passes: bool, values: &mut [f64]) -> Result<()> {
        numbers_into(array, values).at("column", name)?;
        if infinite_passes || values.iter().fold(true, |plain, value| plain & !value.is_infinite()) {
            return Ok(());
        }
        let mut infinite = 0;
        self.infinite.resize(self.rows, false);
        for (flag, _) in self.infinite.iter_mut().zip(&*values).filter(|(_, value)| value.is_infinite()) {
            *flag = true;
            infinite += 1;
        }
        self.rejected.count(name, Reason::Infinite, infinite);
        Ok(())
    }
}

/// Writes each row's code. Gives how many rows have a value that is no level.
fn codes(array: &dyn Array, levels: &Levels, to: &mut [f64]) -> Result<u64> {
    const NULL: u32 = u32::MAX;
    let none = levels.names().len() as u32;
    let mut unseen = 0;
    text_codes(
        array,
        NULL,
        |text| levels.position(text).unwrap_or(none),
        |row, code| {
            unseen += u64::from(code == none);
            to[row] = if code == NULL { f64::NAN } else { f64::from(code) };
        },
    )?;
    Ok(unseen)
}

/// Sets each row's level to 1. Gives how many rows have none.
fn one_hot(array: &dyn Array, levels: &Levels, null_level: bool, to: &mut [f64]) -> Result<u64> {
    const UNSEEN: u32 = u32::MAX;
    let rows = array.len();
    let null = if null_level { levels.names().len() as u32 } else { UNSEEN };
    let mut unseen = 0;
    text_codes(
        array,
        null,
        |text| levels.position(text).unwrap_or(UNSEEN),
        |row, level| {
            if level == UNSEEN {
                unseen += 1;
            } else {
                to[level as usize * rows + row] = 1.0;
            }
        },
    )?;
    Ok(unseen)
}
