//! Sums of floats over frames: never by taking a value back out, so that nothing that left a frame can be
//! felt in it, be it large, infinite or not a number.

use super::double::Double;
use super::lanes::{Floats, is_big};
use super::stacks::{Join, Stacks};

impl Join for Double {
    fn nothing() -> Self {
        Self::default()
    }

    #[inline]
    fn join(self, right: Self) -> Self {
        self.plus(right)
    }
}

/// By this, large values are divided, so that no sum of a few of them overflows where that of all does not.
const SCALE: f64 = f64::from_bits(0x47f0_0000_0000_0000);

/// A sum, and apart from it, that of the large values, divided by [`SCALE`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Split {
    most: Double,
    large: Double,
}

impl Split {
    fn of(value: f64) -> Self {
        if is_big(value) {
            Self { most: Double::default(), large: Double::of(value / SCALE) }
        } else {
            Self { most: Double::of(value), large: Double::default() }
        }
    }

    /// All of it, divided by `count`: exact in the range of floats.
    fn over(self, count: f64) -> f64 {
        if self.large == Double::default() || !self.most.nearest().is_finite() {
            return self.most.over(count).nearest();
        }
        self.most.scaled(1.0 / SCALE).plus(self.large).over(count).scaled(SCALE).nearest()
    }
}

impl Join for Split {
    fn nothing() -> Self {
        Self { most: Double::default(), large: Double::default() }
    }

    #[inline]
    fn join(self, right: Self) -> Self {
        Self { most: self.most.plus(right.most), large: self.large.plus(right.large) }
    }
}

/// The running sums of one frame and argument.
#[derive(Debug)]
pub(super) enum FloatSums {
    /// As long as no value was large.
    Plain(Stacks<Double>),
    /// From then on.
    Split(Stacks<Split>),
}

/// A sum that is still to be divided by the number of its values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum(Split);

impl Sum {
    /// All of it, rounded once.
    pub(super) fn total(self) -> f64 {
        if self.0.large == Double::default() { self.0.most.nearest() } else { self.0.over(1.0) }
    }

    /// Divided by `count`, and rounded once.
    pub(super) fn over(self, count: f64) -> f64 {
        self.0.over(count)
    }
}

impl FloatSums {
    pub(super) fn new() -> Self {
        Self::Plain(Stacks::new())
    }

    /// A new partition starts at `position`.
    pub(super) fn restart(&mut self, position: usize) {
        match self {
            Self::Plain(stacks) => stacks.restart(position),
            Self::Split(stacks) => stacks.restart(position),
        }
    }

    /// The sums of frames of one partition, in order.
    pub(super) fn frames(
        &mut self,
        floats: &Floats,
        frames: impl Iterator<Item = (usize, usize)>,
        sums: &mut Vec<Sum>,
    ) {
        if let (Self::Plain(stacks), true) = (&*self, floats.has_big()) {
            // The values before were not large: where it is that one is, is in no result.
            *self = Self::Split(stacks.map(|most| Split { most, large: Double::default() }));
        }
        match self {
            Self::Plain(stacks) => sums.extend(frames.map(|(lo, hi)| {
                let most = stacks.frame(lo, hi, |row| Double::of(floats.at(row)));
                Sum(Split { most, large: Double::default() })
            })),
            Self::Split(stacks) => {
                sums.extend(frames.map(|(lo, hi)| Sum(stacks.frame(lo, hi, |row| Split::of(floats.at(row))))));
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Plain(stacks) => stacks.bytes(),
            Self::Split(stacks) => stacks.bytes(),
        }
    }
}
