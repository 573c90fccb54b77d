//! What a run is called: derived from what it is made from, never from when it ran.

use std::fmt;

/// The first 64 bits of the fingerprint in hex. The same inputs have the same id.
pub fn run_id(fingerprint: &str) -> String {
    fingerprint.chars().take(16).collect()
}

/// A run id as the version of a Delta application transaction, which is a non-negative `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunMark(i64);

impl RunMark {
    /// The upper 63 bits of the run id.
    pub fn of(run_id: &str) -> Self {
        let bits = u64::from_str_radix(run_id, 16).unwrap_or(0);
        Self(i64::try_from(bits >> 1).unwrap_or(0))
    }
}

impl From<i64> for RunMark {
    fn from(version: i64) -> Self {
        Self(version)
    }
}

impl From<RunMark> for i64 {
    fn from(mark: RunMark) -> Self {
        mark.0
    }
}

/// As much of the run id as the mark keeps: all digits but for the last bit.
impl fmt::Display for RunMark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", (self.0 as u64) << 1)
    }
}

/// An id for one try, from the clock and the process: it tells tries apart and decides nothing.
pub fn attempt_id() -> String {
    let now = chrono::Utc::now();
    let process = std::process::id();
    let hash = blake3::hash(format!("{} {process}", now.timestamp_nanos_opt().unwrap_or_default()).as_bytes());
    hash.to_hex().chars().take(8).collect()
}
