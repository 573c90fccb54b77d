//! Who asks: environment, then profile, then web identity, then the machine's own role.
//!
//! The first source that is *named* is used, and if it lacks something that is an error. Nothing
//! falls back to a later source: a job that was given a role must not go on as somebody else.

use super::failure::{Failure, clean, generic};
use super::process::ProcessProvider;
use super::profile::{Profile, Profiles};
use super::{Environment, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::errors::kind_of_causes;
use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AwsCredential, AwsCredentialProvider};
use object_store::{CredentialProvider, StaticCredentialProvider};
use std::fmt;
use std::sync::Arc;

/// How often a service that gives credentials is asked. It is near, or it is not there at all.
const ATTEMPTS: usize = 3;

/// Who asks for a bucket, and where. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Identity {
    /// Where the credentials come from.
    pub source: String,
    /// The end of the access key's id, where it stands in a setting: at most four characters.
    pub access_key: Option<String>,
    /// The server.
    pub endpoint: String,
    /// The region for which requests are signed.
    pub region: String,
}

/// A source of credentials.
pub(super) struct Chosen {
    pub(super) source: String,
    pub(super) access_key: Option<String>,
    /// Absent where requests are not signed.
    pub(super) provider: Option<AwsCredentialProvider>,
}

/// Finds the source of credentials that the environment names.
///
/// # Errors
/// Usage: a source that is named and lacks something.
pub(super) fn choose(environment: Environment<'_>, profiles: &Profiles, settings: &Settings) -> Result<Chosen> {
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    if set("AWS_SKIP_SIGNATURE").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1") {
        return Ok(Chosen { source: "nobody (AWS_SKIP_SIGNATURE)".to_owned(), access_key: None, provider: None });
    }
    if let Some(chosen) = from_environment(&set)? {
        return Ok(chosen);
    }
    if let Some(profile) = profiles.named()? {
        return from_profile(profile);
    }
    let service = || settings.builder(ATTEMPTS).with_bucket_name("unused");
    match (set("AWS_WEB_IDENTITY_TOKEN_FILE"), set("AWS_ROLE_ARN")) {
        (Some(file), Some(role)) => {
            let mut builder = service()
                .with_config(key("aws_web_identity_token_file")?, file)
                .with_config(key("aws_role_arn")?, role.clone());
            if let Some(name) = set("AWS_ROLE_SESSION_NAME") {
                builder = builder.with_config(key("aws_role_session_name")?, name);
            }
            if let Some(endpoint) = set("AWS_ENDPOINT_URL_STS") {
                builder = builder.with_config(key("aws_endpoint_url_sts")?, endpoint);
            }
            return asked(&format!("web identity, role {role}"), builder);
        }
        (None, None) => {}
        (Some(_), None) => return Err(half("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")),
        (None, Some(_)) => return Err(half("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")),
    }
    if let Some(path) = set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let builder = service().with_config(key("aws_container_credentials_relative_uri")?, path);
        return asked("the container's role", builder);
    }
    match (set("AWS_CONTAINER_CREDENTIALS_FULL_URI"), set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
        (Some(url), Some(file)) => {
            let builder = service()
                .with_config(key("aws_container_credentials_full_uri")?, url)
                .with_config(key("aws_container_authorization_token_file")?, file);
            return asked("the pod's role", builder);
        }
        (None, None) => {}
        (Some(_), None) => {
            return Err(half("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
        }
        (None, Some(_)) => {
            return Err(half("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"));
        }
    }
    if set("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(Error::usage("there are no credentials for S3, and the machine may not be asked for its role")
            .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"));
    }
    let mut builder = service();
    if let Some(endpoint) = set("AWS_METADATA_ENDPOINT") {
        builder = builder.with_metadata_endpoint(endpoint);
    }
    asked("the machine's role (instance metadata)", builder)
}

fn from_environment(set: &dyn Fn(&str) -> Option<String>) -> Result<Option<Chosen>> {
    let token = set("AWS_SESSION_TOKEN");
    match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => {
            let source = match token {
                Some(_) => "environment (AWS_ACCESS_KEY_ID with a session token)",
                None => "environment (AWS_ACCESS_KEY_ID)",
            };
            Ok(Some(fixed(source.to_owned(), id, secret, token)))
        }
        (Some(_), None) => Err(half("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => Err(half("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        (None, None) if token.is_some() => Err(half("AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")),
        (None, None) => Ok(None),
    }
}

fn from_profile(profile: Profile) -> Result<Chosen> {
    match profile {
        Profile::Keys { name, id, secret, token } => Ok(fixed(format!("profile {name}"), id, secret, token)),
        Profile::Process { name, command } => {
            let source = format!("profile {name} (credential_process)");
            let provider = told(&source, Arc::new(ProcessProvider::new(command)));
            Ok(Chosen { source, access_key: None, provider: Some(provider) })
        }
    }
}

fn fixed(source: String, id: String, secret: String, token: Option<String>) -> Chosen {
    let access_key = Some(last_four(&id));
    let credential = AwsCredential { key_id: id, secret_key: secret, token };
    let provider = told(&source, Arc::new(StaticCredentialProvider::new(credential)));
    Chosen { source, access_key, provider: Some(provider) }
}

/// The last four characters, and of a short id not even those: at most half of it.
fn last_four(id: &str) -> String {
    let shown = (id.chars().count() / 2).min(4);
    let skipped = id.chars().count() - shown;
    format!("...{}", id.chars().skip(skipped).collect::<String>())
}

/// A service that gives credentials and renews them, as the library asks it.
fn asked(source: &str, builder: AmazonS3Builder) -> Result<Chosen> {
    let client = builder.build().map_err(|wrong| {
        Error::usage("the settings for S3's credentials can't be used").with("from", source).because(clean(wrong))
    })?;
    let provider = told(source, Arc::clone(client.credentials()));
    Ok(Chosen { source: source.to_owned(), access_key: None, provider: Some(provider) })
}

fn key(name: &str) -> Result<object_store::aws::AmazonS3ConfigKey> {
    name.parse().map_err(|wrong| Error::failed("a setting of S3 is not known").because(clean(wrong)))
}

fn half(set: &str, missing: &str) -> Error {
    Error::usage("the credentials for S3 in the environment are incomplete")
        .with("set", set)
        .with("missing", missing)
        .hint(format!("set {missing} too, or unset {set}; lakemill does not go on as somebody else"))
}

fn told(source: &str, inner: AwsCredentialProvider) -> AwsCredentialProvider {
    Arc::new(Told { source: source.to_owned(), inner })
}

/// A provider whose failure says whose credentials are missing.
struct Told {
    source: String,
    inner: AwsCredentialProvider,
}

impl fmt::Debug for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "credentials from {}", self.source)
    }
}

