//! `lakemill lookup`: a lookup table as an application reads it.

use super::ui::{bytes, count, pairs, print};
use super::{Home, Session};
use crate::error::{Error, Result};
use crate::lake::{Location, check_name};
use crate::lookup::{LookupReader, LookupTable, lookup};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// The value of a key
    #[command(after_help = "Example:\n  lakemill lookup get card_fraud 42 --home demo/home")]
    Get {
        /// The table: the job's name
        table: String,
        /// The key as text
        #[arg(allow_negative_numbers = true)]
        key: String,
        #[command(flatten)]
        home: Home,
    },
    /// Which run, model and interval are published, and how much
    #[command(after_help = "Example:\n  lakemill lookup stats card_fraud --home demo/home")]
    Stats {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        home: Home,
    },
    /// Every key and its value, one a line, in the order of the keys
    #[command(after_help = "Example:\n  lakemill lookup dump card_fraud --home demo/home > card_fraud.tsv")]
    Dump {
        /// The table: the job's name
        table: String,
        #[command(flatten)]
        home: Home,
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
        home: Home,
    },
}

pub(super) fn run(session: &Session, command: &Command) -> Result<()> {
    match command {
        Command::Get { table, key, home } => get(session, table, key, home),
        Command::Stats { table, home } => stats(session, table, home),
        Command::Dump { table, home } => dump(session, table, home),
        Command::Sync { table, home, dir } => sync(session, table, home, dir.as_deref()),
        Command::Verify { table, home } => verify(session, table, home),
    }
}

fn open(session: &Session, name: &str, home: &Home) -> Result<Box<dyn LookupReader>> {
    check_name("table", name)?;
    let home = home.location()?;
    read(session, LookupTable::under(&home, name, "file")?, &home)
}

/// The reader of the current generation; it is fetched where it lies in a bucket.
fn read(session: &Session, table: LookupTable, home: &Location) -> Result<Box<dyn LookupReader>> {
    let name = table.name.clone();
    let runtime = &session.engine.runtime;
    let reader = runtime.run(runtime.block(move || lookup("file")?.open(&table)))?;
    if let Some(reader) = reader {
        return Ok(reader);
    }
    let published = session.engine.runtime.run(home.join("lookup").children())?;
    let error = Error::usage("nothing is published in this lookup table").with("table", &name).with("home", home);
    Err(match crate::error::did_you_mean(&name, published.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`lakemill score` publishes a job's lookup table; is this its home?"),
    })
}

fn sync(session: &Session, name: &str, home: &Home, dir: Option<&Path>) -> Result<()> {
    check_name("table", name)?;
    let home = home.location()?;
    let mut table = LookupTable::under(&home, name, "file")?;
    if table.remote.is_none() {
        return Err(Error::usage("this home is on this machine already: there is nothing to fetch")
            .with("home", &home)
            .hint("give the s3:// location of the home that the job publishes in"));
    }
    if let Some(dir) = dir {
        let dir = std::path::absolute(dir)
            .map_err(|source| Error::usage("--dir is no folder").with("--dir", dir.display()).because(source))?;
        table.folder = dir.join("lookup").join(name);
    }
    let folder = table.folder.clone();
    let reader = read(session, table, &home)?;
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

fn get(session: &Session, name: &str, key: &str, home: &Home) -> Result<()> {
    let reader = open(session, name, home)?;
    let Some(value) = reader.get(key.as_bytes())? else {
        let generation = reader.metadata().generation;
        return Err(Error::failed("there is no such key")
            .with("key", key.escape_debug())
            .with("table", name)
            .with("generation", generation));
    };
    let value: Value = serde_json::from_slice(&value)
        .map_err(|source| Error::verification("the value is not JSON").with("key", key).because(source))?;
    session.ui.show(&value, || value.to_string())
}

fn stats(session: &Session, name: &str, home: &Home) -> Result<()> {
    let reader = open(session, name, home)?;
    let metadata = reader.metadata();
    session.ui.show(metadata, || {
        let from = &metadata.provenance;
        pairs(&[
            ("table", metadata.table.clone()),
            ("generation", metadata.generation.to_string()),
            ("keys", count(metadata.keys)),
            ("size", bytes(metadata.file_bytes)),
            ("interval", from.interval.clone()),
            ("model", format!("{} version {}", from.model, from.model_version)),
            ("run", from.run_id.clone()),
            ("key", metadata.key.name.clone()),
            ("value", metadata.values.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")),
        ])
    })
}

fn dump(session: &Session, name: &str, home: &Home) -> Result<()> {
    let reader = open(session, name, home)?;
    let mut lines = Vec::new();
    let as_json = session.ui.is_json();
    reader.each(&mut |key, value| {
        if as_json {
            let key = json!(String::from_utf8_lossy(key)).to_string();
            lines.extend_from_slice(&[b"{\"key\":", key.as_bytes(), b",\"value\":", value, b"}\n"].concat());
        } else {
            lines.extend_from_slice(&[key, b"\t", value, b"\n"].concat());
        }
        if lines.len() < 1 << 16 {
            return Ok(());
        }
        print(&std::mem::take(&mut lines))
    })?;
    print(&lines)
}

fn verify(session: &Session, name: &str, home: &Home) -> Result<()> {
    let reader = open(session, name, home)?;
    reader.verify()?;
    let metadata = reader.metadata();
    let result = json!({ "table": name, "generation": metadata.generation, "keys": metadata.keys, "verified": true });
    session
        .ui
        .show(&result, || format!("{name}: generation {} is whole, {} keys", metadata.generation, count(metadata.keys)))
}
