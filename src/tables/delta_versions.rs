//! Which versions a Delta log holds, and when each was committed: listed from `_delta_log`.

use super::errors::from_store;
use crate::error::{Error, Result};
use crate::interval::instant;
use crate::lake::Location;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many commit files are read at once.
const CONCURRENT_READS: usize = 16;

/// The commits and checkpoints that are still there.
pub(super) struct Versions {
    /// Commit files; their modification time is when the store received them.
    commits: BTreeMap<u64, ObjectMeta>,
    /// The oldest version that can be read: 0, or the oldest checkpoint.
    oldest: Option<u64>,
    newest: Option<u64>,
}

impl Versions {
    /// Lists the log at `location`.
    pub(super) async fn list(location: &Location) -> Result<Self> {
        let log = location.path().clone().join("_delta_log");
        let mut entries = location.store().list(Some(&log));
        let (mut commits, mut checkpoints) = (BTreeMap::new(), Vec::new());
        while let Some(entry) = entries.try_next().await.map_err(from_store)? {
            // Names below sub-folders (staged commits, sidecars, v2 checkpoints' parts) are no versions.
            if entry.location.prefix_match(&log).is_none_or(|parts| parts.count() != 1) {
                continue;
            }
            let name = entry.location.filename().unwrap_or_default();
            let Some((version, rest)) = name.split_once('.') else { continue };
            let Ok(version) = version.parse::<u64>() else { continue };
            if rest == "json" {
                commits.insert(version, entry);
            } else if rest.starts_with("checkpoint") {
                checkpoints.push(version);
            }
        }
        let first_checkpoint = checkpoints.iter().min().copied();
        let oldest = if commits.contains_key(&0) { Some(0) } else { first_checkpoint };
        let newest = commits.keys().next_back().copied().max(checkpoints.iter().max().copied());
        Ok(Self { commits, oldest, newest })
    }

    /// `version`, if it can be read.
    pub(super) fn check(&self, version: u64) -> Result<u64> {
        match (self.oldest, self.newest) {
            (Some(oldest), Some(newest)) if (oldest..=newest).contains(&version) => Ok(version),
            (Some(oldest), Some(newest)) => Err(Error::usage(format!("the table has no version {version}"))
                .hint(format!("versions {oldest} to {newest} exist"))),
            _ => Err(Error::usage("the table has no version at all: its log holds no complete commit")),
        }
    }

    /// The newest version committed at or before `at`: by the in-commit timestamps where the table
    /// writes them, otherwise by the time at which the store received the commit file.
    pub(super) async fn as_of(&self, at: DateTime<Utc>, store: &dyn ObjectStore) -> Result<u64> {
        let timestamps = self.in_commit_timestamps(store).await?;
        let (mut found, mut first, mut last) = (None, None, None::<DateTime<Utc>>);
        for (version, commit) in self.commits.range(self.oldest.unwrap_or_default()..) {
            let mut committed = timestamps.get(version).copied().unwrap_or(commit.last_modified);
            // Clocks go back, versions do not: a commit is never earlier than the one before it.
            if let Some(last) = last.filter(|last| committed <= *last) {
                committed = last + TimeDelta::milliseconds(1);
            }
            last = Some(committed);
            first = first.or(Some(committed));
            if committed <= at {
                found = Some(*version);
            }
        }
        found.ok_or_else(|| {
            let error = Error::usage(format!("the table did not exist yet at {}", instant(at)));
            match first {
                Some(first) => error.hint(format!("its first commit that is still there is of {}", instant(first))),
                None => error.hint("its log holds no commit file, only checkpoints: ask for a version number"),
            }
        })
    }

    /// The in-commit timestamps by version; none where the newest commit has none, because a table
    /// that has begun to write them does so in every later commit.
    async fn in_commit_timestamps(&self, store: &dyn ObjectStore) -> Result<BTreeMap<u64, DateTime<Utc>>> {
        let Some((_, newest)) = self.commits.last_key_value() else { return Ok(BTreeMap::new()) };
        if in_commit_timestamp(store, newest).await?.is_none() {
            return Ok(BTreeMap::new());
        }
        let commits: Vec<(u64, ObjectMeta)> =
            self.commits.iter().map(|(version, file)| (*version, file.clone())).collect();
        let read = futures::stream::iter(commits)
            .map(|(version, file)| async move { in_commit_timestamp(store, &file).await.map(|at| (version, at)) })
            .buffered(CONCURRENT_READS);
        let all: Vec<(u64, Option<DateTime<Utc>>)> = read.try_collect().await?;
        Ok(all.into_iter().filter_map(|(version, at)| Some((version, at?))).collect())
    }
}

/// `commitInfo.inCommitTimestamp`, which must stand in the first action where it is used.
async fn in_commit_timestamp(store: &dyn ObjectStore, commit: &ObjectMeta) -> Result<Option<DateTime<Utc>>> {
    // Enough for any commitInfo that has the timestamp near its start; a longer first line is read whole.
    const HEAD_BYTES: u64 = 4096;
    let (path, size) = (&commit.location, commit.size);
    let head = store.get_range(path, 0..size.min(HEAD_BYTES)).await.map_err(from_store)?;
    let whole;
    let head = match head.iter().position(|byte| *byte == b'\n') {
        Some(end) => &head[..end],
        None if size <= HEAD_BYTES => &head[..],
        None if !head.starts_with(b"{\"commitInfo\"") => return Ok(None),
        None => {
            whole = store.get(path).await.map_err(from_store)?.bytes().await.map_err(from_store)?;
            whole.split(|byte| *byte == b'\n').next().unwrap_or_default()
        }
    };
    let Ok(action) = serde_json::from_slice::<Value>(head) else { return Ok(None) };
    let millis = action.pointer("/commitInfo/inCommitTimestamp").and_then(Value::as_i64);
    Ok(millis.and_then(DateTime::from_timestamp_millis))
}
