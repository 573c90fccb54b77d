//! All integration tests in one binary, so that the dependencies are linked once.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used)]

mod asof;
mod bad_inputs;
mod boosting;
mod command;
mod command_line;
mod conformance;
mod crash;
mod demo;
mod faults;
mod faulty;
mod features;
mod flights;
mod forest;
mod fraud_features;
mod house;
mod inspect;
mod job;
mod lake;
mod lookup;
mod memory;
mod metrics;
mod metrics_gate;
mod models;
mod models_import;
mod models_payload;
mod models_rules;
mod models_traps;
mod nightly;
mod polars_engine;
mod predict;
mod query;
mod registry;
mod risk;
mod rolling;
mod s3;
mod scoring;
mod shared;
mod shipped;
mod sites;
mod stopped;
mod streamed;
mod tables;
mod time_travel;
mod windows;
