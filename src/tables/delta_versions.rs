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
pub(super) const CONCURRENT_READS: usize = 16;

/// The commits and checkpoints that are still there.
#[derive(Default)]
pub(super) struct Versions {
    /// Commit files; their modification time is when the store received them.
    commits: BTreeMap<u64, ObjectMeta>,
    /// The files of each complete checkpoint; of several for one version, the last in order.
    checkpoints: BTreeMap<u64, Vec<ObjectMeta>>,
    /// The size of all files that checkpoints keep beside themselves.
    sidecars: u64,
}

impl Versions {
    /// Lists the log at `location`.
    pub(super) async fn list(location: &Location) -> Result<Self> {
        let log = location.path().clone().join("_delta_log");
        let mut entries = location.store().list(Some(&log));
        let mut found = Self::default();
        let mut parts: BTreeMap<(u64, u64), Vec<ObjectMeta>> = BTreeMap::new();
        while let Some(entry) = entries.try_next().await.map_err(from_store)? {
            // Names below sub-folders (staged commits, sidecars, v2 checkpoints' parts) are no versions.
            if entry.location.prefix_match(&log).is_none_or(|parts| parts.count() != 1) {
                let sidecar = entry.location.prefix_match(&log.clone().join("_sidecars")).is_some();
                found.sidecars += if sidecar { entry.size } else { 0 };
                continue;
            }
            let name = entry.location.filename().unwrap_or_default().to_owned();
            let Some((version, rest)) = name.split_once('.') else { continue };
            let Ok(version) = version.parse::<u64>() else { continue };
            if rest == "json" {
                found.commits.insert(version, entry);
            } else if let Some(rest) = rest.strip_prefix("checkpoint.") {
                match rest.split('.').collect::<Vec<_>>()[..] {
                    // `checkpoint.parquet`, or `checkpoint.<uuid>.parquet|json` of the second form.
                    ["parquet"] | [_, "parquet" | "json"] => {
                        found.checkpoints.insert(version, vec![entry]);
                    }
                    [_, of, "parquet"] => {
                        let Ok(of) = of.parse() else { continue };
                        parts.entry((version, of)).or_default().push(entry);
                    }
                    _ => {}
                }
            }
        }
        for ((version, of), files) in parts {
            if files.len() as u64 == of {
                found.checkpoints.entry(version).or_insert(files);
            }
        }
        Ok(found)
    }

    /// Commit files by version.
    pub(super) fn commits(&self) -> &BTreeMap<u64, ObjectMeta> {
        &self.commits
    }

    /// The newest complete checkpoint at or before `version`, and its files.
    pub(super) fn checkpoint(&self, version: u64) -> Option<(u64, &[ObjectMeta])> {
        self.checkpoints.range(..=version).next_back().map(|(version, files)| (*version, files.as_slice()))
    }

    /// About how many bytes have to be read to know the files of `version`.
    pub(super) fn bytes(&self, version: u64) -> u64 {
        let checkpoint = self.checkpoint(version);
        let start = checkpoint.map_or(0, |(checkpoint, _)| checkpoint.saturating_add(1));
        let commits = self.commits.range(start.min(version)..=version).map(|(_, commit)| commit.size);
        let parts = checkpoint.iter().flat_map(|(_, files)| files.iter()).map(|file| file.size);
        commits.chain(parts).sum::<u64>() + checkpoint.map_or(0, |_| self.sidecars)
    }

    /// The oldest version that can be read: 0, or the oldest checkpoint.
    pub(super) fn oldest(&self) -> Option<u64> {
        if self.commits.contains_key(&0) { Some(0) } else { self.checkpoints.keys().next().copied() }
    }

    /// The newest version that there is.
    pub(super) fn newest(&self) -> Option<u64> {
        self.commits.keys().next_back().copied().max(self.checkpoints.keys().next_back().copied())
    }

