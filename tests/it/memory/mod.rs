//! Memory: what the limit is, that queries give the same rows in the same order within any, what is refused by name,
//! and what a plan predicts.

mod operators;
mod process;
