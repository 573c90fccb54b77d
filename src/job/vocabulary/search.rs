//! `[model.search]` in the light of the algorithm: parameters that it has, values that it takes.

use super::{Vocabulary, at, metric, refusal};
use crate::job::document::{Entry, Item, Mistake, Node, to_map};
use crate::job::environment::{Environment, shorten};
use crate::job::schema::{At, SchemaCheck, word_hint};
use crate::job::settings::{MOST_SETTINGS, is_of_type, is_whole};
use crate::job::spec::SearchSpec;
use crate::task::Task;
use serde_json::{Map, Value};

/// Seeds of the draws that are looked at, if the job's own can't be read.
const ANY_SEED: u64 = 0;

/// What a search is checked against.
pub(super) struct Searching<'a> {
    pub words: &'a Vocabulary<'a>,
    /// The algorithm's name.
    pub algorithm: &'a str,
    /// The JSON Schema of its parameters, without nulls.
    pub params: &'a Value,
    /// The job file's schema.
    pub job: &'a Value,
    pub environment: Environment<'a>,
    /// What `[model.params]` says.
    pub fixed: Map<String, Value>,
}

/// The metric of a search, which needs no algorithm to be known.
pub(super) fn measured(root: &Node, words: &Vocabulary<'_>, task: Option<Task>) -> Option<Mistake> {
    let written = root.at(&["model", "search", "metric"])?;
    let (message, hint) = metric(written.text().filter(|name| !name.is_empty())?, words, task)?;
    Some(at(written, message, hint))
}

