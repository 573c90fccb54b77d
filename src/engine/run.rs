//! The nightly run: train if there is nobody to score or it is asked for, let the gate decide, score.

use super::receipt::Receipt;
use super::record::Recorded;
use super::score::{ScoreOptions, score_in};
use super::train::{CHAMPION, TrainOptions, Trained, train};
use super::{Engine, GateOutcome};
use crate::error::{Error, ErrorKind};
use crate::memory::trim;
use crate::plan::Plan;
use crate::registry::Registry;

/// What `run` may be told.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Train although there is a champion.
    pub retrain: bool,
    /// Compute the predictions again where they are committed already, and compare.
    pub force: bool,
    /// An interval without input rows is a slice without rows.
    pub allow_empty: bool,
}

/// How a whole run ended.
pub struct RunOutcome {
    /// The scoring, or the training if it failed.
    pub recorded: Recorded,
    /// The training, if there was one.
    pub training: Option<Receipt>,
    /// The gate's refusal of a challenger, or the failure of its training, while the champion has scored.
    pub refused: Option<Error>,
}

/// Trains where that is due, promotes if the gate says so, scores and publishes.
pub async fn run(engine: &Engine, plan: &Plan, options: RunOptions) -> RunOutcome {
    let champion = Registry::new(&plan.home).alias(&plan.job.spec.name, CHAMPION).await;
    let (due, has_champion) = match champion {
        Ok(champion) => (champion.is_none() || options.retrain, champion.is_some()),
        Err(error) => return RunOutcome { recorded: fail(engine, plan, error).await, training: None, refused: None },
    };
    let (mut outcome, mut failed) = ((None, None), None);
    if due {
        let promote = TrainOptions { force: false, promote: true };
        let (recorded, trained) = train(engine, plan, promote).await;
        match trained {
            Some(trained) => outcome = (Some(recorded.receipt), Some(trained)),
            // A training that fails must not cost a night's predictions.
            None if has_champion && !recorded.was_stopped() => failed = recorded.result.err(),
            None => return RunOutcome { recorded, training: None, refused: None },
        }
    }
    let (training, trained) = outcome;
    if trained.is_some() {
        trim();
    }
    let recorded = engine.record(plan, "run", async |run| {
        if let Some(training) = &training {
            run.receipt.gates = training.gates.clone();
            run.receipt.metrics = training.metrics.clone();
        }
        if let Some(refused) = trained.as_ref().and_then(nobody_scores) {
            return Err(refused);
        }
        let RunOptions { force, allow_empty, .. } = options;
        let options = ScoreOptions { force, allow_empty, ..ScoreOptions::default() };
        score_in(engine, plan, &options, run).await
    });
    let recorded = recorded.await;
    let refused = trained.as_ref().filter(|trained| !trained.gate.passed).map(|trained| refusal(&trained.gate));
    let refused = refused.or(failed);
    RunOutcome { recorded, training, refused }
}

async fn fail(engine: &Engine, plan: &Plan, error: Error) -> Recorded {
    engine.record(plan, "run", async |_| Err(error)).await
}

/// The first model did not pass, so there is no champion.
fn nobody_scores(trained: &Trained) -> Option<Error> {
    (!trained.gate.passed && trained.gate.champion.is_none()).then(|| {
        refusal(&trained.gate).hint("there is no champion to score with; `lakemill promote` overrules the gate")
    })
}

fn refusal(gate: &GateOutcome) -> Error {
    Error::new(ErrorKind::Gate, format!("the gate was not passed: {}", gate.why))
        .hint("the champion has scored this interval; `lakemill promote` overrules the gate")
}
