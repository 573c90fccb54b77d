//! A hash of rows that does not depend on how they are cut into files, batches or buffers.

use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use sha2::{Digest, Sha256};

/// Hashes a stream of batches, column by column: a null marker and the value of each row in order.
///
/// Values are hashed as little-endian bytes of their width; strings and binary with their length
/// before them; booleans as one byte. Other types are refused: predictions do not have them.
pub struct ContentHash {
    columns: Vec<Column>,
}

struct Column {
    validity: Sha256,
    values: Sha256,
}

impl ContentHash {
    /// The hash of no rows of this schema; names and types are part of it.
    pub fn new(schema: &Schema) -> Self {
        let columns = schema.fields().iter().map(|field| {
            let mut values = Sha256::new();
            values.update(format!("{}\0{}\0", field.name(), field.data_type()));
            Column { validity: Sha256::new(), values }
        });
        Self { columns: columns.collect() }
    }

    /// Adds the rows of a batch.
    ///
    /// # Errors
    /// `failed` for a column type that has no stated byte form.
    pub fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
            match array.nulls() {
                Some(nulls) => {
                    column.validity.update(nulls.iter().map(u8::from).collect::<Vec<u8>>());
                }
                None => column.validity.update(vec![1_u8; array.len()]),
            }
            column.update_values(array)?;
        }
        Ok(())
    }

    /// The hash in hex.
    pub fn finish(self) -> String {
        let mut whole = Sha256::new();
        for column in self.columns {
            whole.update(column.validity.finalize());
            whole.update(column.values.finalize());
        }
        hex(&whole.finalize())
    }
}

impl Column {
    fn update_values(&mut self, array: &ArrayRef) -> Result<()> {
        match array.data_type() {
            DataType::Utf8 => {
                let strings = array.as_string::<i32>();
                (0..strings.len()).for_each(|row| self.update_bytes(strings.value(row).as_bytes(), array.is_null(row)));
            }
            DataType::Binary => {
                let values = array.as_binary::<i32>();
                (0..values.len()).for_each(|row| self.update_bytes(values.value(row), array.is_null(row)));
            }
            DataType::Boolean => {
                let values = array.as_boolean();
                let bytes: Vec<u8> =
                    (0..values.len()).map(|row| u8::from(values.is_valid(row) && values.value(row))).collect();
                self.values.update(bytes);
            }
            kind => match kind.primitive_width() {
                Some(width) => self.update_fixed(array, width),
                None => return self.update_as_string(array),
            },
        }
        Ok(())
    }

    fn update_bytes(&mut self, bytes: &[u8], null: bool) {
        let bytes = if null { &[] } else { bytes };
        self.values.update((bytes.len() as u64).to_le_bytes());
        self.values.update(bytes);
    }

    /// A fixed-width column: its buffer as it is, but what lies under a null counts as zero.
    fn update_fixed(&mut self, array: &ArrayRef, width: usize) {
        let data = array.to_data();
        let start = data.offset() * width;
        let bytes = &data.buffers()[0].as_slice()[start..start + data.len() * width];
        if array.null_count() == 0 {
            return self.values.update(bytes);
        }
        for (row, value) in bytes.chunks_exact(width).enumerate() {
            if array.is_null(row) {
                self.values.update(vec![0; width]);
            } else {
                self.values.update(value);
            }
        }
    }

    fn update_as_string(&mut self, array: &ArrayRef) -> Result<()> {
        let strings = cast(array, &DataType::Utf8).map_err(|source| {
            Error::failed("a column of this type can't be hashed").with("type", array.data_type()).because(source)
        })?;
        self.update_values(&strings)
    }
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};
    use arrow::datatypes::Field;
    use std::sync::Arc;

    fn batch(scores: &[Option<f64>], names: &[Option<&str>]) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("score", DataType::Float64, true), Field::new("name", DataType::Utf8, true)]);
        let columns: Vec<ArrayRef> =
            vec![Arc::new(Float64Array::from(scores.to_vec())), Arc::new(StringArray::from(names.to_vec()))];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    fn hash(batches: &[RecordBatch]) -> String {
        let mut hash = ContentHash::new(&batches[0].schema());
        for batch in batches {
            hash.update(batch).unwrap();
        }
        hash.finish()
    }

    #[test]
    fn the_cut_into_batches_does_not_matter() {
        let whole = batch(&[Some(1.0), None, Some(3.0)], &[Some("a"), Some("bc"), None]);
        let parts = [whole.slice(0, 1), whole.slice(1, 2)];
        assert_eq!(hash(&[whole]), hash(&parts));
    }

    #[test]
    fn values_nulls_and_order_matter() {
        let one = hash(&[batch(&[Some(0.0), None], &[Some("a"), Some("")])]);
        assert_ne!(one, hash(&[batch(&[Some(0.0), Some(0.0)], &[Some("a"), Some("")])]));
        assert_ne!(one, hash(&[batch(&[None, Some(0.0)], &[Some("a"), Some("")])]));
        assert_ne!(one, hash(&[batch(&[Some(0.0), None], &[Some(""), Some("a")])]));
    }
}
