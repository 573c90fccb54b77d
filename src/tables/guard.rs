//! Readers that panic on damaged bytes: their panic becomes an error that can be told.
//!
//! The Parquet library takes some lengths and offsets of a file at their word. Which file it was is
//! found by the caller; the panic's own words help nobody, so they are not printed.

use crate::error::Error;
use datafusion::error::{DataFusionError, Result};
use futures::{Stream, StreamExt};
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

thread_local! {
    /// Whether this thread is inside a reader whose panic will be told as an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// `work`, with a panic as an error.
///
/// # Errors
/// What `work` fails with, or that its reader gave up.
pub(crate) async fn guarded<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    std::future::poll_fn(move |context| match quietly(|| work.as_mut().poll(context)) {
        Some(polled) => polled,
        None => Poll::Ready(Err(gave_up())),
    })
    .await
}

/// As [`guarded`], for what stands in a table's log.
///
/// # Errors
/// What `work` fails with, or that the log's reader gave up.
pub(crate) async fn guarded_log<T>(work: impl Future<Output = crate::error::Result<T>>) -> crate::error::Result<T> {
    let mut work = pin!(work);
    std::future::poll_fn(move |context| match quietly(|| work.as_mut().poll(context)) {
        Some(polled) => polled,
        None => Poll::Ready(Err(Error::failed("the table's log holds an action that its reader gave up on")
            .hint("a commit or a checkpoint under _delta_log is damaged: restore it, or read a version before it"))),
    })
    .await
}

/// The items of `rows`; a panic is an error and the end.
pub(crate) fn guarded_stream<T, S>(mut rows: S) -> impl Stream<Item = Result<T>>
where
    S: Stream<Item = Result<T>> + Unpin,
{
    let mut ended = false;
    futures::stream::poll_fn(move |context| {
        if ended {
            return Poll::Ready(None);
        }
        match quietly(|| rows.poll_next_unpin(context)) {
            Some(polled) => polled,
            None => {
                ended = true;
                Poll::Ready(Some(Err(gave_up())))
            }
        }
    })
}

/// What `poll` gives; none where it panicked.
fn quietly<T>(poll: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                told(panic);
            }
        }));
    });
    let before = GUARDED.replace(true);
    let polled = catch_unwind(AssertUnwindSafe(poll));
    GUARDED.set(before);
    polled.ok()
}

fn gave_up() -> DataFusionError {
    let error = Error::failed("a data file cannot be read: its reader gave up on what stands in it")
        .hint("the file is cut off or altered: restore it, or read a version that does not list it");
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_end() {
        let error = guarded::<()>(async { panic!("damaged") }).await.unwrap_err();
        assert!(error.to_string().contains("gave up"), "{error}");
        assert_eq!(guarded(async { Ok(3) }).await.unwrap(), 3);
        let error = guarded_log::<()>(async { panic!("damaged") }).await.unwrap_err();
        assert!(error.to_string().contains("gave up"), "{error}");
        let rows = futures::stream::iter(0..3).map(|row| if row == 1 { panic!("damaged") } else { Ok(row) });
        let mut rows = Box::pin(guarded_stream(rows));
        assert_eq!(rows.try_next().await.unwrap(), Some(0));
        assert!(rows.try_next().await.is_err());
        assert_eq!(rows.try_next().await.unwrap(), None);
    }
}
