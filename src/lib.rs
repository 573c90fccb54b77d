//! Lakemill takes a **job file** and an **interval** and makes one thing true: for this interval,
//! the predictions of the right model are in the predictions table and in the lookup table, exactly
//! once, and there is a receipt that proves what they were made from.
//!
//! The modules in reading order, from what the user writes to what the run does with it; the arrows
//! between them are drawn in `ARCHITECTURE.md` and held by a test.

pub mod error;
pub mod interval;
pub mod memory;
pub mod task;

pub mod job;
pub mod lake;
pub mod tables;

pub mod query;

pub mod plan;

pub mod features;
pub mod forest;
pub mod metrics;
pub mod models;

pub mod lookup;
pub mod registry;
pub mod serve;

pub mod engine;
pub mod runtime;

pub mod cli;
pub mod demo;
