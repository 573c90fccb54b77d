//! Record batches to Polars and back, by the Arrow C data interface: buffers change hands, nothing is copied.
//!
//! Both sides declare the interface's structs as `#[repr(C)]`, with the same fields in the same
//! order, as the specification demands (<https://arrow.apache.org/docs/format/CDataInterface.html>).
//! Each block of `unsafe` code says why it is sound.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use polars::prelude::{Column, CompatLevel, DataFrame, PlSmallStr, Series};
use polars_arrow::ffi;
use std::mem::{size_of, transmute};
use std::sync::Arc;

const _: () = assert!(size_of::<FFI_ArrowArray>() == size_of::<ffi::ArrowArray>());
const _: () = assert!(size_of::<FFI_ArrowSchema>() == size_of::<ffi::ArrowSchema>());

/// The type under which a column of type `given` is handed to Polars.
///
/// | given | handed over |
/// |---|---|
/// | integers of 8 and 16 bits | `Int32`, `UInt32` |
/// | `Float16`, decimals | `Float64` |
/// | dictionaries | their values |
/// | timestamps with a time zone | the same instant in UTC without one, in microseconds |
///
/// # Errors
/// A usage error for nested types, binary, times and intervals.
fn handed_over(field: &Field) -> Result<DataType> {
    let mut given = field.data_type();
    while let DataType::Dictionary(_, values) = given {
        given = values;
    }
    Ok(match given {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int32,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::UInt32,
        DataType::Float16 | DataType::Decimal32(..) | DataType::Decimal64(..) => DataType::Float64,
        DataType::Decimal128(..) | DataType::Decimal256(..) => DataType::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        plain @ (DataType::Boolean | DataType::Int64 | DataType::UInt64 | DataType::Float32 | DataType::Float64) => {
            plain.clone()
        }
        other => {
            return Err(Error::usage(format!("the polars engine does not take columns of type {other}"))
                .with("column", field.name())
                .hint("leave the column out of the SQL, or use engine = \"datafusion\""));
        }
    })
}

/// Batches of one schema as a Polars frame.
///
/// # Errors
/// A usage error for a type that Polars does not take.
pub(super) fn to_polars(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<DataFrame> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let kind = handed_over(field)?;
        let mut chunks: Vec<ArrayRef> = batches.iter().map(|batch| Arc::clone(batch.column(index))).collect();
        if chunks.is_empty() {
            chunks.push(arrow::array::new_empty_array(field.data_type()));
        }
        let chunks = chunks
            .iter()
            .map(|chunk| exported(&converted(chunk, &kind).map_err(|error| mismatch(field.name(), error))?))
            .collect::<Result<Vec<_>>>()?;
        let series = Series::from_arrow_chunks(PlSmallStr::from_str(field.name()), chunks)
            .map_err(|error| mismatch(field.name(), error))?;
        columns.push(Column::from(series));
    }
    DataFrame::new(rows, columns).map_err(|error| Error::failed("the batches make no frame").because(error.to_string()))
}

/// `chunk` as `kind`. A time zone is dropped, not converted: the number already counts from 1970 in UTC.
fn converted(chunk: &ArrayRef, kind: &DataType) -> std::result::Result<ArrayRef, arrow::error::ArrowError> {
    if let DataType::Timestamp(_, Some(zone)) = chunk.data_type() {
        let micros = cast(chunk, &DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::clone(zone))))?;
        let Some(micros) = micros.as_primitive_opt::<TimestampMicrosecondType>() else { return Ok(micros) };
        return Ok(Arc::new(micros.clone().with_timezone_opt(None::<Arc<str>>)));
    }
    if chunk.data_type() == kind { Ok(Arc::clone(chunk)) } else { cast(chunk, kind) }
}

fn exported(array: &ArrayRef) -> Result<Box<dyn polars_arrow::array::Array>> {
    let (array, schema) =
        to_ffi(&array.to_data()).map_err(|error| Error::failed("a column cannot be handed over").because(error))?;
    // SAFETY: both types are the C data interface's ArrowArray and ArrowSchema, `#[repr(C)]` with the
    // same fields; ownership moves, so each is released once, by the new owner's Drop.
    let (array, schema): (ffi::ArrowArray, ffi::ArrowSchema) = unsafe {
        (transmute::<FFI_ArrowArray, ffi::ArrowArray>(array), transmute::<FFI_ArrowSchema, ffi::ArrowSchema>(schema))
    };
    // SAFETY: the structs were just exported by arrow from a valid array, and describe each other.
    unsafe { ffi::import_field_from_c(&schema).and_then(|field| ffi::import_array_from_c(array, field.dtype)) }
        .map_err(|error| Error::failed("a column cannot be handed over").because(error.to_string()))
}

/// A Polars frame as one record batch. Timestamps for which `is_instant` holds come out in UTC.
///
/// # Errors
/// Where Polars gives a type that arrow does not know.
pub(super) fn from_polars(frame: &DataFrame, is_instant: impl Fn(&str) -> bool) -> Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for column in frame.columns() {
        let name = column.name().as_str();
        let mut array =
            imported(&column.as_materialized_series().rechunk()).map_err(|error| error.with("column", name))?;
        if is_instant(name) {
            array = in_utc(array);
        }
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(frame.height()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| Error::failed("the result of polars makes no batch").because(error))
}

fn in_utc(array: ArrayRef) -> ArrayRef {
    match array.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(micros) => Arc::new(micros.clone().with_timezone("UTC")),
        None => array,
    }
}

fn imported(series: &Series) -> Result<ArrayRef> {
    let level = CompatLevel::newest();
    let field = series.dtype().to_arrow_field(PlSmallStr::EMPTY, level);
    let schema = ffi::export_field_to_c(&field);
    let array = ffi::export_array_to_c(series.to_arrow(0, level));
    // SAFETY: as in `exported`, the other way round.
    let (array, schema): (FFI_ArrowArray, FFI_ArrowSchema) = unsafe {
        (transmute::<ffi::ArrowArray, FFI_ArrowArray>(array), transmute::<ffi::ArrowSchema, FFI_ArrowSchema>(schema))
    };
    // SAFETY: the structs were just exported by polars from a valid array, and describe each other.
    let data = unsafe { from_ffi(array, &schema) };
    data.map(make_array).map_err(|error| Error::failed("a column cannot be taken back").because(error))
}

fn mismatch(column: &str, error: impl std::fmt::Display) -> Error {
    Error::check(format!("a column cannot be handed to polars: {error}")).with("column", column)
}
