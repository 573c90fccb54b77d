//! `[[features.windows]]`.

use super::{ColumnNames, Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Aggregates of a table's rows over spans of time that end at the time of each row of the SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowsSpec {
    /// The table: a name under `[tables]`.
    #[schemars(length(min = 1))]
    pub table: String,
    /// The columns that must be equal, e.g. ["customer_id"], or { sql_column = "table_column" }; NULL equals nothing.
    pub keys: ColumnNames,
    /// The table's column with the time of a row, by which it is in a window or not; better the time since when it is known.
    #[schemars(length(min = 1))]
    pub time: String,
    /// How long after its time a row is known: windows end so long before the SQL's time, e.g. "7d".
    #[serde(default)]
    pub delay: Duration,
    /// How long the windows are, e.g. ["1d", "7d", "30d"].
    #[schemars(extend("minItems" = 1, "uniqueItems" = true))]
    pub over: Vec<Duration>,
    /// Which ends of a window belong to it: "left" (its start, not the row's own instant), "right", "both" or "neither".
    #[serde(default)]
    pub closed: Closed,
    /// What is computed of the rows of each window, e.g. [{ function = "mean", column = "tx_amount" }].
    #[schemars(extend("minItems" = 1))]
    pub aggregates: Vec<AggregateSpec>,
}

/// Which ends of a window belong to it, as in pandas and Polars; of a window of length `over` at time `t`, with
/// `end = t - delay`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// `end - over <= time < end`: nothing that happens at the very instant counts.
    #[default]
    Left,
    /// `end - over < time <= end`.
    Right,
    /// `end - over <= time <= end`.
    Both,
    /// `end - over < time < end`.
    Neither,
}

/// One aggregate of the rows of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AggregateSpec {
    /// What is computed: "count", "sum", "mean", "min", "max", "last", "distinct" or "stddev".
    pub function: WindowFunction,
    /// The table's column of which it is computed, without NULLs; only "count" may do without and counts rows then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub column: Option<String>,
    /// The start of the new columns' names, which end in `_7d` and the like; without it, `column_function`.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
}

/// What is computed of a window's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WindowFunction {
    /// How many rows, or how many values of the column; 0 where there is none.
    Count,
    /// The sum.
    Sum,
    /// The mean; of a column of truth values the share of true ones.
    Mean,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The value with the latest time; of those at one time the largest.
    Last,
    /// How many different values; 0 where there is none.
    Distinct,
    /// The standard deviation of the sample.
    Stddev,
}

impl WindowFunction {
    /// The word in the job file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Last => "last",
            Self::Distinct => "distinct",
            Self::Stddev => "stddev",
        }
    }
}

impl WindowsSpec {
    /// The columns that are added, with the number of the length under `over` and of the aggregate: for each length
    /// all aggregates.
    pub fn columns(&self) -> impl Iterator<Item = (String, usize, usize)> + '_ {
        self.over.iter().enumerate().flat_map(move |(over, length)| {
            self.aggregates.iter().enumerate().map(move |(number, aggregate)| {
                let AggregateSpec { function, column, name } = aggregate;
                let start = start_of_name(&self.table, function.name(), column.as_deref(), name.as_deref());
                (name_over(&start, *length), over, number)
            })
        })
    }
}

/// What the names of an aggregate's columns start with: as it is said, or `tx_amount_mean`, or `transactions_count`
/// where there is no column.
pub(in crate::job) fn start_of_name(table: &str, function: &str, column: Option<&str>, name: Option<&str>) -> String {
    name.map_or_else(|| format!("{}_{function}", column.unwrap_or(table)), str::to_owned)
}

/// The name of the column for one length.
pub(in crate::job) fn name_over(start: &str, over: Duration) -> String {
    format!("{start}_{over}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_column_function_and_length() {
        let spec: WindowsSpec = serde_json::from_value(serde_json::json!({
            "table": "tx", "keys": ["id"], "time": "at", "over": ["168h", "36h"],
            "aggregates": [
                { "function": "count" },
                { "function": "mean", "column": "amount" },
                { "function": "mean", "column": "fraud", "as": "risk" },
            ],
        }))
        .unwrap();
        let names: Vec<String> = spec.columns().map(|(name, ..)| name).collect();
        let expected =
            ["tx_count_7d", "amount_mean_7d", "risk_7d", "tx_count_1d12h", "amount_mean_1d12h", "risk_1d12h"];
        assert_eq!(names, expected);
        assert_eq!((spec.closed, spec.delay.is_zero()), (Closed::Left, true));
    }
}
