//! What a model predicts. The word is shared by the job file, the algorithms and the metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of label, and with it the shape of a prediction.
///
/// Labels are `f64` everywhere: 0 or 1 for [`Task::Binary`], the class's index for
/// [`Task::Multiclass`], the value itself for [`Task::Regression`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Two classes; one output, the probability of the positive class.
    Binary,
    /// K classes; K outputs, the probability of each class.
    Multiclass,
    /// A number; one output, the number itself.
    Regression,
}

impl Task {
    /// The word as it stands in a job file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Multiclass => "multiclass",
            Self::Regression => "regression",
        }
    }

    /// How many numbers a model gives for a row, when the label has `classes` classes.
    pub const fn outputs(self, classes: usize) -> usize {
        match self {
            Self::Binary | Self::Regression => 1,
            Self::Multiclass => classes,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
