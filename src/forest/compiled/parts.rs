//! Trees with more leaves than a byte tells apart: parts of up to 256 ends each, from the root down.
//!
//! Within a part an end is a byte; over the tree it is a code of 16 bits. A row carries the code of
//! the end at which it stands. A part is walked by all rows of the strip, as a small tree is, but only
//! rows that stand at the end from which the part hangs take over where they arrive; a part from which
//! no row hangs is left out.

use super::STRIP;
use super::kernel::Step;
use super::members::Member;
use super::plan::Plan;
use super::program::{NARROW, leaves_of, steps, tables};
use crate::forest::{Aggregation, Child, Node, Tree};

/// The code at which all rows begin.
const START: u16 = u16::MAX;

/// One part of a tree.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub steps: Vec<Step>,
    /// The code of the end from which the part hangs.
    hangs: u16,
    /// The code of its own first end.
    first: u16,
}

/// A tree of parts.
#[derive(Debug, Clone)]
pub(super) struct Parted {
    /// Each after the one from which it hangs.
    pub parts: Vec<Part>,
    /// Outputs, and the leaf value of each code; 0 for an end that is no leaf.
    tables: Vec<(usize, Vec<f64>)>,
}

impl Parted {
    /// What its lists hold in memory, in bytes.
    pub fn own_bytes(&self) -> usize {
        let steps = self.parts.iter().map(|part| size_of::<Part>() + part.steps.len() * size_of::<Step>());
        steps.sum::<usize>() + self.tables.iter().map(|(_, values)| values.len() * size_of::<f64>()).sum::<usize>()
    }

    /// A tree of fewer than 32,768 leaves in parts, whose roots have one leaf in `below`.
    pub fn new(tree: &Tree, outputs: usize, below: &[usize], plan: &mut Plan, members: &mut Vec<Member>) -> Self {
        let mut hangs = vec![START; tree.nodes().len()];
        let (mut parts, mut codes) = (Vec::new(), Vec::new());
        // A split comes after those above it, so a part after the one from which it hangs.
        for index in (0..tree.nodes().len()).filter(|index| *index == 0 || below[*index] == 1) {
            let root = Child::split(index);
            let (steps, ends) = steps(tree, root, below, plan, members);
            let first = codes.len();
            for (end, code) in ends.iter().zip(first..).filter(|(end, _)| !end.is_leaf()) {
                hangs[end.index()] = code as u16;
            }
            codes.extend(ends);
            parts.push(Part { steps, hangs: hangs[root.index()], first: first as u16 });
        }
        let value = |end: &Child, column: usize, width: usize| {
            if end.is_leaf() { tree.leaves()[end.index() * width + column] } else { 0.0 }
        };
        let table = |(output, column, width)| (output, codes.iter().map(|end| value(end, column, width)).collect());
        Self { parts, tables: tables(tree, outputs).map(table).collect() }
    }

    /// The codes of rows before the first part.
    pub fn start() -> [u16; STRIP] {
        [START; STRIP]
    }

    /// Joins the values of the first `rows` rows to their aggregates, which stand in `order` in each block.
    pub fn join(
        &self,
        codes: &[u16; STRIP],
        rows: usize,
        aggregation: Aggregation,
        order: &[u8],
        aggregates: &mut [[f64; STRIP]],
    ) {
        for (output, values) in &self.tables {
            let blocks = codes[..rows].chunks(order.len()).zip(aggregates[*output].chunks_mut(order.len()));
            for (codes, aggregates) in blocks {
                for (code, place) in codes.iter().zip(order) {
                    let aggregate = &mut aggregates[usize::from(*place)];
                    *aggregate = aggregation.join(*aggregate, values[usize::from(*code)]);
                }
            }
        }
    }
}

/// Makes the larger child of a split with too many leaves the root of another part; then the other.
pub(super) fn hang(node: &Node, below: &mut [usize]) {
    let mut children = [node.left, node.right];
    children.sort_by_key(|child| leaves_of(*child, below));
    for child in children.into_iter().rev() {
        if leaves_of(node.left, below) + leaves_of(node.right, below) > NARROW && !child.is_leaf() {
            below[child.index()] = 1;
        }
    }
}

impl Part {
    /// Whether a row stands where the part hangs.
    pub fn is_reached(&self, codes: &[u16; STRIP]) -> bool {
        codes.iter().fold(false, |any, code| any | (*code == self.hangs))
    }

    /// Rows that stand where the part hangs go on to the ends that they reach in it.
    pub fn enter(&self, ends: &[u8; STRIP], codes: &mut [u16; STRIP]) {
        for (code, end) in codes.iter_mut().zip(ends) {
            let own = self.first + u16::from(*end);
            *code = if *code == self.hangs { own } else { *code };
        }
    }
}
