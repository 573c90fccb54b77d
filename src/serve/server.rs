//! From a request to an answer.

use super::answer::{json_body, of_key, of_keys, of_table, whole};
use super::breaker::Breaker;
use super::followed::Followed;
use super::generation::borrowed;
use super::keys::{Batch, Key, checked, parts, unescaped};
use super::problem::{Kind, Problem};
use super::route::Route;
use super::served::{Part, Served};
use super::settings::Limits;
use super::telemetry::{CONTENT_TYPE as OPEN_METRICS, Telemetry};
use super::tokens::Tokens;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::routing::{get, post};
use futures::StreamExt;
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::time::{Instant, timeout_at};

/// How much more of a body that is too long is read, so that its sender gets to read the refusal.
const DISCARDED_BYTES: usize = 8 << 20;

/// The end of the paths of batches.
const MGET: &str = ":mget";

/// Everything that requests are answered from.
pub struct Server {
    /// What is served, by name.
    pub served: HashMap<String, Served>,
    /// The lookup tables behind it, each once.
    pub followed: Vec<Arc<Followed>>,
    /// What stands between requests and a store over a network.
    pub breaker: Option<Arc<Breaker>>,
    /// The tokens, one of which a request has to have; `None` where anybody may ask.
    pub tokens: Option<RwLock<Tokens>>,
    /// What a client may cost.
    pub limits: Limits,
    /// The longest key, in bytes.
    pub key_bytes: usize,
    /// What is counted.
    pub telemetry: Telemetry,
    /// The description of the paths.
    pub openapi: Bytes,
    /// Whether the server has been told to stop.
    pub is_stopping: AtomicBool,
}

/// The paths, and what answers them.
pub fn router(server: Arc<Server>) -> Router {
    let on = |route: Route| move |State(server): State<Arc<Server>>, request: Request| server.answer(route, request);
    Router::new()
        .route("/v1/{table}/{*key}", get(on(Route::Get)))
        .route("/v1/{table}/", get(on(Route::Get)))
        .route("/v1/{table}", get(on(Route::Table)).merge(post(on(Route::Mget))))
        .route("/health", get(on(Route::Health)))
        .route("/ready", get(on(Route::Ready)))
        .route("/metrics", get(on(Route::Metrics)))
        .route("/openapi.json", get(on(Route::OpenApi)))
        .fallback(on(Route::Unknown))
        .method_not_allowed_fallback(on(Route::OtherMethod))
        .with_state(server)
}

impl Server {
    /// Answers and counts a request.
    async fn answer(self: Arc<Self>, route: Route, request: Request) -> Response<Body> {
        let began = Instant::now();
        let response = match self.try_answer(route, request).await {
            Ok(response) => response,
            Err(problem) => problem.response(),
        };
        self.telemetry.answered(route, response.status().as_u16(), began.elapsed());
        response
    }

    async fn try_answer(&self, route: Route, request: Request) -> Result<Response<Body>, Problem> {
        if !route.is_open() && !self.admits(request.headers()) {
            return Err(Problem::new(Kind::Unauthorized, "send `authorization: Bearer` and a token of this server"));
        }
        match route {
            Route::Get => self.get(request.uri().path()).await,
            Route::Mget => self.mget(request).await,
            Route::Table => self.table(request.uri().path()),
            Route::Health => Ok(json_body(&json!({ "status": "ok" }))),
            Route::Ready => self.ready(self.admits(request.headers())),
            Route::Metrics => self.metrics(),
            Route::OpenApi => Ok(whole(StatusCode::OK, "application/json", self.openapi.clone())),
            Route::Unknown => Err(Problem::new(Kind::NoSuchRoute, "the paths are described by /openapi.json")),
            Route::OtherMethod => Ok(other_method(request.uri().path())),
        }
    }

    /// When a request that has just come has to be answered.
    fn until(&self) -> Instant {
        Instant::now() + self.limits.request_timeout.get()
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        match &self.tokens {
            Some(tokens) => tokens.read().unwrap_or_else(PoisonError::into_inner).admit(headers),
            None => true,
        }
    }

    fn served(&self, name: &str) -> Result<&Served, Problem> {
        self.served.get(name).ok_or_else(|| {
            Problem::new(Kind::UnknownTable, format!("{} is not served here", serde_json::Value::from(name)))
        })
    }

    async fn get(&self, path: &str) -> Result<Response<Body>, Problem> {
        let (table, key) = parts(path);
        let served = self.served(&unescaped(table)?)?;
        let key = checked(unescaped(key.unwrap_or_default())?, self.key_bytes)?;
        let arm = &served.arms[served.arm_of(&key)];
        let answer = arm.get(&served.policy, &key, self.until()).await?;
        Ok(of_key(served, arm, &key, answer))
    }

