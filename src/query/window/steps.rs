//! Steps at work: their state from row to row, and the columns that are made of what they give.

use super::bounds::Cursor;
use super::extremes::{Extremes, High, Low};
use super::keys;
use super::lanes::{Lane, position};
use super::links::Distinct;
use super::moments::Spreads;
use super::sliding::{Make, Output, Sliding, Step, StepKind};
use super::stock::{self, Running};
use super::sums::{FloatSums, Sum};
use arrow::array::{ArrayRef, Float64Array, Int64Array, PrimitiveArray, UInt64Array};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Int64Type, TimeUnit,
};
use datafusion::error::{DataFusionError, Result};
use std::ops::Range;
use std::sync::Arc;

/// Rows of a batch that are of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Which rows of the batch.
    pub(super) rows: Range<usize>,
    /// The position of the first, where it is the first of the partition.
    pub(super) start: Option<usize>,
}

/// The frames of a batch's rows.
#[derive(Clone, Copy)]
pub(super) struct Frames<'a> {
    lo: &'a [usize],
    hi: &'a [usize],
}

impl<'a> Frames<'a> {
    /// Of the next `rows` rows.
    pub(super) fn new(sliding: &Sliding, cursors: &'a [Cursor], frame: usize, rows: usize) -> Self {
        let (start, end) = sliding.frames[frame];
        Self { lo: &cursors[start].found()[..rows], hi: &cursors[end].found()[..rows] }
    }

    fn of(self, rows: Range<usize>) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.lo[rows.clone()].iter().copied().zip(self.hi[rows].iter().copied())
    }

    fn all(self) -> impl Iterator<Item = (usize, usize)> + 'a {
        self.of(0..self.lo.len())
    }
}

/// The state of a step.
#[derive(Debug)]
pub(super) enum State {
    Count,
    Floats(FloatSums),
    Squares(Spreads),
    Low(Extremes<Low<i64>>),
    High(Extremes<High<i64>>),
    WideLow(Extremes<Low<i128>>),
    WideHigh(Extremes<High<i128>>),
    Distinct(Distinct),
    Stock(Running),
}

/// What a step gives for the rows of a batch.
pub(super) enum Cells {
    Counts(Vec<i64>),
    Sums(Vec<Sum>),
    Squares(Vec<f64>),
    Keys(Vec<i64>),
    Decimals(Vec<i128>),
    Column(ArrayRef),
}

impl State {
    pub(super) fn new(kind: StepKind) -> Self {
        match kind {
            StepKind::Rows | StepKind::Count { .. } => Self::Count,
            StepKind::Floats { .. } => Self::Floats(FloatSums::new()),
            StepKind::Squares { .. } => Self::Squares(Spreads::new()),
            StepKind::Low { .. } => Self::Low(Extremes::new()),
            StepKind::High { .. } => Self::High(Extremes::new()),
            StepKind::WideLow { .. } => Self::WideLow(Extremes::new()),
            StepKind::WideHigh { .. } => Self::WideHigh(Extremes::new()),
            StepKind::Distinct { .. } => Self::Distinct(Distinct::default()),
            StepKind::Stock { .. } => Self::Stock(Running::default()),
        }
    }

