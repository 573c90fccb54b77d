//! Roles of pods and machines, and web identities: asked as they want it, renewed before they end, and never replaced
//! by somebody weaker.

use super::said;
use super::server::end;
use super::services::{HANDED_OUT, METADATA_TOKEN, Running, Services, Tls};
use crate::command::{Outcome, lakemill};
use std::process::Command;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

const WEB_TOKEN: &str = "WEBTOKEN12345";
const POD_TOKEN: &str = "PODTOKEN12345";
const ROLE: &str = "arn:aws:iam::123456789012:role/nightly";

/// The services, and files with the tokens that prove who asks.
struct Place {
    running: Running,
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("web"), WEB_TOKEN).unwrap();
        std::fs::write(folder.path().join("pod"), POD_TOKEN).unwrap();
        Self { running: Services::start(), folder }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.running.port)
    }

    fn services(&self) -> &Services {
        &self.running.services
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A command that may ask the machine for its role, and nobody else.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = lakemill(args);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_METADATA_ENDPOINT", self.url())
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_CONFIG_FILE", "/none")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/none")
            .env("AWS_MAX_ATTEMPTS", "3")
            .env("LAKEMILL_CACHE", self.folder.path().join("cache"));
        command
    }

    /// Reads the bucket's one table.
    fn query(&self) -> Command {
        let sql = "SELECT sum(a) AS total, count(*) AS n FROM t";
        self.command(&["query", sql, "--table", "t=s3://lake/t.csv", "--format", "csv", "--log", "debug"])
    }

    fn pod<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/pod", self.url()))
            .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", self.file("pod"))
    }

    fn web<'a>(&self, command: &'a mut Command, tls: &Tls) -> &'a mut Command {
        command
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", self.file("web"))
            .env("AWS_ROLE_ARN", ROLE)
            .env("AWS_ROLE_SESSION_NAME", "nightly-job")
            .env("AWS_ENDPOINT_URL_STS", format!("https://localhost:{}/sts", tls.port))
            .env("SSL_CERT_FILE", tls.trusted())
    }
}

/// What was read is right, and nothing secret was said.
fn good(outcome: Outcome) -> Outcome {
    let outcome = quiet(outcome.expect(0));
    assert_eq!(outcome.stdout, "total,n\n42,3\n");
    outcome
}

fn quiet(outcome: Outcome) -> Outcome {
    for secret in [HANDED_OUT, METADATA_TOKEN, WEB_TOKEN, POD_TOKEN] {
        assert!(!said(&outcome).contains(secret), "{secret} is told:\n{}", said(&outcome));
    }
    outcome
}

/// Credentials that last are asked for once; those that are about to end are asked for again in time.
fn renewed(place: &Place, source: &str, run: &dyn Fn() -> Outcome) {
    let services = place.services();
    good(run());
    assert_eq!(services.asked(source).len(), 1);
    let used = services.used();
    assert!(used.len() > 1 && used.iter().all(|number| *number == 1), "{used:?}");
    // Less than the five minutes that a run wants to have left.
    services.lifetime.store(240, Ordering::SeqCst);
    services.bucket_delay.store(200, Ordering::SeqCst);
    good(run());
    let again = services.used()[used.len()..].to_vec();
    assert!(again.is_sorted() && again[0] == 2 && again.last() > Some(&2), "{again:?}");
    assert!(services.asked(source).len() > 2);
}

#[test]
fn the_role_of_a_machine_is_asked_for_with_a_token_and_renewed() {
    let place = Place::new();
    let credentials = "security-credentials/the-role";
    renewed(&place, credentials, &|| end(&mut place.query()));
    let asked = place.services().asked("/latest/meta-data/");
    assert!(
        asked
            .iter()
            .all(|asked| { asked.header("x-aws-ec2-metadata-token") == Some(METADATA_TOKEN.to_lowercase().as_str()) })
    );
    let tokens = place.services().asked("/latest/api/token");
    assert!(tokens.iter().all(|asked| asked.line.starts_with("PUT")));
}

#[test]
fn a_machine_that_gives_no_token_is_not_asked_without_one() {
    let place = Place::new();
    place.services().refuse.store(403, Ordering::SeqCst);
    let refused = quiet(end(&mut place.query()).expect(1));
    assert!(refused.stderr.contains("the machine's role (instance metadata) gave none"), "{}", refused.stderr);
    assert!(place.services().asked("/latest/meta-data/").is_empty());
    assert!(place.services().asked("/lake").is_empty(), "the bucket was asked by nobody");
}

#[test]
fn the_role_of_a_pod_is_renewed_and_never_replaced_by_the_machines() {
    let place = Place::new();
    renewed(&place, "/pod", &|| end(place.pod(&mut place.query())));
    let asked = place.services().asked("/pod");
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some(POD_TOKEN.to_lowercase().as_str())));

    for (status, code) in [(403, 1), (404, 1), (503, 75)] {
        let before = place.services().used().len();
        place.services().refuse.store(status, Ordering::SeqCst);
        let refused = quiet(end(place.pod(&mut place.query())));
        assert_eq!(refused.code, code, "{status}: {}", said(&refused));
        assert_eq!(place.services().used().len(), before, "{status}");
    }
    assert!(place.services().asked("/latest/").is_empty(), "the machine was asked");
}

#[test]
fn a_web_identity_is_renewed_with_the_token_of_the_day_and_never_replaced() {
    let place = Place::new();
    let tls = Tls::before(&place.running.services);
    // Weaker identities are at hand, and are not to be used.
    let query = || {
        let mut query = place.query();
        place.pod(&mut query);
        end(place.web(&mut query, &tls))
    };
    renewed(&place, "/sts", &query);
    let asked = place.services().asked("/sts");
    for part in ["Action=AssumeRoleWithWebIdentity", "RoleSessionName=nightly-job", WEB_TOKEN, "role%2Fnightly"] {
        assert!(asked.iter().all(|asked| asked.line.contains(part)), "{part}: {asked:?}");
    }
    std::fs::write(place.file("web"), "ROTATED").unwrap();
    good(query());
    assert!(place.services().asked("/sts").last().unwrap().line.contains("WebIdentityToken=ROTATED"));

    let before = place.services().used().len();
    place.services().refuse.store(403, Ordering::SeqCst);
    let refused = quiet(query().expect(1));
    assert!(refused.stderr.contains(&format!("web identity, role {ROLE} gave none")), "{}", refused.stderr);
    place.services().refuse.store(503, Ordering::SeqCst);
    quiet(query().expect(75));
    place.services().refuse.store(0, Ordering::SeqCst);
    std::fs::remove_file(place.file("web")).unwrap();
    let lost = quiet(query().expect(1));
    assert!(lost.stderr.contains("web identity"), "{}", lost.stderr);
    assert_eq!(place.services().used().len(), before, "the bucket was asked by somebody else");
    assert!(place.services().asked("/pod").is_empty() && place.services().asked("/latest/").is_empty());
}

#[test]
fn a_clock_that_is_wrong_is_told_by_name() {
    let place = Place::new();
    place.services().skewed.store(true, Ordering::SeqCst);
    let skewed = quiet(end(&mut place.query()).expect(1));
    assert!(skewed.stderr.contains("the clocks of this machine and of the store differ too much"), "{}", skewed.stderr);
    assert!(skewed.stderr.contains("21 min 30 s ahead"), "{}", skewed.stderr);
    assert!(skewed.stderr.contains("set the clock of this machine"), "{}", skewed.stderr);
}
