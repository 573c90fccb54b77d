//! The operator as a node of a plan.

use super::recognise::recognise;
use super::sliding::Sliding;
use super::stream::{Eviction, SlidingWindowStream};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, InputOrderMode,
    PlanProperties, StatisticsArgs, WindowExpr,
};
use std::fmt;
use std::sync::Arc;

/// One pass over sorted rows that computes all its windows.
///
/// It stands in the place of DataFusion's own operators and keeps them: what it requires of its input, and what
/// it says of its output, is what they do.
#[derive(Debug)]
pub(super) struct SlidingWindowExec {
    /// What it stands for, the lowest first; each is the input of the next.
    replaced: Vec<Arc<dyn ExecutionPlan>>,
    input: Arc<dyn ExecutionPlan>,
    windows: Vec<Arc<dyn WindowExpr>>,
    sliding: Arc<Sliding>,
    eviction: Eviction,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SlidingWindowExec {
    /// The operator that does what `node` does, if there is one; together with its input where that is of this kind
    /// and has the same partitions and order.
    pub(super) fn in_place_of(node: &Arc<dyn ExecutionPlan>, eviction: Eviction) -> Option<Self> {
        let (windows, input) = stock(node)?;
        if let Some(below) = input.downcast_ref::<Self>() {
            let reads_below = windows.iter().any(|window| reads_from(window, below.input.schema().fields().len()));
            if !reads_below {
                let replaced = below.replaced.iter().chain([node]).map(Arc::clone).collect();
                let both = below.windows.iter().chain(windows).map(Arc::clone).collect();
                if let Some(one) = Self::new(replaced, Arc::clone(&below.input), both, eviction) {
                    return Some(one);
                }
            }
        }
        Self::new(vec![Arc::clone(node)], Arc::clone(input), windows.to_vec(), eviction)
    }

    fn new(
        replaced: Vec<Arc<dyn ExecutionPlan>>,
        input: Arc<dyn ExecutionPlan>,
        windows: Vec<Arc<dyn WindowExpr>>,
        eviction: Eviction,
    ) -> Option<Self> {
        let sliding = Arc::new(recognise(&windows, &input.schema())?);
        let top = replaced.last()?;
        let (schema, properties) = (top.schema(), Arc::clone(top.properties()));
        let metrics = ExecutionPlanMetricsSet::new();
        Some(Self { replaced, input, windows, sliding, eviction, schema, properties, metrics })
    }

    fn lowest(&self) -> &Arc<dyn ExecutionPlan> {
        // There always is one; the input is of no use here but for that.
        self.replaced.first().unwrap_or(&self.input)
    }
}

/// Windows, and what they are computed over.
pub(super) type Windows<'a> = (&'a [Arc<dyn WindowExpr>], &'a Arc<dyn ExecutionPlan>);

/// The windows and the input of DataFusion's operators, where the input comes sorted by partition and order.
pub(super) fn stock(node: &Arc<dyn ExecutionPlan>) -> Option<Windows<'_>> {
    if let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() {
        let is_sorted = matches!(bounded.input_order_mode, InputOrderMode::Sorted)
            && bounded.state_observer().is_none()
            && bounded.partition_by_sort_keys().is_ok();
        return is_sorted.then(|| (bounded.window_expr(), bounded.input()));
    }
    let whole = node.downcast_ref::<WindowAggExec>()?;
    whole.partition_by_sort_keys().is_ok().then(|| (whole.window_expr(), whole.input()))
}

/// Whether a window reads a column from `first_added` on.
fn reads_from(window: &Arc<dyn WindowExpr>, first_added: usize) -> bool {
    let all = window.all_expressions();
    let mut expressions = all.args.iter().chain(&all.partition_by_exprs).chain(&all.order_by_exprs);
    expressions.any(|expr| collect_columns(expr).iter().any(|column| column.index() >= first_added))
}

impl DisplayAs for SlidingWindowExec {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let windows = self.windows.iter();
        if matches!(form, DisplayFormatType::TreeRender) {
            let names: Vec<&str> = windows.map(|window| window.name()).collect();
            return writeln!(f, "select_list={}", names.join(", "));
        }
        let windows: Vec<String> =
            windows.map(|window| format!("{}: {}", window.name(), window.get_window_frame())).collect();
        write!(f, "SlidingWindowExec: wdw=[{}], frames={}", windows.join(", "), self.sliding.frames.len())
    }
}

impl ExecutionPlan for SlidingWindowExec {
    fn name(&self) -> &'static str {
        "SlidingWindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for replaced in &self.replaced {
            if replaced.apply_expressions(f)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.lowest().required_input_ordering()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.lowest().input_distribution_requirements()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut lower = match <[_; 1]>::try_from(children) {
            Ok([child]) => child,
            Err(_) => return Err(DataFusionError::Internal("SlidingWindowExec has one input".to_owned())),
        };
        let input = Arc::clone(&lower);
        let mut replaced = Vec::with_capacity(self.replaced.len());
        for node in &self.replaced {
            lower = Arc::clone(node).replace_children(vec![lower], options)?;
            replaced.push(Arc::clone(&lower));
        }
        // Over an input on which the windows cannot slide, what they were made from still works.
        match Self::new(replaced, input, self.windows.clone(), self.eviction) {
            Some(sliding) => Ok(Arc::new(sliding)),
            None => Ok(lower),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let reservation =
            MemoryConsumer::new(format!("SlidingWindowExec[{partition}]")).register(context.memory_pool());
        let stream = SlidingWindowStream::new(
            Arc::clone(&self.sliding),
            Arc::clone(&self.schema),
            input,
            (context.session_config().batch_size(), self.eviction),
            reservation,
            BaselineMetrics::new(&self.metrics, partition),
        );
        Ok(Box::pin(cooperative(stream)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = input_stats.to_vec();
        for node in &self.replaced {
            statistics = vec![node.statistics_from_inputs(&statistics, args)?];
        }
        match statistics.pop() {
            Some(statistics) => Ok(statistics),
            None => Ok(Arc::new(Statistics::new_unknown(&self.schema))),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
