//! Two models measured on the same rows.
//!
//! Both are evaluated in the same resamples, so what makes a resample easy or hard makes it so for
//! both and falls out of the difference: its interval is much narrower than those of the two values
//! would suggest (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, 8.3).

use super::bootstrap::{Resampled, resample};
use super::evaluate::choose;
use super::{Estimate, Measure, Measured, Metric, MetricOptions, Predictions, Rows};
use crate::error::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is known about a challenger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is as much better as was asked.
    Better,
    /// It is not.
    NotBetter,
    /// The rows are too few to tell, or a value is not defined on them.
    Inconclusive,
}

impl Verdict {
    /// The verdict on several things that must all hold: one failure decides, then one doubt.
    pub(super) fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().fold(Self::Better, |all, verdict| match (all, verdict) {
            (Self::NotBetter, _) | (_, Self::NotBetter) => Self::NotBetter,
            (Self::Inconclusive, _) | (_, Self::Inconclusive) => Self::Inconclusive,
            (Self::Better, Self::Better) => Self::Better,
        })
    }
}

/// Champion and challenger side by side in one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The metric's name.
    pub metric: String,
    /// Whether a larger value means a better model.
    pub greater_is_better: bool,
    /// The champion's value; none where the metric is not defined on these rows.
    pub champion: Option<Estimate>,
    /// The challenger's value.
    pub challenger: Option<Estimate>,
    /// By how much the challenger is better; negative where it is worse, whatever the metric's direction.
    pub improvement: Option<Estimate>,
    /// Better if the whole interval of the improvement lies above zero, not better if no part of it does.
    pub verdict: Verdict,
    /// Why a value is missing, or what the interval lacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Compares two models on the same rows by the metrics named, or by all that suit the task.
///
/// # Errors
/// As [`super::evaluate()`]; `failed` if the rows of the two differ.
pub fn compare(
    champion: &Predictions<'_>,
    challenger: &Predictions<'_>,
    options: &MetricOptions,
    names: Option<&[String]>,
) -> Result<Vec<Comparison>> {
    options.check()?;
    let metrics = choose(challenger.task, names)?;
    let (champion, challenger) = (Rows::check(champion)?, Rows::check(challenger)?);
    let pairs = measure_pairs(&metrics, &champion, &challenger, options)?;
    Ok(pairs.iter().map(|pair| pair.compare(options.confidence)).collect())
}

/// One metric of two models, on the rows and in the same resamples.
pub(super) struct Pair {
    metric: &'static dyn Metric,
    /// On the rows as they are.
    pub(super) champion: Measured,
    /// On the rows as they are.
    pub(super) challenger: Measured,
    champion_resampled: Resampled,
    challenger_resampled: Resampled,
    /// In each resample in which both have a value.
    pub(super) improvement_resampled: Resampled,
}

/// Evaluates both models by all metrics.
pub(super) fn measure_pairs(
    metrics: &[&'static dyn Metric],
    champion: &Rows<'_>,
    challenger: &Rows<'_>,
    options: &MetricOptions,
) -> Result<Vec<Pair>> {
    champion.check_same(challenger)?;
    let weights = challenger.weights();
    let prepare =
        |metric: &&'static dyn Metric| [metric.prepare(champion, options), metric.prepare(challenger, options)];
    let measures: Vec<Measure<'_>> = metrics.iter().flat_map(prepare).collect();
    let mut resampled = resample(weights, &measures, options).into_iter();
    let mut pairs = Vec::new();
    for (metric, of_both) in metrics.iter().zip(measures.chunks(2)) {
        let (Some(ours), Some(theirs)) = (resampled.next(), resampled.next()) else { break };
        let both = ours.values.iter().zip(&theirs.values);
        let values = both.map(|(champion, challenger)| improvement(*metric, *champion, *challenger)).collect();
        pairs.push(Pair {
            metric: *metric,
            champion: of_both[0](weights),
            challenger: of_both[1](weights),
            champion_resampled: ours,
            challenger_resampled: theirs,
            improvement_resampled: Resampled { values },
        });
    }
    Ok(pairs)
}

/// The difference of two values, positive if the challenger's is the better one.
fn improvement(metric: &dyn Metric, champion: Option<f64>, challenger: Option<f64>) -> Option<f64> {
    let difference = challenger? - champion?;
    let oriented = if metric.greater_is_better() { difference } else { -difference };
    // Adding zero turns minus zero into zero.
    Some(oriented + 0.0).filter(|value| value.is_finite())
}

impl Pair {
    /// By how much the challenger is better, with the paired interval.
    pub(super) fn improvement(&self, confidence: f64) -> Option<Estimate> {
        let value = improvement(self.metric, self.champion.value, self.challenger.value)?;
        Some(self.improvement_resampled.estimate(value, confidence))
    }

    /// Whether fewer than half of the resamples have a value, so that the interval says little.
    pub(super) fn is_mostly_undefined(&self) -> bool {
        2 * self.improvement_resampled.undefined() > self.improvement_resampled.values.len()
    }

    fn compare(&self, confidence: f64) -> Comparison {
        let with_interval = |measured: &Measured, resampled: &Resampled| {
            measured.value.map(|value| resampled.estimate(value, confidence))
        };
        let improvement = self.improvement(confidence);
        let verdict = match improvement {
            None => Verdict::Inconclusive,
            Some(_) if self.is_mostly_undefined() => Verdict::Inconclusive,
            Some(by) if by.low > 0.0 => Verdict::Better,
            Some(by) if by.high <= 0.0 => Verdict::NotBetter,
            Some(_) => Verdict::Inconclusive,
        };
        Comparison {
            metric: self.metric.name().to_owned(),
            greater_is_better: self.metric.greater_is_better(),
            champion: with_interval(&self.champion, &self.champion_resampled),
            challenger: with_interval(&self.challenger, &self.challenger_resampled),
            improvement,
            verdict,
            note: self.note(),
        }
    }

    fn note(&self) -> Option<String> {
        let mut notes: Vec<String> = Vec::new();
        for (whose, measured) in [("champion", self.champion), ("challenger", self.challenger)] {
            notes.extend(measured.note.map(|note| format!("{whose}: {note}")));
        }
        if self.champion.value.is_some() && self.challenger.value.is_some() {
            notes.extend(self.improvement_resampled.note());
        }
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Better, Inconclusive, NotBetter};
    use super::*;

    #[test]
    fn one_failure_decides_and_then_one_doubt() {
        assert_eq!(Verdict::all([]), Better);
        assert_eq!(Verdict::all([Better, Inconclusive, Better]), Inconclusive);
        assert_eq!(Verdict::all([Inconclusive, NotBetter]), NotBetter);
        assert_eq!(Verdict::all([NotBetter, Inconclusive]), NotBetter);
    }
}
