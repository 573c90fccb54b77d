//! Mistakes with their places, shown as compilers show them.

use super::environment::masked;
use crate::error::Error;
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// The name of the place of what `--set` says.
pub(super) const COMMAND_LINE: &str = "command line";

/// The longest part of a source line that is shown.
const WIDEST: usize = 160;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The job can't run.
    Error,
    /// The job runs, perhaps not as meant.
    Warning,
}

impl Severity {
    /// The word that a diagnostic begins with.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake: where, what, and what to do about it. Secrets in URLs are masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How grave it is.
    pub severity: Severity,
    /// The file, as the user named it; `command line` for `--set`.
    pub file: String,
    /// The line, from 1; 0 where the whole file is meant.
    pub line: usize,
    /// The column in characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// How many characters are meant, on this line.
    pub width: usize,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line of the file.
    pub snippet: Option<String>,
}

impl Diagnostic {
    /// A mistake of a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.into(),
            line: 0,
            column: 0,
            width: 0,
            message: message.into(),
            hint: None,
            snippet: None,
        }
    }

    /// A mistake at the bytes `span` of the file's `text`; a span outside the text means its end.
    pub fn at_span(file: impl Into<String>, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let start = floor_boundary(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let end = floor_boundary(text, span.end).clamp(start, line_end.max(start));
        let line = text[..line_start].matches('\n').count() + 1;
        let column = text[line_start..start].chars().count() + 1;
        let width = text[start..end].trim_end_matches('\r').chars().count();
        Self::of_file(file, message).placed(&text[line_start..line_end], line, column, width)
    }

    /// A mistake at a line and a column (both from 1) of the file's `text`.
    pub fn at_line(
        file: impl Into<String>,
        text: &str,
        line: usize,
        column: usize,
        message: impl Into<String>,
    ) -> Self {
        let shown = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        Self::of_file(file, message).placed(shown, line, column.max(1), 1)
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    fn placed(mut self, source: &str, line: usize, column: usize, width: usize) -> Self {
        let source = source.trim_end_matches('\r');
        // What stands in a file may not steer the terminal.
        let clean = masked(source).replace(|next: char| next.is_control() && next != '\t', "\u{fffd}");
        self.line = line;
        self.column = column;
        self.width = width.max(1);
        self.snippet = Some(clean);
        self
    }

    /// The part of the line that is shown, and the column of the mistake in it.
    fn window(&self, snippet: &str) -> (String, usize) {
        let length = snippet.chars().count();
        let column = self.column.saturating_sub(1);
        if length <= WIDEST {
            return (snippet.to_owned(), column);
        }
        let start = column.saturating_sub(WIDEST / 2).min(length.saturating_sub(WIDEST));
        (snippet.chars().skip(start).take(WIDEST).collect(), column - start)
    }
}

/// The nearest character boundary at or before `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// ```text
/// error: unknown key `modle`
///   --> jobs/card_fraud.toml:14:2
///    |
/// 14 | [modle]
///    |  ^^^^^
///    = hint: did you mean `model`?
/// ```
impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.severity.name(), self.message)?;
        let on_command_line = self.file == COMMAND_LINE;
        let number = if self.line == 0 || on_command_line { String::new() } else { self.line.to_string() };
        let margin = " ".repeat(number.len().max(1));
        write!(out, "\n{margin}--> {}", self.file)?;
        if !number.is_empty() {
            write!(out, ":{}:{}", self.line, self.column)?;
        }
        if let Some(snippet) = &self.snippet {
            let (shown, column) = self.window(snippet);
            // Tabs stay tabs, so that the caret stands below its character in every terminal.
            let indent: String = shown.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let carets = self.width.min(shown.chars().count().saturating_sub(column)).max(1);
            write!(out, "\n{margin} |\n{number:1} | {shown}\n{margin} | {indent}{}", "^".repeat(carets))?;
        }
        if let Some(hint) = &self.hint {
            write!(out, "\n{margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

/// All mistakes of a job, in the order of their places: the file's first, then the command line's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics {
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// No mistakes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mistake at its place; one that is already there is not told twice.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.found.contains(&diagnostic) {
            return;
        }
        let place = |one: &Diagnostic| (one.file == COMMAND_LINE, one.file.clone(), one.line, one.column);
        let new = place(&diagnostic);
        let at = self.found.partition_point(|old| place(old) <= new);
        self.found.insert(at, diagnostic);
    }

    /// The mistakes in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.found.iter()
    }

    /// Whether nothing was found, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many were found, warnings included.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether one of them keeps the job from running.
    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    fn errors(&self) -> usize {
        self.found.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// The usage error that says them all: its message counts them and shows each with its line.
    pub fn into_error(self) -> Error {
        let mistakes = match self.errors() {
            1 => "1 mistake".to_owned(),
            count => format!("{count} mistakes"),
        };
        Error::usage(format!("{mistakes} in the job\n\n{self}"))
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, more: I) {
        more.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The mistakes one after the other with an empty line between; no newline at the end.
impl fmt::Display for Diagnostics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.found.iter().enumerate() {
            if index > 0 {
                out.write_str("\n\n")?;
            }
            write!(out, "{diagnostic}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_becomes_line_column_and_caret() {
        let text = "a = 1\nb\u{e4} = \"x\"\n";
        let start = text.find('"').unwrap();
        let shown = Diagnostic::at_span("f.toml", text, start..start + 3, "no").hint("do").to_string();
        assert_eq!(shown, "error: no\n --> f.toml:2:6\n  |\n2 | b\u{e4} = \"x\"\n  |      ^^^\n  = hint: do");
    }

    #[test]
    fn places_outside_the_text_are_its_end() {
        for (text, span) in [("", 0..9), ("a", 7..9), ("a\n", 2..2), ("\u{e4}", 1..1)] {
            let diagnostic = Diagnostic::at_span("f", text, span, "no");
            assert!(diagnostic.line >= 1 && !diagnostic.to_string().is_empty());
        }
        assert_eq!(Diagnostic::at_line("f", "a", 9, 0, "no").snippet.as_deref(), Some(""));
    }

    #[test]
    fn long_lines_and_control_characters_do_no_harm() {
        let text = format!("{}\u{1b}[31m{}", "x".repeat(5000), "y".repeat(5000));
        let shown = Diagnostic::at_span("f", &text, 5000..5001, "no").to_string();
        assert!(shown.lines().all(|line| line.chars().count() < WIDEST + 20) && !shown.contains('\u{1b}'));
    }

    #[test]
    fn mistakes_are_sorted_and_told_once() {
        let mut all = Diagnostics::new();
        all.push(Diagnostic::at_line(COMMAND_LINE, "--set a=1", 1, 1, "last"));
        for line in [3, 1, 2, 1] {
            all.push(Diagnostic::at_line("f", "a\nb\nc", line, 1, "m"));
        }
        assert_eq!(all.iter().map(|one| one.line).collect::<Vec<_>>(), [1, 2, 3, 1]);
        let error = all.into_error();
        assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
        assert!(error.message().starts_with("4 mistakes in the job\n\nerror: m\n --> f:1:1"));
    }
}
