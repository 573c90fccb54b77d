//! Whether an imported model gives what its library gave, row by row.

use crate::error::{Error, Result, ResultExt};
use crate::features::Encoder;
use crate::models::Predictor;
use crate::models::import::Imported;
use crate::registry::artifact::Parity;
use crate::task::Task;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

/// Rows that are scored at a time.
const STRETCH: usize = 8192;

/// What the columns of the expected scores may mean.
#[derive(Debug, Clone)]
pub struct Shape {
    task: Task,
    classes: Vec<String>,
    targets: usize,
    target: usize,
}

impl Shape {
    /// The shape of what the model predicts.
    pub fn of(model: &Imported, target: Option<usize>) -> Self {
        let targets = model.targets.len().max(1);
        Self { task: model.task, classes: model.classes.clone(), targets, target: target.unwrap_or(0) }
    }
}

/// What is compared with the outputs of a row.
enum Expected {
    /// A number for each output.
    Outputs(Vec<Vec<f64>>),
    /// The place of the greatest output.
    Class(Vec<usize>),
}

/// Scores `rows` and compares them with `expected`.
///
/// # Errors
/// Usage: columns that can't be meant. Check: rows that do not fit the model. Verification: another number of rows, or
/// a prediction that is off by more than the tolerance.
pub fn compare(
    encoder: &Encoder,
    predictor: &Predictor,
    rows: &[RecordBatch],
    expected: &[RecordBatch],
    shape: &Shape,
    tolerance: f64,
) -> Result<Parity> {
    let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
    let given: usize = expected.iter().map(RecordBatch::num_rows).sum();
    if count == 0 {
        return Err(Error::usage("there are no rows to compare"));
    }
    if count != given {
        return Err(Error::verification("there is another number of expected scores than of rows")
            .with("rows", count)
            .with("expected", given));
    }
    let expected = read(expected, shape)?;
    let outputs = predictor.outputs();
    let mut found = Vec::with_capacity(count * outputs);
    for batch in rows {
        for start in (0..batch.num_rows()).step_by(STRETCH) {
            let part = batch.slice(start, STRETCH.min(batch.num_rows() - start));
            let encoded = encoder.apply(&part)?;
            if encoded.kept.is_some() {
                return Err(Error::check("some of the rows cannot be scored").with("rejected", encoded.rejected.rows));
            }
            found.extend(predictor.predict(&encoded.block));
        }
    }
    match expected {
        Expected::Outputs(columns) => numbers(&found, &columns, tolerance),
        Expected::Class(classes) => labels(&found, outputs, &classes),
    }
}

fn numbers(found: &[f64], columns: &[Vec<f64>], tolerance: f64) -> Result<Parity> {
    let (outputs, mut worst, mut wrong) = (columns.len(), (0.0, 0), 0u64);
    let rows = found.len() / outputs;
    for (place, own) in found.iter().enumerate() {
        let wanted = columns[place % outputs][place / outputs];
        let same = *own == wanted || (own.is_nan() && wanted.is_nan());
        let off = if same { 0.0 } else { (own - wanted).abs() / wanted.abs().max(1.0) };
        // What is not a number on one side alone is as far off as can be.
        let off = if off.is_nan() { f64::INFINITY } else { off };
        wrong += u64::from(off > tolerance);
        if off > worst.0 {
            worst = (off, place);
        }
    }
    if wrong == 0 {
        return Ok(Parity { rows: rows as u64, tolerance, largest_difference: worst.0 });
    }
    let (off, place) = worst;
    Err(Error::verification("the model does not give the scores that were expected")
        .with("scores off by more than the tolerance", format!("{wrong} of {}", found.len()))
        .with("largest difference", off)
        .with("tolerance", tolerance)
        .with("row", place / outputs)
        .with("expected", columns[place % outputs][place / outputs])
        .with("found", found[place]))
}

