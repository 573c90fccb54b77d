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
/// The client's certificate and its key, PEM, of URLs without `?cert=` and `?key=`.
const CERT: &str = "LAKEMILL_REDIS_CERT";
const KEY: &str = "LAKEMILL_REDIS_KEY";
/// The user and password of sentinels, which have their own.
const SENTINEL_USERNAME: &str = "LAKEMILL_REDIS_SENTINEL_USERNAME";
const SENTINEL_PASSWORD: &str = "LAKEMILL_REDIS_SENTINEL_PASSWORD";

const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

const FORM: &str = "write redis://[user[:password]@]host[:port][/database], or rediss:// for TLS";
const SENTINEL_FORM: &str = "write redis+sentinel://[user[:password]@]host[:port][,host[:port]..]/master[/database], or \
                             rediss+sentinel:// for TLS; the hosts are sentinels, user and password the master's";

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

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Login {
    /// The ACL user; the default one where there is none.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// Who a client is, in TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// A file: its certificate, and those up to the authority.
    pub certificate: PathBuf,
    /// A file: the key of the certificate.
    pub key: PathBuf,
}

/// Servers that say which server is the primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sentinels {
    /// Any number of them: one that answers is enough.
    pub nodes: Vec<Node>,
    /// What they call the primary and its replicas.
    pub master: String,
    /// Who asks them.
    pub login: Login,
}

/// `redis://[user[:password]@]host[:port][/database][?ca=FILE&cert=FILE&key=FILE&timeout_secs=N&lease_secs=N]`, or with
/// sentinels `redis+sentinel://[user[:password]@]host[:port][,host[:port]..]/master[/database][?..]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The server, or any node of a cluster; with sentinels, the first of these.
    pub node: Node,
    /// `rediss://`.
    pub is_tls: bool,
    /// Who says which server is meant, where that may change.
    pub sentinels: Option<Sentinels>,
    /// Who asks the server.
    pub login: Login,
    /// The number of the database.
    pub database: u32,
    /// A file of certificates of authorities; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// What is shown to a server that asks for a certificate.
    pub identity: Option<Identity>,
    /// How long a server that does not answer, or says that it can't now, is asked again.
    pub timeout: Duration,
    /// How long a load that gives no sign of life keeps what it has written.
    pub lease: Duration,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let Some(Sentinels { nodes, master, .. }) = &self.sentinels else {
            return write!(out, "{scheme}://{}/{}", self.node, self.database);
        };
        let nodes: Vec<String> = nodes.iter().map(Node::to_string).collect();
        write!(out, "{scheme}+sentinel://{}/{master}/{}", nodes.join(","), self.database)
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

    fn read(written: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let is_sentinel = written.split("://").next().is_some_and(|scheme| scheme.ends_with("+sentinel"));
        let form = if is_sentinel { SENTINEL_FORM } else { FORM };
        let wrong = |what: &str| Error::usage(format!("the URL of the Redis server {what}")).hint(form);
        let (single, others) = if is_sentinel { apart(written) } else { (written.to_owned(), Vec::new()) };
        let url = Url::parse(&single).map_err(|_| wrong("is none"))?;
        let is_tls = match url.scheme() {
            "redis" | "redis+sentinel" => false,
            "rediss" | "rediss+sentinel" => true,
            _ => return Err(wrong("begins with another scheme than redis:// or rediss://")),
        };
        let node = node(&url, if is_sentinel { SENTINEL_PORT } else { PORT }, &wrong)?;
        let (master, database) = match url.path() {
            path if is_sentinel => {
                let path = path.strip_prefix('/').unwrap_or(path);
                path.split_once('/').unwrap_or((path, ""))
            }
            path => ("", path.trim_matches('/')),
        };
        let database = match database {
            "" => 0,
            number => number.parse().map_err(|_| wrong("ends with something else than the number of a database"))?,
        };
        let sentinels = match is_sentinel {
            false => None,
            true => Some(Sentinels {
                nodes: std::iter::once(Ok(node.clone()))
                    .chain(others.iter().map(|other| other_node(other, &wrong)))
                    .collect::<Result<_>>()?,
                master: decoded(master).filter(|name| !name.is_empty()).ok_or_else(|| wrong("names no master"))?,
                login: of_environment(environment, SENTINEL_USERNAME, SENTINEL_PASSWORD),
            }),
        };
        let mut address = Self {
            node,
            is_tls,
            sentinels,
            login: login(&url, environment, &wrong)?,
            database,
            ca: environment(CA).map(PathBuf::from),
            identity: None,
            timeout: Duration::from_secs(30),
            lease: Duration::from_secs(15),
        };
        address.take_options(&url, environment, &wrong)?;
        if url.fragment().is_some() {
            return Err(wrong("has a `#`").hint("write `#` in a password as %23"));
        }
        Ok(address)
    }

    /// What stands behind the `?`.
    fn take_options(
        &mut self,
        url: &Url,
        environment: &dyn Fn(&str) -> Option<String>,
        wrong: &dyn Fn(&str) -> Error,
    ) -> Result<()> {
        let (mut certificate, mut key) = (None, None);
        for (name, value) in url.query_pairs() {
            let secs = || match value.parse() {
                Ok(secs @ 1..=86_400) => Ok(Duration::from_secs(secs)),
                _ => Err(wrong("has a time that is no number of seconds between 1 and 86400").with("option", &name)),
            };
            match &*name {
                "ca" => self.ca = Some(PathBuf::from(&*value)),
                "cert" => certificate = Some(PathBuf::from(&*value)),
                "key" => key = Some(PathBuf::from(&*value)),
                "timeout_secs" => self.timeout = secs()?,
                "lease_secs" => self.lease = secs()?,
                _ => {
                    return Err(wrong("has an unknown option")
                        .with("option", name.escape_debug())
                        .hint("the options are ca, cert, key, timeout_secs and lease_secs"));
                }
            }
        }
        let is_named_here = certificate.is_some() || key.is_some();
        if is_named_here && !self.is_tls {
            return Err(wrong("names a client certificate and asks for no TLS").hint("rediss:// asks for TLS"));
        }
        if !is_named_here {
            (certificate, key) = (environment(CERT).map(PathBuf::from), environment(KEY).map(PathBuf::from));
        }
        self.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
            (None, None) => None,
            _ if !self.is_tls => None,
            _ => {
                return Err(Error::usage("of a client certificate and its key only one is named").hint(
                    "both are files: ?cert=FILE&key=FILE in the URL, or LAKEMILL_REDIS_CERT and LAKEMILL_REDIS_KEY",
                ));
            }
        };
        Ok(())
    }
}

