//! A job file that trains a version again, from its artifact alone: whatever the command line changed is in it.
//! Only where the tables lie is left to the reader: a model is the same wherever that is.

use super::artifact::Artifact;
use serde_json::{Map, Value};

/// The job as TOML, with every table that has versions pinned; `None` where the artifact does not hold it (format 1).
pub(super) fn job_file(artifact: &Artifact, sql_file: &str) -> Option<String> {
    let job = artifact.job.as_object()?;
    let mut text = String::new();
    for (key, value) in job.iter().filter(|(_, value)| !value.is_object() && !value.is_array()) {
        text.push_str(&line(key, value));
    }
    text.push_str(&line("home", &Value::from("home")));
    text.push_str("\n[tables]\n");
    for (name, input) in &artifact.inputs {
        let mut table = Map::from_iter([("path".to_owned(), Value::from(format!("WHERE {name} LIES")))]);
        if let Some(version) = number(&input.version) {
            table.insert("version".to_owned(), version);
        }
        text.push_str(&line(name, &Value::Object(table)));
    }
    for (section, value) in job {
        let Some(settings) = value.as_object() else { continue };
        text.push_str(&format!("\n[{section}]\n"));
        if section == "features" {
            text.push_str(&line("sql", &Value::from(sql_file)));
        }
        settings.iter().for_each(|(key, value)| text.push_str(&line(key, value)));
    }
    if let Some(carried) = job.get("carried").filter(|carried| carried.as_array().is_some_and(|all| !all.is_empty())) {
        text.push_str(&format!("\n[score]\n{}", line("passthrough", carried)));
    }
    Some(text)
}

/// The version of a table whose format has versions; a hash of files is none that could be asked for.
pub(super) fn number(version: &str) -> Option<Value> {
    version.bytes().all(|byte| byte.is_ascii_digit()).then(|| version.parse::<u64>().ok().map(Value::from))?
}

/// One setting; nothing for what is not set.
fn line(key: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(all) if all.is_empty() => String::new(),
        value => format!("{} = {}\n", bare_or_quoted(key), toml(value)),
    }
}

fn toml(value: &Value) -> String {
    match value {
        Value::Object(all) => {
            let pairs = all.iter().filter(|(_, value)| !value.is_null());
            let pairs = pairs.map(|(key, value)| format!("{} = {}", bare_or_quoted(key), toml(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        plain => plain.to_string(),
    }
}

/// JSON's escapes are TOML's; the one control character that only TOML escapes is DEL.
fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

fn bare_or_quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        let values = json!({
            "text": "a \"b\" \\ \n \u{7f} \u{1} ä", "whole": 7, "part": 0.5, "large": 1e300, "yes": true,
            "list": ["x", "y"], "nested": { "by": "time", "odd key": 1 }, "class weights": { "0": 1.0 },
        });
        let text: String = values.as_object().unwrap().iter().map(|(key, value)| line(key, value)).collect();
        let read: Value = toml::from_str(&text).unwrap();
        assert_eq!(read, values, "{text}");
        assert_eq!(line("absent", &Value::Null) + &line("empty", &json!({})), "");
    }

    #[test]
    fn a_hash_is_no_version() {
        assert_eq!(number("812"), Some(Value::from(812)));
        assert_eq!(number("files-a1b2c3"), None);
    }
}
