//! The rows of the predictions table: what is carried over from the input, what is computed.

use super::predictions::INTERVAL;
use crate::error::{Error, Result};
use crate::interval::Interval;
use crate::job::JobSpec;
use crate::task::Task;
use arrow::array::{
    Array, ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// What the model's numbers mean.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The task of the model.
    pub task: Task,
    /// The classes' names, in the order of the outputs.
    pub classes: Vec<String>,
    /// Binary: from this score on, the prediction is 1.
    pub threshold: f64,
}

/// What stands in every row of one run.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The model's version in the registry.
    pub model_version: u64,
    /// The run.
    pub run_id: String,
    /// The interval; its end is `scored_at`.
    pub interval: Interval,
}

/// The columns that are carried over from the features SQL.
#[derive(Debug, Clone)]
pub struct Carried<'a> {
    /// The entity key.
    pub key: &'a [String],
    /// The event time.
    pub time: &'a str,
    /// What the job wants to see again.
    pub passthrough: &'a [String],
}

impl<'a> Carried<'a> {
    /// What a job carries over.
    pub fn of(spec: &'a JobSpec) -> Self {
        Self { key: &spec.features.key, time: &spec.features.time, passthrough: &spec.score.passthrough }
    }
}

/// Turns input rows and model outputs into prediction rows.
///
/// Columns: key, time, `prediction`, `score`, `model_version` (int64), `run_id`, `scored_at`
/// (timestamp, the interval's end), passthrough, `interval`. `prediction` is int32 0/1 for binary,
/// the class's name for multiclass, the number for regression; `score` is the probability of the
/// positive class, of the predicted class, or the number again.
#[derive(Debug, Clone)]
pub struct PredictionRows {
    schema: SchemaRef,
    before: Vec<(usize, DataType)>,
    after: Vec<(usize, DataType)>,
    decision: Decision,
    stamp: Stamp,
}

impl PredictionRows {
    /// The shape of the predictions made from `input`.
    ///
    /// # Errors
    /// A usage error for a column that the SQL does not give, that has no Delta type, or whose name
    /// is one of ours.
    pub fn new(input: &Schema, carried: &Carried<'_>, decision: Decision, stamp: Stamp) -> Result<Self> {
        let mut fields: Vec<Field> = Vec::new();
        let taken = |name: &String, fields: &mut Vec<Field>| -> Result<Option<(usize, DataType)>> {
            if fields.iter().any(|field| field.name() == name) {
                return Ok(None);
            }
            let (index, field) = input.column_with_name(name).ok_or_else(|| missing(name, input))?;
            let kind = delta_type(field)?;
            fields.push(Field::new(name, kind.clone(), true));
            Ok(Some((index, kind)))
        };
        let mut before = Vec::new();
        for name in carried.key.iter().chain([&carried.time.to_owned()]) {
            before.extend(taken(name, &mut fields)?);
        }
        fields.extend(computed_fields(decision.task));
        let mut after = Vec::new();
        for name in carried.passthrough {
            after.extend(taken(name, &mut fields)?);
        }
        fields.push(Field::new(INTERVAL, DataType::Utf8, true));
        refuse_doubles(&fields)?;
        Ok(Self { schema: Arc::new(Schema::new(fields)), before, after, decision, stamp })
    }

    /// The columns of the predictions, the partition column last.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The prediction rows of `input`: of all its rows, or only of the `kept` ones. `outputs` are
    /// row-major, as many rows as are kept.
    ///
    /// # Errors
    /// `failed` where Arrow can't build the columns (an overflow in a cast, for example).
    pub fn batch(&self, input: &RecordBatch, kept: Option<&[usize]>, outputs: &[f64]) -> Result<RecordBatch> {
        let kept = kept.map(|rows| UInt64Array::from_iter_values(rows.iter().map(|row| *row as u64)));
        let rows = kept.as_ref().map_or(input.num_rows(), |rows| rows.len());
        let carry = |(index, kind): &(usize, DataType)| -> Result<ArrayRef> {
            let column = input.column(*index);
            let column = match &kept {
                Some(rows) => take(column, rows, None).map_err(unbuildable)?,
                None => column.clone(),
            };
            if column.data_type() == kind { Ok(column) } else { exactly(&column, kind, input, *index) }
        };
        let mut columns = self.before.iter().map(carry).collect::<Result<Vec<ArrayRef>>>()?;
        columns.extend(self.computed(rows, outputs));
        for column in &self.after {
            columns.push(carry(column)?);
        }
        columns.push(repeated(&self.stamp.interval.to_string(), rows));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(unbuildable)
    }

    fn computed(&self, rows: usize, outputs: &[f64]) -> [ArrayRef; 5] {
        let (prediction, score) = self.decide(outputs);
        let version = i64::try_from(self.stamp.model_version).unwrap_or(i64::MAX);
        let scored_at = self.stamp.interval.end().timestamp_micros();
        [
            prediction,
            score,
            Arc::new(Int64Array::from_value(version, rows)),
            repeated(&self.stamp.run_id, rows),
            Arc::new(TimestampMicrosecondArray::from_value(scored_at, rows).with_timezone("UTC")),
        ]
    }

