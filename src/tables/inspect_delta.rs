//! What a Delta table is made of.

use super::delta::{PinnedDelta, changed_at, open, reason};
use super::delta_features::{Protocol, Reading, reading};
use super::delta_loaded::Loaded;
use super::delta_log::{Commit, Header};
use super::delta_versions::{CONCURRENT_READS, Versions};
use super::errors::from_delta;
use super::inspect::{Column, DeltaDetails, History, Inspection, Refusal, SmallFiles};
use super::pinned::{At, TableRequest};
use crate::error::Result;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{Array, RecordBatch};
use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many of the newest commits are asked for a vacuum.
const VACUUM_COMMITS: usize = 100;

/// Looks at the log and, where lakemill reads the table, at its files.
///
/// # Errors
/// Where the version does not exist, or the log cannot be read at all.
pub(super) async fn inspect(request: &TableRequest, history: History) -> Result<Inspection> {
    let location = &request.location;
    let versions = Versions::list(location).await?;
    let version = match request.at {
        At::Latest => versions.check(versions.newest().unwrap_or_default())?,
        At::Version(version) => versions.check(version)?,
        At::AsOf(at) => versions.as_of(at, location.store().as_ref()).await?,
    };
    let header = Header::read(location, &versions, version).await?;
    let loaded = match open(location, Some(version)).await {
        Ok(table) => PinnedDelta::new(Loaded::Held(table)).await,
        Err(error) => Err(reason(location, &versions, Some(version)).await.unwrap_or(error)),
    };
    let protocol = header.protocol.unwrap_or_default();
    let metadata = Metadata(header.metadata.unwrap_or_default());
    let times = versions.times(location.store().as_ref()).await?;
    let commits = commits(request, &versions, &times, version, history).await?;
    let checkpoint = versions.checkpoint(version).map(|(checkpoint, _)| checkpoint);
    let mut found = Inspection {
        format: "delta".to_owned(),
        location: location.to_string(),
        version: version.to_string(),
        changed_at: times.iter().find(|(at, _)| *at == version).map(|(_, at)| *at),
        refusal: loaded.as_ref().err().map(Refusal::from),
        files: None,
        rows: None,
        bytes: None,
        small_files: None,
        columns: metadata.columns(),
        delta: Some(DeltaDetails {
            reader_features: uses(&protocol),
            protocol,
            properties: metadata.properties(),
            partition_columns: metadata.partition_columns(),
            oldest_version: versions.oldest().unwrap_or_default(),
            newest_version: versions.newest().unwrap_or_default(),
            last_vacuum: last_vacuum(&commits),
            commits: match history {
                History::All => commits,
                History::Last(count) => commits.into_iter().take(count).collect(),
            },
            checkpoint,
            commits_since_checkpoint: checkpoint.map_or(version.saturating_add(1), |checkpoint| version - checkpoint),
            deletion_vectors: None,
            deleted_rows: None,
            row_count_files: None,
        }),
        parquet: None,
        advice: Vec::new(),
    };
    if let Ok(delta) = loaded {
        found.changed_at = changed_at(location, &versions, &delta).await?.or(found.changed_at);
        files(&mut found, &delta, &metadata)?;
    }
    found.advice = advice(&found);
    Ok(found)
}

/// The commits up to `version`, newest first: those to be shown, and enough to look for a vacuum.
async fn commits(
    request: &TableRequest,
    versions: &Versions,
    times: &[(u64, DateTime<Utc>)],
    version: u64,
    history: History,
) -> Result<Vec<Commit>> {
    let count = match history {
        History::All => usize::MAX,
        History::Last(count) => count.max(VACUUM_COMMITS),
    };
    let store = request.location.store();
    let wanted: Vec<_> = times
        .iter()
        .rev()
        .filter(|(commit, _)| *commit <= version)
        .take(count)
        .filter_map(|(commit, at)| Some((*commit, *at, versions.commits().get(commit)?.clone())))
        .collect();
    futures::stream::iter(wanted)
        .map(|(commit, at, file)| {
            let store = &store;
            async move { Commit::read(store.as_ref(), commit, at, &file).await }
        })
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await
}

