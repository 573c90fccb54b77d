//! The loops in plain Rust.

use super::Step;
use crate::forest::Aggregation;
use crate::forest::compiled::program::LeafTable;
use crate::forest::compiled::{BLOCK, STRIP};

pub(super) fn walk(steps: &[Step], columns: &[[i8; STRIP]], blocks: usize, leaves: &mut [u8; STRIP]) {
    if blocks * BLOCK == STRIP {
        walk_rows::<STRIP>(steps, columns, 0, leaves);
    } else {
        for (block, leaves) in leaves.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate().take(blocks) {
            walk_rows::<BLOCK>(steps, columns, block * BLOCK, leaves);
        }
    }
}

#[inline(always)]
fn walk_rows<const ROWS: usize>(steps: &[Step], columns: &[[i8; STRIP]], first: usize, leaves: &mut [u8; ROWS]) {
    leaves.fill(0);
    for step in steps {
        let values = &columns[step.column as usize][first..first + ROWS];
        let (bin, at, change) = (step.bin, step.at, step.at ^ step.to);
        for (leaf, value) in leaves.iter_mut().zip(values) {
            let moves = (u8::from(*leaf == at) & u8::from(*value > bin)).wrapping_neg();
            *leaf ^= moves & change;
        }
    }
}

pub(super) fn join(table: &LeafTable, aggregation: Aggregation, leaves: &[u8], aggregates: &mut [f64]) {
    match aggregation {
        Aggregation::Average | Aggregation::Sum => join_with(table, leaves, aggregates, |sum, value| sum + value),
        Aggregation::Minimum | Aggregation::Maximum => {
            join_with(table, leaves, aggregates, |aggregate, value| aggregation.join(aggregate, value));
        }
    }
}

#[inline(always)]
fn join_with(table: &LeafTable, leaves: &[u8], aggregates: &mut [f64], join: impl Fn(f64, f64) -> f64) {
    // Tables of a known size need no check of each leaf's number.
    match table.values.len() {
        64 => join_table::<64>(&table.values, leaves, aggregates, join),
        128 => join_table::<128>(&table.values, leaves, aggregates, join),
        _ => join_table::<256>(&table.values, leaves, aggregates, join),
    }
}

#[inline(always)]
fn join_table<const LEAVES: usize>(
    values: &[f64],
    leaves: &[u8],
    aggregates: &mut [f64],
    join: impl Fn(f64, f64) -> f64,
) {
    let Some(values) = values.first_chunk::<LEAVES>() else { return };
    for (aggregate, leaf) in aggregates.iter_mut().zip(leaves) {
        *aggregate = join(*aggregate, values[usize::from(*leaf) % LEAVES]);
    }
}

pub(super) fn look_up(bits: &[u8; 32], classes: &[i8; STRIP], answers: &mut [i8; STRIP]) {
    for (answer, class) in answers.iter_mut().zip(classes) {
        let class = *class as u8;
        let member = bits[usize::from(class / 8)] >> (class % 8) & 1;
        *answer = if member == 1 { i8::MIN } else { i8::MAX };
    }
}
