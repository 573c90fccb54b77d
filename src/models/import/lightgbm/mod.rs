//! LightGBM's text files: a header, trees as lists of numbers, the parameters, pandas' categories.
//!
//! Written after [LightGBM's own reader and writer](https://github.com/microsoft/LightGBM/blob/master/src/io/tree.cpp)
//! (`gbdt_model_text.cpp`, `tree.h`). `tree_sizes` is not used: it lies where a file was edited.

mod objective;
mod tree;

use super::{ImportOptions, Imported, ImportedFeature, Importer, Rounds, damaged, numbered, unsupported};
use crate::error::{Result, ResultExt};
use crate::forest::{Aggregation, Forest};
use crate::models::{Form, Lookup, Operation, Preparation, Step};
use crate::task::Task;
use objective::Objective;
use serde_json::Value;
use std::str::FromStr;

/// LightGBM's text files.
pub(super) struct LightGbm;

impl Importer for LightGbm {
    fn name(&self) -> &'static str {
        "lightgbm"
    }

    fn summary(&self) -> &'static str {
        "LightGBM's text file (save_model), versions 2 to 4"
    }

    fn recognises(&self, bytes: &[u8]) -> bool {
        bytes.starts_with(b"tree\n") || bytes.starts_with(b"tree\r\n")
    }

    fn read(&self, bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
        let text = std::str::from_utf8(bytes).map_err(|source| damaged("it is not UTF-8").because(source))?;
        read(text, options)
    }
}

/// Lines of the form `key=value`, up to the end of a part of the file.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn push(&mut self, pair: (&'a str, &'a str)) -> Result<()> {
        if self.0.len() >= MOST_LINES {
            return Err(damaged("a part of it has too many lines"));
        }
        self.0.push(pair);
        Ok(())
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
    }

    fn need(&self, key: &'static str) -> Result<&'a str> {
        self.get(key).ok_or_else(|| damaged(format!("`{key}` is missing")))
    }

    fn number<T: FromStr>(&self, key: &'static str) -> Result<T> {
        let text = self.need(key)?;
        text.trim().parse().map_err(|_| damaged(format!("`{key}` is no number of its kind")).with("found", shown(text)))
    }

    /// The numbers of a list, which must be so many.
    fn list<T: FromStr>(&self, key: &'static str, count: usize) -> Result<Vec<T>> {
        let texts = self.need(key)?.split_ascii_whitespace();
        let numbers: Vec<T> = texts
            .map(|text| text.parse().map_err(|_| damaged(format!("`{key}` has no number")).with("found", shown(text))))
            .collect::<Result<_>>()?;
        if numbers.len() == count {
            return Ok(numbers);
        }
        Err(damaged(format!("`{key}` has {} numbers instead of {count}", numbers.len())))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// No part of a file has more lines than this.
const MOST_LINES: usize = 1000;

/// The parts of a file.
struct Parts<'a> {
    header: Fields<'a>,
    trees: Vec<Fields<'a>>,
    /// `[name: value]` lines and what follows.
    rest: &'a str,
}

fn parts(text: &str) -> Result<Parts<'_>> {
    let mut parts = Parts { header: Fields(Vec::new()), trees: Vec::new(), rest: "" };
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        offset += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if line == "end of trees" {
            parts.rest = &text[offset..];
            return Ok(parts);
        }
        let pair = line.split_once('=').unwrap_or((line, ""));
        match (pair, parts.trees.last_mut()) {
            (("Tree", number), _) => {
                if number.trim() != parts.trees.len().to_string() {
                    return Err(damaged("its trees are not numbered one after the other").with("found", shown(number)));
                }
                parts.trees.push(Fields(Vec::new()));
            }
            (("", _), _) => {}
            (pair, Some(tree)) => tree.push(pair)?,
            (pair, None) => parts.header.push(pair)?,
        }
    }
    Err(damaged("it is cut off: `end of trees` is missing"))
}

fn read(text: &str, options: &ImportOptions) -> Result<Imported> {
    let Parts { header, trees, rest } = parts(text)?;
    let version = header.need("version")?.trim();
    if !["v2", "v3", "v4"].contains(&version) {
        return Err(unsupported(format!("version {} of LightGBM's format", shown(version))));
    }
    let outputs: usize = header.number("num_tree_per_iteration")?;
    if outputs == 0 || trees.len() % outputs != 0 {
        return Err(damaged("the number of its trees is not a multiple of `num_tree_per_iteration`")
            .with("trees", trees.len())
            .with("num_tree_per_iteration", outputs));
    }
    let features = features(&header)?;
    let objective = Objective::parse(header.get("objective").unwrap_or(""), outputs)?;
    let rounds = match options.rounds {
        Rounds::First(rounds) => rounds.min(trees.len() / outputs),
        Rounds::Best | Rounds::All => trees.len() / outputs,
    };
    let grown = trees[..rounds * outputs].iter().enumerate();
    let grown = grown
        .map(|(index, fields)| {
            tree::read(fields, features.len(), (index % outputs) as u32, objective.factor).at("tree", index)
        })
        .collect::<Result<Vec<_>>>()?;
    if grown.is_empty() {
        return Err(unsupported("a model without trees"));
    }
    let averaged = header.get("average_output").is_some();
    let aggregation = if averaged { Aggregation::Average } else { Aggregation::Sum };
    let facts = vec![
        ("format version", version.to_owned()),
        ("objective", objective.written.clone()),
        ("trees", grown.len().to_string()),
        ("rounds", rounds.to_string()),
        ("boosting", parameter(rest, "boosting").unwrap_or_default().to_owned()),
    ];
    let categories = categories(rest, &header)?;
    let (features, preparation) = with_categories(features, categories)?;
    Ok(Imported {
        format: LightGbm.name(),
        facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        notes: objective.note.map(str::to_owned).into_iter().collect(),
        form: Form::Forest(Forest::new(features.len(), vec![0.0; outputs], aggregation, grown)?),
        link: objective.link,
        task: objective.task,
        classes: match objective.task {
            Task::Regression => Vec::new(),
            Task::Binary => numbered(2),
            Task::Multiclass => numbered(outputs),
        },
        targets: Vec::new(),
        chosen: Vec::new(),
        features,
        preparation,
    })
}

