//! From committed or staged prediction files to a generation of the lookup table.
//!
//! The rows are sorted by the encoded key out of core, the preferred row of a key first, loaded
//! aside, read back and compared; only the flip makes them visible. A table never goes back to an
//! older interval: where a newer one is published, a backfill leaves the lookup table alone. An
//! interval without rows leaves readers what they have, unless that is of this very interval: then an
//! empty generation replaces it, for its values are no longer in the predictions.

use super::Engine;
use super::receipt::LookupPublished;
use crate::error::{ErrorKind, Result, ResultExt};
use crate::interval::instant;
use crate::job::{JobSpec, Keep, LookupSpec};
use crate::lookup::{self, GenerationMetadata, Load, LookupStore, LookupTable, Provenance, Sealed, encoded_keys};
use crate::plan::Plan;
use crate::query::{FileRows, Sorting, sorted_file_rows};
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;

/// The lookup table of a job, as it was when the run began.
pub struct Target {
    table: LookupTable,
    store: &'static dyn LookupStore,
    spec: LookupSpec,
    /// The pointer when the run began: what a flip expects.
    pointer: Option<u64>,
    /// What readers see; absent also where the current generation is damaged.
    current: Option<GenerationMetadata>,
}

/// The prediction rows that are to be published.
pub struct Published<'a> {
    /// Their files, as URLs.
    pub files: &'a [String],
    /// Their columns.
    pub schema: SchemaRef,
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
    lookup::check_columns(schema, &written.key, &written.value).at("table", &spec.name)
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
        let (pointer, current) = {
            let table = table.clone();
            engine.runtime.block(move || Ok((store.current(&table)?, readable(store, &table)?))).await?
        };
        Ok(Some(Self { table, store, spec, pointer, current }))
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
        // RFC 3339 in UTC without fractions sorts as text.
        let is_newer = current.provenance.interval_end > instant(plan.interval.end());
        is_newer.then(|| format!("the newer interval {} is published; left as it is", current.provenance.interval))
    }

    /// What readers see, as a receipt tells it.
    pub fn published(&self, note: Option<String>) -> LookupPublished {
        let keys = self.current.as_ref().map_or(0, |current| current.keys);
        let generation = self.current.as_ref().map(|current| current.generation).filter(|_| note.is_none());
        LookupPublished { generation, keys, note }
    }

    /// Loads and verifies a generation of `rows`; nobody sees it yet.
    ///
    /// # Errors
    /// Check: keys that are null, empty or too long, values that are not finite. Budget: too little
    /// memory to sort. What the store fails with.
    pub async fn build(
        &self,
        engine: &Engine,
        plan: &Plan,
        rows: &Published<'_>,
        by: &Publisher<'_>,
    ) -> Result<Sealed> {
        let rows = self.sorted(plan, rows).await?;
        let provenance = Provenance {
            run_id: by.run_id.to_owned(),
            job: plan.job.spec.name.clone(),
            interval: plan.interval.to_string(),
            interval_end: instant(plan.interval.end()),
            model: plan.job.spec.name.clone(),
            model_version: by.model_version,
            keep: self.keep_word().to_owned(),
        };
        let columns = (self.spec.key.as_str(), self.spec.value.as_slice());
        let load = Load::begin(self.store, &self.table, &rows.schema, columns, provenance, by.attempt)?;
        let load = fill(engine, load, rows).await?;
        engine.runtime.block(move || load.verify()?.seal()).await
    }

    /// Makes a generation the current one, unless somebody else has moved the pointer since
    /// [`Target::open`].
    ///
    /// # Errors
    /// `conflict` in that case; what the store fails with.
    pub async fn flip(&self, engine: &Engine, sealed: Sealed) -> Result<LookupPublished> {
        let expected = self.pointer;
        let keep = self.spec.keep_generations as usize;
        let keys = sealed.metadata().keys;
        let flip = engine.runtime.block(move || sealed.flip(expected, keep)).await?;
        if let Some(leftover) = flip.leftover {
            tracing::warn!(%leftover, "an old generation of the lookup table could not be removed");
        }
        Ok(LookupPublished { generation: Some(flip.generation), keys, note: None })
    }

    fn keep_word(&self) -> &'static str {
        match self.spec.keep {
            Keep::Latest => "latest",
            Keep::MaxScore => "max_score",
        }
    }

    /// The rows by key, the one to keep first; ties are broken by the columns that tell rows apart.
    async fn sorted(&self, plan: &Plan, rows: &Published<'_>) -> Result<FileRows> {
        let features = &plan.job.spec.features;
        let score = (self.spec.keep == Keep::MaxScore).then_some("score");
        let preference =
            score.into_iter().chain([features.time.as_str()]).chain(features.key.iter().map(String::as_str));
        let sorting = Sorting {
            first: (&self.spec.key, encoded_keys),
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

/// Where the job's lookup table lies.
fn table(plan: &Plan, spec: &LookupSpec) -> Result<LookupTable> {
    LookupTable::under(&plan.home, &plan.job.spec.name, spec.store.value())
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
