//! Every job that is shipped is checked, planned, run and published, on a demo lake; the flight jobs, whose tables are
//! no demo, have a file of their own. And `lakemill demo` in an empty folder, as the README says.

use crate::command::{Outcome, lakemill, root, run, run_json};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};

/// The jobs whose tests are below, and those in `flights.rs`.
const ON_THE_DEMO_LAKE: [&str; 7] =
    ["card_fraud", "card_fraud_declared", "card_fraud_search", "segment", "spend", "spend_segments", "terminal_fraud"];
const ON_REAL_FLIGHTS: [&str; 2] = ["flight_delay", "flight_delay_minutes"];

/// The last day of the demo lake.
const DAY: &str = "2018-06-30";

/// One lake for all tests that run at the same time; gone when the last of them is.
fn demo_lake() -> Arc<tempfile::TempDir> {
    static LAKE: Mutex<Weak<tempfile::TempDir>> = Mutex::new(Weak::new());
    let mut lake = LAKE.lock().unwrap();
    if let Some(lake) = lake.upgrade() {
        return lake;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    let made = run_json(&["demo", "--lake-only", "--rows", "120000", "--dir", &dir]).expect(0).json();
    assert_eq!(made["days_added"], 91);
    let made = Arc::new(folder);
    *lake = Arc::downgrade(&made);
    made
}

/// A shipped job on the demo lake, with a home of its own.
struct Shipped {
    name: &'static str,
    file: String,
    sets: Vec<String>,
    home: PathBuf,
    lake: Arc<tempfile::TempDir>,
    _folder: tempfile::TempDir,
}

impl Shipped {
    fn new(name: &'static str, tables: &[&str]) -> Self {
        let (lake, folder) = (demo_lake(), tempfile::tempdir().unwrap());
        let home = folder.path().join("home");
        let place = |table: &&str| format!("tables.{table}.path={}", lake.path().join("lake").join(table).display());
        let mut sets: Vec<String> = tables.iter().map(place).collect();
        sets.push(format!("home={}", home.display()));
        Self { name, file: format!("jobs/{name}.toml"), sets, home, lake, _folder: folder }
    }

    fn args<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec![command, &self.file];
        self.sets.iter().for_each(|set| args.extend(["--set", set]));
        args.extend(more);
        args
    }

    fn on_day(&self, command: &str, more: &[&str]) -> Outcome {
        run_json(&self.args(command, &[&["--interval", DAY], more].concat()))
    }

    /// A command that takes the home, not the job.
    fn at_home(&self, args: &[&str]) -> Outcome {
        run_json(&[args, &["--home", &self.home.display().to_string()]].concat())
    }

    fn query(&self, sql: &str, more: &[&str]) -> Outcome {
        let table = format!("p={}", self.home.join("predictions").join(self.name).display());
        run(&[&["query", sql, "--table", &table], more].concat())
    }

    /// All columns of all predictions, in the order of `key`.
    fn predictions(&self, key: &str) -> String {
        self.query(&format!("SELECT * FROM p ORDER BY {key}"), &["--format", "csv"]).expect(0).stdout
    }

    /// The lookup table, key by key; nothing where the job publishes none.
    fn published(&self) -> String {
        let home = self.home.display().to_string();
        let dump = run(&["lookup", "dump", self.name, "--home", &home]);
        if dump.code == 0 { dump.stdout } else { String::new() }
    }
}

