//! The whole job with its lookup table in Redis: the same pairs as in the file store, every command of a lookup table,
//! and no password in anything that is said or written.

use super::server::{Server, cli};
use crate::command::{Outcome, files, lakemill};
use crate::nightly::Fraud;
use serde_json::Value;

/// No windows: the run shall not take long.
const SQL: &str = "
SELECT transaction_id, tx_datetime, customer_id, tx_fraud, tx_amount, extract(hour FROM tx_datetime) AS hour
FROM transactions
WHERE tx_datetime >= $interval_start AND tx_datetime < $interval_end
";

const PASSWORD: &str = "hunter2-3f9c1a77e0";

fn job() -> Option<Fraud> {
    let job = Fraud::new()?.set("model.window=7d").set("gate={}").set("lookup.keep_generations=2");
    let sql = job.home.path().join("plain.sql");
    std::fs::write(&sql, SQL).unwrap();
    Some(job.set(&format!("features.sql={}", sql.display())))
}

/// Runs a command with the password in its environment, saying as much as it can.
fn run(arguments: &[&str]) -> Outcome {
    let mut command = lakemill(arguments);
    command.args(["--output", "json", "--log", "trace"]).env("RUST_LOG", "trace");
    command.env("REDIS_PASSWORD", PASSWORD).env("WRONG_PASSWORD", format!("{PASSWORD}-wrong"));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let outcome =
        Outcome { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) };
    for (what, said) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        assert!(!said.contains(PASSWORD), "{arguments:?} shows the password in its {what}");
    }
    outcome
}

fn lines(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn a_job_publishes_the_same_pairs_as_to_files_and_never_shows_its_password() {
    let Some(server) = Server::start(&["--requirepass", PASSWORD]) else { return };
    let Some(in_files) = job() else { return };
    let port = server.port;
    let store = format!("redis://:${{REDIS_PASSWORD}}@127.0.0.1:{port}/0?timeout_secs=2");
    let in_redis = job().unwrap().set(&format!("lookup.store={store}"));
    run(&in_files.args("run", "2018-06-20", &[])).expect(0);
    let receipt = run(&in_redis.args("run", "2018-06-20", &[])).expect(0).json();
    assert_eq!(receipt["lookup"]["generation"], 1, "{receipt}");

    let home = in_files.home_arg();
    let wanted = run(&["lookup", "dump", "card_fraud", "--home", &home]).expect(0);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}/0");
    // Given on the command line or in the environment, it is shown by nothing.
    let at = |arguments: &[&str]| {
        let mut all = vec!["lookup"];
        all.extend(arguments);
        all.extend(["--store", &url]);
        run(&all)
    };
    assert_eq!(lines(&at(&["dump", "card_fraud"]).expect(0)), lines(&wanted));
    assert!(lines(&wanted).len() > 3000);
    let first: Value = serde_json::from_str(&lines(&wanted)[0]).unwrap();
    let key = first["key"].as_str().unwrap();
    assert_eq!(at(&["get", "card_fraud", key]).expect(0).json(), first["value"]);
    at(&["get", "card_fraud", "no such key"]).expect(1);
    at(&["get", "no_such_table", "1"]).expect(2);
    at(&["mget", "card_fraud", key, "none"]).expect(0);
    at(&["verify", "card_fraud"]).expect(0);

    // The same again is a no-op; the next day is sent as far as it differs.
    assert_eq!(run(&in_redis.args("run", "2018-06-20", &[])).expect(0).json()["status"], "noop");
    let next = run(&in_redis.args("run", "2018-06-21", &["--set", "lookup.mode=changed"])).expect(0).json();
    assert_eq!(next["lookup"]["generation"], 2, "{next}");
    run(&in_files.args("run", "2018-06-21", &[])).expect(0);
    let wanted = run(&["lookup", "dump", "card_fraud", "--home", &home]).expect(0);
    assert_eq!(lines(&at(&["dump", "card_fraud"]).expect(0)), lines(&wanted));
    at(&["diff", "card_fraud", "1", "2"]).expect(0);
    at(&["status", "card_fraud"]).expect(0);
    at(&["rollback", "card_fraud", "--why", "a test"]).expect(0);
    assert_eq!(at(&["stats", "card_fraud"]).expect(0).json()["generation"], 1);
    at(&["gc", "card_fraud", "--keep", "1"]).expect(0);

    for command in ["check", "plan", "doctor"] {
        let args = in_redis.args(command, "2018-06-22", &[]);
        let args: Vec<&str> = match command {
            "plan" => args,
            _ => args.iter().copied().filter(|arg| !["--interval", "2018-06-22"].contains(arg)).collect(),
        };
        let outcome = run(&args).expect(0);
        if command == "doctor" {
            let facts = &outcome.json()["lookup"]["facts"];
            assert_eq!((facts["write"].as_str(), facts["scripts"].as_str()), (Some("yes"), Some("yes")), "{facts}");
            assert_eq!(facts["server"].as_str(), Some(format!("redis://127.0.0.1:{port}/0").as_str()));
        }
    }
    failures(&in_redis, &server);
    for (name, bytes) in files(&in_redis.home_path()) {
        let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!found, "{name} holds the password");
    }
}

/// What goes wrong is told with the right exit code.
fn failures(job: &Fraud, server: &Server) {
    let port = server.port;
    let cli = |arguments: &[&str]| {
        let all = [&["-a", PASSWORD, "--no-auth-warning"], arguments].concat();
        cli(port, &all)
    };
    let keys = cli(&["DBSIZE"]);
    let run_with = |store: &str| {
        let set = format!("lookup.store={store}");
        run(&job.args("run", "2018-06-23", &["--set", &set]))
    };
    let refused = run_with(&format!("redis://:${{WRONG_PASSWORD}}@127.0.0.1:{port}/0")).expect(1);
    assert!(refused.stderr.contains("refuses the user or password"), "{}", refused.stderr);
    let nobody = super::server::free_port();
    run_with(&format!("redis://:${{REDIS_PASSWORD}}@127.0.0.1:{nobody}/0?timeout_secs=1")).expect(75);
    run_with(&format!("redis://:${{REDIS_PASSWORD}}@127.0.0.1:{port}/x")).expect(2);
    run_with(&format!("redis://:${{REDIS_PASSWORD}}@127.0.0.1:{port}/0?colour=red")).expect(2);
    // In a job file no password stands in plain text.
    run_with(&format!("redis://:{PASSWORD}@127.0.0.1:{port}/0")).expect(2);
    cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let full = run(&job.args("run", "2018-06-23", &[])).expect(8);
    assert!(full.stderr.contains("no memory left"), "{}", full.stderr);
    cli(&["CONFIG", "SET", "maxmemory", "0"]);
    let doctor: Vec<String> = job.args("doctor", "x", &[]).iter().map(|&arg| arg.to_owned()).collect();
    let mut doctor: Vec<&str> = doctor.iter().map(String::as_str).collect();
    doctor.retain(|arg| !["--interval", "x"].contains(arg));
    let wrong = format!("lookup.store=redis://:${{WRONG_PASSWORD}}@127.0.0.1:{port}/0");
    let told = run(&[&doctor[..], &["--set", &wrong]].concat()).expect(1);
    assert!(told.json()["lookup"]["error"]["message"].as_str().unwrap().contains("refuses"), "{}", told.stdout);
    assert_eq!(cli(&["DBSIZE"]), keys, "what failed left something behind");
}
