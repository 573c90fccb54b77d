//! A real S3 server for the tests: Ceph's radosgw on this machine, one for all tests of the binary.

use crate::command::{Outcome, lakemill};
use crate::shared::shared;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as StorePath;
use object_store::signer::Signer;
use object_store::{ObjectStore, ObjectStoreExt};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;

/// What the server's script gives its one user. The tests look for the secret in everything that is said.
pub const KEY: &str = "AKTEST";
pub const SECRET: &str = "SKTEST";

/// A running server.
pub struct Server {
    pub port: u16,
    /// Stops the server once its standard input closes, which it does however this process ends.
    _watchdog: Child,
    folder: TempDir,
}

static SERVER: LazyLock<Option<Server>> = LazyLock::new(start);

/// The server; `None` where it can't be had, which is said, and in CI is a failure.
pub fn server() -> Option<&'static Server> {
    SERVER.as_ref()
}

fn start() -> Option<Server> {
    let script = shared("servers/s3.sh")?;
    let found = |program: &str| Command::new("which").arg(program).stdout(Stdio::null()).status().unwrap().success();
    if let Some(missing) = ["radosgw", "ceph-mon", "ceph-osd"].into_iter().find(|program| !found(program)) {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "{missing} is not installed, and in CI no test is skipped");
        crate::shared::skipped(&format!("{missing} is not installed; .ci/run installs it"));
        return None;
    }
    let mut said = String::new();
    for _ in 0..START_TRIES {
        match try_start(&script) {
            Ok(server) => return Some(server),
            Err(why) => said = why,
        }
    }
    panic!("the S3 server did not start: {said}");
}

/// A cluster of three daemons does not come up at once every time on a machine that is busy with other tests.
const START_TRIES: usize = 3;

fn try_start(script: &Path) -> Result<Server, String> {
    // The script takes a port and the one after it.
    let port = loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            break port;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let watch = format!("read gone; bash '{}' stop '{dir}'; rm -rf '{dir}'", script.display());
    let mut watchdog = Command::new("setsid");
    let watchdog =
        watchdog.args(["sh", "-c", &watch]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut watchdog = watchdog.spawn().unwrap();
    let path = folder.path().join("start.log");
    let log = std::fs::File::create(&path).unwrap();
    let started = Command::new("bash")
        .args([script.to_str().unwrap(), "start", &dir, &port.to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    if !started.success() {
        let said = std::fs::read_to_string(&path).unwrap();
        // What has started is stopped before the next try.
        drop(watchdog.stdin.take());
        watchdog.wait().unwrap();
        return Err(said);
    }
    Ok(Server { port, _watchdog: watchdog, folder })
}

impl Server {
    /// The server's own folder, which goes when this process ends.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A new bucket.
    pub fn bucket(&'static self, name: &str) -> Bucket {
        let bucket = Bucket { name: name.to_owned(), port: self.port, cache: tempfile::tempdir().unwrap() };
        let runtime = runtime();
        let url = runtime.block_on(async {
            let root = StorePath::from("");
            bucket.store().signed_url("PUT".parse().unwrap(), &root, Duration::from_secs(60)).await.unwrap()
        });
        let curl = Command::new("curl").args(["-sS", "--fail-with-body", "-X", "PUT", url.as_str()]).output().unwrap();
        assert!(curl.status.success(), "no bucket: {}", String::from_utf8_lossy(&curl.stdout));
        bucket
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A bucket of the server, maybe reached through something that stands between.
pub struct Bucket {
    pub name: String,
    pub port: u16,
    cache: TempDir,
}

impl Bucket {
    pub fn store(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{}", self.port))
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(&self.name)
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET)
            .build()
            .unwrap()
    }

    /// Uploads every file below a folder.
    pub fn upload(&self, folder: &Path, to: &str) {
        let store = self.store();
        runtime().block_on(async {
            for (name, bytes) in crate::command::files(folder) {
                store.put(&StorePath::from(format!("{to}/{name}")), bytes.into()).await.unwrap();
            }
        });
    }

    /// Copies one object.
    pub fn copy(&self, from: &str, to: &str) {
        let store = self.store();
        runtime().block_on(async {
            let bytes = store.get(&StorePath::from(from)).await.unwrap().bytes().await.unwrap();
            store.put(&StorePath::from(to), bytes.into()).await.unwrap();
        });
    }

    /// Every object with its bytes.
    pub fn objects(&self) -> Vec<(String, Vec<u8>)> {
        use futures::TryStreamExt;
        let store = self.store();
        runtime().block_on(async {
            let all: Vec<_> = store.list(None).try_collect().await.unwrap();
            let mut objects = Vec::new();
            for object in all {
                let bytes = store.get(&object.location).await.unwrap().bytes().await.unwrap();
                objects.push((object.location.to_string(), bytes.to_vec()));
            }
            objects.sort();
            objects
        })
    }

    /// The names of all objects below a prefix.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let objects = self.objects();
        objects.into_iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix)).collect()
    }

    pub fn url(&self, path: &str) -> String {
        format!("s3://{}/{path}", self.name)
    }

    /// The command with this bucket's server and keys in its environment, and with no other.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = lakemill(args);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_CONFIG_FILE", "/none")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/none")
            .env("LAKEMILL_CACHE", self.cache.path());
        command
    }

    /// The folder in which the commands keep what they fetch and build.
    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        end(self.command(args).args(["--output", "json"]))
    }
}

/// Runs a command to its end.
pub fn end(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
