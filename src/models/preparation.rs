//! What is done to a row's features before a form computes scores of them: the steps of an imported pipeline.
//!
//! Steps work on whole columns. The features are the first columns; each step appends one column, or as many as it
//! reads, and reads only columns before its own. What a step computes in `f32` it computes in `f32` here too, operation
//! by operation, because a threshold that follows may stand exactly on a rounded value.

use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use serde::{Deserialize, Serialize};

/// Values that are worked out at a time: rows times columns; 4 MiB.
const STRETCH_VALUES: usize = 512 * 1024;
/// No pipeline makes more columns, so that the fewest rows that are worked out at a time fit into memory.
const MOST_COLUMNS: usize = 1 << 17;

/// Steps from the features of a row to the inputs of a form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// How many features a row has.
    features: usize,
    steps: Vec<Step>,
    /// The columns that the form gets, in its order.
    inputs: Vec<u32>,
}

/// One step; it appends its results behind the columns that are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// One column from one column, value by value.
    Each {
        /// The column that is read.
        from: u32,
        /// What is done to each value.
        operation: Operation,
    },
    /// As many columns as are read, each row divided by its own norm, in `f32`; a row of norm 0 stays as it is.
    Normalise {
        /// The columns that are read.
        from: Vec<u32>,
        /// What the row is divided by.
        norm: Norm,
    },
}

/// What is done to each value of a column. NaN is a missing value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// The nearest `f32`.
    Single,
    /// The whole number nearest to it on the side of zero.
    Truncate,
    /// `(value - offset) * scale` in `f32`.
    Scale {
        /// What is taken away.
        offset: f32,
        /// What the difference is multiplied by.
        scale: f32,
    },
    /// The value and a constant.
    Compute {
        /// What is done with the two.
        how: Arithmetic,
        /// The constant.
        with: f64,
        /// Whether it is done in `f64`; else in `f32`.
        double: bool,
    },
    /// A missing value becomes this.
    Fill(f64),
    /// This value becomes another.
    Replace {
        /// What is replaced.
        value: f64,
        /// What stands in its place.
        by: f64,
    },
    /// 1 for values above the threshold, else 0.
    Above(f64),
    /// 1 for this value, else 0.
    Equals(f64),
    /// What the list says of the value.
    Lookup(Lookup),
}

/// What is done with a value and a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    /// Their sum.
    Add,
    /// Their product.
    Multiply,
    /// The value over the constant.
    Divide,
}

/// A list of values and what stands for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// Ascending, each once.
    pub keys: Vec<f64>,
    /// One for each key; `None` is a missing value.
    pub values: Vec<Option<f64>>,
    /// For what is not in the list.
    pub other: Option<f64>,
    /// For a missing value.
    pub missing: Option<f64>,
}

/// The length of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// The sum of absolute values.
    L1,
    /// The root of the sum of squares.
    L2,
    /// The largest value.
    Max,
}

impl Preparation {
    /// Steps from `features` columns to the `inputs` of a form, checked.
    ///
    /// # Errors
    /// A column that is not there when it is read, a number that is not finite, a list that is not sorted.
    pub fn new(features: usize, steps: Vec<Step>, inputs: Vec<u32>) -> Result<Self> {
        let preparation = Self { features, steps, inputs };
        preparation.check()?;
        Ok(preparation)
    }

