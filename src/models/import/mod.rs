//! Models of other libraries, read from the files that these write: bytes in, a checked predictor out.
//!
//! A format is recognised by its content. What a file holds that is not supported is refused by its name; a file that
//! is damaged, or made to do harm, gives an error: sizes are checked before anything is made of them, nothing recurses
//! by the depth that a file asks for, and what is read becomes no larger than a small multiple of the file.
//!
//! To add a format:
//! 1. write a file (or a folder) with a unit struct that implements [`Importer`];
//! 2. turn its trees into ours with `grow`, tree weights and learning rates folded into the leaves, so that raw scores
//!    are those of the library up to rounding;
//! 3. add it to [`IMPORTERS`], its traps to `tests/it/models_import`, and its library to `tests/reference/imports.py`.
//!
//! * `lightgbm` — LightGBM's text files, versions 2 to 4
//! * `xgboost` — XGBoost's JSON and UBJSON files, since 1.0
//! * `onnx` — ONNX files with operators of `ai.onnx.ml`: ensembles, linear models, and the steps before and after them
//! * `document` — what JSON and UBJSON have in common; `json`, `ubj` read it
//! * `grow` — from nodes with numbers to a tree of ours

mod document;
mod grow;
mod json;
mod lightgbm;
mod onnx;
mod ubj;
mod xgboost;

use super::{Form, Link, Predictor, Preparation};
use crate::error::{Error, Result};
use crate::task::Task;

/// No model file is larger.
pub const LARGEST_FILE_BYTES: u64 = 1 << 29;

/// No model has more features, classes or targets.
const MOST_FEATURES: usize = 1 << 20;

/// A format of model files.
pub trait Importer: Sync {
    /// The name, as it stands in an artifact.
    fn name(&self) -> &'static str;

    /// What it is, in one line for help texts.
    fn summary(&self) -> &'static str;

    /// Whether the bytes look like this format.
    fn recognises(&self, bytes: &[u8]) -> bool;

    /// Reads a model.
    ///
    /// # Errors
    /// Usage: something that is not supported, by its name. Check: a file that is damaged.
    fn read(&self, bytes: &[u8], options: &ImportOptions) -> Result<Imported>;
}

/// Every format, in the order in which files are compared with them.
pub static IMPORTERS: &[&dyn Importer] = &[&lightgbm::LightGbm, &xgboost::Json, &xgboost::Ubj, &onnx::Onnx];

/// What decides how a file is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// How many rounds of boosting count.
    pub rounds: Rounds,
    /// How many features a row has, where the caller knows it; a file that says otherwise is refused.
    pub features: Option<usize>,
}

/// How many rounds of boosting count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rounds {
    /// Up to the best one, where the file names it; else all.
    #[default]
    Best,
    /// All that are in the file.
    All,
    /// So many from the first on.
    First(usize),
}

/// A model as it was read, before its features have columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The format's name.
    pub format: &'static str,
    /// What the file says of itself, for people to read: name and value.
    pub facts: Vec<(&'static str, String)>,
    /// What somebody should know who compares with the library.
    pub notes: Vec<String>,
    /// The features, in the order of the predictor's.
    pub features: Vec<ImportedFeature>,
    /// What it predicts.
    pub task: Task,
    /// The classes' names in the order of the outputs; none for regression.
    pub classes: Vec<String>,
    /// The names of the targets; where there are several, one has to be chosen.
    pub targets: Vec<String>,
    form: Form,
    link: Link,
    preparation: Option<Preparation>,
    /// Which linked score is the prediction (of each target); empty where all scores are.
    chosen: Vec<u32>,
}

/// One feature of an imported model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportedFeature {
    /// The name that the file gives it, if it gives one.
    pub name: Option<String>,
    /// Where the feature is a text: its levels; the predictor gets the place of a level, from 0, and their number for
    /// any other text.
    pub levels: Option<Vec<String>>,
}

