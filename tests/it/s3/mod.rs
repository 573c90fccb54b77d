//! Everything on a real S3 server: whole jobs, races, a network that breaks, a server that is busy, and
//! that nothing of it tells a secret.

mod polars;
mod proxy;
mod server;

use crate::command::{Outcome, root};
use crate::shared::shared;
use lakemill::demo::{Generator, Spec, write_lake};
use proxy::Proxy;
use serde_json::Value;
use server::{Bucket, KEY, SECRET, end, server};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

const DAY: &str = "2018-06-10";

const JOB: &str = r#"version = 1
name = "risk"
home = "home"

[tables]
transactions = { path = "lake/transactions" }

[features]
sql = "sql/risk.sql"
key = ["transaction_id"]
time = "tx_datetime"
label = "tx_fraud"
label_delay = "1d"
exclude = ["customer_id"]

[model]
task = "binary"
algorithm = "logistic_regression"
seed = 7
window = "4d"
split = { by = "time", test = "2d" }

[score]
passthrough = ["customer_id"]

[lookup]
store = "file"
key = "customer_id"
value = ["score", "prediction"]
keep = "latest"
"#;

const SQL: &str = "SELECT transaction_id, tx_datetime, customer_id, tx_fraud, tx_amount,
  extract(hour FROM tx_datetime) AS hour
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
";

/// A project on this machine: job, SQL and a small lake, and what a run of it gave.
struct Local {
    folder: TempDir,
    receipt: Value,
    value: String,
}

static LOCAL: LazyLock<Local> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("jobs/risk.toml", JOB), ("sql/risk.sql", SQL)] {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let start = chrono::NaiveDate::from_ymd_opt(2018, 6, 1).unwrap();
    let spec = Spec { customers: 600, terminals: 1200, start, days: 12, seed: 7 };
    let generator = Generator::new(spec).unwrap();
    server::runtime().block_on(write_lake(&generator, &folder.path().join("lake"), &mut |_, _| {})).unwrap();
    let job = folder.path().join("jobs/risk.toml").display().to_string();
    let receipt = crate::command::run_json(&["run", &job, "--interval", DAY]).expect(0).json();
    let home = folder.path().join("home").display().to_string();
    let value = crate::command::run(&["lookup", "dump", "risk", "--home", &home]).expect(0).stdout;
    Local { folder, receipt, value }
});

/// The same project in a new bucket, without its home.
fn project(name: &str) -> Option<Bucket> {
    let bucket = server()?.bucket(name);
    for part in ["jobs", "sql", "lake"] {
        bucket.upload(&LOCAL.folder.path().join(part), &format!("p/{part}"));
    }
    Some(bucket)
}

impl Bucket {
    fn job(&self) -> String {
        self.url("p/jobs/risk.toml")
    }

    fn home(&self) -> String {
        self.url("p/home")
    }

