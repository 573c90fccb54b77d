//! Importing: a model file of another library becomes a version in the registry, once it is shown what it gives.
//!
//! The file is read and turned into ours, its features get columns, the given rows are scored and compared with what
//! the library gave for them, and only then is anything written.

mod golden;
mod mapping;
mod parity;

use super::{CHALLENGER, CHAMPION, Engine};
use crate::error::{Error, Result, ResultExt};
use crate::features::Encoder;
use crate::lake::Location;
use crate::memory::Budget;
use crate::models::import::{self, ImportOptions, Imported, LARGEST_FILE_BYTES, Rounds};
use crate::plan::{BINARY_FORMAT, Fingerprint};
use crate::query::{Session, SessionOptions};
use crate::registry::artifact::{Baseline, FeatureSql, Origin, Parity, RowCounts, TrainingWindows};
use crate::registry::{Artifact, ModelVersion, Registry};
use crate::tables::{TableRequest, pin};
use crate::task::Task;
use arrow::array::RecordBatch;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// From which probability on an imported binary model says yes.
const THRESHOLD: f64 = 0.5;

/// What is imported, and how.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The name that the model gets: that of the job that scores with it.
    pub model: String,
    /// Where the registry is.
    pub home: Location,
    /// The model file.
    pub file: Location,
    /// The columns of the SQL for the model's features: in their order, or as `feature=column`; empty where the
    /// file's own names are the columns.
    pub features: Vec<String>,
    /// The classes' names in the order of the outputs, where the library knows none.
    pub classes: Option<Vec<String>>,
    /// Which target is predicted, of a model that has several.
    pub target: Option<usize>,
    /// How many rounds of boosting count.
    pub rounds: Rounds,
    /// Rows with what the library gives for them.
    pub check: Option<Check>,
}

/// Rows with what the library gives for them.
#[derive(Debug, Clone)]
pub struct Check {
    /// The rows: a table whose columns are those that the SQL will give.
    pub rows: Location,
    /// The library's predictions for the same rows in the same order.
    pub expected: Location,
    /// How far a prediction may be off: absolutely up to 1, relatively beyond.
    pub tolerance: f64,
}

/// A model that is in the registry.
#[derive(Debug)]
pub struct ImportOutcome {
    /// The version.
    pub version: ModelVersion,
    /// What makes it.
    pub artifact: Artifact,
    /// Where it came from.
    pub origin: Origin,
    /// Whether it has become the champion, because there was none.
    pub champion: bool,
}

/// Reads, proves and registers.
///
/// # Errors
/// Usage: no such file, something in it that is not supported, features or columns that do not fit. Check: a damaged
/// file. Verification: predictions that are not those that were expected. What the store fails with.
pub async fn import(engine: &Engine, request: &ImportRequest) -> Result<ImportOutcome> {
    let registry = engine.registry(&request.home);
    // A name that can't be one is told before the file is read.
    registry.numbers(&request.model).await?;
    let Some(bytes) = read(&request.file).await? else {
        return Err(Error::usage("there is no such model file").with("file", &request.file));
    };
    let options = ImportOptions { rounds: request.rounds, features: mapping::count(&request.features) };
    let (model, bytes) = parsed(engine, bytes, options).await.at("file", &request.file)?;
    let model = named(model, request.classes.as_deref())?;
    let rows = match &request.check {
        Some(check) => Some(Arc::new(table(engine, &check.rows).await.at("option", "--check")?)),
        None => None,
    };
    let columns = mapping::columns(&model.features, &request.features)?;
    let schema = rows.as_ref().and_then(|rows| rows.first()).map(RecordBatch::schema);
    let (signature, fitted) = mapping::encoding(&model.features, &columns, schema.as_deref())?;
    let encoder = Encoder::native(signature, fitted)?;
    let predictor = model.predictor(request.target)?;
    let ready = Arc::new((encoder, predictor));
    let parity = match (&request.check, &rows) {
        (Some(check), Some(rows)) => {
            let expected = table(engine, &check.expected).await.at("option", "--expected")?;
            let shape = parity::Shape::of(&model, request.target);
            let (ready, rows, tolerance) = (Arc::clone(&ready), Arc::clone(rows), check.tolerance);
            let work = move || parity::compare(&ready.0, &ready.1, &rows, &expected, &shape, tolerance);
            Some(engine.runtime.compute(work).await.map_err(|error| wrong(error, request))?)
        }
        _ => None,
    };
    let origin = origin(request, &bytes, &model, parity);
    let artifact = artifact(request, &model, &ready.0, &origin);
    let golden = golden::rows(&ready.0, &ready.1, rows.as_deref().map_or(&[], Vec::as_slice))?;
    let (_, predictor) = Arc::unwrap_or_clone(ready);
    let version = registry.register(&artifact, predictor, &golden).await?.version;
    let champion = alias(engine, &registry, &version, &origin).await?;
    Ok(ImportOutcome { version, artifact, origin, champion })
}

/// The file's bytes; `None` where there is none.
async fn read(file: &Location) -> Result<Option<Bytes>> {
    if file.local_path().is_some_and(|path| path.is_dir()) {
        return Err(Error::usage("this is a folder, not a model file").with("file", file));
    }
    match file.head().await? {
        Some(meta) if meta.size > LARGEST_FILE_BYTES => Err(Error::usage("the model file is too large")
            .with("bytes", meta.size)
            .with("at most", LARGEST_FILE_BYTES)
            .with("file", file)),
        Some(_) => file.get_at_most(LARGEST_FILE_BYTES).await,
        None => Ok(None),
    }
}

