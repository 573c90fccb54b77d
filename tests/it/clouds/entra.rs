//! Identities of Azure's: principals, workloads, machines and the CLI, asked as they want it and never replaced by
//! somebody weaker. The services are played by a small server, the store by one that takes their tokens alone.

use super::http::{Answer, Request, serve};
use super::{clean, end, said};
use crate::command::Outcome;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Stands in every token that is handed out.
const HANDED_OUT: &str = "HANDEDOUT";
const SECRET: &str = "PRINCIPALSECRET";
const FEDERATED: &str = "FEDERATEDTOKEN";
const HEADER: &str = "IDENTITYHEADER";
const TABLE: &str = "a,b\n1,x\n2,y\n39,z\n";

#[derive(Default)]
struct Services {
    asked: Mutex<Vec<Request>>,
    /// Tokens are refused with this status, unless it is 0.
    refuse: AtomicU16,
}

impl Services {
    fn answer(&self, request: &Request) -> Answer {
        self.asked.lock().unwrap().push(request.clone());
        let refused = self.refuse.load(Ordering::SeqCst);
        match request.path.as_str() {
            "/tenant-1/oauth2/v2.0/token" | "/identity/token" if refused != 0 => {
                Answer::new(refused, format!("{{\"error\":\"{SECRET} {FEDERATED} is wrong\"}}"))
            }
            "/tenant-1/oauth2/v2.0/token" => {
                let token = format!("{{\"access_token\":\"PRINCIPAL-{HANDED_OUT}\",\"expires_in\":3600}}");
                Answer::new(200, token)
            }
            "/identity/token" => {
                let token = format!("{{\"access_token\":\"MACHINE-{HANDED_OUT}\",\"expires_on\":\"4070908800\"}}");
                Answer::new(200, token)
            }
            path if path.starts_with("/acme/lake") => self.container(request),
            _ => Answer::new(404, ""),
        }
    }

    fn container(&self, request: &Request) -> Answer {
        let by = request.header("authorization").unwrap_or_default();
        if !by.starts_with("Bearer ") || !by.ends_with(HANDED_OUT) {
            let body = format!("<Error><Code>NoAuthenticationInformation</Code><Message>{by}</Message></Error>");
            return Answer::new(401, body);
        }
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        if request.asked("comp") == Some("list") {
            let prefix = request.asked("prefix").unwrap_or_default();
            let blob = format!(
                "<Blob><Name>t.csv</Name><Properties><Last-Modified>{date}</Last-Modified><Etag>e</Etag>\
                 <Content-Length>{}</Content-Length><Content-Type>text/csv</Content-Type></Properties></Blob>",
                TABLE.len()
            );
            let found = if "t.csv".starts_with(prefix) { blob } else { String::new() };
            let body = format!("<EnumerationResults><Blobs>{found}</Blobs><NextMarker /></EnumerationResults>");
            return Answer::new(200, body);
        }
        match request.path.as_str() {
            "/acme/lake/t.csv" => {
                Answer::new(200, TABLE).with("etag", "\"e\"").with("last-modified", date).ranged(request)
            }
            _ => Answer::new(404, "<Error><Code>BlobNotFound</Code></Error>"),
        }
    }

    fn asked(&self, path: &str) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path.contains(path)).cloned().collect()
    }
}

struct Place {
    services: Arc<Services>,
    port: u16,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let services = Arc::new(Services::default());
        let port = serve(Arc::clone(&services), Services::answer);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("federated"), FEDERATED).unwrap();
        Self { services, port, folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Reads the container's one table. The machine has an identity, which is the weakest.
    fn query(&self, set: &[(&str, &str)]) -> Outcome {
        let sql = "SELECT sum(a) AS total, count(*) AS n FROM t";
        let table = "t=abfss://lake@acme.dfs.core.windows.net/t.csv";
        let mut command: Command = clean(&["query", sql, "--table", table, "--format", "csv", "--log", "trace"]);
        command
            .env("AZURE_STORAGE_ENDPOINT", self.url("/acme"))
            .env("AZURE_AUTHORITY_HOST", self.url(""))
            .env("AZURE_ALLOW_HTTP", "true")
            .env("IDENTITY_ENDPOINT", self.url("/identity/token"))
            .env("IDENTITY_HEADER", HEADER)
            .env("AZURE_MAX_ATTEMPTS", "3")
            .env("RUST_LOG", "trace")
            .env("LAKEMILL_CACHE", self.folder.path().join("cache"))
            .envs(set.iter().copied());
        let outcome = end(&mut command);
        for secret in [HANDED_OUT, SECRET, FEDERATED, HEADER] {
            assert!(!said(&outcome).contains(secret), "{secret} is told:\n{}", said(&outcome));
        }
        outcome
    }

    /// With whose token the container was asked last.
    fn used(&self) -> String {
        let asked = self.services.asked("/acme/lake");
        asked.last().and_then(|asked| asked.header("authorization")).unwrap_or_default().to_owned()
    }
}

