//! One connection to one server: opened, secured, authenticated, in the right database.

use super::address::{Address, Node};
use super::wire::{Incoming, Reply, command};
use crate::error::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// How long one address of a server is waited for.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is no connection, or no longer one.
pub enum Broken {
    /// Another try may succeed.
    Lost(io::Error),
    /// No other try does.
    Refused(Error),
    /// The server says no for now, by its own words.
    Unready(super::wire::Refusal),
}

/// A connection. After an error of it nothing else may be read from it: replies would be taken for those of others.
pub struct Link {
    stream: Stream,
    incoming: Incoming,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Link {
    /// Connects to `node` as `address` says.
    pub fn open(node: &Node, address: &Address, tls: Option<&Arc<ClientConfig>>) -> Result<Self, Broken> {
        let tcp = connect(node).map_err(Broken::Lost)?;
        let settle = || {
            tcp.set_nodelay(true)?;
            tcp.set_read_timeout(Some(address.timeout))?;
            tcp.set_write_timeout(Some(address.timeout))
        };
        settle().map_err(Broken::Lost)?;
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(config) => Stream::Tls(Box::new(secured(node, config, tcp)?)),
        };
        let mut link = Self { stream, incoming: Incoming::default() };
        link.introduce(address)?;
        Ok(link)
    }

    /// Sends commands; their replies have to be read.
    pub fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(commands),
            Stream::Tls(stream) => stream.write_all(commands).and_then(|()| stream.flush()),
        }
    }

    /// The next reply.
    pub fn reply(&mut self) -> io::Result<Reply> {
        self.incoming.reply(&mut self.stream)
    }

    fn introduce(&mut self, address: &Address) -> Result<(), Broken> {
        let mut first = Vec::new();
        let mut asked = 0;
        if let Some(password) = &address.password {
            let password = password.reveal().as_bytes();
            match &address.user {
                Some(user) => command(&mut first, &[b"AUTH", user.as_bytes(), password]),
                None => command(&mut first, &[b"AUTH", password]),
            }
            asked += 1;
        }
        if address.database != 0 {
            command(&mut first, &[b"SELECT", address.database.to_string().as_bytes()]);
            asked += 1;
        }
        self.send(&first).map_err(Broken::Lost)?;
        for _ in 0..asked {
            if let Reply::Error(refusal) = self.reply().map_err(Broken::Lost)? {
                return Err(match super::refused::verdict(&refusal) {
                    super::refused::Verdict::Final => Broken::Refused(not_admitted(address, &refusal)),
                    _ => Broken::Unready(refusal),
                });
            }
        }
        Ok(())
    }
}

fn not_admitted(address: &Address, refusal: &super::wire::Refusal) -> Error {
    let words = address.password.as_ref().map_or_else(|| refusal.line.clone(), |secret| secret.hide_in(&refusal.line));
    if words.contains("SELECT is not allowed in cluster mode") || words.contains("DB index is out of range") {
        return Error::usage("the Redis server has no such database")
            .with("database", address.database)
            .because(words)
            .hint("a cluster has database 0 only; elsewhere the server's `databases` setting says how many there are");
    }
    if refusal.code == "ERR" {
        return Error::failed("the Redis server refuses the user or password").because(words);
    }
    super::refused::error(refusal, &words)
}

fn connect(node: &Node) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn secured(
    node: &Node,
    config: &Arc<ClientConfig>,
    mut tcp: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Broken> {
    let untrusted = |source: io::Error| {
        // The handshake itself failed: it would again.
        let error = Error::failed("no secure connection to the Redis server can be made").with("server", node);
        Broken::Refused(
            error.because(source).hint("?ca=FILE in the URL, or LAKEMILL_REDIS_CA, names the authority to be trusted"),
        )
    };
    let name = ServerName::try_from(node.host.clone()).map_err(|source| untrusted(io::Error::other(source)))?;
    let mut connection =
        ClientConnection::new(Arc::clone(config), name).map_err(|source| untrusted(io::Error::other(source)))?;
    while connection.is_handshaking() {
        match connection.complete_io(&mut tcp) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(untrusted(error)),
            Err(error) => return Err(Broken::Lost(error)),
        }
    }
    Ok(StreamOwned::new(connection, tcp))
}

/// What TLS connections trust.
///
/// # Errors
/// Usage: a CA file that can't be read or holds no certificate; `failed` where the system trusts nobody.
pub fn trust(address: &Address) -> Result<Option<Arc<ClientConfig>>> {
    if !address.is_tls {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match &address.ca {
        Some(file) => {
            let wrong = |what: &str| Error::usage(format!("the file of authorities {what}")).with("ca", file.display());
            let pem = std::fs::read(file).map_err(|source| wrong("cannot be read").because(source))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|source| wrong("is damaged").because(source))?;
                roots.add(certificate).map_err(|source| wrong("is damaged").because(source))?;
            }
            if roots.is_empty() {
                return Err(wrong("holds no certificate").hint("it has to be PEM"));
            }
        }
        None => {
            // Some certificates of a system may be damaged: the others are trusted all the same.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Error::failed("this system has no trusted authorities")
                    .hint("install its ca-certificates, or name a file: ?ca=FILE in the URL, or LAKEMILL_REDIS_CA"));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::failed("TLS cannot be used").because(source))?;
    Ok(Some(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}
