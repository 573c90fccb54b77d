//! The folds of a search: which training rows a setting learns from, and on which it is measured.
//!
//! Where the job splits by time, the later half of the rows is cut into blocks of equal numbers, in the order of time.
//! Each fold is measured on one of them and learns from what is earlier by more than the gap of the job's split, so that
//! it never learns from what comes after, and its rows are as far apart as those of the job. Where the job splits by a
//! hash, each fold is measured on a share of the keys and learns from the others.

use crate::engine::moments::Moments;
use crate::error::{Error, Result};
use crate::job::{ModelSpec, Split};

/// Which rows are in which fold.
pub struct Folds {
    cut: Cut,
}

enum Cut {
    /// The instants at which blocks begin; the last block has no end.
    Time { starts: Vec<i64>, gap: i64 },
    /// As many shares of the keys.
    Keys { folds: u32 },
}

impl Folds {
    /// The folds of these rows, as the job splits.
    ///
    /// # Errors
    /// `check` where there are too few rows, too few different instants, or nothing before the gap of the first fold;
    /// for a split by hash, where the key has no hash.
    pub fn of(model: &ModelSpec, folds: usize, moments: &Moments) -> Result<Self> {
        let cut = match &model.split {
            Split::Time { gap, .. } => {
                let gap = gap.delta().num_microseconds().unwrap_or(i64::MAX);
                Cut::Time { starts: starts(moments.micros(), folds, gap)?, gap }
            }
            Split::Hash { .. } => {
                moments.hashes()?;
                Cut::Keys { folds: folds as u32 }
            }
        };
        let folds = Self { cut };
        for fold in 0..folds.count() {
            if folds.learned(fold, moments)?.is_empty() || folds.held_out(fold, moments)?.is_empty() {
                return Err(too_few(moments.micros().len(), folds.count()).with("fold", fold + 1));
            }
        }
        Ok(folds)
    }

    fn count(&self) -> usize {
        match &self.cut {
            Cut::Time { starts, .. } => starts.len(),
            Cut::Keys { folds } => *folds as usize,
        }
    }

    /// The rows that a fold learns from, ascending.
    ///
    /// # Errors
    /// None in practice: folds are not made where keys have no hash.
    pub fn learned(&self, fold: usize, moments: &Moments) -> Result<Vec<u32>> {
        Ok(match &self.cut {
            Cut::Time { starts, gap } => {
                let end = starts[fold].saturating_sub(*gap);
                numbered(moments.micros(), |micros| *micros < end)
            }
            Cut::Keys { folds } => numbered(moments.hashes()?, |hash| share(*hash, *folds) != fold as u32),
        })
    }

    /// The rows that it is measured on, ascending.
    ///
    /// # Errors
    /// As [`Folds::learned`].
    pub fn held_out(&self, fold: usize, moments: &Moments) -> Result<Vec<u32>> {
        Ok(match &self.cut {
            Cut::Time { starts, .. } => {
                let (start, end) = (starts[fold], starts.get(fold + 1));
                numbered(moments.micros(), |micros| *micros >= start && end.is_none_or(|end| micros < end))
            }
            Cut::Keys { folds } => numbered(moments.hashes()?, |hash| share(*hash, *folds) == fold as u32),
        })
    }
}

/// The fold of a key, by the lower half of its hash: early stopping may take the upper one.
fn share(hash: u64, folds: u32) -> u32 {
    (((hash & u64::from(u32::MAX)) * u64::from(folds)) >> 32) as u32
}

fn numbered<T>(values: &[T], wanted: impl Fn(&T) -> bool) -> Vec<u32> {
    (0u32..).zip(values).filter(|(_, value)| wanted(value)).map(|(row, _)| row).collect()
}

/// Where the blocks of the later half begin; rows of one instant are in one block.
fn starts(micros: &[i64], folds: usize, gap: i64) -> Result<Vec<i64>> {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let half = sorted.len() / 2;
    let later = sorted.len() - half;
    let starts: Vec<i64> = (0..folds).filter_map(|fold| sorted.get(half + fold * later / folds)).copied().collect();
    let apart = starts.len() == folds && starts.windows(2).all(|pair| pair[0] < pair[1]);
    let Some(first) = starts.first().filter(|_| apart) else { return Err(too_few(sorted.len(), folds)) };
    if sorted[0] >= first.saturating_sub(gap) {
        return Err(Error::check("the first fold of the search has nothing to learn from before the split's gap")
            .with("rows", sorted.len())
            .hint("make `model.window` longer than twice the gap, or the gap shorter"));
    }
    Ok(starts)
}

