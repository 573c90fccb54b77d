//! TLS: whom connections trust, what they show of themselves, and what a server says to that.
//!
//! In TLS 1.3 the client has ended its handshake before the server has looked at its certificate: what the server says
//! to it comes with, or instead of, the first reply.

use super::address::{Address, Identity, Node};
use super::link::Broken;
use crate::error::{Error, Result};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, SignatureScheme, StreamOwned};
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How connections to a server are secured.
pub struct Tls {
    files: Files,
    config: Arc<ClientConfig>,
    shown: Arc<Shown>,
}

/// What the files say that an address names.
#[derive(PartialEq, Eq)]
struct Files {
    /// The authorities.
    authorities: Option<Vec<u8>>,
    /// The client's certificate and its key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What is shown to a server that asks who connects.
#[derive(Debug)]
struct Shown {
    certificate: Option<Arc<CertifiedKey>>,
    /// Whether a server has asked.
    is_asked: AtomicBool,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.is_asked.store(true, Ordering::Relaxed);
        self.certificate.clone()
    }

    fn has_certs(&self) -> bool {
        self.certificate.is_some()
    }
}

impl Tls {
    /// What a URL asks for; `None` where it is without TLS.
    ///
    /// # Errors
    /// Usage: a file that can't be read or holds something else; `failed` where the system trusts nobody.
    pub fn of(address: &Address) -> Result<Option<Self>> {
        if !address.is_tls {
            return Ok(None);
        }
        Self::new(address, Files::read(address)?).map(Some)
    }

    /// What the address asks for now, where its files have changed.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub fn renewed(&self, address: &Address) -> Result<Option<Self>> {
        let files = Files::read(address)?;
        if files == self.files { Ok(None) } else { Self::new(address, files).map(Some) }
    }

    fn new(address: &Address, files: Files) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = match (&address.ca, &files.authorities) {
            (Some(file), Some(pem)) => trusted(file, pem)?,
            _ => trusted_here()?,
        };
        let certificate = match (&address.identity, &files.identity) {
            (Some(identity), Some((certificate, key))) => {
                Some(Arc::new(certified(identity, certificate, key, &provider)?))
            }
            _ => None,
        };
        let shown = Arc::new(Shown { certificate, is_asked: AtomicBool::new(false) });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| Error::failed("TLS cannot be used").because(source))?;
        let config = config.with_root_certificates(roots).with_client_cert_resolver(Arc::clone(&shown) as _);
        Ok(Self { files, config: Arc::new(config), shown })
    }

    /// Whether a server has asked for a certificate.
    pub fn is_asked(&self) -> bool {
        self.shown.is_asked.load(Ordering::Relaxed)
    }

    /// Makes a connection to `node` secure.
    pub fn secured(&self, node: &Node, mut tcp: TcpStream) -> Result<StreamOwned<ClientConnection, TcpStream>, Broken> {
        let untrusted = |source| Broken::Refused(untrusted(node).because(source));
        let name = ServerName::try_from(node.host.clone()).map_err(|source| untrusted(io::Error::other(source)))?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name);
        let mut connection = connection.map_err(|source| untrusted(io::Error::other(source)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp).map_err(|source| self.broken(node, source))?;
        }
        Ok(StreamOwned::new(connection, tcp))
    }

    /// What an error before the first reply means.
    pub fn broken(&self, node: &Node, source: io::Error) -> Broken {
        let is_asked_in_vain = self.is_asked() && self.shown.certificate.is_none();
        match alert(&source) {
            Some(alert) if is_asked_in_vain && is_about_certificate(alert) => Broken::Refused(wanted(node, source)),
            Some(alert) if self.is_asked() && is_about_certificate(alert) => Broken::Refused(refused(node, source)),
            // The handshake itself failed: it would again.
            _ if tls_error(&source).is_some() => Broken::Refused(untrusted(node).because(source)),
            _ if is_asked_in_vain && is_closed(&source) => Broken::Lost(io::Error::new(
                source.kind(),
                format!("{source}; it asks for a client certificate, and none is named: {CERTIFICATE}"),
            )),
            _ => Broken::Lost(source),
        }
    }
}

/// How a certificate is named.
const CERTIFICATE: &str = "?cert=FILE&key=FILE in the URL, or LAKEMILL_REDIS_CERT and LAKEMILL_REDIS_KEY";

