//! The command line: one thin file a command. Raw arguments here, resolved things in `engine`.
//!
//! To add a command: one file with its `Args` and `run`, one line in `Command`, one in `dispatch`.

mod check;
mod demo;
mod doctor;
mod evaluate;
mod file;
mod import;
mod inspect;
mod job;
mod lookup;
mod models;
mod plan;
mod query;
mod runs;
mod schema;
mod score;
mod train;
pub mod ui;

use crate::engine::Engine;
use crate::engine::receipt::Receipt;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Location;
use crate::memory::{Budget, default_limit, return_what_is_freed};
use crate::runtime::Runtime;
use clap::{Args, Parser, Subcommand};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use ui::{Meter, Output, Ui};

/// Train, score and publish from data-lake files: one job file, one interval, one receipt.
#[derive(Debug, Parser)]
#[command(name = "lakemill", version, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done or verified no-op · 1 failed · 2 usage or job file · 3 data check · 4 no input rows ·
5 gate not passed · 6 drift · 7 conflict · 8 budget · 9 verification · 75 transient · 130/143 stopped";

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// How results are written to standard output
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    /// Threads for I/O and for computing; all results are the same at any number [default: one a core]
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads, env = "LAKEMILL_THREADS")]
    threads: Option<usize>,
    /// Memory for the whole process, e.g. 512MiB or 4GiB; all results are the same at any size [default: three quarters of the machine's, or of the control group's]
    #[arg(long, global = true, value_name = "SIZE", value_parser = parse_bytes, env = "LAKEMILL_MEMORY")]
    memory: Option<u64>,
    /// Neither progress nor warnings, only errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// What to log to standard error, e.g. info or lakemill=debug
    #[arg(long, global = true, value_name = "FILTER", env = "LAKEMILL_LOG", default_value = "lakemill=warn")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate a demo lake, train, score and publish on it, and tell what happened
    #[command(after_help = "Examples:\n  lakemill demo\n  lakemill demo --rows 1000000 --dir /tmp/demo")]
    Demo(demo::Args),
    /// Report every mistake in a job file and its SQL at once; needs no data
    #[command(
        after_help = "Examples:\n  lakemill check jobs/card_fraud.toml\n  lakemill check jobs/card_fraud.toml --set model.algorithm=random_forest"
    )]
    Check(check::Args),
    /// Show what a run would read, use and write; changes nothing
    #[command(
        after_help = "Examples:\n  lakemill plan jobs/card_fraud.toml --interval 2018-06-20\n  lakemill plan jobs/card_fraud_declared.toml --interval 2018-06-20 --sql > features.sql"
    )]
    Plan(plan::Args),
    /// Fit and evaluate a model, and register it as challenger (as champion if it is the first and passes)
    #[command(after_help = "Example:\n  lakemill train jobs/card_fraud.toml --interval 2018-06-20")]
    Train(train::Args),
    /// Write the predictions of an interval and publish them in the lookup table
    #[command(
        after_help = "Examples:\n  lakemill score jobs/card_fraud.toml --interval 2018-06-20\n  lakemill score jobs/card_fraud.toml --interval 2018-06-20 --model challenger --receipt receipt.json"
    )]
    Score(score::Args),
    /// Train if there is no champion, promote if the gate says so, score and publish
    #[command(
        after_help = "Examples:\n  lakemill run jobs/card_fraud.toml --interval 2018-06-20\n  lakemill run jobs/card_fraud.toml --interval 2018-06-20 --retrain --output json"
    )]
    Run(score::FullArgs),
    /// Compare models side by side on the same rows
    #[command(
        after_help = "Examples:\n  lakemill evaluate jobs/card_fraud.toml --interval 2018-06-13/2018-06-20\n  lakemill evaluate jobs/card_fraud.toml --interval 2018-06-20 --models champion,2"
    )]
    Evaluate(evaluate::Args),
    /// List and show registered models, their history, and import models of other libraries
    #[command(subcommand)]
    Models(models::Command),
    /// Make a version the champion
    #[command(after_help = "Example:\n  lakemill promote card_fraud 3 --home demo/home --why \"fewer false alarms\"")]
    Promote(models::PromoteArgs),
    /// Make the version before the champion the champion again
    #[command(after_help = "Example:\n  lakemill rollback card_fraud --home demo/home")]
    Rollback(models::RollbackArgs),
    /// Run read-only SQL over pinned tables
    #[command(
        after_help = "Examples:\n  lakemill query \"SELECT count(*) FROM transactions\" --job jobs/card_fraud.toml\n  lakemill query report.sql --table t=demo/lake/transactions@3 --format parquet --out report.parquet"
    )]
    Query(query::Args),
    /// Tell what a table is made of: protocol, versions, files, statistics, and whether it can be read
    Inspect(inspect::Args),
    /// Read a lookup table as an application does, see its generations, and roll back
    #[command(subcommand)]
    Lookup(lookup::Command),
    /// Tell which identity a job uses in each place, and try what it may do there
    Doctor(doctor::Args),
    /// List and show receipts
    #[command(subcommand)]
    Runs(runs::Command),
    /// Print the JSON Schema of the job file
    #[command(after_help = "Example:\n  lakemill schema > job.schema.json")]
    Schema,
}

/// What a command needs: the engine and the printer.
struct Session {
    engine: Engine,
    ui: Ui,
    meter: Arc<Meter>,
}

impl Session {
    /// Gives a caller's code the receipt of a run that failed; for people the error says it all.
    fn failed(&self, receipt: &Receipt) -> Result<()> {
        if self.ui.is_json() { self.ui.show(receipt, String::new) } else { Ok(()) }
    }
}

