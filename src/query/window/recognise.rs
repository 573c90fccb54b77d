//! Which window expressions the operator takes over; for everything else, DataFusion's own stays in place.

use super::bounds::{Bound, Distance, Place, Way};
use super::keys;
use super::lanes::LaneKind;
use super::links;
use super::rows::Order;
use super::sliding::{Make, Output, Sliding, StepKind};
use arrow::array::{ArrayRef, Int32Array, make_comparator, new_empty_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Schema, TimeUnit};

use datafusion::functions_aggregate::{average, count, min_max, stddev, sum, variance};
use datafusion::functions_window::nth_value::{NthValue, NthValueKind};
use datafusion::functions_window::row_number::RowNumber;
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr};
use datafusion::physical_plan::WindowExpr;
use datafusion::physical_plan::windows::WindowUDFExpr;
use datafusion::scalar::ScalarValue;
use std::sync::Arc;

const NANOS_A_DAY: i128 = 86_400_000_000_000;

/// The work of the operator for window expressions over rows of `input`; `None` where one of them is not
/// taken over, or where they are not of one partition and order.
pub(super) fn recognise(windows: &[Arc<dyn WindowExpr>], input: &Schema) -> Option<Sliding> {
    let first = windows.first()?;
    let (partition_by, order_by) = (first.partition_by(), first.order_by());
    let alike = |window: &Arc<dyn WindowExpr>| window.partition_by() == partition_by && window.order_by() == order_by;
    if !windows.iter().all(alike) {
        return None;
    }
    let columns = partition_by.iter().chain(order_by.iter().map(|order| &order.expr));
    for column in columns {
        let empty = new_empty_array(&column.data_type(input).ok()?);
        if make_comparator(empty.as_ref(), empty.as_ref(), SortOptions::default()).is_err() {
            return None;
        }
    }
    let order =
        Order { partition_by: partition_by.to_vec(), order_by: order_by.to_vec(), with_keys: false, with_peers: false };
    let mut sliding = Sliding::new(order);
    for window in windows {
        let output = add(&mut sliding, window, input)?;
        sliding.outputs.push(output);
    }
    let is = |place: fn(&Place) -> bool| sliding.bounds.iter().any(|bound| place(&bound.place));
    let (with_keys, with_peers) =
        (is(|place| matches!(place, Place::Range(..))), is(|place| matches!(place, Place::Peers)));
    (sliding.order.with_keys, sliding.order.with_peers) = (with_keys, with_peers);
    Some(sliding)
}

/// The output of one window expression.
fn add(sliding: &mut Sliding, window: &Arc<dyn WindowExpr>, input: &Schema) -> Option<Output> {
    let kind = window.field().ok()?.data_type().clone();
    let expr = window.as_any();
    let standard = expr.downcast_ref::<StandardWindowExpr>();
    if standard.is_some_and(is_row_number) {
        // Whatever its frame is: the number of rows up to this one.
        let start = Bound { place: Place::Unbounded, is_end: false };
        let frame = sliding.frame(start, Bound { place: Place::Rows(0), is_end: true });
        return Some(Output { kind, make: Make::Number { count: sliding.step(frame, StepKind::Rows) } });
    }
    let (start, end) = bounds(window, input)?;
    if let Some(standard) = standard {
        let edge = edge(standard)?;
        let [argument] = <[_; 1]>::try_from(window.expressions()).ok()?;
        // Which rows of a frame have a value is known of those that are held.
        if edge == Edge::LastValid && start.place == Place::Unbounded {
            return None;
        }
        let frame = sliding.frame(start, end);
        let lane = sliding.lane(&argument, LaneKind::Values);
        let make = match edge {
            Edge::First => Make::First { frame, lane },
            Edge::Last => Make::Last { frame, lane },
            Edge::LastValid => Make::LastValid { frame, lane, valid: sliding.lane(&argument, LaneKind::LastValid) },
        };
        return Some(Output { kind, make });
    }
    let aggregate = if let Some(plain) = expr.downcast_ref::<PlainAggregateWindowExpr>() {
        plain.get_aggregate_expr()
    } else {
        expr.downcast_ref::<SlidingAggregateWindowExpr>()?.get_aggregate_expr()
    };
    // A FILTER has no accessor. It is the last field of both kinds of expression.
    let is_plain = format!("{window:?}").ends_with("filter: None }");
    if !is_plain || !aggregate.order_bys().is_empty() {
        return None;
    }
    let [argument] = <[_; 1]>::try_from(aggregate.expressions()).ok()?;
    if aggregate.is_distinct() {
        let can_link = links::can_link(&argument.data_type(input).ok()?);
        if !can_link || !aggregate.fun().inner().is::<count::Count>() {
            return None;
        }
        let frame = sliding.frame(start, end);
        let lane = sliding.lane(&argument, LaneKind::Links { whole: start.place == Place::Unbounded });
        return Some(Output { kind, make: Make::Count { count: sliding.step(frame, StepKind::Distinct { lane }) } });
    }
    let frame = sliding.frame(start, end);
    let make = aggregated(sliding, aggregate, &argument, frame, input)?;
    Some(Output { kind, make })
}

