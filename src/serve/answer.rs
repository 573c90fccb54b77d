//! Answers as bytes: values are passed through as the store has them.

use super::generation::Generation;
use super::problem::{Kind, Problem};
use super::served::{Answer, Answers, Arm, Part, Served, Source};
use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use std::borrow::Cow;

/// The generation that an answer belongs to.
pub const GENERATION: HeaderName = HeaderName::from_static("lakemill-generation");
/// The end of the interval that its values were made for.
pub const AS_OF: HeaderName = HeaderName::from_static("lakemill-as-of");
/// Where the value comes from: `current`, `previous` or `fallback`.
pub const SOURCE: HeaderName = HeaderName::from_static("lakemill-source");
/// `true` where the value is older than it should be.
pub const STALE: HeaderName = HeaderName::from_static("lakemill-stale");
/// The arm of a split that the key belongs to.
pub const ARM: HeaderName = HeaderName::from_static("lakemill-arm");
/// The lookup table of that arm.
pub const TABLE: HeaderName = HeaderName::from_static("lakemill-table");

/// An answer with a body of this type.
pub fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that is JSON.
pub fn json_body(body: &Value) -> Response<Body> {
    whole(StatusCode::OK, "application/json", body.to_string())
}

/// The answer to a request for one key.
pub fn of_key(served: &Served, arm: &Arm, key: &str, answer: Answer) -> Response<Body> {
    let mut response = match answer.value {
        Some(value) => whole(StatusCode::OK, "application/json", value),
        None => {
            let detail = format!("{} has no key {}", served.name, Value::from(key));
            Problem::new(Kind::NoSuchKey, detail).response()
        }
    };
    let headers = response.headers_mut();
    if let Some(generation) = &answer.generation {
        belongs(headers, generation);
    }
    if answer.source != Source::Missing {
        headers.insert(SOURCE, HeaderValue::from_static(answer.source.name()));
    }
    if answer.is_stale {
        headers.insert(STALE, HeaderValue::from_static("true"));
    }
    if served.split.is_some() {
        headers.insert(ARM, arm.header.clone());
        headers.insert(TABLE, arm.table_header.clone());
    }
    response
}

fn belongs(headers: &mut HeaderMap, generation: &Generation) {
    headers.insert(GENERATION, generation.number_header.clone());
    headers.insert(AS_OF, generation.as_of_header.clone());
}

