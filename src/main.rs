//! The `lakemill` command: parse, run, print the error once, give the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakemill::cli::main()
}
