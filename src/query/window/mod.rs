//! Window aggregates over sliding frames, vectorised: what people write most of their features with.
//!
//! DataFusion computes a window row by row, in scalar values, and takes a value that leaves a frame back out of
//! its running sum. [`SlidingWindows`] puts one operator in the place of such a window, and of several on top of
//! each other with the same partitions and order:
//!
//! - partitions, peers and order keys are worked out once ([`rows`]), each distinct bound of a frame is one pointer
//!   that only moves forward ([`bounds`]), and each argument is held once in a form ([`lanes`]);
//! - sums of integers are differences of running sums, which wrap, as DataFusion's do: exact;
//! - sums of floats are never taken back out of. Two stacks ([`stacks`]) join each row at most three times, in twice
//!   the precision ([`double`]); what a result is joined from depends on the frames of its partition alone, so it is
//!   the same at any batch size, and as near to the true sum as if each frame were summed afresh.
//!
//! What it does not take over is left as it is: see [`recognise`]; where that is some windows of an operator, both work
//! one after the other ([`split`]).

mod bounds;
mod clock;
mod codes;
mod double;
mod exec;
mod extremes;
mod gather;
mod keys;
mod lanes;
mod links;
mod masks;
mod moments;
mod recognise;
mod rows;
mod rule;
mod sliding;
mod sort;
mod split;
mod stacks;
mod steps;
mod stock;
mod stream;
mod sums;
mod unclaimed;
mod whole;

pub(super) use masks::masked;
pub(super) use rule::SlidingWindows;
pub(super) use stream::Eviction;
pub(super) use unclaimed::unclaimed;
