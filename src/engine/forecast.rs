//! What a run takes: predicted before anything is read, measured when it is done.

use super::Engine;
use super::features::FeatureQuery;
use crate::error::Result;
use crate::features::Encoding;
use crate::memory::Budget;
use serde::{Deserialize, Serialize};

/// Rows of a batch.
const BATCH_ROWS: u64 = 8192;

/// What the program holds by itself: code, stacks, logs of tables.
const PROGRAM_BYTES: u64 = 112 << 20;

/// What the search for duplicate keys holds, and the row group that is being written, at its most.
const SINK_BYTES: u64 = 40 << 20;

/// What sorting and loading a lookup table holds, after all rows are scored.
const LOOKUP_BYTES: u64 = 64 << 20;

/// What a row of a binned matrix takes beside its bins: label, weight, time, score, gradients, its place in a leaf.
const BINNED_ROW_BYTES: u64 = 48;

/// Rows, bytes and memory of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takes {
    /// Rows that the features SQL gives; predicted, they are an estimate, absent where no statistics tell.
    pub rows: Option<u64>,
    /// Bytes that are read of the tables' files.
    pub bytes: u64,
    /// The largest resident set of the process.
    pub memory_bytes: u64,
}

impl FeatureQuery {
    /// What scoring its rows would take.
    ///
    /// # Errors
    /// A usage error for a limit that is too small for anything.
    pub fn scoring_takes(&self, engine: &Engine) -> Result<Takes> {
        let budget = Budget::of(engine.memory_bytes)?;
        let forecast = self.forecast();
        // In work, and ahead; as columns, as features, as predictions.
        let batches = 2 * engine.runtime.threads() as u64 + 6;
        let in_work = (forecast.row_bytes * BATCH_ROWS * batches * 3).min(budget.pipeline);
        let sink = SINK_BYTES.min(forecast.rows.unwrap_or(u64::MAX).saturating_mul(forecast.row_bytes + 64));
        let scoring = forecast.operators.min(budget.pool) + forecast.scans + in_work + sink;
        Ok(Takes {
            rows: forecast.rows,
            bytes: forecast.bytes,
            memory_bytes: PROGRAM_BYTES + scoring.max(LOOKUP_BYTES),
        })
    }

    /// What training on its rows would take: all of them as columns and as features, or as bins; with a search, once
    /// more for each fit that goes on at the same time, and a binned row's numbers for that of a search on bins.
    ///
    /// # Errors
    /// As [`FeatureQuery::scoring_takes`].
    pub fn training_takes(&self, engine: &Engine, encoding: Encoding, searches: bool) -> Result<Takes> {
        let budget = Budget::of(engine.memory_bytes)?;
        let forecast = self.forecast();
        let columns = self.schema().fields().len() as u64;
        let of_a_row = match encoding {
            Encoding::Dense => forecast.row_bytes + 2 * 8 * columns,
            Encoding::Native => columns + BINNED_ROW_BYTES,
        };
        let fits = if searches { engine.runtime.threads() as u64 } else { 0 };
        let of_a_fit = match encoding {
            Encoding::Dense => 2 * 8 * columns,
            Encoding::Native => BINNED_ROW_BYTES,
        };
        let of_a_row = of_a_row.saturating_add(fits.saturating_mul(of_a_fit));
        let held = forecast.rows.unwrap_or(0).saturating_mul(of_a_row);
        let query = forecast.operators.min(budget.pool) + forecast.scans;
        Ok(Takes { rows: forecast.rows, bytes: forecast.bytes, memory_bytes: PROGRAM_BYTES + query.max(held) })
    }
}