    fn on_day(&self, command: &str, more: &[&str]) -> Outcome {
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
    let mut done = 0;
    for (child, _cache) in children {
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let receipt: Value = serde_json::from_slice(output.stdout.trim_ascii()).unwrap_or_default();
        match output.status.code() {
            Some(0) if receipt["status"] == "noop" => {}
            Some(0) => done += 1,
            Some(7) => {}
            code => panic!("{code:?}: {told}"),
        }
    }
    assert!(done >= 1, "nobody got through");
    let commits = bucket.names("p/home/predictions/risk/_delta_log/");
    let commits: Vec<_> = commits.iter().filter(|name| name.ends_with(".json")).collect();
    // Version 0 makes the table, version 1 is the interval.
    assert_eq!(commits.len(), 2, "{commits:?}");
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
        proxy.faults.slow_down.store(0, Ordering::SeqCst);
        let start = proxy.faults.requests.load(Ordering::SeqCst);
        let faults = std::sync::Arc::clone(&proxy.faults);
        let watch = std::thread::spawn(move || {
            let give_up = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while faults.requests.load(Ordering::SeqCst) < start + healthy && std::time::Instant::now() < give_up {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
            faults.slow_down.store(i64::MAX, Ordering::SeqCst);
        });
        let cut_short = few(&bucket);
        watch.join().unwrap();
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

/// Fails if a secret stands in what was said, in the log or in any object of the home.
fn tells_nothing(bucket: &Bucket, outcomes: &[&Outcome], secrets: &[&str]) {
    for outcome in outcomes {
        for secret in secrets {
            assert!(!said(outcome).contains(secret), "{secret} is told:\n{}", said(outcome));
        }
    }
    for (name, bytes) in bucket.objects() {
        let holds = |secret: &&&str| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        let told = secrets.iter().find(holds);
        assert!(told.is_none() || name.ends_with(".parquet"), "{told:?} stands in {name}");
    }
}

#[test]
fn wrong_credentials_are_one_clear_error_and_no_output_tells_a_secret() {
    let Some(bucket) = project("secrets") else { return };
    const WRONG: &str = "WRONGSECRET0123456789";
    let job = bucket.job();
    let log = ["--log", "trace"];
    let wrong_secret = end(bucket
        .command(&[&["score", &job, "--interval", DAY], &log[..]].concat())
        .env("AWS_SECRET_ACCESS_KEY", WRONG)
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "1"))
    .expect(1);
    assert!(wrong_secret.stderr.contains("does not accept the credentials"), "{}", wrong_secret.stderr);
    let errors = wrong_secret.stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{}", wrong_secret.stderr);
    let unknown =
        end(bucket.command(&["score", &job, "--interval", DAY]).env("AWS_ACCESS_KEY_ID", "AKNOBODY")).expect(1);
    assert!(unknown.stderr.contains("InvalidAccessKeyId"), "{}", unknown.stderr);
    let half = end(bucket.command(&["score", &job, "--interval", DAY]).env_remove("AWS_SECRET_ACCESS_KEY")).expect(2);
    assert!(half.stderr.contains("missing = AWS_SECRET_ACCESS_KEY"), "{}", half.stderr);
    let no_bucket = bucket.run(&["query", "SELECT 1", "--table", "t=s3://no-such-bucket/t"]).expect(1);
    assert!(no_bucket.stderr.contains("there is no such bucket"), "{}", no_bucket.stderr);
    let no_job = bucket.run(&["check", &bucket.url("p/jobs/none.toml")]).expect(2);
    assert!(no_job.stdout.contains("there is no such job file"), "{}", said(&no_job));
    let in_url = bucket.run(&["check", &format!("s3://{KEY}:{SECRET}@{}/p/jobs/risk.toml", bucket.name)]).expect(2);

    let receipt = tempfile::NamedTempFile::new().unwrap();
    let file = receipt.path().display().to_string();
    let logged = bucket.command(&[&["run", &job, "--interval", DAY, "--receipt", &file], &log[..]].concat());
    let logged = end({ logged }.env("RUST_LOG", "trace")).expect(0);
    assert!(logged.stderr.contains("SELECT") || logged.stderr.len() > 10_000, "the log was to be verbose");
    let doctor = end(&mut bucket.command(&["doctor", &job])).expect(0);
    let doctor_json = bucket.run(&["doctor", &job]).expect(0);
    let outcomes = [&wrong_secret, &unknown, &half, &no_bucket, &no_job, &in_url, &logged, &doctor, &doctor_json];
    tells_nothing(&bucket, &outcomes, &[SECRET, WRONG]);
    assert!(!std::fs::read_to_string(receipt.path()).unwrap().contains(SECRET));

    assert!(doctor.stdout.contains("environment (AWS_ACCESS_KEY_ID)"), "{}", doctor.stdout);
    assert!(!doctor.stdout.contains(KEY), "{}", doctor.stdout);
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

/// The largest file is more than one part, and is whole there and back.
#[test]
fn the_fraud_job_on_the_real_table_gives_the_same_predictions_from_a_bucket() {
    let Some(server) = server() else { return };
    let Some(lake) = shared("lake/transactions") else { return };
    let bucket = server.bucket("real");
    bucket.upload(&lake, "lake/transactions");
    let job = root().join("jobs/card_fraud.toml").display().to_string();
    let folder = tempfile::tempdir().unwrap();
    let sets = |table: &Path, home: &Path| {
        let table = format!("tables.transactions.path={}", table.display());
        [table, format!("home={}", home.display()), "model.window=7d".to_owned()]
    };
    let here = sets(&lake, &folder.path().join("home"));
    let there = sets(&PathBuf::from(bucket.url("lake/transactions")), &PathBuf::from(bucket.url("home")));
    let args = |sets: &[String; 3]| -> Vec<String> {
        let mut args = vec!["run".to_owned(), job.clone(), "--interval".to_owned(), "2018-06-20".to_owned()];
        sets.iter().for_each(|set| args.extend(["--set".to_owned(), set.clone()]));
        args
    };
    let run = |sets: &[String; 3]| {
        let args = args(sets);
        bucket.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).expect(0).json()
    };
    let (here, there) = (run(&here), run(&there));
    assert_eq!(here["output"]["sha256"], there["output"]["sha256"]);
    assert_eq!(here["model"]["sha256"], there["model"]["sha256"]);
    assert_eq!(here["rows_out"], there["rows_out"]);
    let stats = bucket.run(&["lookup", "stats", "card_fraud", "--home", &bucket.url("home")]).expect(0).json();
    assert_eq!(stats["keys"], there["lookup"]["keys"]);
}
