//! `lakemill query`: read-only SQL over pinned tables.

use super::file::{begin, target};
use super::job::JobArgs;
use super::ui::{bytes as size, count, print};
use super::{Home, Session, current_dir};
use crate::engine::model_function;
use crate::error::{Error, Result, ResultExt};
use crate::interval::Interval;
use crate::job::JobFile;
use crate::lake::Location;
use crate::memory::Budget;
use crate::plan::{Plan, pin_tables};
use crate::query::{self, FeatureSql, Parameters, PlannedQuery, SessionOptions, from_datafusion, models_of};
use crate::tables::{At, PinnedTable, TableRequest, pin};
use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder as JsonBuilder};
use arrow::util::pretty::pretty_format_batches;
use chrono::{DateTime, Utc};
use clap::{Args as ClapArgs, ValueEnum};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// One SELECT (or EXPLAIN), or a file that ends in .sql
    sql: String,
    /// Query the tables of this job, each pinned
    #[arg(long, value_name = "JOB")]
    job: Option<PathBuf>,
    /// Change a key of the job file (may be given more than once)
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "job")]
    overrides: Vec<String>,
    /// The interval of $interval_start and $interval_end
    #[arg(long, value_name = "INTERVAL", requires = "job")]
    interval: Option<String>,
    /// A table: NAME=PATH, or NAME=PATH@VERSION (a number or an instant) for time travel (may be given more than once)
    #[arg(long = "table", value_name = "NAME=PATH[@VERSION]")]
    tables: Vec<String>,
    #[command(flatten)]
    home: Home,
    /// How rows are written
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the rows to this file instead of standard output; needed for Parquet
    #[arg(long, value_name = "FILE", required_if_eq("format", "parquet"))]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Table,
    /// With a header
    Csv,
    /// One object a line
    Json,
    /// A Parquet file
    Parquet,
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let text = text(&args.sql)?;
    let job = args
        .job
        .as_ref()
        .map(|job| JobArgs { job: job.clone(), overrides: args.overrides.clone() }.load(&session.engine.runtime));
    let job = job.transpose()?;
    session.engine.runtime.run(async {
        let budget = Budget::of(session.engine.memory_bytes)?;
        let options = SessionOptions::ad_hoc(budget.pool_bytes(), session.engine.runtime.threads());
        let mut query = query::Session::new(options.within(&budget))?;
        let (tables, parameters) = pinned(args, job.clone()).await?;
        for table in &tables {
            query.register(table).await?;
        }
        for model in models_of(&text, if text == args.sql { "query" } else { &args.sql })? {
            let function = model_function(&home(args, job.as_deref())?, &model).await?;
            query.register_model(&model, function);
        }
        let planned = match parameters {
            // With an interval the text is feature SQL.
            Some(parameters) => query.plan(&FeatureSql::parse(&text, &args.sql)?, &parameters).await?,
            None => query.ad_hoc(&text).await?,
        };
        if matches!(args.format, Format::Json | Format::Parquet) || (args.out.is_none() && session.ui.is_json()) {
            refuse_doubles(&planned)?;
        }
        match &args.out {
            Some(path) => {
                let written = to_file(&planned, args.format, path).await?;
                session.meter.clear();
                session.ui.show(&written, || written.to_string())
            }
            None => to_stdout(session, &planned, args.format).await,
        }
    })
}

/// An object has one value a name, and few readers of Parquet tell two columns of one name apart.
fn refuse_doubles(planned: &PlannedQuery) -> Result<()> {
    let schema = planned.schema();
    let names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
    match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        Some((_, name)) => Err(Error::usage("two columns of the result have the same name")
            .with("column", name)
            .hint("give one of them another name with AS")),
        None => Ok(()),
    }
}

fn text(sql: &str) -> Result<String> {
    let is_file = Path::new(sql).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
    if !is_file || sql.contains(char::is_whitespace) {
        return Ok(sql.to_owned());
    }
    std::fs::read_to_string(sql)
        .map_err(|source| Error::usage("could not read the SQL file").with("file", sql).because(source))
}

/// Where the models of predict() lie: where the job says, or `--home`.
fn home(args: &Args, job: Option<&JobFile>) -> Result<Location> {
    match (&args.home.home, job) {
        (_, Some(job)) => Location::parse(job.spec.home.value(), &job.root).at("key", "home"),
        _ => args.home.location(),
    }
}

/// The tables that the query may name, and the values of its `$names` where there is an interval.
async fn pinned(args: &Args, job: Option<Arc<JobFile>>) -> Result<(Vec<PinnedTable>, Option<Parameters>)> {
    let (mut tables, mut parameters) = (Vec::new(), None);
    if let Some(job) = job {
        match &args.interval {
            Some(interval) => {
                let interval: Interval = interval.parse()?;
                let plan = Plan::resolve(job, interval, Utc::now()).await?;
                parameters = Some(plan.parameters(&interval));
                tables = plan.tables;
            }
            None => tables = pin_tables(&job).await?,
        }
    }
    for written in &args.tables {
        tables.push(pin(&request(written)?).await?);
    }
    if tables.is_empty() {
        return Err(Error::usage("there is no table to query").hint("give --job JOB or --table NAME=PATH"));
    }
    Ok((tables, parameters))
}

