//! Two models on the same rows: paired intervals, and the rules by which a challenger is judged.

use lakemill::error::ErrorKind;
use lakemill::metrics::{
    Comparison, GateEvidence, GateRule, MetricOptions, Predictions, RuleEvidence, Verdict, compare, evaluate, judge,
};
use lakemill::task::Task;

fn predictions<'a>(task: Task, labels: &'a [f64], outputs: &'a [f64]) -> Predictions<'a> {
    Predictions { task, classes: 2, labels, outputs, weights: None, days: None }
}

/// 400 values; predictions that are `offset` too high, with an error beside that alternates.
fn values(offset: f64) -> (Vec<f64>, Vec<f64>) {
    let labels: Vec<f64> = (0..400).map(|row| f64::from(row * 37 % 101)).collect();
    let outputs = labels.iter().enumerate().map(|(row, label)| label + offset + if row % 2 == 0 { 1.0 } else { -1.0 });
    let outputs = outputs.collect();
    (labels, outputs)
}

/// 200 rows, half of them positive; all of a class have the same score, but for one row in `one_in`
/// that has the other class's.
fn classes(one_in: usize) -> (Vec<f64>, Vec<f64>) {
    let labels: Vec<f64> = (0..200).map(|row| f64::from(row % 2)).collect();
    let right = |row: usize, label: f64| if (row / 2).is_multiple_of(one_in) { 1.0 - label } else { label };
    let outputs = labels.iter().enumerate().map(|(row, label)| 0.2 + 0.6 * right(row, *label)).collect();
    (labels, outputs)
}

fn judge_one(
    metric: &str,
    rule: GateRule,
    challenger: &Predictions<'_>,
    champion: Option<&Predictions<'_>>,
) -> RuleEvidence {
    let evidence = judge(&[(metric.to_owned(), rule)], challenger, champion, &MetricOptions::default()).unwrap();
    assert_eq!(evidence.verdict, evidence.rules[0].verdict);
    evidence.rules[0].clone()
}

fn compare_one(metric: &str, champion: &Predictions<'_>, challenger: &Predictions<'_>) -> Comparison {
    compare(champion, challenger, &MetricOptions::default(), Some(&[metric.to_owned()])).unwrap().remove(0)
}

#[test]
fn improvements_are_positive_whatever_the_metrics_direction() {
    let ((labels, weak), (_, strong)) = (classes(3), classes(10));
    let (weak, strong) = (predictions(Task::Binary, &labels, &weak), predictions(Task::Binary, &labels, &strong));
    for (metric, greater) in [("roc_auc", true), ("log_loss", false), ("brier", false), ("accuracy", true)] {
        let ahead = compare_one(metric, &weak, &strong);
        let behind = compare_one(metric, &strong, &weak);
        assert_eq!(
            (ahead.greater_is_better, ahead.verdict, behind.verdict),
            (greater, Verdict::Better, Verdict::NotBetter)
        );
        let (ahead, behind) = (ahead.improvement.unwrap(), behind.improvement.unwrap());
        assert!(ahead.low <= ahead.value && ahead.value <= ahead.high, "{metric}: {ahead:?}");
        let mirrored = [-behind.value, -behind.high, -behind.low];
        for (one, other) in [ahead.value, ahead.low, ahead.high].into_iter().zip(mirrored) {
            assert!((one - other).abs() < 1e-12, "{metric}: {ahead:?} and {behind:?}");
        }
    }
}

#[test]
fn paired_resamples_make_a_constant_difference_certain() {
    // The mean absolute error is 3 and 2 in every row: its interval has no width beside the values'.
    let labels: Vec<f64> = (0..50).map(f64::from).collect();
    let off = |by: f64| -> Vec<f64> { labels.iter().map(|label| label + by + label / 10.0).collect() };
    let (champion, challenger) = (off(3.0), off(2.0));
    let champion = predictions(Task::Regression, &labels, &champion);
    let found = compare_one("mae", &champion, &predictions(Task::Regression, &labels, &challenger));
    let improvement = found.improvement.unwrap();
    assert!((improvement.low - 1.0).abs() < 1e-9 && (improvement.high - 1.0).abs() < 1e-9, "{improvement:?}");
    let alone = found.challenger.unwrap();
    assert!(alone.high - alone.low > 0.3, "{alone:?}");
}

