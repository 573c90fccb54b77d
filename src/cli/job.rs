//! The arguments that name a job and an interval, and what they become.

use super::file::{begin, target};
use super::{Session, ui};
use crate::engine::Recorded;
use crate::engine::receipt::Receipt;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::job::{self, AlgorithmWords, Checked, Diagnostic, JobFile, MetricWords, Vocabulary};
use crate::lake::Location;
use crate::plan::Plan;
use crate::query::{FeatureSql, SqlDiagnostic};
use crate::runtime::Runtime;
use crate::{metrics, models};
use chrono::Utc;
use clap::Args;
use std::cell::RefCell;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A job file and what the command line changes in it.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// The job file
    pub(super) job: PathBuf,
    /// Change a key of the job file, e.g. --set model.seed=11 (may be given more than once)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
}

/// A job and the interval of a run.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// A day (2018-06-20) or START/END in UTC, half-open
    #[arg(long, value_name = "INTERVAL")]
    pub(super) interval: String,
    /// Write the receipt to this file too, also when the run fails
    #[arg(long, value_name = "FILE")]
    pub(super) receipt: Option<PathBuf>,
}

impl JobArgs {
    /// Everything that is wrong with the job file and its SQL, and the job where nothing is.
    ///
    /// # Errors
    /// Where the files lie in a bucket: what the store fails with.
    pub(super) fn check(&self, runtime: &Runtime) -> Result<Checked> {
        let environment = |name: &str| std::env::var(name).ok();
        let words = vocabulary();
        let failed = RefCell::new(None);
        let files = |path: &Path| match path.to_str().filter(|path| path.contains("://")) {
            Some(url) => runtime.run(fetch(url)).map_err(|error| {
                let told = io::Error::other(error.to_string());
                failed.borrow_mut().get_or_insert(error);
                told
            })?,
            None => std::fs::read(path),
        };
        let mut checked = job::check_with(&self.job, &files, &self.overrides, &environment, &words);
        // A store that fails is no mistake of the job file.
        if let Some(error) = failed.take() {
            return Err(error);
        }
        if let Some(sql) = &checked.sql {
            checked.diagnostics.extend(sql_mistakes(&sql.text, &sql.path, checked.job.as_ref()));
        }
        if checked.diagnostics.has_errors() {
            checked.job = None;
        }
        Ok(checked)
    }

    /// The job, or all its mistakes as one error.
    pub(super) fn load(&self, runtime: &Runtime) -> Result<Arc<JobFile>> {
        let checked = self.check(runtime)?;
        match checked.job {
            Some(job) => Ok(Arc::new(job)),
            None => Err(checked.diagnostics.into_error()),
        }
    }
}

/// The largest job or SQL file that is read from a bucket.
const LARGEST_TEXT_BYTES: u64 = 16 << 20;

/// A text in a bucket; the inner error is that there is none.
async fn fetch(url: &str) -> Result<io::Result<Vec<u8>>> {
    let found = Location::parse(url, Path::new("/"))?.get_at_most(LARGEST_TEXT_BYTES).await?;
    Ok(found.map(|bytes| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into()))
}

impl RunArgs {
    /// The plan of the run: everything pinned.
    fn plan(&self, runtime: &Runtime) -> Result<Plan> {
        let job = self.job.load(runtime)?;
        let interval: Interval = self.interval.parse()?;
        runtime.run(Plan::resolve(job, interval, Utc::now()))
    }

    /// Writes the receipt where the caller wants it, then gives the run's result. A failed run's receipt is its
    /// object for a caller's code.
    pub(super) fn deliver(&self, session: &Session, recorded: Recorded) -> Result<Receipt> {
        let Recorded { receipt, result } = recorded;
        let written = self.receipt.as_ref().map_or(Ok(()), |path| write_atomically(path, &receipt));
        match (result, written) {
            (Ok(()), Ok(())) => Ok(receipt),
            // That the receipt could not be written must not hide why the run failed.
            (Err(error), written) => {
                written.unwrap_or_else(|unwritten| ui::error(&unwritten));
                session.failed(&receipt)?;
                Err(error)
            }
            (Ok(()), Err(unwritten)) => Err(unwritten),
        }
    }

