//! The currency after the encoder: a dense, column-major block of numbers.

/// Encoded rows: `rows` x `features` in `f64`, column-major. Dense encodings give no NaN; in native ones NaN is a
/// missing value. Infinite only where an imported model takes that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FeatureBlock {
    rows: usize,
    features: usize,
    values: Vec<f64>,
}

impl FeatureBlock {
    /// A block of zeros.
    pub fn zeros(rows: usize, features: usize) -> Self {
        Self { rows, features, values: vec![0.0; rows * features] }
    }

    /// A block from its columns, all of one length (a shorter one is filled with zeros).
    pub fn from_columns<C: AsRef<[f64]>>(rows: usize, columns: &[C]) -> Self {
        let mut block = Self::zeros(rows, columns.len());
        for (index, column) in columns.iter().enumerate() {
            for (to, from) in block.column_mut(index).iter_mut().zip(column.as_ref()) {
                *to = *from;
            }
        }
        block
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// One feature of all rows.
    pub fn column(&self, feature: usize) -> &[f64] {
        &self.values[feature * self.rows..(feature + 1) * self.rows]
    }

    /// One feature of all rows, to be filled.
    pub fn column_mut(&mut self, feature: usize) -> &mut [f64] {
        &mut self.values[feature * self.rows..(feature + 1) * self.rows]
    }

    /// `count` neighbouring features of all rows, column after column, to be filled.
    pub fn columns_mut(&mut self, first: usize, count: usize) -> &mut [f64] {
        &mut self.values[first * self.rows..(first + count) * self.rows]
    }

    /// The value of one feature in one row.
    pub fn value(&self, row: usize, feature: usize) -> f64 {
        self.values[feature * self.rows + row]
    }

    /// All values, column after column.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The first `features` features of only these rows, in this order.
    pub fn take_first(&self, features: usize, rows: &[u32]) -> Self {
        Self::gather(features.min(self.features), &[(self, rows)])
    }

    /// The first `features` features of rows of several blocks, which have as many at least, part after part.
    pub fn gather(features: usize, parts: &[(&Self, &[u32])]) -> Self {
        let mut taken = Self::zeros(parts.iter().map(|(_, rows)| rows.len()).sum(), features);
        for feature in 0..features {
            let mut places = taken.column_mut(feature).iter_mut();
            for (block, rows) in parts {
                let from = block.column(feature);
                for (row, to) in rows.iter().zip(&mut places) {
                    *to = from[*row as usize];
                }
            }
        }
        taken
    }

    /// The block of only these rows, in this order; an index may stand more than once.
    pub fn take(&self, rows: &[usize]) -> Self {
        let mut taken = Self::zeros(rows.len(), self.features);
        for feature in 0..self.features {
            let from = self.column(feature);
            for (to, row) in taken.column_mut(feature).iter_mut().zip(rows) {
                *to = from[*row];
            }
        }
        taken
    }
}
