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

mod identity;
mod process;
mod profile;

use super::bucket::{self, Clients, Cloud, Endpoint, Environment, Identity, Opened};
use crate::error::{Error, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredential, S3ConditionalPut};
use profile::Profiles;
use std::sync::Arc;

/// A source of credentials for S3.
type Chosen = bucket::Chosen<AwsCredential>;

const ENDPOINT: Endpoint = Endpoint { cloud: Cloud::S3, variable: "AWS_ENDPOINT_URL", allow: "AWS_ALLOW_HTTP" };

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
        let set = |name: &str| bucket::set(environment, name);
        let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| set(name));
        let endpoint = endpoint.or_else(|| profiles.setting("endpoint_url").map(str::to_owned));
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.or_else(|| profiles.setting("region").map(str::to_owned));
        let allow_http = bucket::is_on(environment, "AWS_ALLOW_HTTP");
        let attempts = bucket::attempts(environment, "AWS_MAX_ATTEMPTS")?;
        let passed_on = PASSED_ON.iter().filter_map(|name| Some((name.to_lowercase().parse().ok()?, set(name)?)));
        Ok(Self {
            endpoint: endpoint.map(|endpoint| ENDPOINT.check(&endpoint, allow_http)).transpose()?,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            allow_http,
            attempts,
            passed_on: passed_on.collect(),
        })
    }

    /// Bare settings with retries and time-outs, for stores and for those who ask for credentials.
    fn builder(&self, attempts: usize) -> AmazonS3Builder {
        let builder = AmazonS3Builder::new()
            .with_region(&self.region)
            .with_retry(bucket::retry(attempts))
            .with_client_options(bucket::client_options(self.allow_http))
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
            Error::usage("the settings of S3 in the environment can't be used")
                .because(bucket::clean(Cloud::S3, source))
        })
    }
}

/// The store of a bucket, and who asks for it: opened once a process. No request is made yet.
///
/// # Errors
/// Usage: credentials or settings that are incomplete or contradict each other.
pub(super) fn opened(bucket: &str) -> Result<Arc<Opened>> {
    bucket::opened(Cloud::S3, bucket, |environment| connect(bucket, environment))
}

fn connect(bucket: &str, environment: Environment<'_>) -> Result<Opened> {
    let profiles = Profiles::read(environment)?;
    let settings = Settings::read(environment, &profiles)?;
    let chosen = identity::choose(environment, &profiles, &settings)?;
    let clients = Clients {
        patient: Arc::new(settings.client(bucket, &chosen, settings.attempts)?),
        once: Arc::new(settings.client(bucket, &chosen, 1)?),
        attempts: settings.attempts,
        lists_from: true,
    };
    let identity = Identity {
        source: chosen.source,
        access_key: chosen.access_key,
        endpoint: settings.endpoint.unwrap_or_else(|| "Amazon's".to_owned()),
        region: Some(settings.region),
    };
    Ok(Opened::new(Cloud::S3, bucket.to_owned(), clients, identity))
}

#[cfg(test)]
mod tests {
    use super::bucket::environment;
    use super::*;

    #[test]
    fn http_is_refused_unless_it_is_allowed() {
        let keys = [("AWS_ACCESS_KEY_ID", "AKEY"), ("AWS_SECRET_ACCESS_KEY", "HIDDEN"), ("AWS_CONFIG_FILE", "/none")];
        let with = |more: &[(&str, &str)]| connect("b", &environment(&[&keys[..], more].concat()));
        let refused = with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]).err().unwrap();
        assert!(refused.hint_text().unwrap().contains("AWS_ALLOW_HTTP"), "{refused:?}");
        let opened = with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1/"), ("AWS_ALLOW_HTTP", "true")]).unwrap();
        assert_eq!(opened.identity.endpoint, "http://127.0.0.1:1");
        assert_eq!(opened.identity.region.as_deref(), Some("us-east-1"));
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
        assert_eq!((identity.endpoint.as_str(), identity.region.as_deref()), ("https://s3", Some("eu")));
    }
}