impl Imported {
    /// The predictor, of the chosen target where there are several.
    ///
    /// # Errors
    /// Usage: several targets and none chosen, or a target that does not exist. What does not fit together is a
    /// verification error.
    pub fn predictor(&self, target: Option<usize>) -> Result<Predictor> {
        let hint = || format!("targets are {}", self.targets.join(", "));
        let target = match target {
            Some(target) if target >= self.targets.len().max(1) => {
                return Err(Error::usage("the model has no such target").with("target", target).hint(hint()));
            }
            None if self.targets.len() > 1 => {
                return Err(Error::usage(format!(
                    "the model predicts {} targets at once; a registered model predicts one",
                    self.targets.len()
                ))
                .hint(format!("choose one with --target; {}", hint())));
            }
            target => target.unwrap_or(0),
        };
        let inputs = self.preparation.as_ref().map_or(self.features.len(), Preparation::inputs);
        let (task, classes) = (self.task, self.classes.len());
        let predictor = match self.chosen.get(target) {
            // Where scores know nothing of each other, the others need not be computed.
            Some(chosen) if self.link.is_elementwise() => {
                Predictor::new(task, classes, inputs, self.form.only(*chosen as usize)?, self.link)?
            }
            Some(chosen) => Predictor::choosing(task, classes, inputs, self.form.clone(), self.link, *chosen)?,
            None => Predictor::new(task, classes, inputs, self.form.clone(), self.link)?,
        };
        match &self.preparation {
            Some(preparation) => predictor.behind(preparation.clone()),
            None => Ok(predictor),
        }
    }

    /// How raw scores are computed, before any choice of a target.
    pub fn form(&self) -> &Form {
        &self.form
    }
}

/// Reads a model file of any known format.
///
/// # Errors
/// Usage: a file that is too large, of no known format, or with something that is not supported, by its name. Check: a
/// file that is damaged.
pub fn read(bytes: &[u8], options: &ImportOptions) -> Result<Imported> {
    if bytes.len() as u64 > LARGEST_FILE_BYTES {
        return Err(Error::usage("the model file is too large").with("bytes", bytes.len()));
    }
    let Some(importer) = IMPORTERS.iter().find(|importer| importer.recognises(bytes)) else {
        return Err(unknown(bytes));
    };
    let imported = importer.read(bytes, options).map_err(|error| error.with("format", importer.name()))?;
    if let Some(given) = options.features.filter(|given| *given != imported.features.len()) {
        return Err(Error::usage("the model has another number of features than were named")
            .with("named", given)
            .with("the model has", imported.features.len())
            .hint(names(&imported.features)));
    }
    Ok(imported)
}

/// The features' names for a hint.
fn names(features: &[ImportedFeature]) -> String {
    const SHOWN: usize = 40;
    let names: Vec<&str> = features.iter().filter_map(|feature| feature.name.as_deref()).take(SHOWN).collect();
    if names.is_empty() {
        return "the file does not name its features: give one column for each, in the order of the training data"
            .to_owned();
    }
    let more = if features.len() > names.len() { ", ..." } else { "" };
    format!("its features are {}{more}", names.join(", "))
}

fn unknown(bytes: &[u8]) -> Error {
    let (what, hint) = match bytes {
        [] => ("an empty file", "was the model saved to another place?"),
        [0x80, 2..=5, ..] => (
            "a Python pickle, which is a program and is never run",
            "save the model with its library's own save_model, or convert it with skl2onnx",
        ),
        [b'b', b'i', b'n', b'f', ..] | [b'b', b's', b'6', b'4', ..] => {
            ("XGBoost's old binary format", "load it with XGBoost up to 3.0 and save it as .json or .ubj")
        }
        [b'P', b'K', 3, 4, ..] => ("a zip archive", "give the model file itself"),
        [b'[', ..] => (
            "a list in JSON, as XGBoost's dump_model writes it",
            "save the model with save_model; a dump has neither the objective nor the base score",
        ),
        _ => ("none of them", "save it with the library's own save_model, or convert it with skl2onnx or onnxmltools"),
    };
    let known: Vec<&str> = IMPORTERS.iter().map(|importer| importer.summary()).collect();
    Error::usage(format!("the file is no model of a known format ({}): it is {what}", known.join("; "))).hint(hint)
}

/// Something in a file that is not supported; `what` names it.
fn unsupported(what: impl std::fmt::Display) -> Error {
    Error::usage(format!("not supported: {what}"))
}

/// A file that says of itself what can't be.
fn damaged(what: impl std::fmt::Display) -> Error {
    Error::check(format!("the model file is damaged: {what}"))
}

/// `0`, `1` ... where a library knows no names of classes.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_no_format_say_what_they_are() {
        for (bytes, told) in [
            (&b""[..], "an empty file"),
            (b"\x80\x04\x95", "a Python pickle"),
            (b"binf\0\0", "XGBoost's old binary format"),
            (b"PK\x03\x04", "a zip archive"),
            (b"[\n  { \"nodeid\": 0", "XGBoost's dump_model"),
            (b"hello", "none of them"),
        ] {
            let error = read(bytes, &ImportOptions::default()).unwrap_err();
            assert!(error.message().contains(told), "{error}");
            assert_eq!(error.kind(), crate::error::ErrorKind::Usage);
        }
    }
}
