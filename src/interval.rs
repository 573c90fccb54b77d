//! A half-open span of time in UTC: the unit in which predictions are made and replaced.

use crate::error::{Error, Result};
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, Utc};
use std::fmt;
use std::str::FromStr;

/// `[start, end)` in UTC. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Interval {
    /// The span from `start` up to, but not including, `end`.
    ///
    /// # Errors
    /// A usage error where `end` is not after `start`.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self> {
        if start < end {
            return Ok(Self { start, end });
        }
        Err(Error::usage("the interval is empty: its end is not after its start")
            .with("start", instant(start))
            .with("end", instant(end))
            .hint("an interval is half-open, START/END; one day is written as that day alone, e.g. 2018-06-20"))
    }

    /// The first instant inside.
    pub fn start(&self) -> DateTime<Utc> {
        self.start
    }

    /// The first instant after.
    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }

    /// The interval of which `name` is the name, as it is displayed; `None` for any other text.
    pub fn from_name(name: &str) -> Option<Self> {
        let interval: Self = match name.split_once('_') {
            None => name.parse().ok()?,
            Some((start, end)) => Self::new(named_bound(start)?, named_bound(end)?).ok()?,
        };
        (interval.to_string() == name).then_some(interval)
    }

    /// Whether the two have an instant in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether `at` lies inside.
    pub fn contains(&self, at: DateTime<Utc>) -> bool {
        self.start <= at && at < self.end
    }

    /// The span of `length` that ends `before_end` before this interval's end.
    ///
    /// # Errors
    /// A usage error where the result is empty or before the range of dates.
    pub fn looking_back(&self, before_end: TimeDelta, length: TimeDelta) -> Result<Self> {
        let end = self.end.checked_sub_signed(before_end);
        let start = end.and_then(|end| end.checked_sub_signed(length));
        match (start, end) {
            (Some(start), Some(end)) => Self::new(start, end),
            _ => Err(Error::usage("the interval reaches back before the first date there is")),
        }
    }

    /// Whether this is exactly one calendar day.
    fn is_day(&self) -> bool {
        self.start.time() == NaiveTime::MIN
            && self.start.date_naive().checked_add_days(Days::new(1)) == Some(self.end.date_naive())
            && self.end.time() == NaiveTime::MIN
    }
}

/// An instant as it is written everywhere: RFC 3339 in UTC, without superfluous digits.
pub fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A bound as short as it can be said: the date where it is midnight.
fn bound(at: DateTime<Utc>) -> String {
    if at.time() == NaiveTime::MIN { at.date_naive().to_string() } else { instant(at) }
}

/// A bound without the colons of its time of day.
fn named_bound(name: &str) -> Option<DateTime<Utc>> {
    let Some((date, time)) = name.split_once('T') else { return parse_instant(name).ok() };
    let (hours, minutes, rest) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    parse_instant(&format!("{date}T{hours}:{minutes}:{rest}")).ok()
}

/// The name used on the command line, in folders and as the partition value: `2018-06-20` for a
/// day, `2018-06-13_2018-06-20` otherwise.
impl fmt::Display for Interval {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_day() {
            return out.write_str(&bound(self.start));
        }
        // A colon may not stand in a file name everywhere, and `/` parts folders.
        let name = format!("{}_{}", bound(self.start), bound(self.end));
        out.write_str(&name.replace(':', ""))
    }
}

/// Reads `2018-06-20` (that day), `2018-06-13/2018-06-20`, or bounds with a time of day
/// (`2018-06-20T06:00:00Z/2018-06-20T12:00:00Z`).
impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        if let Some((start, end)) = text.split_once('/') {
            return Self::new(parse_instant(start)?, parse_instant(end)?).map_err(|error| error.with("interval", text));
        }
        let day = NaiveDate::from_str(text).map_err(|source| not_an_instant(text).because(source))?;
        let end = day.checked_add_days(Days::new(1)).ok_or_else(|| not_an_instant(text))?;
        Self::new(day.and_time(NaiveTime::MIN).and_utc(), end.and_time(NaiveTime::MIN).and_utc())
    }
}

/// Reads a date (its midnight) or an RFC 3339 instant; a time without an offset is UTC.
///
/// # Errors
/// A usage error that shows the accepted forms.
pub fn parse_instant(text: &str) -> Result<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(day) = NaiveDate::from_str(text) {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    if let Ok(at) = NaiveDateTime::from_str(text) {
        return Ok(at.and_utc());
    }
    DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .map_err(|source| not_an_instant(text).because(source))
}

fn not_an_instant(text: &str) -> Error {
    let message = if text.is_empty() || text.eq_ignore_ascii_case("none") || text.eq_ignore_ascii_case("null") {
        format!("the interval is missing: got `{text}`")
    } else {
        format!("not a date or an instant: `{text}`")
    };
    Error::usage(message)
        .hint("write a day (2018-06-20), or START/END in UTC (2018-06-13/2018-06-20, 2018-06-20T06:00:00Z/2018-06-20T12:00:00Z)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_itself_and_a_span_has_two_bounds() -> Result<()> {
        let day: Interval = "2018-06-20".parse()?;
        assert_eq!(day.to_string(), "2018-06-20");
        assert_eq!(instant(day.end()), "2018-06-21T00:00:00Z");
        let week: Interval = "2018-06-13/2018-06-20".parse()?;
        assert_eq!(week.to_string(), "2018-06-13_2018-06-20");
        let hours: Interval = "2018-06-20T06:00:00Z/2018-06-20T12:00:00+00:00".parse()?;
        assert_eq!(hours.to_string(), "2018-06-20T060000Z_2018-06-20T120000Z");
        Ok(())
    }

    #[test]
    fn a_name_is_read_back_and_nothing_else_is_a_name() -> Result<()> {
        let texts = ["2018-06-20", "2018-06-13/2018-06-20", "2018-06-20T06:00:00Z/2018-06-20T12:30:00.5Z"];
        for text in texts {
            let interval: Interval = text.parse()?;
            assert_eq!(Interval::from_name(&interval.to_string()), Some(interval), "{text}");
        }
        for other in
            ["", "2018", "2018-06-20_2018-06-21", "2018-06-20/2018-06-22", "2018-06-22_2018-06-20", "x_y", "é_T"]
        {
            assert_eq!(Interval::from_name(other), None, "{other}");
        }
        Ok(())
    }

    #[test]
    fn intervals_that_only_touch_do_not_overlap() -> Result<()> {
        let day: Interval = "2018-06-20".parse()?;
        let overlapping = ["2018-06-20", "2018-06-19/2018-06-21", "2018-06-20T23:00:00Z/2018-06-21T01:00:00Z"];
        for other in overlapping {
            assert!(day.overlaps(&other.parse()?) && other.parse::<Interval>()?.overlaps(&day), "{other}");
        }
        for other in ["2018-06-19", "2018-06-21", "2018-06-01/2018-06-20"] {
            assert!(!day.overlaps(&other.parse()?) && !other.parse::<Interval>()?.overlaps(&day), "{other}");
        }
        Ok(())
    }

    #[test]
    fn empty_backward_and_missing_intervals_are_refused() {
        for text in ["", "None", "2018-06-20/2018-06-20", "2018-06-21/2018-06-20", "2018-13-01", "today"] {
            assert!(text.parse::<Interval>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn looking_back_counts_from_the_end() -> Result<()> {
        let day: Interval = "2018-06-26".parse()?;
        let test = day.looking_back(TimeDelta::days(7), TimeDelta::days(7))?;
        assert_eq!(test.to_string(), "2018-06-13_2018-06-20");
        Ok(())
    }
}
