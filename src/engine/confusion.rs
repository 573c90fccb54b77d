//! Which classes are taken for which, by their names.

use crate::metrics::ConfusionMatrix;
use serde::{Deserialize, Serialize};

/// A confusion matrix that says what its rows and columns are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// The classes' names, in the order of the rows and of the columns.
    pub classes: Vec<String>,
    /// `counts[actual][predicted]`, classes x classes; the rows' weights, plain counts where they have none.
    pub counts: Vec<Vec<f64>>,
}

impl Confusion {
    /// The matrix of a model whose outputs mean `classes`.
    pub fn of(classes: &[String], matrix: &ConfusionMatrix) -> Self {
        Self { classes: classes.to_vec(), counts: matrix.counts.clone() }
    }
}
