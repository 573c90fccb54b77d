//! A job with windows, in both engines; what its SQL shows, and what makes it another job.

use super::{Asked, Row, oracle, table_batch};
use crate::command::run;
use crate::sites::{HOUR, Job, events};
use lakemill::query::rolling::Closed;
use serde_json::Value;

/// What was measured at the sites, but for one.
fn measured() -> Vec<Row> {
    let hours = 0..24 * 40_i64;
    hours
        .map(|hour| {
            let site = hour % 11;
            let risk = (hour / 24 + site * 5) % 7;
            (Some(site), None, Some(hour * HOUR), Some(risk), Some(risk as f64 * 0.1))
        })
        .collect()
}

const WINDOWS: &str = r#"
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
"#;

const CARRIED: &str = "id, n_1d12h, float_mean_5d, number_last_5d, number_distinct_5d, events_count_1h";

fn job() -> Job {
    let carried: Vec<&str> = CARRIED.split(", ").skip(1).chain(["newest"]).collect();
    Job::new(&table_batch(&measured()), WINDOWS, &carried)
}

/// What [`CARRIED`] is by the oracle.
fn expected() -> String {
    let (events, measured) = (events(), measured());
    let day = 35 * 86_400..36 * 86_400;
    let asked = Asked { both_keys: false, closed: Closed::Left, delay: 6 * HOUR, over: [0, 0] };
    let own = Asked { closed: Closed::Both, delay: 0, ..asked.clone() };
    let of_events: Vec<Row> = events.iter().map(|event| (event.0, None, event.2, None, None)).collect();
    let shown = |value: Option<i64>| value.map(|value| value.to_string()).unwrap_or_default();
    let mut lines = vec![CARRIED.replace(' ', "")];
    for (id, event) in events.iter().enumerate().filter(|(_, event)| day.contains(&event.2.unwrap())) {
        let short = oracle(event, &measured, &asked, 36 * HOUR);
        let long = oracle(event, &measured, &asked, 120 * HOUR);
        let mean = long.floats[1].map(|mean| format!("{mean:.9}")).unwrap_or_default();
        let beside = oracle(event, &of_events, &own, HOUR);
        let (last, distinct) = (shown(long.wholes[3]), long.distinct);
        lines.push(format!("{id},{},{mean},{last},{distinct},{}", short.rows, beside.rows));
    }
    lines.join("\n") + "\n"
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
    let job = job();
    let receipt = job.run("run", &[]).expect(0).json();
    assert_eq!((&receipt["rows_in"], &receipt["rows_out"]), (&Value::from(24 * 12), &Value::from(24 * 12)));
    assert_eq!(job.run("run", &[]).expect(0).json()["status"], "noop");
    let expected = expected();
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
    let job = job();
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
    job().scores_alike("240MiB", &format!("{CARRIED}, newest, prediction, score"));
}

#[test]
fn other_windows_are_other_inputs() {
    let job = job();
    let first = job.run("run", &[]).expect(0).json();
    job.edit("delay = \"6h\"", "delay = \"7h\"");
    let again = job.run("score", &[]).expect(0);
    assert!(again.stderr.contains("windows are not those"), "{}", again.stderr);
    let again = again.json();
    assert_eq!((&again["status"], &again["supersedes"]), (&Value::from("done"), &first["run_id"]));
    assert_eq!(job.run("train", &[]).expect(0).json()["model"]["version"], 2, "another training");
    // Each model brings its own windows.
    let both = job.run("evaluate", &["--models", "1,2"]).expect(0).json();
    assert_eq!(both["rows"], 24 * 12);
}
