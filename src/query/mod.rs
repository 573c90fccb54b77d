//! Queries over pinned tables: sessions, feature SQL, what a query will read, point-in-time joins, and
//! the Polars engine.
//!
//! **Names.** Column and table names are case-sensitive and taken as written, in both engines:
//! DataFusion's folding of unquoted names to lower case is switched off, because tables in a lake have
//! columns such as `customerId`, and because Polars does not fold. Keywords and function names may be
//! written in any case.
//!
//! **Time.** The session's time zone is UTC. `$interval_start` and `$interval_end` are literals of
//! type `Timestamp(us, UTC)`.
//!
//! **The same rows each time.** Feature queries run with one target partition and a fixed batch size,
//! over files in the order of their paths. So ties in a sort or a window, the order of groups and the
//! rounding of float sums depend on the tables, the SQL and the memory limit only, never on the
//! number of cores or on which file arrives first. (The limit counts where an aggregate spills: its
//! groups then come in another order.) Functions that read the clock or roll dice are refused.
//! Ad hoc queries ([`SessionOptions::ad_hoc`]) use all cores; their order is free without ORDER BY.
//!
//! **Windows.** Most window aggregates are computed by an operator of our own, in both kinds of session.

mod ahead;
pub mod asof;
mod culprit;
mod diagnostic;
mod estimate;
mod files;
mod parameters;
pub mod polars;
mod session;
mod sql;
mod window;

pub use crate::tables::errors::from_datafusion;
pub use ahead::{BatchStream, running_ahead};
pub use asof::{AsofJoin, PointInTime};
pub use diagnostic::SqlDiagnostic;
pub use estimate::ScanEstimate;
pub use files::{Code, FileRows, Sorting, file_rows, sorted_file_rows};
pub use parameters::{Parameters, Value};
pub use session::{Explained, PlannedQuery, Session, SessionOptions};
pub use sql::FeatureSql;
