//! Aggregates, over groups and over windows: those that Polars computes to the same value.
//!
//! Differences that are made up here: SQL's sum over no values is NULL, Polars' is 0; SQL's greatest value of
//! floats with a NaN among them is NaN, Polars passes over NaNs; counts are 64-bit integers.

use super::expr::{Scope, bits};
use super::frame::{Frame, Fresh, Names};
use super::lacks::Lack;
use super::types::{held, polars_type};
use crate::error::{Error, Result};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, Sort};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, when};
use polars::prelude as pl;
use polars::prelude::{col, lit};

/// What is computed of a group's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Rows, whatever is in them.
    Rows,
    /// Values that are not NULL.
    Count,
    /// Different values that are not NULL.
    Distinct,
    Sum,
    Mean,
    Least,
    Greatest,
    /// With the degrees of freedom that are taken off.
    Variance(u8),
    Deviation(u8),
    All,
    Any,
    First,
    Last,
}

/// One aggregate: what, of which argument, among which rows, in which order.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) kind: Kind,
    /// None for [`Kind::Rows`].
    pub(super) argument: Option<Expr>,
    pub(super) is_float: bool,
    order: Vec<Sort>,
}

impl Measure {
    /// The measure that an aggregate expression is.
    ///
    /// # Errors
    /// What the engine lacks of it.
    pub(super) fn of(expr: &Expr, schema: &DFSchema) -> Result<Self, Lack> {
        match expr {
            Expr::Alias(alias) => Self::of(&alias.expr, schema),
            Expr::AggregateFunction(AggregateFunction { func, params }) => {
                Self::called(func.name(), params, schema, false)
            }
            other => Err(Lack::nowhere(format!("`{}` as an aggregate", other.human_display()))),
        }
    }

    /// The measure of a call; `windowed` only says where to look for it.
    ///
    /// # Errors
    /// What the engine lacks of it.
    pub(super) fn called(
        name: &str,
        params: &AggregateFunctionParams,
        schema: &DFSchema,
        windowed: bool,
    ) -> Result<Self, Lack> {
        let lack = |what: String| Err(Lack::function(what, name, windowed));
        let kind = match (name, params.distinct) {
            ("count", true) if params.args.len() > 1 => return lack("count(DISTINCT) of several columns".to_owned()),
            ("count", true) => Kind::Distinct,
            ("count", false) if params.args.iter().all(is_value) => Kind::Rows,
            ("count", false) if params.args.len() > 1 => return lack("count of several columns".to_owned()),
            ("count", false) => Kind::Count,
            ("min", _) => Kind::Least,
            ("max", _) => Kind::Greatest,
            ("bool_and", _) => Kind::All,
            ("bool_or", _) => Kind::Any,
            (_, true) => return lack(format!("{name}(DISTINCT ...)")),
            ("sum", _) => Kind::Sum,
            ("avg", _) => Kind::Mean,
            ("var", _) => Kind::Variance(1),
            ("var_pop", _) => Kind::Variance(0),
            ("stddev", _) => Kind::Deviation(1),
            ("stddev_pop", _) => Kind::Deviation(0),
            ("first_value", _) => Kind::First,
            ("last_value", _) => Kind::Last,
            _ => return lack(format!("the aggregate `{name}`")),
        };
        if params.null_treatment.is_some() {
            return lack("IGNORE NULLS and RESPECT NULLS".to_owned());
        }
        let ordered = matches!(kind, Kind::First | Kind::Last);
        if ordered && params.order_by.is_empty() {
            return lack(format!("{name} without ORDER BY: the order of rows is not fixed"));
        }
        let argument = match (kind, params.args.first()) {
            (Kind::Rows, _) => None,
            (_, Some(argument)) => Some(argument.clone()),
            (_, None) => return lack(format!("{name} without an argument")),
        };
        let given = argument.as_ref().and_then(|argument| argument.get_type(schema).ok());
        let is_float = given.as_ref().is_some_and(DataType::is_floating);
        if let Some(given) = given.filter(|given| !takes(kind, given)) {
            return lack(format!("{name} of values of type {given}"));
        }
        let argument = match (&params.filter, argument) {
            (Some(filter), argument) => {
                let value = argument.unwrap_or_else(|| datafusion::logical_expr::lit(1_i64));
                // Rows beside the filter give NULL, which every aggregate here passes over but for the first and last.
                let kept = when(filter.as_ref().clone(), value).end().ok();
                if ordered || kept.is_none() {
                    return lack(format!("FILTER of {name}"));
                }
                kept
            }
            (None, argument) => argument,
        };
        let kind = if kind == Kind::Rows && argument.is_some() { Kind::Count } else { kind };
        Ok(Self { kind, argument, is_float, order: if ordered { params.order_by.clone() } else { Vec::new() } })
    }

