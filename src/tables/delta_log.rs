//! What a Delta log says in its own words, read without deltalake: of tables that it refuses, too.

use super::delta_features::Protocol;
use super::delta_versions::Versions;
use super::errors::{from_datafusion, from_store};
use crate::error::{Error, Result};
use crate::lake::Location;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde::Serialize;
use serde_json::{Map, Value};

/// The actions that say how a table is to be read.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// The newest protocol action.
    pub(super) protocol: Option<Protocol>,
    /// The newest metadata action, as it stands in the log.
    pub(super) metadata: Option<Value>,
}

impl Header {
    /// The header as of `version`: from its commits, newest first, then from the checkpoint below them.
    ///
    /// # Errors
    /// Where the log cannot be read. What it does not hold stays empty.
    pub(super) async fn read(location: &Location, versions: &Versions, version: u64) -> Result<Self> {
        let store = location.store();
        let mut header = Self::default();
        let checkpoint = versions.checkpoint(version);
        let start = checkpoint.map_or(0, |(checkpoint, _)| checkpoint.saturating_add(1));
        for (_, commit) in versions.commits().range(start.min(version)..=version).rev() {
            header.take(&whole(store.as_ref(), commit).await?);
            if header.is_complete() {
                return Ok(header);
            }
        }
        for part in checkpoint.map(|(_, files)| files).unwrap_or_default() {
            if part.location.extension() == Some("json") {
                header.take(&whole(store.as_ref(), part).await?);
            } else {
                rows(whole(store.as_ref(), part).await?)
                    .map_err(|error| error.with("file", &part.location))?
                    .into_iter()
                    .for_each(|row| header.take_action(row));
            }
            if header.is_complete() {
                break;
            }
        }
        Ok(header)
    }

    /// The first commit after the checkpoint that is not made of whole actions.
    pub(super) async fn damaged<'a>(
        location: &Location,
        versions: &'a Versions,
        version: u64,
    ) -> Result<Option<&'a ObjectMeta>> {
        let store = location.store();
        let start = versions.checkpoint(version).map_or(0, |(checkpoint, _)| checkpoint.saturating_add(1));
        for (_, commit) in versions.commits().range(start.min(version)..=version) {
            let text = whole(store.as_ref(), commit).await?;
            let mut actions = serde_json::Deserializer::from_slice(&text).into_iter::<serde::de::IgnoredAny>();
            if actions.any(|action| action.is_err()) {
                return Ok(Some(commit));
            }
        }
        Ok(None)
    }

    fn is_complete(&self) -> bool {
        self.protocol.is_some() && self.metadata.is_some()
    }

    /// Takes what is still missing from the lines of a commit.
    fn take(&mut self, commit: &[u8]) {
        for line in commit.split(|byte| *byte == b'\n') {
            // Nearly all lines are files, which need not be parsed.
            let start = line.trim_ascii_start();
            if (start.starts_with(b"{\"protocol\"") || start.starts_with(b"{\"metaData\""))
                && let Ok(Value::Object(action)) = serde_json::from_slice(start)
            {
                self.take_action(action);
            }
        }
    }

    fn take_action(&mut self, mut action: Map<String, Value>) {
        if self.protocol.is_none()
            && let Some(protocol) = action.remove("protocol").filter(|value| !value.is_null())
        {
            self.protocol = serde_json::from_value(protocol).ok();
        }
        if self.metadata.is_none() {
            self.metadata = action.remove("metaData").filter(|value| !value.is_null());
        }
    }
}

/// What a commit says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Commit {
    /// Its version.
    pub version: u64,
    /// When it was committed: its in-commit timestamp, else when the store received it.
    pub committed_at: DateTime<Utc>,
    /// Such as `WRITE` or `OPTIMIZE`; none where the log does not say.
    pub operation: Option<String>,
    /// Counts that the writer gave, such as `numOutputRows`.
    pub metrics: Map<String, Value>,
    /// The program that wrote it, where it says so.
    pub engine: Option<String>,
}

