//! What can't be run within the memory limit, told before anything is read.

use super::{join, size};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::mib;
use crate::query::pool::most_build;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SymmetricHashJoinExec};
use std::sync::Arc;

/// Refuses joins that hold one side in memory, can do nothing else, and by the statistics hold too much.
///
/// # Errors
/// `budget` with the operator, what it would hold, and how much memory would do.
pub(in crate::query) fn refuse(plan: &Arc<dyn ExecutionPlan>, pool_bytes: usize) -> Result<()> {
    for child in plan.children() {
        refuse(child, pool_bytes)?;
    }
    let Some((held, rewrite)) = held(plan) else { return Ok(()) };
    let most = most_build(pool_bytes) as u64;
    if held <= most {
        return Ok(());
    }
    // A quarter of what is for queries, which is most of the limit.
    let enough = mib(held.saturating_mul(4).saturating_add(512 << 20));
    Err(Error::new(ErrorKind::Budget, "the query needs more memory than it may use, by what is known of its tables")
        .with("operator", plan.name())
        .with("would hold", mib(held))
        .with("may hold", mib(most))
        .hint(format!("{rewrite}; or raise --memory to {enough}")))
}

/// What an operator with one way holds, if statistics tell, and how it is avoided.
fn held(plan: &Arc<dyn ExecutionPlan>) -> Option<(u64, &'static str)> {
    if let Some(cross) = plan.downcast_ref::<CrossJoinExec>() {
        return Some((size::bytes(cross.left().as_ref())?, "give the join a condition: ON a.key = b.key"));
    }
    if let Some(nested) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let hint = "add an equality of columns to the join's condition, which can then be sorted by";
        return Some((size::bytes(nested.left().as_ref())?, hint));
    }
    if let Some(hash) = plan.downcast_ref::<HashJoinExec>() {
        // All others were replaced.
        let hint = match hash.null_aware {
            true => "write NOT EXISTS for NOT IN",
            false => "join each part of a UNION ALL by itself",
        };
        return join::held(hash.left()).map(|held| (held, hint));
    }
    if let Some(both) = plan.downcast_ref::<SymmetricHashJoinExec>() {
        let bytes = size::bytes(both.left().as_ref())?.saturating_add(size::bytes(both.right().as_ref())?);
        return Some((bytes, "join tables that are not streams"));
    }
    None
}
