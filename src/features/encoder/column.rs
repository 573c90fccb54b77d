//! What was learned about one column, and which features it gives.

use super::levels::Levels;
use crate::error::{Error, Result};
use crate::features::signature::ColumnKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How one column of the signature is encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "encoding", rename_all = "snake_case", deny_unknown_fields)]
pub enum FittedColumn {
    /// A numeric or boolean column.
    Number {
        /// The training rows' median, put in place of what is missing.
        fill: f64,
        /// Whether the value is a feature; not so where training had one value only.
        value: bool,
        /// Whether being missing is a feature; so where training had missing values.
        missing: bool,
    },
    /// A category, one feature a level.
    Category {
        /// The levels, sorted by name.
        levels: Levels,
        /// Whether null is a level of its own, behind the others.
        null_level: bool,
        /// What was cut because there were more than `max_categories` levels.
        folded: Folded,
    },
    /// A numeric or boolean column as it is, missing values as NaN (native encoding).
    Native {
        /// Whether an infinite value is a value like any other; if not, it rejects its row. So for models of
        /// other libraries alone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        infinite: bool,
    },
    /// A category as the index of its level, null as NaN, and whatever is no level as the number of levels
    /// (native encoding).
    Codes {
        /// The levels, in the order of their codes.
        levels: Levels,
        /// What shares the code of values never seen, because there were too many levels.
        #[serde(default)]
        folded: Folded,
    },
    /// A column that names a row's segment: what chooses the model, and no feature. A text is the index of its level
    /// and whatever is no level their number; null is NaN.
    Route {
        /// The levels of a text column, sorted by name; none where the column is a number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        levels: Option<Levels>,
    },
    /// A column without use for a model.
    Dropped {
        /// Why.
        reason: Dropped,
    },
}

/// What an algorithm wants to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Numbers alone: what is missing is filled in, a category has one feature a level.
    Dense,
    /// One feature a column: NaN where a value is missing, a category as the code of its level.
    Native,
}

/// Levels that share "all zero", or one code, because there were too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folded {
    /// How many levels.
    pub levels: u64,
    /// How many training rows have one of them.
    pub rows: u64,
}

/// Why a column gives no feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropped {
    /// The training rows have no value at all.
    AllNull,
    /// The training rows all have the same value.
    Constant,
}

impl fmt::Display for Dropped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::AllNull => "it has no value in the training rows",
            Self::Constant => "it has the same value in all training rows",
        })
    }
}

impl FittedColumn {
    /// How many features the column gives.
    pub fn features(&self) -> usize {
        match self {
            Self::Number { value, missing, .. } => usize::from(*value) + usize::from(*missing),
            Self::Category { levels, null_level, .. } => levels.names().len() + usize::from(*null_level),
            Self::Native { .. } | Self::Codes { .. } | Self::Route { .. } => 1,
            Self::Dropped { .. } => 0,
        }
    }

    /// The features' names for a column called `name`.
    pub(super) fn feature_names(&self, name: &str) -> Vec<String> {
        match self {
            Self::Number { value, missing, .. } => {
                let value = value.then(|| name.to_owned());
                value.into_iter().chain(missing.then(|| format!("{name}_missing"))).collect()
            }
            Self::Category { levels, null_level, .. } => {
                let levels = levels.names().iter().map(|level| format!("{name}={level}"));
                levels.chain(null_level.then(|| format!("{name} is null"))).collect()
            }
            Self::Native { .. } | Self::Codes { .. } | Self::Route { .. } => vec![name.to_owned()],
            Self::Dropped { .. } => Vec::new(),
        }
    }

    /// What a user should know about it.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Dropped { reason } => Some(format!("dropped: {reason}")),
            Self::Number { value: false, .. } => {
                Some("only whether it is missing is kept: all training rows with a value have the same".to_owned())
            }
            Self::Category { levels, folded, .. } | Self::Codes { levels, folded } if folded.levels > 0 => {
                let kept = levels.names().len();
                let all = kept as u64 + folded.levels;
                Some(format!(
                    "kept the {kept} most frequent of {all} levels; {} training rows have another",
                    folded.rows
                ))
            }
            _ => None,
        }
    }

    /// Refuses what no training gives: only then can a stored encoder be applied without a panic or a NaN.
    pub(super) fn check(&self, kind: ColumnKind) -> Result<()> {
        match self {
            Self::Dropped { .. } => Ok(()),
            Self::Number { fill, value, missing }
                if kind != ColumnKind::Category && fill.is_finite() && (*value || *missing) =>
            {
                Ok(())
            }
            Self::Category { levels, .. } if kind == ColumnKind::Category && levels.are_sorted() => Ok(()),
            Self::Native { .. } if kind != ColumnKind::Category => Ok(()),
            Self::Codes { levels, .. } if kind == ColumnKind::Category && !levels.names().is_empty() => Ok(()),
            Self::Route { levels: None } if kind != ColumnKind::Category => Ok(()),
            Self::Route { levels: Some(levels) } if kind == ColumnKind::Category && levels.are_sorted() => Ok(()),
            _ => Err(Error::verification("the stored encoding does not fit the column")),
        }
    }
}
