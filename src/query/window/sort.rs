//! The sort below the operator: by keys that are integers, in memory; beyond memory, DataFusion's.
//!
//! DataFusion compares rows column by column, or as bytes. Partition and order keys are mostly ids and instants: these
//! are packed into one number a row, which sorts several times as fast.

use super::codes::Codes;
use super::gather::Gathered;
use super::keys;
use crate::query::ahead::column_bytes;
use crate::query::bounded::{on_disk, stable};
use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildStats, DisplayAs, DisplayFormatType, Distribution, EmptyRecordBatchStream, ExecutionPlan,
    ExecutionPlanProperties, InputDistributionRequirements, PlanProperties, StatisticsArgs,
};
use futures::{StreamExt, TryStreamExt, stream};
use std::fmt;
use std::sync::{Arc, Mutex};

/// More rows are left to DataFusion, whose sort can be stopped between batches.
const MOST_ROWS: usize = 1 << 24;

/// A sort by integer keys, in the place of DataFusion's.
#[derive(Debug)]
pub(super) struct KeySortExec {
    replaced: Arc<dyn ExecutionPlan>,
    ordering: LexOrdering,
    input: Arc<dyn ExecutionPlan>,
    /// Whether the partitions of the input are read one after the other, and become one.
    in_sequence: bool,
    metrics: ExecutionPlanMetricsSet,
}

impl KeySortExec {
    /// The sort that does what `node` does, if that is a sort of all rows by columns that have keys. With
    /// `in_sequence`, parts that are sorted each for itself and merged, or that come as they like, are read one after
    /// the other: rows that tie are in the order of the parts.
    pub(super) fn in_place_of(node: &Arc<dyn ExecutionPlan>, in_sequence: bool) -> Option<Self> {
        if in_sequence && let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() {
            let parts = unsorted(merge.input(), merge.expr()).filter(|_| merge.fetch().is_none())?;
            return Self::in_parts(merge.expr().clone(), parts);
        }
        let sort = node.downcast_ref::<SortExec>()?;
        if in_sequence
            && sort.fetch().is_none()
            && let Some(any) = sort.input().downcast_ref::<CoalescePartitionsExec>()
        {
            let parts = Arc::clone(any.input());
            return Self::in_parts(sort.expr().clone(), parts).filter(|_| any.fetch().is_none());
        }
        Self::of_sort(node)
    }

    /// The sort of all partitions of `parts`, the first before the second.
    fn in_parts(ordering: LexOrdering, parts: Arc<dyn ExecutionPlan>) -> Option<Self> {
        let one = Arc::new(CoalescePartitionsExec::new(Arc::clone(&parts)));
        let sort: Arc<dyn ExecutionPlan> = Arc::new(SortExec::new(ordering, one));
        Some(Self { input: parts, in_sequence: true, ..Self::of_sort(&sort)? })
    }

    fn of_sort(node: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let sort = node.downcast_ref::<SortExec>()?;
        let schema = sort.input().schema();
        let has_keys = |expr: &Arc<dyn PhysicalExpr>| expr.data_type(&schema).is_ok_and(|kind| keys::has_keys(&kind));
        if sort.fetch().is_some() || !sort.expr().iter().all(|order| has_keys(&order.expr)) {
            return None;
        }
        Some(Self {
            replaced: Arc::clone(node),
            ordering: sort.expr().clone(),
            input: Arc::clone(sort.input()),
            in_sequence: false,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The rows that are sorted into a partition.
    fn rows(&self, partition: usize, context: &Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if !self.in_sequence {
            return self.input.execute(partition, Arc::clone(context));
        }
        let (input, context) = (Arc::clone(&self.input), Arc::clone(context));
        let parts = 0..input.output_partitioning().partition_count();
        let parts = stream::iter(parts.map(move |part| input.execute(part, Arc::clone(&context))));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), parts.try_flatten())))
    }
}

/// What lies below the sorts of parts that are to be merged in this order.
fn unsorted(plan: &Arc<dyn ExecutionPlan>, ordering: &LexOrdering) -> Option<Arc<dyn ExecutionPlan>> {
    let below = |plan: &Arc<dyn ExecutionPlan>| {
        let sort = plan.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_none())?;
        Some((sort.expr().clone(), Arc::clone(sort.input())))
    };
    if let Some((of_parts, input)) = below(plan) {
        return (of_parts == *ordering).then_some(input);
    }
    let union = plan.downcast_ref::<UnionExec>()?;
    // A part is sorted by the same columns, which have other names there.
    let parts = union.inputs().iter().map(|part| below(part).map_or_else(|| Arc::clone(part), |(_, input)| input));
    UnionExec::try_new(parts.collect()).ok()
}

impl DisplayAs for KeySortExec {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match form {
            DisplayFormatType::TreeRender => writeln!(f, "{}", self.ordering),
            _ if self.in_sequence => write!(f, "KeySortExec: expr=[{}], parts in sequence", self.ordering),
            _ => write!(f, "KeySortExec: expr=[{}]", self.ordering),
        }
    }
}

