//! What others wrote, read through the real path (pin, register, SQL) and compared cell by cell: the
//! shared conformance tables by their manifests, and tables that are made here by hand.

mod cells;
mod combined;
mod delta;
mod hostile;
mod ids;
pub mod log;
mod made;
mod outcomes;
mod parquet;
mod partitions;
mod scale;

use arrow::array::RecordBatch;
use cells::Rows;
use lakemill::error::Result;
use lakemill::lake::Location;
use lakemill::query::{Session, SessionOptions};
use lakemill::tables::{self, At, PinnedTable, TableRequest};
use std::path::Path;

fn request(path: &Path, at: At) -> TableRequest {
    let location = Location::parse(path.to_str().unwrap(), Path::new("/")).unwrap();
    TableRequest { at, ..TableRequest::latest("t", location) }
}

async fn pin(path: &Path, at: At) -> Result<PinnedTable> {
    tables::pin(&request(path, at)).await
}

/// What a query over the table gives, as a feature query is run.
async fn select(table: &PinnedTable, sql: &str) -> Result<Vec<RecordBatch>> {
    let mut session = Session::new(SessionOptions::features(1 << 30))?;
    session.register(table).await?;
    let planned = session.ad_hoc(sql).await?;
    let rows = planned.collect().await?;
    Ok(if rows.is_empty() { vec![RecordBatch::new_empty(planned.schema())] } else { rows })
}

/// All rows of a pinned table; its count must be the one that the pin gave.
async fn rows_of(table: &PinnedTable) -> Result<Rows> {
    let rows = Rows::of(&select(table, "SELECT * FROM t").await?);
    if let Some(counted) = table.rows {
        assert_eq!(counted, rows.rows.len() as u64, "{table:?}: the pin's count and the scan's");
    }
    Ok(rows)
}
