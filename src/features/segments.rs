//! Which segment a training row belongs to: the values of one or several columns.
//!
//! Text, whole numbers and booleans name segments; a row without a value in one of the columns is of none. Numbers are
//! known by their `f64` when rows are scored, so they must be below 2^53, where that is exact.

use super::arrays::{column, integers, is_text, text_codes};
use super::encoder::{Encoder, FittedColumn, Levels};
use super::signature::{ColumnKind, SignatureColumn};
use crate::error::{Error, Result, ResultExt};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::fmt;

/// The segment of a row that has none.
pub const NO_SEGMENT: u32 = u32::MAX;

/// How many segments are told apart. Columns with more are names, not segments.
const MOST_SEGMENTS: usize = 1_000_000;
/// Whole numbers from here on have no `f64` of their own.
const EXACT: i128 = 1 << 53;

/// One column's value of a segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentValue {
    /// False or true.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for SegmentValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(out),
            Self::Integer(value) => value.fmt(out),
            Self::Text(value) => value.fmt(out),
        }
    }
}

/// What names a segment: a value for each column.
pub type SegmentKey = Vec<SegmentValue>;

/// Reads the segments of training rows as they pass.
#[derive(Debug)]
pub struct SegmentReader {
    columns: Vec<Seen>,
    /// For each column, a number for what stands so far and the next value.
    steps: Vec<HashMap<(u32, u32), u32>>,
    /// The pairs behind those numbers.
    paths: Vec<Vec<(u32, u32)>>,
    of_row: Vec<u32>,
}

/// What was seen of one column.
#[derive(Debug)]
struct Seen {
    column: SignatureColumn,
    texts: HashMap<String, u32>,
    numbers: HashMap<i64, u32>,
    values: Vec<SegmentValue>,
}

/// The segments of all training rows.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentRows {
    columns: Vec<SignatureColumn>,
    /// In their order.
    keys: Vec<SegmentKey>,
    /// The number of each row's segment, or [`NO_SEGMENT`].
    of_row: Vec<u32>,
}

/// The columns of `schema` that name segments.
///
/// # Errors
/// Usage: a column that the SQL does not give, or whose values can't name a segment.
pub fn segment_columns(schema: &Schema, names: &[String]) -> Result<Vec<SignatureColumn>> {
    let of = |name: &String| {
        let Ok(field) = schema.field_with_name(name) else {
            let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let error =
                Error::usage("`model.segment_by` names a column that the SQL does not give").with("column", name);
            return Err(match crate::error::did_you_mean(name, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("it gives: {}", known.join(", "))),
            });
        };
        let data_type = field.data_type();
        let kind = match data_type {
            DataType::Boolean => ColumnKind::Boolean,
            text if is_text(text) => ColumnKind::Category,
            number if number.is_integer() => ColumnKind::Numeric,
            other => {
                return Err(Error::usage("values of this type can't name segments")
                    .with("column", name)
                    .with("type", other)
                    .hint(format!("make it a text in the SQL: CAST({name} AS VARCHAR)")));
            }
        };
        Ok(SignatureColumn { name: name.clone(), kind, arrow_type: data_type.to_string() })
    };
    names.iter().map(of).collect()
}

impl SegmentReader {
    /// A reader of these columns, as [`segment_columns`] gives them.
    pub fn new(columns: Vec<SignatureColumn>) -> Self {
        let seen = |column| Seen { column, texts: HashMap::new(), numbers: HashMap::new(), values: Vec::new() };
        let steps = vec![HashMap::new(); columns.len()];
        let paths = vec![Vec::new(); columns.len()];
        Self { columns: columns.into_iter().map(seen).collect(), steps, paths, of_row: Vec::new() }
    }

    /// The next training rows: the given ones of a batch.
    ///
    /// # Errors
    /// Check: a number that `f64` can't tell from its neighbours; more segments than can be told apart.
    pub fn add(&mut self, batch: &RecordBatch, rows: &[usize]) -> Result<()> {
        let mut at = vec![0_u32; rows.len()];
        for (index, seen) in self.columns.iter_mut().enumerate() {
            let name = seen.column.name.clone();
            let array = column(batch, &name)?;
            let codes = seen.codes(array).at("column", &name)?;
            let (step, path) = (&mut self.steps[index], &mut self.paths[index]);
            for (at, row) in at.iter_mut().zip(rows) {
                *at = match (*at, codes[*row]) {
                    (NO_SEGMENT, _) | (_, NO_SEGMENT) => NO_SEGMENT,
                    pair => *step.entry(pair).or_insert_with(|| {
                        path.push(pair);
                        (path.len() - 1) as u32
                    }),
                };
            }
            if path.len() > MOST_SEGMENTS || seen.values.len() > MOST_SEGMENTS {
                return Err(Error::check(format!("`model.segment_by` gives more than {MOST_SEGMENTS} segments"))
                    .with("column", name)
                    .hint("that is a name and no segment: group it in the SQL"));
            }
        }
        self.of_row.extend(at);
        Ok(())
    }

