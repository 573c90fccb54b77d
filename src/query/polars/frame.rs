//! Lazy frames whose columns stand in the place of a plan's columns.

use crate::error::Result;
use crate::tables::errors::from_datafusion;
use datafusion::common::{Column, DFSchema};
use polars::prelude as pl;

/// A lazy frame with a column for each column of a plan's schema. Columns have names that no other column of the
/// whole query has (`amount#12`), so a join needs no renaming. Columns beyond those of the schema are nobody's.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) lazy: pl::LazyFrame,
    /// The names, in the order of the schema.
    pub(super) names: Vec<pl::PlSmallStr>,
    /// A column that is there in any case: Polars loses count of the rows of a frame of which no column is asked for.
    pub(super) witness: pl::PlSmallStr,
}

impl Frame {
    /// A frame whose plan has these columns; `witness` stands in where there are none.
    pub(super) fn new(lazy: pl::LazyFrame, names: Vec<pl::PlSmallStr>, witness: &pl::PlSmallStr) -> Self {
        let witness = names.first().unwrap_or(witness).clone();
        Self { lazy, names, witness }
    }

    /// The same columns of other rows.
    pub(super) fn with(self, lazy: pl::LazyFrame) -> Self {
        Self { lazy, ..self }
    }

    /// How the columns of `schema`, the plan's that this frame is, are called.
    pub(super) fn names<'a>(&'a self, schema: &'a DFSchema) -> Names<'a> {
        Names { schema, names: &self.names }
    }
}

/// A plan's columns and what they are called in a frame.
pub(super) struct Names<'a> {
    pub(super) schema: &'a DFSchema,
    pub(super) names: &'a [pl::PlSmallStr],
}

impl Names<'_> {
    /// The place of a column.
    ///
    /// # Errors
    /// Where the plan has no such column.
    pub(super) fn index(&self, column: &Column) -> Result<usize> {
        self.schema.index_of_column(column).map_err(from_datafusion)
    }
}

/// Gives names that were not given before.
#[derive(Default)]
pub(super) struct Fresh(usize);

impl Fresh {
    pub(super) fn name(&mut self, of: &str) -> pl::PlSmallStr {
        self.0 += 1;
        pl::PlSmallStr::from_string(format!("{of}#{}", self.0))
    }
}
