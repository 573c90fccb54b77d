//! The tables' schemas, and how rows become columns.

use super::generator::Transaction;
use super::population::{Customer, Terminal};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

const MICROS_A_DAY: i64 = 86_400_000_000;

/// `transactions`: `transaction_id` int64, `tx_datetime` timestamp (µs, UTC), `customer_id` and `terminal_id` int32,
/// `tx_amount` float64 (two decimals), `tx_fraud` int32 (0 or 1), `tx_date` date (the partition).
pub fn transactions_schema() -> SchemaRef {
    schema(&[
        ("transaction_id", DataType::Int64),
        ("tx_datetime", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("customer_id", DataType::Int32),
        ("terminal_id", DataType::Int32),
        ("tx_amount", DataType::Float64),
        ("tx_fraud", DataType::Int32),
        ("tx_date", DataType::Date32),
    ])
}

/// `customers`: `customer_id` int32, the place `x` and `y` float64 (0 to 100), `segment` string (null: not known).
pub fn customers_schema() -> SchemaRef {
    schema(&[
        ("customer_id", DataType::Int32),
        ("x", DataType::Float64),
        ("y", DataType::Float64),
        ("segment", DataType::Utf8),
    ])
}

/// `terminals`: `terminal_id` int32, the place `x` and `y` float64 (0 to 100), `category` string (null: not known).
pub fn terminals_schema() -> SchemaRef {
    schema(&[
        ("terminal_id", DataType::Int32),
        ("x", DataType::Float64),
        ("y", DataType::Float64),
        ("category", DataType::Utf8),
    ])
}

/// `inspections`: `terminal_id` int32, `inspected_at` and `reported_at` timestamp (µs, UTC), `skimmer_found` boolean.
pub fn inspections_schema() -> SchemaRef {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    schema(&[
        ("terminal_id", DataType::Int32),
        ("inspected_at", instant.clone()),
        ("reported_at", instant),
        ("skimmer_found", DataType::Boolean),
    ])
}

fn schema(fields: &[(&str, DataType)]) -> SchemaRef {
    // Nullable throughout, as other writers' tables are.
    let fields: Vec<Field> = fields.iter().map(|(name, of)| Field::new(*name, of.clone(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// The transactions of one day (days since 1970), numbered from `first_id`.
pub(super) fn transactions_batch(rows: &[Transaction], day: i64, first_id: i64) -> Result<RecordBatch, ArrowError> {
    let midnight = day * MICROS_A_DAY;
    let times = rows.iter().map(|row| midnight + i64::from(row.second) * 1_000_000);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(first_id..first_id + rows.len() as i64)),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.customer as i32))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.terminal as i32))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.cents as f64 / 100.0))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| i32::from(row.fraud)))),
        Arc::new(Date32Array::from_value(day as i32, rows.len())),
    ];
    RecordBatch::try_new(transactions_schema(), columns)
}

/// Inspections at noon of their days (days since 1970), each with its terminal and what it found.
pub(super) fn inspections_batch(found: &[(u32, i64, bool)]) -> Result<RecordBatch, ArrowError> {
    let at = |delay: i64| {
        let micros = found.iter().map(|(_, day, _)| (day + delay) * MICROS_A_DAY + MICROS_A_DAY / 2);
        TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC")
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(found.iter().map(|(terminal, ..)| *terminal as i32))),
        Arc::new(at(0)),
        Arc::new(at(7)),
        Arc::new(BooleanArray::from_iter(found.iter().map(|(.., skimmer)| Some(*skimmer)))),
    ];
    RecordBatch::try_new(inspections_schema(), columns)
}

pub(super) fn customers_batch(customers: &[Customer]) -> Result<RecordBatch, ArrowError> {
    let segments: StringArray =
        customers.iter().map(|customer| customer.segment_is_known.then(|| customer.segment().name)).collect();
    places_batch(customers_schema(), customers.iter().map(|customer| customer.place), segments)
}

pub(super) fn terminals_batch(terminals: &[Terminal]) -> Result<RecordBatch, ArrowError> {
    let categories: StringArray =
        terminals.iter().map(|terminal| terminal.category_is_known.then(|| terminal.category().name)).collect();
    places_batch(terminals_schema(), terminals.iter().map(|terminal| terminal.place), categories)
}

fn places_batch(
    schema: SchemaRef,
    places: impl ExactSizeIterator<Item = [f64; 2]> + Clone,
    kinds: StringArray,
) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(0..places.len() as i32)),
        Arc::new(Float64Array::from_iter_values(places.clone().map(|[x, _]| x))),
        Arc::new(Float64Array::from_iter_values(places.map(|[_, y]| y))),
        Arc::new(kinds),
    ];
    RecordBatch::try_new(schema, columns)
}
