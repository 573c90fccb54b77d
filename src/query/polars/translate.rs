//! A plan that DataFusion has made and optimised as a lazy frame of Polars.

use super::aggregate::{aggregate, sorting, with_columns};
use super::bridge::to_polars;
use super::expr::Scope;
use super::frame::{Frame, Fresh};
use super::join::join;
use super::window::window;
use crate::error::{Error, Result};
use crate::tables::errors::from_datafusion;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::{Expr, FetchType, Limit, LogicalPlan, Projection, SkipType, Sort, Union, Values};
use polars::prelude as pl;
use polars::prelude::{IntoLazy, col};
use std::sync::Arc;

/// Makes frames of plans.
pub(super) struct Translator<'a> {
    pub(super) scope: &'a Scope,
    pub(super) fresh: Fresh,
    /// The frames of the plan's table scans, in the order in which they stand in it.
    pub(super) scans: std::vec::IntoIter<Frame>,
}

impl Translator<'_> {
    /// The frame that gives the rows of `plan`.
    ///
    /// # Errors
    /// A usage error for what the engine lacks; else as DataFusion plans expressions.
    pub(super) fn frame(&mut self, plan: &LogicalPlan) -> Result<Frame> {
        match plan {
            LogicalPlan::TableScan(_) => {
                self.scans.next().ok_or_else(|| Error::failed("a table of the plan was not opened for polars"))
            }
            LogicalPlan::Projection(node) => self.projection(node),
            LogicalPlan::Filter(node) => {
                let input = self.frame(&node.input)?;
                let condition = self.scope.condition(&node.predicate, &input.names(node.input.schema()))?;
                let lazy = input.lazy.clone().filter(condition);
                Ok(input.with(lazy))
            }
            LogicalPlan::Aggregate(node) => {
                let input = self.frame(&node.input)?;
                aggregate(input, node, self.scope, &mut self.fresh)
            }
            LogicalPlan::Window(node) => {
                let input = self.frame(&node.input)?;
                window(input, node, self.scope, &mut self.fresh)
            }
            LogicalPlan::Sort(node) => self.sort(node),
            LogicalPlan::Join(node) => {
                let (left, right) = (self.frame(&node.left)?, self.frame(&node.right)?);
                join(left, right, node, self.scope, &mut self.fresh)
            }
            LogicalPlan::Union(node) => self.union(node),
            LogicalPlan::SubqueryAlias(node) => self.frame(&node.input),
            LogicalPlan::Repartition(node) => self.frame(&node.input),
            LogicalPlan::Limit(node) => self.limit(node),
            LogicalPlan::EmptyRelation(node) => {
                let rows = usize::from(node.produce_one_row);
                self.constant(&node.schema, &vec![Vec::new(); rows])
            }
            LogicalPlan::Values(node) => self.values(node),
            other => {
                let what = other.display().to_string();
                Err(Error::usage(format!("the polars engine lacks `{what}`")).hint(super::HINT))
            }
        }
    }

    fn projection(&mut self, node: &Projection) -> Result<Frame> {
        let input = self.frame(&node.input)?;
        let names = input.names(node.input.schema());
        let bare: Vec<&Expr> = node.expr.iter().map(unaliased).collect();
        let (lazy, columns) = with_columns(input.lazy.clone(), &names, bare, self.scope, &mut self.fresh)?;
        // Without a column a frame would lose its rows.
        if columns.is_empty() {
            return Ok(Frame::new(lazy, columns, &input.witness));
        }
        let fields = node.schema.fields();
        let named: Vec<pl::PlSmallStr> = fields.iter().map(|field| self.fresh.name(field.name())).collect();
        let selected: Vec<pl::Expr> =
            columns.iter().zip(&named).map(|(column, name)| col(column.clone()).alias(name.clone())).collect();
        Ok(Frame::new(lazy.select(selected), named, &input.witness))
    }

    fn sort(&mut self, node: &Sort) -> Result<Frame> {
        let input = self.frame(&node.input)?;
        let names = input.names(node.input.schema());
        let keys = node.expr.iter().map(|sort| &sort.expr);
        let (lazy, keys) = with_columns(input.lazy.clone(), &names, keys, self.scope, &mut self.fresh)?;
        let keys: Vec<pl::Expr> = keys.into_iter().map(col).collect();
        let lazy = lazy.sort_by_exprs(keys, sorting(&node.expr));
        Ok(input.with(limited(lazy, 0, node.fetch)))
    }

    fn limit(&mut self, node: &Limit) -> Result<Frame> {
        let input = self.frame(&node.input)?;
        let bounds = (node.get_skip_type().map_err(from_datafusion)?, node.get_fetch_type().map_err(from_datafusion)?);
        match bounds {
            (SkipType::Literal(skip), FetchType::Literal(fetch)) => {
                let lazy = limited(input.lazy.clone(), skip, fetch);
                Ok(input.with(lazy))
            }
            _ => Err(Error::usage("the polars engine lacks LIMIT by an expression").hint(super::HINT)),
        }
    }

    fn union(&mut self, node: &Union) -> Result<Frame> {
        let names: Vec<pl::PlSmallStr> =
            node.schema.fields().iter().map(|field| self.fresh.name(field.name())).collect();
        let mut parts = Vec::with_capacity(node.inputs.len());
        let witness = self.fresh.name("row");
        for input in &node.inputs {
            let part = self.frame(input)?;
            let columns = part.names.iter().zip(&names).map(|(old, new)| col(old.clone()).alias(new.clone()));
            let mut columns: Vec<pl::Expr> = columns.collect();
            if columns.is_empty() {
                columns.push(col(part.witness).is_null().alias(witness.clone()));
            }
            parts.push(part.lazy.select(columns));
        }
        Ok(Frame::new(concatenated(&parts)?, names, &witness))
    }

    fn values(&mut self, node: &Values) -> Result<Frame> {
        let rows = node.values.iter().map(|row| {
            let of = |(expr, field): (&Expr, &Arc<arrow::datatypes::Field>)| self.value(expr, field.data_type());
            row.iter().zip(node.schema.fields()).map(of).collect::<Result<Vec<_>>>()
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        self.constant(&node.schema, &rows)
    }

    /// The value of an expression without columns.
    fn value(&self, expr: &Expr, kind: &DataType) -> Result<ScalarValue> {
        if let Expr::Literal(value, _) = expr {
            return value.cast_to(kind).map_err(from_datafusion);
        }
        let schema = DFSchema::empty();
        let physical = self.scope.state.create_physical_expr(expr.clone(), &schema).map_err(from_datafusion)?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        let row = arrow::array::RecordBatch::try_new_with_options(Arc::clone(schema.inner()), Vec::new(), &options)
            .map_err(|error| Error::failed("a row without columns").because(error))?;
        let value = physical.evaluate(&row).and_then(|value| value.into_array(1)).map_err(from_datafusion)?;
        ScalarValue::try_from_array(&value, 0).and_then(|value| value.cast_to(kind)).map_err(from_datafusion)
    }

    /// Rows that stand in the plan itself.
    fn constant(&mut self, schema: &DFSchema, rows: &[Vec<ScalarValue>]) -> Result<Frame> {
        let (mut columns, mut names) = (Vec::new(), Vec::new());
        for (index, field) in schema.fields().iter().enumerate() {
            let name = self.fresh.name(field.name());
            let values: Vec<ScalarValue> = rows.iter().filter_map(|row| row.get(index).cloned()).collect();
            let array = match values.is_empty() {
                true => arrow::array::new_null_array(field.data_type(), rows.len()),
                false => ScalarValue::iter_to_array(values).map_err(from_datafusion)?,
            };
            columns.push(pl::Column::from(to_polars(name.clone(), &array)?));
            names.push(name);
        }
        let witness = self.fresh.name("row");
        if columns.is_empty() {
            columns.push(pl::Column::new_scalar(witness.clone(), pl::Scalar::from(0_i64), rows.len()));
        }
        let frame = pl::DataFrame::new(rows.len(), columns)
            .map_err(|error| Error::failed("the plan's rows make no frame").because(error.to_string()))?;
        Ok(Frame::new(frame.lazy(), names, &witness))
    }
}

/// Frames of the same columns one after the other.
///
/// # Errors
/// Where Polars refuses.
pub(super) fn concatenated(parts: &[pl::LazyFrame]) -> Result<pl::LazyFrame> {
    let options = pl::UnionArgs { parallel: false, rechunk: false, to_supertypes: false, ..Default::default() };
    pl::concat(parts, options).map_err(|error| Error::failed("polars cannot append rows").because(error.to_string()))
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

fn limited(lazy: pl::LazyFrame, skip: usize, fetch: Option<usize>) -> pl::LazyFrame {
    match (skip, fetch) {
        (0, None) => lazy,
        (skip, fetch) => {
            let rows = fetch.and_then(|fetch| pl::IdxSize::try_from(fetch).ok()).unwrap_or(pl::IdxSize::MAX);
            lazy.slice(i64::try_from(skip).unwrap_or(i64::MAX), rows)
        }
    }
}
