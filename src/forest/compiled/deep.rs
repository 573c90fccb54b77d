//! Trees with many leaves: each row goes down its own path, over the ranks of its strip.

use super::STRIP;
use super::plan::{Plan, SCRATCH, Split};
use super::program::Member;
use super::source::MISSING;
use crate::forest::{Aggregation, Tree};

/// Rows that walk side by side, so that one row's wait for memory is another row's step.
const LANES: usize = 16;
/// Levels between two looks at whether all rows have arrived.
const LEVELS: usize = 4;
/// Questions of one tree that are worked out for every row, whether it comes by or not.
const MEMBERS: usize = 256;

/// One split in eight bytes: ranks above `bin` go to the hop after `left`.
#[derive(Debug, Clone, Copy)]
struct Hop {
    column: u16,
    bin: u16,
    left: u32,
}

/// A tree whose children lie side by side; a leaf leads to itself.
#[derive(Debug, Clone)]
pub(super) struct Hops {
    hops: Vec<Hop>,
    /// The leaf of each hop that is one.
    leaves: Vec<u32>,
    depth: usize,
    output: Option<usize>,
    /// Leaf after leaf.
    values: Vec<f64>,
}

impl Hops {
    /// `None` where the tree has too many questions or the forest too many columns.
    pub fn new(tree: &Tree, plan: &mut Plan, members: &mut Vec<Member>) -> Option<Self> {
        let count = 2 * tree.nodes().len() + 1;
        let mut hops = vec![Hop { column: 0, bin: u16::MAX, left: 0 }; count];
        let mut leaves = vec![0; count];
        let (mut next, mut depth) = (1, 0);
        // A part of the tree, its hop and its level.
        let mut open = vec![(tree.root(), 0_usize, 0)];
        while let Some((part, at, level)) = open.pop() {
            depth = depth.max(level);
            if part.is_leaf() {
                hops[at].left = at as u32;
                leaves[at] = part.index() as u32;
                continue;
            }
            let node = &tree.nodes()[part.index()];
            let (column, bin) = match plan.split(node, tree.sets()) {
                Split::Rank(source, place, missing_right) => (plan.wide_column(source, missing_right), place),
                Split::Member(member) => {
                    members.push(member);
                    (SCRATCH | (members.len() - 1) as u32, 0)
                }
            };
            if members.len() > MEMBERS {
                return None;
            }
            hops[at] = Hop { column: pack(column)?, bin, left: next };
            open.push((node.right, next as usize + 1, level + 1));
            open.push((node.left, next as usize, level + 1));
            next += 2;
        }
        let output = tree.output().map(|output| output as usize);
        Some(Self { hops, leaves, depth, output, values: tree.leaves().to_vec() })
    }

    /// Gives scratch columns their numbers; `None` if there are too many columns.
    pub fn place_scratch(&mut self, first: u32) -> Option<()> {
        for hop in self.hops.iter_mut().filter(|hop| hop.column & HIGH != 0) {
            hop.column = u16::try_from(first + u32::from(hop.column & !HIGH)).ok()?;
        }
        Some(())
    }

    /// Joins the leaf values of `rows` rows to their aggregates, `output` by `output`, of which those
    /// of a block of rows stand in `order`.
    pub fn join(
        &self,
        ranks: &[[u16; STRIP]],
        rows: usize,
        aggregation: Aggregation,
        order: &[u8],
        aggregates: &mut [[f64; STRIP]],
    ) {
        for first in (0..rows).step_by(LANES) {
            let hops = self.walk(ranks, first);
            for (row, hop) in (first..rows).zip(hops) {
                let place = row / order.len() * order.len() + usize::from(order[row % order.len()]);
                let leaf = self.leaves[hop as usize] as usize;
                match self.output {
                    Some(output) => {
                        let aggregate = &mut aggregates[output][place];
                        *aggregate = aggregation.join(*aggregate, self.values[leaf]);
                    }
                    None => {
                        let own = &self.values[leaf * aggregates.len()..];
                        for (aggregates, value) in aggregates.iter_mut().zip(own) {
                            aggregates[place] = aggregation.join(aggregates[place], *value);
                        }
                    }
                }
            }
        }
    }

    /// The hops at which rows from `first` on arrive.
    fn walk(&self, ranks: &[[u16; STRIP]], first: usize) -> [u32; LANES] {
        let mut at = [0_u32; LANES];
        let mut level = 0;
        while level < self.depth {
            let mut moved = 0;
            for _ in 0..LEVELS {
                for (lane, at) in at.iter_mut().enumerate() {
                    let hop = &self.hops[*at as usize];
                    let next = hop.left + u32::from(ranks[usize::from(hop.column)][first + lane] > hop.bin);
                    moved |= next ^ *at;
                    *at = next;
                }
            }
            if moved == 0 {
                break;
            }
            level += LEVELS;
        }
        at
    }
}

/// Marks a scratch column in the 16 bits of a hop.
const HIGH: u16 = 1 << 15;

/// The number of a wide column, or of a scratch column, in 16 bits.
fn pack(column: u32) -> Option<u16> {
    let mark = if column & SCRATCH == 0 { 0 } else { HIGH };
    let number = u16::try_from(column & !SCRATCH).ok()?;
    (number & HIGH == 0 && number != MISSING).then_some(number | mark)
}
