//! The only place where the parts meet: one file for each thing that a run can do.
//!
//! A run is a plan (what is read, by which model, into what) carried out in a fixed order of steps,
//! each of which is complete and verified before the pointer to it moves. Whatever the instant at
//! which a process dies, the same command run again ends in the same state.

mod artifact;
mod binned;
mod confusion;
pub mod content;
mod dataset;
mod dense;
mod duplicates;
mod evaluate;
mod features;
mod fit;
mod forecast;
mod gate;
mod import;
mod matrix;
mod moments;
mod pipeline;
mod predict;
pub mod predictions;
mod preview;
pub mod progress;
mod publish;
pub mod receipt;
mod record;
mod rows;
mod run;
pub mod run_id;
mod score;
mod scored;
mod search;
mod segments;
mod spool;
mod staged;
mod train;

pub use confusion::Confusion;
pub use evaluate::{Evaluation, ModelScores, evaluate};
pub use forecast::Takes;
pub use gate::GateOutcome;
pub use import::{Check, ImportOutcome, ImportRequest, import};
pub use predict::model_function;
pub use preview::{PlannedTable, Preview, Reads, features_sql, preview};
pub use record::{Recorded, Run};
pub use run::{RunOptions, RunOutcome, run};
pub use score::{ScoreOptions, score};
pub use train::{CHALLENGER, CHAMPION, TrainOptions, Trained, train};

use crate::lake::Location;
use crate::lookup::FlipNote;
use crate::registry::{Change, Registry};
use crate::runtime::Runtime;
use chrono::Utc;
use progress::Progress;
use serde_json::Value;
use std::sync::Arc;

/// What every run needs: the pools, somebody who watches, a limit on memory, who asks.
#[derive(Clone)]
pub struct Engine {
    /// The pools.
    pub runtime: Runtime,
    /// Somebody who watches.
    pub progress: Arc<dyn Progress>,
    /// What the process may hold: see [`crate::memory::Budget`].
    pub memory_bytes: u64,
    /// The user, for the history of an alias.
    pub by: String,
}

impl Engine {
    /// The clock, for histories and receipts only; nothing computed depends on it.
    pub fn now(&self) -> String {
        crate::interval::instant(Utc::now())
    }

    /// The models under a home, read and written on the threads of this engine.
    fn registry(&self, home: &Location) -> Registry {
        Registry::new(home).computing_on(self.runtime.pool())
    }

    /// What the history of a lookup table's pointer says of a move that is made now.
    pub fn flip_note(&self, why: &str) -> FlipNote {
        FlipNote { at: self.now(), by: self.by.clone(), why: why.to_owned() }
    }

    /// What the history of an alias says of a move that is made now: by whom, why, in which run and on what evidence.
    pub fn change(&self, why: &str, run_id: Option<&str>, evidence: Value) -> Change {
        let (at, by) = (self.now(), self.by.clone());
        Change { at, by, why: why.to_owned(), run_id: run_id.map(str::to_owned), evidence }
    }
}
