//! The compiled scorer: a forest as columns of small numbers and the splits that compare them.
//!
//! Each threshold rule is turned into `x <= boundary` in `f64`, exactly (`boundary`), so that the
//! boundaries of a feature are one sorted list, whatever the rules. A strip of 512 rows is ranked among
//! them, feature by feature, straight from the columns of the block (`cuts`), and ranks become columns
//! of bytes (`source`): a comparison of bytes is then the comparison of the model. 255 boundaries fit
//! into a column; a feature with more has several, each of which tells another stretch of boundaries. A
//! missing value is the highest byte or the lowest, where it goes right or left: a split needs
//! no rule for it. A question that is no threshold (equality, membership of a category) is answered for
//! the strip before its tree is walked, and its answers are a column too.
//!
//! Which path a tree takes:
//!
//! | tree | path | cost |
//! |---|---|---|
//! | up to 256 leaves | every split for every row, 16 to 64 rows an instruction (`kernel`) | splits |
//! | up to 4,096 (portable: 1,024) | the same, in parts of up to 256 leaves (`parts`) | splits |
//!
//! A model of segments scores a group of rows a forest (`models::segments`): groups of up to 16 rows are walked, larger
//! ones take the paths above once their forest has seen rows enough to be compiled.
//!
//! The walker over numbers as they are (`super::block`), whose cost is depth, scores what is not worth
//! compiling (few rows: `super::cache`) and forests that can't be or had better not: where a tree has
//! more leaves, or over 256 questions, or a feature over 65,534 boundaries. Measured with 100 trees, it
//! is as fast as the parts at about 4,000 leaves.
//!
//! Leaf values are joined in `f64` in the order of the trees of an output, so that the scores are
//! those of [`Forest::score_row`](super::Forest::score_row) to the bit, on any instruction set, for any
//! block and any number of threads.

mod boundary;
mod cuts;
mod kernel;
mod members;
mod parts;
mod plan;
mod program;
mod source;

pub use kernel::Instructions;

use super::Forest;
use crate::features::FeatureBlock;
use kernel::{Kernel, Step};
use parts::Parted;
use plan::{Plan, SCRATCH};
use program::{Body, Program};
use source::Source;

/// Rows that one instruction of the widest kernel takes.
const BLOCK: usize = 64;
/// Rows that are ranked, walked and joined together: eight blocks hide each other's waits.
const STRIP: usize = 8 * BLOCK;

/// A forest in the form that the kernels of one instruction set take.
#[derive(Debug)]
pub struct Compiled {
    kernel: Kernel,
    sources: Vec<Source>,
    programs: Vec<Program>,
    /// How many columns of bytes the sources fill; scratch columns follow.
    filled: usize,
    /// How many columns of bytes and how many wide ones a strip has.
    columns: [usize; 2],
}

impl Compiled {
    /// The compiled form for these instructions (the portable ones where the machine lacks them);
    /// `None` for a forest that has none (see the module).
    pub fn new(forest: &Forest, instructions: Instructions) -> Option<Self> {
        let kernel = Kernel::new(instructions);
        let mut plan = Plan::new(forest)?;
        let mut trees: Vec<_> = forest.trees().iter().collect();
        if trees.iter().all(|tree| tree.output().is_some()) {
            // The order within an output is kept, and its aggregates stay in the cache.
            trees.sort_by_key(|tree| tree.output());
        }
        let compile = |tree: &super::Tree| program::compile(tree, forest.outputs(), &mut plan, kernel);
        let mut programs: Vec<Program> = trees.into_iter().map(compile).collect::<Option<_>>()?;
        let filled = plan.columns.map(|count| count as usize);
        let mut columns = filled;
        for program in &mut programs {
            columns[0] = columns[0].max(filled[0] + program.members.len());
            let steps: Vec<&mut [Step]> = match &mut program.body {
                Body::Whole(steps, _) => vec![steps],
                Body::Parted(tree) => tree.parts.iter_mut().map(|part| &mut part.steps[..]).collect(),
            };
            for step in steps.into_iter().flatten().filter(|step| step.column & SCRATCH != 0) {
                step.column = plan.columns[0] + (step.column & !SCRATCH);
            }
        }
        Some(Self { kernel, sources: plan.sources, programs, filled: filled[0], columns })
    }

