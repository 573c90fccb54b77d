//! Aliases: names for versions that move, each an append-only log of who moved it and why.
//!
//! # What a rollback goes back to
//!
//! Read from its beginning, the log is a stack of versions: a promotion puts one on top, a rollback
//! takes the top away; the alias means the top. So two rollbacks in a row go back two promotions, and
//! a promotion after a rollback stands on what the rollback uncovered:
//! ```text
//! promote 1, promote 2, promote 3, rollback -> 2, rollback -> 1, promote 4, rollback -> 1
//! ```
//! Promoting what is on top already adds nothing, so a step back always changes the version.

use super::resolve::LATEST;
use super::sealed;
use super::versions::Registry;
use crate::error::{Error, Result, ResultExt};
use crate::lake::{Location, check_name, log};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Who moves an alias and why.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// The caller's clock (RFC 3339).
    pub at: String,
    /// Who.
    pub by: String,
    /// Why, in a few words.
    pub why: String,
    /// The run that did it, if one did.
    pub run_id: Option<String>,
    /// What the decision rests on, for example what a gate compared; may be null.
    pub evidence: Value,
}

/// What a record did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Put a version on top.
    Promote,
    /// Took the top away.
    Rollback,
}

/// One entry of an alias's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasRecord {
    /// The model.
    pub model: String,
    /// The alias.
    pub alias: String,
    /// The entry's number, from 1.
    pub sequence: u64,
    /// What was done.
    pub action: Action,
    /// The version that the alias means from here on.
    pub version: u64,
    /// When, by the caller's clock (RFC 3339).
    pub at: String,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// The run that did it.
    pub run_id: Option<String>,
    /// What the decision rests on.
    pub evidence: Value,
}

/// Checks that `alias` can be the name of one.
pub(super) fn check_alias(alias: &str) -> Result<()> {
    check_name("alias", alias)?;
    if alias == LATEST {
        return Err(Error::usage("`latest` is always the newest version and can't be set").with("alias", alias));
    }
    Ok(())
}

impl Registry {
    fn alias_log(&self, model: &str, alias: &str) -> Result<Location> {
        check_alias(alias)?;
        Ok(self.folder(model)?.join("aliases").join(alias))
    }

    /// The record that rules now; `None` where the alias has never been set.
    ///
    /// # Errors
    /// `verification` for a record that was altered; what the store fails with.
    pub async fn alias(&self, model: &str, alias: &str) -> Result<Option<AliasRecord>> {
        let log = self.alias_log(model, alias)?;
        let Some((number, bytes)) = log::latest(&log).await? else { return Ok(None) };
        Ok(Some(read(model, alias, number, &bytes).at("file", log::entry(&log, number))?))
    }

    /// The records that rule now, by alias.
    ///
    /// # Errors
    /// As [`alias`](Self::alias).
    pub async fn aliases(&self, model: &str) -> Result<BTreeMap<String, AliasRecord>> {
        let mut aliases = BTreeMap::new();
        for name in self.alias_names(model).await? {
            if let Some(record) = self.alias(model, &name).await? {
                aliases.insert(name, record);
            }
        }
        Ok(aliases)
    }

    /// The names of the folders in which aliases are kept.
    pub(super) async fn alias_names(&self, model: &str) -> Result<Vec<String>> {
        let mut names = self.folder(model)?.join("aliases").children().await?;
        names.retain(|name| check_alias(name).is_ok());
        Ok(names)
    }

    /// Every record of the alias, oldest first.
    ///
    /// # Errors
    /// As [`alias`](Self::alias).
    pub async fn history(&self, model: &str, alias: &str) -> Result<Vec<AliasRecord>> {
        let log = self.alias_log(model, alias)?;
        let entries = log::all(&log).await?;
        let records = entries
            .iter()
            .map(|(number, bytes)| read(model, alias, *number, bytes).at("file", log::entry(&log, *number)));
        records.collect()
    }

    /// Lets `alias` mean `version`; gives the sequence number of the record that says so. Where it means
    /// that version already, nothing is written.
    ///
    /// `seen` is the sequence number on which the caller's decision rests (0: the alias was not set);
    /// without it, the alias is moved whoever moved it before. The version is loaded first, so that an
    /// alias never means a model that can't be used.
    ///
    /// # Errors
    /// `conflict` where somebody has moved the alias since `seen`; `usage` for a version that does not
    /// exist; `verification` for one that can't be loaded; what the store fails with.
    pub async fn promote(
        &self,
        model: &str,
        alias: &str,
        version: u64,
        change: &Change,
        seen: Option<u64>,
    ) -> Result<u64> {
        check_alias(alias)?;
        self.load(model, version).await?;
        self.promote_loaded(model, alias, version, change, seen).await
    }

