//! How large a demo lake is.

use crate::error::{Error, Result};
use chrono::{Days, NaiveDate};

/// Transactions that a customer makes on a mean day, over all segments; measured, and used for sizing only.
const ROWS_A_CUSTOMER_A_DAY: f64 = 1.92;

/// The most customers and terminals: ids are 32-bit integers.
const MOST: u32 = 50_000_000;

/// What a demo lake is made of. Two equal specs give equal tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// How many customers there are; their ids count from 0.
    pub customers: u32,
    /// How many terminals there are; their ids count from 0.
    pub terminals: u32,
    /// The first day.
    pub start: NaiveDate,
    /// How many days there are.
    pub days: u32,
    /// The seed of everything random.
    pub seed: u64,
}

impl Default for Spec {
    /// A quarter of a year with about 350,000 transactions: enough to train on, small enough to make at once.
    fn default() -> Self {
        // The day is a valid one; the epoch only stands in for an `unwrap`.
        let start = NaiveDate::from_ymd_opt(2018, 4, 1).unwrap_or_default();
        Self { customers: 2_000, terminals: 4_000, start, days: 91, seed: 7 }
    }
}

impl Spec {
    /// A spec that gives about `rows` transactions: over 91 days from 2018-04-01, or fewer where that would
    /// leave fewer than 25 customers, and twice as many terminals as customers.
    pub fn from_rows(rows: u64) -> Self {
        let days = (rows as f64 / (25.0 * ROWS_A_CUSTOMER_A_DAY)).clamp(1.0, 91.0) as u32;
        let customers = (rows as f64 / (f64::from(days) * ROWS_A_CUSTOMER_A_DAY)).round();
        let customers = customers.clamp(1.0, f64::from(MOST / 2)) as u32;
        Self { customers, terminals: customers * 2, days, ..Self::default() }
    }

    /// Checks that the spec can be made.
    ///
    /// # Errors
    /// A usage error where there are no customers, terminals or days, too many of them, or days after all dates.
    pub fn check(&self) -> Result<()> {
        for (name, count) in [("customers", self.customers), ("terminals", self.terminals)] {
            if count == 0 || count > MOST {
                return Err(Error::usage(format!("the number of {name} must be between 1 and {MOST}, not {count}")));
            }
        }
        if self.days == 0 {
            return Err(Error::usage("the number of days must be at least 1"));
        }
        self.end().map(|_| ())
    }

    /// The day after the last.
    ///
    /// # Errors
    /// A usage error where it is after all dates.
    pub fn end(&self) -> Result<NaiveDate> {
        self.start
            .checked_add_days(Days::new(self.days.into()))
            .filter(|end| end.signed_duration_since(NaiveDate::default()).num_days() < 1_000_000)
            .ok_or_else(|| Error::usage("the days reach beyond all dates").with("start", self.start))
    }

    /// The days in order.
    pub fn dates(&self) -> impl Iterator<Item = NaiveDate> + use<> {
        self.start.iter_days().take(self.days as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_made_is_refused() {
        for spec in [
            Spec { customers: 0, ..Spec::default() },
            Spec { terminals: MOST + 1, ..Spec::default() },
            Spec { days: 0, ..Spec::default() },
            Spec { days: u32::MAX, ..Spec::default() },
            Spec { start: NaiveDate::MAX, ..Spec::default() },
        ] {
            assert!(spec.check().is_err(), "{spec:?} was accepted");
        }
        assert!(Spec::default().check().is_ok());
    }

    #[test]
    fn every_number_of_rows_has_a_spec() {
        for rows in [0, 1, 50, 10_000, 10_000_000, u64::MAX] {
            assert!(Spec::from_rows(rows).check().is_ok(), "{rows} rows");
        }
        assert_eq!(Spec::from_rows(10_000_000).days, 91);
    }
}
