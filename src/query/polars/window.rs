//! Window functions: over a whole partition, from its start to the current row, and by the row's place in it.
//!
//! The frame is sorted by the order of a window once; within a partition Polars then sees the rows in that order.
//! What SQL calls the current row's peers (RANGE frames) get the value of the last of them.

use super::aggregate::{Kind as Aggregated, Measure, sorting, typed, with_columns};
use super::expr::{Scope, literal};
use super::frame::{Frame, Fresh, Names};
use super::lacks::Lack;
use crate::error::{Error, Result};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunctionParams, Sort, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Window, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion::sql::sqlparser::ast;
use polars::prelude as pl;
use polars::prelude::{col, lit};

/// What a window function computes.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// An aggregate over all rows of the partition.
    Whole(Measure),
    /// An aggregate from the partition's first row to the current one; with its peers, if `peers`.
    Running { measure: Measure, peers: bool },
    /// The row's number in its partition, from 1.
    RowNumber,
    /// The number of its first peer.
    Rank,
    /// How many different values of the order there are up to it.
    DenseRank,
    /// The value so many rows before (after, if negative), or the default where there is no such row.
    Shifted { argument: Expr, rows: i64, default: ScalarValue },
}

impl Kind {
    /// What a window expression computes.
    ///
    /// # Errors
    /// What the engine lacks of it.
    pub(super) fn of(expr: &Expr, schema: &DFSchema) -> Result<Self, Lack> {
        let WindowFunction { fun, params } = parts(expr)?;
        let lack = |what: String| Err(Lack::function(what, fun.name(), true));
        if params.null_treatment.is_some() {
            return lack("IGNORE NULLS and RESPECT NULLS".to_owned());
        }
        match fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                let given = AggregateFunctionParams {
                    args: params.args.clone(),
                    distinct: params.distinct,
                    filter: params.filter.clone(),
                    order_by: Vec::new(),
                    null_treatment: None,
                };
                let extent = Extent::of(&params.window_frame, &params.order_by);
                let extent = extent.map_err(|what| Lack::function(what, function.name(), true))?;
                let measure = Measure::called(function.name(), &given, schema, true)?;
                match extent {
                    Extent::Whole => Ok(Self::Whole(measure)),
                    Extent::Running { .. } if !runs(measure.kind) => {
                        lack(format!("{} over rows up to the current one", function.name()))
                    }
                    Extent::Running { .. } if !carries(&measure, schema) => {
                        lack(format!("{} of values of this type over rows up to the current one", function.name()))
                    }
                    Extent::Running { peers } => Ok(Self::Running { measure, peers }),
                }
            }
            WindowFunctionDefinition::WindowUDF(function) => match function.name() {
                "row_number" => Ok(Self::RowNumber),
                "rank" => Ok(Self::Rank),
                "dense_rank" => Ok(Self::DenseRank),
                name @ ("lag" | "lead") => shifted(name, params, schema),
                name => lack(format!("the window function `{name}`")),
            },
        }
    }
}

fn parts(expr: &Expr) -> Result<&WindowFunction, Lack> {
    match expr {
        Expr::Alias(alias) => parts(&alias.expr),
        Expr::WindowFunction(function) => Ok(function),
        other => Err(Lack::nowhere(format!("`{}` as a window function", other.human_display()))),
    }
}

fn shifted(name: &str, params: &WindowFunctionParams, schema: &DFSchema) -> Result<Kind, Lack> {
    let lack = |what: &str| Lack::function(format!("{name} {what}"), name, true);
    let argument = params.args.first().ok_or_else(|| lack("without an argument"))?;
    let kind = argument.get_type(schema).map_err(|_| lack("of this"))?;
    let rows = match params.args.get(1) {
        None => 1,
        Some(Expr::Literal(value, _)) => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(rows))) => rows,
            _ => return Err(lack("by an offset that is no whole number")),
        },
        Some(_) => return Err(lack("by an offset that is no constant")),
    };
    let default = match params.args.get(2) {
        None => ScalarValue::try_from(&kind).map_err(|_| lack("of this type"))?,
        Some(Expr::Literal(value, _)) => value.cast_to(&kind).map_err(|_| lack("with a default of another type"))?,
        Some(_) => return Err(lack("with a default that is no constant")),
    };
    Ok(Kind::Shifted { argument: argument.clone(), rows: if name == "lead" { -rows } else { rows }, default })
}

/// Which rows a frame holds.
enum Extent {
    Whole,
    Running { peers: bool },
}

