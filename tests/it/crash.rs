//! `kill -9` at random instants: the same command run again ends in the state of an undisturbed run.
//! And several processes at once: each interval is one run's, and the lookup table is the newest's.

use crate::command::{lakemill, run, run_json};
use crate::nightly::{Fraud, predictions};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const KILLS: u32 = 20;

/// No windows: the whole run takes a second or two, and most of it is writing.
const SQL: &str = "
SELECT transaction_id, tx_datetime, customer_id, tx_fraud, tx_amount, extract(hour FROM tx_datetime) AS hour
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
";

fn job() -> Option<Fraud> {
    let job = Fraud::new()?.set("model.window=7d").set("gate={}");
    let sql = job.home.path().join("plain.sql");
    std::fs::write(&sql, SQL).unwrap();
    Some(job.set(&format!("features.sql={}", sql.display())))
}

fn lookup(job: &Fraud) -> String {
    run(&["lookup", "dump", "card_fraud", "--home", &job.home_arg()]).expect(0).stdout
}

#[test]
fn a_killed_run_leaves_nothing_that_a_second_run_does_not_mend() {
    let Some(undisturbed) = job() else { return };
    let began = Instant::now();
    undisturbed.run("run", "2018-06-20", &[]).expect(0);
    let whole = began.elapsed();
    let (wanted_rows, wanted_keys) = (predictions(&undisturbed.home_path(), "2018-06-20"), lookup(&undisturbed));
    let wanted = wanted_rows.lines().count();

    let mut killed = 0;
    for kill in 0..KILLS {
        // Spread over the whole run, most of them late, where things are written.
        let share = 1.0 - (f64::from(kill) / f64::from(KILLS)).powi(2);
        let disturbed = job().unwrap();
        let mut child = lakemill(&disturbed.args("run", "2018-06-20", &["--quiet"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64(share));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        disturbed.run("run", "2018-06-20", &[]).expect(0);
        let rows = predictions(&disturbed.home_path(), "2018-06-20");
        assert_eq!(rows.lines().count(), wanted, "after a kill at {share:.2} of {whole:?}");
        assert_eq!(rows, wanted_rows, "after a kill at {share:.2} of {whole:?}");
        assert_eq!(lookup(&disturbed), wanted_keys, "after a kill at {share:.2} of {whole:?}");
    }
    assert!(killed >= KILLS / 2, "only {killed} of {KILLS} runs were still alive when they were to be killed");
}

/// What readers of both tables see.
fn state(job: &Fraud) -> (String, String) {
    (predictions(&job.home_path(), "2018-06-20"), lookup(job))
}

#[test]
fn a_killed_replacement_leaves_the_old_rows_or_the_new_ones_and_ends_as_an_undisturbed_one() {
    let Some(job) = job() else { return };
    let sql = job.home.path().join("plain.sql");
    let texts = [SQL.to_owned(), SQL.replace("WHERE ", "WHERE tx_amount > 10 AND ")];
    job.run("run", "2018-06-20", &[]).expect(0);
    let first = state(&job);
    std::fs::write(&sql, &texts[1]).unwrap();
    let began = Instant::now();
    job.run("score", "2018-06-20", &[]).expect(0);
    let whole = began.elapsed();
    let wanted = [first, state(&job)];
    assert_ne!(wanted[0], wanted[1]);

    let mut killed = 0;
    // Most of them late, where things are written; each replaces what the one before has made.
    let shares = [0.97, 0.9, 0.8, 0.7, 0.5, 0.3];
    for (kill, share) in shares.into_iter().enumerate() {
        let target = kill % 2;
        std::fs::write(&sql, &texts[target]).unwrap();
        let mut child = start(&job, "2018-06-20", &["--quiet"]);
        std::thread::sleep(whole.mul_f64(share));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        let what = format!("after a kill at {share:.2} of {whole:?}");
        let (rows, keys) = state(&job);
        assert!(wanted.iter().any(|wanted| wanted.0 == rows), "{what}");
        assert!(wanted.iter().any(|wanted| wanted.1 == keys), "{what}");
        job.run("score", "2018-06-20", &[]).expect(0);
        assert!(state(&job) == wanted[target], "{what}");
    }
    assert!(killed >= shares.len() / 2, "only {killed} runs were still alive when they were to be killed");
}

#[test]
#[cfg(unix)]
fn a_terminated_run_ends_with_143_and_has_committed_nothing_half() {
    let Some(job) = job() else { return };
    let child = lakemill(&job.args("run", "2018-06-20", &["--quiet"]))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(150));
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(output.status.code(), Some(143), "{}", String::from_utf8_lossy(&output.stderr));
    job.run("run", "2018-06-20", &[]).expect(0);
}

/// Starts a command on the job and lets it run beside others.
fn start(job: &Fraud, interval: &str, more: &[&str]) -> std::process::Child {
    lakemill(&job.args("score", interval, more)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn different_intervals_at_once_are_all_committed_and_the_newest_is_published() {
    let Some(job) = job() else { return };
    job.run("run", "2018-06-19", &[]).expect(0);
    for days in [["2018-06-20", "2018-06-21", "2018-06-22"], ["2018-06-25", "2018-06-24", "2018-06-23"]] {
        let children = days.map(|day| (day, start(&job, day, &["--quiet"])));
        for (day, child) in children {
            let output = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(0), "{day}: {told}");
            assert!(predictions(&job.home_path(), day).lines().count() > 9_000, "{day}");
        }
        let newest = days.iter().max().unwrap();
        let stats = run_json(&["lookup", "stats", "card_fraud", "--home", &job.home_arg()]).expect(0).json();
        assert_eq!(stats["interval"], **newest);
    }
}

#[test]
fn one_interval_at_once_is_committed_by_one() {
    let Some(job) = job() else { return };
    job.run("train", "2018-06-20", &[]).expect(0);
    // Two different runs of one interval on a predictions table that does not exist yet.
    let children = ["0.3", "0.5", "0.7"].map(|threshold| {
        let set = format!("evaluate.threshold={threshold}");
        start(&job, "2018-06-20", &["--quiet", "--set", &set])
    });
    let codes: Vec<Option<i32>> = children.map(|child| child.wait_with_output().unwrap().status.code()).to_vec();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 7))), "{codes:?}");
    assert!(codes.contains(&Some(0)), "{codes:?}");
    let rows = predictions(&job.home_path(), "2018-06-20");
    let runs: std::collections::BTreeSet<&str> =
        rows.lines().skip(1).map(|row| row.split(',').nth(5).unwrap()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    let stats = run_json(&["lookup", "stats", "card_fraud", "--home", &job.home_arg()]).expect(0).json();
    assert!(runs.contains(stats["run_id"].as_str().unwrap()), "table: {runs:?}, lookup: {}", stats["run_id"]);
}

