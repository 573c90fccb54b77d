//! What several benches need; each uses some of it.

#![allow(dead_code)]

use std::path::Path;
use std::process::Command;

/// CPU seconds (user and system, all threads) of this process so far, in the hundredths that Linux counts.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The 14th and 15th fields of the line are the 12th and 13th after the name in parentheses.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What a command prints to standard output; panics with its errors if it fails.
pub fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The command, to be run in a folder.
pub fn lakemill(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lakemill"));
    command.args(args).current_dir(folder);
    command
}

/// The receipt of a run of the command within a limit of memory.
pub fn receipt(folder: &Path, memory: &str, args: &[&str]) -> serde_json::Value {
    receipt_of(&time(lakemill(folder, args).args(["--output", "json", "--memory", memory])))
}

/// Writes files, and the folders that they are in.
pub fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// What a process took, and what it printed to standard output.
pub struct Run {
    pub wall: f64,
    pub cpu: f64,
    pub text: String,
}

impl Run {
    /// The line with which each run is told.
    pub fn told(&self) -> String {
        format!("{:8.2} s wall {:8.2} s CPU", self.wall, self.cpu)
    }

    /// How many times as long another process took.
    pub fn compared(&self, other: &Self) -> String {
        format!("{:.1}x wall, {:.1}x CPU", other.wall / self.wall, other.cpu / self.cpu)
    }
}

/// Runs a command to its end; wall and CPU seconds (with those of its children) as the shell's own `time` tells them.
pub fn time(command: &mut Command) -> Run {
    let mut shell = Command::new("bash");
    let script = "TIMEFORMAT='%R %U %S'; time \"$@\"";
    shell.args(["-c", script, "bash"]).arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    let output = shell.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{command:?}\n{told}");
    let numbers: Vec<f64> = told.lines().last().unwrap().split(' ').map(|number| number.parse().unwrap()).collect();
    Run { wall: numbers[0], cpu: numbers[1] + numbers[2], text: String::from_utf8(output.stdout).unwrap() }
}

/// The least of each, and what was printed last.
pub fn best(runs: impl Iterator<Item = Run>) -> Run {
    runs.reduce(|best, run| Run { wall: best.wall.min(run.wall), cpu: best.cpu.min(run.cpu), text: run.text }).unwrap()
}

/// The receipt that a run with `--output json` has printed.
pub fn receipt_of(run: &Run) -> serde_json::Value {
    serde_json::from_str(run.text.lines().last().unwrap_or("null")).unwrap()
}
