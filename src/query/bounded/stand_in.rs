//! The node that stands for an operator in a plan and runs others in its place.

use super::Ways;
use super::batches::{in_batches_of, on_disk};
use crate::query::pool::is_exhausted;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, PlanProperties,
    StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// Gives the rows of an operator, in one order, by one way where memory allows it and else by another.
///
/// What it says of its rows is what the operator that it keeps says.
#[derive(Debug)]
pub(super) struct StandInExec {
    replaced: Arc<dyn ExecutionPlan>,
    ways: Ways,
    /// How it was made, to be made again over other children.
    memory: super::Bounded,
}

impl StandInExec {
    pub(super) fn new(replaced: Arc<dyn ExecutionPlan>, ways: Ways, memory: super::Bounded) -> Self {
        Self { replaced, ways, memory }
    }
}

impl DisplayAs for StandInExec {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded: {}", self.ways.how)?;
        self.replaced.fmt_as(form, f)
    }
}

impl ExecutionPlan for StandInExec {
    fn name(&self) -> &'static str {
        "StandInExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.replaced.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.replaced.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.replaced.apply_expressions(f)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.replaced.input_distribution_requirements()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.replaced.benefits_from_input_partitioning()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.replaced.maintains_input_order()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let replaced = Arc::clone(&self.replaced).replace_children(children, options)?;
        self.memory.in_place_of(replaced)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (quick, sure) = (self.ways.quick.clone(), Arc::clone(&self.ways.sure));
        let Some(quick) = quick else { return on_disk(&sure, partition, &context) };
        let (schema, batch_rows) = (self.schema(), context.session_config().batch_size());
        let rows = stream::once(async move {
            let mut rows = quick.execute(partition, Arc::clone(&context))?;
            match rows.next().await {
                // Nothing has come out yet, so nothing comes out twice.
                Some(Err(error)) if is_exhausted(&error) => {
                    tracing::debug!(%error, "an operator goes on on the disk");
                    drop(rows);
                    // A scan that was executed has given its files away.
                    on_disk(&reset_plan_states(sure)?, partition, &context)
                }
                first => {
                    let schema = rows.schema();
                    let all = stream::iter(first).chain(rows);
                    // Where batches end must not show which way was taken.
                    Ok(in_batches_of(Box::pin(RecordBatchStreamAdapter::new(schema, all)), batch_rows))
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten())))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.replaced.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.replaced.statistics_from_inputs(input_stats, args)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        self.replaced.cardinality_effect()
    }
}
