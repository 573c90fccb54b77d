//! `lakemill inspect`: what a table is made of, and whether it can be read.

use super::query::place_and_version;
use super::ui::{bytes, count, pairs, table};
use super::{Session, current_dir};
use crate::error::{Error, Result};
use crate::interval::instant;
use crate::lake::Location;
use crate::tables::inspect::{DeltaDetails, Inspection, ParquetDetails, inspect};
use crate::tables::{History, TableRequest};
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// A folder, a file or a URL; a Delta table also at a version or an instant: TABLE@12, TABLE@2018-06-01T00:00:00Z
    #[arg(value_name = "TABLE[@VERSION]")]
    table: String,
    /// How many of the newest versions are listed: a number, or all
    #[arg(long, value_name = "N|all", default_value = "10", value_parser = parse_history)]
    versions: History,
}

fn parse_history(text: &str) -> std::result::Result<History, String> {
    match text {
        "all" => Ok(History::All),
        text => text.parse().map(History::Last).map_err(|_| "give a whole number, or `all`".to_owned()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let (path, at) = place_and_version(&args.table);
    if path.is_empty() {
        return Err(Error::usage("there is no table to inspect").hint("give its folder, file or URL"));
    }
    let location = Location::parse(path, &current_dir()?)?;
    let request = TableRequest { at, ..TableRequest::latest(location.name().to_owned(), location) };
    let found = session.engine.runtime.run(inspect(&request, args.versions))?;
    session.ui.show(&found, || describe(&found))
}

/// The table as a person reads it.
fn describe(found: &Inspection) -> String {
    let known = |number: Option<u64>, shown: fn(u64) -> String| number.map_or_else(|| "unknown".to_owned(), shown);
    let mut rows: Vec<(&str, String)> = vec![("table", format!("{} ({})", found.location, found.format))];
    let changed = found.changed_at.map(|at| format!(", of {}", instant(at))).unwrap_or_default();
    rows.push(("version", format!("{}{changed}", found.version)));
    rows.push((
        "readable",
        found.refusal.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {}", why.message)),
    ));
    if let Some(hint) = found.refusal.as_ref().and_then(|why| why.hint.as_ref()) {
        rows.push(("remedy", hint.clone()));
    }
    rows.push(("files", known(found.files, count)));
    rows.push(("rows", known(found.rows, count)));
    rows.push(("size", known(found.bytes, bytes)));
    if let Some(small) = found.small_files {
        let share = format!("{:.0} %", small.share * 100.0);
        rows.push(("small files", format!("{} below {} ({share})", count(small.files), bytes(small.below_bytes))));
    }
    if let Some(delta) = &found.delta {
        of_delta(delta, &mut rows);
    }
    if let Some(parquet) = &found.parquet {
        of_parquet(parquet, &mut rows);
    }
    let mut text = pairs(&rows);
    text.push_str(&format!("\n\n{}", columns(found)));
    if let Some(delta) = found.delta.as_ref().filter(|delta| !delta.commits.is_empty()) {
        text.push_str(&format!("\n\n{}", commits(delta)));
    }
    for advice in &found.advice {
        text.push_str(&format!("\n\nadvice: {advice}"));
    }
    text
}

fn of_delta(delta: &DeltaDetails, rows: &mut Vec<(&'static str, String)>) {
    let protocol = &delta.protocol;
    rows.push(("protocol", format!("reader {}, writer {}", protocol.min_reader_version, protocol.min_writer_version)));
    if !delta.reader_features.is_empty() {
        let features = delta.reader_features.iter().map(|(name, word)| format!("{name} ({word})"));
        rows.push(("reader features", features.collect::<Vec<_>>().join(", ")));
    }
    if let Some(features) = protocol.writer_features.as_ref().filter(|features| !features.is_empty()) {
        rows.push(("writer features", features.join(", ")));
    }
    if !delta.partition_columns.is_empty() {
        rows.push(("partitioned by", delta.partition_columns.join(", ")));
    }
    if !delta.properties.is_empty() {
        let properties = delta.properties.iter().map(|(key, value)| format!("{key} = {value}"));
        rows.push(("properties", properties.collect::<Vec<_>>().join(", ")));
    }
    if let (Some(vectors), Some(deleted)) = (delta.deletion_vectors, delta.deleted_rows) {
        rows.push(("deletion vectors", format!("{} files, {} deleted rows", count(vectors), count(deleted))));
    }
    rows.push(("versions", format!("{} to {}", delta.oldest_version, delta.newest_version)));
    let since = count(delta.commits_since_checkpoint);
    rows.push((
        "checkpoint",
        match delta.checkpoint {
            Some(version) => format!("at version {version}, {since} commits ago"),
            None => format!("none in {since} commits"),
        },
    ));
    rows.push(("last vacuum", delta.last_vacuum.map_or_else(|| "not seen".to_owned(), instant)));
}

fn of_parquet(parquet: &ParquetDetails, rows: &mut Vec<(&'static str, String)>) {
    rows.push(("row groups", count(parquet.row_groups)));
    let listed = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, number)| format!("{name} ({})", count(*number))).collect::<Vec<_>>().join(", ")
    };
    rows.push(("compression", listed(&parquet.codecs)));
    rows.push(("created by", listed(&parquet.created_by)));
}

fn columns(found: &Inspection) -> String {
    let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), count);
    let rows: Vec<Vec<String>> = found
        .columns
        .iter()
        .map(|column| {
            let place = if column.partition { "partition" } else { "" };
            vec![
                column.name.clone(),
                column.kind.clone(),
                place.to_owned(),
                known(column.min_max_files),
                known(column.null_count_files),
            ]
        })
        .collect();
    table(&["column", "type", "", "files with min/max", "files with null count"], &rows)
}

fn commits(delta: &DeltaDetails) -> String {
    let number = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<Vec<String>> = delta
        .commits
        .iter()
        .map(|commit| {
            let shown = ["numOutputRows", "numFiles", "numAddedFiles", "numRemovedFiles", "num_added_rows"];
            let metrics = shown.iter().filter_map(|key| Some(format!("{key} {}", number(commit.metrics.get(*key)?))));
            vec![
                commit.version.to_string(),
                instant(commit.committed_at),
                commit.operation.clone().unwrap_or_else(|| "-".to_owned()),
                metrics.collect::<Vec<_>>().join(", "),
                commit.engine.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["version", "committed", "operation", "metrics", "engine"], &rows)
}
