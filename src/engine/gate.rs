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
use crate::task::Task;
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

/// A model that is judged, registered or not.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// What it predicts.
    pub task: Task,
    /// Its classes.
    pub classes: &'a [String],
}

/// What was found of a candidate, which may have no version yet.
pub struct Finding {
    champion: Option<u64>,
    span: Interval,
    rows: u64,
    evidence: GateEvidence,
}

impl Finding {
    /// The finding as that of the version under which the candidate is registered.
    pub fn of(self, challenger: u64) -> GateOutcome {
        let rules = self.evidence.rules.iter();
        let reasons: Vec<String> = rules.map(|rule| format!("{}: {}", rule.metric, rule.reason)).collect();
        GateOutcome {
            passed: self.evidence.verdict == Verdict::Better,
            why: if reasons.is_empty() { "the job has no gate".to_owned() } else { reasons.join("; ") },
            challenger,
            champion: self.champion,
            rows_of: Some(self.span.to_string()),
            rows: self.rows,
            evidence: Some(self.evidence),
        }
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
pub async fn alone(engine: &Engine, plan: &Plan, candidate: Candidate<'_>, rows: ScoredRows) -> Result<Finding> {
    let span = plan.windows()?.test;
    let count = rows.keys.len() as u64;
    let (rules, options) = (rules(&plan.job.spec), metric_options(&plan.job.spec));
    let (task, classes) = (candidate.task, candidate.classes.len());
    let work = move || judge(&rules, &rows.observed.predictions(task, classes, &rows.outputs), None, &options);
    let evidence = engine.runtime.compute(work).await?;
    Ok(Finding { champion: None, span, rows: count, evidence })
}

/// Judges a challenger against the champion on the rows that both give, by key.
///
/// # Errors
/// What measuring fails with; `check` where the two can't be compared: other classes, no common row,
/// two rows of one key.
pub async fn against(
    engine: &Engine,
    plan: &Plan,
    challenger: Candidate<'_>,
    mine: ScoredRows,
    champion: &Arc<LoadedModel>,
) -> Result<Finding> {
    comparable(challenger, champion)?;
    let span = plan.windows()?.test;
    let theirs = score_labelled(engine, plan, champion, span, Wanted::All).await?;
    // On both sides a key has to tell rows apart.
    positions(&mine.keys, &[])?;
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
    let (task, classes) = (challenger.task, challenger.classes.len());
    let work = move || {
        let data = mine.observed.only(&own);
        let width = task.outputs(classes);
        let challenger = outputs_of(&mine.outputs, width, &own);
        let champion = outputs_of(&theirs.outputs, width, &other);
        let champion = data.predictions(task, classes, &champion);
        judge(&rules, &data.predictions(task, classes, &challenger), Some(&champion), &options)
    };
    let evidence = engine.runtime.compute(work).await?;
    Ok(Finding { champion: Some(champion.version.version), span, rows, evidence })
}

fn comparable(challenger: Candidate<'_>, champion: &LoadedModel) -> Result<()> {
    if champion.artifact.task != challenger.task {
        return Err(Error::check("the champion is a model for another task, so the gate can't compare them")
            .with("champion", champion.artifact.task)
            .with("challenger", challenger.task)
            .hint("give the new task a job of its own"));
    }
    if champion.artifact.classes != challenger.classes {
        return Err(Error::check(
            "the champion knows other classes than the challenger, so the gate can't compare them",
        )
        .with("champion", champion.artifact.classes.join(", "))
        .with("challenger", challenger.classes.join(", "))
        .hint("train under another `name` where the classes have changed for good"));
    }
    Ok(())
}

/// The test rows of a registered model, scored again.
///
/// # Errors
/// What scoring them fails with.
pub async fn test_rows(engine: &Engine, plan: &Plan, model: &Arc<LoadedModel>) -> Result<ScoredRows> {
    let wanted = match &plan.job.spec.model.split {
        Split::Time { .. } => Wanted::All,
        // The span holds the training rows too.
        Split::Hash { test } => Wanted::HeldOut(*test, plan.job.spec.model.seed),
    };
    score_labelled(engine, plan, model, plan.windows()?.test, wanted).await
}