    /// [`promote`](Self::promote) of a version that the caller has just registered or loaded, without loading it again.
    ///
    /// # Errors
    /// As [`promote`](Self::promote), but for those of loading.
    pub async fn promote_loaded(
        &self,
        model: &str,
        alias: &str,
        version: u64,
        change: &Change,
        seen: Option<u64>,
    ) -> Result<u64> {
        let log = self.alias_log(model, alias)?;
        let mut ruling = 0;
        let written = log::append(&log, |next, latest| {
            let latest = latest.map(|bytes| read(model, alias, next - 1, bytes)).transpose()?;
            ruling = latest.as_ref().map_or(0, |record| record.sequence);
            if latest.as_ref().is_some_and(|record| record.version == version) {
                return Ok(None);
            }
            if seen.is_some_and(|seen| seen != ruling) {
                return Err(moved(latest.as_ref()));
            }
            write(&record(model, alias, next, Action::Promote, version, change)).map(Some)
        });
        let written = written.await.at("alias", alias).at("model", model)?;
        Ok(written.unwrap_or(ruling))
    }

    /// Takes the alias one promotion back; see the module's documentation.
    ///
    /// `seen` as in [`promote`](Self::promote). Of two rollbacks at the same time one succeeds and the
    /// other is a conflict, so that nobody goes back two steps by accident.
    ///
    /// # Errors
    /// `usage` where there is nothing to go back to; `conflict` where somebody has moved the alias in
    /// the meantime; `verification` where the earlier version is not there or can't be loaded; what the store fails with.
    pub async fn rollback(&self, model: &str, alias: &str, change: &Change, seen: Option<u64>) -> Result<AliasRecord> {
        let log = self.alias_log(model, alias)?;
        let history = self.history(model, alias).await?;
        let Some(current) = history.last() else {
            // Says what to do about a model or an alias that is not there.
            self.resolve(model, alias).await?;
            return Err(moved(None)).at("alias", alias).at("model", model);
        };
        if seen.is_some_and(|seen| seen != current.sequence) {
            return Err(moved(Some(current))).at("alias", alias).at("model", model);
        }
        let stack = stack(&history);
        let [.., earlier, _] = stack[..] else {
            return Err(Error::usage("there is no earlier version to go back to")
                .with("version", current.version)
                .with("alias", alias)
                .with("model", model)
                .hint(format!("`lakemill promote {model} VERSION` names a version outright")));
        };
        if let Some(record) = history.iter().find(|record| record.version == earlier) {
            self.known_version(record).await?;
        }
        self.load(model, earlier).await?;
        let record = record(model, alias, current.sequence + 1, Action::Rollback, earlier, change);
        let written = log::append(&log, |next, latest| {
            if next == record.sequence {
                return write(&record).map(Some);
            }
            let latest = latest.map(|bytes| read(model, alias, next - 1, bytes)).transpose()?;
            // A store that answered too late may have written it the first time.
            if latest.as_ref() == Some(&record) { Ok(None) } else { Err(moved(latest.as_ref())) }
        });
        written.await.at("alias", alias).at("model", model)?;
        Ok(record)
    }
}

/// The versions that lie under the current one, which is last.
fn stack(history: &[AliasRecord]) -> Vec<u64> {
    let mut stack: Vec<u64> = Vec::new();
    for record in history {
        if record.action == Action::Rollback {
            stack.pop();
        }
        if stack.last() != Some(&record.version) {
            stack.push(record.version);
        }
    }
    stack
}

fn moved(latest: Option<&AliasRecord>) -> Error {
    let error = Error::conflict("somebody has moved the alias in the meantime");
    let error = match latest {
        Some(record) => error
            .with("version", record.version)
            .with("sequence", record.sequence)
            .with("by", &record.by)
            .with("at", &record.at),
        None => error,
    };
    error.hint("look at its history and decide again")
}

fn record(model: &str, alias: &str, sequence: u64, action: Action, version: u64, change: &Change) -> AliasRecord {
    let Change { at, by, why, run_id, evidence } = change.clone();
    let (model, alias) = (model.to_owned(), alias.to_owned());
    AliasRecord { model, alias, sequence, action, version, at, by, why, run_id, evidence }
}

fn write(record: &AliasRecord) -> Result<Bytes> {
    sealed::seal(record).map(Bytes::from)
}

fn read(model: &str, alias: &str, number: u64, bytes: &[u8]) -> Result<AliasRecord> {
    let record = sealed::open::<AliasRecord>(bytes)?.body;
    if record.model != model || record.alias != alias || record.sequence != number {
        return Err(Error::verification("this record of an alias was written for another place")
            .with("written for", format!("{}/{}/{}", record.model, record.alias, record.sequence))
            .hint("somebody has copied or renamed it: put it back, or restore the alias's folder from a backup"));
    }
    Ok(record)
}
