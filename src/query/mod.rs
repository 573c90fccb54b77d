//! Queries over pinned tables: sessions, feature SQL, declared windows, what a query will read, point-in-time joins, and
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
//! over files in the order of their paths, and joins, sorts and aggregates give their rows in one order
//! whether they fit into memory or not (`bounded`). So ties in a sort or a window, the order of groups and
//! the rounding of float sums depend on the tables and the SQL only, never on the number of cores, on the
//! memory, or on which file arrives first. Functions that read the clock or roll dice are refused.
//! Ad hoc queries ([`SessionOptions::ad_hoc`]) use all cores; their order is free without ORDER BY.
//!
//! **Memory.** Operators share a pool, and spill where it ends or where the process holds all that it may
//! (`pool`). Joins that can't are refused before anything is read where statistics tell that they are too
//! large, and fail by name where they turn out to be.
//!
//! **Models.** In ad hoc queries `predict('model@champion')` is a function (`predict`).
//!
//! **Windows.** Declared windows become SQL ([`rolling`]). Most window aggregates are computed by an operator of our
//! own, in both kinds of session.

mod ahead;
pub mod asof;
mod bounded;
mod culprit;
mod diagnostic;
mod estimate;
mod files;
mod forecast;
mod opaque;
mod parameters;
pub mod polars;
mod pool;
mod predict;
pub mod rolling;
mod session;
mod sql;
mod unpruned;
mod window;

pub use crate::tables::errors::from_datafusion;
pub use ahead::{BatchStream, own_bytes, running_ahead};
pub use asof::{AsofJoin, PointInTime};
pub use bounded::size::row_bytes;
pub use diagnostic::SqlDiagnostic;
pub use estimate::ScanEstimate;
pub use files::{Code, FileRows, Sorting, file_rows, sorted_file_rows};
pub use forecast::Forecast;
pub use parameters::{Parameters, Value};
pub use predict::{ModelFunction, models_of};
pub use session::{Explained, PlannedQuery, Session, SessionOptions};
pub use sql::FeatureSql;
