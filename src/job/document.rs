//! TOML as a tree in which every key and every value knows where it stands.

use serde_json::{Map, Number, Value};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of one of the texts that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The text: 0 is the file, then the overrides in order.
    pub(super) source: usize,
    /// The bytes; none where the whole text is meant.
    pub(super) span: Option<Range<usize>>,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) item: Item,
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Item {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or time that stands without quotes.
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
    /// A number that no type holds; the text says how it was written.
    TooLarge(String),
}

/// A key of a table and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A mistake before it is known how its place is called.
#[derive(Debug, Clone)]
pub(super) struct Mistake {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    /// Whether something is not there that should be; after a mistake of syntax that says nothing.
    pub(super) absence: bool,
}

impl Mistake {
    pub(super) fn new(place: &Place, message: impl Into<String>) -> Self {
        Self { place: place.clone(), message: message.into(), hint: None, absence: false }
    }

    pub(super) fn absence(place: &Place, message: impl Into<String>) -> Self {
        Self { absence: true, ..Self::new(place, message) }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Reads the file's text; what could be read of it, and the mistakes of its syntax.
pub(super) fn parse(text: &str) -> (Node, Vec<Mistake>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mistakes = errors.iter().map(|error| {
        let place = Place { source: 0, span: error.span().or(Some(text.len()..text.len())) };
        if let Some(key) = key_without_value(text, place.span.as_ref().map_or(text.len(), |span| span.start)) {
            return Mistake::new(&place, format!("`{key}` has no value"))
                .hint("write one behind the `=`, or take the line away");
        }
        match plain_words(error.message()) {
            Some((message, hint)) => Mistake::new(&place, message).hint(hint),
            None => Mistake::new(&place, error.message()),
        }
    });
    let root = Node { place: Place { source: 0, span: None }, item: entries(table.get_ref(), 0, 0) };
    (root, mistakes.collect())
}

/// The key of the line that holds the byte `at`, where nothing but a comment stands behind its `=`.
fn key_without_value(text: &str, at: usize) -> Option<&str> {
    let (before, after) = text.split_at_checked(at.min(text.len()))?;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = after.find('\n').map_or(text.len(), |newline| at + newline);
    let (key, value) = text.get(start..end)?.split_once('=')?;
    let value = value.trim();
    let is_key = !key.contains(['"', '\'', '#', '{', '[']);
    (is_key && (value.is_empty() || value.starts_with('#'))).then(|| key.trim()).filter(|key| !key.is_empty())
}

/// The parser's commonest messages, with what to do.
fn plain_words(message: &str) -> Option<(&'static str, &'static str)> {
    if message.contains("string values must be quoted") {
        return Some(("a text without quotes", "put it into double quotes"));
    }
    message.contains("duplicate key").then_some(("this key stands here twice", "keep one of the two, or join them"))
}

/// The tree of a parsed value whose text begins `offset` bytes into the text `source`.
pub(super) fn node(value: &Spanned<DeValue<'_>>, source: usize, offset: usize) -> Node {
    let span = value.span();
    let place = Place { source, span: Some(span.start + offset..span.end + offset) };
    let item = match value.get_ref() {
        DeValue::String(text) => Item::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Item::TooLarge(number.as_str().to_owned()), Item::Integer),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(value) if value.is_finite() => Item::Float(value),
            _ => Item::TooLarge(number.as_str().to_owned()),
        },
        DeValue::Boolean(value) => Item::Boolean(*value),
        DeValue::Datetime(at) => Item::Datetime(at.to_string()),
        DeValue::Array(items) => Item::Array(items.iter().map(|item| node(item, source, offset)).collect()),
        DeValue::Table(table) => entries(table, source, offset),
    };
    Node { place, item }
}

fn entries(table: &DeTable<'_>, source: usize, offset: usize) -> Item {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let span = key.span();
        let place = Place { source, span: Some(span.start + offset..span.end + offset) };
        Entry { key: key.get_ref().to_string(), place, node: node(value, source, offset) }
    };
    Item::Table(table.iter().map(entry).collect())
}

impl Node {
    /// The entry at a path of keys.
    pub(super) fn entry(&self, path: &[&str]) -> Option<&Entry> {
        let (first, rest) = path.split_first()?;
        let entry = self.entries().iter().find(|entry| entry.key == *first)?;
        if rest.is_empty() { Some(entry) } else { entry.node.entry(rest) }
    }

    /// The value at a path of keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        self.entry(path).map(|entry| &entry.node)
    }

    /// The entries of a table; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.item {
            Item::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The elements of an array; none of anything else.
    pub(super) fn elements(&self) -> &[Node] {
        match &self.item {
            Item::Array(elements) => elements,
            _ => &[],
        }
    }

    /// The value of a number.
    pub(super) fn number(&self) -> Option<f64> {
        match &self.item {
            Item::Integer(number) => Some(*number as f64),
            Item::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.item {
            Item::String(text) => Some(text),
            _ => None,
        }
    }

    /// What it is, as JSON Schema names it; none for what JSON doesn't have.
    pub(super) fn kind(&self) -> Option<&'static str> {
        match &self.item {
            Item::String(_) => Some("string"),
            Item::Integer(_) => Some("integer"),
            Item::Float(_) => Some("number"),
            Item::Boolean(_) => Some("boolean"),
            Item::Array(_) => Some("array"),
            Item::Table(_) => Some("object"),
            Item::Datetime(_) | Item::TooLarge(_) => None,
        }
    }

    /// The value without its places.
    pub(super) fn to_json(&self) -> Value {
        match &self.item {
            Item::String(text) | Item::Datetime(text) | Item::TooLarge(text) => Value::String(text.clone()),
            Item::Integer(number) => Value::from(*number),
            Item::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
            Item::Boolean(value) => Value::Bool(*value),
            Item::Array(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Item::Table(entries) => Value::Object(to_map(entries)),
        }
    }
}

/// The entries of a table as JSON.
pub(super) fn to_map(entries: &[Entry]) -> Map<String, Value> {
    entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
}
