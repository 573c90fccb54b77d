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

/// The byte of a class among 32 is that of one of two tables of 16, its bit that of a third table.
#[target_feature(enable = "avx2")]
pub(super) fn look_up(bits: &[u8; 32], classes: &[i8; STRIP], answers: &mut [i8; STRIP]) {
    let tables = bits.as_chunks::<16>().0;
    // SAFETY: a table has 16 bytes; the loads need no alignment.
    let [low, high] = std::array::from_fn(|half| unsafe { _mm_loadu_si128(tables[half].as_ptr().cast()) });
    let [low, high] = [low, high].map(|half| _mm256_broadcastsi128_si256(half));
    let bit = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128_u8]));
    let [seven, thirty_one, highest] = [7, 31, i8::MAX].map(|byte| _mm256_set1_epi8(byte));
    for (classes, answers) in classes.as_chunks::<ROWS>().0.iter().zip(answers.as_chunks_mut::<ROWS>().0) {
        // SAFETY: `classes` has 32 bytes; the load needs no alignment.
        let classes = unsafe { _mm256_loadu_si256(classes.as_ptr().cast()) };
        let byte = _mm256_and_si256(_mm256_srli_epi16::<3>(classes), thirty_one);
        let byte = _mm256_blendv_epi8(_mm256_shuffle_epi8(low, byte), _mm256_shuffle_epi8(high, byte), classes);
        let bit = _mm256_shuffle_epi8(bit, _mm256_and_si256(classes, seven));
        let member = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
        // SAFETY: `answers` has 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(answers.as_mut_ptr().cast(), _mm256_xor_si256(member, highest)) };
    }
}
