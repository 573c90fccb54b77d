//! Batches that are made ahead of whoever reads them, by a few, on a task of their own.

use crate::error::{Error, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use futures::stream::{self, BoxStream};
use futures::{Future, StreamExt};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Batches in order, each a few thousand rows.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// How many batches may wait for their reader.
const WAITING: usize = 4;

/// How much they may hold together, in KiB; one batch may always wait. Rows of long texts come to 100 MiB a batch.
const WAITING_KIB: u32 = 16 << 10;

/// A batch, and the room that it takes while it waits.
type Waiting = (Result<RecordBatch>, Option<OwnedSemaphorePermit>);

/// Where work sends its batches.
#[derive(Clone)]
pub(super) struct Sink {
    sender: Sender<Waiting>,
    room: Arc<Semaphore>,
    runtime: Handle,
}

impl Sink {
    /// Waits for room, and sends.
    ///
    /// # Errors
    /// Where nobody listens any more.
    pub(super) async fn send(&self, batch: Result<RecordBatch>) -> std::result::Result<(), Unwanted> {
        let kib = batch.as_ref().map_or(0, |batch| own_bytes(batch) >> 10);
        let kib = u32::try_from(kib).unwrap_or(WAITING_KIB).min(WAITING_KIB);
        let room = tokio::select! {
            room = Arc::clone(&self.room).acquire_many_owned(kib) => room.ok(),
            () = self.sender.closed() => return Err(Unwanted),
        };
        self.sender.send((batch, room)).await.map_err(|_| Unwanted)
    }

    /// The same from a thread that may wait: one that runs no async task.
    ///
    /// # Errors
    /// Where nobody listens any more.
    pub(super) fn send_blocking(&self, batch: Result<RecordBatch>) -> std::result::Result<(), Unwanted> {
        self.runtime.block_on(self.send(batch))
    }
}

/// Nobody listens any more: the run has failed elsewhere.
#[derive(Debug)]
pub(super) struct Unwanted;

/// Bytes of a batch's own rows; its buffers may be shared with other batches.
pub fn own_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column_bytes(column.as_ref())).sum()
}

/// Bytes of a column's own rows. Arrow's own count leaves out the texts that views point to.
pub(super) fn column_bytes(column: &dyn Array) -> usize {
    let texts = match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
        _ => 0,
    };
    texts + column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

/// Polls a stream on a task of its own, which ends with what is returned; the queue between is bounded.
///
/// # Errors
/// Those of the stream, and `failed` where it panics, come in the stream.
pub fn running_ahead(mut batches: BatchStream) -> BatchStream {
    on_a_task("the scan panicked; this is a bug", async move |sender| {
        while let Some(batch) = batches.next().await {
            // Nobody wants the rest: the run has failed elsewhere.
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    })
}

/// What `work` sends, until it ends; `panicked` is the error where it does so by a panic.
pub(super) fn on_a_task<W, F>(panicked: &'static str, work: W) -> BatchStream
where
    W: FnOnce(Sink) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = channel::<Waiting>(WAITING);
    let room = Arc::new(Semaphore::new(WAITING_KIB as usize));
    let sink = Sink { sender, room, runtime: Handle::current() };
    // Dropped, it stops the work at once, not at its next batch.
    let mut task = JoinSet::new();
    task.spawn(work(sink));
    let rows =
        stream::unfold(
            receiver,
            |mut receiver| async move { receiver.recv().await.map(|(batch, _)| (batch, receiver)) },
        );
    // Work that panicked must not look like work that ended.
    let end = stream::once(async move {
        match task.join_next().await {
            Some(Err(source)) => Some(Err(Error::failed(panicked).because(source))),
            _ => None,
        }
    });
    rows.chain(end.filter_map(|end| async move { end })).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray, StringViewArray};
    use tokio::sync::Notify;

    #[test]
    fn texts_count_in_any_form() {
        let texts = || (0..1000).map(|row| format!("{row:0>500}"));
        let views: ArrayRef = Arc::new(StringViewArray::from_iter_values(texts()));
        let whole: ArrayRef = Arc::new(StringArray::from_iter_values(texts()));
        for column in [views, whole] {
            let batch = RecordBatch::try_from_iter([("text", column)]).unwrap();
            assert!((500_000..540_000).contains(&own_bytes(&batch)), "{}", own_bytes(&batch));
            assert!((5_000..6_000).contains(&own_bytes(&batch.slice(3, 10))), "{}", own_bytes(&batch.slice(3, 10)));
        }
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_not_an_end() {
        let rows: Vec<_> = on_a_task("gave up", async |_sender| panic!("on purpose")).collect().await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].as_ref().unwrap_err().message(), "gave up");
    }

    #[tokio::test]
    async fn work_ends_with_its_reader() {
        struct Told(Arc<Notify>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let (ended, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (work, begun) = (Told(Arc::clone(&ended)), Arc::clone(&told));
        let rows = on_a_task("gave up", async move |_sender| {
            let _work = work;
            begun.notify_one();
            std::future::pending::<()>().await;
        });
        told.notified().await;
        drop(rows);
        ended.notified().await;
    }
}
