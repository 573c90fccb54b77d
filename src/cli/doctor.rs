//! `lakemill doctor`: who asks for what in each place of a job, and what is allowed there.

use super::Session;
use super::job::JobArgs;
use super::ui::{pairs, table};
use crate::engine::run_id::attempt_id;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job::LookupSpec;
use crate::lake::{Identity, Location, clock_offset, identity, probe};
use crate::lookup::{LookupOptions, LookupTable, lookup};
use chrono::TimeDelta;
use clap::Args as ClapArgs;
use serde::Serialize;

/// A clock that is further off than this is worth a word: S3 takes up to 15 minutes.
const CLOCK_SECS: u64 = 60;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    job: JobArgs,
}

/// One place of the job, and what was found there.
#[derive(Serialize)]
struct Examined {
    /// `home`, or the table's name.
    place: String,
    location: String,
    /// Absent for a local place.
    identity: Option<Identity>,
    list: Option<bool>,
    read: Option<bool>,
    write: Option<bool>,
    put_if_absent: Option<bool>,
    /// Seconds by which this machine's clock is ahead of the store's (negative: behind), where something was written.
    clock_ahead_secs: Option<i64>,
    error: Option<Told>,
    #[serde(skip)]
    kind: Option<ErrorKind>,
}

#[derive(Serialize)]
struct Told {
    code: &'static str,
    message: String,
    reasons: Vec<String>,
    hint: Option<String>,
}

