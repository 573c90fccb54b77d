//! The card of a model that was imported: where it came from, what was shown, which column is which feature.

use super::{encoded, fenced, number, parameters_of, section, table, text};
use crate::registry::artifact::Origin;
use crate::registry::files::Described;
use crate::task::Task;

/// The card of a version that was imported.
pub(super) fn render(described: &Described, origin: &Origin) -> String {
    let sections = [
        summary(described, origin),
        section("Origin", &told(origin)),
        section("Parity", &parity(origin)),
        section("Features", &features(described, origin)),
        section("Reproduce", &reproduce(described, origin)),
    ];
    sections.join("\n")
}

fn summary(described: &Described, origin: &Origin) -> String {
    let (artifact, version) = (&described.artifact, &described.version);
    let what = match artifact.task {
        Task::Binary => {
            let positive = artifact.classes.get(1).map_or("", String::as_str);
            format!("the probability of `{positive}`")
        }
        Task::Multiclass => "a score for each class".to_owned(),
        Task::Regression => "a value".to_owned(),
    };
    let mut rows = vec![["task".to_owned(), artifact.task.to_string()], ["format".to_owned(), origin.format.clone()]];
    if !artifact.classes.is_empty() {
        rows.push(["classes".to_owned(), artifact.classes.join(", ")]);
    }
    if let Some(threshold) = artifact.threshold {
        rows.push(["positive from".to_owned(), number(threshold)]);
    }
    rows.push(["sha256".to_owned(), version.sha256.clone()]);
    format!(
        "# {} {}\n\nPredicts {what}. Imported; it was not trained here.\n\n{}",
        text(&version.model),
        version.version,
        table(["", ""], &rows)
    )
}

fn told(origin: &Origin) -> String {
    let mut rows = vec![
        ["file".to_owned(), origin.file.clone()],
        ["bytes".to_owned(), origin.bytes.to_string()],
        ["sha256 of the file".to_owned(), origin.sha256.clone()],
    ];
    rows.extend(origin.facts.iter().map(|(name, value)| [name.clone(), value.as_str().unwrap_or_default().to_owned()]));
    let notes: Vec<String> = origin.notes.iter().map(|note| format!("- {}\n", text(note))).collect();
    let gap = if notes.is_empty() { "" } else { "\n" };
    format!("{}{gap}{}", table(["", ""], &rows), notes.concat())
}

fn parity(origin: &Origin) -> String {
    match &origin.parity {
        None => "Not shown: the model was imported without rows to compare on.\n".to_owned(),
        Some(parity) => format!(
            "On {} rows, no prediction was off by more than {} from the library's (tolerance {}; absolutely up to 1, \
             relatively beyond).\n",
            parity.rows,
            number(parity.largest_difference),
            number(parity.tolerance)
        ),
    }
}

fn features(described: &Described, origin: &Origin) -> String {
    let encoder = &described.artifact.encoder;
    let columns = encoder.signature().columns.iter().zip(encoder.columns()).zip(&origin.features);
    let rows: Vec<[String; 4]> = columns
        .map(|((column, fitted), own)| {
            let own = own.clone().unwrap_or_default();
            [column.name.clone(), own, column.kind.to_string(), encoded(fitted)]
        })
        .collect();
    table(["column", "feature in the file", "type", "encoding"], &rows)
}

fn reproduce(described: &Described, origin: &Origin) -> String {
    let columns: Vec<&str> = described.artifact.signature().columns.iter().map(|column| column.name.as_str()).collect();
    let mut command = format!(
        "lakemill models import {} {} \\\n  --features {}",
        described.version.model,
        origin.file,
        columns.join(",")
    );
    command.push_str(&parameters_of(&described.artifact.params));
    if !described.artifact.classes.is_empty() {
        command.push_str(&format!(" --classes {}", described.artifact.classes.join(",")));
    }
    format!(
        "With lakemill {}; the same fingerprint gives the same bytes.\n\n{}\nFingerprint `{}`.\n",
        described.lakemill,
        fenced("sh", &command),
        described.artifact.fingerprint
    )
}
