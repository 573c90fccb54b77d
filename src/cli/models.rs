//! `lakemill models`, `promote` and `rollback`: the registry.

use super::ui::{number, table};
use super::{Home, Session};
use crate::engine::{CHALLENGER, CHAMPION};
use crate::error::{Error, Result};
use crate::registry::artifact::Measured;
use crate::registry::{AliasRecord, Described, Registry};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// All models, or all versions of one
    #[command(after_help = "Example:\n  lakemill models list --home demo/home")]
    List {
        /// The model's name
        model: Option<String>,
        #[command(flatten)]
        home: Home,
    },
    /// The model card of a version
    #[command(after_help = "Example:\n  lakemill models show card_fraud champion --home demo/home")]
    Show {
        /// The model's name
        model: String,
        /// An alias or a version
        #[arg(default_value = CHAMPION)]
        version: String,
        #[command(flatten)]
        home: Home,
    },
    /// Register a model of LightGBM, XGBoost or scikit-learn (ONNX), once it is shown to predict the same
    #[command(
        after_help = "Examples:\n  lakemill models import card_fraud model.txt --home demo/home --check rows.parquet --expected scores.parquet\n  lakemill models import card_fraud model.onnx --home demo/home --features tx_amount,night"
    )]
    Import(super::import::Args),
    /// Who made which version the champion, when and why
    #[command(after_help = "Example:\n  lakemill models history card_fraud --home demo/home")]
    History {
        /// The model's name
        model: String,
        /// The alias
        #[arg(long, default_value = CHAMPION)]
        alias: String,
        #[command(flatten)]
        home: Home,
    },
}

#[derive(Debug, Args)]
pub(super) struct PromoteArgs {
    /// The model's name
    model: String,
    /// An alias or a version
    version: String,
    /// The reason, for the history
    #[arg(long, value_name = "TEXT", default_value = "promoted by hand")]
    why: String,
    #[command(flatten)]
    home: Home,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The model's name
    model: String,
    /// The reason, for the history
    #[arg(long, value_name = "TEXT", default_value = "rolled back by hand")]
    why: String,
    #[command(flatten)]
    home: Home,
}

pub(super) fn run(session: &Session, command: &Command) -> Result<()> {
    match command {
        Command::List { model: None, home } => models(session, home),
        Command::List { model: Some(model), home } => versions(session, model, home),
        Command::Show { model, version, home } => show(session, model, version, home),
        Command::Import(args) => super::import::run(session, args),
        Command::History { model, alias, home } => history(session, model, alias, home),
    }
}

fn models(session: &Session, home: &Home) -> Result<()> {
    let home = home.location()?;
    let registry = Registry::new(&home);
    let found: Vec<Value> = session.engine.runtime.run(async {
        let mut found = Vec::new();
        for model in registry.models().await? {
            let aliases = registry.aliases(&model).await?;
            let version = |alias: &str| aliases.get(alias).map(|record| record.version);
            let versions = registry.numbers(&model).await?.len();
            let (champion, challenger) = (version(CHAMPION), version(CHALLENGER));
            found.push(json!({ "model": model, "versions": versions, "champion": champion, "challenger": challenger }));
        }
        Ok(found)
    })?;
    let head = ["model", "versions", "champion", "challenger"];
    session.ui.show(&found, || match found.as_slice() {
        [] => format!("no model is registered under {home}"),
        found => table(&head, &found.iter().map(|model| cells(model, &head)).collect::<Vec<_>>()),
    })
}

