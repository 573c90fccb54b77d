//! An aggregate over a frame that only moves forward, without taking anything back out: two stacks.
//!
//! The front stack holds, for each row that has been in the frame for long, the aggregate from that row
//! to a middle; the back holds the one from the middle to the end of the frame. A row that leaves is
//! dropped from the front; where the front is used up, it is built anew from what the back held. Each row
//! is so joined three times at most, and what a result is joined from, and in which order, depends on the
//! frames of the partition's rows alone: never on where batches end.

/// What can be joined, in order, with a neutral element.
pub(super) trait Join: Copy {
    /// Joined with anything, gives that.
    fn nothing() -> Self;

    /// This one, then the one to the right of it.
    fn join(self, right: Self) -> Self;
}

/// The aggregate of the frame [lo, hi), both of which never move back.
#[derive(Debug, Clone)]
pub(super) struct Stacks<S> {
    /// Of [middle - 1 - k, middle) at place k.
    front: Vec<S>,
    /// Of [middle, end).
    back: S,
    middle: usize,
    end: usize,
}

impl<S: Join> Stacks<S> {
    pub(super) fn new() -> Self {
        Self { front: Vec::new(), back: S::nothing(), middle: 0, end: 0 }
    }

    /// Forgets all; the next frame starts at `position` or after it.
    pub(super) fn restart(&mut self, position: usize) {
        self.front.clear();
        self.back = S::nothing();
        (self.middle, self.end) = (position, position);
    }

    /// The aggregate of [lo, hi), where `value` gives that of one row: asked for rows from the last frame's
    /// `hi` on, and for those from this frame's `lo` on.
    #[inline]
    pub(super) fn frame(&mut self, lo: usize, hi: usize, value: impl Fn(usize) -> S) -> S {
        if lo >= hi {
            self.restart(lo.max(self.end));
            return S::nothing();
        }
        if lo >= self.end {
            self.restart(lo);
        }
        for position in self.end..hi {
            self.back = self.back.join(value(position));
        }
        self.end = self.end.max(hi);
        if lo > self.middle {
            self.turn(lo, &value);
        }
        match self.middle - lo {
            0 => self.back,
            left => self.front[left - 1].join(self.back),
        }
    }

    /// Moves all that is behind into the front.
    fn turn(&mut self, lo: usize, value: impl Fn(usize) -> S) {
        self.front.clear();
        let mut all = S::nothing();
        for position in (lo..self.end).rev() {
            all = value(position).join(all);
            self.front.push(all);
        }
        (self.middle, self.back) = (self.end, S::nothing());
    }

    /// The same over other elements, which are made from these.
    pub(super) fn map<T: Join>(&self, into: impl Fn(S) -> T) -> Stacks<T> {
        Stacks {
            front: self.front.iter().map(|element| into(*element)).collect(),
            back: into(self.back),
            middle: self.middle,
            end: self.end,
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.front.capacity() * size_of::<S>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what was joined and in which order.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Span(Option<(usize, usize)>);

    impl Join for Span {
        fn nothing() -> Self {
            Self(None)
        }

        fn join(self, right: Self) -> Self {
            match (self.0, right.0) {
                (None, _) => right,
                (_, None) => self,
                (Some(left), Some(right)) => {
                    assert_eq!(left.1, right.0, "joined out of order");
                    Self(Some((left.0, right.1)))
                }
            }
        }
    }

    #[test]
    fn every_frame_is_joined_from_its_rows_in_order() {
        let mut stacks = Stacks::new();
        let frames = [(3, 3), (3, 4), (3, 9), (4, 9), (7, 9), (9, 9), (9, 12), (10, 12), (12, 14), (20, 30), (29, 31)];
        for (lo, hi) in frames {
            let found = stacks.frame(lo, hi, |at| Span(Some((at, at + 1))));
            assert_eq!(found, Span((lo < hi).then_some((lo, hi))), "{lo}..{hi}");
        }
        stacks.restart(40);
        assert_eq!(stacks.frame(41, 43, |at| Span(Some((at, at + 1)))), Span(Some((41, 43))));
    }
}
