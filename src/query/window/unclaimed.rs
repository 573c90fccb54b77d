//! What DataFusion says of the order of a window's results, taken back.
//!
//! Of counts and extremes it says (55.2) that they come sorted: where frames only grow or only shrink, and where the
//! argument is sorted and frames slide. But a count goes down again at NULLs and in gaps of the keys, and the largest of
//! no value is NULL, which may come first. A sort above is then left out, while planning or when it runs: rows come in no
//! order, or with a LIMIT others come. So the columns of such windows go through a function that gives back its argument,
//! and of whose result no order is known.

use crate::query::opaque::opaque;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, SetMonotonicity, Window, WindowFunctionDefinition};
use std::sync::Arc;

/// The plan, in which nobody but another window sees the result of a window that DataFusion takes for sorted; and
/// neither does a window that reads it.
///
/// # Errors
/// None of its own; as walking over a plan may fail.
pub(in crate::query) fn unclaimed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        // Windows right above each other stay so, to be one operator.
        let reads = match &node {
            LogicalPlan::Window(window) => Some(columns_of(window)),
            _ => None,
        };
        node.map_children(|child| {
            let claimed = claimed(&child);
            let is_seen = |name: &String| reads.as_ref().is_none_or(|reads| reads.contains(name));
            Ok(match claimed.iter().any(is_seen) {
                true => Transformed::yes(covered(child, &claimed)?),
                false => Transformed::no(child),
            })
        })
    });
    let plan = plan.data()?;
    let claimed = claimed(&plan);
    if claimed.is_empty() { Ok(plan) } else { covered(plan, &claimed) }
}

/// The names of all columns that the expressions of a window read.
fn columns_of(window: &Window) -> Vec<String> {
    let columns = window.window_expr.iter().flat_map(Expr::column_refs);
    columns.map(|column| column.name.clone()).collect()
}

/// The names of the columns of this window, and of those right below it, that DataFusion may take for sorted.
fn claimed(plan: &LogicalPlan) -> Vec<String> {
    let LogicalPlan::Window(Window { input, window_expr, schema }) = plan else { return Vec::new() };
    let mut names = claimed(input);
    let own = schema.fields().iter().skip(input.schema().fields().len());
    let own = own.zip(window_expr).filter(|(field, expr)| is_claimed(expr, field.data_type()));
    names.extend(own.map(|(field, _)| field.name().clone()));
    names
}

fn is_claimed(expr: &Expr, result: &DataType) -> bool {
    match expr {
        Expr::Alias(alias) => is_claimed(&alias.expr, result),
        Expr::WindowFunction(window) => match &window.fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                function.inner().set_monotonicity(result) != SetMonotonicity::NotMonotonic
            }
            WindowFunctionDefinition::WindowUDF(_) => false,
        },
        _ => false,
    }
}

/// The same columns of which no order is known, as far as they were claimed to have one.
fn covered(window: LogicalPlan, claimed: &[String]) -> Result<LogicalPlan> {
    let schema = Arc::clone(window.schema());
    let column = |(relation, field): (Option<&_>, &FieldRef)| {
        let column = Expr::Column(Column::from((relation, field)));
        match relation.is_none() && claimed.contains(field.name()) {
            true => opaque(column).alias(field.name()),
            false => column,
        }
    };
    let columns = schema.iter().map(column).collect();
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(window), schema)?))
}
