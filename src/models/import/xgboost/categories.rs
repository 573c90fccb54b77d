//! The categories of the training data, which XGBoost keeps since 3.1: texts or numbers, feature by feature.

use super::{Document, damaged, unsupported};
use crate::error::{Result, ResultExt};
use crate::models::import::ImportedFeature;
use crate::models::{Lookup, Operation, Preparation, Step};

/// Gives features with texts their levels; numbers are looked up before the trees.
///
/// A category that was not in training gets the code behind the last one, which is in no set. (XGBoost refuses the row.)
pub(super) fn read(model: &Document, features: &mut [ImportedFeature]) -> Result<Option<Preparation>> {
    let Some(written) = model.get("cats").filter(|cats| cats.get("enc").is_some()) else { return Ok(None) };
    let each = written.list("enc")?;
    if each.is_empty() {
        return Ok(None);
    }
    let count = features.len();
    if each.len() != count {
        return Err(damaged("it has categories for another number of features").with("found", each.len()));
    }
    let mut steps = Vec::new();
    let mut inputs: Vec<u32> = (0..count as u32).collect();
    for (place, (categories, feature)) in each.iter().zip(features).enumerate() {
        if categories.get("offsets").is_some() {
            let levels = texts(categories).at("feature", place)?;
            feature.levels = (!levels.is_empty()).then_some(levels);
        } else {
            let lookup = numbers(categories.numbers("values").at("feature", place)?);
            let lookup = lookup.ok_or_else(|| unsupported("categories that are not finite or stand twice"))?;
            inputs[place] = (count + steps.len()) as u32;
            steps.push(Step::Each { from: place as u32, operation: Operation::Lookup(lookup) });
        }
    }
    if steps.is_empty() { Ok(None) } else { Preparation::new(count, steps, inputs).map(Some) }
}

/// The texts that lie behind each other as bytes.
fn texts(categories: &Document) -> Result<Vec<String>> {
    let offsets = categories.counts("offsets")?;
    let bytes = categories.numbers("values")?;
    // Bytes are written as numbers with a sign.
    let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as i16 as u8).collect();
    // XGBoost's Python package counts the letters of pandas' categories and takes them for bytes (3.1, 3.2), so that
    // names beyond ASCII are cut in wrong places; from Arrow they come right, and a file does not tell which it was.
    if !bytes.is_ascii() {
        return Err(unsupported("XGBoost's names of categories with letters beyond ASCII").hint(
            "XGBoost cuts such names when it is trained with pandas; name the categories in ASCII, or train on their codes",
        ));
    }
    let text = |pair: &[usize]| {
        let text = bytes.get(pair[0]..pair[1]).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.map(str::to_owned).ok_or_else(|| damaged("the name of a category is not there, or not UTF-8"))
    };
    if !offsets.is_sorted() {
        return Err(damaged("the names of categories do not follow each other"));
    }
    offsets.windows(2).map(text).collect()
}

fn numbers(values: &[f64]) -> Option<Lookup> {
    let mut pairs: Vec<(f64, usize)> = values.iter().enumerate().map(|(code, value)| (value + 0.0, code)).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let sound = pairs.iter().all(|(value, _)| value.is_finite()) && pairs.windows(2).all(|pair| pair[0].0 < pair[1].0);
    sound.then(|| Lookup {
        keys: pairs.iter().map(|(key, _)| *key).collect(),
        values: pairs.iter().map(|(_, code)| Some(*code as f64)).collect(),
        other: Some(values.len() as f64),
        missing: None,
    })
}
