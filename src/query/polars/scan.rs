//! Tables as lazy frames: Parquet files that Polars reads itself, or rows that DataFusion has read and put into a
//! temporary Parquet file.

use super::expr::{Scope, literal};
use super::frame::{Frame, Fresh, Names};
use super::translate::concatenated;
use super::types::{into_held, polars_type, reads_alike};
use super::{TableRead, store};
use crate::error::{Error, Result};
use crate::query::culprit;
use crate::tables::PinnedTable;
use crate::tables::errors::from_datafusion;
use crate::tables::native::{Native, NativeFiles, local_file, native, stands_in_files};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::SpillFile;
use datafusion::logical_expr::logical_plan::TableScanBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, TableProviderFilterPushDown, TableScan};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use polars::io::HiveOptions;
use polars::io::prelude::ParquetOptions;
use polars::prelude as pl;
use polars::prelude::col;
use std::sync::Arc;

/// A scan of a plan, and how Polars will read it.
pub(super) struct Opened {
    node: TableScan,
    /// The scan as DataFusion makes it: it has chosen the files, and compared them with the pin.
    physical: Arc<dyn ExecutionPlan>,
    /// The table's columns that the plan and its filters name.
    columns: Vec<usize>,
    read: Native,
}

/// Rows of one row group of a temporary file.
const GROUP_ROWS: usize = 1 << 17;

/// Opens every table of the plan, in the order in which they stand in it.
///
/// # Errors
/// As choosing the files and reading their footers fails.
pub(super) async fn open(plan: &LogicalPlan, context: &SessionContext, tables: &[PinnedTable]) -> Result<Vec<Opened>> {
    let mut nodes = Vec::new();
    // The closure never fails.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            nodes.push(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let state = context.state();
    let mut opened = Vec::with_capacity(nodes.len());
    for node in nodes {
        let schema = node.source.schema();
        let table = tables.iter().find(|table| table.name == node.table_name.table());
        let inside = |column: &usize| table.is_none_or(|table| stands_in_files(table, *column));
        let mut columns: Vec<usize> = node.projection.clone().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let mut read = node.clone();
        if node.projection.is_some() && !columns.iter().any(inside) {
            // Rows are counted by some column of the files; a scan of none may have no files.
            let mut all = (0..schema.fields().len()).filter(inside);
            let first = all.clone().find(|index| reads_alike(schema.field(*index).data_type())).or_else(|| all.next());
            columns.extend(first);
            let more = TableScanBuilder::from(read).with_projection(Some(columns.clone())).with_fetch(None);
            read = more.build().map_err(from_datafusion)?;
        }
        for column in needed(&node)?.iter().flat_map(Expr::column_refs) {
            let index = schema.index_of(&column.name);
            let index = index.map_err(|error| Error::failed("a filter names no column").because(error))?;
            if !columns.contains(&index) {
                columns.push(index);
            }
        }
        let scan = LogicalPlan::TableScan(read);
        let physical = state.query_planner().create_physical_plan(&scan, &state).await.map_err(from_datafusion)?;
        let read = match table {
            Some(table) => native(table, &physical, &columns, context, reads_alike).await?,
            None => Native::No("rows in memory".to_owned()),
        };
        opened.push(Opened { node, physical, columns, read });
    }
    Ok(opened)
}

/// The filters of a scan that Polars applies: those that the choice of files has not settled. Those that DataFusion
/// applies again above the scan are among them, so that row groups are skipped by them.
fn needed(node: &TableScan) -> Result<Vec<Expr>> {
    let provider = source_as_provider(&node.source).map_err(from_datafusion)?;
    let filters: Vec<&Expr> = node.filters.iter().collect();
    let supported = provider.supports_filters_pushdown(&filters).map_err(from_datafusion)?;
    let settled = |support: &TableProviderFilterPushDown| *support == TableProviderFilterPushDown::Exact;
    let open = filters.iter().zip(&supported).filter(|(_, support)| !settled(support));
    Ok(open.map(|(filter, _)| (*filter).clone()).collect())
}

impl Opened {
    /// How the table is read, for whoever wants to know.
    pub(super) fn told(&self) -> TableRead {
        let table = self.node.table_name.table().to_owned();
        match &self.read {
            Native::Files(_) => TableRead { table, natively: true, because: None },
            Native::No(reason) => TableRead { table, natively: false, because: Some(reason.clone()) },
        }
    }