const TOTAL: &str = "total,n\n42,3\n";

#[test]
fn a_service_principal_is_asked_with_its_secret_and_never_replaced() {
    let place = Place::new();
    let all = [("AZURE_CLIENT_ID", "client-1"), ("AZURE_TENANT_ID", "tenant-1"), ("AZURE_CLIENT_SECRET", SECRET)];
    assert_eq!(place.query(&all).expect(0).stdout, TOTAL);
    assert_eq!(place.used(), format!("Bearer PRINCIPAL-{HANDED_OUT}"));
    let asked = place.services.asked("/oauth2/");
    assert_eq!(asked.len(), 1, "a token that lasts is asked for once");
    let form = String::from_utf8(asked[0].body.clone()).unwrap();
    for part in ["client_id=client-1", "grant_type=client_credentials", SECRET] {
        assert!(form.contains(part), "{part}: {form}");
    }
    place.services.refuse.store(401, Ordering::SeqCst);
    let refused = place.query(&all).expect(1);
    assert!(refused.stderr.contains("service principal client-1 gave none"), "{}", refused.stderr);
    place.services.refuse.store(503, Ordering::SeqCst);
    place.query(&all).expect(75);
    place.query(&all[1..]).expect(2);
    assert!(place.services.asked("/identity").is_empty(), "the machine was asked");
}

#[test]
fn a_workload_is_asked_with_the_token_of_the_day() {
    let place = Place::new();
    let file = place.folder.path().join("federated").display().to_string();
    let all =
        [("AZURE_CLIENT_ID", "client-1"), ("AZURE_TENANT_ID", "tenant-1"), ("AZURE_FEDERATED_TOKEN_FILE", &*file)];
    assert_eq!(place.query(&all).expect(0).stdout, TOTAL);
    let form = String::from_utf8(place.services.asked("/oauth2/")[0].body.clone()).unwrap();
    assert!(form.contains(&format!("client_assertion={FEDERATED}")), "{form}");
    std::fs::write(&file, "ROTATED").unwrap();
    place.query(&all).expect(0);
    let form = String::from_utf8(place.services.asked("/oauth2/").last().unwrap().body.clone()).unwrap();
    assert!(form.contains("client_assertion=ROTATED"), "{form}");
    std::fs::remove_file(&file).unwrap();
    let lost = place.query(&all).expect(1);
    assert!(lost.stderr.contains("workload identity client-1 gave none"), "{}", lost.stderr);
    assert!(place.services.asked("/identity").is_empty(), "the machine was asked");
}

#[test]
fn the_identity_of_a_machine_is_asked_for_as_it_wants_it() {
    let place = Place::new();
    assert_eq!(place.query(&[]).expect(0).stdout, TOTAL);
    assert_eq!(place.used(), format!("Bearer MACHINE-{HANDED_OUT}"));
    let asked = place.services.asked("/identity");
    assert_eq!(asked[0].header("metadata"), Some("true"));
    assert_eq!(asked[0].header("x-identity-header"), Some(HEADER));
    place.query(&[("AZURE_CLIENT_ID", "client-2")]).expect(0);
    assert_eq!(place.services.asked("/identity").last().unwrap().asked("client_id"), Some("client-2"));
    place.services.refuse.store(400, Ordering::SeqCst);
    let refused = place.query(&[]).expect(1);
    assert!(refused.stderr.contains("the machine's managed identity gave none"), "{}", refused.stderr);
}

#[test]
fn a_token_of_the_environment_and_the_cli_are_used_when_they_are_named() {
    let place = Place::new();
    let token = format!("GIVEN-{HANDED_OUT}");
    assert_eq!(place.query(&[("AZURE_STORAGE_TOKEN", &token)]).expect(0).stdout, TOTAL);
    assert_eq!(place.used(), format!("Bearer {token}"));
    // A program that answers as the CLI does.
    let program = place.folder.path().join("az");
    let answer = format!(
        "{{\"accessToken\":\"CLI-{HANDED_OUT}\",\"expiresOn\":\"2099-01-01 00:00:00.000000\",\"tokenType\":\"Bearer\"}}"
    );
    std::fs::write(&program, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    let mut mode = std::fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let path = format!("{}:{}", place.folder.path().display(), std::env::var("PATH").unwrap());
    let cli = [("AZURE_USE_AZURE_CLI", "true"), ("PATH", path.as_str())];
    assert_eq!(place.query(&cli).expect(0).stdout, TOTAL);
    assert_eq!(place.used(), format!("Bearer CLI-{HANDED_OUT}"));
    std::fs::write(&program, format!("#!/bin/sh\necho {SECRET} >&2; exit 1\n")).unwrap();
    let failed = place.query(&cli).expect(1);
    assert!(failed.stderr.contains("the Azure CLI's login gave none"), "{}", failed.stderr);
    assert!(place.services.asked("/identity").is_empty(), "the machine was asked");
}