/// Takes all hosts but the first out of `scheme://user@host,host,host/path`.
fn apart(url: &str) -> (String, Vec<String>) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |length| start + length);
    let hosts = url[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let mut each = url[hosts..end].split(',');
    let first = each.next().unwrap_or_default();
    (format!("{}{first}{}", &url[..hosts], &url[end..]), each.map(str::to_owned).collect())
}

fn node(url: &Url, port: u16, wrong: &dyn Fn(&str) -> Error) -> Result<Node> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
    let host = decoded(host.trim_start_matches('[').trim_end_matches(']')).ok_or_else(|| wrong("is not UTF-8"))?;
    Ok(Node { host, port: url.port().unwrap_or(port) })
}

/// A further sentinel: `host[:port]`.
fn other_node(written: &str, wrong: &dyn Fn(&str) -> Error) -> Result<Node> {
    let url = Url::parse(&format!("redis://{written}")).map_err(|_| wrong("names a host that is none"))?;
    node(&url, SENTINEL_PORT, wrong)
}

fn login(url: &Url, environment: &dyn Fn(&str) -> Option<String>, wrong: &dyn Fn(&str) -> Error) -> Result<Login> {
    let text = |part: &str| decoded(part).ok_or_else(|| wrong("has a user or password that is not UTF-8"));
    let user = Some(text(url.username())?).filter(|user| !user.is_empty());
    let password = url.password().map(text).transpose()?.map(Secret);
    if user.is_none() && password.is_none() {
        return Ok(of_environment(environment, USERNAME, PASSWORD));
    }
    Ok(Login { user, password })
}

