//! One tree as the kernels take it.

use super::STRIP;
use super::deep::Hops;
use super::kernel::{Kernel, Step};
use super::plan::{Plan, SCRATCH, Split};
use super::source::MISSING;
use crate::forest::{Child, Tree};

/// The most leaves of a tree whose leaves are told apart by one byte.
pub(super) const NARROW: usize = 256;

/// A tree, and what must be worked out before it is walked.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// Answers that no comparison of ranks gives; the i-th fills the i-th scratch column.
    pub members: Vec<Member>,
    pub body: Body,
}

/// How a tree is walked.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Every split for every row.
    Narrow(Vec<Step>, Vec<LeafTable>),
    /// Each row down its own path.
    Deep(Hops),
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

/// A question whose answer is worked out for all rows of a strip at once.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The wide column of ranks or classes.
    pub column: u32,
    pub test: Test,
}

/// Which codes go left.
#[derive(Debug, Clone)]
pub(super) enum Test {
    /// Ranks from the first to the second; with the flag, missing values too.
    Range(u16, u16, bool),
    /// -128 for each class that goes left, 127 for others.
    Set(Vec<i8>),
}

impl Member {
    /// -128 for each row that goes left, 127 for others.
    pub fn bytes(&self, codes: &[u16; STRIP], bytes: &mut [i8; STRIP]) {
        match &self.test {
            Test::Range(low, high, missing_left) => {
                for (byte, code) in bytes.iter_mut().zip(codes) {
                    let within = (code >= low) & (code <= high);
                    *byte = if within | (*missing_left & (*code == MISSING)) { i8::MIN } else { i8::MAX };
                }
            }
            Test::Set(table) => {
                for (byte, code) in bytes.iter_mut().zip(codes) {
                    *byte = table[usize::from(*code)];
                }
            }
        }
    }

    /// The rank 0 for each row that goes left, [`MISSING`] for others.
    pub fn ranks(&self, codes: &[u16; STRIP], ranks: &mut [u16; STRIP]) {
        let mut bytes = [0; STRIP];
        self.bytes(codes, &mut bytes);
        for (rank, byte) in ranks.iter_mut().zip(bytes) {
            *rank = if byte < 0 { 0 } else { MISSING };
        }
    }
}

/// A tree in the form that suits its size; `None` where it has too many questions for a deep tree.
pub(super) fn compile(tree: &Tree, outputs: usize, plan: &mut Plan, kernel: Kernel) -> Option<Program> {
    let mut members = Vec::new();
    let body = if tree.nodes().len() < NARROW {
        narrow(tree, outputs, plan, kernel, &mut members)
    } else {
        Body::Deep(Hops::new(tree, plan, &mut members)?)
    };
    Some(Program { members, body })
}

fn narrow(tree: &Tree, outputs: usize, plan: &mut Plan, kernel: Kernel, members: &mut Vec<Member>) -> Body {
    let below = leaves_below(tree);
    let leaves_of = |child: Child| if child.is_leaf() { 1 } else { below[child.index()] };
    let mut order = vec![0; tree.nodes().len() + 1];
    let mut steps = Vec::with_capacity(tree.nodes().len());
    // A part of the tree, and the number of its leftmost leaf.
    let mut open = vec![(tree.root(), 0_u32)];
    while let Some((part, at)) = open.pop() {
        if part.is_leaf() {
            order[at as usize] = part.index();
            continue;
        }
        let node = &tree.nodes()[part.index()];
        let to = at + leaves_of(node.left);
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
    let (first, width) = match tree.output() {
        Some(output) => (output as usize, 1),
        None => (0, outputs),
    };
    let value = |leaf: &usize, column: usize| tree.leaves()[leaf * width + column];
    let table = |column| LeafTable::new(first + column, order.iter().map(|leaf| value(leaf, column)), kernel);
    Body::Narrow(steps, (0..width).map(table).collect())
}

/// How many leaves lie below each split.
fn leaves_below(tree: &Tree) -> Vec<u32> {
    let mut below = vec![0; tree.nodes().len()];
    for (index, node) in tree.nodes().iter().enumerate().rev() {
        let count = |child: Child| if child.is_leaf() { 1 } else { below[child.index()] };
        below[index] = count(node.left) + count(node.right);
    }
    below
}
