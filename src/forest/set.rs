//! Sets of category codes.

/// Bits in a word.
const BITS: u32 = u64::BITS;

/// A set of category codes, as the words of a bit set that are not empty: one large code costs one word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CategorySet {
    /// The word's place (code / 64) and its bits, ascending, none empty.
    words: Vec<(u32, u64)>,
}

impl CategorySet {
    /// The set of these codes, in any order.
    pub fn new(members: impl IntoIterator<Item = u32>) -> Self {
        let mut members: Vec<u32> = members.into_iter().collect();
        members.sort_unstable();
        let mut words: Vec<(u32, u64)> = Vec::new();
        for code in members {
            let (place, bit) = (code / BITS, 1 << (code % BITS));
            match words.last_mut() {
                Some((last, bits)) if *last == place => *bits |= bit,
                _ => words.push((place, bit)),
            }
        }
        Self { words }
    }

    /// The set of these words; `None` unless places ascend and no word is empty.
    pub fn from_words(words: Vec<(u32, u64)>) -> Option<Self> {
        let ascending = words.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let sound = ascending && words.iter().all(|(place, bits)| *place <= u32::MAX / BITS && *bits != 0);
        sound.then_some(Self { words })
    }

    /// The words that are not empty: place (code / 64) and bits, ascending.
    pub fn words(&self) -> &[(u32, u64)] {
        &self.words
    }

    /// The codes, ascending.
    pub fn members(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().flat_map(|(place, bits)| {
            (0..BITS).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| place * BITS + bit)
        })
    }

    /// Whether the value, truncated toward zero, is a member; NaN, negative, infinite: no.
    pub fn contains(&self, value: f64) -> bool {
        let code = value.trunc();
        // -0.5 is truncated to -0, which is 0.
        (0.0..=f64::from(u32::MAX)).contains(&code) && self.holds(code as u32)
    }

    /// Whether the code is a member.
    pub fn holds(&self, code: u32) -> bool {
        let found = self.words.binary_search_by_key(&(code / BITS), |(place, _)| *place);
        found.is_ok_and(|index| self.words[index].1 >> (code % BITS) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_sorted_and_once() {
        let codes = [u32::MAX, 5, 64, 63, 5, 0, 1_000_000];
        let set = CategorySet::new(codes);
        assert_eq!(set.members().collect::<Vec<_>>(), [0, 5, 63, 64, 1_000_000, u32::MAX]);
        assert_eq!(set.words().len(), 4);
        assert!(codes.iter().all(|code| set.holds(*code) && set.contains(f64::from(*code))));
        assert!(!set.holds(1) && !set.contains(4_294_967_296.0) && !set.contains(f64::NAN));
        assert_eq!(CategorySet::from_words(set.words().to_vec()), Some(set));
    }

    #[test]
    fn words_that_no_set_writes_are_refused() {
        for words in [vec![(1, 1), (0, 1)], vec![(3, 1), (3, 2)], vec![(0, 0)], vec![(1 << 26, 1)]] {
            assert_eq!(CategorySet::from_words(words), None);
        }
    }
}