#[test]
fn the_values_beside_a_comparison_are_those_of_an_evaluation() {
    let ((labels, weak), (_, strong)) = (classes(3), classes(10));
    let (weak, strong) = (predictions(Task::Binary, &labels, &weak), predictions(Task::Binary, &labels, &strong));
    let options = MetricOptions::default();
    let compared = compare(&weak, &strong, &options, None).unwrap();
    let (champion, challenger) = (evaluate(&weak, &options, None).unwrap(), evaluate(&strong, &options, None).unwrap());
    for ((both, champion), challenger) in compared.iter().zip(&champion).zip(&challenger) {
        assert_eq!(
            (&both.metric, both.champion, both.challenger),
            (&champion.metric, champion.estimate, challenger.estimate)
        );
    }
}

#[test]
fn a_model_is_no_better_than_itself() {
    let (labels, outputs) = classes(5);
    let model = predictions(Task::Binary, &labels, &outputs);
    let found = compare_one("roc_auc", &model, &model);
    assert_eq!((found.improvement.unwrap().value, found.verdict), (0.0, Verdict::NotBetter));
    // But it is not worse either, which is all that a required change of zero asks.
    for confidence in [None, Some(0.95)] {
        let rule = GateRule { min_absolute_change: Some(0.0), confidence, ..GateRule::default() };
        assert_eq!(judge_one("roc_auc", rule, &model, Some(&model)).verdict, Verdict::Better);
    }
}

#[test]
fn a_threshold_is_a_floor_or_a_ceiling_by_the_metrics_direction() {
    let (labels, outputs) = values(0.0);
    let model = predictions(Task::Regression, &labels, &outputs);
    let rule = |threshold| GateRule { threshold: Some(threshold), ..GateRule::default() };
    for (metric, threshold, verdict, reason) in [
        ("mae", 1.5, Verdict::Better, "the value 1.0000 is at most the threshold 1.5000"),
        ("mae", 0.5, Verdict::NotBetter, "the value 1.0000 is above the threshold 0.5000"),
        ("r2", 0.9, Verdict::Better, "the value 0.9988 is at least the threshold 0.9000"),
        ("r2", 0.9999, Verdict::NotBetter, "the value 0.9988 is below the threshold 0.9999"),
    ] {
        let evidence = judge_one(metric, rule(threshold), &model, None);
        assert_eq!((evidence.verdict, evidence.reason.as_str()), (verdict, reason));
        assert_eq!((evidence.champion, evidence.improvement), (None, None));
    }
}

#[test]
fn the_interval_decides_between_better_not_better_and_inconclusive() {
    let ((labels, weak), (_, strong)) = (classes(5), classes(10));
    let (weak, strong) = (predictions(Task::Binary, &labels, &weak), predictions(Task::Binary, &labels, &strong));
    // Accuracy 0.8 and 0.9: an improvement of 0.1, give or take 0.04.
    let rule = |change| GateRule { min_absolute_change: Some(change), confidence: Some(0.95), ..GateRule::default() };
    for (change, verdict, part) in [
        (0.02, Verdict::Better, "lies wholly at least the required 0.0200"),
        (0.09, Verdict::Inconclusive, "lies on both sides of the required 0.0900"),
        (0.30, Verdict::NotBetter, "lies wholly below the required 0.3000"),
    ] {
        let evidence = judge_one("accuracy", rule(change), &strong, Some(&weak));
        assert_eq!(evidence.verdict, verdict, "{evidence:?}");
        assert!(
            evidence.reason.ends_with(part) && evidence.reason.contains("at confidence 0.95"),
            "{}",
            evidence.reason
        );
        assert_eq!(evidence.required_improvement, Some(change));
        // Without confidence the values decide, so there is no doubt.
        let plain = judge_one("accuracy", GateRule { confidence: None, ..rule(change) }, &strong, Some(&weak));
        assert_eq!(plain.verdict, if change < 0.1 { Verdict::Better } else { Verdict::NotBetter });
    }
    let worse = judge_one("accuracy", rule(0.0), &weak, Some(&strong));
    assert_eq!(worse.verdict, Verdict::NotBetter);
}

