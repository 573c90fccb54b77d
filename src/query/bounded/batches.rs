//! The sizes of batches while rows are on their way through the disk.
//!
//! A sort needs room for two batches, and a merge for two of each run: of wide rows, 8192 come to many MiB. So what runs
//! on disk gets smaller batches; what is below and above it keeps its own, since where batches end may show in the
//! rounding of a sum.

use super::size::row_bytes;
use crate::query::ahead::own_bytes;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::compute::{BatchCoalescer, take};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use std::sync::Arc;

/// What a batch on disk is to take, in bytes, by the types of its columns.
const BATCH_BYTES: u64 = 1 << 20;

/// What comes from below in larger batches is cut.
const MOST_BYTES: usize = 4 << 20;

/// What a batch may hold besides twice its own rows.
const LOOSE_BYTES: usize = 256 << 10;

/// Fewer rows a batch cost more than they save.
const FEWEST_ROWS: u64 = 256;

/// The size of batches outside.
struct Outside(usize);

/// Runs a plan whose leaves are `NumberExec`s in batches that are small in bytes; gives batches of the usual size.
pub(in crate::query) fn on_disk(
    plan: &Arc<dyn ExecutionPlan>,
    partition: usize,
    context: &TaskContext,
) -> Result<SendableRecordBatchStream> {
    let usual = context.session_config().batch_size();
    let rows = (BATCH_BYTES / row_bytes(&plan.schema())).max(FEWEST_ROWS);
    let rows = usize::try_from(rows).unwrap_or(usual).min(usual);
    let inside = with_batches(context, rows, Some(Arc::new(Outside(usual))));
    Ok(in_batches_of(plan.execute(partition, Arc::new(inside))?, usual))
}

/// The context as it is around [`on_disk`].
pub(super) fn outside(context: Arc<TaskContext>) -> Arc<TaskContext> {
    match context.session_config().get_extension::<Outside>() {
        Some(usual) => Arc::new(with_batches(&context, usual.0, None)),
        None => context,
    }
}

fn with_batches(context: &TaskContext, rows: usize, outside: Option<Arc<Outside>>) -> TaskContext {
    let mut config = context.session_config().clone().with_batch_size(rows);
    if let Some(outside) = outside {
        config.set_extension(outside);
    }
    TaskContext::new(
        context.task_id(),
        context.session_id(),
        config,
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    )
}

/// The same rows, `rows` in each batch but the last.
pub(super) fn in_batches_of(input: SendableRecordBatchStream, rows: usize) -> SendableRecordBatchStream {
    let schema = input.schema();
    let coalescer = BatchCoalescer::new(Arc::clone(&schema), rows);
    let batches = stream::unfold((input, coalescer, false), move |(mut input, mut waiting, mut ended)| async move {
        loop {
            if let Some(batch) = waiting.next_completed_batch() {
                return Some((Ok(batch), (input, waiting, ended)));
            }
            if ended {
                return None;
            }
            let taken = match input.next().await {
                // Nothing has to be copied.
                Some(Ok(batch)) if batch.num_rows() == rows && waiting.get_buffered_rows() == 0 => {
                    return Some((Ok(batch), (input, waiting, ended)));
                }
                Some(Ok(batch)) => waiting.push_batch(batch),
                Some(Err(error)) => return Some((Err(error), (input, waiting, true))),
                None => {
                    ended = true;
                    waiting.finish_buffered_batch()
                }
            };
            if let Err(error) = taken {
                return Some((Err(error.into()), (input, waiting, true)));
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// A batch as it is, or in pieces that hold memory of their own, where it is large or holds much that is not its own.
pub(super) fn cut(batch: RecordBatch) -> Result<Vec<RecordBatch>> {
    let bytes = own_bytes(&batch);
    if bytes <= MOST_BYTES || batch.num_rows() < 2 {
        let is_loose = batch.get_array_memory_size() > 2 * bytes + LOOSE_BYTES;
        let columns =
            batch.columns().iter().map(|column| if is_loose { compact(column) } else { Ok(Arc::clone(column)) });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        return Ok(vec![RecordBatch::try_new_with_options(batch.schema(), columns, &options)?]);
    }
    let rows = (batch.num_rows() * (MOST_BYTES / 2) / bytes).max(1);
    let piece = |start: usize| {
        let end = (start + rows).min(batch.num_rows());
        let indices = UInt64Array::from_iter_values(start as u64..end as u64);
        let columns = batch.columns().iter().map(|column| compact(&take(column, &indices, None)?));
        Ok(RecordBatch::try_new(batch.schema(), columns.collect::<Result<Vec<_>>>()?)?)
    };
    (0..batch.num_rows()).step_by(rows).map(piece).collect()
}

/// Views hold on to the texts of all rows.
fn compact(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringViewArray};
    use futures::TryStreamExt;

    fn wide(rows: i64) -> RecordBatch {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let texts = (0..rows).map(|row| format!("{row:0>1000}"));
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("id", ids), ("text", texts)]).unwrap()
    }

    #[test]
    fn large_batches_are_cut_into_pieces_of_their_own() {
        let batch = wide(10_000);
        let pieces = cut(batch.clone()).unwrap();
        assert!(pieces.len() > 4, "{}", pieces.len());
        assert!(pieces.iter().all(|piece| piece.get_array_memory_size() <= MOST_BYTES), "they hold the whole");
        assert_eq!(arrow::compute::concat_batches(&batch.schema(), &pieces).unwrap(), batch);
        let few = cut(batch.slice(50, 100)).unwrap();
        assert_eq!(few[..], [batch.slice(50, 100)]);
        assert!(few[0].get_array_memory_size() < 500_000, "{}", few[0].get_array_memory_size());
    }

    #[tokio::test]
    async fn batches_are_of_one_size_but_the_last() {
        let batch = wide(1_000);
        let lengths = [10, 0, 64, 300, 64, 562];
        let mut start = 0;
        let parts = lengths.map(|length| {
            start += length;
            Ok(batch.slice(start - length, length))
        });
        let input = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), stream::iter(parts)));
        let found: Vec<RecordBatch> = in_batches_of(input, 64).try_collect().await.unwrap();
        assert!(found[..15].iter().all(|batch| batch.num_rows() == 64) && found[15].num_rows() == 40);
        assert_eq!(arrow::compute::concat_batches(&batch.schema(), &found).unwrap(), batch);
    }
}