    /// All rows are in.
    pub fn finish(self) -> SegmentRows {
        let Self { columns, paths, of_row, .. } = self;
        let last = columns.len().saturating_sub(1);
        let key = |end: usize| -> SegmentKey {
            let (mut at, mut key) = (end as u32, Vec::with_capacity(columns.len()));
            for index in (0..=last).rev() {
                let (before, code) = paths[index][at as usize];
                key.push(columns[index].values[code as usize].clone());
                at = before;
            }
            key.reverse();
            key
        };
        let mut keys: Vec<(SegmentKey, u32)> =
            (0..paths.last().map_or(0, Vec::len)).map(|end| (key(end), end as u32)).collect();
        keys.sort_unstable();
        let mut number = vec![0; keys.len()];
        keys.iter().enumerate().for_each(|(place, (_, end))| number[*end as usize] = place as u32);
        let renamed = |end: u32| number.get(end as usize).copied().unwrap_or(NO_SEGMENT);
        SegmentRows {
            columns: columns.into_iter().map(|seen| seen.column).collect(),
            keys: keys.into_iter().map(|(key, _)| key).collect(),
            of_row: of_row.into_iter().map(renamed).collect(),
        }
    }
}

impl Seen {
    /// A number for the value of each row of a batch.
    fn codes(&mut self, array: &dyn Array) -> Result<Vec<u32>> {
        let mut codes = vec![NO_SEGMENT; array.len()];
        let Self { texts, numbers, values, .. } = self;
        if is_text(array.data_type()) {
            let known = |text: &str| match texts.get(text) {
                Some(code) => *code,
                None => {
                    let code = values.len() as u32;
                    values.push(SegmentValue::Text(text.to_owned()));
                    texts.insert(text.to_owned(), code);
                    code
                }
            };
            text_codes(array, NO_SEGMENT, known, |row, code| codes[row] = code)?;
            return Ok(codes);
        }
        let mut known = |number: i64, value: SegmentValue| {
            *numbers.entry(number).or_insert_with(|| {
                values.push(value);
                (values.len() - 1) as u32
            })
        };
        if let Some(booleans) = array.as_boolean_opt() {
            for (row, code) in codes.iter_mut().enumerate().filter(|(row, _)| booleans.is_valid(*row)) {
                let value = booleans.value(row);
                *code = known(i64::from(value), SegmentValue::Boolean(value));
            }
            return Ok(codes);
        }
        let Some(integer) = integers(array) else {
            return Err(Error::check("values of this type can't name segments").with("type", array.data_type()));
        };
        for (row, code) in codes.iter_mut().enumerate().filter(|(row, _)| array.is_valid(*row)) {
            let value = integer(row);
            if value.abs() >= EXACT {
                return Err(Error::check("a number that names a segment is 2^53 or more")
                    .with("value", value)
                    .hint("make it a text in the SQL: CAST(... AS VARCHAR)"));
            }
            *code = known(value as i64, SegmentValue::Integer(value as i64));
        }
        Ok(codes)
    }
}

impl SegmentRows {
    /// The names of the segments, in their order.
    pub fn keys(&self) -> &[SegmentKey] {
        &self.keys
    }

    /// The number of each row's segment, or [`NO_SEGMENT`].
    pub fn of_row(&self) -> &[u32] {
        &self.of_row
    }

    /// The same segments of only these rows, in this order.
    pub fn only(&self, rows: &[u32]) -> Self {
        let of_row = rows.iter().map(|row| self.of_row[*row as usize]).collect();
        Self { columns: self.columns.clone(), keys: self.keys.clone(), of_row }
    }

    /// The rows segment by segment, each in their order, and where each segment's begin; those of none are left out.
    pub fn by_segment(&self) -> (Vec<u32>, Vec<usize>) {
        let mut starts = vec![0; self.keys.len() + 1];
        for segment in self.of_row.iter().filter(|segment| **segment != NO_SEGMENT) {
            starts[*segment as usize + 1] += 1;
        }
        (1..starts.len()).for_each(|index| starts[index] += starts[index - 1]);
        let mut next = starts.clone();
        let mut rows = vec![0; *starts.last().unwrap_or(&0)];
        for (row, segment) in (0u32..).zip(&self.of_row).filter(|(_, segment)| **segment != NO_SEGMENT) {
            rows[next[*segment as usize]] = row;
            next[*segment as usize] += 1;
        }
        (rows, starts)
    }

