//! One tree of LightGBM: splits and leaves in lists of their own, a leaf's number stored as its complement.

use super::{Fields, damaged, unsupported};
use crate::error::Result;
use crate::forest::{Missing, Rule, Side, Tree};
use crate::models::import::grow::{Branch, Part, Question, grow};

/// Bits of `decision_type`.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
/// No tree has more words of category sets.
const MOST_WORDS: usize = 1 << 26;

/// The tree in these fields; leaves are multiplied by `factor` (the learning rate is in them already).
pub(super) fn read(fields: &Fields<'_>, features: usize, output: u32, factor: f64) -> Result<Tree> {
    if fields.get("is_linear").is_some_and(|value| value.trim() != "0") {
        return Err(unsupported("LightGBM's linear_tree: leaves that are linear models"));
    }
    let leaves: usize = fields.number("num_leaves")?;
    let Some(splits) = leaves.checked_sub(1) else { return Err(damaged("a tree has no leaf")) };
    let values: Vec<f64> = fields.list("leaf_value", leaves)?;
    if let Some(leaf) = values.iter().position(|value| !(value * factor).is_finite()) {
        return Err(damaged("a leaf value is not finite").with("leaf", leaf));
    }
    let mut split = Splits::read(fields, splits, features)?;
    // Splits come first, then leaves: the root is the first of what there is.
    grow(&mut vec![false; splits + leaves], 0, Some(output), 1, |number| match number.checked_sub(splits) {
        Some(leaf) => Ok(Part::Leaf(vec![values[leaf] * factor])),
        None => split.branch(number).map(Part::Branch),
    })
}

/// The splits of a tree, field by field.
struct Splits {
    features: Vec<u32>,
    thresholds: Vec<f64>,
    decisions: Vec<u8>,
    left: Vec<i64>,
    right: Vec<i64>,
    boundaries: Vec<usize>,
    /// Which sets a split has taken; LightGBM writes one for each.
    taken: Vec<bool>,
    words: Vec<u32>,
}

impl Splits {
    fn read(fields: &Fields<'_>, count: usize, features: usize) -> Result<Self> {
        let sets: usize = match fields.get("num_cat") {
            Some(_) if count > 0 => fields.number("num_cat")?,
            _ => 0,
        };
        let boundaries: Vec<usize> = match sets {
            0 => Vec::new(),
            _ => fields.list("cat_boundaries", sets.saturating_add(1))?,
        };
        let words = boundaries.last().copied().unwrap_or(0);
        if !boundaries.is_sorted() || words > MOST_WORDS {
            return Err(damaged("`cat_boundaries` does not ascend"));
        }
        let mut split = Self {
            features: Vec::new(),
            thresholds: Vec::new(),
            decisions: Vec::new(),
            left: Vec::new(),
            right: Vec::new(),
            taken: vec![false; boundaries.len()],
            words: if words == 0 { Vec::new() } else { fields.list("cat_threshold", words)? },
            boundaries,
        };
        // A tree of one leaf lacks these lines.
        if count > 0 {
            split.features = fields.list("split_feature", count)?;
            split.thresholds = fields.list("threshold", count)?;
            split.decisions = fields.list("decision_type", count)?;
            split.left = fields.list("left_child", count)?;
            split.right = fields.list("right_child", count)?;
        }
        if let Some(feature) = split.features.iter().find(|feature| **feature as usize >= features) {
            return Err(damaged("a split asks a feature that does not exist").with("feature", feature));
        }
        Ok(split)
    }

    fn branch(&mut self, number: usize) -> Result<Branch> {
        let decision = self.decisions[number];
        let side = if decision & DEFAULT_LEFT != 0 { Side::Left } else { Side::Right };
        let (question, missing) = if decision & CATEGORICAL != 0 {
            // Whatever the missing type is: NaN is a member of no set.
            (Question::Member(self.members(self.thresholds[number])?), Missing::Nan(Side::Right))
        } else {
            let missing = match decision >> 2 {
                0 => Missing::NanIsZero,
                1 => Missing::NanOrZero(side),
                2 => Missing::Nan(side),
                _ => return Err(damaged("a split has an unknown decision_type").with("decision_type", decision)),
            };
            if self.thresholds[number].is_nan() {
                return Err(damaged("a threshold is not a number").with("split", number));
            }
            (Question::Threshold(Rule::at_most(self.thresholds[number])), missing)
        };
        let (left, right) = (self.child(self.left[number])?, self.child(self.right[number])?);
        Ok(Branch { feature: self.features[number], question, missing, left, right })
    }

    /// A child by its number: of a split, or the complement of that of a leaf.
    fn child(&self, written: i64) -> Result<usize> {
        let splits = self.features.len();
        let number = if written >= 0 {
            usize::try_from(written).ok().filter(|split| *split < splits)
        } else {
            usize::try_from(!written).ok().filter(|leaf| *leaf <= splits).map(|leaf| splits + leaf)
        };
        number.ok_or_else(|| damaged("a split refers to a child that does not exist").with("child", written))
    }

    /// The codes that go left: the bits of the words of the set whose number stands in the threshold's place.
    fn members(&mut self, set: f64) -> Result<Vec<u32>> {
        let number = (set >= 0.0 && set.fract() == 0.0).then_some(set as usize);
        let span = number.and_then(|set| {
            let free = !std::mem::replace(self.taken.get_mut(set)?, true);
            let end = *self.boundaries.get(set.checked_add(1)?)?;
            free.then_some(self.boundaries[set]..end)
        });
        let words = span.and_then(|span| self.words.get(span));
        let words = words.ok_or_else(|| {
            damaged("a split refers to a category set that does not exist, or that another split has").with("set", set)
        })?;
        let bits = words.iter().zip(0u32..).flat_map(|(word, place)| {
            (0..u32::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * u32::BITS + bit)
        });
        Ok(bits.collect())
    }
}
