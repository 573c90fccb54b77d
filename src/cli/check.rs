//! `lakemill check`: every mistake in a job file and its SQL at once, without any data.

use super::Session;
use super::job::JobArgs;
use crate::error::Result;
use clap::Args as ClapArgs;
use serde_json::json;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    job: JobArgs,
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let checked = args.job.check(&session.engine.runtime)?;
    let Some(job) = checked.job else {
        if session.ui.is_json() {
            session.ui.show(&json!({ "status": "failed", "diagnostics": checked.diagnostics }), String::new)?;
        }
        return Err(checked.diagnostics.into_error());
    };
    session.ui.show(&json!({ "status": "done", "diagnostics": checked.diagnostics }), || {
        let warnings =
            if checked.diagnostics.is_empty() { String::new() } else { format!("{}\n\n", checked.diagnostics) };
        format!(
            "{warnings}{} is in order: {} {}, SQL {}",
            job.path.display(),
            job.spec.tables.len(),
            if job.spec.tables.len() == 1 { "table" } else { "tables" },
            job.sql_path.display()
        )
    })
}
