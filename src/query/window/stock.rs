//! What only DataFusion computes, over frames that are ours: its accumulators take the rows that come into a frame and
//! give back those that leave it, its window functions are shown the frame.
//!
//! For windows over a distance of the order key alone, whose frames DataFusion's own operator gets wrong (see
//! [`whole`](super::whole)). A row costs what it costs there.

use super::lanes::{Lane, LaneKind};
use super::sliding::Sliding;
use arrow::array::{ArrayRef, new_empty_array};
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, PartitionEvaluator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::window::StandardWindowFunctionExpr;
use std::sync::Arc;

/// A function of DataFusion's.
#[derive(Debug, Clone)]
pub(super) enum Call {
    /// An aggregate of frames that start with their partition.
    Growing(Arc<AggregateFunctionExpr>),
    /// An aggregate of frames that rows leave.
    Sliding(Arc<AggregateFunctionExpr>),
    /// A window function that looks at its frame and keeps nothing.
    Framed(Arc<dyn StandardWindowFunctionExpr>),
}

/// A function and its arguments.
#[derive(Debug)]
pub(super) struct Stock {
    call: Call,
    /// The lanes of its arguments' values.
    lanes: Vec<usize>,
    kind: DataType,
}

impl Stock {
    /// A function that gives values of type `kind`; `None` where it has no arguments, or cannot take anything back.
    pub(super) fn new(
        sliding: &mut Sliding,
        call: Call,
        arguments: &[Arc<dyn PhysicalExpr>],
        kind: &DataType,
    ) -> Option<Self> {
        if arguments.is_empty() || call.begun().is_err() {
            return None;
        }
        let lanes = arguments.iter().map(|argument| sliding.lane(argument, LaneKind::Values)).collect();
        Some(Self { call, lanes, kind: kind.clone() })
    }

    /// The type of what it gives.
    pub(super) fn kind(&self) -> &DataType {
        &self.kind
    }

    /// What it gives for a frame without rows.
    fn of_nothing(&self) -> Result<ScalarValue> {
        match &self.call {
            Call::Growing(aggregate) | Call::Sliding(aggregate) => aggregate.default_value(&self.kind),
            Call::Framed(_) => ScalarValue::try_from(&self.kind),
        }
    }
}

impl Call {
    /// The function at the start of a partition.
    fn begun(&self) -> Result<Work> {
        Ok(match self {
            Self::Growing(aggregate) => Work::Aggregate(aggregate.create_accumulator()?),
            Self::Sliding(aggregate) => Work::Aggregate(aggregate.create_sliding_accumulator()?),
            Self::Framed(function) => Work::Function(function.create_evaluator()?),
        })
    }
}

#[derive(Debug)]
enum Work {
    Aggregate(Box<dyn Accumulator>),
    Function(Box<dyn PartitionEvaluator>),
}

/// A function at work on one frame after the other.
#[derive(Debug, Default)]
pub(super) struct Running {
    work: Option<Work>,
    /// The rows that it holds: [lo, hi).
    lo: usize,
    hi: usize,
    /// Whether any row that it took had a value.
    has_values: bool,
}

impl Running {
    /// Forgets all; the next frame starts at `position` or after it.
    pub(super) fn restart(&mut self, position: usize) {
        self.work = None;
        (self.lo, self.hi, self.has_values) = (position, position, false);
    }

    /// The values of frames of one partition, in order.
    ///
    /// # Errors
    /// As the function fails.
    pub(super) fn frames(
        &mut self,
        stock: &Stock,
        lanes: &[Lane],
        frames: &[(usize, usize)],
        given: &mut Vec<ScalarValue>,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else { return Ok(()) };
        let from = match stock.call {
            Call::Growing(_) => self.hi,
            Call::Sliding(_) => self.lo,
            Call::Framed(_) => first.0,
        };
        // All rows that come, leave or are looked at, in one piece for each argument.
        let mut arguments = Vec::with_capacity(stock.lanes.len());
        for lane in &stock.lanes {
            let Some(Lane::Values(values)) = lanes.get(*lane) else {
                return Err(DataFusionError::Internal("a window's lane does not fit its function".to_owned()));
            };
            arguments.push(values.span(from, last.1.max(from))?);
        }
        for (lo, hi) in frames {
            given.push(self.frame(stock, &arguments, from, (*lo, *hi))?);
        }
        Ok(())
    }

    /// The value of a frame; the first row of `arguments` is that at `from`.
    fn frame(
        &mut self,
        stock: &Stock,
        arguments: &[ArrayRef],
        from: usize,
        (lo, hi): (usize, usize),
    ) -> Result<ScalarValue> {
        if lo >= hi {
            self.restart(lo.max(self.hi));
            return stock.of_nothing();
        }
        let slides = matches!(stock.call, Call::Sliding(_));
        let has_values = !slides || has_values(arguments, lo - from, hi - from);
        // Some accumulators do not know any more that there is no value when the last one has left.
        if lo >= self.hi || (slides && self.has_values && !has_values) {
            self.restart(lo);
        }
        self.has_values |= has_values;
        let work = match &mut self.work {
            Some(work) => work,
            none => none.insert(stock.call.begun()?),
        };
        let rows = |start: usize, end: usize| -> Vec<ArrayRef> {
            arguments.iter().map(|argument| argument.slice(start - from, end - start)).collect()
        };
        let value = match work {
            Work::Aggregate(aggregate) => {
                if self.hi < hi {
                    aggregate.update_batch(&rows(self.hi, hi))?;
                }
                if self.lo < lo {
                    aggregate.retract_batch(&rows(self.lo, lo))?;
                }
                aggregate.evaluate()?
            }
            Work::Function(function) => function.evaluate(arguments, &(lo - from..hi - from))?,
        };
        (self.lo, self.hi) = (lo, hi);
        Ok(value)
    }

    /// Bytes on the heap, as far as the function tells.
    pub(super) fn bytes(&self) -> usize {
        match &self.work {
            Some(Work::Aggregate(aggregate)) => aggregate.size(),
            _ => 0,
        }
    }
}

/// Whether any of some rows has a value of the first argument.
fn has_values(arguments: &[ArrayRef], start: usize, end: usize) -> bool {
    let nulls = arguments.first().and_then(|argument| argument.nulls());
    nulls.is_none_or(|nulls| nulls.slice(start, end - start).null_count() < end - start)
}

/// Values as a column of type `kind`.
///
/// # Errors
/// Where they are not of one type.
pub(super) fn column(values: Vec<ScalarValue>, kind: &DataType) -> Result<ArrayRef> {
    if values.is_empty() { Ok(new_empty_array(kind)) } else { ScalarValue::iter_to_array(values) }
}
