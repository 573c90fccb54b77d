//! NEON: 16 rows an instruction.

use super::Step;
use crate::forest::compiled::{BLOCK, STRIP};
use std::arch::aarch64::*;

/// Rows of a register.
const ROWS: usize = 16;

/// Registers of a block.
const REGISTERS: usize = BLOCK / ROWS;

#[target_feature(enable = "neon")]
pub(super) fn walk(steps: &[Step], columns: &[[i8; STRIP]], blocks: usize, leaves: &mut [u8; STRIP]) {
    let (pairs, rest) = leaves.as_chunks_mut::<BLOCK>().0[..blocks].as_chunks_mut::<2>();
    for (pair, leaves) in pairs.iter_mut().enumerate() {
        walk_pair(steps, columns, 2 * pair, leaves);
    }
    for leaves in rest {
        walk_block(steps, columns, blocks - 1, leaves);
    }
}

/// The rows of two blocks: as many splits at once as four pipes need to be busy. Nothing here is a loop over registers,
/// since the compiler leaves in memory what such a loop goes through.
#[target_feature(enable = "neon")]
fn walk_pair(steps: &[Step], columns: &[[i8; STRIP]], first: usize, leaves: &mut [[u8; BLOCK]; 2]) {
    let [mut at, mut other] = [[vdupq_n_u8(0); REGISTERS]; 2];
    for step in steps {
        let blocks = columns[step.column as usize].as_chunks::<BLOCK>().0;
        at = next(step, at, &blocks[first]);
        other = next(step, other, &blocks[first + 1]);
    }
    store(at, &mut leaves[0]);
    store(other, &mut leaves[1]);
}

#[target_feature(enable = "neon")]
fn walk_block(steps: &[Step], columns: &[[i8; STRIP]], block: usize, leaves: &mut [u8; BLOCK]) {
    let mut at = [vdupq_n_u8(0); REGISTERS];
    for step in steps {
        at = next(step, at, &columns[step.column as usize].as_chunks::<BLOCK>().0[block]);
    }
    store(at, leaves);
}

/// The leaves of a block's rows after one more split.
#[target_feature(enable = "neon")]
#[inline]
fn next(step: &Step, at: [uint8x16_t; REGISTERS], values: &[i8; BLOCK]) -> [uint8x16_t; REGISTERS] {
    let (bin, own, to) = (vdupq_n_s8(step.bin), vdupq_n_u8(step.at), vdupq_n_u8(step.to));
    let parts = values.as_chunks::<ROWS>().0;
    let one = |part: usize| {
        // SAFETY: a part has 16 bytes; the load needs no alignment.
        let values = unsafe { vld1q_s8(parts[part].as_ptr()) };
        vbslq_u8(vandq_u8(vceqq_u8(at[part], own), vcgtq_s8(values, bin)), to, at[part])
    };
    [one(0), one(1), one(2), one(3)]
}

#[target_feature(enable = "neon")]
#[inline]
fn store(at: [uint8x16_t; REGISTERS], leaves: &mut [u8; BLOCK]) {
    for (at, leaves) in at.into_iter().zip(leaves.as_chunks_mut::<ROWS>().0) {
        // SAFETY: `leaves` has 16 bytes; the store needs no alignment.
        unsafe { vst1q_u8(leaves.as_mut_ptr(), at) };
    }
}

/// The byte of a class is looked up in one table, its bit in another.
#[target_feature(enable = "neon")]
pub(super) fn look_up(bits: &[u8; 32], classes: &[i8; STRIP], answers: &mut [i8; STRIP]) {
    let bit = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: the tables have 32 and 16 bytes; the loads need no alignment.
    let (bits, bit) = unsafe { (vld1q_u8_x2(bits.as_ptr()), vld1q_u8(bit.as_ptr())) };
    let (seven, highest) = (vdupq_n_u8(7), vdupq_n_u8(i8::MAX as u8));
    for (classes, answers) in classes.as_chunks::<ROWS>().0.iter().zip(answers.as_chunks_mut::<ROWS>().0) {
        // SAFETY: `classes` has 16 bytes; the load needs no alignment.
        let classes = vreinterpretq_u8_s8(unsafe { vld1q_s8(classes.as_ptr()) });
        let byte = vqtbl2q_u8(bits, vshrq_n_u8::<3>(classes));
        let member = vtstq_u8(byte, vqtbl1q_u8(bit, vandq_u8(classes, seven)));
        // SAFETY: `answers` has 16 bytes; the store needs no alignment.
        unsafe { vst1q_s8(answers.as_mut_ptr(), vreinterpretq_s8_u8(veorq_u8(member, highest))) };
    }
}
