//! Who asks: environment, then profile, then web identity, then the machine's own role.
//!
//! The first source that is *named* is used, and if it lacks something that is an error. Nothing
//! falls back to a later source: a job that was given a role must not go on as somebody else.

use super::process::ProcessProvider;
use super::profile::{Profile, Profiles};
use super::{Chosen, Settings};
use crate::error::{Error, Result};
use crate::lake::bucket::{self, CREDENTIAL_ATTEMPTS, Cloud, Environment, clean, last_four, told};
use object_store::StaticCredentialProvider;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use std::sync::Arc;

/// Finds the source of credentials that the environment names.
///
/// # Errors
/// Usage: a source that is named and lacks something.
pub(super) fn choose(environment: Environment<'_>, profiles: &Profiles, settings: &Settings) -> Result<Chosen> {
    let set = |name: &str| bucket::set(environment, name);
    if bucket::is_on(environment, "AWS_SKIP_SIGNATURE") {
        return Ok(Chosen::nobody("AWS_SKIP_SIGNATURE"));
    }
    if let Some(chosen) = from_environment(&set)? {
        return Ok(chosen);
    }
    if let Some(profile) = profiles.named()? {
        return from_profile(profile);
    }
    let service = || settings.builder(CREDENTIAL_ATTEMPTS).with_bucket_name("unused");
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
            return asked(&format!("web identity, role {role}"), false, builder);
        }
        (None, None) => {}
        (Some(_), None) => return Err(half("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")),
        (None, Some(_)) => return Err(half("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")),
    }
    if let Some(path) = set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let builder = service().with_config(key("aws_container_credentials_relative_uri")?, path);
        return asked("the container's role", false, builder);
    }
    match (set("AWS_CONTAINER_CREDENTIALS_FULL_URI"), set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")) {
        (Some(url), Some(file)) => {
            let builder = service()
                .with_config(key("aws_container_credentials_full_uri")?, url)
                .with_config(key("aws_container_authorization_token_file")?, file);
            return asked("the pod's role", false, builder);
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
    asked("the machine's role (instance metadata)", true, builder)
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
            Ok(Chosen::asked(Cloud::S3, source, false, Arc::new(ProcessProvider::new(command))))
        }
    }
}

fn fixed(source: String, id: String, secret: String, token: Option<String>) -> Chosen {
    let access_key = Some(last_four(&id));
    let credential = AwsCredential { key_id: id, secret_key: secret, token };
    let provider = told(Cloud::S3, &source, false, Arc::new(StaticCredentialProvider::new(credential)));
    Chosen { source, access_key, provider: Some(provider) }
}

/// A service that gives credentials and renews them, as the library asks it.
fn asked(source: &str, machine: bool, builder: AmazonS3Builder) -> Result<Chosen> {
    let client = builder.build().map_err(|wrong| {
        Error::usage("the settings for S3's credentials can't be used")
            .with("from", source)
            .because(clean(Cloud::S3, wrong))
    })?;
    Ok(Chosen::asked(Cloud::S3, source.to_owned(), machine, Arc::clone(client.credentials())))
}

fn key(name: &str) -> Result<object_store::aws::AmazonS3ConfigKey> {
    name.parse().map_err(|wrong| Error::failed("a setting of S3 is not known").because(clean(Cloud::S3, wrong)))
}

fn half(set: &str, missing: &str) -> Error {
    bucket::half(Cloud::S3, set, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::lake::bucket::environment;

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
