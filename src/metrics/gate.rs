//! Whether a challenger may take the champion's place.
//!
//! A gate is one rule a metric, with the words that MLflow's model validation has (`threshold`,
//! `min_absolute_change`, `min_relative_change`), and one more: `confidence` asks that the improvement
//! is not luck. All rules must hold.

use super::comparison::{Pair, Verdict, measure_pairs};
use super::evaluate::choose;
use super::options::{check_confidence, outside};
use super::{Estimate, Metric, MetricOptions, Predictions, Rows};
use crate::error::{Error, Result, ResultExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a challenger must reach in one metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GateRule {
    /// The value that the challenger's own metric must reach: at least this, or at most this where
    /// less is better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// By how much the challenger must be better than the champion, in the metric's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_absolute_change: Option<f64>,
    /// By which share of the champion's value the challenger must be better. If that value is zero,
    /// being better by anything is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_relative_change: Option<f64>,
    /// How sure the improvement must be: the whole interval of this confidence must reach what is
    /// asked for; without it, the values alone are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub confidence: Option<f64>,
}

impl GateRule {
    /// Checks that the rule asks for something and that its values are in range.
    ///
    /// # Errors
    /// A usage error that names the field.
    pub fn check(&self) -> Result<()> {
        if self.threshold.is_none() && self.min_absolute_change.is_none() && self.min_relative_change.is_none() {
            return Err(Error::usage("a gate rule asks for nothing")
                .hint("give `threshold`, `min_absolute_change` or `min_relative_change`"));
        }
        if let Some(threshold) = self.threshold.filter(|value| !value.is_finite()) {
            return Err(outside("threshold", threshold, "a finite number"));
        }
        let changes =
            [("min_absolute_change", self.min_absolute_change), ("min_relative_change", self.min_relative_change)];
        for (field, value) in changes {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(outside(field, value, "a finite number, at least 0"));
            }
        }
        self.confidence.map_or(Ok(()), check_confidence)
    }

    /// The improvement that the rule asks for over a champion of this value, if it asks for one.
    fn required(&self, champion: f64) -> Option<Required> {
        let absolute = self.min_absolute_change;
        let relative = self.min_relative_change.map(|share| share * champion.abs());
        let change = match (absolute, relative) {
            (Some(absolute), Some(relative)) => absolute.max(relative),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => return None,
        };
        let strictly = change == 0.0 && self.min_relative_change.is_some_and(|share| share > 0.0);
        Some(Required { change, strictly })
    }
}

/// By how much a difference of two values may be rounded: 0.85 is better than 0.80 by less than 0.05.
const ROUNDED: f64 = 1e-12;

/// The improvement that is asked for; `strictly` if reaching it is not enough.
#[derive(Clone, Copy)]
struct Required {
    change: f64,
    strictly: bool,
}

impl Required {
    fn is_reached_by(self, improvement: f64) -> bool {
        if self.strictly { improvement > self.change } else { improvement >= self.change - ROUNDED }
    }
}

/// How one rule came to its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleEvidence {
    /// The metric's name.
    pub metric: String,
    /// Whether a larger value means a better model.
    pub greater_is_better: bool,
    /// The rule as it was given.
    pub rule: GateRule,
    /// The challenger's value; none where the metric is not defined on these rows.
    pub challenger: Option<f64>,
    /// The champion's value; none where there is no champion.
    pub champion: Option<f64>,
    /// By how much the challenger is better (negative: worse), with the paired interval of the rule's
    /// confidence, or of the options' where the rule has none.
    pub improvement: Option<Estimate>,
    /// The improvement that the rule asks for over this champion, in the metric's unit.
    pub required_improvement: Option<f64>,
    /// What follows.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
}

/// How a gate came to its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateEvidence {
    /// Better if every rule says so; not better if one says so; otherwise inconclusive.
    pub verdict: Verdict,
    /// One a rule, in the order of the rules.
    pub rules: Vec<RuleEvidence>,
}

/// Judges a challenger by rules, each with its metric's name. Without a champion only thresholds
/// count. Without rules the verdict is `Better`.
///
/// # Errors
/// Usage for unknown metrics, metrics of other tasks, rules and options out of range; whatever
/// [`Rows::check`] refuses; `failed` if champion and challenger have different rows.
pub fn judge(
    rules: &[(String, GateRule)],
    challenger: &Predictions<'_>,
    champion: Option<&Predictions<'_>>,
    options: &MetricOptions,
) -> Result<GateEvidence> {
    options.check()?;
    for (name, rule) in rules {
        rule.check().at("metric", name)?;
    }
    let names: Vec<String> = rules.iter().map(|(name, _)| name.clone()).collect();
    let metrics = choose(challenger.task, Some(&names))?;
    let challenger = Rows::check(challenger)?;
    let judged: Vec<RuleEvidence> = match champion {
        None => {
            let alone = |(metric, (_, rule)): (&&'static dyn Metric, &(String, GateRule))| {
                let measured = metric.prepare(&challenger, options)(challenger.weights());
                judge_alone(*metric, rule, measured.value, measured.note)
            };
            metrics.iter().zip(rules).map(alone).collect()
        }
        Some(champion) => {
            let champion = Rows::check(champion)?;
            let pairs = measure_pairs(&metrics, &champion, &challenger, options)?;
            let parts = metrics.iter().zip(rules).zip(&pairs);
            parts.map(|((metric, (_, rule)), pair)| judge_pair(*metric, rule, pair, options)).collect()
        }
    };
    Ok(GateEvidence { verdict: Verdict::all(judged.iter().map(|rule| rule.verdict)), rules: judged })
}

/// A verdict with the clause that explains it.
type Finding = (Verdict, String);

