//! The model card: an artifact as Markdown, after [Mitchell et al. 2019](https://arxiv.org/abs/1810.03993).
//!
//! A pure function of the artifact: no clock, so that the same version has the same card.

mod imported;
mod search;
mod segments;

use super::artifact::{Artifact, Measured};
use super::files::Described;
use super::reproduce;
use crate::features::{FittedColumn, Levels};
use crate::task::Task;
use std::collections::BTreeMap;

/// So many levels of a category are named.
const LEVELS_SHOWN: usize = 8;
/// So many features are named by their gain.
const GAINS_SHOWN: usize = 30;
/// A table of more classes than this could not be read.
const CLASSES_SHOWN: usize = 12;

/// The card of a version.
pub fn render(described: &Described) -> String {
    let artifact = &described.artifact;
    if let Some(origin) = &artifact.origin {
        return imported::render(described, origin);
    }
    let mut sections = vec![
        summary(described),
        section("Data", &data(artifact)),
        section("Quality", &quality(artifact)),
        section("Features", &features(artifact)),
        section("Parameters", &parameters(artifact)),
    ];
    sections.extend(artifact.search.as_ref().map(|search| section("Search", &search::render(search))));
    sections.push(section("SQL", &sql(artifact)));
    sections.push(section("Reproduce", &reproduce(described)));
    sections.join("\n")
}

fn section(title: &str, body: &str) -> String {
    format!("## {title}\n\n{body}")
}

fn sql(artifact: &Artifact) -> String {
    let mut text = fenced("sql", &artifact.features.sql);
    if !artifact.features.windows.is_empty() {
        let windows: Vec<String> = artifact.features.windows.iter().map(ToString::to_string).collect();
        text.push_str("\nTo each row, windows that end at its time (`[[features.windows]]`):\n\n");
        text.push_str(&fenced("json", &windows.join("\n")));
    }
    if !artifact.features.asof.is_empty() {
        let joins: Vec<String> = artifact.features.asof.iter().map(ToString::to_string).collect();
        text.push_str("\nTo each row, what was known at its time (`[[features.asof]]`):\n\n");
        text.push_str(&fenced("json", &joins.join("\n")));
    }
    text
}

fn summary(described: &Described) -> String {
    let artifact = &described.artifact;
    let version = &described.version;
    let what = match artifact.task {
        Task::Binary => format!("the probability that `{}` is true", artifact.features.label),
        Task::Multiclass => format!("the probability of each class of `{}`", artifact.features.label),
        Task::Regression => format!("the value of `{}`", artifact.features.label),
    };
    let mut rows = vec![
        ["task".to_owned(), artifact.task.to_string()],
        ["algorithm".to_owned(), artifact.algorithm.clone()],
        ["one prediction for each".to_owned(), artifact.features.key.join(", ")],
    ];
    if !artifact.classes.is_empty() {
        rows.push(["classes".to_owned(), artifact.classes.join(", ")]);
    }
    if let Some(threshold) = artifact.threshold {
        rows.push(["positive from".to_owned(), number(threshold)]);
    }
    rows.push(["sha256".to_owned(), version.sha256.clone()]);
    format!(
        "# {} {}\n\nPredicts {what}. A label is known {} after its event.\n\n{}",
        text(&version.model),
        version.version,
        text(&artifact.features.label_delay),
        table(["", ""], &rows)
    )
}

