//! The lake: where files lie, and how they are written so that nothing is ever half there.
//!
//! * [`Location`] — a place in an object store: a local path, a `file://` URL or a bucket. All state
//!   of lakemill is written through it, by two operations only: *put* (replaces a whole object at
//!   once) and *put if absent* (exactly one of several writers wins). No locks, no renames.
//! * [`log`] — append-only numbered logs, made of put-if-absent alone
//! * [`check_name`] — what a model, a job or an alias may be called, since names become paths
//! * [`errors`] — who must act, by the causes of a library's error
//! * [`probe()`] — what a place lets us do
//!
//! Local writes are as durable as those of a bucket: file and folder are synced to the disk before a
//! write counts as done (`durable.rs`).
//!
//! To add a scheme: one arm in `open.rs`, and a folder beside `s3`, `gcs` and `azure` that makes two clients of the
//! library out of the environment; `bucket` does the rest.

mod azure;
mod bucket;
mod cache;
mod durable;
pub mod errors;
mod gcs;
mod location;
pub mod log;
mod name;
mod open;
mod probe;
mod s3;
mod transfer;

pub use bucket::{Identity, clock_offset};
pub use cache::cache_of;
pub use location::{Location, Put};
pub use name::check_name;
pub use open::identity;
pub use probe::{Probe, probe};