    /// What it holds in memory, in bytes, but for what the allocator adds.
    pub fn bytes(&self) -> usize {
        let sources: usize = self.sources.iter().map(Source::own_bytes).sum();
        sources + self.programs.iter().map(Program::own_bytes).sum::<usize>()
    }

    /// The raw scores of all rows, row-major, as [`Forest::score`]; `forest` is the one that was compiled.
    pub fn score(&self, forest: &Forest, block: &FeatureBlock) -> Vec<f64> {
        let (rows, outputs) = (block.rows(), forest.outputs());
        let mut scores = vec![0.0; rows * outputs];
        let order = self.kernel.order();
        let mut strip = Strip::new(self, outputs);
        for (index, scores) in scores.chunks_mut(STRIP * outputs).enumerate() {
            let count = scores.len() / outputs;
            for source in &self.sources {
                let values = &block.column(source.feature)[index * STRIP..index * STRIP + count];
                self.kernel.fill(source, values, &mut strip.bytes, &mut strip.wide);
            }
            self.walk(forest, count, &order, &mut strip);
            for (row, scores) in scores.chunks_mut(outputs).enumerate() {
                let place = row / BLOCK * BLOCK + usize::from(order[row % BLOCK]);
                for (score, aggregates) in scores.iter_mut().zip(&strip.aggregates) {
                    *score = aggregates[place];
                }
                forest.finish(scores);
            }
        }
        scores
    }

    /// The aggregates of the first `count` rows of a strip whose columns are filled.
    fn walk(&self, forest: &Forest, count: usize, order: &[u8; BLOCK], strip: &mut Strip) {
        let (aggregation, blocks) = (forest.aggregation(), count.div_ceil(BLOCK));
        let padded = blocks * BLOCK;
        let Strip { bytes, wide, leaves, aggregates } = strip;
        for aggregates in aggregates.iter_mut() {
            aggregates.fill(aggregation.start());
        }
        for program in &self.programs {
            let (filled, scratch) = bytes.split_at_mut(self.filled);
            for (member, answers) in program.members.iter().zip(scratch) {
                member.answer(self.kernel, filled, wide, answers);
            }
            match &program.body {
                Body::Whole(steps, tables) => {
                    self.kernel.walk(steps, bytes, blocks, leaves);
                    for table in tables {
                        let aggregates = &mut aggregates[table.output][..padded];
                        self.kernel.join(table, aggregation, &leaves[..padded], aggregates);
                    }
                }
                Body::Parted(tree) => {
                    let mut codes = Parted::start();
                    for part in &tree.parts {
                        if part.is_reached(&codes) {
                            self.kernel.walk(&part.steps, bytes, blocks, leaves);
                            part.enter(leaves, &mut codes);
                        }
                    }
                    tree.join(&codes, count, aggregation, order, aggregates);
                }
            }
        }
    }
}

/// What one strip of rows becomes; filled anew for each.
struct Strip {
    bytes: Vec<[i8; STRIP]>,
    wide: Vec<[u16; STRIP]>,
    leaves: [u8; STRIP],
    aggregates: Vec<[f64; STRIP]>,
}

impl Strip {
    fn new(compiled: &Compiled, outputs: usize) -> Self {
        Self {
            bytes: vec![[0; STRIP]; compiled.columns[0]],
            wide: vec![[0; STRIP]; compiled.columns[1]],
            leaves: [0; STRIP],
            aggregates: vec![[0.0; STRIP]; outputs],
        }
    }
}
