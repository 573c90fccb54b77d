//! Declared windows: aggregates of a table's rows over spans of time that end at the time of each row of a query.
//!
//! They are SQL, and [`Rolling::sql`] is all of it: the query as it was given, and for each declaration a UNION ALL
//! of its rows and of those of the table, with window aggregates over frames of a RANGE, filtered back to the query's
//! rows. The frames slide in the operator of `query::window`, sorts spill, and whoever wants to know what is
//! computed reads the SQL, or runs it.
//!
//! **Which rows count.** For a row of the query at time `t`, those of the table whose keys are equal (NULL equals
//! nothing) and whose time lies in the window of length `over` that ends at `t - delay`; [`Closed`] says which ends
//! belong to it. All rows of one instant are in a window, or none. A row of the query without a time gets empty
//! windows. Dates count as midnight in UTC, timestamps without a time zone as UTC.
//!
//! **Aggregates** are SQL's: NULLs do not count, of an empty window `count` and `distinct` are 0 and all others NULL.
//! `last` is the value with the latest time; of several at that time the largest, so that it does not depend on the
//! order of files.
//!
//! **One row in, one row out, in the same order**: rows are numbered, in the order of the query's ORDER BY where it has
//! one (a subquery has none), and at the end sorted by their numbers. The
//! stream counts both and fails where they differ.
//!
//! **What is read of the table** is bounded by the interval and the longest window: times from `$interval_start -
//! delay - over` to `$interval_end - delay`. So rows of the query whose time lies outside of the interval have
//! windows that miss rows; no training and no scoring uses such rows.

mod order;
mod resolved;
mod rows;
mod text;

use super::session::Session;
use super::sql::FeatureSql;
use crate::error::{Error, Result, ResultExt};
use arrow::datatypes::SchemaRef;
use chrono::TimeDelta;
use resolved::{Resolved, Spine};
pub use rows::one_for_one;

/// Windows over one table, as they are declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollingWindows {
    /// The table's name in the session.
    pub table: String,
    /// The columns of the key: the query's, and the table's that equals it.
    pub keys: Vec<(String, String)>,
    /// The table's column with the time of a row.
    pub time: String,
    /// How long before the time of the query's row the windows end.
    pub delay: TimeDelta,
    /// Which ends of a window belong to it.
    pub closed: Closed,
    /// The columns that are added, in their order.
    pub columns: Vec<RollingColumn>,
}

/// One column that windows add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollingColumn {
    /// Its name.
    pub name: String,
    /// What is computed.
    pub function: RollingFunction,
    /// Of which column of the table; of none only a count.
    pub column: Option<String>,
    /// The length of the window, as it is written and in time.
    pub over: (String, TimeDelta),
}

/// Which ends of a window belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Its start.
    Left,
    /// Its end.
    Right,
    /// Both.
    Both,
    /// Neither.
    Neither,
}

/// What is computed of the rows of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollingFunction {
    /// Rows, or values of a column.
    Count,
    /// The sum.
    Sum,
    /// The mean, as a float.
    Mean,
    /// The smallest value.
    Min,
    /// The largest value.
    Max,
    /// The value with the latest time.
    Last,
    /// How many different values.
    Distinct,
    /// The standard deviation of the sample.
    Stddev,
}

impl RollingFunction {
    /// The word for it in messages: that of the job file.
    fn name(self) -> &'static str {
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

/// Declared windows that fit the columns of a query and the tables of a session.
#[derive(Debug, Clone)]
pub struct Rolling {
    spine: Spine,
    /// A name that no table has.
    rows: String,
    windows: Vec<Resolved>,
}

impl Rolling {
    /// Looks up what `windows` name, for rows with the columns of `spine` and the time in `time`.
    ///
    /// # Errors
    /// A usage error for tables and columns that are not there, for times that are none, for keys that can't be equal,
    /// for functions that a column's type does not have, and for names of columns that are taken.
    pub async fn plan(session: &Session, spine: &SchemaRef, time: &str, windows: &[RollingWindows]) -> Result<Self> {
        let mut names: Vec<&str> = spine.fields().iter().map(|field| field.name().as_str()).collect();
        for column in windows.iter().flat_map(|windows| &windows.columns) {
            if names.contains(&column.name.as_str()) {
                return Err(Error::usage("there is a column of this name already")
                    .with("column", &column.name)
                    .with("key", "features.windows")
                    .hint("give the aggregate another name: as = \"name\""));
            }
            names.push(&column.name);
        }
        let spine = Spine::new(spine, time, &names).at("key", "features.windows")?;
        let mut resolved = Vec::new();
        for windows in windows {
            resolved.push(Resolved::new(session, &spine, windows).await.at("key", "features.windows")?);
        }
        let mut rows = "features".to_owned();
        while session.tables().iter().any(|table| table.name == rows) {
            rows.push('_');
        }
        Ok(Self { spine, rows, windows: resolved })
    }

    /// The SQL that gives the rows of `sql` with the windows' columns.
    ///
    /// # Errors
    /// A usage error where the SQL is ordered by what it does not give.
    pub fn sql(&self, sql: &FeatureSql) -> Result<FeatureSql> {
        let order = order::of(sql, &self.spine)?;
        // A text that cannot be put into parentheses as it stands is there without its comments.
        match FeatureSql::parse(&self.text(Some(&embedded(sql)), &order), sql.file()) {
            Ok(whole) => Ok(whole),
            Err(_) => parsed(&self.text(Some(&sql.normalized()), &order), sql.file()),
        }
    }

    /// The SQL over rows that are there already, under the name [`Self::rows`].
    ///
    /// # Errors
    /// None in practice; where the text does not parse.
    pub fn over_rows(&self) -> Result<FeatureSql> {
        parsed(&self.text(None, ""), &self.rows)
    }

    /// The name of the table that [`Self::over_rows`] reads; no other table has it.
    pub fn rows(&self) -> &str {
        &self.rows
    }
}

fn parsed(text: &str, file: &str) -> Result<FeatureSql> {
    FeatureSql::parse(text, file)
        .map_err(|source| Error::failed("the SQL of declared windows does not parse; this is a bug").because(source))
}

/// The text of a query as it can stand in parentheses.
fn embedded(sql: &FeatureSql) -> String {
    sql.text().trim_end().trim_end_matches(';').trim_end().to_owned()
}
