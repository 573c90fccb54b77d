//! Keys of the spine, and which of them a row of the feature table has.

use super::forms::{KeyForm, complete, converted, numbers};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef};
use arrow::row::{RowConverter, Rows, SortField};
use std::ops::Range;

/// No group: a key that is NULL or that the spine does not have.
pub(super) const NONE: u32 = u32::MAX;

/// A direct table of numbers may be this many times as long as there are keys.
const SPARSEST: u64 = 8;

/// The keys of spine rows in their order.
pub(super) struct Keys {
    values: Values,
    /// Whether all columns of a row's key have a value.
    complete: Vec<bool>,
}

enum Values {
    Numbers(Vec<i64>),
    Bytes { coder: Coder, rows: Rows },
}

/// Turns columns into bytes that are equal where the values are.
struct Coder {
    kinds: Vec<arrow::datatypes::DataType>,
    converter: RowConverter,
}

impl Coder {
    fn new(kinds: &[arrow::datatypes::DataType]) -> Result<Self> {
        let fields = kinds.iter().cloned().map(SortField::new).collect();
        let converter = RowConverter::new(fields).map_err(cannot_compare)?;
        Ok(Self { kinds: kinds.to_vec(), converter })
    }
}

fn cannot_compare(source: arrow::error::ArrowError) -> Error {
    Error::failed("keys cannot be compared").because(source)
}

impl Keys {
    pub(super) fn new(form: &KeyForm) -> Result<Self> {
        let values = match form {
            KeyForm::Number => Values::Numbers(Vec::new()),
            KeyForm::Bytes(kinds) => {
                let coder = Coder::new(kinds)?;
                let rows = coder.converter.empty_rows(0, 0);
                Values::Bytes { coder, rows }
            }
        };
        Ok(Self { values, complete: Vec::new() })
    }

    /// Adds the keys of a batch.
    ///
    /// # Errors
    /// Where the columns are not of the types that were planned.
    pub(super) fn extend(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let count = columns.first().map_or(0, |column| column.len());
        match (complete(columns), count) {
            (Some(nulls), _) => self.complete.extend(nulls.iter()),
            (None, count) => self.complete.resize(self.complete.len() + count, true),
        }
        match &mut self.values {
            Values::Numbers(all) => {
                all.extend(columns.first().map(numbers).transpose()?.iter().flat_map(|column| column.values().iter()));
            }
            Values::Bytes { coder, rows } => {
                coder.converter.append(rows, &converted(columns, &coder.kinds)?).map_err(cannot_compare)?;
            }
        }
        Ok(())
    }

    /// Memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Numbers(all) => all.len() * size_of::<i64>(),
            Values::Bytes { rows, .. } => rows.size(),
        };
        values + self.complete.len()
    }
}

/// Numbers for the distinct keys of a range of spine rows.
pub(super) struct Groups<'a> {
    table: Table<'a>,
    count: u32,
}

enum Table<'a> {
    /// The group of each number from `low` on.
    Direct {
        low: i64,
        groups: Vec<u32>,
    },
    Hashed(NumberTable),
    Bytes(ByteTable<'a>),
}

impl<'a> Groups<'a> {
    /// The groups of the rows of `range` that `is_wanted` and have a key, and the group of each row.
    pub(super) fn build(keys: &'a Keys, range: Range<usize>, is_wanted: impl Fn(usize) -> bool) -> (Self, Vec<u32>) {
        let mut of_rows = vec![NONE; range.len()];
        let wanted = range.enumerate().filter(|(_, row)| keys.complete[*row] && is_wanted(*row));
        let table = match &keys.values {
            Values::Numbers(all) => {
                let mut table = NumberTable::default();
                wanted.for_each(|(index, row)| of_rows[index] = table.insert(all[row]));
                let count = table.count;
                return (Self { table: table.directly(), count }, of_rows);
            }
            Values::Bytes { coder, rows } => {
                let mut table = ByteTable::new(coder, rows);
                wanted.for_each(|(index, row)| of_rows[index] = table.insert(row));
                table
            }
        };
        let count = table.firsts.len() as u32;
        (Self { table: Table::Bytes(table), count }, of_rows)
    }

