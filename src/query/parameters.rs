//! Values for the `$name` placeholders of feature SQL, and how they are written as typed literals.

use crate::error::{Error, Result};
use crate::interval::{Interval, instant};
use chrono::{DateTime, Utc};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use std::collections::BTreeMap;

/// The value of a placeholder.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An instant in UTC; microseconds in SQL.
    Instant(DateTime<Utc>),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Truth.
    Bool(bool),
    /// Text.
    Text(String),
}

/// Names and values, without the leading `$`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parameters {
    values: BTreeMap<String, Value>,
}

impl Parameters {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// `$interval_start` and `$interval_end`.
    pub fn of_interval(interval: &Interval) -> Self {
        Self::new()
            .with("interval_start", Value::Instant(interval.start()))
            .with("interval_end", Value::Instant(interval.end()))
    }

    /// Adds or replaces one.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: Value) -> Self {
        self.values.insert(name.into(), value);
        self
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The names in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

impl Value {
    /// The value as a literal of its own type, so that no column has to be cast to compare with it.
    ///
    /// # Errors
    /// A usage error for a float that is not finite.
    pub(super) fn literal(&self) -> Result<Expr> {
        let text = match self {
            Self::Instant(at) => {
                // Folded to a literal before files are chosen, so files and row groups are skipped by it.
                format!("arrow_cast('{}', 'Timestamp(Microsecond, Some(\"UTC\"))')", instant(*at))
            }
            Self::Int(i64::MIN) => format!("CAST('{}' AS BIGINT)", i64::MIN),
            Self::Int(number) if *number < 0 => format!("({number})"),
            Self::Int(number) => number.to_string(),
            Self::Float(number) if !number.is_finite() => {
                return Err(Error::usage(format!("a parameter must be finite, not {number}")));
            }
            // `{:?}` prints the shortest text that reads back as the same float, always with a point or exponent.
            Self::Float(number) if number.is_sign_negative() => format!("({number:?})"),
            Self::Float(number) => format!("{number:?}"),
            Self::Bool(truth) => truth.to_string(),
            Self::Text(text) => format!("'{}'", text.replace('\'', "''")),
        };
        Parser::new(&GenericDialect {})
            .try_with_sql(&text)
            .and_then(|mut parser| parser.parse_expr())
            .map_err(|source| Error::failed("a parameter cannot be written as SQL").because(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: Value) -> String {
        value.literal().unwrap().to_string()
    }

    #[test]
    fn literals_keep_type_and_value() {
        assert_eq!(written(Value::Int(-3)), "(-3)");
        assert_eq!(written(Value::Float(0.1)), "0.1");
        assert_eq!(written(Value::Float(1e300)), "1e300");
        assert_eq!(written(Value::Text("O'Hare; DROP TABLE t".into())), "'O''Hare; DROP TABLE t'");
        assert_eq!(written(Value::Bool(true)), "true");
        assert!(Value::Float(f64::NAN).literal().is_err());
    }

    #[test]
    fn instants_are_typed() {
        let day: Interval = "2018-06-20".parse().unwrap();
        let start = Value::Instant(day.start());
        assert_eq!(
            start.literal().unwrap().to_string(),
            "arrow_cast('2018-06-20T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"
        );
    }
}