/// Whether a scoring that raced with others of the same interval is the one that committed. Each of them has either
/// committed, found everything done, published what another had just committed, or ended as a conflict.
pub fn one_of_a_race(child: Child) -> bool {
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let receipt: Value = serde_json::from_slice(output.stdout.trim_ascii()).unwrap_or_default();
    match output.status.code() {
        Some(0) if receipt["status"] == "noop" => false,
        Some(0) => {
            assert_eq!(receipt["status"], "done", "{receipt}");
            !receipt["seconds"]["commit"].is_null()
        }
        Some(7) => {
            assert_eq!(receipt["error"]["code"], "conflict", "{receipt}");
            false
        }
        code => panic!("{code:?}: {told}"),
    }
}

#[test]
fn of_eight_writers_of_one_interval_one_commits() {
    let Some(job) = job() else { return };
    job.run("train", "2018-06-20", &[]).expect(0);
    let start = |_| {
        let mut command = lakemill(&job.args("score", "2018-06-20", &["--quiet", "--output", "json"]));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..8).map(start).collect();
    let committed = children.into_iter().map(one_of_a_race).filter(|committed| *committed).count();
    assert_eq!(committed, 1);
    let commits = crate::command::files(&job.home_path().join("predictions/card_fraud/_delta_log"));
    let commits: Vec<_> = commits.iter().map(|(name, _)| name).filter(|name| name.ends_with(".json")).collect();
    // Version 0 makes the table, version 1 is the interval.
    assert_eq!(commits.len(), 2, "{commits:?}");
    let lookups = crate::command::files(&job.home_path().join("lookup/card_fraud"));
    let generations: Vec<_> = lookups.iter().filter(|(name, _)| name.ends_with("generation.json")).collect();
    assert_eq!(generations.len(), 1, "those that lost have taken their generations away");
    let settled = job.run("score", "2018-06-20", &[]).expect(0).json();
    assert_eq!(settled["status"], "noop");
    let stats = run_json(&["lookup", "stats", "card_fraud", "--home", &job.home_arg()]).expect(0).json();
    assert_eq!(stats["run_id"], settled["run_id"]);
}

#[test]
fn a_forced_run_compares_and_a_slice_that_was_deleted_from_is_made_again() {
    let Some(job) = job() else { return };
    let first = job.run("run", "2018-06-20", &[]).expect(0).json();
    let forced = job.run("score", "2018-06-20", &["--force"]).expect(0).json();
    assert_eq!(forced["status"], "noop");
    assert_eq!(forced["output"], first["output"]);
    // Somebody loses the interval's file: the next run sees it and writes the interval again.
    let folder = job.home_path().join("predictions/card_fraud/interval=2018-06-20");
    for (name, _) in crate::command::files(&folder) {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    let again = job.run("score", "2018-06-20", &[]).expect(0).json();
    assert_eq!(again["status"], "done");
    assert_eq!(again["output"]["sha256"], first["output"]["sha256"]);
    assert_eq!(
        predictions(&job.home_path(), "2018-06-20").lines().count() as u64,
        first["rows_out"].as_u64().unwrap() + 1
    );
}
