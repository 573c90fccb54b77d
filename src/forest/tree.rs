//! One tree: a flat array of splits, a flat array of leaf values, the category sets that splits refer to.

use super::{Aggregation, CategorySet, Missing, Rule, Side};
use crate::error::{Error, Result};

/// Marks a child that is a leaf; the other bits are the leaf's number.
const LEAF: u32 = 1 << 31;

/// One split: what it asks of which feature, and where each answer leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    /// The feature that is asked.
    pub feature: u32,
    /// What sends a row that has a value to the left.
    pub rule: Rule,
    /// What a row does that has none.
    pub missing: Missing,
    /// Where a row goes for which the rule holds.
    pub left: Child,
    /// Where every other row goes.
    pub right: Child,
}

/// A reference to a split or to a leaf, in 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Child(u32);

impl Child {
    /// A reference from its stored bits; [`Tree`] checks it before it is followed.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits to store: the highest one tells a leaf from a split.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// A reference to the split of this number.
    pub(super) const fn split(index: usize) -> Self {
        Self(index as u32)
    }

    #[inline]
    pub(super) const fn is_leaf(self) -> bool {
        self.0 & LEAF != 0
    }

    #[inline]
    pub(super) const fn index(self) -> usize {
        (self.0 & !LEAF) as usize
    }
}

impl Node {
    /// The child to which a value leads.
    #[inline]
    pub(super) fn follow(&self, value: f64, sets: &[CategorySet]) -> Child {
        if self.rule.goes_left(self.missing, value, sets) { self.left } else { self.right }
    }
}

/// A binary tree with its splits in preorder, the root first; a tree that is one leaf has no split.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The output to which the tree adds; `None`: a leaf has a value for every output.
    output: Option<u32>,
    nodes: Vec<Node>,
    /// Leaf after leaf; one value a leaf where there is an output, else one an output.
    leaves: Vec<f64>,
    sets: Vec<CategorySet>,
}

impl Tree {
    /// A tree from its stored parts, unchecked: [`Forest::new`](super::Forest::new) checks it.
    pub fn from_parts(output: Option<u32>, nodes: Vec<Node>, leaves: Vec<f64>, sets: Vec<CategorySet>) -> Self {
        Self { output, nodes, leaves, sets }
    }

    /// The one output to which the tree adds, or `None` if to all.
    pub fn output(&self) -> Option<u32> {
        self.output
    }

    /// The splits, each before its children.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The leaf values, leaf after leaf.
    pub fn leaves(&self) -> &[f64] {
        &self.leaves
    }

    /// The sets that [`Rule::Category`] refers to by number.
    pub fn sets(&self) -> &[CategorySet] {
        &self.sets
    }

    /// The tree as one of a forest with only this of `outputs` outputs; `None` where it adds nothing to it.
    pub fn only(&self, output: usize, outputs: usize) -> Option<Self> {
        let leaves = match self.output {
            Some(own) if own as usize == output => self.leaves.clone(),
            Some(_) => return None,
            None => self.leaves.iter().skip(output).step_by(outputs.max(1)).copied().collect(),
        };
        Some(Self { output: Some(0), nodes: self.nodes.clone(), leaves, sets: self.sets.clone() })
    }

    /// Whether the tree adds to this output.
    pub(super) fn adds_to(&self, output: usize) -> bool {
        self.output.is_none_or(|own| own as usize == output)
    }

    /// Where a walk begins.
    #[inline]
    pub(super) fn root(&self) -> Child {
        if self.nodes.is_empty() { Child(LEAF) } else { Child(0) }
    }

    /// The number of the leaf into which a row falls; `value` gives the row's feature.
    pub(super) fn leaf_of(&self, value: impl Fn(usize) -> f64) -> usize {
        let mut at = self.root();
        while !at.is_leaf() {
            let node = &self.nodes[at.index()];
            at = node.follow(value(node.feature as usize), &self.sets);
        }
        at.index()
    }

    /// Joins a leaf's values to the aggregates of one row, one number an output.
    #[inline]
    pub(super) fn join_leaf(&self, leaf: usize, aggregation: Aggregation, row: &mut [f64]) {
        match self.output {
            Some(output) => {
                let value = &mut row[output as usize];
                *value = aggregation.join(*value, self.leaves[leaf]);
            }
            None => {
                let width = row.len();
                for (value, own) in row.iter_mut().zip(&self.leaves[leaf * width..(leaf + 1) * width]) {
                    *value = aggregation.join(*value, *own);
                }
            }
        }
    }

