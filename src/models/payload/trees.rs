//! The columns of trees, a row a tree.
//!
//! | column | what a tree has there |
//! |---|---|
//! | `output` | the output to which it adds; -1: to all |
//! | `feature`, `left`, `right` | a number a split; children as the bits of [`Child`] |
//! | `rule` | a number a split: comparison, precision and missing rule (`RULES`, `MISSING`) |
//! | `threshold` | a number a split: the threshold, or the number of the category set |
//! | `leaves` | leaf after leaf |
//! | `set_words` | how many words each category set has |
//! | `set_places`, `set_low`, `set_high` | the words of all sets: code / 64, the bits of 64 codes |
//!
//! Version 1 had neither rules nor sets: every split was `x <= threshold` in `f64`, NaN to the right.

use super::file::{self, Column, Columns, Lists};
use super::{float_lists, in_order, whole_lists};
use crate::error::Result;
use crate::forest::{CategorySet, Child, Comparison, Missing, Node, Precision, Rule, Side, Tree};
use arrow::array::{ArrayRef, Int32Array};
use std::sync::Arc;

/// The columns that are written.
pub(super) const COLUMNS: &[(&str, Column)] = &[
    ("output", Column::I32),
    ("feature", Column::ListU32),
    ("rule", Column::ListU32),
    ("threshold", Column::ListF64),
    ("left", Column::ListU32),
    ("right", Column::ListU32),
    ("leaves", Column::ListF64),
    ("set_words", Column::ListU32),
    ("set_places", Column::ListU32),
    ("set_low", Column::ListU32),
    ("set_high", Column::ListU32),
];

/// The columns of version 1.
const FIRST: &[(&str, Column)] = &[
    ("output", Column::I32),
    ("feature", Column::ListU32),
    ("threshold", Column::ListF64),
    ("left", Column::ListU32),
    ("right", Column::ListU32),
    ("leaves", Column::ListF64),
];

/// A rule's number is its place here plus a multiple of the length, which is the missing rule's place.
const RULES: [(Comparison, Precision); 6] = [
    (Comparison::AtMost, Precision::F64),
    (Comparison::Below, Precision::F64),
    (Comparison::Equal, Precision::F64),
    (Comparison::AtMost, Precision::F32),
    (Comparison::Below, Precision::F32),
    (Comparison::Equal, Precision::F32),
];
/// The place of a category rule, after those of thresholds.
const CATEGORY: u32 = RULES.len() as u32;
/// How many places rules have.
const PLACES: u32 = CATEGORY + 1;
const MISSING: [Missing; 5] = [
    Missing::Nan(Side::Right),
    Missing::Nan(Side::Left),
    Missing::NanOrZero(Side::Right),
    Missing::NanOrZero(Side::Left),
    Missing::NanIsZero,
];

/// The number of a split's rules, and what stands in its place of the threshold.
fn rule_of(node: &Node) -> (u32, f64) {
    let place = |found: Option<usize>| found.unwrap_or_default() as u32;
    let missing = place(MISSING.iter().position(|own| *own == node.missing));
    let (rule, number) = match node.rule {
        Rule::Threshold { value, comparison, precision } => {
            (place(RULES.iter().position(|own| *own == (comparison, precision))), value)
        }
        Rule::Category { set } => (CATEGORY, f64::from(set)),
    };
    (rule + PLACES * missing, number)
}

fn read_rule(code: u32, number: f64) -> Result<(Rule, Missing)> {
    let missing = MISSING.get((code / PLACES) as usize).ok_or_else(|| file::broken("a split has an unknown rule"))?;
    let rule = match RULES.get((code % PLACES) as usize) {
        Some((comparison, precision)) => {
            Rule::Threshold { value: number, comparison: *comparison, precision: *precision }
        }
        None if number.trunc() == number && (0.0..=f64::from(u32::MAX)).contains(&number) => {
            Rule::Category { set: number as u32 }
        }
        None => return Err(file::broken("a split has no category set")),
    };
    Ok((rule, *missing))
}

/// The columns of these trees, made side by side on the pool that calls.
///
/// # Errors
/// More numbers than the offsets of a column can tell.
pub(super) fn arrays(trees: &[&Tree]) -> Result<Vec<ArrayRef>> {
    let of_nodes = |field: fn(&Node) -> u32| {
        whole_lists(trees, |tree| tree.nodes().len(), |tree, out| out.extend(tree.nodes().iter().map(field)))
    };
    let words = |tree: &&Tree| tree.sets().iter().map(|set| set.words().len()).sum::<usize>();
    let of_words = |field: fn(&(u32, u64)) -> u32| {
        whole_lists(trees, words, |tree, out| {
            out.extend(tree.sets().iter().flat_map(CategorySet::words).map(field));
        })
    };
    in_order(COLUMNS.len(), 1, |column| match COLUMNS[column].0 {
        "output" => {
            let outputs = trees.iter().map(|tree| tree.output().map_or(-1, |output| output as i32));
            Ok(Arc::new(Int32Array::from_iter_values(outputs)) as ArrayRef)
        }
        "feature" => of_nodes(|node| node.feature),
        "rule" => of_nodes(|node| rule_of(node).0),
        "threshold" => {
            let values = |tree: &&Tree, out: &mut Vec<f64>| out.extend(tree.nodes().iter().map(|node| rule_of(node).1));
            float_lists(trees, |tree| tree.nodes().len(), values)
        }
        "left" => of_nodes(|node| node.left.bits()),
        "right" => of_nodes(|node| node.right.bits()),
        "leaves" => float_lists(trees, |tree| tree.leaves().len(), |tree, out| out.extend_from_slice(tree.leaves())),
        "set_words" => {
            let values = |tree: &&Tree, out: &mut Vec<u32>| {
                out.extend(tree.sets().iter().map(|set| set.words().len() as u32));
            };
            whole_lists(trees, |tree| tree.sets().len(), values)
        }
        "set_places" => of_words(|(place, _)| *place),
        "set_low" => of_words(|(_, bits)| *bits as u32),
        _ => of_words(|(_, bits)| (bits >> 32) as u32),
    })
}