    /// How many groups there are.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// The smallest and the largest key, where keys are numbers.
    pub(super) fn bounds(&self) -> Option<(i64, i64)> {
        match &self.table {
            Table::Direct { low, groups } => Some((*low, low + (groups.len() as i64 - 1).max(0))),
            Table::Hashed(table) => Some((table.low, table.high)),
            Table::Bytes(_) => None,
        }
        .filter(|_| self.count > 0)
    }

    /// The group of each row of the feature table.
    ///
    /// # Errors
    /// Where the columns are not of the types that were planned.
    pub(super) fn find(&self, columns: &[ArrayRef], found: &mut Vec<u32>) -> Result<()> {
        found.clear();
        match &self.table {
            Table::Direct { low, groups } => {
                let Some(column) = columns.first().map(numbers).transpose()? else { return Ok(()) };
                let find = |key: &i64| {
                    // A number below `low` wraps to one beyond the end.
                    let place = key.wrapping_sub(*low) as u64;
                    usize::try_from(place).ok().and_then(|place| groups.get(place)).copied().unwrap_or(NONE)
                };
                found.extend(column.values().iter().map(find));
            }
            Table::Hashed(table) => {
                let Some(column) = columns.first().map(numbers).transpose()? else { return Ok(()) };
                found.extend(column.values().iter().map(|key| table.find(*key)));
            }
            Table::Bytes(table) => {
                let columns = converted(columns, &table.coder.kinds)?;
                let rows = table.coder.converter.convert_columns(&columns).map_err(cannot_compare)?;
                found.extend(rows.iter().map(|row| table.find(row.data())));
            }
        }
        if let Some(nulls) = complete(columns) {
            found.iter_mut().zip(nulls.iter()).filter(|(_, is_there)| !is_there).for_each(|(group, _)| *group = NONE);
        }
        Ok(())
    }
}

/// Numbers and their groups by open addressing; at most half of the places are taken.
struct NumberTable {
    places: Vec<(i64, u32)>,
    count: u32,
    low: i64,
    high: i64,
}

impl Default for NumberTable {
    fn default() -> Self {
        Self { places: vec![(0, NONE); 64], count: 0, low: i64::MAX, high: i64::MIN }
    }
}

impl NumberTable {
    /// The place of a key, or the free one where it belongs.
    fn place(places: &[(i64, u32)], key: i64) -> usize {
        let mask = places.len() - 1;
        // Fibonacci hashing: the upper bits of the product are well mixed.
        let hash = (key as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut place = (hash >> (64 - places.len().trailing_zeros())) as usize;
        while places[place].1 != NONE && places[place].0 != key {
            place = (place + 1) & mask;
        }
        place
    }

    fn find(&self, key: i64) -> u32 {
        self.places[Self::place(&self.places, key)].1
    }

    fn insert(&mut self, key: i64) -> u32 {
        let place = Self::place(&self.places, key);
        if self.places[place].1 != NONE {
            return self.places[place].1;
        }
        let group = self.count;
        self.places[place] = (key, group);
        self.count += 1;
        (self.low, self.high) = (self.low.min(key), self.high.max(key));
        if self.count as usize * 2 > self.places.len() {
            let mut wider = vec![(0, NONE); self.places.len() * 2];
            for entry in self.places.iter().filter(|entry| entry.1 != NONE) {
                let place = Self::place(&wider, entry.0);
                wider[place] = *entry;
            }
            self.places = wider;
        }
        group
    }

    /// As a direct table, where the numbers lie close together.
    fn directly<'a>(self) -> Table<'a> {
        let width = self.high.wrapping_sub(self.low) as u64;
        if self.count == 0 || width >= u64::from(self.count) * SPARSEST {
            return Table::Hashed(self);
        }
        let mut groups = vec![NONE; width as usize + 1];
        for (key, group) in self.places.iter().filter(|entry| entry.1 != NONE) {
            groups[(key - self.low) as usize] = *group;
        }
        Table::Direct { low: self.low, groups }
    }
}

/// Keys as bytes and their groups by open addressing; the bytes stay where they are.
struct ByteTable<'a> {
    coder: &'a Coder,
    rows: &'a Rows,
    /// The first spine row of each group.
    firsts: Vec<u32>,
    places: Vec<u32>,
}

