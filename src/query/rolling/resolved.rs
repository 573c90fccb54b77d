//! Declared windows whose names were looked up: expressions of both sides, in types that can be compared.

use super::{Closed, RollingFunction, RollingWindows};
use crate::error::{Error, Result, ResultExt, did_you_mean};
use crate::query::asof::shared_type;
use crate::query::session::Session;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::TimeDelta;
use datafusion::common::TableReference;

/// The columns of the rows to which windows are added.
#[derive(Debug, Clone)]
pub(super) struct Spine {
    pub(super) columns: Vec<Field>,
    pub(super) time: Field,
    /// What the names of helping columns start with, so that no other name is taken.
    pub(super) mark: String,
}

/// Windows over one table.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) table: String,
    /// The key as expressions of the rows, and of the table.
    pub(super) keys: Vec<(String, String)>,
    /// The columns of the table's key.
    pub(super) key_columns: Vec<String>,
    /// The time as expressions of the rows, and of the table.
    pub(super) times: (String, String),
    /// The table's column, and its type.
    pub(super) time: Field,
    /// The smallest step of the time.
    pub(super) tick: Tick,
    pub(super) delay: TimeDelta,
    pub(super) closed: Closed,
    /// Expressions of the table, each once, and their types.
    pub(super) values: Vec<(String, DataType)>,
    pub(super) outputs: Vec<Output>,
}

/// One column that is added.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) function: RollingFunction,
    /// Its number among the values; `None` counts rows.
    pub(super) value: Option<usize>,
    pub(super) over: (String, TimeDelta),
}

/// The smallest step of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tick {
    Microsecond,
    Nanosecond,
}

/// The words that follow the mark in the names of helping columns.
const HELPERS: &[&str] = &["row", "at", "here", "key_", "value_", "last_"];

impl Spine {
    /// # Errors
    /// A usage error where there is no such column of times, and where two columns have one name.
    pub(super) fn new(spine: &Schema, time: &str, names: &[&str]) -> Result<Self> {
        for (number, field) in spine.fields().iter().enumerate() {
            if spine.fields()[..number].iter().any(|other| other.name() == field.name()) {
                return Err(Error::usage("the features SQL gives two columns of one name").with("column", field.name()));
            }
        }
        let field = spine_field(spine.fields().iter().map(AsRef::as_ref), time)?.clone();
        is_time(&field, "let the features SQL give a timestamp or a date as `features.time`")?;
        let mut mark = "_".to_owned();
        let is_taken = |mark: &str| {
            let rest = names.iter().filter_map(|name| name.strip_prefix(mark));
            rest.into_iter().any(|rest| HELPERS.iter().any(|word| rest.starts_with(word)))
        };
        while is_taken(&mark) {
            mark.push('_');
        }
        Ok(Self { columns: spine.fields().iter().map(|field| field.as_ref().clone()).collect(), time: field, mark })
    }
}

impl Resolved {
    /// Looks the names up.
    ///
    /// # Errors
    /// As [`super::Rolling::plan`].
    pub(super) async fn new(session: &Session, spine: &Spine, windows: &RollingWindows) -> Result<Self> {
        let provider = session.context().table_provider(TableReference::bare(windows.table.clone())).await;
        let known = session.tables().iter().map(|table| table.name.as_str());
        let provider = provider.map_err(|_| {
            let error = Error::usage("windows name a table that is not there").with("table", &windows.table);
            match did_you_mean(&windows.table, known) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("name one of the tables under [tables]"),
            }
        })?;
        Self::fit(spine, &provider.schema(), windows).at("table", &windows.table)
    }

    fn fit(spine: &Spine, table: &Schema, windows: &RollingWindows) -> Result<Self> {
        let mut keys = Vec::new();
        for (own, other) in &windows.keys {
            let (left, right) = (spine_field(spine.columns.iter(), own)?, table_field(table, other)?);
            let kind = shared_type(left.data_type(), right.data_type()).ok_or_else(|| {
                let (left, right) = (left.data_type(), right.data_type());
                Error::usage(format!("a key of type {left} never equals one of type {right}"))
                    .with("column", own)
                    .hint("keys are numbers, texts, dates or the like of one kind, but no floats: cast them in the SQL")
            })?;
            keys.push((as_kind(left, &kind), as_kind(right, &kind)));
        }
        let time = table_field(table, &windows.time)?.clone();
        is_time(&time, "`time` of windows is a column of timestamps or dates")?;
        let tick = tick(&spine.time).max(tick(&time));
        let is_zoned = [&spine.time, &time].iter().any(|field| zone(field).is_some());
        let mut values: Vec<(String, DataType)> = Vec::new();
        let mut outputs = Vec::new();
        for column in &windows.columns {
            let value = match &column.column {
                None => None,
                Some(name) => {
                    let value = value(table_field(table, name)?, column.function)?;
                    let known = values.iter().position(|known| *known == value);
                    Some(known.unwrap_or_else(|| {
                        values.push(value);
                        values.len() - 1
                    }))
                }
            };
            if value.is_none() && column.function != RollingFunction::Count {
                let message = format!("`{}` is of a column, and none is named", column.function.name());
                return Err(Error::usage(message).with("column", &column.name).hint("name the table's column"));
            }
            let (name, over) = (column.name.clone(), column.over.clone());
            outputs.push(Output { name, function: column.function, value, over });
        }
        Ok(Self {
            table: windows.table.clone(),
            keys,
            key_columns: windows.keys.iter().map(|(_, name)| name.clone()).collect(),
            times: (as_time(&spine.time, tick, is_zoned), as_time(&time, tick, is_zoned)),
            time,
            tick,
            delay: windows.delay,
            closed: windows.closed,
            values,
            outputs,
        })
    }

    /// How far before a row's time its windows reach.
    pub(super) fn look_back(&self) -> TimeDelta {
        let longest = self.outputs.iter().map(|output| output.over.1).max().unwrap_or_default();
        self.delay + longest
    }
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn spine_field<'a>(mut columns: impl Iterator<Item = &'a Field> + Clone, name: &str) -> Result<&'a Field> {
    let known = columns.clone().map(|field| field.name().as_str());
    let missing = || missing("the features SQL gives no such column, and windows need it", name, known);
    columns.find(|field| field.name() == name).ok_or_else(missing)
}

