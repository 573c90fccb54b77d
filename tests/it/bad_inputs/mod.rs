//! Wrong inputs: each gives its pinned message and exit code, and nothing is written.
//!
//! A case is a call of the binary in a folder with a small lake, a job and a home with one trained
//! model, one scored interval and one published generation, after something in it was made wrong.
//! `cases/bad/NAME.txt` holds what the call must say. `LAKEMILL_BLESS=1` rewrites these files; read
//! the difference before you keep it.
//!
//! To add one: a line in a `cases()` of the part that it belongs to, and one run with `LAKEMILL_BLESS=1`.

mod data;
mod flags;
mod jobs;
mod lookups;
mod models;
pub mod place;
mod queries;
mod sql;
mod tables;
mod training;

use crate::command::{Outcome, lakemill, root};
pub use place::Place;
use std::collections::BTreeSet;
use std::fs;

/// The interval that is scored in the cases; the one before it is scored and published already.
const DAY: &str = "2018-06-11";

/// Makes something wrong in a place.
type Change = Box<dyn Fn(&Place)>;

/// One wrong call.
pub struct Case {
    name: &'static str,
    exit: i32,
    args: Vec<String>,
    changes: Vec<Change>,
}

/// A call that must end with `exit`; `name` is the name of the file with its message.
pub fn case(name: &'static str, exit: i32, args: &[&str]) -> Case {
    Case { name, exit, args: args.iter().map(|arg| (*arg).to_owned()).collect(), changes: Vec::new() }
}

/// `score` of the day after the one that is scored already.
pub fn score(name: &'static str, exit: i32) -> Case {
    case(name, exit, &["score", "job.toml", "--interval", DAY])
}

/// `train` on what precedes the same day.
pub fn train(name: &'static str, exit: i32) -> Case {
    case(name, exit, &["train", "job.toml", "--interval", DAY])
}

impl Case {
    /// What is made wrong before the call.
    pub fn change(mut self, change: impl Fn(&Place) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Replaces a text in the job file.
    pub fn job(self, from: &'static str, to: &'static str) -> Self {
        self.change(move |place| place.edit("job.toml", from, to))
    }

    /// Replaces a text in the SQL.
    pub fn sql(self, from: &'static str, to: &'static str) -> Self {
        self.change(move |place| place.edit("risk.sql", from, to))
    }

    /// Changes a key of the job on the command line.
    pub fn set(mut self, set: &str) -> Self {
        self.args.extend(["--set".to_owned(), set.to_owned()]);
        self
    }

    /// What is wrong with how the call ended; empty where nothing is.
    fn mistakes(&self) -> String {
        let place = Place::new();
        for change in &self.changes {
            change(&place);
        }
        let before = place.everything();
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let outcome = call(&place, &args);
        let after = place.everything();
        let mut mistakes = String::new();
        if outcome.code != self.exit {
            mistakes.push_str(&format!("exit {} instead of {}\n", outcome.code, self.exit));
        }
        for path in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let is_receipt = path.starts_with("home/runs/") && !before.contains_key(path);
            if before.get(path) != after.get(path) && !is_receipt {
                mistakes.push_str(&format!("changed: {path}\n"));
            }
        }
        let receipts = after
            .keys()
            .filter(|path| path.starts_with("home/runs/") && path.ends_with(".json") && !before.contains_key(*path))
            .count();
        let said = format!("exit: {}\nreceipts: {receipts}\n\n{}", outcome.code, place.masked(&outcome.stderr));
        let file = root().join("tests/it/cases/bad").join(self.name).with_extension("txt");
        if blessing() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &said).unwrap();
        } else if fs::read_to_string(&file).unwrap_or_default() != said {
            mistakes.push_str(&format!("not as in {}:\n{said}", file.display()));
        }
        for never in ["panicked", "stack backtrace", "rust_begin_unwind", "hunter2", "a bug in lakemill"] {
            if outcome.stderr.contains(never) || outcome.stdout.contains(never) {
                mistakes.push_str(&format!("says {never:?}:\n{}", outcome.stderr));
            }
        }
        mistakes
    }
}

/// Calls the binary in the case's folder.
pub fn call(place: &Place, args: &[&str]) -> Outcome {
    let mut command = lakemill(args);
    for name in ["LAKEMILL_THREADS", "LAKEMILL_MEMORY", "LAKEMILL_LOG"] {
        command.env_remove(name);
    }
    // Backtraces are asked for: they must not get into a message all the same.
    let output = command.current_dir(place.path()).env("RUST_BACKTRACE", "1").output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Whether the messages are written anew instead of compared.
fn blessing() -> bool {
    std::env::var_os("LAKEMILL_BLESS").is_some()
}

#[track_caller]
fn all(cases: Vec<Case>) {
    let _for_all_of_them = place::template();
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let mistakes = case.mistakes();
            (!mistakes.is_empty()).then(|| format!("== {} ==\n{mistakes}", case.name))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn job_files() {
    all(jobs::cases());
}

#[test]
fn sql() {
    all(sql::cases());
}

#[test]
fn tables() {
    all(tables::cases());
}

#[test]
fn data() {
    all(data::cases());
}

#[test]
fn training() {
    all(training::cases());
}

#[test]
fn models() {
    all(models::cases());
}

#[test]
fn lookups() {
    all(lookups::cases());
}

#[test]
fn queries() {
    all(queries::cases());
}

#[test]
fn flags_and_intervals() {
    all(flags::cases());
}

#[test]
fn every_message_belongs_to_a_case_and_there_are_enough() {
    let parts = [jobs::cases, sql::cases, tables::cases, data::cases, training::cases, models::cases];
    let more = [lookups::cases, queries::cases, flags::cases];
    let names: Vec<&str> = parts.iter().chain(&more).flat_map(|cases| cases()).map(|case| case.name).collect();
    let once: BTreeSet<String> = names.iter().map(|name| format!("{name}.txt")).collect();
    assert_eq!(once.len(), names.len(), "a name is used twice");
    assert!(names.len() >= 100, "{}", names.len());
    if blessing() {
        return;
    }
    let stored = fs::read_dir(root().join("tests/it/cases/bad")).unwrap();
    let stored: BTreeSet<String> =
        stored.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(stored, once);
}
