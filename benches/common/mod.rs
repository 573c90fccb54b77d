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
    let text = printed(lakemill(folder, args).args(["--output", "json", "--memory", memory]));
    serde_json::from_str(text.lines().last().unwrap_or("null")).unwrap()
}

/// Writes files, and the folders that they are in.
pub fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}
