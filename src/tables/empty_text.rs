//! Partition columns whose value in the log is an empty text: NULL, as the protocol says ("an empty string for
//! any type translates to a null partition value").
//!
//! Writers that know the protocol write NULL themselves. The kernel reads what others wrote as an empty text,
//! as Spark does, so the scan of such a table is corrected here, and its filters on those columns are applied
//! after that and not to the log.

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions::core::nullif;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use std::sync::Arc;

/// A table some of whose columns are NULL where they are empty.
#[derive(Debug)]
pub(super) struct EmptyIsNull {
    inner: Arc<dyn TableProvider>,
    columns: Vec<String>,
}

impl EmptyIsNull {
    /// `inner`, with empty values of `columns` as NULL. (Of columns that must not be NULL there are none here:
    /// deltalake refuses such a table.)
    pub(super) fn over(inner: Arc<dyn TableProvider>, columns: &[String]) -> Arc<dyn TableProvider> {
        let schema = inner.schema();
        let may = |name: &&String| schema.field_with_name(name).is_ok_and(|field| field.is_nullable());
        let columns: Vec<String> = columns.iter().filter(may).cloned().collect();
        if columns.is_empty() { inner } else { Arc::new(Self { inner, columns }) }
    }
}

#[async_trait]
impl TableProvider for EmptyIsNull {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = self.inner.scan(state, projection, filters, limit).await?;
        let schema = scan.schema();
        let mut columns = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let column = Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>;
            let expr = if self.columns.contains(field.name()) {
                let empty = ScalarValue::Utf8(Some(String::new())).cast_to(field.data_type())?;
                let arguments = vec![column, Arc::new(Literal::new(empty)) as Arc<dyn PhysicalExpr>];
                let options = Arc::new(state.config_options().clone());
                Arc::new(ScalarFunctionExpr::new("nullif", nullif(), arguments, Arc::clone(field), options))
            } else {
                column
            };
            columns.push(ProjectionExpr { expr, alias: field.name().clone() });
        }
        Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let mut pushed = self.inner.supports_filters_pushdown(filters)?;
        for (pushed, filter) in pushed.iter_mut().zip(filters) {
            if filter.column_refs().iter().any(|column| self.columns.contains(&column.name)) {
                *pushed = TableProviderFilterPushDown::Unsupported;
            }
        }
        Ok(pushed)
    }
}
