//! Servers that are read over TLS, by users of few rights.

use super::place::{Kind, Place};
use super::reader::{Language, Reader};
use super::{numbered, refusal, rows, text, texts};
use crate::redis::identities::certificates;
use crate::redis::server::{Server, cluster_with, free_port};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const PASSWORD: &str = "hunter2-Ünsafe/@:%";

/// As it stands in a URL.
const WRITTEN: &str = "hunter2-%C3%9Cnsafe%2F%40%3A%25";

/// A server that is written to without TLS and read with it.
struct Secured {
    server: Server,
    port: u16,
    ca: PathBuf,
    _folder: TempDir,
}

impl Secured {
    fn start() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let (ca, certificate, key) = certificates(folder.path());
        let port = free_port();
        let path = |path: &Path| path.display().to_string();
        let (port_text, ca_text) = (port.to_string(), path(&ca));
        // The certificate is for 127.0.0.1, and not for 127.0.0.2.
        let mut settings =
            vec!["--bind", "127.0.0.1", "127.0.0.2", "--tls-port", &port_text, "--tls-auth-clients", "no"];
        let (certificate, key) = (path(&certificate), path(&key));
        settings.extend(["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca_text]);
        Some(Self { server: Server::start(&settings)?, port, ca, _folder: folder })
    }

    /// A user who may get keys that begin with the prefix, and nothing else; gives the URL.
    fn user(&self, name: &str, prefix: &str) -> String {
        let (password, keys) = (format!(">{PASSWORD}"), format!("~{prefix}:*"));
        let rules = ["ACL", "SETUSER", name, "reset", "on", &password, &keys, "+@connection", "+get", "+hget"];
        assert_eq!(self.server.cli(&rules), "OK");
        self.url(name, WRITTEN, "127.0.0.1")
    }

    fn url(&self, user: &str, password: &str, host: &str) -> String {
        format!("rediss://{user}:{password}@{host}:{}/0", self.port)
    }
}

pub fn reads_over_tls_as_a_user_of_few_rights(language: Language) {
    let keys = numbered(3000);
    for &kind in Kind::SERVER {
        let Some(secured) = Secured::start() else { return };
        let place = Place::on(kind, secured.server.url());
        place.publish(&rows(&keys, 1), 1, 3);
        let url = secured.user("reader", place.prefix());
        // With a URL, and where the language has it with a client that the application has made.
        let ways: &[&str] = if language == Language::Java { &["url"] } else { &["url", "client"] };
        for (value, via) in (2..).zip(ways) {
            // What the client trusts is its own affair.
            let trusted = (*via == "url").then_some(secured.ca.as_path());
            let Some(mut reader) = Reader::start_trusting(language, trusted) else { return };
            let open = json!({ "location": url, "via": via, "ca": secured.ca, "check_millis": 0 });
            let opened = reader.try_open_as(&place, open);
            assert!(opened["error"].is_null(), "{language:?} {via}: {opened}");
            assert!(reader.get(texts(&keys)).iter().all(Option::is_some), "{language:?} {via}");
            assert_eq!(reader.get(vec![text("absent")]), [None]);
            place.publish(&rows(&keys, value), 1, 3);
            let found = reader.get(texts(&keys));
            assert_eq!(found, vec![Some(format!("{{\"value\":{value}}}")); keys.len()], "{language:?} {via}");
        }
    }
}

#[test]
fn a_cluster_is_read_over_tls() {
    let folder = TempDir::new().unwrap();
    let (ca, certificate, key) = certificates(folder.path());
    let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string());
    let files = [&ca, &certificate, &key].map(|path| path.display().to_string());
    let settings = ports.each_ref().map(|port| {
        let tls = ["--tls-port", port, "--tls-cluster", "yes", "--tls-auth-clients", "no"];
        [&tls[..], &["--tls-ca-cert-file", &files[0], "--tls-cert-file", &files[1], "--tls-key-file", &files[2]]]
            .concat()
    });
    let Some(nodes) = cluster_with(settings.each_ref().map(Vec::as_slice)) else { return };
    let place = Place::on(Kind::Buckets, nodes[0].url());
    let keys = numbered(3000);
    place.publish(&rows(&keys, 1), 1, 3);
    let (password, prefix) = (format!(">{PASSWORD}"), format!("~{}:*", place.prefix()));
    for node in &nodes {
        let rules = ["reset", "on", &password, &prefix, "+@connection", "+get", "+hget", "+cluster|slots"];
        assert_eq!(node.cli(&[&["ACL", "SETUSER", "reader"], &rules[..]].concat()), "OK");
        // Nobody else gets in from here on.
        assert_eq!(node.cli(&["ACL", "SETUSER", "default", "-@all", "+acl"]), "OK");
    }
    let url = format!("rediss://reader:{WRITTEN}@127.0.0.1:{}/0", ports[0]);
    for language in Language::ALL {
        let Some(mut reader) = Reader::start_trusting(language, Some(&ca)) else { continue };
        let open = json!({ "location": url, "cluster": true, "ca": ca, "check_millis": 0 });
        let opened = reader.try_open_as(&place, open);
        assert!(opened["error"].is_null(), "{language:?}: {opened}");
        let found = reader.get(texts(keys.iter().chain([&"absent".to_owned()])));
        assert!(found[..keys.len()].iter().all(|value| value.as_deref() == Some(r#"{"value":1}"#)), "{language:?}");
        assert_eq!(found[keys.len()], None, "{language:?}");
    }
}

pub fn reads_from_nobody_whom_it_should_not_trust(language: Language) {
    let Some(secured) = Secured::start() else { return };
    let place = Place::on(Kind::Buckets, secured.server.url());
    place.publish(&rows(&numbered(10), 1), 1, 3);
    let right = secured.user("reader", place.prefix());
    let stranger = secured.user("stranger", "elsewhere");
    let other = TempDir::new().unwrap();
    let (other_ca, ..) = certificates(other.path());
    let attempt = |location: &str, ca: Option<&Path>| -> Option<Value> {
        let mut reader = Reader::start_trusting(language, ca)?;
        let mut open = json!({ "location": location, "check_millis": 0 });
        if let Some(ca) = ca {
            open["ca"] = json!(ca);
        }
        Some(reader.try_open_as(&place, open))
    };
    let ca = Some(secured.ca.as_path());
    let Some(opened) = attempt(&right, ca) else { return };
    assert!(opened["error"].is_null(), "{language:?}: {opened}");
    for (what, location, ca) in [
        ("an authority that nobody knows", right.clone(), None),
        ("another authority", right.clone(), Some(other_ca.as_path())),
        ("a certificate for another host", secured.url("reader", WRITTEN, "127.0.0.2"), ca),
        ("a wrong password", secured.url("reader", "hunter2-wrong", "127.0.0.1"), ca),
        ("a user whom nobody knows", secured.url("nobody", WRITTEN, "127.0.0.1"), ca),
        ("a user without the right", stranger, ca),
    ] {
        let Some(answer) = attempt(&location, ca) else { return };
        assert_ne!(refusal(&answer), "NotPublished", "{language:?}, {what}: {answer}");
        assert!(!answer.to_string().contains("hunter2"), "{language:?} shows the password, {what}: {answer}");
    }
}