fn data(artifact: &Artifact) -> String {
    let inputs: Vec<[String; 3]> = artifact
        .inputs
        .iter()
        .map(|(name, input)| [name.clone(), input.version.clone(), input.identity.clone()])
        .collect();
    let rows = &artifact.rows;
    let windows = [
        ["trained on".to_owned(), artifact.windows.train.clone(), rows.train.to_string()],
        ["measured on".to_owned(), artifact.windows.test.clone(), rows.test.to_string()],
        ["left out: in the gap between the two".to_owned(), String::new(), rows.gap.to_string()],
        ["left out: label not known yet".to_owned(), String::new(), rows.unlabelled.to_string()],
        ["left out: rejected by the encoder".to_owned(), String::new(), rows.rejected.to_string()],
    ];
    let mut body = format!(
        "{}\n{}",
        table(["table", "version", "table id"], &inputs),
        table(["rows", "events", "count"], &windows)
    );
    if !rows.train_classes.is_empty() {
        let classes = artifact.classes.iter().zip(&rows.train_classes);
        let counts: Vec<[String; 2]> = classes.map(|(class, count)| [class.clone(), count.to_string()]).collect();
        body.push('\n');
        body.push_str(&table(["class", "training rows"], &counts));
    }
    body
}

fn quality(artifact: &Artifact) -> String {
    let baseline = &artifact.baseline;
    let rows: Vec<[String; 3]> = artifact
        .metrics
        .iter()
        .map(|(name, own)| [name.clone(), measured(own), beside(&baseline.metrics, name)])
        .collect();
    let head = ["metric", "model", &format!("baseline ({})", baseline.algorithm)];
    let mut body = format!("On the test rows; the interval of confidence in brackets.\n\n{}", table(head, &rows));
    body.push_str(&confusion(artifact));
    if let Some(own) = &artifact.segments {
        body.push_str(&segments::render(own, artifact.task));
    }
    if let Some(validation) = &artifact.cross_validation {
        let rows: Vec<[String; 2]> =
            validation.metrics.iter().map(|(name, own)| [name.clone(), measured(own)]).collect();
        body.push_str(&format!(
            "\nOn held-out training rows, {}-fold cross-validation.\n\n{}",
            validation.folds,
            table(["metric", "model"], &rows)
        ));
    }
    body
}

/// Which class of the test rows was taken for which, by name.
fn confusion(artifact: &Artifact) -> String {
    let classes = &artifact.classes;
    let Some(counts) = artifact.confusion.as_ref().filter(|_| classes.len() <= CLASSES_SHOWN) else {
        return String::new();
    };
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let columns = classes.iter().map(|class| format!("predicted {}", text(class)));
    let mut out = format!("\n{}", line(std::iter::once("actual".to_owned()).chain(columns).collect()));
    out.push_str(&format!("|{}\n", "---|".repeat(classes.len() + 1)));
    for (class, counts) in classes.iter().zip(counts) {
        out.push_str(&line(std::iter::once(text(class)).chain(counts.iter().map(|count| number(*count))).collect()));
    }
    out
}

fn beside(metrics: &BTreeMap<String, Measured>, name: &str) -> String {
    metrics.get(name).map(measured).unwrap_or_default()
}

fn measured(measured: &Measured) -> String {
    let Measured { value, low, high } = *measured;
    if low.is_finite() && high.is_finite() {
        format!("{} [{}, {}]", number(value), number(low), number(high))
    } else {
        number(value)
    }
}

fn features(artifact: &Artifact) -> String {
    let encoder = &artifact.encoder;
    let columns = artifact.signature().columns.iter().zip(encoder.columns());
    let rows: Vec<[String; 3]> = columns
        .map(|(column, fitted)| {
            [column.name.clone(), format!("{} ({})", column.kind, column.arrow_type), encoded(fitted)]
        })
        .collect();
    let gains = gains(artifact) + &rises(artifact);
    let weight = artifact.features.weight.as_ref().map(|weight| format!("; rows are weighted by `{weight}`"));
    format!(
        "{} columns give {} features; the event time is `{}`{}.\n\n{}{gains}",
        rows.len() - encoder.routes(),
        encoder.features() - encoder.routes(),
        artifact.features.time,
        weight.unwrap_or_default(),
        table(["column", "type", "encoding"], &rows)
    )
}