    /// What the step gives for the frames of a batch, whose partitions are `segments`.
    ///
    /// # Errors
    /// Where a lane is not of the form that the step reads, and where a function of DataFusion's fails.
    pub(super) fn run(
        &mut self,
        sliding: &Sliding,
        step: Step,
        frames: Frames<'_>,
        segments: &[Segment],
        lanes: &[Lane],
    ) -> Result<Cells> {
        let rows = frames.lo.len();
        macro_rules! along {
            ($state:expr, $cells:ident, $($held:expr),+) => {{
                let mut cells = Vec::with_capacity(rows);
                for segment in segments {
                    if let Some(start) = segment.start {
                        $state.restart(start);
                    }
                    $state.frames($($held),+, frames.of(segment.rows.clone()), &mut cells);
                }
                Cells::$cells(cells)
            }};
        }
        Ok(match (self, step.kind) {
            (Self::Count, StepKind::Rows) => {
                Cells::Counts(frames.all().map(|(lo, hi)| position(hi.saturating_sub(lo))).collect())
            }
            (Self::Count, StepKind::Count { lane }) => match &lanes[lane] {
                Lane::Count(counts) => Cells::Counts(frames.all().map(|(lo, hi)| counts.between(lo, hi)).collect()),
                _ => return Err(unfit()),
            },
            (Self::Floats(state), StepKind::Floats { lane }) => match &lanes[lane] {
                Lane::Float(floats) => along!(state, Sums, floats),
                _ => return Err(unfit()),
            },
            (Self::Squares(state), StepKind::Squares { lane, counts }) => match (&lanes[lane], &lanes[counts]) {
                (Lane::Float(floats), Lane::Count(counts)) => along!(state, Squares, floats, counts),
                _ => return Err(unfit()),
            },
            (Self::Low(state), StepKind::Low { lane }) => match &lanes[lane] {
                Lane::Key { held, .. } => along!(state, Keys, held),
                _ => return Err(unfit()),
            },
            (Self::High(state), StepKind::High { lane }) => match &lanes[lane] {
                Lane::Key { held, .. } => along!(state, Keys, held),
                _ => return Err(unfit()),
            },
            (Self::WideLow(state), StepKind::WideLow { lane }) => match &lanes[lane] {
                Lane::WideKey { held, .. } => along!(state, Decimals, held),
                _ => return Err(unfit()),
            },
            (Self::WideHigh(state), StepKind::WideHigh { lane }) => match &lanes[lane] {
                Lane::WideKey { held, .. } => along!(state, Decimals, held),
                _ => return Err(unfit()),
            },
            (Self::Distinct(state), StepKind::Distinct { lane }) => match &lanes[lane] {
                Lane::Links(links) => along!(state, Counts, links),
                _ => return Err(unfit()),
            },
            (Self::Stock(state), StepKind::Stock { stock }) => {
                let (stock, mut given) = (sliding.stocks.get(stock).ok_or_else(unfit)?, Vec::with_capacity(rows));
                for segment in segments {
                    if let Some(start) = segment.start {
                        state.restart(start);
                    }
                    let frames: Vec<_> = frames.of(segment.rows.clone()).collect();
                    state.frames(stock, lanes, &frames, &mut given)?;
                }
                Cells::Column(stock::column(given, stock.kind())?)
            }
            _ => return Err(unfit()),
        })
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Count | Self::Distinct(_) => 0,
            Self::Floats(state) => state.bytes(),
            Self::Squares(state) => state.bytes(),
            Self::Low(state) => state.bytes(),
            Self::High(state) => state.bytes(),
            Self::WideLow(state) => state.bytes(),
            Self::WideHigh(state) => state.bytes(),
            Self::Stock(state) => state.bytes(),
        }
    }
}

/// A lane and a step that were not made for each other.
fn unfit() -> DataFusionError {
    DataFusionError::Internal("a window's lane does not fit its aggregate".to_owned())
}

