//! XGBoost's own files, JSON and UBJSON, which hold the same document.
//!
//! Written after [XGBoost's model schema](https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html) and what
//! its releases from 1.0 to 3.2 write. XGBoost adds leaves up in `f32`; here that is done in `f64`.

mod categories;
mod linear;
mod objective;
mod trees;

use super::document::Document;
use super::{
    ImportOptions, Imported, ImportedFeature, Importer, MOST_FEATURES, damaged, json, numbered, ubj, unsupported,
};
use crate::error::Result;
use crate::models::{Form, Preparation};
use crate::task::Task;
use objective::Objective;

/// XGBoost's JSON files.
pub(super) struct Json;
/// XGBoost's UBJSON files.
pub(super) struct Ubj;

impl Importer for Json {
    fn name(&self) -> &'static str {
        "xgboost-json"
    }

    fn summary(&self) -> &'static str {
        "XGBoost's .json (save_model), 1.0 to 3"
    }

    fn recognises(&self, bytes: &[u8]) -> bool {
        let mut text = bytes.iter().filter(|byte| !byte.is_ascii_whitespace());
        text.next() == Some(&b'{') && matches!(text.next(), Some(b'"' | b'}'))
    }

    fn read(&self, bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
        read(self.name(), &json::parse(bytes)?, options)
    }
}

impl Importer for Ubj {
    fn name(&self) -> &'static str {
        "xgboost-ubj"
    }

    fn summary(&self) -> &'static str {
        "XGBoost's .ubj (save_model)"
    }

    fn recognises(&self, bytes: &[u8]) -> bool {
        matches!(bytes, [b'{', b'L' | b'l' | b'I' | b'i' | b'U' | b'u' | b'm' | b'M' | b'$' | b'#', ..])
    }

    fn read(&self, bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
        read(self.name(), &ubj::parse(bytes)?, options)
    }
}

/// What to do with a file that is no model.
const SAVE: &str = "save the model with XGBoost's save_model; dumps and configurations are no models";

/// What the parts of a model have in common.
struct Shape {
    features: usize,
    /// Raw scores a row.
    outputs: usize,
    /// What each score begins with.
    base: Vec<f64>,
}

/// A booster, turned into ours.
struct Booster {
    form: Form,
    preparation: Option<Preparation>,
    facts: Vec<(&'static str, String)>,
    notes: Vec<String>,
}

fn read(format: &'static str, document: &Document, options: &ImportOptions) -> Result<Imported> {
    let Some(learner) = document.get("learner") else {
        let error = unsupported("JSON that is no XGBoost model: it has no `learner`");
        return Err(match document.get("tree_info") {
            Some(_) => error.hint("this is a dump of a LightGBM model: save it as a text file, with save_model"),
            None => error.hint(SAVE),
        });
    };
    let version = version(document)?;
    let param = learner.need("learner_model_param")?;
    let classes = if param.get("num_class").is_some() { param.count("num_class")? } else { 0 };
    let targets = if param.get("num_target").is_some() { param.count("num_target")?.max(1) } else { 1 };
    if classes > 1 && targets > 1 {
        return Err(unsupported("XGBoost models of several classes and several targets at once"));
    }
    let (count, outputs) = (param.count("num_feature")?, classes.max(targets));
    if count.max(outputs) > MOST_FEATURES {
        return Err(unsupported("so many features or classes").with("features", count).with("outputs", outputs));
    }
    let objective = Objective::parse(learner.need("objective")?, classes)?;
    let base = base_scores(&param.text("base_score")?, outputs, &objective)?;
    let shape = Shape { features: count, outputs, base };
    let mut features = features(learner, count)?;
    let booster = learner.need("gradient_booster")?;
    let name = booster.text("name")?;
    if learner.get("learner_train_param").is_some() && booster.get("model").is_none() && booster.get("gbtree").is_none()
    {
        return Err(unsupported("XGBoost's configuration (save_config), which has no trees").hint(SAVE));
    }
    let built = match name.as_str() {
        "gbtree" | "dart" => trees::read(learner, booster, &shape, &mut features, options.rounds)?,
        "gblinear" => linear::read(booster, &shape)?,
        _ => return Err(unsupported(format!("XGBoost's booster `{name:.40}`"))),
    };
    let mut facts = vec![("format version", version), ("objective", objective.name.clone()), ("booster", name)];
    facts.extend(built.facts);
    Ok(Imported {
        format,
        facts,
        notes: objective.note.map(str::to_owned).into_iter().chain(built.notes).collect(),
        features,
        task: objective.task,
        classes: match objective.task {
            Task::Regression => Vec::new(),
            Task::Binary => numbered(2),
            Task::Multiclass => numbered(outputs),
        },
        targets: if targets > 1 { numbered(targets) } else { Vec::new() },
        chosen: if targets > 1 { (0..targets as u32).collect() } else { Vec::new() },
        form: built.form,
        link: objective.link,
        preparation: built.preparation,
    })
}

/// The version of XGBoost that wrote the file.
fn version(document: &Document) -> Result<String> {
    let version = document.counts("version")?;
    match version.first() {
        Some(1..=3) => Ok(version.iter().map(usize::to_string).collect::<Vec<_>>().join(".")),
        Some(major) => Err(unsupported(format!("files of XGBoost {major}"))
            .hint("files of XGBoost 1, 2 and 3 are read; a newer lakemill may read this one")),
        None => Err(damaged("its version is empty")),
    }
}

fn features(learner: &Document, count: usize) -> Result<Vec<ImportedFeature>> {
    let names = match learner.get("feature_names") {
        Some(_) => learner.list("feature_names")?,
        None => &[],
    };
    if !names.is_empty() && names.len() != count {
        return Err(damaged("it names another number of features than it has")
            .with("names", names.len())
            .with("num_feature", count));
    }
    // What XGBoost calls columns that have no name is none.
    let is_number = |(index, name): (usize, &Document)| *name == Document::Text(format!("f{index}"));
    let numbered = names.iter().enumerate().all(is_number);
    let name = |index: usize| match names.get(index) {
        Some(Document::Text(name)) if !numbered => Some(name.clone()),
        _ => None,
    };
    Ok((0..count).map(|index| ImportedFeature { name: name(index), levels: None }).collect())
}

/// The raw score before any tree, of each output: one number, or since 3.1 a list of them written as a text.
fn base_scores(written: &str, outputs: usize, objective: &Objective) -> Result<Vec<f64>> {
    let list = written.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
    let scores: Option<Vec<f32>> = list.split(',').map(|number| number.trim().parse().ok()).collect();
    let scores = scores.ok_or_else(|| damaged("its base_score is no number"))?;
    let each = match scores[..] {
        [one] => vec![one; outputs],
        _ if scores.len() == outputs => scores,
        _ => return Err(damaged("its base_score has another length").with("numbers", scores.len())),
    };
    let margins: Vec<f64> = each.into_iter().map(|score| f64::from(objective.margin(score))).collect();
    match margins.iter().find(|margin| !margin.is_finite()) {
        Some(margin) => Err(damaged("its base_score has no finite raw score").with("raw score", margin)),
        None => Ok(margins),
    }
}