/// Parses, runs, prints the error once; gives the exit code.
pub fn main() -> ExitCode {
    return_what_is_freed();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results, everything else is a usage error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    keep_libraries_quiet();
    // `check` gives its diagnostics as the result.
    let object = cli.global.output == Output::Json && !matches!(cli.command, Command::Check(_));
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run(cli)));
    match ended.unwrap_or_else(|_| Err(panicked())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error);
            if object {
                ui::error_object(&error);
            }
            // Threads that still compute must not hold up the end of a stopped run.
            std::process::exit(i32::from(error.kind().exit_code()))
        }
    }
}

/// What a library panics with on a thread of its own comes back as the error of the work that it did there; what it
/// would print besides is for its authors. (The writer of data files does so after each write that fails.)
fn keep_libraries_quiet() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Only this crate's own files have relative paths.
        let is_ours = panic.location().is_none_or(|at| at.file().starts_with("src"));
        if is_ours || std::thread::current().name() == Some("main") {
            told(panic);
        } else {
            tracing::debug!(%panic, "a library panicked");
        }
    }));
}

/// A panic that nothing on its way has made an error of.
fn panicked() -> Error {
    Error::failed("something failed that must not fail: this is a bug in lakemill")
        .hint("report it with what the same command says with --log debug; running it again is safe")
}

fn run(cli: Cli) -> Result<()> {
    log_to_stderr(&cli.global)?;
    let meter = Arc::new(Meter::new(cli.global.quiet));
    let memory_bytes = match cli.global.memory {
        Some(limit) => Budget::of(limit)?.limit,
        None => default_limit(),
    };
    let engine = Engine {
        runtime: Runtime::new(cli.global.threads)?.limited(memory_bytes),
        progress: meter.clone(),
        memory_bytes,
        by: user(),
    };
    let session = Session { engine, ui: Ui::new(cli.global.output), meter };
    let result = dispatch(&session, cli.command);
    session.meter.clear();
    let stops = [ErrorKind::Interrupted, ErrorKind::Terminated, ErrorKind::Budget];
    let stopped = |error: &Error| stops.contains(&error.kind());
    if result.as_ref().is_err_and(stopped) {
        // Waiting for threads that still compute could take minutes; the process ends without them.
        std::mem::forget(session);
    }
    result
}

fn dispatch(session: &Session, command: Command) -> Result<()> {
    match command {
        Command::Demo(args) => demo::run(session, args),
        Command::Check(args) => check::run(session, &args),
        Command::Plan(args) => plan::run(session, &args),
        Command::Train(args) => train::run(session, &args),
        Command::Score(args) => score::score(session, &args),
        Command::Run(args) => score::run(session, &args),
        Command::Evaluate(args) => evaluate::run(session, &args),
        Command::Models(command) => models::run(session, &command),
        Command::Promote(args) => models::promote(session, &args),
        Command::Rollback(args) => models::rollback(session, &args),
        Command::Query(args) => query::run(session, &args),
        Command::Inspect(args) => inspect::run(session, &args),
        Command::Lookup(command) => lookup::run(session, &command),
        Command::Doctor(args) => doctor::run(session, &args),
        Command::Runs(command) => runs::run(session, &command),
        Command::Schema => schema::run(session),
    }
}

/// Where models, runs, predictions and lookup tables are, for commands without a job file.
#[derive(Debug, Args)]
struct Home {
    /// The folder that holds models, runs, predictions and lookup tables
    #[arg(long, value_name = "DIR", env = "LAKEMILL_HOME")]
    home: Option<PathBuf>,
}

impl Home {
    /// The home, which must be there: what was never made has nothing to list, and a mistyped path would look the same.
    fn location(&self) -> Result<Location> {
        let home = self.home.as_ref().ok_or_else(|| {
            Error::usage("this command needs to know where the home is")
                .hint("give --home DIR or set LAKEMILL_HOME to the `home` of your job file")
        })?;
        let home = Location::parse(&home.to_string_lossy(), &current_dir()?)?;
        let why = match home.local_path() {
            Some(folder) if !folder.exists() => "there is no such home: nothing lies there",
            Some(folder) if !folder.is_dir() => "the home is a file, not a folder",
            _ => return Ok(home),
        };
        Err(Error::usage(why).with("home", home).hint(
            "give the `home` of your job file, as --home or in LAKEMILL_HOME; the first `lakemill train` makes it",
        ))
    }
}

fn current_dir() -> Result<PathBuf> {
    std::env::current_dir().map_err(|source| Error::failed("there is no current folder").because(source))
}

/// Who did it, for the history of an alias.
fn user() -> String {
    let names = ["LAKEMILL_USER", "USER", "LOGNAME"];
    names.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_else(|| "unknown".to_owned())
}

fn log_to_stderr(global: &Global) -> Result<()> {
    // What libraries call an error is often none; what is one comes back as ours.
    let filter = if global.quiet { "lakemill=error" } else { &global.log };
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|source| Error::usage("--log is not a filter").with("filter", &global.log).because(source))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(ui::log_writer)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .init();
    Ok(())
}

/// Reads a number of threads that a machine can have.
fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("give a whole number from 1 to 1024".to_owned()),
    }
}

/// Reads a size such as `512MiB`, `4GiB` or `1000000`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic()).trim();
    let number: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size; write e.g. 512MiB or 4GiB"))?;
    let factor: u64 = match text[digits.len()..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        unit => return Err(format!("`{unit}` is not a unit of size; write KiB, MiB or GiB")),
    };
    match number.checked_mul(factor) {
        Some(bytes) => Ok(bytes),
        None => Err(format!("{text} is more than there can be")),
    }
}
