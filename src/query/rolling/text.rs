//! The SQL of declared windows.

use super::resolved::{Output, Resolved, Tick, cast_name, quoted};
use super::{Closed, Rolling, RollingFunction};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::TimeDelta;

impl Rolling {
    /// The SQL over the rows of `query` in this order, or without one over those that are there already.
    pub(super) fn text(&self, query: Option<&str>, order: &str) -> String {
        let mark = &self.spine.mark;
        let mut names: Vec<String> = self.spine.columns.iter().map(|field| quoted(field.name())).collect();
        let row = quoted(&format!("{mark}row"));
        let mut ctes = Vec::new();
        let mut rows = self.rows.clone();
        if let Some(query) = query {
            rows = self.free(query, "features");
            ctes.push(format!("{} AS (\n{query}\n)", quoted(&rows)));
        }
        let mut source = self.free(query.unwrap_or_default(), "numbered");
        ctes.push(format!(
            "{} AS (\n  SELECT {}, row_number() OVER ({order}) AS {row}\n  FROM {}\n)",
            quoted(&source),
            names.join(", "),
            quoted(&rows)
        ));
        for (number, windows) in self.windows.iter().enumerate() {
            let given = self.free(query.unwrap_or_default(), &format!("windows_{}", number + 1));
            ctes.extend(windows.ctes(mark, &names, &source, &given));
            names.extend(windows.outputs.iter().map(|output| quoted(&output.name)));
            source = given;
        }
        format!(
            "WITH {}\nSELECT {}\nFROM {}\nWHERE {row} IS NOT NULL\nORDER BY {row}\n",
            ctes.join(",\n"),
            names.join(", "),
            quoted(&source)
        )
    }

    /// A name that begins no name in the query, and no table's.
    fn free(&self, query: &str, wish: &str) -> String {
        let is_taken =
            |name: &str| query.contains(name) || self.windows.iter().any(|windows| windows.table.starts_with(name));
        let mut name = wish.to_owned();
        while is_taken(&name) {
            name.push('_');
        }
        name
    }
}

/// The names of helping columns.
struct Names<'a> {
    mark: &'a str,
    row: String,
    at: String,
    here: String,
}

impl<'a> Names<'a> {
    fn new(mark: &'a str) -> Self {
        let [row, at, here] = ["row", "at", "here"].map(|word| quoted(&format!("{mark}{word}")));
        Self { mark, row, at, here }
    }

    fn numbered(&self, word: &str, number: usize) -> String {
        quoted(&format!("{}{word}_{}", self.mark, number + 1))
    }

    fn key(&self, number: usize) -> String {
        self.numbered("key", number)
    }

    fn value(&self, number: usize) -> String {
        self.numbered("value", number)
    }

    fn last(&self, number: usize) -> String {
        self.numbered("last", number)
    }
}

impl Resolved {
    /// The definitions that end in `given`: the rows of `source` with the windows' columns, and others without a
    /// number.
    fn ctes(&self, mark: &str, columns: &[String], source: &str, given: &str) -> Vec<String> {
        let names = Names::new(mark);
        let mut from = format!("{given}_rows");
        let mut ctes = vec![self.union(&names, columns, source, &from)];
        let lasts = self.lasts();
        if !lasts.is_empty() {
            let most: Vec<String> = lasts
                .iter()
                .map(|number| format!("max({}) OVER \"instant\" AS {}", names.value(*number), names.last(*number)))
                .collect();
            let with_last = format!("{given}_last");
            ctes.push(format!(
                "-- Of the values of one instant the largest, so that their order does not matter.\n\
                 {} AS (\n  SELECT *, {}\n  FROM {}\n  WINDOW \"instant\" AS ({} CURRENT ROW AND CURRENT ROW)\n)",
                quoted(&with_last),
                most.join(", "),
                quoted(&from),
                self.order(&names)
            ));
            from = with_last;
        }
        ctes.push(self.aggregated(&names, columns, &from, given));
        ctes
    }

