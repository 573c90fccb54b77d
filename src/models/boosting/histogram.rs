//! Sums of gradients and hessians by bin, in whole numbers.
//!
//! A row's gradient and hessian are rounded to fixed point once a tree, as finely as 62 bits hold the sum over
//! all rows; the number of rows is counted in the low bits of the hessian's word. Whole numbers add up to the
//! same sum in any order: a histogram depends on no thread, and the one of the larger child, its parent's less
//! its sibling's, is the one that counting would give. Counts are exact.

use rayon::prelude::*;

/// A sum over rows: gradients; hessians and the number of rows.
pub(crate) type Sum = [i64; 2];

/// The bin of missing values, in every column of bytes.
pub(crate) const MISSING: u8 = u8::MAX;
/// Values of a byte.
const BYTES: usize = 256;
/// Features that are summed in one pass over the rows; their sums fit a first-level cache.
pub(super) const TOGETHER: usize = 4;
/// Rows that one task passes over.
const STRETCH: usize = 1 << 17;

/// What fixed-point numbers stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    gradient: f64,
    hessian: f64,
    /// One over the others, exactly: they are powers of two.
    gradient_unit: f64,
    hessian_unit: f64,
    /// Bits of the count.
    bits: u32,
}

/// A sum over rows, as numbers to compute with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stat {
    /// Of gradients.
    pub gradient: f64,
    /// Of hessians.
    pub hessian: f64,
    /// Of rows.
    pub rows: u64,
}

impl Scale {
    /// The finest scale for `rows` rows (fewer than 2^31) whose gradients, without their signs, and whose hessians
    /// add up to at most these sums.
    pub fn new(gradients: f64, hessians: f64, rows: usize) -> Self {
        let bits = (usize::BITS - rows.leading_zeros()).max(1);
        let (gradient, hessian) = (finest(61, gradients), finest(61 - bits as i32, hessians));
        Self { gradient, hessian, gradient_unit: 1.0 / gradient, hessian_unit: 1.0 / hessian, bits }
    }

    /// Whether products of four sums, or of their least parts, are far from the limits of numbers.
    pub fn is_moderate(&self) -> bool {
        let moderate = |unit: f64| (1e-60..=1e40).contains(&unit);
        moderate(self.gradient_unit) && moderate(self.hessian_unit)
    }

    /// How many low bits of a hessian's word count rows, and what the words' units stand for.
    pub(super) fn units(&self) -> (u32, f64, f64) {
        (self.bits, self.gradient_unit, self.hessian_unit)
    }

    /// A row in fixed point. A hessian is rounded up or down in turn, so that small ones don't all vanish.
    #[inline]
    pub fn pack(&self, row: usize, gradient: f64, hessian: f64) -> Sum {
        let gradient = gradient * self.gradient;
        // The golden ratio's multiples are spread evenly.
        let part = f64::from((row as u32).wrapping_mul(0x9E37_79B9)) * (1.0 / (1_u64 << 32) as f64);
        let hessian = (hessian * self.hessian + part) as i64;
        [(gradient + 0.5_f64.copysign(gradient)) as i64, (hessian << self.bits) | 1]
    }

    /// How many rows a sum is over.
    #[inline]
    pub fn rows(&self, sum: Sum) -> u64 {
        (sum[1] & ((1 << self.bits) - 1)) as u64
    }

    /// A sum as numbers.
    #[inline]
    pub(crate) fn stat(&self, sum: Sum) -> Stat {
        Stat {
            gradient: sum[0] as f64 * self.gradient_unit,
            hessian: (sum[1] >> self.bits) as f64 * self.hessian_unit,
            rows: self.rows(sum),
        }
    }
}

/// The greatest power of two that keeps `sum` below 2^limit.
fn finest(limit: i32, sum: f64) -> f64 {
    if sum <= 0.0 {
        return 1.0;
    }
    // One bit is left for what the logarithm rounds off.
    let exponent = f64::from(limit - 1) - sum.log2().ceil();
    exponent.clamp(-1000.0, 1000.0).exp2()
}

/// `a + b`.
#[inline]
pub(crate) fn plus(a: Sum, b: Sum) -> Sum {
    [a[0].wrapping_add(b[0]), a[1].wrapping_add(b[1])]
}

