//! Feature SQL: exactly one SELECT, with `$name` placeholders, the same for training and scoring.
//!
//! Refused by name: everything that is not a SELECT (CREATE, DROP, INSERT, UPDATE, DELETE, COPY, SET,
//! EXPLAIN ...), several statements, and functions that read the clock or roll dice (`now()`,
//! `current_date`, `random()`, `uuid()`): the same interval must give the same rows on every try.
//!
//! Names are case-sensitive and stand as they are written, `Carrier` and `carrier` are two columns,
//! and quotes are needed only for names with other characters than letters, digits and `_`.
//! Function names and keywords may be written in any case.

use super::diagnostic::{SqlDiagnostic, Subject, find_name, suggestion};
use super::parameters::Parameters;
use crate::error::{Error, Result};
use crate::tables::errors::from_datafusion;
use datafusion::sql::parser::{DFParser, DFParserBuilder, Statement as AnyStatement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, Query, Select, SetExpr, Spanned, Statement, Value as SqlValue, ValueWithSpan, Visit, VisitMut,
    Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::Span;
use std::ops::ControlFlow;

/// Functions whose result depends on when the query runs.
const CLOCK: &[&str] =
    &["now", "current_timestamp", "current_date", "current_time", "today", "localtime", "localtimestamp"];

/// Functions that give another result each time.
const DICE: &[&str] = &["random", "rand", "uuid", "gen_random_uuid"];

/// How deep expressions may lie in each other; `a + b + c` is two deep.
const MAX_DEPTH: usize = 500;

/// The longest text that is parsed.
const MAX_BYTES: usize = 1 << 20;

/// Enough for the deepest tree that a text of [`MAX_BYTES`] can give; only touched pages count.
const STACK_BYTES: usize = 1 << 30;

/// One parsed SELECT.
#[derive(Debug, Clone)]
pub struct FeatureSql {
    file: String,
    text: String,
    statement: Statement,
    placeholders: Vec<(String, Span)>,
}

impl FeatureSql {
    /// Parses `text`; `file` is the name that diagnostics show.
    ///
    /// # Errors
    /// Where it does not parse, is not exactly one SELECT, or depends on the clock or on chance.
    pub fn parse(text: &str, file: &str) -> Result<Self, SqlDiagnostic> {
        let parsed = Self::parse_any(text, file)?;
        match parsed.statement.visit(&mut Repeatable { sql: &parsed }) {
            ControlFlow::Break(diagnostic) => Err(diagnostic),
            ControlFlow::Continue(()) => Ok(parsed),
        }
    }

    /// As [`Self::parse`], but the clock and chance are allowed: for ad hoc queries.
    pub(super) fn parse_any(text: &str, file: &str) -> Result<Self, SqlDiagnostic> {
        let statement = on_deep_stack(text, file, || one_select(text, file))?;
        let mut sql = Self { file: file.to_owned(), text: text.to_owned(), statement, placeholders: Vec::new() };
        let mut found = Placeholders::default();
        let _ = sql.statement.visit(&mut found);
        if let Some((name, span)) = found.0.iter().find(|(name, _)| !is_name(name)) {
            let message = format!("a placeholder has a name, `{name}` has none");
            return Err(sql
                .problem(Some(*span), message)
                .hint("write $interval_start, or $name with the name under [vars]"));
        }
        sql.placeholders = found.0.into_iter().map(|(name, span)| (name[1..].to_owned(), span)).collect();
        Ok(sql)
    }

    /// The file's name as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The statement without comments and with uniform white space: what a fingerprint is made of.
    pub fn normalized(&self) -> String {
        self.statement.to_string()
    }

    /// The names of the placeholders, without `$`, each once, in the order of the text.
    pub fn placeholders(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in &self.placeholders {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Whether the rows come out in an order that the text asks for.
    pub fn is_ordered(&self) -> bool {
        matches!(&self.statement, Statement::Query(query) if query.order_by.is_some())
    }

    /// Whether the text uses `$interval_start` or `$interval_end`.
    pub fn uses_interval(&self) -> bool {
        self.placeholders.iter().any(|(name, _)| name == "interval_start" || name == "interval_end")
    }

    /// Every placeholder that `known` does not name.
    pub fn unknown_placeholders(&self, known: &Parameters) -> Vec<SqlDiagnostic> {
        let names: Vec<&str> = known.names().collect();
        self.placeholders
            .iter()
            .filter(|(name, _)| known.get(name).is_none())
            .map(|(name, span)| {
                self.problem(Some(*span), format!("unknown parameter `${name}`")).hint(suggestion(
                    name,
                    &names,
                    "parameters",
                ))
            })
            .collect()
    }

    /// The tables that the text reads, without those that it defines by WITH, in alphabetical order.
    ///
    /// # Errors
    /// Where a name has too many parts.
    pub fn tables(&self) -> Result<Vec<String>> {
        tables_of(&self.statement)
    }

    /// Every table that the text reads and `known` does not name.
    pub fn unknown_tables(&self, known: &[&str]) -> Vec<SqlDiagnostic> {
        let tables = self.tables().unwrap_or_default();
        tables
            .iter()
            .filter(|name| !known.contains(&name.as_str()))
            .map(|name| {
                self.problem(find_name(&self.statement, name), format!("unknown table `{name}`"))
                    .hint(suggestion(name, known, "tables"))
            })
            .collect()
    }

    /// The statement with every placeholder replaced by a literal of the value's type.
    ///
    /// # Errors
    /// Where a placeholder has no value.
    pub fn bind(&self, parameters: &Parameters) -> Result<Statement> {
        if let Some(unknown) = self.unknown_placeholders(parameters).into_iter().next() {
            return Err(unknown.into());
        }
        let mut bound = self.statement.clone();
        match VisitMut::visit(&mut bound, &mut Binder { parameters }) {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(bound),
        }
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.statement
    }

    pub(super) fn problem(&self, span: Option<Span>, message: impl Into<String>) -> SqlDiagnostic {
        SqlDiagnostic::new(&self.file, &self.text, span, message)
    }
}

/// The tables that a statement names, without those that it defines by WITH.
pub(super) fn tables_of(statement: &Statement) -> Result<Vec<String>> {
    let statement = AnyStatement::Statement(Box::new(statement.clone()));
    let (tables, _) = resolve_table_references(&statement, false).map_err(from_datafusion)?;
    Ok(tables.iter().map(|table| table.table().to_owned()).collect())
}

fn one_select(text: &str, file: &str) -> Result<Statement, SqlDiagnostic> {
    let subject = Subject { file, text, statement: None, tables: &[], functions: &[] };
    let parsed = DFParserBuilder::new(text)
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| subject.diagnostic(&error))?;
    if let Some(refused) = parsed.iter().find(|statement| !is_query(statement)) {
        return Err(refusal(refused, text, file));
    }
    let several = parsed.len();
    let mut queries = parsed.into_iter().filter_map(|statement| match statement {
        AnyStatement::Statement(statement) => Some(*statement),
        _ => None,
    });
    let (Some(first), second) = (queries.next(), queries.next()) else {
        return Err(SqlDiagnostic::new(file, text, None, "there is no statement").hint("write one SELECT"));
    };
    if let Some(second) = second {
        let message = format!("{several} statements where one SELECT is expected");
        return Err(SqlDiagnostic::new(file, text, Some(second.span()), message).hint("use WITH to build on a query"));
    }
    let mut depth = Depth::default();
    let _ = first.visit(&mut depth);
    if depth.deepest > MAX_DEPTH {
        let message = format!("an expression is nested {} levels deep, {MAX_DEPTH} are allowed", depth.deepest);
        let hint = "write IN (...) for a chain of OR, or build intermediate columns by WITH";
        return Err(SqlDiagnostic::new(file, text, None, message).hint(hint));
    }
    match first.visit(&mut ReadOnly { file, text }) {
        ControlFlow::Break(diagnostic) => Err(diagnostic),
        ControlFlow::Continue(()) => Ok(first),
    }
}

/// The statement of `EXPLAIN SELECT ...` and the text of its SELECT, or `None` where the text is no EXPLAIN.
pub(super) fn explain(text: &str, file: &str) -> Result<Option<(AnyStatement, String)>, SqlDiagnostic> {
    on_deep_stack(text, file, || {
        let Ok(mut all) = DFParser::parse_sql(text) else { return Ok(None) };
        let (Some(AnyStatement::Explain(found)), 1) = (all.front(), all.len()) else { return Ok(None) };
        let inner = found.statement.to_string();
        // Refuses what would be too deep to be handled outside of this thread.
        one_select(&inner, file)?;
        Ok(all.pop_front().map(|statement| (statement, inner)))
    })
}

/// Runs `parse` where a chain of a hundred thousand operators does not overflow the stack: such a tree
/// is printed, copied and dropped by recursion. What comes out is at most [`MAX_DEPTH`] deep.
fn on_deep_stack<T: Send>(
    text: &str,
    file: &str,
    parse: impl FnOnce() -> Result<T, SqlDiagnostic> + Send,
) -> Result<T, SqlDiagnostic> {
    if text.len() > MAX_BYTES {
        return Err(SqlDiagnostic::new(file, "", None, format!("the SQL is longer than {MAX_BYTES} bytes")));
    }
    let problem = |what: String| SqlDiagnostic::new(file, text, None, what);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, parse);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(problem("the SQL cannot be parsed".to_owned())),
            Err(error) => {
                let room = "let the process have 1 GiB of address space (`ulimit -v`) and a thread more (`ulimit -u`)";
                Err(problem(format!("no thread could be started to parse it: {error}")).hint(room))
            }
        }
    })
}