fn last_vacuum(commits: &[Commit]) -> Option<DateTime<Utc>> {
    let vacuum = |commit: &&Commit| commit.operation.as_deref().is_some_and(|operation| operation == "VACUUM END");
    commits.iter().find(vacuum).map(|commit| commit.committed_at)
}

fn uses(protocol: &Protocol) -> BTreeMap<String, &'static str> {
    let word = |name: &str| match reading(name) {
        Some(Reading::Read | Reading::Harmless) => "read",
        Some(Reading::Refused { .. }) | None => "refused",
    };
    protocol.needed().into_iter().map(|name| (name.to_owned(), word(name))).collect()
}

/// Sizes, rows, deletion vectors and the statistics of every column.
fn files(found: &mut Inspection, delta: &PinnedDelta, metadata: &Metadata) -> Result<()> {
    // All statistics of all files are looked at, so they are held.
    let Loaded::Held(table) = &delta.loaded else { return Ok(()) };
    let state = table.snapshot().map_err(from_delta)?;
    let (mut bytes, mut rows, mut counted) = (0_u64, Some(0_u64), 0_u64);
    let (mut vectors, mut deleted) = (0_u64, 0_u64);
    let mut sizes = Vec::new();
    for file in state.log_data().iter() {
        let size = u64::try_from(file.size()).unwrap_or_default();
        sizes.push(size);
        bytes += size;
        let gone =
            file.deletion_vector_descriptor().map(|vector| u64::try_from(vector.cardinality).unwrap_or_default());
        vectors += u64::from(gone.is_some());
        deleted += gone.unwrap_or_default();
        let physical = file.num_records().map(|rows| rows as u64);
        counted += u64::from(physical.is_some());
        rows = rows.zip(physical).map(|(sum, rows)| sum + rows.saturating_sub(gone.unwrap_or_default()));
    }
    found.files = Some(sizes.len() as u64);
    found.bytes = Some(bytes);
    found.rows = rows;
    found.small_files = Some(SmallFiles::among(sizes.into_iter()));
    if let Some(delta) = &mut found.delta {
        (delta.deletion_vectors, delta.deleted_rows) = (Some(vectors), Some(deleted));
        delta.row_count_files = Some(counted);
    }
    let statistics = state.add_actions_batches(true).map_err(from_delta)?;
    for column in found.columns.iter_mut().filter(|column| !column.partition) {
        let names = metadata.names_in_files(&column.name);
        column.min_max_files = Some(known(&statistics, "max", &names));
        column.null_count_files = Some(known(&statistics, "null_count", &names));
    }
    Ok(())
}

