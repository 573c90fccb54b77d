//! The description of the paths: OpenAPI 3.1.

use super::problem::{Kind, Problem};
use super::settings::Limits;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What the description depends on.
pub struct Facts<'a> {
    /// The names that are served, at least one.
    pub tables: Vec<&'a str>,
    /// Whether requests need a token.
    pub needs_token: bool,
    /// The longest key, in bytes.
    pub key_bytes: usize,
    /// The most columns that a key has.
    pub key_columns: usize,
    /// What a client may cost.
    pub limits: &'a Limits,
}

/// The whole document.
pub fn document(facts: &Facts<'_>) -> Value {
    let security = if facts.needs_token { json!([{ "bearer": [] }]) } else { json!([]) };
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "lakemill serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Reads lookup tables. Every value belongs to one generation, which the answer names.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": security,
        "paths": {
            "/v1/{table}/{key}": { "parameters": [table_parameter(facts), key_parameter(facts)], "get": get() },
            "/v1/{table}:mget": { "parameters": [table_parameter(facts)], "post": mget(facts) },
            "/v1/{table}": { "parameters": [table_parameter(facts)], "get": table() },
            "/health": { "get": health() },
            "/ready": { "get": ready() },
            "/metrics": { "get": metrics() },
            "/openapi.json": { "get": openapi() },
        },
        "components": { "headers": headers(), "schemas": schemas(facts) },
    });
    if facts.needs_token {
        document["components"]["securitySchemes"] = json!({ "bearer": { "type": "http", "scheme": "bearer" } });
    }
    document
}

fn table_parameter(facts: &Facts<'_>) -> Value {
    json!({
        "name": "table",
        "in": "path",
        "required": true,
        "description": "A name that is served",
        "schema": { "type": "string", "enum": facts.tables },
        "example": facts.tables.first(),
    })
}

fn key_parameter(facts: &Facts<'_>) -> Value {
    json!({
        "name": "key",
        "in": "path",
        "required": true,
        "description": format!(
            "The key as text, percent-encoded UTF-8 of at most {} bytes. Of several columns: their texts with \\ as \\\\ and | as \\|, joined by |",
            facts.key_bytes
        ),
        "schema": { "type": "string", "minLength": 1, "maxLength": facts.key_bytes },
        "examples": { "one column": { "value": "42" }, "several": { "value": "eu|42" } },
    })
}

/// The problems of these kinds as responses, those of one status together.
fn problems(kinds: &[Kind]) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.words().0.as_u16()).or_default().push(*kind);
    }
    let responses = by_status.into_iter().map(|(status, kinds)| {
        let titles: Vec<_> = kinds.iter().map(|kind| kind.words().2).collect();
        let examples = kinds.iter().map(|kind| {
            let (_, code, title) = kind.words();
            (code.to_owned(), json!({ "summary": title, "value": Problem::new(*kind, title).json() }))
        });
        let mut response = json!({
            "description": titles.join("; "),
            "content": { "application/problem+json": {
                "schema": { "$ref": "#/components/schemas/Problem" },
                "examples": examples.collect::<Map<_, _>>(),
            } },
        });
        match status {
            401 => response["headers"] = json!({ "www-authenticate": { "schema": { "type": "string" } } }),
            405 => response["headers"] = json!({ "allow": { "schema": { "type": "string" } } }),
            503 => response["headers"] = json!({ "retry-after": { "schema": { "type": "integer" } } }),
            _ => {}
        }
        (status.to_string(), response)
    });
    responses.collect()
}

fn responses(ok: Value, kinds: &[Kind]) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), ok);
    responses.extend(problems(kinds));
    Value::Object(responses)
}

fn named_headers(names: &[&str]) -> Value {
    let headers =
        names.iter().map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })));
    Value::Object(headers.collect())
}

const OF_A_KEY: &[&str] =
    &["lakemill-generation", "lakemill-as-of", "lakemill-source", "lakemill-stale", "lakemill-arm", "lakemill-table"];

