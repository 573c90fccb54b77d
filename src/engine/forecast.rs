//! What a run takes: predicted before anything is read, measured when it is done.
//!
//! Models count where they may be large: when a version is loaded for scoring, by its payload; in a training with
//! segments, by what their number can be at most (`sizes`).

mod sizes;

use sizes::ModelSizes;

use super::Engine;
use super::features::FeatureQuery;
use super::pipeline::most_together;
use crate::error::Result;
use crate::features::Encoding;
use crate::job::ModelSpec;
use crate::memory::Budget;
use crate::models::{self, COMPILED_BYTES};
use crate::registry::Described;
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

/// What is known of a model before it is loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelToScore {
    /// The size of its payload.
    pub payload_bytes: u64,
    /// How many segments have models of their own.
    pub segments: u64,
}

impl ModelToScore {
    /// A registered version.
    pub fn of(version: &Described) -> Self {
        let segments = version.artifact.segments.as_ref().map_or(0, |segments| segments.models);
        Self { payload_bytes: version.payload_bytes, segments }
    }

    /// What it takes while it is loaded: payload and predictor. And while rows are scored: the predictor, and the forms
    /// that are compiled of its forests, which take about as much again, until that is all that is kept.
    fn bytes(self) -> (u64, u64) {
        let predictor = self.payload_bytes.saturating_mul(3) / 2;
        let compiled = predictor.min(COMPILED_BYTES as u64);
        (self.payload_bytes.saturating_add(predictor), predictor.saturating_add(compiled))
    }
}

impl FeatureQuery {
    /// The model that training on its rows would give, as far as that is known.
    ///
    /// # Errors
    /// An algorithm that does not exist.
    pub fn model_to_score(&self, model: &ModelSpec) -> Result<ModelToScore> {
        let columns = self.schema().fields().len() as u64;
        let sizes = ModelSizes::of(model, self.forecast().rows.unwrap_or(0), columns)?;
        Ok(ModelToScore { payload_bytes: sizes.payload, segments: sizes.segments })
    }

    /// What scoring its rows by `model` would take.
    ///
    /// # Errors
    /// A usage error for a limit that is too small for anything.
    pub fn scoring_takes(&self, engine: &Engine, model: ModelToScore) -> Result<Takes> {
        let budget = Budget::of(engine.memory_bytes)?;
        let forecast = self.forecast();
        // In work, and ahead; as columns, as features, as predictions.
        let batches = 2 * engine.runtime.threads() as u64 + 6;
        let rows = (BATCH_ROWS * batches).max(3 * most_together(model.segments));
        let in_work = (forecast.row_bytes * rows * 3).min(budget.pipeline);
        let sink = SINK_BYTES.min(forecast.rows.unwrap_or(u64::MAX).saturating_mul(forecast.row_bytes + 64));
        let scoring = forecast.operators.min(budget.pool) + forecast.scans + in_work + sink;
        let (loading, loaded) = model.bytes();
        let most = loading.max(loaded.saturating_add(scoring)).max(LOOKUP_BYTES);
        Ok(Takes { rows: forecast.rows, bytes: forecast.bytes, memory_bytes: PROGRAM_BYTES.saturating_add(most) })
    }

    /// What training on its rows would take: all of them as columns and as features, or as bins; with a search, once
    /// more for each fit that goes on at the same time, and a binned row's numbers for that of a search on bins. With
    /// segments, their models beside the rows, or what registering them takes where that is more.
    ///
    /// # Errors
    /// As [`FeatureQuery::scoring_takes`]; an algorithm that does not exist.
    pub fn training_takes(&self, engine: &Engine, model: &ModelSpec) -> Result<Takes> {
        let budget = Budget::of(engine.memory_bytes)?;
        let forecast = self.forecast();
        let columns = self.schema().fields().len() as u64;
        let encoding = models::lookup(&model.algorithm)?.encoding();
        let of_a_row = match encoding {
            Encoding::Dense => forecast.row_bytes + 2 * 8 * columns,
            Encoding::Native => columns + BINNED_ROW_BYTES,
        };
        let fits = if model.search.is_some() { engine.runtime.threads() as u64 } else { 0 };
        let of_a_fit = match encoding {
            Encoding::Dense => 2 * 8 * columns,
            Encoding::Native => BINNED_ROW_BYTES,
        };
        let of_a_row = of_a_row.saturating_add(fits.saturating_mul(of_a_fit));
        let held = forecast.rows.unwrap_or(0).saturating_mul(of_a_row);
        let query = forecast.operators.min(budget.pool) + forecast.scans;
        let sizes = ModelSizes::of(model, forecast.rows.unwrap_or(0), columns)?;
        let most = query.max(held.saturating_add(sizes.held_with_folds(model))).max(sizes.registering());
        Ok(Takes { rows: forecast.rows, bytes: forecast.bytes, memory_bytes: PROGRAM_BYTES.saturating_add(most) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_loaded_and_kept() {
        let none = ModelToScore::default();
        assert_eq!(none.bytes(), (0, 0));
        // A small one is compiled as a whole, of a large one what there is room for.
        let of = |mib: u64| ModelToScore { payload_bytes: mib << 20, segments: 0 }.bytes();
        assert_eq!(of(10), (25 << 20, 30 << 20));
        assert_eq!(of(200), (500 << 20, 364 << 20));
    }
}
