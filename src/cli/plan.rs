//! `lakemill plan`: what a run would read, use and write; changes nothing.

use super::Session;
use super::job::RunArgs;
use super::ui::{bytes, count, pairs, table};
use crate::engine::{Preview, Reads, Takes, features_sql, preview};
use crate::error::Result;
use crate::query::polars::TableRead;
use clap::Args as ClapArgs;
use serde_json::json;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The model that would score: an alias or a version
    #[arg(long, default_value = "champion", value_name = "ALIAS|VERSION")]
    model: String,
    /// Show the query plan too
    #[arg(long)]
    explain: bool,
    /// Show nothing but the SQL that gives the features, windows and all, as `query` takes it
    #[arg(long, conflicts_with = "explain")]
    sql: bool,
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    args.run.refuse_receipt()?;
    let plan = args.run.previewed(session)?;
    if args.sql {
        let sql = session.engine.runtime.run(features_sql(&session.engine, &plan))?;
        session.meter.clear();
        return session.ui.show(&json!({ "sql": sql }), || sql.trim_end().to_owned());
    }
    let preview = session.engine.runtime.run(preview(&session.engine, &plan, &args.model))?;
    session.meter.clear();
    session.ui.show(&preview, || {
        let explained = if args.explain { format!("\n\n{}", preview.query_plan) } else { String::new() };
        format!("{}{explained}", text(&preview))
    })
}

fn text(preview: &Preview) -> String {
    let rows: Vec<Vec<String>> = preview.tables.iter().map(table_row).collect();
    let head = [
        "table",
        "format",
        "version",
        "changed",
        "since the last run",
        "files to read",
        "size to read",
        "rows to read",
    ];
    let mut facts = vec![
        ("job", format!("{} for {}", preview.job, preview.interval)),
        ("train", format!("{} (test {})", preview.train, preview.test)),
        ("model", preview.model.clone()),
        ("predictions", preview.predictions.clone()),
    ];
    if let Some(segments) = &preview.segments {
        facts.insert(2, ("segments", segments.clone()));
    }
    if let Some(lookup) = &preview.lookup {
        facts.push(("lookup", lookup.clone()));
    }
    facts.push(("run", preview.run_id.clone().unwrap_or_else(|| "not known before the model is".to_owned())));
    facts.push(("action", preview.action.clone()));
    if let Some(search) = &preview.search {
        facts.push(("training tries", search.clone()));
    }
    if let Some(training) = &preview.training_reads {
        facts.push(("training reads", read(training)));
    }
    if let Some(training) = &preview.training_predicted {
        facts.push(("training takes", taken(training, preview)));
    }
    facts.push(("scoring reads", read(&preview.reads)));
    facts.push(("scoring takes", taken(&preview.predicted, preview)));
    let polars: Vec<String> = preview.tables.iter().filter_map(|table| table.polars.as_ref()).map(by_polars).collect();
    if !polars.is_empty() {
        facts.push(("polars reads", polars.join("; ")));
    }
    format!("{}\n{}", pairs(&facts), table(&head, &rows))
}

/// How Polars reads a table: `transactions itself`, `customers through datafusion (csv files)`.
fn by_polars(read: &TableRead) -> String {
    match &read.because {
        None => format!("{} itself", read.table),
        Some(reason) => format!("{} through datafusion ({reason})", read.table),
    }
}

fn read(reads: &Reads) -> String {
    let files = if reads.files == 1 { "file" } else { "files" };
    let rows = reads.rows.map_or_else(|| "a number of rows that the files do not tell".to_owned(), rows_of);
    format!("{rows} in {} {files}, {}", count(reads.files), bytes(reads.bytes))
}

/// An estimate, and told as one.
fn taken(takes: &Takes, preview: &Preview) -> String {
    let rows =
        takes.rows.map_or_else(|| "an unknown number of rows".to_owned(), |rows| format!("about {}", rows_of(rows)));
    let (read, memory, limit) = (bytes(takes.bytes), bytes(takes.memory_bytes), bytes(preview.memory_limit_bytes));
    format!("{rows} of features, {read} read, {memory} of memory; the limit is {limit}")
}

fn rows_of(rows: u64) -> String {
    format!("{} {}", count(rows), if rows == 1 { "row" } else { "rows" })
}

fn table_row(planned: &crate::engine::PlannedTable) -> Vec<String> {
    vec![
        planned.name.clone(),
        planned.format.clone(),
        planned.version.clone(),
        planned.changed_at.clone().unwrap_or_else(|| "-".to_owned()),
        planned.version_before.as_ref().map_or_else(|| "-".to_owned(), |before| format!("was {before}")),
        format!("{} of {}", count(planned.files), count(planned.files_total)),
        bytes(planned.bytes),
        planned.rows.map_or_else(|| "-".to_owned(), count),
    ]
}
