//! `lakemill check`: every mistake in a job file and its SQL at once, without reading rows.
//!
//! What the job's engine lacks of the SQL is found by planning it against the tables' schemas; where the tables cannot
//! be opened, by what the text alone tells.

use super::Session;
use super::job::{JobArgs, diagnostic};
use crate::error::Result;
use crate::job::{Engine, JobFile};
use crate::plan::{parameter_names, pin_tables};
use crate::query::{self, FeatureSql, SessionOptions, SqlDiagnostic, polars};
use clap::Args as ClapArgs;
use serde_json::json;

/// Planning needs none of it.
const MEMORY_BYTES: usize = 64 << 20;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    job: JobArgs,
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let mut checked = args.job.check(&session.engine.runtime)?;
    if let Some(job) = checked.job.as_ref().filter(|job| job.spec.features.engine == Engine::Polars) {
        let lacking = session.engine.runtime.run(lacking(job))?;
        checked.diagnostics.extend(lacking.iter().map(|lack| diagnostic(&job.sql_text, lack)));
        if checked.diagnostics.has_errors() {
            checked.job = None;
        }
    }
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

/// Every construct of the SQL that Polars lacks.
async fn lacking(job: &JobFile) -> Result<Vec<SqlDiagnostic>> {
    let sql = FeatureSql::parse(&job.sql_text, &job.sql_path.display().to_string())?;
    let Ok(tables) = pin_tables(job).await else { return Ok(polars::lacking_in_text(&sql)) };
    let mut session = query::Session::new(SessionOptions::features(MEMORY_BYTES))?;
    for table in &tables {
        session.register(table).await?;
    }
    polars::lacking(&session, &sql, &parameter_names(&job.spec)).await
}
