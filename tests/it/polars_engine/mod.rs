//! The same SQL in both engines: every shipped query, hundreds of written and generated ones, tables of all kinds.
//! What is not the same must be refused by name.
//!
//! Equal means: the same columns of the same types, the same rows, NULLs and numbers exactly. Floats that went
//! through a sum may differ by a relative 1e-12, since Polars adds in another order; a zero's sign does not count.

mod dialect;
mod generated;
mod lacks;
mod native;
mod shipped;
mod tables;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use lakemill::error::{Error, Result};
use lakemill::query::polars::PolarsQuery;
use lakemill::query::{FeatureSql, Parameters, Session};
use std::cmp::Ordering;

/// How far sums of floats may be apart, relative to the larger one.
const FLOATS: f64 = 1e-12;

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Text(String),
    Float(f64),
}

impl Cell {
    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(one), Self::Float(other)) => {
                one == other
                    || (one.is_nan() && other.is_nan())
                    || (one - other).abs() <= FLOATS * one.abs().max(other.abs())
            }
            _ => self == other,
        }
    }

    /// Exact values first, so that rows come in one order whatever their floats' last digits are.
    fn order(one: &[Self], other: &[Self]) -> Ordering {
        let exact = |row: &[Self]| {
            let shown = row.iter().map(|cell| match cell {
                Self::Null => "0".to_owned(),
                Self::Text(text) => format!("1{text}"),
                Self::Float(_) => "2".to_owned(),
            });
            shown.collect::<Vec<_>>()
        };
        let floats = |row: &[Self]| {
            let of = row.iter().map(|cell| match cell {
                // Rounded, and zeros without sign.
                Self::Float(value) if value.is_nan() => f64::INFINITY,
                Self::Float(value) => format!("{value:.8e}").parse::<f64>().unwrap_or(*value) + 0.0,
                _ => 0.0,
            });
            of.collect::<Vec<f64>>()
        };
        exact(one).cmp(&exact(other)).then_with(|| {
            floats(one).iter().zip(&floats(other)).fold(Ordering::Equal, |so, (a, b)| so.then(a.total_cmp(b)))
        })
    }
}

fn cells(batches: &[RecordBatch]) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<Vec<Cell>> = batch.columns().iter().map(column).collect();
        rows.extend((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()));
    }
    rows
}

fn column(array: &ArrayRef) -> Vec<Cell> {
    if array.data_type().is_floating() {
        let floats = cast(array, &DataType::Float64).unwrap();
        return floats
            .as_primitive::<Float64Type>()
            .iter()
            .map(|value| value.map_or(Cell::Null, Cell::Float))
            .collect();
    }
    if matches!(array.data_type(), DataType::Null) {
        return vec![Cell::Null; array.len()];
    }
    let texts = cast(array, &DataType::Utf8).unwrap();
    let texts = texts.as_string::<i32>();
    texts.iter().map(|value| value.map_or(Cell::Null, |value| Cell::Text(value.to_owned()))).collect()
}

/// What both engines make of a query.
struct Both {
    datafusion: Result<Vec<RecordBatch>>,
    polars: Result<Vec<RecordBatch>>,
    is_ordered: bool,
}

async fn both(session: &Session, text: &str, parameters: &Parameters) -> Result<Both> {
    use futures::TryStreamExt;
    let sql = FeatureSql::parse(text, "sql/test.sql")?;
    let planned = session.plan(&sql, parameters).await?;
    let polars = async {
        let query = PolarsQuery::plan(&planned, &sql).await?;
        query.stream(&[]).await?.try_collect::<Vec<RecordBatch>>().await
    };
    let polars = polars.await;
    Ok(Both { datafusion: planned.collect().await, polars, is_ordered: sql.is_ordered() })
}

impl Both {
    /// The first difference; none where both give the same, or both fail by the same kind of error.
    fn difference(&self) -> Option<String> {
        let (one, two) = match (&self.datafusion, &self.polars) {
            (Ok(one), Ok(two)) => (one, two),
            (Err(one), Err(two)) if one.kind() == two.kind() => return None,
            (one, two) => {
                let told = |side: &Result<Vec<RecordBatch>>| match side {
                    Ok(batches) => format!("{} rows", batches.iter().map(RecordBatch::num_rows).sum::<usize>()),
                    Err(error) => format!("{error:?}"),
                };
                return Some(format!("datafusion: {}\npolars: {}", told(one), told(two)));
            }
        };
        let types = |batches: &[RecordBatch]| batches.first().map(|batch| batch.schema());
        if let (Some(one), Some(two)) = (types(one), types(two))
            && (one.fields().len() != two.fields().len()
                || one
                    .fields()
                    .iter()
                    .zip(two.fields())
                    .any(|(a, b)| a.name() != b.name() || a.data_type() != b.data_type()))
        {
            return Some(format!("columns {one:?}\ninstead of {two:?}"));
        }
        let (mut one, mut two) = (cells(one), cells(two));
        if !self.is_ordered {
            one.sort_by(|a, b| Cell::order(a, b));
            two.sort_by(|a, b| Cell::order(a, b));
        }
        if one.len() != two.len() {
            return Some(format!("datafusion gives {} rows, polars {}", one.len(), two.len()));
        }
        let differs = |(a, b): &(&Vec<Cell>, &Vec<Cell>)| !a.iter().zip(*b).all(|(a, b)| a.equals(b));
        let (a, b) = one.iter().zip(&two).find(differs)?;
        Some(format!("datafusion {a:?}\npolars     {b:?}"))
    }
}

/// Fails with everything that is not the same in both engines.
async fn assert_same(session: &Session, texts: &[&str], parameters: &Parameters) {
    let mut wrong = Vec::new();
    for text in texts {
        match both(session, text, parameters).await {
            Err(error) => wrong.push(format!("{text}\n  does not plan: {error:?}")),
            Ok(both) => wrong.extend(both.difference().map(|told| format!("{text}\n  {told}"))),
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), texts.len(), wrong.join("\n"));
}

/// Whether an error is a refusal that names what is lacking.
fn is_refusal(error: &Error) -> bool {
    error.kind() == lakemill::error::ErrorKind::Usage
        && error.message().starts_with("the polars engine")
        && error.hint_text().is_some()
}
