//! Event times: when each row happened, as microseconds since 1970 in UTC.

use super::arrays::column;
use crate::error::{Error, Result, ResultExt};
use arrow::array::{Array, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use arrow::record_batch::RecordBatch;

const MICROS_A_DAY: i64 = 86_400_000_000;

/// The event time of each row of some batches.
///
/// A timestamp with a time zone is the instant it stands for, one without is read as UTC, a date is its
/// midnight. Nanoseconds are rounded down to microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventTimes {
    /// [`UNDATED`] for null.
    micros: Vec<i64>,
}

/// No real time: 290,000 years before our era.
const UNDATED: i64 = i64::MIN;

impl EventTimes {
    /// Reads a timestamp or date column of the concatenated `batches`.
    ///
    /// # Errors
    /// A check error for a column of another type and for a time outside the range of microseconds.
    pub fn read(batches: &[RecordBatch], name: &str) -> Result<Self> {
        let mut micros = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for batch in batches {
            append(column(batch, name)?, &mut micros).at("column", name)?;
        }
        Ok(Self { micros })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.micros.is_empty()
    }

    /// The row's time in microseconds since 1970, UTC; `None` for null.
    pub fn micros(&self, row: usize) -> Option<i64> {
        self.micros.get(row).copied().filter(|micros| *micros != UNDATED)
    }

    /// The day of each of `rows`, in days since 1970-01-01 UTC.
    ///
    /// # Errors
    /// A check error that names the first row without a time.
    pub fn days(&self, rows: &[usize]) -> Result<Vec<i32>> {
        rows.iter()
            .map(|row| match self.micros(*row) {
                Some(micros) => Ok(micros.div_euclid(MICROS_A_DAY) as i32),
                None => Err(Error::check("a row has no event time").with("row", row)),
            })
            .collect()
    }
}

fn append(array: &dyn Array, to: &mut Vec<i64>) -> Result<()> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => scaled::<TimestampSecondType>(array, to, 1_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled::<TimestampMillisecondType>(array, to, 1_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => scaled::<TimestampMicrosecondType>(array, to, 1),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            converted::<TimestampNanosecondType>(array, to, |nanos| Some(nanos.div_euclid(1_000)))
        }
        DataType::Date32 => scaled::<Date32Type>(array, to, MICROS_A_DAY),
        DataType::Date64 => scaled::<Date64Type>(array, to, 1_000),
        other => Err(Error::check(format!("an event time can't be {other}"))
            .hint("give a timestamp or a date, e.g. CAST(at AS TIMESTAMP)")),
    }
}

fn scaled<T: ArrowPrimitiveType>(array: &dyn Array, to: &mut Vec<i64>, micros: i64) -> Result<()>
where
    i64: From<T::Native>,
{
    converted::<T>(array, to, |value| value.checked_mul(micros))
}

fn converted<T: ArrowPrimitiveType>(
    array: &dyn Array,
    to: &mut Vec<i64>,
    micros: impl Fn(i64) -> Option<i64>,
) -> Result<()>
where
    i64: From<T::Native>,
{
    for (at, value) in array.as_primitive::<T>().values().iter().enumerate() {
        if array.is_null(at) {
            to.push(UNDATED);
            continue;
        }
        match micros(i64::from(*value)) {
            Some(micros) => to.push(micros),
            None => return Err(Error::check("an event time is out of range").with("row", to.len())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Date32Array, Int64Array, TimestampNanosecondArray, TimestampSecondArray};
    use std::sync::Arc;

    fn times(array: ArrayRef) -> Result<EventTimes> {
        EventTimes::read(&[RecordBatch::try_from_iter([("at", array)]).unwrap()], "at")
    }

    #[test]
    fn every_unit_becomes_microseconds_of_utc() {
        let nanos = TimestampNanosecondArray::from(vec![Some(-1), Some(1_999), None]).with_timezone("+02:00");
        let nanos = times(Arc::new(nanos)).unwrap();
        assert_eq!([nanos.micros(0), nanos.micros(1), nanos.micros(2)], [Some(-1), Some(1), None]);
        let dates = times(Arc::new(Date32Array::from(vec![-1, 17_702]))).unwrap();
        assert_eq!([dates.micros(0), dates.micros(1)], [Some(-MICROS_A_DAY), Some(17_702 * MICROS_A_DAY)]);
        assert_eq!(dates.days(&[1, 0]).unwrap(), [17_702, -1]);
    }

    #[test]
    fn the_day_before_1970_is_minus_one() {
        let seconds = times(Arc::new(TimestampSecondArray::from(vec![-1, 86_399, 86_400]))).unwrap();
        assert_eq!(seconds.days(&[0, 1, 2]).unwrap(), [-1, 0, 1]);
    }

    #[test]
    fn other_types_far_times_and_undated_days_are_refused() {
        assert!(times(Arc::new(Int64Array::from(vec![1]))).is_err());
        assert!(times(Arc::new(TimestampSecondArray::from(vec![i64::MAX]))).is_err());
        let undated = times(Arc::new(TimestampSecondArray::from(vec![None]))).unwrap();
        assert!(undated.days(&[0]).is_err());
    }
}
