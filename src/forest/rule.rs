//! What a split asks of a value: the rule, the type in which it compares, and what a missing value does.

use super::CategorySet;

/// LightGBM's `kZeroThreshold`, a `float` there: values no further from 0 count as zero.
pub const ZERO: f64 = 1e-35_f32 as f64;

/// What sends a row that has a value to the left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The value stands in this relation to a number.
    Threshold {
        /// The boundary: any number or infinity, and an `f32` where the precision is [`Precision::F32`].
        value: f64,
        /// The relation.
        comparison: Comparison,
        /// The type in which it is computed.
        precision: Precision,
    },
    /// The value, truncated toward zero, is a member of the tree's category set of this number;
    /// negative, infinite, too large: not a member.
    Category {
        /// The number of the set in the tree.
        set: u32,
    },
}

/// The relation of a value to a threshold that sends a row to the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `x <= t`.
    AtMost,
    /// `x < t`.
    Below,
    /// `x == t`.
    Equal,
}

/// The type in which a value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As it is.
    F64,
    /// Rounded to the nearest `f32` first, ties to even.
    F32,
}

/// One of the two ways at a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The left child.
    Left,
    /// The right child.
    Right,
}

/// What a row does at a split when it has no value there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// NaN goes to this side.
    Nan(Side),
    /// NaN and numbers within [`ZERO`] of 0 go to this side (LightGBM's `zero_as_missing`).
    NanOrZero(Side),
    /// NaN is taken for 0 and then compared (LightGBM's missing type None).
    NanIsZero,
}

impl Rule {
    /// `x <= threshold`, compared as it is.
    pub const fn at_most(threshold: f64) -> Self {
        Self::Threshold { value: threshold, comparison: Comparison::AtMost, precision: Precision::F64 }
    }

    /// Whether the threshold is a number of its precision, or the set one of so many.
    pub(super) fn is_sound(self, sets: usize) -> bool {
        match self {
            Self::Threshold { value, precision: Precision::F32, .. } => f64::from(value as f32) == value,
            Self::Threshold { value, precision: Precision::F64, .. } => !value.is_nan(),
            Self::Category { set } => (set as usize) < sets,
        }
    }

    /// Whether a row with this value goes left; the definition that everything faster must equal.
    #[inline]
    pub(super) fn goes_left(self, missing: Missing, value: f64, sets: &[CategorySet]) -> bool {
        let value = match missing {
            Missing::Nan(side) if value.is_nan() => return side == Side::Left,
            Missing::NanOrZero(side) if value.is_nan() || value.abs() <= ZERO => return side == Side::Left,
            Missing::NanIsZero if value.is_nan() => 0.0,
            _ => value,
        };
        match self {
            Self::Threshold { value: threshold, comparison, precision } => {
                let value = match precision {
                    Precision::F64 => value,
                    Precision::F32 => f64::from(value as f32),
                };
                match comparison {
                    Comparison::AtMost => value <= threshold,
                    Comparison::Below => value < threshold,
                    Comparison::Equal => value == threshold,
                }
            }
            Self::Category { set } => sets[set as usize].contains(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(rule: Rule, missing: Missing, value: f64) -> bool {
        rule.goes_left(missing, value, &[CategorySet::new([0, 3])])
    }

    #[test]
    fn the_threshold_itself_belongs_to_the_side_of_its_comparison() {
        let rule = |comparison| Rule::Threshold { value: 0.5, comparison, precision: Precision::F64 };
        let missing = Missing::Nan(Side::Right);
        let sides = |comparison| [0.25, 0.5, 0.75, f64::NAN].map(|value| left(rule(comparison), missing, value));
        assert_eq!(sides(Comparison::AtMost), [true, true, false, false]);
        assert_eq!(sides(Comparison::Below), [true, false, false, false]);
        assert_eq!(sides(Comparison::Equal), [false, true, false, false]);
    }

    #[test]
    fn f32_rounds_before_it_compares() {
        let threshold = f64::from(0.1_f32);
        let rule = |precision| Rule::Threshold { value: threshold, comparison: Comparison::Below, precision };
        // 0.1 is below the f32 next to it, and is that f32 when rounded.
        assert!(left(rule(Precision::F64), Missing::Nan(Side::Right), 0.1));
        assert!(!left(rule(Precision::F32), Missing::Nan(Side::Right), 0.1));
    }

    #[test]
    fn each_missing_rule_sends_nan_and_zero_where_it_says() {
        let rule = Rule::at_most(-1.0);
        let rows = [f64::NAN, 0.0, -0.0, 1e-36, -2.0];
        let sides = |missing| rows.map(|value| left(rule, missing, value));
        assert_eq!(sides(Missing::Nan(Side::Left)), [true, false, false, false, true]);
        assert_eq!(sides(Missing::NanOrZero(Side::Left)), [true, true, true, true, true]);
        assert_eq!(sides(Missing::NanOrZero(Side::Right)), [false, false, false, false, true]);
        assert_eq!(sides(Missing::NanIsZero), [false, false, false, false, true]);
    }

    #[test]
    fn categories_are_truncated_and_nan_is_zero_may_be_a_member() {
        let rule = Rule::Category { set: 0 };
        let rows = [0.0, -0.5, -1.0, 3.9, 4.0, 1e300, f64::INFINITY, f64::NEG_INFINITY];
        let members = [true, true, false, true, false, false, false, false];
        assert_eq!(rows.map(|value| left(rule, Missing::Nan(Side::Right), value)), members);
        assert!(left(rule, Missing::NanIsZero, f64::NAN));
        assert!(!left(rule, Missing::Nan(Side::Right), f64::NAN));
    }
}