    /// An encoder that gives a row's segment too, behind the features: one number a column, which tells apart the
    /// segments of these numbers and nothing else; and those numbers, a list a segment.
    ///
    /// # Errors
    /// None in practice: the columns are as they were read.
    pub fn route(&self, encoder: &Encoder, wanted: &[u32]) -> Result<(Encoder, Vec<Vec<f64>>)> {
        let mut keys: Vec<Vec<f64>> = vec![Vec::with_capacity(self.columns.len()); wanted.len()];
        let mut fitted = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let values = || wanted.iter().map(|segment| &self.keys[*segment as usize][index]);
            let mut names: Vec<String> = values().map(SegmentValue::to_string).collect();
            names.sort_unstable();
            names.dedup();
            let levels = (column.kind == ColumnKind::Category).then(|| Levels::new(names)).transpose()?;
            for (key, value) in keys.iter_mut().zip(values()) {
                key.push(match (value, &levels) {
                    (SegmentValue::Text(text), Some(levels)) => f64::from(levels.position(text).unwrap_or(u32::MAX)),
                    (SegmentValue::Integer(number), _) => *number as f64,
                    (SegmentValue::Boolean(value), _) => f64::from(u8::from(*value)),
                    (SegmentValue::Text(_), None) => f64::NAN,
                });
            }
            fitted.push(FittedColumn::Route { levels });
        }
        Ok((encoder.clone().routed(self.columns.clone(), fitted)?, keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{EncoderOptions, Signature};
    use arrow::array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, StringArray};
    use arrow::datatypes::Int8Type;
    use std::sync::Arc;

    fn batch(texts: &[Option<&str>], numbers: &[Option<i64>]) -> RecordBatch {
        let text: ArrayRef = Arc::new(texts.iter().copied().collect::<DictionaryArray<Int8Type>>());
        let number: ArrayRef = Arc::new(Int64Array::from(numbers.to_vec()));
        let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..texts.len()).map(|row| row as f64)));
        RecordBatch::try_from_iter_with_nullable([("t", text, true), ("n", number, true), ("x", x, true)]).unwrap()
    }

    fn read(batches: &[RecordBatch], names: &[&str]) -> SegmentRows {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut reader = SegmentReader::new(segment_columns(batches[0].schema_ref(), &names).unwrap());
        for batch in batches {
            reader.add(batch, &(0..batch.num_rows()).collect::<Vec<_>>()).unwrap();
        }
        reader.finish()
    }

    #[test]
    fn segments_are_numbered_in_the_order_of_their_names() {
        let first = batch(&[Some("b"), Some("a"), None, Some("b")], &[Some(2), Some(10), Some(2), None]);
        let second = batch(&[Some("a"), Some("b")], &[Some(-1), Some(2)]);
        let both = [first, second];
        assert_eq!(read(&both, &["t"]).of_row(), [1, 0, NO_SEGMENT, 1, 0, 1]);
        assert_eq!(read(&both, &["n"]).of_row(), [1, 2, 1, NO_SEGMENT, 0, 1]);
        let pairs = read(&both, &["t", "n"]);
        assert_eq!(pairs.of_row(), [2, 1, NO_SEGMENT, NO_SEGMENT, 0, 2]);
        assert_eq!(pairs.keys()[0], [SegmentValue::Text("a".to_owned()), SegmentValue::Integer(-1)]);
        assert_eq!(pairs.by_segment(), (vec![4, 1, 0, 5], vec![0, 1, 2, 4]));
        assert_eq!(pairs.only(&[5, 2, 1]).by_segment(), (vec![2, 0], vec![0, 0, 1, 2]));
        let reversed = [both[1].clone(), both[0].clone()];
        assert_eq!(read(&reversed, &["t", "n"]).keys(), pairs.keys());
    }

    #[test]
    fn a_routed_encoder_gives_the_key_of_a_wanted_segment_and_of_no_other() {
        let rows =
            batch(&[Some("b"), Some("a"), None, Some("c"), Some("b")], &[Some(1), Some(1), Some(1), None, Some(7)]);
        let segments = read(std::slice::from_ref(&rows), &["t", "n"]);
        let signature = Signature::of(rows.schema_ref(), &["t", "n"]).unwrap();
        let encoder = Encoder::fit(&signature, std::slice::from_ref(&rows), None, &EncoderOptions::default()).unwrap();
        let wanted = segments.of_row()[0];
        let (routed, keys) = segments.route(&encoder, &[wanted]).unwrap();
        assert_eq!(routed.feature_names(), ["x", "t", "n"]);
        assert_eq!(routed.routes(), 2);
        let block = routed.apply(&rows).unwrap().block;
        let key = |row: usize| [block.value(row, 1), block.value(row, 2)];
        assert_eq!(keys, [key(0).to_vec()]);
        assert!((1..5).all(|row| key(row).to_vec() != keys[0]), "null, unseen, another number");
        let json = serde_json::to_string(&routed).unwrap();
        assert_eq!(serde_json::from_str::<Encoder>(&json).unwrap(), routed);
    }

    #[test]
    fn what_cannot_name_a_segment_is_refused() {
        let schema = batch(&[None], &[None]).schema();
        let error = segment_columns(&schema, &["x".to_owned()]).unwrap_err();
        assert!(error.hint_text().unwrap().contains("CAST(x AS VARCHAR)"), "{error}");
        assert!(segment_columns(&schema, &["y".to_owned()]).is_err());
        let large = batch(&[None], &[Some(1 << 53)]);
        let mut reader = SegmentReader::new(segment_columns(&schema, &["n".to_owned()]).unwrap());
        assert!(reader.add(&large, &[0]).is_err());
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let yes: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        let other = RecordBatch::try_from_iter([("t", plain), ("n", yes)]).unwrap();
        assert_eq!(read(&[other], &["n", "t"]).keys()[0][0], SegmentValue::Boolean(true));
    }
}
