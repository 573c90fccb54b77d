//! The receipt: what a run was made from and what it made, written once and never changed.

use super::forecast::Takes;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::lake::{Location, Put};
use crate::lookup::Mode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the receipt's own format.
pub const SCHEMA: u32 = 1;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// What the command promises is true now, and this run made it so.
    Done,
    /// It already was true; nothing was written but this receipt.
    Noop,
    /// It is not true; `error` says why.
    Failed,
}

/// The model that a run used or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsed {
    /// The registered name.
    pub name: String,
    /// The version in the registry.
    pub version: u64,
    /// Over everything that makes the model.
    pub sha256: String,
}

/// The slice of the predictions table that a run committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSlice {
    /// Where the Delta table is.
    pub table: String,
    /// The table's version that holds the slice.
    pub version: u64,
    /// Over all values of all rows in order, independent of files and batches.
    pub sha256: String,
}

/// The generation of the lookup table that a run published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LookupPublished {
    /// The generation's number; absent where a newer interval is already published.
    pub generation: Option<u64>,
    /// How many keys it holds.
    pub keys: u64,
    /// How its rows were put together: see [`crate::lookup::Mode`]; absent where this run published nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<Mode>,
    /// How many pairs were sent to the store.
    #[serde(default)]
    pub written: u64,
    /// How many were not sent, for the generation before has the same.
    #[serde(default)]
    pub unchanged: u64,
    /// How many keys of the generation before are gone, in `changed` mode.
    #[serde(default)]
    pub removed: u64,
    /// How many rows were dropped, for another row of their key is kept.
    #[serde(default)]
    pub duplicates: u64,
    /// Some keys that had several rows.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub duplicate_keys: Vec<String>,
    /// Why nothing was flipped, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What went wrong, as a caller's code can read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptError {
    /// The word of the error's kind; the exit code as a word.
    pub code: String,
    /// What and where.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&Error> for ReceiptError {
    fn from(error: &Error) -> Self {
        Self {
            code: error.kind().code().to_owned(),
            message: error.to_string(),
            hint: error.hint_text().map(str::to_owned),
        }
    }
}

/// What one try of one command read, made and found; `runs/<job>/<interval>/<run_id>-<attempt>.json`.
///
/// Two receipts of the same inputs differ only in `attempt`, `started_at`, `seconds`, `peak_rss_bytes`,
/// `predicted` and `actual` (and in what they found already done).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The version of this format.
    pub schema: u32,
    /// The command: `train`, `score`, `evaluate`, `run`.
    pub command: String,
    /// Derived from the fingerprint: the same inputs have the same id.
    pub run_id: String,
    /// This try's own id.
    pub attempt: String,
    /// The job's name.
    pub job: String,
    /// The interval's name.
    pub interval: String,
    /// How it ended.
    pub status: Status,
    /// Over job, SQL, table versions, model and binary format (blake3, hex).
    pub fingerprint: String,
    /// The run whose slice this one replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<String>,
    /// The pinned version of every table that was read.
    pub inputs: BTreeMap<String, String>,
    /// Rows that the features SQL gave.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// Rows that a stated policy left out.
    pub rows_rejected: u64,
    /// How many by column and reason, and other counts of the encoder.
    #[serde(skip_serializing_if = "serde_json::Value::is_null", default)]
    pub data: serde_json::Value,
    /// The model used or made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelUsed>,
    /// The committed slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSlice>,
    /// The published generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<LookupPublished>,
    /// What the gate compared and found.
    #[serde(skip_serializing_if = "serde_json::Value::is_null", default)]
    pub gates: serde_json::Value,
    /// Measured quality.
    #[serde(skip_serializing_if = "serde_json::Value::is_null", default)]
    pub metrics: serde_json::Value,
    /// Bytes of the files that the scan selected.
    pub bytes_read: u64,
    /// What the run was predicted to take, by statistics, before anything was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub predicted: Option<Takes>,
    /// What it took of the same.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actual: Option<Takes>,
    /// The clock when the try began (RFC 3339).
    pub started_at: String,
    /// Wall seconds by step, and `total`.
    pub seconds: BTreeMap<String, f64>,
    /// The process's largest resident set.
    pub peak_rss_bytes: u64,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReceiptError>,
}

/// Where the receipts of a job's interval lie.
pub fn folder(home: &Location, job: &str, interval: &Interval) -> Location {
    home.join("runs").join(job).join(&interval.to_string())
}

/// Files the receipt under its interval; a receipt is never overwritten.
///
/// # Errors
/// `conflict` where this attempt's receipt already exists; what the store fails with.
pub async fn file(home: &Location, interval: &Interval, receipt: &Receipt) -> Result<()> {
    let name = format!("{}-{}.json", receipt.run_id, receipt.attempt);
    let bytes = serde_json::to_vec_pretty(receipt)
        .map_err(|source| Error::failed("could not write the receipt as JSON").because(source))?;
    match folder(home, &receipt.job, interval).join(&name).put_if_absent(bytes.into()).await? {
        Put::Created => Ok(()),
        Put::AlreadyThere => Err(Error::conflict("a receipt of this attempt already exists").with("receipt", name)),
    }
}

/// The receipts of one interval of a job, in the order of their names; damaged ones are passed over.
///
/// # Errors
/// What the store fails with.
pub async fn of_interval(home: &Location, job: &str, interval: &Interval) -> Result<Vec<Receipt>> {
    read(&folder(home, job, interval)).await
}

/// All receipts of a job (or of all jobs), by job and interval, then oldest first.
///
/// # Errors
/// What the store fails with.
pub async fn all(home: &Location, job: Option<&str>) -> Result<Vec<Receipt>> {
    let runs = home.join("runs");
    let jobs = match job {
        Some(job) => vec![job.to_owned()],
        None => runs.children().await?,
    };
    let mut receipts = Vec::new();
    for job in jobs {
        for interval in runs.join(&job).children().await? {
            receipts.extend(read(&runs.join(&job).join(&interval)).await?);
        }
    }
    receipts.sort_by(|a, b| (&a.job, &a.interval, &a.started_at).cmp(&(&b.job, &b.interval, &b.started_at)));
    Ok(receipts)
}

async fn read(folder: &Location) -> Result<Vec<Receipt>> {
    let mut receipts = Vec::new();
    for name in folder.children().await? {
        if !name.ends_with(".json") {
            continue;
        }
        let location = folder.join(&name);
        let Some(bytes) = location.get().await? else { continue };
        match serde_json::from_slice(&bytes) {
            Ok(receipt) => receipts.push(receipt),
            // A receipt proves; it decides nothing. A damaged one must not stop the next run.
            Err(source) => tracing::warn!(file = %location, %source, "this file is not a receipt; it is passed over"),
        }
    }
    Ok(receipts)
}
