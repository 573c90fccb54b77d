//! The JSON Schema of the job file: printed by `lakemill schema`, and what job files are checked against.

mod check;
mod format;

pub(super) use check::{At, SchemaCheck, word_hint};
pub(super) use format::is_in_bucket;

use super::spec::JobSpec;
use serde_json::Value;

/// The JSON Schema (draft 2020-12) of the job file, with a description of every key.
pub fn job_schema() -> Value {
    let mut schema = schemars::schema_for!(JobSpec).to_value();
    remove_null(&mut schema);
    let Value::Object(mut rest) = schema else { return schema };
    // What the document is comes first for whoever reads it.
    let first = ["$schema", "title", "description"].map(|key| rest.shift_remove_entry(key));
    Value::Object(first.into_iter().flatten().chain(rest).collect())
}

/// Takes `null` out of a schema: TOML has none, and a key that may be absent is no alternative.
pub(super) fn remove_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(remove_null),
        Value::Object(object) => {
            if object.get("default").is_some_and(Value::is_null) {
                object.shift_remove("default");
            }
            if let Some(Value::Array(words)) = object.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if types.len() == 1 {
                    let only = types.remove(0);
                    object.insert("type".to_owned(), only);
                }
            }
            for alternatives in ["anyOf", "oneOf"] {
                let Some(Value::Array(branches)) = object.get_mut(alternatives) else { continue };
                branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
                if branches.len() != 1 {
                    continue;
                }
                if let Some(Value::Object(only)) = branches.pop() {
                    object.shift_remove(alternatives);
                    // The key's own description is nearer to what it means than its type's.
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            object.values_mut().for_each(remove_null);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects<'a>(value: &'a Value, found: &mut Vec<&'a serde_json::Map<String, Value>>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| objects(item, found)),
            Value::Object(object) => {
                found.push(object);
                object.values().for_each(|inner| objects(inner, found));
            }
            _ => {}
        }
    }

    #[test]
    fn the_schema_has_no_null_and_only_words_that_the_check_knows() {
        let schema = job_schema();
        let mut all = Vec::new();
        objects(&schema, &mut all);
        for object in all {
            assert!(object.values().all(|value| !value.is_null() && value != "null"), "{object:?}");
            if let Some(format) = object.get("format").and_then(Value::as_str) {
                assert!(format::is_known(format), "no check for the format {format}");
            }
            // Patterns are for editors: here the format beside them checks.
            let checked = object.get("format").is_some_and(|format| format.as_str().is_some());
            assert!(!object.contains_key("pattern") || checked || object.contains_key("properties"), "{object:?}");
        }
    }

    #[test]
    fn every_key_is_described() {
        let schema = job_schema();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        let mut all = Vec::new();
        objects(&schema, &mut all);
        for object in all {
            let Some(properties) = object.get("properties").and_then(Value::as_object) else { continue };
            for (key, property) in properties.iter().filter(|(key, _)| *key != "by") {
                assert!(property.get("description").is_some(), "`{key}` has no description");
            }
        }
    }
}