/// Reads `NAME=PATH`, `NAME=PATH@VERSION` or `NAME=PATH@INSTANT`.
fn request(written: &str) -> Result<TableRequest> {
    let (name, place) =
        written.split_once('=').filter(|(name, place)| !name.is_empty() && !place.is_empty()).ok_or_else(|| {
            Error::usage("not a table").with("--table", written).hint("write NAME=PATH or NAME=PATH@VERSION")
        })?;
    let (path, at) = place_and_version(place);
    let location = Location::parse(path, &current_dir()?).at("table", name)?;
    Ok(TableRequest { at, ..TableRequest::latest(name, location) })
}

/// `PATH`, `PATH@VERSION` or `PATH@INSTANT` (RFC 3339 with a zone). An @ that neither follows belongs to the path.
pub(super) fn place_and_version(written: &str) -> (&str, At) {
    let Some((path, point)) = written.rsplit_once('@') else { return (written, At::Latest) };
    match (point.parse(), DateTime::parse_from_rfc3339(point)) {
        (Ok(version), _) => (path, At::Version(version)),
        (_, Ok(instant)) => (path, At::AsOf(instant.to_utc())),
        _ => (written, At::Latest),
    }
}

async fn to_stdout(session: &Session, planned: &PlannedQuery, format: Format) -> Result<()> {
    session.meter.clear();
    if session.ui.is_json() {
        return as_one_object(planned).await;
    }
    match format {
        Format::Table => {
            let batches = planned.collect().await?;
            let shown = if batches.is_empty() { vec![RecordBatch::new_empty(planned.schema())] } else { batches };
            let text = pretty_format_batches(&shown).map_err(unwritable)?.to_string();
            print(text.as_bytes())?;
            print(b"\n")
        }
        Format::Csv | Format::Json => stream(planned, format, Stdout).await.map(|_| ()),
        Format::Parquet => Err(Error::usage("Parquet needs a file to go to").hint("give --out FILE")),
    }
}

/// All rows as one line: `{"rows": [...]}`.
async fn as_one_object(planned: &PlannedQuery) -> Result<()> {
    let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    for batch in planned.collect().await? {
        writer.write(&batch).map_err(unwritable)?;
    }
    writer.finish().map_err(unwritable)?;
    let rows = writer.into_inner();
    let rows = if rows.is_empty() { b"[]".to_vec() } else { rows };
    print(&[b"{\"rows\":".as_slice(), &rows, b"}\n"].concat())
}

/// What `--out` wrote.
#[derive(Debug, Serialize)]
struct WrittenFile {
    path: PathBuf,
    rows: u64,
    bytes: u64,
    /// Over the file's bytes, in hex.
    sha256: String,
}

impl fmt::Display for WrittenFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        write!(out, "wrote {} {rows} ({}) to {}", count(self.rows), size(self.bytes), self.path.display())
    }
}

/// Written whole or not at all: beside the file first, then moved.
async fn to_file(planned: &PlannedQuery, format: Format, path: &Path) -> Result<WrittenFile> {
    let failed =
        |source: std::io::Error| Error::failed("could not write the file").with("file", path.display()).because(source);
    let target = target(path, "--out")?;
    let file = Hashed { to: begin(&target).map_err(failed)?, bytes: 0, hash: Sha256::new() };
    let (file, rows) = stream(planned, format, file).await.at("file", path.display())?;
    file.to.persist(&target).map_err(|source| failed(source.error))?;
    let sha256 = file.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(WrittenFile { path: path.to_owned(), rows, bytes: file.bytes, sha256 })
}

/// Counts and hashes what passes.
struct Hashed<W> {
    to: W,
    bytes: u64,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Writes batch after batch, so that memory does not grow with the rows; gives their number.
async fn stream<W: Write + Send>(planned: &PlannedQuery, format: Format, mut to: W) -> Result<(W, u64)> {
    let mut rows = 0;
    let mut batches = planned.stream()?.map_err(from_datafusion).inspect_ok(|batch| rows += batch.num_rows() as u64);
    let to = match format {
        Format::Csv => {
            let mut writer = WriterBuilder::new().with_header(true).build(to);
            writer.write(&RecordBatch::new_empty(planned.schema())).map_err(unwritable)?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch).map_err(unwritable)?;
            }
            writer.into_inner()
        }
        Format::Json => {
            let mut writer = JsonBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(to);
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch).map_err(unwritable)?;
            }
            writer.finish().map_err(unwritable)?;
            writer.into_inner()
        }
        Format::Parquet => {
            let mut writer = ArrowWriter::try_new(to, planned.schema(), None).map_err(unwritable)?;
            while let Some(batch) = batches.try_next().await? {
                writer.write(&batch).map_err(unwritable)?;
            }
            writer.into_inner().map_err(unwritable)?
        }
        Format::Table => {
            let mut all = vec![RecordBatch::new_empty(planned.schema())];
            while let Some(batch) = batches.try_next().await? {
                all.push(batch);
            }
            let text = pretty_format_batches(&all).map_err(unwritable)?.to_string();
            writeln!(to, "{text}").map_err(unwritable)?;
            to
        }
    };
    drop(batches);
    Ok((to, rows))
}

/// Standard output by way of `ui`, which knows about closed pipes.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        print(bytes).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn unwritable(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::failed("could not write the rows").because(source)
}
