//! What is wrong with an SQL text: where, why, and what to do, with the offending line.

use crate::error::{Error, did_you_mean};
use crate::tables::errors::{from_datafusion, plain};
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{Expr, Ident, ObjectName, Statement, Visit, Visitor};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::Span;
use serde::Serialize;
use std::fmt;
use std::ops::ControlFlow;

/// At most this many names are listed in a hint.
const LISTED_NAMES: usize = 20;

/// One mistake in an SQL text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SqlDiagnostic {
    /// The file as the job names it, or `query` for SQL from the command line.
    pub file: String,
    /// Line, from 1, where it is known.
    pub line: Option<u64>,
    /// Column in characters, from 1, where it is known.
    pub column: Option<u64>,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line of the text with a caret under the place.
    pub snippet: Option<Box<str>>,
}

impl SqlDiagnostic {
    /// A mistake at `span` of `text`, or somewhere in it.
    pub(super) fn new(file: &str, text: &str, span: Option<Span>, message: impl Into<String>) -> Self {
        let place = span.filter(|span| span.start.line > 0);
        Self {
            file: file.to_owned(),
            line: place.map(|span| span.start.line),
            column: place.map(|span| span.start.column),
            message: message.into(),
            hint: None,
            snippet: place.and_then(|span| snippet(text, span)).map(String::into_boxed_str),
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn maybe_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// `file:line:column`, as far as it is known.
    pub fn place(&self) -> String {
        match (self.line, self.column) {
            (Some(line), Some(column)) => format!("{}:{line}:{column}", self.file),
            _ => self.file.clone(),
        }
    }
}

/// Several lines: message, place, the text with a caret, hint.
impl fmt::Display for SqlDiagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}\n  --> {}", self.message, self.place())?;
        if let Some(snippet) = &self.snippet {
            write!(out, "\n{snippet}")?;
        }
        if let Some(hint) = &self.hint {
            write!(out, "\n  = hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlDiagnostic {}

/// The excerpt alone, as the reason of a usage error.
#[derive(Debug)]
struct Excerpt(String);

impl fmt::Display for Excerpt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Excerpt {}

/// A usage error: message, `at = file:line:column`, hint; the excerpt is its reason.
impl From<SqlDiagnostic> for Error {
    fn from(diagnostic: SqlDiagnostic) -> Self {
        let mut error = Self::usage(diagnostic.message.clone()).with("at", diagnostic.place());
        if let Some(hint) = diagnostic.hint {
            error = error.hint(hint);
        }
        match diagnostic.snippet {
            Some(snippet) => error.because(Excerpt(snippet.into_string())),
            None => error,
        }
    }
}

/// The line at `span` and a line of carets under it.
fn snippet(text: &str, span: Span) -> Option<String> {
    let line = text.lines().nth(usize::try_from(span.start.line).ok()?.checked_sub(1)?)?;
    let before = usize::try_from(span.start.column).ok()?.checked_sub(1)?;
    let rest = line.chars().count().saturating_sub(before);
    // The end is the last character, or one behind it, depending on the token; a caret at least.
    let width = match span.end.line == span.start.line {
        true => usize::try_from(span.end.column.saturating_sub(span.start.column)).ok()?,
        false => rest,
    };
    // Tabs stay tabs, so that the caret stands where the terminal shows the character.
    let indent: String = line.chars().take(before).map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let number = span.start.line.to_string();
    let margin = " ".repeat(number.len());
    let carets = "^".repeat(width.clamp(1, rest.max(1)));
    Some(format!("{margin} |\n{number} | {line}\n{margin} | {indent}{carets}"))
}

/// Text and statement to which a planning error belongs, and the names that were there to use.
pub(super) struct Subject<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) statement: Option<&'a Statement>,
    pub(super) tables: &'a [String],
    pub(super) functions: &'a [String],
}

impl Subject<'_> {
    /// The error of parsing or planning: with its place where it is one of the SQL, as it is otherwise.
    pub(super) fn error(&self, error: DataFusionError) -> Error {
        match innermost(&error) {
            DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::SQL(..)
            | DataFusionError::NotImplemented(_) => self.diagnostic(&error).into(),
            _ => from_datafusion(error),
        }
    }

