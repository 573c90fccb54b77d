//! What a job file must hold to beyond its schema: keys that exclude or need each other.

mod windows;

use super::document::{Entry, Item, Mistake, Node};
use super::environment::shorten;
use super::schema::word_hint;
use super::spec::{Duration, RESULT_COLUMNS};

/// Names that the SQL gets without being asked.
const RESERVED_VARS: &[&str] = &["interval_start", "interval_end"];

type Rule = fn(&Node, &mut Vec<Mistake>);

/// Every rule; each looks at what is there and is silent about what the schema says already.
static RULES: &[Rule] = &[
    table_versions,
    reserved_vars,
    columns,
    windows::check,
    asof,
    lengths,
    class_weight,
    search,
    segments,
    gates,
    passthrough,
    lookup,
];

/// The mistakes of a document by the rules.
pub(super) fn check(root: &Node) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    RULES.iter().for_each(|rule| rule(root, &mut mistakes));
    mistakes
}

fn table_versions(root: &Node, mistakes: &mut Vec<Mistake>) {
    for table in root.at(&["tables"]).map(Node::entries).unwrap_or_default() {
        let (version, as_of) = (table.node.entry(&["version"]), table.node.entry(&["as_of"]));
        if let (Some(_), Some(as_of)) = (version, as_of) {
            let message = format!("`version` and `as_of` exclude each other in `tables.{}`", shorten(&table.key));
            mistakes.push(Mistake::new(&as_of.place, message).hint("leave one of them out"));
        }
        let format = table.node.at(&["format"]).and_then(Node::text);
        if let (Some(pin), Some(format @ ("parquet" | "csv" | "json"))) = (version.or(as_of), format) {
            let message = format!("`{}` needs a Delta table, and this one is {format}", pin.key);
            mistakes.push(Mistake::new(&pin.place, message).hint("plain files have no versions: leave it out"));
        }
    }
}

fn reserved_vars(root: &Node, mistakes: &mut Vec<Mistake>) {
    for var in root.at(&["vars"]).map(Node::entries).unwrap_or_default() {
        if RESERVED_VARS.contains(&var.key.as_str()) {
            let hint = "give the variable another name; the interval comes from --interval";
            mistakes.push(Mistake::new(&var.place, format!("`{}` is lakemill's own", var.key)).hint(hint));
        }
    }
}

fn columns(root: &Node, mistakes: &mut Vec<Mistake>) {
    let Some(features) = root.entry(&["features"]) else { return };
    let named = |name: &str| features.node.entry(&[name]);
    let text = |entry: Option<&Entry>| entry.and_then(|entry| entry.node.text()).map(str::to_owned);
    if root.entry(&["model"]).is_some() && named("label").is_none() && matches!(features.node.item, Item::Table(_)) {
        let hint = "`label`: the column with the label; NULL means that it is not known yet";
        mistakes.push(Mistake::absence(&features.place, "missing key `label` in `features`").hint(hint));
    }
    let keys: Vec<&str> =
        named("key").map(|key| key.node.elements()).unwrap_or_default().iter().filter_map(Node::text).collect();
    for (name, others) in [("time", &[][..]), ("label", &["time"][..]), ("weight", &["time", "label"][..])] {
        let (Some(entry), Some(column)) = (named(name), text(named(name))) else { continue };
        let taken = others.iter().copied().find(|other| text(named(other)).as_deref() == Some(column.as_str()));
        let is_key = name != "time" && keys.contains(&column.as_str());
        if let Some(other) = taken.or(is_key.then_some("key")) {
            let message = format!("`{}` is `{other}` already and can't be `{name}` too", shorten(&column));
            mistakes.push(Mistake::new(&entry.node.place, message).hint("a column has one meaning; name another"));
        }
    }
}

/// The names under `[tables]`.
fn tables(root: &Node) -> Vec<&str> {
    root.at(&["tables"]).map(Node::entries).unwrap_or_default().iter().map(|table| table.key.as_str()).collect()
}

/// The columns of the SQL that `[features]` gives a meaning.
fn roles(root: &Node) -> Vec<&str> {
    let features = |name: &str| root.at(&["features", name]);
    let keys = features("key").map(Node::elements).unwrap_or_default().iter().filter_map(Node::text);
    keys.chain(["time", "label", "weight"].into_iter().filter_map(|name| features(name)?.text())).collect()
}

/// Whether the table that `section` names is one of them.
fn known_table(section: &Node, tables: &[&str], mistakes: &mut Vec<Mistake>) {
    if let Some(node) = section.at(&["table"])
        && let Some(table) = node.text().filter(|table| !table.is_empty() && !tables.contains(table))
    {
        let message = format!("unknown table `{}`", shorten(table));
        mistakes.push(Mistake::new(&node.place, message).hint(word_hint(table, tables.iter().copied())));
    }
}

fn asof(root: &Node, mistakes: &mut Vec<Mistake>) {
    let (tables, taken) = (tables(root), roles(root));
    let windows: Vec<String> = windows::columns(root).into_iter().map(|(name, _)| name).collect();
    let mut joined: Vec<&str> = Vec::new();
    for join in root.at(&["features", "asof"]).map(Node::elements).unwrap_or_default() {
        known_table(join, &tables, mistakes);
        let Some(columns) = join.at(&["columns"]) else { continue };
        let same = columns.elements().iter().filter_map(|name| Some((name.text()?, &name.place)));
        let renamed = columns.entries().iter().map(|entry| (entry.key.as_str(), &entry.place));
        let names: Vec<_> = same.chain(renamed).collect();
        for (name, place) in &names {
            let message = if taken.contains(name) {
                format!("`{}` comes from the SQL and can't be joined too", shorten(name))
            } else if joined.contains(name) {
                format!("another join gives `{}` already", shorten(name))
            } else if windows.iter().any(|window| window == name) {
                format!("a window gives `{}` already", shorten(name))
            } else {
                continue;
            };
            let hint = "give the joined column another name: columns = { new_name = \"table_column\" }";
            mistakes.push(Mistake::new(place, message).hint(hint));
        }
        joined.extend(names.iter().map(|(name, _)| *name));
    }
}

