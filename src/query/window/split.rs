//! Operators of which only some windows are taken over: ours below, DataFusion's on top of it, columns put back in order.

use super::exec::{SlidingWindowExec, stock};
use super::recognise::recognise;
use super::stream::Eviction;
use super::whole;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, WindowExpr};
use std::sync::Arc;

/// What is left of an operator without the windows that are taken over.
pub(super) struct Rest {
    node: Arc<dyn ExecutionPlan>,
    others: Vec<Arc<dyn WindowExpr>>,
    /// For each column that `node` gives, which one of both parts' it is.
    columns: Vec<usize>,
}

/// DataFusion's operator that some windows of `node` need, over `input`.
fn like(
    node: &Arc<dyn ExecutionPlan>,
    windows: Vec<Arc<dyn WindowExpr>>,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(bounded) = node.downcast_ref::<BoundedWindowAggExec>() {
        let (mode, in_parts) = (bounded.input_order_mode.clone(), !bounded.partition_keys().is_empty());
        return Ok(Arc::new(BoundedWindowAggExec::try_new(windows, input, mode, in_parts)?));
    }
    let in_parts = node.downcast_ref::<WindowAggExec>().is_some_and(|whole| !whole.partition_keys().is_empty());
    Ok(Arc::new(WindowAggExec::try_new(windows, input, in_parts)?))
}

impl Rest {
    /// Our part of `node`, and the rest; `None` where one of them would be empty.
    ///
    /// # Errors
    /// Where DataFusion cannot make an operator of what it has made one of.
    pub(super) fn of(node: &Arc<dyn ExecutionPlan>, eviction: Eviction) -> Result<Option<(SlidingWindowExec, Self)>> {
        let Some((windows, input)) = stock(node) else { return Ok(None) };
        let schema = input.schema();
        let is_ours = |window: &&Arc<dyn WindowExpr>| recognise(&[Arc::clone(window)], &schema).is_some();
        let (ours, others): (Vec<_>, Vec<_>) = windows.iter().partition(is_ours);
        if ours.is_empty() || others.is_empty() {
            return Ok(None);
        }
        let (first, mut next_ours, mut next_other) = (schema.fields().len(), 0, ours.len());
        let place = |window: &Arc<dyn WindowExpr>| {
            let next = if is_ours(&window) { &mut next_ours } else { &mut next_other };
            *next += 1;
            first + *next - 1
        };
        let columns = (0..first).chain(windows.iter().map(place).collect::<Vec<_>>()).collect();
        let [ours, others] = [ours, others].map(|windows| windows.into_iter().map(Arc::clone).collect::<Vec<_>>());
        let lower = like(node, ours, Arc::clone(input))?;
        let rest = Self { node: Arc::clone(node), others, columns };
        Ok(SlidingWindowExec::in_place_of(&lower, eviction).map(|ours| (ours, rest)))
    }

    /// The rest over `lower`, which is our part, and the columns in the order of the whole.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn over(self, lower: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let upper = like(&self.node, self.others, lower)?;
        let upper = whole::in_place_of(&upper)?.unwrap_or(upper);
        let schema = self.node.schema();
        let columns = self.columns.iter().zip(schema.fields()).map(|(from, field)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(upper.schema().field(*from).name(), *from));
            (column, field.name().clone())
        });
        let columns: Vec<_> = columns.collect();
        Ok(Arc::new(ProjectionExec::try_new(columns, upper)?))
    }
}
