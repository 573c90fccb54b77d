//! The demo lake: card transactions that are made up, but behave.
//!
//! The simulator follows that of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi:
//! *Reproducible Machine Learning for Credit Card Fraud Detection*, chapter 3): customers at random places pay at
//! the terminals around them, and three kinds of fraud happen to them. Added to it are segments of customers,
//! categories of terminals, and seasons of the day and the week, so that there is something to regress and
//! something to classify.
//!
//! [`Spec`] says how much, [`Generator`] makes it one day at a time, [`write_lake`] keeps it as tables. Whatever is random
//! comes from a stream of its own for each (seed, day, customer), so a day can be made without the days before
//! it and is the same to the byte at any number of threads. Only additions, multiplications, divisions and
//! square roots are done on floats, so it is also the same on every platform.

mod calendar;
mod columns;
mod generator;
mod population;
mod spec;
mod stream;
mod streets;
mod write;

pub use columns::{customers_schema, inspections_schema, terminals_schema, transactions_schema};
pub use generator::Generator;
pub use spec::Spec;
pub use write::{Written, write_lake};
