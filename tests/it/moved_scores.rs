//! `mode = "changed"` in whole jobs: a day is scored, then another one on which a hundredth of the scores moved. What is
//! sent, what receipt and metadata say of that, and that the contents are those of `replace`.

use crate::command::{Outcome, lakemill};
use crate::redis::server::Server;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

const JOB: &str = r#"version = 1
name = "accounts"
home = "home"

[tables]
accounts = { path = "accounts.csv" }

[features]
sql = "accounts.sql"
key = ["account"]
time = "at"
label = "late"
label_delay = "1d"

[model]
task = "binary"
algorithm = "logistic_regression"
seed = 7
window = "4d"
split = { by = "time", test = "2d" }

[score]
output = "predictions/accounts"

[lookup]
store = "file"
key = "account"
value = ["score", "prediction"]
"#;

const SQL: &str = "
SELECT account, CAST(at AS TIMESTAMP) AS at, balance, late FROM accounts
WHERE CAST(at AS TIMESTAMP) >= $interval_start AND CAST(at AS TIMESTAMP) < $interval_end
";

const FIRST: &str = "2018-06-10";
const SECOND: &str = "2018-06-11";

/// Accounts of the first day.
const ACCOUNTS: u64 = 10_000;
/// Of which so many have another balance on the second ...
const MOVED: u64 = 100;
/// ... and so many are closed; as many are new.
const CLOSED: u64 = 3;

/// Days to train on, and the two days.
fn table() -> String {
    let mut csv = String::from("account,at,balance,late\n");
    let mut row = |account: u64, day: u64, balance: u64| {
        let late = u64::from(account * 7919 % 1000 < balance);
        writeln!(csv, "{account},2018-06-{day:02}T12:00:00,{balance}.5,{late}").unwrap();
    };
    let balance = |account: u64| account * 104_729 % 997;
    for day in 3..10 {
        (0..300).map(|index| 1_000_000 + day * 1000 + index).for_each(|account| row(account, day, balance(account)));
    }
    for account in 0..ACCOUNTS {
        row(account, 10, balance(account));
        if account >= CLOSED {
            let moved = if account % (ACCOUNTS / MOVED) == 50 { 100 } else { 0 };
            row(account, 11, balance(account) + moved);
        }
    }
    (0..CLOSED).for_each(|index| row(ACCOUNTS + index, 11, balance(index)));
    csv
}

/// The job, with the first day scored and published in `home`.
struct Accounts {
    folder: tempfile::TempDir,
}

impl Accounts {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("job.toml", JOB), ("accounts.sql", SQL), ("accounts.csv", &table())] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let accounts = Self { folder };
        let first = accounts.call(&["run", "job.toml", "--interval", FIRST]).json();
        assert_eq!(first["lookup"]["written"], ACCOUNTS, "{first}");
        accounts
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn call(&self, args: &[&str]) -> Outcome {
        let output = lakemill(args).current_dir(self.path()).args(["--output", "json"]).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
            .expect(0)
    }

    /// A copy of the home, in which other runs do not meddle.
    fn copy(&self, name: &str) {
        let copied = Command::new("cp").args(["-r", "home", name]).current_dir(self.path()).status().unwrap();
        assert!(copied.success());
    }

    /// Scores a day in a home, with further settings; gives what the receipt says of the lookup table.
    fn score(&self, home: &str, day: &str, sets: &[String]) -> Value {
        let home = format!("home={home}");
        let mut args = vec!["score", "job.toml", "--interval", day, "--set", &home];
        sets.iter().for_each(|set| args.extend(["--set", set]));
        self.call(&args).json()["lookup"].clone()
    }

    /// What is found at a place: every key with its value, in order, and what the generation says about itself.
    fn found(&self, place: &[&str]) -> (Vec<String>, Value) {
        let mut lines: Vec<String> =
            self.call(&[&["lookup", "dump", "accounts"], place].concat()).stdout.lines().map(str::to_owned).collect();
        lines.sort();
        self.call(&[&["lookup", "verify", "accounts"], place].concat());
        let status = self.call(&[&["lookup", "status", "accounts"], place].concat()).json();
        let current = &status["current"];
        let generations = status["generations"].as_array().unwrap();
        (lines, generations.iter().find(|one| one["generation"] == *current).unwrap().clone())
    }

    /// The second day in `mode = "replace"`, in files.
    fn whole(&self) -> (Vec<String>, Value) {
        self.copy("whole");
        let whole = self.score("whole", SECOND, &[]);
        assert_eq!((&whole["written"], &whole["unchanged"]), (&json!(ACCOUNTS), &json!(0)), "{whole}");
        let found = self.found(&["--home", "whole"]);
        assert_eq!(found.0.len() as u64, ACCOUNTS);
        found
    }
}

