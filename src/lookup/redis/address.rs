//! The URL of a server, and who asks. What is secret in it is never shown.

use crate::error::{Error, Result};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// The user and password of URLs without one.
const USERNAME: &str = "LAKEMILL_REDIS_USERNAME";
const PASSWORD: &str = "LAKEMILL_REDIS_PASSWORD";
/// The certificates of authorities, PEM, of URLs without `?ca=`.
const CA: &str = "LAKEMILL_REDIS_CA";

const PORT: u16 = 6379;

/// A host and its port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// A password: shown by nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// What is sent to the server.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A server's words without the secret, should it repeat it.
    pub fn hide_in(&self, words: &str) -> String {
        if self.0.is_empty() { words.to_owned() } else { words.replace(&self.0, "***") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("***")
    }
}

/// `redis://[user[:password]@]host[:port][/database][?ca=FILE&timeout_secs=N&lease_secs=N]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The server, or any node of a cluster.
    pub node: Node,
    /// `rediss://`.
    pub is_tls: bool,
    /// The ACL user; the default one where there is none.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The number of the database.
    pub database: u32,
    /// A file of certificates of authorities; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// How long a server that does not answer, or says that it can't now, is asked again.
    pub timeout: Duration,
    /// How long a load that gives no sign of life keeps what it has written.
    pub lease: Duration,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        write!(out, "{scheme}://{}/{}", self.node, self.database)
    }
}

impl Address {
    /// Reads a URL; what it lacks is taken from the environment.
    ///
    /// # Errors
    /// Usage, without the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self> {
        Self::read(url, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let wrong = |what: &str| {
            Error::usage(format!("the URL of the Redis server {what}"))
                .hint("write redis://[user[:password]@]host[:port][/database], or rediss:// for TLS")
        };
        let url = Url::parse(url).map_err(|_| wrong("is none"))?;
        let is_tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong("begins with another scheme than redis:// or rediss://")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let host = decoded(host.trim_start_matches('[').trim_end_matches(']')).ok_or_else(|| wrong("is not UTF-8"))?;
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| wrong("ends with something else than the number of a database"))?,
        };
        let text = |part: &str| decoded(part).ok_or_else(|| wrong("has a user or password that is not UTF-8"));
        let mut user = Some(text(url.username())?).filter(|user| !user.is_empty());
        let mut password = url.password().map(text).transpose()?;
        if user.is_none() && password.is_none() {
            (user, password) = (environment(USERNAME), environment(PASSWORD));
        }
        let mut address = Self {
            node: Node { host, port: url.port().unwrap_or(PORT) },
            is_tls,
            user,
            password: password.map(Secret),
            database,
            ca: environment(CA).map(PathBuf::from),
            timeout: Duration::from_secs(30),
            lease: Duration::from_secs(15),
        };
        for (name, value) in url.query_pairs() {
            let secs = || match value.parse() {
                Ok(secs @ 1..=86_400) => Ok(Duration::from_secs(secs)),
                _ => Err(wrong("has a time that is no number of seconds between 1 and 86400").with("option", &name)),
            };
            match &*name {
                "ca" => address.ca = Some(PathBuf::from(&*value)),
                "timeout_secs" => address.timeout = secs()?,
                "lease_secs" => address.lease = secs()?,
                _ => {
                    return Err(wrong("has an unknown option")
                        .with("option", name.escape_debug())
                        .hint("the options are ca, timeout_secs and lease_secs"));
                }
            }
        }
        if url.fragment().is_some() {
            return Err(wrong("has a `#`").hint("write `#` in a password as %23"));
        }
        Ok(address)
    }
}

/// Takes `%41` for `A`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Address> {
        Address::read(url, &|_| None)
    }

    #[test]
    fn a_url_says_where_and_who() {
        let address = read("redis://127.0.0.1").unwrap();
        assert_eq!((address.node.to_string().as_str(), address.database, address.is_tls), ("127.0.0.1:6379", 0, false));
        let address = read("rediss://acme:p%40ss%2F@cache.example:7000/3?ca=%2Fetc%2Fca.pem&timeout_secs=5").unwrap();
        assert_eq!(address.node, Node { host: "cache.example".into(), port: 7000 });
        assert_eq!((address.database, address.is_tls), (3, true));
        assert_eq!(address.user.as_deref(), Some("acme"));
        assert_eq!(address.password.as_ref().map(Secret::reveal), Some("p@ss/"));
        assert_eq!(address.ca, Some(PathBuf::from("/etc/ca.pem")));
        assert_eq!(address.timeout, Duration::from_secs(5));
        assert_eq!(read("redis://[::1]:7/").unwrap().node.to_string(), "[::1]:7");
    }

    #[test]
    fn the_environment_fills_in() {
        let environment = |name: &str| Some(format!("of {name}"));
        let address = Address::read("redis://h", &environment).unwrap();
        assert_eq!(address.user.as_deref(), Some("of LAKEMILL_REDIS_USERNAME"));
        assert_eq!(address.password.as_ref().map(Secret::reveal), Some("of LAKEMILL_REDIS_PASSWORD"));
        let address = Address::read("redis://:x@h", &environment).unwrap();
        assert_eq!((address.user, address.password.as_ref().map(Secret::reveal)), (None, Some("x")));
    }

    #[test]
    fn no_secret_is_shown() {
        let address = read("redis://user:hunter2@h/1").unwrap();
        assert_eq!(address.to_string(), "redis://h:6379/1");
        assert!(!format!("{address:?}").contains("hunter2"));
        for url in ["redis://:hunter2@h:99999", "redis://:hunter2@h/x", "redis://:hunter2@/", "redis://:hunter2@h#x"] {
            let error = read(url).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
        assert_eq!(Secret("pw".into()).hide_in("no pw"), "no ***");
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for url in ["redis://", "redis:/x", "http://h", "redis://h?db=1", "redis://h?timeout_secs=0", "redis://:%ff@h"]
        {
            assert!(read(url).is_err(), "{url}");
        }
    }
}
