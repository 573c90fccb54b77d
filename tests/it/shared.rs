//! Finds the real tables and conformance cases that lie beside the repository.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The path of `what` below the `shared` folder beside the repository. Without that folder the
/// caller has nothing to test: says so, and fails where `CI` is `true`.
pub fn shared(what: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(what);
    if path.exists() {
        return Some(path);
    }
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!ci, "{} does not exist, and in CI no test is skipped", path.display());
    skipped(&format!("{} does not exist; this test needs the shared tables", path.display()));
    None
}

/// Says that a test was skipped, and why; past the capture of a passing test's output.
pub fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}
