//! For every position of the spine the best row of the feature table that first counts there.

use super::groups::NONE;
use super::index::{Index, NOWHERE, Search};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::row::{RowConverter, SortField};
use std::sync::Arc;

/// The batch of a position that has no candidate.
const NOTHING: u32 = u32::MAX;

/// The batch of a candidate that lies in the batch that is being read.
const PENDING: u32 = u32::MAX - 1;

/// Rows that may be kept in vain before what is kept is tidied up.
const SLACK: usize = 16_384;

/// One row of the feature table: its times, and where its values are kept.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    time: i64,
    available: i64,
    batch: u32,
    row: u32,
}

impl Candidate {
    fn is_there(&self) -> bool {
        self.batch != NOTHING
    }

    /// What is newest; equal for rows whose values have to decide.
    fn rank(&self) -> (i64, i64) {
        (self.time, self.available)
    }
}

/// Rows of the feature table as they come.
pub(super) struct Offer<'a> {
    /// The columns of the key.
    pub(super) keys: &'a [ArrayRef],
    /// Event times.
    pub(super) time: &'a Int64Array,
    /// Since when a row is known.
    pub(super) available: &'a Int64Array,
    /// The joined columns.
    pub(super) values: RecordBatch,
}

/// What the spine's rows get.
pub(super) struct Matches {
    values: RecordBatch,
    found: Vec<u32>,
}

impl Matches {
    /// No row gets anything.
    pub(super) fn none(schema: &SchemaRef, rows: usize) -> Self {
        Self { values: RecordBatch::new_empty(Arc::clone(schema)), found: vec![NONE; rows] }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.found.len()
    }

    /// The joined columns for `count` rows from `first` on.
    ///
    /// # Errors
    /// None in practice: all places are inside.
    pub(super) fn columns(&self, first: usize, count: usize) -> Result<Vec<ArrayRef>> {
        let found = &self.found[first..first + count];
        if self.values.num_rows() == 0 {
            let kinds = self.values.columns().iter().map(|column| column.data_type());
            return Ok(kinds.map(|kind| arrow::array::new_null_array(kind, count)).collect());
        }
        let places: UInt32Array = found.iter().map(|place| (*place != NONE).then_some(*place)).collect();
        self.values.columns().iter().map(|column| take(column, &places, None).map_err(unkept)).collect()
    }
}

/// The candidates of all positions, and the values that they need.
pub(super) struct Candidates {
    best: Vec<Candidate>,
    schema: SchemaRef,
    kept: Vec<RecordBatch>,
    kept_rows: usize,
    kept_bytes: usize,
    live: usize,
    max_age: Option<i64>,
    /// For the values of rows that are equally new; made when the first two meet.
    order: Option<RowConverter>,
    groups: Vec<u32>,
    since: Vec<i64>,
    search: Search,
    newest: Vec<i64>,
    taken: Vec<u32>,
}