    /// The scan's frame; rows that DataFusion has to read are put aside first. The file lives as long as `kept`.
    ///
    /// # Errors
    /// As reading the table fails, and where there is no room for the file.
    pub(super) async fn frame(
        &self,
        context: &SessionContext,
        scope: &Scope,
        fresh: &mut Fresh,
        kept: &mut Vec<Arc<dyn SpillFile>>,
    ) -> Result<Frame> {
        match &self.read {
            Native::Files(files) => self.of_files(files, scope, fresh),
            Native::No(_) => {
                // A column that was only read to count rows by is not put aside.
                let fields = self.node.projected_schema.fields();
                let (file, path) = put_aside(&self.physical, fields.len(), context).await?;
                kept.push(file);
                let typed = fields.iter().enumerate().map(|(index, field)| (place(index), field.data_type().clone()));
                let typed: Vec<(String, DataType)> = typed.chain([(ROW.to_owned(), DataType::Boolean)]).collect();
                let lazy = scan(vec![path], &typed)?;
                let named: Vec<pl::PlSmallStr> = fields.iter().map(|field| fresh.name(field.name())).collect();
                let mut selected: Vec<pl::Expr> =
                    named.iter().enumerate().map(|(index, name)| col(place(index)).alias(name.clone())).collect();
                let witness = fresh.name(ROW);
                selected.push(col(ROW).alias(witness.clone()));
                Ok(Frame::new(lazy.select(selected), named, &witness))
            }
        }
    }

    fn of_files(&self, files: &NativeFiles, scope: &Scope, fresh: &mut Fresh) -> Result<Frame> {
        let schema = self.node.source.schema();
        let projection = self.node.projection.clone().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let names: Vec<pl::PlSmallStr> =
            projection.iter().map(|index| fresh.name(schema.field(*index).name())).collect();
        let (filters, witness) = (needed(&self.node)?, fresh.name(ROW));
        let table =
            DFSchema::try_from_qualified_schema(self.node.table_name.clone(), &schema).map_err(from_datafusion)?;
        let inside: Vec<pl::PlSmallStr> =
            schema.fields().iter().map(|field| pl::PlSmallStr::from_str(field.name())).collect();
        let mut parts = Vec::with_capacity(files.groups.len());
        for group in &files.groups {
            let constant = |index: &usize| group.constants.iter().any(|(column, _)| column == index);
            let read = self.columns.iter().filter(|index| !constant(index)).map(|index| schema.field(*index));
            let typed: Vec<(String, DataType)> =
                read.map(|field| (field.name().clone(), field.data_type().clone())).collect();
            let paths = group.files.iter().map(|path| match files.is_local {
                true => Ok(pl::PlRefPath::new(local_file(path)?.to_string_lossy().as_ref())),
                false => store::named(&files.store, path),
            });
            let mut lazy = scan(paths.collect::<Result<_>>()?, &typed)?;
            let constants = group.constants.iter().map(|(index, value)| {
                let value = ScalarValue::try_from_array(value, 0).map_err(from_datafusion)?;
                Ok(literal(&value)?.alias(inside[*index].clone()))
            });
            let constants = constants.collect::<Result<Vec<_>>>()?;
            if !constants.is_empty() {
                lazy = lazy.with_columns(constants);
            }
            let known = Names { schema: &table, names: &inside };
            for filter in &filters {
                lazy = lazy.filter(scope.condition(filter, &known)?);
            }
            let mut selected: Vec<pl::Expr> = projection
                .iter()
                .zip(&names)
                .map(|(index, name)| col(inside[*index].clone()).alias(name.clone()))
                .collect();
            if selected.is_empty() {
                let some = typed.first().map(|(name, _)| name.clone()).unwrap_or_default();
                selected.push(col(some).is_null().alias(witness.clone()));
            }
            parts.push(lazy.select(selected));
        }
        let lazy = match parts.len() {
            0 => nothing(&schema, &projection, &names, &witness)?,
            1 => parts.remove(0),
            _ => concatenated(&parts)?,
        };
        Ok(Frame::new(lazy, names, &witness))
    }
}

/// The name of a column that only tells how many rows there are.
const ROW: &str = "row";

/// What a column is called in a temporary file: names of a result may stand twice.
fn place(index: usize) -> String {
    format!("c{index}")
}