/// The column of an output.
///
/// # Errors
/// Where values cannot be gathered, and where a step is not what the output reads.
pub(super) fn column<'a>(
    output: &Output,
    cells: &[Cells],
    lanes: &[Lane],
    frames: impl Fn(usize) -> Frames<'a>,
) -> Result<ArrayRef> {
    let counts = |step: usize| match &cells[step] {
        Cells::Counts(counts) => Ok(counts.as_slice()),
        _ => Err(unfit()),
    };
    let kind = &output.kind;
    Ok(match output.make {
        Make::Count { count } => Arc::new(Int64Array::from(counts(count)?.to_vec())),
        Make::Integers { frame, lane, count } => {
            let Lane::Sum(prefix) = &lanes[lane] else { return Err(unfit()) };
            let counts = counts(count)?;
            let of_frames = frames(frame).all().zip(counts);
            let sum = |(lo, hi): (usize, usize)| prefix.at(hi).wrapping_sub(prefix.at(lo));
            let sums = of_frames.map(|(frame, count)| if *count > 0 { sum(frame) } else { 0 }).collect();
            integers(kind, sums, at_least(counts, 1))?
        }
        Make::Decimals { frame, lane, count } => {
            let Lane::WideSum(prefix) = &lanes[lane] else { return Err(unfit()) };
            let counts = counts(count)?;
            let of_frames = frames(frame).all().zip(counts);
            let sum = |(lo, hi): (usize, usize)| prefix.at(hi).wrapping_sub(prefix.at(lo));
            let sums = of_frames.map(|(frame, count)| if *count > 0 { sum(frame) } else { 0 }).collect();
            keys::decimals(kind, sums, at_least(counts, 1))
        }
        Make::Sum { step, count } | Make::Mean { step, count } => {
            let Cells::Sums(sums) = &cells[step] else { return Err(unfit()) };
            let counts = counts(count)?;
            let is_mean = matches!(output.make, Make::Mean { .. });
            let values = sums.iter().zip(counts).map(|(sum, count)| match (is_mean, *count) {
                (_, 0) => 0.0,
                (true, count) => sum.over(count as f64),
                (false, _) => sum.total(),
            });
            floats(values.collect(), at_least(counts, 1))
        }
        Make::Spread { step, count, sample, root } => {
            let Cells::Squares(squares) = &cells[step] else { return Err(unfit()) };
            let counts = counts(count)?;
            let values = squares.iter().zip(counts).map(|(squares, count)| match (*count, sample) {
                (0, _) | (1, true) => 0.0,
                // Of one value there is no distance, whatever the value.
                (1, false) => 0.0,
                (count, _) => {
                    let variance = squares / (count - i64::from(sample)) as f64;
                    if root { variance.sqrt() } else { variance }
                }
            });
            floats(values.collect(), at_least(counts, if sample { 2 } else { 1 }))
        }
        Make::Extreme { step, count } => {
            let nulls = at_least(counts(count)?, 1);
            match &cells[step] {
                Cells::Keys(best) => keys::array(kind, best, nulls).ok_or_else(unfit)?,
                Cells::Decimals(best) => keys::decimals(kind, best.clone(), nulls),
                _ => return Err(unfit()),
            }
        }
        Make::Number { count } => {
            let numbers = counts(count)?.iter().map(|count| count.cast_unsigned());
            Arc::new(UInt64Array::from_iter_values(numbers))
        }
        Make::Stock { step } => match &cells[step] {
            Cells::Column(column) => Arc::clone(column),
            _ => return Err(unfit()),
        },
        Make::LastValid { frame, lane, valid } => {
            let (Lane::Values(values), Lane::LastValid(last)) = (&lanes[lane], &lanes[valid]) else {
                return Err(unfit());
            };
            let edge = |(lo, hi): (usize, usize)| {
                let past = if lo < hi { last.at(hi - 1) } else { 0 };
                (past > lo).then(|| past - 1)
            };
            values.gather(kind, frames(frame).all().map(edge))?
        }
        Make::First { frame, lane } | Make::Last { frame, lane } => {
            let Lane::Values(values) = &lanes[lane] else { return Err(unfit()) };
            let is_last = matches!(output.make, Make::Last { .. });
            let edge = |(lo, hi): (usize, usize)| (lo < hi).then_some(if is_last { hi - 1 } else { lo });
            values.gather(kind, frames(frame).all().map(edge))?
        }
    })
}

/// NULL where a frame has fewer values than `least`.
fn at_least(counts: &[i64], least: i64) -> Option<NullBuffer> {
    let valid = BooleanBuffer::collect_bool(counts.len(), |row| counts[row] >= least);
    Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
}

fn floats(values: Vec<f64>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Float64Array::new(values.into(), nulls))
}

/// 64-bit integers as the type of their sum.
fn integers(kind: &DataType, sums: Vec<i64>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    fn typed<T: ArrowPrimitiveType<Native = i64>>(sums: Vec<i64>, nulls: Option<NullBuffer>) -> ArrayRef {
        Arc::new(PrimitiveArray::<T>::new(sums.into(), nulls))
    }
    Ok(match kind {
        DataType::UInt64 => {
            let sums: Vec<u64> = sums.into_iter().map(i64::cast_unsigned).collect();
            Arc::new(UInt64Array::new(sums.into(), nulls))
        }
        DataType::Duration(TimeUnit::Second) => typed::<DurationSecondType>(sums, nulls),
        DataType::Duration(TimeUnit::Millisecond) => typed::<DurationMillisecondType>(sums, nulls),
        DataType::Duration(TimeUnit::Microsecond) => typed::<DurationMicrosecondType>(sums, nulls),
        DataType::Duration(TimeUnit::Nanosecond) => typed::<DurationNanosecondType>(sums, nulls),
        _ => typed::<Int64Type>(sums, nulls),
    })
}
