//! HTTPS.

use super::client::Connection;
use super::server::{Server, publish, refused};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::tempdir;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A certificate of its own authority for 127.0.0.1 and its key, as files.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
    trusted: CertificateDer<'static>,
}

fn pair(folder: &Path, name: &str) -> Pair {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    std::fs::write(&certificate, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    Pair { certificate, key, trusted: cert.der().clone() }
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

fn connect(server: &Server, trusted: &CertificateDer<'static>) -> std::io::Result<Connection<TlsStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut stream = StreamOwned::new(client, stream);
    stream.flush()?;
    Ok(Connection::new(stream))
}

fn status(server: &Server, trusted: &CertificateDer<'static>) -> std::io::Result<u16> {
    Ok(connect(server, trusted)?.request("GET", "/v1/fraud/42", &[], b"")?.status)
}

#[test]
fn https_is_served_with_the_certificate_of_the_files() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let (first, second) = (pair(home.path(), "first"), pair(home.path(), "second"));
    let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::copy(&first.certificate, &certificate).unwrap();
    std::fs::copy(&first.key, &key).unwrap();
    let args = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let server = Server::start(home.path(), &args);
    assert!(server.said["url"].as_str().unwrap().starts_with("https://"), "{}", server.said);

    let mut connection = connect(&server, &first.trusted).unwrap();
    connection.get("/v1/fraud/42").expect(200);
    connection.post("/v1/fraud:mget", r#"{"keys":["42"]}"#).expect(200);
    assert!(status(&server, &second.trusted).is_err(), "another authority");

    // Without TLS there is nothing to be had.
    let mut plain = TcpStream::connect(server.address).unwrap();
    plain.write_all(b"GET /v1/fraud/42 HTTP/1.1\r\nhost: t\r\n\r\n").unwrap();
    let mut told = Vec::new();
    let _ = plain.read_to_end(&mut told);
    assert!(!String::from_utf8_lossy(&told).contains("HTTP"), "{told:?}");

    // Renewed certificates are taken up; connections that are open stay.
    std::fs::copy(&second.certificate, &certificate).unwrap();
    std::fs::copy(&second.key, &key).unwrap();
    let began = Instant::now();
    while status(&server, &second.trusted).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the new certificate is not served");
        std::thread::sleep(Duration::from_millis(100));
    }
    connection.get("/v1/fraud/42").expect(200);
    server.signal("-TERM");
    let (code, told) = server.end();
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn files_that_are_no_pair_are_refused() {
    let home = tempdir().unwrap();
    publish(home.path(), "fraud", &["42"], 0.5, 1);
    let pair = pair(home.path(), "pair");
    let other = home.path().join("other.key");
    std::fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let empty = home.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    for (certificate, key, why) in [
        (&pair.certificate, &other, "don't fit"),
        (&empty, &pair.key, "holds no certificate"),
        (&pair.certificate, &empty, "holds no private key"),
        (&pair.key, &pair.key, "holds no certificate"),
    ] {
        let args = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        let outcome = refused(home.path(), &args, &[]).expect(2);
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("BEGIN") && !outcome.stderr.contains("MIG"), "{}", outcome.stderr);
    }
}
