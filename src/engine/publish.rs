//! From committed or staged prediction files to a generation of the lookup table.
//!
//! The rows are sorted by the encoded key out of core, the preferred row of a key first, loaded
//! aside, read back and compared; only the flip makes them visible. A table never goes back to an
//! older interval: where a newer one is published, a backfill leaves the lookup table alone. An
//! interval without rows leaves readers what they have, unless that is of this very interval: then its
//! values go, for they are no longer in the predictions.
//!
//! What was rolled back from stays so: a run that was published before and finds its work done does not
//! publish again by itself. A run of other inputs does, and so does the same one with `--force`.

use super::Engine;
use super::receipt::LookupPublished;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::interval::instant;
use crate::job::{JobSpec, Keep, LookupLayout, LookupMode, LookupSpec};
use crate::lookup::{
    self, Base, Columns, FlipRecord, GenerationMetadata, KeyColumns, Layout, Load, LookupOptions, LookupStore,
    LookupTable, Mode, Origin, Provenance, Sealed,
};
use crate::plan::Plan;
use crate::query::{Code, FileRows, Sorting, sorted_file_rows};
use arrow::datatypes::{Schema, SchemaRef};
use chrono::DateTime;
use futures::TryStreamExt;
use std::sync::Arc;

/// The lookup table of a job, as it was when the run began.
pub struct Target {
    table: LookupTable,
    store: &'static dyn LookupStore,
    spec: LookupSpec,
    /// The pointer when the run began: what a flip expects.
    pointer: Option<u64>,
    /// What readers see; absent also where the current generation is damaged.
    current: Option<GenerationMetadata>,
    /// What is kept, where the mode may need an older generation than the current one.
    kept: Vec<GenerationMetadata>,
    flips: Vec<FlipRecord>,
}

/// The prediction rows that are to be published.
pub struct Published<'a> {
    /// Their files, as URLs.
    pub files: &'a [String],
    /// Their columns.
    pub schema: SchemaRef,
    /// How many they are.
    pub rows: u64,
}

/// Which run publishes.
pub struct Publisher<'a> {
    /// The run.
    pub run_id: &'a str,
    /// This try of it.
    pub attempt: &'a str,
    /// The model's version.
    pub model_version: u64,
}

/// Checks that rows of `schema` can be published in the job's lookup table, if it has one.
///
/// # Errors
/// A usage error for a column of a type that can't be a key or a value.
pub fn check_columns(spec: &JobSpec, schema: &Schema) -> Result<()> {
    let Some(written) = &spec.lookup else { return Ok(()) };
    lookup::check_columns(schema, written.key.names(), &written.value).at("table", &spec.name)
}

/// The columns of the lookup key, if the job has a lookup table, and how long keys may be.
///
/// # Errors
/// Usage: a store that is none.
pub fn key_columns(spec: &JobSpec) -> Result<Option<KeyColumns>> {
    let of = |written: &LookupSpec| {
        let store = lookup::lookup(written.store.value())?;
        Ok(KeyColumns::new(written.key.names(), store.max_key_bytes()))
    };
    spec.lookup.as_ref().map(of).transpose()
}

impl Target {
    /// The job's lookup table, if it has one. A damaged current generation is told and replaced.
    ///
    /// # Errors
    /// Usage: a store that is none. Verification: a pointer that can't be
    /// read.
    pub async fn open(engine: &Engine, plan: &Plan) -> Result<Option<Self>> {
        let Some(spec) = plan.job.spec.lookup.clone() else { return Ok(None) };
        let store = lookup::lookup(spec.store.value())?;
        let table = table(plan, &spec)?;
        let merges = spec.mode == LookupMode::Merge;
        let look = {
            let table = table.clone();
            move || {
                let kept = if merges { store.generations(&table)? } else { Vec::new() };
                Ok((store.current(&table)?, readable(store, &table)?, kept, store.flips(&table)?))
            }
        };
        let (pointer, current, kept, flips) = engine.runtime.block(look).await?;
        Ok(Some(Self { table, store, spec, pointer, current, kept, flips }))
    }

    /// Whether readers see the values of this run.
    pub fn shows(&self, run_id: &str) -> bool {
        self.current.as_ref().is_some_and(|current| current.provenance.run_id == run_id)
    }

    /// Whether readers see values of this interval, of whichever run.
    pub fn shows_interval(&self, plan: &Plan) -> bool {
        self.current.as_ref().is_some_and(|current| current.provenance.interval == plan.interval.to_string())
    }

    /// Why this run's values must not be published: a newer interval is.
    pub fn newer(&self, plan: &Plan) -> Option<String> {
        let current = self.current.as_ref()?;
        let end = DateTime::parse_from_rfc3339(&current.provenance.interval_end);
        let is_newer = end.is_ok_and(|end| end > plan.interval.end());
        is_newer.then(|| format!("the newer interval {} is published; left as it is", current.provenance.interval))
    }

