//! Ad hoc queries: large hash joins become merges, whose sorts spill. The order of rows is free there.

use super::join::{held, left_first};
use super::only;
use crate::query::pool::most_build;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, SortMergeJoinExec};
use std::sync::Arc;

/// DataFusion's rule that chooses which side of a hash join is collected; the ones that sort come after it.
const AFTER: &str = "join_selection";

/// Makes merges of hash joins that would not fit, by what statistics tell.
#[derive(Debug)]
struct LargeJoins {
    pool_bytes: usize,
}

/// DataFusion's rules, and this one among them.
pub(in crate::query) fn rules(pool_bytes: usize) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == AFTER).map_or(rules.len(), |place| place + 1);
    rules.insert(after, Arc::new(LargeJoins { pool_bytes }));
    rules
}

impl PhysicalOptimizerRule for LargeJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match merged(&node, self.pool_bytes)? {
                Some(merge) => Transformed::yes(merge),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "large_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn merged(node: &Arc<dyn ExecutionPlan>, pool_bytes: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(None) };
    let is_large = held(join.left()).is_some_and(|bytes| bytes > most_build(pool_bytes) as u64);
    // `NOT IN` has no other way.
    if !is_large || join.null_aware {
        return Ok(None);
    }
    let options = vec![arrow::compute::SortOptions::default(); join.on().len()];
    let merge = SortMergeJoinExec::try_new(
        Arc::clone(join.left()),
        Arc::clone(join.right()),
        join.on().to_vec(),
        join.filter().map(left_first).transpose()?,
        *join.join_type(),
        options,
        join.null_equality(),
    )?;
    match &join.projection {
        Some(columns) => only(Arc::new(merge), columns).map(Some),
        None => Ok(Some(Arc::new(merge))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Before the sides are chosen nothing is known of what is collected; after the sorts are put in, a merge gets none.
    #[test]
    fn merges_are_made_between_datafusions_rules_for_joins_and_for_sorts() {
        let names: Vec<String> = rules(1 << 20).iter().map(|rule| rule.name().to_owned()).collect();
        let place =
            |name: &str| names.iter().position(|known| known == name).unwrap_or_else(|| panic!("{name} {names:?}"));
        assert_eq!(place("large_joins"), place(AFTER) + 1);
        assert!(place("large_joins") < place("EnsureRequirements"), "{names:?}");
    }
}
