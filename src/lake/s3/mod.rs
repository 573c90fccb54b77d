//! Buckets of S3, and of servers that speak its protocol.
//!
//! Put-if-absent (`If-None-Match: *`) is what lakemill's state rests on; the server must honour it. What the environment says:
//!
//! | variable | meaning |
//! |---|---|
//! | `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, ... | who asks, see [`identity`] |
//! | `AWS_REGION`, `AWS_DEFAULT_REGION` | the region; else the profile's, else `us-east-1` |
//! | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` | another server than Amazon's; else the profile's `endpoint_url` |
//! | `AWS_ALLOW_HTTP` | `true`: the endpoint may be `http://` |
//! | `AWS_MAX_ATTEMPTS` | how often a request is sent at most |
//! | `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`, `AWS_SERVER_SIDE_ENCRYPTION`, ... | as object_store reads them: [`PASSED_ON`] |

mod failure;
mod identity;
mod process;
mod profile;
mod store;

pub use failure::{Failure, clock_offset};
pub use identity::Identity;

use crate::error::{Error, Result};
use identity::Chosen;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::limit::LimitStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use profile::Profiles;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use store::Bucket;
use url::Url;

/// Gives the value of an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The first wait before a request is repeated; later ones are longer, each drawn at random.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const BACKOFF_MOST: Duration = Duration::from_secs(10);
/// How often a request is sent at most, unless `AWS_MAX_ATTEMPTS` says otherwise.
const ATTEMPTS: usize = 8;
/// No request is repeated after this long.
const RETRY_TIME: Duration = Duration::from_secs(120);
/// How long a connection may take to stand.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a request may take with its answer. A read that is cut off here goes on where it was.
const REQUEST_TIME: Duration = Duration::from_secs(120);
/// Requests to a bucket under way at once.
const CONCURRENT: usize = 64;

/// Settings that object_store understands and that are handed on as they are.
const PASSED_ON: &[&str] = &[
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_UNSIGNED_PAYLOAD",
    "AWS_REQUEST_PAYER",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_SSE_BUCKET_KEY_ENABLED",
];

/// How a bucket is reached. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settings {
    endpoint: Option<String>,
    region: String,
    allow_http: bool,
    attempts: usize,
    passed_on: Vec<(AmazonS3ConfigKey, String)>,
}

impl Settings {
    fn read(environment: Environment<'_>, profiles: &Profiles) -> Result<Self> {
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| set(name));
        let endpoint = endpoint.or_else(|| profiles.setting("endpoint_url").map(str::to_owned));
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.or_else(|| profiles.setting("region").map(str::to_owned));
        let allow_http = set("AWS_ALLOW_HTTP").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        let attempts = match set("AWS_MAX_ATTEMPTS") {
            None => ATTEMPTS,
            Some(text) => match text.parse() {
                Ok(attempts @ 1..=100) => attempts,
                _ => return Err(Error::usage("AWS_MAX_ATTEMPTS is not a number from 1 to 100")),
            },
        };
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((name.to_lowercase().parse().ok()?, set(name)?)));
        Ok(Self {
            endpoint: endpoint.map(|endpoint| check_endpoint(&endpoint, allow_http)).transpose()?,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            allow_http,
            attempts,
            passed_on: passed_on.collect(),
        })
    }

    /// Bare settings with retries and time-outs, for stores and for those who ask for credentials.
    fn builder(&self, attempts: usize) -> AmazonS3Builder {
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: BACKOFF_FIRST, max_backoff: BACKOFF_MOST, base: 2.0 },
            max_retries: attempts - 1,
            retry_timeout: RETRY_TIME,
        };
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT_TIME)
            .with_timeout(REQUEST_TIME)
            .with_pool_max_idle_per_host(CONCURRENT)
            .with_allow_http(self.allow_http);
        let builder = AmazonS3Builder::new()
            .with_region(&self.region)
            .with_retry(retry)
            .with_client_options(client)
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint),
            None => builder,
        }
    }

    fn client(&self, bucket: &str, chosen: &Chosen, attempts: usize) -> Result<AmazonS3> {
        let builder = self.builder(attempts).with_bucket_name(bucket);
        let builder = match &chosen.provider {
            Some(provider) => builder.with_credentials(Arc::clone(provider)),
            None => builder.with_skip_signature(true),
        };
        let passed_on = self.passed_on.iter();
        let builder = passed_on.fold(builder, |builder, (key, value)| builder.with_config(*key, value));
        builder.build().map_err(|source| {
            Error::usage("the settings of S3 in the environment can't be used").because(failure::clean(source))
        })
    }
}