impl Extent {
    fn of(frame: &WindowFrame, order: &[Sort]) -> Result<Self, String> {
        let first = matches!(&frame.start_bound, WindowFrameBound::Preceding(value) if value.is_null());
        let last = matches!(&frame.end_bound, WindowFrameBound::Following(value) if value.is_null());
        let current = matches!(frame.end_bound, WindowFrameBound::CurrentRow);
        match (first, last, current, frame.units) {
            (true, true, ..) => Ok(Self::Whole),
            (true, _, true, WindowFrameUnits::Range) if order.is_empty() => Ok(Self::Whole),
            (true, _, true, WindowFrameUnits::Range) => Ok(Self::Running { peers: true }),
            (true, _, true, WindowFrameUnits::Rows) if order.is_empty() => {
                Err("ROWS frames without ORDER BY, whose rows have no order".to_owned())
            }
            (true, _, true, WindowFrameUnits::Rows) => Ok(Self::Running { peers: false }),
            (.., units) => Err(frames(&units.to_string())),
        }
    }
}

fn frames(units: &str) -> String {
    format!("{units} frames other than UNBOUNDED PRECEDING to the current row")
}

/// What the engine lacks of a frame as it is written.
pub(super) fn lack_of_frame(frame: &ast::WindowFrame) -> Option<String> {
    use ast::WindowFrameBound as Bound;
    let first = matches!(frame.start_bound, Bound::Preceding(None));
    let end = matches!(frame.end_bound, None | Some(Bound::CurrentRow | Bound::Following(None)));
    let units = frame.units != ast::WindowFrameUnits::Groups;
    (!(first && end && units)).then(|| frames(&frame.units.to_string()))
}

fn runs(kind: Aggregated) -> bool {
    use Aggregated::{Count, Greatest, Least, Mean, Rows, Sum};
    matches!(kind, Rows | Count | Sum | Mean | Least | Greatest)
}

/// Whether the least and greatest values of the argument's type can be carried on.
fn carries(measure: &Measure, schema: &DFSchema) -> bool {
    let kind = measure.argument.as_ref().and_then(|argument| argument.get_type(schema).ok());
    let ordered = matches!(measure.kind, Aggregated::Least | Aggregated::Greatest);
    !ordered || kind.is_some_and(|kind| kind.is_numeric() || kind.is_temporal())
}

/// A node of window functions.
///
/// # Errors
/// As [`Scope::scalar`]; a usage error for what the engine lacks.
pub(super) fn window(input: Frame, node: &Window, scope: &Scope, fresh: &mut Fresh) -> Result<Frame> {
    let schema = node.input.schema();
    let mut names = input.names.clone();
    let mut lazy = input.lazy.clone();
    for (index, expr) in node.window_expr.iter().enumerate() {
        let lacking = |lack: Lack| Error::usage(lack.what);
        let kind = Kind::of(expr, schema).map_err(lacking)?;
        let params = &parts(expr).map_err(lacking)?.params;
        let output = node.schema.field(input.names.len() + index);
        let mut step = Step { lazy, names: input.names(schema), witness: &input.witness, scope, fresh };
        let value = step.value(&kind, params)?;
        let Step { lazy: done, .. } = step;
        let name = fresh.name(output.name());
        lazy = done.with_columns([typed(value, output.data_type())?.alias(name.clone())]);
        names.push(name);
    }
    Ok(Frame::new(lazy, names, &input.witness))
}

/// One window function in the making.
struct Step<'a> {
    lazy: pl::LazyFrame,
    names: Names<'a>,
    witness: &'a pl::PlSmallStr,
    scope: &'a Scope,
    fresh: &'a mut Fresh,
}

