//! From an object store's errors to ours: which kind, and what the user can do.
//!
//! Libraries wrap each other's errors several layers deep, and some pass on only the text. What
//! decides is the cause that is ours or the system's, wherever in the chain it is.

use super::bucket::Failure;
use crate::error::{Error, ErrorKind};
use std::error::Error as StdError;
use std::io;

/// Who must act, as far as the causes of a library's error tell: the kind of an error of ours among
/// them, `transient` for a store or a network that a later try may find well, else `failed`.
pub fn kind_of_causes(error: &(dyn StdError + 'static)) -> ErrorKind {
    for cause in Causes::of(error) {
        if let Some(own) = cause.downcast_ref::<Error>() {
            return own.kind();
        }
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.kind();
        }
        if cause.downcast_ref::<io::Error>().is_some_and(|io| is_transient_io(io.kind())) {
            return ErrorKind::Transient;
        }
    }
    if is_transient_text(&error.to_string()) { ErrorKind::Transient } else { ErrorKind::Failed }
}

/// What the user can do, where the causes of a library's error tell.
pub fn hint_of_causes(error: &(dyn StdError + 'static)) -> Option<String> {
    for cause in Causes::of(error) {
        if let Some(own) = cause.downcast_ref::<Error>() {
            return own.hint_text().map(str::to_owned);
        }
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.hint());
        }
        if let Some(hint) = cause.downcast_ref::<io::Error>().and_then(|io| io_hint(io.kind())) {
            return Some(hint.to_owned());
        }
    }
    (kind_of_causes(error) == ErrorKind::Transient).then(|| LATER.to_owned())
}

/// An error of ours over a library's, with the kind and the hint that its causes give.
pub fn because_of(message: &str, source: impl StdError + Send + Sync + 'static) -> Error {
    let error = Error::new(kind_of_causes(&source), message);
    match hint_of_causes(&source) {
        Some(hint) => error.hint(hint).because(source),
        None => error.because(source),
    }
}

pub(super) const LATER: &str = "run the same command again later";

/// The error for a store that refused `action` ("read", "write" ...).
pub(super) fn from_store(action: &str, source: object_store::Error) -> Error {
    use object_store::Error as Store;
    let message = format!("could not {action}");
    if hint_of_causes(&source).is_some() {
        return because_of(&message, source);
    }
    let failed = Error::failed(message);
    let error = match &source {
        Store::PermissionDenied { .. } => failed.hint("give the user that runs lakemill the right to do so"),
        Store::Unauthenticated { .. } => failed.hint("check the credentials of this store"),
        Store::NotFound { .. } => failed.hint("nothing lies there"),
        _ => failed,
    };
    error.because(source)
}

/// Whether the store says that nothing lies there; a place below a file is nothing, too.
pub(super) fn is_absent(error: &object_store::Error) -> bool {
    let below_a_file = |cause: &(dyn StdError + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::NotADirectory)
    };
    matches!(error, object_store::Error::NotFound { .. }) || Causes::of(error).any(below_a_file)
}

fn io_hint(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind as Io;
    Some(match kind {
        Io::PermissionDenied => "give the user that runs lakemill the right to read and write there",
        Io::ReadOnlyFilesystem => "the file system is read-only",
        Io::StorageFull | Io::QuotaExceeded => "free some space there",
        Io::NotADirectory => "a part of the path is a file, not a folder",
        Io::IsADirectory => "a folder lies where a file should be",
        kind if is_transient_io(kind) => LATER,
        _ => return None,
    })
}

fn is_transient_io(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as Io;
    matches!(
        kind,
        Io::TimedOut
            | Io::WouldBlock
            | Io::Interrupted
            | Io::ResourceBusy
            | Io::StaleNetworkFileHandle
            | Io::ConnectionRefused
            | Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::NotConnected
            | Io::BrokenPipe
            | Io::HostUnreachable
            | Io::NetworkUnreachable
            | Io::NetworkDown
    )
}

/// For libraries that pass on only the text: what [`Failure`] says, and what systems and HTTP clients
/// say of themselves. No bare numbers: a path may hold `503`.
fn is_transient_text(text: &str) -> bool {
    const MARKS: &[&str] = &[
        Failure::TRANSIENT,
        "timed out",
        "slow down",
        "slowdown",
        "too many requests",
        "connection reset",
        "connection refused",
        "connection closed",
        "broken pipe",
        "stale file handle",
    ];
    let text = text.to_lowercase();
    MARKS.iter().any(|mark| text.contains(mark))
}

/// An error and its causes, outermost first; also those that an `io::Error` only carries.
struct Causes<'a>(Option<&'a (dyn StdError + 'static)>);

impl<'a> Causes<'a> {
    fn of(error: &'a (dyn StdError + 'static)) -> Self {
        Self(Some(error))
    }
}

impl<'a> Iterator for Causes<'a> {
    type Item = &'a (dyn StdError + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let cause = self.0?;
        let carried = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        self.0 = match carried {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
        Some(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(kind: io::ErrorKind) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(io::Error::from(kind)) }
    }

    #[test]
    fn who_must_act_follows_from_the_cause() {
        let timeout = from_store("read", generic(io::ErrorKind::TimedOut));
        assert_eq!(timeout.kind(), ErrorKind::Transient);
        let denied = from_store("write", generic(io::ErrorKind::PermissionDenied));
        assert_eq!(denied.kind(), ErrorKind::Failed);
        assert!(denied.hint_text().unwrap().contains("right"));
        assert_eq!(denied.message(), "could not write");
        let full = from_store("write", generic(io::ErrorKind::StorageFull));
        assert!(full.hint_text().unwrap().contains("space"));
    }

    #[test]
    fn causes_are_found_below_other_libraries_errors() {
        let reset = || generic(io::ErrorKind::ConnectionReset);
        let parquet = parquet::errors::ParquetError::External(Box::new(reset()));
        assert_eq!(kind_of_causes(&parquet), ErrorKind::Transient);
        let arrow = arrow::error::ArrowError::ExternalError(Box::new(parquet));
        assert_eq!(kind_of_causes(&arrow), ErrorKind::Transient);
        let carried = io::Error::other(arrow);
        assert_eq!(kind_of_causes(&carried), ErrorKind::Transient);
        assert_eq!(hint_of_causes(&carried).as_deref(), Some(LATER));
        let full = arrow::error::ArrowError::ExternalError(Box::new(generic(io::ErrorKind::StorageFull)));
        assert_eq!(kind_of_causes(&full), ErrorKind::Failed);
        assert!(hint_of_causes(&full).unwrap().contains("space"));
        let own = io::Error::other(Error::conflict("moved").hint("again"));
        assert_eq!(kind_of_causes(&own), ErrorKind::Conflict);
    }

    #[test]
    fn text_alone_is_enough_and_a_number_in_a_path_is_not() {
        let text = |text: &str| kind_of_causes(&io::Error::other(text.to_owned()));
        assert_eq!(text("get_bytes error: Connection reset by peer (os error 104)"), ErrorKind::Transient);
        assert_eq!(text("no such file: /lake/503/429/connection/a.parquet"), ErrorKind::Failed);
        assert_eq!(
            text(&format!("x: {}", Failure::busy(super::super::bucket::Cloud::S3, "503 SlowDown"))),
            ErrorKind::Transient
        );
    }
}
