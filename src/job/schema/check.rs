//! A document against a JSON Schema, with a mistake for everything that doesn't hold.
//!
//! Understood is what schemars writes for our types: `$ref`, `type`, `properties`, `required`,
//! `additionalProperties`, `propertyNames`, `items`, `const`, `enum`, `oneOf` and `anyOf`, the bounds
//! of numbers and lengths, `uniqueItems`, and the formats of [`super::format`].

use super::format;
pub(in crate::job) use super::format::word_hint;
use crate::error::did_you_mean;
use crate::job::document::{Entry, Item, Mistake, Node, Place};
use crate::job::environment::{self, Environment, shorten};
use serde_json::{Map, Value};

static ANYTHING: Value = Value::Bool(true);

/// One walk through a document.
pub(in crate::job) struct SchemaCheck<'a> {
    /// The schema whose `$defs` the references name.
    pub(in crate::job) schema: &'a Value,
    /// The job file's schema, to say where a misplaced key belongs.
    pub(in crate::job) job: &'a Value,
    /// The environment, for texts that take variables.
    pub(in crate::job) environment: Environment<'a>,
    /// What was found.
    pub(in crate::job) mistakes: Vec<Mistake>,
}

/// Where a value stands, for messages.
#[derive(Clone, Copy)]
pub(in crate::job) struct At<'a> {
    /// Its keys with dots; empty for the whole document.
    pub(in crate::job) path: &'a str,
    /// The key that it belongs to.
    pub(in crate::job) key: &'a Place,
}

impl<'a> SchemaCheck<'a> {
    /// Checks a value against the whole schema.
    pub(in crate::job) fn run(mut self, node: &Node, at: At<'_>) -> Vec<Mistake> {
        self.node(node, self.schema, at);
        self.mistakes
    }