fn labels(found: &[f64], outputs: usize, classes: &[usize]) -> Result<Parity> {
    let greatest = |row: &[f64]| {
        row.iter().enumerate().fold(
            (0, f64::NEG_INFINITY),
            |best, (class, score)| {
                if *score > best.1 { (class, *score) } else { best }
            },
        )
    };
    let pairs = || found.chunks_exact(outputs).map(|row| greatest(row).0).zip(classes).enumerate();
    let wrong = pairs().filter(|(_, (own, wanted))| own != *wanted).count();
    match pairs().find(|(_, (own, wanted))| own != *wanted) {
        None => Ok(Parity { rows: classes.len() as u64, tolerance: 0.0, largest_difference: 0.0 }),
        Some((row, (own, wanted))) => {
            Err(Error::verification("the model does not give the classes that were expected")
                .with("rows of another class", format!("{wrong} of {}", classes.len()))
                .with("row", row)
                .with("expected", wanted)
                .with("found", own))
        }
    }
}

fn read(batches: &[RecordBatch], shape: &Shape) -> Result<Expected> {
    let Some(first) = batches.first() else { return Err(Error::usage("there are no expected scores")) };
    let given = first.num_columns();
    let outputs = shape.task.outputs(shape.classes.len());
    let wanted: Vec<usize> = match (shape.task, given) {
        (Task::Multiclass, 1) => return classes(batches, shape).map(Expected::Class),
        (Task::Binary, 2) => vec![1],
        (_, given) if given == outputs => (0..outputs).collect(),
        (Task::Regression, given) if given == shape.targets => vec![shape.target],
        _ => {
            return Err(Error::usage("the expected scores have another number of columns than the model has outputs")
                .with("columns", given)
                .with("outputs", outputs)
                .hint("give only the scores: one column, or one for each class in their order"));
        }
    };
    let columns = wanted.iter().map(|column| {
        let mut values = Vec::new();
        for batch in batches {
            let name = batch.schema_ref().field(*column).name().clone();
            let numbers = cast(batch.column(*column), &DataType::Float64)
                .map_err(|source| Error::usage("an expected score is no number").because(source))
                .at("column", name)?;
            values.extend(numbers.as_primitive::<Float64Type>().iter().map(|value| value.unwrap_or(f64::NAN)));
        }
        Ok(values)
    });
    Ok(Expected::Outputs(columns.collect::<Result<_>>()?))
}

/// The expected classes: by name, or by their places.
fn classes(batches: &[RecordBatch], shape: &Shape) -> Result<Vec<usize>> {
    let mut places = Vec::new();
    for batch in batches {
        let column = batch.column(0);
        if column.data_type().is_numeric() {
            let numbers = cast(column, &DataType::Float64)
                .map_err(|source| Error::usage("an expected class is no number").because(source))?;
            for number in numbers.as_primitive::<Float64Type>() {
                let number = number.unwrap_or(f64::NAN);
                let named = shape.classes.iter().position(|class| class.parse::<f64>().is_ok_and(|own| own == number));
                let place = named.or_else(|| (number >= 0.0 && number.fract() == 0.0).then_some(number as usize));
                places.push(place.ok_or_else(|| unknown(&number.to_string()))?);
            }
            continue;
        }
        let texts = cast(column, &DataType::Utf8)
            .map_err(|source| Error::usage("an expected class is no text").because(source))?;
        for text in texts.as_string::<i32>() {
            let text = text.unwrap_or_default();
            let place = shape.classes.iter().position(|class| class == text);
            places.push(place.ok_or_else(|| unknown(text))?);
        }
    }
    Ok(places)
}

fn unknown(class: &str) -> Error {
    Error::usage("an expected class is none of the model's").with("class", class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn differences_are_absolute_up_to_one_and_relative_beyond() {
        let compare = |found: f64, wanted: f64| numbers(&[found], &[vec![wanted]], 1e-6);
        assert!(compare(1e-9, 0.0).is_ok());
        assert!(compare(1e6 + 0.5, 1e6).is_ok());
        assert!(compare(f64::NAN, f64::NAN).is_ok());
        for (found, wanted) in [(2e-6, 0.0), (1e6 + 2.0, 1e6), (f64::NAN, 0.0), (0.0, f64::NAN), (f64::INFINITY, 1.0)] {
            assert_eq!(compare(found, wanted).unwrap_err().kind(), ErrorKind::Verification, "{found} {wanted}");
        }
    }

    #[test]
    fn classes_are_those_of_the_greatest_output() {
        assert!(labels(&[0.1, 0.9, 0.6, 0.4], 2, &[1, 0]).is_ok());
        let error = labels(&[0.1, 0.9, 0.6, 0.4], 2, &[1, 1]).unwrap_err();
        assert!(error.to_string().contains("1 of 2"), "{error}");
    }
}