impl Candidates {
    pub(super) fn new(positions: usize, schema: &SchemaRef, max_age: Option<i64>) -> Self {
        let nothing = Candidate { time: i64::MIN, available: i64::MIN, batch: NOTHING, row: 0 };
        Self {
            best: vec![nothing; positions],
            schema: Arc::clone(schema),
            kept: Vec::new(),
            kept_rows: 0,
            kept_bytes: 0,
            live: 0,
            max_age,
            order: None,
            groups: Vec::new(),
            since: Vec::new(),
            search: Search::default(),
            newest: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// Memory of the kept values, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Takes from the rows what is newer than what is there.
    ///
    /// # Errors
    /// Where columns are not of the types that were planned.
    pub(super) fn offer(&mut self, index: &Index<'_>, offer: &Offer<'_>) -> Result<()> {
        index.groups.find(offer.keys, &mut self.groups)?;
        let (times, availables) = (offer.time.values(), offer.available.values());
        let nulls = (offer.time.nulls().is_some() || offer.available.nulls().is_some())
            .then(|| (0..times.len()).map(|row| offer.time.is_null(row) || offer.available.is_null(row)));
        if let Some(nulls) = nulls {
            self.groups.iter_mut().zip(nulls).filter(|(_, is_null)| *is_null).for_each(|(group, _)| *group = NONE);
        }
        self.since.clear();
        self.since.extend(times.iter().zip(availables).map(|(time, available)| *time.max(available)));
        index.first_since(&self.groups, &self.since, &mut self.search);
        // One more pass over memory that is far away. Within the batch the newest can only get newer.
        self.newest.clear();
        self.newest.extend(self.search.found.iter().map(|position| match *position {
            NOWHERE => i64::MAX,
            position => self.best[position as usize].time,
        }));
        self.taken.clear();
        let mut ties: Vec<(u32, u32)> = Vec::new();
        for (row, position) in self.search.found.iter().enumerate().filter(|(_, position)| **position != NOWHERE) {
            let (time, available) = (times[row], availables[row]);
            if time < self.newest[row] {
                continue;
            }
            let position = *position as usize;
            if self.max_age.is_some_and(|age| time < index.time(position).saturating_sub(age)) {
                continue;
            }
            let best = &mut self.best[position];
            if !best.is_there() || (time, available) > best.rank() {
                self.live += usize::from(!best.is_there());
                *best = Candidate { time, available, batch: PENDING, row: row as u32 };
                self.taken.push(position as u32);
            } else if (time, available) == best.rank() {
                ties.push((position as u32, row as u32));
            }
        }
        ties.retain(|(position, row)| {
            self.best[*position as usize].rank() == (times[*row as usize], availables[*row as usize])
        });
        if !ties.is_empty() {
            self.settle(ties, &offer.values)?;
        }
        self.keep(&offer.values)?;
        if self.kept_rows > 2 * self.live + SLACK {
            self.tidy(index)?;
        }
        Ok(())
    }

    /// Among rows that are equally new the one with the greatest values counts, column by column.
    fn settle(&mut self, mut ties: Vec<(u32, u32)>, batch: &RecordBatch) -> Result<()> {
        ties.sort_unstable();
        let contenders: UInt32Array = ties.iter().map(|(_, row)| *row).collect();
        let contenders: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .map(|column| take(column, &contenders, None).map_err(unkept))
            .collect::<Result<_>>()?;
        let mut positions: Vec<u32> = ties.iter().map(|(position, _)| *position).collect();
        positions.dedup();
        let held: Vec<(usize, usize)> = positions
            .iter()
            .map(|position| {
                let best = &self.best[*position as usize];
                let place = if best.batch == PENDING { self.kept.len() } else { best.batch as usize };
                (place, best.row as usize)
            })
            .collect();
        let held = gathered(self.kept.iter().chain([batch]), &held, batch.num_columns())?;
        let order = match &self.order {
            Some(order) => order,
            None => {
                let fields = self.schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
                self.order.insert(RowConverter::new(fields.collect()).map_err(unkept)?)
            }
        };
        let contenders = order.convert_columns(&contenders).map_err(unkept)?;
        let held = order.convert_columns(&held).map_err(unkept)?;
        let mut next = 0;
        for (number, position) in positions.iter().enumerate() {
            let mut greatest = held.row(number);
            while let Some((_, row)) = ties.get(next).filter(|(of, _)| of == position) {
                let contender = contenders.row(next);
                if contender > greatest {
                    greatest = contender;
                    let best = &mut self.best[*position as usize];
                    (best.batch, best.row) = (PENDING, *row);
                    self.taken.push(*position);
                }
                next += 1;
            }
        }
        Ok(())
    }

    /// Copies the values of the batch's rows that won.
    fn keep(&mut self, values: &RecordBatch) -> Result<()> {
        let batch = self.kept.len() as u32;
        let mut rows: Vec<u32> = Vec::new();
        for position in &self.taken {
            let best = &mut self.best[*position as usize];
            // A position that was won twice is here twice.
            if best.batch == PENDING {
                rows.push(best.row);
                (best.batch, best.row) = (batch, rows.len() as u32 - 1);
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let places = UInt32Array::from(rows);
        let columns = values.columns().iter().map(|column| take(column, &places, None).map(compact).map_err(unkept));
        self.push(columns.collect::<Result<_>>()?)
    }

    fn push(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(unkept)?;
        self.kept_rows += batch.num_rows();
        self.kept_bytes += batch.get_array_memory_size();
        self.kept.push(batch);
        Ok(())
    }

    /// Drops values that nobody needs any more: of candidates that were replaced, and of those that
    /// are not newer than the one of an earlier position.
    pub(super) fn tidy(&mut self, index: &Index<'_>) -> Result<()> {
        let mut places = Vec::with_capacity(self.live);
        for group in index.of_groups() {
            let mut newest: Option<(i64, i64)> = None;
            for best in self.best[group].iter_mut().filter(|best| best.is_there()) {
                if newest.is_some_and(|newest| best.rank() < newest) {
                    best.batch = NOTHING;
                    continue;
                }
                newest = Some(best.rank());
                places.push((best.batch as usize, best.row as usize));
                (best.batch, best.row) = (0, places.len() as u32 - 1);
            }
        }
        let columns = gathered(self.kept.iter(), &places, self.schema.fields().len())?;
        self.kept.clear();
        (self.kept_rows, self.kept_bytes, self.live) = (0, 0, places.len());
        if places.is_empty() { Ok(()) } else { self.push(columns.into_iter().map(compact).collect()) }
    }

    /// Carries each group's candidates on to its later positions; `rows` are the rows of the range.
    ///
    /// # Errors
    /// None in practice: all places are inside.
    pub(super) fn finish(self, index: &Index<'_>, rows: usize) -> Result<Matches> {
        let mut found = vec![NONE; rows];
        let mut places: Vec<(usize, usize)> = Vec::new();
        for group in index.of_groups() {
            let mut newest: Option<Candidate> = None;
            let mut place = None;
            for position in group {
                let best = self.best[position];
                if best.is_there() && newest.is_none_or(|newest| best.rank() > newest.rank()) {
                    (newest, place) = (Some(best), None);
                }
                let Some(newest) = newest else { continue };
                // No older row can do where the newest is too old.
                if self.max_age.is_some_and(|age| newest.time < index.time(position).saturating_sub(age)) {
                    continue;
                }
                let place = *place.get_or_insert_with(|| {
                    places.push((newest.batch as usize, newest.row as usize));
                    places.len() as u32 - 1
                });
                found[index.row(position)] = place;
            }
        }
        if places.is_empty() {
            return Ok(Matches::none(&self.schema, rows));
        }
        let columns = gathered(self.kept.iter(), &places, self.schema.fields().len())?;
        let values = RecordBatch::try_new(self.schema, columns).map_err(unkept)?;
        Ok(Matches { values, found })
    }
}

/// The rows at `places` (batch, row), column by column.
fn gathered<'a>(
    batches: impl Iterator<Item = &'a RecordBatch>,
    places: &[(usize, usize)],
    width: usize,
) -> Result<Vec<ArrayRef>> {
    let batches: Vec<&RecordBatch> = batches.collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let columns = (0..width).map(|number| {
        let arrays: Vec<&dyn Array> = batches.iter().map(|batch| batch.column(number).as_ref()).collect();
        interleave(&arrays, places).map_err(unkept)
    });
    columns.collect()
}

/// A column that holds on to no more than its own values: views point into the buffers that they came from.
pub(super) fn compact(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column,
    }
}

fn unkept(source: arrow::error::ArrowError) -> Error {
    Error::failed("values of a point-in-time join cannot be kept").because(source)
}