/// Which features the splits of the trees were made by, the most useful first.
fn gains(artifact: &Artifact) -> String {
    if artifact.gains.is_empty() {
        return String::new();
    }
    let shown = artifact.gains.iter().take(GAINS_SHOWN).filter(|own| own.share > 0.0);
    let rows: Vec<[String; 2]> = shown.map(|own| [own.feature.clone(), number(own.share)]).collect();
    let unused = artifact.gains.iter().filter(|own| own.share <= 0.0).count();
    let mut left = String::new();
    if artifact.gains.len() > rows.len() + unused {
        left.push_str(&format!("; {} more have a smaller one", artifact.gains.len() - rows.len() - unused));
    }
    if unused > 0 {
        left.push_str(&format!("; no split was made by {unused}"));
    }
    format!(
        "\nThe share of each feature in what all splits took off the loss of the training rows{left}.\n\n{}",
        table(["feature", "gain"], &rows)
    )
}

/// Of what use features are on rows that were not learned from.
fn rises(artifact: &Artifact) -> String {
    if artifact.permutation.is_empty() {
        return String::new();
    }
    let shown = artifact.permutation.iter().take(GAINS_SHOWN);
    let rows: Vec<[String; 2]> = shown.map(|own| [own.feature.clone(), measured(&own.rise)]).collect();
    let loss = match artifact.task {
        Task::Regression => "squared error",
        Task::Binary | Task::Multiclass => "logarithmic loss",
    };
    format!(
        "\nBy how much the mean {loss} of test rows rises when a feature's values are shuffled among them; 95 % \
         intervals in brackets{}.\n\n{}",
        match artifact.permutation.len() - rows.len() {
            0 => String::new(),
            more => format!("; {more} more features rise less"),
        },
        table(["feature", "rise"], &rows)
    )
}

fn encoded(fitted: &FittedColumn) -> String {
    match fitted {
        FittedColumn::Number { fill, value, missing } => {
            let value = if *value { "value" } else { "no value (it did not vary)" };
            let missing = if *missing { ", and whether it is missing" } else { "" };
            format!("{value}{missing}; missing is read as {}", number(*fill))
        }
        FittedColumn::Category { levels, null_level, folded } => {
            let null = if *null_level { ", and null" } else { "" };
            let folded = match folded.levels {
                0 => String::new(),
                count => format!("; the rarer ones ({count}, in {} rows) share all zeros", folded.rows),
            };
            format!("one feature a level: {}{null}{folded}", shown(levels))
        }
        FittedColumn::Native { infinite: false } => "value; missing stays missing".to_owned(),
        FittedColumn::Native { infinite: true } => "value, infinite too; missing stays missing".to_owned(),
        FittedColumn::Codes { levels, folded } => {
            let folded = match folded.levels {
                0 => String::new(),
                count => {
                    format!("; the rarer ones ({count}, in {} rows) share the code of values never seen", folded.rows)
                }
            };
            format!("one feature, the level: {}; missing stays missing{folded}", shown(levels))
        }
        FittedColumn::Route { .. } => "none: it chooses the model of the row's segment".to_owned(),
        FittedColumn::Dropped { reason } => format!("none: {reason}"),
    }
}

