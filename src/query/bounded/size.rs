//! How much an operator would hold, by what the statistics of its input tell.

use arrow::datatypes::{DataType, Schema};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

/// A text, a list or the like, where nothing is known of its length.
const LONG: u64 = 40;

/// What a row takes in memory, in bytes.
pub fn row_bytes(schema: &Schema) -> u64 {
    schema.fields().iter().map(|field| width(field.data_type())).sum::<u64>().max(1)
}

fn width(kind: &DataType) -> u64 {
    match kind {
        DataType::Boolean | DataType::Null => 1,
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        DataType::Dictionary(keys, _) => width(keys),
        other => other.primitive_width().map_or(LONG, |bytes| bytes as u64),
    }
}

/// How many rows a plan gives, if its statistics tell; for filters and joins that is a guess.
pub(in crate::query) fn rows(plan: &dyn ExecutionPlan) -> Option<u64> {
    let statistics = StatisticsContext::new().compute(plan, &StatisticsArgs::new()).ok()?;
    statistics.num_rows.get_value().map(|rows| *rows as u64)
}

/// What all rows of a plan take in memory, in bytes, if its statistics tell.
pub(in crate::query) fn bytes(plan: &dyn ExecutionPlan) -> Option<u64> {
    rows(plan).map(|rows| rows.saturating_mul(row_bytes(&plan.schema())))
}