    /// The rows of `source`, and after them those of the table, as `given`.
    fn union(&self, names: &Names<'_>, columns: &[String], source: &str, given: &str) -> String {
        let (row, at) = (&names.row, &names.at);
        let mut of_rows = vec![row.clone()];
        of_rows.extend(columns.iter().cloned());
        let mut of_table: Vec<String> = of_rows.iter().map(|name| format!("NULL AS {name}")).collect();
        for (number, (own, other)) in self.keys.iter().enumerate() {
            of_rows.push(format!("{own} AS {}", names.key(number)));
            of_table.push(format!("{other} AS {}", names.key(number)));
        }
        of_rows.push(format!("{} AS {at}", self.times.0));
        of_table.push(format!("{} AS {at}", self.times.1));
        if self.outputs.iter().any(|output| output.value.is_none()) {
            of_rows.push(format!("CAST(NULL AS BIGINT) AS {}", names.here));
            of_table.push(format!("1 AS {}", names.here));
        }
        for (number, (expression, kind)) in self.values.iter().enumerate() {
            of_rows.push(format!("arrow_cast(NULL, '{}') AS {}", cast_name(kind), names.value(number)));
            of_table.push(format!("{expression} AS {}", names.value(number)));
        }
        format!(
            "{} AS (\n  SELECT {}\n  FROM {}\n  WHERE {row} IS NOT NULL\n  UNION ALL\n  SELECT {}\n  FROM {}\n  WHERE {}\n)",
            quoted(given),
            of_rows.join(", "),
            quoted(source),
            of_table.join(", "),
            quoted(&self.table),
            self.filter().join("\n    AND ")
        )
    }