fn shown(levels: &Levels) -> String {
    let names = levels.names();
    let first = names.iter().take(LEVELS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LEVELS_SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn parameters(artifact: &Artifact) -> String {
    let given = |name: &str, value: String| [name.to_owned(), value];
    let mut rows: Vec<[String; 2]> =
        artifact.params.iter().map(|(name, value)| given(name, value.to_string())).collect();
    rows.push(given("seed", artifact.seed.to_string()));
    rows.push(given("class weights", artifact.class_weight.clone().unwrap_or_else(|| "all the same".to_owned())));
    rows.extend(artifact.features.vars.iter().map(|(name, value)| given(&format!("${name}"), value.to_string())));
    table(["parameter", "value"], &rows)
}

/// Parameters of an import as flags.
fn parameters_of(params: &serde_json::Map<String, serde_json::Value>) -> String {
    params
        .iter()
        .map(|(name, value)| format!(" --{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        .collect()
}

/// The job file and the command that train the same model, with every table that has versions pinned.
fn reproduce(described: &Described) -> String {
    let artifact = &described.artifact;
    let interval = argument(&artifact.windows.interval);
    let sql_file = format!("{}.sql", artifact.model);
    let (job, command) = match reproduce::job_file(artifact, &sql_file) {
        Some(job) => {
            let told = format!(
                "Save the SQL above as `{sql_file}` and this as `{}.toml` beside it. These are the settings with which \
                 the version was trained, whatever `--set` had changed in its job file; write in where the tables \
                 lie (the table ids are above).\n\n{}\n",
                artifact.model,
                fenced("toml", &job)
            );
            (told, format!("lakemill train {}.toml --interval {interval}", artifact.model))
        }
        None => (String::new(), with_pins(artifact, &interval)),
    };
    format!(
        "With lakemill {}; the same fingerprint gives the same bytes.\n\n{job}{}\nFingerprint `{}`.\n",
        described.lakemill,
        fenced("sh", &command),
        artifact.fingerprint
    )
}

/// The command for an artifact that does not hold its job's settings.
fn with_pins(artifact: &Artifact, interval: &str) -> String {
    let mut command = format!("lakemill train JOB.toml --interval {interval}");
    for (name, input) in &artifact.inputs {
        if let Some(version) = reproduce::number(&input.version) {
            command.push_str(&format!(" \\\n  --set tables.{name}.version={version}"));
        }
    }
    command
}

/// An interval's name, which has no `/` and no `:`, as the command line takes it.
fn argument(name: &str) -> String {
    let bounds = name.split('_').map(|bound| match bound.split_once('T') {
        Some((day, time)) if time.get(..6).is_some_and(|time| time.bytes().all(|byte| byte.is_ascii_digit())) => {
            format!("{day}T{}:{}:{}", &time[..2], &time[2..4], &time[4..])
        }
        _ => bound.to_owned(),
    });
    bounds.collect::<Vec<_>>().join("/")
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut out = line(head.iter().map(|cell| text(cell)).collect());
    out.push_str(&format!("|{}\n", "---|".repeat(N)));
    for row in rows {
        out.push_str(&line(row.iter().map(|cell| text(cell)).collect()));
    }
    out
}

/// Text that stays in its cell, whatever the data's names are.
fn text(cell: &str) -> String {
    cell.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

/// A code block whose fence is longer than any in the code.
fn fenced(language: &str, code: &str) -> String {
    let longest = code.split(|next| next != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", code.trim_end())
}

/// Four decimals, or an exponent where they would say nothing.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e6).contains(&size) {
        let fixed = format!("{value:.4}");
        fixed.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else if value.is_finite() {
        format!("{value:.3e}")
    } else {
        "undefined".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interval::Interval;

    #[test]
    fn numbers_are_short() {
        let told: Vec<String> = [0.0, -0.5, 0.90712, 12.0, 1e-9, 2.5e7, f64::NAN].map(number).to_vec();
        assert_eq!(told, ["0", "-0.5", "0.9071", "12", "1.000e-9", "2.500e7", "undefined"]);
    }

    #[test]
    fn an_interval_can_be_typed_again() {
        for written in ["2018-06-20", "2018-06-13/2018-06-20", "2018-06-20T06:00:00Z/2018-06-20T12:00:00.5Z"] {
            let interval: Interval = written.parse().unwrap();
            assert_eq!(argument(&interval.to_string()).parse::<Interval>().unwrap(), interval);
        }
    }

    #[test]
    fn code_and_cells_cannot_break_out() {
        assert_eq!(fenced("sql", "SELECT '```'"), "````sql\nSELECT '```'\n````\n");
        assert_eq!(text("a|b\nc<d"), "a\\|b c&lt;d");
    }
}
