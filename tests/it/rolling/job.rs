//! A job with windows, in both engines; what its SQL shows, and what makes it another job.

use super::{Asked, Row, Spine, oracle, spine_batch, table_batch};
use crate::command::{Outcome, run, run_json};
use arrow::array::RecordBatch;
use lakemill::query::rolling::Closed;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use std::path::Path;

fn write(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

const HOUR: i64 = 3_600;

/// Events of sites, and what was measured at them.
fn lake(folder: &Path) -> (Vec<Spine>, Vec<Row>) {
    let (mut events, mut measured): (Vec<Spine>, Vec<Row>) = (Vec::new(), Vec::new());
    for hour in 0..24 * 40_i64 {
        for site in 0..12 {
            events.push((Some(site), None, Some(hour * HOUR + site * 17)));
        }
        let site = hour % 11;
        let risk = (hour / 24 + site * 5) % 7;
        measured.push((Some(site), None, Some(hour * HOUR), Some(risk), Some(risk as f64 * 0.1)));
    }
    write(&folder.join("lake/events/part-0.parquet"), &spine_batch(&events));
    write(&folder.join("lake/facts/part-0.parquet"), &table_batch(&measured));
    (events, measured)
}

const SQL: &str = "
SELECT id, at, key, key % 3 AS kind, id % 5 AS noise, CASE WHEN (id * 7) % 11 > 6 THEN 1 ELSE 0 END AS label
FROM events WHERE at >= $interval_start AND at < $interval_end -- of the features: all";

const JOB: &str = r#"
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
[[features.windows]]
table = "facts"
keys = { key = "k" }
time = "time"
delay = "6h"
over = ["36h", "5d"]
aggregates = [
  { function = "count", as = "n" },
  { function = "mean", column = "float" },
  { function = "last", column = "number" },
  { function = "distinct", column = "number" },
]
[[features.windows]]
table = "events"
keys = ["key"]
time = "at"
over = ["1h"]
closed = "both"
aggregates = [{ function = "count" }]
[[features.asof]]
table = "facts"
keys = { key = "k" }
time = "time"
columns = { newest = "number" }
[model]
task = "binary"
algorithm = "logistic_regression"
window = "10d"
split = { by = "time", test = "3d" }
[score]
passthrough = ["n_1d12h", "float_mean_5d", "number_last_5d", "number_distinct_5d", "events_count_1h", "newest"]
"#;

const CARRIED: &str = "id, n_1d12h, float_mean_5d, number_last_5d, number_distinct_5d, events_count_1h";

struct Job {
    folder: tempfile::TempDir,
    events: Vec<Spine>,
    measured: Vec<Row>,
}

impl Job {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (events, measured) = lake(folder.path());
        for (name, text) in [("sql/sites.sql", SQL), ("jobs/sites.toml", JOB)] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { folder, events, measured }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, command: &str, more: &[&str]) -> Outcome {
        run_json(&[&[command, &self.path("jobs/sites.toml"), "--interval", "1970-02-05"], more].concat())
    }

    fn rows(&self, home: &str, columns: &str) -> String {
        let table = format!("p={}", self.path(&format!("{home}/predictions/sites")));
        let sql = format!("SELECT {columns} FROM p ORDER BY id");
        run(&["query", &sql, "--table", &table, "--format", "csv"]).expect(0).stdout
    }

    /// What [`CARRIED`] is by the oracle.
    fn expected(&self) -> String {
        let day = 35 * 86_400..36 * 86_400;
        let asked = Asked { both_keys: false, closed: Closed::Left, delay: 6 * HOUR, over: [0, 0] };
        let own = Asked { closed: Closed::Both, delay: 0, ..asked.clone() };
        let of_events: Vec<Row> = self.events.iter().map(|event| (event.0, None, event.2, None, None)).collect();
        let shown = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
        let mut lines = vec![CARRIED.replace(' ', "")];
        for (id, event) in self.events.iter().enumerate().filter(|(_, event)| day.contains(&event.2.unwrap())) {
            let short = oracle(event, &self.measured, &asked, 36 * HOUR);
            let long = oracle(event, &self.measured, &asked, 120 * HOUR);
            let mean = long.floats[1].map(|mean| format!("{mean:.9}")).unwrap_or_default();
            let beside = oracle(event, &of_events, &own, HOUR);
            let (last, distinct) = (shown(long.wholes[3]), long.distinct);
            lines.push(format!("{id},{},{mean},{last},{distinct},{}", short.rows, beside.rows));
        }
        lines.join("\n") + "\n"
    }
}

