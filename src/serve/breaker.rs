//! Whether the store is asked at all: a circuit breaker for stores over a network.
//!
//! A store that hangs costs every request the longest wait, and every wait a thread. After a few reads in a row
//! without an answer (an error that may pass, or none in time) the store is asked no more: requests get their fallback
//! or a problem at once, also those that wait for their turn to read. Meanwhile somebody asks for a pointer now and
//! then, and with the first answer the store is asked again. An answer that says no is an answer.

use super::followed::Followed;
use super::telemetry::StoreTelemetry;
use crate::error::{Error, ErrorKind, Result};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// So many reads in a row without an answer.
const FAILURES: u32 = 5;

/// The store is first asked again after this, then after twice as long, and so on.
const FIRST_PROBE: Duration = Duration::from_millis(250);
const LAST_PROBE: Duration = Duration::from_secs(2);

/// Open while the store does not answer.
pub struct Breaker {
    is_open: watch::Sender<bool>,
    failures: AtomicU32,
    telemetry: StoreTelemetry,
}

impl Breaker {
    /// A breaker of a store that is thought to answer.
    pub fn new(telemetry: StoreTelemetry) -> Self {
        Self { is_open: watch::Sender::new(false), failures: AtomicU32::new(0), telemetry }
    }

    /// Whether the store is not to be asked.
    pub fn is_open(&self) -> bool {
        *self.is_open.borrow()
    }

    /// Whether a request may ask the store; one that may not is counted.
    pub fn admits(&self) -> bool {
        let admits = !self.is_open();
        if !admits {
            self.telemetry.refused.inc();
        }
        admits
    }

    /// Ends when the store is not to be asked any more.
    pub async fn opened(&self) {
        // The sender lives as long as `self`, so that this ends well.
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
    }

    /// The error of a read that was not made because of it.
    pub fn refusal() -> Error {
        Error::new(ErrorKind::Transient, "the store does not answer; it is asked again soon")
    }

    /// Notes how a read has ended.
    pub fn note<T>(&self, read: &Result<T>) {
        match read {
            Err(error) if error.kind() == ErrorKind::Transient => self.failed(),
            _ => self.answered(),
        }
    }

    /// The store has answered.
    pub fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// The store has not answered, or not in time.
    pub fn failed(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures >= FAILURES && self.is_open.send_if_modified(|is_open| !std::mem::replace(is_open, true)) {
            self.telemetry.opened();
            tracing::warn!(failures, "the store does not answer: requests do not wait for it until it does");
        }
    }

    fn close(&self) {
        self.answered();
        if self.is_open.send_if_modified(std::mem::take) {
            self.telemetry.closed();
            tracing::info!("the store answers again");
        }
    }

    /// Closes it each time that the store answers again, which it finds out by asking for the pointers of `followed`
    /// in turn, each for at most `longest`; until `stop` is ready.
    pub async fn probe(&self, followed: &[Arc<Followed>], longest: Duration, stop: impl Future<Output = ()>) {
        let probing = async {
            let mut turn = followed.iter().cycle();
            loop {
                self.opened().await;
                let mut pause = FIRST_PROBE;
                while self.is_open() {
                    sleep(pause).await;
                    let Some(followed) = turn.next().cloned() else { return };
                    // A probe that hangs is left to itself: the next one has a connection of its own.
                    let asked = tokio::task::spawn_blocking(move || followed.answers());
                    if let Ok(Ok(true)) = timeout(longest, asked).await {
                        self.close();
                    }
                    pause = (pause * 2).min(LAST_PROBE);
                }
            }
        };
        tokio::select! {
            () = probing => {}
            () = stop => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::telemetry::Telemetry;
    use super::*;

    fn breaker() -> (Telemetry, Breaker) {
        let telemetry = Telemetry::new();
        let breaker = Breaker::new(telemetry.store.clone());
        (telemetry, breaker)
    }

    fn transient() -> Result<()> {
        Err(Error::new(ErrorKind::Transient, "away"))
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_no_others() {
        let (telemetry, breaker) = breaker();
        for _ in 0..3 {
            (1..FAILURES).for_each(|_| breaker.note(&transient()));
            // A key that is missing and a server that says no are answers.
            breaker.note::<()>(&Err(Error::failed("the Redis user lacks a right")));
        }
        (1..FAILURES).for_each(|_| breaker.note(&transient()));
        breaker.note(&Ok(()));
        assert!(!breaker.is_open() && breaker.admits());
        (1..FAILURES).for_each(|_| breaker.failed());
        assert!(!breaker.is_open());
        breaker.failed();
        assert!(breaker.is_open() && !breaker.admits() && !breaker.admits());
        // What was still under way neither opens it again nor closes it.
        breaker.failed();
        breaker.answered();
        assert!(breaker.is_open());
        let text = telemetry.text().unwrap();
        for line in ["store_circuit_open 1\n", "store_circuit_openings_total 1\n", "store_reads_refused_total 2\n"] {
            assert!(text.contains(&format!("\nlakemill_serve_{line}")), "{line}: {text}");
        }
        breaker.close();
        breaker.close();
        assert!(breaker.admits());
        breaker.failed();
        assert!(!breaker.is_open(), "it begins anew");
        assert!(telemetry.text().unwrap().contains("\nlakemill_serve_store_circuit_open 0\n"));
    }

    #[test]
    fn who_waits_is_told_when_it_opens() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_telemetry, breaker) = breaker();
            assert!(timeout(Duration::from_millis(20), breaker.opened()).await.is_err());
            let fail = async { (0..FAILURES).for_each(|_| breaker.failed()) };
            let (told, ()) = tokio::join!(timeout(Duration::from_secs(20), breaker.opened()), fail);
            assert!(told.is_ok());
        });
    }
}
