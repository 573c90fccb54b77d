//! Errors of DataFusion, deltalake and object_store, told in lakemill's words.
//!
//! The libraries wrap each other's errors several layers deep; what decides is the innermost one.

use crate::error::{Error, ErrorKind};
use crate::lake::errors::{because_of, hint_of_causes, kind_of_causes};
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use std::error::Error as StdError;

/// What went wrong while a query ran or was planned, by who must act.
///
/// | found | kind |
/// |---|---|
/// | memory or spill space ran out | budget, with the operator and the flag |
/// | a data file is missing, or not what it was | failed, with the file |
/// | arithmetic, cast or parse error on the data | check |
/// | throttled, timed out, connection lost | transient |
/// | wrong SQL | usage |
pub fn from_datafusion(error: DataFusionError) -> Error {
    if let Some(own) = own(&error) {
        return copy_of(own);
    }
    if let Some(store) = find::<object_store::Error>(&error) {
        return told(store).because(error);
    }
    if kind_of_causes(&error) == ErrorKind::Transient {
        return because_of("the store did not answer", error);
    }
    let root = innermost(&error);
    let text = root.strip_backtrace();
    if let Some(path) = missing_path(&text) {
        return missing_file(Some(&path)).because(error);
    }
    if let Some((_, reason)) = text.split_once("Deletion Vector error: ") {
        return unreadable_vector(reason);
    }
    match root {
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        DataFusionError::ArrowError(arrow, _) => from_arrow(arrow),
        DataFusionError::ParquetError(parquet) => from_parquet(parquet),
        DataFusionError::External(source) if source.is::<ParquetError>() => unreadable_parquet(&source.to_string()),
        DataFusionError::IoError(source) => Error::failed(format!("input or output failed: {source}")),
        DataFusionError::Execution(message) => Error::check(plain(message)),
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::SQL(..)
        | DataFusionError::Configuration(_) => Error::usage(plain(&root.strip_backtrace())),
        DataFusionError::NotImplemented(message) => {
            Error::usage(format!("the SQL uses something that is not supported: {}", plain(message)))
        }
        _ => Error::failed(plain(&root.strip_backtrace())),
    }
}

/// What went wrong at the object store.
pub fn from_store(source: object_store::Error) -> Error {
    told(&source).because(source)
}

/// What deltalake could not do; features and versions are handled where they are asked for.
pub(super) fn from_delta(error: deltalake::DeltaTableError) -> Error {
    if let Some(store) = find::<object_store::Error>(&error) {
        return told(store).because(error);
    }
    if kind_of_causes(&error) == ErrorKind::Transient {
        return because_of("the Delta table could not be read", error);
    }
    let text = error.to_string();
    if let Some(refusal) = unreadable_feature(&text) {
        return refusal.because(error);
    }
    if let Some(path) = missing_path(&text) {
        return missing_file(Some(&path)).because(error);
    }
    if let Some((_, reason)) = text.split_once("Deletion Vector error: ") {
        return unreadable_vector(reason);
    }
    if text.contains("Expected contiguous commit files") {
        return Error::failed("the table's log lacks a commit: its numbers have a gap")
            .hint("restore the missing file under _delta_log; without it no later version can be known");
    }
    // The library's text goes on with a backtrace where the environment asks for one.
    Error::failed("the Delta table cannot be read")
        .because(Error::failed(plain(&text)))
        .hint("a commit under _delta_log is damaged: restore it, or have the table's writer repair it")
}

/// The refusal of a table for a feature that the Delta libraries do not read, if that is what `text` says.
pub(super) fn unreadable_feature(text: &str) -> Option<Error> {
    const MARKS: &[&str] = &["Unsupported table features required: ", "Unsupported: ", "Unknown feature"];
    let (start, mark) = MARKS.iter().find_map(|mark| Some((text.find(mark)?, mark)))?;
    let tail = text[start + mark.len()..].lines().next().unwrap_or_default().trim();
    let listed = tail.strip_prefix('[').and_then(|tail| tail.split_once(']')).map(|(names, _)| names);
    let what = match listed {
        // The library prints the names of its own enum; the table's log spells them with a small first letter.
        Some(names) => names.split(", ").map(as_in_the_log).collect::<Vec<_>>().join(", "),
        None => tail.to_owned(),
    };
    let error = Error::usage(format!("the table needs a Delta feature that cannot be read: {what}"));
    Some(error.hint("read a version from before the feature was switched on, or have the writer drop it"))
}

