//! Everything on a real S3 server: whole jobs, races, a network that breaks, a server that is busy, and
//! that nothing of it tells a secret.

mod identities;
mod polars;
pub mod proxy;
mod real;
mod secrets;
pub mod server;
mod services;

use crate::command::Outcome;
use crate::risk;
use proxy::Proxy;
use serde_json::Value;
use server::{Bucket, KEY, SECRET, end, server};
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

const DAY: &str = "2018-06-10";

/// A project on this machine: job, SQL and a small lake, and what a run of it gave.
struct Local {
    folder: TempDir,
    receipt: Value,
    value: String,
}

static LOCAL: LazyLock<Local> = LazyLock::new(|| {
    // A static is never dropped: the folder goes with the server's.
    let folder = tempfile::tempdir_in(server().unwrap().folder()).unwrap();
    risk::make(folder.path(), "jobs/risk.toml", "sql/risk.sql");
    let job = folder.path().join("jobs/risk.toml").display().to_string();
    let receipt = crate::command::run_json(&["run", &job, "--interval", DAY]).expect(0).json();
    let home = folder.path().join("home").display().to_string();
    let value = crate::command::run(&["lookup", "dump", "risk", "--home", &home]).expect(0).stdout;
    Local { folder, receipt, value }
});

/// The same project in a new bucket, without its home.
pub fn project(name: &str) -> Option<Bucket> {
    let bucket = server()?.bucket(name);
    for part in ["jobs", "sql", "lake"] {
        bucket.upload(&LOCAL.folder.path().join(part), &format!("p/{part}"));
    }
    Some(bucket)
}

impl Bucket {
    pub fn job(&self) -> String {
        self.url("p/jobs/risk.toml")
    }

    pub fn home(&self) -> String {
        self.url("p/home")
    }

    pub fn on_day(&self, command: &str, more: &[&str]) -> Outcome {
        self.run(&[&[command, &self.job(), "--interval", DAY], more].concat())
    }
}

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

