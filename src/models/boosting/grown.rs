//! Trees on bins.

use super::split::Rule;
use std::ops::Range;

/// Where a side of a split leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Branch {
    /// To a split.
    Node(usize),
    /// To a leaf.
    Leaf(usize),
}

/// A split of a grown tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GrownNode {
    /// The feature.
    pub feature: u32,
    /// What goes left.
    pub rule: Rule,
    /// By how much the loss fell, twice.
    pub gain: f64,
    /// Where rows go.
    pub sides: [Branch; 2],
}

/// A leaf of a grown tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GrownLeaf {
    /// What it adds to the score.
    pub output: f64,
    /// Its rows, as a range of the tree's.
    pub rows: Range<usize>,
}

/// A tree on bins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grown {
    /// Splits, each before those below it.
    pub nodes: Vec<GrownNode>,
    /// Leaves.
    pub leaves: Vec<GrownLeaf>,
    /// The rows it was grown on, leaf by leaf, in ascending order within a leaf.
    pub rows: Vec<u32>,
}

impl Grown {
    /// The leaf into which a row falls; `byte` gives the bin of a feature.
    pub fn leaf_of(&self, byte: impl Fn(usize) -> u8) -> usize {
        let mut at = if self.nodes.is_empty() { Branch::Leaf(0) } else { Branch::Node(0) };
        loop {
            match at {
                Branch::Leaf(leaf) => return leaf,
                Branch::Node(node) => {
                    let node = &self.nodes[node];
                    at = node.sides[usize::from(!node.rule.left(byte(node.feature as usize)))];
                }
            }
        }
    }
}