/// In how many files the statistic of a column, or of any field inside it, is known.
fn known(batches: &[RecordBatch], statistic: &str, names: &[String]) -> u64 {
    let belongs = |field: &str| {
        let rest = field.strip_prefix(statistic).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(|rest| {
            names.iter().any(|name| {
                rest.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        })
    };
    let of_batch = |batch: &RecordBatch| {
        let schema = batch.schema();
        let columns: Vec<_> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .filter_map(|(field, column)| belongs(field.name()).then_some(column))
            .collect();
        (0..batch.num_rows()).filter(|row| columns.iter().any(|column| column.is_valid(*row))).count() as u64
    };
    batches.iter().map(of_batch).sum()
}

fn advice(found: &Inspection) -> Vec<String> {
    /// So many commits without a checkpoint make opening slow.
    const MANY_COMMITS: u64 = 100;
    let mut advice = Vec::new();
    let how = "OPTIMIZE t joins them, in the table's own engine";
    advice.extend(found.small_files.and_then(|small| small.advice(how)));
    let Some(delta) = &found.delta else { return advice };
    if let (Some(files), Some(counted)) = (found.files, delta.row_count_files)
        && counted < files
    {
        advice.push(format!(
            "{} of its files have no row count in the log: no filter rules them out before they are opened",
            files - counted
        ));
    }
    if delta.commits_since_checkpoint >= MANY_COMMITS {
        advice.push(format!(
            "{} commits have to be read after the last checkpoint: have its writer make one \
             (delta.checkpointInterval)",
            delta.commits_since_checkpoint
        ));
    }
    if let (Some(rows), Some(deleted)) = (found.rows, delta.deleted_rows)
        && deleted > 0
        && deleted >= rows / 4
    {
        advice.push(format!("{deleted} deleted rows are still read: REORG TABLE t APPLY (PURGE) takes them out"));
    }
    advice
}

/// The metadata action of a log.
struct Metadata(Value);

impl Metadata {
    fn partition_columns(&self) -> Vec<String> {
        let names = self.0.get("partitionColumns").and_then(Value::as_array);
        names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Only those of the format itself: others are the owner's own notes.
    fn properties(&self) -> BTreeMap<String, String> {
        let all = self.0.get("configuration").and_then(Value::as_object);
        let own = all.into_iter().flatten().filter(|(key, _)| key.starts_with("delta."));
        own.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    fn fields(&self) -> Vec<Value> {
        let text = self.0.get("schemaString").and_then(Value::as_str).unwrap_or_default();
        let schema: Value = serde_json::from_str(text).unwrap_or_default();
        schema.get("fields").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    fn columns(&self) -> Vec<Column> {
        let partitions = self.partition_columns();
        self.fields()
            .iter()
            .filter_map(|field| {
                let name = field.get("name")?.as_str()?.to_owned();
                let partition = partitions.contains(&name);
                let kind = kind(field.get("type").unwrap_or(&Value::Null));
                Some(Column { name, kind, partition, min_max_files: None, null_count_files: None })
            })
            .collect()
    }

    /// A column's name, and the one that it has inside the files where columns are mapped.
    fn names_in_files(&self, name: &str) -> Vec<String> {
        let fields = self.fields();
        let field = fields.iter().find(|field| field.get("name").and_then(Value::as_str) == Some(name));
        let physical = field
            .and_then(|field| field.get("metadata")?.get("delta.columnMapping.physicalName")?.as_str())
            .map(str::to_owned);
        std::iter::once(name.to_owned()).chain(physical).collect()
    }
}

/// A type as SQL writes it.
fn kind(value: &Value) -> String {
    let part = |key: &str| kind(value.get(key).unwrap_or(&Value::Null));
    match value.get("type").and_then(Value::as_str) {
        Some("array") => format!("array<{}>", part("elementType")),
        Some("map") => format!("map<{}, {}>", part("keyType"), part("valueType")),
        Some("struct") => {
            let fields = value.get("fields").and_then(Value::as_array).into_iter().flatten();
            let fields = fields.map(|field| {
                let name = field.get("name").and_then(Value::as_str).unwrap_or_default();
                format!("{name}: {}", kind(field.get("type").unwrap_or(&Value::Null)))
            });
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        _ => value.as_str().unwrap_or("unknown").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn types_are_written_as_in_sql() {
        let nested = json!({"type": "map", "keyType": "string", "valueType":
            {"type": "array", "elementType": {"type": "struct", "fields": [{"name": "a", "type": "decimal(5,2)"}]}}});
        assert_eq!(kind(&nested), "map<string, array<struct<a: decimal(5,2)>>>");
        assert_eq!(kind(&json!(null)), "unknown");
    }

    #[test]
    fn metadata_shows_the_formats_own_properties_only() {
        let metadata = Metadata(json!({"partitionColumns": ["day"], "configuration":
            {"delta.appendOnly": "true", "owner.token": "SECRET"}, "schemaString":
            "{\"type\":\"struct\",\"fields\":[{\"name\":\"day\",\"type\":\"date\"},{\"name\":\"id\",\"type\":\"long\"}]}"}));
        assert_eq!(metadata.properties().into_keys().collect::<Vec<_>>(), ["delta.appendOnly"]);
        let columns = metadata.columns();
        assert_eq!((columns[0].partition, columns[1].partition), (true, false));
        assert_eq!(columns[1].kind, "long");
    }
}
