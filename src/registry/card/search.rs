//! The part of a model card that tells which hyperparameters were tried, and how good they were on held-out rows.

use super::{number, table};
use crate::registry::artifact::{SearchReport, TriedSetting};
use serde_json::{Map, Value};

/// So many settings are shown, the best ones; all are in the artifact.
const SETTINGS_SHOWN: usize = 100;

/// The settings, the best first.
pub(super) fn render(search: &SearchReport) -> String {
    let mut order: Vec<(usize, &TriedSetting)> = search.tried.iter().enumerate().collect();
    let chosen = search.chosen as usize;
    let mean = |number: usize| search.tried.get(number).and_then(|setting| setting.mean);
    let best = mean(chosen);
    // The chosen one leads; whether more of the metric is better is known by it alone.
    let distance = |setting: &TriedSetting| match (setting.mean, best) {
        (Some(own), Some(best)) => (own - best).abs(),
        _ => f64::INFINITY,
    };
    order.sort_by(|a, b| distance(a.1).total_cmp(&distance(b.1)).then(a.0.cmp(&b.0)));
    let rows: Vec<[String; 5]> = order.iter().take(SETTINGS_SHOWN).map(|(number, own)| row(*number, own)).collect();
    let more = match order.len() - rows.len() {
        0 => String::new(),
        more => format!(" {more} more are in `artifact.json`."),
    };
    format!(
        "{}\n\n{}",
        told(search) + &more,
        table(["setting", "parameters", &search.metric, "deviation", "folds"], &rows)
    )
}

fn told(search: &SearchReport) -> String {
    let tried = search.tried.len() as u64;
    let how = match search.method.as_str() {
        "grid" => "a grid",
        _ => "random",
    };
    let mut text = format!(
        "{tried} of {} settings ({how}) were fitted on {} folds of the training rows and measured on the rows that each \
         fold held out: the mean of `{}` over the folds, and its standard deviation between them. Setting {} was the \
         best, the first of equals; with it, the model was trained on all training rows.",
        search.settings,
        search.folds,
        search.metric,
        search.chosen + 1
    );
    if tried < search.settings {
        text.push_str(
            " `max_time` ended the search before the others: to train the same model again, write the best setting \
             under `[model.params]` and leave `[model.search]` out.",
        );
    }
    text
}

fn row(number_of: usize, setting: &TriedSetting) -> [String; 5] {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    let folds = match &setting.failed {
        Some(reason) => format!("failed: {reason}"),
        None => setting.folds.iter().map(|value| number(*value)).collect::<Vec<_>>().join(", "),
    };
    [(number_of + 1).to_string(), parameters(&setting.params), shown(setting.mean), shown(setting.deviation), folds]
}

fn parameters(params: &Map<String, Value>) -> String {
    params.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(leaves: u64, mean: Option<f64>) -> TriedSetting {
        let params = Map::from_iter([("leaves".to_owned(), leaves.into())]);
        let folds = mean.map(|mean| vec![mean - 0.1, mean + 0.1]).unwrap_or_default();
        let failed = mean.is_none().then(|| "did not | converge".to_owned());
        TriedSetting { params, mean, deviation: mean.map(|_| 0.1), folds, failed }
    }

    #[test]
    fn the_best_setting_leads_and_what_is_left_out_is_told() {
        let tried = vec![setting(7, Some(0.5)), setting(15, None), setting(31, Some(0.75)), setting(63, Some(0.6))];
        let (method, metric) = ("random".to_owned(), "average_precision".to_owned());
        let search = SearchReport { method, metric, folds: 2, settings: 9, chosen: 2, tried };
        let text = render(&search);
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(rows[0], "| setting | parameters | average_precision | deviation | folds |");
        assert_eq!(rows[1], "| 3 | leaves = 31 | 0.75 | 0.1 | 0.65, 0.85 |");
        assert_eq!(rows[2..4].iter().map(|row| &row[..3]).collect::<Vec<_>>(), ["| 4", "| 1"]);
        assert_eq!(rows[4], "| 2 | leaves = 15 | - | - | failed: did not \\| converge |");
        assert!(text.starts_with("4 of 9 settings") && text.contains("Setting 3 was") && text.contains("max_time"));
        let whole = SearchReport { settings: 4, ..search };
        assert!(!render(&whole).contains("max_time"));
    }

    #[test]
    fn of_many_settings_the_best_are_shown() {
        let tried: Vec<TriedSetting> = (0..150).map(|leaves| setting(leaves, Some(leaves as f64 / 150.0))).collect();
        let (method, metric) = ("grid".to_owned(), "roc_auc".to_owned());
        let text = render(&SearchReport { method, metric, folds: 2, settings: 150, chosen: 149, tried });
        assert_eq!(text.lines().filter(|line| line.contains("leaves = ")).count(), SETTINGS_SHOWN);
        assert!(text.contains("50 more are in `artifact.json`"));
        assert!(text.contains("leaves = 50 |") && !text.contains("leaves = 49 |"));
    }
}
