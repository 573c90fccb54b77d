//! What the buckets of all clouds have in common: waits and bounds, who asks, errors that tell nothing secret, and
//! conditional puts whose outcome is known.
//!
//! A cloud is a folder beside this one that makes two clients of the library out of the environment (one repeats
//! requests, one does not), and says who asks. Everything else is here.

mod failure;
mod store;
mod told;

pub use failure::{Failure, clock_offset};
pub(super) use failure::{clean, generic};
pub(super) use told::{Chosen, last_four, told};

use crate::error::{Error, Result};
use object_store::limit::LimitStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use store::Bucket;
use url::Url;

/// Gives the value of an environment variable.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The first wait before a request is repeated; later ones are longer, each drawn at random.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// How often a request is sent at most, unless the environment says otherwise.
const ATTEMPTS: usize = 8;
/// How often a service that gives credentials is asked. It is near, or it is not there at all.
pub(super) const CREDENTIAL_ATTEMPTS: usize = 3;
/// No request is repeated after this long.
const RETRY_TIME: Duration = Duration::from_secs(120);
/// How long a connection may take to stand.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a request may take with its answer. A read that is cut off here goes on where it was.
const REQUEST_TIME: Duration = Duration::from_secs(120);
/// Requests to a bucket under way at once.
const CONCURRENT: usize = 64;

/// Whose store a bucket is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cloud {
    /// Amazon's, and servers that speak its protocol.
    S3,
    /// Google's.
    Gcs,
    /// Microsoft's, whose buckets are containers of an account.
    Azure,
}

impl Cloud {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::Gcs => "GCS",
            Self::Azure => "Azure",
        }
    }
}

/// Who asks for a bucket, and where. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// Where the credentials come from.
    pub source: String,
    /// The end of the access key's id, where it stands in a setting: at most four characters.
    pub access_key: Option<String>,
    /// The server.
    pub endpoint: String,
    /// The region for which requests are signed, where the cloud signs for one.
    pub region: Option<String>,
}

/// How often a request is sent at most: `name` of the environment, or what is usual.
///
/// # Errors
/// Usage: what is set is no such number.
pub(super) fn attempts(environment: Environment<'_>, name: &str) -> Result<usize> {
    match set(environment, name) {
        None => Ok(ATTEMPTS),
        Some(text) => match text.parse() {
            Ok(attempts @ 1..=100) => Ok(attempts),
            _ => Err(Error::usage(format!("{name} is not a number from 1 to 100"))),
        },
    }
}

/// The value of a variable that is set to something.
pub(super) fn set(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.is_empty())
}

/// Whether a variable says yes.
pub(super) fn is_on(environment: Environment<'_>, name: &str) -> bool {
    set(environment, name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

/// When and how long a request is repeated.
pub(super) fn retry(attempts: usize) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: BACKOFF_FIRST, max_backoff: BACKOFF_MOST, base: 2.0 },
        max_retries: attempts - 1,
        retry_timeout: RETRY_TIME,
    }
}

/// Time-outs, and whether data may go in the clear.
pub(super) fn client_options(allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIME)
        .with_timeout(REQUEST_TIME)
        .with_pool_max_idle_per_host(CONCURRENT)
        .with_allow_http(allow_http)
}

/// The variables that say where a cloud's server is.
pub(super) struct Endpoint {
    pub(super) cloud: Cloud,
    /// The variable of the address.
    pub(super) variable: &'static str,
    /// The variable that allows `http://`.
    pub(super) allow: &'static str,
}

impl Endpoint {
    /// Refuses an endpoint that would send data in the clear without being told to, or that holds a password.
    ///
    /// # Errors
    /// Usage: so it does, or it is no URL.
    pub(super) fn check(&self, endpoint: &str, allow_http: bool) -> Result<String> {
        let Self { cloud, variable, allow } = self;
        let wrong = |what: &str| Error::usage(format!("the endpoint of {} {what}", cloud.name()));
        let url =
            Url::parse(endpoint).map_err(|_| wrong("is not a URL").hint("write https://host or https://host:port"))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("holds more than a host").hint(format!("keys do not belong into {variable}")));
        }
        match url.scheme() {
            "https" => {}
            "http" if allow_http => {}
            "http" => {
                return Err(wrong("is http://, so that anybody on the way could read the data")
                    .with("endpoint", endpoint)
                    .hint(format!("use https://, or set {allow}=true where the network is trusted")));
            }
            _ => return Err(wrong("is neither https:// nor http://")),
        }
        Ok(endpoint.trim_end_matches('/').to_owned())
    }
}

/// A source of credentials that is set in part. Nothing weaker takes its place.
pub(super) fn half(cloud: Cloud, set: &str, missing: &str) -> Error {
    Error::usage(format!("the credentials for {} in the environment are incomplete", cloud.name()))
        .with("set", set)
        .with("missing", missing)
        .hint(format!("set {missing} too, or unset {set}; lakemill does not go on as somebody else"))
}

/// A bucket that was opened, and who asks for it.
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) identity: Identity,
}

/// The library's clients of one bucket.
pub(super) struct Clients {
    /// Repeats requests.
    pub(super) patient: Arc<dyn ObjectStore>,
    /// Sends each request once.
    pub(super) once: Arc<dyn ObjectStore>,
    /// How often a request is sent at most.
    pub(super) attempts: usize,
    /// Whether the server begins a listing where it is told to.
    pub(super) lists_from: bool,
}

impl Opened {
    /// A bucket of that name, which is shown.
    pub(super) fn new(cloud: Cloud, name: String, clients: Clients, identity: Identity) -> Self {
        let store = Bucket {
            cloud,
            name,
            patient: Arc::new(LimitStore::new(clients.patient, CONCURRENT)),
            once: LimitStore::new(clients.once, CONCURRENT),
            retries: clients.attempts - 1,
            lists_from: clients.lists_from,
        };
        Self { store: Arc::new(store), identity }
    }
}

/// The buckets that this process has opened: their connections and credentials are used again.
static OPENED: LazyLock<Mutex<Buckets>> = LazyLock::new(Mutex::default);

/// Opened buckets by cloud and name.
type Buckets = HashMap<(Cloud, String), Arc<Opened>>;

/// The bucket of that name, opened by `connect` if it is not yet. No request is made.
///
/// # Errors
/// What `connect` fails with.
pub(super) fn opened(
    cloud: Cloud,
    name: &str,
    connect: impl FnOnce(Environment<'_>) -> Result<Opened>,
) -> Result<Arc<Opened>> {
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (cloud, name.to_owned());
    if let Some(known) = all.get(&key) {
        return Ok(Arc::clone(known));
    }
    let opened = Arc::new(connect(&|name: &str| std::env::var(name).ok())?);
    all.insert(key, Arc::clone(&opened));
    Ok(opened)
}

#[cfg(test)]
pub(super) fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: HashMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    move |name| pairs.get(name).cloned()
}