#[test]
fn a_job_in_a_bucket_gives_the_bytes_of_the_same_job_here() {
    let Some(bucket) = project("whole-job") else { return };
    bucket.run(&["check", &bucket.job()]).expect(0);
    let planned = bucket.on_day("plan", &[]).expect(0).json();
    assert_eq!(planned["tables"][0]["format"], "delta", "{planned}");
    assert!(bucket.names("p/home").is_empty(), "a plan changed something");

    let receipt = bucket.on_day("run", &[]).expect(0).json();
    let local = &LOCAL.receipt;
    assert_eq!(receipt["status"], "done", "{receipt}");
    assert_eq!(receipt["fingerprint"], local["fingerprint"]);
    assert_eq!(receipt["model"]["sha256"], local["model"]["sha256"]);
    assert_eq!(receipt["output"]["sha256"], local["output"]["sha256"]);
    assert_eq!(receipt["rows_out"], local["rows_out"]);
    let payload = |(name, bytes): (String, Vec<u8>)| {
        (name.contains("/versions/") && !name.ends_with(".md")).then_some((name.rsplit('/').next()?.to_owned(), bytes))
    };
    let there: Vec<_> =
        bucket.objects().into_iter().filter(|(name, _)| name.starts_with("p/home")).filter_map(payload).collect();
    let here: Vec<_> = crate::command::files(&LOCAL.folder.path().join("home"));
    let here: Vec<_> = here.into_iter().filter_map(|(name, bytes)| payload((format!("/{name}"), bytes))).collect();
    assert!(!here.is_empty());
    for (name, bytes) in here {
        assert!(there.contains(&(name.clone(), bytes)), "{name} of the model differs");
    }

    let again = bucket.on_day("run", &[]).expect(0).json();
    assert_eq!(again["status"], "noop", "{again}");
    assert_eq!(again["output"]["sha256"], receipt["output"]["sha256"]);
    bucket.on_day("score", &["--force"]).expect(0);

    // A reader on another machine: a cache that knows nothing.
    let (cache, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = dir.path().display().to_string();
    let synced = end(bucket
        .command(&["lookup", "sync", "risk", "--home", &bucket.home(), "--dir", &to, "--output", "json"])
        .env("LAKEMILL_CACHE", cache.path()))
    .expect(0)
    .json();
    assert_eq!(synced["generation"], 1);
    let local_home = ["lookup", "dump", "risk", "--home", &to];
    assert_eq!(crate::command::run(&local_home).expect(0).stdout, LOCAL.value);
    let mut dump = bucket.command(&["lookup", "dump", "risk", "--home", &bucket.home()]);
    assert_eq!(end(dump.env("LAKEMILL_CACHE", cache.path())).expect(0).stdout, LOCAL.value);
    bucket.run(&["lookup", "verify", "risk", "--home", &bucket.home()]).expect(0);
    let stats = bucket.run(&["lookup", "stats", "risk", "--home", &bucket.home()]).expect(0).json();
    assert_eq!(stats["interval"], DAY);
    assert_eq!(bucket.run(&["runs", "list", "--home", &bucket.home()]).expect(0).json().as_array().unwrap().len(), 4);
    bucket.run(&["models", "show", "risk", "--home", &bucket.home()]).expect(0);

    // The next day is a second generation, and the copy follows it.
    bucket.run(&["score", &bucket.job(), "--interval", "2018-06-11"]).expect(0);
    let synced = bucket.run(&["lookup", "sync", "risk", "--home", &bucket.home(), "--dir", &to]).expect(0).json();
    assert_eq!((&synced["generation"], &synced["interval"]), (&2.into(), &"2018-06-11".into()));
    assert_eq!(std::fs::read_to_string(dir.path().join("lookup/risk/CURRENT")).unwrap(), "v=000002\n");
}

#[test]
fn the_sql_of_a_job_may_lie_in_a_bucket_of_its_own_accord() {
    let Some(bucket) = project("sql") else { return };
    let here = LOCAL.folder.path().join("jobs/risk.toml").display().to_string();
    let sql = bucket.url("p/sql/risk.sql");
    let local = ["plan", &here, "--interval", DAY, "--output", "json"];
    let wanted = crate::command::run(&local).expect(0).json();
    // A job of this machine, and one beside it in the bucket, by the whole URL.
    for job in [&here, &bucket.job()] {
        let set = format!("features.sql={sql}");
        let planned = bucket.run(&["plan", job, "--interval", DAY, "--set", &set]).expect(0).json();
        assert!(job != &here || planned["run_id"] == wanted["run_id"] && wanted["run_id"].is_string(), "{planned}");
        bucket.run(&["check", job, "--set", &set]).expect(0);
    }
    let none = bucket.run(&["check", &here, "--set", &format!("features.sql={sql}l")]).expect(2);
    assert!(none.stdout.contains("there is no such SQL file"), "{}", said(&none));
    for wrong in [format!("s3://{KEY}:{SECRET}@{}/p/sql/risk.sql", bucket.name), "s3://bucket".to_owned()] {
        let refused = bucket.run(&["check", &here, "--set", &format!("features.sql={wrong}")]).expect(2);
        assert!(said(&refused).contains("is not a file") && !said(&refused).contains(SECRET), "{}", said(&refused));
    }
}

#[test]
fn a_generation_that_was_uploaded_and_never_published_goes_with_the_next_one() {
    let Some(bucket) = project("leftover") else { return };
    bucket.on_day("run", &[]).expect(0);
    // What a loader leaves that dies before it flips.
    let names = ["data.mdb", "generation.json", "owner"];
    names.iter().for_each(|name| {
        bucket.copy(&format!("p/home/lookup/risk/v=000001/{name}"), &format!("p/home/lookup/risk/v=000002/{name}"))
    });
    let stats = bucket.run(&["lookup", "stats", "risk", "--home", &bucket.home()]).expect(0).json();
    assert_eq!(stats["generation"], 1, "nobody sees it");
    let next = bucket.run(&["score", &bucket.job(), "--interval", "2018-06-11"]).expect(0).json();
    assert_eq!(next["lookup"]["generation"], 3);
    let left = bucket.names("p/home/lookup/risk/v=");
    assert!(!left.iter().any(|name| name.contains("v=000002")), "{left:?}");
    assert!(left.iter().any(|name| name.contains("v=000001")), "an older generation that was current stays: {left:?}");
}

#[test]
fn of_eight_writers_of_one_interval_one_commits() {
    let Some(bucket) = project("race") else { return };
    bucket.on_day("train", &[]).expect(0);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = bucket.command(&["score", &bucket.job(), "--interval", DAY, "--output", "json"]);
            // Each has a cache of its own, as if on a machine of its own.
            let cache = tempfile::tempdir().unwrap();
            command.env("LAKEMILL_CACHE", cache.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
            (command.spawn().unwrap(), cache)
        })
        .collect();
    let mut committed = 0;
    for (child, _cache) in children {
        committed += u32::from(crate::crash::one_of_a_race(child));
    }
    assert_eq!(committed, 1);
    let commits = bucket.names("p/home/predictions/risk/_delta_log/");
    let commits: Vec<_> = commits.iter().filter(|name| name.ends_with(".json")).collect();
    // Version 0 makes the table, version 1 is the interval.
    assert_eq!(commits.len(), 2, "{commits:?}");
    assert_eq!(bucket.names("p/home/lookup/risk/current/").len(), 1, "the pointer moved once");
    // Those that lost have taken their generations away.
    let generations = bucket.names("p/home/lookup/risk/v=");
    assert_eq!(generations.iter().filter(|name| name.ends_with("generation.json")).count(), 1, "{generations:?}");
    let settled = bucket.on_day("score", &[]).expect(0).json();
    assert_eq!(settled["status"], "noop");
    assert_eq!(settled["output"]["sha256"], LOCAL.receipt["output"]["sha256"]);
    let stats = bucket.run(&["lookup", "stats", "risk", "--home", &bucket.home()]).expect(0).json();
    assert_eq!(stats["run_id"], settled["run_id"]);
    let dump = end(&mut bucket.command(&["lookup", "dump", "risk", "--home", &bucket.home()])).expect(0).stdout;
    assert_eq!(dump, LOCAL.value);

    // Different intervals at once are all committed, and the newest is published.
    let days = ["2018-06-11", "2018-06-12", "2018-06-09"];
    let children = days.map(|day| {
        let mut command = bucket.command(&["score", &bucket.job(), "--interval", day, "--quiet"]);
        (day, command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    });
    for (day, child) in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{day}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let stats = bucket.run(&["lookup", "stats", "risk", "--home", &bucket.home()]).expect(0).json();
    assert_eq!(stats["interval"], "2018-06-12");
    let pointer = bucket.names("p/home/lookup/risk/current/");
    assert!((2..=4).contains(&pointer.len()), "{pointer:?}");
}

#[test]
fn a_busy_server_and_a_broken_network_cost_time_and_nothing_else() {
    let Some(mut bucket) = project("faults") else { return };
    let proxy = Proxy::before(bucket.port);
    let direct = std::mem::replace(&mut bucket.port, proxy.port);
    proxy.faults.slow_down.store(5, Ordering::SeqCst);
    proxy.faults.cut_answers.store(6, Ordering::SeqCst);
    let receipt = bucket.on_day("train", &[]).expect(0).json();
    assert_eq!(receipt["status"], "done");
    assert!(proxy.faults.slow_down.load(Ordering::SeqCst) <= 0 && proxy.faults.requests.load(Ordering::SeqCst) > 20);
    // Every PUT of the scoring run reaches the server, and the first six answers are lost: commits, too.
    proxy.faults.lost_answers.store(6, Ordering::SeqCst);
    proxy.faults.cut_answers.store(6, Ordering::SeqCst);
    let receipt = bucket.on_day("score", &[]).expect(0).json();
    assert_eq!(receipt["status"], "done", "{receipt}");
    assert_eq!(receipt["output"]["sha256"], LOCAL.receipt["output"]["sha256"]);
    assert_eq!(proxy.faults.lost_answers.load(Ordering::SeqCst), 0);
    // All answers to PUTs are lost now: what was put is there, and each writer finds out that it is its own.
    proxy.faults.lost_answers.store(3, Ordering::SeqCst);
    let doctor = bucket.run(&["doctor", &bucket.job()]);
    assert_eq!(doctor.code, 0, "{}", said(&doctor));
    bucket.port = direct;
    let again = bucket.on_day("score", &[]).expect(0).json();
    assert_eq!(again["status"], "noop");
    let dump = end(&mut bucket.command(&["lookup", "dump", "risk", "--home", &bucket.home()])).expect(0).stdout;
    assert_eq!(dump, LOCAL.value);
}

#[test]
fn a_server_that_stays_busy_is_transient_and_shows_nothing() {
    let Some(mut bucket) = project("outage") else { return };
    bucket.on_day("train", &[]).expect(0);
    let before = bucket.names("p/home");
    let proxy = Proxy::before(bucket.port);
    let direct = std::mem::replace(&mut bucket.port, proxy.port);
    proxy.faults.slow_down.store(i64::MAX, Ordering::SeqCst);
    let few = |bucket: &Bucket| {
        let args = ["score", &bucket.job(), "--interval", DAY, "--output", "json"];
        end(bucket.command(&args).env("AWS_MAX_ATTEMPTS", "3"))
    };
    let busy = few(&bucket).expect(75);
    assert!(busy.stderr.contains("(transient)") && busy.stderr.contains("503 SlowDown"), "{}", busy.stderr);
    // The outage begins after the run has begun: somewhere between planning and publishing.
    for healthy in [12, 30] {
        proxy.faults.healthy.store(healthy, Ordering::SeqCst);
        let cut_short = few(&bucket);
        assert_eq!(cut_short.code, 75, "after {healthy} requests: {}", said(&cut_short));
    }
    bucket.port = direct;
    let after = bucket.names("p/home");
    let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    assert!(
        new.iter()
            .all(|name| !name.contains("_delta_log/00000000000000000001") && !name.contains("/lookup/risk/current/")),
        "{new:?}"
    );
    let receipt = bucket.on_day("score", &[]).expect(0).json();
    assert_eq!(receipt["output"]["sha256"], LOCAL.receipt["output"]["sha256"]);
    // A server that is not there at all.
    let mut gone = bucket.command(&["lookup", "stats", "risk", "--home", &bucket.home()]);
    let gone = end(gone.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_MAX_ATTEMPTS", "2")).expect(75);
    assert!(gone.stderr.contains("no connection"), "{}", gone.stderr);
}

#[test]
fn the_doctor_names_the_identity_and_what_it_may_do() {
    let Some(bucket) = project("doctor") else { return };
    let found = bucket.run(&["doctor", &bucket.job()]).expect(0).json();
    let home = &found["places"][0];
    assert_eq!(found["status"], "done");
    assert_eq!((&home["place"], &home["list"], &home["write"]), (&"home".into(), &true.into(), &true.into()));
    assert_eq!(home["put_if_absent"], true);
    assert_eq!(home["identity"]["source"], "environment (AWS_ACCESS_KEY_ID)");
    assert_eq!(home["identity"]["access_key"], "...EST");
    assert_eq!(home["identity"]["region"], "us-east-1");
    let table = &found["places"][1];
    assert_eq!((&table["read"], &table["write"]), (&true.into(), &Value::Null));
    assert!(bucket.names("p/home").is_empty(), "the doctor leaves its probe");

    // A profile instead of the environment.
    let files = tempfile::tempdir().unwrap();
    let credentials = files.path().join("credentials");
    std::fs::write(&credentials, format!("[nightly]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n"))
        .unwrap();
    let with_profile = |name: &str| {
        let mut command = bucket.command(&["doctor", &bucket.job(), "--output", "json"]);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        end(command.env("AWS_SHARED_CREDENTIALS_FILE", &credentials).env("AWS_PROFILE", name))
    };
    let profile = with_profile("nightly").expect(0).json();
    assert_eq!(profile["places"][0]["identity"]["source"], "profile nightly");
    let missing = with_profile("nigthly").expect(2);
    assert!(missing.stderr.contains("did you mean `nightly`"), "{}", missing.stderr);

    // What does not work is the exit code.
    let set = format!("tables.transactions.path={}", bucket.url("p/nothing"));
    let nothing = bucket.run(&["doctor", &bucket.job(), "--set", &set]).expect(2).json();
    assert_eq!(nothing["places"][1]["error"]["code"], "usage");
    let wrong = end(bucket
        .command(&["doctor", &local_job(&bucket), "--set", &format!("home={}", bucket.home())])
        .env("AWS_SECRET_ACCESS_KEY", "x"));
    let wrong = wrong.expect(1);
    assert!(wrong.stdout.contains("does not accept the credentials"), "{}", said(&wrong));
}

/// The job file of this machine, for a table that is on this machine, too.
fn local_job(_bucket: &Bucket) -> String {
    LOCAL.folder.path().join("jobs/risk.toml").display().to_string()
}
