//! `lakemill models import`: a model of another library becomes a version in the registry.

use super::ui::number;
use super::{Home, Session, current_dir};
use crate::engine::{self, Check, ImportOutcome, ImportRequest};
use crate::error::{Error, Result};
use crate::lake::Location;
use crate::models::import::Rounds;
use clap::Args as ClapArgs;
use serde_json::json;

/// How far a prediction may be off, unless somebody says otherwise.
const TOLERANCE: &str = "1e-6";

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The model's name: that of the job that will score with it
    name: String,
    /// The model file: LightGBM's text file, XGBoost's .json or .ubj, or .onnx
    file: String,
    /// The columns of the SQL for the model's features, in their order, or as FEATURE=COLUMN [default: the file's names]
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    features: Vec<String>,
    /// The names of the classes in their order, where the file does not know them
    #[arg(long, value_name = "CLASS,...", value_delimiter = ',')]
    classes: Option<Vec<String>>,
    /// Which target is predicted, counted from 0, of a model that has several
    #[arg(long, value_name = "N")]
    target: Option<usize>,
    /// How many rounds of boosting count: best (up to the best one, where the file names it), all, or a number
    #[arg(long, value_name = "ROUNDS", default_value = "best", value_parser = parse_rounds)]
    rounds: Rounds,
    /// Rows on which predictions are compared: a file or table with the columns that the SQL will give
    #[arg(long, value_name = "ROWS", requires = "expected")]
    check: Option<String>,
    /// What the library predicts for these rows, in their order: one column, or one for each class
    #[arg(long, value_name = "SCORES", requires = "check")]
    expected: Option<String>,
    /// How far a prediction may be off: absolutely up to 1, relatively beyond
    #[arg(long, value_name = "NUMBER", default_value = TOLERANCE, value_parser = parse_tolerance)]
    tolerance: f64,
    #[command(flatten)]
    home: Home,
}

fn parse_rounds(text: &str) -> Result<Rounds, String> {
    match text {
        "best" => Ok(Rounds::Best),
        "all" => Ok(Rounds::All),
        _ => match text.parse() {
            Ok(rounds) if rounds > 0 => Ok(Rounds::First(rounds)),
            _ => Err("give best, all, or a whole number from 1".to_owned()),
        },
    }
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(tolerance) if tolerance.is_finite() && tolerance >= 0.0 => Ok(tolerance),
        _ => Err("give a number of at least 0, e.g. 1e-6".to_owned()),
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let base = current_dir()?;
    let place = |text: &String| Location::parse(text, &base);
    let check = match (&args.check, &args.expected) {
        (Some(rows), Some(expected)) => {
            Some(Check { rows: place(rows)?, expected: place(expected)?, tolerance: args.tolerance })
        }
        _ => None,
    };
    let request = ImportRequest {
        model: args.name.clone(),
        home: home(&args.home)?,
        file: place(&args.file)?,
        features: args.features.clone(),
        classes: args.classes.clone(),
        target: args.target,
        rounds: args.rounds,
        check,
    };
    let engine = &session.engine;
    let imported = engine.runtime.run(engine::import(engine, &request))?;
    session.meter.clear();
    let origin = &imported.origin;
    let result = json!({
        "model": imported.version.model,
        "version": imported.version.version,
        "sha256": imported.version.sha256,
        "champion": imported.champion,
        "task": imported.artifact.task,
        "classes": imported.artifact.classes,
        "columns": imported.artifact.signature().columns,
        "origin": origin,
    });
    session.ui.show(&result, || told(&imported))
}

/// The home; an import may be the first thing that is written there.
fn home(home: &Home) -> Result<Location> {
    let Some(folder) = &home.home else { return home.location() };
    let location = Location::parse(&folder.to_string_lossy(), &current_dir()?)?;
    match location.local_path() {
        Some(path) if path.exists() && !path.is_dir() => {
            Err(Error::usage("the home is a file, not a folder").with("home", location))
        }
        _ => Ok(location),
    }
}

fn told(imported: &ImportOutcome) -> String {
    let (version, origin, artifact) = (&imported.version, &imported.origin, &imported.artifact);
    let facts: Vec<String> = origin
        .facts
        .iter()
        .filter(|(name, _)| ["objective", "booster", "boosting", "trees", "operators"].contains(&name.as_str()))
        .map(|(name, value)| format!("{name} {}", value.as_str().unwrap_or_default()))
        .collect();
    let role = if imported.champion { "the champion, the first" } else { "the challenger" };
    let mut lines = vec![
        format!("{}: version {} is imported and is {role}", version.model, version.version),
        format!("{} ({}), {} on {} columns", origin.format, facts.join(", "), artifact.task, origin.features.len()),
        match &origin.parity {
            Some(parity) => format!(
                "parity: {} rows, the worst off by {} (tolerance {})",
                parity.rows,
                number(parity.largest_difference),
                number(parity.tolerance)
            ),
            None => {
                "parity: not shown; --check ROWS --expected SCORES compares with the library's predictions".to_owned()
            }
        },
    ];
    lines.extend(origin.notes.iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}
