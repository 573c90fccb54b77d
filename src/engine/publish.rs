//! From committed or staged prediction files to a generation of the lookup table.
//!
//! The rows are sorted by the encoded key out of core, the preferred row of a key first, loaded
//! aside, read back and compared; only the flip makes them visible. A table never goes back to an
//! older interval: where a newer one is published, a backfill leaves the lookup table alone.

use super::Engine;
use super::receipt::LookupPublished;
use crate::error::{ErrorKind, Result};
use crate::interval::instant;
use crate::job::{Keep, LookupSpec};
use crate::lake::Location;
use crate::lookup::{self, GenerationMetadata, Load, LookupStore, LookupTable, Provenance, Sealed, encoded_keys};
use crate::plan::Plan;
use crate::query::{Session, SessionOptions, from_datafusion};
use crate::tables::register_store;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{DataFrame, ParquetReadOptions, col};
use futures::TryStreamExt;
use std::path::Path;
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

    /// Loads and verifies a generation of the rows in `files`; nobody sees it yet.
    ///
    /// # Errors
    /// Check: keys that are null, empty or too long, values that are not finite. Budget: too little
    /// memory to sort. What the store fails with.
    pub async fn build(&self, engine: &Engine, plan: &Plan, files: &[String], by: &Publisher<'_>) -> Result<Sealed> {
        let rows = self.sorted(engine, plan, files).await?;
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
        let load = Load::begin(self.store, &self.table, &rows.schema(), columns, provenance, by.attempt)?;
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
    async fn sorted(&self, engine: &Engine, plan: &Plan, files: &[String]) -> Result<SendableRecordBatchStream> {
        let frame = read_files(engine, files).await?;
        let lookup_key = ScalarUDF::from(LookupKey::new(&self.spec.key));
        let features = &plan.job.spec.features;
        let mut order = vec![lookup_key.call(vec![column(&self.spec.key)]).sort(true, false)];
        if self.spec.keep == Keep::MaxScore {
            order.push(column("score").sort(false, false));
        }
        order.push(column(&features.time).sort(false, false));
        order.extend(features.key.iter().map(|name| column(name).sort(false, false)));
        let frame = frame.sort(order).map_err(from_datafusion)?;
        frame.execute_stream().await.map_err(from_datafusion)
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

/// The rows of prediction files, in order, with plain strings as they were written.
///
/// # Errors
/// What opening the files fails with.
pub async fn read_files(engine: &Engine, files: &[String]) -> Result<DataFrame> {
    let memory = usize::try_from(engine.memory_bytes).unwrap_or(usize::MAX);
    let session = Session::new(SessionOptions::features(memory))?;
    let context = session.context();
    if let Some(file) = files.first() {
        register_store(context, &Location::parse(file, Path::new("/"))?);
    }
    context.state_ref().write().config_mut().options_mut().execution.parquet.schema_force_view_types = false;
    context.read_parquet(files.to_vec(), ParquetReadOptions::default()).await.map_err(from_datafusion)
}

/// Where the job's lookup table lies.
fn table(plan: &Plan, spec: &LookupSpec) -> Result<LookupTable> {
    LookupTable::under(&plan.home, &plan.job.spec.name, spec.store.value())
}

async fn fill(engine: &Engine, mut load: Load, mut rows: SendableRecordBatchStream) -> Result<Load> {
    while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
        let push = move || {
            load.push(&batch)?;
            Ok(load)
        };
        load = engine.runtime.block(push).await?;
    }
    Ok(load)
}

/// A column by its exact name; `col` alone would fold it to lower case and split it at dots.
fn column(name: &str) -> datafusion::prelude::Expr {
    col(datafusion::common::Column::new_unqualified(name))
}

/// The bytes by which a lookup table is sorted, as an SQL function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LookupKey {
    column: String,
    signature: Signature,
}

impl LookupKey {
    fn new(column: &str) -> Self {
        Self { column: column.to_owned(), signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LookupKey {
    fn name(&self) -> &str {
        "lookup_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let column = args.args[0].to_array(args.number_rows)?;
        let schema = Schema::new(vec![Field::new(&self.column, column.data_type().clone(), true)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![column])?;
        let keys = encoded_keys(&batch, &self.column).map_err(|error| DataFusionError::External(error.into()))?;
        Ok(ColumnarValue::Array(Arc::new(keys)))
    }
}
