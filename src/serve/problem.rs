//! What can't be answered, as RFC 9457 says it: `application/problem+json`.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use std::borrow::Cow;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: Kind,
    /// What it is about here: a sentence without a full stop.
    pub detail: Cow<'static, str>,
    /// Which key of a batch is meant, counted from 0.
    pub index: Option<usize>,
}

/// The kinds of problems; each has one status and one word, which clients may compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No such path.
    NoSuchRoute,
    /// A table that this server does not serve.
    UnknownTable,
    /// The table is there, and has no such key.
    NoSuchKey,
    /// A key that no table can hold.
    InvalidKey,
    /// The body is not what it should be.
    InvalidBody,
    /// The path knows other methods.
    MethodNotAllowed,
    /// No token, or one that is not known.
    Unauthorized,
    /// The body did not come in time.
    TooSlow,
    /// The body is longer than allowed.
    BodyTooLarge,
    /// More keys than allowed.
    TooManyKeys,
    /// The body is of another type than JSON.
    NotJson,
    /// Nothing is published, or nothing of it can be read.
    NoGeneration,
    /// The store does not answer.
    StoreUnavailable,
    /// The store did not answer in time.
    StoreTooSlow,
    /// A table has no generation yet, or the server is about to stop.
    NotReady,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::NoSuchRoute,
        Self::UnknownTable,
        Self::NoSuchKey,
        Self::InvalidKey,
        Self::InvalidBody,
        Self::MethodNotAllowed,
        Self::Unauthorized,
        Self::TooSlow,
        Self::BodyTooLarge,
        Self::TooManyKeys,
        Self::NotJson,
        Self::NoGeneration,
        Self::StoreUnavailable,
        Self::StoreTooSlow,
        Self::NotReady,
    ];

    /// The status of the answer, the word (`code`), and what it means in general (`title`).
    pub const fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoSuchRoute => (StatusCode::NOT_FOUND, "no_such_route", "There is nothing at this path"),
            Self::UnknownTable => (StatusCode::NOT_FOUND, "unknown_table", "This server does not serve such a table"),
            Self::NoSuchKey => (StatusCode::NOT_FOUND, "no_such_key", "The table has no such key"),
            Self::InvalidKey => (StatusCode::BAD_REQUEST, "invalid_key", "No table can hold such a key"),
            Self::InvalidBody => (StatusCode::BAD_REQUEST, "invalid_body", "The body is not a list of keys"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The path knows other methods")
            }
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid bearer token is needed"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow", "The request did not come in time"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too long"),
            Self::TooManyKeys => (StatusCode::BAD_REQUEST, "too_many_keys", "These are too many keys at once"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", "The body has to be JSON"),
            Self::NoGeneration => {
                (StatusCode::SERVICE_UNAVAILABLE, "no_generation", "The table has nothing that can be read")
            }
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The store does not answer")
            }
            Self::StoreTooSlow => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_too_slow", "The store did not answer in time")
            }
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not every table can be read"),
        }
    }
}

impl Problem {
    /// A problem of this kind.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), index: None }
    }

    /// A key that no table can hold.
    pub fn invalid_key(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidKey, detail)
    }

    /// The same problem of one key of a batch.
    #[must_use]
    pub fn of_key(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    /// The body of the answer.
    pub fn json(&self) -> serde_json::Value {
        let (status, code, title) = self.kind.words();
        let mut body = json!({
            "type": format!("urn:lakemill:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "code": code,
        });
        if let (Some(index), Some(members)) = (self.index, body.as_object_mut()) {
            members.insert("index".to_owned(), index.into());
        }
        body
    }

    /// The answer.
    pub fn response(&self) -> Response<Body> {
        let (status, ..) = self.kind.words();
        let mut response = Response::new(Body::from(self.json().to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"lakemill\""));
            }
            // What is left of the request is not worth reading.
            Kind::TooSlow | Kind::BodyTooLarge => {
                headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Kind::NoGeneration | Kind::StoreUnavailable | Kind::StoreTooSlow | Kind::NotReady => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_kind_has_a_word_of_its_own_and_an_errors_status() {
        let words: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.words().1).collect();
        assert_eq!(words.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let problem = Problem::new(*kind, "why").of_key(3);
            let response = problem.response();
            assert!(response.status().is_client_error() || response.status().is_server_error());
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            assert_eq!(problem.json()["status"], response.status().as_u16());
            assert_eq!(problem.json()["index"], 3);
        }
    }
}
