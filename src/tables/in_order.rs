//! Scans whose files are read in the order of their paths, one scan after the other.
//!
//! The order in which a Delta log lists its files changes when somebody writes a checkpoint, and
//! DataFusion merges the partitions of a scan in the order in which they happen to arrive. Neither
//! may decide which of two equal rows comes first, so both are fixed here. With more than one target
//! partition (ad hoc queries) the order is free and the scan may be cut up.

use super::by_id::ById;
use crate::error::{Error, Result};
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Tables of one schema, read one after the other.
#[derive(Debug)]
pub(super) struct InOrder {
    first: Arc<dyn TableProvider>,
    others: Vec<Arc<dyn TableProvider>>,
    by_id: Option<HashMap<String, String>>,
}

impl InOrder {
    /// `by_id` gives the names of columns by the ids that they have inside the files.
    ///
    /// # Errors
    /// Where there is no scan at all.
    pub(super) fn new(mut scans: Vec<Arc<dyn TableProvider>>, by_id: Option<HashMap<String, String>>) -> Result<Self> {
        if scans.is_empty() {
            return Err(Error::failed("a table without a scan"));
        }
        Ok(Self { first: scans.remove(0), others: scans, by_id })
    }
}

#[async_trait]
impl TableProvider for InOrder {
    fn schema(&self) -> SchemaRef {
        self.first.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let mut inputs = Vec::with_capacity(1 + self.others.len());
        for table in std::iter::once(&self.first).chain(&self.others) {
            inputs.push(by_path(table.scan(state, projection, filters, limit).await?, self.by_id.as_ref())?);
        }
        if inputs.len() == 1 {
            let only = inputs.remove(0);
            if only.output_partitioning().partition_count() == 1 || state.config().target_partitions() > 1 {
                return Ok(only);
            }
            inputs.push(only);
        }
        Ok(Arc::new(InOrderExec::new(inputs)))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        self.first.supports_filters_pushdown(filters)
    }
}

/// The same plan with the files of every scan in the order of their paths.
fn by_path(plan: Arc<dyn ExecutionPlan>, by_id: Option<&HashMap<String, String>>) -> DfResult<Arc<dyn ExecutionPlan>> {
    if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
        let Some(config) = scan.data_source().downcast_ref::<FileScanConfig>() else { return Ok(plan) };
        let sizes: Vec<usize> = config.file_groups.iter().map(FileGroup::len).collect();
        let mut files: Vec<_> = config.file_groups.iter().flat_map(FileGroup::iter).cloned().collect();
        files.sort_by(|a, b| a.object_meta.location.cmp(&b.object_meta.location));
        let mut files = files.into_iter();
        let groups = sizes.iter().map(|size| FileGroup::new(files.by_ref().take(*size).collect())).collect();
        let mut ordered = FileScanConfigBuilder::from(config.clone()).with_file_groups(groups);
        if let Some(names) = by_id {
            let adapter = ById::new(names.clone(), config.expr_adapter_factory.clone());
            ordered = ordered.with_expr_adapter(Some(Arc::new(adapter)));
        }
        return Ok(DataSourceExec::from_data_source(ordered.build()));
    }
    let children: Vec<_> =
        plan.children().into_iter().cloned().map(|child| by_path(child, by_id)).collect::<DfResult<_>>()?;
    if children.is_empty() {
        return Ok(plan);
    }
    if let (true, [child]) = (plan.is::<CoalescePartitionsExec>(), children.as_slice())
        && let Some(one) = as_one_scan(child)
    {
        return Ok(one);
    }
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// Scans side by side over one store as one scan in one order: deltalake reads the files that have
/// deletion vectors in a scan of their own, and takes the batches of the two as they arrive.
fn as_one_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    /// More files of one group have no place in deltalake's numbering of them.
    const MOST_FILES: usize = 1 << 16;
    let inputs = plan.downcast_ref::<UnionExec>()?.inputs();
    let configs: Vec<&FileScanConfig> = inputs
        .iter()
        .map(|input| input.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>())
        .collect::<Option<_>>()?;
    let first = *configs.first()?;
    if configs.iter().any(|config| config.object_store_url != first.object_store_url) {
        return None;
    }
    let groups = configs.iter().flat_map(|config| config.file_groups.iter());
    let mut files: Vec<_> = groups.flat_map(FileGroup::iter).cloned().collect();
    files.sort_by(|a, b| a.object_meta.location.cmp(&b.object_meta.location));
    if files.len() > MOST_FILES {
        return None;
    }
    let one = FileScanConfigBuilder::from(first.clone())
        .with_file_groups(vec![FileGroup::new(files)])
        .with_output_partitioning(Some(Partitioning::UnknownPartitioning(1)));
    Some(DataSourceExec::from_data_source(one.build()))
}

/// All partitions of all inputs, one after the other, as one partition.
#[derive(Debug)]
struct InOrderExec {
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl InOrderExec {
    fn new(inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let schema = inputs.first().map_or_else(|| Arc::new(arrow::datatypes::Schema::empty()), |input| input.schema());
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { inputs, properties }
    }
}

impl DisplayAs for InOrderExec {
    fn fmt_as(&self, _format: DisplayFormatType, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("InOrderExec")
    }
}

impl ExecutionPlan for InOrderExec {
    fn name(&self) -> &'static str {
        "InOrderExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children)))
    }

    // Cutting an input into more partitions would buy nothing: they are read one after the other.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.inputs.len()]
    }

    fn apply_expressions(
        &self,
        _apply: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        if partition != 0 {
            return Err(DataFusionError::Internal(format!("InOrderExec has one partition, not {partition}")));
        }
        let parts: Vec<_> = self
            .inputs
            .iter()
            .flat_map(|input| (0..input.output_partitioning().partition_count()).map(|part| (Arc::clone(input), part)))
            .collect();
        // A part is opened only when the one before it is at its end.
        let opened = futures::stream::iter(parts).map(move |(input, part)| input.execute(part, Arc::clone(&context)));
        let batches = opened.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
