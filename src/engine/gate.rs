//! The gate: whether a challenger may become the champion.

use super::Engine;
use super::scored::{ScoredRows, Wanted, outputs_of, positions, score_labelled};
use super::train::metric_options;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::job::{JobSpec, Split};
use crate::metrics::{GateEvidence, GateRule, Verdict, judge};
use crate::plan::Plan;
use crate::registry::LoadedModel;
use serde::Serialize;
use std::sync::Arc;

/// What the gate found.
#[derive(Debug, Clone, Serialize)]
pub struct GateOutcome {
    /// Whether every rule holds.
    pub passed: bool,
    /// In one sentence.
    pub why: String,
    /// The version that was judged.
    pub challenger: u64,
    /// The version it was compared with, if there is a champion.
    pub champion: Option<u64>,
    /// The span of the rows on which both were measured.
    pub rows_of: Option<String>,
    /// How many rows.
    pub rows: u64,
    /// What each rule found.
    pub evidence: Option<GateEvidence>,
}

impl GateOutcome {
    /// The model is the champion already; there is nothing to decide.
    pub fn already_champion(version: u64) -> Self {
        Self {
            passed: true,
            why: "it is the champion already".to_owned(),
            challenger: version,
            champion: Some(version),
            rows_of: None,
            rows: 0,
            evidence: None,
        }
    }
}

impl GateOutcome {
    fn with(self, evidence: GateEvidence) -> Self {
        let reasons: Vec<String> =
            evidence.rules.iter().map(|rule| format!("{}: {}", rule.metric, rule.reason)).collect();
        let why = if reasons.is_empty() { "the job has no gate".to_owned() } else { reasons.join("; ") };
        Self { passed: evidence.verdict == Verdict::Better, why, evidence: Some(evidence), ..self }
    }
}

fn rules(spec: &JobSpec) -> Vec<(String, GateRule)> {
    let rule = |written: &crate::job::GateSpec| GateRule {
        threshold: written.threshold,
        min_absolute_change: written.min_absolute_change,
        min_relative_change: written.min_relative_change,
        confidence: written.confidence,
    };
    spec.gate.iter().map(|(metric, written)| (metric.clone(), rule(written))).collect()
}

/// Judges a model without a champion to compare with: only thresholds count.
///
/// # Errors
/// What measuring fails with.
pub async fn alone(
    engine: &Engine,
    plan: &Plan,
    model: &Arc<LoadedModel>,
    rows: Option<ScoredRows>,
) -> Result<GateOutcome> {
    let (rows, span) = measured_rows(engine, plan, model, rows).await?;
    let outcome = GateOutcome {
        rows_of: Some(span.to_string()),
        rows: rows.keys.len() as u64,
        ..GateOutcome::already_champion(model.version.version)
    };
    let evidence = {
        let (rules, options) = (rules(&plan.job.spec), metric_options(&plan.job.spec));
        let (task, classes) = (model.artifact.task, model.artifact.classes.len());
        engine
            .runtime
            .compute(move || judge(&rules, &rows.data.predictions(task, classes, &rows.outputs), None, &options))
            .await?
    };
    Ok(GateOutcome { champion: None, ..outcome }.with(evidence))
}

/// Judges a challenger against the champion on the rows that both give, by key.
///
/// # Errors
/// What measuring fails with; `check` where two rows have one key.
pub async fn against(
    engine: &Engine,
    plan: &Plan,
    challenger: &Arc<LoadedModel>,
    rows: Option<ScoredRows>,
    champion: &Arc<LoadedModel>,
) -> Result<GateOutcome> {
    if champion.artifact.task != challenger.artifact.task {
        return Err(Error::check("the champion is a model for another task, so the gate can't compare them")
            .with("champion", champion.artifact.task)
            .with("challenger", challenger.artifact.task)
            .hint("give the new task a job of its own, or promote the challenger by hand"));
    }
    if champion.artifact.classes != challenger.artifact.classes {
        return Err(Error::check(
            "the champion knows other classes than the challenger, so the gate can't compare them",
        )
        .with("champion", champion.artifact.classes.join(", "))
        .with("challenger", challenger.artifact.classes.join(", "))
        .hint("promote the challenger by hand if the classes have changed"));
    }
    let (mine, span) = measured_rows(engine, plan, challenger, rows).await?;
    let theirs = score_labelled(engine, plan, champion, span, Wanted::All).await?;
    let both: Vec<(usize, usize)> = positions(&theirs.keys, &mine.keys)?
        .into_iter()
        .enumerate()
        .filter_map(|(own, other)| Some((own, other?)))
        .collect();
    let (own, other): (Vec<usize>, Vec<usize>) = both.into_iter().unzip();
    let rows = own.len() as u64;
    if rows == 0 {
        return Err(Error::check("challenger and champion have no row in common, by key")
            .hint("make `features.key` the columns that tell rows apart, the same for both models"));
    }
    let (rules, options) = (rules(&plan.job.spec), metric_options(&plan.job.spec));
    let (task, classes) = (challenger.artifact.task, challenger.artifact.classes.len());
    let work = move || {
        let data = mine.data.only(&own);
        let width = task.outputs(classes);
        let challenger = outputs_of(&mine.outputs, width, &own);
        let champion = outputs_of(&theirs.outputs, width, &other);
        let champion = data.predictions(task, classes, &champion);
        judge(&rules, &data.predictions(task, classes, &challenger), Some(&champion), &options)
    };
    let evidence = engine.runtime.compute(work).await?;
    let outcome = GateOutcome {
        champion: Some(champion.version.version),
        rows_of: Some(span.to_string()),
        rows,
        ..GateOutcome::already_champion(challenger.version.version)
    };
    Ok(outcome.with(evidence))
}

/// The test rows of the model: those just measured, or the same rows scored again.
async fn measured_rows(
    engine: &Engine,
    plan: &Plan,
    model: &Arc<LoadedModel>,
    rows: Option<ScoredRows>,
) -> Result<(ScoredRows, Interval)> {
    let span = plan.windows()?.test;
    match rows {
        Some(rows) => Ok((rows, span)),
        None => {
            let wanted = match &plan.job.spec.model.split {
                Split::Time { .. } => Wanted::All,
                // The span holds the training rows too.
                Split::Hash { test } => Wanted::HeldOut(*test, plan.job.spec.model.seed),
            };
            Ok((score_labelled(engine, plan, model, span, wanted).await?, span))
        }
    }
}
