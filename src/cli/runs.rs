//! `lakemill runs`: the receipts under a home.

use super::ui::{count, pairs, table};
use super::{Home, Session};
use crate::engine::receipt::{self, Receipt, Status};
use crate::error::{Error, Result, did_you_mean};
use crate::lookup::Mode;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All receipts, or those of one job
    #[command(after_help = "Example:\n  lakemill runs list card_fraud --home demo/home")]
    List {
        /// The job's name
        job: Option<String>,
        #[command(flatten)]
        home: Home,
    },
    /// One receipt, whole
    #[command(after_help = "Example:\n  lakemill runs show 3f2a --home demo/home")]
    Show {
        /// The run id or the start of it; the newest attempt is shown
        run: String,
        #[command(flatten)]
        home: Home,
    },
}

pub(super) fn run(session: &Session, command: &Command) -> Result<()> {
    match command {
        Command::List { job, home } => list(session, job.as_deref(), home),
        Command::Show { run, home } => show(session, run, home),
    }
}

fn list(session: &Session, job: Option<&str>, home: &Home) -> Result<()> {
    let home = home.location()?;
    let receipts = session.engine.runtime.run(receipt::all(&home, job))?;
    if let (Some(job), true) = (job, receipts.is_empty()) {
        let jobs = session.engine.runtime.run(home.join("runs").children())?;
        let error = Error::usage("no run of this job is recorded here").with("job", job).with("home", &home);
        return Err(match did_you_mean(job, jobs.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if jobs.is_empty() => error.hint("no run at all is recorded under this home"),
            None => error.hint(format!("there are runs of {}", jobs.join(", "))),
        });
    }
    let rows: Vec<Vec<String>> = receipts.iter().map(row).collect();
    let head = ["job", "interval", "command", "status", "run", "model", "rows", "started", "seconds"];
    session.ui.show(&receipts, || match rows.as_slice() {
        [] => format!("no run is recorded under {home}"),
        rows => table(&head, rows),
    })
}

fn row(receipt: &Receipt) -> Vec<String> {
    let status = match receipt.status {
        Status::Done => "done".to_owned(),
        Status::Noop => "noop".to_owned(),
        Status::Failed => receipt.error.as_ref().map_or_else(|| "failed".to_owned(), |error| error.code.clone()),
    };
    vec![
        receipt.job.clone(),
        receipt.interval.clone(),
        receipt.command.clone(),
        status,
        receipt.run_id.clone(),
        receipt.model.as_ref().map_or_else(|| "-".to_owned(), |model| model.version.to_string()),
        count(receipt.rows_out),
        receipt.started_at.clone(),
        format!("{:.1}", receipt.seconds.get("total").copied().unwrap_or_default()),
    ]
}

fn show(session: &Session, run: &str, home: &Home) -> Result<()> {
    let home = home.location()?;
    let receipts = session.engine.runtime.run(receipt::all(&home, None))?;
    let found: Vec<&Receipt> = receipts.iter().filter(|receipt| receipt.run_id.starts_with(run)).collect();
    if let Some(other) = found.iter().find(|receipt| receipt.run_id != found[0].run_id) {
        return Err(Error::usage("more than one run has an id that begins so")
            .with("run", run)
            .hint(format!("write more of it: {}, {}, ...", found[0].run_id, other.run_id)));
    }
    let newest = found.into_iter().max_by(|a, b| a.started_at.cmp(&b.started_at)).ok_or_else(|| {
        Error::usage("no run has this id").with("run", run).hint("`lakemill runs list` shows the runs that there are")
    })?;
    session.ui.show(newest, || describe(newest))
}

/// A receipt as a person reads it.
pub(super) fn describe(receipt: &Receipt) -> String {
    let mut rows: Vec<(&str, String)> = vec![
        ("run", format!("{} (attempt {})", receipt.run_id, receipt.attempt)),
        ("job", format!("{} {} for {}", receipt.command, receipt.job, receipt.interval)),
        ("status", row(receipt)[3].clone()),
    ];
    let inputs = receipt.inputs.iter().map(|(name, version)| format!("{name}@{version}"));
    rows.push(("inputs", inputs.collect::<Vec<_>>().join(", ")));
    let (rows_in, rows_out) = (count(receipt.rows_in), count(receipt.rows_out));
    let gap = receipt.data["gap_rows"].as_u64().filter(|rows| *rows > 0);
    let gap = gap.map(|rows| format!(", {} in the gap between the windows", count(rows))).unwrap_or_default();
    let undated = receipt.data["undated_rows"].as_u64().filter(|rows| *rows > 0);
    let undated = undated.map(|rows| format!(", {} without an event time", count(rows))).unwrap_or_default();
    let rejected = count(receipt.rows_rejected);
    rows.push(("rows", format!("{rows_in} in, {rows_out} out, {rejected} rejected{gap}{undated}")));
    if let Some(model) = &receipt.model {
        rows.push(("model", format!("{} version {}", model.name, model.version)));
    }
    if let Some(output) = &receipt.output {
        rows.push(("output", format!("{} version {}", output.table, output.version)));
    }
    if let Some(lookup) = &receipt.lookup {
        let generation = lookup.generation.map(|generation| format!("generation {generation}, "));
        let note = lookup.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        // What was replaced whole was sent whole.
        let is_partial = lookup.mode.is_some_and(|mode| mode != Mode::Replace);
        let sent = if is_partial { format!(", {} sent", count(lookup.written)) } else { String::new() };
        let keys = count(lookup.keys);
        rows.push(("lookup", format!("{}{keys} keys{sent}{note}", generation.unwrap_or_default())));
    }
    if let Some(superseded) = &receipt.supersedes {
        rows.push(("supersedes", superseded.clone()));
    }
    if let Some(error) = &receipt.error {
        rows.push(("error", error.message.clone()));
    }
    let seconds = receipt.seconds.iter().map(|(step, seconds)| format!("{step} {seconds:.2}"));
    rows.push(("seconds", seconds.collect::<Vec<_>>().join(", ")));
    let of = |predicted: Option<u64>| predicted.map(|bytes| format!(" (predicted {})", super::ui::bytes(bytes)));
    if let Some(actual) = &receipt.actual {
        let predicted = of(receipt.predicted.map(|predicted| predicted.bytes)).unwrap_or_default();
        rows.push(("read", format!("{}{predicted}", super::ui::bytes(actual.bytes))));
    }
    let predicted = of(receipt.predicted.map(|predicted| predicted.memory_bytes)).unwrap_or_default();
    rows.push(("memory", format!("{}{predicted}", super::ui::bytes(receipt.peak_rss_bytes))));
    pairs(&rows)
}
