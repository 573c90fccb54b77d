//! Arrow arrays to Polars and back, by the Arrow C data interface: buffers change hands, nothing is copied.
//!
//! Both sides declare the interface's structs as `#[repr(C)]`, with the same fields in the same
//! order, as the specification demands (<https://arrow.apache.org/docs/format/CDataInterface.html>).
//! Each `unsafe` block says why it is sound.

use super::types::{into_held, out_of_held};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, make_array};
use arrow::datatypes::DataType;
use arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi, to_ffi};
use polars::prelude::{Column, CompatLevel, PlSmallStr, Series};
use polars_arrow::ffi;
use std::mem::{size_of, transmute};

const _: () = assert!(size_of::<FFI_ArrowArray>() == size_of::<ffi::ArrowArray>());
const _: () = assert!(size_of::<FFI_ArrowSchema>() == size_of::<ffi::ArrowSchema>());

/// An array as a Polars series, in the type under which Polars holds its values.
///
/// # Errors
/// Where there is no such type.
pub(super) fn to_polars(name: PlSmallStr, array: &ArrayRef) -> Result<Series> {
    let held = into_held(array).map_err(|error| mismatch(&name, error))?;
    let (array, schema) =
        to_ffi(&held.to_data()).map_err(|error| Error::failed("a column cannot be handed over").because(error))?;
    // SAFETY: both types are the C data interface's ArrowArray and ArrowSchema, `#[repr(C)]` with the
    // same fields; ownership moves, so each is released once, by the new owner's Drop.
    let (array, schema): (ffi::ArrowArray, ffi::ArrowSchema) = unsafe {
        (transmute::<FFI_ArrowArray, ffi::ArrowArray>(array), transmute::<FFI_ArrowSchema, ffi::ArrowSchema>(schema))
    };
    // SAFETY: the structs were just exported by arrow from a valid array, and describe each other.
    let chunk =
        unsafe { ffi::import_field_from_c(&schema).and_then(|field| ffi::import_array_from_c(array, field.dtype)) }
            .map_err(|error| mismatch(&name, error))?;
    Series::from_arrow_chunks(name.clone(), vec![chunk]).map_err(|error| mismatch(&name, error))
}

/// A Polars column as an array of type `wanted`; one value that stands for many is repeated to `rows`.
///
/// # Errors
/// Where Polars' values are not of that type.
pub(super) fn from_polars(column: &Column, wanted: &DataType, rows: usize) -> Result<ArrayRef> {
    let series = column.as_materialized_series().rechunk();
    let series = if series.len() == 1 && rows != 1 { series.new_from_index(0, rows) } else { series };
    let level = CompatLevel::newest();
    let field = series.dtype().to_arrow_field(PlSmallStr::EMPTY, level);
    let schema = ffi::export_field_to_c(&field);
    let array = ffi::export_array_to_c(series.to_arrow(0, level));
    // SAFETY: as in `to_polars`, the other way round.
    let (array, schema): (FFI_ArrowArray, FFI_ArrowSchema) = unsafe {
        (transmute::<ffi::ArrowArray, FFI_ArrowArray>(array), transmute::<ffi::ArrowSchema, FFI_ArrowSchema>(schema))
    };
    // SAFETY: the structs were just exported by polars from a valid array, and describe each other.
    let data = unsafe { from_ffi(array, &schema) };
    let array = data.map(make_array).map_err(|error| Error::failed("a column cannot be taken back").because(error))?;
    out_of_held(&array, wanted).map_err(|error| mismatch(column.name(), error))
}

fn mismatch(column: &str, error: impl std::fmt::Display) -> Error {
    Error::check(format!("a column cannot be exchanged with polars: {error}"))
        .with("column", super::types::shown(column))
}
