//! Seasons: how much is bought on which day of the week, and when in the day.

use super::stream::Stream;
use chrono::{Datelike, NaiveDate, Weekday};

/// How many transactions are made on a day, as a multiple of a mean day; Monday first. They average to 1.
const WEEK: [f64; 7] = [0.93, 0.93, 0.97, 1.0, 1.14, 1.2, 0.83];

/// Weights of the 24 hours, by habit.
const EARLY: [u32; 24] = [1, 1, 1, 1, 1, 3, 10, 25, 50, 75, 85, 75, 55, 40, 40, 40, 35, 28, 20, 12, 7, 4, 2, 1];
const DAYTIME: [u32; 24] = [2, 1, 1, 1, 1, 2, 8, 25, 35, 40, 50, 58, 60, 50, 48, 55, 65, 65, 50, 32, 22, 14, 8, 4];
const EVENING: [u32; 24] = [6, 3, 2, 1, 1, 2, 6, 22, 24, 18, 18, 26, 48, 34, 20, 20, 28, 50, 70, 75, 65, 50, 30, 14];
const NIGHT: [u32; 24] = [45, 35, 24, 15, 8, 4, 4, 6, 9, 12, 16, 22, 30, 30, 30, 32, 36, 42, 48, 55, 60, 68, 70, 60];

/// When a customer buys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habit {
    Early,
    Daytime,
    Evening,
    Night,
}

/// A day as the generator sees it.
pub(super) struct Calendar {
    /// Days since 1970-01-01.
    pub(super) number: i64,
    /// How busy the day is, as a multiple of a mean day.
    pub(super) pace: f64,
    hours: [[u32; 24]; 4],
}

impl Calendar {
    pub(super) fn of(date: NaiveDate) -> Self {
        let weekday = date.weekday();
        let later = matches!(weekday, Weekday::Sat | Weekday::Sun);
        Self {
            number: date.signed_duration_since(NaiveDate::default()).num_days(),
            pace: WEEK[weekday.num_days_from_monday() as usize],
            hours: [EARLY, DAYTIME, EVENING, NIGHT].map(|weights| cumulative(weights, later)),
        }
    }

    /// The second of the day at which something is bought.
    pub(super) fn second(&self, habit: Habit, stream: &mut Stream) -> u32 {
        stream.weighted(&self.hours[habit as usize]) as u32 * 3600 + stream.below(3600)
    }
}

/// Running sums of the weights; on a weekend everything happens two hours later.
fn cumulative(weights: [u32; 24], later: bool) -> [u32; 24] {
    let mut sum = 0;
    std::array::from_fn(|hour| {
        sum += weights[if later { (hour + 22) % 24 } else { hour }];
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_averages_to_its_mean_day() {
        assert!((WEEK.iter().sum::<f64>() - 7.0).abs() < 1e-12);
    }

    #[test]
    fn habits_differ_and_the_weekend_is_later() {
        let mean_hour = |date: NaiveDate, habit| {
            let (day, mut stream) =
                (Calendar::of(date), Stream::open(1, super::super::stream::Purpose::Customer, 0, 0));
            (0..5_000).map(|_| f64::from(day.second(habit, &mut stream))).sum::<f64>() / 5_000.0 / 3600.0
        };
        let friday = NaiveDate::from_ymd_opt(2018, 6, 22).unwrap();
        let early = mean_hour(friday, Habit::Early);
        assert!(early + 2.0 < mean_hour(friday, Habit::Evening));
        assert!(early + 1.0 < mean_hour(friday.succ_opt().unwrap(), Habit::Early));
    }
}