/// Refuses an endpoint that would send data in the clear without being told to, or that holds a password.
fn check_endpoint(endpoint: &str, allow_http: bool) -> Result<String> {
    let wrong = |what: &str| Error::usage(format!("the endpoint of S3 {what}"));
    let url =
        Url::parse(endpoint).map_err(|_| wrong("is not a URL").hint("write https://host or https://host:port"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("holds more than a host").hint("keys do not belong into AWS_ENDPOINT_URL"));
    }
    match url.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => {
            return Err(wrong("is http://, so that anybody on the way could read the data")
                .with("endpoint", endpoint)
                .hint("use https://, or set AWS_ALLOW_HTTP=true where the network is trusted"));
        }
        _ => return Err(wrong("is neither https:// nor http://")),
    }
    Ok(endpoint.trim_end_matches('/').to_owned())
}

struct Opened {
    store: Arc<dyn ObjectStore>,
    identity: Identity,
}

/// The buckets that this process has opened: their connections and credentials are used again.
static OPENED: LazyLock<Mutex<HashMap<String, Arc<Opened>>>> = LazyLock::new(Mutex::default);

/// The store of a bucket, opened once a process. No request is made yet.
///
/// # Errors
/// Usage: credentials or settings that are incomplete or contradict each other.
pub(super) fn open(bucket: &str) -> Result<Arc<dyn ObjectStore>> {
    opened(bucket).map(|opened| Arc::clone(&opened.store))
}

/// Who asks for a bucket, and where.
///
/// # Errors
/// As [`open`].
pub(super) fn identity(bucket: &str) -> Result<Identity> {
    opened(bucket).map(|opened| opened.identity.clone())
}

fn opened(bucket: &str) -> Result<Arc<Opened>> {
    let mut all = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = all.get(bucket) {
        return Ok(Arc::clone(known));
    }
    let environment = |name: &str| std::env::var(name).ok();
    let opened = Arc::new(connect(bucket, &environment)?);
    all.insert(bucket.to_owned(), Arc::clone(&opened));
    Ok(opened)
}

fn connect(bucket: &str, environment: Environment<'_>) -> Result<Opened> {
    let profiles = Profiles::read(environment)?;
    let settings = Settings::read(environment, &profiles)?;
    let chosen = identity::choose(environment, &profiles, &settings)?;
    let store = Bucket {
        name: bucket.to_owned(),
        patient: Arc::new(LimitStore::new(settings.client(bucket, &chosen, settings.attempts)?, CONCURRENT)),
        once: LimitStore::new(settings.client(bucket, &chosen, 1)?, CONCURRENT),
        retries: settings.attempts - 1,
    };
    let identity = Identity {
        source: chosen.source,
        access_key: chosen.access_key,
        endpoint: settings.endpoint.unwrap_or_else(|| "Amazon's".to_owned()),
        region: settings.region,
    };
    Ok(Opened { store: Arc::new(store), identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn environment(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        let pairs: HashMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        move |name| pairs.get(name).cloned()
    }

    #[test]
    fn http_is_refused_unless_it_is_allowed() {
        let keys = [("AWS_ACCESS_KEY_ID", "AKEY"), ("AWS_SECRET_ACCESS_KEY", "HIDDEN"), ("AWS_CONFIG_FILE", "/none")];
        let with = |more: &[(&str, &str)]| connect("b", &environment(&[&keys[..], more].concat()));
        let refused = with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).err().unwrap();
        assert!(refused.hint_text().unwrap().contains("AWS_ALLOW_HTTP"), "{refused:?}");
        let opened = with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1/"), ("AWS_ALLOW_HTTP", "true")]).unwrap();
        assert_eq!(opened.identity.endpoint, "http://127.0.0.1:1");
        assert_eq!(opened.identity.region, "us-east-1");
        assert!(!format!("{:?}", opened.store).contains("HIDDEN"));
        for bad in ["ftp://h", "https://user:HIDDEN@h", "nothing", "https://h?x=HIDDEN"] {
            let error = with(&[("AWS_ENDPOINT_URL", bad)]).err().unwrap();
            assert!(!format!("{error:?}").contains("HIDDEN"), "{error:?}");
        }
        assert!(with(&[("AWS_MAX_ATTEMPTS", "0")]).is_err());
        // The endpoint for S3 alone rules.
        let opened =
            with(&[("AWS_ENDPOINT_URL", "https://all"), ("AWS_ENDPOINT_URL_S3", "https://s3"), ("AWS_REGION", "eu")]);
        let identity = opened.unwrap().identity;
        assert_eq!((identity.endpoint.as_str(), identity.region.as_str()), ("https://s3", "eu"));
    }
}
