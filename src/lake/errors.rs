//! From an object store's errors to ours: which kind, and what the user can do.

use crate::error::{Error, ErrorKind};
use std::error::Error as StdError;
use std::io;

/// The error for a store that refused `action` ("read", "write" ...).
pub(super) fn from_store(action: &str, source: object_store::Error) -> Error {
    use object_store::Error as Store;
    let io = io_kind(&source);
    let failed = Error::new(kind_of(io), format!("could not {action}"));
    let error = match (&source, io) {
        (Store::PermissionDenied { .. }, _) | (_, Some(io::ErrorKind::PermissionDenied)) => {
            failed.hint("give the user that runs lakemill the right to read and write there")
        }
        (Store::Unauthenticated { .. }, _) => failed.hint("check the credentials of this store"),
        (_, Some(io::ErrorKind::ReadOnlyFilesystem)) => failed.hint("the file system is read-only"),
        (_, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => failed.hint("free some space there"),
        (_, Some(io::ErrorKind::NotADirectory)) => failed.hint("a part of the path is a file, not a folder"),
        (_, Some(io::ErrorKind::IsADirectory)) => failed.hint("a folder lies where a file should be"),
        (Store::NotFound { .. }, _) => failed.hint("nothing lies there"),
        _ if failed.kind() == ErrorKind::Transient => failed.hint("run the same command again later"),
        _ => failed,
    };
    error.because(source)
}

/// Whether the store says that nothing lies there; a place below a file is nothing, too.
pub(super) fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) || io_kind(error) == Some(io::ErrorKind::NotADirectory)
}

fn kind_of(io: Option<io::ErrorKind>) -> ErrorKind {
    use io::ErrorKind as Io;
    match io {
        Some(
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
            | Io::NetworkDown,
        ) => ErrorKind::Transient,
        _ => ErrorKind::Failed,
    }
}

/// The kind of the first I/O error among the causes.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
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
}
