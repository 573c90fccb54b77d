//! Rows with their numbers, in the order in which they come.

use super::batches::{cut, outside};
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{TryStreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// The column that is added, by the side of a join, and of joined rows; no column of a lake has these names.
pub(super) const NUMBERS: [&str; 3] = ["\u{1}left", "\u{1}right", "\u{1}joined"];

/// Adds a last column with the number of each row: from 0, one partition. On the way, large batches are cut, and texts
/// are let go that no row has any more.
#[derive(Debug)]
pub(super) struct NumberExec {
    input: Arc<dyn ExecutionPlan>,
    /// Whether its input is what [`super::batches`] leaves as it is.
    is_leaf: bool,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl NumberExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, name: &str) -> Self {
        let mut fields: Vec<_> = input.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(name, DataType::UInt64, false)));
        let schema = Arc::new(Schema::new_with_metadata(fields, input.schema().metadata().clone()));
        let number = Arc::new(Column::new(name, schema.fields().len() - 1));
        let ascends = PhysicalSortExpr::new(number, SortOptions::new(false, false));
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(Arc::clone(&schema), [[ascends]]),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, is_leaf: true, schema, properties: Arc::new(properties) }
    }

    /// In the middle of a plan that runs on disk.
    pub(super) fn within(input: Arc<dyn ExecutionPlan>, name: &str) -> Self {
        Self { is_leaf: false, ..Self::new(input, name) }
    }

    fn name_of_number(&self) -> &str {
        self.schema.fields().last().map_or("", |field| field.name())
    }
}

impl DisplayAs for NumberExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NumberExec")
    }
}

impl ExecutionPlan for NumberExec {
    fn name(&self) -> &'static str {
        "NumberExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self { is_leaf: self.is_leaf, ..Self::new(input, self.name_of_number()) })),
            None => Err(DataFusionError::Internal("rows that are numbered have one input".to_owned())),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let anew = datafusion::physical_plan::execution_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(anew))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let context = if self.is_leaf { outside(context) } else { context };
        let rows = self.input.execute(partition, context)?;
        let (schema, mut next) = (Arc::clone(&self.schema), 0);
        let mut number = move |batch: RecordBatch| {
            let until = next + batch.num_rows() as u64;
            let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(next..until));
            next = until;
            let columns = batch.columns().iter().cloned().chain([numbers]).collect();
            RecordBatch::try_new(Arc::clone(&schema), columns).map_err(DataFusionError::from)
        };
        let numbered = rows.map_ok(move |batch| match cut(batch) {
            Ok(pieces) => stream::iter(pieces.into_iter().map(&mut number).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        let numbered = numbered.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), numbered)))
    }
}
