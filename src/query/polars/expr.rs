//! Scalar expressions: what Polars computes exactly as DataFusion does it computes itself, so that it can choose
//! files and row groups by it; everything else is computed by DataFusion's own kernels on Polars' columns, as an
//! elementwise function inside Polars' engine, without copying.

use super::bridge::{from_polars, to_polars};
use super::frame::Names;
use super::types::{held, polars_type};
use crate::error::{Error, Result};
use crate::tables::errors::from_datafusion;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};
use datafusion::physical_expr::PhysicalExpr;
use polars::prelude as pl;
use std::sync::{Arc, Mutex, PoisonError};

/// The first error of our own inside Polars, which passes on only texts.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<Option<Error>>>);

impl Faults {
    /// Keeps the error and gives Polars one to stop with.
    pub(super) fn note(&self, error: Error) -> pl::PolarsError {
        let told = pl::PolarsError::ComputeError(error.message().to_owned().into());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        told
    }

    /// The first error, if there was one.
    pub(super) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What expressions are made with.
#[derive(Clone)]
pub(super) struct Scope {
    pub(super) state: Arc<SessionState>,
    pub(super) faults: Faults,
}

impl Scope {
    /// `expr` over the columns of a frame.
    ///
    /// # Errors
    /// Where DataFusion cannot plan it.
    pub(super) fn scalar(&self, expr: &Expr, names: &Names<'_>) -> Result<pl::Expr> {
        match native(expr, names) {
            Some(native) => Ok(native),
            None => self.by_kernel(expr, names),
        }
    }

    /// A condition: its parts one by one, so that each goes as far down as it can.
    ///
    /// # Errors
    /// As [`Self::scalar`].
    pub(super) fn condition(&self, expr: &Expr, names: &Names<'_>) -> Result<pl::Expr> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                Ok(self.condition(left, names)?.and(self.condition(right, names)?))
            }
            _ => self.scalar(expr, names),
        }
    }

    /// `expr` as DataFusion's physical expression over the columns that it names.
    fn by_kernel(&self, expr: &Expr, names: &Names<'_>) -> Result<pl::Expr> {
        let mut columns: Vec<&Column> = expr.column_refs().into_iter().collect();
        columns.sort();
        let (mut fields, mut inputs) = (Vec::new(), Vec::new());
        for column in columns {
            let index = names.index(column)?;
            let (qualifier, field) = names.schema.qualified_field(index);
            fields.push((qualifier.cloned(), Arc::clone(field)));
            inputs.push(pl::col(names.names[index].clone()));
        }
        let schema = DFSchema::new_with_metadata(fields, Default::default()).map_err(from_datafusion)?;
        let physical = self.state.create_physical_expr(expr.clone(), &schema).map_err(from_datafusion)?;
        let input = Arc::clone(schema.inner());
        let kind = physical.data_type(&input).map_err(from_datafusion)?;
        let Some(output) = polars_type(&kind) else {
            return Err(Error::usage(format!("the polars engine does not hold values of type {kind}"))
                .with("expression", expr.human_display())
                .hint("CAST them to another type, or use engine = \"datafusion\""));
        };
        if inputs.is_empty() {
            let one = evaluated(&physical, &input, &mut [], 1)?;
            return literal(&ScalarValue::try_from_array(&one, 0).map_err(from_datafusion)?);
        }
        let faults = self.faults.clone();
        let function = move |columns: &mut [pl::Column]| {
            let rows = columns.iter().map(pl::Column::len).max().unwrap_or_default();
            let computed = evaluated(&physical, &input, columns, rows).and_then(|array| {
                to_polars(columns.first().map(|column| column.name().clone()).unwrap_or_default(), &array)
            });
            computed.map(pl::Column::from).map_err(|error| faults.note(error))
        };
        let first = inputs.remove(0);
        let typed = move |_: &pl::Schema, fields: &[pl::Field]| {
            let name = fields.first().map(|field| field.name().clone()).unwrap_or_default();
            Ok(pl::Field::new(name, output.clone()))
        };
        Ok(first.map_many(function, &inputs, typed))
    }
}

