//! Doing things no faster than at a given rate.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Holds its caller up so that, over the whole time, no more than so many things a second pass.
#[derive(Debug)]
pub struct Pace {
    per_sec: Option<u64>,
    began: Instant,
    passed: u64,
}

impl Pace {
    /// A pace of so many a second; none holds up nobody.
    pub fn of(per_sec: Option<u64>) -> Self {
        Self { per_sec: per_sec.filter(|rate| *rate > 0), began: Instant::now(), passed: 0 }
    }

    /// Lets `count` things pass, and waits until the next may come.
    pub fn pass(&mut self, count: u64) {
        let due = self.due(count);
        sleep(due.saturating_sub(self.began.elapsed()));
    }

    /// When the next may come, after the beginning, once `count` more have passed.
    pub fn due(&mut self, count: u64) -> Duration {
        self.passed = self.passed.saturating_add(count);
        self.per_sec.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(self.passed as f64 / rate as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_sets_when_the_next_may_come() {
        let mut pace = Pace::of(Some(1000));
        assert_eq!(pace.due(500), Duration::from_millis(500));
        assert_eq!(pace.due(1500), Duration::from_secs(2));
        assert_eq!(Pace::of(None).due(u64::MAX), Duration::ZERO);
        assert_eq!(Pace::of(Some(0)).due(7), Duration::ZERO);
        let mut quick = Pace::of(Some(1000));
        let began = Instant::now();
        quick.pass(20);
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}