    /// The values of which the last is asked for.
    fn lasts(&self) -> Vec<usize> {
        let is_last = |output: &&Output| output.function == RollingFunction::Last;
        let mut values: Vec<usize> = self.outputs.iter().filter(is_last).filter_map(|output| output.value).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The start of every window: all have one partition and one order, so that one pass computes them.
    fn order(&self, names: &Names<'_>) -> String {
        let keys: Vec<String> = (0..self.keys.len()).map(|number| names.key(number)).collect();
        format!("PARTITION BY {} ORDER BY {} RANGE BETWEEN", keys.join(", "), names.at)
    }

    /// The rows of `source` with the windows' columns, as `given`.
    fn aggregated(&self, names: &Names<'_>, columns: &[String], source: &str, given: &str) -> String {
        let mut selected = vec![names.row.clone()];
        selected.extend(columns.iter().cloned());
        let mut selected = vec![selected.join(", ")];
        let mut lengths: Vec<&(String, TimeDelta)> = Vec::new();
        for output in &self.outputs {
            if !lengths.iter().any(|known| known.0 == output.over.0) {
                lengths.push(&output.over);
            }
            let argument = output.value.map_or_else(|| names.here.clone(), |value| names.value(value));
            let call = match output.function {
                RollingFunction::Count => format!("count({argument})"),
                RollingFunction::Sum => format!("sum({argument})"),
                RollingFunction::Mean => format!("avg({argument})"),
                RollingFunction::Min => format!("min({argument})"),
                RollingFunction::Max => format!("max({argument})"),
                RollingFunction::Distinct => format!("count(DISTINCT {argument})"),
                RollingFunction::Stddev => format!("stddev({argument})"),
                RollingFunction::Last => {
                    let last = output.value.map_or_else(|| names.here.clone(), |value| names.last(value));
                    format!("last_value({last}) IGNORE NULLS")
                }
            };
            selected.push(format!("{call} OVER {} AS {}", quoted(&output.over.0), quoted(&output.name)));
        }
        let order = self.order(names);
        let windows: Vec<String> =
            lengths.iter().map(|(name, over)| format!("{} AS ({order} {})", quoted(name), self.frame(*over))).collect();
        format!(
            "{} AS (\n  SELECT {}\n  FROM {}\n  WINDOW\n    {}\n)",
            quoted(given),
            selected.join(",\n    "),
            quoted(source),
            windows.join(",\n    ")
        )
    }

    /// Both ends of the frame of a window.
    fn frame(&self, over: TimeDelta) -> String {
        let (with_start, with_end) = match self.closed {
            Closed::Left => (true, false),
            Closed::Right => (false, true),
            Closed::Both => (true, true),
            Closed::Neither => (false, false),
        };
        let tick = match self.tick {
            Tick::Microsecond => TimeDelta::microseconds(1),
            Tick::Nanosecond => TimeDelta::nanoseconds(1),
        };
        let start = self.delay + over - if with_start { TimeDelta::zero() } else { tick };
        let end = self.delay + if with_end { TimeDelta::zero() } else { tick };
        let end = if end.is_zero() { "CURRENT ROW".to_owned() } else { format!("{} PRECEDING", interval(end)) };
        format!("{} PRECEDING AND {end}", interval(start))
    }

    /// The conditions on the rows of the table: what can be in a window of a row within the interval.
    fn filter(&self) -> Vec<String> {
        let time = quoted(self.time.name());
        let kind = self.time.data_type();
        let (first, end) = ("$interval_start", "$interval_end");
        let first = format!("{first} - {}", interval(self.look_back()));
        let end = if self.delay.is_zero() { end.to_owned() } else { format!("{end} - {}", interval(self.delay)) };
        let mut conditions: Vec<String> =
            self.key_columns.iter().map(|column| format!("{} IS NOT NULL", quoted(column))).collect();
        conditions.push(format!("{time} >= {}", bound(&first, kind)));
        conditions.push(match kind {
            DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => {
                format!("{time} < {}", bound(&end, kind))
            }
            // In coarser units the last one before the end.
            _ => format!("{time} <= {}", bound(&format!("{end} - INTERVAL '1 microsecond'"), kind)),
        });
        conditions
    }
}

/// An instant in the type of a column, so that the column is compared as it is, and files are skipped by it.
fn bound(instant: &str, kind: &DataType) -> String {
    match kind {
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => instant.to_owned(),
        _ => format!("arrow_cast({instant}, '{}')", cast_name(kind)),
    }
}

/// A length of time as a literal.
fn interval(length: TimeDelta) -> String {
    let (days, rest) = (length.num_days(), length - TimeDelta::days(length.num_days()));
    let mut parts = Vec::new();
    let counts = [(days, "day"), (rest.num_hours(), "hour"), (rest.num_minutes() % 60, "minute")];
    for (count, unit) in counts.into_iter().filter(|(count, _)| *count > 0) {
        parts.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
    }
    let (secs, nanos) = (rest.num_seconds() % 60, rest.subsec_nanos());
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        parts.push(format!("{secs}.{} seconds", fraction.trim_end_matches('0')));
    } else if secs > 0 || parts.is_empty() {
        parts.push(format!("{secs} second{}", if secs == 1 { "" } else { "s" }));
    }
    format!("INTERVAL '{}'", parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_days_and_less() {
        for (length, written) in [
            (TimeDelta::days(7), "INTERVAL '7 days'"),
            (TimeDelta::seconds(86_400 + 3_600 + 61), "INTERVAL '1 day 1 hour 1 minute 1 second'"),
            (TimeDelta::days(1) - TimeDelta::microseconds(1), "INTERVAL '23 hours 59 minutes 59.999999 seconds'"),
            (TimeDelta::microseconds(1), "INTERVAL '0.000001 seconds'"),
            (TimeDelta::nanoseconds(1), "INTERVAL '0.000000001 seconds'"),
            (TimeDelta::zero(), "INTERVAL '0 seconds'"),
        ] {
            assert_eq!(interval(length), written);
        }
    }
}
