//! AVX-512: 64 rows an instruction.

use super::Step;
use crate::forest::Aggregation;
use crate::forest::compiled::program::LeafTable;
use crate::forest::compiled::source::Source;
use crate::forest::compiled::{BLOCK, STRIP};
use std::arch::x86_64::*;

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn fill(source: &Source, values: &[f64], bytes: &mut [[i8; STRIP]], wide: &mut [[u16; STRIP]]) {
    source.fill(values, bytes, wide);
}

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn walk(steps: &[Step], columns: &[[i8; STRIP]], blocks: usize, leaves: &mut [u8; STRIP]) {
    match blocks {
        1 => walk_blocks::<1>(steps, columns, leaves),
        2 => walk_blocks::<2>(steps, columns, leaves),
        3 | 4 => walk_blocks::<4>(steps, columns, leaves),
        _ => walk_blocks::<8>(steps, columns, leaves),
    }
}

/// The rows of the first `N` blocks: one row's wait for its last split is another row's step.
#[target_feature(enable = "avx512f,avx512bw")]
fn walk_blocks<const N: usize>(steps: &[Step], columns: &[[i8; STRIP]], leaves: &mut [u8; STRIP]) {
    let mut at = [_mm512_setzero_si512(); N];
    for step in steps {
        let bin = _mm512_set1_epi8(step.bin);
        let [own, to] = [step.at, step.to].map(|leaf| _mm512_set1_epi8(leaf as i8));
        let values = &columns[step.column as usize][..N * BLOCK];
        for (block, at) in at.iter_mut().enumerate() {
            // SAFETY: `values` has `N` times 64 bytes; the load needs no alignment.
            let values = unsafe { _mm512_loadu_si512(values.as_ptr().add(block * BLOCK).cast()) };
            let moves = _mm512_mask_cmpgt_epi8_mask(_mm512_cmpeq_epi8_mask(*at, own), values, bin);
            *at = _mm512_mask_mov_epi8(*at, moves, to);
        }
    }
    let leaves = &mut leaves[..N * BLOCK];
    for (block, at) in at.iter().enumerate() {
        // SAFETY: `leaves` has `N` times 64 bytes; the store needs no alignment.
        unsafe { _mm512_storeu_si512(leaves.as_mut_ptr().add(block * BLOCK).cast(), *at) };
    }
}

/// Where [`join`] leaves each row of a block: unpacking works within 16 bytes at a time.
pub(super) fn order() -> [u8; BLOCK] {
    std::array::from_fn(|row| {
        let (part, within) = (row / 16, row % 16);
        ((within / 2) * 8 + part * 2 + within % 2) as u8
    })
}

