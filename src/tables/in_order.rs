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
use datafusion::datasource::listing::PartitionedFile;
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
use std::collections::{BTreeMap, HashMap};
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
        && let Some(one) = one_after_the_other(child, MOST_FILES)
    {
        return Ok(one);
    }
    plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}

/// More files of one group have no place in deltalake's numbering of them.
const MOST_FILES: usize = 1 << 16;

/// Scans side by side as one partition in one order: deltalake reads the files that have deletion
/// vectors in a scan of their own, cuts long lists of files into groups, and takes the batches of all of
/// them as they arrive. Here the files of a store are one list by their paths, and stores come by their URLs.
fn one_after_the_other(plan: &Arc<dyn ExecutionPlan>, most_files: usize) -> Option<Arc<dyn ExecutionPlan>> {
    let scans = match plan.downcast_ref::<UnionExec>() {
        Some(union) => union.inputs().iter().collect(),
        None => vec![plan],
    };
    let mut stores: BTreeMap<&str, (&FileScanConfig, Vec<PartitionedFile>)> = BTreeMap::new();
    for scan in scans {
        let config = scan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
        let (_, files) = stores.entry(config.object_store_url.as_str()).or_insert_with(|| (config, Vec::new()));
        files.extend(config.file_groups.iter().flat_map(FileGroup::iter).cloned());
    }
    let mut ordered = Vec::new();
    for (config, mut files) in stores.into_values() {
        files.sort_by(|a, b| a.object_meta.location.cmp(&b.object_meta.location));
        let groups: Vec<FileGroup> = files.chunks(most_files).map(|files| FileGroup::new(files.to_vec())).collect();
        let partitioning = Partitioning::UnknownPartitioning(groups.len());
        let scan = FileScanConfigBuilder::from(config.clone())
            .with_file_groups(groups)
            .with_output_partitioning(Some(partitioning));
        ordered.push(DataSourceExec::from_data_source(scan.build()) as Arc<dyn ExecutionPlan>);
    }
    match ordered.as_slice() {
        [only] if only.output_partitioning().partition_count() == 1 => ordered.pop(),
        _ => Some(Arc::new(InOrderExec::new(ordered))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::physical_plan::ParquetSource;
    use datafusion::execution::object_store::ObjectStoreUrl;

    fn scan(store: &str, groups: &[&[&str]]) -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let file = |path: &&str| PartitionedFile::new((*path).to_owned(), 100);
        let groups = groups.iter().map(|group| FileGroup::new(group.iter().map(file).collect())).collect();
        let url = ObjectStoreUrl::parse(store).unwrap();
        let config =
            FileScanConfigBuilder::new(url, Arc::new(ParquetSource::new(schema))).with_file_groups(groups).build();
        DataSourceExec::from_data_source(config)
    }

    /// The files of each group of a scan.
    fn files(plan: &Arc<dyn ExecutionPlan>) -> Vec<Vec<String>> {
        let config = plan.downcast_ref::<DataSourceExec>().unwrap().data_source().downcast_ref::<FileScanConfig>();
        let names = |group: &FileGroup| group.iter().map(|file| file.object_meta.location.to_string()).collect();
        config.unwrap().file_groups.iter().map(names).collect()
    }

    #[test]
    fn however_many_files_and_scans_there_are_they_come_by_their_paths() {
        let union =
            UnionExec::try_new(vec![scan("file:///", &[&["e", "a"], &["c"]]), scan("file:///", &[&["d", "b"]])]);
        let union = union.unwrap();
        let one = one_after_the_other(&union, 5).unwrap();
        assert_eq!(files(&one), [["a", "b", "c", "d", "e"]]);
        assert_eq!(one.output_partitioning().partition_count(), 1);

        let cut = one_after_the_other(&union, 2).unwrap();
        assert_eq!(cut.output_partitioning().partition_count(), 1);
        let inputs = &cut.downcast_ref::<InOrderExec>().unwrap().inputs;
        assert_eq!(inputs.len(), 1);
        assert_eq!(files(&inputs[0]), [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);

        // One scan that deltalake has cut into groups.
        let alone = one_after_the_other(&scan("file:///", &[&["c", "d"], &["b", "a"]]), 2).unwrap();
        assert_eq!(files(&alone.downcast_ref::<InOrderExec>().unwrap().inputs[0]), [["a", "b"], ["c", "d"]]);
    }

    #[test]
    fn stores_come_by_their_urls() {
        let union = UnionExec::try_new(vec![scan("s3://two", &[&["a"]]), scan("s3://one", &[&["b"]])]).unwrap();
        let plan = one_after_the_other(&union, 9).unwrap();
        let inputs = &plan.downcast_ref::<InOrderExec>().unwrap().inputs;
        assert_eq!(inputs.iter().map(files).collect::<Vec<_>>(), [[["b"]], [["a"]]]);
    }
}
