//! The real binary, serving; and what publishes for it.

use super::client::{self, Answer, Connection};
use crate::command::{Outcome, lakemill};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::compute::{sort_to_indices, take_record_batch};
use lakemill::lookup::{
    Base, Columns, Flip, FlipNote, KeyColumns, Load, LookupStore, LookupTable, Origin, Provenance, lookup,
};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that is killed when the test is done with it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// What it said when it began.
    pub said: Value,
}

impl Server {
    /// Serves a home on a free port, with these further arguments.
    pub fn start(home: &Path, args: &[&str]) -> Self {
        Self::start_with(home, args, &[])
    }

    pub fn start_with(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command(home, args);
        command.envs(env.iter().copied());
        Self::of(command)
    }

    /// What a command serves, once it says so.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            panic!("it does not serve: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        let (_, address) = said["url"].as_str().unwrap().split_once("://").unwrap();
        Self { child, address: address.parse().unwrap(), said: said.clone() }
    }

    pub fn get(&self, path: &str) -> Answer {
        client::get(self.address, path)
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.connect().post(path, body)
    }

    pub fn connect(&self) -> Connection<TcpStream> {
        client::connect(self.address)
    }

    /// Asks until the answer is as wanted.
    #[track_caller]
    pub fn wait(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let began = Instant::now();
        loop {
            let answer = self.get(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{path} stays {answer:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for its end; gives the exit code and what it wrote to standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut told = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (self.child.wait().unwrap().code(), told)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(home: &Path, args: &[&str]) -> Command {
    let mut command = lakemill(&["serve", "--output", "json"]);
    if !args.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.arg("--home").arg(home).args(args).env_remove("LAKEMILL_SERVE_TOKENS").env_remove("LAKEMILL_LOOKUP_STORE");
    command
}

/// A server that has to end by itself: because it refuses what it is told.
pub fn refused(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let mut command = command(home, args);
    command.envs(env.iter().copied());
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A configuration file that looks at the pointer often, with this text after it.
pub fn config(folder: &Path, text: &str) -> String {
    let path = folder.join("serve.toml");
    std::fs::write(&path, format!("poll = \"20ms\"\n{text}")).unwrap();
    path.to_string_lossy().into_owned()
}

pub fn store() -> &'static dyn LookupStore {
    lookup("file").unwrap()
}

pub fn table(home: &Path, name: &str) -> LookupTable {
    LookupTable { folder: home.join("lookup").join(name), ..LookupTable::of_server(name, "file") }
}

/// The end of the interval of what [`publish`] publishes.
pub const AS_OF: &str = "2018-06-21T00:00:00Z";

/// Publishes a generation in which each key has the score `score` and the mark `mark`.
pub fn publish(home: &Path, name: &str, keys: &[&str], score: f64, mark: u64) -> Flip {
    publish_as_of(home, name, keys, (score, mark), AS_OF)
}

pub fn publish_as_of(home: &Path, name: &str, keys: &[&str], (score, mark): (f64, u64), as_of: &str) -> Flip {
    let columns: [(&str, ArrayRef); 3] = [
        ("key", Arc::new(StringArray::from(keys.to_vec()))),
        ("score", Arc::new(Float64Array::from(vec![score; keys.len()]))),
        ("mark", Arc::new(UInt64Array::from(vec![mark; keys.len()]))),
    ];
    publish_rows(&table(home, name), RecordBatch::try_from_iter(columns).unwrap(), (1, mark), as_of)
}

/// Publishes rows whose first `keys` columns are the key.
pub fn publish_rows(table: &LookupTable, rows: RecordBatch, (keys, run): (usize, u64), as_of: &str) -> Flip {
    let names: Vec<String> = rows.schema().fields().iter().map(|field| field.name().clone()).collect();
    let (key, values) = names.split_at(keys);
    let store = lookup(&table.store).unwrap();
    let partitions = store.partitions(table, rows.num_rows() as u64, &Base::Nothing).unwrap();
    let codes = KeyColumns::new(key, store.max_key_bytes()).sort_codes(&rows, partitions).unwrap();
    let rows = take_record_batch(&rows, &sort_to_indices(&codes, None, None).unwrap()).unwrap();
    let provenance = Provenance {
        run_id: format!("run-{run}"),
        job: table.name.clone(),
        interval: "2018-06-20".into(),
        interval_end: as_of.into(),
        model: table.name.clone(),
        model_version: 3,
        keep: "latest".into(),
    };
    let expected = store.current(table).unwrap();
    let columns = Columns { schema: &rows.schema(), key, values };
    let origin = Origin { partitions, ..Origin::replacing(provenance) };
    let mut load = Load::begin(store, table, &columns, origin, &format!("attempt-{run}")).unwrap();
    load.push(&rows).unwrap();
    load.verify().unwrap().seal(&hours_ago(0)).unwrap().flip(expected, 3, &note()).unwrap()
}

/// Who flips, and why.
pub fn note() -> FlipNote {
    FlipNote { at: hours_ago(0), by: "tester".into(), why: "test".into() }
}

/// An instant so many hours ago.
pub fn hours_ago(hours: u64) -> String {
    let ago = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
    lakemill::interval::instant(ago.into())
}
