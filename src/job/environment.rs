//! `${NAME}` in a job file: values that come from the environment and are never shown.
//!
//! Only keys that say *where* something is (`home`, a table's `path`, `lookup.store`) take them, so
//! that a job file decides what is computed all by itself. `$${` stands for `${`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Gives the value of an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The schema's name for a string in which `${NAME}` is substituted.
pub(super) const FORMAT: &str = "lakemill-environment";

/// A text with `${NAME}` in it. Shown, compared and serialised as written; only
/// [`value`](EnvString::value) holds what the environment says.
#[derive(Clone)]
pub struct EnvString {
    written: String,
    value: String,
}

impl EnvString {
    /// The text with the variables' values: may hold a secret, never show it.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The text as it stands in the job file.
    pub fn written(&self) -> &str {
        &self.written
    }

    /// Takes the values from the environment; a variable that is not set stays as written.
    pub(super) fn resolve(&mut self, environment: Environment<'_>) {
        let parts = parse(&self.written).unwrap_or_default();
        if parts.is_empty() {
            return;
        }
        self.value = parts.into_iter().fold(String::new(), |value, part| match part {
            Part::Text(text) => value + &text,
            Part::Variable(name) => value + &environment(name).unwrap_or_else(|| format!("${{{name}}}")),
        });
    }
}

impl From<String> for EnvString {
    /// A text whose variables are not substituted yet.
    fn from(written: String) -> Self {
        Self { value: written.clone(), written }
    }
}

impl PartialEq for EnvString {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for EnvString {}

impl fmt::Debug for EnvString {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, out)
    }
}

impl fmt::Display for EnvString {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.written)
    }
}

impl Serialize for EnvString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl<'de> Deserialize<'de> for EnvString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl JsonSchema for EnvString {
    fn schema_name() -> Cow<'static, str> {
        "EnvString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A text in which ${NAME} stands for an environment variable.",
            "type": "string",
            "format": FORMAT,
            "minLength": 1
        })
    }
}

enum Part<'a> {
    Text(String),
    Variable(&'a str),
}

/// What is wrong with a text, and what to do.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Splits a text at its `${NAME}`.
fn parse(text: &str) -> Result<Vec<Part<'_>>, Fault> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, found) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            plain.push_str(before);
            plain.push_str("${");
            rest = &found[2..];
            continue;
        }
        plain.push_str(before);
        let Some(end) = found.find('}') else {
            return Err(Fault {
                message: "`${` without its `}`".to_owned(),
                hint: Some("write ${NAME} for an environment variable, or $${ for the characters `${`".to_owned()),
            });
        };
        let name = &found[2..end];
        if !is_variable_name(name) {
            return Err(Fault {
                message: format!("`{}` is not the name of an environment variable", shorten(name)),
                hint: Some("a name has letters, digits and `_`, and doesn't begin with a digit".to_owned()),
            });
        }
        parts.push(Part::Text(std::mem::take(&mut plain)));
        parts.push(Part::Variable(name));
        rest = &found[end + 1..];
    }
    plain.push_str(rest);
    parts.push(Part::Text(plain));
    Ok(parts)
}

fn is_variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts_well && name.chars().all(|next| next.is_ascii_alphanumeric() || next == '_')
}

/// What is wrong with a text that is to be substituted: its form, variables that are not set, and
/// secrets that stand in it literally.
pub(super) fn faults(text: &str, environment: Environment<'_>) -> Vec<Fault> {
    let parts = match parse(text) {
        Ok(parts) => parts,
        Err(fault) => return vec![fault],
    };
    let mut faults: Vec<Fault> = Vec::new();
    for part in &parts {
        if let Part::Variable(name) = part
            && environment(name).is_none()
        {
            let message = format!("the environment variable `{name}` is not set");
            if !faults.iter().any(|fault| fault.message == message) {
                faults.push(Fault { message, hint: Some(format!("set {name} before lakemill is started")) });
            }
        }
    }
    if secret_spans(text).next().is_some() {
        faults.push(Fault {
            message: "a secret stands here in plain text".to_owned(),
            hint: Some("put it into an environment variable and write ${NAME} in its place".to_owned()),
        });
    }
    faults
}

/// Whether a text asks for substitution.
pub(super) fn has_variable(text: &str) -> bool {
    parse(text).map_or(true, |parts| parts.iter().any(|part| matches!(part, Part::Variable(_))))
}

/// The text with every literal secret in its URLs replaced by as many `*`.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let spans: Vec<_> = secret_spans(text).collect();
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in spans {
        out.push_str(&text[done..start]);
        out.extend(text[start..end].chars().map(|_| '*'));
        done = end;
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Where literal secrets stand: the password of `scheme://user:password@host`, and the values of
/// query parameters whose names say that they are secret. In order, without overlaps.
fn secret_spans(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let end = end_of_url(text, start);
        spans.extend(password_span(text, start, end));
        spans.extend(query_spans(text, start, end));
        from = start;
    }
    spans.sort_unstable();
    let mut last = 0;
    spans.into_iter().filter(move |(start, end)| {
        let apart = *start >= last;
        if apart {
            last = *end;
        }
        apart
    })
}

