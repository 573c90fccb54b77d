//! AVX2: 32 rows an instruction.

use super::Step;
use crate::forest::compiled::source::Source;
use crate::forest::compiled::{BLOCK, STRIP};
use std::arch::x86_64::*;

/// Rows of a register.
const ROWS: usize = 32;

#[target_feature(enable = "avx2")]
pub(super) fn fill(source: &Source, values: &[f64], bytes: &mut [[i8; STRIP]], wide: &mut [[u16; STRIP]]) {
    source.fill(values, bytes, wide);
}

#[target_feature(enable = "avx2")]
pub(super) fn walk(steps: &[Step], columns: &[[i8; STRIP]], blocks: usize, leaves: &mut [u8; STRIP]) {
    // Eight registers of leaves are what sixteen registers leave room for.
    for first in (0..blocks.min(STRIP / BLOCK)).step_by(4) {
        match blocks - first {
            1 => walk_registers::<2>(steps, columns, first * BLOCK, leaves),
            2 => walk_registers::<4>(steps, columns, first * BLOCK, leaves),
            _ => walk_registers::<8>(steps, columns, first * BLOCK, leaves),
        }
    }
}

/// The rows of `N` registers from `first` on.
#[target_feature(enable = "avx2")]
fn walk_registers<const N: usize>(steps: &[Step], columns: &[[i8; STRIP]], first: usize, leaves: &mut [u8; STRIP]) {
    let mut at = [_mm256_setzero_si256(); N];
    for step in steps {
        let bin = _mm256_set1_epi8(step.bin);
        let [own, to] = [step.at, step.to].map(|leaf| _mm256_set1_epi8(leaf as i8));
        let values = &columns[step.column as usize][first..first + N * ROWS];
        for (register, at) in at.iter_mut().enumerate() {
            // SAFETY: `values` has `N` times 32 bytes; the load needs no alignment.
            let values = unsafe { _mm256_loadu_si256(values.as_ptr().add(register * ROWS).cast()) };
            let moves = _mm256_and_si256(_mm256_cmpeq_epi8(*at, own), _mm256_cmpgt_epi8(values, bin));
            *at = _mm256_blendv_epi8(*at, to, moves);
        }
    }
    let leaves = &mut leaves[first..first + N * ROWS];
    for (register, at) in at.iter().enumerate() {
        // SAFETY: `leaves` has `N` times 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(leaves.as_mut_ptr().add(register * ROWS).cast(), *at) };
    }
}
