//! Labels: what is to be predicted, as numbers.
//!
//! A null label is not an error: it is not known *yet*. Such rows are counted and left out. A label that
//! is NaN or infinite rejects its row, like an infinite feature. Everything else that does not fit the
//! task is refused with the value and the row (counted from 0 through all batches).

use super::arrays::{column, integers, is_number, is_text, numbers_into, selected, text_codes};
use super::counts::{Reason, Rejections};
use crate::error::{Error, Result, ResultExt, did_you_mean};
use crate::task::Task;
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, HashMap};

/// The known labels of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// What kind of label it is.
    pub task: Task,
    /// One label for each row of `known`: 0 or 1, the class's index, or the value.
    pub values: Vec<f64>,
    /// The rows that have a label, ascending, numbered through all batches.
    pub known: Vec<usize>,
    /// The classes' names in the order of their indices; none for regression. Numbers are in the order of
    /// their values, strings in that of their names; a boolean's classes are `false` and `true`.
    pub classes: Vec<String>,
    /// How many rows have no label yet.
    pub unlabelled: u64,
    /// The rows whose label is NaN or infinite.
    pub rejected: Rejections,
}

impl Labels {
    /// Reads the labels of the `rows` (all, if `None`) of the concatenated `batches` for training, and
    /// finds the classes among them.
    ///
    /// Binary: a boolean column, or numbers that are 0 or 1. Multiclass: strings, integers or booleans.
    /// Regression: any numbers.
    ///
    /// # Errors
    /// A check error for a column or value that does not fit the task, where no label is known, and where
    /// a classification's labels are all of one class.
    pub fn fit(batches: &[RecordBatch], name: &str, task: Task, rows: Option<&[usize]>) -> Result<Self> {
        let labels = read(batches, name, task, rows, None)?;
        labels.require_two_classes().at("column", name)?;
        Ok(labels)
    }

    /// Reads labels for evaluation, by the `classes` of a model.
    ///
    /// # Errors
    /// A check error for a column or value that does not fit the task, and for a class that is not among
    /// `classes`. That no label is known is no error here.
    pub fn encode(
        batches: &[RecordBatch],
        name: &str,
        task: Task,
        classes: &[String],
        rows: Option<&[usize]>,
    ) -> Result<Self> {
        read(batches, name, task, rows, Some(classes))
    }

    /// How many rows each class has, in the order of the classes; empty for regression.
    pub fn class_counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.classes.len()];
        if self.task != Task::Regression {
            for class in &self.values {
                counts[*class as usize] += 1;
            }
        }
        counts
    }

    /// Refuses labels that nothing can be learned from: none at all, or a classification's all of one class.
    ///
    /// # Errors
    /// A check error.
    pub fn require_two_classes(&self) -> Result<()> {
        if self.values.is_empty() {
            let rejected = match self.rejected.rows {
                0 => String::new(),
                rows => format!(", and of {rows} rows it is no finite number"),
            };
            let unlabelled = self.unlabelled;
            return Err(Error::check(format!("no label is known: {unlabelled} rows have none yet{rejected}"))
                .hint("train on an earlier window, or look at the label and its delay"));
        }
        let counts = self.class_counts();
        let present: Vec<usize> = (0..counts.len()).filter(|class| counts[*class] > 0).collect();
        match present[..] {
            [only] => {
                let (rows, class) = (self.values.len(), &self.classes[only]);
                Err(Error::check(format!("all {rows} known labels are of the class `{class}`"))
                    .hint("a classifier needs at least two classes: train on a longer window, or look at the label"))
            }
            _ => Ok(()),
        }
    }
}

/// Reads labels batch after batch, so that the batches need not be held.
///
/// The values of a multiclass label are codes in the order of appearance, until [`LabelClasses::apply`].
#[derive(Debug)]
pub struct LabelReader {
    name: String,
    task: Task,
    boolean: bool,
    /// Rows that have passed.
    passed: usize,
    unlabelled: u64,
    not_finite: u64,
    found: Found,
    /// For each class found, the first wanted row that has it.
    first_row: Vec<Option<usize>>,
}

/// The known labels of some rows of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReadLabels {
    /// The rows of the batch that are wanted and have a label, ascending.
    pub rows: Vec<usize>,
    /// The label of each; see [`LabelReader`].
    pub values: Vec<f64>,
}

