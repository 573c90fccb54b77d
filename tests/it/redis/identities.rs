//! Who may do what: passwords, ACL users, TLS. And that no password is ever shown.

use super::server::{Server, free_port};
use super::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::path::{Path, PathBuf};

const PASSWORD: &str = "hunter2-Ünsafe/@:%";

/// As it stands in a URL.
const WRITTEN: &str = "hunter2-%C3%9Cnsafe%2F%40%3A%25";

/// The rule in README.md.
const WRITER: &[&str] =
    &["~acme:*", "+@connection", "+@read", "+@write", "+eval", "+info", "+time", "+config|get", "+cluster|slots"];
const READER: &[&str] = &["~acme:*", "+@connection", "+get", "+hget", "+hgetall", "+time", "+cluster|slots"];

fn prefixed(url: &str, prefix: &str) -> LookupTable {
    table(url).with(LookupOptions { prefix: prefix.into(), ..LookupOptions::default() })
}

fn user(server: &Server, name: &str, rules: &[&str]) -> String {
    let password = format!(">{PASSWORD}");
    let mut command = vec!["ACL", "SETUSER", name, "reset", "on", &password];
    command.extend(rules);
    assert_eq!(server.cli(&command), "OK");
    format!("redis://{name}:{WRITTEN}@127.0.0.1:{}/0?timeout_secs=1", server.port)
}

/// Nothing that is said of an error holds the password.
#[track_caller]
fn silent(error: &Error) {
    let said = format!("{error:?} {error} {:?} {:?} {:?}", error.causes(), error.hint_text(), error.context());
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_user_of_few_rights_publishes_and_another_reads() {
    let Some(server) = Server::start(&[]) else { return };
    let writer = prefixed(&user(&server, "writer", WRITER), "acme");
    let reader = prefixed(&user(&server, "reader", READER), "acme");
    for (attempt, layout) in [("a", Layout::Buckets), ("b", Layout::Strings), ("c", Layout::Buckets)] {
        let writer = writer.clone().with(LookupOptions { layout, ..writer.options.clone() });
        publish(&writer, attempt, &rows(2000, 1)).unwrap();
    }
    assert_eq!(contents(&*super::reader(&reader)), rows(2000, 1));
    store().rollback(&writer, None, 3, &note()).unwrap();
    super::reader(&reader).verify().unwrap();
    assert_eq!(super::reader(&reader).get(b"none").unwrap(), None);
    let error =
        refused(publish(&reader, "d", &rows(10, 2)).map(drop), ErrorKind::Failed, "the Redis user lacks a right");
    silent(&error);
    let elsewhere = prefixed(&writer.store, "other");
    let error =
        refused(publish(&elsewhere, "e", &rows(10, 2)).map(drop), ErrorKind::Failed, "the Redis user lacks a right");
    silent(&error);
    assert!(server.keys().iter().all(|key| key.starts_with("acme:")));
}

#[test]
fn without_the_right_to_ask_for_settings_the_usual_ones_are_taken() {
    let Some(server) = Server::start(&[]) else { return };
    let few: Vec<&str> =
        WRITER.iter().copied().filter(|rule| !["+info", "+config|get", "+cluster|slots"].contains(rule)).collect();
    let table = prefixed(&user(&server, "poor", &few), "acme");
    publish(&table, "a", &rows(2000, 1)).unwrap();
    assert_eq!(contents(&*reader(&table)), rows(2000, 1));
}

#[test]
fn what_garbage_took_is_left_out_where_the_user_may_not_ask() {
    let Some(server) = Server::start(&[]) else { return };
    for (name, rules, is_told) in [("writer", WRITER.to_vec(), true), ("poor", [WRITER, &["-memory"]].concat(), false)]
    {
        let table = prefixed(&user(&server, name, &rules), "acme");
        publish(&table, "a", &rows(500, 1)).unwrap();
        publish(&table, "b", &rows(500, 2)).unwrap();
        let collected = store().gc(&table, 1).unwrap();
        assert_eq!((collected.generations.len(), collected.bytes.is_some()), (1, is_told), "{name}");
        let shown = serde_json::to_value(&collected).unwrap();
        assert_eq!(shown.get("bytes").is_some(), is_told, "{shown}");
        assert!(!is_told || collected.bytes > Some(10_000), "{collected:?}");
        server.cli(&["FLUSHALL"]);
    }
}

#[test]
fn wrong_and_missing_passwords_are_told_without_them() {
    let Some(server) = Server::start(&["--requirepass", PASSWORD]) else { return };
    let wrong = "the Redis server refuses the user or password";
    let port = server.port;
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://:hunter2-wrong@127.0.0.1:{port}"),
        format!("redis://nobody:{WRITTEN}@127.0.0.1:{port}"),
    ] {
        silent(&refused(store().current(&table(&url)), ErrorKind::Failed, wrong));
    }
    let right = table(&format!("redis://:{WRITTEN}@127.0.0.1:{port}"));
    assert_eq!(store().current(&right).unwrap(), None);
    publish(&right, "a", &rows(10, 1)).unwrap();
}

#[test]
fn a_password_that_nobody_asks_for_is_told() {
    let Some(server) = Server::start(&[]) else { return };
    let table = table(&format!("redis://nobody:{WRITTEN}@127.0.0.1:{}", server.port));
    silent(&refused(store().current(&table), ErrorKind::Failed, "the Redis server refuses the user or password"));
}

/// The certificate of an authority, and one that it has signed for this machine, with its key.
pub fn certificates(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // What has the name of its issuer is taken for self-signed by OpenSSL.
    authority.distinguished_name.push(DnType::CommonName, "authority");
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    (write("ca.pem", &authority_pem), write("server.pem", &certificate), write("key.pem", &key.serialize_pem()))
}

#[test]
fn tls_is_trusted_by_an_authority_and_by_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, certificate, key) = certificates(folder.path());
    let port = free_port().to_string();
    let path = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let (ca, certificate, key) = (path(&ca), path(&certificate), path(&key));
    let settings = [
        "--port",
        "0",
        "--tls-port",
        &port,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        PASSWORD,
    ];
    let Some(_server) = Server::start(&settings) else { return };
    for host in ["localhost", "127.0.0.1"] {
        let table = table(&format!("rediss://:{WRITTEN}@{host}:{port}/1?ca={ca}"));
        let wanted = rows(20_000, 1);
        publish(&table, host, &wanted).unwrap();
        assert_eq!(contents(&*reader(&table)), wanted);
    }
    let untrusted = "no secure connection to the Redis server can be made";
    let strange = tempfile::tempdir().unwrap();
    let (other, ..) = certificates(strange.path());
    let url = |ca: &str| table(&format!("rediss://:{WRITTEN}@localhost:{port}{ca}"));
    silent(&refused(store().current(&url("")), ErrorKind::Failed, untrusted));
    silent(&refused(store().current(&url(&format!("?ca={}", other.display()))), ErrorKind::Failed, untrusted));
    silent(&refused(
        store().current(&url("?ca=/none/ca.pem")),
        ErrorKind::Usage,
        "the file of authorities cannot be read",
    ));
    silent(&refused(
        store().current(&url(&format!("?ca={key}"))),
        ErrorKind::Usage,
        "the file of authorities holds no certificate",
    ));
    // Without TLS the two do not understand each other.
    let plain = table(&format!("redis://:{WRITTEN}@localhost:{port}?timeout_secs=1"));
    silent(&store().current(&plain).unwrap_err());
}
