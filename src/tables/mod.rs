//! Tables as they lie in the lake, pinned once per run and read exactly as pinned.
//!
//! A [`TableRequest`] (name, location, point in time) becomes a [`PinnedTable`] by [`pin`]; every
//! later step uses the pin and nothing else. [`provider`] then gives DataFusion a table of exactly
//! those files: a commit that comes later is not seen, and a file that was changed or removed in
//! between makes the read fail instead of giving other rows.
//!
//! Column names are case-sensitive, as they stand in the files (see [`crate::query`]).
//!
//! To add one: write `src/tables/<format>.rs` with a type that implements [`TableFormat`], add its
//! `mod` line below and its name to [`FORMATS`]. The order there is the order in which a location
//! is tried. A format whose tables are folders of plain files needs only a
//! `files::PlainFormat`: see `csv.rs`.

mod by_id;
mod csv;
mod delta;
pub mod delta_features;
mod delta_loaded;
mod delta_log;
mod delta_schema;
mod delta_store;
mod delta_told;
mod delta_versions;
mod empty_text;
pub mod errors;
mod files;
pub(crate) mod guard;
mod hive;
mod in_order;
pub mod inspect;
mod inspect_delta;
mod inspect_files;
mod json;
pub mod native;
mod no_hint;
mod parquet;
mod pinned;
mod place;
mod plain_table;
mod plain_version;

pub use delta_store::delta_builder;
pub use files::register_store;
pub use inspect::{History, Inspection};
pub use pinned::{At, PinnedTable, TableRequest};
pub use place::Place;

use crate::error::{Error, Result, ResultExt, did_you_mean};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use std::fmt::Debug;
use std::sync::Arc;

/// A way in which rows can lie at a location.
#[async_trait]
pub trait TableFormat: Debug + Sync {
    /// The name in job files, plans and receipts.
    fn name(&self) -> &'static str;

    /// Whether what lies at `place` is a table of this format.
    ///
    /// # Errors
    /// Where the place cannot be listed.
    async fn recognises(&self, place: &Place) -> Result<bool>;

    /// Fixes the state of the table that will be read.
    ///
    /// # Errors
    /// Where the table, the version or the point in time does not exist, and where the table needs
    /// something that cannot be read, by name.
    async fn pin(&self, request: &TableRequest, place: &Place) -> Result<PinnedTable>;

    /// The pinned rows as a DataFusion table. Files and rows come in one fixed order as long as
    /// the session has one target partition.
    ///
    /// # Errors
    /// Where the pinned state is no longer there.
    async fn provider(&self, table: &PinnedTable, session: &SessionContext) -> Result<Arc<dyn TableProvider>>;

    /// What the table is made of; its rows are not read.
    ///
    /// # Errors
    /// Where the table or the version does not exist, or its metadata cannot be read.
    async fn inspect(&self, request: &TableRequest, place: &Place, history: History) -> Result<Inspection>;
}

/// All formats, in the order in which a location is tried.
pub static FORMATS: &[&dyn TableFormat] = &[&delta::Delta, &parquet::PARQUET, &csv::CSV, &json::JSON];

/// The format of that name.
///
/// # Errors
/// A usage error that lists the names.
pub fn lookup(name: &str) -> Result<&'static dyn TableFormat> {
    if let Some(format) = FORMATS.iter().find(|format| format.name() == name) {
        return Ok(*format);
    }
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
    let hint = match did_you_mean(name, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("formats are {}", names.join(", ")),
    };
    Err(Error::usage(format!("unknown table format `{name}`")).hint(hint))
}

/// Finds the format at the location and fixes the state that will be read.
///
/// # Errors
/// As [`TableFormat::pin`], with the table's name and location; and where nothing that is a table
/// lies there, or files of several formats do.
pub async fn pin(request: &TableRequest) -> Result<PinnedTable> {
    let place = Place::new(request.location.clone());
    pin_at(request, &place).await.at("table", &request.name).at("location", &request.location)
}

/// As [`pin`], for a table whose format is said instead of found.
///
/// # Errors
/// As [`pin`], and where what lies there is not of that format.
pub async fn pin_as(request: &TableRequest, format: &str) -> Result<PinnedTable> {
    let format = lookup(format)?;
    let place = Place::declared(request.location.clone());
    let pinned = match format.recognises(&place).await {
        Ok(true) => format.pin(request, &place).await,
        Ok(false) => Err(Error::usage(format!("what lies there is not a table of the format `{}`", format.name()))
            .hint("check the path; unless it is said, the format is found from what lies there")),
        Err(error) => Err(error),
    };
    pinned.at("table", &request.name).at("location", &request.location)
}

async fn pin_at(request: &TableRequest, place: &Place) -> Result<PinnedTable> {
    for format in FORMATS {
        if format.recognises(place).await? {
            return format.pin(request, place).await;
        }
    }
    Err(place.unrecognised().await)
}

/// The pinned rows as a DataFusion table.
///
/// # Errors
/// As [`TableFormat::provider`], with the table's name and location.
pub async fn provider(table: &PinnedTable, session: &SessionContext) -> Result<Arc<dyn TableProvider>> {
    let format = lookup(&table.format)?;
    format.provider(table, session).await.at("table", &table.name).at("location", &table.location)
}