    fn decide(&self, outputs: &[f64]) -> (ArrayRef, ArrayRef) {
        let numbers = || Arc::new(Float64Array::from(outputs.to_vec())) as ArrayRef;
        match self.decision.task {
            Task::Regression => (numbers(), numbers()),
            Task::Binary => {
                let threshold = self.decision.threshold;
                let positive = outputs.iter().map(|score| i32::from(*score >= threshold));
                (Arc::new(Int32Array::from_iter_values(positive)), numbers())
            }
            Task::Multiclass => {
                let classes = &self.decision.classes;
                let best: Vec<(usize, f64)> = outputs.chunks_exact(classes.len().max(1)).map(largest).collect();
                let names = best.iter().map(|(class, _)| classes[*class].as_str());
                let scores = best.iter().map(|(_, score)| *score);
                (Arc::new(StringArray::from_iter_values(names)), Arc::new(Float64Array::from_iter_values(scores)))
            }
        }
    }
}

/// The columns of the predictions that a job makes from `input`, before a model is known.
///
/// # Errors
/// As [`PredictionRows::new`].
pub fn shape(spec: &JobSpec, input: &Schema, interval: Interval) -> Result<SchemaRef> {
    let decision = Decision { task: spec.model.task, classes: Vec::new(), threshold: spec.evaluate.threshold };
    let stamp = Stamp { model_version: 0, run_id: String::new(), interval };
    PredictionRows::new(input, &Carried::of(spec), decision, stamp).map(|rows| rows.schema)
}

/// A value that has no place in the table's type is an error, never a null.
fn exactly(column: &ArrayRef, kind: &DataType, input: &RecordBatch, index: usize) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, kind, &options).map_err(|source| {
        Error::check("a value does not fit the type under which it is kept")
            .with("column", input.schema().field(index).name())
            .with("kept as", kind)
            .because(source)
    })
}

/// Rows as they lie in a data file, with the partition column put back at the end.
///
/// # Errors
/// `failed` where Arrow can't build the batch.
pub fn with_interval(rows: &RecordBatch, interval: &str) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(INTERVAL, DataType::Utf8, true)));
    let mut columns = rows.columns().to_vec();
    columns.push(repeated(interval, rows.num_rows()));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unbuildable)
}

/// The first of the largest values.
fn largest(outputs: &[f64]) -> (usize, f64) {
    outputs.iter().copied().enumerate().fold(
        (0, f64::NEG_INFINITY),
        |best, (class, score)| {
            if score > best.1 { (class, score) } else { best }
        },
    )
}

fn computed_fields(task: Task) -> [Field; 5] {
    let prediction = match task {
        Task::Binary => DataType::Int32,
        Task::Multiclass => DataType::Utf8,
        Task::Regression => DataType::Float64,
    };
    [
        Field::new("prediction", prediction, true),
        Field::new("score", DataType::Float64, true),
        Field::new("model_version", DataType::Int64, true),
        Field::new("run_id", DataType::Utf8, true),
        Field::new("scored_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]
}

/// The type under which Delta keeps a column; the same values in every writer and reader.
fn delta_type(field: &Field) -> Result<DataType> {
    Ok(match field.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::Dictionary(_, values) if values.is_string() => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into())),
        DataType::Date64 => DataType::Date32,
        kind @ (DataType::Utf8
        | DataType::Binary
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Decimal128(_, _)) => kind.clone(),
        other => {
            return Err(Error::usage("a column of this type can't be carried into the predictions")
                .with("column", field.name())
                .with("type", other)
                .hint("cast it in the SQL, or leave it out of `passthrough`"));
        }
    })
}

fn refuse_doubles(fields: &[Field]) -> Result<()> {
    for (index, field) in fields.iter().enumerate() {
        // Delta tells no names apart by case.
        if fields[..index].iter().any(|earlier| earlier.name().to_lowercase() == field.name().to_lowercase()) {
            return Err(Error::usage("a column of the SQL has a name that the predictions table uses itself")
                .with("column", field.name())
                .hint("give it another name in the SQL (AS ...), or leave it out of `passthrough`"));
        }
    }
    Ok(())
}

/// The error for a column that the SQL does not give.
pub fn missing(name: &str, input: &Schema) -> Error {
    let known: Vec<&str> = input.fields().iter().map(|field| field.name().as_str()).collect();
    let error = Error::usage("the features SQL gives no such column").with("column", name);
    match crate::error::did_you_mean(name, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("it gives: {}", known.join(", "))),
    }
}

fn repeated(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

fn unbuildable(source: arrow::error::ArrowError) -> Error {
    Error::failed("could not build the prediction rows").because(source)
}