/// The answer to a request for several keys; `parts` are the arms that were asked.
pub fn of_keys(served: &Served, keys: &[Cow<'_, str>], parts: &[Part]) -> Response<Body> {
    let mut items = vec![None; keys.len()];
    for part in parts {
        for (place, item) in part.places.iter().zip(&part.answers.items) {
            items[*place] = Some((part.arm, item));
        }
    }
    let values: usize = items.iter().flatten().filter_map(|(_, item)| item.value.as_ref()).map(Bytes::len).sum();
    let mut body = Vec::with_capacity(values + keys.len() * 64 + 256);
    body.extend_from_slice(b"{\"table\":");
    text(&mut body, &served.name);
    match (&served.split, parts) {
        (None, [part, ..]) => {
            body.push(b',');
            about(&mut body, &part.answers);
        }
        _ => {
            body.extend_from_slice(b",\"arms\":{");
            for (index, part) in parts.iter().enumerate() {
                let arm = &served.arms[part.arm];
                if index > 0 {
                    body.push(b',');
                }
                text(&mut body, &arm.name);
                body.extend_from_slice(b":{\"table\":");
                text(&mut body, &arm.followed.table.name);
                body.push(b',');
                about(&mut body, &part.answers);
                body.push(b'}');
            }
            body.push(b'}');
        }
    }
    body.extend_from_slice(b",\"results\":[");
    for (index, (key, item)) in keys.iter().zip(items).enumerate() {
        let Some((arm, item)) = item else { continue };
        body.extend_from_slice(if index > 0 { b",{\"key\":" } else { b"{\"key\":" });
        text(&mut body, key);
        if served.split.is_some() {
            body.extend_from_slice(b",\"arm\":");
            text(&mut body, &served.arms[arm].name);
        }
        body.extend_from_slice(b",\"source\":\"");
        body.extend_from_slice(item.source.name().as_bytes());
        body.push(b'"');
        if let Some(generation) = item.generation {
            body.extend_from_slice(format!(",\"generation\":{generation}").as_bytes());
        }
        body.extend_from_slice(b",\"value\":");
        body.extend_from_slice(item.value.as_deref().unwrap_or(b"null"));
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    let mut response = whole(StatusCode::OK, "application/json", body);
    headers_of_keys(response.headers_mut(), served, parts);
    response
}

/// The same that the body says of the generations.
fn headers_of_keys(headers: &mut HeaderMap, served: &Served, parts: &[Part]) {
    if served.split.is_none() {
        let Some(Part { answers, .. }) = parts.first() else { return };
        if let Some(generation) = &answers.generation {
            belongs(headers, generation);
        }
        headers.insert(SOURCE, HeaderValue::from_static(answers.source.name()));
        if answers.is_stale {
            headers.insert(STALE, HeaderValue::from_static("true"));
        }
        return;
    }
    // One generation an arm: `champion=43, challenger=12`.
    let numbers = parts.iter().filter_map(|part| {
        let generation = part.answers.generation.as_ref()?;
        Some(format!("{}={}", served.arms[part.arm].name, generation.number()))
    });
    let numbers = numbers.collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&numbers) {
        headers.insert(GENERATION, value);
    }
    if parts.iter().any(|part| part.answers.is_stale) {
        headers.insert(STALE, HeaderValue::from_static("true"));
    }
}

/// The members of an object that say which generation was asked.
fn about(body: &mut Vec<u8>, answers: &Answers) {
    let generation = answers.generation.as_ref();
    let number = generation.map_or_else(|| "null".to_owned(), |generation| generation.number().to_string());
    body.extend_from_slice(b"\"generation\":");
    body.extend_from_slice(number.as_bytes());
    body.extend_from_slice(b",\"as_of\":");
    match generation {
        Some(generation) => text(body, &generation.reader().metadata().provenance.interval_end),
        None => body.extend_from_slice(b"null"),
    }
    let source = answers.source.name();
    body.extend_from_slice(format!(",\"source\":\"{source}\",\"stale\":{}", answers.is_stale).as_bytes());
}

/// A text as JSON.
fn text(body: &mut Vec<u8>, text: &str) {
    // A vector takes everything, and a text is always JSON.
    let _ = serde_json::to_writer(body, text);
}

/// What a name serves: of each lookup table behind it the generation, and how to read it.
pub fn of_table(served: &Served) -> Response<Body> {
    let arms = served.arms.iter().map(|arm| {
        let held = arm.followed.held();
        let mut about = json!({ "table": arm.followed.table.name });
        if let (Some(members), Some(generation)) = (about.as_object_mut(), &held.active) {
            let metadata = generation.reader().metadata();
            let source = if held.is_current { Source::Current } else { Source::Previous };
            members.insert("generation".to_owned(), metadata.generation.into());
            members.insert("source".to_owned(), source.name().into());
            members.insert("stale".to_owned(), served.policy.is_stale(generation).into());
            members.insert("metadata".to_owned(), serde_json::to_value(metadata).unwrap_or_default());
        }
        if served.split.is_some() { (arm.name.clone(), about) } else { (served.name.clone(), about) }
    });
    json_body(&json!({
        "table": served.name,
        "split": served.split.is_some(),
        "arms": arms.collect::<serde_json::Map<_, _>>(),
        "fallback": served.policy.fallback.as_deref().and_then(|json| serde_json::from_slice::<Value>(json).ok()),
        "stale_after_secs": served.policy.stale_after.map(|after| after.as_secs_f64()),
    }))
}
