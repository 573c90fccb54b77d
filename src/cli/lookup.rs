//! `lakemill lookup`: a lookup table as an application reads it, and its generations.

mod generations;

use super::ui::{bytes, count, pairs, print};
use super::{Home, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::check_name;
use crate::lookup::{
    DEFAULT_PREFIX, GenerationMetadata, KeyColumns, LookupOptions, LookupReader, LookupStore, LookupTable, lookup,
};
use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The value of a key
    #[command(
        after_help = "Examples:\n  lakemill lookup get card_fraud 42 --home demo/home\n  lakemill lookup get card_fraud eu 42 --home demo/home    (a key of two columns)"
    )]
    Get {
        /// The table: the job's name
        table: String,
        /// The key as text; of several columns, the text of each
        #[arg(required = true, allow_negative_numbers = true)]
        key: Vec<String>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// The values of several keys, one a line, null where there is no such key
    #[command(after_help = "Example:\n  lakemill lookup mget card_fraud 42 43 44 --home demo/home")]
    Mget {
        /// The table: the job's name
        table: String,
        /// The keys, as they are stored: of several columns, joined by | (with \| and \\ inside)
        #[arg(required = true, allow_negative_numbers = true)]
        keys: Vec<String>,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// Which run, model and interval are published, and how much
    #[command(after_help = "Example:\n  lakemill lookup stats card_fraud --home demo/home")]
    Stats {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// The pointer, the generations that are kept, and who moved the pointer when and why
    #[command(after_help = "Example:\n  lakemill lookup status card_fraud --home demo/home")]
    Status {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        place: Place,
    },
    /// How many keys were added, removed and changed from one generation to another, with examples
    #[command(after_help = "Example:\n  lakemill lookup diff card_fraud 42 43 --home demo/home")]
    Diff {
        /// The table: the job's name
        table: String,
        /// The first generation
        first: u64,
        /// The second generation
        second: u64,
        /// How many keys of each kind are shown
        #[arg(long, value_name = "N", default_value_t = 10)]
        examples: usize,
        #[command(flatten)]
        place: Place,
    },
    /// Point readers back to a generation that is kept; nothing else changes, and `status` shows who and why
    #[command(
        after_help = "Examples:\n  lakemill lookup rollback card_fraud --home demo/home --why \"scores of a broken feed\"\n  lakemill lookup rollback card_fraud --to 42 --home demo/home\n\nThe run that was rolled back from does not publish again by itself: see README."
    )]
    Rollback {
        /// The table: the job's name
        table: String,
        /// The generation [default: the newest one before the current one]
        #[arg(long, value_name = "GENERATION")]
        to: Option<u64>,
        /// The reason, for the history
        #[arg(long, value_name = "TEXT", default_value = "rolled back by hand")]
        why: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove what killed runs have left, and with --keep the oldest generations
    #[command(after_help = "Example:\n  lakemill lookup gc card_fraud --home demo/home --keep 2")]
    Gc {
        /// The table: the job's name
        table: String,
        /// How many generations stay, the current one included [default: all that were published]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
        /// How many keys a second are removed at most
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        max_rows_per_sec: Option<u64>,
        #[command(flatten)]
        place: Place,
    },
    /// Every key and its value, one a line, in the order in which the store keeps them
    #[command(after_help = "Example:\n  lakemill lookup dump card_fraud --home demo/home > card_fraud.tsv")]
    Dump {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
    /// Fetch the published generation of a home in a bucket onto this machine, for readers here
    Sync {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        home: Home,
        /// A local home to fetch into: the table is DIR/lookup/TABLE then [default: the cache that `get` reads]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Read everything back and compare it with the checksum
    #[command(after_help = "Example:\n  lakemill lookup verify card_fraud --home demo/home")]
    Verify {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
    },
}

/// Where a lookup table is kept.
#[derive(Debug, Args)]
pub(super) struct Place {
    #[command(flatten)]
    home: Home,
    /// The store, as [lookup] of the job file says it; a URL with a password is better in the variable
    #[arg(long, value_name = "STORE", env = "LAKEMILL_LOOKUP_STORE", hide_env_values = true, default_value = "file")]
    store: String,
    /// What the names of all keys of a server begin with
    #[arg(long, value_name = "TEXT", default_value = DEFAULT_PREFIX)]
    prefix: String,
}

/// Which generation is read.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// A generation that is kept [default: the current one]
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
}

/// A table and its store.
struct Opened {
    store: &'static dyn LookupStore,
    table: LookupTable,
}

impl Place {
    fn open(&self, name: &str) -> Result<Opened> {
        check_name("table", name)?;
        let store = lookup(&self.store)?;
        let options = LookupOptions { prefix: self.prefix.clone(), ..LookupOptions::default() };
        // A server knows its tables without a home.
        let table = match store.name() {
            "file" => LookupTable::under(&self.home.location()?, name, &self.store)?,
            _ => LookupTable::of_server(name, &self.store),
        };
        Ok(Opened { store, table: table.with(options) })
    }

    /// A generation, by number or the current one.
    fn read(&self, session: &Session, name: &str, which: &Which) -> Result<Box<dyn LookupReader>> {
        let Opened { store, table } = self.open(name)?;
        let reader = match which.generation {
            Some(generation) => session.blocking(move || open_generation(store, &table, generation))?,
            None => {
                let opened = session.blocking(move || store.open(&table))?;
                opened.map_or_else(|| Err(self.nothing(session, name)), Ok)?
            }
        };
        if reader.metadata().is_expired(Utc::now()) {
            let (generation, at) = (reader.metadata().generation, reader.metadata().expiry());
            tracing::warn!(table = name, generation, at, "this generation has expired");
        }
        Ok(reader)
    }

    fn nothing(&self, session: &Session, name: &str) -> Error {
        let error = Error::usage("nothing is published in this lookup table").with("table", name);
        let Ok(home) = self.home.location() else { return error };
        let published = session.engine.runtime.run(home.join("lookup").children()).unwrap_or_default();
        let error = error.with("home", home);
        match crate::error::did_you_mean(name, published.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`lakemill score` publishes a job's lookup table; is this its home?"),
        }
    }
}

/// A generation by a number that somebody has typed.
fn open_generation(
    store: &'static dyn LookupStore,
    table: &LookupTable,
    generation: u64,
) -> Result<Box<dyn LookupReader>> {
    let error = match store.open_generation(table, generation) {
        Err(error) if error.kind() == ErrorKind::Verification => error,
        opened => return opened,
    };
    let kept: Vec<u64> = store.generations(table)?.iter().map(|metadata| metadata.generation).collect();
    if kept.contains(&generation) {
        return Err(error);
    }
    let kept: Vec<String> = kept.iter().map(u64::to_string).collect();
    let hint = if kept.is_empty() { "none is kept".to_owned() } else { format!("kept are: {}", kept.join(", ")) };
    Err(Error::usage("there is no such generation")
        .with("table", &table.name)
        .with("generation", generation)
        .hint(hint))
}

impl Session {
    /// Runs what blocks where it may.
    fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.engine.runtime.run(self.engine.runtime.block(work))
    }
}

pub(super) fn run(session: &Session, command: &Command) -> Result<()> {
    match command {
        Command::Get { table, key, place, which } => get(session, table, key, place, which),
        Command::Mget { table, keys, place, which } => mget(session, table, keys, place, which),
        Command::Stats { table, place, which } => stats(session, table, place, which),
        Command::Status { table, place } => generations::status(session, table, place),
        Command::Diff { table, first, second, examples, place } => {
            generations::diff(session, table, place, (*first, *second), *examples)
        }
        Command::Rollback { table, to, why, place } => generations::rollback(session, table, place, *to, why),
        Command::Gc { table, keep, max_rows_per_sec, place } => {
            generations::gc(session, table, place, *keep, *max_rows_per_sec)
        }
        Command::Dump { table, place, which } => dump(session, table, place, which),
        Command::Sync { table, home, dir } => sync(session, table, home, dir.as_deref()),
        Command::Verify { table, place, which } => verify(session, table, place, which),
    }
}

fn sync(session: &Session, name: &str, home: &Home, dir: Option<&Path>) -> Result<()> {
    check_name("table", name)?;
    let location = home.location()?;
    let mut table = LookupTable::under(&location, name, "file")?;
    if table.remote.is_none() {
        return Err(Error::usage("this home is on this machine already: there is nothing to fetch")
            .with("home", &location)
            .hint("give the location in a bucket of the home that the job publishes in"));
    }
    if let Some(dir) = dir {
        let dir = std::path::absolute(dir)
            .map_err(|source| Error::usage("--dir is no folder").with("--dir", dir.display()).because(source))?;
        table.folder = dir.join("lookup").join(name);
    }
    let folder = table.folder.clone();
    let reader = session.blocking(move || lookup("file")?.open(&table))?;
    let reader = reader.ok_or_else(|| {
        Error::usage("nothing is published in this lookup table").with("table", name).with("home", &location)
    })?;
    let metadata = reader.metadata();
    let result = json!({
        "table": name,
        "generation": metadata.generation,
        "keys": metadata.keys,
        "bytes": metadata.file_bytes,
        "interval": metadata.provenance.interval,
        "folder": folder,
    });
    session.ui.show(&result, || {
        format!(
            "{name}: generation {} ({} keys, {}) of {} is in {}",
            metadata.generation,
            count(metadata.keys),
            bytes(metadata.file_bytes),
            metadata.provenance.interval,
            folder.display()
        )
    })
}

fn get(session: &Session, name: &str, key: &[String], place: &Place, which: &Which) -> Result<()> {
    let reader = place.read(session, name, which)?;
    let metadata = reader.metadata();
    let texts: Vec<&str> = key.iter().map(String::as_str).collect();
    let key = KeyColumns::of_texts(&texts, metadata.key.len())
        .map_err(|error| error.hint(format!("the key is: {}", metadata.key_names().join(", "))))?;
    let shown = String::from_utf8_lossy(&key).into_owned();
    let generation = metadata.generation;
    let value = session.blocking(move || reader.get(&key))?.ok_or_else(|| {
        Error::failed("there is no such key")
            .with("key", shown.escape_debug())
            .with("table", name)
            .with("generation", generation)
    })?;
    let value = parsed(&shown, &value)?;
    session.ui.show(&value, || value.to_string())
}

fn mget(session: &Session, name: &str, keys: &[String], place: &Place, which: &Which) -> Result<()> {
    let reader = place.read(session, name, which)?;
    let found = {
        let keys = keys.to_vec();
        session.blocking(move || reader.mget(&keys.iter().map(String::as_bytes).collect::<Vec<_>>()))?
    };
    let mut values = Vec::with_capacity(keys.len());
    for (key, value) in keys.iter().zip(found) {
        values.push(value.map_or(Ok(Value::Null), |value| parsed(key, &value))?);
    }
    let result: Vec<Value> =
        keys.iter().zip(&values).map(|(key, value)| json!({ "key": key, "value": value })).collect();
    session.ui.show(&result, || {
        let lines = keys.iter().zip(&values).map(|(key, value)| format!("{}\t{value}", in_line(key)));
        lines.collect::<Vec<_>>().join("\n")
    })
}

fn parsed(key: &str, value: &[u8]) -> Result<Value> {
    serde_json::from_slice(value)
        .map_err(|source| Error::verification("the value is not JSON").with("key", key).because(source))
}

/// A generation's metadata as a result: with what depends on the clock.
fn described(metadata: &GenerationMetadata) -> Result<Value> {
    let mut value = serde_json::to_value(metadata)
        .map_err(|source| Error::failed("the metadata cannot be shown").because(source))?;
    value["expires_at"] = json!(metadata.expiry());
    value["expired"] = json!(metadata.is_expired(Utc::now()));
    Ok(value)
}

fn stats(session: &Session, name: &str, place: &Place, which: &Which) -> Result<()> {
    let reader = place.read(session, name, which)?;
    let metadata = reader.metadata();
    session.ui.show(&described(metadata)?, || {
        let from = &metadata.provenance;
        let mode = serde_json::to_value(metadata.mode).unwrap_or_default();
        let over = metadata.base.map(|base| format!(" over generation {base}")).unwrap_or_default();
        let expired = if metadata.is_expired(Utc::now()) { " (expired)" } else { "" };
        let names = |columns: &[crate::lookup::Column]| {
            columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        pairs(&[
            ("table", metadata.table.clone()),
            ("generation", metadata.generation.to_string()),
            ("keys", count(metadata.keys)),
            ("size", bytes(metadata.file_bytes)),
            ("interval", from.interval.clone()),
            ("model", format!("{} version {}", from.model, from.model_version)),
            ("run", from.run_id.clone()),
            ("published at", metadata.published_at.clone()),
            ("expires at", metadata.expiry().map_or_else(|| "never".to_owned(), |at| format!("{at}{expired}"))),
            ("key", names(&metadata.key)),
            ("value", names(&metadata.values)),
            ("mode", format!("{}{over}", mode.as_str().unwrap_or_default())),
            ("keys sent", format!("{}, {} unchanged", count(metadata.written), count(metadata.unchanged))),
            ("duplicates", format!("{} rows dropped (keep = {})", count(metadata.duplicates), from.keep)),
        ])
    })
}

/// A key for people, who get a pair a line; `--output json` tells it exactly.
fn in_line(key: &str) -> String {
    key.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t")
}

fn dump(session: &Session, name: &str, place: &Place, which: &Which) -> Result<()> {
    let reader = place.read(session, name, which)?;
    let as_json = session.ui.is_json();
    session.blocking(move || {
        let mut lines = Vec::new();
        reader.each(&mut |key, value| {
            if as_json {
                let key = json!(String::from_utf8_lossy(key)).to_string();
                lines.extend_from_slice(&[b"{\"key\":", key.as_bytes(), b",\"value\":", value, b"}\n"].concat());
            } else {
                lines.extend_from_slice(
                    &[in_line(&String::from_utf8_lossy(key)).as_bytes(), b"\t", value, b"\n"].concat(),
                );
            }
            if lines.len() < 1 << 16 {
                return Ok(());
            }
            print(&std::mem::take(&mut lines))
        })?;
        print(&lines)
    })
}

fn verify(session: &Session, name: &str, place: &Place, which: &Which) -> Result<()> {
    let reader = place.read(session, name, which)?;
    let metadata = reader.metadata().clone();
    session.blocking(move || reader.verify())?;
    let result = json!({ "table": name, "generation": metadata.generation, "keys": metadata.keys, "verified": true });
    session
        .ui
        .show(&result, || format!("{name}: generation {} is whole, {} keys", metadata.generation, count(metadata.keys)))
}
