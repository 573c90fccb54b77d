//! Google's and Azure's stores: whole jobs, races, a network that breaks, every kind of identity, and that nothing of it
//! tells a secret. Azure's is Azurite, Microsoft's own emulator; the ones of Google's that are at hand know no
//! put-if-absent, so its part is played by a small server in this binary.

mod azure;
mod azurite;
mod entra;
mod google;
mod google_server;
mod http;
mod signature;

use crate::command::{Outcome, files, lakemill};
use crate::risk;
use crate::s3::proxy::Proxy;
use crate::s3::server::{end, runtime};
use futures::TryStreamExt;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

const DAY: &str = "2018-06-10";

/// A project, and what a run of it on this machine gave.
struct Local {
    files: Vec<(String, Vec<u8>)>,
    receipt: Value,
    dump: String,
    /// The model's files by their names.
    model: Vec<(String, Vec<u8>)>,
}

static LOCAL: LazyLock<Local> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    risk::make(folder.path(), "jobs/risk.toml", "sql/risk.sql");
    let project = files(folder.path());
    let job = folder.path().join("jobs/risk.toml").display().to_string();
    let receipt = crate::command::run_json(&["run", &job, "--interval", DAY]).expect(0).json();
    let home = folder.path().join("home").display().to_string();
    let dump = crate::command::run(&["lookup", "dump", "risk", "--home", &home]).expect(0).stdout;
    let model = files(&folder.path().join("home")).into_iter().filter_map(payload).collect();
    Local { files: project, receipt, dump, model }
});

/// The name and the bytes of a file that is a model's and tells no time.
fn payload((name, bytes): (String, Vec<u8>)) -> Option<(String, Vec<u8>)> {
    let name = format!("/{name}");
    (name.contains("/versions/") && !name.ends_with(".md")).then_some((name.rsplit('/').next()?.to_owned(), bytes))
}

/// A bucket or container of a cloud, and how the command reaches it.
struct Bucket {
    /// The tests' own way in.
    store: Arc<dyn ObjectStore>,
    /// What locations begin with.
    root: String,
    /// All of the cloud's variables that the command is given.
    environment: Vec<(String, String)>,
    /// The variable that holds the server's address, and what precedes the port there.
    endpoint: &'static str,
    /// The variable for the number of attempts.
    attempts: &'static str,
    port: u16,
    cache: TempDir,
    /// What must never be seen.
    secrets: Vec<String>,
}

impl Bucket {
    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.root)
    }

    fn job(&self) -> String {
        self.url("p/jobs/risk.toml")
    }

    fn home(&self) -> String {
        self.url("p/home")
    }

    /// With the project in it, and no home.
    fn with_project(self) -> Self {
        // Made outside of the runtime, since it has one of its own.
        let files = &LOCAL.files;
        runtime().block_on(async {
            for (name, bytes) in files {
                self.store.put(&StorePath::from(format!("p/{name}")), bytes.clone().into()).await.unwrap();
            }
        });
        self
    }

    fn objects(&self) -> Vec<(String, Vec<u8>)> {
        runtime().block_on(async {
            let all: Vec<_> = self.store.list(None).try_collect().await.unwrap();
            let mut objects = Vec::new();
            for object in all {
                let bytes = self.store.get(&object.location).await.unwrap().bytes().await.unwrap();
                objects.push((object.location.to_string(), bytes.to_vec()));
            }
            objects.sort();
            objects
        })
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        self.objects().into_iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix)).collect()
    }

    /// The command with this bucket's server and credentials in its environment, and with no others.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = clean(args);
        command.envs(self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        command.env("LAKEMILL_CACHE", self.cache.path());
        command
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.quiet(end(self.command(args).args(["--output", "json"])))
    }

    fn on_day(&self, command: &str, more: &[&str]) -> Outcome {
        self.run(&[&[command, &self.job(), "--interval", DAY], more].concat())
    }

    /// The same bucket behind something that stands between.
    fn through(&mut self, port: u16) {
        let (old, new) = (format!(":{}", self.port), format!(":{port}"));
        for (name, value) in &mut self.environment {
            if name == self.endpoint {
                *value = value.replace(&old, &new);
            }
        }
        self.port = port;
    }

    /// Fails if a secret was said.
    fn quiet(&self, outcome: Outcome) -> Outcome {
        self.holds_none(said(&outcome).as_bytes(), "what was said");
        outcome
    }

    fn holds_none(&self, bytes: &[u8], what: &str) {
        for secret in &self.secrets {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            let around = |at: usize| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..at]).into_owned();
            assert!(found.is_none(), "{secret} stands in {what}, after: {}", around(found.unwrap_or_default()));
        }
    }

    fn stores_none(&self) {
        self.objects().iter().for_each(|(name, bytes)| self.holds_none(bytes, name));
        files(self.cache.path()).iter().for_each(|(name, bytes)| self.holds_none(bytes, name));
    }
}