    /// The error of parsing or planning as a diagnostic.
    pub(super) fn diagnostic(&self, error: &DataFusionError) -> SqlDiagnostic {
        let span = error.diagnostic().and_then(|found| found.span).map(sql_span);
        match innermost(error) {
            DataFusionError::SQL(parser, _) => self.unparsed(parser),
            DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
                SchemaError::FieldNotFound { field, valid_fields } => self.unknown_column(field, valid_fields, span),
                SchemaError::AmbiguousReference { field } => self
                    .at(span, &field.name, format!("the column `{}` is in several tables", field.name))
                    .hint(format!("write table.{}", field.name)),
                other => self.at(span, "", plain(&other.to_string())),
            },
            root => self.unplanned(&root.message(), error, span),
        }
    }

    fn at(&self, span: Option<Span>, name: &str, message: String) -> SqlDiagnostic {
        let span = span.or_else(|| self.statement.and_then(|statement| find_name(statement, name)));
        SqlDiagnostic::new(self.file, self.text, span, message)
    }

    fn unparsed(&self, error: &ParserError) -> SqlDiagnostic {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => "the SQL is nested too deeply".to_owned(),
        };
        let (message, span) = split_place(&text);
        let span = span.map(|start| Span::new(start.start, self.end_of_word(start)));
        SqlDiagnostic::new(self.file, self.text, span, plain(&message))
    }

    /// The parser tells where a token starts; its word ends at the next character that is not part of one.
    fn end_of_word(&self, span: Span) -> datafusion::sql::sqlparser::tokenizer::Location {
        let mut end = span.start;
        let line = self.text.lines().nth(end.line.saturating_sub(1) as usize).unwrap_or_default();
        let word = line.chars().skip(end.column.saturating_sub(1) as usize);
        end.column += word.take_while(|letter| letter.is_alphanumeric() || *letter == '_').count() as u64;
        end
    }

    fn unknown_column(&self, field: &Column, valid: &[Column], span: Option<Span>) -> SqlDiagnostic {
        let names: Vec<&str> = valid.iter().map(|column| column.name.as_str()).collect();
        self.at(span, &field.name, format!("unknown column `{}`", field.name)).hint(suggestion(
            &field.name,
            &names,
            "columns",
        ))
    }

    fn unplanned(&self, message: &str, error: &DataFusionError, span: Option<Span>) -> SqlDiagnostic {
        if let Some(name) = unknown_table(message) {
            let names: Vec<&str> = self.tables.iter().map(String::as_str).collect();
            // DataFusion's place includes the alias.
            let span = self.statement.and_then(|statement| find_name(statement, &name)).or(span);
            return self.at(span, &name, format!("unknown table `{name}`")).hint(suggestion(&name, &names, "tables"));
        }
        if let Some(name) = quoted_after(message, "Invalid function ") {
            let names = self.functions.iter().map(String::as_str);
            if name == "predict" {
                let hint = "predict() is for `lakemill query`; a job names its model in [model]";
                return self.at(span, &name, "predict() is not allowed in feature SQL".to_owned()).hint(hint);
            }
            let near = did_you_mean(&name, names).map(|near| format!("did you mean `{near}`?"));
            return self.at(span, &name, format!("unknown function `{name}`")).maybe_hint(near);
        }
        if let Some((name, given)) = wrong_types(message) {
            return self.at(span, &name, format!("`{name}` does not take {given}")).hint("CAST the argument");
        }
        let help = error.diagnostic().and_then(|found| found.helps.first()).map(|help| help.message.clone());
        let note = error.diagnostic().and_then(|found| found.notes.first()).map(|note| note.message.clone());
        // Of a column outside of GROUP BY the place's own message is the shorter one.
        let message = match error.diagnostic() {
            Some(found) if message.starts_with("Column in SELECT must be in GROUP BY") => &found.message,
            _ => message,
        };
        self.at(span, "", plain(message)).maybe_hint(help.or(note).map(|hint| plain(&hint)))
    }
}

/// The nearest name and the list of names.
pub(super) fn suggestion(word: &str, names: &[&str], what: &str) -> String {
    let mut listed: Vec<&str> = names.to_vec();
    listed.sort_unstable();
    listed.dedup();
    let other_case = listed.iter().copied().find(|name| name.eq_ignore_ascii_case(word));
    let near = other_case.or_else(|| did_you_mean(word, listed.iter().copied()));
    let more = listed.len().saturating_sub(LISTED_NAMES);
    let mut list = listed.iter().take(LISTED_NAMES).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        list = format!("{list} and {more} more");
    }
    match (near, list.is_empty()) {
        (Some(near), _) => format!("did you mean `{near}`? {what}: {list}"),
        (None, false) => format!("{what}: {list}"),
        (None, true) => format!("there are no {what} here"),
    }
}

/// The column that is not there, and those that are.
pub(super) fn unknown_column(error: &DataFusionError) -> Option<(&str, Vec<&str>)> {
    let DataFusionError::SchemaError(schema, _) = innermost(error) else { return None };
    let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() else { return None };
    Some((&field.name, valid_fields.iter().map(|column| column.name.as_str()).collect()))
}

fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => innermost(inner),
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, innermost),
        _ => error,
    }
}

fn sql_span(span: datafusion::common::Span) -> Span {
    let location = |at: datafusion::common::Location| datafusion::sql::sqlparser::tokenizer::Location {
        line: at.line,
        column: at.column,
    };
    Span::new(location(span.start), location(span.end))
}

/// `table 'catalog.schema.name' not found`: the name.
fn unknown_table(message: &str) -> Option<String> {
    let tail = message.strip_prefix("table '")?;
    let (name, rest) = tail.split_once('\'')?;
    rest.contains("not found").then(|| name.rsplit('.').next().unwrap_or(name).to_owned())
}

/// `Function 'sum' ... but received Boolean (DataType: ...`: the function and what it was given.
fn wrong_types(message: &str) -> Option<(String, String)> {
    let name = quoted_after(message, "Function ")?;
    let tail = &message[message.find("but received ")? + "but received ".len()..];
    let end = tail.find(" (DataType").or_else(|| tail.find(['.', ',']))?;
    Some((name, tail[..end].to_owned()))
}

fn quoted_after(message: &str, mark: &str) -> Option<String> {
    let tail = &message[message.find(mark)? + mark.len()..];
    let tail = tail.strip_prefix('\'')?;
    tail.split_once('\'').map(|(name, _)| name.to_owned())
}

/// Parts `... at Line: 3, Column: 9` of a parser's message.
fn split_place(text: &str) -> (String, Option<Span>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text.to_owned(), None) };
    let number = |part: &str| part.trim().chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    let found = place.split_once(", Column: ").and_then(|(line, column)| Some((number(line)?, number(column)?)));
    let span = found.map(|(line, column)| {
        let at = datafusion::sql::sqlparser::tokenizer::Location { line, column };
        Span::new(at, at)
    });
    (message.to_owned(), span)
}

/// Where `name` is first written as a column, a function or a table.
pub(super) fn find_name(statement: &Statement, name: &str) -> Option<Span> {
    struct Find<'a>(&'a str);
    impl Find<'_> {
        fn among<'i>(&self, idents: impl IntoIterator<Item = &'i Ident>) -> ControlFlow<Span> {
            match idents.into_iter().find(|ident| ident.value == self.0 && ident.span.start.line > 0) {
                Some(ident) => ControlFlow::Break(ident.span),
                None => ControlFlow::Continue(()),
            }
        }
    }
    impl Visitor for Find<'_> {
        type Break = Span;

        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Span> {
            self.among(relation.0.iter().filter_map(|part| part.as_ident()))
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Span> {
            match expr {
                Expr::Identifier(ident) => self.among([ident]),
                Expr::CompoundIdentifier(idents) => self.among(idents),
                Expr::Function(function) => self.among(function.name.0.iter().filter_map(|part| part.as_ident())),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Find(name)) {
        ControlFlow::Break(span) => Some(span),
        ControlFlow::Continue(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::query::{Session, SessionOptions};
    use arrow::datatypes::{DataType, Field, Schema};
    use std::sync::Arc;

    /// What is wrong is read from DataFusion's own words: with others, its users would get those, without a hint.
    #[tokio::test]
    async fn what_datafusion_says_of_wrong_sql_is_still_understood() {
        let mut session = Session::new(SessionOptions::features(1 << 28)).unwrap();
        let field = |name: &str, kind: DataType| Field::new(name, kind, true);
        let fields =
            vec![field("id", DataType::Int64), field("flag", DataType::Boolean), field("name", DataType::Utf8)];
        session.register_schema("t", Arc::new(Schema::new(fields))).unwrap();
        for (sql, message, place) in [
            ("SELECT sum(flag) FROM t", "`sum` does not take Boolean", "query:1:8"),
            ("SELECT id, count(*) FROM t GROUP BY name", "'t.id' must appear in GROUP BY clause", "query:1:8"),
            ("SELECT nosuch(id) FROM t", "unknown function `nosuch`", "query:1:8"),
            ("SELECT id FROM nowhere", "unknown table `nowhere`", "query:1:16"),
            ("SELECT idd FROM t", "unknown column `idd`", "query:1:8"),
            ("SELECT id FROM t a JOIN t b ON a.id = b.id", "the column `id` is in several tables", "query:1:8"),
            ("SELECT id FROM t WHERE id = = 3", "expected: an expression, found: =", "query:1:29"),
        ] {
            let error = session.ad_hoc(sql).await.err().unwrap();
            assert!(error.message().starts_with(message), "{sql}: {error:?}");
            assert_eq!(error.context().first(), Some(&("at", place.to_owned())), "{sql}: {error:?}");
        }
    }
}
