//! What XGBoost does with raw scores and with `base_score`, by its objective (`PredTransform`, `ProbToMargin`).

use super::{Document, damaged, unsupported};
use crate::error::Result;
use crate::models::Link;
use crate::task::Task;

/// The objective of a model.
pub(super) struct Objective {
    pub name: String,
    pub task: Task,
    pub link: Link,
    /// What somebody should know.
    pub note: Option<&'static str>,
}

impl Objective {
    /// The objective that the file names, of a model with so many classes.
    pub fn parse(written: &Document, classes: usize) -> Result<Self> {
        let name = written.text("name")?;
        let ranking = Some("a ranking: scores compare");
        let (task, link, note) = match name.as_str() {
            "binary:logistic" => (Task::Binary, Link::Logistic, None),
            "binary:hinge" => (Task::Binary, Link::Step, Some("the prediction is the class, 0 or 1")),
            "binary:logitraw" => {
                (Task::Regression, Link::Identity, Some("the prediction is a raw score, not a probability"))
            }
            "reg:logistic" => (Task::Regression, Link::Logistic, None),
            "reg:squarederror"
            | "reg:linear"
            | "reg:squaredlogerror"
            | "reg:pseudohubererror"
            | "reg:absoluteerror"
            | "reg:quantileerror" => (Task::Regression, Link::Identity, None),
            "count:poisson" | "reg:gamma" | "reg:tweedie" => (Task::Regression, Link::Exponential, None),
            "survival:cox" => (Task::Regression, Link::Exponential, Some("the prediction is a hazard ratio")),
            "survival:aft" => (Task::Regression, Link::Exponential, Some("the prediction is a survival time")),
            "rank:pairwise" | "rank:ndcg" | "rank:map" => (Task::Regression, Link::Identity, ranking),
            "multi:softprob" => (Task::Multiclass, Link::Softmax, None),
            "multi:softmax" => {
                let note = "XGBoost gives the class alone; here each class has its probability, and the class follows";
                (Task::Multiclass, Link::Softmax, Some(note))
            }
            _ => return Err(unsupported(format!("XGBoost's objective `{name:.60}`"))),
        };
        if (task == Task::Multiclass) != (classes > 1) {
            return Err(damaged("its objective does not fit its classes")
                .with("objective", name)
                .with("classes", classes));
        }
        Ok(Self { name, task, link, note })
    }

    /// The raw score that stands for a base score.
    pub fn margin(&self, score: f32) -> f32 {
        match self.link {
            Link::Logistic => -(1.0 / score - 1.0).ln(),
            Link::Exponential => score.ln(),
            _ => score,
        }
    }
}