/// A frame of the right columns without rows.
fn nothing(
    schema: &SchemaRef,
    projection: &[usize],
    names: &[pl::PlSmallStr],
    witness: &pl::PlSmallStr,
) -> Result<pl::LazyFrame> {
    use pl::IntoLazy;
    let columns = projection.iter().zip(names).map(|(index, name)| {
        let kind = schema.field(*index).data_type();
        let kind =
            polars_type(kind).ok_or_else(|| Error::usage(format!("polars cannot hold values of type {kind}")))?;
        Ok(pl::Column::new_empty(name.clone(), &kind))
    });
    let mut columns = columns.collect::<Result<Vec<_>>>()?;
    if columns.is_empty() {
        columns.push(pl::Column::new_empty(witness.clone(), &pl::DataType::Boolean));
    }
    let frame = pl::DataFrame::new(0, columns);
    Ok(frame.map_err(|error| Error::failed("no rows make no frame").because(error.to_string()))?.lazy())
}

/// These columns of Parquet files. A column that a file lacks is NULL; columns beside them are not looked at.
fn scan(paths: Vec<pl::PlRefPath>, columns: &[(String, DataType)]) -> Result<pl::LazyFrame> {
    let fields = columns.iter().map(|(name, kind)| {
        let held = polars_type(kind)
            .ok_or_else(|| Error::usage(format!("polars cannot hold values of type {kind}")).with("column", name))?;
        Ok(pl::Field::new(pl::PlSmallStr::from_str(name), held))
    });
    let schema: pl::Schema = fields.collect::<Result<Vec<_>>>()?.into_iter().collect();
    let options = ParquetOptions { schema: Some(Arc::new(schema)), ..ParquetOptions::default() };
    let args = pl::UnifiedScanArgs {
        hive_options: HiveOptions::new_disabled(),
        glob: false,
        missing_columns_policy: pl::MissingColumnsPolicy::Insert,
        extra_columns_policy: pl::ExtraColumnsPolicy::Ignore,
        ..pl::UnifiedScanArgs::default()
    };
    let built = pl::DslBuilder::scan_parquet(pl::ScanSources::Paths(paths.into_iter().collect()), options, args);
    let plan = built.map_err(|error| Error::failed("polars cannot open the files").because(error.to_string()))?.build();
    Ok(pl::LazyFrame::from(plan))
}

/// Writes the first `wanted` columns of what DataFusion reads into a temporary file, batch by batch.
async fn put_aside(
    physical: &Arc<dyn ExecutionPlan>,
    wanted: usize,
    context: &SessionContext,
) -> Result<(Arc<dyn SpillFile>, pl::PlRefPath)> {
    let unwritten = |reason: String| {
        Error::failed("rows cannot be put aside for polars")
            .because(Error::failed(reason))
            .hint("is there space in the system's temporary folder?")
    };
    let file = context.runtime_env().disk_manager.create_tmp_file("rows for polars").map_err(from_datafusion)?;
    let path = file.path().ok_or_else(|| unwritten("the spill folder is not on a local disk".to_owned()))?;
    let name = pl::PlRefPath::new(path.to_string_lossy().as_ref());
    let opened = std::fs::File::create(path).map_err(|error| unwritten(error.to_string()))?;
    let schema = physical.schema();
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len() + 1);
    for (index, field) in schema.fields().iter().enumerate().take(wanted) {
        let held = super::types::held(field.data_type()).ok_or_else(|| {
            Error::usage(format!("polars cannot hold values of type {}", field.data_type()))
                .with("column", field.name())
        })?;
        fields.push(Field::new(place(index), held, true));
    }
    fields.push(Field::new(ROW, DataType::Boolean, true));
    let written = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(opened, Arc::clone(&written), Some(properties))
        .map_err(|error| unwritten(error.to_string()))?;
    let mut rows = culprit::stream(physical, &context.task_ctx()).map_err(from_datafusion)?;
    while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
        let columns = batch.columns().iter().take(wanted).map(into_held);
        let mut columns: Vec<ArrayRef> =
            columns.collect::<std::result::Result<_, _>>().map_err(|error| unwritten(error.to_string()))?;
        columns.push(arrow::array::new_null_array(&DataType::Boolean, batch.num_rows()));
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&written), columns, &options)
            .map_err(|error| unwritten(error.to_string()))?;
        writer.write(&batch).map_err(|error| unwritten(error.to_string()))?;
    }
    writer.close().map_err(|error| unwritten(error.to_string()))?;
    Ok((file, name))
}
