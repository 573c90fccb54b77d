//! Forms of text that a schema names and JSON Schema itself doesn't know.

use crate::error::did_you_mean;
use crate::interval::parse_instant;
use crate::job::environment::{Fault, shorten};
use crate::job::spec::Duration;

/// Checks a text of a form.
type Check = fn(&str) -> Result<(), Fault>;

/// Every form by the schema's `format`.
static FORMATS: &[(&str, Check)] = &[
    ("lakemill-name", name),
    ("lakemill-identifier", identifier),
    ("lakemill-variable", variable),
    ("lakemill-path", path),
    ("lakemill-output", output),
    ("lakemill-duration", duration),
    ("lakemill-instant", instant),
];

/// Forms of numbers, which schemars gives beside the bounds; the bounds are what is checked.
#[cfg(test)]
const NUMBERS: &[&str] = &["uint", "uint32", "uint64", "int64", "double"];

/// Words that begin or part clauses, so that a table of that name would need quotes in every SQL.
const SQL_WORDS: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cast",
    "cross",
    "desc",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "from",
    "full",
    "group",
    "having",
    "in",
    "inner",
    "intersect",
    "interval",
    "into",
    "is",
    "join",
    "lateral",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "qualify",
    "right",
    "row",
    "rows",
    "select",
    "some",
    "table",
    "then",
    "true",
    "union",
    "unnest",
    "using",
    "values",
    "when",
    "where",
    "window",
    "with",
];

/// Folders of `home` that lakemill keeps for itself.
const OWN_FOLDERS: &[&str] = &["models", "runs", "lookup"];

/// Checks a text against a form; a form that is none of ours holds.
pub(super) fn check(format: &str, text: &str) -> Result<(), Fault> {
    FORMATS.iter().find(|(name, _)| *name == format).map_or(Ok(()), |(_, check)| check(text))
}

/// Whether the form is checked, here or by bounds.
#[cfg(test)]
pub(super) fn is_known(format: &str) -> bool {
    format == crate::job::environment::FORMAT
        || NUMBERS.contains(&format)
        || FORMATS.iter().any(|(name, _)| *name == format)
}

fn fault(message: String, hint: impl Into<String>) -> Fault {
    Fault { message, hint: Some(hint.into()) }
}

fn is_word(text: &str, first: fn(char) -> bool, next: fn(char) -> bool) -> bool {
    text.starts_with(first) && text.chars().all(next)
}

fn name(text: &str) -> Result<(), Fault> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if !is_word(text, first, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-') {
        let near = snake_case(text).trim_start_matches('-').to_owned();
        let hint = match near.is_empty() {
            true => "lower-case letters, digits, `_` and `-` make a name".to_owned(),
            false => format!("lower-case letters, digits, `_` and `-` make a name, e.g. `{}`", shorten(&near)),
        };
        return Err(fault(format!("`{}` is not a name", shorten(text)), hint));
    }
    if text.len() > 100 {
        return Err(fault(format!("the name has {} characters", text.len()), "a name has at most 100 characters"));
    }
    Ok(())
}

fn identifier(text: &str) -> Result<(), Fault> {
    variable(text)?;
    if SQL_WORDS.contains(&text) {
        return Err(fault(
            format!("`{text}` is a word of SQL"),
            format!("give the table another name, e.g. `{text}_table`"),
        ));
    }
    Ok(())
}

fn variable(text: &str) -> Result<(), Fault> {
    let first = |c: char| c.is_ascii_lowercase() || c == '_';
    if is_word(text, first, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Ok(());
    }
    let mut near = snake_case(text).replace('-', "_");
    if near.starts_with(|first: char| first.is_ascii_digit()) {
        near.insert(0, '_');
    }
    let hint = "names in SQL are lower-case letters, digits and `_`";
    let hint = if near.is_empty() { hint.to_owned() } else { format!("{hint}, e.g. `{}`", shorten(&near)) };
    Err(fault(format!("`{}` is not a plain name in SQL", shorten(text)), hint))
}

/// The text as a name might have been: `CardFraud v2` is `card_fraud_v2`.
fn snake_case(text: &str) -> String {
    let mut out = String::new();
    let mut after_small = false;
    for next in text.trim().chars() {
        if next.is_ascii_uppercase() && after_small {
            out.push('_');
        }
        after_small = next.is_ascii_lowercase() || next.is_ascii_digit();
        match next {
            '-' | '_' => out.push(next),
            next if next.is_ascii_alphanumeric() => out.push(next.to_ascii_lowercase()),
            ' ' | '.' | '/' => out.push('_'),
            _ => {}
        }
    }
    out
}

fn path(text: &str) -> Result<(), Fault> {
    if !text.contains("://") || is_in_bucket(text) {
        return Ok(());
    }
    Err(fault(
        format!("`{}` is not a file", shorten(text)),
        "the SQL lies beside the job file: name it relative to the project root; or in a bucket: s3://bucket/name.sql",
    ))
}

/// Whether a text is the URL of an object, and nothing more: who asks for it is said by the environment, never by a URL.
pub(in crate::job) fn is_in_bucket(text: &str) -> bool {
    const BUCKETS: &[&str] = &["s3://", "s3a://", "gs://", "gcs://", "az://", "abfs://", "abfss://"];
    let Some((bucket, key)) = BUCKETS.iter().find_map(|scheme| text.strip_prefix(scheme)?.split_once('/')) else {
        return false;
    };
    // A container of Azure's stands before its account's host.
    let bucket = match bucket.split_once('@') {
        Some((container, host)) if text.starts_with("abfs") && !container.is_empty() => host,
        _ => bucket,
    };
    !bucket.is_empty() && !bucket.contains([':', '@']) && !key.is_empty() && !key.contains(['@', '?', '#'])
}

fn output(text: &str) -> Result<(), Fault> {
    let message = || format!("`{}` is not a folder under `home`", shorten(text));
    let segments: Vec<&str> = text.trim_end_matches('/').split('/').collect();
    let climbs = segments.iter().any(|segment| matches!(*segment, "" | "." | ".."));
    if climbs || text.contains(['\\', ':', '\0']) {
        return Err(fault(message(), "write a relative path without `..`, e.g. \"predictions/card_fraud\""));
    }
    if OWN_FOLDERS.contains(&segments[0]) {
        return Err(fault(
            format!("lakemill keeps `{}` under `home` for itself", segments[0]),
            "write another folder, e.g. \"predictions/card_fraud\"",
        ));
    }
    Ok(())
}

fn duration(text: &str) -> Result<(), Fault> {
    text.parse::<Duration>().map(|_| ()).map_err(|reason| {
        let hint = "write a number and a unit: \"90s\", \"15m\", \"36h\", \"7d\" or \"2w\"";
        fault(format!("`{}` is not a length of time: {reason}", shorten(text)), hint)
    })
}

fn instant(text: &str) -> Result<(), Fault> {
    parse_instant(text).map(|_| ()).map_err(|_| {
        let hint = "write a date such as \"2018-06-01\", or \"2018-06-01T00:00:00Z\"";
        fault(format!("`{}` is not an instant", shorten(text)), hint)
    })
}

/// What to do about a word that is none of `known`.
pub(in crate::job) fn word_hint<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match did_you_mean(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("one of: {}", known.join(", ")),
    }
}
