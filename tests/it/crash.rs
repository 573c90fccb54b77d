//! `kill -9` at random instants: the same command run again ends in the state of an undisturbed run.

use crate::command::{lakemill, run};
use crate::nightly::{Fraud, predictions};
use std::process::Stdio;
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