/// Counts how deep expressions lie in each other.
#[derive(Default)]
struct Depth {
    now: usize,
    deepest: usize,
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.now += 1;
        self.deepest = self.deepest.max(self.now);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.now -= 1;
        ControlFlow::Continue(())
    }
}

fn is_query(statement: &AnyStatement) -> bool {
    matches!(statement, AnyStatement::Statement(inner) if matches!(inner.as_ref(), Statement::Query(_)))
}

/// Refuses a statement under the name with which it starts.
fn refusal(statement: &AnyStatement, text: &str, file: &str) -> SqlDiagnostic {
    let span = match statement {
        AnyStatement::Statement(inner) => Some(inner.span()),
        _ => None,
    };
    refused(&statement.to_string(), text, file, span)
}

fn refused(printed: &str, text: &str, file: &str, span: Option<Span>) -> SqlDiagnostic {
    const SECOND: &[&str] = &["TABLE", "VIEW", "EXTERNAL", "SCHEMA", "DATABASE", "FUNCTION", "INDEX", "INTO"];
    let mut words = printed.split_whitespace();
    let first = words.next().unwrap_or("this statement").to_uppercase();
    let name = match words.next().map(str::to_uppercase).filter(|word| SECOND.contains(&word.as_str())) {
        Some(second) => format!("{first} {second}"),
        None => first.clone(),
    };
    let span = span.filter(|span| span.start.line > 0).or_else(|| find_word(text, &first));
    SqlDiagnostic::new(file, text, span, format!("{name} is not allowed: the SQL is one SELECT that only reads"))
        .hint("remove it; tables are named in the job file, results are written by lakemill")
}

