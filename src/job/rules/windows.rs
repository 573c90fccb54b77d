//! What `[[features.windows]]` must hold to: its table, its lengths, and the names of its columns.

use super::{known_table, roles, tables};
use crate::job::document::{Mistake, Node, Place};
use crate::job::environment::shorten;
use crate::job::spec::{Duration, name_over, start_of_name};

pub(super) fn check(root: &Node, mistakes: &mut Vec<Mistake>) {
    let tables = tables(root);
    for windows in root.at(&["features", "windows"]).map(Node::elements).unwrap_or_default() {
        known_table(windows, &tables, mistakes);
        let mut lengths = Vec::new();
        for length in windows.at(&["over"]).map(Node::elements).unwrap_or_default() {
            let Some(Ok(over)) = length.text().map(str::parse::<Duration>) else { continue };
            if over.is_zero() {
                let mistake = Mistake::new(&length.place, "a window must be longer than nothing");
                mistakes.push(mistake.hint("write a length such as \"7d\""));
            }
            // Of the very same text the schema tells.
            if lengths.iter().any(|(known, text)| *known == over && *text != length.text()) {
                let mistake = Mistake::new(&length.place, format!("a window of {over} is there already"));
                mistakes.push(mistake.hint("leave one of them out"));
            }
            lengths.push((over, length.text()));
        }
        for aggregate in windows.at(&["aggregates"]).map(Node::elements).unwrap_or_default() {
            let function = aggregate.at(&["function"]).filter(|_| aggregate.at(&["column"]).is_none());
            if let Some(node) = function
                && let Some(name) = node.text().filter(|name| !matches!(*name, "" | "count"))
            {
                let message = format!("`{}` is of a column, and none is named", shorten(name));
                mistakes.push(Mistake::new(&node.place, message).hint("name the table's column: column = \"...\""));
            }
        }
    }
    let taken = roles(root);
    let mut given: Vec<String> = Vec::new();
    for (name, place) in columns(root) {
        let message = match (taken.contains(&name.as_str()), given.contains(&name)) {
            (true, _) => Some(format!("`{}` comes from the SQL and can't be a window too", shorten(&name))),
            (_, true) => Some(format!("another window gives `{}` already", shorten(&name))),
            _ => None,
        };
        if let Some(message) = message {
            let hint = "give the aggregate another name: as = \"name\", to which the length is added";
            mistakes.push(Mistake::new(place, message).hint(hint));
        }
        given.push(name);
    }
}

/// The columns that windows add, each with the place of the aggregate that gives it.
pub(super) fn columns(root: &Node) -> Vec<(String, &Place)> {
    let mut columns = Vec::new();
    for windows in root.at(&["features", "windows"]).map(Node::elements).unwrap_or_default() {
        let text = |node: &Node, key: &str| node.at(&[key]).and_then(Node::text).map(str::to_owned);
        let table = text(windows, "table").unwrap_or_default();
        let over = windows.at(&["over"]).map(Node::elements).unwrap_or_default();
        let mut over: Vec<Duration> = over.iter().filter_map(|length| length.text()?.parse().ok()).collect();
        over.sort_unstable();
        over.dedup();
        for aggregate in windows.at(&["aggregates"]).map(Node::elements).unwrap_or_default() {
            let (Some(function), column) = (text(aggregate, "function"), text(aggregate, "column")) else { continue };
            let start = start_of_name(&table, &function, column.as_deref(), text(aggregate, "as").as_deref());
            columns.extend(over.iter().map(|length| (name_over(&start, *length), &aggregate.place)));
        }
    }
    columns
}