fn judge_alone(
    metric: &'static dyn Metric,
    rule: &GateRule,
    value: Option<f64>,
    note: Option<&'static str>,
) -> RuleEvidence {
    let findings = match (value, rule.threshold) {
        (None, _) => vec![no_value("challenger", note)],
        (Some(value), Some(threshold)) => vec![against_threshold(metric, value, threshold)],
        (Some(_), None) => {
            vec![(Verdict::Better, "there is no champion to be better than, and no threshold is asked for".to_owned())]
        }
    };
    evidence(metric, rule, value, &findings)
}

fn judge_pair(metric: &'static dyn Metric, rule: &GateRule, pair: &Pair, options: &MetricOptions) -> RuleEvidence {
    let Some(value) = pair.challenger.value else {
        let findings = [no_value("challenger", pair.challenger.note)];
        return RuleEvidence { champion: pair.champion.value, ..evidence(metric, rule, None, &findings) };
    };
    let mut findings: Vec<Finding> = Vec::new();
    findings.extend(rule.threshold.map(|threshold| against_threshold(metric, value, threshold)));
    let asks_for_change = rule.min_absolute_change.is_some() || rule.min_relative_change.is_some();
    let improvement = pair.improvement(rule.confidence.unwrap_or(options.confidence));
    let required = pair.champion.value.and_then(|champion| rule.required(champion));
    match (improvement, required) {
        (Some(improvement), Some(required)) => findings.push(against_champion(rule, pair, improvement, required)),
        _ if asks_for_change => findings.push(no_value("champion", pair.champion.note)),
        _ => {}
    }
    RuleEvidence {
        champion: pair.champion.value,
        improvement,
        required_improvement: required.map(|required| required.change),
        ..evidence(metric, rule, Some(value), &findings)
    }
}

fn evidence(metric: &dyn Metric, rule: &GateRule, challenger: Option<f64>, findings: &[Finding]) -> RuleEvidence {
    let clauses: Vec<&str> = findings.iter().map(|(_, clause)| clause.as_str()).collect();
    RuleEvidence {
        metric: metric.name().to_owned(),
        greater_is_better: metric.greater_is_better(),
        rule: rule.clone(),
        challenger,
        champion: None,
        improvement: None,
        required_improvement: None,
        verdict: Verdict::all(findings.iter().map(|(verdict, _)| *verdict)),
        reason: clauses.join(", and "),
    }
}

fn no_value(whose: &str, note: Option<&str>) -> Finding {
    let why = note.map_or(String::new(), |note| format!(": {note}"));
    (Verdict::Inconclusive, format!("the {whose} has no value{why}"))
}

fn against_threshold(metric: &dyn Metric, value: f64, threshold: f64) -> Finding {
    let (holds, relation) = match metric.greater_is_better() {
        true if value >= threshold => (true, "at least"),
        true => (false, "below"),
        false if value <= threshold => (true, "at most"),
        false => (false, "above"),
    };
    let verdict = if holds { Verdict::Better } else { Verdict::NotBetter };
    (verdict, format!("the value {} is {relation} the threshold {}", number(value), number(threshold)))
}

fn against_champion(rule: &GateRule, pair: &Pair, improvement: Estimate, required: Required) -> Finding {
    let reached = if required.strictly { "above" } else { "at least" };
    let missed = if required.strictly { "not above" } else { "below" };
    let (value, asked) = (number(improvement.value), number(required.change));
    let Some(confidence) = rule.confidence else {
        let (verdict, relation) = match required.is_reached_by(improvement.value) {
            true => (Verdict::Better, reached),
            false => (Verdict::NotBetter, missed),
        };
        return (verdict, format!("the improvement {value} is {relation} the required {asked}"));
    };
    if pair.is_mostly_undefined() {
        let note = pair.improvement_resampled.note().unwrap_or_default();
        return (Verdict::Inconclusive, format!("the improvement {value} has no interval to rely on: {note}"));
    }
    let (verdict, relation) = if required.is_reached_by(improvement.low) {
        (Verdict::Better, format!("lies wholly {reached}"))
    } else if required.is_reached_by(improvement.high) {
        (Verdict::Inconclusive, "lies on both sides of".to_owned())
    } else {
        (Verdict::NotBetter, format!("lies wholly {missed}"))
    };
    let (low, high) = (number(improvement.low), number(improvement.high));
    let interval = format!("interval {low} to {high} at confidence {confidence}");
    (verdict, format!("the improvement {value} ({interval}) {relation} the required {asked}"))
}

/// A number for a sentence: four decimals, or three digits where that would say nothing.
fn number(value: f64) -> String {
    if value == 0.0 || (0.001..1e6).contains(&value.abs()) { format!("{value:.4}") } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_changes_is_required() {
        let rule = GateRule { min_absolute_change: Some(0.02), min_relative_change: Some(0.1), ..Default::default() };
        assert_eq!(rule.required(0.1).map(|required| required.change), Some(0.02));
        assert_eq!(rule.required(-2.0).map(|required| required.change), Some(0.2));
    }

    #[test]
    fn a_share_of_nothing_asks_for_more_than_nothing() {
        let rule = GateRule { min_relative_change: Some(0.1), ..Default::default() };
        assert!(
            rule.required(0.0).is_some_and(|required| !required.is_reached_by(0.0) && required.is_reached_by(1e-9))
        );
        let none = GateRule { min_relative_change: Some(0.0), ..Default::default() };
        assert!(none.required(0.0).is_some_and(|required| required.is_reached_by(0.0)));
    }

    #[test]
    fn small_and_large_numbers_keep_their_digits() {
        assert_eq!(
            [number(0.0), number(-0.0123), number(0.00012), number(2e9)],
            ["0.0000", "-0.0123", "1.20e-4", "2.00e9"]
        );
    }
}
