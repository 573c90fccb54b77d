//! Runs the real binary as a caller would: arguments in; exit code, standard output and error out.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What a call gave back.
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The last line of standard output as JSON.
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}\n{}", self.stderr))
    }

    /// Fails the test with everything that was printed, unless the exit code is `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// The repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The command, ready to be given more arguments; nothing of the caller's environment gets in.
pub fn lakemill(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakemill"));
    command.args(args).current_dir(root()).env_remove("LAKEMILL_HOME").env("LAKEMILL_USER", "tester");
    command
}

/// Runs the command to its end.
pub fn run(args: &[&str]) -> Outcome {
    outcome(lakemill(args).output().unwrap())
}

/// Runs the command with `--output json`.
pub fn run_json(args: &[&str]) -> Outcome {
    outcome(lakemill(args).args(["--output", "json"]).output().unwrap())
}

fn outcome(output: Output) -> Outcome {
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Every file below a folder with its bytes, by relative path.
pub fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    collect(folder, folder, &mut found);
    found.sort();
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
}
