//! What became of rows that were not plain: rejected, imputed or unseen, counted for the receipt.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a row was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A feature is plus or minus infinity.
    Infinite,
    /// A label is NaN or infinite.
    LabelNotFinite,
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Infinite => "infinite",
            Self::LabelNotFinite => "label not finite",
        })
    }
}

/// How many values of one column rejected their row for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// The column of the SQL's output.
    pub column: String,
    /// What was wrong with the value.
    pub reason: Reason,
    /// How many rows have such a value in this column.
    pub rows: u64,
}

/// Rejected rows; a row that is wrong in two columns is one row and two counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejections {
    /// How many rows were rejected.
    pub rows: u64,
    /// By column and reason, in the order of the names.
    pub counts: Vec<Rejection>,
}

impl Rejections {
    /// Whether no row was rejected.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds the counts of other rows.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for count in &other.counts {
            self.count(&count.column, count.reason, count.rows);
        }
    }

    /// Adds `rows` values to a column's count; the caller counts the rows themselves.
    pub(super) fn count(&mut self, column: &str, reason: Reason, rows: u64) {
        if rows == 0 {
            return;
        }
        match self.counts.binary_search_by(|count| (count.column.as_str(), count.reason).cmp(&(column, reason))) {
            Ok(at) => self.counts[at].rows += rows,
            Err(at) => self.counts.insert(at, Rejection { column: column.to_owned(), reason, rows }),
        }
    }
}

/// A number of rows of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnCount {
    /// The column of the SQL's output.
    pub column: String,
    /// How many rows.
    pub rows: u64,
}

/// Rows by column, for the columns that have any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ColumnCounts {
    /// In the order of the names.
    pub columns: Vec<ColumnCount>,
}

impl ColumnCounts {
    /// The rows of one column.
    pub fn of(&self, column: &str) -> u64 {
        self.columns.iter().find(|count| count.column == column).map_or(0, |count| count.rows)
    }

    /// Whether no column has any.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Adds the counts of other rows.
    pub fn merge(&mut self, other: &Self) {
        for count in &other.columns {
            self.count(&count.column, count.rows);
        }
    }

    pub(super) fn count(&mut self, column: &str, rows: u64) {
        if rows == 0 {
            return;
        }
        match self.columns.binary_search_by(|count| count.column.as_str().cmp(column)) {
            Ok(at) => self.columns[at].rows += rows,
            Err(at) => self.columns.insert(at, ColumnCount { column: column.to_owned(), rows }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_adds_by_column_and_reason_in_any_order() {
        let mut one = Rejections { rows: 2, ..Rejections::default() };
        one.count("b", Reason::Infinite, 2);
        let mut two = Rejections { rows: 1, ..Rejections::default() };
        two.count("a", Reason::Infinite, 1);
        two.count("b", Reason::Infinite, 1);
        two.count("b", Reason::LabelNotFinite, 0);
        let mut forward = one.clone();
        forward.merge(&two);
        let mut backward = two;
        backward.merge(&one);
        assert_eq!(forward, backward);
        let text = serde_json::to_string(&forward).unwrap();
        assert_eq!(
            text,
            r#"{"rows":3,"counts":[{"column":"a","reason":"infinite","rows":1},{"column":"b","reason":"infinite","rows":3}]}"#
        );
    }
}
