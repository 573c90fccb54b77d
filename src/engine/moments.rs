//! When each training row happened, and a hash of its key: by these, rows are kept from a fit. Early stopping watches
//! the latest rows, as those to be scored will be later than all of them; a search holds out what comes after the rows
//! that it learns from, or some keys.

use crate::error::{Error, Result};
use crate::features::{EventTimes, SegmentRows, hash_bound, key_hashes};
use arrow::array::RecordBatch;

/// The moments of the training rows, in their order.
pub struct Moments {
    /// Another seed than that of a split by hash, which has kept no row of its share for training.
    seed: u64,
    micros: Vec<i64>,
    /// An error matters only where a hash is needed.
    hashes: Result<Vec<u64>>,
}

impl Moments {
    /// None yet; `seed` is the model's.
    pub fn new(seed: u64) -> Self {
        Self { seed: !seed, micros: Vec::new(), hashes: Ok(Vec::new()) }
    }

    /// The next training rows: the given ones of a batch, whose times are all known.
    pub fn add(&mut self, batch: &RecordBatch, times: &EventTimes, key: &[&str], rows: &[usize]) {
        self.micros.extend(rows.iter().filter_map(|row| times.micros(*row)));
        let Ok(hashes) = &mut self.hashes else { return };
        match key_hashes(batch, key, self.seed) {
            Ok(own) => hashes.extend(rows.iter().map(|row| own[*row])),
            Err(error) => self.hashes = Err(error),
        }
    }

    /// The event times, in microseconds since 1970.
    pub fn micros(&self) -> &[i64] {
        &self.micros
    }

    /// The hashes of the keys.
    ///
    /// # Errors
    /// Where the key has none.
    pub fn hashes(&self) -> Result<&[u64]> {
        match &self.hashes {
            Ok(hashes) => Ok(hashes),
            Err(error) => Err(again(error)),
        }
    }

    /// Which of these rows (none: of all) are only watched, one flag each; none where there are too few to watch any.
    ///
    /// The latest rows are taken, with all of the same instant as the earliest of them. Where these would be
    /// more than half of all rows, those of that instant are left out; and where that leaves less than half of
    /// the share, time does not tell rows apart, and they are taken by a hash of their key.
    ///
    /// # Errors
    /// Where a hash is needed and the key has none.
    pub fn watched(&self, share: f64, among: Option<&[u32]>) -> Result<Option<Vec<bool>>> {
        let micros: Vec<i64> = match among {
            Some(rows) => rows.iter().map(|row| self.micros[*row as usize]).collect(),
            None => self.micros.clone(),
        };
        let rows = micros.len();
        let wanted = (rows as f64 * share) as usize;
        if wanted == 0 || wanted >= rows {
            return Ok(None);
        }
        let mut sorted = micros.clone();
        let cut = *sorted.select_nth_unstable(rows - wanted).1;
        drop(sorted);
        let from = micros.iter().filter(|micros| **micros >= cut).count();
        let after = micros.iter().filter(|micros| **micros > cut).count();
        let watched: Vec<bool> = if 2 * from <= rows {
            micros.iter().map(|micros| *micros >= cut).collect()
        } else if 2 * after >= wanted {
            micros.iter().map(|micros| *micros > cut).collect()
        } else {
            let (hashes, bound) = (self.hashes()?, hash_bound(share));
            match among {
                Some(rows) => rows.iter().map(|row| hashes[*row as usize] < bound).collect(),
                None => hashes.iter().map(|hash| *hash < bound).collect(),
            }
        };
        let count = watched.iter().filter(|watched| **watched).count();
        Ok((0 < count && count < rows).then_some(watched))
    }

    /// The same of all rows, each segment for itself: its own latest rows. A row of no segment is not watched, nor are
    /// rows of a segment that has too few.
    ///
    /// # Errors
    /// As [`watched`](Self::watched).
    pub fn watched_of_segments(&self, share: f64, segments: &SegmentRows) -> Result<Vec<bool>> {
        let (order, starts) = segments.by_segment();
        let mut flags = vec![false; self.micros.len()];
        for range in starts.windows(2) {
            let rows = &order[range[0]..range[1]];
            let own = self.watched(share, Some(rows))?.unwrap_or_default();
            rows.iter().zip(own).for_each(|(row, flag)| flags[*row as usize] = flag);
        }
        Ok(flags)
    }
}