/// What is known of labels when all are read.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelClasses {
    /// The classes' names, as in [`Labels::classes`].
    pub names: Vec<String>,
    /// How many wanted rows have no label yet.
    pub unlabelled: u64,
    /// The wanted rows whose label is NaN or infinite.
    pub rejected: Rejections,
    /// Multiclass: the index of each class, in the order of appearance.
    index: Option<Vec<f64>>,
}

impl LabelClasses {
    /// Makes the classes' indices of the values that the reader gave.
    pub fn apply(&self, values: &mut [f64]) {
        if let Some(index) = &self.index {
            values.iter_mut().for_each(|value| *value = index[*value as usize]);
        }
    }
}

impl LabelReader {
    /// A reader of the column `name`.
    pub fn new(name: &str, task: Task) -> Self {
        Self {
            name: name.to_owned(),
            task,
            boolean: false,
            passed: 0,
            unlabelled: 0,
            not_finite: 0,
            found: Found::default(),
            first_row: Vec::new(),
        }
    }

    /// The labels of the next batch: of its wanted rows, all if `None`.
    ///
    /// # Errors
    /// A check error for a column or value that does not fit the task, with the row through all batches.
    pub fn read(&mut self, batch: &RecordBatch, wanted: Option<&[bool]>) -> Result<ReadLabels> {
        let part = column(batch, &self.name)?;
        self.boolean |= self.passed == 0 && part.data_type() == &DataType::Boolean;
        let mut read = ReadLabels::default();
        match self.task {
            Task::Regression | Task::Binary => self.numbers(part, wanted, &mut read)?,
            Task::Multiclass => self.codes(part, wanted, &mut read)?,
        }
        self.passed += batch.num_rows();
        Ok(read)
    }

    /// Numeric labels; binary ones are 0 or 1, from numbers or booleans.
    fn numbers(&mut self, part: &dyn Array, wanted: Option<&[bool]>, read: &mut ReadLabels) -> Result<()> {
        let (kind, binary) = (part.data_type(), self.task == Task::Binary);
        if !(is_number(kind) || binary && kind == &DataType::Boolean) {
            return Err(unfit(&self.name, kind, self.task));
        }
        let mut values = vec![0.0; part.len()];
        numbers_into(part, &mut values)?;
        for (at, value) in values.iter().enumerate() {
            if !wanted.is_none_or(|wanted| wanted[at]) {
                continue;
            }
            if part.is_null(at) {
                self.unlabelled += 1;
            } else if !value.is_finite() {
                self.not_finite += 1;
            } else if binary && *value != 0.0 && *value != 1.0 {
                return Err(Error::check(format!("a binary label must be 0 or 1, got {value}"))
                    .with("column", &self.name)
                    .with("row", self.passed + at)
                    .hint("compare in SQL (CAST(delay > 15 AS INT) AS label), or set task = \"multiclass\" or \"regression\""));
            } else {
                // The sum turns -0 into 0.
                read.values.push(*value + 0.0);
                read.rows.push(at);
            }
        }
        Ok(())
    }

    fn codes(&mut self, part: &dyn Array, wanted: Option<&[bool]>, read: &mut ReadLabels) -> Result<()> {
        let Self { name, passed, unlabelled, found, first_row, .. } = self;
        class_codes(part, name, found, |at, code| {
            if !wanted.is_none_or(|wanted| wanted[at]) {
                return;
            }
            if code == NO_LABEL {
                *unlabelled += 1;
                return;
            }
            read.rows.push(at);
            read.values.push(f64::from(code));
            if first_row.len() <= code as usize {
                first_row.resize(code as usize + 1, None);
            }
            first_row[code as usize].get_or_insert(*passed + at);
        })?;
        if found.classes.len() > MOST_CLASSES {
            return Err(Error::check(format!("a label has more than {MOST_CLASSES} classes"))
                .with("column", &*name)
                .hint("is it a number to be predicted (task = \"regression\"), or a key? otherwise group rare classes in SQL"));
        }
        Ok(())
    }

    /// The classes of all that was read; by the classes of a model, if `given`.
    ///
    /// # Errors
    /// A check error for a class that is not among those given.
    pub fn finish(self, given: Option<&[String]>) -> Result<LabelClasses> {
        let mut rejected = Rejections { rows: self.not_finite, ..Rejections::default() };
        rejected.count(&self.name, Reason::LabelNotFinite, self.not_finite);
        let (found, index) = match self.task {
            Task::Regression => (Vec::new(), None),
            Task::Binary => (binary_classes(self.boolean), None),
            Task::Multiclass => {
                let (names, index) = sorted_classes(&self.name, self.found, self.first_row, given)?;
                (names, Some(index))
            }
        };
        let names = match given {
            Some(given) if self.task != Task::Regression => given.to_vec(),
            _ => found,
        };
        Ok(LabelClasses { names, unlabelled: self.unlabelled, rejected, index })
    }
}

