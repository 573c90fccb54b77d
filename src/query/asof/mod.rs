//! Point-in-time joins: to each row of a query the newest row of a table that was known by then.
//!
//! The rows of the query are the *spine*. A spine row with the key `k` at the time `s` gets the
//! columns of one row of the table, among those
//!
//! - whose key equals `k` in all columns (a NULL equals nothing),
//! - whose `available_time` is at or before `s`, so that nothing is used before it was known,
//! - whose `time` is at or before `s`, and
//! - with `max_age`, whose `time` is at or after `s - max_age`,
//!
//! the one with the latest `time`; among those the one with the latest `available_time`; among those
//! the one whose joined columns are greatest, compared one after the other (NULL is least, NaN is the
//! greatest number). Rows that still tie are the same to whoever looks at the result. Where there is
//! none, the joined columns are NULL. Rows of the table without a time or an available time are never
//! used; spine rows without a time get NULLs. Dates count as midnight in UTC, timestamps without a
//! time zone as UTC.
//!
//! One row in, one row out, in the same order. The result does not depend on the order in which
//! either side comes, on the sizes of batches, on threads or on memory.
//!
//! **How.** The spine is read in chunks: its keys and times stay in memory, its batches in a `Spool`
//! that spills. Positions of a chunk are ordered by key and time; the table is then read once, and
//! each of its rows becomes, by a hash of its key and a binary search, a candidate for the first
//! position at which it counts. A last pass carries the newest candidate of each key on to the later
//! positions: because the newest has the latest `time`, where it is too old all others are too.
//! Nothing is sorted on the side of the table, and of its values only those of candidates are kept.
//!
//! **Memory.** A quarter of the session's limit is reserved for as long as the join runs. Chunks end
//! where half of that is taken by keys and positions; where the kept values need more than a quarter
//! of it, the chunk is halved and the table read again for each half. Both depend on the data and
//! the limit alone, and neither on what the rows become.

mod candidates;
mod forms;
mod groups;
mod index;
mod resolved;
mod run;
mod spool;

use crate::error::{Error, Result, ResultExt};
use crate::interval::Interval;
use crate::query::estimate::{ScanEstimate, estimate};
use crate::query::session::Session;
use crate::tables::errors::from_datafusion;
use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use chrono::TimeDelta;
use forms::Unit;
pub(super) use forms::shared_type;
use futures::stream::BoxStream;
use resolved::{Bounds, Resolved, common_unit, spine_column};
use std::sync::Arc;

/// One join of a table to the rows of a query, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsofJoin {
    /// The table's name in the session.
    pub table: String,
    /// The columns of the key: the query's, and the table's that equals it.
    pub keys: Vec<(String, String)>,
    /// The table's column with the time of the event.
    pub time: String,
    /// The table's column with the time since when a row is known; without it, `time`.
    pub available_time: Option<String>,
    /// How old a row may be at the time of the query's row.
    pub max_age: Option<TimeDelta>,
    /// The joined columns: the name in the result, and the table's column.
    pub columns: Vec<(String, String)>,
}

/// Joins that fit a query's columns and the tables of a session.
#[derive(Clone)]
pub struct PointInTime {
    parts: Arc<Planned>,
}

struct Planned {
    session: Session,
    schema: SchemaRef,
    /// The one column with the spine's time.
    time: Vec<String>,
    unit: Unit,
    joins: Vec<Resolved>,
}

impl PointInTime {
    /// Looks up what `joins` name, for rows with the columns of `spine` and the time in `time`.
    ///
    /// # Errors
    /// A usage error for tables and columns that are not there, for times that are none, for keys
    /// that can't be equal, and for names of joined columns that are taken.
    pub async fn plan(session: &Session, spine: &SchemaRef, time: &str, joins: &[AsofJoin]) -> Result<Self> {
        let mut resolved = Vec::new();
        for join in joins {
            resolved.push(Resolved::new(session, spine, join).await.at("key", "features.asof")?);
        }
        let unit = common_unit(spine_column(spine, time)?, &resolved)?;
        let mut fields: Vec<Arc<Field>> = spine.fields().iter().cloned().collect();
        for field in resolved.iter().flat_map(|join| join.values.fields()) {
            if fields.iter().any(|known| known.name() == field.name()) {
                return Err(Error::usage("two point-in-time joins give a column of this name")
                    .with("column", field.name())
                    .hint("give one of them another name: columns = { new_name = \"column\" }"));
            }
            fields.push(Arc::clone(field));
        }
        let schema = Arc::new(Schema::new_with_metadata(fields, spine.metadata().clone()));
        let parts = Planned { session: session.clone(), schema, time: vec![time.to_owned()], unit, joins: resolved };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// The columns of the query, then those of the joins, each join's in its order.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.parts.schema)
    }

    /// What will be read from each table for rows whose time lies in `span`, by the table's name.
    ///
    /// # Errors
    /// What planning the scans fails with.
    pub async fn estimate(&self, span: &Interval) -> Result<Vec<ScanEstimate>> {
        let parts = &self.parts;
        let end = span.end();
        let end = end.timestamp() + i64::from(end.timestamp_subsec_nanos() > 0);
        let (first, last) = (parts.unit.span(span.start().timestamp()), parts.unit.span(end).saturating_sub(1));
        let bounds = Bounds { first, last, keys: None };
        let mut all = Vec::new();
        for join in &parts.joins {
            let frame = join.scan(&parts.session, parts.unit, bounds).await?;
            let plan = frame.create_physical_plan().await.map_err(from_datafusion).at("table", &join.table)?;
            let scans = estimate(plan.as_ref(), parts.session.tables());
            all.extend(scans.into_iter().filter(|scan| scan.table == join.table));
        }
        Ok(all)
    }

    /// The joins, one a line, as a query plan shows its operators.
    pub fn explain(&self) -> String {
        let parts = &self.parts;
        parts.joins.iter().map(|join| join.describe(&parts.time.concat()) + "\n").collect()
    }

    /// The rows with their joined columns: as many, in the same order, in the same batches.
    ///
    /// # Errors
    /// The stream's, those of `rows` among them: `budget` where one batch needs more memory than the
    /// join may have.
    pub fn stream(&self, rows: BoxStream<'static, Result<RecordBatch>>) -> BoxStream<'static, Result<RecordBatch>> {
        run::stream(Arc::clone(&self.parts), rows)
    }
}
