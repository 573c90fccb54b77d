//! The smallest and the largest value of frames, by keys that have the values' order.

use super::lanes::Held;
use super::stacks::{Join, Stacks};

/// The smaller of keys; the largest there is where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Low<T>(T);

/// The larger of keys; the smallest there is where there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct High<T>(T);

macro_rules! extreme {
    ($extreme:ident, $kind:ty, $nothing:expr, $better:ident) => {
        impl Join for $extreme<$kind> {
            fn nothing() -> Self {
                Self($nothing)
            }

            #[inline]
            fn join(self, right: Self) -> Self {
                Self(self.0.$better(right.0))
            }
        }

        impl Extreme<$kind> for $extreme<$kind> {
            fn of(key: $kind) -> Self {
                Self(key)
            }

            fn key(self) -> $kind {
                self.0
            }
        }
    };
}

extreme!(Low, i64, i64::MAX, min);
extreme!(High, i64, i64::MIN, max);
extreme!(Low, i128, i128::MAX, min);
extreme!(High, i128, i128::MIN, max);

/// The better of keys of type `T`.
pub(super) trait Extreme<T>: Join {
    /// Of one key.
    fn of(key: T) -> Self;

    /// The best key.
    fn key(self) -> T;
}

/// The running extremes of one frame and argument.
#[derive(Debug)]
pub(super) struct Extremes<S>(Stacks<S>);

impl<S: Join> Extremes<S> {
    pub(super) fn new() -> Self {
        Self(Stacks::new())
    }

    /// A new partition starts at `position`.
    pub(super) fn restart(&mut self, position: usize) {
        self.0.restart(position);
    }

    /// The best keys of frames of one partition, in order; that of no value where the frame has none.
    pub(super) fn frames<T: Copy>(
        &mut self,
        held: &Held<T>,
        frames: impl Iterator<Item = (usize, usize)>,
        best: &mut Vec<T>,
    ) where
        S: Extreme<T>,
    {
        best.extend(frames.map(|(lo, hi)| self.0.frame(lo, hi, |row| S::of(held.at(row))).key()));
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