fn evaluated(
    expr: &Arc<dyn PhysicalExpr>,
    schema: &Arc<Schema>,
    columns: &mut [pl::Column],
    rows: usize,
) -> Result<ArrayRef> {
    let arrays =
        columns.iter().zip(schema.fields()).map(|(column, field)| from_polars(column, field.data_type(), rows));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    // Polars may ask for rows that a filter has taken out; whether a column may be NULL is checked at the end.
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|error| Error::failed("polars' columns make no batch").because(error))?;
    let value = expr.evaluate(&batch).and_then(|value| value.into_array(rows)).map_err(from_datafusion)?;
    Ok(value)
}

/// A constant in the type that holds it.
///
/// # Errors
/// Where Polars cannot hold its type.
pub(super) fn literal(value: &ScalarValue) -> Result<pl::Expr> {
    let series = to_polars(pl::PlSmallStr::from_static("literal"), &value.to_array().map_err(from_datafusion)?)?;
    let kind = series.dtype().clone();
    let value =
        series.get(0).map_err(|error| Error::failed("a constant without a value").because(error.to_string()))?;
    Ok(pl::lit(pl::Scalar::new(kind, value.into_static())))
}

/// Floats as the bits behind them: what counts different values tells 0.0 and -0.0 apart.
pub(super) fn bits(floats: pl::Expr) -> pl::Expr {
    let function = |column: pl::Column| {
        let floats = column.as_materialized_series().cast(&pl::DataType::Float64)?;
        let bits = floats.f64()?.iter().map(|value| value.map(|value| i64::from_ne_bytes(value.to_ne_bytes())));
        Ok(pl::Column::from(pl::Series::from_iter(bits).with_name(column.name().clone())))
    };
    floats.map(function, |_, field| Ok(pl::Field::new(field.name().clone(), pl::DataType::Int64)))
}

/// What Polars computes itself; none where that is not known to be the same.
fn native(expr: &Expr, names: &Names<'_>) -> Option<pl::Expr> {
    match expr {
        Expr::Column(column) => Some(pl::col(names.names[names.index(column).ok()?].clone())),
        Expr::Literal(value, _) => literal(value).ok(),
        Expr::Alias(alias) => native(&alias.expr, names),
        Expr::Not(inner) => Some(native(inner, names)?.not()),
        Expr::IsNull(inner) => Some(native(inner, names)?.is_null()),
        Expr::IsNotNull(inner) => Some(native(inner, names)?.is_not_null()),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => binary(left, *op, right, names),
        Expr::InList(list) => in_list(list, names),
        _ => None,
    }
}

fn binary(left: &Expr, op: Operator, right: &Expr, names: &Names<'_>) -> Option<pl::Expr> {
    if !matches!(op, Operator::And | Operator::Or) {
        let kinds = [left, right].map(|side| side.get_type(names.schema).ok());
        let [Some(one), Some(other)] = kinds else { return None };
        // Floats have zeros with a sign and several NaNs, about which the two need not agree.
        if one != other || !is_ordered_alike(&one) {
            return None;
        }
    }
    let (one, other) = (native(left, names)?, native(right, names)?);
    Some(match op {
        Operator::And => one.and(other),
        Operator::Or => one.or(other),
        Operator::Eq => one.eq(other),
        Operator::NotEq => one.neq(other),
        Operator::Lt => one.lt(other),
        Operator::LtEq => one.lt_eq(other),
        Operator::Gt => one.gt(other),
        Operator::GtEq => one.gt_eq(other),
        _ => return None,
    })
}

/// A short list of constants as a chain of OR.
fn in_list(list: &InList, names: &Names<'_>) -> Option<pl::Expr> {
    const LONGEST: usize = 20;
    if list.list.is_empty() || list.list.len() > LONGEST {
        return None;
    }
    let mut parts = list.list.iter().map(|item| binary(&list.expr, Operator::Eq, item, names));
    let first = parts.next()??;
    let any = parts.try_fold(first, |any, part| Some(any.or(part?)))?;
    Some(if list.negated { any.not() } else { any })
}

fn is_ordered_alike(kind: &DataType) -> bool {
    let held = held(kind);
    !matches!(kind, DataType::Null | DataType::Boolean | DataType::Dictionary(..))
        && held.is_some_and(|held| !held.is_floating())
}
