//! Who asks: the key of a service account, then the application default credentials, then the machine's own service
//! account.
//!
//! The first source that is *named* is used, and if it can't be read that is an error. Nothing falls back to a later
//! source: a job that was given an account must not go on as somebody else.

use super::{Chosen, Settings};
use crate::error::{Error, Result};
use crate::lake::bucket::{self, CREDENTIAL_ATTEMPTS, Cloud, Environment, clean};
use object_store::gcp::GoogleCloudStorageBuilder;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where `gcloud auth application-default login` leaves what it was given, below the user's home.
const GCLOUD: &str = ".config/gcloud";
const WELL_KNOWN: &str = "application_default_credentials.json";

/// What a file of credentials says of itself; the rest of it is secret.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
}

/// Finds the source of credentials that the environment names.
///
/// # Errors
/// Usage: a source that is named and can't be used.
pub(super) fn choose(environment: Environment<'_>, settings: &Settings) -> Result<Chosen> {
    let set = |name: &str| bucket::set(environment, name);
    if bucket::is_on(environment, "GOOGLE_SKIP_SIGNATURE") {
        return Ok(Chosen::nobody("GOOGLE_SKIP_SIGNATURE"));
    }
    let named = ["GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"];
    let named: Vec<(&str, String)> = named.iter().filter_map(|name| Some((*name, set(name)?))).collect();
    match named.as_slice() {
        [] => {}
        [("GOOGLE_SERVICE_ACCOUNT_KEY", text)] => return from_text("GOOGLE_SERVICE_ACCOUNT_KEY", text, settings),
        [(name, path)] => return from_text(name, &read(name, Path::new(path))?, settings),
        [(first, _), (second, _), ..] => {
            return Err(Error::usage("the environment names two service accounts")
                .with("set", format!("{first}, {second}"))
                .hint("unset all but one"));
        }
    }
    if let Some(path) = set("GOOGLE_APPLICATION_CREDENTIALS") {
        return from_file("GOOGLE_APPLICATION_CREDENTIALS", Path::new(&path), settings);
    }
    let home = set("HOME").map(|home| Path::new(&home).join(GCLOUD).join(WELL_KNOWN));
    let configured = set("CLOUDSDK_CONFIG").map(|folder| Path::new(&folder).join(WELL_KNOWN));
    if let Some(file) = configured.clone().or_else(|| home.clone()).filter(|file| file.exists()) {
        return from_file("application default credentials", &file, settings);
    }
    // The library would take it without being told to.
    if let Some(other) = home.filter(|file| configured.is_some() && file.exists()) {
        return Err(Error::usage(
            "CLOUDSDK_CONFIG has no application default credentials, and the user's home has some",
        )
        .with("file", other.display())
        .hint("set GOOGLE_APPLICATION_CREDENTIALS to the file that is meant"));
    }
    if bucket::is_on(environment, "NO_GCE_CHECK") {
        return Err(Error::usage("there are no credentials for GCS, and the machine may not be asked for its account")
            .hint("set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account"));
    }
    asked("the machine's service account (metadata server)", true, settings, |builder| builder)
}

fn read(name: &str, path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| {
        Error::usage("the credentials for GCS can't be read")
            .with("from", name)
            .with("file", path.display())
            .because(source)
    })
}

/// A file with what `gcloud` or Google's console gave: a service account's key, or a user's login.
fn from_file(name: &str, path: &Path, settings: &Settings) -> Result<Chosen> {
    let text = read(name, path)?;
    match head(name, &text)?.kind.as_deref() {
        Some("authorized_user") => {
            let path: PathBuf = path.to_owned();
            let source = format!("a user's login ({name})");
            asked(&source, false, settings, |builder| {
                builder.with_application_credentials(path.to_string_lossy().into_owned())
            })
        }
        _ => from_text(name, &text, settings),
    }
}

fn from_text(name: &str, text: &str, settings: &Settings) -> Result<Chosen> {
    let head = head(name, text)?;
    let (kind, email) = (head.kind.unwrap_or_default(), head.client_email.unwrap_or_default());
    if kind != "service_account" {
        return Err(Error::usage("these credentials for GCS are of a kind that lakemill does not use")
            .with("from", name)
            .with("type", kind.escape_debug())
            .hint("use the key of a service account (type service_account), or the machine's own account"));
    }
    let source = format!("service account {} ({name})", email.escape_debug());
    asked(&source, false, settings, |builder| builder.with_service_account_key(text))
}