/// Which training rows fits only watch, one flag a row; none where they watch none.
#[derive(Default)]
pub struct WatchedRows {
    /// In the fit of all rows.
    pub all: Option<Vec<bool>>,
    /// In the fits of segments.
    pub of_segments: Option<Vec<bool>>,
}

impl WatchedRows {
    /// The same of only these rows, in this order.
    pub fn only(&self, rows: &[u32]) -> Self {
        let only = |flags: &Vec<bool>| rows.iter().map(|row| flags[*row as usize]).collect();
        Self { all: self.all.as_ref().map(only), of_segments: self.of_segments.as_ref().map(only) }
    }
}

/// The same error for somebody else.
fn again(error: &Error) -> Error {
    let told = Error::new(error.kind(), error.message().to_owned());
    let told = error.context().iter().fold(told, |told, (key, value)| told.with(key, value));
    match error.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray};
    use std::sync::Arc;

    fn moments(micros: &[i64], key: ArrayRef) -> Moments {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros.to_vec()));
        let batch = RecordBatch::try_from_iter([("at", times), ("key", key)]).unwrap();
        let times = EventTimes::read(std::slice::from_ref(&batch), "at").unwrap();
        let mut moments = Moments::new(7);
        moments.add(&batch, &times, &["key"], &(0..micros.len()).collect::<Vec<_>>());
        moments
    }

    fn watched(micros: &[i64], key: ArrayRef, share: f64) -> Result<Option<Vec<bool>>> {
        moments(micros, key).watched(share, None)
    }

    fn keys(rows: usize) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(0..rows as i64))
    }

    #[test]
    fn the_latest_rows_are_watched_with_those_of_their_instant() {
        let flags = watched(&[5, 1, 9, 2, 8, 3, 4, 6, 7, 0], keys(10), 0.2).unwrap().unwrap();
        assert_eq!(flags, [false, false, true, false, true, false, false, false, false, false]);
        let flags = watched(&[1, 2, 3, 4, 4, 4, 0, 0, 0, 0], keys(10), 0.1).unwrap().unwrap();
        assert_eq!(flags.iter().filter(|flag| **flag).count(), 3);
        // Most rows are of the instant at which the share begins: only what is later.
        let flags = watched(&[1, 4, 4, 4, 4, 4, 4, 4, 5, 4], keys(10), 0.2).unwrap().unwrap();
        assert_eq!(flags.iter().position(|flag| *flag), Some(8));
        assert_eq!(flags.iter().filter(|flag| **flag).count(), 1);
    }

    #[test]
    fn among_some_rows_the_latest_of_those_are_watched() {
        let moments = moments(&[5, 1, 9, 2, 8, 3, 4, 6, 7, 0], keys(10));
        let flags = moments.watched(0.4, Some(&[0, 1, 3, 5, 9])).unwrap().unwrap();
        assert_eq!(flags, [true, false, false, true, false]);
    }

    #[test]
    fn rows_of_one_instant_are_watched_by_their_keys() {
        let flags = watched(&[3; 1000], keys(1000), 0.1).unwrap().unwrap();
        let count = flags.iter().filter(|flag| **flag).count();
        assert!((60..140).contains(&count), "{count}");
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5; 10]));
        let error = watched(&[3; 10], Arc::clone(&floats), 0.2).unwrap_err();
        assert!(error.message().contains("key") && error.hint_text().is_some(), "{error:?}");
        assert!(watched(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], floats, 0.2).unwrap().is_some());
    }

    #[test]
    fn too_few_rows_are_all_learned_from() {
        assert_eq!(watched(&[1, 2, 3], keys(3), 0.2).unwrap(), None);
    }
}