fn untrusted(node: &Node) -> Error {
    Error::failed("no secure connection to the Redis server can be made")
        .with("server", node)
        .hint("?ca=FILE in the URL, or LAKEMILL_REDIS_CA, names the authority to be trusted")
}

fn wanted(node: &Node, source: io::Error) -> Error {
    let error = Error::failed("the Redis server wants a client certificate").with("server", node).because(source);
    error.hint(format!("name one: {CERTIFICATE}"))
}

fn refused(node: &Node, source: io::Error) -> Error {
    Error::failed("the Redis server refuses the client certificate")
        .with("server", node)
        .because(source)
        .hint("is it signed by an authority that the server trusts (its tls-ca-cert-file), and still valid?")
}

/// The last word of a server that ends a connection.
fn alert(source: &io::Error) -> Option<AlertDescription> {
    match tls_error(source)? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

fn tls_error(source: &io::Error) -> Option<&rustls::Error> {
    source.get_ref()?.downcast_ref()
}

/// Before TLS 1.3 there was no word of its own for a missing certificate.
fn is_about_certificate(alert: AlertDescription) -> bool {
    use AlertDescription as Alert;
    matches!(
        alert,
        Alert::CertificateRequired
            | Alert::HandshakeFailure
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
    )
}

/// Whether the other side has ended a connection.
pub fn is_closed(source: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof, WriteZero};
    matches!(source.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof | WriteZero)
}

/// What was received before a connection ended, as far as it says why: a server that does not admit a client says so and
/// closes, and what is still to be sent then fails first.
pub fn last_words(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Option<io::Error> {
    loop {
        let read = stream.conn.read_tls(&mut stream.sock);
        if let Err(error) = stream.conn.process_new_packets() {
            return Some(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if !read.is_ok_and(|read| read > 0) {
            return None;
        }
    }
}

impl Files {
    fn read(address: &Address) -> Result<Self> {
        let read = |file: &Path, wrong: fn(&Path, &str) -> Error| {
            std::fs::read(file).map_err(|source| wrong(file, "cannot be read").because(source))
        };
        let authorities = address.ca.as_deref().map(|file| read(file, wrong_authorities)).transpose()?;
        let identity = address.identity.as_ref().map(|Identity { certificate, key }| {
            Ok::<_, Error>((read(certificate, wrong_certificate)?, read(key, wrong_key)?))
        });
        Ok(Self { authorities, identity: identity.transpose()? })
    }
}

fn wrong_authorities(file: &Path, what: &str) -> Error {
    Error::usage(format!("the file of authorities {what}")).with("ca", file.display())
}

fn wrong_certificate(file: &Path, what: &str) -> Error {
    Error::usage(format!("the file of the client certificate {what}")).with("cert", file.display())
}

fn wrong_key(file: &Path, what: &str) -> Error {
    Error::usage(format!("the file of the client key {what}")).with("key", file.display())
}

/// The system's authorities.
fn trusted_here() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Some certificates of a system may be damaged: the others are trusted all the same.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Error::failed("this system has no trusted authorities")
            .hint("install its ca-certificates, or name a file: ?ca=FILE in the URL, or LAKEMILL_REDIS_CA"));
    }
    Ok(roots)
}

/// The authorities in a file.
fn trusted(file: &Path, pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, &|what| wrong_authorities(file, what))? {
        roots.add(certificate).map_err(|source| wrong_authorities(file, "is damaged").because(source))?;
    }
    Ok(roots)
}

/// The certificates in a PEM file: one at least.
fn certificates(pem: &[u8], wrong: &dyn Fn(&str) -> Error) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|source| wrong("is damaged").because(source))?;
    if found.is_empty() {
        return Err(wrong("holds no certificate").hint("it has to be PEM"));
    }
    Ok(found)
}

/// A certificate with its key. Nothing of the key gets into an error.
fn certified(identity: &Identity, certificate: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey> {
    let chain = certificates(certificate, &|what| wrong_certificate(&identity.certificate, what))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        wrong_key(&identity.key, "holds no private key")
            .hint("it has to be PEM (PKCS#8, PKCS#1 or SEC1), and not encrypted")
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| match source {
        rustls::Error::InconsistentKeys(_) => Error::usage("the client certificate and its key do not belong together")
            .with("cert", identity.certificate.display())
            .with("key", identity.key.display()),
        source => Error::usage("the client certificate cannot be used")
            .with("cert", identity.certificate.display())
            .with("key", identity.key.display())
            .because(source),
    })
}
