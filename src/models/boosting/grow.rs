//! One tree, grown best leaf first.
//!
//! Of all leaves the one whose split gains most is split next, the first among equals. Only the smaller child's
//! rows are passed over; the larger one's histogram is the parent's less the smaller one's. Histograms are
//! whole numbers, so one that was not kept (there is a limit to the memory) is counted again to the same bits.

use super::few::Slots;
use super::grown::{Branch, Grown, GrownLeaf, GrownNode};
use super::histogram::{MISSING, Rows, Scale, Sum, few, minus, plus, tables};
use super::layout::Layout;
use super::partition::partition;
use super::split::{Best, Found, Node, Search, SplitRules};
use crate::features::BinnedBlock;
use rayon::prelude::*;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of histograms that a tree keeps, where nobody says otherwise.
pub(crate) const KEPT_BYTES: usize = 256 << 20;
/// Sums below which a task is not worth another thread.
const WORTH_A_THREAD: usize = 1 << 15;

/// Rows up to which sums are added where they stand in the histogram: clearing a table of 256 bins for each feature
/// would take longer than the rows do. A tree over so few is not worth a second thread.
pub(crate) const FEW: usize = 1 << 11;
/// Histograms that are kept to be written over.
const FREE: usize = 2;
/// Sums of a histogram that is worth keeping for the next tree: to count a larger one takes longer than to allocate it.
const KEPT_WIDTH: usize = 1 << 12;

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
    /// Rows of the matrix up to which trees are grown in one thread, all features in one pass; changes no bit of them.
    pub few: usize,
    /// For each feature 1 where outputs may only rise with it, -1 where they may only fall, or 0; or none.
    pub directions: &'a [i8],
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

/// Memory that one tree after the other is grown in, all over the same matrix.
#[derive(Debug, Default)]
pub(crate) struct Space {
    aside: Vec<u32>,
    /// Histograms to be written over.
    free: Vec<Vec<Sum>>,
    /// For trees over few rows.
    slots: Option<Slots>,
    /// By these features.
    layout: Option<(Vec<u32>, Arc<Layout>)>,
}

impl Space {
    /// The layout of histograms for these features, which most trees have in common.
    fn layout(&mut self, bins: &BinnedBlock, features: &[u32]) -> Arc<Layout> {
        if let Some((known, layout)) = &self.layout
            && known == features
        {
            return Arc::clone(layout);
        }
        let layout = Arc::new(Layout::new(bins, features));
        self.layout = Some((features.to_vec(), Arc::clone(&layout)));
        layout
    }

    /// Leaves little until the next tree: there is a space for each output of a round.
    fn rest(&mut self, width: usize) {
        self.free.truncate(if width <= KEPT_WIDTH { FREE } else { 0 });
    }
}

/// Bytes of the space of a tree over so many rows, at most, between two trees; but for a few histograms of little width.
pub(crate) fn space_bytes(rows: usize, features: usize) -> usize {
    let slots = if rows <= FEW { features.saturating_mul(size_of::<u16>()) } else { 0 };
    rows.saturating_mul(slots.saturating_add(size_of::<u32>()))
}

/// One tree that is being grown.
struct Growing<'a> {
    growth: Growth<'a>,
    search: Search<'a>,
    gradients: &'a [Sum],
    layout: Arc<Layout>,
    rows: Vec<u32>,
    open: Vec<Open>,
    nodes: Vec<GrownNode>,
    space: &'a mut Space,
    kept: usize,
    limit: usize,
}

impl<'a> Growth<'a> {
    /// The tree over `rows` (ascending) by `features` (ascending); `gradients` has one sum a row of the block.
    pub fn grow(&self, gradients: &[Sum], scale: Scale, rows: Vec<u32>, features: &[u32], space: &mut Space) -> Grown {
        let layout = space.layout(self.bins, features);
        let limit = self.kept_bytes / (layout.width().max(1) * size_of::<Sum>());
        space.aside.resize(rows.len(), 0);
        let known = space.slots.take().filter(|slots| slots.are_of(&layout));
        // Few rows drawn from many would have slots for all of them.
        let is_small = self.bins.rows() <= self.few;
        space.slots = if is_small { known.or_else(|| Slots::new(self.bins, &layout)) } else { None };
        let growing = Growing {
            growth: *self,
            search: Search::new(self.rules, scale),
            gradients,
            rows,
            layout,
            open: Vec::with_capacity(self.leaves.min(FEW)),
            nodes: Vec::with_capacity(self.leaves.min(FEW)),
            space,
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
        self.space.rest(self.layout.width());
        let leaves = self.open.into_iter().map(|open| GrownLeaf { output: open.output, rows: open.rows }).collect();
        Grown { nodes: self.nodes, leaves, rows: self.rows }
    }

    /// The root as the only leaf.
    fn plant(&mut self) {
        if self.space.slots.is_some() {
            return self.plant_few();
        }
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
            let best: Vec<Best> = if work >= WORTH_A_THREAD {
                parts.into_par_iter().map(each).collect()
            } else {
                parts.into_iter().map(each).collect()
            };
            found = self.better(best, &node);
        }
        self.root(node, found, histogram);
    }

