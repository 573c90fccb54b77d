//! HTTPS: a certificate and its key, read again when the files change.

use super::settings::TlsFiles;
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The certificate that new connections get.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<(Vec<u8>, TlsAcceptor)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Usage: a file that can't be read or holds no certificate or key, or a key of another certificate.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let bytes = read_both(&files)?;
        let acceptor = acceptor(&files, &bytes)?;
        Ok(Self { files, current: RwLock::new((bytes.concat(), acceptor)) })
    }

    /// What makes a connection a TLS connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Reads the files again; where they have changed, new connections get what they say. Blocks.
    ///
    /// # Errors
    /// As [`Tls::open`]; what was read before stays then.
    pub fn reload(&self) -> Result<bool> {
        let bytes = read_both(&self.files)?;
        let whole = bytes.concat();
        if self.current.read().unwrap_or_else(PoisonError::into_inner).0 == whole {
            return Ok(false);
        }
        let acceptor = acceptor(&self.files, &bytes)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (whole, acceptor);
        Ok(true)
    }
}

fn read_both(files: &TlsFiles) -> Result<[Vec<u8>; 2]> {
    let read = |file: &Path| {
        std::fs::read(file).map_err(|source| {
            Error::usage("a file of the certificate cannot be read").with("file", file.display()).because(source)
        })
    };
    Ok([read(&files.certificate)?, read(&files.key)?])
}

fn acceptor(files: &TlsFiles, [certificate, key]: &[Vec<u8>; 2]) -> Result<TlsAcceptor> {
    let wrong =
        |what: &str, file: &Path| Error::usage(format!("the file holds no {what}")).with("file", file.display());
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|source| wrong("certificate", &files.certificate).because(source))?;
    if chain.is_empty() {
        return Err(wrong("certificate", &files.certificate).hint("give the chain as PEM, the server's own first"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        // The reason might quote the file.
        wrong("private key", &files.key).hint("give an unencrypted key as PEM (PKCS#8, PKCS#1 or SEC1)")
    })?;
    // By name: two providers are compiled in, for other libraries' sake, and rustls refuses to choose.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::failed("TLS cannot be set up").because(source))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|source| {
            Error::usage("the certificate and the key don't fit")
                .with("certificate", files.certificate.display())
                .with("key", files.key.display())
                .because(source)
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
