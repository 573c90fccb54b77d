//! The scorer on 64-bit ARM: its files and tests alone, compiled for it and run by an emulator.

use crate::shared::skipped;
use std::path::Path;
use std::process::{Command, Stdio};

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// What is missing here of what the test needs.
fn missing() -> Option<&'static str> {
    let [linker, emulator] = [LINKER, EMULATOR].map(|tool| runs(Command::new(tool).arg("--version")));
    if !linker || !emulator {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "{LINKER} or {EMULATOR} is not installed, and in CI no test is skipped");
        return Some("aarch64-linux-gnu-gcc or qemu-aarch64 is not installed; .ci/run installs them");
    }
    let library = rustc().args(["--print", "target-libdir", "--target", TARGET]).output().ok()?;
    let library = String::from_utf8_lossy(&library.stdout).trim().to_owned();
    // Not a reason to fail in CI: a machine without rustup's servers can't install it.
    (!Path::new(&library).exists()).then_some("rustup target add aarch64-unknown-linux-gnu has not been run")
}

#[test]
fn neon_gives_the_bytes_of_the_one_row_walker() {
    if let Some(why) = missing() {
        return skipped(why);
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("forest");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/forest/arm/root.rs");
    let compiled = rustc()
        .args(["--test", "--edition", "2024", "--target", TARGET, "-C", "opt-level=1", "-C", "debug-assertions=on"])
        // Linked into one file, so that the emulator needs no libraries of the target.
        .args(["-C", "target-feature=+crt-static", "-C", &format!("linker={LINKER}"), "-o"])
        .args([&program, &root])
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let run = Command::new(EMULATOR).arg(&program).stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(told.contains("test neon_is_what_runs_here ... ok"), "{told}");
}