/// Looks up the eight bytes of the leaf values apart, 64 rows at a time, and unpacks them into numbers.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn join(table: &LeafTable, aggregation: Aggregation, leaves: &[u8], aggregates: &mut [f64]) {
    let add = |sums, values| _mm512_add_pd(sums, values);
    // Both take the second operand unless the first is less (greater), as `Aggregation::join` does.
    let least = |aggregates, values| _mm512_min_pd(values, aggregates);
    let greatest = |aggregates, values| _mm512_max_pd(values, aggregates);
    match aggregation {
        Aggregation::Average | Aggregation::Sum => join_with(table, leaves, aggregates, add),
        Aggregation::Minimum => join_with(table, leaves, aggregates, least),
        Aggregation::Maximum => join_with(table, leaves, aggregates, greatest),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
#[inline]
fn join_with(table: &LeafTable, leaves: &[u8], aggregates: &mut [f64], join: impl Fn(__m512d, __m512d) -> __m512d) {
    let (planes, _) = table.planes.as_chunks::<BLOCK>();
    let blocks = leaves.as_chunks::<BLOCK>().0.iter().zip(aggregates.as_chunks_mut::<BLOCK>().0);
    match planes.len() {
        8 => {
            let planes: [__m512i; 8] = std::array::from_fn(|byte| load(&planes[byte]));
            for (leaves, aggregates) in blocks {
                let leaves = load(leaves);
                join_block(planes.map(|plane| _mm512_permutexvar_epi8(leaves, plane)), aggregates, &join);
            }
        }
        16 => {
            let planes: [[__m512i; 2]; 8] =
                std::array::from_fn(|byte| [load(&planes[2 * byte]), load(&planes[2 * byte + 1])]);
            for (leaves, aggregates) in blocks {
                let leaves = load(leaves);
                let bytes = planes.map(|[low, high]| _mm512_permutex2var_epi8(low, leaves, high));
                join_block(bytes, aggregates, &join);
            }
        }
        _ => {
            for (leaves, aggregates) in blocks {
                let leaves = load(leaves);
                let upper = _mm512_movepi8_mask(leaves);
                let bytes = std::array::from_fn(|byte| {
                    let [a, b, c, d] = std::array::from_fn(|part| load(&planes[4 * byte + part]));
                    let low = _mm512_permutex2var_epi8(a, leaves, b);
                    let high = _mm512_permutex2var_epi8(c, leaves, d);
                    _mm512_mask_mov_epi8(low, upper, high)
                });
                join_block(bytes, aggregates, &join);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(bytes: &[u8; BLOCK]) -> __m512i {
    // SAFETY: the array has 64 bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Numbers out of their eight bytes, lowest first, joined to the aggregates of a block.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn join_block(bytes: [__m512i; 8], aggregates: &mut [f64; BLOCK], join: &impl Fn(__m512d, __m512d) -> __m512d) {
    let [a, b, c, d, e, f, g, h] = bytes;
    let low = [(a, b), (c, d), (e, f), (g, h)].map(|(even, odd)| _mm512_unpacklo_epi8(even, odd));
    let high = [(a, b), (c, d), (e, f), (g, h)].map(|(even, odd)| _mm512_unpackhi_epi8(even, odd));
    let mut parts = aggregates.as_chunks_mut::<8>().0.iter_mut();
    for [a, b, c, d] in [low, high] {
        let low = [_mm512_unpacklo_epi16(a, b), _mm512_unpacklo_epi16(c, d)];
        let high = [_mm512_unpackhi_epi16(a, b), _mm512_unpackhi_epi16(c, d)];
        for [a, b] in [low, high] {
            for values in [_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b)] {
                let Some(part) = parts.next() else { return };
                // SAFETY: `part` has eight numbers; neither load nor store needs alignment.
                unsafe {
                    let joined = join(_mm512_loadu_pd(part.as_ptr()), _mm512_castsi512_pd(values));
                    _mm512_storeu_pd(part.as_mut_ptr(), joined);
                }
            }
        }
    }
}

/// The byte of a class among 32 is that of one of two tables of 16, its bit that of a third table.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn look_up(bits: &[u8; 32], classes: &[i8; STRIP], answers: &mut [i8; STRIP]) {
    let tables = bits.as_chunks::<16>().0;
    // SAFETY: a table has 16 bytes; the loads need no alignment.
    let [low, high] = std::array::from_fn(|half| unsafe { _mm_loadu_si128(tables[half].as_ptr().cast()) });
    let [low, high] = [low, high].map(|half| _mm512_broadcast_i32x4(half));
    let bit = _mm512_set1_epi64(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128_u8]));
    let [seven, thirty_one] = [7, 31].map(|byte| _mm512_set1_epi8(byte));
    let [left, right] = [i8::MIN, i8::MAX].map(|byte| _mm512_set1_epi8(byte));
    for (classes, answers) in classes.as_chunks::<BLOCK>().0.iter().zip(answers.as_chunks_mut::<BLOCK>().0) {
        // SAFETY: `classes` has 64 bytes; the load needs no alignment.
        let classes = unsafe { _mm512_loadu_si512(classes.as_ptr().cast()) };
        let byte = _mm512_and_si512(_mm512_srli_epi16::<3>(classes), thirty_one);
        let upper = _mm512_movepi8_mask(classes);
        let byte = _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(low, byte), upper, high, byte);
        let bit = _mm512_shuffle_epi8(bit, _mm512_and_si512(classes, seven));
        let member = _mm512_test_epi8_mask(byte, bit);
        // SAFETY: `answers` has 64 bytes; the store needs no alignment.
        unsafe { _mm512_storeu_si512(answers.as_mut_ptr().cast(), _mm512_mask_mov_epi8(right, member, left)) };
    }
}
