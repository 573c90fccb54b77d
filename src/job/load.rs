//! From a path to a checked job, or to all its mistakes.

use super::diagnostics::{COMMAND_LINE, Diagnostic, Diagnostics};
use super::document::{self, Mistake, Node, Place};
use super::environment::{Environment, shorten};
use super::schema::{At, SchemaCheck, is_in_bucket, job_schema};
use super::spec::JobSpec;
use super::vocabulary::{self, Vocabulary};
use super::{overrides, rules};
use crate::error::{Result, did_you_mean};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// A job file that holds no mistake, with the SQL that it names.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// What it says, overrides applied.
    pub spec: JobSpec,
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The folder at which relative paths start; absolute, or a URL where the job lies in a bucket.
    pub root: PathBuf,
    /// The file's text, as it stands on disk.
    pub text: String,
    /// The SQL file, to be shown and opened; relative where `path` is.
    pub sql_path: PathBuf,
    /// The SQL.
    pub sql_text: String,
}

/// The SQL file that a job names.
#[derive(Debug, Clone)]
pub struct SqlFile {
    /// Where it is, to be shown and opened.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The job, where there is no mistake.
    pub job: Option<JobFile>,
    /// The SQL, where it could be read; also where the job file has mistakes, so that those of the
    /// SQL can be told with them.
    pub sql: Option<SqlFile>,
    /// The mistakes.
    pub diagnostics: Diagnostics,
}

/// Reads a job file; `overrides` are `key=value` as after `--set`.
///
/// # Errors
/// A usage error that shows all mistakes of the file, the overrides and the environment together.
pub fn load(
    path: &Path,
    overrides: &[String],
    environment: Environment<'_>,
    words: &Vocabulary<'_>,
) -> Result<JobFile> {
    let checked = check(path, overrides, environment, words);
    checked.job.ok_or_else(|| checked.diagnostics.into_error())
}

/// Gives the bytes of a file, or says why it can't be read.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// Reads a job file of this machine and finds all its mistakes.
pub fn check(path: &Path, overrides: &[String], environment: Environment<'_>, words: &Vocabulary<'_>) -> Checked {
    check_with(path, &|file| fs::read(file), overrides, environment, words)
}

/// As [`check`], for files that lie elsewhere: `path` may be a URL (`s3://bucket/jobs/x.toml`), and so are
/// then the paths that `files` is asked for.
pub fn check_with(
    path: &Path,
    files: ReadFile<'_>,
    overrides: &[String],
    environment: Environment<'_>,
    words: &Vocabulary<'_>,
) -> Checked {
    let text = match read(files, path, "job") {
        Ok(text) => text,
        Err(unreadable) => {
            let mut diagnostics = Diagnostics::new();
            diagnostics.push(match neighbour(path) {
                Some(near) => unreadable.hint(format!("did you mean `{}`?", path.with_file_name(near).display())),
                None => *unreadable,
            });
            return Checked { job: None, sql: None, diagnostics };
        }
    };
    let (document, mut mistakes) = inspect(&text, overrides, environment, words);
    let place = Project::of(path);
    let sql = match place.sql(&document, files) {
        Some(Ok(sql)) => Some(sql),
        Some(Err(mistake)) => {
            mistakes.push(mistake);
            None
        }
        None => None,
    };
    let mut diagnostics = diagnostics(path, &text, overrides, mistakes);
    let job = sql.clone().filter(|_| diagnostics.is_empty()).and_then(|sql| {
        // The schema that was checked is made from these very types, so this is a second lock.
        match serde_json::from_value::<JobSpec>(document.to_json()) {
            Ok(mut spec) => {
                spec.resolve(environment);
                let path = path.to_owned();
                Some(JobFile { spec, path, root: place.root.clone(), text, sql_path: sql.path, sql_text: sql.text })
            }
            Err(reason) => {
                diagnostics.push(Diagnostic::of_file(path.display().to_string(), format!("not a job: {reason}")));
                None
            }
        }
    });
    Checked { job, sql, diagnostics }
}

