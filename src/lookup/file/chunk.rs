//! Pairs in one buffer, on their way into a file or out of one.

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets the value.
    Put,
    /// It goes.
    Delete,
}

/// Pairs one after another; the memory is used again.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    /// Where each key and each value ends, and what becomes of the key.
    ends: Vec<(usize, usize, Change)>,
}

impl Chunk {
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(key, value, Change::Put);
    }

    pub fn delete(&mut self, key: &[u8]) {
        self.push(key, &[], Change::Delete);
    }

    fn push(&mut self, key: &[u8], value: &[u8], change: Change) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len(), change));
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The length of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// The pair at `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before)?.1,
            None => 0,
        };
        let (key_end, value_end, _) = *self.ends.get(index)?;
        Some((&self.bytes[start..key_end], &self.bytes[key_end..value_end]))
    }

    /// All pairs in order, with what becomes of them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], Change)> {
        let mut start = 0;
        self.ends.iter().map(move |&(key_end, value_end, change)| {
            let pair = (&self.bytes[start..key_end], &self.bytes[key_end..value_end], change);
            start = value_end;
            pair
        })
    }
}
