//! Which columns of small numbers the trees of a forest need, and where each split looks.

use super::boundary::{at_most, below};
use super::cuts::Cuts;
use super::members::{Member, Test};
use super::source::{Bytes, Change, Classes, Codes, Source};
use crate::forest::{CategorySet, Comparison, Forest, Node, Rule, Side};

/// Marks the number of a scratch column, which is known only when all other columns are.
pub(super) const SCRATCH: u32 = 1 << 31;
/// Sources that a feature may have: three changes, each with ranks and with classes.
const KINDS: usize = 6;

/// The sources of a forest, and the columns that were asked of them so far.
#[derive(Debug)]
pub(super) struct Plan {
    pub sources: Vec<Source>,
    /// The source of each feature and kind.
    slots: Vec<u32>,
    /// How many columns of bytes, and how many wide ones.
    pub columns: [u32; 2],
}

/// What a split compares.
#[derive(Debug)]
pub(super) enum Split {
    /// Ranks of a source up to a place go left; missing values right or left.
    Rank(usize, u16, bool),
    /// The answer to a question.
    Member(Member),
}

/// What the splits ask of a source, before it is made.
#[derive(Debug, Default)]
struct Asked {
    slot: usize,
    boundaries: Vec<f64>,
    codes: Vec<u32>,
}

impl Plan {
    /// The sources of a forest; `None` where a feature has more boundaries or codes than ranks can count.
    pub fn new(forest: &Forest) -> Option<Self> {
        let mut slots = vec![u32::MAX; forest.features() * KINDS];
        let mut asked: Vec<Asked> = Vec::new();
        for tree in forest.trees() {
            for node in tree.nodes() {
                let slot = slot(node);
                if slots[slot] == u32::MAX {
                    slots[slot] = asked.len() as u32;
                    asked.push(Asked { slot, ..Asked::default() });
                }
                let own = &mut asked[slots[slot] as usize];
                match node.rule {
                    Rule::Category { set } => own.codes.extend(tree.sets()[set as usize].members()),
                    Rule::Threshold { .. } => own.boundaries.extend(boundaries(node.rule).into_iter().flatten()),
                }
            }
        }
        // In the order of the block's columns, which lie one after the other in memory.
        asked.sort_by_key(|own| own.slot);
        for (place, own) in asked.iter().enumerate() {
            slots[own.slot] = place as u32;
        }
        let sources = asked.into_iter().map(Asked::source).collect::<Option<_>>()?;
        Some(Self { sources, slots, columns: [0; 2] })
    }

    /// What a node compares, with the wide column that it needs if it is a question.
    pub fn split(&mut self, node: &Node, sets: &[CategorySet]) -> Split {
        let index = self.slots[slot(node)] as usize;
        let (change, side) = Change::of(node.missing);
        let missing_right = side == Side::Right && change != Change::NanIsZero;
        let test = match (&self.sources[index].codes, node.rule) {
            (Codes::Classes(classes), Rule::Category { set }) => {
                let members = classes.members(&sets[set as usize], side);
                let few = classes.are_few();
                let column = if few { self.class_column(index) } else { self.wide_column(index, false) };
                let test = if few { Test::small(&members) } else { Test::large(&members) };
                return Split::Member(Member { column, test });
            }
            (Codes::Ranks(cuts), rule) => match (rule, boundaries(rule)) {
                (Rule::Threshold { comparison: Comparison::Equal, .. }, [before, Some(last)]) => {
                    let low = before.map_or(0, |before| cuts.place(before) + 1);
                    Test::Range(low, cuts.place(last), side == Side::Left)
                }
                (_, [_, Some(last)]) => return Split::Rank(index, cuts.place(last), missing_right),
                // Nothing is below negative infinity.
                _ => Test::Range(1, 0, side == Side::Left),
            },
            // Sources are made from the rules themselves, so classes have only category rules.
            (Codes::Classes(_), Rule::Threshold { .. }) => Test::Range(1, 0, false),
        };
        Split::Member(Member { column: self.wide_column(index, true), test })
    }

    /// The column of bytes that holds the classes of a source.
    fn class_column(&mut self, source: usize) -> u32 {
        let next = self.columns[0];
        let column = *self.sources[source].classes.get_or_insert(next);
        self.columns[0] = next.max(column + 1);
        column
    }

    /// The column of bytes that tells a place, and the byte up to which values go left.
    pub fn byte_column(&mut self, source: usize, place: u16, missing_right: bool) -> (u32, i8) {
        let (bank, bin) = Source::byte_of(place);
        let next = self.columns[0];
        let column = *self.sources[source].bytes.entry(Bytes { bank, missing_right }).or_insert(next);
        self.columns[0] = next.max(column + 1);
        (column, bin)
    }

    /// The wide column of a source with missing values at this end.
    fn wide_column(&mut self, source: usize, missing_right: bool) -> u32 {
        let next = self.columns[1];
        let column = *self.sources[source].wide[usize::from(missing_right)].get_or_insert(next);
        self.columns[1] = next.max(column + 1);
        column
    }
}

impl Asked {
    fn source(self) -> Option<Source> {
        let change = [Change::None, Change::ZeroMissing, Change::NanIsZero][self.slot % KINDS / 2];
        let codes = if self.slot.is_multiple_of(2) {
            Codes::Ranks(Cuts::new(self.boundaries)?)
        } else {
            Codes::Classes(Classes::new(self.codes)?)
        };
        Some(Source {
            feature: self.slot / KINDS,
            change,
            codes,
            bytes: Default::default(),
            wide: [None; 2],
            classes: None,
        })
    }
}

fn slot(node: &Node) -> usize {
    let kind = match Change::of(node.missing).0 {
        Change::None => 0,
        Change::ZeroMissing => 2,
        Change::NanIsZero => 4,
    };
    node.feature as usize * KINDS + kind + usize::from(matches!(node.rule, Rule::Category { .. }))
}

/// The rule holds for values up to the second boundary, and for none up to the first.
fn boundaries(rule: Rule) -> [Option<f64>; 2] {
    match rule {
        Rule::Category { .. } => [None; 2],
        Rule::Threshold { value, comparison, precision } => match comparison {
            Comparison::AtMost => [None, Some(at_most(value, precision))],
            Comparison::Below => [None, below(value, precision)],
            Comparison::Equal => [below(value, precision), Some(at_most(value, precision))],
        },
    }
}
