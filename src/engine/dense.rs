//! Rows of a training that have to be in memory all at once, because the algorithm takes nothing else; refused
//! before memory is gone.

use super::features::FeatureQuery;
use super::spool::batch_bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{ColumnKind, Signature};
use crate::plan::Plan;
use arrow::array::RecordBatch;
use futures::TryStreamExt;

/// Bytes of one encoded value: in the encoded block, and once more in the form that a library's fit wants.
const VALUE_BYTES: u64 = 16;

/// How much the rows of a training may take in memory.
#[derive(Debug, Clone)]
pub struct DenseLimit {
    /// What `--memory` says.
    pub memory_bytes: u64,
    /// The algorithm, to be named.
    pub algorithm: &'static str,
    /// What the rows take as the query gave them.
    pub held_bytes: u64,
}

impl DenseLimit {
    /// How many fits on at most `rows` rows go into memory side by side, beside `held` rows that all of them share;
    /// at least one, at most `most`.
    ///
    /// # Errors
    /// `budget` where there is room for none.
    pub fn side_by_side(&self, held: u64, rows: u64, features: usize, most: usize) -> Result<usize> {
        self.check(held.saturating_add(rows), features)?;
        let of_a_row = (features as u64).saturating_mul(VALUE_BYTES);
        let left = self.memory_bytes.saturating_sub(self.held_bytes).saturating_sub(held.saturating_mul(of_a_row));
        let fits = left / rows.saturating_mul(of_a_row).max(1);
        Ok(usize::try_from(fits).unwrap_or(usize::MAX).clamp(1, most.max(1)))
    }

    /// Whether so many rows of so many features go into memory beside what is there.
    ///
    /// # Errors
    /// `budget`, with the ways out.
    pub fn check(&self, rows: u64, features: usize) -> Result<()> {
        let encoded = rows.saturating_mul(features as u64).saturating_mul(VALUE_BYTES);
        let needed = self.held_bytes.saturating_add(encoded);
        if needed <= self.memory_bytes {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Budget, "the training rows do not fit into memory all at once, as this algorithm needs them")
            .with("algorithm", self.algorithm)
            .with("rows", rows)
            .with("features", features)
            .with("needed_bytes", needed)
            .with("memory_bytes", self.memory_bytes)
            .hint("use algorithm = \"gradient_boosting\", which learns from a stream; or train on a sample of the rows (WHERE id % 10 = 0 in the SQL, or a shorter window); or raise --memory"))
    }
}

/// All rows of the query, refused as soon as it is clear that they do not fit; the limit knows then what they take.
///
/// # Errors
/// What the stream fails with; `budget` where the rows do not fit.
pub async fn collect(
    query: &FeatureQuery,
    plan: &Plan,
    signature: &Signature,
    limit: &mut DenseLimit,
    mut passed: impl FnMut(usize),
) -> Result<Vec<RecordBatch>> {
    // A category gives a feature a level; how many is known after the fit. One at least, if it is not dropped.
    let numbers = signature.columns.iter().filter(|column| column.kind != ColumnKind::Category).count();
    let mut stream = query.stream(plan).await?;
    let (mut batches, mut rows) = (Vec::new(), 0);
    while let Some(batch) = stream.try_next().await? {
        passed(batch.num_rows());
        rows += batch.num_rows() as u64;
        limit.held_bytes += batch_bytes(&batch) as u64;
        limit.check(rows, numbers)?;
        batches.push(batch);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_ways_out() {
        let limit = DenseLimit { memory_bytes: 1000, algorithm: "logistic_regression", held_bytes: 200 };
        assert!(limit.check(10, 5).is_ok());
        let error = limit.check(10, 6).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Budget);
        assert!(error.to_string().contains("algorithm = logistic_regression"), "{error}");
        assert!(error.hint_text().unwrap().contains("gradient_boosting"));
        assert!(limit.check(u64::MAX, 2).is_err());
        // 800 bytes: 10 rows of one feature are held, and 10 more are a fit's.
        for (held, most, fits) in [(10, 9, 4), (10, 3, 3), (40, 9, 1)] {
            assert_eq!(limit.side_by_side(held, 10, 1, most).unwrap(), fits);
        }
        assert!(limit.side_by_side(41, 10, 1, 9).is_err());
    }
}
