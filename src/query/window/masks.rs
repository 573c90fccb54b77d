//! FILTER of window aggregates, as a condition of their arguments: `sum(x) FILTER (WHERE c)` is
//! `sum(CASE WHEN c THEN x END)` for every aggregate that passes over NULLs. A physical window does not tell its
//! condition, so this is done before there is one; then it slides as any other.

use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result;
use datafusion::functions_aggregate::{average, count, min_max, stddev, sum, variance};
use datafusion::logical_expr::expr::{Case, WindowFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan, Window, WindowFunctionDefinition};

/// The plan with conditions in the place of filters, under the same names.
///
/// # Errors
/// None of its own; as walking over a plan may fail.
pub(in crate::query) fn masked(plan: LogicalPlan) -> Result<LogicalPlan> {
    let of_window = |plan: LogicalPlan| {
        let names = NamePreserver::new(&plan);
        let LogicalPlan::Window(Window { input, window_expr, schema }) = plan else {
            return Ok(Transformed::no(plan));
        };
        let mut is_masked = false;
        let mut kept = Vec::with_capacity(window_expr.len());
        for expr in window_expr {
            let name = names.save(&expr);
            let expr = of_expr(expr);
            is_masked |= expr.transformed;
            kept.push(name.restore(expr.data));
        }
        let plan = LogicalPlan::Window(Window { input, window_expr: kept, schema });
        Ok(if is_masked { Transformed::yes(plan) } else { Transformed::no(plan) })
    };
    plan.transform_up_with_subqueries(of_window).data()
}

/// A window expression, under its alias if it has one.
fn of_expr(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Alias(mut alias) => {
            let inner = of_expr(*alias.expr);
            alias.expr = Box::new(inner.data);
            Transformed::new(Expr::Alias(alias), inner.transformed, inner.tnr)
        }
        Expr::WindowFunction(function) if passes_over_nulls(&function.fun) => {
            let WindowFunction { fun, mut params } = *function;
            let filter = params.filter.take();
            let is_masked = filter.is_some();
            if let Some(condition) = filter {
                let mask = |argument| Expr::Case(Case::new(None, vec![(condition.clone(), Box::new(argument))], None));
                params.args = std::mem::take(&mut params.args).into_iter().map(mask).collect();
            }
            let expr = Expr::WindowFunction(Box::new(WindowFunction { fun, params }));
            if is_masked { Transformed::yes(expr) } else { Transformed::no(expr) }
        }
        other => Transformed::no(other),
    }
}

/// Whether a value that is none is to the function as if its row were not there.
fn passes_over_nulls(function: &WindowFunctionDefinition) -> bool {
    let WindowFunctionDefinition::AggregateUDF(function) = function else { return false };
    let function = function.inner();
    function.is::<count::Count>()
        || function.is::<sum::Sum>()
        || function.is::<average::Avg>()
        || function.is::<min_max::Min>()
        || function.is::<min_max::Max>()
        || function.is::<stddev::Stddev>()
        || function.is::<stddev::StddevPop>()
        || function.is::<variance::VarianceSample>()
        || function.is::<variance::VariancePopulation>()
}
