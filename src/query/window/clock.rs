//! Distances whose length depends on the calendar: months, and days of zones whose clocks are put forward and back.

use super::keys::Keyed;
use arrow::array::timezone::Tz;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, IntervalMonthDayNano, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};

/// How a key of times counts.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// Days.
    Date32,
    /// Milliseconds, of days.
    Date64,
    /// Ticks of an instant, which has a day and a month in a zone.
    Timestamp(TimeUnit, Tz),
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Date32, Self::Date32) | (Self::Date64, Self::Date64) => true,
            (Self::Timestamp(unit, zone), Self::Timestamp(other, of_other)) => {
                unit == other && zone.to_string() == of_other.to_string()
            }
            _ => false,
        }
    }
}

impl Clock {
    /// The clock of a type of times; `None` for other types, and for zones that nobody knows.
    pub(super) fn of(kind: &DataType) -> Option<Self> {
        Some(match kind {
            DataType::Date32 => Self::Date32,
            DataType::Date64 => Self::Date64,
            DataType::Timestamp(unit, zone) => {
                Self::Timestamp(*unit, zone.as_deref().unwrap_or("+00:00").parse().ok()?)
            }
            _ => return None,
        })
    }

    /// The key of the time `by` before (`back`) or after that of `key`, as DataFusion adds intervals: first the months,
    /// where a day that the month lacks is its last one, then the days, then the rest. `None` beyond what the type holds.
    pub(super) fn moved(self, key: i64, by: IntervalMonthDayNano, back: bool) -> Option<i64> {
        macro_rules! moved {
            ($kind:ty, $add:ident, $subtract:ident $(, $zone:expr)?) => {{
                let time = <$kind>::value(key);
                let moved = if back { <$kind>::$subtract(time, by $(, $zone)?) } else { <$kind>::$add(time, by $(, $zone)?) };
                moved.map(<$kind>::key)
            }};
        }
        match self {
            Self::Date32 => moved!(Date32Type, add_month_day_nano_opt, subtract_month_day_nano_opt),
            Self::Date64 => moved!(Date64Type, add_month_day_nano_opt, subtract_month_day_nano_opt),
            Self::Timestamp(TimeUnit::Second, zone) => {
                moved!(TimestampSecondType, add_month_day_nano, subtract_month_day_nano, zone)
            }
            Self::Timestamp(TimeUnit::Millisecond, zone) => {
                moved!(TimestampMillisecondType, add_month_day_nano, subtract_month_day_nano, zone)
            }
            Self::Timestamp(TimeUnit::Microsecond, zone) => {
                moved!(TimestampMicrosecondType, add_month_day_nano, subtract_month_day_nano, zone)
            }
            Self::Timestamp(TimeUnit::Nanosecond, zone) => {
                moved!(TimestampNanosecondType, add_month_day_nano, subtract_month_day_nano, zone)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, NaiveDate};

    fn days(text: &str) -> i64 {
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        (text.parse::<NaiveDate>().unwrap() - epoch).num_days()
    }

    fn seconds(text: &str) -> i64 {
        text.parse::<DateTime<chrono::Utc>>().unwrap().timestamp()
    }

    #[test]
    fn months_end_with_their_last_day() {
        let clock = Clock::of(&DataType::Date32).unwrap();
        let month = IntervalMonthDayNano::new(1, 0, 0);
        for (from, back, to) in [
            ("2024-03-31", true, "2024-02-29"),
            ("2023-03-30", true, "2023-02-28"),
            ("2024-01-31", false, "2024-02-29"),
            ("2024-02-29", false, "2024-03-29"),
            ("1969-12-31", true, "1969-11-30"),
        ] {
            assert_eq!(clock.moved(days(from), month, back), Some(days(to)), "{from}");
        }
        assert_eq!(clock.moved(i64::from(i32::MAX), month, false), None);
        assert_eq!(clock.moved(i64::from(i32::MIN), month, true), None);
    }

    #[test]
    fn a_day_has_the_hours_that_it_has_in_its_zone() {
        let of = |zone: &str| Clock::of(&DataType::Timestamp(TimeUnit::Second, Some(zone.into()))).unwrap();
        let day = IntervalMonthDayNano::new(0, 1, 0);
        // The clocks of Berlin were put forward in the night before this noon.
        let noon = seconds("2024-03-31T10:00:00Z");
        assert_eq!(of("Europe/Berlin").moved(noon, day, true), Some(seconds("2024-03-30T11:00:00Z")));
        assert_eq!(of("UTC").moved(noon, day, true), Some(seconds("2024-03-30T10:00:00Z")));
        let hours = IntervalMonthDayNano::new(0, 0, 24 * 3_600_000_000_000);
        assert_eq!(of("Europe/Berlin").moved(noon, hours, true), Some(seconds("2024-03-30T10:00:00Z")));
        assert!(of("Europe/Berlin") == of("Europe/Berlin") && of("Europe/Berlin") != of("UTC"));
        assert!(Clock::of(&DataType::Timestamp(TimeUnit::Second, Some("Nowhere".into()))).is_none());
        assert!(Clock::of(&DataType::Int64).is_none());
    }
}
