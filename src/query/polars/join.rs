//! Joins.
//!
//! Polars has no semi, anti or mark joins here: the keys of the other side, each once, are joined with a mark.

use super::aggregate::with_columns;
use super::expr::Scope;
use super::frame::{Frame, Fresh};
use super::lacks::Lack;
use crate::error::{Error, Result};
use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, Join};
use polars::prelude as pl;
use polars::prelude::col;

/// What the engine lacks of a join.
pub(super) fn lack(node: &Join) -> Option<Lack> {
    if node.null_aware {
        return Some(Lack::nowhere("NOT IN (SELECT ...) of columns that may be NULL; write NOT EXISTS"));
    }
    let one_sided = node.filter.as_ref().is_none_or(|filter| own_filter(node, filter));
    match node.join_type {
        JoinType::Inner => None,
        _ if node.on.is_empty() => Some(Lack::nowhere(format!("a {} join without equal keys", words(node.join_type)))),
        _ if one_sided => None,
        kind => Some(Lack::nowhere(format!(
            "a {} join that compares columns of both sides by anything but equality",
            words(kind)
        ))),
    }
}

fn words(kind: JoinType) -> &'static str {
    match kind {
        JoinType::Inner => "inner",
        JoinType::Left | JoinType::Right => "left or right",
        JoinType::Full => "full",
        JoinType::LeftSemi | JoinType::RightSemi => "semi (IN, EXISTS)",
        JoinType::LeftAnti | JoinType::RightAnti => "anti (NOT EXISTS)",
        JoinType::LeftMark | JoinType::RightMark => "mark (IN, EXISTS as a value)",
    }
}

/// Whether a condition names columns of one side only: then a row of that side for which it does not hold is one
/// whose key equals nothing. That needs keys of which NULL equals nothing.
fn own_filter(node: &Join, filter: &Expr) -> bool {
    let columns = filter.column_refs();
    let of = |side: &datafusion::common::DFSchema| columns.iter().all(|column| side.has_column(column));
    node.null_equality == NullEquality::NullEqualsNothing && (of(node.left.schema()) || of(node.right.schema()))
}

