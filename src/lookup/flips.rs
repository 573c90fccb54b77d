//! The pointer's history: who moved it where, when and why.

use crate::error::Error;
use serde::{Deserialize, Serialize};

/// How many flips a store keeps at least; older ones may go.
pub const KEPT_FLIPS: usize = 1000;

/// Who moves a pointer, when and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlipNote {
    /// The clock, RFC 3339 in UTC.
    pub at: String,
    /// The user.
    pub by: String,
    /// The reason.
    pub why: String,
}

/// What moved the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipAction {
    /// A new generation was published.
    Publish,
    /// Somebody pointed readers to a generation that was published before.
    Rollback,
}

/// One entry of the pointer's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlipRecord {
    /// The generation that was current afterwards.
    pub generation: u64,
    /// The one that was current before.
    pub from: Option<u64>,
    /// What moved it.
    pub action: FlipAction,
    /// The run whose values the generation holds.
    pub run_id: String,
    /// The clock, RFC 3339 in UTC.
    pub at: String,
    /// The user.
    pub by: String,
    /// The reason.
    pub why: String,
}

impl FlipRecord {
    /// The record of a flip to `generation`, which holds the values of `run_id`.
    pub fn new(action: FlipAction, generation: u64, from: Option<u64>, run_id: &str, note: &FlipNote) -> Self {
        let (at, by, why) = (note.at.clone(), note.by.clone(), note.why.clone());
        Self { generation, from, action, run_id: run_id.to_owned(), at, by, why }
    }
}

/// Whether readers were pointed away from what `run_id` has published: then the same run does not
/// publish it again by itself. Gives the flip that did so. `flips` come oldest first.
pub fn rolled_back<'a>(flips: &'a [FlipRecord], run_id: &str) -> Option<&'a FlipRecord> {
    let last = flips.last().filter(|last| last.action == FlipAction::Rollback && last.run_id != run_id)?;
    flips.iter().any(|flip| flip.run_id == run_id).then_some(last)
}

/// What a flip has done.
#[derive(Debug)]
pub struct Flip {
    /// The generation that is current now.
    pub generation: u64,
    /// The one that was current before.
    pub from: Option<u64>,
    /// The generations that were removed.
    pub removed: Vec<u64>,
    /// Why an old generation could not be removed. It is garbage, and the next flip tries again; the
    /// flip itself has happened.
    pub leftover: Option<Error>,
}

/// What was removed as garbage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Collected {
    /// Generations, ascending.
    pub generations: Vec<u64>,
    /// What dead attempts had left.
    pub attempts: u64,
    /// How many bytes all of that took: files on the disk or in the bucket, memory of a server. Absent where the
    /// server does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_held_back_while_the_table_stands_rolled_back() {
        let note = FlipNote { at: "2018-06-21T00:00:00Z".into(), by: "ann".into(), why: "wrong".into() };
        let publish = |generation, run: &str| FlipRecord::new(FlipAction::Publish, generation, None, run, &note);
        let back = |generation, run: &str| FlipRecord::new(FlipAction::Rollback, generation, None, run, &note);
        let flips = [publish(1, "a"), publish(2, "b"), publish(3, "c"), back(2, "b"), back(1, "a")];
        assert_eq!(rolled_back(&flips, "c"), Some(&flips[4]));
        assert_eq!(rolled_back(&flips, "b"), Some(&flips[4]));
        assert_eq!(rolled_back(&flips, "a"), None, "it is what readers see");
        assert_eq!(rolled_back(&flips, "d"), None, "it was never published");
        assert_eq!(rolled_back(&flips[..3], "a"), None, "nothing was rolled back");
        let after = [&flips[..], &[publish(4, "d")]].concat();
        assert_eq!(rolled_back(&after, "c"), None, "something else was published since");
    }
}
