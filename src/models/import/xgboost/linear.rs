//! `gblinear`: a linear model; a missing value adds nothing.

use super::{Booster, Shape, damaged};
use crate::error::Result;
use crate::models::import::document::Document;
use crate::models::{Form, Linear, Operation, Preparation, Step};

/// The linear booster: weights feature by feature, in each the outputs, the intercepts last.
pub(super) fn read(booster: &Document, shape: &Shape) -> Result<Booster> {
    let weights = booster.need("model")?.numbers("weights")?;
    let (features, outputs) = (shape.features, shape.outputs);
    if weights.len() != (features + 1) * outputs {
        return Err(damaged("its number of weights does not fit its features").with("weights", weights.len()));
    }
    if weights.iter().any(|weight| !weight.is_finite()) {
        return Err(damaged("a weight is not finite"));
    }
    let weight = |feature: usize, output: usize| f64::from(weights[feature * outputs + output] as f32);
    let linear = Linear {
        coefficients: (0..outputs)
            .map(|output| (0..features).map(|feature| weight(feature, output)).collect())
            .collect(),
        // XGBoost takes the base score of the first output for all of them here (3.2).
        intercepts: (0..outputs).map(|output| weight(features, output) + shape.base[0]).collect(),
    };
    let fill = |feature: u32| Step::Each { from: feature, operation: Operation::Fill(0.0) };
    let count = features as u32;
    let preparation = Preparation::new(features, (0..count).map(fill).collect(), (count..2 * count).collect())?;
    Ok(Booster { form: Form::Linear(linear), preparation: Some(preparation), facts: Vec::new(), notes: Vec::new() })
}
