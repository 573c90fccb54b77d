//! Rows with a key and a time, and a job on events of sites: what point-in-time joins and declared windows are tested
//! with.

use crate::command::{Outcome, run, run_json};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

pub const HOUR: i64 = 3_600;

/// A row that gets columns: key, second part of the key, time in seconds.
pub type Spine = (Option<i64>, Option<String>, Option<i64>);

pub fn instants(seconds: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let micros = seconds.map(|second| second.map(|second| second * 1_000_000));
    Arc::new(TimestampMicrosecondArray::from_iter(micros).with_timezone("UTC"))
}

pub fn spine_batch(rows: &[Spine]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from_iter_values(0..rows.len() as i64)) as ArrayRef, true),
        ("key", Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0))), true),
        ("part", Arc::new(StringArray::from_iter(rows.iter().map(|row| row.1.as_deref()))), true),
        ("at", instants(rows.iter().map(|row| row.2)), true),
    ])
    .unwrap()
}

/// How rows come: batches of those that get columns, batches of the table, and the memory.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    pub spine: usize,
    pub table: usize,
    pub memory: usize,
}

pub const PLAIN: Way = Way { spine: 8192, table: 8192, memory: 1 << 28 };

pub fn cut(whole: &RecordBatch, rows: usize) -> Vec<RecordBatch> {
    (0..whole.num_rows()).step_by(rows).map(|start| whole.slice(start, rows.min(whole.num_rows() - start))).collect()
}

pub fn pair(left: &str, right: &str) -> (String, String) {
    (left.to_owned(), right.to_owned())
}

/// Numbers below a limit that look random, and are the same each time.
pub fn dice() -> impl FnMut(u64) -> i64 {
    let mut state = 7_u64;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % below) as i64
    }
}

pub fn word() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.9, prop::sample::select(vec!["a", "b", "a much longer text"]).prop_map(str::to_owned))
}

pub fn rare_null(range: std::ops::Range<i64>) -> impl Strategy<Value = Option<i64>> {
    prop::option::weighted(0.93, range)
}

pub fn blocking<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Each hour of 40 days at each of 12 sites.
pub fn events() -> Vec<Spine> {
    let hours = 0..24 * 40;
    hours.flat_map(|hour| (0..12).map(move |site| (Some(site), None, Some(hour * HOUR + site * 17)))).collect()
}

const SQL: &str = "
SELECT id, at, key, key % 3 AS kind, id % 5 AS noise, CASE WHEN (id * 7) % 11 > 6 THEN 1 ELSE 0 END AS label
FROM events WHERE at >= $interval_start AND at < $interval_end -- of the features: all";

const HEAD: &str = r#"
version = 1
name = "sites"
home = "home"
[tables]
events = { path = "lake/events" }
facts = { path = "lake/facts" }
[features]
sql = "sql/sites.sql"
key = ["id"]
time = "at"
label = "label"
exclude = ["key"]
"#;

const TAIL: &str = r#"
[model]
task = "binary"
algorithm = "logistic_regression"
window = "10d"
split = { by = "time", test = "3d" }
[score]
"#;

/// A folder with a job on [`events`] and facts about them.
pub struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    /// `features` is what the job file says below `[features]`, `passthrough` the columns that its predictions carry.
    pub fn new(facts: &RecordBatch, features: &str, passthrough: &[&str]) -> Self {
        let job = Self { folder: tempfile::tempdir().unwrap() };
        for (table, batch) in [("events", &spine_batch(&events())), ("facts", facts)] {
            let file = std::fs::File::create(job.place(&format!("lake/{table}/part-0.parquet"))).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(batch).unwrap();
            writer.close().unwrap();
        }
        std::fs::write(job.place("sql/sites.sql"), SQL).unwrap();
        let text = format!("{HEAD}{features}{TAIL}passthrough = {passthrough:?}\n");
        std::fs::write(job.place("jobs/sites.toml"), text).unwrap();
        job
    }

    fn place(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        path
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn run(&self, command: &str, more: &[&str]) -> Outcome {
        run_json(&[&[command, &self.path("jobs/sites.toml"), "--interval", "1970-02-05"], more].concat())
    }

    pub fn rows(&self, home: &str, columns: &str) -> String {
        let table = format!("p={}", self.path(&format!("{home}/predictions/sites")));
        let sql = format!("SELECT {columns} FROM p ORDER BY id");
        run(&["query", &sql, "--table", &table, "--format", "csv"]).expect(0).stdout
    }

    /// Another word in the job file.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("jobs/sites.toml")).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(self.path("jobs/sites.toml"), text.replace(from, to)).unwrap();
    }

    /// Both engines, and little memory, give the same predictions.
    pub fn scores_alike(&self, memory: &str, columns: &str) {
        self.run("train", &[]).expect(0);
        let ways = [
            ("datafusion", &[][..]),
            ("polars", &["--set", "features.engine=polars"]),
            ("small", &["--memory", memory, "--threads", "1"]),
        ];
        let [datafusion, polars, small] = ways.map(|(home, more)| {
            let copied = std::process::Command::new("cp").args(["-r", &self.path("home"), &self.path(home)]).status();
            assert!(copied.unwrap().success());
            let set = format!("home={}", self.path(home));
            self.run("score", &[&["--set", set.as_str()], more].concat()).expect(0);
            self.rows(home, columns)
        });
        assert_eq!(datafusion, polars);
        assert_eq!(datafusion, small);
    }
}
