//! The compiled form beside its forest, made when it pays.

use super::{Compiled, Forest, Instructions};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A block of up to so many rows is walked row by row even where the compiled form is at hand.
const FEW: usize = 16;
/// Rows after which compiling has cost less than walking them does.
const WORTH: usize = 512;

/// The compiled form of a forest; equal to every other, since it says nothing that the forest doesn't.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// `None` inside: the forest can't be compiled.
    compiled: OnceLock<Option<Compiled>>,
    /// Rows that were walked so far.
    walked: AtomicUsize,
}

impl Cache {
    /// The compiled form, if this many more rows should be scored by it.
    pub fn compiled(&self, forest: &Forest, rows: usize) -> Option<&Compiled> {
        if rows <= FEW {
            return None;
        }
        // A count that other threads see late only moves the moment of compiling.
        if self.compiled.get().is_none() && self.walked.fetch_add(rows, Ordering::Relaxed) + rows < WORTH {
            return None;
        }
        self.compiled.get_or_init(|| Compiled::new(forest, Instructions::best())).as_ref()
    }
}

impl Clone for Cache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Cache {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}