/// How an aggregate of an argument is made.
fn aggregated(
    sliding: &mut Sliding,
    aggregate: &AggregateFunctionExpr,
    argument: &Arc<dyn PhysicalExpr>,
    frame: usize,
    input: &Schema,
) -> Option<Make> {
    let function = aggregate.fun().inner();
    let (given, result) = (argument.data_type(input).ok()?, aggregate.field().data_type().clone());
    if function.is::<count::Count>() {
        return Some(Make::Count { count: counted(sliding, argument, frame) });
    }
    if function.is::<sum::Sum>() {
        let count = counted(sliding, argument, frame);
        return match (&given, &result) {
            (DataType::Int64, DataType::Int64)
            | (DataType::UInt64, DataType::UInt64)
            | (DataType::Duration(_), DataType::Duration(_)) => {
                Some(Make::Integers { frame, lane: sliding.lane(argument, LaneKind::Sum), count })
            }
            (DataType::Decimal128(..), DataType::Decimal128(..)) => {
                Some(Make::Decimals { frame, lane: sliding.lane(argument, LaneKind::WideSum), count })
            }
            (DataType::Float64, DataType::Float64) => {
                let lane = sliding.lane(argument, LaneKind::Float);
                Some(Make::Sum { step: sliding.step(frame, StepKind::Floats { lane }), count })
            }
            _ => None,
        };
    }
    if function.is::<min_max::Min>() || function.is::<min_max::Max>() {
        let count = counted(sliding, argument, frame);
        let step = extreme(sliding, argument, frame, (&given, &result), function.is::<min_max::Min>())?;
        return Some(Make::Extreme { step, count });
    }
    if (&given, &result) != (&DataType::Float64, &DataType::Float64) {
        return None;
    }
    if function.is::<average::Avg>() {
        let count = counted(sliding, argument, frame);
        let lane = sliding.lane(argument, LaneKind::Float);
        return Some(Make::Mean { step: sliding.step(frame, StepKind::Floats { lane }), count });
    }
    let (sample, root) = if function.is::<stddev::Stddev>() {
        (true, true)
    } else if function.is::<stddev::StddevPop>() {
        (false, true)
    } else if function.is::<variance::VarianceSample>() {
        (true, false)
    } else if function.is::<variance::VariancePopulation>() {
        (false, false)
    } else {
        return None;
    };
    let count = counted(sliding, argument, frame);
    let (lane, counts) = (sliding.lane(argument, LaneKind::Float), sliding.lane(argument, LaneKind::Count));
    Some(Make::Spread { step: sliding.step(frame, StepKind::Squares { lane, counts }), count, sample, root })
}

/// The step that counts an argument's values; of a literal, as in count(*), there is one a row.
fn counted(sliding: &mut Sliding, argument: &Arc<dyn PhysicalExpr>, frame: usize) -> usize {
    match argument.downcast_ref::<Literal>() {
        Some(literal) if !literal.value().is_null() => sliding.step(frame, StepKind::Rows),
        _ => {
            let lane = sliding.lane(argument, LaneKind::Count);
            sliding.step(frame, StepKind::Count { lane })
        }
    }
}

/// The step that finds the smallest or the largest value.
fn extreme(
    sliding: &mut Sliding,
    argument: &Arc<dyn PhysicalExpr>,
    frame: usize,
    (given, result): (&DataType, &DataType),
    is_low: bool,
) -> Option<usize> {
    let (form, step): (_, fn(usize) -> StepKind) = match (result, is_low) {
        _ if given != result => return None,
        (DataType::Decimal128(..), true) => (LaneKind::WideLowKey, |lane| StepKind::WideLow { lane }),
        (DataType::Decimal128(..), false) => (LaneKind::WideHighKey, |lane| StepKind::WideHigh { lane }),
        (kind, true) if keys::has_keys(kind) => (LaneKind::LowKey, |lane| StepKind::Low { lane }),
        (kind, false) if keys::has_keys(kind) => (LaneKind::HighKey, |lane| StepKind::High { lane }),
        _ => return None,
    };
    let lane = sliding.lane(argument, form);
    Some(sliding.step(frame, step(lane)))
}

/// Whether it is `row_number`.
fn is_row_number(window: &StandardWindowExpr) -> bool {
    let expr = window.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>();
    expr.is_some_and(|expr| expr.fun().inner().is::<RowNumber>())
}

/// Which row of a frame is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    First,
    Last,
    /// The last with a value.
    LastValid,
}