fn of_environment(environment: &dyn Fn(&str) -> Option<String>, user: &str, password: &str) -> Login {
    Login { user: environment(user), password: environment(password).map(Secret) }
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

    fn said(login: &Login) -> (Option<&str>, Option<&str>) {
        (login.user.as_deref(), login.password.as_ref().map(Secret::reveal))
    }

    #[test]
    fn a_url_says_where_and_who() {
        let address = read("redis://127.0.0.1").unwrap();
        assert_eq!((address.node.to_string().as_str(), address.database, address.is_tls), ("127.0.0.1:6379", 0, false));
        let address = read("rediss://acme:p%40ss%2F@cache.example:7000/3?ca=%2Fetc%2Fca.pem&timeout_secs=5").unwrap();
        assert_eq!(address.node, Node { host: "cache.example".into(), port: 7000 });
        assert_eq!((address.database, address.is_tls), (3, true));
        assert_eq!(said(&address.login), (Some("acme"), Some("p@ss/")));
        assert_eq!(address.ca, Some(PathBuf::from("/etc/ca.pem")));
        assert_eq!(address.timeout, Duration::from_secs(5));
        assert_eq!(read("redis://[::1]:7/").unwrap().node.to_string(), "[::1]:7");
    }

    #[test]
    fn the_environment_fills_in() {
        let environment = |name: &str| Some(format!("of {name}"));
        let address = Address::read("redis://h", &environment).unwrap();
        let own = (Some("of LAKEMILL_REDIS_USERNAME"), Some("of LAKEMILL_REDIS_PASSWORD"));
        assert_eq!(said(&address.login), own);
        let address = Address::read("redis://:x@h", &environment).unwrap();
        assert_eq!(said(&address.login), (None, Some("x")));
        let address = Address::read("rediss+sentinel://h/m", &environment).unwrap();
        assert_eq!(said(&address.login), own);
        let theirs = (Some("of LAKEMILL_REDIS_SENTINEL_USERNAME"), Some("of LAKEMILL_REDIS_SENTINEL_PASSWORD"));
        assert_eq!(said(&address.sentinels.unwrap().login), theirs);
        let identity =
            |certificate: &str, key: &str| Some(Identity { certificate: certificate.into(), key: key.into() });
        assert_eq!(address.identity, identity("of LAKEMILL_REDIS_CERT", "of LAKEMILL_REDIS_KEY"));
        let address = Address::read("rediss://h?cert=c.pem&key=k.pem", &environment).unwrap();
        assert_eq!(address.identity, identity("c.pem", "k.pem"));
    }

    #[test]
    fn a_certificate_has_a_key_and_both_come_from_one_place() {
        let half = "of a client certificate and its key only one is named";
        let environment = |name: &str| (name == CERT).then(|| "c.pem".to_owned());
        assert_eq!(Address::read("rediss://h", &environment).unwrap_err().message(), half);
        assert_eq!(Address::read("rediss://h?key=k.pem", &environment).unwrap_err().message(), half);
        assert_eq!(Address::read("redis://h", &environment).unwrap().identity, None, "it is for other servers");
        let error = read("redis://h?cert=c.pem&key=k.pem").unwrap_err();
        assert_eq!(error.message(), "the URL of the Redis server names a client certificate and asks for no TLS");
    }

    #[test]
    fn sentinels_stand_where_the_server_does() {
        let url = "redis+sentinel://user:p%2Cw@one,two.example:7000,[::1]:7001/my%20master/3?timeout_secs=5";
        let address = read(url).unwrap();
        assert_eq!(said(&address.login), (Some("user"), Some("p,w")));
        assert_eq!((address.database, address.timeout, address.is_tls), (3, Duration::from_secs(5), false));
        let sentinels = address.sentinels.clone().unwrap();
        assert_eq!(sentinels.master, "my master");
        let nodes: Vec<String> = sentinels.nodes.iter().map(Node::to_string).collect();
        assert_eq!(nodes, ["one:26379", "two.example:7000", "[::1]:7001"]);
        assert_eq!(said(&sentinels.login), (None, None));
        let shown = "redis+sentinel://one:26379,two.example:7000,[::1]:7001/my master/3";
        assert_eq!(address.to_string(), shown);
        assert_eq!(read("rediss+sentinel://h/m").unwrap().to_string(), "rediss+sentinel://h:26379/m/0");
        for wrong in ["h", "h/", "h//0", "h,/m", ",h/m", "h:x/m", "h,i:x/m", "h/m/x", "h/m/0/1", ":hunter2@h,h:x/m"] {
            let error = read(&format!("redis+sentinel://{wrong}")).expect_err(wrong);
            assert_eq!(error.kind(), crate::error::ErrorKind::Usage, "{wrong}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
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