fn too_few(rows: usize, folds: usize) -> Error {
    Error::check("the training rows can't be cut into the folds of the search")
        .with("rows", rows)
        .with("folds", folds)
        .hint("ask for fewer folds, or make `model.window` longer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::EventTimes;
    use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
    use std::sync::Arc;

    const DAY: i64 = 86_400_000_000;

    fn moments(micros: Vec<i64>) -> Moments {
        let key: ArrayRef = Arc::new(Int64Array::from_iter_values((0..micros.len() as i64).map(|row| row / 3)));
        let rows: Vec<usize> = (0..micros.len()).collect();
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros));
        let batch = RecordBatch::try_from_iter([("at", times), ("key", key)]).unwrap();
        let times = EventTimes::read(std::slice::from_ref(&batch), "at").unwrap();
        let mut moments = Moments::new(7);
        moments.add(&batch, &times, &["key"], &rows);
        moments
    }

    fn model(split: &str) -> ModelSpec {
        toml::from_str(&format!("task = \"binary\"\nalgorithm = \"prior\"\nwindow = \"28d\"\nsplit = {split}")).unwrap()
    }

    #[test]
    fn blocks_of_the_later_half_follow_what_is_learned_by_the_gap() {
        // Ten rows a day for 20 days, not in order.
        let moments = moments((0..200).map(|row| (row * 7 % 200) * DAY / 10).collect());
        let model = model("{ by = \"time\", test = \"7d\", gap = \"2d\" }");
        let folds = Folds::of(&model, 5, &moments).unwrap();
        let mut held = Vec::new();
        for fold in 0..5 {
            let (learned, out) = (folds.learned(fold, &moments).unwrap(), folds.held_out(fold, &moments).unwrap());
            let of = |rows: &[u32]| rows.iter().map(|row| moments.micros()[*row as usize]).collect::<Vec<i64>>();
            let (last, first) = (of(&learned).into_iter().max().unwrap(), of(&out).into_iter().min().unwrap());
            assert_eq!((first, last), ((10 + 2 * fold as i64) * DAY, first - 2 * DAY - DAY / 10));
            assert_eq!((out.len(), learned.len()), (20, 80 + 20 * fold));
            assert!(learned.is_sorted() && out.is_sorted());
            held.extend(out);
        }
        held.sort_unstable();
        let later = numbered(moments.micros(), |micros| *micros >= 10 * DAY);
        assert_eq!(held, later, "each row of the later half is held out once");
    }

    #[test]
    fn rows_of_one_instant_stay_together() {
        let moments = moments((0..100).map(|row| row / 7 * DAY).collect());
        let folds = Folds::of(&model("{ by = \"time\", test = \"7d\" }"), 3, &moments).unwrap();
        let held: Vec<usize> = (0..3).map(|fold| folds.held_out(fold, &moments).unwrap().len()).collect();
        assert_eq!(held.iter().sum::<usize>(), 100 - 49);
        assert!(held.iter().all(|rows| rows % 7 == 0 || *rows == held[2]), "{held:?}");
    }

    #[test]
    fn keys_are_in_one_fold_each() {
        let moments = moments(vec![0; 600]);
        let folds = Folds::of(&model("{ by = \"hash\", test = 0.2 }"), 4, &moments).unwrap();
        let mut all = Vec::new();
        for fold in 0..4 {
            let (learned, out) = (folds.learned(fold, &moments).unwrap(), folds.held_out(fold, &moments).unwrap());
            assert_eq!(learned.len() + out.len(), 600);
            assert!(out.chunks(3).all(|rows| rows[0] % 3 == 0 && rows[2] == rows[0] + 2), "rows of a key");
            assert!((90..210).contains(&out.len()), "{}", out.len());
            all.extend(out);
        }
        all.sort_unstable();
        assert_eq!(all, (0..600).collect::<Vec<u32>>());
    }

    #[test]
    fn folds_without_rows_are_refused() {
        let refused = |micros: Vec<i64>, split: &str, folds: usize| {
            Folds::of(&model(split), folds, &moments(micros)).map(drop).unwrap_err()
        };
        let days = || (0..20).map(|day| day * DAY).collect::<Vec<i64>>();
        let error = refused(days(), "{ by = \"time\", test = \"7d\", gap = \"10d\" }", 5);
        assert!(error.message().contains("gap") && error.hint_text().unwrap().contains("window"), "{error:?}");
        assert!(Folds::of(&model("{ by = \"time\", test = \"7d\", gap = \"9d\" }"), 5, &moments(days())).is_ok());
        refused(vec![5; 100], "{ by = \"time\", test = \"7d\" }", 2);
        refused(days(), "{ by = \"time\", test = \"7d\" }", 11);
        refused(vec![1], "{ by = \"time\", test = \"7d\" }", 2);
        refused(vec![0; 6], "{ by = \"hash\", test = 0.2 }", 50);
    }
}
