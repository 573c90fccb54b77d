//! Aggregates by group, and the same on disk.

use super::number::{NUMBERS, NumberExec};
use super::{Ways, by_columns, only};
use datafusion::error::Result;
use datafusion::functions_aggregate::min_max::min_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
use std::sync::Arc;

/// An aggregate of rows in no order by one set of groups. In both ways each group takes its rows one after the other as
/// they came, so that even sums of floats are the same to the bit.
pub(super) fn ways(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Ways>> {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let is_plain = matches!(aggregate.mode(), AggregateMode::Single | AggregateMode::SinglePartitioned)
        && *aggregate.input_order_mode() == InputOrderMode::Linear
        && !aggregate.group_expr().is_true_no_grouping()
        && aggregate.group_expr().is_single()
        && aggregate.limit_options().is_none()
        && aggregate.aggr_expr().iter().all(|function| function.order_bys().is_empty());
    if !is_plain {
        return Ok(None);
    }
    Ok(sorted(aggregate)?.map(|sure| Ways { quick: Some(Arc::clone(node)), sure, how: "" }))
}

/// Rows by group, each group aggregated by itself, groups in the order of their first rows.
fn sorted(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let input: Arc<dyn ExecutionPlan> = Arc::new(NumberExec::new(Arc::clone(aggregate.input()), NUMBERS[0]));
    let schema = input.schema();
    let number: Arc<dyn PhysicalExpr> = Arc::new(Column::new(NUMBERS[0], schema.fields().len() - 1));
    let keys = aggregate.group_expr().input_exprs().into_iter().chain([Arc::clone(&number)]);
    let ascending = |key| PhysicalSortExpr::new(key, arrow::compute::SortOptions::new(false, false));
    let Some(ordering) = LexOrdering::new(keys.map(ascending)) else { return Ok(None) };
    let first =
        AggregateExprBuilder::new(min_udaf(), vec![number]).schema(Arc::clone(&schema)).alias(NUMBERS[0]).build()?;
    let functions = aggregate.aggr_expr().iter().cloned().chain([Arc::new(first)]).collect();
    let filters = aggregate.filter_expr().iter().cloned().chain([None]).collect();
    let by_group = AggregateExec::try_new(
        *aggregate.mode(),
        aggregate.group_expr().clone(),
        functions,
        filters,
        Arc::new(SortExec::new(ordering, input)),
        schema,
    )?;
    if *by_group.input_order_mode() != InputOrderMode::Sorted {
        return Ok(None);
    }
    let by_group: Arc<dyn ExecutionPlan> = Arc::new(by_group);
    let columns = by_group.schema().fields().len() - 1;
    let Some(ordering) = by_columns(&by_group, &[columns]) else { return Ok(None) };
    only(Arc::new(SortExec::new(ordering, by_group)), &(0..columns).collect::<Vec<_>>()).map(Some)
}
