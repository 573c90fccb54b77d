//! What a query will take, by statistics that are known before anything is read; and what it took.

use super::bounded::size::{row_bytes, rows};
use crate::interval::Interval;
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use std::sync::Arc;

/// What a sort holds of a row besides its columns, in bytes: keys, and where it lies.
const SORTED_ROW_BYTES: u64 = 32;

/// What a scan holds of a file at once, at most: the columns of a row group.
const MOST_OF_A_FILE: u64 = 128 << 20;

/// Rows, bytes and memory of a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// Rows that it gives; absent where no statistics tell.
    pub rows: Option<u64>,
    /// Bytes of the columns that it reads, of the files that it opens.
    pub bytes: u64,
    /// What its sorts and joins would hold with all memory that they want.
    pub operators: u64,
    /// What its scans hold at once.
    pub scans: u64,
    /// A row of the result in memory.
    pub row_bytes: u64,
}

/// What `plan` will take; rows are those with a `time` within `span`, where files tell their times.
pub(super) fn forecast(plan: &dyn ExecutionPlan, time: &str, span: &Interval) -> Forecast {
    let mut all = Scans { time, span: (span.start().timestamp_micros(), span.end().timestamp_micros()), ..Scans::NONE };
    all.add(plan);
    Forecast {
        rows: all.rows.map(|rows| rows.round() as u64).or_else(|| rows(plan)),
        bytes: all.bytes,
        operators: operators(plan),
        scans: all.at_once,
        row_bytes: row_bytes(&plan.schema()),
    }
}

/// The files that a plan reads.
struct Scans<'a> {
    time: &'a str,
    /// In microseconds since 1970.
    span: (i64, i64),
    /// Of the scan with most rows in the span.
    rows: Option<f64>,
    bytes: u64,
    at_once: u64,
}

impl Scans<'_> {
    const NONE: Self = Self { time: "", span: (0, 0), rows: None, bytes: 0, at_once: 0 };

    fn add(&mut self, plan: &dyn ExecutionPlan) {
        if let Some(scan) = scan_of(plan) {
            self.add_scan(scan);
        }
        plan.children().into_iter().for_each(|child| self.add(child.as_ref()));
    }

    fn add_scan(&mut self, scan: &FileScanConfig) {
        let all = row_bytes(scan.file_schema());
        let read = scan.projected_schema().map_or(all, |schema| row_bytes(&schema)).min(all);
        let time = scan.file_schema().index_of(self.time).ok();
        let (mut within, mut largest) = (Some(0.0), 0);
        for file in scan.file_groups.iter().flat_map(|group| group.iter()) {
            let size = file.object_meta.size;
            let size = file.range.as_ref().map_or(size, |range| u64::try_from(range.end - range.start).unwrap_or(size));
            // As if all columns took the same in the file as they do in memory.
            let bytes = (size as f64 * read as f64 / all as f64) as u64;
            self.bytes += bytes;
            largest = largest.max(bytes);
            within = within.zip(self.within(file, time)).map(|(sum, rows)| sum + rows);
        }
        self.at_once += largest.min(MOST_OF_A_FILE);
        let most = |rows: f64| self.rows.map_or(rows, |most| most.max(rows));
        self.rows = within.filter(|_| time.is_some()).map(most).or(self.rows);
    }

    /// How many rows of a file are in the span, if they are evenly spread.
    fn within(&self, file: &datafusion::datasource::listing::PartitionedFile, time: Option<usize>) -> Option<f64> {
        let statistics = file.statistics.as_ref()?;
        let rows = *statistics.num_rows.get_value()? as f64;
        let column = statistics.column_statistics.get(time?)?;
        let (first, last) = (micros(&column.min_value)?, micros(&column.max_value)?);
        Some(rows * share((first, last), self.span))
    }
}

/// Which share of the instants from the first to the last lies in a half-open span.
fn share((first, last): (i64, i64), (start, end): (i64, i64)) -> f64 {
    // Some tables have the ends of all time in them.
    let [first, last, start, end] = [first, last, start, end].map(i128::from);
    let common = (last.min(end - 1) - first.max(start) + 1).max(0);
    common as f64 / (last - first + 1).max(1) as f64
}

fn scan_of(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

fn micros(value: &Precision<ScalarValue>) -> Option<i64> {
    let kind = DataType::Timestamp(TimeUnit::Microsecond, None);
    match value.get_value()?.cast_to(&kind).ok()? {
        ScalarValue::TimestampMicrosecond(micros, _) => micros,
        _ => None,
    }
}

/// What the operators of a plan hold, all at once: each that collects its rows, with the rows of its statistics.
fn operators(plan: &dyn ExecutionPlan) -> u64 {
    let below: u64 = plan.children().into_iter().map(|child| operators(child.as_ref())).sum();
    let collected = |side: &Arc<dyn ExecutionPlan>, extra: u64| {
        let rows = rows(side.as_ref()).unwrap_or(0);
        rows.saturating_mul(row_bytes(&side.schema()) + extra)
    };
    let own = match plan.name() {
        "SortExec" | "KeySortExec" | "AggregateExec" => {
            plan.children().first().map_or(0, |input| collected(input, SORTED_ROW_BYTES))
        }
        "StandInExec" => match plan.children().as_slice() {
            // The collected side of a join, which is copied into one batch; the input of a sort.
            [left, _] => collected(left, SORTED_ROW_BYTES) * 2,
            [input] => collected(input, SORTED_ROW_BYTES),
            _ => 0,
        },
        _ if plan.is::<HashJoinExec>() || plan.is::<CrossJoinExec>() || plan.is::<NestedLoopJoinExec>() => {
            plan.children().first().map_or(0, |left| collected(left, 0) * 2)
        }
        _ => 0,
    };
    below.saturating_add(own)
}

/// Bytes that the scans of a plan have read so far.
pub(super) fn bytes_read(plan: &dyn ExecutionPlan) -> u64 {
    let below: u64 = plan.children().into_iter().map(|child| bytes_read(child.as_ref())).sum();
    let own = scan_of(plan).and_then(|_| plan.metrics()?.sum_by_name("bytes_scanned"));
    below + own.map_or(0, |value| value.as_usize() as u64)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_of_the_common_instants() {
        assert_eq!(share((0, 9), (5, 100)), 0.5);
        assert_eq!(share((0, 9), (-5, 0)), 0.0);
        assert_eq!(share((7, 7), (7, 8)), 1.0);
        assert_eq!(share((i64::MIN, i64::MAX), (i64::MIN, i64::MAX)), 1.0);
        assert!((share((i64::MIN, i64::MAX), (0, i64::MAX)) - 0.5).abs() < 1e-9);
    }
}
