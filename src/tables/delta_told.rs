//! Scans of a Delta table that tell what is wrong with it: which table, and of a log that cannot be used which file.

use super::delta::PinnedDelta;
use super::errors::from_datafusion;
use crate::error::Error;
use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use std::fmt;
use std::sync::Arc;

/// A table under its name.
pub(super) struct Told {
    table: Arc<dyn TableProvider>,
    name: String,
    pinned: Arc<PinnedDelta>,
}

impl Told {
    pub(super) fn new(table: Arc<dyn TableProvider>, name: &str, pinned: &Arc<PinnedDelta>) -> Self {
        Self { table, name: name.to_owned(), pinned: Arc::clone(pinned) }
    }

    /// Why no scan could be made.
    async fn told(&self, error: DataFusionError) -> Error {
        // The kernel parses the statistics of all files together, and says neither that nor of which one.
        let unparsed = if error.to_string().to_lowercase().contains("json") { self.unparsed().await } else { None };
        let told = match unparsed {
            Some(file) => Error::failed("the statistics of a file, in the table's log, are no JSON")
                .with("file", file)
                .hint("restore the commit under _delta_log that adds it, or have the table's writer rewrite that file")
                .because(error),
            None => from_datafusion(error),
        };
        let is_named = told.context().iter().any(|(key, _)| *key == "table");
        if is_named { told } else { told.with("table", &self.name) }
    }

    /// The first file whose statistics are no JSON.
    async fn unparsed(&self) -> Option<String> {
        let mut found = None;
        let look = |file: &deltalake::kernel::LogicalFileView| {
            let is_json = |stats: String| serde_json::from_str::<serde::de::IgnoredAny>(&stats).is_ok();
            if found.is_none() && !file.stats().is_none_or(is_json) {
                found = Some(file.path().to_string());
            }
        };
        self.pinned.loaded.each_file(look).await.ok()?;
        found
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("table", &self.table).field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Told {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        self.table.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        match self.table.scan(state, projection, filters, limit).await {
            Err(error) => Err(DataFusionError::External(Box::new(self.told(error).await))),
            plan => plan,
        }
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }
}