impl<'a> ByteTable<'a> {
    fn new(coder: &'a Coder, rows: &'a Rows) -> Self {
        Self { coder, rows, firsts: Vec::new(), places: vec![NONE; 64] }
    }

    fn place(&self, key: &[u8]) -> usize {
        let mask = self.places.len() - 1;
        let mut place = hash(key) as usize & mask;
        while self.places[place] != NONE && self.key(self.places[place]) != key {
            place = (place + 1) & mask;
        }
        place
    }

    fn key(&self, group: u32) -> &'a [u8] {
        self.rows.row(self.firsts[group as usize] as usize).data()
    }

    fn find(&self, key: &[u8]) -> u32 {
        self.places[self.place(key)]
    }

    fn insert(&mut self, row: usize) -> u32 {
        let place = self.place(self.rows.row(row).data());
        if self.places[place] != NONE {
            return self.places[place];
        }
        let group = self.firsts.len() as u32;
        self.places[place] = group;
        self.firsts.push(row as u32);
        if self.firsts.len() * 2 > self.places.len() {
            self.places = vec![NONE; self.places.len() * 2];
            for group in 0..self.firsts.len() as u32 {
                let place = self.place(self.key(group));
                self.places[place] = group;
            }
        }
        group
    }
}

/// Eight bytes at a time are multiplied into 128 bits, whose halves are folded.
fn hash(key: &[u8]) -> u64 {
    const MIX: u128 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * MIX;
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut state = key.len() as u64 ^ 0x243f_6a88_85a3_08d3;
    let words = key.chunks_exact(8);
    let mut last = [0_u8; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    for word in words {
        let mut bytes = [0_u8; 8];
        bytes.copy_from_slice(word);
        state = fold(state, u64::from_le_bytes(bytes));
    }
    fold(state, u64::from_le_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::DataType;
    use std::sync::Arc;

    fn groups_of(form: &KeyForm, spine: &[ArrayRef], table: &[ArrayRef]) -> (Vec<u32>, Vec<u32>) {
        let mut keys = Keys::new(form).unwrap();
        keys.extend(spine).unwrap();
        assert!(keys.bytes() > 0);
        let (groups, of_rows) = Groups::build(&keys, 0..spine[0].len(), |_| true);
        let mut found = Vec::new();
        groups.find(table, &mut found).unwrap();
        (of_rows, found)
    }

    #[test]
    fn numbers_close_together_and_far_apart_are_found() {
        let far = [i64::MIN, i64::MAX, 0, -1, 7];
        let close = [5, 3, 4, 3, 5];
        for keys in [far, close] {
            let column: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
            let (spine, found) = groups_of(&KeyForm::Number, &[Arc::clone(&column)], &[column]);
            assert_eq!(spine, found);
            let stranger: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), Some(6), Some(i64::MIN + 1), None]));
            let column: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
            assert_eq!(groups_of(&KeyForm::Number, &[column], &[stranger]).1, [NONE; 4]);
        }
    }

    #[test]
    fn many_keys_of_each_form_have_one_group_each() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..5000).map(|key| key * 1_000_003)));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..5000).map(|key| format!("key {key}"))));
        let both = KeyForm::Bytes(vec![DataType::Int64, DataType::Utf8View]);
        let pairs: [(KeyForm, Vec<ArrayRef>); 2] =
            [(KeyForm::Number, vec![Arc::clone(&numbers)]), (both, vec![numbers, texts])];
        for (form, columns) in pairs {
            let (spine, found) = groups_of(&form, &columns, &columns);
            assert_eq!(spine, (0..5000).collect::<Vec<u32>>());
            assert_eq!(spine, found);
        }
    }

    #[test]
    fn nulls_are_no_keys() {
        let left: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(0)]));
        let right: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None]));
        let form = KeyForm::Bytes(vec![DataType::Int64, DataType::Utf8View]);
        let (spine, found) = groups_of(&form, &[Arc::clone(&left), Arc::clone(&right)], &[left, right]);
        assert_eq!(spine, [0, NONE, NONE]);
        assert_eq!(found, spine);
    }
}
