//! Rows as text in one form, whatever arrays they come in, so that two readers can be compared cell by cell.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Float64Type, TimeUnit, TimestampNanosecondType};
use std::path::Path;

/// The names of the columns, and each row as one line of `name=value`, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<String>,
}

impl Rows {
    pub fn of(batches: &[RecordBatch]) -> Self {
        let columns = batches.first().map_or_else(Vec::new, |batch| {
            let mut names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            names.sort();
            names
        });
        let mut rows = Vec::new();
        for batch in batches {
            for row in 0..batch.num_rows() {
                let cells = columns.iter().map(|name| {
                    format!("{name}={}", cell(batch.column_by_name(name).expect("all batches have all columns"), row))
                });
                rows.push(cells.collect::<Vec<_>>().join(" | "));
            }
        }
        rows.sort();
        Self { columns, rows }
    }

    /// The rows of plain Parquet files, read by the Parquet library alone.
    pub fn of_parquet_files(folder: &Path) -> Self {
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let mut batches = Vec::new();
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "parquet")) {
            batches.extend(parquet_file(file));
        }
        Self::of(&batches)
    }

    /// Fails with the first rows that differ.
    pub fn differs(&self, expected: &Self) -> Option<String> {
        if self.rows.is_empty() && expected.rows.is_empty() {
            return None;
        }
        if self.columns != expected.columns {
            return Some(format!("columns {:?} instead of {:?}", self.columns, expected.columns));
        }
        if self.rows.len() != expected.rows.len() {
            return Some(format!("{} rows instead of {}", self.rows.len(), expected.rows.len()));
        }
        let (found, wanted) = self.rows.iter().zip(&expected.rows).find(|(found, wanted)| found != wanted)?;
        Some(format!("row\n  {found}\ninstead of\n  {wanted}"))
    }
}

pub fn parquet_file(file: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(file).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

/// One value. Widths of numbers, kinds of strings and lists, and units of time do not matter; values do.
fn cell(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    let one = array.slice(row, 1);
    let to = |kind: DataType| cast(&one, &kind).unwrap();
    match array.data_type() {
        DataType::Null => "null".to_owned(),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            let value = to(DataType::Float64).as_primitive::<Float64Type>().value(0);
            if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") }
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            format!("{:?}", to(DataType::Utf8).as_string::<i32>().value(0))
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            let bytes = to(DataType::Binary);
            bytes.as_binary::<i32>().value(0).iter().map(|byte| format!("{byte:02x}")).collect()
        }
        DataType::Decimal128(_, scale) => {
            plain_decimal(one.as_primitive::<Decimal128Type>().value(0).to_string(), *scale)
        }
        DataType::Decimal256(_, scale) => {
            plain_decimal(one.as_primitive::<Decimal256Type>().value(0).to_string(), *scale)
        }
        DataType::Timestamp(unit, _) => {
            // Nanoseconds since 1970 as a number: instants compare whatever their unit and zone.
            let (number, factor) = match unit {
                TimeUnit::Second => (to(DataType::Int64), 1_000_000_000),
                TimeUnit::Millisecond => (to(DataType::Int64), 1_000_000),
                TimeUnit::Microsecond => (to(DataType::Int64), 1000),
                TimeUnit::Nanosecond => {
                    return format!("t{}", i128::from(one.as_primitive::<TimestampNanosecondType>().value(0)));
                }
            };
            let number = number.as_primitive::<arrow::datatypes::Int64Type>().value(0);
            format!("t{}", i128::from(number) * factor)
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let values = match array.data_type() {
                DataType::List(_) => array.as_list::<i32>().value(row),
                DataType::LargeList(_) => array.as_list::<i64>().value(row),
                _ => array.as_fixed_size_list().value(row),
            };
            let cells: Vec<String> = (0..values.len()).map(|index| cell(&values, index)).collect();
            format!("[{}]", cells.join(", "))
        }
        DataType::Struct(fields) => {
            let values = array.as_struct();
            let mut cells: Vec<String> = fields
                .iter()
                .zip(values.columns())
                .map(|(field, column)| format!("{}: {}", field.name(), cell(column, row)))
                .collect();
            cells.sort();
            format!("{{{}}}", cells.join(", "))
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let mut cells: Vec<String> = (0..entries.len())
                .map(|index| format!("{} -> {}", cell(entries.column(0), index), cell(entries.column(1), index)))
                .collect();
            cells.sort();
            format!("({})", cells.join(", "))
        }
        DataType::Dictionary(_, values) => cell(&to(values.as_ref().clone()), 0),
        // Whole numbers, booleans, dates and times.
        _ => to(DataType::Utf8).as_string::<i32>().value(0).to_owned(),
    }
}

/// `12300` with scale 3 as `12.3`.
fn plain_decimal(digits: String, scale: i8) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest.to_owned()),
        None => ("", digits),
    };
    if scale <= 0 {
        return format!("{sign}{digits}{}", "0".repeat(usize::from(scale.unsigned_abs())));
    }
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let text = format!("{whole}.{part}");
    format!("{sign}{}", text.trim_end_matches('0').trim_end_matches('.'))
}
