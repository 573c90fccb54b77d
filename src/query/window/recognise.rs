//! Which window expressions the operator takes over; for everything else, DataFusion's own stays in place.

use super::bounds::{Bound, Distance, Place, Way};
use super::clock::Clock;
use super::keys;
use super::lanes::LaneKind;
use super::links;
use super::rows::Order;
use super::sliding::{Make, Output, Sliding, StepKind};
use super::stock::{Call, Stock};
use arrow::array::{ArrayRef, Int32Array, make_comparator, new_empty_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, IntervalMonthDayNano, Schema, TimeUnit};
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
    // What sliding does not know is left to DataFusion's operator, unless that gets the frame wrong.
    let is_distant = [start, end].iter().any(|bound| matches!(bound.place, Place::Range(..)));
    if let Some(standard) = standard {
        let function = standard.get_standard_func_expr();
        let make = match edge(standard) {
            // Which rows of a frame have a value is known of those that are held.
            Some(edge) if edge != Edge::LastValid || start.place != Place::Unbounded => {
                let [argument] = <[_; 1]>::try_from(window.expressions()).ok()?;
                edge_of(sliding, edge, &argument, (start, end))
            }
            _ if is_distant && is_of_frames(standard) => {
                let place = if start.place == Place::Unbounded { Place::Held } else { start.place };
                let frame = sliding.frame(Bound { place, ..start }, end);
                stock(sliding, Call::Framed(Arc::clone(function)), window, (frame, &kind))?
            }
            _ => return None,
        };
        return Some(Output { kind, make });
    }
    let aggregate = if let Some(plain) = expr.downcast_ref::<PlainAggregateWindowExpr>() {
        plain.get_aggregate_expr()
    } else {
        expr.downcast_ref::<SlidingAggregateWindowExpr>()?.get_aggregate_expr()
    };
    if has_filter(window) || !aggregate.order_bys().is_empty() {
        return None;
    }
    let (sizes, frame) = (sliding.sizes(), sliding.frame(start, end));
    if let Ok([argument]) = <[_; 1]>::try_from(aggregate.expressions()) {
        let is_whole = start.place == Place::Unbounded;
        let make = match aggregate.is_distinct() {
            true => different(sliding, aggregate, &argument, (frame, is_whole), input),
            false => aggregated(sliding, aggregate, &argument, frame, input),
        };
        if let Some(make) = make {
            return Some(Output { kind, make });
        }
    }
    sliding.back_to(sizes);
    if !is_distant {
        return None;
    }
    let aggregate = Arc::new(aggregate.clone());
    let call = if start.place == Place::Unbounded { Call::Growing(aggregate) } else { Call::Sliding(aggregate) };
    let frame = sliding.frame(start, end);
    let make = stock(sliding, call, window, (frame, &kind))?;
    Some(Output { kind, make })
}

/// Whether a window aggregate has a FILTER, which has no accessor: it is the last field of both kinds of expression.
fn has_filter(window: &Arc<dyn WindowExpr>) -> bool {
    !format!("{window:?}").ends_with("filter: None }")
}

/// A function of DataFusion's over a frame of ours.
fn stock(
    sliding: &mut Sliding,
    call: Call,
    window: &Arc<dyn WindowExpr>,
    (frame, kind): (usize, &DataType),
) -> Option<Make> {
    let stock = Stock::new(sliding, call, &window.expressions(), kind)?;
    sliding.stocks.push(stock);
    let stock = sliding.stocks.len() - 1;
    Some(Make::Stock { step: sliding.step(frame, StepKind::Stock { stock }) })
}

/// How one row of a frame is given.
fn edge_of(sliding: &mut Sliding, edge: Edge, argument: &Arc<dyn PhysicalExpr>, (start, end): (Bound, Bound)) -> Make {
    let frame = sliding.frame(start, end);
    let lane = sliding.lane(argument, LaneKind::Values);
    match edge {
        Edge::First => Make::First { frame, lane },
        Edge::Last => Make::Last { frame, lane },
        Edge::LastValid => Make::LastValid { frame, lane, valid: sliding.lane(argument, LaneKind::LastValid) },
    }
}