fn cells(object: &Value, names: &[&str]) -> Vec<String> {
    let cell = |name: &&str| match &object[*name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    names.iter().map(cell).collect()
}

fn versions(session: &Session, model: &str, home: &Home) -> Result<()> {
    let registry = Registry::new(&home.location()?);
    let (versions, aliases) =
        session.engine.runtime.run(async { Ok((registry.versions(model).await?, registry.aliases(model).await?)) })?;
    let rows: Vec<Value> = versions
        .iter()
        .map(|(version, described)| {
            let names = aliases.iter().filter(|(_, record)| record.version == *version).map(|(name, _)| name.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            match described {
                Ok(described) => summary(described, &names),
                Err(error) => json!({ "version": version, "aliases": names, "error": error.to_string() }),
            }
        })
        .collect();
    let head = ["version", "aliases", "algorithm", "interval", "rows", "metrics", "error"];
    session.ui.show(&rows, || table(&head, &rows.iter().map(|row| cells(row, &head)).collect::<Vec<_>>()))
}

fn summary(described: &Described, aliases: &str) -> Value {
    let artifact = &described.artifact;
    json!({
        "version": described.version.version,
        "aliases": aliases,
        "algorithm": artifact.algorithm,
        "interval": artifact.origin.is_none().then_some(&artifact.windows.interval),
        "rows": artifact.origin.is_none().then_some(artifact.rows.train),
        "metrics": leading(&artifact.metrics),
        "sha256": described.version.sha256,
    })
}

/// The metrics that one looks at first.
fn leading(metrics: &BTreeMap<String, Measured>) -> String {
    let first = ["roc_auc", "average_precision", "accuracy", "rmse", "r2"];
    let found = first.iter().filter_map(|name| Some((name, metrics.get(*name)?)));
    found.take(2).map(|(name, measured)| format!("{name} {}", number(measured.value))).collect::<Vec<_>>().join(", ")
}

fn show(session: &Session, model: &str, version: &str, home: &Home) -> Result<()> {
    let registry = Registry::new(&home.location()?);
    let (described, card) = session.engine.runtime.run(async {
        let version = registry.resolve(model, version).await?;
        Ok((registry.describe(model, version).await?, registry.card(model, version).await?))
    })?;
    let whole = json!({ "version": described.version, "lakemill": described.lakemill, "artifact": described.artifact });
    session.ui.show(&whole, || card)
}

fn history(session: &Session, model: &str, alias: &str, home: &Home) -> Result<()> {
    let registry = Registry::new(&home.location()?);
    let records = session.engine.runtime.run(async {
        let records = registry.history(model, alias).await?;
        if records.is_empty() {
            // Says whether the model or the alias is what does not exist.
            registry.resolve(model, alias).await?;
        }
        Ok(records)
    })?;
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    let head = ["sequence", "action", "version", "at", "by", "why"];
    session.ui.show(&records, || table(&head, &rows))
}

fn row(record: &AliasRecord) -> Vec<String> {
    let action = serde_json::to_value(record.action).unwrap_or_default();
    let action = action.as_str().unwrap_or_default().to_owned();
    let numbers = (record.sequence.to_string(), record.version.to_string());
    vec![numbers.0, action, numbers.1, record.at.clone(), record.by.clone(), record.why.clone()]
}

pub(super) fn promote(session: &Session, args: &PromoteArgs) -> Result<()> {
    let registry = Registry::new(&args.home.location()?);
    let change = session.engine.change(&args.why, None, Value::Null);
    let model = args.model.as_str();
    let (version, before, sequence) = session.engine.runtime.run(async {
        let version = registry.resolve(model, &args.version).await?;
        let before = registry.alias(model, CHAMPION).await?;
        let seen = before.as_ref().map_or(0, |record| record.sequence);
        let sequence = registry.promote(model, CHAMPION, version, &change, Some(seen)).await?;
        Ok((version, before, sequence))
    })?;
    let was = before.map(|record| record.version);
    let result = json!({ "model": model, "champion": version, "was": was, "sequence": sequence });
    session.ui.show(&result, || match was {
        Some(was) if was == version => format!("{model}: version {version} is the champion already"),
        Some(was) => format!("{model}: version {version} is the champion now, after version {was}"),
        None => format!("{model}: version {version} is the champion now, the first"),
    })
}

pub(super) fn rollback(session: &Session, args: &RollbackArgs) -> Result<()> {
    let registry = Registry::new(&args.home.location()?);
    let change = session.engine.change(&args.why, None, Value::Null);
    let model = args.model.as_str();
    let (before, record) = session.engine.runtime.run(async {
        let before = registry.alias(model, CHAMPION).await?;
        let seen = before.as_ref().map(|record| record.sequence);
        Ok((before, registry.rollback(model, CHAMPION, &change, seen).await?))
    })?;
    let was = before.ok_or_else(|| Error::conflict("the champion was set in the meantime"))?.version;
    let result = json!({ "model": model, "champion": record.version, "was": was, "sequence": record.sequence });
    session
        .ui
        .show(&result, || format!("{model}: version {} is the champion again, after version {was}", record.version))
}
