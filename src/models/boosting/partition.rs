//! Rows of a node, sorted to the sides of its split, each side in the order it was in.

use super::split::Rule;
use rayon::prelude::*;

/// Rows that one task sorts.
const STRETCH: usize = 1 << 16;

/// Puts the rows that go left before the others and tells how many they are. `aside` is as long as `rows`.
pub(crate) fn partition(rows: &mut [u32], aside: &mut [u32], column: &[u8], rule: &Rule) -> usize {
    let left: [bool; 256] = std::array::from_fn(|byte| rule.left(byte as u8));
    if rows.len() <= 2 * STRETCH {
        return sort(rows, aside, column, &left);
    }
    let parts = rows.par_chunks_mut(STRETCH).zip(aside.par_chunks_mut(STRETCH));
    let counts: Vec<usize> = parts.map(|(rows, aside)| sort(rows, aside, column, &left)).collect();
    // Each stretch has its own left rows first; they are copied to where all left rows stand.
    aside.copy_from_slice(rows);
    let count = counts.iter().sum();
    let (mut lefts, mut rights) = rows.split_at_mut(count);
    let mut moves = Vec::with_capacity(2 * counts.len());
    for (from, count) in aside.chunks(STRETCH).zip(&counts) {
        let (own_left, own_right) = from.split_at(*count);
        let (to, rest) = std::mem::take(&mut lefts).split_at_mut(own_left.len());
        moves.push((own_left, to));
        lefts = rest;
        let (to, rest) = std::mem::take(&mut rights).split_at_mut(own_right.len());
        moves.push((own_right, to));
        rights = rest;
    }
    moves.into_par_iter().for_each(|(from, to)| to.copy_from_slice(from));
    count
}

fn sort(rows: &mut [u32], aside: &mut [u32], column: &[u8], left: &[bool; 256]) -> usize {
    let (mut lefts, mut rights) = (0, 0);
    for index in 0..rows.len() {
        let row = rows[index];
        let goes = usize::from(left[column[row as usize] as usize]);
        // Both are written, and one of them counts: a branch would be guessed wrongly half of the time.
        rows[lefts] = row;
        aside[rights] = row;
        lefts += goes;
        rights += 1 - goes;
    }
    rows[lefts..].copy_from_slice(&aside[..rights]);
    lefts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_on_both_sides() {
        for count in [0, 1, 1000, 5 * STRETCH + 3] {
            let column: Vec<u8> = (0..count).map(|row| (row * 31 % 256) as u8).collect();
            let mut rows: Vec<u32> = (0..count as u32).filter(|row| row % 5 != 2).collect();
            let all = rows.clone();
            let mut aside = vec![0; rows.len()];
            let rule = Rule::AtMost { bin: 99, missing: true };
            let lefts = partition(&mut rows, &mut aside, &column, &rule);
            let goes = |row: &&u32| column[**row as usize] <= 99 || column[**row as usize] == 255;
            let (left, right): (Vec<&u32>, Vec<&u32>) = all.iter().partition(goes);
            assert_eq!(rows[..lefts].iter().collect::<Vec<_>>(), left);
            assert_eq!(rows[lefts..].iter().collect::<Vec<_>>(), right);
        }
    }
}
