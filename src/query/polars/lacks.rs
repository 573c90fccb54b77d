//! What a query uses and the Polars engine lacks, by name and place, found from its plan alone.

use super::aggregate::Measure;
use super::types::held;
use super::{join, window};
use crate::query::diagnostic::{SqlDiagnostic, find_name};
use crate::query::sql::FeatureSql;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Function, FunctionArguments, Spanned, Statement, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::ops::ControlFlow;

/// One construct that the engine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// What it is: a fragment that follows "the polars engine lacks".
    pub(super) what: String,
    /// Where to look for it in the text.
    pub(super) place: Place,
}

/// What in the text a construct is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// A call of this function; with a window, if that is said.
    Function { name: String, windowed: bool },
    /// A column of this name.
    Column(String),
    /// A subquery as a value.
    Subquery,
    /// Nothing in particular.
    Nowhere,
}

impl Lack {
    pub(super) fn nowhere(what: impl Into<String>) -> Self {
        Self { what: what.into(), place: Place::Nowhere }
    }

    pub(super) fn function(what: impl Into<String>, name: &str, windowed: bool) -> Self {
        Self { what: what.into(), place: Place::Function { name: name.to_owned(), windowed } }
    }

    /// The lack as a mistake of the SQL.
    pub(super) fn told(&self, sql: &FeatureSql) -> SqlDiagnostic {
        let span = match &self.place {
            Place::Function { name, windowed } => find_function(sql.statement(), name, *windowed),
            Place::Column(name) => find_name(sql.statement(), name),
            Place::Subquery => find_subquery(sql.statement()),
            Place::Nowhere => None,
        };
        sql.problem(span, format!("the polars engine lacks {}", self.what)).hint(super::HINT)
    }
}

