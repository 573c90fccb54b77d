//! Forests and rows of every kind, drawn from a seed, and the comparison of every path with the one-row walker.

use lakemill::features::FeatureBlock;
use lakemill::forest::{
    Aggregation, Child, Comparison, Compiled, Forest, Instructions, Missing, Precision, Rule, Side, Tree, TreeBuilder,
};

/// SplitMix64: numbers without a library, so that all of this is compiled for any target by the compiler alone.
pub struct Random(pub u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `count`.
    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.word()) * count as u128) >> 64) as usize
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// At least 0 and below 1.
    fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What forests are drawn from.
#[derive(Debug, Clone)]
pub struct Shape {
    pub features: usize,
    pub outputs: usize,
    pub trees: usize,
    /// The most leaves of a tree.
    pub leaves: usize,
    /// Splits go on at the last leaf only, so that trees are as deep as they have splits.
    pub chain: bool,
    /// Trees for one output each, leaf vectors, or both.
    pub vectors: Option<bool>,
    /// Thresholds are drawn from so many numbers a feature.
    pub thresholds: usize,
    /// Only `x <= t` in `f64` with NaN to the right.
    pub plain: bool,
    pub aggregation: Aggregation,
    pub seed: u64,
}

/// Numbers with few bits, at the ends, around zero, and category codes.
fn threshold(random: &mut Random, thresholds: usize) -> f64 {
    let odd =
        [0.0, -0.0, 1e-45, 1e-35_f32.into(), -1e-36, f64::from(f32::MAX), f64::MAX, f64::INFINITY, 5e-324, 1e-310];
    match random.below(8) {
        0 => random.pick(&odd) * random.pick(&[1.0, -1.0]),
        1 => random.below(40) as f64,
        _ => random.below(thresholds) as f64 * 0.37 - 5.0,
    }
}

fn missing(random: &mut Random) -> Missing {
    let sides = [Side::Left, Side::Right];
    match random.below(3) {
        0 => Missing::Nan(random.pick(&sides)),
        1 => Missing::NanOrZero(random.pick(&sides)),
        _ => Missing::NanIsZero,
    }
}

fn rule(random: &mut Random, builder: &mut TreeBuilder, thresholds: usize) -> Rule {
    if random.below(6) == 0 {
        let count = random.below(12);
        let members: Vec<u32> = (0..count)
            .map(|_| if random.below(9) == 0 { random.word() as u32 } else { random.below(300) as u32 })
            .collect();
        return Rule::Category { set: builder.set(members) };
    }
    let comparison = random.pick(&[Comparison::AtMost, Comparison::AtMost, Comparison::Below, Comparison::Equal]);
    let precision = random.pick(&[Precision::F64, Precision::F32]);
    let value = threshold(random, thresholds);
    let value = if precision == Precision::F32 { f64::from(value as f32) } else { value };
    Rule::Threshold { value, comparison, precision }
}

/// A tree that adds to this output, if it adds to only one.
fn tree(random: &mut Random, shape: &Shape, output: usize) -> Tree {
    let vector = shape.vectors.unwrap_or_else(|| random.coin());
    let width = if vector { shape.outputs } else { 1 };
    let mut builder = TreeBuilder::new(width);
    let leaves = 1 + random.below(shape.leaves);
    let leaf = |random: &mut Random, builder: &mut TreeBuilder| {
        // Zeros of both signs show which of two equal values a minimum keeps.
        let value = |random: &mut Random| match shape.seed % 4 {
            0 => random.pick(&[0.0, -0.0, 0.5]) * random.unit(),
            _ => random.pick(&[1.0, -1.0, 1e-9, 1e9]) * random.unit(),
        };
        let values: Vec<f64> = (0..width).map(|_| value(random)).collect();
        builder.leaf(&values)
    };
    let mut parts: Vec<Child> = (0..leaves).map(|_| leaf(random, &mut builder)).collect();
    while parts.len() > 1 {
        let right = parts.swap_remove(if shape.chain { parts.len() - 1 } else { random.below(parts.len()) });
        let at = if shape.chain { parts.len() - 1 } else { random.below(parts.len()) };
        let feature = random.below(shape.features) as u32;
        parts[at] = if shape.plain {
            builder.split(feature, threshold(random, shape.thresholds), parts[at], right)
        } else {
            let rule = rule(random, &mut builder, shape.thresholds);
            builder.branch(feature, rule, missing(random), parts[at], right)
        };
    }
    builder.finish(parts[0], (!vector).then_some(output as u32))
}

pub fn forest(random: &mut Random, shape: &Shape) -> Forest {
    // Each output has a tree: one of its own, or the first one adds to all.
    let trees = shape.trees.max(if shape.vectors == Some(false) { shape.outputs } else { 1 });
    let tree = |index: usize| {
        let vectors = if index == 0 { shape.vectors.or(Some(true)) } else { shape.vectors };
        let output = if index < shape.outputs { index } else { random.below(shape.outputs) };
        tree(random, &Shape { vectors, ..shape.clone() }, output)
    };
    let trees = (0..trees).map(tree).collect();
    let base = (0..shape.outputs).map(|_| random.pick(&[-0.0, 0.25, -1e9])).collect();
    Forest::new(shape.features, base, shape.aggregation, trees).unwrap()
}

/// Rows of thresholds of the forest, their neighbours in both types, and values without any rule.
pub fn rows(random: &mut Random, forest: &Forest, rows: usize) -> FeatureBlock {
    let mut thresholds = vec![0.0];
    for node in forest.trees().iter().flat_map(Tree::nodes) {
        if let Rule::Threshold { value, .. } = node.rule {
            thresholds.push(value);
        }
    }
    let mut block = FeatureBlock::zeros(rows, forest.features());
    for feature in 0..forest.features() {
        // Columns without a missing value are ranked by another loop.
        let holes = random.coin();
        for value in block.column_mut(feature) {
            let near = random.pick(&thresholds);
            let odd = [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-36, -0.5, 4_294_967_296.0, 1e300];
            *value = match random.below(9) {
                0 if holes => f64::NAN,
                1 => random.pick(&odd),
                2 => near.next_up(),
                3 => near.next_down(),
                4 => f64::from((near as f32).next_up()),
                5 => (f64::from(near as f32) + f64::from((near as f32).next_down())) / 2.0,
                6 => random.below(300) as f64 + 0.25,
                _ => near,
            };
            if value.is_nan() && !holes {
                *value = 1.0;
            }
        }
    }
    block
}

pub fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// The scores of the one-row walker.
pub fn reference(forest: &Forest, block: &FeatureBlock) -> Vec<u64> {
    let row = |row: usize| (0..block.features()).map(|feature| block.value(row, feature)).collect::<Vec<f64>>();
    (0..block.rows()).flat_map(|index| bits(&forest.score_row(&row(index)))).collect()
}

/// Every form that the forest has, against the one-row walker.
pub fn check(forest: &Forest, block: &FeatureBlock) {
    let expected = reference(forest, block);
    for instructions in Instructions::available() {
        let Some(compiled) = Compiled::new(forest, instructions) else { continue };
        assert!(bits(&compiled.score(forest, block)) == expected, "{instructions:?}, {} rows", block.rows());
    }
    // First as the block scorer walks it, then compiled or not by what it finds worth.
    for _ in 0..3 {
        assert!(bits(&forest.score(block)) == expected, "{} rows", block.rows());
    }
}
