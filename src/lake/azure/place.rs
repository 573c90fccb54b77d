//! What a container is called: `az://container/path`, `abfss://container@account.dfs.core.windows.net/path`, or
//! `https://account.blob.core.windows.net/container/path`.
//!
//! Whoever keeps stores by scheme and host (DataFusion) passes over what stands before an `@`, and two containers of an
//! account would be one. So the URL of a place is `az://container.account/path` wherever it was written in another
//! form (no container's name has a dot), and is shown as `abfss://`.

use super::super::bucket::Environment;
use super::account;
use crate::error::{Error, Result};
use url::Url;

const FORM: &str = "write az://container/path, or abfss://container@account.dfs.core.windows.net/path";
/// What follows the account in the name of a host.
const HOSTS: [&str; 2] = ["dfs.core.windows.net", "blob.core.windows.net"];

/// A container, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lake) struct Place {
    pub(in crate::lake) account: String,
    pub(in crate::lake) container: String,
}

impl Place {
    /// The container that a URL names, and the path within it; nothing for a URL that is none of Azure's.
    ///
    /// # Errors
    /// Usage: one of Azure's that holds more than a container and a path, or less, or credentials.
    pub(in crate::lake) fn of(url: &Url, environment: Environment<'_>) -> Result<Option<(Self, String)>> {
        let host = url.host_str().unwrap_or_default();
        let is_https = url.scheme() == "https";
        let is_ours = matches!(url.scheme(), "az" | "abfs" | "abfss") || (is_https && account_of(host).is_some());
        if !is_ours {
            return Ok(None);
        }
        if url.password().is_some() || url.query().is_some() || (is_https && !url.username().is_empty()) {
            return Err(Error::usage("credentials do not belong into a location")
                .hint("set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"));
        }
        if url.fragment().is_some() || url.port().is_some() {
            return Err(Error::usage("a location in Azure is a container and a path, and nothing else")
                .hint(format!("{FORM}; the server's address goes into AZURE_STORAGE_ENDPOINT")));
        }
        let path = url.path().trim_matches('/');
        let (container, account, path) = if is_https {
            let (container, path) = path.split_once('/').unwrap_or((path, ""));
            (container, account_of(host).map(str::to_owned), path)
        } else if !url.username().is_empty() {
            let account = account_of(host).ok_or_else(|| Error::usage("this is no host of Azure's").hint(FORM))?;
            (url.username(), Some(account.to_owned()), path)
        } else if let Some((container, account)) = host.split_once('.') {
            (container, Some(account.to_owned()), path)
        } else {
            (host, self::account(environment), path)
        };
        let account = account.ok_or_else(|| {
            Error::usage("it is not known whose container this is")
                .hint("set AZURE_STORAGE_ACCOUNT_NAME, or write abfss://container@account.dfs.core.windows.net/path")
        })?;
        let place = Self { account, container: container.to_owned() };
        place.check()?;
        Ok(Some((place, path.to_owned())))
    }

    /// The store's rules for names.
    fn check(&self) -> Result<()> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(3..=24).contains(&self.account.len()) || !self.account.bytes().all(is_name) {
            return Err(Error::usage("this is not the name of a storage account").hint(FORM));
        }
        let is_name = |byte: u8| is_name(byte) || byte == b'-';
        let special = self.container == "$web" || self.container == "$root";
        if !special && (!(3..=63).contains(&self.container.len()) || !self.container.bytes().all(is_name)) {
            return Err(Error::usage("this is not the name of a container").hint(FORM));
        }
        Ok(())
    }

    /// The host of the place's URL.
    pub(in crate::lake) fn name(&self) -> String {
        format!("{}.{}", self.container, self.account)
    }
}

fn account_of(host: &str) -> Option<&str> {
    let (account, rest) = host.split_once('.')?;
    HOSTS.contains(&rest).then_some(account)
}

/// As users write it: the text of a place's URL that is not shown as it is.
pub(in crate::lake) fn shown(url: &Url) -> Option<String> {
    let (container, account) = url.host_str().filter(|_| url.scheme() == "az")?.split_once('.')?;
    Some(format!("abfss://{container}@{account}.{}{}", HOSTS[0], url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::bucket::environment;

    fn of(text: &str, pairs: &[(&str, &str)]) -> Result<Option<(Place, String)>> {
        Place::of(&Url::parse(text).unwrap(), &environment(pairs))
    }

    #[test]
    fn every_form_names_the_same_place() {
        let acme = [("AZURE_STORAGE_ACCOUNT_NAME", "acme")];
        for text in [
            "az://lake/a/b",
            "abfs://lake/a/b/",
            "abfss://lake@acme.dfs.core.windows.net/a/b",
            "abfss://lake@acme.blob.core.windows.net/a/b",
            "https://acme.blob.core.windows.net/lake/a/b",
            "https://acme.dfs.core.windows.net/lake/a/b",
            "az://lake.acme/a/b",
        ] {
            let (place, path) = of(text, &acme).unwrap().unwrap();
            assert_eq!((place.name().as_str(), path.as_str()), ("lake.acme", "a/b"), "{text}");
        }
        let url = Url::parse("az://lake.acme/a/b").unwrap();
        assert_eq!(shown(&url).unwrap(), "abfss://lake@acme.dfs.core.windows.net/a/b");
        assert!(of("https://example.com/lake/a", &acme).unwrap().is_none());
        assert_eq!(of("https://acme.blob.core.windows.net/lake", &[]).unwrap().unwrap().1, "");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for (text, what) in [
            ("az://lake/a", "whose container"),
            ("az://lake@acme.example.com/a", "no host of Azure's"),
            ("az://Lake_1.acme/a", "name of a container"),
            ("abfss://lake@ac.dfs.core.windows.net/a", "name of a storage account"),
            ("https://acme.blob.core.windows.net/", "name of a container"),
            ("az://lake:8080/a", "nothing else"),
            ("abfss://lake:HIDDEN@acme.dfs.core.windows.net/a", "credentials"),
            ("https://acme.blob.core.windows.net/lake?sig=HIDDEN", "credentials"),
        ] {
            let told = format!("{:?}", of(text, &[]).unwrap_err());
            assert!(told.contains(what) && !told.contains("HIDDEN"), "{text}: {told}");
        }
    }
}