/// The document with the overrides in it, and everything that is wrong with it.
fn inspect(
    text: &str,
    overrides: &[String],
    environment: Environment<'_>,
    words: &Vocabulary<'_>,
) -> (Node, Vec<Mistake>) {
    let (mut document, syntax) = document::parse(text);
    let mut mistakes = Vec::new();
    for (index, written) in overrides.iter().enumerate() {
        mistakes.extend(overrides::apply(&mut document, written, index + 1).err());
    }
    let schema = job_schema();
    let whole = Place { source: 0, span: None };
    let check = SchemaCheck { schema: &schema, job: &schema, environment, mistakes: Vec::new() };
    mistakes.extend(check.run(&document, At { path: "", key: &whole }));
    mistakes.extend(rules::check(&document));
    mistakes.extend(vocabulary::check(&document, words, &schema, environment));
    if !syntax.is_empty() {
        // What follows from a mistake of syntax is no mistake of its own.
        let line = |place: &Place| place.span.as_ref().map(|span| line_of(text, span.start));
        let broken: Vec<_> = syntax.iter().map(|mistake| line(&mistake.place)).collect();
        mistakes.retain(|one| !one.absence && (one.place.source > 0 || !broken.contains(&line(&one.place))));
    }
    (document, syntax.into_iter().chain(mistakes).collect())
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn diagnostics(path: &Path, text: &str, overrides: &[String], mistakes: Vec<Mistake>) -> Diagnostics {
    let mut diagnostics = Diagnostics::new();
    diagnostics.extend(mistakes.into_iter().map(|mistake| {
        let Mistake { place, message, hint, .. } = mistake;
        let over = place.source.checked_sub(1).and_then(|index| overrides.get(index));
        let diagnostic = match (place.span, over) {
            (Some(span), Some(over)) => Diagnostic::at_span(COMMAND_LINE, &overrides::source_text(over), span, message),
            (Some(span), None) => Diagnostic::at_span(path.display().to_string(), text, span, message),
            (None, _) => Diagnostic::of_file(path.display().to_string(), message),
        };
        match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }));
    diagnostics
}

/// The text of a file; `what` says in messages which file it is.
fn read(files: ReadFile<'_>, path: &Path, what: &str) -> Result<String, Box<Diagnostic>> {
    let file = path.display().to_string();
    let bytes = files(path).map_err(|reason| Box::new(Diagnostic::of_file(&file, unreadable(&reason, what))))?;
    String::from_utf8(bytes).map_err(|wrong| {
        let at = wrong.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(wrong.as_bytes()).into_owned();
        let message = format!("the {what} file is not UTF-8");
        Box::new(Diagnostic::at_span(&file, &text, at..at + 1, message).hint("save it as UTF-8"))
    })
}

fn unreadable(reason: &std::io::Error, what: &str) -> String {
    match reason.kind() {
        ErrorKind::NotFound => format!("there is no such {what} file"),
        ErrorKind::IsADirectory => format!("this is a folder, not a {what} file"),
        _ => format!("the {what} file can't be read: {reason}"),
    }
}

/// The name beside `path` that was most likely meant.
fn neighbour(path: &Path) -> Option<String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).ok()?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    let wanted = path.file_name()?.to_str()?;
    did_you_mean(wanted, names.iter().map(String::as_str)).filter(|near| *near != wanted).map(str::to_owned)
}

/// The folder at which a job's relative paths start.
struct Project {
    /// Absolute, or a URL.
    root: PathBuf,
    /// The same, relative where the job file's path was: for the user's eyes.
    shown: PathBuf,
}

impl Project {
    fn of(job: &Path) -> Self {
        if let Some(url) = job.to_str().filter(|path| path.contains("://")) {
            // In a bucket: the same rule, on the text.
            let folder = url.rsplit_once('/').map_or(url, |(folder, _)| folder);
            let root = PathBuf::from(folder.strip_suffix("/jobs").unwrap_or(folder));
            return Self { shown: root.clone(), root };
        }
        let folder = job.parent().unwrap_or(Path::new(""));
        let absolute = std::path::absolute(job).unwrap_or_else(|_| job.to_owned());
        let absolute = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        if absolute.file_name().is_none_or(|name| name != "jobs") {
            return Self { root: absolute, shown: folder.to_owned() };
        }
        let root = absolute.parent().unwrap_or(&absolute).to_owned();
        let shown = match folder.components().next_back() {
            Some(Component::Normal(_)) => folder.parent().unwrap_or(folder).to_owned(),
            _ => folder.join(".."),
        };
        Self { root, shown }
    }

    /// The SQL file that a document names, if it names one.
    fn sql(&self, document: &Node, files: ReadFile<'_>) -> Option<Result<SqlFile, Mistake>> {
        let node = document.at(&["features", "sql"])?;
        let written = node.text().filter(|written| !written.is_empty())?;
        let path = match written.contains("://") {
            false => self.shown.join(written),
            true if is_in_bucket(written) => PathBuf::from(written),
            // The form has been refused.
            true => return None,
        };
        Some(match read(files, &path, "SQL") {
            Ok(text) if text.trim().is_empty() => {
                let message = format!("the SQL file `{}` is empty", shorten(written));
                Err(Mistake::new(&node.place, message).hint("write one SELECT of key, time, features and label"))
            }
            Ok(text) => Ok(SqlFile { path, text }),
            Err(unreadable) => {
                let message = format!("{}: `{}`", unreadable.message, shorten(written));
                let start = "paths start at the project root: the job file's folder, or the one above `jobs`";
                let hint = neighbour(&path).map_or(start.to_owned(), |near| format!("did you mean `{near}`? {start}"));
                Err(Mistake::new(&node.place, message).hint(hint))
            }
        })
    }
}
