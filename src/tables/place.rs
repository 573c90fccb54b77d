//! A location and what lies there, listed at most once while the formats look at it.

use super::errors::{encrypted, from_store};
use super::files::extension;
use crate::error::{Error, Result};
use crate::lake::Location;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStoreExt};
use std::collections::BTreeMap;
use tokio::sync::OnceCell;

/// A location whose data files are listed on first use.
#[derive(Debug)]
pub struct Place {
    location: Location,
    files: OnceCell<Vec<ObjectMeta>>,
    declared: bool,
}

impl Place {
    /// Nothing is listed yet.
    pub fn new(location: Location) -> Self {
        Self { location, files: OnceCell::new(), declared: false }
    }

    /// A place whose format somebody has said.
    pub fn declared(location: Location) -> Self {
        Self { declared: true, ..Self::new(location) }
    }

    /// Whether somebody has said what lies here, so that nothing has to be guessed.
    pub fn is_declared(&self) -> bool {
        self.declared
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The data files in the order of their paths: the file itself, or everything below the folder
    /// except what is hidden (a name that starts with `_` or `.`; `_column=value` is not hidden).
    ///
    /// # Errors
    /// Where the object store cannot be read.
    pub async fn files(&self) -> Result<&[ObjectMeta]> {
        self.files.get_or_try_init(|| self.list()).await.map(Vec::as_slice)
    }

    async fn list(&self) -> Result<Vec<ObjectMeta>> {
        let (store, path) = (self.location.store(), self.location.path());
        // A name with a known ending is asked for as a file first: listing a file's own path finds nothing.
        if extension(path).is_some() {
            match store.head(path).await {
                Ok(file) => return Ok(vec![file]),
                Err(object_store::Error::NotFound { .. }) => {}
                // A folder may be called `x.parquet`; some stores say so in their own way.
                Err(source) if self.location.local_path().is_some_and(|local| local.is_dir()) => drop(source),
                Err(source) => return Err(from_store(source)),
            }
        }
        let mut files: Vec<ObjectMeta> = store.list(Some(path)).try_collect().await.map_err(from_store)?;
        if files.is_empty() && extension(path).is_none() && !path.as_ref().is_empty() {
            // A file by another name; some stores find it when they list its path, others do not.
            match store.head(path).await {
                Ok(file) if file.size > 0 => return Ok(vec![file]),
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) if self.location.local_path().is_some_and(|local| local.is_dir()) => drop(source),
                Err(source) => return Err(from_store(source)),
            }
        }
        files.retain(|file| {
            file.location.prefix_match(path).is_some_and(|mut parts| {
                !parts.any(|part| {
                    let part: &str = part.as_ref();
                    (part.starts_with('_') || part.starts_with('.')) && !part.contains('=')
                })
            })
        });
        files.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(files)
    }

    /// Whether something lies below the folder `name`.
    ///
    /// # Errors
    /// Where the object store cannot be read.
    pub(super) async fn has_folder(&self, name: &str) -> Result<bool> {
        let folder = self.location.path().clone().join(name);
        let mut entries = self.location.store().list(Some(&folder));
        match entries.try_next().await {
            Ok(entry) => Ok(entry.is_some()),
            // The location is a file, or nothing at all.
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) if self.location.local_path().is_some_and(|local| local.is_file()) => {
                drop(source);
                Ok(false)
            }
            Err(source) => Err(from_store(source)),
        }
    }

    /// The error for a place that no format recognises.
    pub(super) async fn unrecognised(&self) -> Error {
        let files = match self.files().await {
            Ok(files) => files,
            Err(error) => return error,
        };
        if files.is_empty() {
            return Error::usage("the table does not exist: nothing lies there")
                .hint("check the path: in a job file it starts at the project root, on the command line at the current folder");
        }
        if let [file] = files
            && let Some(error) = self.parquet_by_another_name(file).await
        {
            return error;
        }
        let mut endings: BTreeMap<String, usize> = BTreeMap::new();
        for file in files {
            let ending =
                file.location.extension().map_or_else(|| "no ending".to_owned(), |ending| format!(".{ending}"));
            *endings.entry(ending).or_default() += 1;
        }
        let found: Vec<String> = endings.iter().map(|(ending, count)| format!("{count} with {ending}")).collect();
        Error::usage(format!("no table format is recognised: found files {}", found.join(", ")))
            .hint("a table is a Delta table (a folder with _delta_log), or files of one kind: .parquet, .csv, .json, .jsonl or .ndjson")
    }

    /// The error for a single file that begins as Parquet files do but is not called so.
    async fn parquet_by_another_name(&self, file: &ObjectMeta) -> Option<Error> {
        let magic = self.location.store().get_range(&file.location, 0..file.size.min(4)).await.ok()?;
        match magic.as_ref() {
            b"PARE" => Some(encrypted().with("file", &file.location)),
            b"PAR1" => Some(
                Error::usage("this is a Parquet file, but its name does not end in .parquet")
                    .with("file", &file.location)
                    .hint("rename it, or say `format = \"parquet\"` for the table in the job file"),
            ),
            _ => None,
        }
    }
}