fn read(
    batches: &[RecordBatch],
    name: &str,
    task: Task,
    rows: Option<&[usize]>,
    classes: Option<&[String]>,
) -> Result<Labels> {
    let wanted = selected(batches, rows)?;
    let mut reader = LabelReader::new(name, task);
    let (mut values, mut known, mut start) = (Vec::new(), Vec::new(), 0);
    for batch in batches {
        let part = reader.read(batch, Some(&wanted[start..start + batch.num_rows()]))?;
        values.extend(part.values);
        known.extend(part.rows.into_iter().map(|row| start + row));
        start += batch.num_rows();
    }
    let classes = reader.finish(classes)?;
    classes.apply(&mut values);
    let LabelClasses { names, unlabelled, rejected, .. } = classes;
    Ok(Labels { task, values, known, classes: names, unlabelled, rejected })
}

fn binary_classes(boolean: bool) -> Vec<String> {
    let names = if boolean { ["false", "true"] } else { ["0", "1"] };
    names.map(str::to_owned).to_vec()
}

fn unfit(name: &str, kind: &DataType, task: Task) -> Error {
    let hint = match task {
        Task::Binary if is_text(kind) => {
            "compare in SQL, e.g. CAST(label = 'yes' AS INT), or set task = \"multiclass\""
        }
        Task::Binary => "give 0 and 1, or true and false",
        Task::Multiclass if is_number(kind) => {
            "cast it in SQL, e.g. CAST(label AS BIGINT), or set task = \"regression\""
        }
        Task::Multiclass => "give strings, integers or booleans",
        Task::Regression => "give a number, e.g. CAST(label AS DOUBLE)",
    };
    Error::check(format!("a {task} label can't be {kind}")).with("column", name).hint(hint)
}

/// A class as it sorts: numbers by value, strings by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Number(i128),
    Text(String),
}

impl Class {
    fn name(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The names of the classes that wanted rows have, in order, and the index of each class found.
fn sorted_classes(
    column: &str,
    found: Found,
    mut first_row: Vec<Option<usize>>,
    given: Option<&[String]>,
) -> Result<(Vec<String>, Vec<f64>)> {
    first_row.resize(found.classes.len(), None);
    // Only classes of rows that are wanted count.
    let mut used: BTreeMap<Class, u32> = BTreeMap::new();
    for (class, code) in found.classes.into_iter().zip(0u32..) {
        if first_row[code as usize].is_some() {
            used.insert(class, code);
        }
    }
    let mut index = vec![0.0; first_row.len()];
    let mut names = Vec::new();
    for (place, (class, code)) in used.iter().enumerate() {
        let name = class.name();
        let place = match given {
            None => place,
            Some(given) => match given.iter().position(|known| known == &name) {
                Some(place) => place,
                None => return Err(unseen_class(&name, given, column, first_row[*code as usize])),
            },
        };
        index[*code as usize] = place as f64;
        names.push(name);
    }
    Ok((names, index))
}

fn unseen_class(name: &str, known: &[String], column: &str, row: Option<usize>) -> Error {
    let mut error = Error::check(format!("the model does not know the class `{name}`")).with("column", column);
    if let Some(row) = row {
        error = error.with("row", row);
    }
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => error.hint(format!("did you mean `{near}`? otherwise train a model that has seen this class")),
        None => error.hint(format!("it was trained on {}; train a model that has seen this class", known.join(", "))),
    }
}

const NO_LABEL: u32 = u32::MAX;

/// Each class is an output of the model, and each row has a number for each. So many come of keys, not of classes.
const MOST_CLASSES: usize = 1 << 16;

/// The classes in order of appearance; a class's code is its place.
#[derive(Debug, Default)]
struct Found {
    classes: Vec<Class>,
    texts: HashMap<String, u32>,
    numbers: HashMap<i128, u32>,
}

impl Found {
    fn text(&mut self, text: &str) -> u32 {
        if let Some(code) = self.texts.get(text) {
            return *code;
        }
        let code = self.classes.len() as u32;
        self.texts.insert(text.to_owned(), code);
        self.classes.push(Class::Text(text.to_owned()));
        code
    }

