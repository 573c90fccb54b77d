//! How large the models of a training with segments can be, before it is known how many segments there are.
//!
//! No more segments have models than `rows / segment_min_rows`. A tree has at most `leaves` leaves (or two to the
//! power of `max_depth`), and its leaves at least `min_samples_leaf` rows each, so that a round of trees over all
//! segments has no more than `rows / min_samples_leaf` leaves however the rows are spread: that bounds what many small
//! segments take. Parameters that the job does not give have the algorithm's defaults. Several classes, whose number
//! only the rows tell, are taken for three. A bound, and what is there is less: half of it with segments of five times
//! `segment_min_rows`.

use crate::error::Result;
use crate::job::ModelSpec;
use crate::models;
use crate::task::Task;
use serde_json::Value;

/// A leaf, and a split for almost each of them, in memory and in a payload.
const LEAF_BYTES: (u64, u64) = (40, 32);
/// A tree beside them: its lists and what the allocator adds to each; its offsets.
const TREE_BYTES: (u64, u64) = (112, 44);
/// A coefficient.
const COEFFICIENT_BYTES: (u64, u64) = (8, 8);
/// An output of a linear model beside them.
const OUTPUT_BYTES: (u64, u64) = (72, 24);
/// A segment's model beside its numbers: its key, its place, its name.
const MODEL_BYTES: (u64, u64) = (512, 128);
/// What several classes are taken for.
const CLASSES: u64 = 3;

/// The models of all segments together, in bytes; zeros for a job without segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelSizes {
    /// As predictors.
    pub held: u64,
    /// As a payload.
    pub payload: u64,
    /// How many segments have models of their own.
    pub segments: u64,
}

/// So many of something.
type Count = (u64, (u64, u64));

impl ModelSizes {
    /// At their most, for a job whose features SQL gives so many rows of so many columns.
    ///
    /// # Errors
    /// An algorithm that does not exist.
    pub fn of(model: &ModelSpec, rows: u64, columns: u64) -> Result<Self> {
        if model.segment_columns().is_empty() {
            return Ok(Self::default());
        }
        let schema = models::lookup(&model.algorithm)?.params_schema().to_value();
        let number = |name: &str| {
            let default = || schema.get("properties")?.get(name)?.get("default");
            model.params.get(name).or_else(default).and_then(Value::as_u64)
        };
        let segments = rows / model.least_segment_rows().max(1);
        let all = segments + 1;
        let outputs = if model.task == Task::Multiclass { CLASSES } else { 1 };
        let deepest = number("max_depth").map(|depth| {
            let leaves = u32::try_from(depth).ok().and_then(|depth| 1_u64.checked_shl(depth));
            leaves.unwrap_or(u64::MAX)
        });
        let leaves = match (number("leaves"), deepest) {
            (Some(leaves), Some(deepest)) => Some(leaves.min(deepest)),
            (leaves, deepest) => leaves.or(deepest),
        };
        let counts: [Count; 3] = match leaves {
            Some(leaves) => {
                let trees = number("trees").unwrap_or(1).saturating_mul(outputs);
                let within = rows / number("min_samples_leaf").unwrap_or(1).max(1);
                // Those of the segments together, and those of the fallback.
                let of_a_round = segments.saturating_mul(leaves).min(within).saturating_add(leaves.min(within));
                let leaves = trees.saturating_mul(of_a_round);
                [(leaves, LEAF_BYTES), (trees.saturating_mul(all), TREE_BYTES), (all, MODEL_BYTES)]
            }
            None => {
                let outputs = all.saturating_mul(outputs);
                [(outputs.saturating_mul(columns), COEFFICIENT_BYTES), (outputs, OUTPUT_BYTES), (all, MODEL_BYTES)]
            }
        };
        let sum = |of: fn((u64, u64)) -> u64| {
            counts.iter().fold(0_u64, |sum, (count, bytes)| sum.saturating_add(count.saturating_mul(of(*bytes))))
        };
        Ok(Self { held: sum(|bytes| bytes.0), payload: sum(|bytes| bytes.1), segments })
    }

