//! Every path of the forest scorer against the one-row walker, to the bit, on every instruction set
//! that the machine has.

use lakemill::features::FeatureBlock;
use lakemill::forest::{
    Aggregation, Child, Comparison, Compiled, Forest, Instructions, Missing, Precision, Rule, Side, Tree, TreeBuilder,
};
use proptest::prelude::*;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// What forests are drawn from.
#[derive(Debug, Clone)]
struct Shape {
    features: usize,
    outputs: usize,
    trees: usize,
    /// The most leaves of a tree.
    leaves: usize,
    /// Splits go on at the last leaf only, so that trees are as deep as they have splits.
    chain: bool,
    /// Trees for one output each, leaf vectors, or both.
    vectors: Option<bool>,
    /// Thresholds are drawn from so many numbers a feature.
    thresholds: usize,
    /// Only `x <= t` in `f64` with NaN to the right.
    plain: bool,
    aggregation: Aggregation,
    seed: u64,
}

fn pick<T: Copy>(random: &mut ChaCha8Rng, from: &[T]) -> T {
    from[random.random_range(0..from.len())]
}

/// Numbers with few bits, at the ends, around zero, and category codes.
fn threshold(random: &mut ChaCha8Rng, thresholds: usize) -> f64 {
    let odd =
        [0.0, -0.0, 1e-45, 1e-35_f32.into(), -1e-36, f64::from(f32::MAX), f64::MAX, f64::INFINITY, 5e-324, 1e-310];
    match random.random_range(0..8) {
        0 => pick(random, &odd) * pick(random, &[1.0, -1.0]),
        1 => f64::from(random.random_range(0..40_u32)),
        _ => f64::from(random.random_range(0..thresholds as u32)) * 0.37 - 5.0,
    }
}

fn missing(random: &mut ChaCha8Rng) -> Missing {
    let sides = [Side::Left, Side::Right];
    match random.random_range(0..3) {
        0 => Missing::Nan(pick(random, &sides)),
        1 => Missing::NanOrZero(pick(random, &sides)),
        _ => Missing::NanIsZero,
    }
}

fn rule(random: &mut ChaCha8Rng, builder: &mut TreeBuilder, thresholds: usize) -> Rule {
    if random.random_range(0..6) == 0 {
        let count = random.random_range(0..12);
        let members: Vec<u32> = (0..count)
            .map(|_| if random.random_range(0..9) == 0 { random.random() } else { random.random_range(0..300) })
            .collect();
        return Rule::Category { set: builder.set(members) };
    }
    let comparison = pick(random, &[Comparison::AtMost, Comparison::AtMost, Comparison::Below, Comparison::Equal]);
    let precision = pick(random, &[Precision::F64, Precision::F32]);
    let value = threshold(random, thresholds);
    let value = if precision == Precision::F32 { f64::from(value as f32) } else { value };
    Rule::Threshold { value, comparison, precision }
}

fn tree(random: &mut ChaCha8Rng, shape: &Shape) -> Tree {
    let vector = shape.vectors.unwrap_or_else(|| random.random());
    let width = if vector { shape.outputs } else { 1 };
    let mut builder = TreeBuilder::new(width);
    let leaves = random.random_range(1..=shape.leaves);
    let leaf = |random: &mut ChaCha8Rng, builder: &mut TreeBuilder| {
        // Zeros of both signs show which of two equal values a minimum keeps.
        let value = |random: &mut ChaCha8Rng| match shape.seed % 4 {
            0 => pick(random, &[0.0, -0.0, 0.5]) * random.random::<f64>(),
            _ => pick(random, &[1.0, -1.0, 1e-9, 1e9]) * random.random::<f64>(),
        };
        let values: Vec<f64> = (0..width).map(|_| value(random)).collect();
        builder.leaf(&values)
    };
    let mut parts: Vec<Child> = (0..leaves).map(|_| leaf(random, &mut builder)).collect();
    while parts.len() > 1 {
        let right = parts.swap_remove(if shape.chain { parts.len() - 1 } else { random.random_range(0..parts.len()) });
        let at = if shape.chain { parts.len() - 1 } else { random.random_range(0..parts.len()) };
        let feature = random.random_range(0..shape.features as u32);
        parts[at] = if shape.plain {
            builder.split(feature, threshold(random, shape.thresholds), parts[at], right)
        } else {
            let rule = rule(random, &mut builder, shape.thresholds);
            builder.branch(feature, rule, missing(random), parts[at], right)
        };
    }
    let output = (!vector).then(|| random.random_range(0..shape.outputs as u32));
    builder.finish(parts[0], output)
}

