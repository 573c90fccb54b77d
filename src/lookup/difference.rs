//! What differs between two generations, in any store.

use super::LookupReader;
use crate::error::Result;
use serde::Serialize;

/// Keys that are asked for at once.
const AT_ONCE: usize = 1000;

/// How two generations differ.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Difference {
    /// Keys that only the second one has.
    pub added: u64,
    /// Keys that only the first one has.
    pub removed: u64,
    /// Keys with another value.
    pub changed: u64,
    /// Keys with the same value.
    pub same: u64,
    /// Some of the keys that differ, in the store's order, with both values as they are stored.
    pub examples: Vec<Differing>,
}

/// A key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Differing {
    /// The key.
    pub key: String,
    /// Its value in the first generation; absent where it is not there.
    pub before: Option<String>,
    /// Its value in the second.
    pub after: Option<String>,
}

/// Compares two generations and shows at most `examples` keys of each kind. Each key is looked up in the
/// other generation, so that it does not matter in which order a store keeps them; memory is the same
/// however many there are.
///
/// # Errors
/// A verification error where one of them is damaged; a failure of the store.
pub fn difference(first: &dyn LookupReader, second: &dyn LookupReader, examples: usize) -> Result<Difference> {
    let mut found = Difference::default();
    let (one, two) = (first.metadata(), second.metadata());
    if (one.keys, one.checksum) == (two.keys, two.checksum) {
        found.same = one.keys;
        return Ok(found);
    }
    let (mut changed, mut removed, mut added) = (Vec::new(), Vec::new(), Vec::new());
    each_with(first, second, &mut |key, before, after| match after {
        Some(after) if after == before => found.same += 1,
        Some(after) => {
            found.changed += 1;
            show(&mut changed, examples, key, Some(before), Some(after));
        }
        None => {
            found.removed += 1;
            show(&mut removed, examples, key, Some(before), None);
        }
    })?;
    if found.same + found.changed < two.keys {
        each_with(second, first, &mut |key, after, before| {
            if before.is_none() {
                found.added += 1;
                show(&mut added, examples, key, None, Some(after));
            }
        })?;
    }
    found.examples = [changed, removed, added].concat();
    Ok(found)
}

fn show(shown: &mut Vec<Differing>, most: usize, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
    if shown.len() < most {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        shown.push(Differing { key: text(key), before: before.map(text), after: after.map(text) });
    }
}

/// What is called with a key, its value, and the value that another generation has under it.
type Compare<'a> = dyn FnMut(&[u8], &[u8], Option<&[u8]>) + 'a;

/// Every pair of a generation with the value that another one has under its key.
fn each_with(one: &dyn LookupReader, other: &dyn LookupReader, visit: &mut Compare<'_>) -> Result<()> {
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::with_capacity(AT_ONCE);
    let mut ask = |pairs: &mut Vec<(Vec<u8>, Vec<u8>)>| {
        let keys: Vec<&[u8]> = pairs.iter().map(|(key, _)| key.as_slice()).collect();
        let found = other.mget(&keys)?;
        for ((key, value), found) in pairs.iter().zip(&found) {
            visit(key, value, found.as_deref());
        }
        pairs.clear();
        Ok(())
    };
    one.each(&mut |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        if pairs.len() < AT_ONCE { Ok(()) } else { ask(&mut pairs) }
    })?;
    ask(&mut pairs)
}