/// Means to nine digits.
fn rounded(csv: &str) -> String {
    let line = |line: &str| {
        let cell = |cell: &str| match cell.parse::<f64>() {
            Ok(mean) if cell.contains('.') => format!("{mean:.9}"),
            _ => cell.to_owned(),
        };
        line.split(',').map(cell).collect::<Vec<_>>().join(",")
    };
    csv.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn a_job_with_windows_trains_scores_and_evaluates() {
    let job = Job::new();
    let receipt = job.run("run", &[]).expect(0).json();
    assert_eq!((&receipt["rows_in"], &receipt["rows_out"]), (&Value::from(24 * 12), &Value::from(24 * 12)));
    assert_eq!(job.run("run", &[]).expect(0).json()["status"], "noop");
    let expected = job.expected();
    assert!(expected.contains(",,0,"), "a site of which nothing is known");
    assert_eq!(rounded(&job.rows("home", CARRIED)), rounded(&expected));

    let evaluation = job.run("evaluate", &["--models", "champion"]).expect(0).json();
    assert_eq!(evaluation["rows"], 24 * 12);
    let shown = run(&["models", "show", "sites", "--home", &job.path("home")]).expect(0).stdout;
    for part in ["float_mean_1d12h", "\"over\":[\"1d12h\",\"5d\"]", "[[features.windows]]"] {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    let plan = run(&["plan", &job.path("jobs/sites.toml"), "--interval", "1970-02-05", "--explain"]).expect(0).stdout;
    assert!(plan.contains("SlidingWindowExec") && plan.contains("AsofJoin: table=facts"), "{plan}");
}

/// What `plan --sql` shows is what is run.
#[test]
fn the_sql_that_is_shown_gives_the_same_features() {
    let job = Job::new();
    job.run("run", &[]).expect(0);
    let (file, path) = (job.path("shown.sql"), job.path("jobs/sites.toml"));
    let shown = run(&["plan", &path, "--interval", "1970-02-05", "--sql"]).expect(0).stdout;
    assert!(
        shown.contains("RANGE BETWEEN INTERVAL '5 days 6 hours' PRECEDING AND INTERVAL '6 hours 0.000001 seconds'")
    );
    assert!(shown.contains("$interval_start - INTERVAL '5 days 6 hours'"), "{shown}");
    assert_eq!(job.run("plan", &["--sql"]).expect(0).json()["sql"].as_str().unwrap().trim_end(), shown.trim_end());
    std::fs::write(&file, &shown).unwrap();
    let args = ["query", file.as_str(), "--job", &path, "--interval", "1970-02-05", "--format", "csv"];
    for threads in ["1", "3"] {
        let given = run(&[&args[..], &["--threads", threads]].concat()).expect(0).stdout;
        let mut lines = given.lines();
        let head: Vec<&str> = lines.next().unwrap().split(',').collect();
        let wanted: Vec<usize> =
            CARRIED.split(", ").map(|name| head.iter().position(|column| *column == name).unwrap()).collect();
        let mut rows: Vec<(i64, String)> = lines
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                (cells[wanted[0]].parse().unwrap(), wanted.iter().map(|at| cells[*at]).collect::<Vec<_>>().join(","))
            })
            .collect();
        rows.sort();
        let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
        assert_eq!(rows.join("\n"), job.rows("home", CARRIED).lines().skip(1).collect::<Vec<_>>().join("\n"));
    }
    run(&["plan", &path, "--interval", "1970-02-05", "--sql", "--explain"]).expect(2);
}

#[test]
fn both_engines_give_the_same_windows_at_any_memory() {
    let job = Job::new();
    job.run("train", &[]).expect(0);
    let mut all = Vec::new();
    for (home, more) in [
        ("home", &[][..]),
        ("polars", &["--set", "features.engine=polars"]),
        ("small", &["--memory", "240MiB", "--threads", "1"]),
    ] {
        let set = format!("home={}", job.path(home));
        if home != "home" {
            let copied = std::process::Command::new("cp").args(["-r", &job.path("home"), &job.path(home)]).status();
            assert!(copied.unwrap().success());
        }
        job.run("score", &[&["--set", set.as_str(), "--force"], more].concat()).expect(0);
        all.push(job.rows(home, &format!("{CARRIED}, newest, prediction, score")));
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

#[test]
fn other_windows_are_other_inputs() {
    let job = Job::new();
    let first = job.run("run", &[]).expect(0).json();
    let text = std::fs::read_to_string(job.path("jobs/sites.toml")).unwrap();
    std::fs::write(job.path("jobs/sites.toml"), text.replace("delay = \"6h\"", "delay = \"7h\"")).unwrap();
    let again = job.run("score", &[]).expect(0);
    assert!(again.stderr.contains("windows are not those"), "{}", again.stderr);
    let again = again.json();
    assert_eq!((&again["status"], &again["supersedes"]), (&Value::from("done"), &first["run_id"]));
    assert_eq!(job.run("train", &[]).expect(0).json()["model"]["version"], 2, "another training");
    // Each model brings its own windows.
    let both = job.run("evaluate", &["--models", "1,2"]).expect(0).json();
    assert_eq!(both["rows"], 24 * 12);
}