    /// `version`, if it can be read.
    pub(super) fn check(&self, version: u64) -> Result<u64> {
        let (Some(oldest), Some(newest)) = (self.oldest(), self.newest()) else {
            return Err(Error::usage("the table has no version at all: its log holds no complete commit"));
        };
        if version > newest {
            return Err(Error::usage(format!("the table has no version {version}"))
                .hint(format!("versions {oldest} to {newest} exist")));
        }
        if version < oldest {
            return Err(Error::usage(format!(
                "version {version} can no longer be read: the table's log was cleaned up to version {oldest}"
            ))
            .hint(format!("versions {oldest} to {newest} can be read; delta.logRetentionDuration says how long")));
        }
        let start = self.checkpoint(version).map_or(0, |(checkpoint, _)| checkpoint.saturating_add(1));
        match (start..=version).find(|commit| !self.commits.contains_key(commit)) {
            None => Ok(version),
            Some(lost) => Err(Error::failed(format!(
                "version {version} cannot be read: the table's log lacks the commit of version {lost}"
            ))
            .hint("restore the missing file under _delta_log, or read a version before it")),
        }
    }

    /// A writer that was cut off leaves a commit without a byte. The kernel reads it as a version that changes nothing,
    /// and a run would be recorded as made from it; what the writer meant to commit might stand under the same number
    /// later. What lies before the checkpoint is not read any more.
    pub(super) fn refuse_empty_commits(&self, version: u64) -> Result<()> {
        let start = self.checkpoint(version).map_or(0, |(checkpoint, _)| checkpoint.saturating_add(1));
        let mut read = self.commits.range(start.min(version)..=version);
        let Some((empty, file)) = read.find(|(number, file)| **number >= start && file.size == 0) else {
            return Ok(());
        };
        let before = empty.checked_sub(1).map(|before| format!("; version {before} can be read")).unwrap_or_default();
        Err(Error::failed("a commit of the table is empty: its writer was cut off")
            .with("version", empty)
            .with("file", &file.location)
            .hint(format!("have the table's writer repair it, or remove the file if it is the last one{before}")))
    }

    /// The newest version committed at or before `at`: by the in-commit timestamps where the table
    /// writes them, otherwise by the time at which the store received the commit file.
    pub(super) async fn as_of(&self, at: DateTime<Utc>, store: &dyn ObjectStore) -> Result<u64> {
        let times = self.times(store).await?;
        if let Some((version, _)) = times.iter().rev().find(|(_, committed)| *committed <= at) {
            return self.check(*version);
        }
        let told = instant(at);
        let error = match self.oldest() {
            Some(oldest) if oldest > 0 => Error::usage(format!("the table's log no longer goes back to {told}")),
            _ => Error::usage(format!("the table did not exist yet at {told}")),
        };
        Err(match times.first() {
            Some((_, first)) => error.hint(format!("its first commit that is still there is of {}", instant(*first))),
            None => error.hint("its log holds no commit file, only checkpoints: ask for a version number"),
        })
    }

    /// When each version that can be read was committed, in order.
    pub(super) async fn times(&self, store: &dyn ObjectStore) -> Result<Vec<(u64, DateTime<Utc>)>> {
        let timestamps = self.in_commit_timestamps(store).await?;
        let mut times: Vec<(u64, DateTime<Utc>)> = Vec::with_capacity(self.commits.len());
        for (version, commit) in self.commits.range(self.oldest().unwrap_or_default()..) {
            let mut committed = timestamps.get(version).copied().unwrap_or(commit.last_modified);
            // Clocks go back, versions do not: a commit is never earlier than the one before it.
            if let Some((_, last)) = times.last().filter(|(_, last)| committed <= *last) {
                committed = *last + TimeDelta::milliseconds(1);
            }
            times.push((*version, committed));
        }
        Ok(times)
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
pub(super) async fn in_commit_timestamp(store: &dyn ObjectStore, commit: &ObjectMeta) -> Result<Option<DateTime<Utc>>> {
    // Enough for any commitInfo that has the timestamp near its start; a longer first line is read whole.
    const HEAD_BYTES: u64 = 4096;
    let (path, size) = (&commit.location, commit.size);
    if size == 0 {
        return Ok(None);
    }
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
