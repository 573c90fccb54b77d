//! Evaluation: several models side by side on the same rows.

use super::Engine;
use super::confusion::Confusion;
use super::dataset::Observed;
use super::scored::{ScoredRows, Wanted, outputs_of, positions, score_labelled};
use super::train::metric_options;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{
    Comparison, MetricOptions, MetricValue, Predictions, compare, confusion_matrix, evaluate as measure,
};
use crate::plan::Plan;
use crate::registry::LoadedModel;
use crate::task::Task;
use serde::Serialize;
use std::sync::Arc;

/// What models are worth on the same rows.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The job's name.
    pub job: String,
    /// The interval whose rows were measured.
    pub interval: String,
    /// Rows with a known label that all models give.
    pub rows: u64,
    /// The models in the order in which they were named.
    pub models: Vec<ModelScores>,
}

/// One model of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct ModelScores {
    /// As it was named: an alias or a version.
    pub name: String,
    /// The version.
    pub version: u64,
    /// Every metric with its interval of confidence.
    pub metrics: Vec<MetricValue>,
    /// How often which class was taken for which; absent for regression.
    pub confusion: Option<Confusion>,
    /// How much better than the first model, row by row; empty for the first.
    pub against_first: Vec<Comparison>,
}

/// Measures every model on the rows of the plan's interval whose label is known.
///
/// # Errors
/// Usage: a model that does not exist, models of different tasks. `empty` where no row is common to
/// all models.
pub async fn evaluate(engine: &Engine, plan: &Plan, models: &[String]) -> Result<Evaluation> {
    let registry = engine.registry(&plan.home);
    let name = plan.job.spec.name.as_str();
    let mut scored: Vec<Scored> = Vec::new();
    for reference in models {
        let version = registry.resolve(name, reference).await?;
        let known = scored.iter().find(|(_, model, _)| model.version.version == version);
        let model = match known {
            Some((_, model, _)) => Arc::clone(model),
            None => Arc::new(registry.load(name, version).await?),
        };
        let rows = score_labelled(engine, plan, &model, plan.interval, Wanted::All).await?;
        scored.push((reference.clone(), model, rows));
    }
    same_labels(&scored)?;
    let common = common_rows(&scored)?;
    let rows = common.first().map_or(0, Vec::len) as u64;
    if rows == 0 {
        return Err(Error::new(ErrorKind::Empty, "no row of the interval has a known label in every model's features")
            .with("interval", plan.interval)
            .hint("evaluate an interval whose labels are known by now"));
    }
    let (options, names) = (metric_options(&plan.job.spec), plan.job.spec.evaluate.metrics.clone());
    let work = move || measure_all(&scored, &common, &options, names.as_deref());
    let models = engine.runtime.compute(work).await?;
    Ok(Evaluation { job: name.to_owned(), interval: plan.interval.to_string(), rows, models })
}

type Scored = (String, Arc<LoadedModel>, ScoredRows);

fn measure_all(
    scored: &[Scored],
    common: &[Vec<usize>],
    options: &MetricOptions,
    names: Option<&[String]>,
) -> Result<Vec<ModelScores>> {
    let Some((_, first, _)) = scored.first() else { return Ok(Vec::new()) };
    let (task, classes) = (first.artifact.task, first.artifact.classes.len());
    let rows_of = |(scored, rows): (&Scored, &Vec<usize>)| {
        let outputs = outputs_of(&scored.2.outputs, task.outputs(classes), rows);
        (scored.2.observed.only(rows), outputs)
    };
    let rows: Vec<(Observed, Vec<f64>)> = scored.iter().zip(common).map(rows_of).collect();
    let predictions: Vec<Predictions<'_>> =
        rows.iter().map(|(data, outputs)| data.predictions(task, classes, outputs)).collect();
    let measured = scored.iter().zip(&predictions).enumerate().map(|(index, ((name, model, _), own))| {
        let confusion = match task {
            Task::Regression => None,
            Task::Binary | Task::Multiclass => {
                Some(Confusion::of(&model.artifact.classes, &confusion_matrix(own, options)?))
            }
        };
        Ok(ModelScores {
            name: name.clone(),
            version: model.version.version,
            metrics: measure(own, options, names)?,
            confusion,
            against_first: if index == 0 { Vec::new() } else { compare(&predictions[0], own, options, names)? },
        })
    });
    measured.collect()
}

fn same_labels(scored: &[Scored]) -> Result<()> {
    let Some(((_, first, _), others)) = scored.split_first() else {
        return Err(Error::usage("there is no model to evaluate").hint("give --models champion,challenger"));
    };
    let differs = |model: &LoadedModel| {
        model.artifact.task != first.artifact.task || model.artifact.classes != first.artifact.classes
    };
    match others.iter().find(|(_, model, _)| differs(model)) {
        Some((_, model, _)) => Err(Error::usage("these models do not predict the same classes")
            .with("version", first.version.version)
            .with("other version", model.version.version)),
        None => Ok(()),
    }
}

/// For each model the numbers of the rows that all models have, in the order of the first.
fn common_rows(scored: &[Scored]) -> Result<Vec<Vec<usize>>> {
    let Some((_, _, first)) = scored.first() else { return Ok(Vec::new()) };
    let found: Vec<Vec<Option<usize>>> =
        scored.iter().map(|(_, _, rows)| positions(&rows.keys, &first.keys)).collect::<Result<_>>()?;
    let everywhere: Vec<usize> =
        (0..first.keys.len()).filter(|row| found.iter().all(|model| model[*row].is_some())).collect();
    Ok(found.iter().map(|model| everywhere.iter().filter_map(|row| model[*row]).collect()).collect())
}
