//! From a feature's values to the columns of small numbers that the kernels compare.

use super::STRIP;
use super::cuts::Cuts;
use crate::forest::{CategorySet, Missing, Side, ZERO};
use std::collections::BTreeMap;

/// Boundaries that one byte tells apart: a value's rank among 255 of them is 0 to 255.
const BANK: usize = u8::MAX as usize;
/// The values of a byte.
const BYTE: usize = BANK + 1;
/// The rank of a missing value in the wide columns that tell it.
pub(super) const MISSING: u16 = u16::MAX;
/// Codes up to this one are looked up in a table, others searched.
const TABLE: usize = 1 << 16;

/// How a feature's values are changed before they are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    /// NaN is missing.
    None,
    /// NaN and what counts as zero are missing.
    ZeroMissing,
    /// NaN is 0; nothing is missing.
    NanIsZero,
}

impl Change {
    /// The change that a missing rule asks for, and the side of what is missing then.
    pub fn of(missing: Missing) -> (Self, Side) {
        match missing {
            Missing::Nan(side) => (Self::None, side),
            Missing::NanOrZero(side) => (Self::ZeroMissing, side),
            Missing::NanIsZero => (Self::NanIsZero, Side::Left),
        }
    }

    /// The values after the change, in `changed` unless they stay as they are.
    #[inline(always)]
    fn apply<'a>(self, values: &'a [f64], changed: &'a mut [f64; STRIP]) -> &'a [f64] {
        let changed = &mut changed[..values.len()];
        match self {
            Self::None => return values,
            Self::ZeroMissing => {
                for (to, value) in changed.iter_mut().zip(values) {
                    *to = if value.abs() > ZERO { *value } else { f64::NAN };
                }
            }
            Self::NanIsZero => {
                for (to, value) in changed.iter_mut().zip(values) {
                    *to = if value.is_nan() { 0.0 } else { *value };
                }
            }
        }
        changed
    }
}

/// A column of bytes, compared as signed numbers: ranks minus 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bytes {
    /// The boundary with which the column begins: ranks are counted from it and end 255 later.
    pub bank: u16,
    /// Missing values have the highest byte, else the lowest.
    pub missing_right: bool,
}

/// One feature under one change, ranked once a strip, in all the columns that trees ask of it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub feature: usize,
    pub change: Change,
    pub codes: Codes,
    /// The columns of bytes and their numbers.
    pub bytes: BTreeMap<Bytes, u32>,
    /// The numbers of the wide columns: missing values have the rank 0, or [`MISSING`].
    pub wide: [Option<u32>; 2],
    /// The column of bytes with classes as they are, not compared but looked up.
    pub classes: Option<u32>,
}

/// What the values of a source are turned into.
#[derive(Debug, Clone)]
pub(super) enum Codes {
    /// Ranks among boundaries.
    Ranks(Cuts),
    /// Classes of category codes.
    Classes(Classes),
}

impl Source {
    /// What it holds in memory, in bytes.
    pub fn own_bytes(&self) -> usize {
        let codes = match &self.codes {
            Codes::Ranks(cuts) => cuts.own_bytes(),
            Codes::Classes(classes) => classes.codes.len() * size_of::<u32>() + classes.table.len() * size_of::<u16>(),
        };
        size_of::<Self>() + codes + self.bytes.len() * size_of::<(Bytes, u32)>()
    }

    /// The bank in which a boundary lies, and the byte up to which values go left there.
    pub fn byte_of(place: u16) -> (u16, i8) {
        let within = usize::from(place) % BANK;
        (place - within as u16, (within as i16 - 128) as i8)
    }

    /// Fills the columns of one strip; `values` are those of its rows, at most [`STRIP`].
    #[inline(always)]
    pub fn fill(&self, values: &[f64], bytes: &mut [[i8; STRIP]], wide: &mut [[u16; STRIP]]) {
        let mut changed = [0.0; STRIP];
        let values = self.change.apply(values, &mut changed);
        let mut codes = [0_u16; STRIP];
        let found = &mut codes[..values.len()];
        match &self.codes {
            Codes::Ranks(cuts) => cuts.rank(values, found),
            Codes::Classes(classes) => classes.classify(values, found),
        }
        if let Some(column) = self.wide[0] {
            wide[column as usize] = codes;
        }
        if let Some(column) = self.classes {
            for (byte, class) in bytes[column as usize].iter_mut().zip(&codes) {
                *byte = *class as i8;
            }
        }
        for (kind, column) in self.bytes.iter().filter(|(kind, _)| !kind.missing_right) {
            narrow(&codes, kind.bank, &mut bytes[*column as usize]);
        }
        if values.iter().fold(false, |any, value| any | value.is_nan()) {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = if value.is_nan() { MISSING } else { *code };
            }
        }
        if let Some(column) = self.wide[1] {
            wide[column as usize] = codes;
        }
        for (kind, column) in self.bytes.iter().filter(|(kind, _)| kind.missing_right) {
            narrow(&codes, kind.bank, &mut bytes[*column as usize]);
        }
    }
}

/// Ranks from the beginning of a bank on, as bytes minus 128.
#[inline(always)]
fn narrow(codes: &[u16; STRIP], bank: u16, bytes: &mut [i8; STRIP]) {
    for (byte, code) in bytes.iter_mut().zip(codes) {
        let within = code.saturating_sub(bank).min(BANK as u16);
        *byte = (within as u8 ^ 0x80) as i8;
    }
}

/// Category codes that are in some set, each a class of its own from 1 on; 0: in no set.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    /// Ascending.
    codes: Vec<u32>,
    /// The classes of low codes.
    table: Vec<u16>,
}

impl Classes {
    /// The classes of these codes, in any order; `None` if there are over 65,533.
    pub fn new(mut codes: Vec<u32>) -> Option<Self> {
        codes.sort_unstable();
        codes.dedup();
        if codes.len() >= usize::from(MISSING) - 1 {
            return None;
        }
        let length = codes.last().map_or(0, |last| (*last as usize).saturating_add(1)).min(TABLE);
        let mut table = vec![0; length];
        for (place, code) in codes.iter().enumerate() {
            if let Some(class) = table.get_mut(*code as usize) {
                *class = place as u16 + 1;
            }
        }
        Some(Self { codes, table })
    }

    /// Whether a byte tells all classes apart, that of missing values included.
    pub fn are_few(&self) -> bool {
        self.codes.len() + 2 <= BYTE
    }

    /// For each class, whether the set holds it; the last one stands for missing values.
    pub fn members(&self, set: &CategorySet, missing: Side) -> Vec<bool> {
        let codes = self.codes.iter().map(|code| set.holds(*code));
        [false].into_iter().chain(codes).chain([missing == Side::Left]).collect()
    }

    /// The class of missing values in tables of [`members`](Self::members).
    fn missing(&self) -> u16 {
        self.codes.len() as u16 + 1
    }

    fn classify(&self, values: &[f64], classes: &mut [u16]) {
        for (class, value) in classes.iter_mut().zip(values) {
            // Truncated toward zero; NaN and what is out of range fail both comparisons.
            *class = if *value > -1.0 && *value < 4_294_967_296.0 {
                self.class(*value as u32)
            } else if value.is_nan() {
                self.missing()
            } else {
                0
            };
        }
    }

    fn class(&self, code: u32) -> u16 {
        match self.table.get(code as usize) {
            Some(class) => *class,
            None => self.codes.binary_search(&code).map_or(0, |place| place as u16 + 1),
        }
    }
}
