//! Buckets of Google Cloud Storage.
//!
//! Put-if-absent is `x-goog-if-generation-match: 0`, which Google's store always honours. What the environment says:
//!
//! | variable | meaning |
//! |---|---|
//! | `GOOGLE_APPLICATION_CREDENTIALS`, `GOOGLE_SERVICE_ACCOUNT`, ... | who asks, see [`identity`] |
//! | `GOOGLE_BASE_URL` | another server than Google's |
//! | `GOOGLE_ALLOW_HTTP` | `true`: that one may be `http://` |
//! | `GOOGLE_MAX_ATTEMPTS` | how often a request is sent at most |

mod identity;

use super::bucket::{self, Clients, Cloud, Endpoint, Environment, Identity, Opened};
use crate::error::{Error, Result};
use object_store::StaticCredentialProvider;
use object_store::gcp::{GcpCredential, GoogleCloudStorage, GoogleCloudStorageBuilder};
use std::sync::Arc;

/// A source of credentials for Google's store.
type Chosen = bucket::Chosen<GcpCredential>;

const ENDPOINT: Endpoint = Endpoint { cloud: Cloud::Gcs, variable: "GOOGLE_BASE_URL", allow: "GOOGLE_ALLOW_HTTP" };

/// How a bucket is reached. Holds no secret.
struct Settings {
    endpoint: Option<String>,
    allow_http: bool,
    attempts: usize,
}

impl Settings {
    fn read(environment: Environment<'_>) -> Result<Self> {
        let allow_http = bucket::is_on(environment, "GOOGLE_ALLOW_HTTP");
        let endpoint = bucket::set(environment, "GOOGLE_BASE_URL");
        Ok(Self {
            endpoint: endpoint.map(|endpoint| ENDPOINT.check(&endpoint, allow_http)).transpose()?,
            allow_http,
            attempts: bucket::attempts(environment, "GOOGLE_MAX_ATTEMPTS")?,
        })
    }

    /// Bare settings with retries and time-outs, for stores and for those who ask for credentials.
    fn builder(&self, attempts: usize) -> GoogleCloudStorageBuilder {
        let builder = GoogleCloudStorageBuilder::new()
            .with_retry(bucket::retry(attempts))
            .with_client_options(bucket::client_options(self.allow_http));
        match &self.endpoint {
            Some(endpoint) => builder.with_base_url(endpoint),
            None => builder,
        }
    }

    fn client(&self, bucket: &str, chosen: &Chosen, attempts: usize) -> Result<GoogleCloudStorage> {
        let builder = self.builder(attempts).with_bucket_name(bucket);
        let builder = match &chosen.provider {
            Some(provider) => builder.with_credentials(Arc::clone(provider)),
            None => {
                // The library asks its provider even then, and looks for one in the user's home if it is given none.
                let nobody = GcpCredential { bearer: String::new() };
                builder.with_skip_signature(true).with_credentials(Arc::new(StaticCredentialProvider::new(nobody)))
            }
        };
        builder.build().map_err(|source| {
            Error::usage("the settings of Google's store in the environment can't be used")
                .because(bucket::clean(Cloud::Gcs, source))
        })
    }
}

/// The store of a bucket, and who asks for it: opened once a process. No request is made yet.
///
/// # Errors
/// Usage: credentials or settings that are incomplete or contradict each other.
pub(super) fn opened(bucket: &str) -> Result<Arc<Opened>> {
    bucket::opened(Cloud::Gcs, bucket, |environment| connect(bucket, environment))
}

fn connect(bucket: &str, environment: Environment<'_>) -> Result<Opened> {
    let settings = Settings::read(environment)?;
    let chosen = identity::choose(environment, &settings)?;
    let clients = Clients {
        patient: Arc::new(settings.client(bucket, &chosen, settings.attempts)?),
        once: Arc::new(settings.client(bucket, &chosen, 1)?),
        attempts: settings.attempts,
        lists_from: true,
    };
    let identity = Identity {
        source: chosen.source,
        access_key: chosen.access_key,
        endpoint: settings.endpoint.unwrap_or_else(|| "Google's".to_owned()),
        region: None,
    };
    Ok(Opened::new(Cloud::Gcs, bucket.to_owned(), clients, identity))
}

#[cfg(test)]
mod tests {
    use super::bucket::environment;
    use super::*;

    #[test]
    fn http_is_refused_unless_it_is_allowed() {
        let with =
            |more: &[(&str, &str)]| connect("b", &environment(&[&[("GOOGLE_SKIP_SIGNATURE", "true")], more].concat()));
        let refused = with(&[("GOOGLE_BASE_URL", "http://127.0.0.1:1")]).err().unwrap();
        assert!(refused.hint_text().unwrap().contains("GOOGLE_ALLOW_HTTP"), "{refused:?}");
        let opened = with(&[("GOOGLE_BASE_URL", "http://127.0.0.1:1/"), ("GOOGLE_ALLOW_HTTP", "true")]).unwrap();
        assert_eq!(opened.identity.endpoint, "http://127.0.0.1:1");
        assert_eq!(opened.identity.source, "nobody (GOOGLE_SKIP_SIGNATURE)");
        assert_eq!(with(&[]).unwrap().identity.endpoint, "Google's");
        let error = with(&[("GOOGLE_BASE_URL", "https://user:HIDDEN@h")]).err().unwrap();
        assert!(!format!("{error:?}").contains("HIDDEN"), "{error:?}");
        assert!(with(&[("GOOGLE_MAX_ATTEMPTS", "101")]).is_err());
    }
}
