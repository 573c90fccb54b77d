//! A point-in-time join whose names were looked up: types, columns, and the scan of its table.

use super::AsofJoin;
use super::candidates::Offer;
use super::forms::{KeyForm, Unit};
use crate::error::{Error, Result, ResultExt, did_you_mean};
use crate::query::session::Session;
use crate::tables::errors::from_datafusion;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::TimeDelta;
use datafusion::common::{Column, ScalarValue, TableReference};
use datafusion::logical_expr::lit;
use datafusion::prelude::{DataFrame, Expr};
use std::sync::Arc;

/// Where the times of a scan begin and end, both included, and the keys where they are numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) keys: Option<(i64, i64)>,
}

/// A join that fits the columns of both sides.
pub(super) struct Resolved {
    /// The table's name.
    pub(super) table: String,
    /// How keys are compared.
    pub(super) form: KeyForm,
    /// The columns of the spine's key.
    spine_keys: Vec<String>,
    /// The joined columns under their new names.
    pub(super) values: SchemaRef,
    /// How old a row may be.
    pub(super) max_age: Option<TimeDelta>,
    /// The columns that are read.
    columns: Vec<Field>,
    /// The numbers of the key's, the times' and the joined columns among them.
    keys: Vec<usize>,
    time: usize,
    available: usize,
    joined: Vec<usize>,
}

impl Resolved {
    /// Looks the names up.
    ///
    /// # Errors
    /// A usage error for a table or a column that is not there, for times that are none, keys that
    /// can't be equal, and names that are taken.
    pub(super) async fn new(session: &Session, spine: &Schema, join: &AsofJoin) -> Result<Self> {
        let table = schema_of(session, &join.table).await?;
        Self::fit(spine, &table, join).at("table", &join.table)
    }

    fn fit(spine: &Schema, table: &Schema, join: &AsofJoin) -> Result<Self> {
        let mut columns: Vec<Field> = Vec::new();
        let mut read = |name: &str| -> Result<usize> {
            if let Some(known) = columns.iter().position(|column| column.name() == name) {
                return Ok(known);
            }
            columns.push(field(table, name, "the table has no such column")?.clone());
            Ok(columns.len() - 1)
        };
        let keys: Vec<usize> = join.keys.iter().map(|(_, name)| read(name)).collect::<Result<_>>()?;
        let time = read(&join.time)?;
        let available = read(join.available_time.as_ref().unwrap_or(&join.time))?;
        let joined: Vec<usize> = join.columns.iter().map(|(_, name)| read(name)).collect::<Result<_>>()?;
        for number in [time, available] {
            let column = &columns[number];
            if Unit::of(column.data_type()).is_none() {
                return Err(Error::usage(format!("this column is no time but {}", column.data_type()))
                    .with("column", column.name())
                    .hint("`time` and `available_time` of a point-in-time join are columns of timestamps or dates"));
            }
        }
        let pair = |((name, _), other): (&(String, String), &usize)| {
            Ok((spine_column(spine, name)?.data_type().clone(), columns[*other].data_type().clone()))
        };
        let pairs: Vec<_> = join.keys.iter().zip(&keys).map(pair).collect::<Result<_>>()?;
        let spine_keys = join.keys.iter().map(|(name, _)| name.clone()).collect();
        let form = KeyForm::of(&pairs).map_err(|wrong| {
            let (own, other) = &pairs[wrong];
            Error::usage(format!("a key of type {own} never equals one of type {other}"))
                .with("column", &join.keys[wrong].0)
                .hint("keys are numbers, texts, dates or the like of one kind, but no floats: cast them in the SQL")
        })?;
        let values = join.columns.iter().zip(&joined).map(|((name, _), number)| {
            let kind = columns[*number].data_type();
            Ok(Field::new(free(spine, name)?, kind.clone(), true))
        });
        let values = Arc::new(Schema::new(values.collect::<Result<Vec<_>>>()?));
        let max_age = join.max_age;
        Ok(Self {
            table: join.table.clone(),
            form,
            spine_keys,
            values,
            max_age,
            columns,
            keys,
            time,
            available,
            joined,
        })
    }