    /// How many features a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// How many numbers the form gets of each row.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Checks everything that [`apply`](Self::apply) relies on; a stored one may have been altered.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::verification(format!("the preparation of a model is broken: {what}")));
        let mut columns = self.features;
        for step in &self.steps {
            let (from, added) = match step {
                Step::Each { from, operation } => {
                    if !operation.is_sound() {
                        return wrong("a number of a step is not finite, or a list is not sorted");
                    }
                    (std::slice::from_ref(from), 1)
                }
                Step::Normalise { from, .. } => (from.as_slice(), from.len()),
            };
            if from.iter().any(|column| *column as usize >= columns) {
                return wrong("a step reads a column that is not there");
            }
            columns = columns.saturating_add(added);
            if columns > MOST_COLUMNS {
                return wrong("it makes too many columns");
            }
        }
        if self.inputs.is_empty() || self.inputs.iter().any(|column| *column as usize >= columns) {
            return wrong("the form gets a column that is not there");
        }
        Ok(())
    }

    /// How many rows are worked out at a time.
    pub(super) fn stretch(&self) -> usize {
        let columns = self.features + self.steps.iter().map(Step::columns).sum::<usize>();
        (STRETCH_VALUES / columns.max(1)).clamp(64, 4096)
    }

    /// The form's inputs for `count` rows of `block` from `start` on. The block has [`features`](Self::features)
    /// features.
    pub(super) fn apply(&self, block: &FeatureBlock, start: usize, count: usize) -> FeatureBlock {
        let added: usize = self.steps.iter().map(Step::columns).sum();
        let mut columns = FeatureBlock::zeros(count, self.features + added);
        for feature in 0..self.features {
            columns.column_mut(feature).copy_from_slice(&block.column(feature)[start..start + count]);
        }
        let mut next = self.features;
        for step in &self.steps {
            match step {
                Step::Each { from, operation } => {
                    let values: Vec<f64> = columns.column(*from as usize).to_vec();
                    for (to, value) in columns.column_mut(next).iter_mut().zip(values) {
                        *to = operation.of(value);
                    }
                }
                Step::Normalise { from, norm } => normalise(&mut columns, from, *norm, next),
            }
            next += step.columns();
        }
        let inputs: Vec<&[f64]> = self.inputs.iter().map(|column| columns.column(*column as usize)).collect();
        FeatureBlock::from_columns(count, &inputs)
    }
}

impl Step {
    /// How many columns it appends.
    fn columns(&self) -> usize {
        match self {
            Self::Each { .. } => 1,
            Self::Normalise { from, .. } => from.len(),
        }
    }
}

impl Operation {
    fn is_sound(&self) -> bool {
        match self {
            Self::Single | Self::Truncate => true,
            Self::Scale { offset, scale } => offset.is_finite() && scale.is_finite(),
            Self::Compute { with: number, .. } => number.is_finite(),
            Self::Fill(number) | Self::Above(number) | Self::Equals(number) => number.is_finite(),
            Self::Replace { value, by } => value.is_finite() && by.is_finite(),
            Self::Lookup(lookup) => lookup.is_sound(),
        }
    }

    fn of(&self, value: f64) -> f64 {
        match self {
            Self::Single => f64::from(value as f32),
            Self::Truncate => value.trunc(),
            Self::Scale { offset, scale } => f64::from((value as f32 - offset) * scale),
            Self::Compute { how, with, double: true } => how.of(value, *with),
            Self::Compute { how, with, double: false } => f64::from(how.of(value as f32, *with as f32)),
            Self::Fill(fill) => {
                if value.is_nan() {
                    *fill
                } else {
                    value
                }
            }
            Self::Replace { value: old, by } => {
                if value == *old {
                    *by
                } else {
                    value
                }
            }
            Self::Above(threshold) => f64::from(u8::from(value > *threshold)),
            Self::Equals(wanted) => f64::from(u8::from(value == *wanted)),
            Self::Lookup(lookup) => lookup.of(value).unwrap_or(f64::NAN),
        }
    }
}

impl Arithmetic {
    fn of<T>(self, value: T, with: T) -> T
    where
        T: std::ops::Add<Output = T> + std::ops::Mul<Output = T> + std::ops::Div<Output = T>,
    {
        match self {
            Self::Add => value + with,
            Self::Multiply => value * with,
            Self::Divide => value / with,
        }
    }
}

impl Lookup {
    fn is_sound(&self) -> bool {
        let values = self.values.iter().chain([&self.other, &self.missing]);
        self.keys.len() == self.values.len()
            && self.keys.iter().all(|key| key.is_finite())
            && self.keys.windows(2).all(|pair| pair[0] < pair[1])
            && values.flatten().all(|value| value.is_finite())
    }

