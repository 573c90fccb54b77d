//! One try of one command: its receipt is kept from the first step on, and filed however it ends.

use super::Engine;
use super::forecast::Takes;
use super::progress::Steps;
use super::receipt::{self, Receipt, ReceiptError, SCHEMA, Status};
use super::run_id::{attempt_id, run_id};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::peak_resident_bytes;
use crate::plan::Plan;
use serde_json::Value;
use std::collections::BTreeMap;

/// A run that goes on.
pub struct Run {
    /// What is known of it so far.
    pub receipt: Receipt,
    /// Its steps.
    pub steps: Steps,
}

/// A run that has ended.
pub struct Recorded {
    /// What is known of it.
    pub receipt: Receipt,
    /// How it ended.
    pub result: Result<()>,
}

impl Recorded {
    /// Whether a signal ended it.
    pub fn was_stopped(&self) -> bool {
        let kind = self.result.as_ref().err().map(crate::error::Error::kind);
        matches!(kind, Some(ErrorKind::Interrupted | ErrorKind::Terminated))
    }
}

impl Run {
    /// Says what the run is expected to take.
    pub fn expect(&mut self, takes: Takes) {
        self.receipt.predicted = Some(takes);
    }

    /// Says how many bytes were read; rows and memory are known when the run ends.
    pub fn has_read(&mut self, bytes: u64) {
        self.receipt.actual = Some(Takes { rows: None, bytes, memory_bytes: 0 });
    }

    /// Says what the run is made from; from here on its receipt is filed.
    pub fn identify(&mut self, fingerprint: String) {
        self.receipt.run_id = run_id(&fingerprint);
        self.receipt.fingerprint = fingerprint;
    }
}

impl Engine {
    /// Does `work` and files its receipt under the plan's home: `done` or `noop` as the work says,
    /// `failed` where it fails after it was identified. Before that, nothing is written at all.
    pub async fn record(&self, plan: &Plan, command: &str, work: impl AsyncFnOnce(&mut Run) -> Result<()>) -> Recorded {
        let receipt = Receipt::begun(plan, command, self.now());
        let mut run = Run { receipt, steps: Steps::new(self.progress.clone()) };
        let result = self.runtime.until_stopped(work(&mut run)).await;
        let Run { mut receipt, mut steps } = run;
        receipt.seconds = steps.seconds();
        receipt.peak_rss_bytes = peak_resident_bytes();
        if let Some(actual) = &mut receipt.actual {
            (actual.rows, actual.memory_bytes) = (Some(receipt.rows_in), receipt.peak_rss_bytes);
        }
        if let Err(error) = &result {
            receipt.status = Status::Failed;
            receipt.error = Some(ReceiptError::from(error));
        }
        if receipt.run_id.is_empty() {
            return Recorded { receipt, result };
        }
        let filed = receipt::file(&plan.home, &plan.interval, &receipt).await;
        // A run's own failure says more than that it could not be filed.
        Recorded { receipt, result: result.and(filed) }
    }
}

impl Receipt {
    fn begun(plan: &Plan, command: &str, now: String) -> Self {
        Self { inputs: plan.inputs(), ..Self::empty(command, &plan.job.spec.name, &plan.interval.to_string(), now) }
    }

    /// The receipt of a run that could not even be planned.
    pub fn unplanned(command: &str, job: &str, interval: &str, now: &str, error: &Error) -> Self {
        let empty = Self::empty(command, job, interval, now.to_owned());
        Self { status: Status::Failed, error: Some(ReceiptError::from(error)), ..empty }
    }

    fn empty(command: &str, job: &str, interval: &str, now: String) -> Self {
        Self {
            schema: SCHEMA,
            command: command.to_owned(),
            run_id: String::new(),
            attempt: attempt_id(),
            job: job.to_owned(),
            interval: interval.to_owned(),
            status: Status::Done,
            fingerprint: String::new(),
            supersedes: None,
            inputs: BTreeMap::new(),
            rows_in: 0,
            rows_out: 0,
            rows_rejected: 0,
            data: Value::Null,
            model: None,
            output: None,
            lookup: None,
            gates: Value::Null,
            metrics: Value::Null,
            bytes_read: 0,
            polars: None,
            predicted: None,
            actual: None,
            started_at: now,
            seconds: BTreeMap::new(),
            peak_rss_bytes: 0,
            error: None,
        }
    }
}
