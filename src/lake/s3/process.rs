//! Credentials that a program gives (`credential_process` of a profile), renewed before they end.

use crate::lake::bucket::{Cloud, Failure, generic};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;
use std::fmt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::sync::Mutex;

/// How long before their end credentials are renewed.
const EARLY: TimeDelta = TimeDelta::minutes(5);

/// Runs the program, and again when what it gave is about to end.
pub(super) struct ProcessProvider {
    command: String,
    known: Mutex<Option<Known>>,
}

/// Credentials, and when they end.
type Known = (Arc<AwsCredential>, Option<DateTime<Utc>>);

/// What the program prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl ProcessProvider {
    pub(super) fn new(command: String) -> Self {
        Self { command, known: Mutex::default() }
    }
}

impl fmt::Debug for ProcessProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("credential_process")
    }
}

#[async_trait]
impl CredentialProvider for ProcessProvider {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.known.lock().await;
        if let Some((credential, end)) = &*known
            && end.is_none_or(|end| Utc::now() + EARLY < end)
        {
            return Ok(Arc::clone(credential));
        }
        let command = self.command.clone();
        let (credential, end) = tokio::task::spawn_blocking(move || run(&command)).await??;
        let credential = Arc::new(credential);
        *known = Some((Arc::clone(&credential), end));
        Ok(credential)
    }
}

/// What the program says on its standard output is never told: it holds the secret.
fn run(command: &str) -> object_store::Result<(AwsCredential, Option<DateTime<Utc>>)> {
    let failed = |what: String| generic(Failure::no_identity(Cloud::S3, &format!("credential_process {what}")));
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = shell.output().map_err(|source| failed(format!("can't be started: {}", source.kind())))?;
    if !output.status.success() {
        return Err(failed(format!("failed with {}", output.status)));
    }
    let given: Given = serde_json::from_slice(&output.stdout)
        .map_err(|_| failed("gave something else than credentials".to_owned()))?;
    if given.version != 1 {
        return Err(failed(format!("gave version {} of its answer, and 1 is known", given.version)));
    }
    let end = match given.expiration.as_deref().map(DateTime::parse_from_rfc3339).transpose() {
        Ok(end) => end.map(|end| end.to_utc()),
        Err(_) => return Err(failed("gave an Expiration that is no instant".to_owned())),
    };
    let (key_id, secret_key) = (given.access_key_id, given.secret_access_key);
    Ok((AwsCredential { key_id, secret_key, token: given.session_token }, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_kept_until_they_are_about_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let calls = folder.path().join("calls");
        let provider = |end: &str| {
            let answer = format!(r#"{{"Version":1,"AccessKeyId":"A","SecretAccessKey":"S","Expiration":"{end}"}}"#);
            ProcessProvider::new(format!("echo x >> {}; echo '{answer}'", calls.display()))
        };
        let lasting = provider("2999-01-01T00:00:00Z");
        for _ in 0..3 {
            assert_eq!(lasting.get_credential().await.unwrap().secret_key, "S");
        }
        assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 1);
        let ending = provider("2001-01-01T00:00:00Z");
        for _ in 0..3 {
            ending.get_credential().await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 4);
    }

    #[tokio::test]
    async fn a_program_that_fails_is_told_without_its_words() {
        for command in ["echo HIDDEN; exit 3", "echo HIDDEN", "/none/at/all"] {
            let error = ProcessProvider::new(command.to_owned()).get_credential().await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(told.contains("credential_process") && !told.contains("HIDDEN"), "{told}");
        }
    }
}
