//! The compiled form beside its forest, made when it pays.

use super::{Compiled, Forest, Instructions};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A block of up to so many rows is walked row by row even where the compiled form is at hand.
const FEW: usize = 16;
/// The fewest rows for which a forest is compiled.
const WORTH: usize = 512;
/// Compiling a split costs about what walking a few rows down its tree does; some are added, since the
/// larger trees are, the less is gained.
const ROWS_A_SPLIT: usize = 8;

/// What the compiled forms of many forests may hold together. Which of them are kept depends on who comes first; no
/// bit of a score does.
#[derive(Debug)]
pub struct Room {
    bytes: usize,
    left: AtomicUsize,
}

impl Room {
    /// Room for so many bytes, and for the form that passes them.
    pub fn of(bytes: usize) -> Self {
        Self { bytes, left: AtomicUsize::new(bytes) }
    }

    fn is_full(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: usize) {
        // Always given a value, so never an error.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
    }
}

/// Of forests that are compiled anew.
impl Clone for Room {
    fn clone(&self) -> Self {
        Self::of(self.bytes)
    }
}

impl PartialEq for Room {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// The compiled form of a forest; equal to every other, since it says nothing that the forest doesn't.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// `None` inside: the forest can't be compiled.
    compiled: OnceLock<Option<Compiled>>,
    /// Rows that were walked so far.
    walked: AtomicUsize,
}

/// A form to score by.
pub(super) enum Ready<'a> {
    /// Stays beside its forest.
    Kept(&'a Compiled),
    /// For this block alone.
    Once(Box<Compiled>),
}

impl Ready<'_> {
    pub fn form(&self) -> &Compiled {
        match self {
            Self::Kept(form) => form,
            Self::Once(form) => form,
        }
    }
}

impl Cache {
    /// The compiled form, if this many more rows should be scored by it. Where there is no room (`None`: there always
    /// is) to keep it, it is made for these rows alone, if they are enough.
    pub fn compiled(&self, forest: &Forest, rows: usize, room: Option<&Room>) -> Option<Ready<'_>> {
        if rows <= FEW {
            return None;
        }
        if let Some(kept) = self.compiled.get() {
            return kept.as_ref().map(Ready::Kept);
        }
        // A count that other threads see late only moves the moment of compiling.
        let worth = worth(forest);
        if self.walked.fetch_add(rows, Ordering::Relaxed) + rows < worth {
            return None;
        }
        if room.is_some_and(Room::is_full) {
            let compiled = if rows < worth { None } else { Compiled::new(forest, Instructions::best()) };
            return compiled.map(|form| Ready::Once(Box::new(form)));
        }
        let kept = self.compiled.get_or_init(|| {
            let compiled = Compiled::new(forest, Instructions::best());
            if let (Some(room), Some(compiled)) = (room, &compiled) {
                room.take(compiled.bytes());
            }
            compiled
        });
        kept.as_ref().map(Ready::Kept)
    }
}

/// Rows after which compiling has cost less than walking them does.
fn worth(forest: &Forest) -> usize {
    let splits: usize = forest.trees().iter().map(|tree| tree.nodes().len()).sum();
    WORTH.max(ROWS_A_SPLIT * splits / forest.trees().len().max(1))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureBlock;
    use crate::forest::{Aggregation, TreeBuilder};

    fn stump() -> Forest {
        let mut builder = TreeBuilder::new(1);
        let (left, right) = (builder.leaf(&[1.0]), builder.leaf(&[2.0]));
        let root = builder.split(0, 0.5, left, right);
        Forest::new(1, vec![0.0], Aggregation::Sum, vec![builder.finish(root, None)]).unwrap()
    }

    #[test]
    fn forests_are_compiled_when_enough_rows_were_walked() {
        let forest = stump();
        let is_compiled = |forest: &Forest| forest.cache.compiled.get().is_some();
        for (rows, compiled) in [(16, false), (300, false), (16, false), (211, false), (17, true), (16, true)] {
            assert_eq!(forest.score(&FeatureBlock::zeros(rows, 1)), vec![1.0; rows]);
            assert_eq!(is_compiled(&forest), compiled, "after {rows} rows");
        }
        let at_once = |rows| forest.cache.compiled(&forest, rows, None).is_some();
        assert!(!at_once(16) && at_once(17));
        assert!(!is_compiled(&forest.clone()));
    }

    #[test]
    fn forms_without_room_are_made_for_large_blocks_alone() {
        let forests: Vec<Forest> = (0..3).map(|_| stump()).collect();
        let bytes = Compiled::new(&forests[0], Instructions::best()).unwrap().bytes();
        assert!(bytes > 64 * 8, "{bytes}: at least a table of leaves");
        let room = Room::of(bytes + 1);
        let kept = |forest: &Forest, rows| match forest.cache.compiled(forest, rows, Some(&room)) {
            Some(Ready::Kept(_)) => "kept",
            Some(Ready::Once(_)) => "once",
            None => "walked",
        };
        assert_eq!([kept(&forests[0], 511), kept(&forests[0], 17)], ["walked", "kept"]);
        assert_eq!([kept(&forests[1], 512), kept(&forests[1], 17)], ["kept", "kept"]);
        // The room was full before this one.
        assert_eq!([512, 511, 512].map(|rows| kept(&forests[2], rows)), ["once", "walked", "once"]);
        let block = FeatureBlock::zeros(600, 1);
        assert!(forests.iter().all(|forest| forest.score_within(&block, &room) == forest.score(&block)));
    }
}
