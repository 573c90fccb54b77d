//! What is known while a graph is walked: the features, the steps so far, the levels of texts.

use super::node::{Element, Tensor};
use super::proto::Message;
use super::scores::Scores;
use super::{Value, damaged, unsupported};
use crate::error::Result;
use crate::models::import::{ImportOptions, Imported, ImportedFeature, MOST_FEATURES};
use crate::models::{Operation, Preparation, Step};
use std::collections::HashMap;

/// No graph makes more steps before its model.
const MOST_STEPS: usize = 1 << 21;
/// No graph holds more numbers, names and nodes.
const MOST_HELD: usize = 1 << 26;

/// Columns of one type, side by side.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Their numbers: features first, then what the steps append.
    pub ids: Vec<u32>,
    pub element: Element,
}

/// One feature of the graph.
struct Input {
    name: Option<String>,
    /// The levels of a text, as operators name them, with their codes.
    levels: Option<HashMap<String, u32>>,
}

/// The graph so far.
pub(super) struct Pipeline {
    inputs: Vec<Input>,
    steps: Vec<Step>,
    /// The number of the next column.
    next: u32,
    /// The columns that are the features as `f32`, by feature.
    singles: HashMap<u32, u32>,
    /// How much the names of the graph stand for.
    held: usize,
    /// What somebody should know.
    pub notes: Vec<String>,
}

impl Pipeline {
    pub fn new() -> Self {
        let (inputs, steps, singles, notes) = (Vec::new(), Vec::new(), HashMap::new(), Vec::new());
        Self { inputs, steps, next: 0, singles, held: 0, notes }
    }

    /// Whether so many more steps may be made: a graph can ask for more than it has bytes, by joining columns with
    /// themselves.
    pub fn room(&self, steps: usize) -> Result<()> {
        if self.steps.len().saturating_add(steps) <= MOST_STEPS {
            return Ok(());
        }
        Err(unsupported("a graph with so many columns"))
    }

    /// Counts what a name stands for.
    pub fn hold(&mut self, size: usize) -> Result<()> {
        self.held = self.held.saturating_add(size);
        if self.held <= MOST_HELD {
            return Ok(());
        }
        Err(unsupported("a graph that holds so much at once"))
    }

    /// The columns of an input of the graph.
    pub fn input(&mut self, name: &str, of: Message<'_>, options: &ImportOptions) -> Result<Columns> {
        let Some(tensor) = of.last(1)? else { return Err(unsupported("ONNX inputs that are no tensors")) };
        let tensor = tensor.message()?;
        let element = Element::of(tensor.integer(1)?)?;
        let sizes = tensor.message(2)?.messages(1).map(|size| size?.integer(1)).collect::<Result<Vec<i64>>>()?;
        let width = match sizes[..] {
            [_] => 1,
            [_, width] if width > 0 => usize::try_from(width).unwrap_or(usize::MAX),
            // A width that the file leaves open is what the caller says, where it can mean only this input.
            [] | [_, _] if self.inputs.is_empty() => options.features.ok_or_else(|| {
                unsupported("an ONNX graph that does not tell how many features it has")
                    .hint("name them with --features")
            })?,
            _ => return Err(unsupported("an ONNX input that is not rows of numbers").with("dimensions", sizes.len())),
        };
        if width > MOST_FEATURES - self.inputs.len() {
            return Err(unsupported("so many features").with("features", width));
        }
        let first = self.next;
        for _ in 0..width {
            let levels = (element == Element::Text).then(HashMap::new);
            self.inputs.push(Input { name: (width == 1).then(|| name.to_owned()), levels });
        }
        self.next += width as u32;
        Ok(Columns { ids: (first..self.next).collect(), element })
    }

    /// A new column, one value of an old one at a time.
    pub fn each(&mut self, from: u32, operation: Operation) -> u32 {
        self.steps.push(Step::Each { from, operation });
        self.next += 1;
        self.next - 1
    }

    /// New columns, each row divided by its norm.
    pub fn normalised(&mut self, from: Vec<u32>, norm: crate::models::Norm) -> Vec<u32> {
        let first = self.next;
        self.next += from.len() as u32;
        self.steps.push(Step::Normalise { from, norm });
        (first..self.next).collect()
    }

    /// The column as `f32`: features come as `f64`, what steps make of them is `f32` already.
    pub fn single(&mut self, column: u32, element: Element) -> u32 {
        if element != Element::Float || column as usize >= self.inputs.len() {
            return column;
        }
        if let Some(single) = self.singles.get(&column) {
            return *single;
        }
        let single = self.each(column, Operation::Single);
        self.singles.insert(column, single);
        single
    }

    /// The code of a text in a column of texts, which is a feature.
    pub fn code(&mut self, column: u32, text: &str) -> Result<f64> {
        let input = self.inputs.get_mut(column as usize).and_then(|input| input.levels.as_mut());
        let levels = input.ok_or_else(|| unsupported("texts that are made of other texts"))?;
        let next = levels.len() as u32;
        Ok(f64::from(*levels.entry(text.to_owned()).or_insert(next)))
    }

    /// The model as it is behind all steps.
    pub fn finish(
        mut self,
        format: &'static str,
        facts: Vec<(&'static str, String)>,
        scores: Scores,
    ) -> Result<Imported> {
        let count = self.inputs.len();
        let model = scores.finish(&mut self.notes)?;
        let features = self.inputs.into_iter().map(|input| ImportedFeature {
            name: input.name,
            levels: input.levels.map(|levels| {
                let mut levels: Vec<(u32, String)> = levels.into_iter().map(|(text, code)| (code, text)).collect();
                levels.sort_unstable();
                let mut names: Vec<String> = levels.into_iter().map(|(_, text)| text).collect();
                if names.is_empty() {
                    // No operator asks what stands in this column.
                    names.push(String::new());
                }
                names
            }),
        });
        let features: Vec<ImportedFeature> = features.collect();
        let as_they_are = model.inputs.iter().copied().eq(0..count as u32);
        let preparation =
            if as_they_are { None } else { Some(Preparation::new(count, self.steps, model.inputs.to_vec())?) };
        Ok(Imported {
            format,
            facts,
            notes: self.notes,
            features,
            task: model.task,
            classes: model.classes,
            targets: model.targets,
            form: model.form,
            link: model.link,
            preparation,
            chosen: model.chosen,
        })
    }
}

/// The columns that an operator reads.
pub(super) fn columns<'a>(inputs: &[Option<&'a Value>], place: usize) -> Result<&'a Columns> {
    match inputs.get(place).copied().flatten() {
        Some(Value::Columns(columns)) => Ok(columns),
        Some(Value::Scores(_) | Value::Complement(_) | Value::Label(_)) => {
            Err(unsupported("an operator that goes on computing with what a model gives"))
        }
        Some(_) => Err(unsupported("an operator on constants")),
        None => Err(damaged("an operator lacks an input")),
    }
}

/// The constant that an operator reads.
pub(super) fn constant<'a>(inputs: &[Option<&'a Value>], place: usize) -> Result<&'a Tensor> {
    match inputs.get(place).copied().flatten() {
        Some(Value::Constant(tensor)) => Ok(tensor),
        Some(_) => Err(unsupported("an operator with a parameter that is no constant")),
        None => Err(damaged("an operator lacks a parameter")),
    }
}
