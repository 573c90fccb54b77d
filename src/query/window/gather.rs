//! Rows from all over many batches: of numbers from one piece of memory, which is several times as fast.

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

/// The columns of many batches.
#[derive(Debug)]
pub(super) struct Gathered {
    columns: Vec<Column>,
    /// The number of each batch's first row.
    starts: Vec<usize>,
}

#[derive(Debug)]
enum Column {
    /// All rows in one piece: numbers.
    One(ArrayRef),
    /// As they came: what may be too large for one array.
    Many(Vec<ArrayRef>),
}

impl Gathered {
    /// # Errors
    /// Where a column is not of the schema's type.
    pub(super) fn new(schema: &SchemaRef, batches: Vec<RecordBatch>) -> Result<Self, ArrowError> {
        let mut end = 0;
        let starts = batches.iter().map(|batch| (end, end += batch.num_rows()).0).collect();
        let mut all: Vec<Vec<ArrayRef>> = schema.fields().iter().map(|_| Vec::with_capacity(batches.len())).collect();
        for batch in batches {
            let (_, columns, _) = batch.into_parts();
            all.iter_mut().zip(columns).for_each(|(pieces, piece)| pieces.push(piece));
        }
        // One column after the other, so that at most one is held twice.
        let column = |pieces: Vec<ArrayRef>| {
            if !pieces.first().is_some_and(|piece| piece.data_type().is_primitive()) {
                return Ok(Column::Many(pieces));
            }
            concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>()).map(Column::One)
        };
        Ok(Self { columns: all.into_iter().map(column).collect::<Result<_, ArrowError>>()?, starts })
    }

    /// The rows of these numbers, which count through all batches.
    ///
    /// # Errors
    /// Where the values of so many rows do not fit into one array.
    pub(super) fn rows(&self, rows: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let numbers = UInt32Array::from(rows.to_vec());
        let mut places: Vec<(usize, usize)> = Vec::new();
        let column = |column: &Column| match column {
            Column::One(values) => take(values.as_ref(), &numbers, None),
            Column::Many(pieces) => {
                if places.is_empty() {
                    places.extend(rows.iter().map(|row| self.place(*row as usize)));
                }
                interleave(&pieces.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>(), &places)
            }
        };
        self.columns.iter().map(column).collect()
    }

    /// The batch of a row, and its place in it.
    fn place(&self, row: usize) -> (usize, usize) {
        let batch = self.starts.partition_point(|start| *start <= row).saturating_sub(1);
        (batch, row - self.starts.get(batch).copied().unwrap_or(0))
    }
}
