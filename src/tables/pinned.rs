//! What is asked for and what was found: a table at one fixed state.

use super::delta::PinnedDelta;
use crate::interval::instant;
use crate::lake::Location;
use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::datasource::listing::PartitionedFile;
use object_store::path::Path;
use std::fmt;
use std::sync::Arc;

/// Which state of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum At {
    /// The newest state at the time of pinning.
    #[default]
    Latest,
    /// A version by its number.
    Version(u64),
    /// The newest version that was committed at or before an instant.
    AsOf(DateTime<Utc>),
}

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => out.write_str("latest"),
            Self::Version(version) => write!(out, "version {version}"),
            Self::AsOf(at) => write!(out, "as of {}", instant(*at)),
        }
    }
}

/// A table as a job names it.
#[derive(Debug, Clone)]
pub struct TableRequest {
    /// The name in SQL.
    pub name: String,
    /// Where it lies: a folder or a single file.
    pub location: Location,
    /// Which state of it.
    pub at: At,
}

impl TableRequest {
    /// The newest state of the table at `location`, under `name` in SQL.
    pub fn latest(name: impl Into<String>, location: Location) -> Self {
        Self { name: name.into(), location, at: At::Latest }
    }
}

/// A table at one fixed state. Cheap to clone.
#[derive(Clone)]
pub struct PinnedTable {
    /// The name in SQL.
    pub name: String,
    /// The format's name, see [`super::FORMATS`].
    pub format: String,
    /// Where it lies, without credentials.
    pub location: String,
    /// Delta: the version number. Plain files: `files-` and 16 hexadecimal digits of a hash over the names and
    /// contents of the files; beyond 64 MiB over their names, sizes, etags and modification times.
    pub version: String,
    /// When that state was made, where it is known: the commit (Delta) or the newest file.
    pub changed_at: Option<DateTime<Utc>>,
    /// Data files.
    pub files: u64,
    /// Rows, where the format's metadata tells without reading the data.
    pub rows: Option<u64>,
    /// Size of the data files, in bytes.
    pub bytes: u64,
    /// Columns as SQL sees them; partition columns of plain files come last.
    pub schema: SchemaRef,
    pub(super) place: Location,
    pub(super) resolved: Option<Path>,
    pub(super) contents: Contents,
}

impl fmt::Debug for PinnedTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PinnedTable({} = {} {} @ {})", self.name, self.format, self.location, self.version)
    }
}

impl PinnedTable {
    /// What tells this table from another of the same version number: the id in a Delta table's
    /// metadata. Empty for plain files, whose version is a hash over them already.
    pub fn identity(&self) -> String {
        match &self.contents {
            Contents::Delta(delta) => {
                delta.loaded.metadata().map(|metadata| metadata.id().to_owned()).unwrap_or_default()
            }
            Contents::Plain(_) => String::new(),
        }
    }

    /// Whether the data file at `path` (relative to the object store's root) belongs to the table's folder.
    pub fn holds(&self, path: &Path) -> bool {
        let below = |folder: &Path| path == folder || path.prefix_match(folder).is_some();
        below(self.place.path()) || self.resolved.as_ref().is_some_and(below)
    }

    /// The folder behind symbolic links, which deltalake follows.
    pub(super) fn resolve(location: &Location) -> Option<Path> {
        let folder = location.local_path()?.canonicalize().ok()?;
        Path::from_absolute_path(folder).ok().filter(|path| path != location.path())
    }
}

/// What a pin remembers so that reading needs no second look at the log or the folder.
#[derive(Clone)]
pub(super) enum Contents {
    /// The loaded snapshot of that version.
    Delta(Arc<PinnedDelta>),
    /// The files of a folder with their partition values, and how they are cut into columns.
    Plain(Arc<PlainContents>),
}

/// The files of a folder as they were when they were pinned.
pub(super) struct PlainContents {
    /// In the order of their paths.
    pub(super) files: Vec<PartitionedFile>,
    /// Columns inside the files.
    pub(super) file_schema: SchemaRef,
}