    /// The aggregate over columns that a frame has: the argument, and what decides the order.
    /// Rows are counted by any column.
    pub(super) fn over(&self, argument: &pl::PlSmallStr, order: &[pl::PlSmallStr]) -> pl::Expr {
        let column = || col(argument.clone());
        let present = || column().count().gt(lit(0));
        let guarded = |value: pl::Expr| pl::when(present()).then(value).otherwise(lit(pl::NULL));
        match self.kind {
            Kind::Rows => column().len(),
            Kind::Count => column().count(),
            Kind::Distinct => {
                let null = column().null_count().gt(lit(0)).cast(pl::DataType::Int64);
                let values = if self.is_float { bits(column()) } else { column() };
                values.n_unique().cast(pl::DataType::Int64) - null
            }
            Kind::Sum => guarded(column().sum()),
            Kind::Mean => column().mean(),
            Kind::Least => column().min(),
            Kind::Greatest if self.is_float => {
                pl::when(column().is_nan().any(true)).then(lit(f64::NAN)).otherwise(column().max())
            }
            Kind::Greatest => column().max(),
            Kind::Variance(freedom) => column().var(freedom),
            Kind::Deviation(freedom) => column().std(freedom),
            Kind::All => guarded(column().all(true)),
            Kind::Any => guarded(column().any(true)),
            Kind::First => column().sort_by(columns(order), sorting(&self.order)).first(),
            Kind::Last => column().sort_by(columns(order), sorting(&self.order)).last(),
        }
    }

    /// What decides the order of the values.
    pub(super) fn order(&self) -> &[Sort] {
        &self.order
    }
}

fn is_value(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null())
}

fn takes(kind: Kind, given: &DataType) -> bool {
    match kind {
        Kind::Sum => matches!(given, DataType::Int64 | DataType::UInt64 | DataType::Float64),
        Kind::Mean | Kind::Variance(_) | Kind::Deviation(_) => matches!(given, DataType::Float64),
        Kind::All | Kind::Any => matches!(given, DataType::Boolean),
        _ => held(given).is_some(),
    }
}

fn columns(names: &[pl::PlSmallStr]) -> Vec<pl::Expr> {
    names.iter().map(|name| col(name.clone())).collect()
}

/// Polars' words for an ORDER BY.
pub(super) fn sorting(order: &[Sort]) -> pl::SortMultipleOptions {
    pl::SortMultipleOptions {
        descending: order.iter().map(|sort| !sort.asc).collect(),
        nulls_last: order.iter().map(|sort| !sort.nulls_first).collect(),
        multithreaded: true,
        maintain_order: true,
        limit: None,
    }
}

/// The columns of `exprs` added to a frame under fresh names; a mere column keeps its own.
///
/// # Errors
/// As [`Scope::scalar`].
pub(super) fn with_columns<'a>(
    mut lazy: pl::LazyFrame,
    names: &Names<'_>,
    exprs: impl IntoIterator<Item = &'a Expr>,
    scope: &Scope,
    fresh: &mut Fresh,
) -> Result<(pl::LazyFrame, Vec<pl::PlSmallStr>)> {
    let (mut added, mut columns) = (Vec::new(), Vec::new());
    for expr in exprs {
        if let Expr::Column(column) = expr {
            columns.push(names.names[names.index(column)?].clone());
            continue;
        }
        let name = fresh.name("value");
        added.push(scope.scalar(expr, names)?.alias(name.clone()));
        columns.push(name);
    }
    if !added.is_empty() {
        lazy = lazy.with_columns(added);
    }
    Ok((lazy, columns))
}