fn features(header: &Fields<'_>) -> Result<Vec<ImportedFeature>> {
    let count = header.number::<usize>("max_feature_idx")?.saturating_add(1);
    let names: Vec<&str> = header.need("feature_names")?.split(' ').collect();
    if names.len() != count {
        return Err(damaged("it names another number of features than it has")
            .with("names", names.len())
            .with("max_feature_idx", count - 1));
    }
    // What LightGBM calls columns that have no name is none.
    let numbered = names.iter().enumerate().all(|(index, name)| *name == format!("Column_{index}"));
    let name = |name: &&str| (!numbered).then(|| (*name).to_owned());
    Ok(names.iter().map(|own| ImportedFeature { name: name(own), levels: None }).collect())
}

/// The value of a `[name: value]` line of the parameters.
fn parameter<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = rest.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']')?.split_once(':'));
    lines.find(|(own, _)| *own == name).map(|(_, value)| value.trim())
}

/// The levels of pandas' categories with the features that have them; empty where the codes are the user's own.
fn categories(rest: &str, header: &Fields<'_>) -> Result<Vec<(usize, Vec<Value>)>> {
    let Some(written) = rest.lines().find_map(|line| line.strip_prefix("pandas_categorical:")) else {
        return Ok(Vec::new());
    };
    let lists: Option<Vec<Vec<Value>>> =
        serde_json::from_str(written).map_err(|source| damaged("`pandas_categorical` is no list").because(source))?;
    let lists = lists.unwrap_or_default();
    if lists.is_empty() {
        return Ok(Vec::new());
    }
    let named: Vec<usize> =
        parameter(rest, "categorical_feature").unwrap_or("").split(',').filter_map(|text| text.parse().ok()).collect();
    // A category's line in `feature_infos` is its values, a number's is [least:greatest].
    let infos = header.get("feature_infos").unwrap_or("").split(' ').enumerate();
    let told: Vec<usize> =
        infos.filter(|(_, info)| !info.starts_with('[') && *info != "none").map(|(index, _)| index).collect();
    let places = [named, told].into_iter().find(|places| places.len() == lists.len()).ok_or_else(|| {
        unsupported("pandas categories of which the file does not tell the columns")
            .with("categories", lists.len())
            .hint("ordered categories are a reason: train on their codes instead, and give the codes in the SQL")
    })?;
    Ok(places.into_iter().zip(lists).collect())
}

/// Texts become levels of the feature; numbers are looked up before the trees.
fn with_categories(
    mut features: Vec<ImportedFeature>,
    categories: Vec<(usize, Vec<Value>)>,
) -> Result<(Vec<ImportedFeature>, Option<Preparation>)> {
    let count = features.len();
    let mut steps = Vec::new();
    let mut inputs: Vec<u32> = (0..count as u32).collect();
    for (place, values) in categories {
        let Some(feature) = features.get_mut(place) else {
            return Err(damaged("a category belongs to a feature that does not exist").with("feature", place));
        };
        let texts: Option<Vec<String>> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
        match texts {
            Some(levels) if !levels.is_empty() => feature.levels = Some(levels),
            _ => {
                let lookup = codes(&values).ok_or_else(|| {
                    unsupported("a pandas category whose values are neither all texts nor all numbers")
                        .with("feature", place)
                })?;
                inputs[place] = (count + steps.len()) as u32;
                steps.push(Step::Each { from: place as u32, operation: Operation::Lookup(lookup) });
            }
        }
    }
    let preparation = if steps.is_empty() { None } else { Some(Preparation::new(count, steps, inputs)?) };
    Ok((features, preparation))
}

/// The code of each number is its place; other numbers are missing, as pandas has it.
fn codes(values: &[Value]) -> Option<Lookup> {
    let number = |value: &Value| match value {
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Number(number) => number.as_f64().filter(|number| number.is_finite()).map(|number| number + 0.0),
        _ => None,
    };
    let mut pairs: Vec<(f64, usize)> =
        values.iter().enumerate().map(|(code, value)| Some((number(value)?, code))).collect::<Option<_>>()?;
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ascending = pairs.windows(2).all(|pair| pair[0].0 < pair[1].0);
    ascending.then(|| Lookup {
        keys: pairs.iter().map(|(key, _)| *key).collect(),
        values: pairs.iter().map(|(_, code)| Some(*code as f64)).collect(),
        other: None,
        missing: None,
    })
}
