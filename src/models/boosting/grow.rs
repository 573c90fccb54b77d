//! One tree, grown best leaf first.
//!
//! Of all leaves the one whose split gains most is split next, the first among equals. Only the smaller child's
//! rows are passed over; the larger one's histogram is the parent's less the smaller one's. Histograms are
//! whole numbers, so one that was not kept (there is a limit to the memory) is counted again to the same bits.

use super::histogram::{MISSING, Rows, Scale, Sum, TOGETHER, few, minus, plus, tables};
use super::partition::partition;
use super::split::{Found, Node, Rule, Search, SplitRules};
use crate::features::BinnedBlock;
use rayon::prelude::*;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;

/// Bytes of histograms that a tree keeps, where nobody says otherwise.
pub(crate) const KEPT_BYTES: usize = 256 << 20;
/// Sums below which a task is not worth another thread.
const WORTH_A_THREAD: usize = 1 << 15;

/// Rows up to which sums are added where they stand in the histogram: clearing a table of 256 bins for each feature
/// would take longer than the rows do.
const FEW: usize = 1 << 11;

/// What does not change from tree to tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth<'a> {
    /// The features of all rows.
    pub bins: &'a BinnedBlock,
    /// What a split must hold to.
    pub rules: &'a SplitRules,
    /// Leaves of a tree, at most.
    pub leaves: usize,
    /// Splits from the root to a leaf, at most.
    pub max_depth: u32,
    /// Bytes of the histograms that are kept for leaves that may yet be split; changes no bit of the tree.
    pub kept_bytes: usize,
    /// For each feature 1 where outputs may only rise with it, -1 where they may only fall, or 0; or none.
    pub directions: &'a [i8],
}

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

/// Where the sums of each feature stand in a histogram: one a bin, and one for missing values behind them.
struct Layout {
    features: Vec<u32>,
    offsets: Vec<usize>,
}

impl Layout {
    /// Of those features that can be split.
    fn new(bins: &BinnedBlock, features: &[u32]) -> Self {
        let varies = |feature: &&u32| {
            let feature = **feature as usize;
            bins.of(feature).bins() + usize::from(bins.has_missing(feature)) > 1
        };
        let features: Vec<u32> = features.iter().filter(varies).copied().collect();
        let mut offsets = vec![0];
        let mut end = 0;
        for feature in &features {
            end += bins.of(*feature as usize).bins() + 1;
            offsets.push(end);
        }
        Self { features, offsets }
    }

    fn width(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn groups(&self) -> usize {
        self.features.len().div_ceil(TOGETHER)
    }

    /// The features of a group.
    fn members(&self, group: usize) -> Range<usize> {
        group * TOGETHER..self.features.len().min((group + 1) * TOGETHER)
    }

    /// A histogram's parts, group by group.
    fn split<'h>(&self, mut histogram: &'h mut [Sum]) -> Vec<&'h mut [Sum]> {
        let mut parts = Vec::with_capacity(self.groups());
        for group in 0..self.groups() {
            let members = self.members(group);
            let length = self.offsets[members.end] - self.offsets[members.start];
            let (part, rest) = std::mem::take(&mut histogram).split_at_mut(length);
            parts.push(part);
            histogram = rest;
        }
        parts
    }
}

/// A leaf that may yet be split.
struct Open {
    rows: Range<usize>,
    node: Node,
    output: f64,
    depth: u32,
    /// The split above it, and the side of that.
    above: Option<(usize, usize)>,
    histogram: Option<Vec<Sum>>,
    found: Option<Found>,
}

/// Leaves by their gain; the first among equals.
#[derive(PartialEq)]
struct Turn(f64, Reverse<usize>);

impl Eq for Turn {}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// One tree that is being grown.
struct Growing<'a> {
    growth: Growth<'a>,
    search: Search<'a>,
    gradients: &'a [Sum],
    layout: Layout,
    rows: Vec<u32>,
    aside: Vec<u32>,
    open: Vec<Open>,
    nodes: Vec<GrownNode>,
    /// Histograms to be written over.
    free: Vec<Vec<Sum>>,
    kept: usize,
    limit: usize,
}

impl<'a> Growth<'a> {
    /// The tree over `rows` (ascending) by `features` (ascending); `gradients` has one sum a row of the block.
    pub fn grow(&self, gradients: &[Sum], scale: Scale, rows: Vec<u32>, features: &[u32]) -> Grown {
        let layout = Layout::new(self.bins, features);
        let limit = self.kept_bytes / (layout.width().max(1) * size_of::<Sum>());
        let growing = Growing {
            growth: *self,
            search: Search { rules: self.rules, scale },
            gradients,
            aside: vec![0; rows.len()],
            rows,
            layout,
            open: Vec::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            kept: 0,
            limit,
        };
        growing.run()
    }
}

