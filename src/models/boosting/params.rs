//! What can be set.

use super::split::{CategoryRules, SplitRules};
use crate::error::{Error, Result};
use crate::models::params::{Checked, must};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is minimised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Objective {
    /// What the task asks for: the logistic loss, that of the softmax, or the squared error.
    #[default]
    Auto,
    /// Regression: the squared error; predicts the mean.
    Squared,
    /// Regression: the absolute error; predicts the median.
    Absolute,
    /// Regression of counts: labels of at least 0; predicts the mean, which is above 0.
    Poisson,
    /// Regression: predicts the quantile `alpha`.
    Quantile,
}

/// What can be set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct BoostingParams {
    /// Rounds of boosting: trees (for each class, where there are several).
    #[schemars(range(min = 1, max = 100_000))]
    pub trees: usize,
    /// By how much each tree's outputs are multiplied.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// Leaves of a tree, at most.
    #[schemars(range(min = 2, max = 65_536))]
    pub leaves: usize,
    /// Splits from the root to a leaf, at most.
    #[schemars(range(min = 1, max = 1000))]
    pub max_depth: u32,
    /// Rows that a leaf must have.
    #[schemars(range(min = 1))]
    pub min_samples_leaf: u64,
    /// The sum of hessians that a leaf must have.
    #[schemars(range(min = 0))]
    pub min_child_weight: f64,
    /// L1 penalty on leaf outputs.
    #[schemars(range(min = 0))]
    pub l1: f64,
    /// L2 penalty on leaf outputs.
    #[schemars(range(min = 0))]
    pub l2: f64,
    /// The least gain for which a leaf is split.
    #[schemars(range(min = 0))]
    pub min_split_gain: f64,
    /// The share of rows, drawn anew each round, that its trees are grown on.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub subsample: f64,
    /// The share of features, drawn anew for each tree, that it may split by.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub colsample: f64,
    /// What is minimised.
    pub objective: Objective,
    /// The quantile that `objective = "quantile"` predicts.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub alpha: f64,
    /// Features with which predictions may only rise (1) or only fall (-1): `{ amount = 1 }`.
    pub monotone: BTreeMap<String, i8>,
    /// The share of training rows, the latest in time, that are kept from the trees and watched: training
    /// ends when their loss has not fallen for `early_stopping_rounds`, with the best round. 0: none.
    #[schemars(range(min = 0, max = 0.5))]
    pub validation: f64,
    /// Rounds without a better loss of the watched rows, after which training ends.
    #[schemars(range(min = 1))]
    pub early_stopping_rounds: usize,
    /// Categories with at most so many levels are split one against the rest.
    pub max_cat_to_onehot: usize,
    /// Levels on one side of a split by category, at most.
    #[schemars(range(min = 1))]
    pub max_cat_threshold: usize,
    /// Levels with fewer rows are left out of splits by category; also smooths their order.
    #[schemars(range(min = 0))]
    pub cat_smooth: f64,
    /// L2 penalty that is added for splits by category.
    #[schemars(range(min = 0))]
    pub cat_l2: f64,
    /// Rows of a group of levels.
    pub min_data_per_group: u64,
}

impl Default for BoostingParams {
    fn default() -> Self {
        Self {
            trees: 100,
            learning_rate: 0.1,
            leaves: 31,
            max_depth: 1000,
            min_samples_leaf: 20,
            min_child_weight: 1e-3,
            l1: 0.0,
            l2: 0.0,
            min_split_gain: 0.0,
            subsample: 1.0,
            colsample: 1.0,
            objective: Objective::Auto,
            alpha: 0.5,
            monotone: BTreeMap::new(),
            validation: 0.0,
            early_stopping_rounds: 20,
            max_cat_to_onehot: 4,
            max_cat_threshold: 32,
            cat_smooth: 10.0,
            cat_l2: 10.0,
            min_data_per_group: 100,
        }
    }
}

impl Checked for BoostingParams {
    fn check(&self) -> Result<()> {
        let share = |name, value: f64| must(name, value, value > 0.0 && value <= 1.0, "above 0 and at most 1");
        let least = |name, value: f64| must(name, value, value >= 0.0 && value.is_finite(), "a number of at least 0");
        must("trees", self.trees, (1..=100_000).contains(&self.trees), "between 1 and 100000")?;
        share("learning_rate", self.learning_rate)?;
        must("leaves", self.leaves, (2..=65_536).contains(&self.leaves), "between 2 and 65536")?;
        must("max_depth", self.max_depth, (1..=1000).contains(&self.max_depth), "between 1 and 1000")?;
        must("min_samples_leaf", self.min_samples_leaf, self.min_samples_leaf >= 1, "at least 1")?;
        least("min_child_weight", self.min_child_weight)?;
        least("l1", self.l1)?;
        least("l2", self.l2)?;
        least("min_split_gain", self.min_split_gain)?;
        share("subsample", self.subsample)?;
        share("colsample", self.colsample)?;
        must("alpha", self.alpha, self.alpha > 0.0 && self.alpha < 1.0, "between 0 and 1")?;
        must("validation", self.validation, (0.0..=0.5).contains(&self.validation), "between 0 and 0.5")?;
        let rounds = self.early_stopping_rounds;
        must("early_stopping_rounds", rounds, rounds >= 1, "at least 1")?;
        must("max_cat_threshold", self.max_cat_threshold, self.max_cat_threshold >= 1, "at least 1")?;
        least("cat_smooth", self.cat_smooth)?;
        least("cat_l2", self.cat_l2)?;
        self.check_monotone()
    }
}

impl BoostingParams {
    fn check_monotone(&self) -> Result<()> {
        if let Some((name, direction)) = self.monotone.iter().find(|(_, direction)| !(-1..=1).contains(*direction)) {
            return Err(Error::usage("must be 1, -1 or 0 for each feature")
                .with("parameter", "monotone")
                .with("feature", name)
                .with("value", direction));
        }
        let moves = self.monotone.values().any(|direction| *direction != 0);
        if moves && matches!(self.objective, Objective::Absolute | Objective::Quantile) {
            // Their leaves take quantiles of residuals, which know nothing of bounds.
            return Err(Error::usage("monotone constraints cannot be held with this objective")
                .with("parameter", "monotone")
                .hint("leave `monotone` out, or use objective = \"squared\" or \"poisson\""));
        }
        Ok(())
    }

    /// What a split must hold to.
    pub fn rules(&self) -> SplitRules {
        SplitRules {
            min_rows: self.min_samples_leaf,
            min_hessian: self.min_child_weight,
            l1: self.l1,
            l2: self.l2,
            min_gain: self.min_split_gain,
            constrained: self.monotone.values().any(|direction| *direction != 0),
            categories: CategoryRules {
                one_against_rest: self.max_cat_to_onehot,
                max_members: self.max_cat_threshold,
                smooth: self.cat_smooth,
                l2: self.cat_l2,
                min_group: self.min_data_per_group,
            },
        }
    }
}
