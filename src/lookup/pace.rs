//! Doing things no faster than at a given rate.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// What was not used of the rate is lost after so long: who was held up by something else does not catch up at once.
const CREDIT: Duration = Duration::from_millis(100);

/// Steps a second, where many small things pass: each wait is short, and there are few.
const STEPS: u64 = 20;

/// Holds its caller up so that no more than so many things a second pass.
#[derive(Debug)]
pub struct Pace {
    per_sec: Option<u64>,
    /// When the first thing came.
    began: Option<Instant>,
    /// When the next may come, after that.
    next: Duration,
    /// Things that have passed since the last wait.
    open: u64,
}

impl Pace {
    /// A pace of so many a second; none holds up nobody.
    pub fn of(per_sec: Option<u64>) -> Self {
        Self { per_sec: per_sec.filter(|rate| *rate > 0), began: None, next: Duration::ZERO, open: 0 }
    }

    /// Lets `count` things pass, and waits until the next may come.
    pub fn pass(&mut self, count: u64) {
        let now = self.began.get_or_insert_with(Instant::now).elapsed();
        sleep(self.due(count, now).saturating_sub(now));
    }

    /// Lets one thing pass, and waits once there were enough for a step.
    pub fn pass_one(&mut self) {
        self.open += 1;
        if self.open >= self.step() {
            self.settle();
        }
    }

    /// Waits for what has passed since the last step.
    pub fn settle(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.pass(open);
    }

    /// How many things should pass at once at most.
    pub fn step(&self) -> u64 {
        self.per_sec.map_or(u64::MAX, |rate| (rate / STEPS).max(1))
    }

    /// When the next may come, after the beginning, once `count` more have passed at `now`.
    fn due(&mut self, count: u64, now: Duration) -> Duration {
        if let Some(rate) = self.per_sec {
            let takes = Duration::try_from_secs_f64(count as f64 / rate as f64).unwrap_or(Duration::MAX);
            self.next = self.next.max(now.saturating_sub(CREDIT)).saturating_add(takes);
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_sets_when_the_next_may_come() {
        let mut pace = Pace::of(Some(1000));
        assert_eq!(pace.due(500, Duration::ZERO), Duration::from_millis(500));
        assert_eq!(pace.due(1500, Duration::from_millis(500)), Duration::from_secs(2));
        assert_eq!(Pace::of(None).due(u64::MAX, Duration::ZERO), Duration::ZERO);
        assert_eq!(Pace::of(Some(0)).due(7, Duration::ZERO), Duration::ZERO);
        assert_eq!(Pace::of(Some(1)).due(u64::MAX, Duration::ZERO), Duration::MAX);
        let mut quick = Pace::of(Some(1000));
        let began = Instant::now();
        quick.pass(20);
        assert!(began.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn what_was_not_used_is_lost() {
        let mut pace = Pace::of(Some(1000));
        pace.due(100, Duration::ZERO);
        // A minute later: only what was left over just now is still there.
        assert_eq!(pace.due(1000, Duration::from_secs(60)), Duration::from_secs(61) - CREDIT);
    }

    #[test]
    fn small_things_wait_in_steps() {
        assert_eq!((Pace::of(Some(1000)).step(), Pace::of(Some(3)).step(), Pace::of(None).step()), (50, 1, u64::MAX));
        let mut pace = Pace::of(Some(1000));
        let began = Instant::now();
        (0..110).for_each(|_| pace.pass_one());
        assert_eq!(pace.open, 10);
        assert!(pace.next >= Duration::from_millis(100), "{:?}", pace.next);
        pace.settle();
        assert!(began.elapsed() >= Duration::from_millis(110));
    }
}
