//! Every threshold rule as `x <= boundary` in `f64`, exactly.
//!
//! `x < t` is `x <= the number before t`. A rule in `f32` rounds first, and rounding is monotone, so it
//! holds for all numbers up to some largest one: the middle between two neighbouring `f32`, or the
//! number before it where the tie goes up. With this, the thresholds of a feature are one sorted list.

use crate::forest::Precision;

/// Where numbers begin that `f32` can't tell from infinity, as its next number would be: 2^128.
const BEYOND: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;

/// The largest number that is at most `value` in the precision.
pub(super) fn at_most(value: f64, precision: Precision) -> f64 {
    match precision {
        Precision::F64 => value,
        Precision::F32 => last_rounded_to(value as f32),
    }
}

/// The largest number that is below `value` in the precision; `None`: there is none.
pub(super) fn below(value: f64, precision: Precision) -> Option<f64> {
    if value == f64::NEG_INFINITY {
        return None;
    }
    Some(match precision {
        Precision::F64 => value.next_down(),
        Precision::F32 => last_rounded_to((value as f32).next_down()),
    })
}

/// The largest `f64` that rounds to `value` or less.
fn last_rounded_to(value: f32) -> f64 {
    if value == f32::INFINITY {
        return f64::INFINITY;
    }
    // 25 bits hold the middle of two neighbours, so it is exact.
    let middle = (widen(value) + widen(value.next_up())) / 2.0;
    if middle as f32 <= value { middle } else { middle.next_down() }
}

fn widen(value: f32) -> f64 {
    if value.is_infinite() { BEYOND.copysign(f64::from(value)) } else { f64::from(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Comparison, Missing, Rule, Side};

    /// Numbers around `value`: neighbours in both types, midpoints of `f32` and their neighbours.
    fn around(value: f64) -> Vec<f64> {
        let narrow = value as f32;
        let mut found = vec![value, f64::from(narrow)];
        for neighbour in [narrow.next_down(), narrow.next_up()] {
            found.push(f64::from(neighbour));
            found.push((widen(narrow) + widen(neighbour)) / 2.0);
        }
        for _ in 0..2 {
            let more: Vec<f64> = found.iter().flat_map(|x| [x.next_down(), x.next_up()]).collect();
            found.extend(more);
        }
        found.extend([0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, BEYOND, -BEYOND]);
        found.retain(|x| !x.is_nan());
        found
    }

    fn check(threshold: f64, precision: Precision) {
        for comparison in [Comparison::AtMost, Comparison::Below] {
            let rule = Rule::Threshold { value: threshold, comparison, precision };
            let boundary = match comparison {
                Comparison::AtMost => Some(at_most(threshold, precision)),
                _ => below(threshold, precision),
            };
            for x in around(threshold).into_iter().chain(boundary.into_iter().flat_map(around)) {
                let left = rule.goes_left(Missing::Nan(Side::Right), x, &[]);
                assert_eq!(boundary.is_some_and(|boundary| x <= boundary), left, "{x:e} and {rule:?}");
            }
        }
    }

    #[test]
    fn boundaries_are_exact_at_both_ends_and_around_zero() {
        let ends = [0.0, 1e-45, f32::MIN_POSITIVE, 1.0, f32::MAX, f32::MAX.next_down(), f32::INFINITY];
        for end in ends.into_iter().flat_map(|end| [end, -end]) {
            check(f64::from(end), Precision::F32);
            check(f64::from(end), Precision::F64);
        }
        for end in [5e-324, f64::MIN_POSITIVE, f64::MAX].into_iter().flat_map(|end| [end, -end]) {
            check(end, Precision::F64);
        }
    }

    /// Odd and even last bits of every exponent, both signs.
    #[test]
    fn boundaries_are_exact_for_every_exponent() {
        for exponent in 0..=254_u32 {
            for mantissa in [0, 1, 2, 0x3f_ffff, 0x40_0000, 0x7f_fffe, 0x7f_ffff] {
                for sign in [0, 1 << 31] {
                    let threshold = f64::from(f32::from_bits(sign | exponent << 23 | mantissa));
                    check(threshold, Precision::F32);
                    check(threshold, Precision::F64);
                }
            }
        }
    }
}