    fn number(&mut self, number: i128) -> u32 {
        let classes = &mut self.classes;
        *self.numbers.entry(number).or_insert_with(|| {
            classes.push(Class::Number(number));
            classes.len() as u32 - 1
        })
    }
}

fn class_codes(array: &dyn Array, name: &str, found: &mut Found, mut each: impl FnMut(usize, u32)) -> Result<()> {
    if is_text(array.data_type()) {
        return text_codes(array, NO_LABEL, |text| found.text(text), each).at("column", name);
    }
    if let Some(value) = integers(array) {
        for row in 0..array.len() {
            each(row, if array.is_valid(row) { found.number(value(row)) } else { NO_LABEL });
        }
        return Ok(());
    }
    let Some(values) = array.as_boolean_opt() else { return Err(unfit(name, array.data_type(), Task::Multiclass)) };
    for row in 0..values.len() {
        let text = if values.is_valid(row) { Some(values.value(row)) } else { None };
        each(row, text.map_or(NO_LABEL, |value| found.text(if value { "true" } else { "false" })));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use arrow::array::{
        ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, Int64Array, StringArray,
    };
    use arrow::datatypes::Int8Type;
    use std::sync::Arc;

    fn batches<A: Array + 'static>(parts: Vec<A>) -> Vec<RecordBatch> {
        let batch = |part: A| RecordBatch::try_from_iter([("y", Arc::new(part) as ArrayRef)]).unwrap();
        parts.into_iter().map(batch).collect()
    }

    fn fit<A: Array + 'static>(part: A, task: Task) -> Result<Labels> {
        Labels::fit(&batches(vec![part]), "y", task, None)
    }

    #[test]
    fn a_binary_label_is_a_boolean_or_0_or_1_of_any_type() {
        let decimals = Decimal128Array::from(vec![0, 100]).with_precision_and_scale(10, 2).unwrap();
        let from_numbers = [
            fit(Int32Array::from(vec![0, 1]), Task::Binary),
            fit(Float64Array::from(vec![-0.0, 1.0]), Task::Binary),
            fit(decimals, Task::Binary),
        ];
        for labels in from_numbers {
            let labels = labels.unwrap();
            assert_eq!((labels.values, labels.classes), (vec![0.0, 1.0], vec!["0".to_owned(), "1".to_owned()]));
        }
        let labels = fit(BooleanArray::from(vec![true, false]), Task::Binary).unwrap();
        assert_eq!((labels.values, labels.classes), (vec![1.0, 0.0], vec!["false".to_owned(), "true".to_owned()]));
    }

    #[test]
    fn another_binary_value_is_refused_with_value_and_row() {
        let parts = batches(vec![Int64Array::from(vec![0, 1]), Int64Array::from(vec![1, 2])]);
        let error = Labels::fit(&parts, "y", Task::Binary, None).unwrap_err();
        assert_eq!(error.to_string(), "a binary label must be 0 or 1, got 2 (column = y, row = 3)");
        assert_eq!(error.kind(), ErrorKind::Check);
        // Only the rows that are asked for are looked at.
        assert!(Labels::fit(&parts, "y", Task::Binary, Some(&[0, 1, 2])).is_ok());
    }

    #[test]
    fn unknown_labels_are_counted_and_those_not_finite_rejected() {
        for task in [Task::Binary, Task::Regression] {
            let values = vec![Some(1.0), None, Some(f64::NAN), Some(0.0), Some(f64::INFINITY), None];
            let parts = batches(vec![Float64Array::from(values)]);
            let labels = Labels::fit(&parts, "y", task, None).unwrap();
            assert_eq!((labels.values, labels.known), (vec![1.0, 0.0], vec![0, 3]));
            assert_eq!((labels.unlabelled, labels.rejected.rows), (2, 2));
            assert_eq!(labels.rejected.counts[0].reason, Reason::LabelNotFinite);
            let some = Labels::fit(&parts, "y", task, Some(&[0, 1, 3, 4])).unwrap();
            assert_eq!((some.unlabelled, some.rejected.rows), (1, 1));
        }
    }