/// GROUP BY.
///
/// # Errors
/// As [`Scope::scalar`]; a usage error for what the engine lacks.
pub(super) fn aggregate(input: Frame, node: &Aggregate, scope: &Scope, fresh: &mut Fresh) -> Result<Frame> {
    let schema = node.input.schema();
    let names = input.names(schema);
    let measures = node.aggr_expr.iter().map(|expr| Measure::of(expr, schema));
    let measures = measures.collect::<Result<Vec<_>, Lack>>().map_err(|lack| Error::usage(lack.what))?;
    let (mut lazy, keys) = with_columns(input.lazy.clone(), &names, &node.group_expr, scope, fresh)?;
    // A key may stand twice, and is renamed after the groups are made.
    let mut grouped: Vec<pl::PlSmallStr> = Vec::new();
    for key in &keys {
        if !grouped.contains(key) {
            grouped.push(key.clone());
        }
    }
    let fields = node.schema.fields();
    let mut outputs: Vec<pl::PlSmallStr> = fields.iter().map(|field| fresh.name(field.name())).collect();
    let mut aggregates = Vec::with_capacity(measures.len());
    for (index, measure) in measures.iter().enumerate() {
        let (with_argument, argument) = with_columns(lazy, &names, &measure.argument, scope, fresh)?;
        let order = measure.order().iter().map(|sort| &sort.expr);
        let (with_order, order) = with_columns(with_argument, &names, order, scope, fresh)?;
        lazy = with_order;
        let place = keys.len() + index;
        let value = measure.over(argument.first().unwrap_or(&input.witness), &order);
        aggregates.push(typed(value, fields[place].data_type())?.alias(outputs[place].clone()));
    }
    if keys.is_empty() {
        return Ok(Frame::new(lazy.select(aggregates), outputs, &input.witness));
    }
    let lazy = lazy.group_by(grouped.iter().map(|key| col(key.clone())).collect::<Vec<_>>()).agg(aggregates);
    let mut renamed = Vec::with_capacity(outputs.len());
    for (index, output) in outputs.iter_mut().enumerate() {
        renamed.push(match keys.get(index) {
            Some(key) => col(key.clone()).alias(output.clone()),
            None => col(output.clone()),
        });
    }
    Ok(Frame::new(lazy.select(renamed), outputs, &input.witness))
}

/// A value in the type that holds `kind`.
///
/// # Errors
/// A usage error where there is none.
pub(super) fn typed(value: pl::Expr, kind: &DataType) -> Result<pl::Expr> {
    let held = polars_type(kind)
        .ok_or_else(|| Error::usage(format!("the polars engine does not hold values of type {kind}")))?;
    Ok(value.strict_cast(held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::functions_aggregate::expr_fn::{count, median, sum};
    use datafusion::logical_expr::col as column;

    #[test]
    fn what_is_lacking_is_said_by_name() {
        let fields = vec![arrow::datatypes::Field::new("d", DataType::Decimal128(10, 2), true)];
        let schema = DFSchema::from_unqualified_fields(fields.into(), Default::default()).unwrap();
        assert_eq!(Measure::of(&median(column("d")), &schema).unwrap_err().what, "the aggregate `median`");
        let decimal = Measure::of(&sum(column("d")), &schema).unwrap_err().what;
        assert!(decimal.starts_with("sum of values of type Decimal128"), "{decimal}");
        assert!(Measure::of(&count(datafusion::logical_expr::lit(1_i64)), &schema).is_ok());
    }
}