#[test]
fn a_rules_confidence_sets_the_width_of_its_interval() {
    let ((labels, weak), (_, strong)) = (classes(5), classes(10));
    let (weak, strong) = (predictions(Task::Binary, &labels, &weak), predictions(Task::Binary, &labels, &strong));
    let width = |confidence| {
        let rule = GateRule { min_absolute_change: Some(0.0), confidence: Some(confidence), ..GateRule::default() };
        let improvement = judge_one("accuracy", rule, &strong, Some(&weak)).improvement.unwrap();
        improvement.high - improvement.low
    };
    assert!(width(0.5) < width(0.99));
}

#[test]
fn a_relative_change_is_a_share_of_the_champions_value() {
    let ((labels, weak), (_, strong)) = (classes(5), classes(10));
    let (weak, strong) = (predictions(Task::Binary, &labels, &weak), predictions(Task::Binary, &labels, &strong));
    let rule = |share| GateRule { min_relative_change: Some(share), ..GateRule::default() };
    let enough = judge_one("accuracy", rule(0.12), &strong, Some(&weak));
    assert_eq!(enough.verdict, Verdict::Better);
    assert!((enough.required_improvement.unwrap() - 0.12 * 0.8).abs() < 1e-12);
    assert_eq!(judge_one("accuracy", rule(0.13), &strong, Some(&weak)).verdict, Verdict::NotBetter);
}

#[test]
fn a_champion_of_zero_must_be_surpassed() {
    let (labels, outputs) = (vec![0.0, 1.0, 0.0, 1.0], vec![0.1; 4]);
    let silent = predictions(Task::Binary, &labels, &outputs);
    let rule = GateRule { min_relative_change: Some(0.1), ..GateRule::default() };
    let evidence = judge_one("f1", rule, &silent, Some(&silent));
    assert_eq!(evidence.verdict, Verdict::NotBetter);
    assert_eq!(evidence.reason, "the improvement 0.0000 is not above the required 0.0000");
}

#[test]
fn without_a_champion_only_the_threshold_counts() {
    let (labels, outputs) = classes(5);
    let model = predictions(Task::Binary, &labels, &outputs);
    let rule = |threshold| GateRule { threshold, min_absolute_change: Some(0.5), ..GateRule::default() };
    assert_eq!(judge_one("accuracy", rule(Some(0.7)), &model, None).verdict, Verdict::Better);
    assert_eq!(judge_one("accuracy", rule(Some(0.9)), &model, None).verdict, Verdict::NotBetter);
    let free = judge_one("accuracy", rule(None), &model, None);
    assert_eq!(free.verdict, Verdict::Better);
    assert_eq!(free.reason, "there is no champion to be better than, and no threshold is asked for");
}

