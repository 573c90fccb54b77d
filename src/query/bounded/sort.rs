//! Sorts whose ties stay as they came.

use super::number::{NUMBERS, NumberExec};
use super::{Ways, only};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use std::sync::Arc;

/// A sort of all rows, with the number of each row as the last key. DataFusion's sort is not stable, and in which order
/// it gives ties depends on what it has spilled.
pub(super) fn ways(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Ways>> {
    let Some(sort) = node.downcast_ref::<SortExec>() else { return Ok(None) };
    if sort.fetch().is_some() {
        return Ok(None);
    }
    let sure = stable(sort.expr(), sort.input())?;
    Ok(sure.map(|sure| Ways { quick: None, sure, how: "stable " }))
}

/// The rows of `input` in an order, ties as they came.
pub(in crate::query) fn stable(
    ordering: &LexOrdering,
    input: &Arc<dyn ExecutionPlan>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let columns: Vec<usize> = (0..input.schema().fields().len()).collect();
    let numbered: Arc<dyn ExecutionPlan> = Arc::new(NumberExec::new(Arc::clone(input), NUMBERS[0]));
    let number = Arc::new(Column::new(NUMBERS[0], columns.len()));
    let last = PhysicalSortExpr::new(number, arrow::compute::SortOptions::new(false, false));
    let Some(ordering) = LexOrdering::new(ordering.iter().cloned().chain([last])) else { return Ok(None) };
    only(Arc::new(SortExec::new(ordering, numbered)), &columns).map(Some)
}
