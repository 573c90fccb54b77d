//! Servers that want to know who connects: certificates of clients.

use super::identities::certificates;
use super::server::{Server, free_port};
use super::*;
use crate::bad_inputs::place::Place;
use crate::command::lakemill;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair, date_time_ymd};
use std::path::PathBuf;

/// Files of an authority, of a server that it has signed, and of clients.
struct Files {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(folder.path().join("ca.pem"), authority.self_signed(&key).unwrap().pem()).unwrap();
        let files = Self { folder, issuer: Issuer::new(authority, key) };
        files.sign("server", |_| {});
        files.sign("client", |_| {});
        files
    }

    /// Makes `<name>.pem` and `<name>.key`.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(self.folder.path().join(format!("{name}.pem")), certificate).unwrap();
        std::fs::write(self.folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// A server that admits whom the authority has signed: `yes`, nobody else; `optional`, also who shows nothing.
    fn server(&self, wants: &str, protocols: &str) -> Option<(Server, String)> {
        let port = free_port().to_string();
        let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| self.path(name));
        let server = Server::start(
            &[
                &["--port", "0", "--tls-port", &port][..],
                &["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca],
                &["--tls-auth-clients", wants, "--tls-protocols", protocols],
            ]
            .concat(),
        )?;
        Some((server, format!("rediss://localhost:{port}?timeout_secs=3&ca={ca}")))
    }

    /// What stands in a URL behind that.
    fn named(&self, name: &str) -> String {
        format!("&cert={}&key={}", self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }
}

const WANTED: &str = "the Redis server wants a client certificate";

#[test]
fn a_server_admits_whom_its_authority_has_signed_and_says_so_to_others() {
    let files = Files::new();
    files.sign("expired", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let strange = Files::new();
    for protocols in ["TLSv1.3", "TLSv1.2"] {
        let Some((_server, url)) = files.server("yes", protocols) else { return };
        let with = |more: &str| table(&format!("{url}{more}"));
        let known = with(&files.named("client"));
        let wanted = rows(20_000, 1);
        publish(&known, "a", &wanted).unwrap();
        assert_eq!(contents(&*reader(&known)), wanted);
        let facts = store().examine(&known).unwrap();
        assert!(facts.contains(&("client certificate", files.path("client.pem"))), "{facts:?}");

        let error = refused(store().current(&with("")), ErrorKind::Failed, WANTED);
        assert!(error.hint_text().unwrap().contains("LAKEMILL_REDIS_CERT"), "{error:?}");
        refused(publish(&with(""), "b", &rows(10, 1)).map(drop), ErrorKind::Failed, WANTED);
        let message = "the Redis server refuses the client certificate";
        refused(store().current(&with(&strange.named("client"))), ErrorKind::Failed, message);
        refused(store().current(&with(&files.named("expired"))), ErrorKind::Failed, message);
        assert_eq!(contents(&*reader(&known)), wanted);
    }
}

/// A process that runs on takes what was renewed; half-written files change nothing.
#[test]
fn renewed_files_count_for_the_next_connection() {
    let files = Files::new();
    files.sign("mine", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let Some((mut server, url)) = files.server("yes", "TLSv1.3") else { return };
    let table = table(&(url + &files.named("mine")));
    let message = "the Redis server refuses the client certificate";
    refused(store().current(&table), ErrorKind::Failed, message);
    files.sign("mine", |_| {});
    publish(&table, "a", &rows(100, 1)).unwrap();
    std::fs::write(files.path("mine.key"), "half").unwrap();
    // Which ends all connections, and keeps nothing.
    server.restart();
    publish(&table, "b", &rows(100, 2)).unwrap();
    assert_eq!(contents(&*reader(&table)), rows(100, 2));
    files.sign("mine", |params| params.not_after = date_time_ymd(2020, 1, 1));
    server.restart();
    refused(store().current(&table), ErrorKind::Failed, message);
}

#[test]
fn a_server_that_takes_both_is_told_of_by_doctor() {
    let files = Files::new();
    let Some((_server, url)) = files.server("optional", "TLSv1.3") else { return };
    let nobody = table(&url);
    publish(&nobody, "a", &rows(100, 1)).unwrap();
    let fact = |table: &LookupTable| {
        let facts = store().examine(table).unwrap();
        facts.into_iter().find(|(name, _)| *name == "client certificate").unwrap().1
    };
    assert_eq!(fact(&nobody), "asked for, and none is named; the server admits that");
    assert_eq!(fact(&table(&(url + &files.named("client")))), files.path("client.pem"));
    let Some((_server, url)) = files.server("no", "TLSv1.3") else { return };
    assert_eq!(fact(&table(&url)), "not asked for");
}

#[test]
fn files_that_are_none_are_told_and_nothing_of_a_key_is_shown() {
    let files = Files::new();
    let Some((_server, url)) = files.server("yes", "TLSv1.3") else { return };
    let path = |name: &str| files.path(name);
    std::fs::write(path("half.key"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
    std::fs::write(path("odd.key"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
    std::fs::write(path("odd.pem"), "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n").unwrap();
    let cases = [
        ("client.pem", "server.key", "the client certificate and its key do not belong together"),
        ("client.key", "client.key", "the file of the client certificate holds no certificate"),
        ("client.pem", "client.pem", "the file of the client key holds no private key"),
        ("client.pem", "half.key", "the file of the client key holds no private key"),
        ("client.pem", "odd.key", "the client certificate cannot be used"),
        ("odd.pem", "client.key", "the client certificate cannot be used"),
        ("none.pem", "client.key", "the file of the client certificate cannot be read"),
        ("client.pem", "none.key", "the file of the client key cannot be read"),
    ];
    for (certificate, key, message) in cases {
        let table = table(&format!("{url}&cert={}&key={}", path(certificate), path(key)));
        let error = refused(store().current(&table), ErrorKind::Usage, message);
        assert!(!format!("{error:?} {:?}", error.causes()).contains("c2VjcmV0"), "{error:?}");
    }
    let half = table(&format!("{url}&cert={}", path("client.pem")));
    let message = "of a client certificate and its key only one is named";
    refused(store().current(&half), ErrorKind::Usage, message);
}

#[test]
fn commands_take_the_certificate_from_the_url_or_the_environment() {
    let files = Files::new();
    let Some((_server, url)) = files.server("yes", "TLSv1.3") else { return };
    let place = Place::new();
    let key = std::fs::read_to_string(files.path("client.key")).unwrap();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let call = |args: &[&str], environment: &[(&str, String)], code: i32| {
        let mut command = lakemill(args);
        command.current_dir(place.path()).args(["--output", "json", "--log", "trace"]);
        let output = command.envs(environment.iter().map(|(name, value)| (name, value))).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said:?}");
        assert!(said.iter().all(|said| !said.contains(&secret)), "{args:?} shows a key");
        said
    };
    let store = format!("lookup.store={url}{}", files.named("client"));
    call(&["score", "job.toml", "--interval", "2018-06-11", "--set", &store], &[], 0);
    let nobody = format!("lookup.store={url}");
    let of_environment =
        [("LAKEMILL_REDIS_CERT", files.path("client.pem")), ("LAKEMILL_REDIS_KEY", files.path("client.key"))];
    let [doctor, _] = call(&["doctor", "job.toml", "--set", &nobody], &of_environment, 0);
    assert!(doctor.contains(&files.path("client.pem")), "{doctor}");
    let [doctor, told] = call(&["doctor", "job.toml", "--set", &nobody], &[], 1);
    assert!(doctor.contains(WANTED) && doctor.contains("LAKEMILL_REDIS_CERT"), "{doctor}\n{told}");
    call(&["lookup", "stats", "risk", "--store", &url], &of_environment, 0);
    let [_, told] = call(&["lookup", "stats", "risk", "--store", &url], &[], 1);
    assert!(told.contains(WANTED) && told.contains("LAKEMILL_REDIS_CERT"), "{told}");
    for (name, bytes) in place.everything() {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name} holds the key");
    }
}

#[test]
fn sentinels_and_their_primary_may_both_want_one() {
    let files = Files::new();
    let Some((_primary, url)) = files.server("yes", "TLSv1.3") else { return };
    let port = url.split(['?', ':']).nth(2).unwrap().parse().unwrap();
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|name| files.path(name));
    let lines = [
        "port 0".to_owned(),
        "tls-port PORT".to_owned(),
        "tls-replication yes".to_owned(),
        format!("tls-cert-file {certificate}"),
        format!("tls-key-file {key}"),
        format!("tls-ca-cert-file {ca}"),
    ];
    let sentinel = Server::sentinel(port, 1, &lines.each_ref().map(String::as_str)).unwrap();
    let at = |more: &str| {
        table(&format!("rediss+sentinel://localhost:{}/mymaster/1?timeout_secs=3&ca={ca}{more}", sentinel.port))
    };
    let known = at(&files.named("client"));
    publish(&known, "a", &rows(500, 1)).unwrap();
    assert_eq!(contents(&*reader(&known)), rows(500, 1));
    // It lies in the primary's database, and not beside it.
    let direct = table(&format!("{}{}", url.replace('?', "/1?"), files.named("client")));
    assert_eq!(contents(&*reader(&direct)), rows(500, 1));
    refused(store().current(&at("")), ErrorKind::Failed, WANTED);
}

#[test]
fn a_server_of_another_authority_is_still_refused() {
    let files = Files::new();
    let Some((_server, url)) = files.server("yes", "TLSv1.3") else { return };
    let strange = tempfile::tempdir().unwrap();
    let (other, ..): (PathBuf, _, _) = certificates(strange.path());
    let url = url.split("&ca=").next().unwrap().to_owned();
    let table = table(&format!("{url}&ca={}{}", other.display(), files.named("client")));
    let message = "no secure connection to the Redis server can be made";
    refused(store().current(&table), ErrorKind::Failed, message);
}
