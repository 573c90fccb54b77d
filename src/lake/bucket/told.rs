//! Sources of credentials whose failure says whose are missing.

use super::Cloud;
use super::failure::{Failure, clean, generic};
use crate::error::ErrorKind;
use crate::lake::errors::kind_of_causes;
use async_trait::async_trait;
use object_store::CredentialProvider;
use std::fmt;
use std::sync::Arc;

/// Whoever gives credentials of one cloud.
type Provider<C> = Arc<dyn CredentialProvider<Credential = C>>;

/// A source of credentials.
pub(in crate::lake) struct Chosen<C: Send + Sync + 'static> {
    pub(in crate::lake) source: String,
    /// The end of the key's id, where there is one.
    pub(in crate::lake) access_key: Option<String>,
    /// Absent where requests are not signed.
    pub(in crate::lake) provider: Option<Provider<C>>,
}

impl<C: Send + Sync + 'static> Chosen<C> {
    /// Nobody: requests are not signed, because `variable` says so.
    pub(in crate::lake) fn nobody(variable: &str) -> Self {
        Self { source: format!("nobody ({variable})"), access_key: None, provider: None }
    }

    /// Credentials that `source` gives; `machine` as for [`told`].
    pub(in crate::lake) fn asked(cloud: Cloud, source: String, machine: bool, inner: Provider<C>) -> Self {
        let provider = told(cloud, &source, machine, inner);
        Self { source, access_key: None, provider: Some(provider) }
    }
}

/// The last four characters, and of a short id not even those: at most half of it.
pub(in crate::lake) fn last_four(id: &str) -> String {
    let shown = (id.chars().count() / 2).min(4);
    let skipped = id.chars().count() - shown;
    format!("...{}", id.chars().skip(skipped).collect::<String>())
}

/// The same provider, whose failure names the source. `machine`: it is a service that only machines of the cloud have,
/// so that out of reach means that there is nobody to ask.
pub(in crate::lake) fn told<C: Send + Sync + 'static>(
    cloud: Cloud,
    source: &str,
    machine: bool,
    inner: Provider<C>,
) -> Provider<C> {
    Arc::new(Told { cloud, source: source.to_owned(), machine, inner })
}

struct Told<C: Send + Sync + 'static> {
    cloud: Cloud,
    source: String,
    machine: bool,
    inner: Provider<C>,
}

impl<C: Send + Sync + 'static> fmt::Debug for Told<C> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "credentials from {}", self.source)
    }
}

#[async_trait]
impl<C: Send + Sync + 'static> CredentialProvider for Told<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        self.inner.get_credential().await.map_err(|error| {
            let error = clean(self.cloud, error);
            if kind_of_causes(&error) == ErrorKind::Transient && !self.machine {
                return error;
            }
            tracing::debug!(source = self.source, %error, "no credentials");
            generic(Failure::no_identity(self.cloud, &format!("{} gave none", self.source)))
        })
    }
}