fn lengths(root: &Node, mistakes: &mut Vec<Mistake>) {
    let paths = [
        &["model", "window"][..],
        &["model", "split", "test"][..],
        &["model", "search", "max_time"][..],
        &["lookup", "ttl"][..],
    ];
    for path in paths {
        let Some(node) = root.at(path) else { continue };
        if let Some(Ok(length)) = node.text().map(str::parse::<Duration>)
            && length.is_zero()
        {
            let message = format!("`{}` must be longer than nothing", path.join("."));
            mistakes.push(Mistake::new(&node.place, message).hint("write a length such as \"7d\""));
        }
    }
}

fn search(root: &Node, mistakes: &mut Vec<Mistake>) {
    let Some(search) = root.at(&["model", "search"]) else { return };
    if search.at(&["method"]).and_then(Node::text) == Some("grid")
        && let Some(settings) = search.entry(&["settings"])
    {
        let hint = "a grid tries every combination: leave `settings` out, or use method = \"random\"";
        mistakes.push(Mistake::new(&settings.place, "`settings` is for random settings").hint(hint));
    }
}

fn class_weight(root: &Node, mistakes: &mut Vec<Mistake>) {
    if let Some(entry) = root.entry(&["model", "class_weight"])
        && root.at(&["model", "task"]).and_then(Node::text) == Some("regression")
    {
        let hint = "for weights of rows, name their column in `features.weight`";
        mistakes.push(Mistake::new(&entry.place, "a regression has no classes to weigh").hint(hint));
    }
}

fn segments(root: &Node, mistakes: &mut Vec<Mistake>) {
    let Some(by) = root.at(&["model", "segment_by"]) else {
        if let Some(entry) = root.entry(&["model", "segment_min_rows"]) {
            let hint = "add `segment_by`, or leave it out";
            mistakes.push(Mistake::new(&entry.place, "`segment_min_rows` needs `segment_by`").hint(hint));
        }
        return;
    };
    for column in std::iter::once(by).chain(by.elements()) {
        let Some(name) = column.text() else { continue };
        let role = |role: &&str| root.at(&["features", *role]).and_then(Node::text) == Some(name);
        if let Some(role) = ["label", "weight"].into_iter().find(role) {
            let message = format!("`{}` is the {role} and can't name segments", shorten(name));
            let hint = "where rows are scored it is not known yet; name another column";
            mistakes.push(Mistake::new(&column.place, message).hint(hint));
        }
    }
}

fn gates(root: &Node, mistakes: &mut Vec<Mistake>) {
    let conditions = ["threshold", "min_absolute_change", "min_relative_change"];
    for gate in root.at(&["gate"]).map(Node::entries).unwrap_or_default() {
        let Item::Table(entries) = &gate.node.item else { continue };
        if !entries.iter().any(|entry| conditions.contains(&entry.key.as_str())) {
            let message = format!("the gate `{}` asks for nothing", shorten(&gate.key));
            mistakes.push(
                Mistake::absence(&gate.place, message).hint(format!("give it one of: {}", conditions.join(", "))),
            );
        }
    }
}

fn passthrough(root: &Node, mistakes: &mut Vec<Mistake>) {
    for column in root.at(&["score", "passthrough"]).map(Node::elements).unwrap_or_default() {
        let is_taken = |name: &&str| RESULT_COLUMNS.contains(&name.to_lowercase().as_str());
        let Some(name) = column.text().filter(is_taken) else { continue };
        let message = format!("`{name}` is a column that every predictions table has");
        mistakes.push(Mistake::new(&column.place, message).hint("give it another name in the SQL (AS ...)"));
    }
}

fn lookup(root: &Node, mistakes: &mut Vec<Mistake>) {
    let texts = |path: &[&str]| -> Vec<String> {
        let node = root.at(path);
        let several = node.map(Node::elements).unwrap_or_default().iter();
        node.into_iter().chain(several).filter_map(Node::text).map(str::to_owned).collect()
    };
    let mut columns = texts(&["features", "key"]);
    columns.extend(texts(&["features", "time"]));
    columns.extend(texts(&["score", "passthrough"]));
    columns.extend(RESULT_COLUMNS.iter().map(|name| (*name).to_owned()));
    let values = root.at(&["lookup", "value"]).map(Node::elements).unwrap_or_default();
    let key = root.at(&["lookup", "key"]);
    for node in key.into_iter().chain(key.map(Node::elements).unwrap_or_default()).chain(values) {
        let Some(name) = node.text().filter(|name| !name.is_empty()) else { continue };
        if columns.iter().any(|column| column == name) {
            continue;
        }
        let message = format!("`{}` is not a column of the predictions", shorten(name));
        let near = word_hint(name, columns.iter().map(String::as_str));
        let hint = format!("{near} (a column of the SQL gets there by `score.passthrough`)");
        mistakes.push(Mistake::new(&node.place, message).hint(hint));
    }
}
