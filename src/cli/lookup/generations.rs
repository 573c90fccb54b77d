//! What can be done with the generations of a table: see them, compare them, go back, clear up.

use super::{Opened, Place, Which};
use crate::cli::Session;
use crate::cli::ui::{bytes, count, pairs, table};
use crate::error::{Error, Result};
use crate::lookup::{Difference, Differing, FlipRecord, GenerationMetadata, difference};
use chrono::Utc;
use serde_json::{Value, json};

/// Flips that are shown to people; `--output json` has all.
const SHOWN_FLIPS: usize = 20;

pub(super) fn status(session: &Session, name: &str, place: &Place) -> Result<()> {
    let Opened { store, table: at } = place.open(name)?;
    let look = move || Ok((store.current(&at)?, store.generations(&at)?, store.flips(&at)?));
    let (current, kept, flips) = session.blocking(look)?;
    if current.is_none() && kept.is_empty() {
        return Err(place.nothing(session, name));
    }
    let generations = kept.iter().map(super::described).collect::<Result<Vec<Value>>>()?;
    let result = json!({ "table": name, "current": current, "generations": generations, "flips": flips });
    session.ui.show(&result, || {
        let pointer = current.map_or_else(|| "nothing".to_owned(), |current| format!("generation {current}"));
        let head = ["generation", "interval", "model version", "keys", "size", "published at", "run", ""];
        let rows: Vec<Vec<String>> = kept.iter().map(|metadata| row(metadata, current)).collect();
        let shown = &flips[flips.len().saturating_sub(SHOWN_FLIPS)..];
        let log: Vec<Vec<String>> = shown.iter().map(flip_row).collect();
        format!(
            "{name}: readers see {pointer}\n{}\n{}",
            table(&head, &rows),
            table(&["at", "action", "from", "to", "by", "why"], &log)
        )
    })
}

fn row(metadata: &GenerationMetadata, current: Option<u64>) -> Vec<String> {
    let from = &metadata.provenance;
    let mut state = Vec::new();
    if current == Some(metadata.generation) {
        state.push("current");
    } else if current < Some(metadata.generation) {
        state.push("not current");
    }
    if metadata.is_expired(Utc::now()) {
        state.push("expired");
    }
    vec![
        metadata.generation.to_string(),
        from.interval.clone(),
        from.model_version.to_string(),
        count(metadata.keys),
        bytes(metadata.file_bytes),
        metadata.published_at.clone(),
        from.run_id.chars().take(12).collect(),
        state.join(", "),
    ]
}

fn flip_row(flip: &FlipRecord) -> Vec<String> {
    let action = serde_json::to_value(flip.action).unwrap_or_default();
    let from = flip.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
    let action = action.as_str().unwrap_or_default().to_owned();
    vec![flip.at.clone(), action, from, flip.generation.to_string(), flip.by.clone(), flip.why.clone()]
}

pub(super) fn diff(
    session: &Session,
    name: &str,
    place: &Place,
    (first, second): (u64, u64),
    examples: usize,
) -> Result<()> {
    let open = |generation| place.read(session, name, &Which { generation: Some(generation) });
    let (one, two) = (open(first)?, open(second)?);
    let found = session.blocking(move || difference(&*one, &*two, examples))?;
    let mut result = serde_json::to_value(&found)
        .map_err(|source| Error::failed("the difference cannot be shown").because(source))?;
    result["table"] = json!(name);
    result["first"] = json!(first);
    result["second"] = json!(second);
    session.ui.show(&result, || shown(&found))
}

fn shown(found: &Difference) -> String {
    let counts = pairs(&[
        ("added", count(found.added)),
        ("removed", count(found.removed)),
        ("changed", count(found.changed)),
        ("same", count(found.same)),
    ]);
    if found.examples.is_empty() {
        return counts;
    }
    let cell = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let row = |differing: &Differing| vec![differing.key.clone(), cell(&differing.before), cell(&differing.after)];
    let rows: Vec<Vec<String>> = found.examples.iter().map(row).collect();
    format!("{counts}\n{}", table(&["key", "before", "after"], &rows))
}

pub(super) fn rollback(session: &Session, name: &str, place: &Place, to: Option<u64>, why: &str) -> Result<()> {
    let Opened { store, table } = place.open(name)?;
    let note = session.engine.flip_note(why);
    let flipped = session.blocking(move || {
        let Some(current) = store.current(&table)? else { return Ok(None) };
        let flip = store.rollback(&table, to, current, &note)?;
        Ok(Some((current, flip.generation)))
    })?;
    let (was, generation) = flipped.ok_or_else(|| place.nothing(session, name))?;
    let result = json!({ "table": name, "generation": generation, "was": was, "why": why });
    session.ui.show(&result, || format!("{name}: readers see generation {generation} again, after generation {was}"))
}

pub(super) fn gc(
    session: &Session,
    name: &str,
    place: &Place,
    keep: Option<u32>,
    max_rows_per_sec: Option<u64>,
) -> Result<()> {
    let Opened { store, mut table } = place.open(name)?;
    table.options.max_rows_per_sec = max_rows_per_sec;
    let keep = keep.map_or(usize::MAX, |keep| keep as usize);
    let collected = session.blocking(move || store.gc(&table, keep))?;
    let mut result = serde_json::to_value(&collected)
        .map_err(|source| Error::failed("what was removed cannot be shown").because(source))?;
    result["table"] = json!(name);
    session.ui.show(&result, || {
        let numbers: Vec<String> = collected.generations.iter().map(u64::to_string).collect();
        let generations = if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") };
        let size = collected.bytes.map_or_else(String::new, |freed| format!(": {}", bytes(freed)));
        format!(
            "{name}: removed generations {generations}, and what {} dead attempts had left{size}",
            collected.attempts
        )
    })
}
