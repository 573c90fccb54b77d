//! A tree of values as JSON and UBJSON have it, with lists of numbers packed.

use super::damaged;
use crate::error::Result;

/// How deep values may lie within each other; models need seven.
pub(super) const DEEPEST: usize = 64;
/// How many values there may be, apart from packed numbers: about a gigabyte of them.
pub(super) const MOST_VALUES: usize = 1 << 24;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Document {
    Null,
    Boolean(bool),
    Number(f64),
    Text(String),
    /// A list of numbers or booleans alone, also an empty one.
    Numbers(Vec<f64>),
    List(Vec<Document>),
    Object(Vec<(String, Document)>),
}

impl Document {
    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Document> {
        match self {
            Self::Object(members) => members.iter().find(|(own, _)| own == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The member of an object, which must be there.
    pub fn need(&self, key: &'static str) -> Result<&Document> {
        self.get(key).ok_or_else(|| damaged(format!("`{key}` is missing")))
    }

    /// The text of a member; a number counts as its text.
    pub fn text(&self, key: &'static str) -> Result<String> {
        match self.need(key)? {
            Self::Text(text) => Ok(text.clone()),
            Self::Number(number) => Ok(number.to_string()),
            _ => Err(damaged(format!("`{key}` is no text"))),
        }
    }

    /// The whole number of a member, which may be written as a text.
    pub fn count(&self, key: &'static str) -> Result<usize> {
        let number = match self.need(key)? {
            Self::Text(text) => text.trim().parse().ok(),
            Self::Number(number) => whole(*number),
            Self::Boolean(value) => Some(usize::from(*value)),
            _ => None,
        };
        number.ok_or_else(|| damaged(format!("`{key}` is no whole number")))
    }

    /// The numbers of a member.
    pub fn numbers(&self, key: &'static str) -> Result<&[f64]> {
        match self.need(key)? {
            Self::Numbers(numbers) => Ok(numbers),
            _ => Err(damaged(format!("`{key}` is no list of numbers"))),
        }
    }

    /// The whole numbers of a member.
    pub fn counts(&self, key: &'static str) -> Result<Vec<usize>> {
        let counts: Option<Vec<usize>> = self.numbers(key)?.iter().map(|number| whole(*number)).collect();
        counts.ok_or_else(|| damaged(format!("`{key}` has something else than whole numbers")))
    }

    /// The values of a member that is a list.
    pub fn list(&self, key: &'static str) -> Result<&[Document]> {
        match self.need(key)? {
            Self::List(values) => Ok(values),
            Self::Numbers(numbers) if numbers.is_empty() => Ok(&[]),
            _ => Err(damaged(format!("`{key}` is no list"))),
        }
    }
}

/// The whole number that a float is.
pub(super) fn whole(number: f64) -> Option<usize> {
    (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as usize)
}

/// Puts values into a list, packed for as long as all are numbers or booleans.
pub(super) struct ListBuilder(Document);

impl ListBuilder {
    pub fn new() -> Self {
        Self(Document::Numbers(Vec::new()))
    }

    pub fn push(&mut self, value: Document) {
        let number = match &value {
            Document::Number(number) => Some(*number),
            Document::Boolean(value) => Some(f64::from(u8::from(*value))),
            _ => None,
        };
        match (&mut self.0, number) {
            (Document::Numbers(numbers), Some(number)) => numbers.push(number),
            (Document::Numbers(numbers), None) => {
                let numbers = std::mem::take(numbers);
                let mut values: Vec<Document> = numbers.into_iter().map(Document::Number).collect();
                values.push(value);
                self.0 = Document::List(values);
            }
            (Document::List(values), _) => values.push(value),
            _ => {}
        }
    }

    /// Whether all values are numbers so far.
    pub fn is_packed(&self) -> bool {
        matches!(self.0, Document::Numbers(_))
    }

    pub fn finish(self) -> Document {
        self.0
    }
}
