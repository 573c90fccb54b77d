//! The fits of a search, taken in order by as many threads as may.

use super::is_of_setting;
use crate::error::{Error, Result};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// What is to be done: every fold of every setting, setting by setting.
pub struct Queue {
    settings: usize,
    folds: usize,
    /// When no further setting is begun.
    until: Option<Instant>,
    next: Mutex<Next>,
}

/// The next fit, and whether there is one.
struct Next {
    unit: usize,
    ended: bool,
}

impl Queue {
    /// All fits; no setting but the first one is begun once `limit` has passed from now on.
    pub fn new(settings: usize, folds: usize, limit: Option<Duration>) -> Self {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { settings, folds, until, next: Mutex::new(Next { unit: 0, ended: false }) }
    }

    /// The values of each setting that was tried, fold by fold.
    ///
    /// On `side_by_side` threads of the pool (at least one), each with one fit at a time. They are told to the threads
    /// by a broadcast and not as tasks: a thread that waits within a fit would take another task on, and leave its own
    /// fit lying until that one is done. So it can only help fits of others along.
    ///
    /// # Errors
    /// The first error, in the order of the fits, that is not the setting's alone.
    pub fn run(
        self,
        side_by_side: usize,
        value: impl Fn(usize, usize) -> Result<f64> + Sync,
    ) -> Result<Vec<Vec<Result<f64>>>> {
        let found: Vec<OnceLock<Result<f64>>> = (0..self.settings * self.folds).map(|_| OnceLock::new()).collect();
        rayon::broadcast(|context| {
            if context.index() >= side_by_side.max(1) {
                return;
            }
            while let Some(unit) = self.take() {
                let value = value(unit / self.folds, unit % self.folds);
                if value.as_ref().is_err_and(|error| !is_of_setting(error)) {
                    self.next().ended = true;
                }
                // Each is taken once.
                let _ = found[unit].set(value);
            }
        });
        self.sorted(found.into_iter().filter_map(OnceLock::into_inner).collect())
    }

    /// The next fit.
    fn take(&self) -> Option<usize> {
        let mut next = self.next();
        let unit = next.unit;
        let late = || self.until.is_some_and(|until| Instant::now() >= until);
        if next.ended || unit >= self.settings * self.folds || (unit > 0 && unit.is_multiple_of(self.folds) && late()) {
            next.ended = true;
            return None;
        }
        next.unit += 1;
        Some(unit)
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        // Nothing panics while it is held.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fits that were done, which are the first ones, setting by setting.
    fn sorted(&self, done: Vec<Result<f64>>) -> Result<Vec<Vec<Result<f64>>>> {
        let mut all: Vec<Vec<Result<f64>>> = Vec::new();
        for (unit, value) in done.into_iter().enumerate() {
            let value = match value {
                Err(error) if !is_of_setting(&error) => return Err(error),
                value => value,
            };
            match all.last_mut().filter(|_| unit % self.folds > 0) {
                Some(setting) => setting.push(value),
                None => all.push(vec![value]),
            }
        }
        if all.is_empty() { Err(Error::failed("the search has no setting")) } else { Ok(all) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
    }

    fn values(found: Result<Vec<Vec<Result<f64>>>>) -> Vec<Vec<f64>> {
        found.unwrap().into_iter().map(|setting| setting.into_iter().map(Result::unwrap).collect()).collect()
    }

    /// A value that takes some parallel work.
    fn worked(setting: usize, fold: usize) -> f64 {
        let sum: u64 = (0..20_000u64).into_par_iter().map(|number| number % 7).sum();
        (setting * 10 + fold) as f64 + (sum / 1_000_000) as f64
    }

    #[test]
    fn all_fits_are_done_once_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            for side_by_side in [0, 1, 3, 100] {
                let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
                let one = |setting, fold| {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let value = worked(setting, fold);
                    at_once.fetch_sub(1, Ordering::SeqCst);
                    Ok(value)
                };
                let found = values(pool(threads, || Queue::new(6, 3, None).run(side_by_side, one)));
                let wanted: Vec<Vec<f64>> =
                    (0..6).map(|setting| (0..3).map(|fold| worked(setting, fold)).collect()).collect();
                assert_eq!(found, wanted);
                let most = most.into_inner();
                assert!(most <= side_by_side.clamp(1, threads), "{most} at once, of {side_by_side} and {threads}");
            }
        }
    }

    #[test]
    fn fits_go_side_by_side_on_all_threads_that_may() {
        let (at_once, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let one = |_, _| {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            at_once.fetch_sub(1, Ordering::SeqCst);
            Ok(0.0)
        };
        pool(3, || Queue::new(4, 3, None).run(3, one)).unwrap();
        assert_eq!(most.into_inner(), 3);
    }

    #[test]
    fn what_is_left_out_for_want_of_time_are_the_last_settings() {
        for threads in [1, 3] {
            let none = pool(threads, || Queue::new(9, 2, Some(Duration::ZERO)).run(threads, |s, f| Ok(worked(s, f))));
            assert_eq!(values(none), [[worked(0, 0), worked(0, 1)]], "one is always tried, and to its end");
            let slow = |setting: usize, fold: usize| {
                std::thread::sleep(Duration::from_millis(20));
                Ok((setting * 2 + fold) as f64)
            };
            let some =
                values(pool(threads, || Queue::new(400, 2, Some(Duration::from_millis(150))).run(threads, slow)));
            assert!(!some.is_empty() && some.len() < 100, "{}", some.len());
            let numbers: Vec<f64> = some.concat();
            assert_eq!(numbers, (0..numbers.len()).map(|unit| unit as f64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_it_unless_it_is_the_settings_own() {
        for threads in [1, 4] {
            let done = AtomicUsize::new(0);
            let one = |setting: usize, fold: usize| {
                done.fetch_add(1, Ordering::SeqCst);
                match (setting, fold) {
                    (1, 1) => Err(Error::failed("did not converge")),
                    (3, 0) => Err(Error::check("one class").with("fold", fold)),
                    (3, 1) | (4, _) => Err(Error::check("later")),
                    _ => Ok(1.0),
                }
            };
            let error = pool(threads, || Queue::new(100, 2, None).run(threads, one)).unwrap_err();
            assert_eq!(error.message(), "one class");
            assert!(done.load(Ordering::SeqCst) < 20, "no others are begun");
            let found = pool(threads, || Queue::new(3, 2, None).run(threads, one)).unwrap();
            assert!(found[1][1].is_err() && found[2].iter().all(Result::is_ok));
        }
    }
}