impl Commit {
    /// Reads the commit's own words about itself.
    ///
    /// # Errors
    /// Where the file cannot be read; a commit that says nothing about itself is none.
    pub(super) async fn read(
        store: &dyn ObjectStore,
        version: u64,
        committed_at: DateTime<Utc>,
        file: &ObjectMeta,
    ) -> Result<Self> {
        let info = info(store, file).await?;
        let text = |key: &str| info.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            version,
            committed_at,
            operation: text("operation"),
            metrics: info.get("operationMetrics").and_then(Value::as_object).cloned().unwrap_or_default(),
            engine: text("engineInfo").or_else(|| text("clientVersion")),
        })
    }
}

/// The `commitInfo` of a commit: near its start with most writers, so a long file is first read there.
async fn info(store: &dyn ObjectStore, file: &ObjectMeta) -> Result<Map<String, Value>> {
    const HEAD_BYTES: u64 = 64 << 10;
    if file.size > HEAD_BYTES {
        let head = store.get_range(&file.location, 0..HEAD_BYTES).await.map_err(from_store)?;
        let lines = head.iter().rposition(|byte| *byte == b'\n').map_or(&head[..0], |end| &head[..end]);
        if let Some(info) = find_info(lines) {
            return Ok(info);
        }
    }
    Ok(find_info(&whole(store, file).await?).unwrap_or_default())
}

fn find_info(lines: &[u8]) -> Option<Map<String, Value>> {
    lines.split(|byte| *byte == b'\n').find_map(|line| {
        let line = line.trim_ascii_start();
        let mut action: Map<String, Value> =
            line.starts_with(b"{\"commitInfo\"").then(|| serde_json::from_slice(line).ok()).flatten()?;
        match action.remove("commitInfo") {
            Some(Value::Object(info)) => Some(info),
            _ => None,
        }
    })
}

async fn whole(store: &dyn ObjectStore, file: &ObjectMeta) -> Result<Bytes> {
    let found = store.get(&file.location).await.map_err(from_store)?;
    found.bytes().await.map_err(from_store)
}

/// The rows of a checkpoint that hold a protocol or a metadata action, and only those columns of them.
fn rows(file: Bytes) -> Result<Vec<Map<String, Value>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| from_datafusion(error.into()))?;
    let schema = builder.parquet_schema();
    let names = schema.root_schema().get_fields();
    let wanted: Vec<usize> =
        (0..names.len()).filter(|index| ["protocol", "metaData"].contains(&names[*index].name())).collect();
    let mask = ProjectionMask::roots(schema, wanted);
    let batches = builder.with_projection(mask).build().map_err(|error| from_datafusion(error.into()))?;
    let mut found = Vec::new();
    for batch in batches {
        let batch = batch.map_err(|error| from_datafusion(error.into()))?;
        for row in 0..batch.num_rows() {
            if batch.columns().iter().any(|column| column.is_valid(row)) {
                found.extend(objects(&batch.slice(row, 1))?);
            }
        }
    }
    Ok(found)
}

fn objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let told = |error: &dyn std::fmt::Display| Error::failed(format!("the checkpoint cannot be read: {error}"));
    let mut writer = WriterBuilder::new().build::<_, JsonArray>(Vec::new());
    writer.write(batch).and_then(|()| writer.finish()).map_err(|error| told(&error))?;
    serde_json::from_slice(&writer.into_inner()).map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_words_count() {
        let mut header = Header::default();
        header.take(b"{\"add\":{\"path\":\"{\\\"protocol\\\"\"}}\n{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"x\"],\"writerFeatures\":[]}}\n");
        assert!(!header.is_complete());
        header.take(b"{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n{\"metaData\":{\"id\":\"1\"}}");
        assert!(header.is_complete());
        assert_eq!(header.protocol.unwrap().needed(), ["x"]);
    }

    #[test]
    fn a_commit_tells_about_itself_wherever_it_does() {
        let info = find_info(b"{\"add\":{}}\n{\"commitInfo\":{\"operation\":\"WRITE\"}}").unwrap();
        assert_eq!(info["operation"], "WRITE");
        assert!(find_info(b"{\"add\":{}}\nnot json").is_none());
    }
}
