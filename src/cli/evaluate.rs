//! `lakemill evaluate`: models side by side on the same rows.

use super::Session;
use super::job::RunArgs;
use super::train::{confused, interval_of};
use super::ui::{count, number, table};
use crate::engine::{Evaluation, evaluate};
use crate::error::Result;
use crate::metrics::{Comparison, Verdict};
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    run: RunArgs,
    /// The models: aliases or versions, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "champion,challenger")]
    models: Vec<String>,
}

pub(super) fn run(session: &Session, args: &Args) -> Result<()> {
    args.run.refuse_receipt()?;
    let plan = args.run.previewed(session)?;
    let evaluation = session.engine.runtime.run(evaluate(&session.engine, &plan, &args.models))?;
    session.meter.clear();
    session.ui.show(&evaluation, || text(&evaluation))
}

fn text(evaluation: &Evaluation) -> String {
    let mut head = vec!["metric".to_owned()];
    for model in &evaluation.models {
        head.push(format!("{} (version {})", model.name, model.version));
        head.push("interval".to_owned());
    }
    let metrics = evaluation.models.first().map_or(0, |model| model.metrics.len());
    let rows: Vec<Vec<String>> = (0..metrics).map(|metric| row(evaluation, metric)).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut text = format!(
        "{} for {}: {} rows with a known label\n{}",
        evaluation.job,
        evaluation.interval,
        count(evaluation.rows),
        table(&head, &rows)
    );
    for model in evaluation.models.iter().skip(1) {
        let against = format!("{} (version {}) against {}", model.name, model.version, evaluation.models[0].name);
        text.push_str(&format!("\n\n{against}\n{}", compared(&model.against_first)));
    }
    for model in &evaluation.models {
        if let Some(confusion) = &model.confusion {
            text.push_str(&format!("\n\n{} (version {})\n{}", model.name, model.version, confused(confusion)));
        }
    }
    text
}

fn row(evaluation: &Evaluation, metric: usize) -> Vec<String> {
    let mut cells = vec![evaluation.models[0].metrics[metric].metric.clone()];
    for value in evaluation.models.iter().filter_map(|model| model.metrics.get(metric)) {
        cells.push(value.estimate.as_ref().map_or_else(|| "-".to_owned(), |estimate| number(estimate.value)));
        cells.push(interval_of(value));
    }
    cells
}

fn compared(comparisons: &[Comparison]) -> String {
    let rows: Vec<Vec<String>> = comparisons
        .iter()
        .map(|comparison| {
            let improvement = comparison.improvement.as_ref();
            let verdict = match comparison.verdict {
                Verdict::Better => "better",
                Verdict::NotBetter => "not better",
                Verdict::Inconclusive => "inconclusive",
            };
            vec![
                comparison.metric.clone(),
                improvement.map_or_else(|| "-".to_owned(), |by| number(by.value)),
                improvement.map_or_else(|| "-".to_owned(), |by| format!("{} to {}", number(by.low), number(by.high))),
                verdict.to_owned(),
            ]
        })
        .collect();
    table(&["metric", "better by", "interval", "verdict"], &rows)
}