fn table_field<'a>(table: &'a Schema, name: &str) -> Result<&'a Field> {
    let known = table.fields().iter().map(|field| field.name().as_str());
    table.field_with_name(name).map_err(|_| missing("the table has no such column", name, known))
}

fn missing<'a>(message: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let error = Error::usage(message).with("column", name);
    match did_you_mean(name, known.clone()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("it has: {}", known.collect::<Vec<_>>().join(", "))),
    }
}

fn is_time(field: &Field, hint: &str) -> Result<()> {
    match field.data_type() {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Ok(()),
        other => {
            Err(Error::usage(format!("this column is no time but {other}")).with("column", field.name()).hint(hint))
        }
    }
}

fn tick(field: &Field) -> Tick {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Tick::Nanosecond,
        _ => Tick::Microsecond,
    }
}

fn zone(field: &Field) -> Option<&str> {
    match field.data_type() {
        DataType::Timestamp(_, zone) => zone.as_deref(),
        _ => None,
    }
}

/// A column as a key of this type.
fn as_kind(field: &Field, kind: &DataType) -> String {
    let name = quoted(field.name());
    if field.data_type() == kind { name } else { format!("arrow_cast({name}, '{kind}')") }
}

/// A column of times in the type in which both sides are compared.
fn as_time(field: &Field, tick: Tick, is_zoned: bool) -> String {
    let unit = match tick {
        Tick::Microsecond => TimeUnit::Microsecond,
        Tick::Nanosecond => TimeUnit::Nanosecond,
    };
    let (name, plain) = (quoted(field.name()), DataType::Timestamp(unit, None));
    let wanted = if is_zoned { DataType::Timestamp(unit, Some("UTC".into())) } else { plain.clone() };
    if *field.data_type() == wanted {
        return name;
    }
    let name = match field.data_type() {
        // What has no zone is taken for UTC.
        DataType::Date32 | DataType::Date64 if is_zoned => format!("arrow_cast({name}, '{}')", cast_name(&plain)),
        _ => name,
    };
    format!("arrow_cast({name}, '{}')", cast_name(&wanted))
}

/// The name of a type for `arrow_cast`.
pub(super) fn cast_name(kind: &DataType) -> String {
    match kind {
        DataType::Time32(unit) => format!("Time32({unit:?})"),
        DataType::Time64(unit) => format!("Time64({unit:?})"),
        DataType::Duration(unit) => format!("Duration({unit:?})"),
        DataType::Timestamp(unit, Some(zone)) => format!("Timestamp({unit:?}, Some(\"{zone}\"))"),
        DataType::Timestamp(unit, None) => format!("Timestamp({unit:?}, None)"),
        other => other.to_string(),
    }
}

/// A column in a form that a function takes, and the type of that.
fn value(field: &Field, function: RollingFunction) -> Result<(String, DataType)> {
    use RollingFunction::{Count, Distinct, Last, Max, Mean, Min, Stddev, Sum};
    let (name, mut kind) = (quoted(field.name()), field.data_type());
    let plain = || Ok((name.clone(), field.data_type().clone()));
    while let DataType::Dictionary(_, values) = kind {
        kind = values;
    }
    match function {
        Sum | Mean | Stddev if *kind == DataType::Boolean => Ok((format!("CAST({name} AS BIGINT)"), DataType::Int64)),
        Mean | Stddev if kind.is_decimal() => Ok((format!("CAST({name} AS DOUBLE)"), DataType::Float64)),
        Sum | Mean | Stddev if kind.is_numeric() => plain(),
        Count | Min | Max | Last | Distinct if !kind.is_nested() => plain(),
        _ => Err(Error::usage(format!("`{}` is not defined for columns of type {kind}", function.name()))
            .with("column", field.name())
            .hint("`sum`, `mean` and `stddev` are of numbers and truth values; no column may be nested")),
    }
}