/// A join of two frames.
///
/// # Errors
/// As [`Scope::scalar`]; a usage error for what the engine lacks.
pub(super) fn join(left: Frame, right: Frame, node: &Join, scope: &Scope, fresh: &mut Fresh) -> Result<Frame> {
    if let Some(lack) = lack(node) {
        return Err(Error::usage(lack.what));
    }
    let (left_keys, right_keys): (Vec<Expr>, Vec<Expr>) = node.on.iter().cloned().unzip();
    let names = left.names.iter().chain(&right.names).cloned().collect::<Vec<_>>();
    if node.join_type == JoinType::Inner && node.on.is_empty() {
        let crossed = Frame::new(left.lazy.cross_join(right.lazy, None), names, &left.witness);
        return filtered(crossed, node, scope);
    }
    // A condition of one side of an outer join goes into that side's keys.
    let of_left = |filter: &Expr| filter.column_refs().iter().all(|column| node.left.schema().has_column(column));
    let own = node.filter.as_ref().filter(|_| node.join_type != JoinType::Inner);
    let (left_only, right_only) = (own.filter(|filter| of_left(filter)), own.filter(|filter| !of_left(filter)));
    let left_names = left.names(node.left.schema());
    let (left_lazy, left_on) = keys(left.lazy.clone(), &left_names, &left_keys, left_only, scope, fresh)?;
    let right_names = right.names(node.right.schema());
    let (right_lazy, right_on) = keys(right.lazy.clone(), &right_names, &right_keys, right_only, scope, fresh)?;
    let nulls_equal = node.null_equality == NullEquality::NullEqualsNull;
    let made = |one: pl::LazyFrame, other: pl::LazyFrame, on: &[pl::PlSmallStr], other_on: &[pl::PlSmallStr], how| {
        let columns = |names: &[pl::PlSmallStr]| names.iter().map(|name| col(name.clone())).collect::<Vec<_>>();
        let builder = one.join_builder().with(other).left_on(columns(on)).right_on(columns(other_on)).how(how);
        builder.join_nulls(nulls_equal).coalesce(pl::JoinCoalesce::KeepColumns).finish()
    };
    let mut marked = |one: pl::LazyFrame, on: &[pl::PlSmallStr], other: pl::LazyFrame, other_on: &[pl::PlSmallStr]| {
        let mark = fresh.name("mark");
        let mut once: Vec<pl::PlSmallStr> = Vec::new();
        let mut keys = Vec::new();
        // The same column may be two keys.
        for key in other_on {
            let name = fresh.name("key");
            keys.push(col(key.clone()).alias(name.clone()));
            once.push(name);
        }
        let by: Vec<pl::Expr> = once.iter().map(|name| col(name.clone())).collect();
        let other = other.select(keys).group_by(by).agg([pl::len().alias(mark.clone())]);
        (made(one, other, on, &once, pl::JoinType::Left), mark)
    };
    let whole = |lazy| Frame::new(lazy, names.clone(), &left.witness);
    let frame = match node.join_type {
        JoinType::Inner => whole(made(left_lazy, right_lazy, &left_on, &right_on, pl::JoinType::Inner)),
        JoinType::Left => whole(made(left_lazy, right_lazy, &left_on, &right_on, pl::JoinType::Left)),
        JoinType::Right => whole(made(right_lazy, left_lazy, &right_on, &left_on, pl::JoinType::Left)),
        JoinType::Full => whole(made(left_lazy, right_lazy, &left_on, &right_on, pl::JoinType::Full)),
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            let (lazy, mark) = marked(left_lazy, &left_on, right_lazy, &right_on);
            kept(left.clone().with(lazy), mark, node.join_type)
        }
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            let (lazy, mark) = marked(right_lazy, &right_on, left_lazy, &left_on);
            kept(right.clone().with(lazy), mark, node.join_type)
        }
    };
    if node.join_type == JoinType::Inner { filtered(frame, node, scope) } else { Ok(frame) }
}

/// The rows of one side by whether they found a partner.
fn kept(side: Frame, mark: pl::PlSmallStr, kind: JoinType) -> Frame {
    let Frame { lazy, mut names, witness } = side;
    let lazy = match kind {
        JoinType::LeftSemi | JoinType::RightSemi => lazy.filter(col(mark).is_not_null()),
        JoinType::LeftAnti | JoinType::RightAnti => lazy.filter(col(mark).is_null()),
        _ => {
            names.push(mark.clone());
            lazy.with_columns([col(mark.clone()).is_not_null().alias(mark)])
        }
    };
    Frame { lazy, names, witness }
}

/// The rest of an inner join's condition.
fn filtered(frame: Frame, node: &Join, scope: &Scope) -> Result<Frame> {
    let Some(filter) = conjunction(node.filter.clone()) else { return Ok(frame) };
    let condition = scope.condition(&filter, &frame.names(&node.schema))?;
    let lazy = frame.lazy.clone().filter(condition);
    Ok(frame.with(lazy))
}

/// The keys of one side as columns; NULL where `only` does not hold.
fn keys(
    lazy: pl::LazyFrame,
    names: &super::frame::Names<'_>,
    exprs: &[Expr],
    only: Option<&Expr>,
    scope: &Scope,
    fresh: &mut Fresh,
) -> Result<(pl::LazyFrame, Vec<pl::PlSmallStr>)> {
    let (mut lazy, mut columns) = with_columns(lazy, names, exprs, scope, fresh)?;
    if let (Some(only), Some(first)) = (only, columns.first_mut()) {
        let name = fresh.name("key");
        let key = pl::when(scope.condition(only, names)?).then(col(first.clone())).otherwise(pl::lit(pl::NULL));
        lazy = lazy.with_columns([key.alias(name.clone())]);
        *first = name;
    }
    Ok((lazy, columns))
}