/// Where the URL ends whose authority begins at `start`: at the quote that stands before its scheme, if one does. Neither
/// blanks nor commas nor other quotes end it, since a password may hold them.
fn end_of_url(text: &str, start: usize) -> usize {
    let before = text[..start].trim_end_matches("://");
    let before = before.trim_end_matches(|next: char| next.is_ascii_alphanumeric() || "+-.".contains(next));
    let quote = before.chars().next_back().filter(|last| matches!(last, '"' | '\'' | '`'));
    let mut escaped = false;
    let ends = |next: char| {
        let ends = next.is_control() || (!escaped && Some(next) == quote);
        escaped = next == '\\' && !escaped;
        ends
    };
    text[start..].find(ends).map_or(text.len(), |length| start + length)
}

/// The password in the authority that begins at `start`. A password may hold a `/` that should have
/// been escaped: then what stands before it is no port, and the `@` comes later.
fn password_span(text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
    let url = &text[start..end];
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    let colon = authority.find(':')?;
    let at = match authority.rfind('@') {
        Some(at) => at,
        None if authority.split(',').all(has_port_or_none) => return None,
        None => url.rfind('@')?,
    };
    // In `user@host:port` the colon comes after the `@`: no such range, no password.
    let password = url.get(colon + 1..at)?;
    (!password.is_empty() && !is_only_variables(password)).then_some((start + colon + 1, start + at))
}

fn has_port_or_none(host: &str) -> bool {
    host.split_once(':').is_none_or(|(_, port)| port.chars().all(|next| next.is_ascii_digit()))
}

const SECRET_PARAMETERS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "sig",
    "access_key",
    "secret_key",
    "secret_access_key",
    "api_key",
];

fn query_spans(text: &str, start: usize, end: usize) -> Vec<(usize, usize)> {
    let Some(question) = text[start..end].find('?') else { return Vec::new() };
    let mut at = start + question + 1;
    let mut spans = Vec::new();
    for pair in text[at..end].split(['&', '#']) {
        if let Some((name, value)) = pair.split_once('=')
            && SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str())
            && !value.is_empty()
            && !is_only_variables(value)
        {
            spans.push((at + name.len() + 1, at + pair.len()));
        }
        at += pair.len() + 1;
    }
    spans
}

fn is_only_variables(text: &str) -> bool {
    parse(text).is_ok_and(|parts| {
        let literal = parts.iter().any(|part| matches!(part, Part::Text(text) if !text.is_empty()));
        !literal && parts.len() > 1
    })
}

/// A value as it may stand in a message: masked, without control characters, not too long.
pub(super) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    let masked = masked(text);
    let mut shown: String = masked.chars().take(MOST).flat_map(char::escape_debug).collect();
    if masked.chars().count() > MOST {
        shown.push('…');
    }
    shown.replace("\\\"", "\"").replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "SECRET").then(|| "hunter2".to_owned())
    }

    #[test]
    fn variables_are_put_in_and_never_shown() {
        let mut text = EnvString::from("redis://u:${SECRET}@host/$${x}".to_owned());
        text.resolve(&env);
        assert_eq!(text.value(), "redis://u:hunter2@host/${x}");
        let shown = format!("{text} {text:?} {}", serde_json::to_string(&text).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(faults(text.written(), &env).is_empty());
    }

    #[test]
    fn literal_secrets_are_found_and_masked() {
        for (text, shown) in [
            ("redis://u:pw@host/0", "redis://u:**@host/0"),
            ("redis://:pw@host/0", "redis://:**@host/0"),
            ("redis://u:p/w@host/0", "redis://u:***@host/0"),
            ("redis://u:p@w@host/0", "redis://u:***@host/0"),
            ("redis://u:p${SECRET}@host", "redis://u:**********@host"),
            ("az://c/p?sig=abc&x=1", "az://c/p?sig=***&x=1"),
            ("redis://u:p,w@host/0", "redis://u:***@host/0"),
            ("redis://u:p,/w@host/0", "redis://u:****@host/0"),
            ("redis://u:p w@host/0", "redis://u:***@host/0"),
            (r#"store = "redis://u:p'w`@host" # a@b"#, r#"store = "redis://u:****@host" # a@b"#),
            (r#"store = "redis://u:p\"w@host" # a@b"#, r#"store = "redis://u:****@host" # a@b"#),
            ("store = 'redis://u:p\"w@host' # a@b", "store = 'redis://u:***@host' # a@b"),
            ("redis-sentinel://u:p,w@a:1,b:2/0", "redis-sentinel://u:***@a:1,b:2/0"),
            ("az://c/p?sig=a,b c&x=1", "az://c/p?sig=*****&x=1"),
            ("[s3://a, redis://u:pw@h]", "[s3://a, redis://u:**@h]"),
            ("[redis://u:pw@h, s3://a@b]", "[redis://u:**@h, s3://a@b]"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "s3://bucket/a@b",
            "redis://host:6379/0",
            "redis-sentinel://a:26379,b:26379/0/x@y",
            "redis://u@host:6379/0",
            "redis://u:${SECRET}@host",
            "file:///a:b@c",
            "az://c/p?sig=${SECRET}",
            "s3://bucket/t?token=",
            "://",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn malformed_variables_are_faults() {
        for text in ["${", "${}", "${1A}", "a${B", "${A B}", "${MISSING}"] {
            assert_eq!(faults(text, &env).len(), 1, "{text}");
        }
        assert!(faults("$$ { } $x $${", &env).is_empty());
    }
}
