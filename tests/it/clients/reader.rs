//! The readers as processes that do what they are told: each language's `drive` beside this file.

use super::place::Place;
use crate::command::root;
use crate::shared::skipped;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
    Java,
}

impl Language {
    pub const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Java];
}

fn client(language: &str) -> PathBuf {
    root().join("clients").join(language)
}

fn driver(name: &str) -> PathBuf {
    root().join("tests/it/clients").join(name)
}

/// Says that something is missing which a reader needs; in CI nothing may be.
fn missing<T>(what: &str) -> Option<T> {
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{what}, and in CI no test is skipped");
    skipped(&format!("{what}; .ci/run installs it"));
    None
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The interpreter that has the packages: of the environment that `.ci/run` makes beside the binary, or the machine's.
static PYTHON: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let target = Path::new(env!("CARGO_BIN_EXE_lakemill")).ancestors().nth(2).unwrap();
    let candidates = [target.join("clients-python/bin/python3"), PathBuf::from("python3")];
    let has_packages = |python: &PathBuf| succeeds(Command::new(python).args(["-c", "import lmdb, redis, xxhash"]));
    let found = candidates.into_iter().find(has_packages);
    found.or_else(|| missing("there is no Python with lmdb, redis and xxhash"))
});

static NODE: LazyLock<Option<()>> = LazyLock::new(|| {
    if !succeeds(Command::new("node").args(["-e", "process.exit(require('zlib').crc32 ? 0 : 1)"])) {
        return missing("Node 20.15 or later is not installed");
    }
    if !client("node").join("node_modules/redis").is_dir() {
        return missing("the packages in clients/node are not installed (npm ci)");
    }
    Some(())
});

/// The reader's classes, its tests and its driver, compiled once.
struct Classes {
    folder: PathBuf,
    /// Removes them once its standard input closes, which it does however this process ends.
    _watchdog: Child,
}

static CLASSES: LazyLock<Option<Classes>> = LazyLock::new(|| {
    if !succeeds(Command::new("javac").arg("--version")) {
        return missing("a Java compiler, 17 or later, is not installed");
    }
    let folder = TempDir::new().unwrap().keep();
    let watch = format!("read gone; rm -rf '{}'", folder.display());
    let mut watchdog = Command::new("setsid");
    let watchdog = watchdog.args(["sh", "-c", &watch]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let sources = std::fs::read_dir(client("java").join("lakemill/lookup")).unwrap();
    let compiled = Command::new("javac")
        .args(["-Xlint:all", "-Werror", "--release", "17", "-encoding", "UTF-8", "-d"])
        .arg(&folder)
        .args(sources.map(|source| source.unwrap().path()))
        .arg(driver("Drive.java"))
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    Some(Classes { folder, _watchdog: watchdog })
});

fn java(class: &str) -> Option<Command> {
    let classes = CLASSES.as_ref()?;
    let mut command = Command::new("java");
    command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp"]).arg(&classes.folder).arg(class);
    Some(command)
}

/// Runs the tests that the reader has in its own language.
pub fn unit_tests(language: Language) -> Option<Command> {
    Some(match language {
        Language::Python => {
            let mut command = Command::new(PYTHON.as_ref()?);
            command.args(["-B", "-m", "unittest", "-v"]).current_dir(client("python"));
            command
        }
        Language::Node => {
            NODE.as_ref()?;
            let mut command = Command::new("node");
            command.arg("--test").current_dir(client("node"));
            command
        }
        Language::Java => {
            let mut command = java("lakemill.lookup.VectorsTest")?;
            command.arg(root().join("clients/vectors.json"));
            command
        }
    })
}

/// The variable by which Node trusts further authorities.
const NODE_CA: &str = "NODE_EXTRA_CA_CERTS";

/// A process that reads tables.
pub struct Reader {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts one; `None` where the language cannot be had here, which is said.
    pub fn start(language: Language) -> Option<Self> {
        Self::start_trusting(language, None)
    }

    /// Starts one whose URLs trust the authorities in a file, where that is for the process to say.
    pub fn start_trusting(language: Language, ca: Option<&Path>) -> Option<Self> {
        let mut command = match language {
            Language::Python => {
                let mut command = Command::new(PYTHON.as_ref()?);
                command.arg("-B").arg(driver("drive.py")).env("PYTHONPATH", client("python"));
                command
            }
            Language::Node => {
                NODE.as_ref()?;
                let mut command = Command::new("node");
                command.arg(driver("drive.mjs")).arg(client("node").join("lookup.js"));
                command
            }
            Language::Java => java("lakemill.lookup.Drive")?,
        };
        command.env_remove(NODE_CA);
        command.envs(ca.map(|ca| (NODE_CA, ca)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, input, output })
    }

    /// What it answers to a command.
    pub fn ask(&mut self, command: &Value) -> Value {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?} to {command}"))
    }

    fn told(&mut self, command: &Value) -> Value {
        let answer = self.ask(command);
        assert!(answer["error"].is_null(), "{answer}");
        answer
    }

    /// Opens a table; the pointer is looked at again after so many milliseconds.
    pub fn try_open(&mut self, place: &Place, check_millis: u64) -> Value {
        self.open_with(place, json!({ "check_millis": check_millis }))
    }

    /// Opens a table in a cluster, with a client that knows clusters where the language has one.
    pub fn try_open_in_cluster(&mut self, place: &Place) -> Value {
        self.open_with(place, json!({ "check_millis": 0, "cluster": true }))
    }

    /// Opens a table as somebody else: with `location`, and further words, in the command.
    pub fn try_open_as(&mut self, place: &Place, command: Value) -> Value {
        self.open_with(place, command)
    }

    fn open_with(&mut self, place: &Place, mut command: Value) -> Value {
        command["do"] = json!("open");
        if command["location"].is_null() {
            command["location"] = json!(place.location());
        }
        command["table"] = json!(place.table_name());
        command["prefix"] = json!(place.prefix());
        self.ask(&command)
    }

    pub fn open(&mut self, place: &Place, check_millis: u64) {
        let answer = self.try_open(place, check_millis);
        assert!(answer["error"].is_null(), "{answer}");
    }

    pub fn close(&mut self) {
        self.told(&json!({ "do": "close" }));
    }

    /// The stored values under these keys, each a list of typed parts.
    pub fn get(&mut self, keys: Vec<Value>) -> Vec<Option<String>> {
        let answer = self.told(&json!({ "do": "get", "keys": keys }));
        answer["values"].as_array().unwrap().iter().map(|value| value.as_str().map(str::to_owned)).collect()
    }

    pub fn metadata(&mut self) -> Value {
        self.told(&json!({ "do": "metadata" }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
