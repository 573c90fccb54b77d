//! Files that a caller wants written somewhere: whole or not at all.

use crate::error::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile};

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file that `path` means, which may be a link to it, if a file can be written there by moving a whole one to its
/// place: a device or a pipe would be replaced by a file.
///
/// # Errors
/// Usage: no folder, a folder, or something else that is no plain file; `flag` says what asked for it.
pub(super) fn target(path: &Path, flag: &'static str) -> Result<PathBuf> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (why, hint) = match target.metadata() {
        Ok(found) if found.is_file() => return Ok(target),
        Ok(found) if found.is_dir() => ("this is a folder, not a file", "name a file in it"),
        Ok(_) => (
            "this is no plain file: it would be replaced by one",
            "name a file; results go to standard output without the flag",
        ),
        Err(_) if !folder_of(&target).is_dir() => ("the folder of the file does not exist", "make the folder first"),
        Err(_) => return Ok(target),
    };
    Err(Error::usage(why).with(flag, path.display()).hint(hint))
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
    // Without the random name of the beginning, which says nothing to anybody.
    builder.tempfile_in(folder_of(path)).map_err(|source| source.kind().into())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::fs::write;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_what_a_file_may_replace_is_a_target() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().canonicalize().unwrap().join(name);
        let why = |path: &Path| target(path, "--out").unwrap_err().message().to_owned();
        assert_eq!(target(&path("new"), "--out").unwrap(), path("new"));
        write(path("there"), "").unwrap();
        assert_eq!(target(&path("there"), "--out").unwrap(), path("there"));
        symlink(path("there"), path("link")).unwrap();
        assert_eq!(target(&path("link"), "--out").unwrap(), path("there"), "the link stays");
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert!(why(&path("socket")).starts_with("this is no plain file"));
        assert!(why(folder.path()).starts_with("this is a folder"));
        assert!(why(&path("no/file")).starts_with("the folder of the file does not exist"));
        assert_eq!(target(Path::new("beside.csv"), "--out").unwrap(), Path::new("beside.csv"));
    }
}