impl From<&Error> for Told {
    fn from(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { code: error.kind().code(), message: error.to_string(), reasons: error.causes(), hint }
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let job = args.job.load(&session.engine.runtime)?;
    let examined = session.engine.runtime.run(async {
        // Only the home is written to: nothing of a table is lakemill's to change.
        let mut examined = vec![examine("home", job.spec.home.value(), &job.root, Some(attempt_id())).await];
        for (name, table) in &job.spec.tables {
            examined.push(examine(name, table.path.value(), &job.root, None).await);
        }
        Ok(examined)
    })?;
    let server = session.engine.runtime.run(session.engine.runtime.block({
        let spec = job.spec.clone();
        move || Ok(spec.lookup.as_ref().and_then(|lookup| examine_server(&spec.name, lookup)))
    }))?;
    session.meter.clear();
    let failed = examined.iter().find_map(|place| Some((place, place.kind?)));
    let failed = failed.map(|(place, kind)| (place.place.as_str(), kind));
    let failed = failed.or_else(|| Some(("lookup", server.as_ref()?.kind?)));
    let status = if failed.is_some() { "failed" } else { "done" };
    let result = serde_json::json!({ "status": status, "job": job.spec.name, "places": examined, "lookup": server });
    session.ui.show(&result, || text(&examined) + &server.as_ref().map(server_text).unwrap_or_default())?;
    match failed {
        Some((place, kind)) => Err(Error::new(kind, "not everything that the job needs works").with("place", place)),
        None => Ok(()),
    }
}

/// The server of a job's lookup table.
#[derive(Serialize)]
struct Server {
    facts: serde_json::Map<String, serde_json::Value>,
    error: Option<Told>,
    #[serde(skip)]
    kind: Option<ErrorKind>,
}

/// What is found at the server that keeps the lookup table; `None` where no server does.
fn examine_server(name: &str, spec: &LookupSpec) -> Option<Server> {
    let mut options = LookupOptions::default();
    options.prefix = spec.prefix.clone().unwrap_or(options.prefix);
    let table = LookupTable::of_server(name, spec.store.value()).with(options);
    let examined = lookup(spec.store.value()).and_then(|store| store.examine(&table));
    let (facts, error) = match examined {
        Ok(facts) if facts.is_empty() => return None,
        Ok(facts) => (facts, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let denied = facts.iter().any(|(_, fact)| fact.starts_with("NO: "));
    let kind = error.as_ref().map(Error::kind).or(denied.then_some(ErrorKind::Failed));
    let facts = facts.into_iter().map(|(name, fact)| (name.to_owned(), fact.into())).collect();
    Some(Server { facts, error: error.as_ref().map(Told::from), kind })
}

fn server_text(server: &Server) -> String {
    let facts: Vec<(&str, String)> =
        server.facts.iter().map(|(name, fact)| (name.as_str(), fact.as_str().unwrap_or_default().to_owned())).collect();
    let mut text = format!("\n\nlookup table\n{}", pairs(&facts));
    if let Some(error) = &server.error {
        text.push_str(&error_text("lookup table", error));
    }
    text
}

fn error_text(place: &str, error: &Told) -> String {
    let mut text = format!("\n\n{place}: {}", error.message);
    error.reasons.iter().for_each(|reason| text.push_str(&format!("\n  because: {reason}")));
    error.hint.iter().for_each(|hint| text.push_str(&format!("\n  hint: {hint}")));
    text
}

async fn examine(place: &str, written: &str, root: &std::path::Path, name: Option<String>) -> Examined {
    let mut examined = Examined {
        place: place.to_owned(),
        location: String::new(),
        identity: None,
        list: None,
        read: None,
        write: None,
        put_if_absent: None,
        clock_ahead_secs: None,
        error: None,
        kind: None,
    };
    let opened = Location::parse(written, root).and_then(|location| Ok((identity(&location)?, location)));
    let error = match opened.at("key", place) {
        Ok((identity, location)) => {
            examined.location = location.to_string();
            examined.identity = identity;
            let probe = probe(&location, name.as_deref()).await;
            (examined.list, examined.read) = (probe.list, probe.read);
            (examined.write, examined.put_if_absent) = (probe.write, probe.put_if_absent);
            examined.clock_ahead_secs = probe.clock.map(|ahead| ahead.num_seconds());
            // An empty home is new; an empty table is none.
            let nothing = name.is_none() && probe.error.is_none() && probe.read.is_none();
            let missing = nothing.then(|| Error::usage("the table does not exist: nothing lies there"));
            probe.error.or(missing)
        }
        Err(error) => Some(error),
    };
    examined.error = error.as_ref().map(Told::from);
    examined.kind = error.as_ref().map(Error::kind);
    examined
}

fn text(examined: &[Examined]) -> String {
    let word = |tried: Option<bool>| match tried {
        Some(true) => "yes".to_owned(),
        Some(false) => "NO".to_owned(),
        None => "-".to_owned(),
    };
    let row = |place: &Examined| {
        let (list, read) = (word(place.list), word(place.read));
        let (write, put) = (word(place.write), word(place.put_if_absent));
        vec![place.place.clone(), place.location.clone(), list, read, write, put]
    };
    let rows: Vec<Vec<String>> = examined.iter().map(row).collect();
    let mut text = table(&["place", "location", "list", "read", "write", "put if absent"], &rows);
    let mut told: Vec<&Identity> = Vec::new();
    for identity in examined.iter().filter_map(|place| place.identity.as_ref()) {
        if told.contains(&identity) {
            continue;
        }
        told.push(identity);
        let key = identity.access_key.clone().unwrap_or_else(|| "-".to_owned());
        let facts = [
            ("identity", identity.source.clone()),
            ("access key", key),
            ("endpoint", identity.endpoint.clone()),
            ("region", identity.region.clone()),
        ];
        text.push_str(&format!("\n\n{}", pairs(&facts)));
    }
    for place in examined {
        let wrong = place.clock_ahead_secs.filter(|ahead| ahead.unsigned_abs() > CLOCK_SECS);
        if let Some(offset) = wrong.and_then(TimeDelta::try_seconds).map(clock_offset) {
            text.push_str(&format!(
                "\n\n{}: this machine's clock is {offset} of the store's\n  hint: set it; a store refuses what is \
                 signed with a time that is off by more than 15 minutes",
                place.place
            ));
        }
        let Some(error) = &place.error else { continue };
        text.push_str(&error_text(&place.place, error));
    }
    text
}