fn forest(random: &mut ChaCha8Rng, shape: &Shape) -> Forest {
    // A tree that adds to all outputs comes first, so that each has one.
    let first = Shape { vectors: Some(true), ..shape.clone() };
    let shapes = [first].into_iter().chain(std::iter::repeat(shape.clone()));
    let trees = shapes.take(shape.trees).map(|shape| tree(random, &shape)).collect();
    let base = (0..shape.outputs).map(|_| pick(random, &[-0.0, 0.25, -1e9])).collect();
    Forest::new(shape.features, base, shape.aggregation, trees).unwrap()
}

/// Rows of thresholds of the forest, their neighbours in both types, and values without any rule.
fn rows(random: &mut ChaCha8Rng, forest: &Forest, rows: usize) -> FeatureBlock {
    let mut thresholds = vec![0.0];
    for node in forest.trees().iter().flat_map(Tree::nodes) {
        if let Rule::Threshold { value, .. } = node.rule {
            thresholds.push(value);
        }
    }
    let mut block = FeatureBlock::zeros(rows, forest.features());
    for feature in 0..forest.features() {
        // Columns without a missing value are ranked by another loop.
        let holes = random.random();
        for value in block.column_mut(feature) {
            let near = pick(random, &thresholds);
            let odd = [f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-36, -0.5, 4_294_967_296.0, 1e300];
            *value = match random.random_range(0..9) {
                0 if holes => f64::NAN,
                1 => pick(random, &odd),
                2 => near.next_up(),
                3 => near.next_down(),
                4 => f64::from((near as f32).next_up()),
                5 => (f64::from(near as f32) + f64::from((near as f32).next_down())) / 2.0,
                6 => f64::from(random.random_range(0..300_u32)) + 0.25,
                _ => near,
            };
            if value.is_nan() && !holes {
                *value = 1.0;
            }
        }
    }
    block
}

fn bits(scores: &[f64]) -> Vec<u64> {
    scores.iter().map(|score| score.to_bits()).collect()
}

/// The scores of the one-row walker.
fn reference(forest: &Forest, block: &FeatureBlock) -> Vec<u64> {
    let row = |row: usize| (0..block.features()).map(|feature| block.value(row, feature)).collect::<Vec<f64>>();
    (0..block.rows()).flat_map(|index| bits(&forest.score_row(&row(index)))).collect()
}

fn check(forest: &Forest, block: &FeatureBlock) {
    let expected = reference(forest, block);
    for instructions in Instructions::available() {
        let compiled = Compiled::new(forest, instructions).unwrap();
        assert!(bits(&compiled.score(forest, block)) == expected, "{instructions:?}, {} rows", block.rows());
    }
    // First as the block scorer walks it, then compiled or not by what it finds worth.
    for _ in 0..3 {
        assert!(bits(&forest.score(block)) == expected, "{} rows", block.rows());
    }
}