#[test]
fn one_rule_that_fails_fails_the_gate_and_the_evidence_survives_json() {
    let ((labels, weak), (_, strong)) = (classes(5), classes(10));
    let (weak, strong) = (predictions(Task::Binary, &labels, &weak), predictions(Task::Binary, &labels, &strong));
    let pass = GateRule {
        threshold: Some(0.5),
        min_absolute_change: Some(0.0),
        confidence: Some(0.95),
        min_relative_change: None,
    };
    let fail = GateRule { threshold: Some(0.99), ..GateRule::default() };
    let rules = [("roc_auc".to_owned(), pass), ("accuracy".to_owned(), fail)];
    let evidence = judge(&rules, &strong, Some(&weak), &MetricOptions::default()).unwrap();
    let verdicts: Vec<Verdict> = evidence.rules.iter().map(|rule| rule.verdict).collect();
    assert_eq!((evidence.verdict, verdicts), (Verdict::NotBetter, vec![Verdict::Better, Verdict::NotBetter]));
    assert!(evidence.rules[0].reason.contains(", and the improvement"), "{}", evidence.rules[0].reason);
    let json = serde_json::to_string(&evidence).unwrap();
    assert!(json.contains(r#""verdict":"not_better""#), "{json}");
    assert_eq!(serde_json::from_str::<GateEvidence>(&json).unwrap(), evidence);
}

#[test]
fn what_has_no_value_is_inconclusive() {
    let (labels, outputs) = (vec![0.0; 6], vec![0.1; 6]);
    let model = predictions(Task::Binary, &labels, &outputs);
    let rule = GateRule { threshold: Some(0.5), min_absolute_change: Some(0.0), ..GateRule::default() };
    for champion in [None, Some(&model)] {
        let evidence = judge_one("roc_auc", rule.clone(), &model, champion);
        assert_eq!(evidence.verdict, Verdict::Inconclusive);
        assert_eq!(evidence.reason, "the challenger has no value: there is only one class among the labels");
    }
    assert_eq!(compare_one("roc_auc", &model, &model).verdict, Verdict::Inconclusive);
}

#[test]
fn too_few_rows_to_resample_are_inconclusive() {
    // Only a resample with both rows has a ranking: half of them.
    let (labels, good, bad) = ([0.0, 1.0], [0.1, 0.9], [0.9, 0.1]);
    let (good, bad) = (predictions(Task::Binary, &labels, &good), predictions(Task::Binary, &labels, &bad));
    let rule = GateRule { min_absolute_change: Some(0.0), confidence: Some(0.95), ..GateRule::default() };
    let seeds = 0..20;
    let verdicts: Vec<Verdict> = seeds
        .map(|seed| {
            let options = MetricOptions { seed, resamples: 51, ..MetricOptions::default() };
            judge(&[("roc_auc".to_owned(), rule.clone())], &good, Some(&bad), &options).unwrap().verdict
        })
        .collect();
    assert!(verdicts.contains(&Verdict::Inconclusive), "{verdicts:?}");
}

#[test]
fn different_rows_are_not_compared() {
    let (labels, outputs) = classes(5);
    let others: Vec<f64> = labels.iter().map(|label| 1.0 - label).collect();
    let (model, other) = (predictions(Task::Binary, &labels, &outputs), predictions(Task::Binary, &others, &outputs));
    let error = compare(&model, &other, &MetricOptions::default(), None).unwrap_err();
    assert_eq!(error.message(), "the models were not measured on the same rows: labels differ");
    let days = vec![1; labels.len()];
    let dated = Predictions { days: Some(&days), ..model };
    let weights = vec![2.0; labels.len()];
    let weighted = Predictions { weights: Some(&weights), ..model };
    let error = compare(&model, &weighted, &MetricOptions::default(), None).unwrap_err();
    assert!(error.message().ends_with("weights differ"), "{error}");
    assert!(compare(&model, &dated, &MetricOptions::default(), None).unwrap_err().message().ends_with("days differ"));
}

#[test]
fn senseless_rules_are_refused() {
    let (labels, outputs) = classes(5);
    let model = predictions(Task::Binary, &labels, &outputs);
    let bad = [
        ("a gate rule asks for nothing", GateRule { confidence: Some(0.95), ..GateRule::default() }),
        ("value out of range", GateRule { threshold: Some(f64::NAN), ..GateRule::default() }),
        ("value out of range", GateRule { min_absolute_change: Some(-0.1), ..GateRule::default() }),
        ("value out of range", GateRule { threshold: Some(0.5), confidence: Some(95.0), ..GateRule::default() }),
    ];
    for (message, rule) in bad {
        let error = judge(&[("roc_auc".to_owned(), rule)], &model, None, &MetricOptions::default()).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Usage, message));
    }
    assert!(serde_json::from_str::<GateRule>(r#"{"treshold": 0.8}"#).is_err());
    let none = judge(&[], &model, None, &MetricOptions::default()).unwrap();
    assert_eq!((none.verdict, none.rules.len()), (Verdict::Better, 0));
}