    /// The key of each row of the spine.
    pub(super) fn spine_keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        spine_columns(batch, &self.spine_keys)
    }

    /// The unit that holds the times of the table.
    pub(super) fn unit(&self) -> Option<Unit> {
        Unit::of(self.columns[self.time].data_type()).max(Unit::of(self.columns[self.available].data_type()))
    }

    /// How old a row may be, in ticks.
    pub(super) fn age(&self, unit: Unit) -> Option<i64> {
        self.max_age.map(|age| unit.span(age.num_seconds()))
    }

    /// The rows that can count for a spine within the bounds; only the needed columns.
    ///
    /// # Errors
    /// Where the table is not registered.
    pub(super) async fn scan(&self, session: &Session, unit: Unit, bounds: Bounds) -> Result<DataFrame> {
        let frame = session.context().table(TableReference::bare(self.table.clone())).await.map_err(from_datafusion)?;
        let filter = self.filters(unit, bounds).into_iter().reduce(Expr::and);
        let frame = match filter {
            Some(filter) => frame.filter(filter).map_err(from_datafusion)?,
            None => frame,
        };
        let columns: Vec<Expr> = self.columns.iter().map(|column| named(column.name())).collect();
        frame.select(columns).map_err(from_datafusion)
    }

    fn filters(&self, unit: Unit, bounds: Bounds) -> Vec<Expr> {
        let at = |number: usize, tick: i64| unit.at_or_before(tick, self.columns[number].data_type());
        let compared = |number: usize, value: Option<ScalarValue>, how: fn(Expr, Expr) -> Expr| {
            value.map(|value| how(named(self.columns[number].name()), lit(value)))
        };
        let mut filters = vec![compared(self.time, at(self.time, bounds.last), Expr::lt_eq)];
        if self.available != self.time {
            filters.push(compared(self.available, at(self.available, bounds.last), Expr::lt_eq));
        }
        // A time before the first tick bounds nothing.
        if let Some(oldest) = self.age(unit).and_then(|age| bounds.first.checked_sub(age)) {
            filters.push(compared(self.time, at(self.time, oldest), Expr::gt_eq));
        }
        if let (Some((low, high)), [key]) = (bounds.keys, self.keys.as_slice()) {
            let kind = self.columns[*key].data_type();
            let number = |key: i64| ScalarValue::Int64(Some(key)).cast_to(kind).ok().filter(|key| !key.is_null());
            filters.push(compared(*key, number(low), Expr::gt_eq));
            filters.push(compared(*key, number(high), Expr::lt_eq));
        }
        filters.into_iter().flatten().collect()
    }

    /// The parts of a batch of the scan.
    ///
    /// # Errors
    /// `check` for a time that is before all ticks.
    pub(super) fn parts(&self, unit: Unit, batch: &RecordBatch) -> Result<Parts> {
        let ticks = |number: usize| -> Result<Int64Array> {
            let ticks = unit.ticks(batch.column(number))?;
            match arrow::compute::min(&ticks) {
                Some(i64::MIN) => Err(Error::check("a time lies before all times that can be counted")
                    .with("table", &self.table)
                    .with("column", self.columns[number].name())
                    .hint("nanoseconds reach back to 1677: let the features SQL give its time in microseconds")),
                _ => Ok(ticks),
            }
        };
        let columns = self.joined.iter().map(|number| Arc::clone(batch.column(*number))).collect();
        let values = RecordBatch::try_new(Arc::clone(&self.values), columns)
            .map_err(|source| Error::failed("the table gave other columns than it has").because(source))?;
        let keys = self.keys.iter().map(|number| Arc::clone(batch.column(*number))).collect();
        Ok(Parts { keys, time: ticks(self.time)?, available: ticks(self.available)?, values })
    }

    /// What the join does, on one line.
    pub(super) fn describe(&self, time: &str) -> String {
        let names = |numbers: &[usize]| numbers.iter().map(|number| self.columns[*number].name().clone()).collect();
        let (own, other): (Vec<String>, Vec<String>) = (names(&self.keys), names(&self.joined));
        let keys: Vec<String> =
            self.spine_keys.iter().zip(own).map(|(spine_key, key)| format!("{spine_key} = {key}")).collect();
        let columns: Vec<String> = other
            .iter()
            .zip(self.values.fields())
            .map(|(from, to)| if from == to.name() { from.clone() } else { format!("{from} AS {}", to.name()) })
            .collect();
        let of = |number: usize| self.columns[number].name();
        let age = self.max_age.map(|age| format!(", {} >= {time} - {}s", of(self.time), age.num_seconds()));
        format!(
            "AsofJoin: table={}, on=[{}], [{} <= {time}, {} <= {time}{}], columns=[{}]",
            self.table,
            keys.join(", "),
            of(self.time),
            of(self.available),
            age.unwrap_or_default(),
            columns.join(", ")
        )
    }
}