#[async_trait]
impl CredentialProvider for Told {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.inner.get_credential().await.map_err(|error| {
            let error = clean(error);
            // Out of reach means on most machines that there is nobody to ask.
            let machine = self.source.contains("instance metadata");
            if kind_of_causes(&error) == ErrorKind::Transient && !machine {
                return error;
            }
            tracing::debug!(source = self.source, %error, "no credentials");
            generic(Failure::no_identity(&format!("{} gave none", self.source)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::environment;
    use super::*;

    fn chosen(pairs: &[(&str, &str)]) -> Result<Chosen> {
        let environment = environment(pairs);
        let profiles = Profiles::read(&environment)?;
        choose(&environment, &profiles, &Settings::read(&environment, &profiles)?)
    }

    const NO_FILES: [(&str, &str); 2] = [("AWS_CONFIG_FILE", "/none/a"), ("AWS_SHARED_CREDENTIALS_FILE", "/none/b")];

    fn source(pairs: &[(&str, &str)]) -> String {
        chosen(&[&NO_FILES[..], pairs].concat()).unwrap().source
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let error = chosen(&[&NO_FILES[..], pairs].concat()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage);
        format!("{error:?}")
    }

    #[test]
    fn the_first_source_that_is_named_is_used() {
        let keys = [("AWS_ACCESS_KEY_ID", "AKIA1234567"), ("AWS_SECRET_ACCESS_KEY", "HIDDEN")];
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")];
        let container = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/c")];
        assert!(source(&[&keys[..], &web, &container].concat()).starts_with("environment"));
        assert_eq!(source(&[&web[..], &container].concat()), "web identity, role arn:aws:iam::1:role/r");
        assert_eq!(source(&container), "the container's role");
        assert!(source(&[]).contains("instance metadata"));
        assert_eq!(chosen(&[&NO_FILES[..], &keys].concat()).unwrap().access_key.unwrap(), "...4567");
        assert!(chosen(&[("AWS_SKIP_SIGNATURE", "true")]).unwrap().provider.is_none());
    }

    #[test]
    fn what_is_half_set_is_named_and_nothing_weaker_is_used() {
        let id = ("AWS_ACCESS_KEY_ID", "AKIA1234567");
        let secret = ("AWS_SECRET_ACCESS_KEY", "HIDDEN");
        assert!(refusal(&[id]).contains("missing = AWS_SECRET_ACCESS_KEY"));
        let told = refusal(&[secret]);
        assert!(told.contains("missing = AWS_ACCESS_KEY_ID") && !told.contains("HIDDEN"), "{told}");
        assert!(refusal(&[("AWS_SESSION_TOKEN", "HIDDEN")]).contains("missing = AWS_ACCESS_KEY_ID"));
        assert!(refusal(&[("AWS_ROLE_ARN", "r")]).contains("AWS_WEB_IDENTITY_TOKEN_FILE"));
        assert!(refusal(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "u")]).contains("TOKEN_FILE"));
        assert!(refusal(&[("AWS_EC2_METADATA_DISABLED", "true")]).contains("no credentials"));
        assert!(refusal(&[("AWS_PROFILE", "nightly")]).contains("nightly"));
    }
}