impl Growing<'_> {
    fn run(mut self) -> Grown {
        self.plant();
        let mut turns = BinaryHeap::new();
        let turn = |open: &[Open], leaf: usize| open[leaf].found.as_ref().map(|found| Turn(found.gain, Reverse(leaf)));
        turns.extend(turn(&self.open, 0));
        while self.open.len() < self.growth.leaves {
            let Some(Turn(_, Reverse(leaf))) = turns.pop() else { break };
            let right = self.split(leaf);
            turns.extend(turn(&self.open, leaf));
            turns.extend(turn(&self.open, right));
        }
        let leaves = self.open.into_iter().map(|open| GrownLeaf { output: open.output, rows: open.rows }).collect();
        Grown { nodes: self.nodes, leaves, rows: self.rows }
    }

    /// The root as the only leaf.
    fn plant(&mut self) {
        let whole = self.rows.len() == self.growth.bins.rows();
        let ordered = if whole { Vec::new() } else { self.gather(0..self.rows.len()) };
        let sums: &[Sum] = if whole { self.gradients } else { &ordered };
        let sum = sums.par_chunks(1 << 16).map(|part| part.iter().copied().fold([0; 2], plus)).reduce(|| [0; 2], plus);
        let node = Node { sum, bounds: (f64::NEG_INFINITY, f64::INFINITY) };
        let mut histogram = self.blank();
        let mut found = None;
        if self.search.is_open(&node) && self.growth.leaves > 1 && self.growth.max_depth > 0 {
            let rows = if whole { Rows::All(sums) } else { Rows::Listed(&self.rows, sums) };
            let work = (self.rows.len() + 512) * self.layout.features.len();
            let parts: Vec<_> = self.layout.split(&mut histogram).into_iter().enumerate().collect();
            let each = |(group, part): (usize, &mut [Sum])| {
                self.count(group, rows, part);
                self.best_of(group, part, &node)
            };
            found = better(if work >= WORTH_A_THREAD {
                parts.into_par_iter().map(each).collect()
            } else {
                parts.into_iter().map(each).collect()
            });
        }
        let output = self.search.output(&node);
        let rows = 0..self.rows.len();
        self.open.push(Open { rows, node, output, depth: 0, above: None, histogram: None, found });
        self.keep(0, histogram);
    }

    /// Splits a leaf: its number is that of the left side from now on; gives the number of the right side.
    fn split(&mut self, leaf: usize) -> usize {
        let Some(found) = self.open[leaf].found.take() else { return leaf };
        let (parent, node, right) = (self.open[leaf].rows.clone(), self.nodes.len(), self.open.len());
        let column = self.growth.bins.column(found.feature as usize);
        let rows = &mut self.rows[parent.clone()];
        let count = partition(rows, &mut self.aside[parent.clone()], column, &found.rule);
        let middle = parent.start + count;
        if let Some((above, side)) = self.open[leaf].above {
            self.nodes[above].sides[side] = Branch::Node(node);
        }
        let sides = [Branch::Leaf(leaf), Branch::Leaf(right)];
        self.nodes.push(GrownNode { feature: found.feature, rule: found.rule, gain: found.gain, sides });
        let bounds = self.bounds(leaf, &found);
        let own = &mut self.open[leaf];
        let histogram = own.histogram.take();
        let depth = own.depth + 1;
        let child = |sum, rows, bounds, output, side| Open {
            rows,
            node: Node { sum, bounds },
            output,
            depth,
            above: Some((node, side)),
            histogram: None,
            found: None,
        };
        let rest = minus(own.node.sum, found.left);
        let other = child(rest, middle..parent.end, bounds[1], found.outputs.1, 1);
        *own = child(found.left, parent.start..middle, bounds[0], found.outputs.0, 0);
        self.open.push(other);
        self.kept -= usize::from(histogram.is_some());
        self.look([leaf, right], histogram);
        right
    }

    /// The bounds of both sides: along a constrained feature the sides part halfway between their outputs.
    fn bounds(&self, leaf: usize, found: &Found) -> [(f64, f64); 2] {
        let (low, high) = self.open[leaf].node.bounds;
        let middle = f64::midpoint(found.outputs.0, found.outputs.1);
        match self.direction(found.feature) {
            0 => [(low, high); 2],
            1 => [(low, middle), (middle, high)],
            _ => [(middle, high), (low, middle)],
        }
    }

    fn direction(&self, feature: u32) -> i8 {
        self.growth.directions.get(feature as usize).copied().unwrap_or(0)
    }

    fn is_open(&self, leaf: usize) -> bool {
        let open = &self.open[leaf];
        open.depth < self.growth.max_depth && self.search.is_open(&open.node)
    }

    /// Finds the best splits of two sides of a split, whose histogram was `parent`.
    fn look(&mut self, sides: [usize; 2], parent: Option<Vec<Sum>>) {
        let wanted = sides.map(|leaf| self.is_open(leaf));
        if self.open.len() == self.growth.leaves || wanted == [false; 2] {
            self.free.extend(parent);
            return;
        }
        let smaller = usize::from(self.open[sides[0]].rows.len() > self.open[sides[1]].rows.len());
        let [small, large] = [sides[smaller], sides[1 - smaller]];
        let [wants_small, wants_large] = [wanted[smaller], wanted[1 - smaller]];
        let known = parent.is_some();
        let mut histograms = [self.blank(), parent.unwrap_or_else(|| self.blank())];
        let ordered = [
            self.gather(self.open[small].rows.clone()),
            if known || !wants_large { Vec::new() } else { self.gather(self.open[large].rows.clone()) },
        ];
        let listed = |index: usize, leaf: usize| {
            Rows::Listed(&self.rows[self.open[leaf].rows.clone()], ordered[index].as_slice())
        };
        let each = |(group, (own, other)): (usize, (&mut [Sum], &mut [Sum]))| {
            if wants_small || known {
                self.count(group, listed(0, small), own);
            }
            if known {
                other.iter_mut().zip(&*own).for_each(|(other, own)| *other = minus(*other, *own));
            } else if wants_large {
                self.count(group, listed(1, large), other);
            }
            [(wants_small, small, &*own), (wants_large, large, &*other)].map(|(wanted, leaf, part)| {
                if wanted { self.best_of(group, part, &self.open[leaf].node) } else { None }
            })
        };
        let [own, other] = &mut histograms;
        let parts = self.layout.split(own).into_iter().zip(self.layout.split(other)).enumerate();
        let work = (self.open[small].rows.len() + 512) * self.layout.features.len();
        let pairs: Vec<[Option<Found>; 2]> = if work >= WORTH_A_THREAD {
            parts.collect::<Vec<_>>().into_par_iter().map(each).collect()
        } else {
            parts.map(each).collect()
        };
        let (of_small, of_large) = pairs.into_iter().map(|[small, large]| (small, large)).unzip();
        self.open[small].found = better(of_small);
        self.open[large].found = better(of_large);
        let [own, other] = histograms;
        self.keep(small, own);
        self.keep(large, other);
    }

    /// The gradients of these rows, one after the other.
    fn gather(&self, range: Range<usize>) -> Vec<Sum> {
        let rows = &self.rows[range];
        if rows.len() <= 1 << 16 {
            return rows.iter().map(|row| self.gradients[*row as usize]).collect();
        }
        rows.par_iter().with_min_len(1 << 14).map(|row| self.gradients[*row as usize]).collect()
    }

    /// Counts a group's part of a histogram.
    fn count(&self, group: usize, rows: Rows<'_>, into: &mut [Sum]) {
        let bins = self.growth.bins;
        let members = self.layout.members(group);
        let features = &self.layout.features[members.clone()];
        let start = self.layout.offsets[members.start];
        if rows.count() <= FEW {
            for (feature, index) in features.iter().zip(members) {
                let own = &mut into[self.layout.offsets[index] - start..self.layout.offsets[index + 1] - start];
                few(bins.column(*feature as usize), rows, own);
            }
            return;
        }
        let columns: Vec<&[u8]> = features.iter().map(|feature| bins.column(*feature as usize)).collect();
        let tables = tables(&columns, rows);
        for (table, index) in tables.iter().zip(members) {
            let own = &mut into[self.layout.offsets[index] - start..self.layout.offsets[index + 1] - start];
            if let Some((missing, values)) = own.split_last_mut() {
                values.copy_from_slice(&table[..values.len()]);
                *missing = table[usize::from(MISSING)];
            }
        }
    }

    /// The best split of a node by the features of a group.
    fn best_of(&self, group: usize, part: &[Sum], node: &Node) -> Option<Found> {
        let members = self.layout.members(group);
        let start = self.layout.offsets[members.start];
        let each = |index: usize| {
            let feature = self.layout.features[index];
            let own = &part[self.layout.offsets[index] - start..self.layout.offsets[index + 1] - start];
            let (missing, values) = own.split_last()?;
            if self.growth.bins.of(feature as usize).is_category() {
                self.search.by_category(feature, values, *missing, node)
            } else {
                self.search.by_number(feature, values, *missing, node, self.direction(feature))
            }
        };
        members.filter_map(each).reduce(first_best)
    }

    fn blank(&mut self) -> Vec<Sum> {
        self.free.pop().unwrap_or_else(|| vec![[0; 2]; self.layout.width()])
    }

    /// Keeps the histogram of a leaf that may yet be split.
    fn keep(&mut self, leaf: usize, histogram: Vec<Sum>) {
        if self.open[leaf].found.is_some() && self.kept < self.limit {
            self.open[leaf].histogram = Some(histogram);
            self.kept += 1;
        } else if self.free.len() < 2 {
            self.free.push(histogram);
        }
    }
}