/// Receipt and metadata tell that what moved was sent, and no more.
#[track_caller]
fn is_a_hundredth(told: &Value) {
    let number = |name: &str| told[name].as_u64().unwrap();
    assert_eq!(number("keys"), ACCOUNTS, "{told}");
    assert_eq!(number("written"), MOVED + CLOSED, "those that moved, and the new ones: {told}");
    assert_eq!((number("unchanged"), number("removed")), (ACCOUNTS - MOVED - CLOSED, CLOSED), "{told}");
    assert_eq!(told["mode"], "changed");
}

#[track_caller]
fn is_the_same((lines, metadata): &(Vec<String>, Value), whole: &(Vec<String>, Value)) {
    assert!(*lines == whole.0, "other contents than those of replace");
    for member in ["checksum", "keys", "bytes", "interval", "model_version"] {
        assert_eq!(metadata[member], whole.1[member], "{member}");
    }
}

#[test]
fn what_moved_is_written_to_files_and_the_contents_are_those_of_replace() {
    let accounts = Accounts::new();
    let before = accounts.found(&["--home", "home"]);
    let whole = accounts.whole();
    let differing = before.0.iter().filter(|line| whole.0.binary_search(line).is_err()).count() as u64;
    assert_eq!(differing, MOVED + CLOSED, "a score that moves shows in the value");
    let changed = accounts.score("home", SECOND, &["lookup.mode=changed".to_owned()]);
    is_a_hundredth(&changed);
    let found = accounts.found(&["--home", "home"]);
    is_a_hundredth(&found.1);
    is_the_same(&found, &whole);
}

#[test]
fn what_moved_is_sent_to_a_server_and_the_contents_are_those_of_replace() {
    let Some(server) = Server::start(&[]) else { return };
    let accounts = Accounts::new();
    let whole = accounts.whole();
    let url = server.url();
    let received = || server.info("total_net_input_bytes").parse::<u64>().unwrap();
    for layout in ["buckets", "strings"] {
        let sets = |more: &[&str]| {
            let all = ["lookup.store=", "lookup.layout=", "lookup.prefix="].iter().zip([url.as_str(), layout, layout]);
            let all = all.map(|(name, value)| format!("{name}{value}"));
            all.chain(more.iter().map(|&set| set.to_owned())).collect::<Vec<String>>()
        };
        accounts.copy(layout);
        let began = received();
        let first = accounts.score(layout, FIRST, &sets(&[]));
        assert_eq!((&first["generation"], &first["written"]), (&json!(1), &json!(ACCOUNTS)), "{first}");
        let sent_whole = received() - began;
        let began = received();
        let changed = accounts.score(layout, SECOND, &sets(&["lookup.mode=changed"]));
        let sent_changed = received() - began;
        is_a_hundredth(&changed);
        let found = accounts.found(&["--store", &url, "--prefix", layout]);
        is_a_hundredth(&found.1);
        is_the_same(&found, &whole);
        // Equal buckets are copied within the server by one command each; strings are, too, but one by one.
        println!("{layout}: {sent_whole} bytes sent of all keys, {sent_changed} of those that moved");
        assert!(layout == "strings" || sent_changed * 3 < sent_whole, "{layout}: {sent_changed} of {sent_whole} bytes");
    }
}
