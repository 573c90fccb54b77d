//! Scores many rows at once.
//!
//! A stretch of rows is copied into a small row-major buffer that stays in the cache while *every*
//! tree passes over it; within a tree eight rows walk side by side, so that one row's wait for
//! memory is another row's step. Each row joins its leaves in tree order in `f64`, which is why the
//! result depends on neither the stretch nor the threads.

use super::{Forest, Tree};
use crate::features::FeatureBlock;

/// Rows that walk through a tree together.
const LANES: usize = 8;
/// Values of the row-major buffer: 256 KiB, a part of a second-level cache.
const BUFFER: usize = 32 * 1024;

/// The raw scores of all rows, row-major.
pub(super) fn score(forest: &Forest, block: &FeatureBlock) -> Vec<f64> {
    let (rows, features, outputs) = (block.rows(), forest.features(), forest.outputs());
    let mut scores = vec![forest.aggregation().start(); rows * outputs];
    let stretch = (BUFFER / features.max(1)).clamp(LANES, 1024).min(rows.max(1));
    let mut buffer = vec![0.0; stretch * features];
    for (index, sums) in scores.chunks_mut(stretch * outputs).enumerate() {
        let count = sums.len() / outputs;
        transpose(block, index * stretch, count, features, &mut buffer);
        for tree in forest.trees() {
            join_tree(forest, tree, &buffer[..count * features], sums);
        }
        for row in sums.chunks_mut(outputs) {
            forest.finish(row);
        }
    }
    scores
}

fn transpose(block: &FeatureBlock, start: usize, count: usize, features: usize, buffer: &mut [f64]) {
    for feature in 0..features {
        let column = &block.column(feature)[start..start + count];
        for (row, value) in column.iter().enumerate() {
            buffer[row * features + feature] = *value;
        }
    }
}

fn join_tree(forest: &Forest, tree: &Tree, rows: &[f64], scores: &mut [f64]) {
    let (features, outputs, aggregation) = (forest.features(), forest.outputs(), forest.aggregation());
    if features == 0 || tree.nodes().is_empty() {
        for row in scores.chunks_mut(outputs) {
            tree.join_leaf(0, aggregation, row);
        }
        return;
    }
    for (rows, scores) in rows.chunks(LANES * features).zip(scores.chunks_mut(LANES * outputs)) {
        let leaves = walk(tree, rows, features);
        for (row, leaf) in scores.chunks_mut(outputs).zip(leaves) {
            tree.join_leaf(leaf, aggregation, row);
        }
    }
}

/// The leaves of up to eight rows.
fn walk(tree: &Tree, rows: &[f64], features: usize) -> [usize; LANES] {
    let (nodes, sets) = (tree.nodes(), tree.sets());
    let mut at = [tree.root(); LANES];
    let lanes = rows.len() / features;
    loop {
        let mut walking = false;
        for (at, row) in at[..lanes].iter_mut().zip(rows.chunks_exact(features)) {
            if !at.is_leaf() {
                let node = &nodes[at.index()];
                *at = node.follow(row[node.feature as usize], sets);
                walking = true;
            }
        }
        if !walking {
            return at.map(|child| child.index());
        }
    }
}