/// The split that gains most; the first among equals.
fn better(candidates: Vec<Option<Found>>) -> Option<Found> {
    candidates.into_iter().flatten().reduce(first_best)
}

fn first_best(best: Found, other: Found) -> Found {
    if other.gain > best.gain { other } else { best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureBins;
    use crate::models::boosting::split::tests::rules;

    fn block(rows: usize) -> BinnedBlock {
        let column =
            |feature: usize| (0..rows).map(move |row| ((row * (13 + feature) + row / 7) % (5 + 9 * feature)) as u8);
        let edges = |bins: usize| FeatureBins::number((1..bins).map(|edge| edge as f64).collect()).unwrap();
        let bytes: Vec<u8> = (0..6).flat_map(column).collect();
        BinnedBlock::new(rows, (0..6).map(|feature| edges(5 + 9 * feature)).collect(), bytes).unwrap()
    }

    fn gradients(bins: &BinnedBlock) -> (Vec<Sum>, Scale) {
        let rows = bins.rows();
        let scale = Scale::new(2.0 * rows as f64, rows as f64, rows);
        let gradient = |row: usize| {
            let (a, b) = (bins.column(1)[row], bins.column(4)[row]);
            f64::from(u8::from(a > 6) ^ u8::from(b > 20)) - 0.5 + (row as f64).sin() * 0.3
        };
        ((0..rows).map(|row| scale.pack(row, gradient(row), 1.0)).collect(), scale)
    }

    fn grow(rows: usize, leaves: usize, max_depth: u32, kept_bytes: usize) -> (Grown, BinnedBlock) {
        let (bins, rules) = (block(rows), rules());
        let (gradients, scale) = gradients(&bins);
        let growth = Growth { bins: &bins, rules: &rules, leaves, max_depth, kept_bytes, directions: &[] };
        let grown = growth.grow(&gradients, scale, (0..rows as u32).collect(), &[0, 1, 2, 3, 4, 5]);
        (grown, bins)
    }

    #[test]
    fn every_row_stands_in_the_leaf_to_which_it_falls() {
        let (grown, bins) = grow(3000, 20, 1000, KEPT_BYTES);
        assert_eq!((grown.leaves.len(), grown.nodes.len()), (20, 19));
        let mut seen = 0;
        for (index, leaf) in grown.leaves.iter().enumerate() {
            let rows = &grown.rows[leaf.rows.clone()];
            assert!(rows.is_sorted() && rows.len() >= 2);
            seen += rows.len();
            for row in rows {
                assert_eq!(grown.leaf_of(|feature| bins.column(feature)[*row as usize]), index);
            }
        }
        assert_eq!(seen, 3000);
    }

    #[test]
    fn the_best_leaf_is_split_first() {
        let (few, _) = grow(3000, 4, 1000, KEPT_BYTES);
        let (many, _) = grow(3000, 12, 1000, KEPT_BYTES);
        let splits = |grown: &Grown| grown.nodes.iter().map(|node| (node.feature, node.rule)).collect::<Vec<_>>();
        assert_eq!(splits(&few), splits(&many)[..3], "a larger tree begins like the smaller one");
        assert_eq!(few.nodes[0].feature.min(few.nodes[1].feature), 1, "{:?}", few.nodes);
    }

    #[test]
    fn histograms_that_are_not_kept_change_nothing() {
        for rows in [200, 3000] {
            let (kept, _) = grow(rows, 25, 1000, KEPT_BYTES);
            for bytes in [0, 8000, 20_000] {
                assert_eq!(grow(rows, 25, 1000, bytes).0, kept, "{bytes}");
            }
        }
    }

    #[test]
    fn depth_is_limited() {
        let (grown, _) = grow(3000, 1000, 3, KEPT_BYTES);
        assert!(grown.leaves.len() > 4 && grown.leaves.len() <= 8);
        let (stump, _) = grow(3000, 1000, 1, KEPT_BYTES);
        assert_eq!(stump.leaves.len(), 2);
    }
}
