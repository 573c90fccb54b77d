//! The version of a table of plain files, which have none of their own: a hash over what they hold, so that the same
//! files in a bucket, or copied, or touched, are the same version. Where they are too many bytes to be read for that,
//! over everything by which a store tells that a file has changed.

use super::errors::{changed_file, from_store};
use super::files::CONCURRENT_FILES;
use crate::error::{Result, ResultExt};
use crate::lake::Location;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use std::sync::Arc;

/// Files of so many bytes together are told apart by what they hold.
const READ_BYTES: u64 = 64 << 20;

/// The version of `files`, which lie at or below `location`.
///
/// # Errors
/// What the store fails with; a file that was replaced meanwhile.
pub(super) async fn version(files: &[ObjectMeta], location: &Location) -> Result<String> {
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    let contents = if bytes <= READ_BYTES { contents(files, location).await? } else { by_store(files) };
    let mut hash = blake3::Hasher::new();
    for (file, content) in files.iter().zip(contents) {
        // Length-prefixed, so that no two lists of files write the same bytes.
        for part in [name_below(&file.location, location.path()).as_bytes(), content.as_slice()] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let hex = hash.finalize().to_hex();
    Ok(format!("files-{}", &hex[..16]))
}

/// A file's name relative to the table; a table that is one file has a file without a name.
fn name_below(file: &Path, root: &Path) -> String {
    match file.prefix_match(root) {
        Some(parts) => parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"),
        None => file.to_string(),
    }
}

/// The hash of each file's bytes.
async fn contents(files: &[ObjectMeta], location: &Location) -> Result<Vec<Vec<u8>>> {
    let store = location.store();
    futures::stream::iter(files.to_vec())
        .map(|file| {
            let store = Arc::clone(&store);
            async move {
                let found = store.get(&file.location).await.map_err(from_store).at("file", &file.location)?;
                let bytes = found.bytes().await.map_err(from_store).at("file", &file.location)?;
                if bytes.len() as u64 != file.size {
                    return Err(changed_file(&file.location));
                }
                Ok(blake3::hash(&bytes).as_bytes().to_vec())
            }
        })
        .buffered(CONCURRENT_FILES)
        .try_collect()
        .await
}

/// What the store says of each file: size, time and tag.
fn by_store(files: &[ObjectMeta]) -> Vec<Vec<u8>> {
    let of = |file: &ObjectMeta| {
        let mut told = file.size.to_le_bytes().to_vec();
        told.extend(file.last_modified.timestamp_micros().to_le_bytes());
        told.extend(file.e_tag.iter().flat_map(|tag| tag.bytes()));
        told
    };
    files.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use std::fs;

    /// The version of the files below a folder.
    async fn of(folder: &std::path::Path) -> String {
        let location = Location::parse(&folder.display().to_string(), std::path::Path::new("/")).unwrap();
        let mut files = location.list().await.unwrap();
        files.sort_by(|a, b| a.location.cmp(&b.location));
        version(&files, &location).await.unwrap()
    }

    #[tokio::test]
    async fn the_same_files_are_the_same_version_wherever_they_lie_and_whenever_they_came() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [one.path(), other.path()] {
            fs::create_dir(folder.join("day=1")).unwrap();
            fs::write(folder.join("day=1/x.csv"), "a\n1\n").unwrap();
        }
        let first = of(one.path()).await;
        assert!(first.starts_with("files-") && first.len() == 22);
        assert_eq!(of(other.path()).await, first);
        fs::write(other.path().join("day=1/x.csv"), "a\n1\n").unwrap();
        assert_eq!(of(other.path()).await, first, "written anew");
        fs::write(other.path().join("day=1/x.csv"), "a\n2\n").unwrap();
        assert_ne!(of(other.path()).await, first, "as long, and another");
        fs::rename(one.path().join("day=1"), one.path().join("day=2")).unwrap();
        assert_ne!(of(one.path()).await, first, "the folder's name is a value");
    }

    #[test]
    fn a_store_tells_that_a_large_file_has_changed() {
        let file = |size, tag: &str| ObjectMeta {
            location: "t/x.csv".into(),
            last_modified: DateTime::UNIX_EPOCH,
            size,
            e_tag: Some(tag.to_owned()),
            version: None,
        };
        let of = |size, tag| by_store(&[file(size, tag)]);
        assert_eq!(of(3, "a"), of(3, "a"));
        assert!(of(3, "a") != of(4, "a") && of(3, "a") != of(3, "b"));
    }
}