fn get() -> Value {
    let ok = json!({
        "description": "The value",
        "headers": named_headers(OF_A_KEY),
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Value" },
            "example": { "score": 0.25, "prediction": 0 },
        } },
    });
    let kinds = [
        Kind::InvalidKey,
        Kind::Unauthorized,
        Kind::UnknownTable,
        Kind::NoSuchKey,
        Kind::MethodNotAllowed,
        Kind::NoGeneration,
        Kind::StoreUnavailable,
        Kind::StoreTooSlow,
    ];
    json!({
        "operationId": "get",
        "summary": "The value of a key",
        "description": "404 means that the table lacks the key (`no_such_key`; the generation that was asked is named) or that this server knows no such table (`unknown_table`); 503 that nothing of the table is published or can be read (`no_generation`), or that its store does not answer (`store_unavailable`) or not in time (`store_too_slow`).",
        "responses": responses(ok, &kinds),
    })
}

fn mget(facts: &Facts<'_>) -> Value {
    let table = facts.tables.first().copied().unwrap_or_default();
    let ok = json!({
        "description": "A result for each key, in the order of the keys. All values belong to the generation that is named, but for results that name one of their own.",
        "headers": named_headers(&OF_A_KEY[..4]),
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Results" },
            "example": {
                "table": table,
                "generation": 43,
                "as_of": "2018-06-21T00:00:00Z",
                "source": "current",
                "stale": false,
                "results": [
                    { "key": "42", "source": "current", "value": { "score": 0.25, "prediction": 0 } },
                    { "key": "no such", "source": "none", "value": null },
                ],
            },
        } },
    });
    let kinds = [
        Kind::InvalidBody,
        Kind::InvalidKey,
        Kind::TooManyKeys,
        Kind::Unauthorized,
        Kind::UnknownTable,
        Kind::MethodNotAllowed,
        Kind::TooSlow,
        Kind::BodyTooLarge,
        Kind::NotJson,
        Kind::NoGeneration,
        Kind::StoreUnavailable,
        Kind::StoreTooSlow,
    ];
    json!({
        "operationId": "mget",
        "summary": "The values of several keys",
        "requestBody": {
            "required": true,
            "description": format!("At most {} bytes", facts.limits.body_bytes),
            "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/Keys" },
                "examples": {
                    "texts": { "value": { "keys": ["42", "no such"] } },
                    "numbers": { "value": { "keys": [42, 43] } },
                },
            } },
        },
        "responses": responses(ok, &kinds),
    })
}

fn table() -> Value {
    let ok = json!({
        "description": "What is served under the name: the generation of each lookup table behind it, and what that says about itself",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Table" } } },
    });
    let kinds = [Kind::InvalidKey, Kind::Unauthorized, Kind::UnknownTable, Kind::MethodNotAllowed];
    json!({ "operationId": "table", "summary": "What a name serves", "responses": responses(ok, &kinds) })
}

fn health() -> Value {
    let ok = json!({
        "description": "The process is alive",
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Status" },
            "example": { "status": "ok" },
        } },
    });
    let responses = responses(ok, &[Kind::MethodNotAllowed]);
    json!({ "operationId": "health", "summary": "Whether the process is alive", "security": [], "responses": responses })
}

fn ready() -> Value {
    let ok = json!({
        "description": "Every table has a generation that can be read, and the store answers",
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Status" },
            "example": { "status": "ready" },
        } },
    });
    let responses = responses(ok, &[Kind::MethodNotAllowed, Kind::NotReady]);
    json!({
        "operationId": "ready",
        "summary": "Whether requests should be sent here",
        "security": [],
        "responses": responses,
    })
}

fn metrics() -> Value {
    let ok = json!({
        "description": "Everything that is counted, as OpenMetrics text",
        "content": { "application/openmetrics-text": { "schema": { "type": "string" } } },
    });
    let responses = responses(ok, &[Kind::Unauthorized, Kind::MethodNotAllowed]);
    json!({ "operationId": "metrics", "summary": "Metrics for Prometheus", "responses": responses })
}

fn openapi() -> Value {
    let ok = json!({
        "description": "This document",
        "content": { "application/json": { "schema": { "type": "object" } } },
    });
    let responses = responses(ok, &[Kind::Unauthorized, Kind::MethodNotAllowed]);
    json!({ "operationId": "openapi", "summary": "This document", "responses": responses })
}

