//! `lakemill score` and `lakemill run`: the predictions of an interval.

use super::Session;
use super::job::RunArgs;
use super::runs::describe;
use super::train::trained;
use crate::engine::receipt::ReceiptError;
use crate::engine::{self, RunOptions, ScoreOptions};
use crate::error::Result;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The model: an alias or a version
    #[arg(long, default_value = "champion", value_name = "ALIAS|VERSION")]
    model: String,
    /// Compute again what is committed already, and compare
    #[arg(long)]
    force: bool,
    /// An interval without input rows is a slice without rows, not an error
    #[arg(long)]
    allow_empty: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct FullArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Train a challenger although there is a champion; the gate decides which one scores
    #[arg(long)]
    retrain: bool,
    /// Compute again what is committed already, and compare
    #[arg(long)]
    force: bool,
    /// An interval without input rows is a slice without rows, not an error
    #[arg(long)]
    allow_empty: bool,
}

pub(super) fn score(session: &Session, args: &Args) -> Result<()> {
    let plan = args.run.planned(session, "score")?;
    let options = ScoreOptions { model: args.model.clone(), force: args.force, allow_empty: args.allow_empty };
    let engine = &session.engine;
    let recorded = engine.runtime.run_recorded(engine::score(engine, &plan, &options));
    let receipt = args.run.deliver(session, recorded)?;
    session.meter.clear();
    session.ui.show(&receipt, || describe(&receipt))
}

pub(super) fn run(session: &Session, args: &FullArgs) -> Result<()> {
    let plan = args.run.planned(session, "run")?;
    let options = RunOptions { retrain: args.retrain, force: args.force, allow_empty: args.allow_empty };
    let engine = &session.engine;
    let outcome = engine.runtime.run_recorded(engine::run(engine, &plan, options));
    let mut recorded = outcome.recorded;
    if let (Ok(()), Some(refused)) = (&recorded.result, &outcome.refused) {
        recorded.receipt.error = Some(ReceiptError::from(refused));
    }
    let receipt = args.run.deliver(session, recorded)?;
    session.meter.clear();
    session.ui.show(&receipt, || {
        let training = outcome.training.as_ref().map(|training| format!("{}\n\n", trained(training)));
        format!("{}{}", training.unwrap_or_default(), describe(&receipt))
    })?;
    // The interval is scored by the champion; that the challenger was refused is told by the exit code.
    outcome.refused.map_or(Ok(()), Err)
}