/// `a - b`.
#[inline]
pub(crate) fn minus(a: Sum, b: Sum) -> Sum {
    [a[0].wrapping_sub(b[0]), a[1].wrapping_sub(b[1])]
}

/// The rows of a node with their sums beside them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    /// All rows of the columns.
    All(&'a [Sum]),
    /// These rows, and the sums in their order.
    Listed(&'a [u32], &'a [Sum]),
}

impl Rows<'_> {
    /// How many.
    pub fn count(&self) -> usize {
        match self {
            Self::All(sums) | Self::Listed(_, sums) => sums.len(),
        }
    }
}

/// The sums of a column over `rows`, by bin; those of missing values are the last.
pub(super) fn few(column: &[u8], rows: Rows<'_>, into: &mut [Sum]) {
    into.fill([0; 2]);
    let missing = into.len() - 1;
    let mut add = |byte: u8, own: Sum| {
        // The byte of missing values is at least their place.
        let sum = &mut into[usize::from(byte).min(missing)];
        *sum = plus(*sum, own);
    };
    match rows {
        Rows::All(sums) => column.iter().zip(sums).for_each(|(byte, own)| add(*byte, *own)),
        Rows::Listed(rows, sums) => rows.iter().zip(sums).for_each(|(row, own)| add(column[*row as usize], *own)),
    }
}

/// Sums of up to [`TOGETHER`] features, by byte.
pub(super) type Tables = [[Sum; BYTES]; TOGETHER];

/// The sums of up to [`TOGETHER`] columns of equal length over `rows`.
pub(super) fn tables(columns: &[&[u8]], rows: Rows<'_>) -> Box<Tables> {
    let count = rows.count();
    if count <= 2 * STRETCH {
        return stretch(columns, rows);
    }
    let part = |index: usize| {
        let range = index * STRETCH..count.min((index + 1) * STRETCH);
        match rows {
            Rows::All(sums) => {
                let columns: Vec<&[u8]> = columns.iter().map(|column| &column[range.clone()]).collect();
                stretch(&columns, Rows::All(&sums[range]))
            }
            Rows::Listed(rows, sums) => stretch(columns, Rows::Listed(&rows[range.clone()], &sums[range])),
        }
    };
    let add = |mut a: Box<Tables>, b: Box<Tables>| {
        for (a, b) in a.as_flattened_mut().iter_mut().zip(b.as_flattened()) {
            *a = plus(*a, *b);
        }
        a
    };
    (0..count.div_ceil(STRETCH)).into_par_iter().map(part).reduce(empty, add)
}

fn empty() -> Box<Tables> {
    Box::new([[[0; 2]; BYTES]; TOGETHER])
}

fn stretch(columns: &[&[u8]], rows: Rows<'_>) -> Box<Tables> {
    let mut tables = empty();
    match columns {
        [a, b, c, d] => pass([a, b, c, d], rows, &mut tables),
        [a, b, c] => pass([a, b, c], rows, &mut tables),
        [a, b] => pass([a, b], rows, &mut tables),
        [a] => pass([a], rows, &mut tables),
        _ => {}
    }
    tables
}

