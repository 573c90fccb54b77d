//! Lookup tables in real Redis servers: what is in them, who may see it, and what becomes of a load when the server,
//! the network or the loader fails.

mod certificates;
mod cluster;
mod contents;
mod crash;
mod faults;
pub mod identities;
mod job;
mod proxy;
mod sentinels;
mod sequences;
pub mod server;

use lakemill::error::{Error, ErrorKind, Result};
use lakemill::lookup::{
    Base, Contents, Expected, FORMAT, Flip, FlipNote, GenerationMetadata, Layout, LookupOptions, LookupReader,
    LookupStore, LookupTable, Mode, Provenance, Sampled, Staged, lookup, partition_of,
};
use std::collections::BTreeMap;

/// Keys and values.
type Rows = BTreeMap<String, String>;

fn store() -> &'static dyn LookupStore {
    lookup("redis://").unwrap()
}

fn table(url: &str) -> LookupTable {
    LookupTable::of_server("fraud", url)
}

fn with_layout(url: &str, layout: Layout) -> LookupTable {
    table(url).with(LookupOptions { layout, ..LookupOptions::default() })
}

/// `count` keys whose values say which version they are of.
fn rows(count: usize, version: u32) -> Rows {
    (0..count).map(|key| (key.to_string(), format!("{{\"score\":0.{key:06},\"version\":{version}}}"))).collect()
}

fn note() -> FlipNote {
    FlipNote { at: "2018-06-21T00:00:00Z".into(), by: "tester".into(), why: "a test".into() }
}

fn metadata(table: &LookupTable, contents: &Contents, base: &Base, bytes: u64) -> GenerationMetadata {
    let word = |text: &str| text.to_owned();
    GenerationMetadata {
        format: FORMAT,
        table: table.name.clone(),
        generation: 0,
        provenance: Provenance {
            run_id: word("run"),
            job: table.name.clone(),
            interval: word("2018-06-20"),
            interval_end: word("2018-06-21T00:00:00Z"),
            model: word("fraud"),
            model_version: 3,
            keep: word("latest"),
        },
        mode: Mode::Replace,
        base: base.generation(),
        published_at: chrono::Utc::now().to_rfc3339(),
        ttl_secs: table.options.ttl_secs,
        key: Vec::new(),
        values: Vec::new(),
        rows: contents.keys,
        duplicates: 0,
        written: contents.written,
        unchanged: contents.unchanged,
        removed: contents.removed,
        keys: contents.keys,
        bytes: contents.bytes,
        checksum: contents.checksum,
        file_bytes: bytes,
        file_checksum: String::new(),
        partitions: 0,
    }
}

/// Loads rows, reads them back and seals them.
fn seal(table: &LookupTable, attempt: &str, rows: &Rows, base: Base) -> Result<(Box<dyn Staged>, Contents)> {
    seal_slowly(table, attempt, rows, base, &mut |_| {})
}

/// The same; `between` is called with the number of pairs before each one is put.
fn seal_slowly(
    table: &LookupTable,
    attempt: &str,
    rows: &Rows,
    base: Base,
    between: &mut dyn FnMut(usize),
) -> Result<(Box<dyn Staged>, Contents)> {
    let partitions = store().partitions(table, rows.len() as u64, &base)?;
    let mut pairs: Vec<(&String, &String)> = rows.iter().collect();
    pairs.sort_by_key(|(key, _)| (partition_of(key.as_bytes(), partitions), *key));
    let mut staging = store().begin(table, attempt, &base, partitions)?;
    for (put, (key, value)) in pairs.iter().enumerate() {
        between(put);
        staging.put(key.as_bytes(), value.as_bytes())?;
    }
    let contents = staging.close()?;
    let every = (pairs.len() / 100).max(1);
    let sampled = |(key, value): &(&String, &String)| Sampled {
        key: key.as_bytes().to_vec(),
        value: *blake3::hash(value.as_bytes()).as_bytes(),
    };
    let sample: Vec<Sampled> = pairs.iter().step_by(every).map(sampled).collect();
    let expected = Expected { keys: contents.keys, checksum: contents.checksum, sample: &sample };
    let stored = staging.verify(&expected)?;
    Ok((staging.seal(metadata(table, &contents, &base, stored.bytes))?, contents))
}

fn publish_over(table: &LookupTable, attempt: &str, rows: &Rows, base: Base) -> Result<(Flip, Contents)> {
    let expected = store().current(table)?;
    let (sealed, contents) = seal(table, attempt, rows, base)?;
    Ok((sealed.flip(expected, 2, &note())?, contents))
}

fn publish(table: &LookupTable, attempt: &str, rows: &Rows) -> Result<Flip> {
    publish_over(table, attempt, rows, Base::Nothing).map(|(flip, _)| flip)
}

fn reader(table: &LookupTable) -> Box<dyn LookupReader> {
    store().open(table).unwrap().expect("nothing is published")
}

/// Everything that a reader finds.
fn contents(reader: &dyn LookupReader) -> Rows {
    let mut found = Rows::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut visit = |key: &[u8], value: &[u8]| {
        assert_eq!(found.insert(text(key), text(value)), None, "a key is visited twice");
        Ok(())
    };
    reader.each(&mut visit).unwrap();
    found
}

#[track_caller]
fn refused<T>(result: Result<T>, kind: ErrorKind, message: &str) -> Error {
    let error = result.err().unwrap_or_else(|| panic!("not refused: {message}"));
    assert_eq!((error.kind(), error.message()), (kind, message), "{error:?}");
    error
}
