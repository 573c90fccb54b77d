//! NEON: 16 rows an instruction.

use super::Step;
use crate::forest::compiled::{BLOCK, STRIP};
use std::arch::aarch64::*;

/// Rows of a register.
const ROWS: usize = 16;

#[target_feature(enable = "neon")]
pub(super) fn walk(steps: &[Step], columns: &[[i8; STRIP]], blocks: usize, leaves: &mut [u8; STRIP]) {
    // Sixteen registers of leaves are what thirty-two registers leave room for.
    for first in (0..blocks.min(STRIP / BLOCK)).step_by(4) {
        match blocks - first {
            1 => walk_registers::<4>(steps, columns, first * BLOCK, leaves),
            2 => walk_registers::<8>(steps, columns, first * BLOCK, leaves),
            _ => walk_registers::<16>(steps, columns, first * BLOCK, leaves),
        }
    }
}

/// The rows of `N` registers from `first` on.
#[target_feature(enable = "neon")]
fn walk_registers<const N: usize>(steps: &[Step], columns: &[[i8; STRIP]], first: usize, leaves: &mut [u8; STRIP]) {
    let mut at = [vdupq_n_u8(0); N];
    for step in steps {
        let (bin, own, to) = (vdupq_n_s8(step.bin), vdupq_n_u8(step.at), vdupq_n_u8(step.to));
        let values = &columns[step.column as usize][first..first + N * ROWS];
        for (register, at) in at.iter_mut().enumerate() {
            // SAFETY: `values` has `N` times 16 bytes; the load needs no alignment.
            let values = unsafe { vld1q_s8(values.as_ptr().add(register * ROWS)) };
            let moves = vandq_u8(vceqq_u8(*at, own), vcgtq_s8(values, bin));
            *at = vbslq_u8(moves, to, *at);
        }
    }
    let leaves = &mut leaves[first..first + N * ROWS];
    for (register, at) in at.iter().enumerate() {
        // SAFETY: `leaves` has `N` times 16 bytes; the store needs no alignment.
        unsafe { vst1q_u8(leaves.as_mut_ptr().add(register * ROWS), *at) };
    }
}
