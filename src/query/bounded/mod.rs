//! Operators within bounds: joins, sorts and aggregates that give the same rows in the same order whether they fit
//! into memory or not.
//!
//! DataFusion's hash joins cannot spill, and where its sorts and aggregates do, ties and groups come in another order
//! (and sums of floats are rounded elsewhere). In feature queries the order of rows is part of the result, and must not
//! depend on how much memory a machine has. So each of these operators gets two ways, and one order:
//!
//! | operator | in memory | on disk | order |
//! |---|---|---|---|
//! | hash join | as it is | both sides sorted by the key and merged, then sorted back | that of the probed side, each row's matches in that of the other; what is left of the other side at the end |
//! | sort | as it is | as it is | ties as they came |
//! | aggregate with groups | as it is | rows sorted by group, aggregated as they come, sorted back | groups as they first came |
//!
//! What the statistics say is too large goes on the disk at once; else memory is tried, and where it runs out before
//! the first row is out, the other way is taken. Rows are numbered where they must be sorted back ([`number`]).
//!
//! Joins without an equality, and `NOT IN` over nullable columns, have one way only: [`refuse`] tells by name, before
//! anything is read, what is too large for them.

mod aggregate;
mod batches;
mod join;
mod large;
mod number;
mod refuse;
pub(super) mod size;
mod sort;
mod stand_in;

pub(super) use batches::on_disk;
pub(super) use large::rules;
pub(super) use refuse::refuse;
pub(super) use sort::stable;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use stand_in::StandInExec;
use std::sync::Arc;

/// Two plans that give the same rows.
#[derive(Debug, Clone)]
struct Ways {
    /// In memory; absent where that is known to be too little.
    quick: Option<Arc<dyn ExecutionPlan>>,
    /// On disk where it must be.
    sure: Arc<dyn ExecutionPlan>,
    /// What a plan tells of it.
    how: &'static str,
}

/// Puts stand-ins into plans of one partition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded {
    /// The memory for queries, in bytes.
    pub(super) pool_bytes: usize,
}

impl Bounded {
    /// The stand-in for an operator, or the operator where none is needed.
    fn in_place_of(self, node: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        if node.output_partitioning().partition_count() != 1 {
            return Ok(node);
        }
        let ways = match join::ways(&node, self.pool_bytes)? {
            Some(ways) => Some(ways),
            None => sort::ways(&node)?.or(aggregate::ways(&node)?),
        };
        Ok(match ways {
            Some(ways) => Arc::new(StandInExec::new(node, ways, self)),
            None => node,
        })
    }
}

impl PhysicalOptimizerRule for Bounded {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let before = Arc::clone(&node);
            let after = self.in_place_of(node)?;
            let same = Arc::ptr_eq(&before, &after);
            Ok(if same { Transformed::no(after) } else { Transformed::yes(after) })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "bounded"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The columns of these numbers, under their names.
fn only(input: Arc<dyn ExecutionPlan>, columns: &[usize]) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let column = |index: &usize| {
        let name = schema.field(*index).name().clone();
        (Arc::new(Column::new(&name, *index)) as Arc<dyn PhysicalExpr>, name)
    };
    let columns: Vec<_> = columns.iter().map(column).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, input)?))
}

/// The order by these columns, ascending, what has no number last.
fn by_columns(input: &Arc<dyn ExecutionPlan>, columns: &[usize]) -> Option<LexOrdering> {
    let schema = input.schema();
    LexOrdering::new(columns.iter().map(|index| {
        let column = Arc::new(Column::new(schema.field(*index).name(), *index));
        PhysicalSortExpr::new(column, arrow::compute::SortOptions::new(false, false))
    }))
}
