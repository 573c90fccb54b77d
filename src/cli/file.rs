//! Files that a caller wants written somewhere: whole or not at all.

use std::io;
use std::path::Path;
use tempfile::{Builder, NamedTempFile};

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An unnamed beginning of `path` in its folder, to be persisted there. It may be read by whom the umask lets, like
/// any other result; temporary files are private otherwise.
///
/// # Errors
/// What the file system refuses.
pub(super) fn begin(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(path))
}