/// Where `word` first stands at the start of a line or after a semicolon.
fn find_word(text: &str, word: &str) -> Option<Span> {
    use datafusion::sql::sqlparser::tokenizer::Location;
    for (number, line) in text.lines().enumerate() {
        let upper = line.to_uppercase();
        let Some(byte) = upper.find(word) else { continue };
        let before = &upper[..byte];
        if before.trim().is_empty() || before.trim_end().ends_with(';') {
            let (line, column) = (number as u64 + 1, before.chars().count() as u64 + 1);
            let end = column + word.chars().count() as u64;
            return Some(Span::new(Location { line, column }, Location { line, column: end }));
        }
    }
    None
}

/// Breaks at anything that writes although it stands inside a query.
struct ReadOnly<'a> {
    file: &'a str,
    text: &'a str,
}

impl Visitor for ReadOnly<'_> {
    type Break = SqlDiagnostic;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlDiagnostic> {
        let writes = match query.body.as_ref() {
            SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner) | SetExpr::Merge(inner) => {
                Some(inner)
            }
            _ => None,
        };
        if let Some(inner) = writes {
            return ControlFlow::Break(refused(&inner.to_string(), self.text, self.file, Some(inner.span())));
        }
        if !query.locks.is_empty() {
            return ControlFlow::Break(refused("FOR UPDATE", self.text, self.file, None));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlDiagnostic> {
        match &select.into {
            Some(_) => {
                ControlFlow::Break(refused("SELECT INTO", self.text, self.file, Some(select.select_token.0.span)))
            }
            None => ControlFlow::Continue(()),
        }
    }
}