    /// Checks everything that a walk relies on: with it no walk can leave the arrays or go in circles.
    pub(super) fn check(&self, features: usize, outputs: usize) -> Result<()> {
        let wrong = |what: &str| Err(Error::verification(format!("a tree is broken: {what}")));
        let width = match self.output {
            Some(output) if output as usize >= outputs => return wrong("it adds to an output that does not exist"),
            Some(_) => 1,
            None => outputs,
        };
        if self.leaves.len() != (self.nodes.len() + 1) * width {
            return wrong("its leaf values do not fit its splits");
        }
        if self.leaves.iter().any(|value| !value.is_finite()) {
            return wrong("a leaf value is not finite");
        }
        let mut seen_node = vec![false; self.nodes.len()];
        let mut seen_leaf = vec![false; self.nodes.len() + 1];
        for (index, node) in self.nodes.iter().enumerate() {
            if node.feature as usize >= features {
                return wrong("it reads a feature that does not exist");
            }
            if !node.rule.is_sound(self.sets.len()) {
                return wrong("a threshold is NaN or not in its precision, or a category set does not exist");
            }
            for child in [node.left, node.right] {
                let seen = if child.is_leaf() { &mut seen_leaf } else { &mut seen_node };
                let forward = child.is_leaf() || child.index() > index;
                match seen.get_mut(child.index()) {
                    Some(seen) if forward && !*seen => *seen = true,
                    _ => return wrong("a child is out of range, before its parent or shared"),
                }
            }
        }
        Ok(())
    }
}

/// Builds a tree from its leaves upwards.
///
/// A split whose two sides are leaves with the same values decides nothing and is left out: libraries
/// go on splitting where every row is alike.
#[derive(Debug)]
pub struct TreeBuilder {
    width: usize,
    nodes: Vec<Node>,
    leaves: Vec<f64>,
    sets: Vec<CategorySet>,
}

impl TreeBuilder {
    /// A builder for leaves of `width` values.
    pub fn new(width: usize) -> Self {
        Self { width, nodes: Vec::new(), leaves: Vec::new(), sets: Vec::new() }
    }

    /// The same, with room for a tree of so many leaves.
    pub fn with_capacity(width: usize, leaves: usize) -> Self {
        let (nodes, values) = (Vec::with_capacity(leaves.saturating_sub(1)), Vec::with_capacity(leaves * width));
        Self { nodes, leaves: values, ..Self::new(width) }
    }

    /// A new leaf; `values` has the builder's width.
    pub fn leaf(&mut self, values: &[f64]) -> Child {
        let index = self.leaves.len() / self.width;
        self.leaves.extend(values.iter().take(self.width));
        Child(index as u32 | LEAF)
    }

    /// The number of a new category set, for [`Rule::Category`].
    pub fn set(&mut self, members: impl IntoIterator<Item = u32>) -> u32 {
        self.sets.push(CategorySet::new(members));
        self.sets.len() as u32 - 1
    }

    /// A split above two parts that were built before: `x <= threshold` in `f64` goes left, NaN right.
    pub fn split(&mut self, feature: u32, threshold: f64, left: Child, right: Child) -> Child {
        self.branch(feature, Rule::at_most(threshold), Missing::Nan(Side::Right), left, right)
    }

    /// A split by any rule above two parts that were built before.
    pub fn branch(&mut self, feature: u32, rule: Rule, missing: Missing, left: Child, right: Child) -> Child {
        if left.is_leaf() && right.is_leaf() && self.values(left) == self.values(right) {
            return left;
        }
        self.nodes.push(Node { feature, rule, missing, left, right });
        Child(self.nodes.len() as u32 - 1)
    }