/// What a job is expected to show.
struct Expected {
    job: Shipped,
    /// Columns by which its predictions are in order.
    key: &'static str,
    /// A metric of its gate, and whether more of it is better.
    metric: (&'static str, bool),
    /// Parameters or features with which the same algorithm is worse.
    worse: &'static str,
    /// The lookup table's key, and which value columns it has in their order.
    lookup: Option<(&'static str, &'static [&'static str])>,
    /// What orders the rows of one lookup key; the last one is published.
    latest: &'static str,
    /// How many days of transactions its features need.
    days: RangeInclusive<u64>,
}

fn metric(values: &Value, name: &str) -> f64 {
    let found = values.as_array().unwrap().iter().find(|value| value["metric"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {values}"))["estimate"]["value"].as_f64().unwrap()
}

/// `check` and `plan`, which write nothing.
fn checks_and_plans(expected: &Expected) {
    let job = &expected.job;
    let found = run_json(&job.args("check", &[])).expect(0).json();
    assert_eq!(found, json!({ "status": "done", "diagnostics": [] }));
    let plan = job.on_day("plan", &[]).expect(0).json();
    assert_eq!((&plan["job"], &plan["interval"]), (&json!(job.name), &json!(DAY)));
    assert_eq!(plan["action"], "train first, then score");
    assert_eq!(plan["run_id"], Value::Null, "no model, no run");
    let tables = plan["tables"].as_array().unwrap();
    assert_eq!(tables.len() + 1, job.sets.len(), "every table is pinned");
    for table in tables {
        let (files, all) = (table["files"].as_u64().unwrap(), table["files_total"].as_u64().unwrap());
        assert!(table["rows"].as_u64().unwrap() > 0 && table["bytes"].as_u64().unwrap() > 0, "{table}");
        if table["name"] == "transactions" {
            assert_eq!(table["version"], "90", "91 commits, one a day");
            assert_eq!(all, 91);
            assert!(expected.days.contains(&files), "only the days of the history are read, not {files}");
        } else {
            assert!(table["version"].as_str().unwrap().starts_with("files-"), "{table}");
            assert_eq!((files, all), (1, 1));
        }
    }
    assert_eq!(plan["lookup"].is_string(), expected.lookup.is_some());
    assert!(!job.home.exists(), "a plan changes nothing");
}

/// The first `run`, and a second one that has nothing to do.
fn runs_once(expected: &Expected) -> Value {
    let job = &expected.job;
    let receipt = job.on_day("run", &[]).expect(0).json();
    assert_eq!((&receipt["status"], &receipt["model"]["version"]), (&json!("done"), &json!(1)), "{receipt}");
    let rows = receipt["rows_out"].as_u64().unwrap();
    assert!(rows > 100);
    assert_eq!((&receipt["rows_in"], &receipt["rows_rejected"]), (&json!(rows), &json!(0)));
    assert_eq!(receipt["gates"]["passed"], true);
    assert_eq!(job.predictions(expected.key).lines().count() as u64, rows + 1);

    let runs = job.at_home(&["runs", "list", job.name]).expect(0).json();
    let training = runs.as_array().unwrap().iter().find(|receipt| receipt["command"] == "train").unwrap();
    let (name, more_is_better) = expected.metric;
    let (ours, naive) = (metric(&training["metrics"], name), metric(&training["data"]["baseline"], name));
    assert!(if more_is_better { ours > naive + 0.1 } else { ours < naive }, "{name} {ours}, guessing has {naive}");

    let again = job.on_day("run", &[]).expect(0).json();
    assert_eq!(again["status"], "noop");
    for same in ["run_id", "fingerprint", "output", "rows_out", "model"] {
        assert_eq!(again[same], receipt[same], "{same}");
    }
    // What was sent is the first run's alone.
    for same in ["generation", "keys", "note"] {
        assert_eq!(again["lookup"][same], receipt["lookup"][same], "{same}");
    }
    let plan = job.on_day("plan", &[]).expect(0).json();
    assert_eq!(plan["action"], "nothing: these inputs are scored already");
    assert_eq!(plan["run_id"], receipt["run_id"]);
    receipt
}

/// The lookup table gives a key the values of its last prediction.
fn publishes(expected: &Expected, receipt: &Value) {
    let job = &expected.job;
    let Some((key, values)) = expected.lookup else {
        assert_eq!(receipt["lookup"], Value::Null);
        return;
    };
    let sql = format!("SELECT {key}, count(*) AS n FROM p GROUP BY {key} ORDER BY n DESC, {key} LIMIT 1");
    let busiest = job.query(&sql, &["--output", "json"]).expect(0).json()["rows"][0][key].to_string();
    let columns = values.join(", ");
    let sql = format!("SELECT {columns} FROM p WHERE {key} = {busiest} ORDER BY {} DESC LIMIT 1", expected.latest);
    let wanted = &job.query(&sql, &["--output", "json"]).expect(0).json()["rows"][0];
    let found = job.at_home(&["lookup", "get", job.name, &busiest]).expect(0);
    assert_eq!(&found.json(), wanted);
    let names: Vec<String> = values.iter().map(|name| format!("\"{name}\":")).collect();
    let places: Vec<usize> = names.iter().map(|name| found.stdout.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "the columns in the job's order: {}", found.stdout);
    let stats = job.at_home(&["lookup", "stats", job.name]).expect(0).json();
    assert_eq!((&stats["keys"], &stats["interval"]), (&receipt["lookup"]["keys"], &json!(DAY)));
    assert_eq!((&stats["run_id"], &stats["rows"]), (&receipt["run_id"], &receipt["rows_out"]));
    job.at_home(&["lookup", "get", job.name, "no-such-key"]).expect(1);
}

/// The card, the evaluation of the champion alone, and the predictions in every format.
fn can_be_looked_at(expected: &Expected, receipt: &Value) {
    let job = &expected.job;
    let shown = job.at_home(&["models", "show", job.name]).expect(0).json();
    assert_eq!(shown["version"]["sha256"], receipt["model"]["sha256"]);
    let written: toml::Table = std::fs::read_to_string(root().join(&job.file)).unwrap().parse().unwrap();
    let sql = std::fs::read_to_string(root().join(written["features"]["sql"].as_str().unwrap())).unwrap();
    assert_eq!(shown["artifact"]["features"]["sql"], sql.as_str());
    let card = run(&["models", "show", job.name, "--home", &job.home.display().to_string()]).expect(0).stdout;
    let head = format!("# {} 1\n", job.name);
    for part in [&head, "## Data", "## Quality", "## Features", "## SQL", "baseline", expected.metric.0] {
        assert!(card.contains(part), "the card says nothing of `{part}`:\n{card}");
    }

    let evaluation = job.on_day("evaluate", &["--models", "champion"]).expect(0).json();
    assert_eq!(evaluation["models"].as_array().unwrap().len(), 1);
    assert!(metric(&evaluation["models"][0]["metrics"], expected.metric.0).is_finite());
    let (confusion, classes) = (&evaluation["models"][0]["confusion"], &shown["artifact"]["classes"]);
    assert_eq!(confusion.is_null(), classes == &json!([]), "a regression has none");
    if !confusion.is_null() {
        assert_eq!(&confusion["classes"], classes, "classes go by their names");
        assert_eq!(confusion["counts"].as_array().unwrap().len(), classes.as_array().unwrap().len());
        let text = run(&job.args("evaluate", &["--interval", DAY, "--models", "champion"])).expect(0).stdout;
        for class in classes.as_array().unwrap() {
            let column = format!("predicted {}", class.as_str().unwrap());
            assert!(text.contains(&column) && card.contains(&column), "{column}:\n{text}\n{card}");
        }
    }
    let labelled = evaluation["rows"].as_u64().unwrap();
    assert!(labelled > 0 && labelled <= receipt["rows_out"].as_u64().unwrap());

    formats(job, receipt["rows_out"].as_u64().unwrap());
}

fn formats(job: &Shipped, rows: u64) {
    let sql = "SELECT count(*) AS n, min(prediction) AS least, avg(score) AS mean FROM p";
    let table = job.query(sql, &["--format", "table"]).expect(0).stdout;
    assert!(table.contains("| n ") && table.contains(&format!("| {rows} ")), "{table}");
    let csv = job.query(sql, &["--format", "csv"]).expect(0).stdout;
    let [head, line] = csv.lines().collect::<Vec<_>>()[..] else { panic!("{csv}") };
    assert_eq!(head, "n,least,mean");
    let object: Value = serde_json::from_str(&job.query(sql, &["--format", "json"]).expect(0).stdout).unwrap();
    assert_eq!(object["n"], rows);
    let cells: Vec<&str> = line.split(',').collect();
    assert_eq!((cells[0], cells[2].parse::<f64>().unwrap()), (&*rows.to_string(), object["mean"].as_f64().unwrap()));
    assert_eq!(job.query(sql, &["--output", "json"]).expect(0).json()["rows"], json!([object]));

    let file = job.home.with_file_name("rows.parquet").display().to_string();
    job.query("SELECT * FROM p", &["--format", "parquet", "--out", &file]).expect(0);
    let other = job.home.with_file_name("other");
    std::fs::write(&other, "").unwrap();
    let permissions = |path: &Path| std::fs::metadata(path).unwrap().permissions();
    assert_eq!(permissions(Path::new(&file)), permissions(&other), "a result is no secret");
    let table = format!("p={file}");
    let back = run(&["query", sql, "--table", &table, "--format", "json"]).expect(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&back).unwrap()["n"], rows);
    job.query(sql, &["--format", "parquet"]).expect(2);
}

/// A worse challenger is refused by the gate; promoted by hand it replaces the predictions; rolled back, they return.
fn is_replaced_and_rolled_back(expected: &Expected, receipt: &Value) {
    let job = &expected.job;
    let (before, published) = (job.predictions(expected.key), job.published());
    let other = ["--set", expected.worse];
    let refused = job.on_day("run", &[&other[..], &["--retrain"]].concat()).expect(5);
    let scored: Value = serde_json::from_str(refused.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&scored["model"]["version"], &scored["gates"]["passed"]), (&json!(1), &json!(false)));
    assert_eq!(job.predictions(expected.key), before, "the champion stays");

    let trained = job.on_day("train", &other).expect(0).json();
    assert_eq!((&trained["status"], &trained["model"]["version"]), (&json!("noop"), &json!(2)), "trained just now");
    let both = job.on_day("evaluate", &[]).expect(0).json();
    let [champion, challenger] = [0, 1].map(|model| metric(&both["models"][model]["metrics"], expected.metric.0));
    assert_ne!(champion, challenger);
    let promoted = job.at_home(&["promote", job.name, "2", "--why", "a test"]).expect(0).json();
    assert_eq!((&promoted["champion"], &promoted["was"]), (&json!(2), &json!(1)));

    let replaced = job.on_day("score", &[]).expect(0).json();
    assert_eq!((&replaced["status"], &replaced["model"]["version"]), (&json!("done"), &json!(2)));
    assert_eq!(replaced["supersedes"], receipt["run_id"]);
    assert_eq!(replaced["rows_out"], receipt["rows_out"]);
    let after = job.predictions(expected.key);
    assert_ne!(after, before);
    assert_eq!(after.lines().count(), before.lines().count(), "replaced, not added");
    assert_eq!(job.published() != published, expected.lookup.is_some());

    let back = job.at_home(&["rollback", job.name]).expect(0).json();
    assert_eq!((&back["champion"], &back["was"]), (&json!(1), &json!(2)));
    let again = job.on_day("score", &[]).expect(0).json();
    assert_eq!((&again["status"], &again["supersedes"]), (&json!("done"), &replaced["run_id"]));
    assert_eq!((&again["run_id"], &again["output"]["sha256"]), (&receipt["run_id"], &receipt["output"]["sha256"]));
    assert_eq!(job.predictions(expected.key), before);
    assert_eq!(job.published(), published);
    let history = job.at_home(&["models", "history", job.name]).expect(0).json();
    let actions: Vec<(&str, u64)> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|record| (record["action"].as_str().unwrap(), record["version"].as_u64().unwrap()))
        .collect();
    assert_eq!(actions, [("promote", 1), ("promote", 2), ("rollback", 1)]);
}

fn whole_life(expected: &Expected) {
    assert!(ON_THE_DEMO_LAKE.contains(&expected.job.name));
    checks_and_plans(expected);
    let receipt = runs_once(expected);
    publishes(expected, &receipt);
    can_be_looked_at(expected, &receipt);
    is_replaced_and_rolled_back(expected, &receipt);
    assert!(expected.job.lake.path().exists());
}

#[test]
fn card_fraud_lives_its_whole_life() {
    whole_life(&Expected {
        job: Shipped::new("card_fraud", &["transactions"]),
        key: "transaction_id",
        metric: ("roc_auc", true),
        worse: "model.params={ c = 0.00001 }",
        lookup: Some(("customer_id", &["score", "prediction"])),
        latest: "tx_datetime",
        days: 30..=39,
    });
}

#[test]
fn card_fraud_declared_lives_its_whole_life() {
    whole_life(&Expected {
        job: Shipped::new("card_fraud_declared", &["transactions"]),
        key: "transaction_id",
        metric: ("roc_auc", true),
        worse: "model.params={ c = 0.00001 }",
        lookup: Some(("customer_id", &["score", "prediction"])),
        latest: "tx_datetime",
        // The day itself, and the history of customers and of terminals, 30 days each and the one in which they begin.
        days: 61..=64,
    });
}

/// It is checked and planned as it is shipped, and run with fewer and smaller fits; the same again trains the same model.
#[test]
fn card_fraud_search_lives_its_whole_life() {
    let mut expected = Expected {
        job: Shipped::new("card_fraud_search", &["transactions"]),
        key: "transaction_id",
        metric: ("roc_auc", true),
        worse: "model.search.space={ leaves = [2], learning_rate = [0.001] }",
        lookup: Some(("customer_id", &["score", "prediction"])),
        latest: "tx_datetime",
        days: 30..=39,
    };
    checks_and_plans(&expected);
    let plan = expected.job.on_day("plan", &[]).expect(0).json();
    assert_eq!(plan["search"], "20 settings (random) on 5 folds by average_precision, for at most 10m");
    let fewer = ["model.search.settings=4", "model.search.folds=2", "model.params.trees=10"];
    expected.job.sets.extend(fewer.map(str::to_owned));
    let receipt = runs_once(&expected);
    publishes(&expected, &receipt);
    can_be_looked_at(&expected, &receipt);
    let job = &expected.job;
    let again = job.on_day("train", &["--force"]).expect(0).json();
    assert_eq!((&again["status"], &again["model"]["version"]), (&json!("done"), &json!(1)), "to the byte");
    assert_eq!(again["data"]["search"]["tried"].as_array().unwrap().len(), 4);
    let card = run(&["models", "show", job.name, "--home", &job.home.display().to_string()]).expect(0).stdout;
    assert!(card.contains("4 of 4 settings (random) were fitted on 2 folds"), "{card}");
    is_replaced_and_rolled_back(&expected, &receipt);
}

#[test]
fn spend_lives_its_whole_life() {
    whole_life(&Expected {
        job: Shipped::new("spend", &["transactions", "customers", "terminals"]),
        key: "transaction_id",
        metric: ("r2", true),
        worse: "model.params.alpha=1.0",
        lookup: None,
        latest: "tx_datetime",
        days: 30..=39,
    });
}

#[test]
fn spend_segments_lives_its_whole_life() {
    let expected = Expected {
        job: Shipped::new("spend_segments", &["transactions", "customers", "terminals"]),
        key: "transaction_id",
        metric: ("r2", true),
        worse: "model.params={ trees = 2 }",
        lookup: None,
        latest: "tx_datetime",
        days: 30..=39,
    };
    whole_life(&expected);
    let shown = expected.job.at_home(&["models", "show", "spend_segments"]).expect(0).json();
    let segments = &shown["artifact"]["segments"];
    assert!(segments["models"].as_u64().unwrap() >= 8, "{segments}");
    assert!(segments["loss"].as_f64() < segments["fallback_loss"].as_f64(), "models of their own pay: {segments}");
}

#[test]
fn segment_lives_its_whole_life() {
    let expected = Expected {
        job: Shipped::new("segment", &["transactions", "customers", "terminals"]),
        key: "customer_id, tx_date",
        metric: ("accuracy", true),
        worse: "model.params.max_depth=2",
        lookup: Some(("customer_id", &["prediction", "score"])),
        latest: "last_purchase",
        days: 30..=39,
    };
    whole_life(&expected);
    let job = &expected.job;
    // The customers whose segment is not known are not measured, but they are told one.
    let rows = job.query("SELECT count(*) AS n FROM p", &["--output", "json"]).expect(0).json()["rows"][0]["n"].clone();
    let evaluation = job.on_day("evaluate", &["--models", "champion"]).expect(0).json();
    assert!(evaluation["rows"].as_u64() < rows.as_u64());
    let segments = job.query("SELECT DISTINCT prediction FROM p ORDER BY 1", &["--format", "csv"]).expect(0).stdout;
    assert_eq!(segments.lines().skip(1).collect::<Vec<_>>(), ["family", "professional", "retired", "student"]);
}

/// What inspectors had reported by the time of a transaction tells more than the transaction alone.
#[test]
fn terminal_fraud_learns_from_what_was_known() {
    let expected = Expected {
        job: Shipped::new("terminal_fraud", &["transactions", "inspections"]),
        key: "transaction_id",
        metric: ("roc_auc", true),
        worse: "features.asof=[]",
        lookup: None,
        latest: "tx_datetime",
        days: 1..=1,
    };
    assert!(ON_THE_DEMO_LAKE.contains(&expected.job.name));
    checks_and_plans(&expected);
    let receipt = runs_once(&expected);
    publishes(&expected, &receipt);
    can_be_looked_at(&expected, &receipt);
    let job = &expected.job;
    let trained = job.on_day("train", &["--set", expected.worse]).expect(0).json();
    assert_eq!((&trained["status"], &trained["model"]["version"]), (&json!("done"), &json!(2)));
    // Each model brings its own joins.
    let both = job.on_day("evaluate", &[]).expect(0).json();
    let [with, without] = [0, 1].map(|model| metric(&both["models"][model]["metrics"], "roc_auc"));
    assert!(with > without + 0.1, "with the inspections {with}, without them {without}");
}

fn stems(folder: &str, extension: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let stem = |path: PathBuf| {
        assert_eq!(path.extension().and_then(|found| found.to_str()), Some(extension), "{}", path.display());
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    paths.map(stem).collect()
}

#[test]
fn no_job_and_no_sql_file_is_forgotten() {
    let tested: BTreeSet<String> = ON_THE_DEMO_LAKE.iter().chain(&ON_REAL_FLIGHTS).map(|&name| name.into()).collect();
    assert_eq!(stems("jobs", "toml"), tested, "a job without a test");
    let mut used = BTreeSet::new();
    for name in &tested {
        let file = format!("jobs/{name}.toml");
        run(&["check", &file]).expect(0);
        let job: toml::Table = std::fs::read_to_string(root().join(&file)).unwrap().parse().unwrap();
        assert_eq!(job["name"].as_str(), Some(name.as_str()), "a job is named like its file");
        assert!(job.contains_key("gate"), "{name}: a shipped job has a gate");
        let sql = Path::new(job["features"]["sql"].as_str().unwrap()).to_path_buf();
        assert_eq!(sql.parent(), Some(Path::new("sql")));
        used.insert(sql.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    assert_eq!(stems("sql", "sql"), used, "an SQL file without a job");
}

/// The README's first command, in a folder where there is nothing.
fn demo(folder: &Path) -> Outcome {
    let output = lakemill(&["demo", "--rows", "200000"]).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn the_demo_works_in_an_empty_folder_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = demo(folder.path()).expect(0).stdout;
    for said in ["made a demo lake of", "roc_auc", "baseline", "gate: roc_auc", "generation 1", "Go on with"] {
        assert!(first.contains(said), "`{said}` is missing:\n{first}");
    }
    let shipped = std::fs::read_to_string(root().join("jobs/card_fraud.toml")).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("jobs/card_fraud.toml")).unwrap(), shipped);

    let again = demo(folder.path()).expect(0).stdout;
    for said in ["the demo lake is complete", "noop"] {
        assert!(again.contains(said), "`{said}` is missing:\n{again}");
    }
    assert!(!again.contains("made a demo lake"), "{again}");

    // What it says to go on with works, as it stands there.
    let binary = Path::new(env!("CARGO_BIN_EXE_lakemill")).parent().unwrap().display();
    let path = format!("{binary}:{}", std::env::var("PATH").unwrap());
    let steps: Vec<&str> = again.lines().map(str::trim).filter(|line| line.starts_with("lakemill ")).collect();
    assert_eq!(steps.len(), 4, "{again}");
    for step in steps {
        let output = Command::new("sh").args(["-c", step]).current_dir(folder.path()).env("PATH", &path).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{step}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{step}");
    }
}
