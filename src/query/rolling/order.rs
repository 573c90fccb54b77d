//! The order in which a query gives its rows, as an order of the columns that it gives.
//!
//! A subquery has no order: its ORDER BY goes to where the rows are numbered.

use super::resolved::Spine;
use crate::error::{Error, Result};
use crate::query::sql::FeatureSql;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByExpr, OrderByKind, Query, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Statement,
    Value,
};

/// What stands in `OVER (...)` of the rows' numbers; nothing for a query without an order.
///
/// # Errors
/// A usage error where the query is ordered by what it does not give.
pub(super) fn of(sql: &FeatureSql, spine: &Spine) -> Result<String> {
    let Statement::Query(query) = sql.statement() else { return Ok(String::new()) };
    let expressions = match query.order_by.as_ref().map(|order| &order.kind) {
        None => return Ok(String::new()),
        Some(OrderByKind::Expressions(expressions)) => expressions,
        Some(OrderByKind::All(_)) => return Err(refused(sql, "ALL")),
    };
    let keys = expressions.iter().map(|key| {
        let column = column(&key.expr, query, spine).ok_or_else(|| refused(sql, &key.expr.to_string()))?;
        Ok(OrderByExpr { expr: Expr::Identifier(Ident::with_quote('"', column)), ..key.clone() }.to_string())
    });
    Ok(format!("ORDER BY {}", keys.collect::<Result<Vec<_>>>()?.join(", ")))
}

/// The column of the result that an expression names, by its name or its place.
fn column(expr: &Expr, query: &Query, spine: &Spine) -> Option<String> {
    let name = match expr {
        Expr::Identifier(name) => &name.value,
        // `t.a` is the table's column, whatever the result calls `a`.
        Expr::CompoundIdentifier(names) => {
            let (name, of) = names.split_last()?;
            Some(&name.value).filter(|name| is_given(name, expr, of.last(), query))?
        }
        Expr::Value(place) => match &place.value {
            Value::Number(place, _) => spine.columns.get(place.parse::<usize>().ok()?.checked_sub(1)?)?.name(),
            _ => return None,
        },
        _ => return None,
    };
    spine.columns.iter().any(|column| column.name() == name).then(|| name.clone())
}

/// Whether the result's column `name` is the table's that `column` names.
fn is_given(name: &str, column: &Expr, qualifier: Option<&Ident>, query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_it = |expr: &Expr| expr == column || matches!(expr, Expr::Identifier(own) if own.value == name);
    select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) => is_it(expr),
        SelectItem::ExprWithAlias { expr, alias } => alias.value == name && is_it(expr),
        SelectItem::Wildcard(_) => true,
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(of), _) => {
            of.0.last().and_then(|part| part.as_ident()) == qualifier
        }
        _ => false,
    })
}

fn refused(sql: &FeatureSql, key: &str) -> Error {
    Error::usage("SQL with declared windows is ordered by columns that it gives, and by nothing else")
        .with("sql", sql.file())
        .with("order", key)
        .hint("give the column a name in the SELECT and order by that, or leave ORDER BY out")
}
