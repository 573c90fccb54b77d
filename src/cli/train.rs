//! `lakemill train`: fit, evaluate, register.

use super::Session;
use super::job::RunArgs;
use super::runs::describe;
use super::ui::{count, number, table};
use crate::engine::receipt::Receipt;
use crate::engine::{self, Confusion, TrainOptions};
use crate::error::Result;
use crate::metrics::MetricValue;
use crate::registry::artifact::SearchReport;
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
    let receipt = args.run.deliver(session, recorded)?;
    session.meter.clear();
    session.ui.show(&receipt, || trained(&receipt))
}

/// A training as a person reads it.
pub(super) fn trained(receipt: &Receipt) -> String {
    let mut text = describe(receipt);
    if let Ok(search) = serde_json::from_value::<SearchReport>(receipt.data["search"].clone()) {
        text.push_str(&format!("\n\n{}", searched(&search)));
    }
    let metrics: Vec<MetricValue> = serde_json::from_value(receipt.metrics.clone()).unwrap_or_default();
    let baseline: Vec<MetricValue> = serde_json::from_value(receipt.data["baseline"].clone()).unwrap_or_default();
    if !metrics.is_empty() {
        let rows: Vec<Vec<String>> = metrics.iter().map(|value| compared(value, &baseline)).collect();
        text.push_str(&format!("\n\n{}", table(&["metric", "value", "interval", "baseline"], &rows)));
    }
    if let Ok(confusion) = serde_json::from_value::<Confusion>(receipt.data["confusion"].clone()) {
        text.push_str(&format!("\n\n{}\n", confused(&confusion)));
    }
    if let Some(why) = receipt.gates["why"].as_str() {
        text.push_str(&format!("\ngate: {why}"));
    }
    text
}

/// How far a search came, and what it chose.
fn searched(search: &SearchReport) -> String {
    let SearchReport { tried, settings, metric, folds, chosen, .. } = search;
    let mut text = format!("search: {} of {settings} settings tried, on {folds} folds", tried.len());
    if let Some(best) = tried.get(*chosen as usize) {
        let params: Vec<String> = best.params.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let value = best.mean.map_or_else(|| "-".to_owned(), number);
        text.push_str(&format!("; best {metric} {value} with {}", params.join(", ")));
    }
    if (tried.len() as u64) < *settings {
        text.push_str("; max_time ended it");
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

/// So many classes are shown on a terminal; all are in the JSON.
const CLASSES_SHOWN: usize = 12;

/// Rows are what was true, columns what was predicted.
pub(super) fn confused(confusion: &Confusion) -> String {
    let classes = &confusion.classes;
    if classes.len() > CLASSES_SHOWN {
        return format!("which of the {} classes was taken for which: --output json has it", classes.len());
    }
    let columns: Vec<String> = classes.iter().map(|class| format!("predicted {class}")).collect();
    let head: Vec<&str> = std::iter::once("actual").chain(columns.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<String>> = classes
        .iter()
        .zip(&confusion.counts)
        .map(|(class, counts)| {
            let cells = counts.iter().map(|rows| count(rows.round() as u64));
            std::iter::once(class.clone()).chain(cells).collect()
        })
        .collect();
    table(&head, &rows)
}
