//! Plain files as a DataFusion table: exactly the pinned ones, in the order of their paths.
//!
//! Every scan asks the store for each file it is about to read and compares size, etag and
//! modification time with the pin. A file that changed or vanished fails the scan by name; files that
//! were added are not seen.

use super::errors::{changed_file, from_store};
use super::files::store_url;
use super::pinned::PlainContents;
use crate::error::Error;
use crate::lake::Location;
use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::project_schema;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStoreExt};
use std::fmt;
use std::sync::Arc;

/// How many files are compared with the pin at once.
const CONCURRENT_FILES: usize = 32;

/// Exactly the pinned files.
pub(super) struct PlainTable {
    place: Location,
    contents: Arc<PlainContents>,
    schema: SchemaRef,
    reader: Arc<dyn FileFormat>,
}

impl PlainTable {
    pub(super) fn new(
        place: Location,
        contents: Arc<PlainContents>,
        schema: SchemaRef,
        reader: Arc<dyn FileFormat>,
    ) -> Self {
        Self { place, contents, schema, reader }
    }

    fn partition_fields(&self) -> &[Arc<Field>] {
        &self.schema.fields()[self.contents.file_schema.fields().len()..]
    }

    /// Whether folder names alone decide the filter.
    fn by_folder(&self, filter: &Expr) -> bool {
        let names: Vec<&str> = self.partition_fields().iter().map(|field| field.name().as_str()).collect();
        !names.is_empty() && !filter.column_refs().is_empty() && expr_applicable_for_cols(&names, filter)
    }

    /// The files whose folders satisfy all filters on partition columns.
    fn selected(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let files = &self.contents.files;
        let mut keep = vec![true; files.len()];
        let fields = self.partition_fields();
        let filters: Vec<&Expr> = filters.iter().filter(|filter| self.by_folder(filter)).collect();
        if !filters.is_empty() && !files.is_empty() {
            let columns = (0..fields.len())
                .map(|column| {
                    ScalarValue::iter_to_array(files.iter().map(|file| file.partition_values[column].clone()))
                })
                .collect::<Result<Vec<_>>>()?;
            let schema = Arc::new(Schema::new(fields.to_vec()));
            let folders = RecordBatch::try_new(Arc::clone(&schema), columns)?;
            let names = DFSchema::try_from(schema)?;
            for filter in filters {
                let value = state.create_physical_expr(filter.clone(), &names)?.evaluate(&folders)?;
                let value = value.into_array(files.len())?;
                let Some(value) = value.as_boolean_opt() else { continue };
                for (row, keep) in keep.iter_mut().enumerate() {
                    *keep &= value.is_valid(row) && value.value(row);
                }
            }
        }
        Ok(files.iter().zip(keep).filter(|(_, keep)| *keep).map(|(file, _)| file.clone()).collect())
    }

    /// Fails where a file is not what was pinned.
    async fn compare(&self, files: &[PartitionedFile]) -> Result<()> {
        let store = self.place.store();
        let pinned: Vec<_> = files.iter().map(|file| file.object_meta.clone()).collect();
        futures::stream::iter(pinned)
            .map(|pinned| {
                let store = Arc::clone(&store);
                async move {
                    let found = store.head(&pinned.location).await.map_err(|error| external(from_store(error)))?;
                    if is_same(&found, &pinned) { Ok(()) } else { Err(external(changed_file(&pinned.location))) }
                }
            })
            .buffer_unordered(CONCURRENT_FILES)
            .try_collect::<()>()
            .await
    }
}

/// Whether a file is the one that was listed. The tag tells, where there is one: a listing of a bucket has times in
/// milliseconds, whoever asks for one object gets them in seconds.
fn is_same(found: &ObjectMeta, listed: &ObjectMeta) -> bool {
    let same = match (&found.e_tag, &listed.e_tag) {
        (Some(found), Some(listed)) => found == listed,
        _ => found.last_modified.timestamp() == listed.last_modified.timestamp(),
    };
    same && found.size == listed.size
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl fmt::Debug for PlainTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PlainTable({}, {} files)", self.place, self.contents.files.len())
    }
}

#[async_trait]
impl TableProvider for PlainTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.selected(state, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema, projection)?)));
        }
        self.compare(&files).await?;
        let columns = TableSchema::builder(Arc::clone(&self.contents.file_schema))
            .with_table_partition_cols(self.partition_fields().to_vec())
            .build();
        let store = ObjectStoreUrl::parse(store_url(&self.place))?;
        // Filters that are left to the scan may drop rows, so the limit holds only without them.
        let limit = if filters.iter().all(|filter| self.by_folder(filter)) { limit } else { None };
        let group = FileGroup::new(files);
        let config = FileScanConfigBuilder::new(store, self.reader.file_source(columns))
            .with_file_groups(vec![group])
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.reader.create_physical_plan(state, config).await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters
            .iter()
            .map(|filter| match self.by_folder(filter) {
                true => TableProviderFilterPushDown::Exact,
                // Row groups and pages are skipped, single rows are filtered above.
                false => TableProviderFilterPushDown::Inexact,
            })
            .collect())
    }
}