/// Everything that the engine lacks of what the optimised plan needs, each once.
pub(super) fn lacks(plan: &LogicalPlan) -> Vec<Lack> {
    let mut found = Vec::new();
    // The closure never fails.
    let _ = plan.apply(|node| {
        of_node(node, &mut found);
        for expr in node.expressions() {
            of_expr(&expr, &mut found);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let mut once: Vec<Lack> = Vec::new();
    for lack in found {
        if !once.contains(&lack) {
            once.push(lack);
        }
    }
    once
}

fn of_node(node: &LogicalPlan, found: &mut Vec<Lack>) {
    match node {
        LogicalPlan::TableScan(_) | LogicalPlan::Projection(_) | LogicalPlan::Values(_) => of_types(node, found),
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Repartition(_) => {}
        LogicalPlan::Aggregate(aggregate) => {
            let (keys, measures) = (&aggregate.group_expr, &aggregate.aggr_expr);
            if keys.iter().any(|key| matches!(key, Expr::GroupingSet(_))) {
                found.push(Lack::nowhere("GROUPING SETS, ROLLUP and CUBE"));
            }
            let schema = aggregate.input.schema();
            found.extend(measures.iter().filter_map(|expr| Measure::of(expr, schema).err()));
            of_types(node, found);
        }
        LogicalPlan::Window(windows) => {
            let schema = windows.input.schema();
            found.extend(windows.window_expr.iter().filter_map(|expr| window::Kind::of(expr, schema).err()));
            of_types(node, found);
        }
        LogicalPlan::Join(node) => found.extend(join::lack(node)),
        LogicalPlan::Unnest(_) => found.push(Lack::function("UNNEST", "unnest", false)),
        LogicalPlan::RecursiveQuery(_) => found.push(Lack::nowhere("WITH RECURSIVE")),
        LogicalPlan::Distinct(_) => found.push(Lack::nowhere("DISTINCT ON")),
        other => {
            let name = other.display().to_string();
            found.push(Lack::nowhere(format!("`{}`", name.split([':', ' ']).next().unwrap_or_default())));
        }
    }
}

/// Columns of types that cannot be held.
fn of_types(node: &LogicalPlan, found: &mut Vec<Lack>) {
    for field in node.schema().fields() {
        if held(field.data_type()).is_none() {
            found.push(Lack {
                what: format!("columns of type {} (`{}`)", field.data_type(), field.name()),
                place: Place::Column(field.name().clone()),
            });
        }
    }
}

fn of_expr(expr: &Expr, found: &mut Vec<Lack>) {
    // The closure never fails.
    let _ = expr.apply(|part| {
        match part {
            Expr::ScalarSubquery(_) => found.push(Lack {
                what: "a subquery as a value that does not depend on the row (CROSS JOIN it instead)".to_owned(),
                place: Place::Subquery,
            }),
            Expr::Exists(_) => found.push(Lack::nowhere("this EXISTS")),
            Expr::InSubquery(_) => found.push(Lack::nowhere("this IN (SELECT ...)")),
            Expr::SetComparison(_) => found.push(Lack::nowhere("ANY and ALL of a subquery")),
            Expr::OuterReferenceColumn(_, column) => found.push(Lack {
                what: format!("a subquery that uses `{}` of the query around it", column.name),
                place: Place::Column(column.name.clone()),
            }),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// What of the text alone is known to be lacking, where there are no tables to plan it with: window frames.
pub(super) fn of_text(sql: &FeatureSql) -> Vec<SqlDiagnostic> {
    let mut frames = Frames { sql, named: Vec::new(), found: Vec::new() };
    let _ = sql.statement().visit(&mut frames);
    frames.found
}

/// Finds window frames that the engine lacks.
struct Frames<'a> {
    sql: &'a FeatureSql,
    /// The windows that `WINDOW name AS (...)` defines, innermost SELECT last.
    named: Vec<(String, Option<String>)>,
    found: Vec<SqlDiagnostic>,
}

impl Visitor for Frames<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &datafusion::sql::sqlparser::ast::Select) -> ControlFlow<()> {
        use datafusion::sql::sqlparser::ast::NamedWindowExpr;
        for definition in &select.named_window {
            let lack = match &definition.1 {
                NamedWindowExpr::WindowSpec(spec) => spec.window_frame.as_ref().and_then(window::lack_of_frame),
                NamedWindowExpr::NamedWindow(_) => None,
            };
            self.named.push((definition.0.value.clone(), lack));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        use datafusion::sql::sqlparser::ast::WindowType;
        let SqlExpr::Function(Function { name, over: Some(over), .. }) = expr else { return ControlFlow::Continue(()) };
        let lack = match over {
            WindowType::WindowSpec(spec) => spec.window_frame.as_ref().and_then(window::lack_of_frame),
            WindowType::NamedWindow(window) => {
                self.named.iter().rev().find(|(name, _)| *name == window.value).and_then(|(_, lack)| lack.clone())
            }
        };
        if let Some(what) = lack {
            let span = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.span);
            let told = self.sql.problem(span, format!("the polars engine lacks {what}")).hint(super::HINT);
            self.found.push(told);
        }
        ControlFlow::Continue(())
    }
}

/// Where the first subquery stands that is a value.
fn find_subquery(statement: &Statement) -> Option<Span> {
    struct Find;
    impl Visitor for Find {
        type Break = Span;

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<Span> {
            match expr {
                SqlExpr::Subquery(query) => ControlFlow::Break(query.span()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Find) {
        ControlFlow::Break(span) => Some(span).filter(|span| span.start.line > 0),
        ControlFlow::Continue(()) => None,
    }
}

/// Where a function is first called, with or without a window.
fn find_function(statement: &Statement, name: &str, windowed: bool) -> Option<Span> {
    struct Find<'a>(&'a str, bool);
    impl Visitor for Find<'_> {
        type Break = Span;

        fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<Span> {
            let SqlExpr::Function(function) = expr else { return ControlFlow::Continue(()) };
            let ident = function.name.0.last().and_then(|part| part.as_ident());
            let known = ident.filter(|ident| same_function(&ident.value, self.0));
            match known {
                Some(ident)
                    if function.over.is_some() == self.1
                        && !matches!(function.args, FunctionArguments::Subquery(_)) =>
                {
                    ControlFlow::Break(ident.span)
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Find(name, windowed)) {
        ControlFlow::Break(span) => Some(span).filter(|span| span.start.line > 0),
        ControlFlow::Continue(()) => None,
    }
}

/// Whether a function written as `written` is the one whose own name is `name`.
fn same_function(written: &str, name: &str) -> bool {
    written.eq_ignore_ascii_case(name) || (name == "avg" && written.eq_ignore_ascii_case("mean"))
}
