//! That windows add columns, and neither add nor lose a row.

use crate::error::{Error, Result};
use crate::query::ahead::BatchStream;
use crate::query::session::PlannedQuery;
use crate::tables::errors::from_datafusion;
use datafusion::physical_plan::ExecutionPlan;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The rows of a query that is planned from the SQL of declared windows.
///
/// # Errors
/// Where the first files cannot be opened. In the stream: its own, and `failed` at its end where the rows are not as
/// many as were numbered.
pub fn one_for_one(planned: &PlannedQuery) -> Result<BatchStream> {
    let numbered = numbered(planned.physical());
    let before = numbered.as_ref().map_or(0, count);
    let given = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&given);
    let batches = planned.stream()?.map_err(from_datafusion).inspect_ok(move |batch| {
        seen.fetch_add(batch.num_rows(), Ordering::Relaxed);
    });
    let end = stream::once(async move {
        let (given, wanted) = (given.load(Ordering::Relaxed), numbered.as_ref().map(count));
        match wanted.map(|wanted| wanted - before) {
            Some(wanted) if wanted != given => {
                let error = Error::failed("declared windows gave another number of rows than they got; this is a bug");
                Some(Err(error.with("rows in", wanted).with("rows out", given)))
            }
            _ => None,
        }
    });
    Ok(batches.chain(end.filter_map(async |end| end)).boxed())
}

/// The operator that numbers the rows: of all that number rows, those of the query's own SQL among them, the highest.
/// There is none where the plan shows that there are no rows.
fn numbered(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let is_window = plan.name().contains("Window");
    // Columns of the input come first, and may have such a name, too.
    let given = plan.children().first().map_or(0, |input| input.schema().fields().len());
    let numbers = || plan.schema().fields().iter().skip(given).any(|field| field.name().starts_with("row_number()"));
    if is_window && numbers() {
        return Some(Arc::clone(plan));
    }
    plan.children().into_iter().find_map(numbered)
}

/// How many rows an operator has given so far.
fn count(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::session::{Session, SessionOptions};
    use arrow::array::{ArrayRef, Int64Array, RecordBatch};

    /// By its operator's name and its column's: without them, rows that are lost would not be missed.
    #[tokio::test]
    async fn what_numbers_the_rows_is_found_whichever_operator_that_is() {
        for sliding_windows in [true, false] {
            let options = SessionOptions { sliding_windows, ..SessionOptions::features(1 << 28) };
            let mut session = Session::new(options).unwrap();
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
            let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
            session.register_batches("t", rows.schema(), vec![rows]).unwrap();
            let sql = "SELECT id FROM (SELECT id, row_number() OVER () AS n FROM t) WHERE n % 2 = 0 ORDER BY n DESC";
            let planned = session.ad_hoc(sql).await.unwrap();
            let found = numbered(planned.physical()).unwrap_or_else(|| panic!("{}", planned.explain().physical));
            let wanted = if sliding_windows { "SlidingWindowExec" } else { "BoundedWindowAggExec" };
            assert_eq!((found.name(), count(&found)), (wanted, 0));
            planned.collect().await.unwrap();
            assert_eq!(count(&found), 500);
        }
    }
}