/// `TypeWidening` and `Unknown("typeWidening")` as `typeWidening`.
fn as_in_the_log(name: &str) -> String {
    let inner = name.strip_prefix("Unknown(\"").and_then(|name| name.strip_suffix("\")")).unwrap_or(name);
    let mut letters = inner.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn told(error: &object_store::Error) -> Error {
    let told = named(error);
    match hint_of_causes(error) {
        Some(hint) if told.hint_text().is_none() => told.hint(hint),
        _ => told,
    }
}

fn named(error: &object_store::Error) -> Error {
    use object_store::Error as Store;
    match error {
        Store::NotFound { path, .. } => missing_file(Some(path)),
        Store::PermissionDenied { path, .. } => Error::failed("permission denied").with("file", path),
        Store::Unauthenticated { path, .. } => Error::failed("the credentials were not accepted").with("file", path),
        Store::Precondition { path, .. } | Store::NotModified { path, .. } => changed_file(path),
        other if kind_of_causes(other) == ErrorKind::Transient => {
            Error::new(ErrorKind::Transient, "the object store did not answer")
        }
        other => Error::failed(format!("the object store failed: {}", plain(&other.to_string()))),
    }
}

/// The error for a deletion vector that its reader refuses for this reason, which names its file where there is one.
fn unreadable_vector(reason: &str) -> Error {
    let error = Error::failed("a deletion vector of the table cannot be read")
        .because(Error::failed(plain(reason)))
        .hint("it is damaged, in its file or in the log: restore it, or read a version before it");
    match vector_file(reason) {
        Some(file) => error.with("file", file),
        None => error,
    }
}

/// The file in what a reader of deletion vectors says: `... for file:///t/v.bin (Offset: ...`.
fn vector_file(reason: &str) -> Option<&str> {
    let words = reason.split(" for ").skip(1).filter_map(|tail| tail.split_whitespace().next());
    words.map(|word| word.trim_end_matches(['.', ',', ':', ';'])).find(|word| word.contains("://"))
}

fn missing_file(path: Option<&str>) -> Error {
    let error = Error::failed("a data file that the table lists does not exist")
        .hint("restore the file, or repair the table; a version that does not list it can still be read");
    match path {
        Some(path) => error.with("file", path),
        None => error,
    }
}

/// The error for a file that is no longer what was pinned.
pub(super) fn changed_file(path: impl std::fmt::Display) -> Error {
    Error::failed("a data file changed after the table was pinned").with("file", path).hint(
        "run again to pin the new state; while a run reads a folder, write new files instead of changing old ones",
    )
}

fn out_of_memory(message: &str) -> Error {
    // "... failed for HashJoinInput[0] with top memory consumers ..." or "... for SortExec[0] with 3 B already ..."
    let consumer = message
        .split_once(" for ")
        .map(|(_, tail)| tail.split([' ', '#']).next().unwrap_or_default())
        .filter(|name| !name.is_empty());
    let error = Error::new(ErrorKind::Budget, "the query needs more memory than it may use");
    let error = match consumer {
        Some(name) => error.with("operator", name),
        None => error,
    };
    error
        .hint("raise --memory; joins keep their smaller side in memory, sorts and aggregates spill to disk")
        .because(Error::failed(plain(message)))
}

fn from_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::check("division by zero").hint("use NULLIF(divisor, 0)"),
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::CsvError(message)
        | ArrowError::JsonError(message)
        | ArrowError::InvalidArgumentError(message)
        | ArrowError::ArithmeticOverflow(message) => Error::check(plain(message)),
        ArrowError::NotYetImplemented(message) => Error::usage(plain(message)),
        ArrowError::ParquetError(message) => unreadable_parquet(message),
        other => Error::failed(plain(&other.to_string())),
    }
}

fn from_parquet(error: &ParquetError) -> Error {
    unreadable_parquet(&error.to_string())
}

/// The error for a Parquet file that takes a key to read.
pub(super) fn encrypted() -> Error {
    Error::usage("the Parquet file is encrypted, which lakemill cannot read")
        .hint("have its owner write the table without Parquet encryption; a store's own encryption is no hindrance")
}

/// Whether a message tells of Parquet encryption, ours or the library's.
pub(super) fn is_encryption(text: &str) -> bool {
    let text = text.to_lowercase();
    text.contains("encrypted") || text.contains("encryption") || text.contains("decrypt")
}

fn unreadable_parquet(text: &str) -> Error {
    if is_encryption(text) {
        return encrypted();
    }
    let error = Error::failed("a Parquet file cannot be read")
        .because(Error::failed(plain(text)))
        .hint("the file is cut off or altered: restore it, or read a version that does not list it");
    let file = text.split_once(" for file ").and_then(|(_, tail)| tail.split_once(": "));
    match file {
        Some((path, _)) => error.with("file", path),
        None => error,
    }
}

/// The innermost DataFusion error, through everything that only wraps.
pub(super) fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => innermost(inner),
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, innermost),
        DataFusionError::ArrowError(arrow, _) => match arrow.as_ref() {
            ArrowError::ExternalError(source) => source.downcast_ref().map_or(error, innermost),
            _ => error,
        },
        DataFusionError::External(source) => source.downcast_ref().map_or(error, innermost),
        _ => error,
    }
}

