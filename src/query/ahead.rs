//! Batches that are made ahead of whoever reads them, by a few, on a task of their own.

use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use futures::stream::{self, BoxStream};
use futures::{Future, StreamExt};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinSet;

/// Batches in order, each a few thousand rows.
pub type BatchStream = BoxStream<'static, Result<RecordBatch>>;

/// How many batches may wait for their reader.
const WAITING: usize = 4;

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
    W: FnOnce(Sender<Result<RecordBatch>>) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = channel(WAITING);
    // Dropped, it stops the work at once, not at its next batch.
    let mut task = JoinSet::new();
    task.spawn(work(sender));
    let rows =
        stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|batch| (batch, receiver)) });
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
    use std::sync::Arc;
    use tokio::sync::Notify;

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
