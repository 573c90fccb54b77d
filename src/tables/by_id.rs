//! Columns of a Delta table whose mapping is by id: inside a file a column is the one that has its id,
//! whatever it is called there.
//!
//! The Delta library looks for the name that the log gives a column inside files. Files whose writer
//! used other names (a table that was converted in place) would give NULL in every row. Here each
//! file's columns, and the fields of structs inside them, get the log's names by their ids before they
//! are looked up.

use datafusion::arrow::array::{ArrayData, RecordBatch, make_array};
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapterFactory, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The name inside files of each column's and field's id.
#[derive(Debug)]
pub(super) struct ById {
    names: HashMap<String, String>,
    inner: Arc<dyn PhysicalExprAdapterFactory>,
}

impl ById {
    /// The ids of a table's columns and of the fields inside them, where its configuration maps them by id.
    pub(super) fn names(configuration: &HashMap<String, String>, schema: &str) -> Option<HashMap<String, String>> {
        configuration.get("delta.columnMapping.mode").filter(|mode| *mode == "id")?;
        let schema: Value = serde_json::from_str(schema).ok()?;
        let mut names = HashMap::new();
        collect_names(&schema, &mut names);
        Some(names)
    }

    /// Renames by `names`, then adapts as `inner` does.
    pub(super) fn new(names: HashMap<String, String>, inner: Option<Arc<dyn PhysicalExprAdapterFactory>>) -> Self {
        Self { names, inner: inner.unwrap_or_else(|| Arc::new(DefaultPhysicalExprAdapterFactory)) }
    }

    /// The file's columns under the log's names.
    fn renamed(&self, file: &Schema) -> Schema {
        let fields: Vec<FieldRef> = file.fields().iter().map(|field| self.renamed_field(field)).collect();
        Schema::new_with_metadata(fields, file.metadata().clone())
    }

    /// A column, or a field of a struct, under the log's name.
    fn renamed_field(&self, field: &FieldRef) -> FieldRef {
        let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY);
        let name = match id.and_then(|id| self.names.get(id)) {
            Some(name) => name.clone(),
            // A dropped column must not be taken for another that has its name today.
            None if id.is_some() => format!("\u{0}{}", field.name()),
            None => field.name().clone(),
        };
        let field = self.renamed_inside(field);
        if name == *field.name() { field } else { Arc::new(field.as_ref().clone().with_name(name)) }
    }

    /// The field with the log's names in what it holds. Items of lists, keys and values of maps have no names of
    /// their own.
    fn renamed_inside(&self, field: &FieldRef) -> FieldRef {
        let kind = match field.data_type() {
            DataType::Struct(fields) => {
                DataType::Struct(fields.iter().map(|field| self.renamed_field(field)).collect())
            }
            DataType::List(item) => DataType::List(self.renamed_inside(item)),
            DataType::LargeList(item) => DataType::LargeList(self.renamed_inside(item)),
            DataType::ListView(item) => DataType::ListView(self.renamed_inside(item)),
            DataType::LargeListView(item) => DataType::LargeListView(self.renamed_inside(item)),
            DataType::FixedSizeList(item, size) => DataType::FixedSizeList(self.renamed_inside(item), *size),
            DataType::Map(entries, sorted) => match entries.data_type() {
                DataType::Struct(pair) => {
                    let pair = DataType::Struct(pair.iter().map(|field| self.renamed_inside(field)).collect());
                    DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), *sorted)
                }
                _ => return Arc::clone(field),
            },
            _ => return Arc::clone(field),
        };
        if kind == *field.data_type() {
            return Arc::clone(field);
        }
        Arc::new(field.as_ref().clone().with_data_type(kind))
    }
}

/// Takes the ids and physical names of a type's fields, however deep they lie.
fn collect_names(kind: &Value, names: &mut HashMap<String, String>) {
    for inner in ["elementType", "keyType", "valueType"] {
        kind.get(inner).into_iter().for_each(|inner| collect_names(inner, names));
    }
    for field in kind.get("fields").and_then(Value::as_array).into_iter().flatten() {
        let of = |key: &str| field.get("metadata")?.get(key);
        let id = of("delta.columnMapping.id").and_then(Value::as_i64);
        let name = of("delta.columnMapping.physicalName").and_then(Value::as_str);
        if let (Some(id), Some(name)) = (id, name) {
            names.insert(id.to_string(), name.to_owned());
        }
        field.get("type").into_iter().for_each(|inner| collect_names(inner, names));
    }
}