fn pass<const N: usize>(columns: [&[u8]; N], rows: Rows<'_>, tables: &mut Tables) {
    let length = columns[0].len();
    let columns = columns.map(|column| &column[..length]);
    match rows {
        Rows::All(sums) => {
            for (row, own) in sums[..length].iter().enumerate() {
                for (column, table) in columns.iter().zip(tables.iter_mut()) {
                    let sum = &mut table[column[row] as usize];
                    *sum = plus(*sum, *own);
                }
            }
        }
        Rows::Listed(rows, sums) => {
            for (row, own) in rows.iter().zip(sums) {
                let row = *row as usize;
                // Never so; said once here, it need not be looked at for every column.
                if row >= length {
                    continue;
                }
                for (column, table) in columns.iter().zip(tables.iter_mut()) {
                    let sum = &mut table[column[row] as usize];
                    *sum = plus(*sum, *own);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(rows: usize) -> Vec<Vec<u8>> {
        (0..3).map(|column| (0..rows).map(|row| (row * (7 + column) % 256) as u8).collect()).collect()
    }

    /// Sums in the plainest way.
    fn naive(column: &[u8], rows: &[u32], sums: &[Sum]) -> Vec<Sum> {
        let mut table = vec![[0; 2]; BYTES];
        for row in rows {
            let own = &mut table[column[*row as usize] as usize];
            *own = [own[0] + sums[*row as usize][0], own[1] + sums[*row as usize][1]];
        }
        table
    }

    #[test]
    fn every_way_to_pass_over_rows_gives_the_same_sums() {
        for rows in [1, 1000, 2 * STRETCH + 77] {
            let columns = columns(rows);
            let scale = Scale::new(rows as f64, rows as f64, rows);
            let sums: Vec<Sum> =
                (0..rows).map(|row| scale.pack(row, (row as f64).sin(), (row as f64).cos().abs())).collect();
            let listed: Vec<u32> = (0..rows as u32).filter(|row| row % 3 != 1).collect();
            let ordered: Vec<Sum> = listed.iter().map(|row| sums[*row as usize]).collect();
            let all: Vec<u32> = (0..rows as u32).collect();
            for count in 1..=3 {
                let columns: Vec<&[u8]> = columns[..count].iter().map(Vec::as_slice).collect();
                let some = tables(&columns, Rows::Listed(&listed, &ordered));
                let whole = tables(&columns, Rows::All(&sums));
                for (index, column) in columns.iter().enumerate() {
                    assert_eq!(some[index].to_vec(), naive(column, &listed, &sums));
                    assert_eq!(whole[index].to_vec(), naive(column, &all, &sums));
                }
            }
        }
    }

    #[test]
    fn fixed_point_is_finer_than_single_precision_and_counts_exactly() {
        let rows = 100_000;
        let value = |row: usize| ((row * 37 % 1001) as f64 / 500.0 - 1.0, (row * 11 % 997) as f64 / 4e5);
        let total = |of: fn((f64, f64)) -> f64| (0..rows).map(|row| of(value(row))).sum::<f64>();
        let scale = Scale::new(total(|own| own.0.abs()), total(|own| own.1), rows);
        let sum = (0..rows).map(|row| scale.pack(row, value(row).0, value(row).1)).fold([0; 2], plus);
        let stat = scale.stat(sum);
        assert_eq!(stat.rows, rows as u64);
        assert!((stat.gradient - total(|own| own.0)).abs() < 1e-6, "{stat:?}");
        assert!((stat.hessian / total(|own| own.1) - 1.0).abs() < 1e-7, "{stat:?}");
        let one = scale.stat(scale.pack(5, -0.75, 0.001));
        assert!((one.gradient + 0.75).abs() < 1e-9 && (one.hessian - 0.001).abs() < 1e-8 && one.rows == 1, "{one:?}");
    }

    #[test]
    fn sums_of_any_size_stay_within_their_bits() {
        for (gradients, hessians) in [(0.0, 0.0), (5e-324, 1e-300), (1e300, 1e150), (1.0, 1e300), (1024.0, 1024.0)] {
            let scale = Scale::new(gradients, hessians, 1000);
            let sum = scale.pack(3, -gradients, hessians);
            let stat = scale.stat(sum);
            assert!(sum[0].abs() < 1 << 62 && sum[1] >= 0, "{sum:?}");
            assert_eq!(stat.rows, 1);
            if gradients > 1e-290 {
                assert!(
                    (stat.gradient / -gradients - 1.0).abs() < 1e-15 && (stat.hessian / hessians - 1.0).abs() < 1e-12
                );
            }
        }
    }

    #[test]
    fn small_hessians_don_t_all_vanish() {
        let rows = 1 << 20;
        // One heavy row takes up the bits.
        let scale = Scale::new(1.0, 1e9, rows);
        let sum = (0..rows).map(|row| scale.pack(row, 0.0, 1e-3)).fold([0; 2], plus);
        assert!((scale.stat(sum).hessian / (rows as f64 * 1e-3) - 1.0).abs() < 0.01, "{:?}", scale.stat(sum));
    }
}
