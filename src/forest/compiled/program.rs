//! One tree as the kernels take it.

use super::kernel::{Kernel, Step};
use super::members::Member;
use super::parts::{Parted, hang};
use super::plan::{Plan, SCRATCH, Split};
use crate::forest::{Child, Tree};

/// The most leaves that one byte tells apart.
pub(super) const NARROW: usize = 256;
/// Questions of one tree that are worked out for every row, whether it comes by or not.
const MEMBERS: usize = 256;

/// A tree, and what must be worked out before it is walked.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Answers that no comparison of ranks gives; the i-th fills the i-th scratch column.
    pub members: Vec<Member>,
    pub body: Body,
}

impl Program {
    /// What it holds in memory, in bytes.
    pub fn own_bytes(&self) -> usize {
        let table =
            |table: &LeafTable| size_of::<LeafTable>() + table.values.len() * size_of::<f64>() + table.planes.len();
        let body = match &self.body {
            Body::Whole(steps, tables) => steps.len() * size_of::<Step>() + tables.iter().map(table).sum::<usize>(),
            Body::Parted(tree) => tree.own_bytes(),
        };
        size_of::<Self>() + self.members.iter().map(Member::own_bytes).sum::<usize>() + body
    }
}

/// How a tree is walked.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// As one part.
    Whole(Vec<Step>, Vec<LeafTable>),
    /// Part by part.
    Parted(Parted),
}

/// The leaf values of a tree for one output, from left to right.
#[derive(Debug, Clone)]
pub(super) struct LeafTable {
    pub output: usize,
    /// 64, 128 or 256 values; zeros after the last leaf.
    pub values: Vec<f64>,
    /// The first byte of every value, then the second: empty unless the kernel wants it.
    pub planes: Vec<u8>,
}

impl LeafTable {
    fn new(output: usize, values: impl ExactSizeIterator<Item = f64>, kernel: Kernel) -> Self {
        let length = values.len().next_power_of_two().max(64);
        let mut values: Vec<f64> = values.collect();
        values.resize(length, 0.0);
        let planes = if kernel.wants_planes() { 0..8 } else { 0..0 };
        let planes = planes.flat_map(|byte| values.iter().map(move |value| value.to_le_bytes()[byte])).collect();
        Self { output, values, planes }
    }
}

/// A tree in the form that suits its size; `None` where walking it row by row is faster.
pub(super) fn compile(tree: &Tree, outputs: usize, plan: &mut Plan, kernel: Kernel) -> Option<Program> {
    let mut members = Vec::new();
    let below = leaves_below(tree);
    let body = if tree.nodes().len() < NARROW {
        let (steps, order) = steps(tree, tree.root(), &below, plan, &mut members);
        let tables = tables(tree, outputs).map(|(output, column, width)| {
            let values = order.iter().map(|leaf| tree.leaves()[leaf.index() * width + column]);
            LeafTable::new(output, values, kernel)
        });
        Body::Whole(steps, tables.collect())
    } else if tree.nodes().len() < kernel.most_leaves() {
        Body::Parted(Parted::new(tree, outputs, &below, plan, &mut members))
    } else {
        return None;
    };
    (members.len() <= MEMBERS).then_some(Program { members, body })
}

/// The outputs to which a tree adds, the place of each among the values of a leaf, and how many a leaf has.
pub(super) fn tables(tree: &Tree, outputs: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let (first, width) = match tree.output() {
        Some(output) => (output as usize, 1),
        None => (0, outputs),
    };
    (0..width).map(move |column| (first + column, column, width))
}

/// The steps of the part of a tree below `root`, and its ends from left to right: leaves, and splits
/// that begin another part, which are those with one leaf in `below`.
pub(super) fn steps(
    tree: &Tree,
    root: Child,
    below: &[usize],
    plan: &mut Plan,
    members: &mut Vec<Member>,
) -> (Vec<Step>, Vec<Child>) {
    let (mut steps, mut ends) = (Vec::new(), Vec::new());
    // A part of the tree, and the number of its leftmost leaf; left sides are popped first.
    let mut open = vec![(root, 0)];
    while let Some((part, at)) = open.pop() {
        if part.is_leaf() || (part != root && below[part.index()] == 1) {
            ends.push(part);
            continue;
        }
        let node = &tree.nodes()[part.index()];
        let to = at + leaves_of(node.left, below);
        let (column, bin) = match plan.split(node, tree.sets()) {
            Split::Rank(source, place, missing_right) => plan.byte_column(source, place, missing_right),
            Split::Member(member) => {
                members.push(member);
                (SCRATCH | (members.len() - 1) as u32, 0)
            }
        };
        steps.push(Step { column, bin, at: at as u8, to: to as u8 });
        open.push((node.right, to));
        open.push((node.left, at));
    }
    (steps, ends)
}

/// How many leaves lie below each split. No part has more than [`NARROW`]: where one would, splits
/// become the roots of other parts, and have themselves the number 1.
fn leaves_below(tree: &Tree) -> Vec<usize> {
    let mut below = vec![0; tree.nodes().len()];
    for (index, node) in tree.nodes().iter().enumerate().rev() {
        below[index] = leaves_of(node.left, &below) + leaves_of(node.right, &below);
        if below[index] > NARROW {
            hang(node, &mut below);
            below[index] = leaves_of(node.left, &below) + leaves_of(node.right, &below);
        }
    }
    below
}

/// How many leaves a child counts.
pub(super) fn leaves_of(child: Child, below: &[usize]) -> usize {
    if child.is_leaf() { 1 } else { below[child.index()] }
}
