//! `lakemill train`: fit, evaluate, register.

use super::Session;
use super::job::RunArgs;
use super::runs::describe;
use super::ui::{number, table};
use crate::engine::receipt::Receipt;
use crate::engine::{self, TrainOptions};
use crate::error::Result;
use crate::metrics::MetricValue;
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// Train again what the same inputs have been trained from before, and compare
    #[arg(long)]
    force: bool,
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    let plan = args.run.planned(session, "train")?;
    let options = TrainOptions { force: args.force, promote: false };
    let engine = &session.engine;
    let (recorded, _) = engine.runtime.run_recorded(engine::train(engine, &plan, options));
    let receipt = args.run.deliver(recorded)?;
    session.meter.clear();
    session.ui.show(&receipt, || trained(&receipt))
}

/// A training as a person reads it.
pub(super) fn trained(receipt: &Receipt) -> String {
    let mut text = describe(receipt);
    let metrics: Vec<MetricValue> = serde_json::from_value(receipt.metrics.clone()).unwrap_or_default();
    let baseline: Vec<MetricValue> = serde_json::from_value(receipt.data["baseline"].clone()).unwrap_or_default();
    if !metrics.is_empty() {
        let rows: Vec<Vec<String>> = metrics.iter().map(|value| compared(value, &baseline)).collect();
        text.push_str(&format!("\n\n{}", table(&["metric", "value", "interval", "baseline"], &rows)));
    }
    if let Some(why) = receipt.gates["why"].as_str() {
        text.push_str(&format!("\ngate: {why}"));
    }
    text
}

fn compared(value: &MetricValue, baseline: &[MetricValue]) -> Vec<String> {
    let naive = baseline.iter().find(|naive| naive.metric == value.metric);
    vec![
        value.metric.clone(),
        value.estimate.as_ref().map_or_else(|| "-".to_owned(), |estimate| number(estimate.value)),
        interval_of(value),
        naive.and_then(|naive| naive.estimate.as_ref()).map_or_else(|| "-".to_owned(), |naive| number(naive.value)),
    ]
}

/// The interval of confidence as text.
pub(super) fn interval_of(value: &MetricValue) -> String {
    value
        .estimate
        .as_ref()
        .map_or_else(|| "-".to_owned(), |estimate| format!("{} to {}", number(estimate.low), number(estimate.high)))
}