impl PhysicalExprAdapterFactory for ById {
    fn create(&self, logical: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let renamed = Arc::new(self.renamed(&file));
        if renamed == file {
            return self.inner.create(logical, file);
        }
        Ok(Arc::new(Renamed { inner: self.inner.create(logical, Arc::clone(&renamed))?, renamed, file }))
    }
}

/// An adapter to renamed columns, whose expressions then name the file's own again.
#[derive(Debug)]
struct Renamed {
    inner: Arc<dyn PhysicalExprAdapter>,
    renamed: SchemaRef,
    file: SchemaRef,
}

impl PhysicalExprAdapter for Renamed {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let adapted = self.inner.rewrite(expr)?.transform(|node| {
            let Some(column) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
            let index = column.index();
            let (Some(field), Some(renamed)) = (self.file.fields().get(index), self.renamed.fields().get(index)) else {
                let told = format!("a file has no column {index}, `{}`", column.name());
                return Err(DataFusionError::Internal(told));
            };
            let own = Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>;
            let same_inside = field.data_type() == renamed.data_type();
            Ok(Transformed::yes(if same_inside { own } else { Relabelled::of(own, renamed.data_type()) }))
        })?;
        Ok(adapted.data)
    }
}

/// A column whose inner fields have other names; the values are the same.
#[derive(Debug, Eq)]
struct Relabelled {
    column: Arc<dyn PhysicalExpr>,
    kind: DataType,
}

impl Relabelled {
    fn of(column: Arc<dyn PhysicalExpr>, kind: &DataType) -> Arc<dyn PhysicalExpr> {
        Arc::new(Self { column, kind: kind.clone() })
    }
}

impl PartialEq for Relabelled {
    fn eq(&self, other: &Self) -> bool {
        self.column.eq(&other.column) && self.kind == other.kind
    }
}

impl Hash for Relabelled {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.column.hash(state);
        self.kind.hash(state);
    }
}

impl fmt::Display for Relabelled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "relabelled({})", self.column)
    }
}

impl PhysicalExpr for Relabelled {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.column.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let values = self.column.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(make_array(relabelled(values.to_data(), &self.kind)?)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.column]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        match children.into_iter().next() {
            Some(column) => Ok(Self::of(column, &self.kind)),
            None => Err(DataFusionError::Internal("a relabelled column lost its column".to_owned())),
        }
    }

    fn fmt_sql(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.column.fmt_sql(out)
    }
}

/// The same values under a type that differs in names only.
fn relabelled(data: ArrayData, kind: &DataType) -> Result<ArrayData> {
    let inner: Vec<&DataType> = match kind {
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item.data_type()],
        _ => return Ok(data),
    };
    let children = data.child_data().iter().zip(inner).map(|(child, kind)| relabelled(child.clone(), kind));
    let children = children.collect::<Result<Vec<_>>>()?;
    Ok(data.into_builder().data_type(kind.clone()).child_data(children).build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::Field;

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

    #[test]
    fn fields_inside_structs_lists_and_maps_are_found_by_their_ids() {
        let of = |name: &str, kind: DataType, id: &str| {
            let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_owned())]);
            Arc::new(Field::new(name, kind, true).with_metadata(metadata))
        };
        let names = HashMap::from([("1", "s"), ("2", "a"), ("3", "b")]);
        let names = names.into_iter().map(|(id, name)| (id.to_owned(), name.to_owned())).collect();
        let pair =
            |x: &str, y: &str| DataType::Struct(vec![of(x, DataType::Int64, "3"), of(y, DataType::Utf8, "9")].into());
        let list = |kind: DataType| DataType::List(Arc::new(Field::new("element", kind, true)));
        let map = |kind: DataType| {
            let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", kind, true)];
            DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entries.into()), false)), false)
        };
        let file = |kind: DataType| Schema::new(vec![of("x", DataType::Struct(vec![of("y", kind, "2")].into()), "1")]);
        let by_id = ById::new(names, None);
        for inside in [list, map] {
            let renamed = by_id.renamed(&file(inside(pair("z", "dropped"))));
            let DataType::Struct(fields) = renamed.field(0).data_type() else { panic!("{renamed}") };
            assert_eq!((renamed.field(0).name().as_str(), fields[0].name().as_str()), ("s", "a"));
            assert_eq!(fields[0].data_type(), &inside(pair("b", "\u{0}dropped")));
        }
    }
}