/// The command without any cloud's variables, and with a home that has no logins.
fn clean(args: &[&str]) -> Command {
    let mut command = lakemill(args);
    let clouds = ["AZURE_", "GOOGLE_", "GCE_", "CLOUDSDK_", "IDENTITY_", "MSI_", "NO_GCE"];
    for (name, _) in std::env::vars().filter(|(name, _)| clouds.iter().any(|cloud| name.starts_with(cloud))) {
        command.env_remove(name);
    }
    command.env("HOME", "/none");
    command
}

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

/// Everything that a job does, in a bucket and as it is done here.
fn whole_job(bucket: &Bucket) {
    bucket.run(&["check", &bucket.job()]).expect(0);
    let planned = bucket.on_day("plan", &[]).expect(0).json();
    assert_eq!(planned["tables"][0]["format"], "delta", "{planned}");
    assert!(bucket.names("p/home").is_empty(), "a plan changed something");

    let receipt = bucket.on_day("run", &[]).expect(0).json();
    let local = &LOCAL.receipt;
    assert_eq!(receipt["status"], "done", "{receipt}");
    for key in ["fingerprint", "rows_out"] {
        assert_eq!(receipt[key], local[key]);
    }
    assert_eq!(receipt["model"]["sha256"], local["model"]["sha256"]);
    assert_eq!(receipt["output"]["sha256"], local["output"]["sha256"]);
    let there: Vec<_> =
        bucket.objects().into_iter().filter(|(name, _)| name.starts_with("p/home")).filter_map(payload).collect();
    assert!(!LOCAL.model.is_empty());
    for (name, bytes) in &LOCAL.model {
        assert!(there.contains(&(name.clone(), bytes.clone())), "{name} of the model differs");
    }
    let again = bucket.on_day("run", &[]).expect(0).json();
    assert_eq!(again["status"], "noop", "{again}");
    bucket.on_day("score", &["--force"]).expect(0);

    // A reader on another machine: a cache that knows nothing.
    let (cache, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let to = dir.path().display().to_string();
    let mut sync =
        bucket.command(&["lookup", "sync", "risk", "--home", &bucket.home(), "--dir", &to, "--output", "json"]);
    assert_eq!(end(sync.env("LAKEMILL_CACHE", cache.path())).expect(0).json()["generation"], 1);
    assert_eq!(crate::command::run(&["lookup", "dump", "risk", "--home", &to]).expect(0).stdout, LOCAL.dump);
    bucket.run(&["lookup", "verify", "risk", "--home", &bucket.home()]).expect(0);
    bucket.run(&["models", "show", "risk", "--home", &bucket.home()]).expect(0);
    assert_eq!(bucket.run(&["runs", "list", "--home", &bucket.home()]).expect(0).json().as_array().unwrap().len(), 4);
    let table = bucket.url("p/lake/transactions");
    let inspected = bucket.run(&["inspect", &table]).expect(0).json();
    assert_eq!(inspected["format"], "delta", "{inspected}");

    // The next day is a second generation, and Polars reads the bucket as well.
    let polars = ["score", &bucket.job(), "--interval", "2018-06-11", "--set", "features.engine=polars"];
    let next = bucket.run(&polars).expect(0).json();
    assert_eq!(next["lookup"]["generation"], 2, "{next}");
    let home = bucket.home();
    let stats = bucket.run(&["lookup", "stats", "risk", "--home", &home]).expect(0).json();
    assert_eq!(stats["interval"], "2018-06-11");
    bucket.stores_none();
}

/// Eight writers of one interval: one commit, one generation.
fn race(bucket: &Bucket) {
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
    let committed = children.into_iter().map(|(child, _cache)| u32::from(crate::crash::one_of_a_race(child)));
    assert_eq!(committed.sum::<u32>(), 1);
    let commits = bucket.names("p/home/predictions/risk/_delta_log/");
    let commits: Vec<_> = commits.iter().filter(|name| name.ends_with(".json")).collect();
    // Version 0 makes the table, version 1 is the interval.
    assert_eq!(commits.len(), 2, "{commits:?}");
    assert_eq!(bucket.names("p/home/lookup/risk/current/").len(), 1, "the pointer moved once");
    let generations = bucket.names("p/home/lookup/risk/v=");
    assert_eq!(generations.iter().filter(|name| name.ends_with("generation.json")).count(), 1, "{generations:?}");
    let settled = bucket.on_day("score", &[]).expect(0).json();
    assert_eq!(settled["status"], "noop");
    assert_eq!(settled["output"]["sha256"], LOCAL.receipt["output"]["sha256"]);
    let dump = end(&mut bucket.command(&["lookup", "dump", "risk", "--home", &bucket.home()])).expect(0).stdout;
    assert_eq!(dump, LOCAL.dump);
}

/// A server that is busy and a network that breaks cost time and nothing else; a lost answer to a conditional put is
/// settled; an outage is transient.
fn faults(mut bucket: Bucket) {
    bucket.on_day("train", &[]).expect(0);
    let (direct, proxy) = (bucket.port, Proxy::before(bucket.port));
    bucket.through(proxy.port);
    proxy.faults.slow_down.store(5, Ordering::SeqCst);
    proxy.faults.lost_answers.store(6, Ordering::SeqCst);
    proxy.faults.cut_answers.store(6, Ordering::SeqCst);
    let receipt = bucket.on_day("score", &[]).expect(0).json();
    assert_eq!(receipt["status"], "done", "{receipt}");
    assert_eq!(receipt["output"]["sha256"], LOCAL.receipt["output"]["sha256"]);
    assert_eq!(proxy.faults.lost_answers.load(Ordering::SeqCst), 0);
    proxy.faults.lost_answers.store(3, Ordering::SeqCst);
    bucket.run(&["doctor", &bucket.job()]).expect(0);

    let before = bucket.names("p/home");
    for healthy in [0, 8, 20] {
        proxy.faults.slow_down.store(i64::MAX, Ordering::SeqCst);
        proxy.faults.healthy.store(healthy, Ordering::SeqCst);
        let args = ["score", &bucket.job(), "--interval", "2018-06-11", "--output", "json", "--log", "trace"];
        let mut command = bucket.command(&args);
        let cut_short = bucket.quiet(end(command.env(bucket.attempts, "2").env("RUST_LOG", "trace")));
        assert_eq!(cut_short.code, 75, "after {healthy} requests: {}", said(&cut_short));
    }
    bucket.through(direct);
    let after = bucket.names("p/home");
    let new: Vec<_> = after.iter().filter(|name| !before.contains(name)).collect();
    let shows = |name: &str| name.contains("_delta_log/") || name.contains("/lookup/risk/current/");
    assert!(new.iter().all(|name| !shows(name)), "{new:?}");
    assert_eq!(bucket.on_day("score", &[]).expect(0).json()["status"], "noop");
}

/// Every command that reaches a bucket.
fn commands(bucket: &Bucket) -> Vec<Vec<String>> {
    let (job, home, table) = (bucket.job(), bucket.home(), bucket.url("p/lake/transactions"));
    let named = format!("t={table}");
    let commands: [&[&str]; 9] = [
        &["doctor", &job],
        &["inspect", &table],
        &["plan", &job, "--interval", DAY],
        &["run", &job, "--interval", DAY],
        &["query", "SELECT count(*) FROM t", "--table", &named],
        &["lookup", "get", "risk", "7", "--home", &home],
        &["lookup", "verify", "risk", "--home", &home],
        &["models", "show", "risk", "--home", &home],
        &["runs", "list", "--home", &home],
    ];
    commands.iter().map(|args| args.iter().map(|arg| (*arg).to_owned()).collect()).collect()
}

/// Nothing that a command says, logs, files or stores holds a secret: not where all goes well, and not with one of `sets`
/// in the environment, which all are wrong.
fn secrets(bucket: &Bucket, sets: &[(&str, &str)]) {
    let mut longest = 0;
    for args in commands(bucket) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = |set: Option<&(&str, &str)>| {
            let mut command = bucket.command(&args);
            command.args(["--log", "trace"]).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
            command.envs(set.map(|(name, value)| (*name, *value)));
            bucket.quiet(end(&mut command))
        };
        let outcome = run(None).expect(0);
        longest = longest.max(outcome.stderr.len());
        for set in sets {
            let outcome = run(Some(set));
            assert!([1, 2].contains(&outcome.code), "{args:?} with a wrong {}: {}", set.0, said(&outcome));
            let errors = outcome.stderr.lines().filter(|line| line.starts_with("error:")).count();
            assert!(errors <= 1, "{}", outcome.stderr);
        }
    }
    assert!(longest > 10_000, "the log was to be verbose");
    bucket.stores_none();
}

