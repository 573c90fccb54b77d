//! Sums of floats that do not drift: numbers of twice the precision, as two floats.

/// The unevaluated sum of two floats, the second at most half a unit in the last place of the first:
/// 106 bits of precision. Not finite: as floats are, with nothing in the second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Double {
    high: f64,
    low: f64,
}

impl Double {
    /// Of one float, exactly.
    pub(super) fn of(value: f64) -> Self {
        Self { high: value, low: 0.0 }
    }

    /// The nearest float.
    pub(super) fn nearest(self) -> f64 {
        self.high
    }

    /// `sum` with what was lost in it.
    fn renormalised(sum: f64, lost: f64) -> Self {
        let high = sum + lost;
        if !high.is_finite() {
            return Self::of(high);
        }
        Self { high, low: lost - (high - sum) }
    }

    /// The sum, with an error below 2^-104 of it.
    pub(super) fn plus(self, other: Self) -> Self {
        let (sum, lost) = two_sum(self.high, other.high);
        if !sum.is_finite() {
            return Self::of(sum);
        }
        let (low_sum, low_lost) = two_sum(self.low, other.low);
        let once = Self::renormalised(sum, lost + low_sum);
        Self::renormalised(once.high, once.low + low_lost)
    }

    /// The difference.
    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    /// The product.
    pub(super) fn times(self, other: Self) -> Self {
        let product = self.high * other.high;
        if !product.is_finite() {
            return Self::of(product);
        }
        let lost = self.high.mul_add(other.high, -product);
        Self::renormalised(product, lost + (self.high * other.low + self.low * other.high))
    }

    /// The quotient by a finite float that is not zero.
    pub(super) fn over(self, divisor: f64) -> Self {
        let quotient = self.high / divisor;
        if !quotient.is_finite() {
            return Self::of(quotient);
        }
        let rest = (-quotient).mul_add(divisor, self.high) + self.low;
        Self::renormalised(quotient, rest / divisor)
    }

    /// Times a power of two: exact where neither end of the range of floats is reached.
    pub(super) fn scaled(self, power: f64) -> Self {
        let high = self.high * power;
        if high.is_finite() { Self { high, low: self.low * power } } else { Self::of(high) }
    }
}

/// The rounded sum, and what the rounding lost (Knuth). Not a number in the second where the sum overflows.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::*;

    fn total(values: &[f64]) -> f64 {
        values.iter().fold(Double::default(), |sum, value| sum.plus(Double::of(*value))).nearest()
    }

    #[test]
    fn small_terms_survive_large_ones() {
        assert_eq!(total(&[1e30, 1.0, -1e30]), 1.0);
        assert_eq!(total(&[1.0, 1e-20, -1.0]), 1e-20);
        assert_eq!(total(&[0.1; 10]), 1.0);
    }

    #[test]
    fn what_is_not_finite_is_as_with_floats() {
        assert_eq!(total(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(total(&[f64::INFINITY, f64::NEG_INFINITY, 1.0]).is_nan());
        assert!(total(&[f64::NAN, 1.0]).is_nan());
        assert_eq!(total(&[1e308, 1e308]), f64::INFINITY);
    }

    #[test]
    fn products_and_quotients_keep_twice_the_precision() {
        let third = Double::of(1.0).over(3.0);
        let one = third.times(Double::of(3.0)).minus(Double::of(1.0));
        assert!(one.nearest().abs() < 1e-31, "{one:?}");
        assert_eq!(Double::of(3.0).scaled(0.25).nearest(), 0.75);
    }
}
