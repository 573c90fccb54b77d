//! A length of time, as written in a job file.

use chrono::TimeDelta;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A hundred years; sums of a few lengths stay far inside the range of dates.
const MAX_SECS: u64 = 36_525 * DAY;
const DAY: u64 = 86_400;

/// Units whose length is fixed, as they may be written.
const UNITS: &[&str] = &[
    "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute", "minutes", "h", "hr", "hrs", "hour",
    "hours", "d", "day", "days", "w", "week", "weeks",
];

/// A length of time in whole seconds: "90s", "36h", "7d", "2w", "1d12h". Never negative. Months and
/// years are refused, since they have no fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    secs: u64,
}

impl Duration {
    /// The length as chrono has it.
    pub fn delta(self) -> TimeDelta {
        // At most a hundred years, so neither the cast nor the construction can fail.
        TimeDelta::try_seconds(self.secs as i64).unwrap_or_default()
    }

    /// The length in seconds.
    pub fn secs(self) -> u64 {
        self.secs
    }

    /// Whether there is no length at all.
    pub fn is_zero(self) -> bool {
        self.secs == 0
    }
}

impl FromStr for Duration {
    type Err = String;

    /// What is wrong is a fragment that completes "`7 parsecs` is not a length of time: ...".
    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err("it must begin with a number".to_owned());
        }
        for unit in text.split(|next: char| !next.is_alphabetic()).filter(|unit| !unit.is_empty()) {
            if matches!(unit, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years") {
                return Err("months and years have no fixed length".to_owned());
            }
            if !UNITS.contains(&unit) {
                return Err(format!("`{unit}` is not a unit of time"));
            }
        }
        if text.chars().all(|next| next.is_ascii_digit()) && text.parse() != Ok(0) {
            return Err("the unit is missing".to_owned());
        }
        let length = humantime::parse_duration(text).map_err(|reason| reason.to_string())?;
        if length.subsec_nanos() != 0 {
            return Err("it is not a whole number of seconds".to_owned());
        }
        if length.as_secs() > MAX_SECS {
            return Err("it is longer than a hundred years".to_owned());
        }
        Ok(Self { secs: length.as_secs() })
    }
}

/// The one way in which a length is written: "0s", "7d", "1d12h", "1m30s".
impl fmt::Display for Duration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return out.write_str("0s");
        }
        let parts = [
            (self.secs / DAY, "d"),
            (self.secs % DAY / 3600, "h"),
            (self.secs % 3600 / 60, "m"),
            (self.secs % 60, "s"),
        ];
        parts.iter().filter(|(count, _)| *count > 0).try_for_each(|(count, unit)| write!(out, "{count}{unit}"))
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: a number and a unit (s, m, h, d, w), e.g. \"7d\".",
            "type": "string",
            "format": "lakemill-duration",
            "pattern": "^[0-9][0-9a-z .]*$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_canonical_form() {
        for (written, canonical) in [
            ("7d", "7d"),
            ("168h", "7d"),
            ("2w", "14d"),
            ("90s", "1m30s"),
            ("36h", "1d12h"),
            ("1 day 2 hours", "1d2h"),
            ("0s", "0s"),
            ("0", "0s"),
            ("1.5h", "1h30m"),
            ("400d", "400d"),
        ] {
            let length: Duration = written.parse().unwrap();
            assert_eq!(length.to_string(), canonical);
            assert_eq!(canonical.parse::<Duration>().unwrap(), length);
        }
        assert_eq!("7d".parse::<Duration>().unwrap().delta(), TimeDelta::days(7));
    }

    #[test]
    fn lengths_that_are_none_are_refused_with_the_reason() {
        for (written, reason) in [
            ("", "begin with a number"),
            ("-7d", "begin with a number"),
            ("7", "unit is missing"),
            ("3 months", "no fixed length"),
            ("3M", "no fixed length"),
            ("1y", "no fixed length"),
            ("7 parsecs", "`parsecs` is not a unit"),
            ("1.0001s", "whole number of seconds"),
            ("500ms", "`ms` is not a unit"),
            ("40000d", "hundred years"),
            ("99999999999999999999999d", "too large"),
        ] {
            let found = written.parse::<Duration>().unwrap_err();
            assert!(found.contains(reason), "{written}: {found}");
        }
    }
}
