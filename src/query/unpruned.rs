//! Conditions that NaN may meet, kept from those who leave out files by statistics.
//!
//! The least and the greatest value that Parquet and Delta keep of a file or of its parts pass over NaN, and SQL's order
//! has NaN above all numbers: of a file that holds 1 and NaN, `x > 5` finds a row, and its statistics say that there is
//! none. Whether a row came would depend on how rows are spread over files. So in such conditions columns of floating
//! numbers go through a function that gives back its argument, and of which nobody who prunes knows anything. What NaN
//! never meets (`x < 5`, `x = 5`), and all other columns, prune as before.

use super::opaque::opaque;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};

/// The plan with such conditions, in filters and in scans.
///
/// # Errors
/// None of its own; as walking over a plan may fail.
pub(super) fn unpruned(plan: LogicalPlan) -> Result<LogicalPlan> {
    let of_node = |node: LogicalPlan| {
        Ok(match node {
            LogicalPlan::Filter(mut filter) => {
                let predicate = hidden(filter.predicate, filter.input.schema())?;
                filter.predicate = predicate.data;
                changed(LogicalPlan::Filter(filter), predicate.transformed)
            }
            LogicalPlan::TableScan(mut scan) if !scan.filters.is_empty() => {
                let schema = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
                let mut is_changed = false;
                for filter in &mut scan.filters {
                    let found = hidden(std::mem::take(filter), &schema)?;
                    is_changed |= found.transformed;
                    *filter = found.data;
                }
                changed(LogicalPlan::TableScan(scan), is_changed)
            }
            other => Transformed::no(other),
        })
    };
    plan.transform_up_with_subqueries(of_node).data()
}

fn changed<T>(data: T, is_changed: bool) -> Transformed<T> {
    if is_changed { Transformed::yes(data) } else { Transformed::no(data) }
}

/// A condition whose rows are kept where it is true.
fn hidden(condition: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let (left, right) = (hidden(*left, schema)?, hidden(*right, schema)?);
            let is_changed = left.transformed || right.transformed;
            let both = BinaryExpr::new(Box::new(left.data), op, Box::new(right.data));
            Ok(changed(Expr::BinaryExpr(both), is_changed))
        }
        condition if is_never_met_by_nan(&condition) => Ok(Transformed::no(condition)),
        condition => condition.transform_down(|expr| {
            let is_float = matches!(expr, Expr::Column(_)) && expr.get_type(schema)?.is_floating();
            Ok(match is_float {
                true => Transformed::new(opaque(expr), true, TreeNodeRecursion::Jump),
                false => Transformed::no(expr),
            })
        }),
    }
}

/// Whether the condition compares a column with a number in a way that is false for NaN, or asks for NULL.
fn is_never_met_by_nan(condition: &Expr) -> bool {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(_));
    let is_number = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => !value.is_nan(),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => !value.is_nan(),
        Expr::Literal(..) => true,
        _ => false,
    };
    match condition {
        Expr::IsNull(of) | Expr::IsNotNull(of) => is_column(of),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::Lt | Operator::LtEq => is_column(left) && is_number(right),
            Operator::Gt | Operator::GtEq => is_number(left) && is_column(right),
            Operator::Eq => (is_column(left) && is_number(right)) || (is_number(left) && is_column(right)),
            _ => false,
        },
        _ => false,
    }
}
