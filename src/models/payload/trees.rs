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

use super::file::{self, Column, Columns};
use super::{float_lists, whole_lists};
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

/// The columns of these trees.
pub(super) fn arrays(trees: &[&Tree]) -> Vec<ArrayRef> {
    let outputs = trees.iter().map(|tree| tree.output().map_or(-1, |output| output as i32));
    let of_nodes =
        |field: fn(&Node) -> u32| whole_lists(trees.iter().map(|tree| tree.nodes().iter().map(field).collect()));
    let of_words = |field: fn(&(u32, u64)) -> u32| {
        whole_lists(trees.iter().map(|tree| tree.sets().iter().flat_map(CategorySet::words).map(field).collect()))
    };
    let thresholds: Vec<Vec<f64>> =
        trees.iter().map(|tree| tree.nodes().iter().map(|node| rule_of(node).1).collect()).collect();
    vec![
        Arc::new(Int32Array::from_iter_values(outputs)),
        of_nodes(|node| node.feature),
        of_nodes(|node| rule_of(node).0),
        float_lists(thresholds.iter().map(Vec::as_slice)),
        of_nodes(|node| node.left.bits()),
        of_nodes(|node| node.right.bits()),
        float_lists(trees.iter().map(|tree| tree.leaves())),
        whole_lists(trees.iter().map(|tree| tree.sets().iter().map(|set| set.words().len() as u32).collect())),
        of_words(|(place, _)| *place),
        of_words(|(_, bits)| *bits as u32),
        of_words(|(_, bits)| (bits >> 32) as u32),
    ]
}

/// The trees in a file of this version, their shapes checked; [`Forest::new`](crate::forest::Forest::new) checks
/// the rest.
pub(super) fn read(file: &file::File<'_>, version: u32) -> Result<Vec<Tree>> {
    let first = version == 1;
    let mut columns: Columns<'_> = file.columns(if first { FIRST } else { COLUMNS })?;
    let outputs = columns.i32s()?;
    let features = columns.u32_lists()?;
    let rules = if first { features.iter().map(|own| vec![0; own.len()]).collect() } else { columns.u32_lists()? };
    let thresholds = columns.f64_lists()?;
    let left = columns.u32_lists()?;
    let right = columns.u32_lists()?;
    let leaves = columns.f64_lists()?;
    let sets = if first { vec![Vec::new(); outputs.len()] } else { read_sets(&mut columns)? };
    let mut trees = Vec::with_capacity(outputs.len());
    for (tree, (leaves, sets)) in leaves.into_iter().zip(sets).enumerate() {
        let count = features[tree].len();
        if [rules[tree].len(), thresholds[tree].len(), left[tree].len(), right[tree].len()] != [count; 4] {
            return Err(file::broken("the columns of a tree differ in length"));
        }
        let node = |index: usize| {
            let (rule, missing) = read_rule(rules[tree][index], thresholds[tree][index])?;
            let [left, right] = [&left, &right].map(|side| Child::from_bits(side[tree][index]));
            Ok(Node { feature: features[tree][index], rule, missing, left, right })
        };
        let output = match outputs[tree] {
            -1 => None,
            output => Some(u32::try_from(output).map_err(|_| file::broken("a tree adds to an output below 0"))?),
        };
        trees.push(Tree::from_parts(output, (0..count).map(node).collect::<Result<_>>()?, leaves, sets));
    }
    Ok(trees)
}

/// The category sets of each tree.
fn read_sets(columns: &mut Columns<'_>) -> Result<Vec<Vec<CategorySet>>> {
    let words = columns.u32_lists()?;
    let (places, low, high) = (columns.u32_lists()?, columns.u32_lists()?, columns.u32_lists()?);
    let mut trees = Vec::with_capacity(words.len());
    for (tree, counts) in words.iter().enumerate() {
        let count = places[tree].len();
        if [low[tree].len(), high[tree].len()] != [count; 2] {
            return Err(file::broken("the columns of category sets differ in length"));
        }
        let word =
            |index: usize| (places[tree][index], u64::from(low[tree][index]) | u64::from(high[tree][index]) << 32);
        let mut start = 0_usize;
        let mut sets = Vec::with_capacity(counts.len());
        for own in counts {
            let end = start.saturating_add(*own as usize);
            let set = if end <= count { CategorySet::from_words((start..end).map(word).collect()) } else { None };
            sets.push(set.ok_or_else(|| file::broken("a category set is malformed"))?);
            start = end;
        }
        if start != count {
            return Err(file::broken("words belong to no category set"));
        }
        trees.push(sets);
    }
    Ok(trees)
}
