//! `--set key=value`: changes of the job file from the command line, checked as if they stood in it.

use super::document::{Entry, Item, Mistake, Node, Place, node};
use super::environment::shorten;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What stands before an override where it is shown.
const FLAG: &str = "--set ";

/// The text that the places of an override count in.
pub(super) fn source_text(written: &str) -> String {
    format!("{FLAG}{written}")
}

/// Puts an override into the document; `source` is its number among the texts.
pub(super) fn apply(root: &mut Node, written: &str, source: usize) -> Result<(), Mistake> {
    let whole = Place { source, span: Some(FLAG.len()..FLAG.len() + written.len()) };
    let Some(equals) = equals_sign(written) else {
        return Err(Mistake::new(&whole, format!("`{}` has no `=`", shorten(written)))
            .hint("write --set KEY=VALUE, e.g. --set model.seed=11"));
    };
    let path = keys(&written[..equals], source).ok_or_else(|| {
        Mistake::new(&whole, format!("`{}` is not a key", shorten(&written[..equals])))
            .hint("a key is written with dots, e.g. model.seed or tables.orders.version")
    })?;
    if written[equals + 1..].trim().is_empty() {
        return Err(Mistake::new(&whole, format!("`{}` is given no value", shorten(written[..equals].trim())))
            .hint("write --set KEY=VALUE; an empty text is written KEY='\"\"'"));
    }
    let value = value(&written[equals + 1..], source, FLAG.len() + equals + 1)?;
    insert(root, &path, value)
}

/// The first `=` outside quotes.
fn equals_sign(written: &str) -> Option<usize> {
    let mut quote = None;
    written.char_indices().find_map(|(at, next)| {
        match (quote, next) {
            (None, '"' | '\'') => quote = Some(next),
            (Some(open), _) if open == next => quote = None,
            (None, '=') => return Some(at),
            _ => {}
        }
        None
    })
}

/// The parts of a dotted key with their places.
fn keys(written: &str, source: usize) -> Option<Vec<(String, Place)>> {
    // As a document of one line the key has TOML's own syntax, quotes included.
    if written.contains(['\n', '\r', '#']) {
        return None;
    }
    let line = format!("{written}=0");
    let document = DeTable::parse(&line).ok()?;
    let mut path = Vec::new();
    let mut table = document.get_ref();
    loop {
        let (key, value) = table.iter().next()?;
        let span: Range<usize> = key.span();
        let place = Place { source, span: Some(span.start + FLAG.len()..span.end + FLAG.len()) };
        path.push((key.get_ref().to_string(), place));
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return Some(path),
        }
    }
}

/// The value as TOML; a bare word is a string.
fn value(written: &str, source: usize, offset: usize) -> Result<Node, Mistake> {
    let trimmed = written.trim_start();
    let offset = offset + written.len() - trimmed.len();
    let trimmed = trimmed.trim_end();
    match DeValue::parse(trimmed) {
        Ok(value) => Ok(node(&value, source, offset)),
        Err(reason) if trimmed.starts_with(['[', '{', '"', '\'']) => {
            let span = reason.span().unwrap_or(0..trimmed.len());
            let place = Place { source, span: Some(span.start + offset..span.end + offset) };
            Err(Mistake::new(&place, reason.message()))
        }
        Err(_) => Ok(node(&Spanned::new(0..trimmed.len(), DeValue::String(trimmed.into())), source, offset)),
    }
}

fn insert(root: &mut Node, path: &[(String, Place)], value: Node) -> Result<(), Mistake> {
    let Some(((key, place), rest)) = path.split_first() else { return Ok(()) };
    let Item::Table(entries) = &mut root.item else {
        return Err(Mistake::new(place, format!("`{}` is not in a table", shorten(key)))
            .hint("what stands before it is a value; replace it as a whole"));
    };
    let known = entries.iter().position(|entry| entry.key == *key);
    let at = known.unwrap_or_else(|| {
        let node = Node { place: place.clone(), item: Item::Table(Vec::new()) };
        entries.push(Entry { key: key.clone(), place: place.clone(), node });
        entries.len() - 1
    });
    let entry = &mut entries[at];
    if rest.is_empty() {
        *entry = Entry { key: key.clone(), place: place.clone(), node: value };
        return Ok(());
    }
    insert(&mut entry.node, rest, value)
}