impl Step<'_> {
    fn value(&mut self, kind: &Kind, params: &WindowFunctionParams) -> Result<pl::Expr> {
        let partition = self.columns(&params.partition_by)?;
        let order = self.columns(params.order_by.iter().map(|sort| &sort.expr))?;
        if !order.is_empty() && !matches!(kind, Kind::Whole(_)) {
            let by: Vec<pl::Expr> = order.iter().map(|name| col(name.clone())).collect();
            self.lazy = self.lazy.clone().sort_by_exprs(by, sorting(&params.order_by));
        }
        let peers: Vec<pl::PlSmallStr> = partition.iter().chain(&order).cloned().collect();
        match kind {
            Kind::Whole(measure) => {
                let argument = self.columns(&measure.argument)?;
                over(measure.over(argument.first().unwrap_or(self.witness), &[]), &partition)
            }
            Kind::Running { measure, peers: with_peers } => {
                let running = self.running(measure, &partition)?;
                if *with_peers { over(col(running).last(), &peers) } else { Ok(col(running)) }
            }
            Kind::RowNumber => Ok(col(self.number(&partition)?)),
            Kind::Rank => {
                let number = self.number(&partition)?;
                over(col(number).min(), &peers)
            }
            Kind::DenseRank => {
                let number = self.number(&partition)?;
                let first = over(col(number.clone()).min(), &peers)?.eq(col(number));
                let first = self.add(first.cast(pl::DataType::Int64));
                over(col(first).cum_sum(false), &partition)
            }
            Kind::Shifted { argument, rows, default } => {
                let argument = self.columns([argument])?.remove(0);
                let shifted = match default.is_null() {
                    true => col(argument).shift(lit(*rows)),
                    false => col(argument).shift_and_fill(lit(*rows), literal(default)?),
                };
                over(shifted, &partition)
            }
        }
    }

    fn columns<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) -> Result<Vec<pl::PlSmallStr>> {
        let (lazy, columns) = with_columns(self.lazy.clone(), &self.names, exprs, self.scope, self.fresh)?;
        self.lazy = lazy;
        Ok(columns)
    }

    /// A column of its own.
    fn add(&mut self, value: pl::Expr) -> pl::PlSmallStr {
        let name = self.fresh.name("step");
        self.lazy = self.lazy.clone().with_columns([value.alias(name.clone())]);
        name
    }

    /// The number of each row in its partition.
    fn number(&mut self, partition: &[pl::PlSmallStr]) -> Result<pl::PlSmallStr> {
        let one = self.add(lit(1_i64));
        let number = over(col(one).cum_sum(false), partition)?;
        Ok(self.add(number))
    }

    /// An aggregate of the rows up to the current one.
    fn running(&mut self, measure: &Measure, partition: &[pl::PlSmallStr]) -> Result<pl::PlSmallStr> {
        if measure.kind == Aggregated::Rows {
            return self.number(partition);
        }
        let column = self.columns(&measure.argument)?.remove(0);
        let present = self.add(col(column.clone()).is_not_null().cast(pl::DataType::Int64));
        let count = self.add(over(col(present).cum_sum(false), partition)?);
        if measure.kind == Aggregated::Count {
            return Ok(count);
        }
        let some = |value: pl::Expr| pl::when(col(count.clone()).gt(lit(0_i64))).then(value).otherwise(lit(pl::NULL));
        let value = match measure.kind {
            Aggregated::Sum | Aggregated::Mean => {
                // A zero of the column's own type: beside one of another, whole numbers without sign become floats.
                let filled = self.add(col(column).fill_null_with_strategy(pl::FillNullStrategy::Zero));
                let sum = self.add(over(col(filled).cum_sum(false), partition)?);
                let count = col(count.clone()).cast(pl::DataType::Float64);
                some(if measure.kind == Aggregated::Sum { col(sum) } else { col(sum) / count })
            }
            kind => return self.extreme(column, measure.is_float, kind == Aggregated::Greatest, partition),
        };
        Ok(self.add(value))
    }

    /// The least or greatest value up to the current row. NaN is the greatest of floats; Polars passes over it.
    fn extreme(
        &mut self,
        column: pl::PlSmallStr,
        is_float: bool,
        greatest: bool,
        partition: &[pl::PlSmallStr],
    ) -> Result<pl::PlSmallStr> {
        let running = |name: pl::PlSmallStr| if greatest { col(name).cum_max(false) } else { col(name).cum_min(false) };
        let carried = pl::FillNullStrategy::Forward(None);
        if !is_float {
            let extreme = self.add(over(running(column), partition)?);
            let carried = over(col(extreme).fill_null_with_strategy(carried), partition)?;
            return Ok(self.add(carried));
        }
        let nan = self.add(col(column.clone()).is_nan().fill_null(lit(false)).cast(pl::DataType::Int64));
        let nans = self.add(over(col(nan.clone()).cum_sum(false), partition)?);
        let number = self.add(pl::when(col(nan).eq(lit(0_i64))).then(col(column)).otherwise(lit(pl::NULL)));
        let extreme = self.add(over(running(number), partition)?);
        let extreme = self.add(over(col(extreme).fill_null_with_strategy(carried), partition)?);
        let is_nan = col(nans).gt(lit(0_i64));
        let is_nan = if greatest { is_nan } else { is_nan.and(col(extreme.clone()).is_null()) };
        Ok(self.add(pl::when(is_nan).then(lit(f64::NAN)).otherwise(col(extreme))))
    }
}

/// `value` within each partition.
fn over(value: pl::Expr, partition: &[pl::PlSmallStr]) -> Result<pl::Expr> {
    if partition.is_empty() {
        return Ok(value);
    }
    let by: Vec<pl::Expr> = partition.iter().map(|name| col(name.clone())).collect();
    value.over(by).map_err(|error| Error::failed("polars cannot make the window").because(error.to_string()))
}
