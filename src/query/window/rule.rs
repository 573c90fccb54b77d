//! The optimizer rule that puts the operator into plans.

use super::exec::SlidingWindowExec;
use super::sort::KeySortExec;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use std::sync::Arc;

/// Replaces DataFusion's window operators by [`SlidingWindowExec`] where that takes all of their expressions, and
/// makes one of several on top of each other that have the same partitions and order. A sort right below it, by keys
/// that are integers, becomes a [`KeySortExec`].
#[derive(Debug, Default)]
pub(in crate::query) struct SlidingWindows;

impl PhysicalOptimizerRule for SlidingWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(sliding) = SlidingWindowExec::in_place_of(&node) else { return Ok(Transformed::no(node)) };
            let sliding: Arc<dyn ExecutionPlan> = Arc::new(sliding);
            let sort = sliding.children().first().and_then(|input| KeySortExec::in_place_of(input));
            Ok(Transformed::yes(match sort {
                Some(sort) => {
                    let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
                    sliding.replace_children(vec![Arc::new(sort)], same)?
                }
                None => sliding,
            }))
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