fn aggregation() -> impl Strategy<Value = Aggregation> {
    let all = [Aggregation::Average, Aggregation::Sum, Aggregation::Minimum, Aggregation::Maximum];
    prop::sample::select(all.to_vec())
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaves = prop::sample::select(vec![1, 2, 31, 64, 65, 128, 129, 256, 257, 500]);
    let thresholds = prop::sample::select(vec![1, 20, 200, 3000]);
    let vectors = prop::sample::select(vec![None, Some(false), Some(true)]);
    (
        1..5_usize,
        1..4_usize,
        1..6_usize,
        leaves,
        any::<bool>(),
        vectors,
        thresholds,
        any::<bool>(),
        aggregation(),
        any::<u64>(),
    )
        .prop_map(|(features, outputs, trees, leaves, chain, vectors, thresholds, plain, aggregation, seed)| {
            Shape { features, outputs, trees, leaves, chain, vectors, thresholds, plain, aggregation, seed }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_instruction_set_equals_the_one_row_walker(shape in shape(), count in 0..200_usize) {
        let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
        let forest = forest(&mut random, &shape);
        check(&forest, &rows(&mut random, &forest, count));
    }
}

fn fixed(shape: &Shape, counts: &[usize]) {
    let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
    let forest = forest(&mut random, shape);
    for count in counts {
        check(&forest, &rows(&mut random, &forest, *count));
    }
}

const SHAPE: Shape = Shape {
    features: 7,
    outputs: 1,
    trees: 12,
    leaves: 64,
    chain: false,
    vectors: Some(false),
    thresholds: 200,
    plain: false,
    aggregation: Aggregation::Sum,
    seed: 5,
};

#[test]
fn blocks_of_every_size_and_around_the_strip_are_equal() {
    let sizes: Vec<usize> = (0..=200).chain([255, 256, 257, 319, 384, 449, 511, 512, 513, 1023, 1024, 1100]).collect();
    fixed(&SHAPE, &sizes);
}

#[test]
fn chains_of_three_hundred_levels_and_deep_trees_are_equal() {
    fixed(&Shape { chain: true, leaves: 301, trees: 4, ..SHAPE }, &[70, 600]);
    fixed(&Shape { chain: true, leaves: 1000, plain: true, trees: 6, ..SHAPE }, &[70]);
    fixed(&Shape { leaves: 1000, plain: true, outputs: 3, vectors: None, thresholds: 4000, ..SHAPE }, &[70, 600]);
}

#[test]
fn features_with_thousands_of_boundaries_are_equal() {
    fixed(&Shape { features: 1, thresholds: 100_000, trees: 60, leaves: 200, plain: true, ..SHAPE }, &[600]);
    fixed(&Shape { features: 2, thresholds: 100_000, trees: 60, leaves: 200, ..SHAPE }, &[600]);
}

#[test]
fn many_outputs_and_wide_models_are_equal() {
    fixed(&Shape { outputs: 12, trees: 40, vectors: None, ..SHAPE }, &[100, 600]);
    fixed(&Shape { features: 3000, trees: 100, ..SHAPE }, &[100]);
}

/// What has no compiled form is scored all the same.
#[test]
fn forests_that_cannot_be_compiled_are_walked() {
    let mut builder = TreeBuilder::new(1);
    let mut part = builder.leaf(&[0.0]);
    for code in 0..400_u32 {
        let leaf = builder.leaf(&[f64::from(code + 1)]);
        let set = builder.set([code, code + 1000]);
        part = builder.branch(0, Rule::Category { set }, Missing::Nan(Side::Right), leaf, part);
    }
    let tree = builder.finish(part, None);
    let forest = Forest::new(1, vec![0.0], Aggregation::Sum, vec![tree]).unwrap();
    assert!(Compiled::new(&forest, Instructions::Portable).is_none());
    let codes: Vec<f64> = (0..1500).map(f64::from).collect();
    let block = FeatureBlock::from_columns(codes.len(), &[codes]);
    assert_eq!(bits(&forest.score(&block)), reference(&forest, &block));
}

#[test]
fn instructions_that_a_machine_lacks_fall_back() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let forest = forest(&mut random, &SHAPE);
    let block = rows(&mut random, &forest, 100);
    let expected = reference(&forest, &block);
    for instructions in [Instructions::Neon, Instructions::Avx2, Instructions::Avx512, Instructions::Avx512Vbmi] {
        assert_eq!(bits(&Compiled::new(&forest, instructions).unwrap().score(&forest, &block)), expected);
    }
    assert!(Instructions::available().contains(&Instructions::Portable));
    assert_eq!(Instructions::available()[0], Instructions::best());
}
