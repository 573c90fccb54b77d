//! A search for hyperparameters: each setting is fitted on every fold of the training rows and measured on what the
//! fold holds out; the best setting trains the model on all of them.
//!
//! Fits of all settings and folds run side by side, one a thread, and what is parallel within a fit is there for the
//! threads that have nothing else to do. They are begun in the order of the settings, so the ones that a time limit
//! leaves out are the last ones; what is found depends on how many were tried, and on nothing else that a clock says.

mod folds;
mod queue;

pub use folds::Folds;

use super::fit::Recipe;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::{SearchMethod, SearchSpec};
use crate::metrics::{self, MetricOptions, Predictions, Rows};
use crate::models::Params;
use crate::registry::artifact::{SearchReport, TriedSetting};
use queue::Queue;
use std::cmp::Ordering;
use std::time::Duration;

/// What is searched, and how.
#[derive(Debug, Clone)]
pub struct Search {
    /// How settings were chosen.
    pub method: SearchMethod,
    /// What each setting changes of the parameters, in the order in which they are tried; at least one.
    pub settings: Vec<Params>,
    /// On how many folds each is measured.
    pub folds: usize,
    /// By which metric.
    pub metric: String,
    /// After how long no further setting is begun.
    pub max_time: Option<Duration>,
    /// How many settings are tried whatever the time: those of the training that is to be repeated.
    pub exactly: Option<usize>,
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Searched {
    /// The parameters with the best setting.
    pub params: Params,
    /// What was tried.
    pub report: SearchReport,
}

impl Search {
    /// The search that a job asks for; `params` is the JSON Schema of the algorithm's parameters.
    pub fn of(spec: &SearchSpec, params: &serde_json::Value, seed: u64) -> Self {
        Self {
            method: spec.method,
            settings: spec.list(params, seed),
            folds: spec.folds as usize,
            metric: spec.metric.clone(),
            max_time: spec.max_time.map(|length| Duration::from_secs(length.secs())),
            exactly: None,
        }
    }

    /// The parameters of a setting.
    pub fn params(&self, fixed: &Params, setting: usize) -> Params {
        let mut params = fixed.clone();
        params.extend(
            self.settings.get(setting).into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())),
        );
        params
    }

    /// The value of the metric on held-out rows.
    ///
    /// # Errors
    /// `check` where it has none there; what measuring fails with.
    pub fn measure(&self, held_out: &Predictions<'_>, options: &MetricOptions) -> Result<f64> {
        let metric = metrics::lookup(&self.metric)?;
        let rows = Rows::check(held_out)?;
        let measured = metric.prepare(&rows, options)(rows.weights());
        measured.value.ok_or_else(|| {
            Error::check("the metric of the search has no value on the rows of a fold")
                .with("metric", &self.metric)
                .with("reason", measured.note.unwrap_or("none is given"))
                .hint("ask for fewer folds, make `model.window` longer, or choose another metric")
        })
    }

    /// Fits and measures every setting on every fold by `value(params, fold)`, at most `side_by_side` at once.
    ///
    /// # Errors
    /// What fits fail with, where that is not the setting's fault alone; `failed` where every setting failed.
    pub fn run(
        &self,
        recipe: &Recipe,
        side_by_side: usize,
        value: impl Fn(&Params, usize) -> Result<f64> + Sync,
    ) -> Result<Searched> {
        let of_unit = |setting: usize, fold: usize| {
            let params = self.params(&recipe.params, setting);
            value(&params, fold)
                .at("fold", fold + 1)
                .map_err(|error| error.with("setting", serde_json::Value::Object(self.settings[setting].clone())))
        };
        let limit = match self.exactly {
            Some(_) => None,
            None => self.max_time,
        };
        let settings = self.exactly.unwrap_or(usize::MAX).min(self.settings.len());
        let found = Queue::new(settings, self.folds, limit).run(side_by_side, of_unit)?;
        let tried: Vec<TriedSetting> =
            self.settings.iter().zip(found).map(|(params, values)| tried(params, values)).collect();
        let metric = metrics::lookup(&self.metric)?;
        let chosen = best(&tried, metric.greater_is_better()).ok_or_else(|| {
            let reason = tried.iter().find_map(|setting| setting.failed.clone()).unwrap_or_default();
            Error::failed("no setting of the search could be fitted").with("reason", reason)
        })?;
        let report = SearchReport {
            method: self.method.name().to_owned(),
            metric: self.metric.clone(),
            folds: self.folds as u64,
            settings: self.settings.len() as u64,
            chosen: chosen as u64,
            tried,
        };
        Ok(Searched { params: self.params(&recipe.params, chosen), report })
    }
}

/// Mean and spread over the folds; a setting that failed on any has neither.
fn tried(params: &Params, values: Vec<Result<f64>>) -> TriedSetting {
    let failed = values.iter().find_map(|value| value.as_ref().err()).map(|error| error.message().to_owned());
    let folds: Vec<f64> = if failed.is_some() { Vec::new() } else { values.into_iter().flatten().collect() };
    let count = folds.len() as f64;
    let mean = failed.is_none().then(|| folds.iter().sum::<f64>() / count);
    let squares = mean.map(|mean| folds.iter().map(|value| (value - mean).powi(2)).sum::<f64>());
    let deviation = squares.filter(|_| folds.len() > 1).map(|squares| (squares / (count - 1.0)).sqrt());
    TriedSetting { params: params.clone(), mean, deviation, folds, failed }
}

/// The number of the setting with the best mean, the first one among equals.
fn best(tried: &[TriedSetting], greater_is_better: bool) -> Option<usize> {
    let means = tried.iter().enumerate().filter_map(|(number, setting)| Some((number, setting.mean?)));
    let better = |best: (usize, f64), other: (usize, f64)| {
        let wanted = if greater_is_better { Ordering::Greater } else { Ordering::Less };
        if other.1.total_cmp(&best.1) == wanted { other } else { best }
    };
    means.reduce(better).map(|(number, _)| number)
}

/// Whether a setting may be the reason of an error, so that others can still be tried: a fit that does not converge.
fn is_of_setting(error: &Error) -> bool {
    error.kind() == ErrorKind::Failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn setting(mean: Option<f64>) -> TriedSetting {
        TriedSetting { params: Params::new(), mean, deviation: None, folds: Vec::new(), failed: None }
    }

    #[test]
    fn the_best_mean_wins_and_the_first_of_equals() {
        let tried = [Some(0.5), None, Some(0.7), Some(0.7), Some(0.2)].map(setting);
        assert_eq!(best(&tried, true), Some(2));
        assert_eq!(best(&tried, false), Some(4));
        assert_eq!(best(&[setting(None)], true), None);
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_folds() {
        let params = json!({ "leaves": 7 }).as_object().unwrap().clone();
        let own = tried(&params, vec![Ok(1.0), Ok(2.0), Ok(6.0)]);
        assert_eq!((own.mean, own.deviation, own.failed), (Some(3.0), Some(7f64.sqrt()), None));
        let own = tried(&params, vec![Ok(1.0), Err(Error::failed("did not converge"))]);
        assert_eq!((own.mean, own.folds, own.failed.as_deref()), (None, vec![], Some("did not converge")));
    }
}