    /// For commands that change nothing and so have no receipt.
    pub(super) fn refuse_receipt(&self) -> Result<()> {
        match &self.receipt {
            Some(_) => {
                Err(Error::usage("this command changes nothing, so it has no receipt").hint("leave --receipt out"))
            }
            None => Ok(()),
        }
    }

    /// A receipt that can't be written is better known before the run than after it.
    fn check_receipt(&self) -> Result<()> {
        let Some(path) = &self.receipt else { return Ok(()) };
        // Made and removed again: whether a folder can be written into is known by nothing else.
        begin(&target(path, "--receipt")?).map(drop).map_err(|source| {
            Error::usage("the receipt can't be written there").with("--receipt", path.display()).because(source)
        })
    }

    /// The plan of a command that has a receipt. A plan that failed has no run; the receipt says so all the same.
    pub(super) fn planned(&self, session: &Session, command: &str) -> Result<Plan> {
        self.check_receipt()?;
        self.previewed(session).inspect_err(|error| {
            let job = self.job.job.display().to_string();
            let receipt = Receipt::unplanned(command, &job, &self.interval, &session.engine.now(), error);
            let written = self.receipt.as_ref().map_or(Ok(()), |path| write_atomically(path, &receipt));
            for undelivered in [written, session.failed(&receipt)].into_iter().filter_map(Result::err) {
                ui::error(&undelivered);
            }
        })
    }

    /// The plan of a command that changes nothing.
    pub(super) fn previewed(&self, session: &Session) -> Result<Plan> {
        self.plan(&session.engine.runtime)
    }
}

fn write_atomically(path: &Path, receipt: &Receipt) -> Result<()> {
    let failed = |source: std::io::Error| {
        Error::failed("could not write the receipt").with("file", path.display()).because(source)
    };
    let path = &target(path, "--receipt")?;
    let mut file = begin(path).map_err(failed)?;
    let text = serde_json::to_vec_pretty(receipt)
        .map_err(|source| Error::failed("could not write the receipt as JSON").because(source))?;
    file.write_all(&text).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.persist(path).map_err(|source| failed(source.error))?;
    Ok(())
}

/// The words that a job file may use.
pub(super) fn vocabulary() -> Vocabulary<'static> {
    let algorithms = models::ALGORITHMS.iter().map(|algorithm| AlgorithmWords {
        name: algorithm.name(),
        tasks: algorithm.tasks(),
        takes_weights: algorithm.takes_weights(),
        params: algorithm.params_schema().to_value(),
    });
    let metrics = metrics::METRICS.iter().map(|metric| MetricWords {
        name: metric.name(),
        tasks: metric.tasks(),
        greater_is_better: metric.greater_is_better(),
        range: metric.range(),
    });
    Vocabulary {
        algorithms: algorithms.collect(),
        metrics: metrics.collect(),
        check_params: &|name, params| models::lookup(name)?.check_params(params),
    }
}

/// What can be said of the SQL without any data: that it is one SELECT, that its names are known.
fn sql_mistakes(text: &str, path: &Path, job: Option<&JobFile>) -> Vec<Diagnostic> {
    let sql = match FeatureSql::parse(text, &path.display().to_string()) {
        Ok(sql) => sql,
        Err(mistake) => return vec![diagnostic(text, &mistake)],
    };
    let Some(job) = job else { return Vec::new() };
    let mut mistakes = sql.unknown_placeholders(&crate::plan::parameter_names(&job.spec));
    let tables: Vec<&str> = job.spec.tables.keys().map(String::as_str).collect();
    mistakes.extend(sql.unknown_tables(&tables));
    mistakes.iter().map(|mistake| diagnostic(text, mistake)).collect()
}

/// A mistake of the SQL among those of the job file.
pub(super) fn diagnostic(text: &str, mistake: &SqlDiagnostic) -> Diagnostic {
    let (line, column) = (mistake.line.unwrap_or(1), mistake.column.unwrap_or(1));
    let place = |number: u64| usize::try_from(number).unwrap_or(1);
    let found = Diagnostic::at_line(&mistake.file, text, place(line), place(column), &mistake.message);
    match &mistake.hint {
        Some(hint) => found.hint(hint),
        None => found,
    }
}
