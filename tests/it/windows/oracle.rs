//! What a window gives, by its definition: for each row, which rows are in its frame, one after the other.

use super::Row;
use std::cmp::Ordering;

/// One side of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Side {
    Unbounded,
    /// Preceding is negative.
    Rows(i64),
    Current,
    Range(f64),
}

/// A frame: ROWS if any side is, or else RANGE.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub start: Side,
    pub end: Side,
}

/// How rows are ordered: by the key, and for ROWS frames by `id`, so that no two rows tie.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    pub descending: bool,
    pub nulls_first: bool,
}

impl Frame {
    pub fn is_rows(&self) -> bool {
        matches!(self.start, Side::Rows(_)) || matches!(self.end, Side::Rows(_))
    }

    /// Whether a side is a distance of the key.
    pub fn is_distant(&self) -> bool {
        matches!(self.start, Side::Range(_)) || matches!(self.end, Side::Range(_))
    }

    /// As SQL; distances are in the unit that `unit` writes.
    pub fn sql(&self, unit: impl Fn(f64) -> String) -> String {
        let side = |side: Side, is_end: bool| match side {
            Side::Unbounded => format!("UNBOUNDED {}", if is_end { "FOLLOWING" } else { "PRECEDING" }),
            Side::Rows(0) | Side::Current => "CURRENT ROW".to_owned(),
            Side::Rows(by) => format!("{} {}", by.abs(), if by < 0 { "PRECEDING" } else { "FOLLOWING" }),
            // No distance is PRECEDING at the start, FOLLOWING at the end: the planner wants them in this order.
            Side::Range(0.0) => format!("{} {}", unit(0.0), if is_end { "FOLLOWING" } else { "PRECEDING" }),
            Side::Range(by) => format!("{} {}", unit(by.abs()), if by < 0.0 { "PRECEDING" } else { "FOLLOWING" }),
        };
        let units = if self.is_rows() { "ROWS" } else { "RANGE" };
        format!("{units} BETWEEN {} AND {}", side(self.start, false), side(self.end, true))
    }
}

impl Order {
    /// As SQL, over `column`.
    pub fn sql(&self, column: &str, frame: &Frame) -> String {
        let direction = if self.descending { "DESC" } else { "ASC" };
        let nulls = if self.nulls_first { "FIRST" } else { "LAST" };
        let ties = if frame.is_rows() { ", id" } else { "" };
        format!("{column} {direction} NULLS {nulls}{ties}")
    }

    fn compare(&self, a: Option<f64>, b: Option<f64>) -> Ordering {
        match (a, b) {
            (None, None) => Ordering::Equal,
            (None, _) => {
                if self.nulls_first {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (_, None) => {
                if self.nulls_first {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            (Some(a), Some(b)) if self.descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
        }
    }

    /// For each row of `rows`, by its number: the numbers of the rows in its frame, in order.
    pub fn frames(&self, rows: &[Row], frame: &Frame) -> Vec<Vec<usize>> {
        let mut sorted: Vec<usize> = (0..rows.len()).collect();
        sorted.sort_by(|a, b| self.compare(rows[*a].key, rows[*b].key).then(a.cmp(b)));
        (0..rows.len())
            .map(|row| {
                let peers: Vec<usize> = sorted.iter().copied().filter(|at| rows[*at].part == rows[row].part).collect();
                let place = peers.iter().position(|at| *at == row).unwrap() as i64;
                let inside = |(at, other): (usize, &usize)| {
                    self.is_after(frame.start, rows, row, *other, (place, at as i64))
                        && self.is_before(frame.end, rows, row, *other, (place, at as i64))
                };
                peers.iter().enumerate().filter(|pair| inside(*pair)).map(|(_, other)| *other).collect()
            })
            .collect()
    }

    /// The key at a distance from a row's; of NULL there is none. Where the key is -0, even no distance has a way.
    fn target(&self, key: Option<f64>, by: f64, is_end: bool) -> Option<f64> {
        let is_preceding = by < 0.0 || (by == 0.0 && !is_end);
        key.map(|key| if is_preceding == self.descending { key + by.abs() } else { key - by.abs() })
    }

    fn is_after(&self, start: Side, rows: &[Row], row: usize, other: usize, (place, at): (i64, i64)) -> bool {
        match start {
            Side::Unbounded => true,
            Side::Rows(by) => at >= place + by,
            Side::Current => self.compare(rows[other].key, rows[row].key).is_ge(),
            Side::Range(by) => self.compare(rows[other].key, self.target(rows[row].key, by, false)).is_ge(),
        }
    }

    fn is_before(&self, end: Side, rows: &[Row], row: usize, other: usize, (place, at): (i64, i64)) -> bool {
        match end {
            Side::Unbounded => true,
            Side::Rows(by) => at <= place + by,
            Side::Current => self.compare(rows[other].key, rows[row].key).is_le(),
            Side::Range(by) => self.compare(rows[other].key, self.target(rows[row].key, by, true)).is_le(),
        }
    }
}

/// The float nearest to the sum of finite floats that overflows nowhere on its way (Shewchuk's partial sums).
pub fn exact_sum(values: &[f64]) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for value in values {
        let (mut x, mut kept) = (*value, Vec::new());
        for y in &partials {
            let (large, small) = if x.abs() < y.abs() { (*y, x) } else { (x, *y) };
            let sum = large + small;
            let lost = small - (sum - large);
            if lost != 0.0 {
                kept.push(lost);
            }
            x = sum;
        }
        kept.push(x);
        partials = kept;
    }
    // The partials do not overlap: from the largest down, the first rounding that loses anything is the last.
    let mut sum = 0.0;
    while let Some(partial) = partials.pop() {
        let next = sum + partial;
        let lost = partial - (next - sum);
        sum = next;
        if lost != 0.0 {
            // Half-way cases are decided by the sign of what follows.
            let follows = partials.last().copied().unwrap_or(0.0);
            if follows != 0.0 && (follows > 0.0) == (lost > 0.0) {
                let twice = lost * 2.0;
                let moved = sum + twice;
                if moved - sum == twice {
                    sum = moved;
                }
            }
            break;
        }
    }
    sum
}

/// The sum of squared distances from the mean, by exact sums.
pub fn squares(values: &[f64]) -> f64 {
    let mean = exact_sum(values) / values.len() as f64;
    // Corrected by what the rounding of the mean adds.
    let distances: Vec<f64> = values.iter().map(|value| value - mean).collect();
    let squares: Vec<f64> = distances.iter().map(|distance| distance * distance).collect();
    let rest = exact_sum(&distances);
    exact_sum(&squares) - rest * rest / values.len() as f64
}

#[test]
fn exact_sums_are_exact() {
    assert_eq!(exact_sum(&[1e30, 1e-30, -1e30]), 1e-30);
    assert_eq!(exact_sum(&[0.1; 10]), 1.0);
    assert_eq!(exact_sum(&[1.0, 2f64.powi(-53), 2f64.powi(-106)]), 1.0 + 2f64.powi(-52));
    assert_eq!(exact_sum(&[]), 0.0);
}