/// The innermost error of type `T` among the causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    let mut found = None;
    while let Some(cause) = next {
        found = cause.downcast_ref::<T>().or(found);
        if let Some(DataFusionError::External(inner)) = cause.downcast_ref() {
            found = inner.downcast_ref::<T>().or(found);
        }
        next = cause.source();
    }
    found
}

/// The outermost error of our own among the causes: what it gives as its reason is part of it.
fn own<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(cause) = next {
        let wrapped = match cause.downcast_ref() {
            Some(DataFusionError::External(inner)) => inner.downcast_ref::<Error>(),
            _ => cause.downcast_ref::<Error>(),
        };
        if wrapped.is_some() {
            return wrapped;
        }
        next = cause.source();
    }
    None
}

/// An error that went through DataFusion as somebody else's comes out with its kind, place and hint.
fn copy_of(error: &Error) -> Error {
    let mut copy = Error::new(error.kind(), error.message());
    for (key, value) in error.context() {
        copy = copy.with(key, value);
    }
    if let Some(cause) = error.causes().into_iter().next() {
        copy = copy.because(Error::failed(cause));
    }
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

/// The path in a message about a file that is not there, for libraries that pass on only the text.
fn missing_path(text: &str) -> Option<String> {
    const FRAMES: &[(&str, &str)] = &[("Object at location ", " not found"), ("File not found: ", "")];
    FRAMES.iter().find_map(|(before, after)| {
        let tail = &text[text.find(before)? + before.len()..];
        let end = if after.is_empty() { tail.find(['\n', ' ']).unwrap_or(tail.len()) } else { tail.find(after)? };
        Some(tail[..end].to_owned())
    })
}

/// A library's message as a fragment: its first line, lower-case start, no full stop.
pub(crate) fn plain(message: &str) -> String {
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().trim_end_matches('.');
    let mut letters = line.chars();
    match (letters.next(), letters.next()) {
        // An abbreviation keeps its capitals.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(line.chars().skip(1)).collect()
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::DataFusionError as Df;

    #[test]
    fn memory_names_the_operator_and_the_flag() {
        let error = from_datafusion(Df::ResourcesExhausted(
            "Additional allocation failed for HashJoinInput[0] with top memory consumers".into(),
        ));
        assert_eq!(error.kind(), ErrorKind::Budget);
        assert_eq!(error.context(), [("operator", "HashJoinInput[0]".to_owned())]);
        assert!(error.hint_text().is_some_and(|hint| hint.contains("--memory")));
    }

    #[test]
    fn our_own_error_keeps_its_kind_through_the_layers() {
        let own = changed_file("a.parquet");
        let wrapped = Df::Context("scan".into(), Box::new(Df::External(Box::new(own))));
        let error = from_datafusion(Df::ArrowError(Box::new(ArrowError::ExternalError(Box::new(wrapped))), None));
        assert_eq!(error.message(), "a data file changed after the table was pinned");
    }

    #[test]
    fn a_missing_object_is_named_and_a_throttled_store_is_transient() {
        let missing = object_store::Error::NotFound { path: "t/a.parquet".into(), source: "gone".into() };
        assert!(from_datafusion(Df::ObjectStore(Box::new(missing))).to_string().contains("t/a.parquet"));
        let busy = object_store::Error::Generic { store: "S3", source: "503 Slow Down".into() };
        assert_eq!(from_store(busy).kind(), ErrorKind::Transient);
    }

    #[test]
    fn what_libraries_tell_only_as_text_is_read() {
        let text = "Parquet error: x: Object Store error: Object at location /t/a b.parquet not found: No such file";
        assert_eq!(missing_path(text).as_deref(), Some("/t/a b.parquet"));
        let refusal =
            unreadable_feature("Unsupported table features required: [TypeWidening, Unknown(\"new\")]").unwrap();
        assert!(refusal.message().ends_with("typeWidening, new"), "{refusal}");
        assert!(unreadable_feature("no such version").is_none());
    }

    #[test]
    fn the_file_of_a_deletion_vector_is_told() {
        let told = "This DV start is out of bounds for file:///t/v.bin (Offset: 1000000 >= Size: 45)";
        assert_eq!(vector_file(told), Some("file:///t/v.bin"));
        assert_eq!(vector_file("DV size mismatch for s3://b/v.bin. Log indicates 3"), Some("s3://b/v.bin"));
        assert_eq!(vector_file("no checksum for the vector"), None);
        let error = unreadable_vector(told);
        assert_eq!(error.context(), [("file", "file:///t/v.bin".to_owned())]);
    }

    #[test]
    fn messages_become_fragments() {
        assert_eq!(plain("Cannot cast string 'x'.\nmore"), "cannot cast string 'x'");
        assert_eq!(plain("SQL is wrong"), "SQL is wrong");
    }
}
