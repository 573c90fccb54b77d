//! Shapes that take each path of the scorer, and what has none of its own.

use super::drawn::{Random, Shape, bits, check, forest, reference, rows};
use lakemill::features::FeatureBlock;
use lakemill::forest::{Aggregation, Child, Compiled, Forest, Instructions, Missing, Rule, Side, TreeBuilder};

fn fixed(shape: &Shape, counts: &[usize]) {
    let mut random = Random(shape.seed);
    let forest = forest(&mut random, shape);
    for count in counts {
        check(&forest, &rows(&mut random, &forest, *count));
    }
}

pub const SHAPE: Shape = Shape {
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

/// As boosting makes them: a tree for each class in turn.
#[test]
fn classes_with_trees_of_their_own_are_equal() {
    fixed(&Shape { outputs: 10, trees: 60, leaves: 31, ..SHAPE }, &[1, 100, 600]);
    fixed(&Shape { outputs: 10, trees: 30, leaves: 300, plain: true, ..SHAPE }, &[600]);
    fixed(&Shape { outputs: 3, trees: 20, aggregation: Aggregation::Average, ..SHAPE }, &[600]);
}

#[test]
fn sparse_models_of_five_thousand_features_are_equal() {
    fixed(&Shape { features: 5000, trees: 60, leaves: 31, thresholds: 4, ..SHAPE }, &[5, 150]);
}

/// A tree in which a value finds its place among `leaves - 1` even numbers.
fn ladder(builder: &mut TreeBuilder, from: usize, leaves: usize) -> Child {
    if leaves == 1 {
        return builder.leaf(&[from as f64]);
    }
    let half = leaves / 2;
    let (left, right) = (ladder(builder, from, half), ladder(builder, from + half, leaves - half));
    builder.split(0, ((from + half) * 2) as f64, left, right)
}

fn ladders(trees: usize, leaves: usize) -> Forest {
    let tree = |tree: usize| {
        let mut builder = TreeBuilder::new(1);
        let root = ladder(&mut builder, tree * leaves, leaves);
        builder.finish(root, None)
    };
    Forest::new(1, vec![0.0], Aggregation::Sum, (0..trees).map(tree).collect()).unwrap()
}

#[test]
fn trees_of_thousands_of_leaves_are_compiled_in_parts_or_walked() {
    for (leaves, portable, vectors) in
        [(1024, true, true), (1025, false, true), (4096, false, true), (4097, false, false)]
    {
        let forest = ladders(2, leaves);
        for instructions in Instructions::available() {
            let compiles = if instructions == Instructions::Portable { portable } else { vectors };
            assert_eq!(Compiled::new(&forest, instructions).is_some(), compiles, "{leaves} leaves, {instructions:?}");
        }
        let values: Vec<f64> = (0..1500).map(|row| (row * 7919 % (leaves * 4 + 9)) as f64 - 4.0).collect();
        check(&forest, &FeatureBlock::from_columns(values.len(), &[values]));
    }
}

#[test]
fn features_with_more_boundaries_than_ranks_are_walked() {
    let (within, beyond) = (ladders(64, 1024), ladders(65, 1024));
    assert!(Compiled::new(&within, Instructions::Portable).is_some());
    assert!(Compiled::new(&beyond, Instructions::Portable).is_none());
    let values: Vec<f64> = (0..700).map(|row| f64::from(row) * 191.5 - 3.0).collect();
    let block = FeatureBlock::from_columns(values.len(), &[values]);
    check(&within, &block);
    check(&beyond, &block);
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
    let mut random = Random(1);
    let forest = forest(&mut random, &SHAPE);
    let block = rows(&mut random, &forest, 100);
    let expected = reference(&forest, &block);
    for instructions in [Instructions::Neon, Instructions::Avx2, Instructions::Avx512, Instructions::Avx512Vbmi] {
        assert_eq!(bits(&Compiled::new(&forest, instructions).unwrap().score(&forest, &block)), expected);
    }
    assert!(Instructions::available().contains(&Instructions::Portable));
    assert_eq!(Instructions::available()[0], Instructions::best());
}