    /// The predictors of a training: one, and one for each fold of a cross-validation.
    pub fn held_with_folds(self, model: &ModelSpec) -> u64 {
        self.held.saturating_mul(1 + u64::from(model.folds.unwrap_or(0)))
    }

    /// What registering them takes at its most: predictor and columns; then columns, the body of the file and the file;
    /// then the file and the predictor that is loaded from it.
    pub fn registering(self) -> u64 {
        self.held.saturating_add(self.payload).max(self.payload.saturating_mul(3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn model(algorithm: &str, changes: Value) -> ModelSpec {
        let mut spec = json!({
            "task": "binary", "algorithm": algorithm, "window": "1d", "split": { "by": "time", "test": "1d" },
            "segment_by": "region",
        });
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn sizes(algorithm: &str, changes: Value, rows: u64) -> ModelSizes {
        ModelSizes::of(&model(algorithm, changes), rows, 14).unwrap()
    }

    fn is_near(predicted: u64, needed: u64) -> bool {
        (needed / 2..=needed * 2).contains(&predicted)
    }

    #[test]
    fn boosted_segments_are_predicted_within_a_factor_of_two() {
        // 2,000 segments of 500 rows, 100 trees of 17.8 leaves each: 126 MB of payload, as measured.
        let (trees, leaves) = (200_000, 3_560_000);
        let predicted = sizes("gradient_boosting", json!({}), 1_000_000);
        let needed = ModelSizes { held: leaves * 40 + trees * 112 + (1 << 20), payload: 126_000_000, segments: 2000 };
        assert!(is_near(predicted.held, needed.held), "{predicted:?} {needed:?}");
        assert!(is_near(predicted.payload, needed.payload), "{predicted:?} {needed:?}");
        assert!(is_near(predicted.registering(), needed.registering()), "{predicted:?} {needed:?}");
    }

    #[test]
    fn linear_segments_are_predicted_by_their_number() {
        // The most that there can be: 10,000 segments of 100 rows.
        let predicted = sizes("logistic_regression", json!({}), 1_000_000);
        assert!(is_near(predicted.payload, 10_000 * (14 * 8 + 24 + 90)), "{predicted:?}");
    }

    #[test]
    fn what_makes_models_larger_raises_the_prediction() {
        let boosting = |changes: Value| sizes("gradient_boosting", changes, 1_000_000);
        let usual = boosting(json!({}));
        let larger = [
            sizes("gradient_boosting", json!({}), 2_000_000),
            boosting(json!({ "segment_min_rows": 50 })),
            boosting(json!({ "params": { "trees": 200 } })),
            boosting(json!({ "params": { "min_samples_leaf": 5 } })),
            boosting(json!({ "task": "multiclass" })),
            sizes("random_forest", json!({}), 1_000_000),
            sizes("random_forest", json!({ "params": { "max_depth": 64 } }), 1_000_000),
        ];
        assert!(larger.iter().all(|own| own.held > usual.held && own.payload > usual.payload), "{larger:?} {usual:?}");
        let smaller = [
            boosting(json!({ "segment_min_rows": 1000 })),
            boosting(json!({ "params": { "leaves": 3 } })),
            boosting(json!({ "params": { "max_depth": 2 } })),
            sizes("decision_tree", json!({}), 1_000_000),
        ];
        assert!(
            smaller.iter().all(|own| own.held < usual.held && own.payload < usual.payload),
            "{smaller:?} {usual:?}"
        );
        let alone: ModelSpec = model("gradient_boosting", json!({ "segment_by": null }));
        assert_eq!(ModelSizes::of(&alone, 1_000_000, 14).unwrap(), ModelSizes::default());
        let folds = model("gradient_boosting", json!({ "folds": 4 }));
        assert_eq!(usual.held_with_folds(&folds), 5 * usual.held);
        assert_eq!(sizes("gradient_boosting", json!({}), u64::MAX).registering(), u64::MAX);
    }
}
