//! Windows that are left to DataFusion, and that its bounded operator gets wrong: computed a partition at once instead.
//!
//! `BoundedWindowAggExec` (DataFusion 55) takes it for granted that a RANGE frame that ends before its row is known when
//! the row is. But from NULL, infinity and a number of too many digits a distance takes nothing away: such a frame ends
//! with the row's last peer, which may come in a later batch, and is counted without it. `WindowAggExec` sees a whole
//! partition before it computes anything, and holds it in memory for that.

use datafusion::error::Result;
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, InputOrderMode};
use std::sync::Arc;

/// The operator that is right in the place of one that is not; `None` where `node` is right.
///
/// # Errors
/// Where DataFusion cannot make an operator of what it has made one of.
pub(super) fn in_place_of(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() else { return Ok(None) };
    let windows = bounded.window_expr();
    let is_sorted = matches!(bounded.input_order_mode, InputOrderMode::Sorted);
    if !is_sorted || !windows.iter().any(|window| is_counted_early(window.get_window_frame())) {
        return Ok(None);
    }
    let in_parts = !bounded.partition_keys().is_empty();
    Ok(Some(Arc::new(WindowAggExec::try_new(windows.to_vec(), Arc::clone(bounded.input()), in_parts)?)))
}

/// Whether DataFusion takes a frame for known too early.
fn is_counted_early(frame: &WindowFrame) -> bool {
    let ends_before = matches!(&frame.end_bound, WindowFrameBound::Preceding(by) if !by.is_null());
    frame.units == WindowFrameUnits::Range && ends_before
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::ScalarValue;

    #[test]
    fn frames_over_a_distance_that_end_before_their_row_are() {
        use WindowFrameBound::{CurrentRow, Following, Preceding};
        let by = |by: Option<i64>| ScalarValue::Int64(by);
        for (units, end, early) in [
            (WindowFrameUnits::Range, Preceding(by(Some(5))), true),
            (WindowFrameUnits::Range, CurrentRow, false),
            (WindowFrameUnits::Range, Following(by(Some(5))), false),
            (WindowFrameUnits::Range, Following(by(None)), false),
            (WindowFrameUnits::Rows, Preceding(ScalarValue::UInt64(Some(5))), false),
            (WindowFrameUnits::Groups, Preceding(ScalarValue::UInt64(Some(5))), false),
        ] {
            let frame = WindowFrame::new_bounds(units, Preceding(by(None)), end);
            assert_eq!(is_counted_early(&frame), early, "{frame}");
            // What DataFusion itself takes for known is at least as much.
            assert!(!early || frame.is_causal(), "{frame}");
        }
    }
}