    fn node(&mut self, node: &Node, written: &'a Value, at: At<'_>) {
        let schema = self.resolve(written);
        if let Some(branches) = alternatives(schema) {
            return self.alternatives(node, branches, written, at);
        }
        let is_instant = schema.get("format").is_some_and(|format| format == "lakemill-instant");
        match (&node.item, is_instant) {
            (Item::TooLarge(text), _) => {
                let message = format!("`{}` is no number that can be stored: {}", at.path, shorten(text));
                return self.mistakes.push(Mistake::new(&node.place, message));
            }
            (Item::Datetime(text), true) => return self.text(node, text, schema, at),
            _ => {}
        }
        if !self.accepts(schema, node) {
            return self.wrong_type(node, written, at);
        }
        match &node.item {
            Item::String(text) => self.text(node, text, schema, at),
            Item::Integer(number) => self.number(node, *number as f64, &number.to_string(), schema, at),
            Item::Float(number) => self.number(node, *number, &number.to_string(), schema, at),
            Item::Array(elements) => self.array(node, elements, schema, at),
            Item::Table(entries) => self.table(entries, schema, at),
            Item::Boolean(_) | Item::Datetime(_) | Item::TooLarge(_) => {}
        }
    }

    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        // Our schemas refer at most twice; a longer chain would be a circle.
        for _ in 0..8 {
            let Some(name) = schema.get("$ref").and_then(Value::as_str) else { break };
            match self.schema.pointer(name.trim_start_matches('#')) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// The type names that a schema accepts; none where it accepts all.
    fn types(&self, schema: &'a Value) -> Vec<&'a str> {
        let schema = self.resolve(schema);
        if let Some(branches) = alternatives(schema) {
            return branches.iter().flat_map(|branch| self.types(branch)).collect();
        }
        match schema.get("type") {
            Some(Value::String(name)) => vec![name],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => words(schema).first().map_or_else(Vec::new, |_| vec!["string"]),
        }
    }

    fn accepts(&self, schema: &'a Value, node: &Node) -> bool {
        let types = self.types(schema);
        types.is_empty()
            || node.kind().is_some_and(|kind| types.contains(&kind) || kind == "integer" && types.contains(&"number"))
    }

    fn wrong_type(&mut self, node: &Node, written: &'a Value, at: At<'_>) {
        let mut wanted: Vec<&str> = self.types(written).into_iter().map(type_name).collect();
        wanted.dedup();
        let found = match &node.item {
            Item::Datetime(_) => "a date without quotes",
            Item::Float(_) => "a number with a fraction",
            _ => type_name(node.kind().unwrap_or_default()),
        };
        let place = if matches!(node.item, Item::Table(_)) { at.key } else { &node.place };
        let mistake = Mistake::new(place, format!("`{}` must be {}, found {found}", at.path, wanted.join(" or ")));
        self.mistakes.push(match self.belongs_to_the_top(node, at).or_else(|| self.about(written)) {
            Some(hint) => mistake.hint(hint),
            None => mistake,
        });
    }

    /// In TOML a key below a `[table]` is the table's, which is easily forgotten where the table
    /// takes any key.
    fn belongs_to_the_top(&self, node: &Node, at: At<'_>) -> Option<String> {
        let (_, key) = at.path.rsplit_once('.')?;
        let property = self.job.get("properties")?.get(key)?;
        let fits = node.kind().is_some_and(|kind| kind != "object" && self.types(property).contains(&kind));
        fits.then(|| at_the_top(key))
    }

    /// What a key is about: its own description before its type's.
    fn about(&self, written: &'a Value) -> Option<String> {
        let of = |schema: &'a Value| schema.get("description").and_then(Value::as_str);
        let text = of(written).or_else(|| of(self.resolve(written)))?;
        Some(text.split("\n\n").next()?.replace('\n', " "))
    }

    fn alternatives(&mut self, node: &Node, branches: &'a [Value], written: &'a Value, at: At<'_>) {
        let fitting: Vec<&'a Value> =
            branches.iter().map(|branch| self.resolve(branch)).filter(|branch| self.accepts(branch, node)).collect();
        if let Item::String(word) = &node.item {
            let known: Vec<&str> = fitting.iter().flat_map(|branch| words(branch)).collect();
            if !known.is_empty() && fitting.iter().all(|branch| !words(branch).is_empty()) {
                return self.word(node, word, &known, at);
            }
        }
        match (fitting.as_slice(), fitting.first().and_then(|branch| tag(branch))) {
            ([], _) => self.wrong_type(node, written, at),
            ([_, _, ..], Some(tag)) => self.tagged(node, &fitting, tag, at),
            ([first, ..], _) => self.node(node, first, at),
        }
    }

    /// A table whose key `tag` says which of the branches it is.
    fn tagged(&mut self, node: &Node, branches: &[&'a Value], tag: &str, at: At<'_>) {
        let word = |branch: &'a Value| branch.get("properties")?.get(tag)?.get("const")?.as_str();
        let known: Vec<&str> = branches.iter().filter_map(|branch| word(branch)).collect();
        let Some(found) = node.entry(&[tag]) else {
            let message = format!("missing key `{tag}` in `{}`", at.path);
            let hint = format!("`{tag}` is one of: {}", known.join(", "));
            return self.mistakes.push(Mistake::absence(at.key, message).hint(hint));
        };
        let path = join(at.path, tag);
        match branches.iter().find(|branch| word(branch).is_some() && word(branch) == found.node.text()) {
            Some(branch) => self.table(node.entries(), branch, at),
            None => {
                let shown = found.node.text().unwrap_or_default().to_owned();
                self.word(&found.node, &shown, &known, At { path: &path, key: &found.place });
            }
        }
    }

    fn word(&mut self, node: &Node, word: &str, known: &[&str], at: At<'_>) {
        if known.contains(&word) {
            return;
        }
        let message = match word.is_empty() {
            true => format!("`{}` must be one of a few words", at.path),
            false => format!("`{}` is no word for `{}`", shorten(word), at.path),
        };
        self.mistakes.push(Mistake::new(&node.place, message).hint(word_hint(word, known.iter().copied())));
    }

    fn text(&mut self, node: &Node, text: &str, schema: &'a Value, at: At<'_>) {
        let known = words(schema);
        if !known.is_empty() {
            return self.word(node, text, &known, at);
        }
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() && bound(schema, "minLength").is_some_and(|least| least > 0.0) {
            return self.mistakes.push(Mistake::new(&node.place, format!("`{}` must not be empty", at.path)));
        }
        if format == environment::FORMAT {
            for fault in environment::faults(text, self.environment) {
                self.mistakes.push(Mistake { hint: fault.hint, ..Mistake::new(&node.place, fault.message) });
            }
            return;
        }
        if environment::has_variable(text) {
            let message = format!("`{}` takes no environment variable", at.path);
            let hint =
                "${NAME} can stand in `home`, in a table's `path` and in `lookup.store`; for other keys, use --set";
            return self.mistakes.push(Mistake::new(&node.place, message).hint(hint));
        }
        if let Err(fault) = format::check(format, text) {
            self.mistakes.push(Mistake { hint: fault.hint, ..Mistake::new(&node.place, fault.message) });
        }
    }

    fn number(&mut self, node: &Node, number: f64, shown: &str, schema: &'a Value, at: At<'_>) {
        let wanted = [
            ("minimum", "at least", number < bound(schema, "minimum").unwrap_or(f64::NEG_INFINITY)),
            ("exclusiveMinimum", "more than", number <= bound(schema, "exclusiveMinimum").unwrap_or(f64::NEG_INFINITY)),
            ("maximum", "at most", number > bound(schema, "maximum").unwrap_or(f64::INFINITY)),
            ("exclusiveMaximum", "less than", number >= bound(schema, "exclusiveMaximum").unwrap_or(f64::INFINITY)),
            ("const", "", bound(schema, "const").is_some_and(|only| only != number)),
        ];
        for (key, word, is_wrong) in wanted {
            let Some(limit) = schema.get(key).filter(|_| is_wrong) else { continue };
            let limit = format!("{word} {limit}");
            let message = format!("`{}` must be {}, found {shown}", at.path, limit.trim_start());
            let mistake = Mistake::new(&node.place, message);
            let about = self.about(schema);
            return self.mistakes.push(match about {
                Some(about) => mistake.hint(about),
                None => mistake,
            });
        }
    }

    fn array(&mut self, node: &Node, elements: &[Node], schema: &'a Value, at: At<'_>) {
        if elements.is_empty() && bound(schema, "minItems").is_some_and(|least| least > 0.0) {
            self.mistakes.push(Mistake::new(&node.place, format!("`{}` must not be empty", at.path)));
        }
        let items = schema.get("items").unwrap_or(&ANYTHING);
        for (index, element) in elements.iter().enumerate() {
            let path = format!("{}[{index}]", at.path);
            self.node(element, items, At { path: &path, key: &element.place });
        }
        if schema.get("uniqueItems") != Some(&Value::Bool(true)) {
            return;
        }
        let mut seen = std::collections::BTreeSet::new();
        for element in elements {
            if let Some(text) = element.text()
                && !seen.insert(text)
            {
                let message = format!("`{}` stands twice in `{}`", shorten(text), at.path);
                self.mistakes.push(Mistake::new(&element.place, message));
            }
        }
    }

    fn table(&mut self, entries: &[Entry], schema: &'a Value, at: At<'_>) {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").unwrap_or(&ANYTHING);
        if entries.is_empty() && bound(schema, "minProperties").is_some_and(|least| least > 0.0) {
            self.mistakes.push(Mistake::absence(at.key, format!("`{}` must not be empty", at.path)));
        }
        let names = schema.get("propertyNames").and_then(|names| names.get("format")).and_then(Value::as_str);
        for entry in entries {
            let path = join(at.path, &entry.key);
            let inner = At { path: &path, key: &entry.place };
            match properties.and_then(|properties| properties.get(&entry.key)) {
                Some(property) => self.node(&entry.node, property, inner),
                None if others == &Value::Bool(false) => self.unknown(entry, properties.unwrap_or(&none), at),
                None => {
                    if let Err(fault) = names.map_or(Ok(()), |names| format::check(names, &entry.key)) {
                        self.mistakes.push(Mistake { hint: fault.hint, ..Mistake::new(&entry.place, fault.message) });
                    }
                    self.node(&entry.node, others, inner);
                }
            }
        }
        self.missing(entries, schema, at);
    }

    fn missing(&mut self, entries: &[Entry], schema: &'a Value, at: At<'_>) {
        let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let has = |key: &str| entries.iter().any(|entry| entry.key == key);
        let missing: Vec<&str> = required.iter().filter_map(Value::as_str).filter(|key| !has(key)).collect();
        let Some(first) = missing.first() else { return };
        let names: Vec<String> = missing.iter().map(|key| format!("`{key}`")).collect();
        let keys = if missing.len() == 1 { "key" } else { "keys" };
        let place = if at.path.is_empty() { String::new() } else { format!(" in `{}`", at.path) };
        let mistake = Mistake::absence(at.key, format!("missing {keys} {}{place}", names.join(", ")));
        let property = schema.get("properties").and_then(|properties| properties.get(first));
        let about = property.filter(|_| missing.len() == 1).and_then(|property| self.about(property));
        self.mistakes.push(match about {
            Some(about) => mistake.hint(format!("`{first}`: {about}")),
            None => mistake,
        });
    }

    fn unknown(&mut self, entry: &Entry, known: &Map<String, Value>, at: At<'_>) {
        let place = if at.path.is_empty() { String::new() } else { format!(" in `{}`", at.path) };
        let message = format!("unknown key `{}`{place}", shorten(&entry.key));
        let home = self.section_of(&entry.key).filter(|section| *section != at.path);
        let hint = match (did_you_mean(&entry.key, known.keys().map(String::as_str)), home) {
            (Some(near), None) => format!("did you mean `{near}`?"),
            (_, Some("")) => at_the_top(&entry.key),
            (_, Some(section)) => format!("`{}` belongs to [{section}]", entry.key),
            (None, None) if known.is_empty() => "no keys can stand here".to_owned(),
            (None, None) => format!("known keys: {}", known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        self.mistakes.push(Mistake::new(&entry.place, message).hint(hint));
    }

    /// The section of the job file that has a key of this name; empty for the top of the file.
    fn section_of(&self, key: &str) -> Option<&'a str> {
        let properties = self.job.get("properties")?.as_object()?;
        if properties.contains_key(key) {
            return Some("");
        }
        properties.iter().find_map(|(section, schema)| {
            let name = schema.get("$ref").and_then(Value::as_str)?;
            let target = self.job.pointer(name.trim_start_matches('#'))?;
            target.get("properties")?.get(key).map(|_| section.as_str())
        })
    }
}

fn at_the_top(key: &str) -> String {
    format!("`{key}` stands at the top of the file, before the first [table]")
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array).map(Vec::as_slice)
}

/// The words that a schema allows; none where it allows any text.
fn words(schema: &Value) -> Vec<&str> {
    let only = schema.get("const").and_then(Value::as_str);
    let several = schema.get("enum").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    only.into_iter().chain(several.iter().filter_map(Value::as_str)).collect()
}

/// The key of a branch whose word says that it is this branch.
fn tag(branch: &Value) -> Option<&str> {
    let properties = branch.get("properties")?.as_object()?;
    properties.iter().find(|(_, property)| property.get("const").is_some()).map(|(key, _)| key.as_str())
}

fn bound(schema: &Value, key: &str) -> Option<f64> {
    schema.get(key).and_then(Value::as_f64)
}

fn join(path: &str, key: &str) -> String {
    let key = shorten(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn type_name(name: &str) -> &str {
    match name {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "an array",
        "object" => "a table",
        other => other,
    }
}
