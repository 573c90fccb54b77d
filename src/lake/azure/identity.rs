//! Who asks: the account's key, then a SAS token, then an identity of Entra's (a token, a workload, a service principal,
//! the Azure CLI where it is asked for), then the machine's own.
//!
//! The first source that is *named* is used, and if it lacks something that is an error. Nothing falls back to a later
//! source: a job that was given an identity must not go on as somebody else.

use super::{Chosen, Settings};
use crate::error::{Error, Result};
use crate::lake::bucket::{self, CREDENTIAL_ATTEMPTS, Cloud, Environment};
use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::azure::{AzureCredential, MicrosoftAzureBuilder};
use std::sync::Arc;

const KEYS: &[&str] = &["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_KEY"];
const SAS: &[&str] = &["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_SAS_KEY"];
/// Sources that others know and lakemill does not, with what to set in their place.
const ELSEWHERE: &[(&str, &str)] = &[
    ("AZURE_STORAGE_CONNECTION_STRING", "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY to its parts"),
    ("AZURE_CLIENT_CERTIFICATE_PATH", "give the service principal a secret (AZURE_CLIENT_SECRET) or a federated token"),
    ("AZURE_PASSWORD", "use a service principal in place of a user"),
];

/// Finds the source of credentials that the environment names.
///
/// # Errors
/// Usage: a source that is named and lacks something, or is another account's.
pub(super) fn choose(environment: Environment<'_>, settings: &Settings) -> Result<Chosen> {
    let set = |name: &str| bucket::set(environment, name);
    let first = |names: &[&'static str]| names.iter().find_map(|name| Some((*name, set(name)?)));
    if bucket::is_on(environment, "AZURE_SKIP_SIGNATURE") {
        return Ok(Chosen::nobody("AZURE_SKIP_SIGNATURE"));
    }
    if let Some((name, key)) = first(KEYS) {
        of_this_account(name, settings)?;
        return asked(&format!("account key ({name})"), false, settings, |builder| builder.with_access_key(key));
    }
    if let Some((name, token)) = first(SAS) {
        of_this_account(name, settings)?;
        return asked(&format!("SAS token ({name})"), false, settings, |builder| {
            builder.with_config(object_store::azure::AzureConfigKey::SasKey, token)
        });
    }
    if let Some(token) = set("AZURE_STORAGE_TOKEN") {
        let source = "bearer token (AZURE_STORAGE_TOKEN)";
        return asked(source, false, settings, |builder| builder.with_bearer_token_authorization(token));
    }
    let (client, tenant) = (set("AZURE_CLIENT_ID"), set("AZURE_TENANT_ID"));
    if let Some(file) = set("AZURE_FEDERATED_TOKEN_FILE") {
        let (client, tenant) = principal("AZURE_FEDERATED_TOKEN_FILE", client, tenant)?;
        return asked(&format!("workload identity {client}"), false, settings, |builder| {
            builder.with_federated_token_file(file).with_client_id(client).with_tenant_id(tenant)
        });
    }
    if let Some(secret) = set("AZURE_CLIENT_SECRET") {
        let (client, tenant) = principal("AZURE_CLIENT_SECRET", client, tenant)?;
        return asked(&format!("service principal {client}"), false, settings, |builder| {
            builder.with_client_secret_authorization(client, secret, tenant)
        });
    }
    if let Some((name, hint)) = ELSEWHERE.iter().find(|(name, _)| set(name).is_some()) {
        return Err(Error::usage("these credentials for Azure are of a kind that lakemill does not use")
            .with("set", name)
            .hint(*hint));
    }
    if bucket::is_on(environment, "AZURE_USE_AZURE_CLI") {
        let chosen = asked("the Azure CLI's login", false, settings, |builder| builder.with_use_azure_cli(true))?;
        let provider = chosen.provider.map(|inner| Arc::new(Patient(inner)) as _);
        return Ok(Chosen { provider, ..chosen });
    }
    let source = match &client {
        Some(client) => format!("managed identity {client}"),
        None => "the machine's managed identity".to_owned(),
    };
    let endpoint = ["IDENTITY_ENDPOINT", "AZURE_MSI_ENDPOINT", "MSI_ENDPOINT"].iter().find_map(|name| set(name));
    asked(&source, true, settings, |builder| {
        let builder = match client {
            Some(client) => builder.with_client_id(client),
            None => builder,
        };
        match endpoint {
            Some(endpoint) => builder.with_msi_endpoint(endpoint),
            None => builder,
        }
    })
}

/// A key or a SAS token is one account's: another's server must not see it.
fn of_this_account(name: &str, settings: &Settings) -> Result<()> {
    if settings.is_its_own {
        return Ok(());
    }
    Err(Error::usage("the credentials for Azure in the environment are those of another account")
        .with("set", name)
        .with("account", &settings.account)
        .hint("AZURE_STORAGE_ACCOUNT_NAME tells whose they are; an identity of Entra's may reach several accounts"))
}

fn principal(named: &str, client: Option<String>, tenant: Option<String>) -> Result<(String, String)> {
    match (client, tenant) {
        (Some(client), Some(tenant)) => Ok((client, tenant)),
        (None, _) => Err(bucket::half(Cloud::Azure, named, "AZURE_CLIENT_ID")),
        (_, None) => Err(bucket::half(Cloud::Azure, named, "AZURE_TENANT_ID")),
    }
}

/// A source of credentials, as the library asks it.
fn asked(
    source: &str,
    machine: bool,
    settings: &Settings,
    named: impl FnOnce(MicrosoftAzureBuilder) -> MicrosoftAzureBuilder,
) -> Result<Chosen> {
    let mut builder = settings.builder(CREDENTIAL_ATTEMPTS).with_container_name("unused");
    if let Some(authority) = &settings.authority {
        builder = builder.with_authority_host(authority);
    }
    // The library's reason quotes what is wrong with a key.
    let client = named(builder).build().map_err(|_| {
        Error::usage("the credentials for Azure can't be used")
            .with("from", source)
            .hint("an account's key is base64; a SAS token is sv=...&sig=...")
    })?;
    Ok(Chosen::asked(Cloud::Azure, source.to_owned(), machine, Arc::clone(client.credentials())))
}

/// The library waits for the CLI where it stands: here that is off the threads that do the reading.
#[derive(Debug)]
struct Patient(Arc<dyn CredentialProvider<Credential = AzureCredential>>);

#[async_trait]
impl CredentialProvider for Patient {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let (inner, runtime) = (Arc::clone(&self.0), tokio::runtime::Handle::current());
        let given = tokio::task::spawn_blocking(move || runtime.block_on(inner.get_credential())).await;
        given?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::lake::bucket::environment;

    fn chosen(pairs: &[(&str, &str)]) -> Result<Chosen> {
        let environment = environment(pairs);
        choose(&environment, &Settings::read(&environment, "acme")?)
    }

    fn source(pairs: &[(&str, &str)]) -> String {
        chosen(pairs).unwrap().source
    }

    fn refusal(pairs: &[(&str, &str)]) -> String {
        let error = chosen(pairs).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let told = format!("{error:?}");
        assert!(!told.contains("HIDDEN"), "{told}");
        told
    }

    #[test]
    fn the_first_source_that_is_named_is_used() {
        let key = ("AZURE_STORAGE_ACCOUNT_KEY", "SElEREVO");
        let sas = ("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=HIDDEN");
        let (client, tenant) = (("AZURE_CLIENT_ID", "c-1"), ("AZURE_TENANT_ID", "t-1"));
        let (file, secret) = (("AZURE_FEDERATED_TOKEN_FILE", "/t"), ("AZURE_CLIENT_SECRET", "HIDDEN"));
        let all = [key, sas, client, tenant, file, secret];
        assert_eq!(source(&all), "account key (AZURE_STORAGE_ACCOUNT_KEY)");
        assert_eq!(source(&all[1..]), "SAS token (AZURE_STORAGE_SAS_TOKEN)");
        assert_eq!(source(&all[2..]), "workload identity c-1");
        assert_eq!(source(&[client, tenant, secret]), "service principal c-1");
        assert_eq!(source(&[client]), "managed identity c-1");
        assert_eq!(source(&[]), "the machine's managed identity");
        assert_eq!(source(&[("AZURE_USE_AZURE_CLI", "true")]), "the Azure CLI's login");
        assert!(chosen(&[("AZURE_SKIP_SIGNATURE", "true"), key]).unwrap().provider.is_none());
    }

    #[test]
    fn what_is_half_set_or_anothers_is_named_and_nothing_weaker_is_used() {
        let secret = ("AZURE_CLIENT_SECRET", "HIDDEN");
        assert!(refusal(&[secret]).contains("missing = AZURE_CLIENT_ID"));
        assert!(refusal(&[secret, ("AZURE_CLIENT_ID", "c")]).contains("missing = AZURE_TENANT_ID"));
        assert!(refusal(&[("AZURE_FEDERATED_TOKEN_FILE", "/t")]).contains("missing = AZURE_CLIENT_ID"));
        assert!(refusal(&[("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=HIDDEN")]).contains("CONNECTION_STRING"));
        assert!(refusal(&[("AZURE_STORAGE_ACCOUNT_KEY", "HIDDEN?")]).contains("can't be used"));
        for name in ["AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"] {
            let told = refusal(&[("AZURE_STORAGE_ACCOUNT_NAME", "others"), (name, "HIDDEN")]);
            assert!(told.contains("another account") && told.contains("acme"), "{told}");
        }
    }
}
