//! What a run tells while it goes on, and what its steps took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Somebody who watches a run: a terminal, a log, or nobody.
pub trait Progress: Send + Sync {
    /// A step has begun; it replaces the one before.
    fn step(&self, name: &'static str);
    /// So many rows have passed in this step.
    fn rows(&self, rows: u64);
}

/// Nobody watches.
pub struct Unwatched;

impl Progress for Unwatched {
    fn step(&self, _name: &'static str) {}
    fn rows(&self, _rows: u64) {}
}

/// The steps of one run: tells the watcher and keeps the seconds for the receipt.
pub struct Steps {
    watcher: Arc<dyn Progress>,
    began: Instant,
    current: Option<(&'static str, Instant)>,
    seconds: BTreeMap<String, f64>,
    rows: AtomicU64,
}

impl Steps {
    /// No step yet.
    pub fn new(watcher: Arc<dyn Progress>) -> Self {
        Self { watcher, began: Instant::now(), current: None, seconds: BTreeMap::new(), rows: AtomicU64::new(0) }
    }

    /// Ends the step before and begins `name`.
    pub fn begin(&mut self, name: &'static str) {
        self.end();
        self.watcher.step(name);
        self.rows.store(0, Ordering::Relaxed);
        self.current = Some((name, Instant::now()));
    }

    /// So many more rows have passed.
    pub fn passed(&self, rows: usize) {
        let before = self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.watcher.rows(before + rows as u64);
    }

    /// The seconds of each step so far, and `total`.
    pub fn seconds(&mut self) -> BTreeMap<String, f64> {
        self.end();
        let mut seconds = self.seconds.clone();
        seconds.insert("total".to_owned(), rounded(self.began.elapsed().as_secs_f64()));
        seconds
    }

    fn end(&mut self) {
        if let Some((name, began)) = self.current.take() {
            *self.seconds.entry(name.to_owned()).or_default() += rounded(began.elapsed().as_secs_f64());
        }
    }
}

/// Milliseconds are enough for a reader.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