    async fn mget(&self, request: Request) -> Result<Response<Body>, Problem> {
        let until = self.until();
        let table = unescaped(parts(request.uri().path()).0)?.into_owned();
        let Some(name) = table.strip_suffix(MGET) else { return Ok(other_method(request.uri().path())) };
        let served = self.served(name)?;
        let late = |_| Problem::new(Kind::TooSlow, "the body did not come in time");
        let body = timeout_at(until, self.body(request)).await.map_err(late)??;
        let wrong = |source: serde_json::Error| Problem::new(Kind::InvalidBody, source.to_string());
        let batch: Batch<'_> = serde_json::from_slice(&body).map_err(wrong)?;
        let most = self.limits.keys;
        if batch.keys.len() > most {
            let detail = format!("{} keys were asked for, and at most {most} are answered", batch.keys.len());
            return Err(Problem::new(Kind::TooManyKeys, detail));
        }
        let columns =
            served.arms.iter().find_map(|arm| arm.followed.held().active.as_ref().map(|active| active.key_columns()));
        let key = |(index, key): (usize, Key<'_>)| {
            let stored = key.stored(columns).and_then(|key| checked(key, self.key_bytes));
            stored.map(|key| Cow::Owned(key.into_owned())).map_err(|problem| problem.of_key(index))
        };
        let keys: Vec<Cow<'_, str>> = batch.keys.into_iter().enumerate().map(key).collect::<Result<_, _>>()?;
        Ok(of_keys(served, &keys, &answers(served, &keys, until).await?))
    }

    fn table(&self, path: &str) -> Result<Response<Body>, Problem> {
        let name = unescaped(parts(path).0)?;
        match self.served(&name) {
            Ok(served) => Ok(of_table(served)),
            Err(_) if name.ends_with(MGET) => Ok(other_method(path)),
            Err(problem) => Err(problem),
        }
    }

    /// Whether requests should be sent here; which tables lack a generation is told to those who have a token.
    fn ready(&self, is_admitted: bool) -> Result<Response<Body>, Problem> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Problem::new(Kind::NotReady, "the server has been told to stop"));
        }
        if self.breaker.as_ref().is_some_and(|breaker| breaker.is_open()) {
            return Err(Problem::new(Kind::NotReady, "the store does not answer"));
        }
        let missing = self.followed.iter().filter(|followed| followed.held().active.is_none());
        let missing: Vec<&str> = missing.map(|followed| followed.table.name.as_str()).collect();
        match (missing.len(), is_admitted) {
            (0, _) => Ok(json_body(&json!({ "status": "ready" }))),
            (_, true) => Err(Problem::new(Kind::NotReady, format!("nothing can be read of {}", missing.join(", ")))),
            (count, false) => Err(Problem::new(Kind::NotReady, format!("nothing can be read of {count} tables"))),
        }
    }

    fn metrics(&self) -> Result<Response<Body>, Problem> {
        let now = SystemTime::now();
        self.followed.iter().for_each(|followed| followed.tell(now));
        let failed = |_| Problem::new(Kind::NotReady, "the metrics cannot be written");
        Ok(whole(StatusCode::OK, OPEN_METRICS, self.telemetry.text().map_err(failed)?))
    }

    /// The body of a request, which has to be JSON and not too long.
    async fn body(&self, request: Request) -> Result<Bytes, Problem> {
        if let Some(other) = request.headers().get(CONTENT_TYPE).filter(|content_type| !is_json(content_type)) {
            let detail =
                format!("the body is said to be {:?}; send it as application/json", other.to_str().unwrap_or("?"));
            return Err(Problem::new(Kind::NotJson, detail));
        }
        let most = self.limits.body_bytes;
        let too_large = || Problem::new(Kind::BodyTooLarge, format!("a body has at most {most} bytes"));
        let (head, body) = request.into_parts();
        let header = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let declared = header(CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        if declared.is_some_and(|length| length > most) && header(EXPECT).is_some() {
            // It waits to be asked for.
            return Err(too_large());
        }
        let mut chunks = body.into_data_stream();
        let mut body = Vec::with_capacity(declared.unwrap_or(0).min(most));
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Problem::new(Kind::InvalidBody, "the body ended early"))?;
            length += chunk.len();
            if length <= most {
                body.extend_from_slice(&chunk);
            } else if length > most + DISCARDED_BYTES {
                break;
            }
        }
        if length > most { Err(too_large()) } else { Ok(body.into()) }
    }
}

/// Asks each arm for its keys.
async fn answers(served: &Served, keys: &[Cow<'_, str>], until: Instant) -> Result<Vec<Part>, Problem> {
    let keys = borrowed(keys);
    if served.split.is_none() {
        let answers = served.arms[0].mget(&served.policy, &keys, until).await?;
        return Ok(vec![Part { arm: 0, places: (0..keys.len()).collect(), answers }]);
    }
    let mut places = vec![Vec::new(); served.arms.len()];
    for (place, key) in keys.iter().enumerate() {
        places[served.arm_of(key)].push(place);
    }
    let mut parts = Vec::new();
    for (arm, places) in places.into_iter().enumerate().filter(|(_, places)| !places.is_empty()) {
        let asked: Vec<&str> = places.iter().map(|&place| keys[place]).collect();
        let answers = served.arms[arm].mget(&served.policy, &asked, until).await?;
        parts.push(Part { arm, places, answers });
    }
    Ok(parts)
}

/// The answer to a method that a path does not know.
fn other_method(path: &str) -> Response<Body> {
    let is_mget = |table: &str| unescaped(table).is_ok_and(|table| table.ends_with(MGET));
    let allowed = match parts(path) {
        (table, None) if is_mget(table) => "POST",
        _ => "GET,HEAD",
    };
    let mut response = Problem::new(Kind::MethodNotAllowed, "the paths are described by /openapi.json").response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn is_json(content_type: &HeaderValue) -> bool {
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}