    /// The tree under `root`, renumbered into preorder; parts and sets that nothing refers to are dropped.
    pub fn finish(mut self, root: Child, output: Option<u32>) -> Tree {
        let (nodes, leaves) = (Vec::with_capacity(self.nodes.len()), Vec::with_capacity(self.leaves.len()));
        let mut tree = Tree { output, nodes, leaves, sets: Vec::new() };
        let mut renumbered: Vec<Option<u32>> = vec![None; self.sets.len()];
        // A part of the old tree, and the new split (and its side) that waits for the part's number.
        let mut open = vec![(root, None)];
        while let Some((old, parent)) = open.pop() {
            let new = if old.is_leaf() {
                tree.leaves.extend_from_slice(self.values(old));
                Child((tree.leaves.len() / self.width - 1) as u32 | LEAF)
            } else {
                let mut node = self.nodes[old.index()];
                if let Rule::Category { set } = &mut node.rule
                    && let Some(number) = renumbered.get_mut(*set as usize)
                {
                    let old = *set as usize;
                    *set = *number.get_or_insert_with(|| {
                        tree.sets.push(std::mem::take(&mut self.sets[old]));
                        tree.sets.len() as u32 - 1
                    });
                }
                let index = tree.nodes.len();
                tree.nodes.push(node);
                open.push((node.right, Some((index, false))));
                open.push((node.left, Some((index, true))));
                Child(index as u32)
            };
            match parent {
                Some((index, true)) => tree.nodes[index].left = new,
                Some((index, false)) => tree.nodes[index].right = new,
                None => {}
            }
        }
        tree
    }

    fn values(&self, leaf: Child) -> &[f64] {
        &self.leaves[leaf.index() * self.width..(leaf.index() + 1) * self.width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Comparison, Precision};

    fn small() -> Tree {
        let mut builder = TreeBuilder::new(1);
        let (a, b, c) = (builder.leaf(&[1.0]), builder.leaf(&[2.0]), builder.leaf(&[3.0]));
        let low = builder.split(1, 5.0, a, b);
        let root = builder.split(0, 0.0, low, c);
        builder.finish(root, None)
    }

    #[test]
    fn the_root_comes_first_and_children_after_it() {
        let tree = small();
        assert_eq!(tree.nodes()[0].feature, 0);
        assert!(tree.check(2, 1).is_ok());
        assert_eq!(tree.leaf_of(|feature| [0.0, 6.0][feature]), 1);
        assert_eq!(tree.leaves(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn splits_that_decide_nothing_vanish() {
        let mut builder = TreeBuilder::new(1);
        let (a, b, c) = (builder.leaf(&[1.0]), builder.leaf(&[1.0]), builder.leaf(&[1.0]));
        let low = builder.split(1, 5.0, a, b);
        let root = builder.split(0, 0.0, low, c);
        let tree = builder.finish(root, None);
        assert_eq!((tree.nodes().len(), tree.leaves()), (0, &[1.0][..]));
        assert!(tree.check(2, 1).is_ok());
    }

    #[test]
    fn sets_without_a_split_are_dropped_and_the_others_renumbered() {
        let mut builder = TreeBuilder::new(1);
        let (a, b, c) = (builder.leaf(&[1.0]), builder.leaf(&[2.0]), builder.leaf(&[3.0]));
        let (_, late, early) = (builder.set([9]), builder.set([4, 5]), builder.set([70, 1]));
        let missing = Missing::Nan(Side::Left);
        let low = builder.branch(1, Rule::Category { set: late }, missing, a, b);
        let root = builder.branch(0, Rule::Category { set: early }, missing, low, c);
        let tree = builder.finish(root, None);
        assert_eq!(tree.sets(), [CategorySet::new([1, 70]), CategorySet::new([4, 5])]);
        assert!(tree.check(2, 1).is_ok());
        let leaf = |row: [f64; 2]| tree.leaf_of(|feature| row[feature]);
        assert_eq!([leaf([70.9, 5.0]), leaf([1.0, 6.0]), leaf([2.0, 4.0]), leaf([f64::NAN; 2])], [0, 1, 2, 0]);
    }

    #[test]
    fn every_broken_reference_is_found() {
        let breaks: [fn(&mut Tree); 9] = [
            |tree| tree.nodes[0].rule = Rule::at_most(f64::NAN),
            |tree| tree.nodes[0].rule = Rule::Category { set: 0 },
            |tree| {
                let comparison = Comparison::Below;
                tree.nodes[0].rule = Rule::Threshold { value: 0.1, comparison, precision: Precision::F32 };
            },
            |tree| tree.nodes[1].left = Child(0),
            |tree| tree.nodes[0].left = Child(0),
            |tree| tree.nodes[0].right = Child(LEAF | 9),
            |tree| tree.nodes[0].right = tree.nodes[1].left,
            |tree| tree.leaves.truncate(2),
            |tree| tree.output = Some(1),
        ];
        for (index, change) in breaks.iter().enumerate() {
            let mut tree = small();
            change(&mut tree);
            assert!(tree.check(2, 1).is_err(), "change {index}");
        }
    }
}