fn headers() -> Value {
    json!({
        "lakemill-generation": {
            "description": "The generation that the answer belongs to; of a batch over a split one an arm: `champion=43, challenger=12`. Absent where none can be read",
            "schema": { "type": "string" },
            "example": "43",
        },
        "lakemill-as-of": {
            "description": "The end of the interval that the values were made for",
            "schema": { "type": "string" },
            "example": "2018-06-21T00:00:00Z",
        },
        "lakemill-source": {
            "description": "Where the value comes from",
            "schema": { "type": "string", "enum": ["current", "previous", "fallback"] },
        },
        "lakemill-stale": {
            "description": "Present where values are older than `stale_after`",
            "schema": { "type": "string", "enum": ["true"] },
        },
        "lakemill-arm": {
            "description": "The arm of a split that the key belongs to",
            "schema": { "type": "string" },
            "example": "champion",
        },
        "lakemill-table": {
            "description": "The lookup table of that arm",
            "schema": { "type": "string" },
        },
    })
}

fn schemas(facts: &Facts<'_>) -> Value {
    json!({
        "Value": { "type": "object", "description": "The value columns of the table, in their order" },
        "Keys": keys(facts),
        "Result": {
            "type": "object",
            "properties": {
                "key": { "type": "string", "description": "The key as it is stored" },
                "arm": { "type": "string", "description": "Of a split: the arm that the key belongs to" },
                "source": { "type": "string", "enum": ["current", "previous", "fallback", "none"] },
                "generation": { "type": "integer", "description": "Where it is another one than that of the rest" },
                "value": { "anyOf": [{ "$ref": "#/components/schemas/Value" }, { "type": "null" }] },
            },
            "required": ["key", "source", "value"],
        },
        "Results": results(),
        "Table": {
            "type": "object",
            "properties": {
                "table": { "type": "string" },
                "split": { "type": "boolean" },
                "arms": { "type": "object", "additionalProperties": { "type": "object" } },
                "fallback": { "type": ["object", "null"] },
                "stale_after_secs": { "type": ["number", "null"] },
            },
            "required": ["table", "split", "arms", "fallback", "stale_after_secs"],
        },
        "Status": { "type": "object", "properties": { "status": { "type": "string" } }, "required": ["status"] },
        "Problem": {
            "type": "object",
            "description": "RFC 9457",
            "properties": {
                "type": { "type": "string" },
                "title": { "type": "string" },
                "status": { "type": "integer" },
                "detail": { "type": "string" },
                "code": { "type": "string", "enum": Kind::ALL.iter().map(|kind| kind.words().1).collect::<Vec<_>>() },
                "index": { "type": "integer", "description": "Which key of a batch is meant, counted from 0" },
            },
            "required": ["type", "title", "status", "detail", "code"],
        },
    })
}

/// The body of a batch.
fn keys(facts: &Facts<'_>) -> Value {
    let text = json!({ "type": "string", "minLength": 1, "maxLength": facts.key_bytes });
    let number = json!({ "type": "integer", "minimum": i64::MIN, "maximum": u64::MAX });
    let mut key = vec![text, number];
    if facts.key_columns > 1 {
        let part = json!({ "type": ["string", "integer"], "minLength": 1 });
        key.push(json!({ "type": "array", "minItems": 2, "maxItems": facts.key_columns, "items": part }));
    }
    json!({
        "type": "object",
        "properties": { "keys": {
            "type": "array",
            "maxItems": facts.limits.keys,
            "items": {
                "description": "A text, a whole number, or the columns of a key of several",
                "anyOf": key,
            },
        } },
        "required": ["keys"],
        "additionalProperties": false,
    })
}

/// The answer to a batch.
fn results() -> Value {
    let about = json!({
        "generation": { "type": ["integer", "null"], "minimum": 0 },
        "as_of": { "type": ["string", "null"] },
        "source": { "type": "string", "enum": ["current", "previous", "fallback"] },
        "stale": { "type": "boolean" },
    });
    let mut arm = about.clone();
    arm["table"] = json!({ "type": "string" });
    let mut results = about;
    results["table"] = json!({ "type": "string" });
    results["arms"] = json!({
        "type": "object",
        "description": "Of a split, in place of the generation: one an arm that was asked",
        "additionalProperties": {
            "type": "object",
            "properties": arm,
            "required": ["table", "generation", "as_of", "source", "stale"],
        },
    });
    results["results"] = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Result" } });
    json!({ "type": "object", "properties": results, "required": ["table", "results"] })
}
