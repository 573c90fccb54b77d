//! The training rows that a fit only watches, to know when to stop: the latest in event time, as the rows to be
//! scored will be later than all of them.

use crate::error::{Error, Result};
use crate::features::{EventTimes, SegmentRows, Split};
use arrow::array::RecordBatch;

/// Chooses the watched rows while the training rows pass.
pub struct Watch {
    share: f64,
    seed: u64,
    micros: Vec<i64>,
    /// Which rows a hash of the key would choose; an error matters only where that is needed.
    hashed: Result<Vec<bool>>,
}

impl Watch {
    /// Watches this share of the rows.
    pub fn new(share: f64, seed: u64) -> Self {
        Self { share, seed, micros: Vec::new(), hashed: Ok(Vec::new()) }
    }

    /// The next training rows: the given ones of a batch, whose times are all known.
    pub fn add(&mut self, batch: &RecordBatch, times: &EventTimes, key: &[&str], rows: &[usize]) {
        self.micros.extend(rows.iter().filter_map(|row| times.micros(*row)));
        let Ok(hashed) = &mut self.hashed else { return };
        // Another seed than that of a split by hash, which has kept no row of this share for training.
        match Split::by_hash(std::slice::from_ref(batch), key, self.share, !self.seed) {
            Ok(split) => hashed.extend(rows.iter().map(|row| split.test.binary_search(row).is_ok())),
            Err(error) => self.hashed = Err(error),
        }
    }

    /// One flag a training row, in order; none where there are too few rows to watch any.
    ///
    /// The latest rows are taken, with all of the same instant as the earliest of them. Where these would be
    /// more than half of all rows, those of that instant are left out; and where that leaves less than half of
    /// the share, time does not tell rows apart, and they are taken by a hash of their key.
    ///
    /// # Errors
    /// Where a hash is needed and the key has none.
    pub fn finish(self) -> Result<Option<Vec<bool>>> {
        match watched(self.share, &self.micros) {
            Chosen::None => Ok(None),
            Chosen::Latest(flags) => Ok(some(flags)),
            Chosen::ByKey => self.hashed.map(some),
        }
    }

    /// One flag a training row, by the same rule within each segment: its own latest rows. A row of no segment is not
    /// watched, nor are rows of a segment that has too few.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn of_segments(&self, segments: &SegmentRows) -> Result<Vec<bool>> {
        let (order, starts) = segments.by_segment();
        let mut flags = vec![false; self.micros.len()];
        for range in starts.windows(2) {
            let rows = &order[range[0]..range[1]];
            let micros: Vec<i64> = rows.iter().map(|row| self.micros[*row as usize]).collect();
            let own = match (watched(self.share, &micros), &self.hashed) {
                (Chosen::None, _) => None,
                (Chosen::Latest(own), _) => some(own),
                (Chosen::ByKey, Ok(hashed)) => some(rows.iter().map(|row| hashed[*row as usize]).collect()),
                (Chosen::ByKey, Err(_)) => return Err(no_hash()),
            };
            for (row, flag) in rows.iter().zip(own.unwrap_or_default()) {
                flags[*row as usize] = flag;
            }
        }
        Ok(flags)
    }
}

/// Which of some rows are watched.
enum Chosen {
    None,
    Latest(Vec<bool>),
    /// By a hash of their keys.
    ByKey,
}

fn watched(share: f64, micros: &[i64]) -> Chosen {
    let rows = micros.len();
    let wanted = (rows as f64 * share) as usize;
    if wanted == 0 || wanted >= rows {
        return Chosen::None;
    }
    let mut sorted = micros.to_vec();
    let cut = *sorted.select_nth_unstable(rows - wanted).1;
    drop(sorted);
    let from = micros.iter().filter(|micros| **micros >= cut).count();
    let after = micros.iter().filter(|micros| **micros > cut).count();
    if 2 * from <= rows {
        Chosen::Latest(micros.iter().map(|micros| *micros >= cut).collect())
    } else if 2 * after >= wanted {
        Chosen::Latest(micros.iter().map(|micros| *micros > cut).collect())
    } else {
        Chosen::ByKey
    }
}

/// The flags, if they tell rows apart.
fn some(flags: Vec<bool>) -> Option<Vec<bool>> {
    let count = flags.iter().filter(|watched| **watched).count();
    (0 < count && count < flags.len()).then_some(flags)
}

fn no_hash() -> Error {
    Error::check("time does not tell the rows of a segment apart, and the key has no exact value to be hashed")
        .hint("set validation = 0, or make the key of whole numbers or texts")
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, TimestampMicrosecondArray};
    use std::sync::Arc;

    fn watched(micros: &[i64], key: ArrayRef, share: f64) -> Result<Option<Vec<bool>>> {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(micros.to_vec()));
        let batch = RecordBatch::try_from_iter([("at", times), ("key", key)]).unwrap();
        let times = EventTimes::read(std::slice::from_ref(&batch), "at").unwrap();
        let mut watch = Watch::new(share, 7);
        watch.add(&batch, &times, &["key"], &(0..micros.len()).collect::<Vec<_>>());
        watch.finish()
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
    fn rows_of_one_instant_are_watched_by_their_keys() {
        let flags = watched(&[3; 1000], keys(1000), 0.1).unwrap().unwrap();
        let count = flags.iter().filter(|flag| **flag).count();
        assert!((60..140).contains(&count), "{count}");
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![0.5; 10]));
        assert!(watched(&[3; 10], Arc::clone(&floats), 0.2).is_err(), "no exact value to be hashed");
        assert!(watched(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], floats, 0.2).unwrap().is_some());
    }

    #[test]
    fn too_few_rows_are_all_learned_from() {
        assert_eq!(watched(&[1, 2, 3], keys(3), 0.2).unwrap(), None);
    }
}