/// A batch of the scan by what its columns are for.
pub(super) struct Parts {
    keys: Vec<ArrayRef>,
    time: Int64Array,
    available: Int64Array,
    values: RecordBatch,
}

impl Parts {
    pub(super) fn offer(&self) -> Offer<'_> {
        Offer { keys: &self.keys, time: &self.time, available: &self.available, values: self.values.clone() }
    }
}

/// A column by exactly this name, dots included.
fn named(column: &str) -> Expr {
    Expr::Column(Column::from_name(column))
}

async fn schema_of(session: &Session, table: &str) -> Result<SchemaRef> {
    let provider = session.context().table_provider(TableReference::bare(table.to_owned())).await;
    let known = session.tables().iter().map(|table| table.name.as_str());
    provider.map(|provider| provider.schema()).map_err(|_| {
        let error = Error::usage("a point-in-time join names a table that is not there").with("table", table);
        match did_you_mean(table, known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("name one of the tables under [tables]"),
        }
    })
}

fn field<'a>(schema: &'a Schema, name: &str, message: &str) -> Result<&'a Field> {
    if let Ok(field) = schema.field_with_name(name) {
        return Ok(field);
    }
    let known = || schema.fields().iter().map(|field| field.name().as_str());
    let error = Error::usage(message).with("column", name);
    Err(match did_you_mean(name, known()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("it has: {}", known().collect::<Vec<_>>().join(", "))),
    })
}

/// A column of the spine by its name.
pub(super) fn spine_column<'a>(spine: &'a Schema, name: &str) -> Result<&'a Field> {
    field(spine, name, "the features SQL gives no such column, and a point-in-time join needs it")
}

/// The columns of these names in a batch of the spine.
pub(super) fn spine_columns(batch: &RecordBatch, names: &[String]) -> Result<Vec<ArrayRef>> {
    let column = |name: &String| {
        let column = batch.column_by_name(name).map(Arc::clone);
        column.ok_or_else(|| Error::failed("the features SQL gave other columns than planned").with("column", name))
    };
    names.iter().map(column).collect()
}

fn free<'a>(spine: &Schema, name: &'a str) -> Result<&'a str> {
    match spine.field_with_name(name) {
        Err(_) => Ok(name),
        Ok(_) => Err(Error::usage("the features SQL gives a column of this name already")
            .with("column", name)
            .hint("give the joined column another name: columns = { new_name = \"column\" }")),
    }
}

/// The unit that holds the times of the spine and of all tables.
///
/// # Errors
/// A usage error where the spine's time is none.
pub(super) fn common_unit(spine: &Field, joins: &[Resolved]) -> Result<Unit> {
    let own = Unit::of(spine.data_type()).ok_or_else(|| {
        Error::usage(format!("a point-in-time join needs a time, and this column is {}", spine.data_type()))
            .with("column", spine.name())
            .hint("let the features SQL give a timestamp or a date as `features.time`")
    })?;
    // Polars gives microseconds, whatever was planned.
    Ok(joins.iter().filter_map(Resolved::unit).fold(own.max(Unit::MICROSECOND), Unit::max))
}

/// The type of a spine's time, for messages.
pub(super) fn out_of_range(kind: &DataType) -> Error {
    Error::check(format!("a time of the features SQL lies beyond all times that can be counted ({kind})"))
        .hint("beside a table with nanoseconds, times lie between 1677 and 2262")
}