    fn of(&self, value: f64) -> Option<f64> {
        if value.is_nan() {
            return self.missing;
        }
        match self.keys.binary_search_by(|key| key.total_cmp(&(value + 0.0))) {
            Ok(place) => self.values[place],
            Err(_) => self.other,
        }
    }
}

fn normalise(columns: &mut FeatureBlock, from: &[u32], norm: Norm, to: usize) {
    for row in 0..columns.rows() {
        let values = from.iter().map(|column| columns.value(row, *column as usize) as f32);
        let length = match norm {
            Norm::L1 => values.fold(0.0, |sum, value| sum + value.abs()),
            Norm::L2 => values.fold(0.0, |sum: f32, value| sum + value * value).sqrt(),
            Norm::Max => values.fold(f32::NEG_INFINITY, f32::max),
        };
        for (place, column) in from.iter().enumerate() {
            let value = columns.value(row, *column as usize) as f32;
            columns.column_mut(to + place)[row] = f64::from(if length == 0.0 { value } else { value / length });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(from: u32, operation: Operation) -> Step {
        Step::Each { from, operation }
    }

    #[test]
    fn steps_read_what_earlier_ones_made() {
        let lookup =
            Lookup { keys: vec![0.0, 7.0], values: vec![Some(1.0), None], other: Some(-1.0), missing: Some(5.0) };
        let steps = vec![
            each(0, Operation::Fill(2.5)),
            each(1, Operation::Scale { offset: 0.5, scale: 2.0 }),
            each(0, Operation::Lookup(lookup)),
            Step::Normalise { from: vec![2, 2], norm: Norm::L1 },
        ];
        let preparation = Preparation::new(1, steps, vec![2, 3, 4]).unwrap();
        let block = FeatureBlock::from_columns(4, &[vec![f64::NAN, 0.5, 7.0, -0.0]]);
        let made = preparation.apply(&block, 0, 4);
        assert_eq!(made.column(0), [4.0, 0.0, 13.0, -1.0]);
        assert!(made.column(1)[2].is_nan());
        assert_eq!([made.column(1)[0], made.column(1)[1], made.column(1)[3]], [5.0, -1.0, 1.0]);
        assert_eq!(made.column(2), [0.5, 0.0, 0.5, -0.5]);
        assert_eq!(preparation.apply(&block, 1, 2).column(0), [0.0, 13.0]);
    }

    #[test]
    fn single_precision_is_kept_to() {
        let scale = Operation::Scale { offset: 0.1, scale: 3.0 };
        assert_eq!(scale.of(0.7), f64::from((0.7f32 - 0.1f32) * 3.0f32));
        let third = |double| Operation::Compute { how: Arithmetic::Divide, with: 3.0, double }.of(1.0);
        assert_eq!([third(true), third(false)], [1.0 / 3.0, f64::from(1.0f32 / 3.0f32)]);
        assert_eq!(Operation::Single.of(0.1), f64::from(0.1f32));
        assert_eq!(Operation::Truncate.of(-1.7), -1.0);
    }

    #[test]
    fn what_is_broken_is_refused() {
        let unsorted = Lookup { keys: vec![1.0, 1.0], values: vec![None, None], other: None, missing: None };
        let wrong = [
            (vec![each(1, Operation::Single)], vec![0]),
            (vec![each(0, Operation::Fill(f64::NAN))], vec![0]),
            (vec![each(0, Operation::Lookup(unsorted))], vec![0]),
            (vec![Step::Normalise { from: vec![3], norm: Norm::Max }], vec![0]),
            (vec![], vec![1]),
            (vec![], vec![]),
        ];
        for (steps, inputs) in wrong {
            assert!(Preparation::new(1, steps, inputs).is_err());
        }
        let norm = Step::Normalise { from: vec![0; 5], norm: Norm::L1 };
        assert!(Preparation::new(usize::MAX, vec![norm], vec![0]).is_err(), "more columns than can be counted");
    }
}
