//! Hash joins, and the same on disk.

use super::number::{NUMBERS, NumberExec};
use super::{Ways, by_columns, only, size};
use crate::query::pool::most_build;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, JoinType};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// What a row costs in the table of a hash join besides its columns, in bytes.
const ENTRY_BYTES: u64 = 24;

/// Which sides' columns a join gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Both,
    Left,
    Right,
}

impl Gives {
    fn of(kind: JoinType) -> Self {
        match kind {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => Self::Both,
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => Self::Left,
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => Self::Right,
        }
    }
}

/// A join of which one side is collected: in memory by hash, on disk by order.
pub(super) fn ways(node: &Arc<dyn ExecutionPlan>, pool_bytes: usize) -> Result<Option<Ways>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(None) };
    let whole = *join.partition_mode() == PartitionMode::CollectLeft
        && join.left().output_partitioning().partition_count() == 1;
    // `NOT IN` has no other way.
    if !whole || join.null_aware || join.fetch().is_some() {
        return Ok(None);
    }
    let (Some(sure), Some(quick)) = (merged(join)?, hashed(node, join)?) else { return Ok(None) };
    let fits = held(join.left()).is_none_or(|bytes| bytes <= most_build(pool_bytes) as u64);
    let how = if fits { "" } else { "on disk, " };
    Ok(Some(Ways { quick: fits.then_some(quick), sure, how }))
}

/// What a hash join tells that it holds of its collected side, if statistics tell.
pub(super) fn held(side: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    let rows = size::rows(side.as_ref())?;
    Some(rows.saturating_mul(size::row_bytes(&side.schema()) + ENTRY_BYTES))
}

/// By hash, in the order that [`merged`] gives too.
fn hashed(node: &Arc<dyn ExecutionPlan>, join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    match join.join_type() {
        // In the order of the probed rows.
        JoinType::Inner | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => Ok(Some(Arc::clone(node))),
        // Of each batch, rows without a match come last unless the rows are known to have an order.
        JoinType::Right => {
            let width = join.left().schema().fields().len() + join.right().schema().fields().len();
            let columns = join.projection.as_ref().map_or_else(|| (0..width).collect(), |columns| columns.to_vec());
            let right: Arc<dyn ExecutionPlan> = Arc::new(NumberExec::new(Arc::clone(join.right()), NUMBERS[1]));
            let ordered = anew(join, Arc::clone(join.left()), right, Some(columns))?;
            Ok(Some(Arc::new(ordered)))
        }
        // What is collected comes out in the order of its batches turned around.
        JoinType::Left | JoinType::Full | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            let [left, right] = numbered(join);
            sorted_back(join, Arc::new(anew(join, left, right, None)?))
        }
    }
}

/// The same join over other sides, which have a further column each at most.
fn anew(
    join: &HashJoinExec,
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    projection: Option<Vec<usize>>,
) -> Result<HashJoinExec> {
    let (on, filter) = (join.on().to_vec(), join.filter().cloned());
    let kind = join.join_type();
    HashJoinExec::try_new(
        left,
        right,
        on,
        filter,
        kind,
        projection,
        PartitionMode::CollectLeft,
        join.null_equality(),
        join.null_aware,
    )
}

fn numbered(join: &HashJoinExec) -> [Arc<dyn ExecutionPlan>; 2] {
    let side = |side: &Arc<dyn ExecutionPlan>, name| -> Arc<dyn ExecutionPlan> {
        Arc::new(NumberExec::new(Arc::clone(side), name))
    };
    [side(join.left(), NUMBERS[0]), side(join.right(), NUMBERS[1])]
}

/// Both sides sorted by the key and merged.
fn merged(join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let options = vec![arrow::compute::SortOptions::default(); join.on().len()];
    let mut sides = Vec::with_capacity(2);
    for (number, side) in numbered(join).into_iter().enumerate() {
        let keys = join.on().iter().map(|(left, right)| if number == 0 { left } else { right });
        let keys = keys.map(|key| PhysicalSortExpr::new(Arc::clone(key), Default::default()));
        let Some(ordering) = LexOrdering::new(keys) else { return Ok(None) };
        // A key that stands twice on one side makes fewer sort keys than the merge expects.
        if ordering.len() != join.on().len() {
            return Ok(None);
        }
        sides.push(Arc::new(SortExec::new(ordering, side)) as Arc<dyn ExecutionPlan>);
    }
    let (Some(right), Some(left)) = (sides.pop(), sides.pop()) else { return Ok(None) };
    let (on, filter) = (join.on().to_vec(), join.filter().map(left_first).transpose()?);
    let merge = SortMergeJoinExec::try_new(left, right, on, filter, *join.join_type(), options, join.null_equality())?;
    sorted_back(join, Arc::new(merge))
}

/// The same condition over columns of which those of the left side come first: the merge takes them in that order,
/// whatever the condition says of them.
pub(super) fn left_first(filter: &JoinFilter) -> Result<JoinFilter> {
    let mut order: Vec<usize> = (0..filter.column_indices().len()).collect();
    order.sort_by_key(|column| filter.column_indices()[*column].side != JoinSide::Left);
    let moved = |expr: Arc<dyn PhysicalExpr>| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        let place = order.iter().position(|old| *old == column.index()).unwrap_or_else(|| column.index());
        Ok(Transformed::yes(Arc::new(Column::new(column.name(), place)) as Arc<dyn PhysicalExpr>))
    };
    let expression = Arc::clone(filter.expression()).transform(moved).data()?;
    let columns = order.iter().map(|column| filter.column_indices()[*column].clone()).collect();
    Ok(JoinFilter::new(expression, columns, Arc::new(filter.schema().project(&order)?)))
}

/// The rows of a join over numbered sides in the order of the probed side, each row's matches in that of the other,
/// and what has no match in the probed side at the end; only with the columns of `join`.
fn sorted_back(join: &HashJoinExec, rows: Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (left, right) = (join.left().schema().fields().len(), join.right().schema().fields().len());
    // Where the columns of the join without numbers are, and the numbers.
    let gives = Gives::of(*join.join_type());
    let (place, numbers): (Box<dyn Fn(usize) -> usize>, Vec<usize>) = match gives {
        Gives::Both => {
            (Box::new(move |index| if index < left { index } else { index + 1 }), vec![left + 1 + right, left])
        }
        Gives::Left => (Box::new(move |index| if index < left { index } else { index + 1 }), vec![left]),
        Gives::Right => (Box::new(move |index| if index < right { index } else { index + 1 }), vec![right]),
    };
    let all = join.join_schema().fields().len();
    let wanted = join.projection.as_ref().map_or_else(|| (0..all).collect(), |columns| columns.to_vec());
    let kept: Vec<usize> = wanted.into_iter().map(place).chain(numbers.iter().copied()).collect();
    let (columns, until) = (kept.len() - numbers.len(), kept.len());
    // A merge's texts lie in all that it has read.
    let rows: Arc<dyn ExecutionPlan> = Arc::new(NumberExec::within(only(rows, &kept)?, NUMBERS[2]));
    let Some(ordering) = by_columns(&rows, &(columns..until).collect::<Vec<_>>()) else { return Ok(None) };
    only(Arc::new(SortExec::new(ordering, rows)), &(0..columns).collect::<Vec<_>>()).map(Some)
}