/// Breaks at a function that does not give the same result on every try.
struct Repeatable<'a> {
    sql: &'a FeatureSql,
}

impl Visitor for Repeatable<'_> {
    type Break = SqlDiagnostic;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlDiagnostic> {
        let Expr::Function(Function { name, .. }) = expr else { return ControlFlow::Continue(()) };
        let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else { return ControlFlow::Continue(()) };
        let lower = ident.value.to_lowercase();
        let reason = match (CLOCK.contains(&lower.as_str()), DICE.contains(&lower.as_str())) {
            (true, _) => ("reads the clock", "use $interval_start or $interval_end: a replay must give the same rows"),
            (_, true) => ("gives another result each time", "derive the value from a key, for example by md5(key)"),
            _ => return ControlFlow::Continue(()),
        };
        let message = format!("`{}` is not allowed in feature SQL: it {}", ident.value, reason.0);
        ControlFlow::Break(self.sql.problem(Some(ident.span), message).hint(reason.1))
    }
}

/// Collects `$name` with its place.
#[derive(Default)]
struct Placeholders(Vec<(String, Span)>);

impl Visitor for Placeholders {
    type Break = ();

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        if let SqlValue::Placeholder(name) = &value.value {
            self.0.push((name.clone(), value.span));
        }
        ControlFlow::Continue(())
    }
}

fn is_name(placeholder: &str) -> bool {
    let Some(name) = placeholder.strip_prefix('$') else { return false };
    name.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

/// Puts literals in the place of placeholders.
struct Binder<'a> {
    parameters: &'a Parameters,
}

impl VisitorMut for Binder<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Value(ValueWithSpan { value: SqlValue::Placeholder(name), .. }) = expr else {
            return ControlFlow::Continue(());
        };
        let Some(value) = self.parameters.get(name.trim_start_matches('$')) else { return ControlFlow::Continue(()) };
        match value.literal() {
            Ok(literal) => *expr = literal,
            Err(error) => return ControlFlow::Break(error.with("parameter", name)),
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::Volatility;
    use datafusion::prelude::SessionContext;

    /// A function that DataFusion gains in an upgrade must not make a replay another run.
    #[test]
    fn whatever_is_not_the_same_each_time_is_refused_by_name() {
        // Tell where a row lies in the files of a version, which stay as they are.
        const OF_FILES: &[&str] = &["input_file_name", "file_row_index"];
        let state = SessionContext::new().state();
        let mut missing = Vec::new();
        for (name, function) in state.scalar_functions() {
            let volatility = function.signature().volatility;
            let is_known = [CLOCK, DICE, OF_FILES].iter().any(|names| names.contains(&name.as_str()));
            if volatility != Volatility::Immutable && !is_known {
                missing.push((name, volatility));
            }
        }
        assert!(missing.is_empty(), "neither in CLOCK nor in DICE: {missing:?}");
        for name in ["now", "random", "uuid"] {
            assert!(state.scalar_functions().contains_key(name), "{name}: the lists have lost their edge");
        }
    }
}
