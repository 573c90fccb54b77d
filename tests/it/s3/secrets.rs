//! Nothing that a command says, logs, files or stores holds a key: not where all goes well, and not in any error.

use super::proxy::Proxy;
use super::server::{Bucket, KEY, SECRET, end};
use super::{DAY, project, said};
use crate::command::{Outcome, files};
use std::process::Command;
use std::sync::atomic::Ordering;

const WRONG: &str = "WRONGSECRET0123456789";
const NOBODY: &str = "AKNOBODY";
const TOKEN: &str = "SESSIONTOKEN9876543210";

/// What must never be seen.
const SECRETS: [&str; 5] = [KEY, SECRET, WRONG, NOBODY, TOKEN];

/// As much as can be logged, by us and by every library.
fn verbose(command: &mut Command) -> Outcome {
    end(command.args(["--log", "trace"]).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1"))
}

fn holds(bytes: &[u8], what: &str) {
    for secret in SECRETS {
        let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
        let around = |at: usize| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..at]).into_owned();
        assert!(found.is_none(), "{secret} stands in {what}, after: {}", around(found.unwrap_or_default()));
    }
}

/// Fails if a secret stands in what was said, in the receipt that was written, in the cache of this machine or in any
/// object of the bucket.
fn tells_nothing(bucket: &Bucket, outcomes: &[(String, Outcome)]) {
    outcomes.iter().for_each(|(what, outcome)| holds(said(outcome).as_bytes(), what));
    bucket.objects().iter().for_each(|(name, bytes)| holds(bytes, name));
    files(bucket.cache()).iter().for_each(|(name, bytes)| holds(bytes, name));
}

/// Every command that reaches a bucket.
fn commands(bucket: &Bucket) -> Vec<Vec<String>> {
    let (job, home, table) = (bucket.job(), bucket.home(), bucket.url("p/lake/transactions"));
    let named = format!("t={table}");
    let commands: [&[&str]; 12] = [
        &["doctor", &job],
        &["inspect", &table],
        &["check", &job],
        &["plan", &job, "--interval", DAY],
        &["run", &job, "--interval", DAY],
        &["score", &job, "--interval", DAY, "--force"],
        &["evaluate", &job, "--interval", DAY, "--models", "champion"],
        &["query", "SELECT count(*) FROM t", "--table", &named],
        &["lookup", "get", "risk", "7", "--home", &home],
        &["lookup", "sync", "risk", "--home", &home],
        &["models", "show", "risk", "--home", &home],
        &["runs", "list", "--home", &home],
    ];
    commands.iter().map(|args| args.iter().map(|arg| (*arg).to_owned()).collect()).collect()
}

#[test]
fn no_command_tells_a_secret_whether_it_works_or_fails() {
    let Some(bucket) = project("secrets") else { return };
    let folder = tempfile::tempdir().unwrap();
    let receipt = folder.path().join("receipt.json").display().to_string();
    let mut outcomes = Vec::new();
    let run = |args: &[String], set: Option<(&str, &str)>| {
        let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
        if ["run", "score"].contains(&args[0]) {
            args.extend(["--receipt", &receipt]);
        }
        if args[..2] == ["lookup", "sync"] {
            args.extend(["--dir", folder.path().to_str().unwrap()]);
        }
        let mut command = bucket.command(&args);
        verbose(command.envs(set))
    };
    for args in commands(&bucket) {
        let what = args.join(" ");
        let outcome = run(&args, None);
        assert_eq!(outcome.code, 0, "{what}: {}", said(&outcome));
        outcomes.push((what.clone(), outcome));
        let sets = [("AWS_SECRET_ACCESS_KEY", WRONG), ("AWS_ACCESS_KEY_ID", NOBODY), ("AWS_SESSION_TOKEN", TOKEN)];
        for set in sets {
            let what = format!("{what} with a wrong {}", set.0);
            let outcome = run(&args, Some(set));
            // The server of the tests has no sessions and takes the key alone.
            assert!(outcome.code != 0 || set.0 == "AWS_SESSION_TOKEN", "{what}");
            outcomes.push((what, outcome));
        }
    }
    assert!(outcomes.iter().any(|(_, outcome)| outcome.stderr.len() > 10_000), "the log was to be verbose");
    tells_nothing(&bucket, &outcomes);
    files(folder.path()).iter().for_each(|(name, bytes)| holds(bytes, name));
}