/// How different values of an argument are counted.
fn different(
    sliding: &mut Sliding,
    aggregate: &AggregateFunctionExpr,
    argument: &Arc<dyn PhysicalExpr>,
    (frame, whole): (usize, bool),
    input: &Schema,
) -> Option<Make> {
    let can_link = links::can_link(&argument.data_type(input).ok()?);
    if !can_link || !aggregate.fun().inner().is::<count::Count>() {
        return None;
    }
    let lane = sliding.lane(argument, LaneKind::Links { whole });
    Some(Make::Count { count: sliding.step(frame, StepKind::Distinct { lane }) })
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

/// Which row of a frame `first_value`, `last_value` and `nth_value` take.
fn kind_of(window: &StandardWindowExpr) -> Option<NthValueKind> {
    let function = window.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>()?;
    function.fun().inner().downcast_ref::<NthValue>().map(|function| *function.kind())
}

/// Whether a function looks at its frame and keeps nothing, as these three do.
fn is_of_frames(window: &StandardWindowExpr) -> bool {
    kind_of(window).is_some()
}

/// What of a frame a function takes; `None` for what is neither `first_value` nor `last_value`, and for the first
/// with IGNORE NULLS.
fn edge(window: &StandardWindowExpr) -> Option<Edge> {
    let is_last = match kind_of(window)? {
        NthValueKind::First => false,
        NthValueKind::Last => true,
        NthValueKind::Nth => return None,
    };
    let expr = window.get_standard_func_expr();
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

/// The distance in the order key's units, or as the calendar has it.
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
        (ScalarValue::IntervalMonthDayNano(Some(by)), _) => match ticks(*by, key) {
            Some(ticks) => Some(Distance::Whole(ticks)),
            None => Clock::of(key).map(|clock| Distance::Calendar(*by, clock)),
        },
        _ => None,
    }
}

/// An interval in the key's units; `None` where it is none of so many, or negative, or depends on the calendar.
fn ticks(by: IntervalMonthDayNano, key: &DataType) -> Option<u64> {
    if by.months != 0 || by.days < 0 || by.nanoseconds < 0 {
        return None;
    }
    let unit = match key {
        DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
        DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
        DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
        DataType::Timestamp(TimeUnit::Nanosecond, _) => 1,
        DataType::Date32 => NANOS_A_DAY,
        _ => return None,
    };
    // A day is 24 hours only where no clock is ever put forward or back.
    if by.days != 0 && !matches!(key, DataType::Date32) && !is_even(key) {
        return None;
    }
    let nanos = i128::from(by.days) * NANOS_A_DAY + i128::from(by.nanoseconds);
    if nanos % unit == 0 { u64::try_from(nanos / unit).ok() } else { None }
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use datafusion::functions_aggregate::sum::sum_udaf;
    use datafusion::functions_window::nth_value::{first_value_udwf, last_value_udwf, nth_value_udwf};
    use datafusion::logical_expr::WindowFunctionDefinition;
    use datafusion::physical_expr::expressions::{col, lit};
    use datafusion::physical_plan::windows::create_window_expr;

    fn window(
        function: WindowFunctionDefinition,
        preceding: Option<u64>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        ignore_nulls: bool,
    ) -> Arc<dyn WindowExpr> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]));
        let start = WindowFrameBound::Preceding(ScalarValue::UInt64(preceding));
        let frame = WindowFrame::new_bounds(WindowFrameUnits::Rows, start, WindowFrameBound::CurrentRow);
        let mut arguments = vec![col("x", &schema).unwrap()];
        if function.name() == "nth_value" {
            arguments.push(lit(2_i64));
        }
        let frame = Arc::new(frame);
        let name = "filter: None }".to_owned();
        create_window_expr(&function, name, &arguments, &[], &[], frame, schema, ignore_nulls, false, filter).unwrap()
    }

    /// DataFusion tells the condition in no other way than by its `Debug` text: without this, rows that it leaves out
    /// would be counted.
    #[test]
    fn a_filter_is_seen_in_both_kinds_of_window() {
        for preceding in [None, Some(3)] {
            let sum = || WindowFunctionDefinition::AggregateUDF(sum_udaf());
            let plain = window(sum(), preceding, None, false);
            assert!(!has_filter(&plain), "{plain:?}");
            let filtered = window(sum(), preceding, Some(lit(true)), false);
            assert!(has_filter(&filtered), "{filtered:?}");
            let schema = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
            assert!(recognise(&[plain], &schema).is_some() && recognise(&[filtered], &schema).is_none());
        }
    }

    /// Whether a function passes over NULLs is asked of the function itself.
    #[test]
    fn which_row_of_a_frame_a_function_takes_is_seen() {
        let of = |function, ignore_nulls| {
            let window = window(WindowFunctionDefinition::WindowUDF(function), Some(3), None, ignore_nulls);
            let standard = window.as_any().downcast_ref::<StandardWindowExpr>().unwrap();
            (edge(standard), kind_of(standard))
        };
        assert_eq!(of(first_value_udwf(), false), (Some(Edge::First), Some(NthValueKind::First)));
        assert_eq!(of(last_value_udwf(), false), (Some(Edge::Last), Some(NthValueKind::Last)));
        assert_eq!(of(last_value_udwf(), true), (Some(Edge::LastValid), Some(NthValueKind::Last)));
        assert_eq!(of(first_value_udwf(), true), (None, Some(NthValueKind::First)));
        assert_eq!(of(nth_value_udwf(), false), (None, Some(NthValueKind::Nth)));
    }
}