    /// The same for few rows.
    fn plant_few(&mut self) {
        let sum = self.rows.iter().fold([0; 2], |sum, row| plus(sum, self.gradients[*row as usize]));
        let node = Node { sum, bounds: (f64::NEG_INFINITY, f64::INFINITY) };
        let mut histogram = self.blank();
        let mut found = None;
        if self.search.is_open(&node) && self.growth.leaves > 1 && self.growth.max_depth > 0 {
            self.count_few(0..self.rows.len(), &mut histogram);
            found = self.found_in(&histogram, &node);
        }
        self.root(node, found, histogram);
    }

    fn root(&mut self, node: Node, found: Option<Found>, histogram: Vec<Sum>) {
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
        let count = partition(rows, &mut self.space.aside[parent.clone()], column, &found.rule);
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
            self.space.free.extend(parent);
            return;
        }
        let smaller = usize::from(self.open[sides[0]].rows.len() > self.open[sides[1]].rows.len());
        let [small, large] = [sides[smaller], sides[1 - smaller]];
        let [wants_small, wants_large] = [wanted[smaller], wanted[1 - smaller]];
        if self.space.slots.is_some() {
            return self.look_few([(wants_small, small), (wants_large, large)], parent);
        }
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
            [(wants_small, small, &*own), (wants_large, large, &*other)]
                .map(|(wanted, leaf, part)| wanted.then(|| self.best_of(group, part, &self.open[leaf].node)))
        };
        let [own, other] = &mut histograms;
        let parts = self.layout.split(own).into_iter().zip(self.layout.split(other)).enumerate();
        let work = (self.open[small].rows.len() + 512) * self.layout.features.len();
        let pairs: Vec<[Option<Best>; 2]> = if work >= WORTH_A_THREAD {
            parts.collect::<Vec<_>>().into_par_iter().map(each).collect()
        } else {
            parts.map(each).collect()
        };
        let (of_small, of_large): (Vec<_>, Vec<_>) = pairs.into_iter().map(|[small, large]| (small, large)).unzip();
        self.open[small].found = self.better(of_small.into_iter().flatten(), &self.open[small].node);
        self.open[large].found = self.better(of_large.into_iter().flatten(), &self.open[large].node);
        let [own, other] = histograms;
        self.keep(small, own);
        self.keep(large, other);
    }

    /// The same in a tree over few rows, of the smaller and the larger side: whether its split is wanted, and its number.
    fn look_few(&mut self, sides: [(bool, usize); 2], parent: Option<Vec<Sum>>) {
        let [(wants_small, small), (wants_large, large)] = sides;
        let known = parent.is_some();
        let (mut own, mut other) = (self.blank(), parent.unwrap_or_else(|| self.blank()));
        if wants_small || known {
            self.count_few(self.open[small].rows.clone(), &mut own);
        }
        if known && wants_large {
            other.iter_mut().zip(&own).for_each(|(other, own)| *other = minus(*other, *own));
        } else if wants_large {
            self.count_few(self.open[large].rows.clone(), &mut other);
        }
        for ((wanted, leaf), histogram) in sides.into_iter().zip([own, other]) {
            if wanted {
                self.open[leaf].found = self.found_in(&histogram, &self.open[leaf].node);
            }
            self.keep(leaf, histogram);
        }
    }

    fn count_few(&self, range: Range<usize>, into: &mut [Sum]) {
        if let Some(slots) = &self.space.slots {
            slots.count(&self.rows[range], self.gradients, into);
        }
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
        let first = members.start;
        let features = &self.layout.features[members.clone()];
        if rows.count() <= FEW {
            for (feature, index) in features.iter().zip(members) {
                few(bins.column(*feature as usize), rows, &mut into[self.layout.of(index, first)]);
            }
            return;
        }
        let columns: Vec<&[u8]> = features.iter().map(|feature| bins.column(*feature as usize)).collect();
        let tables = tables(&columns, rows);
        for (table, index) in tables.iter().zip(members) {
            if let Some((missing, values)) = into[self.layout.of(index, first)].split_last_mut() {
                values.copy_from_slice(&table[..values.len()]);
                *missing = table[usize::from(MISSING)];
            }
        }
    }

    /// The best split of a node by the features of a group.
    fn best_of(&self, group: usize, part: &[Sum], node: &Node) -> Best {
        self.best_by(self.layout.members(group), part, node)
    }

    /// The best split of a node, whose whole histogram this is.
    fn found_in(&self, histogram: &[Sum], node: &Node) -> Option<Found> {
        self.search.found(self.best_by(0..self.layout.features.len(), histogram, node), node)
    }

    /// The best split of a node by the features at these places, whose sums are `part`.
    fn best_by(&self, members: Range<usize>, part: &[Sum], node: &Node) -> Best {
        let (mut best, first) = (self.search.start(node), members.start);
        for index in members {
            let feature = self.layout.features[index];
            let Some((missing, values)) = part[self.layout.of(index, first)].split_last() else { continue };
            if self.growth.bins.of(feature as usize).is_category() {
                self.search.by_category(feature, (values, *missing), node, &mut best);
            } else {
                self.search.by_number(feature, (values, *missing), node, self.direction(feature), &mut best);
            }
        }
        best
    }

    /// The split that gains most; the first among equals.
    fn better(&self, best: impl IntoIterator<Item = Best>, node: &Node) -> Option<Found> {
        self.search.found(best.into_iter().reduce(Best::or)?, node)
    }

    fn blank(&mut self) -> Vec<Sum> {
        let mut blank = self.space.free.pop().unwrap_or_default();
        blank.resize(self.layout.width(), [0; 2]);
        blank
    }

    /// Keeps the histogram of a leaf that may yet be split.
    fn keep(&mut self, leaf: usize, histogram: Vec<Sum>) {
        if self.open[leaf].found.is_some() && self.kept < self.limit {
            self.open[leaf].histogram = Some(histogram);
            self.kept += 1;
        } else if self.space.free.len() < FREE {
            self.space.free.push(histogram);
        }
    }
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
        grow_by(FEW, rows, leaves, max_depth, kept_bytes)
    }

    fn grow_by(few: usize, rows: usize, leaves: usize, max_depth: u32, kept_bytes: usize) -> (Grown, BinnedBlock) {
        let (bins, rules) = (block(rows), rules());
        let (gradients, scale) = gradients(&bins);
        let growth = Growth { bins: &bins, rules: &rules, leaves, max_depth, kept_bytes, few, directions: &[] };
        let (rows, features) = ((0..rows as u32).collect(), [0, 1, 2, 3, 4, 5]);
        let grown = growth.grow(&gradients, scale, rows, &features, &mut Space::default());
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
    fn a_tree_over_few_rows_is_the_same_one() {
        for (rows, leaves, max_depth) in [(20, 5, 9), (200, 25, 1000), (1500, 60, 6), (2048, 31, 1000)] {
            for kept_bytes in [KEPT_BYTES, 8000] {
                let few = grow_by(rows, rows, leaves, max_depth, kept_bytes).0;
                assert!(few.nodes.len() > 1);
                assert_eq!(few, grow_by(0, rows, leaves, max_depth, kept_bytes).0, "{rows} {kept_bytes}");
            }
        }
    }

    #[test]
    fn memory_of_another_tree_changes_nothing() {
        let (bins, rules) = (block(700), rules());
        let (gradients, scale) = gradients(&bins);
        let (kept_bytes, few) = (KEPT_BYTES, FEW);
        let growth = Growth { bins: &bins, rules: &rules, leaves: 12, max_depth: 9, kept_bytes, few, directions: &[] };
        let mut space = Space::default();
        for (features, rows) in [(&[0, 3, 4][..], 700), (&[1, 2], 500), (&[0, 1, 2, 3, 4, 5], 700), (&[5], 90)] {
            let grow = |space: &mut Space| growth.grow(&gradients, scale, (0..rows).collect(), features, space);
            assert_eq!(grow(&mut space), grow(&mut Space::default()), "{features:?}");
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
