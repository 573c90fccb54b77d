//! The registry: model versions, which of them is the champion, and cards to read.
//!
//! Everything is a file under `home`, written once; concurrent writers are safe by put-if-absent alone.
//! ```text
//! models/<model>/versions/000007/payload-<sha256>.arrow   the predictor
//!                                artifact.json            everything else; once it is there, the version exists
//!                                card.md                  artifact.json for people, written last
//! models/<model>/aliases/champion/000012.json             who, when, why; the highest number rules
//! ```
//! A folder without `artifact.json` is what a crash left behind: no version, never looked at.
//!
//! * [`artifact`] — what makes a model
//! * [`golden`] — rows with their predictions, recomputed to the bit whenever a model is loaded
//! * `sealed` — JSON files that carry their own checksum
//! * `files` — artifact and payload as bytes; everything is checked on the way back
//! * `versions` — [`Registry`]: registering, loading, listing
//! * `aliases` — promote, rollback, history
//! * `reproduce` — the job file that trains a version again
//! * `resolve` — from `champion`, `latest` or `7` to a version
//! * [`card`] — the model card

mod aliases;
pub mod artifact;
pub mod card;
mod files;
pub mod golden;
mod reproduce;
mod resolve;
mod sealed;
mod versions;

pub use aliases::{Action, AliasRecord, Change};
pub use artifact::Artifact;
pub use files::{Described, LoadedModel, ModelVersion};
pub use versions::{Registered, Registry};