/// What of a frame a function takes; `None` for what is neither `first_value` nor `last_value`, and for the first
/// with IGNORE NULLS.
fn edge(window: &StandardWindowExpr) -> Option<Edge> {
    let expr = window.get_standard_func_expr();
    let function = expr.as_any().downcast_ref::<WindowUDFExpr>()?;
    let is_last = match function.fun().inner().downcast_ref::<NthValue>()?.kind() {
        NthValueKind::First => false,
        NthValueKind::Last => true,
        NthValueKind::Nth => return None,
    };
    // IGNORE NULLS has no accessor: asks what the function says of a NULL at both edges.
    let probe: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(1), None]));
    let said = expr.create_evaluator().ok()?.evaluate(&[probe], &(0..3)).ok()?;
    match (is_last, said.is_null()) {
        (true, true) => Some(Edge::Last),
        (false, true) => Some(Edge::First),
        (true, false) => Some(Edge::LastValid),
        (false, false) => None,
    }
}

/// The bounds of a window's frame.
fn bounds(window: &Arc<dyn WindowExpr>, input: &Schema) -> Option<(Bound, Bound)> {
    let frame: &WindowFrame = window.get_window_frame();
    let key = match window.order_by() {
        [only] => only.expr.data_type(input).ok(),
        _ => None,
    };
    let place = |bound: &WindowFrameBound, is_end: bool| {
        let place = match (frame.units, bound) {
            (WindowFrameUnits::Groups, _) => return None,
            (WindowFrameUnits::Rows, WindowFrameBound::CurrentRow) => Place::Rows(0),
            (WindowFrameUnits::Range, WindowFrameBound::CurrentRow) => Place::Peers,
            (_, WindowFrameBound::Preceding(by)) if by.is_null() && !is_end => Place::Unbounded,
            (_, WindowFrameBound::Following(by)) if by.is_null() && is_end => Place::Unbounded,
            (WindowFrameUnits::Rows, WindowFrameBound::Preceding(ScalarValue::UInt64(Some(by)))) => {
                Place::Rows(-i64::try_from(*by).unwrap_or(i64::MAX))
            }
            (WindowFrameUnits::Rows, WindowFrameBound::Following(ScalarValue::UInt64(Some(by)))) => {
                Place::Rows(i64::try_from(*by).unwrap_or(i64::MAX))
            }
            (WindowFrameUnits::Range, WindowFrameBound::Preceding(by)) => {
                Place::Range(distance(by, key.as_ref()?)?, Way::Preceding)
            }
            (WindowFrameUnits::Range, WindowFrameBound::Following(by)) => {
                Place::Range(distance(by, key.as_ref()?)?, Way::Following)
            }
            _ => return None,
        };
        Some(Bound { place, is_end })
    };
    Some((place(&frame.start_bound, false)?, place(&frame.end_bound, true)?))
}

/// The distance in the order key's units: nothing negative, and no months, whose length depends on the calendar.
fn distance(by: &ScalarValue, key: &DataType) -> Option<Distance> {
    let whole = |value: i128| u64::try_from(value).ok().map(Distance::Whole);
    match (by, key) {
        (ScalarValue::Int8(Some(by)), DataType::Int8) => whole((*by).into()),
        (ScalarValue::Int16(Some(by)), DataType::Int16) => whole((*by).into()),
        (ScalarValue::Int32(Some(by)), DataType::Int32) => whole((*by).into()),
        (ScalarValue::Int64(Some(by)), DataType::Int64) => whole((*by).into()),
        (ScalarValue::UInt8(Some(by)), DataType::UInt8) => whole((*by).into()),
        (ScalarValue::UInt16(Some(by)), DataType::UInt16) => whole((*by).into()),
        (ScalarValue::UInt32(Some(by)), DataType::UInt32) => whole((*by).into()),
        (ScalarValue::UInt64(Some(by)), DataType::UInt64) => whole((*by).into()),
        (ScalarValue::Float64(Some(by)), DataType::Float64) if *by >= 0.0 && by.is_finite() => {
            Some(Distance::Double(*by))
        }
        (ScalarValue::Float32(Some(by)), DataType::Float32) if *by >= 0.0 && by.is_finite() => {
            Some(Distance::Single(*by))
        }
        (ScalarValue::IntervalMonthDayNano(Some(by)), DataType::Date32 | DataType::Timestamp(..)) => {
            if by.months != 0 || by.days < 0 || by.nanoseconds < 0 {
                return None;
            }
            let unit = match key {
                DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
                DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
                DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
                DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
                _ => NANOS_A_DAY,
            };
            // A day is 24 hours only where no clock is ever put forward or back.
            if by.days != 0 && !matches!(key, DataType::Date32) && !is_even(key) {
                return None;
            }
            let nanos = i128::from(by.days) * NANOS_A_DAY + i128::from(by.nanoseconds);
            if nanos % unit == 0 { whole(nanos / unit) } else { None }
        }
        _ => None,
    }
}

/// Whether all days of a timestamp's zone have 24 hours.
fn is_even(key: &DataType) -> bool {
    match key {
        DataType::Timestamp(_, None) => true,
        DataType::Timestamp(_, Some(zone)) => {
            matches!(zone.as_ref(), "UTC" | "utc" | "Z" | "Etc/UTC") || zone.starts_with(['+', '-'])
        }
        _ => false,
    }
}
