//! What LightGBM does with raw scores, by its objective (`ConvertOutput` of each).

use super::{damaged, shown, unsupported};
use crate::error::Result;
use crate::models::Link;
use crate::task::Task;

/// The objective of a model.
pub(super) struct Objective {
    /// As it stands in the file.
    pub written: String,
    pub task: Task,
    pub link: Link,
    /// What each leaf is multiplied by: the steepness of the logistic function.
    pub factor: f64,
    /// What somebody should know.
    pub note: Option<&'static str>,
}

impl Objective {
    /// Reads the objective of a model with so many trees a round.
    pub fn parse(written: &str, outputs: usize) -> Result<Self> {
        let mut words = written.split_ascii_whitespace();
        let name = words.next().unwrap_or("");
        let words: Vec<&str> = words.collect();
        let sigmoid = words.iter().find_map(|word| word.strip_prefix("sigmoid:"));
        let sigmoid = sigmoid.map_or(Ok(1.0), str::parse::<f64>);
        let factor = sigmoid.ok().filter(|factor| factor.is_finite() && *factor > 0.0);
        let factor = factor.ok_or_else(|| damaged("the objective's sigmoid is no positive number"))?;
        let root = words.contains(&"sqrt");
        let (task, link, factor, note) = match name {
            "binary" => (Task::Binary, Link::Logistic, factor, None),
            "cross_entropy" | "xentropy" => (Task::Binary, Link::Logistic, 1.0, None),
            "cross_entropy_lambda" | "xentlambda" => (Task::Regression, Link::Softplus, 1.0, None),
            "multiclass" | "softmax" => (Task::Multiclass, Link::Softmax, 1.0, None),
            "multiclassova" | "multiclass_ova" | "ova" | "ovr" => {
                let note = "each class has its own probability (one against the rest); they do not add up to 1";
                (Task::Multiclass, Link::Logistic, factor, Some(note))
            }
            "regression" | "regression_l2" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" => {
                (Task::Regression, if root { Link::SignedSquare } else { Link::Identity }, 1.0, None)
            }
            "poisson" | "gamma" | "tweedie" => (Task::Regression, Link::Exponential, 1.0, None),
            "lambdarank" | "rank_xendcg" => (Task::Regression, Link::Identity, 1.0, Some("a ranking: scores compare")),
            // A loss of the user's own: LightGBM gives raw scores, and so do we.
            "" | "custom" | "none" | "null" => {
                let task = if outputs == 1 { Task::Regression } else { Task::Multiclass };
                (task, Link::Identity, 1.0, Some("the objective was the user's own: predictions are raw scores"))
            }
            _ => return Err(unsupported(format!("LightGBM's objective {}", shown(name)))),
        };
        if (task == Task::Multiclass) != (outputs > 1) {
            return Err(damaged("its objective does not fit its trees")
                .with("objective", shown(written))
                .with("trees a round", outputs));
        }
        let written = if written.is_empty() { "none" } else { written };
        Ok(Self { written: written.chars().take(200).collect(), task, link, factor, note })
    }
}
