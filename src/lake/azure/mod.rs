//! Containers of Azure's blob storage, and of Data Lake Storage, which is the same.
//!
//! Put-if-absent is `If-None-Match: *`, which the store always honours. What the environment says:
//!
//! | variable | meaning |
//! |---|---|
//! | `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT` | the account of `az://container/path` |
//! | `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_TOKEN`, ... | who asks, see [`identity`] |
//! | `AZURE_STORAGE_ENDPOINT` | another server than Azure's, with the account if it stands in its paths |
//! | `AZURE_ALLOW_HTTP` | `true`: that one, and the one that gives tokens, may be `http://` |
//! | `AZURE_MAX_ATTEMPTS` | how often a request is sent at most |

mod identity;
mod place;

pub(super) use place::{Place, shown};

use super::bucket::{self, Clients, Cloud, Endpoint, Environment, Identity, Opened};
use crate::error::{Error, Result};
use object_store::azure::{AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder};
use std::sync::Arc;

/// A source of credentials for Azure.
type Chosen = bucket::Chosen<AzureCredential>;

const ENDPOINT: Endpoint =
    Endpoint { cloud: Cloud::Azure, variable: "AZURE_STORAGE_ENDPOINT", allow: "AZURE_ALLOW_HTTP" };
const AUTHORITY: Endpoint =
    Endpoint { cloud: Cloud::Azure, variable: "AZURE_AUTHORITY_HOST", allow: "AZURE_ALLOW_HTTP" };

/// Where Azure's own servers are, below the account.
const AZURES_OWN: &str = "blob.core.windows.net";

/// How a container is reached. Holds no secret.
struct Settings {
    account: String,
    /// Whether the account is the environment's, or the environment names none: then its key and its endpoint are this
    /// account's.
    is_its_own: bool,
    endpoint: Option<String>,
    authority: Option<String>,
    allow_http: bool,
    attempts: usize,
}

/// The account that the environment names.
pub(super) fn account(environment: Environment<'_>) -> Option<String> {
    ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"].iter().find_map(|name| bucket::set(environment, name))
}

impl Settings {
    fn read(environment: Environment<'_>, account: &str) -> Result<Self> {
        let is_its_own = self::account(environment).is_none_or(|own| own == account);
        let allow_http = bucket::is_on(environment, "AZURE_ALLOW_HTTP");
        let endpoint = ["AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"];
        let endpoint = endpoint.iter().find_map(|name| bucket::set(environment, name)).filter(|_| is_its_own);
        let authority = bucket::set(environment, "AZURE_AUTHORITY_HOST");
        Ok(Self {
            account: account.to_owned(),
            is_its_own,
            endpoint: endpoint.map(|endpoint| ENDPOINT.check(&endpoint, allow_http)).transpose()?,
            authority: authority.map(|authority| AUTHORITY.check(&authority, allow_http)).transpose()?,
            allow_http,
            attempts: bucket::attempts(environment, "AZURE_MAX_ATTEMPTS")?,
        })
    }

    /// Bare settings with retries and time-outs, for stores and for those who ask for credentials.
    fn builder(&self, attempts: usize) -> MicrosoftAzureBuilder {
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&self.account)
            .with_retry(bucket::retry(attempts))
            .with_client_options(bucket::client_options(self.allow_http))
            .with_disable_tagging(true);
        match &self.endpoint {
            Some(endpoint) => builder.with_endpoint(endpoint.clone()),
            None => builder,
        }
    }

    fn client(&self, container: &str, chosen: &Chosen, attempts: usize) -> Result<MicrosoftAzure> {
        let builder = self.builder(attempts).with_container_name(container);
        let builder = match &chosen.provider {
            Some(provider) => builder.with_credentials(Arc::clone(provider)),
            None => builder.with_skip_signature(true),
        };
        builder.build().map_err(|source| {
            Error::usage("the settings of Azure in the environment can't be used")
                .because(bucket::clean(Cloud::Azure, source))
        })
    }

    /// Whether the server is one of Azure's.
    fn is_azures(&self) -> bool {
        self.endpoint.as_ref().is_none_or(|endpoint| endpoint.ends_with(AZURES_OWN))
    }
}

/// The store of a container, and who asks for it: opened once a process. No request is made yet.
///
/// # Errors
/// Usage: credentials or settings that are incomplete or contradict each other.
pub(super) fn opened(place: &Place) -> Result<Arc<Opened>> {
    bucket::opened(Cloud::Azure, &place.name(), |environment| connect(place, environment))
}

fn connect(place: &Place, environment: Environment<'_>) -> Result<Opened> {
    let settings = Settings::read(environment, &place.account)?;
    let chosen = identity::choose(environment, &settings)?;
    let clients = Clients {
        patient: Arc::new(settings.client(&place.container, &chosen, settings.attempts)?),
        once: Arc::new(settings.client(&place.container, &chosen, 1)?),
        attempts: settings.attempts,
        // `startFrom` is known to Azure's own servers alone; others pass over it and list all.
        lists_from: settings.is_azures(),
    };
    let endpoint = settings.endpoint.unwrap_or_else(|| format!("https://{}.{AZURES_OWN}", place.account));
    let identity = Identity { source: chosen.source, access_key: chosen.access_key, endpoint, region: None };
    Ok(Opened::new(Cloud::Azure, place.name(), clients, identity))
}

#[cfg(test)]
mod tests {
    use super::bucket::environment;
    use super::*;

    #[test]
    fn an_endpoint_is_that_of_the_environments_account_alone() {
        let place = |account: &str| Place { account: account.to_owned(), container: "lake".to_owned() };
        let pairs = [
            ("AZURE_STORAGE_ACCOUNT_NAME", "acme"),
            ("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1/acme/"),
            ("AZURE_SKIP_SIGNATURE", "true"),
        ];
        let refused = connect(&place("acme"), &environment(&pairs)).err().unwrap();
        assert!(refused.hint_text().unwrap().contains("AZURE_ALLOW_HTTP"), "{refused:?}");
        let allowed = environment(&[&pairs[..], &[("AZURE_ALLOW_HTTP", "true")]].concat());
        let endpoint = |account: &str| connect(&place(account), &allowed).unwrap().identity.endpoint;
        assert_eq!(endpoint("acme"), "http://127.0.0.1:1/acme");
        assert_eq!(endpoint("other"), "https://other.blob.core.windows.net");
        let wrong = environment(&[("AZURE_SKIP_SIGNATURE", "true"), ("AZURE_AUTHORITY_HOST", "http://h")]);
        assert!(connect(&place("acme"), &wrong).is_err(), "secrets would be sent in the clear");
    }
}