/// The trees in a file, read one by one: each is made of stretches of the columns, without a copy of them.
pub(super) struct Trees<'a> {
    outputs: &'a [[u8; 4]],
    features: Lists<'a, 4>,
    /// `None` in version 1: all are 0.
    rules: Option<Lists<'a, 4>>,
    thresholds: Lists<'a, 8>,
    left: Lists<'a, 4>,
    right: Lists<'a, 4>,
    leaves: Lists<'a, 8>,
    /// Words of each set, places, low and high bits; `None` in version 1.
    sets: Option<[Lists<'a, 4>; 4]>,
}

impl<'a> Trees<'a> {
    /// The columns of a file of this version.
    pub fn open(file: &file::File<'a>, version: u32) -> Result<Self> {
        let first = version == 1;
        let mut columns: Columns<'_> = file.columns(if first { FIRST } else { COLUMNS })?;
        Ok(Self {
            outputs: columns.i32s()?,
            features: columns.u32_lists()?,
            rules: if first { None } else { Some(columns.u32_lists()?) },
            thresholds: columns.f64_lists()?,
            left: columns.u32_lists()?,
            right: columns.u32_lists()?,
            leaves: columns.f64_lists()?,
            sets: match first {
                true => None,
                false => Some([columns.u32_lists()?, columns.u32_lists()?, columns.u32_lists()?, columns.u32_lists()?]),
            },
        })
    }

    /// How many trees.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The tree of this number, below [`len`](Self::len), its shape checked;
    /// [`Forest::new`](crate::forest::Forest::new) checks the rest.
    pub fn tree(&self, index: usize) -> Result<Tree> {
        let features = self.features.get(index);
        let rules = self.rules.map(|rules| rules.get(index));
        let thresholds = self.thresholds.get(index);
        let (left, right) = (self.left.get(index), self.right.get(index));
        let lengths = [rules.map_or(features.len(), <[_]>::len), thresholds.len(), left.len(), right.len()];
        if lengths != [features.len(); 4] {
            return Err(file::broken("the columns of a tree differ in length"));
        }
        let mut nodes = Vec::with_capacity(features.len());
        for (node, feature) in features.iter().enumerate() {
            let rule = rules.map_or(0, |rules| u32::from_le_bytes(rules[node]));
            let (rule, missing) = read_rule(rule, f64::from_le_bytes(thresholds[node]))?;
            let [left, right] = [left[node], right[node]].map(|child| Child::from_bits(u32::from_le_bytes(child)));
            nodes.push(Node { feature: u32::from_le_bytes(*feature), rule, missing, left, right });
        }
        let output = match i32::from_le_bytes(self.outputs[index]) {
            -1 => None,
            output => Some(u32::try_from(output).map_err(|_| file::broken("a tree adds to an output below 0"))?),
        };
        let leaves = self.leaves.get(index).iter().map(|leaf| f64::from_le_bytes(*leaf)).collect();
        let sets = match &self.sets {
            Some(columns) => read_sets(columns.map(|column| column.get(index)))?,
            None => Vec::new(),
        };
        Ok(Tree::from_parts(output, nodes, leaves, sets))
    }
}

/// The category sets of one tree: words of each set, places, low and high bits.
fn read_sets([words, places, low, high]: [&[[u8; 4]]; 4]) -> Result<Vec<CategorySet>> {
    let count = places.len();
    if [low.len(), high.len()] != [count; 2] {
        return Err(file::broken("the columns of category sets differ in length"));
    }
    let bits = |half: &[[u8; 4]], index: usize| u64::from(u32::from_le_bytes(half[index]));
    let word = |index: usize| (u32::from_le_bytes(places[index]), bits(low, index) | bits(high, index) << 32);
    let mut start = 0_usize;
    let mut sets = Vec::with_capacity(words.len());
    for own in words {
        let end = start.saturating_add(u32::from_le_bytes(*own) as usize);
        let set = if end <= count { CategorySet::from_words((start..end).map(word).collect()) } else { None };
        sets.push(set.ok_or_else(|| file::broken("a category set is malformed"))?);
        start = end;
    }
    if start != count {
        return Err(file::broken("words belong to no category set"));
    }
    Ok(sets)
}