    /// Why this run's values are not published again: somebody has pointed readers away from them.
    pub fn rolled_back(&self, run_id: &str) -> Option<String> {
        let flip = lookup::rolled_back(&self.flips, run_id)?;
        let kept = self.flips.iter().rfind(|past| past.run_id == run_id).map_or(0, |past| past.generation);
        Some(format!(
            "rolled back to generation {} by {} at {} ({}); left so: `lakemill lookup rollback {} --to {kept}` or \
             `score --force` publishes these values again",
            flip.generation, flip.by, flip.at, flip.why, self.table.name
        ))
    }

    /// What readers see, as a receipt tells it.
    pub fn published(&self, note: Option<String>) -> LookupPublished {
        let keys = self.current.as_ref().map_or(0, |current| current.keys);
        let generation = self.current.as_ref().map(|current| current.generation).filter(|_| note.is_none());
        LookupPublished { generation, keys, note, ..LookupPublished::default() }
    }

    /// Loads and verifies a generation of `rows`; nobody sees it yet.
    ///
    /// # Errors
    /// Check: keys that are null, empty or too long, or have several rows where that is refused; values that
    /// are not finite. Usage: a merge over other columns. Budget: too little memory to sort. What the store
    /// fails with.
    pub async fn build(
        &self,
        engine: &Engine,
        plan: &Plan,
        rows: &Published<'_>,
        by: &Publisher<'_>,
    ) -> Result<Sealed> {
        let base = self.base(plan, &rows.schema)?;
        match self.build_over(base, engine, plan, rows, by).await {
            // Nothing of the base would stay in the new generation: it is sent whole.
            Err(error) if error.kind() == ErrorKind::Verification && matches!(base, Base::Changed(_)) => {
                tracing::warn!(%error, "the generation to compare with cannot be read; all keys are sent");
                self.build_over(Base::Nothing, engine, plan, rows, by).await
            }
            built => built,
        }
    }

    async fn build_over(
        &self,
        base: Base,
        engine: &Engine,
        plan: &Plan,
        rows: &Published<'_>,
        by: &Publisher<'_>,
    ) -> Result<Sealed> {
        let (store, table, count) = (self.store, self.table.clone(), rows.rows);
        let partitions = engine.runtime.block(move || store.partitions(&table, count, &base)).await?;
        let rows = self.sorted(plan, rows, partitions).await?;
        let provenance = Provenance {
            run_id: by.run_id.to_owned(),
            job: plan.job.spec.name.clone(),
            interval: plan.interval.to_string(),
            interval_end: instant(plan.interval.end()),
            model: plan.job.spec.name.clone(),
            model_version: by.model_version,
            keep: self.keep_word().to_owned(),
        };
        let origin = Origin { provenance, mode: self.mode(), base, partitions };
        let (table, spec, schema) = (self.table.clone(), self.spec.clone(), Arc::clone(&rows.schema));
        let attempt = by.attempt.to_owned();
        let begin = move || {
            let columns = Columns { schema: &schema, key: spec.key.names(), values: &spec.value };
            Load::begin(store, &table, &columns, origin, &attempt)
        };
        let load = engine.runtime.block(begin).await?;
        let load = fill(engine, load, rows).await?;
        if self.spec.keep == Keep::Refuse && load.duplicates() > 0 {
            return Err(self.several_rows(&load));
        }
        let published_at = engine.now();
        engine.runtime.block(move || load.verify()?.seal(&published_at)).await
    }

    fn several_rows(&self, load: &Load) -> Error {
        let error = Error::check(format!("{} of {} rows have the key of another row", load.duplicates(), load.rows()))
            .with("table", &self.table.name)
            .with("column", self.spec.key.names().join(", "));
        load.duplicate_keys()
            .iter()
            .fold(error, |error, key| error.with("key", key))
            .hint("`keep` in [lookup] is \"refuse\"; \"latest\" or \"max_score\" keep one row a key, or the SQL does")
    }

    /// What a generation of this interval begins with. Merged over itself, an interval that is scored again
    /// would keep the keys that it has lost: it begins where it began before.
    fn base(&self, plan: &Plan, schema: &Schema) -> Result<Base> {
        let Some(current) = &self.current else {
            return match (self.pointer, self.spec.mode) {
                (Some(damaged), LookupMode::Merge) => {
                    Err(Error::verification("the generation to merge over cannot be read")
                        .with("table", &self.table.name)
                        .with("generation", damaged)
                        .hint("roll back to one that is whole, or publish once with --set lookup.mode=replace"))
                }
                _ => Ok(Base::Nothing),
            };
        };
        let base = match self.spec.mode {
            LookupMode::Replace => return Ok(Base::Nothing),
            LookupMode::Changed => return Ok(Base::Changed(current.generation)),
            // All that is there is of this interval.
            LookupMode::Merge if self.shows_interval(plan) && current.mode != Mode::Merge => return Ok(Base::Nothing),
            LookupMode::Merge if self.shows_interval(plan) => match current.base {
                None => return Ok(Base::Nothing),
                Some(before) => self.kept.iter().find(|kept| kept.generation == before).unwrap_or_else(|| {
                    let table = &self.table.name;
                    tracing::warn!(table, "the generation before this interval is gone: keys that it lost stay");
                    current
                }),
            },
            LookupMode::Merge => current,
        };
        let same_key = base.key_names().iter().eq(self.spec.key.names());
        let same_values = base.values.iter().map(|column| &column.name).eq(&self.spec.value);
        let same_types = base.values.iter().all(|column| {
            schema.field_with_name(&column.name).is_ok_and(|field| field.data_type().to_string() == column.data_type)
        });
        if same_key && same_values && same_types {
            return Ok(Base::Merge(base.generation));
        }
        Err(Error::usage("the generation to merge over has other columns")
            .with("table", &self.table.name)
            .with("generation", base.generation)
            .hint("publish once with --set lookup.mode=replace"))
    }