#[test]
fn a_run_that_fails_on_its_way_tells_no_secret() {
    let Some(mut bucket) = project("secrets-outage") else { return };
    bucket.on_day("train", &[]).expect(0);
    let proxy = Proxy::before(bucket.port);
    let direct = std::mem::replace(&mut bucket.port, proxy.port);
    let mut outcomes = Vec::new();
    let score = ["score", &bucket.job(), "--interval", DAY, "--output", "json"];
    for healthy in [0, 8, 20, 30] {
        proxy.faults.slow_down.store(i64::MAX, Ordering::SeqCst);
        proxy.faults.healthy.store(healthy, Ordering::SeqCst);
        let mut command = bucket.command(&score);
        let outcome = verbose(command.env("AWS_MAX_ATTEMPTS", "2"));
        assert_eq!(outcome.code, 75, "after {healthy} requests: {}", said(&outcome));
        outcomes.push((format!("an outage after {healthy} requests"), outcome));
    }
    bucket.port = direct;
    tells_nothing(&bucket, &outcomes);
}

#[test]
fn wrong_credentials_and_places_are_one_clear_error() {
    let Some(bucket) = project("wrong") else { return };
    let job = bucket.job();
    let score = ["score", &job, "--interval", DAY];
    let with = |name: &str, value: &str| end(bucket.command(&score).env(name, value)).expect(1);
    let wrong_secret = with("AWS_SECRET_ACCESS_KEY", WRONG);
    assert!(wrong_secret.stderr.contains("does not accept the credentials"), "{}", wrong_secret.stderr);
    let errors = wrong_secret.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{}", wrong_secret.stderr);
    let unknown = with("AWS_ACCESS_KEY_ID", NOBODY);
    assert!(unknown.stderr.contains("InvalidAccessKeyId"), "{}", unknown.stderr);
    let half = end(bucket.command(&score).env_remove("AWS_SECRET_ACCESS_KEY")).expect(2);
    assert!(half.stderr.contains("missing = AWS_SECRET_ACCESS_KEY"), "{}", half.stderr);
    let no_bucket = bucket.run(&["query", "SELECT 1", "--table", "t=s3://no-such-bucket/t"]).expect(1);
    assert!(no_bucket.stderr.contains("there is no such bucket"), "{}", no_bucket.stderr);
    let no_job = bucket.run(&["check", &bucket.url("p/jobs/none.toml")]).expect(2);
    assert!(no_job.stdout.contains("there is no such job file"), "{}", said(&no_job));
    let in_url = bucket.run(&["check", &format!("s3://{KEY}:{SECRET}@{}/p/jobs/risk.toml", bucket.name)]).expect(2);
    let table = format!("t=s3://{KEY}:{SECRET}@{}/p/lake/transactions", bucket.name);
    let in_table = bucket.run(&["query", "SELECT 1", "--table", &table]).expect(2);
    let endpoint = format!("http://{KEY}:{SECRET}@127.0.0.1:{}", bucket.port);
    let in_endpoint = end(bucket.command(&score).env("AWS_ENDPOINT_URL", endpoint)).expect(2);
    let all = [wrong_secret, unknown, half, no_bucket, no_job, in_url, in_table, in_endpoint];
    let all: Vec<_> = all.into_iter().map(|outcome| (outcome.stderr.clone(), outcome)).collect();
    tells_nothing(&bucket, &all);

    let doctor = end(&mut bucket.command(&["doctor", &job])).expect(0);
    assert!(doctor.stdout.contains("environment (AWS_ACCESS_KEY_ID)"), "{}", doctor.stdout);
}