/// What `doctor` tells of a job that is in order, and that it leaves nothing.
fn doctor(bucket: &Bucket, source: &str) {
    let found = bucket.run(&["doctor", &bucket.job()]).expect(0).json();
    let home = &found["places"][0];
    assert_eq!((&home["list"], &home["write"]), (&true.into(), &true.into()), "{found}");
    assert_eq!(home["put_if_absent"], true, "{found}");
    assert_eq!(home["identity"]["source"], source, "{found}");
    let table = &found["places"][1];
    assert_eq!((&table["read"], &table["write"]), (&true.into(), &Value::Null));
    assert!(bucket.names("p/home").is_empty(), "the doctor leaves its probe");
    let set = format!("tables.transactions.path={}", bucket.url("p/nothing"));
    let nothing = bucket.run(&["doctor", &bucket.job(), "--set", &set]).expect(2).json();
    assert_eq!(nothing["places"][1]["error"]["code"], "usage");
}

/// A file of several parts, and a folder of many files.
fn large_and_many(bucket: &Bucket) {
    let rows = 2_500_000_u64;
    let mut large = String::from("a\n");
    (0..rows).for_each(|row| large.push_str(&format!("{row}\n")));
    assert!(large.len() > 16 << 20);
    runtime().block_on(async {
        let upload = bucket.store.put_multipart(&StorePath::from("large/t.csv")).await.unwrap();
        let mut upload = object_store::WriteMultipart::new_with_chunk_size(upload, 8 << 20);
        upload.write(large.as_bytes());
        upload.finish().await.unwrap();
        for number in 0..30 {
            let name = StorePath::from(format!("many/{number:03}.csv"));
            bucket.store.put(&name, format!("a\n{number}\n").into()).await.unwrap();
        }
    });
    let sum = |folder: &str| {
        let table = format!("t={}", bucket.url(folder));
        let args = ["query", "SELECT sum(a) AS s FROM t", "--table", &table, "--format", "csv"];
        end(&mut bucket.command(&args)).expect(0).stdout
    };
    assert_eq!(sum("many"), "s\n435\n");
    assert_eq!(sum("large"), format!("s\n{}\n", rows * (rows - 1) / 2));
}
