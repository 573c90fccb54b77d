//! Window aggregates over sliding frames: against a brute-force oracle, against DataFusion's own operators, with
//! adversarial floats, at any batch size, within a memory limit; and which plans the operator is put into.

mod floats;
mod frames;
mod nulls;
mod oracle;
mod plans;
mod split;
mod stock;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use lakemill::error::Result;
use lakemill::query::{Session, SessionOptions};
use std::sync::Arc;

/// A row of the table that all tests read: partition, order key, and two values.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub part: Option<String>,
    pub key: Option<f64>,
    pub whole: Option<i64>,
    pub float: Option<f64>,
}

/// The rows as table `t`: `id` (their number), `part`, `key`, `tick` (the key as an integer), `whole`, `float`; in
/// batches of `batch` rows.
pub fn batches(rows: &[Row], batch: usize) -> Vec<RecordBatch> {
    let ids = Int64Array::from_iter_values(0..rows.len() as i64);
    let all = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("part", Arc::new(rows.iter().map(|row| row.part.clone()).collect::<StringArray>()), true),
        ("key", Arc::new(rows.iter().map(|row| row.key).collect::<Float64Array>()), true),
        ("tick", Arc::new(rows.iter().map(|row| row.key.map(|key| key as i64)).collect::<Int64Array>()), true),
        ("whole", Arc::new(rows.iter().map(|row| row.whole).collect::<Int64Array>()), true),
        ("float", Arc::new(rows.iter().map(|row| row.float).collect::<Float64Array>()), true),
    ])
    .unwrap();
    let starts = (0..rows.len().max(1)).step_by(batch);
    starts.map(|start| all.slice(start, batch.min(rows.len() - start))).collect()
}

/// Ours, or DataFusion's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operator {
    Ours,
    Stock,
}

/// A session over the rows.
pub fn session(rows: &[Row], batch: usize, operator: Operator) -> Session {
    session_that_lets_go(rows, batch, operator, None)
}

/// The same, where windows let go of rows when so many are of no more use: with few rows that is never, if not told.
fn session_that_lets_go(rows: &[Row], batch: usize, operator: Operator, let_go_after: Option<usize>) -> Session {
    let options = SessionOptions {
        batch_size: batch,
        let_go_after,
        sliding_windows: operator == Operator::Ours,
        ..SessionOptions::features(1 << 30)
    };
    let mut session = Session::new(options).unwrap();
    let batches = batches(rows, batch);
    session.register_batches("t", batches[0].schema(), batches).unwrap();
    session
}

/// The result of a query as one batch.
pub async fn ask(session: &Session, sql: &str) -> Result<RecordBatch> {
    let query = session.ad_hoc(sql).await?;
    Ok(concat_batches(&query.schema(), &query.collect().await?).unwrap())
}

/// The result of a query over rows, in batches of some size.
pub async fn answer(rows: &[Row], batch: usize, operator: Operator, sql: &str) -> RecordBatch {
    checked(session(rows, batch, operator), operator, sql).await
}

/// The result of our operator, which lets go of rows when so many are of no more use.
pub async fn answer_letting_go(rows: &[Row], batch: usize, after: Option<usize>, sql: &str) -> RecordBatch {
    checked(session_that_lets_go(rows, batch, Operator::Ours, after), Operator::Ours, sql).await
}

async fn checked(session: Session, operator: Operator, sql: &str) -> RecordBatch {
    let plan = session.ad_hoc(sql).await.unwrap().explain().physical;
    assert_eq!(plan.contains("SlidingWindowExec"), operator == Operator::Ours, "{sql}\n{plan}");
    assert!(operator == Operator::Stock || !plan.contains("WindowAggExec"), "{sql}\n{plan}");
    ask(&session, sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}