async fn parsed(engine: &Engine, bytes: Bytes, options: ImportOptions) -> Result<(Imported, Bytes)> {
    let work = move || import::read(&bytes, &options).map(|model| (model, bytes));
    engine.runtime.compute(work).await
}

/// The rows of a table of any format that is known, in their order.
async fn table(engine: &Engine, location: &Location) -> Result<Vec<RecordBatch>> {
    let budget = Budget::of(engine.memory_bytes)?;
    // One partition: rows stay in the order of the file.
    let mut session = Session::new(SessionOptions::features(budget.pool_bytes()).within(&budget))?;
    session.register(&pin(&TableRequest::latest("given", location.clone())).await?).await?;
    session.ad_hoc("SELECT * FROM given").await?.collect().await
}

/// The model with the classes that the caller knows.
fn named(mut model: Imported, classes: Option<&[String]>) -> Result<Imported> {
    let Some(classes) = classes else { return Ok(model) };
    if classes.len() != model.classes.len() {
        return Err(Error::usage("the model has another number of classes than were named")
            .with("named", classes.len())
            .with("the model has", model.classes.len())
            .hint("leave --classes out for a model that predicts a value"));
    }
    if let Some(twice) = classes.iter().enumerate().find(|(place, name)| classes[..*place].contains(name)) {
        return Err(Error::usage("a class is named twice").with("class", twice.1));
    }
    model.classes = classes.to_vec();
    Ok(model)
}

/// What a caller may try where the predictions are others.
fn wrong(error: Error, request: &ImportRequest) -> Error {
    if error.kind() != crate::error::ErrorKind::Verification {
        return error;
    }
    error.hint(match request.rounds {
        Rounds::Best => {
            "are the columns in the order of the training data, and the rows those of the scores? a model that was \
             stopped early counts up to its best round: --rounds all takes all"
        }
        _ => "are the columns in the order of the training data, and the rows those of the scores?",
    })
}

fn origin(request: &ImportRequest, bytes: &Bytes, model: &Imported, parity: Option<Parity>) -> Origin {
    let facts = model.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
    Origin {
        file: request.file.name().to_owned(),
        bytes: bytes.len() as u64,
        sha256: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        format: model.format.to_owned(),
        facts: facts.collect(),
        notes: model.notes.clone(),
        features: model.features.iter().map(|feature| feature.name.clone()).collect(),
        parity,
    }
}

fn artifact(request: &ImportRequest, model: &Imported, encoder: &Encoder, origin: &Origin) -> Artifact {
    let mut params = Map::new();
    match request.rounds {
        Rounds::Best => {}
        Rounds::All => drop(params.insert("rounds".to_owned(), "all".into())),
        Rounds::First(rounds) => drop(params.insert("rounds".to_owned(), rounds.into())),
    }
    if let Some(target) = request.target {
        params.insert("target".to_owned(), target.into());
    }
    Artifact {
        model: request.model.clone(),
        task: model.task,
        classes: model.classes.clone(),
        algorithm: model.format.to_owned(),
        fingerprint: fingerprint(encoder, model, &params, origin),
        params,
        seed: 0,
        class_weight: None,
        threshold: (model.task == Task::Binary).then_some(THRESHOLD),
        features: FeatureSql::default(),
        encoder: encoder.clone(),
        windows: TrainingWindows::default(),
        rows: RowCounts::default(),
        inputs: BTreeMap::new(),
        metrics: BTreeMap::new(),
        confusion: None,
        baseline: Baseline::default(),
        cross_validation: None,
        search: None,
        gains: Vec::new(),
        permutation: Vec::new(),
        segments: None,
        job: Value::Null,
        binary_format: BINARY_FORMAT,
        origin: Some(origin.clone()),
    }
}

/// Over what decides the predictions: the file, how it was read, which columns it reads, what its classes are called.
/// Not over the rows that it was compared on.
fn fingerprint(encoder: &Encoder, model: &Imported, params: &Map<String, Value>, origin: &Origin) -> String {
    let columns = encoder.signature().columns.iter().map(|column| format!("{} {}", column.kind, column.name));
    Fingerprint::new("import")
        .part("file", &origin.sha256)
        .part("params", &Value::Object(params.clone()).to_string())
        .part("columns", &json!(columns.collect::<Vec<_>>()).to_string())
        .part("classes", &json!(model.classes).to_string())
        .finish()
}

/// The newest import is the challenger; the first model there is becomes the champion.
async fn alias(engine: &Engine, registry: &Registry, version: &ModelVersion, origin: &Origin) -> Result<bool> {
    let model = version.model.as_str();
    let evidence = json!({ "file": origin.file, "sha256": origin.sha256, "parity": origin.parity });
    let change = engine.change("imported", None, evidence);
    let challengers = registry.history(model, CHALLENGER).await?;
    if !challengers.iter().any(|record| record.version == version.version) {
        registry.promote(model, CHALLENGER, version.version, &change, None).await?;
    }
    if registry.alias(model, CHAMPION).await?.is_some() {
        return Ok(false);
    }
    let change = engine.change("the first model, imported", None, change.evidence);
    registry.promote(model, CHAMPION, version.version, &change, Some(0)).await?;
    Ok(true)
}