impl Searching<'_> {
    /// The mistakes of the search, if the job has one.
    pub(super) fn check(&self, root: &Node) -> Vec<Mistake> {
        let Some(search) = root.entry(&["model", "search"]) else { return Vec::new() };
        let Some(space) = search.node.entry(&["space"]) else { return Vec::new() };
        let grid = search.node.at(&["method"]).and_then(Node::text) == Some("grid");
        let mut mistakes = Vec::new();
        for entry in space.node.entries() {
            mistakes.extend(self.parameter(entry, grid));
        }
        if !mistakes.is_empty() {
            return mistakes;
        }
        // What the schema refuses has been told.
        let Ok(spec) = serde_json::from_value::<SearchSpec>(search.node.to_json()) else { return mistakes };
        if grid && spec.combinations(self.params) > MOST_SETTINGS {
            let count = spec.combinations(self.params);
            let count = if count == usize::MAX { "too many".to_owned() } else { count.to_string() };
            let hint = format!("a search has at most {MOST_SETTINGS}: give fewer values, or method = \"random\"");
            return vec![Mistake::new(&space.place, format!("the grid has {count} settings")).hint(hint)];
        }
        let seed = match root.at(&["model", "seed"]).map(|node| &node.item) {
            Some(Item::Integer(seed)) => u64::try_from(*seed).unwrap_or(ANY_SEED),
            Some(_) => ANY_SEED,
            None => crate::job::spec::default_seed(),
        };
        // Values that are fine each may not go together.
        let wrong = |setting: &Map<String, Value>| self.refused(setting).map(|error| (setting.clone(), error));
        if let Some((setting, error)) = spec.list(self.params, seed).iter().find_map(wrong) {
            let named = space.node.entries().iter().find(|entry| names(&error, &entry.key));
            let mut mistake = refusal(&error, Mistake::new(&named.unwrap_or(space).place, ""));
            mistake.message = format!("{} in the setting {}", mistake.message, Value::Object(setting));
            mistakes.push(mistake);
        }
        mistakes
    }

    /// The error of the fixed parameters with these beside them.
    fn refused(&self, setting: &Map<String, Value>) -> Option<crate::error::Error> {
        let mut params = self.fixed.clone();
        params.extend(setting.clone());
        (self.words.check_params)(self.algorithm, &params).err()
    }

    fn parameter(&self, entry: &Entry, grid: bool) -> Vec<Mistake> {
        let name = entry.key.as_str();
        let known = self.params.get("properties").and_then(Value::as_object);
        let known: Vec<&str> = known.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
        if !known.contains(&name) {
            let message = format!("`{}` has no parameter `{}`", self.algorithm, shorten(name));
            return vec![Mistake::new(&entry.place, message).hint(match known.is_empty() {
                true => "it takes no parameters, so there is nothing to search".to_owned(),
                false => word_hint(name, known),
            })];
        }
        if self.fixed.contains_key(name) {
            let message = format!("`{name}` stands under [model.params] and is searched, too");
            return vec![Mistake::new(&entry.place, message).hint("take it out of one of the two")];
        }
        match &entry.node.item {
            Item::Array(values) => values.iter().flat_map(|value| self.value(entry, value)).collect(),
            Item::Table(_) => self.range(entry, grid),
            _ => Vec::new(),
        }
    }

    /// A value by itself, beside the fixed parameters.
    fn value(&self, entry: &Entry, value: &Node) -> Vec<Mistake> {
        let alone = Entry { key: entry.key.clone(), place: entry.place.clone(), node: value.clone() };
        let node = Node { place: value.place.clone(), item: Item::Table(vec![alone]) };
        let check =
            SchemaCheck { schema: self.params, job: self.job, environment: self.environment, mistakes: Vec::new() };
        let mistakes = check.run(&node, At { path: "model.search.space", key: &entry.place });
        if !mistakes.is_empty() {
            return mistakes;
        }
        // What is wrong with another parameter may be right with another value of that one.
        let refused = self.refused(&to_map(node.entries())).filter(|error| names(error, &entry.key));
        refused.map(|error| refusal(&error, Mistake::new(&value.place, ""))).into_iter().collect()
    }

    fn range(&self, entry: &Entry, grid: bool) -> Vec<Mistake> {
        let name = entry.key.as_str();
        let whole = is_whole(self.params, name);
        if !whole && !is_of_type(self.params, name, "number") {
            let message = format!("`{name}` is no number, so it has no range");
            return vec![Mistake::new(&entry.place, message).hint("give a list of values: [..., ...]")];
        }
        let of = |key: &str| entry.node.at(&[key]);
        let (Some(from), Some(to)) = (of("from"), of("to")) else { return Vec::new() };
        let (Some(least), Some(most)) = (from.number(), to.number()) else { return Vec::new() };
        let fractions = [from, to].into_iter().filter(|end| whole && matches!(end.item, Item::Float(_)));
        let mut mistakes: Vec<Mistake> = fractions
            .map(|end| {
                Mistake::new(&end.place, format!("`{name}` is a whole number")).hint("write the end without a fraction")
            })
            .collect();
        if least >= most {
            let message = format!("the range of `{name}` ends before it begins");
            mistakes.push(Mistake::new(&to.place, message).hint("`from` is the least value, `to` the greatest"));
        }
        if of("scale").and_then(Node::text) == Some("log") && least <= 0.0 {
            let message = format!("the range of `{name}` begins at {least}, which has no logarithm");
            mistakes.push(Mistake::new(&from.place, message).hint("begin above 0, or use scale = \"linear\""));
        }
        match entry.node.entry(&["steps"]) {
            None if grid => {
                let message = format!("missing key `steps` in the range of `{name}`");
                let hint = "how many values the grid takes of it, e.g. steps = 5; or give a list of values";
                mistakes.push(Mistake::absence(&entry.place, message).hint(hint));
            }
            Some(steps) if !grid => {
                let hint = "random settings take any value of the range: leave `steps` out, or use method = \"grid\"";
                mistakes.push(Mistake::new(&steps.place, "`steps` is for a grid").hint(hint));
            }
            _ => {}
        }
        if mistakes.is_empty() {
            [from, to].into_iter().flat_map(|end| self.value(entry, end)).collect()
        } else {
            mistakes
        }
    }
}

/// Whether an error speaks of this parameter.
fn names(error: &crate::error::Error, name: &str) -> bool {
    error.context().iter().any(|(_, value)| value == name)
}
