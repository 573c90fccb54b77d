//! The optimizer rule that puts the operator into plans.

use super::exec::SlidingWindowExec;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;

/// Replaces DataFusion's window operators by [`SlidingWindowExec`] where that takes all of their expressions, and
/// makes one of several on top of each other that have the same partitions and order.
#[derive(Debug, Default)]
pub(in crate::query) struct SlidingWindows;

impl PhysicalOptimizerRule for SlidingWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match SlidingWindowExec::in_place_of(&node) {
                Some(sliding) => Transformed::yes(Arc::new(sliding) as Arc<dyn ExecutionPlan>),
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