impl ExecutionPlan for KeySortExec {
    fn name(&self) -> &'static str {
        "KeySortExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.replaced.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.replaced.apply_expressions(f)
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.in_sequence {
            return InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution]);
        }
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
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if self.in_sequence
            && let (Some(parts), true) = (children.pop(), children.is_empty())
        {
            let in_parts = Self::in_parts(self.ordering.clone(), Arc::clone(&parts));
            let one = Arc::new(CoalescePartitionsExec::new(parts));
            return Ok(match in_parts {
                Some(sorted) => Arc::new(sorted),
                None => Arc::new(SortExec::new(self.ordering.clone(), one)),
            });
        }
        let sort = Arc::clone(&self.replaced).replace_children(children, options)?;
        match Self::of_sort(&sort) {
            Some(sorted) => Ok(Arc::new(sorted)),
            None => Ok(sort),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let consumer = MemoryConsumer::new(format!("KeySortExec[{partition}]")).with_can_spill(true);
        let work = Work {
            ordering: self.ordering.clone(),
            schema: self.schema(),
            input: self.rows(partition, &context)?,
            reservation: consumer.register(context.memory_pool()),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            context,
        };
        let schema = self.schema();
        let rows = stream::once(work.sorted()).try_flatten();
        Ok(make_cooperative(Box::pin(RecordBatchStreamAdapter::new(schema, rows))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
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
        CardinalityEffect::Equal
    }
}

/// The share of a memory limit that is held, at most, before DataFusion's sort takes over: it needs some to start.
const SHARE: usize = 3;

/// One partition's sort.
struct Work {
    ordering: LexOrdering,
    schema: SchemaRef,
    input: SendableRecordBatchStream,
    reservation: MemoryReservation,
    metrics: BaselineMetrics,
    context: Arc<TaskContext>,
}

impl Work {
    /// The rows in order: from memory, or where they do not fit into it, as DataFusion sorts them.
    async fn sorted(mut self) -> Result<SendableRecordBatchStream> {
        let compute = self.metrics.elapsed_compute().clone();
        let mut codes = Codes::new(self.ordering.iter().map(|order| order.options));
        let most_bytes = match self.context.memory_pool().memory_limit() {
            MemoryLimit::Finite(limit) => limit / SHARE,
            _ => usize::MAX,
        };
        let (mut held, mut rows) = (Vec::new(), 0);
        while let Some(batch) = self.input.try_next().await? {
            let _timer = compute.timer();
            let count = batch.num_rows();
            let bytes = batch.columns().iter().map(|column| column_bytes(column.as_ref())).sum::<usize>();
            let bytes = bytes + count * codes.bytes_a_row();
            rows += count;
            let fits = rows <= MOST_ROWS && self.reservation.size() + bytes <= most_bytes;
            if !fits || self.reservation.try_grow(bytes).is_err() {
                held.push((batch, 0));
                return self.by_stock(held);
            }
            let keys = self.ordering.iter().map(|order| order.expr.evaluate(&batch)?.into_array(count));
            codes.append(&keys.collect::<Result<Vec<_>>>()?);
            held.push((batch, bytes));
        }
        self.input = Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.schema)));
        let timer = compute.timer();
        let sorted = codes.sorted();
        drop(timer);
        match sorted {
            Some(rows) => self.emit(held.into_iter().map(|(batch, _)| batch).collect(), rows),
            None => self.by_stock(held),
        }
    }

    /// The rows of these numbers, in batches.
    fn emit(self, batches: Vec<RecordBatch>, rows: Vec<u32>) -> Result<SendableRecordBatchStream> {
        let schema = Arc::clone(&self.schema);
        let batch_rows = self.context.session_config().batch_size().max(1);
        let compute = self.metrics.elapsed_compute().clone();
        let timer = compute.timer();
        let gathered = Gathered::new(&schema, batches)?;
        drop(timer);
        let mut start = 0;
        let sorted = stream::poll_fn(move |_| {
            let end = (start + batch_rows).min(rows.len());
            let some = (start < end).then(|| {
                let _timer = compute.timer();
                let options = RecordBatchOptions::new().with_row_count(Some(end - start));
                let columns = gathered.rows(&rows[start..end])?;
                start = end;
                // All of the sort's memory is let go with the stream.
                let _held = &self.reservation;
                let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
                batch.map_err(DataFusionError::from).record_output(&self.metrics)
            });
            std::task::Poll::Ready(some)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, sorted)))
    }

    /// Hands what is held, and all that follows, to DataFusion's sort, which spills.
    fn by_stock(self, held: Vec<(RecordBatch, usize)>) -> Result<SendableRecordBatchStream> {
        let reservation = self.reservation;
        let held = stream::iter(held).map(move |(batch, bytes)| {
            reservation.shrink(bytes);
            Ok(batch)
        });
        let all = RecordBatchStreamAdapter::new(Arc::clone(&self.schema), held.chain(self.input));
        let once = Once { schema: Arc::clone(&self.schema), rows: Mutex::new(Some(Box::pin(all))) };
        let input = StreamingTableExec::try_new(self.schema, vec![Arc::new(once)], None, None, false, None)?;
        let input: Arc<dyn ExecutionPlan> = Arc::new(input);
        // Ties as in memory: how much of that there is must not show.
        let sorted = match stable(&self.ordering, &input)? {
            Some(sort) => on_disk(&sort, 0, &self.context)?,
            None => SortExec::new(self.ordering, input).execute(0, self.context)?,
        };
        let metrics = self.metrics;
        let schema = sorted.schema();
        let counted = sorted.map(move |batch| batch.record_output(&metrics));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}

/// A stream as a table that can be read once.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().ok().and_then(|mut rows| rows.take());
        rows.unwrap_or_else(|| Box::pin(EmptyRecordBatchStream::new(Arc::clone(&self.schema))))
    }
}