/// Nothing of the text is told, not even by the reason: it may be a key that was put there in place of a file.
fn head(name: &str, text: &str) -> Result<Head> {
    serde_json::from_str(text).map_err(|_| {
        Error::usage("the credentials for GCS are not what Google gives out")
            .with("from", name)
            .hint("it is a JSON document with a `type`")
    })
}

/// A source that gives tokens and renews them, as the library asks it.
fn asked(
    source: &str,
    machine: bool,
    settings: &Settings,
    named: impl FnOnce(GoogleCloudStorageBuilder) -> GoogleCloudStorageBuilder,
) -> Result<Chosen> {
    let builder = named(settings.builder(CREDENTIAL_ATTEMPTS).with_bucket_name("unused"));
    let client = builder.build().map_err(|wrong| {
        Error::usage("the credentials for GCS can't be used").with("from", source).because(clean(Cloud::Gcs, wrong))
    })?;
    Ok(Chosen::asked(Cloud::Gcs, source.to_owned(), machine, Arc::clone(client.credentials())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::lake::bucket::environment;

    fn chosen(pairs: &[(&str, &str)]) -> Result<Chosen> {
        let environment = environment(pairs);
        choose(&environment, &Settings::read(&environment)?)
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let error = chosen(pairs).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let told = format!("{error:?}");
        assert!(!told.contains("HIDDEN"), "{told}");
        told
    }

    #[test]
    fn what_is_named_is_used_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name).display().to_string()
        };
        let external = file("external", r#"{"type":"external_account","token":"HIDDEN"}"#);
        let nothing = file("nothing", "HIDDEN");
        let broken = file("broken", r#"{"type":"service_account","client_email":"a@b","private_key":"HIDDEN"}"#);
        let keyless = r#"{"type":"service_account","client_email":"a@b","private_key":"HIDDEN","private_key_id":"1"}"#;
        let user = r#"{"type":"authorized_user","client_id":"1","client_secret":"HIDDEN","refresh_token":"HIDDEN"}"#;
        let user = file("user", user);
        assert!(chosen(&[("GOOGLE_APPLICATION_CREDENTIALS", &user)]).unwrap().source.contains("a user's login"));
        assert!(refusal(&[("GOOGLE_APPLICATION_CREDENTIALS", &external)]).contains("external_account"));
        for path in [nothing.as_str(), broken.as_str(), "/none/at/all"] {
            assert!(refusal(&[("GOOGLE_APPLICATION_CREDENTIALS", path)]).contains("GOOGLE_APPLICATION_CREDENTIALS"));
            assert!(refusal(&[("GOOGLE_SERVICE_ACCOUNT", path)]).contains("GOOGLE_SERVICE_ACCOUNT"));
        }
        assert!(refusal(&[("GOOGLE_SERVICE_ACCOUNT_KEY", keyless)]).contains("service account a@b"));
        assert!(refusal(&[("GOOGLE_SERVICE_ACCOUNT_KEY", keyless), ("GOOGLE_SERVICE_ACCOUNT", &user)]).contains("two"));
        // A user's login is no service account.
        assert!(refusal(&[("GOOGLE_SERVICE_ACCOUNT", &user)]).contains("authorized_user"));
    }

    #[test]
    fn nobody_weaker_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display().to_string();
        assert!(chosen(&[("HOME", &home)]).unwrap().source.contains("metadata server"));
        assert!(refusal(&[("HOME", &home), ("NO_GCE_CHECK", "true")]).contains("no credentials"));
        let gcloud = folder.path().join(GCLOUD);
        std::fs::create_dir_all(&gcloud).unwrap();
        let login = r#"{"type":"authorized_user","client_id":"1","client_secret":"HIDDEN","refresh_token":"HIDDEN"}"#;
        std::fs::write(gcloud.join(WELL_KNOWN), login).unwrap();
        assert_eq!(chosen(&[("HOME", &home)]).unwrap().source, "a user's login (application default credentials)");
        assert!(refusal(&[("HOME", &home), ("CLOUDSDK_CONFIG", "/none")]).contains("CLOUDSDK_CONFIG"));
        assert!(chosen(&[("GOOGLE_SKIP_SIGNATURE", "1")]).unwrap().provider.is_none());
    }
}
