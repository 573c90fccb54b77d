//! How far the values of frames spread around their mean: variances and standard deviations.

use super::double::Double;
use super::lanes::{Counts, Floats};
use super::stacks::{Join, Stacks};

/// How many values, their sum, and the sum of their squared distances from their mean.
#[derive(Debug, Clone, Copy)]
struct Moments {
    count: f64,
    sum: Double,
    squares: Double,
}

impl Join for Moments {
    fn nothing() -> Self {
        Self { count: 0.0, sum: Double::default(), squares: Double::default() }
    }

    /// By the distance of the two means, which no cancellation spoils (Chan).
    #[inline]
    fn join(self, right: Self) -> Self {
        if self.count == 0.0 {
            return right;
        }
        if right.count == 0.0 {
            return self;
        }
        let count = self.count + right.count;
        let apart = self.sum.over(self.count).minus(right.sum.over(right.count));
        let weight = Double::of(self.count * right.count).over(count);
        let between = apart.times(apart).times(weight);
        Self { count, sum: self.sum.plus(right.sum), squares: self.squares.plus(right.squares).plus(between) }
    }
}

/// The running moments of one frame and argument.
#[derive(Debug)]
pub(super) struct Spreads(Stacks<Moments>);

impl Spreads {
    pub(super) fn new() -> Self {
        Self(Stacks::new())
    }

    /// A new partition starts at `position`.
    pub(super) fn restart(&mut self, position: usize) {
        self.0.restart(position);
    }

    /// The sums of squared distances in frames of one partition, in order; not a number where a value of several is
    /// not finite.
    pub(super) fn frames(
        &mut self,
        floats: &Floats,
        counts: &Counts,
        frames: impl Iterator<Item = (usize, usize)>,
        squares: &mut Vec<f64>,
    ) {
        let full = counts.is_full();
        squares.extend(frames.map(|(lo, hi)| {
            let all = self.0.frame(lo, hi, |row| {
                if full || counts.between(row, row + 1) == 1 {
                    Moments { count: 1.0, sum: Double::of(floats.at(row)), squares: Double::default() }
                } else {
                    Moments::nothing()
                }
            });
            if all.sum.nearest().is_finite() { all.squares.nearest() } else { f64::NAN }
        }));
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
