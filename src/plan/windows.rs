//! Which rows a model is trained on and tested on, counted back from the interval's end.
//!
//! ```text
//! split by time:   |------- window -------|-- gap --|--- test ---|-- label_delay --| interval end
//! split by hash:                |------------- window -----------|-- label_delay --| interval end
//! ```
//! A label counts only `label_delay` after its event, so no row later than `interval end -
//! label_delay` is used. `gap` keeps the training rows as far from the test rows as they are from
//! the scored rows in production; scikit-learn's `TimeSeriesSplit` has the same word.

use crate::error::{Error, Result};
use crate::interval::Interval;
use chrono::TimeDelta;

/// The written lengths.
#[derive(Debug, Clone, Copy)]
pub struct Lengths {
    /// How long the training window is.
    pub window: TimeDelta,
    /// How long the test window is; zero where the split is not by time.
    pub test: TimeDelta,
    /// How far apart the two are.
    pub gap: TimeDelta,
    /// How long after its event a label is known.
    pub label_delay: TimeDelta,
}

/// The spans that a training reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Rows that the model is fitted on.
    pub train: Interval,
    /// Rows that it is evaluated on; the same span as `train` where the split is by hash.
    pub test: Interval,
}

impl Windows {
    /// The windows before the end of `interval`.
    ///
    /// # Errors
    /// A usage error where a window is empty or reaches back before all dates.
    pub fn before(interval: &Interval, lengths: &Lengths) -> Result<Self> {
        if lengths.window <= TimeDelta::zero() {
            return Err(Error::usage("the training window is empty").with("key", "model.window"));
        }
        if lengths.test <= TimeDelta::zero() {
            let train = interval.looking_back(lengths.label_delay, lengths.window)?;
            return Ok(Self { train, test: train });
        }
        let test = interval.looking_back(lengths.label_delay, lengths.test)?;
        let before_end = lengths.label_delay + lengths.test + lengths.gap;
        Ok(Self { train: interval.looking_back(before_end, lengths.window)?, test })
    }

    /// The span from the first training row to the last test row.
    ///
    /// # Errors
    /// None in practice: both windows are not empty.
    pub fn span(&self) -> Result<Interval> {
        Interval::new(self.train.start().min(self.test.start()), self.train.end().max(self.test.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(window: i64, test: i64, gap: i64, label_delay: i64) -> Lengths {
        let [window, test, gap, label_delay] = [window, test, gap, label_delay].map(TimeDelta::days);
        Lengths { window, test, gap, label_delay }
    }

    #[test]
    fn windows_lie_before_the_label_delay() {
        let day: Interval = "2018-06-26".parse().unwrap();
        let windows = Windows::before(&day, &days(7, 7, 7, 7)).unwrap();
        assert_eq!(windows.train.to_string(), "2018-05-30_2018-06-06");
        assert_eq!(windows.test.to_string(), "2018-06-13_2018-06-20");
        assert_eq!(windows.span().unwrap().to_string(), "2018-05-30_2018-06-20");
    }

    #[test]
    fn a_hash_split_uses_one_span() {
        let day: Interval = "2018-06-26".parse().unwrap();
        let windows = Windows::before(&day, &days(28, 0, 0, 7)).unwrap();
        assert_eq!(windows.train, windows.test);
        assert_eq!(windows.train.to_string(), "2018-05-23_2018-06-20");
    }
}
