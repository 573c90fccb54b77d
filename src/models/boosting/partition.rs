//! Rows of a node, sorted to the sides of its split, each side in the order it was in.

use super::histogram::MISSING;
use super::split::Rule;
use rayon::prelude::*;

/// Rows that one task sorts.
const STRETCH: usize = 1 << 16;
/// With fewer rows, each is asked for its side: a table of the sides of all bytes would take longer.
const FEW: usize = 1 << 9;

/// Puts the rows that go left before the others and tells how many they are. `aside` is as long as `rows`.
pub(crate) fn partition(rows: &mut [u32], aside: &mut [u32], column: &[u8], rule: &Rule) -> usize {
    if let (true, Rule::AtMost { bin, missing }) = (rows.len() < FEW, *rule) {
        return sort(rows, aside, column, |byte| (byte <= bin) | (missing & (byte == MISSING)));
    }
    let left: [bool; 256] = std::array::from_fn(|byte| rule.left(byte as u8));
    let goes = |byte: u8| left[usize::from(byte)];
    if rows.len() <= 2 * STRETCH {
        return sort(rows, aside, column, goes);
    }
    let parts = rows.par_chunks_mut(STRETCH).zip(aside.par_chunks_mut(STRETCH));
    let counts: Vec<usize> = parts.map(|(rows, aside)| sort(rows, aside, column, goes)).collect();
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

fn sort(rows: &mut [u32], aside: &mut [u32], column: &[u8], left: impl Fn(u8) -> bool) -> usize {
    let (mut lefts, mut rights) = (0, 0);
    for index in 0..rows.len() {
        let row = rows[index];
        let goes = usize::from(left(column[row as usize]));
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
        for (count, missing) in
            [(0, true), (1, true), (300, true), (300, false), (1000, false), (5 * STRETCH + 3, true)]
        {
            let column: Vec<u8> = (0..count).map(|row| (row * 31 % 256) as u8).collect();
            let mut rows: Vec<u32> = (0..count as u32).filter(|row| row % 5 != 2).collect();
            let all = rows.clone();
            let mut aside = vec![0; rows.len()];
            let rule = Rule::AtMost { bin: 99, missing };
            let lefts = partition(&mut rows, &mut aside, &column, &rule);
            let goes = |row: &&u32| column[**row as usize] <= 99 || missing && column[**row as usize] == 255;
            let (left, right): (Vec<&u32>, Vec<&u32>) = all.iter().partition(goes);
            assert_eq!(rows[..lefts].iter().collect::<Vec<_>>(), left);
            assert_eq!(rows[lefts..].iter().collect::<Vec<_>>(), right);
        }
    }
}
