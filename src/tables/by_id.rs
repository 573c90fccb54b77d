//! Columns of a Delta table whose mapping is by id: inside a file a column is the one that has its id,
//! whatever it is called there.
//!
//! The Delta library looks for the name that the log gives a column inside files. Files whose writer
//! used other names (a table that was converted in place) would give NULL in every row. Here each
//! file's columns get the log's names by their ids before they are looked up.

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// The name inside files of each column's id.
#[derive(Debug)]
pub(super) struct ById {
    names: HashMap<String, String>,
    inner: Arc<dyn PhysicalExprAdapterFactory>,
}

impl ById {
    /// The ids of a table's columns, where its configuration maps them by id.
    pub(super) fn names(configuration: &HashMap<String, String>, schema: &str) -> Option<HashMap<String, String>> {
        configuration.get("delta.columnMapping.mode").filter(|mode| *mode == "id")?;
        let schema: Value = serde_json::from_str(schema).ok()?;
        let of_field = |field: &Value| {
            let metadata = field.get("metadata")?;
            let id = metadata.get("delta.columnMapping.id")?.as_i64()?;
            Some((id.to_string(), metadata.get("delta.columnMapping.physicalName")?.as_str()?.to_owned()))
        };
        Some(schema.get("fields")?.as_array()?.iter().filter_map(of_field).collect())
    }

    /// Renames by `names`, then adapts as `inner` does.
    pub(super) fn new(names: HashMap<String, String>, inner: Option<Arc<dyn PhysicalExprAdapterFactory>>) -> Self {
        Self { names, inner: inner.unwrap_or_else(|| Arc::new(DefaultPhysicalExprAdapterFactory)) }
    }

    /// The file's columns under the log's names. Fields inside columns keep their own.
    fn renamed(&self, file: &Schema) -> Schema {
        let fields: Vec<Arc<Field>> = file
            .fields()
            .iter()
            .map(|field| {
                let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY);
                match id.and_then(|id| self.names.get(id)) {
                    Some(name) if name != field.name() => Arc::new(field.as_ref().clone().with_name(name)),
                    // A dropped column must not be taken for another that has its name today.
                    None if id.is_some() => {
                        Arc::new(field.as_ref().clone().with_name(format!("\u{0}{}", field.name())))
                    }
                    _ => Arc::clone(field),
                }
            })
            .collect();
        Schema::new_with_metadata(fields, file.metadata().clone())
    }
}

impl PhysicalExprAdapterFactory for ById {
    fn create(&self, logical: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let renamed = Arc::new(self.renamed(&file));
        if renamed == file {
            return self.inner.create(logical, file);
        }
        Ok(Arc::new(Renamed { inner: self.inner.create(logical, renamed)?, file }))
    }
}

/// An adapter to renamed columns, whose expressions then name the file's own again.
#[derive(Debug)]
struct Renamed {
    inner: Arc<dyn PhysicalExprAdapter>,
    file: SchemaRef,
}

impl PhysicalExprAdapter for Renamed {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let adapted = self.inner.rewrite(expr)?.transform(|node| {
            let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
            let index = column.index();
            let field = self.file.fields().get(index).ok_or_else(|| {
                DataFusionError::Internal(format!("a file has no column {index}, `{}`", column.name()))
            })?;
            Ok(Transformed::yes(Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>))
        })?;
        Ok(adapted.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::DataType;

    #[test]
    fn columns_are_found_by_their_ids_and_name_the_file_again() {
        let of = |name: &str, id: &str| {
            let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_owned())]);
            Field::new(name, DataType::Int64, true).with_metadata(metadata)
        };
        let schema = r#"{"fields": [{"name": "a", "metadata":
            {"delta.columnMapping.id": 7, "delta.columnMapping.physicalName": "p"}}]}"#;
        let by_id = HashMap::from([("delta.columnMapping.mode".to_owned(), "id".to_owned())]);
        let names = ById::names(&by_id, schema).unwrap();
        assert!(ById::names(&HashMap::new(), schema).is_none());
        // `p` was dropped; its id is not the one of today's `p`.
        let file = Arc::new(Schema::new(vec![of("p", "1"), of("x", "7")]));
        let logical = Arc::new(Schema::new(vec![Field::new("p", DataType::Int64, true)]));
        let adapter = ById::new(names, None).create(logical, file).unwrap();
        let found = adapter.rewrite(Arc::new(Column::new("p", 0))).unwrap();
        assert!(found.to_string().contains("x@1"), "{found}");
    }
}