    /// Makes a generation the current one, unless somebody else has moved the pointer since
    /// [`Target::open`].
    ///
    /// # Errors
    /// `conflict` in that case; what the store fails with.
    pub async fn flip(&self, engine: &Engine, plan: &Plan, sealed: Sealed) -> Result<LookupPublished> {
        let expected = self.pointer;
        let keep = self.spec.keep_generations as usize;
        let duplicate_keys = sealed.duplicate_keys().to_vec();
        let metadata = sealed.metadata().clone();
        let by = engine.flip_note(&format!("scored {}", plan.interval));
        let flip = engine.runtime.block(move || sealed.flip(expected, keep, &by)).await?;
        if let Some(leftover) = flip.leftover {
            tracing::warn!(%leftover, "an old generation of the lookup table could not be removed");
        }
        Ok(LookupPublished {
            generation: Some(flip.generation),
            keys: metadata.keys,
            mode: Some(metadata.mode),
            written: metadata.written,
            unchanged: metadata.unchanged,
            removed: metadata.removed,
            duplicates: metadata.duplicates,
            duplicate_keys,
            note: None,
        })
    }

    fn keep_word(&self) -> &'static str {
        match self.spec.keep {
            Keep::Latest => "latest",
            Keep::MaxScore => "max_score",
            Keep::Refuse => "refuse",
        }
    }

    fn mode(&self) -> Mode {
        match self.spec.mode {
            LookupMode::Replace => Mode::Replace,
            LookupMode::Merge => Mode::Merge,
            LookupMode::Changed => Mode::Changed,
        }
    }

    /// The rows by partition and key, the one to keep first; ties are broken by the columns that tell rows
    /// apart.
    async fn sorted(&self, plan: &Plan, rows: &Published<'_>, partitions: u32) -> Result<FileRows> {
        let features = &plan.job.spec.features;
        let score = (self.spec.keep == Keep::MaxScore).then_some("score");
        let preference =
            score.into_iter().chain([features.time.as_str()]).chain(features.key.iter().map(String::as_str));
        let keys = KeyColumns::new(self.spec.key.names(), self.store.max_key_bytes());
        let code: Code = Arc::new(move |batch| keys.sort_codes(batch, partitions));
        let sorting = Sorting {
            first: (self.spec.key.names(), code),
            then_greatest: preference.collect(),
            with: self.spec.value.iter().map(String::as_str).collect(),
        };
        sorted_file_rows(rows.files, &rows.schema, &sorting).await
    }
}

/// What the current generation holds, if there is one and it can be read.
fn readable(store: &dyn LookupStore, table: &LookupTable) -> Result<Option<GenerationMetadata>> {
    match store.open(table) {
        Ok(reader) => Ok(reader.map(|reader| reader.metadata().clone())),
        Err(error) if error.kind() == ErrorKind::Verification => {
            tracing::warn!(%error, table = table.name, "the current generation is damaged and will be replaced");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Where the job's lookup table lies, and how it is to be kept.
fn table(plan: &Plan, spec: &LookupSpec) -> Result<LookupTable> {
    let default = LookupOptions::default();
    let options = LookupOptions {
        max_rows_per_sec: spec.max_rows_per_sec,
        ttl_secs: spec.ttl.map(crate::job::Duration::secs),
        layout: match spec.layout {
            LookupLayout::Buckets => Layout::Buckets,
            LookupLayout::Strings => Layout::Strings,
        },
        prefix: spec.prefix.clone().unwrap_or(default.prefix),
        connections: spec.connections.unwrap_or(default.connections),
    };
    Ok(LookupTable::under(&plan.home, &plan.job.spec.name, spec.store.value())?.with(options))
}

async fn fill(engine: &Engine, mut load: Load, mut rows: FileRows) -> Result<Load> {
    while let Some(batch) = rows.batches.try_next().await? {
        let push = move || {
            load.push(&batch)?;
            Ok(load)
        };
        load = engine.runtime.block(push).await?;
    }
    Ok(load)
}
