//! The JSON Schema of the job file: printed by `lakemill schema`, and what job files are checked against.

mod check;
mod format;

pub(super) use check::{At, SchemaCheck, word_hint};
pub(super) use format::is_in_bucket;

use super::spec::JobSpec;
use super::vocabulary::AlgorithmWords;
use serde_json::{Value, json};

/// The JSON Schema (draft 2020-12) of the job file, with a description of every key.
pub fn job_schema() -> Value {
    let mut schema = schemars::schema_for!(JobSpec).to_value();
    remove_null(&mut schema);
    let Value::Object(mut rest) = schema else { return schema };
    // What the document is comes first for whoever reads it.
    let first = ["$schema", "title", "description"].map(|key| rest.shift_remove_entry(key));
    Value::Object(first.into_iter().flatten().chain(rest).collect())
}

/// The JSON Schema of the job file with the parameters of every algorithm under `$defs`, as `params.NAME`: what
/// `[model.params]` may hold where `algorithm` is that name, and what `[model.search.space]` may search.
pub fn job_schema_with(algorithms: &[AlgorithmWords]) -> Value {
    let mut schema = job_schema();
    let mut conditions = Vec::new();
    for algorithm in algorithms {
        let def = format!("params.{}", algorithm.name);
        let mut params = algorithm.params.clone();
        remove_null(&mut params);
        if let Some(params) = params.as_object_mut() {
            params.shift_remove("$schema");
            params.insert("title".to_owned(), Value::from(format!("Parameters of {}", algorithm.name)));
        }
        refer_below(&mut params, &format!("#/$defs/{def}/$defs/"));
        let names: Vec<&String> =
            params.get("properties").and_then(Value::as_object).map(|all| all.keys().collect()).unwrap_or_default();
        conditions.push(json!({
            "if": { "properties": { "algorithm": { "const": algorithm.name } } },
            "then": { "properties": {
                "params": { "$ref": format!("#/$defs/{def}") },
                "search": { "properties": { "space": { "propertyNames": { "enum": names } } } }
            } }
        }));
        if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
            defs.insert(def, params);
        }
    }
    if let Some(model) = schema.pointer_mut("/$defs/ModelSpec").and_then(Value::as_object_mut) {
        model.insert("allOf".to_owned(), Value::Array(conditions));
    }
    schema
}

/// Points the references inside of a schema to where its definitions are put.
fn refer_below(schema: &mut Value, place: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| refer_below(item, place)),
        Value::Object(object) => {
            let target = object.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
            if let Some(target) = target.map(|name| format!("{place}{name}")) {
                object.insert("$ref".to_owned(), Value::from(target));
            }
            object.values_mut().for_each(|inner| refer_below(inner, place));
        }
        _ => {}
    }
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
    fn parameters_stand_under_their_algorithm() {
        let params = json!({
            "$schema": "x", "type": "object",
            "properties": { "kind": { "$ref": "#/$defs/Kind" }, "l2": { "type": ["number", "null"] } },
            "$defs": { "Kind": { "enum": ["a", "b"] } }
        });
        let words = |name| AlgorithmWords { name, tasks: &[], takes_weights: true, params: params.clone() };
        let schema = job_schema_with(&[words("one"), words("two")]);
        let two = &schema["$defs"]["params.two"];
        assert_eq!((&two["properties"]["l2"]["type"], two.get("$schema")), (&json!("number"), None));
        assert_eq!(two["properties"]["kind"]["$ref"], "#/$defs/params.two/$defs/Kind");
        let conditions = schema["$defs"]["ModelSpec"]["allOf"].as_array().unwrap();
        assert_eq!(conditions[1]["if"]["properties"]["algorithm"]["const"], "two");
        assert_eq!(conditions[1]["then"]["properties"]["params"]["$ref"], "#/$defs/params.two");
        let mut all = Vec::new();
        objects(&schema, &mut all);
        let references: Vec<&str> = all.iter().filter_map(|object| object.get("$ref")?.as_str()).collect();
        assert!(references.iter().all(|name| schema.pointer(name.trim_start_matches('#')).is_some()), "{references:?}");
        assert_eq!(job_schema()["$defs"]["ModelSpec"].get("allOf"), None, "the check reads parameters itself");
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
