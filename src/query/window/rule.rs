//! The optimizer rule that puts the operator into plans.

use super::exec::SlidingWindowExec;
use super::sort::KeySortExec;
use super::split::Rest;
use super::stream::Eviction;
use super::whole;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use std::sync::Arc;

/// Replaces DataFusion's window operators by [`SlidingWindowExec`] where that takes their expressions, or some of them,
/// and makes one of several on top of each other that have the same partitions and order. A sort right below it, by
/// keys that are integers, becomes a [`KeySortExec`]. What is left to DataFusion and wrong there is done in another way
/// ([`whole`]).
#[derive(Debug, Default)]
pub(in crate::query) struct SlidingWindows {
    /// When rows are let go.
    pub(in crate::query) eviction: Eviction,
}

impl PhysicalOptimizerRule for SlidingWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        // Where nothing is done in parallel, several partitions are those of a UNION, one after the other.
        let in_sequence = config.execution.target_partitions == 1;
        plan.transform_up(|node| {
            if let Some(sliding) = SlidingWindowExec::in_place_of(&node, self.eviction) {
                return Ok(Transformed::yes(sorted_below(sliding, in_sequence)?));
            }
            if let Some((ours, rest)) = Rest::of(&node, self.eviction)? {
                return Ok(Transformed::yes(rest.over(sorted_below(ours, in_sequence)?)?));
            }
            Ok(match whole::in_place_of(&node)? {
                Some(whole) => Transformed::yes(whole),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "sliding_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The operator over a sort of our own, where there is a sort.
fn sorted_below(sliding: SlidingWindowExec, in_sequence: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let sliding: Arc<dyn ExecutionPlan> = Arc::new(sliding);
    let sort = sliding.children().first().and_then(|input| KeySortExec::in_place_of(input, in_sequence));
    match sort {
        Some(sort) => {
            let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            sliding.replace_children(vec![Arc::new(sort)], same)
        }
        None => Ok(sliding),
    }
}