    #[test]
    fn classes_are_sorted_integers_by_value_and_strings_by_name() {
        let labels = fit(Int64Array::from(vec![Some(10), Some(9), None, Some(-1)]), Task::Multiclass).unwrap();
        assert_eq!(labels.classes, ["-1", "9", "10"]);
        assert_eq!((labels.values, labels.known, labels.unlabelled), (vec![2.0, 1.0, 0.0], vec![0, 1, 3], 1));
        let labels = fit(StringArray::from(vec!["9", "10", "9"]), Task::Multiclass).unwrap();
        assert_eq!((labels.classes, labels.values), (vec!["10".to_owned(), "9".to_owned()], vec![1.0, 0.0, 1.0]));
        let dictionary: DictionaryArray<Int8Type> = vec![Some("b"), None, Some("a")].into_iter().collect();
        let labels = fit(dictionary, Task::Multiclass).unwrap();
        assert_eq!((labels.classes, labels.values), (vec!["a".to_owned(), "b".to_owned()], vec![1.0, 0.0]));
        let labels = fit(BooleanArray::from(vec![true, false]), Task::Multiclass).unwrap();
        assert_eq!(labels.classes, ["false", "true"]);
    }

    #[test]
    fn classes_come_from_the_selected_rows_alone() {
        let parts = batches(vec![StringArray::from(vec!["c", "a"]), StringArray::from(vec!["b", "a"])]);
        let labels = Labels::fit(&parts, "y", Task::Multiclass, Some(&[3, 2])).unwrap();
        assert_eq!((labels.classes.clone(), labels.known.clone()), (vec!["a".to_owned(), "b".to_owned()], vec![2, 3]));
        assert_eq!(labels.class_counts(), [1, 1]);
        let error = Labels::encode(&parts, "y", Task::Multiclass, &labels.classes, None).unwrap_err();
        assert_eq!(error.to_string(), "the model does not know the class `c` (column = y, row = 0)");
        let known = Labels::encode(&parts, "y", Task::Multiclass, &labels.classes, Some(&[1, 2])).unwrap();
        assert_eq!(known.values, [0.0, 1.0]);
    }

    #[test]
    fn the_model_s_classes_rule_in_evaluation() {
        let classes = ["a", "b", "c"].map(str::to_owned);
        let parts = batches(vec![StringArray::from(vec!["c", "c"])]);
        let labels = Labels::encode(&parts, "y", Task::Multiclass, &classes, None).unwrap();
        assert_eq!((labels.values, labels.classes), (vec![2.0, 2.0], classes.to_vec()));
        assert!(Labels::encode(&parts, "y", Task::Multiclass, &classes, Some(&[])).is_ok());
    }

    #[test]
    fn one_class_alone_and_no_label_at_all_are_refused_in_training() {
        for (labels, message) in [
            (
                fit(Int64Array::from(vec![Some(0), None, Some(0)]), Task::Binary),
                "all 2 known labels are of the class `0`",
            ),
            (fit(StringArray::from(vec!["a"]), Task::Multiclass), "all 1 known labels are of the class `a`"),
            (fit(Int64Array::from(vec![None, None]), Task::Regression), "no label is known: 2 rows have none yet"),
        ] {
            let error = labels.unwrap_err();
            assert_eq!((error.message(), error.kind()), (message, ErrorKind::Check));
        }
        assert!(fit(Int64Array::from(vec![5, 5]), Task::Regression).is_ok());
    }

    #[test]
    fn a_key_is_no_label() {
        let most = MOST_CLASSES as i64;
        assert!(fit(Int64Array::from_iter_values(0..most), Task::Multiclass).is_ok());
        let parts = batches(vec![Int64Array::from_iter_values(0..most), Int64Array::from_iter_values([7, most])]);
        let error = Labels::fit(&parts, "y", Task::Multiclass, None).unwrap_err();
        assert_eq!(error.to_string(), "a label has more than 65536 classes (column = y)");
    }

    #[test]
    fn columns_that_do_not_fit_the_task_are_refused_with_a_way_out() {
        for (labels, hint) in [
            (fit(StringArray::from(vec!["yes"]), Task::Binary), "CAST(label = 'yes' AS INT)"),
            (fit(Float64Array::from(vec![1.5]), Task::Multiclass), "CAST(label AS BIGINT)"),
            (fit(BooleanArray::from(vec![true]), Task::Regression), "CAST(label AS DOUBLE)"),
        ] {
            assert!(labels.unwrap_err().hint_text().unwrap().contains(hint));
        }
        let error = Labels::fit(&batches(vec![Int64Array::from(vec![1])]), "yy", Task::Binary, None).unwrap_err();
        assert_eq!(error.context()[0], ("column", "yy".to_owned()));
    }
}
