//! Training: fit on a window before the interval's end, measure on the later split, register.

use super::binned::{StreamLimit, fit_binned};
use super::confusion::Confusion;
use super::dataset::{DataCounts, Source};
use super::dense::{self, DenseLimit};
use super::features::FeatureQuery;
use super::fit::{Fitted, Recipe, fit};
use super::gate::{self, Candidate, Finding, GateOutcome};
use super::publish::check_columns;
use super::receipt::{ModelUsed, Status};
use super::record::Run;
use super::rows::{missing, shape};
use super::scored::{ScoredRows, no_label};
use super::search::Search;
use super::segments::SegmentRule;
use super::staged::Stager;
use super::{Engine, Recorded, artifact};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::features::{ClassWeight, EncoderOptions, Encoding, EventTimes, Signature, Split};
use crate::job::{self, JobSpec};
use crate::memory::{Budget, trim};
use crate::metrics::MetricOptions;
use crate::models;
use crate::plan::{Plan, Windows};
use crate::registry::{AliasRecord, LoadedModel, ModelVersion, Registered, Registry};
use arrow::datatypes::Schema;
use futures::TryStreamExt;
use serde_json::json;
use std::sync::Arc;

/// The alias of the model that scores.
pub const CHAMPION: &str = "champion";
/// The alias of the newest trained model.
pub const CHALLENGER: &str = "challenger";

/// What `train` may be told.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrainOptions {
    /// Train also where the same inputs have been trained from before, and compare.
    pub force: bool,
    /// Let the gate decide whether the new model becomes champion in place of another.
    pub promote: bool,
}

/// A model that was trained, now or before, and what the gate says of it.
pub struct Trained {
    /// The version.
    pub version: ModelVersion,
    /// What the gate found.
    pub gate: GateOutcome,
}

/// Trains, registers as challenger, and makes it the champion if it is the first and passes the gate.
pub async fn train(engine: &Engine, plan: &Plan, options: TrainOptions) -> (Recorded, Option<Trained>) {
    let mut trained = None;
    let recorded = engine
        .record(plan, "train", async |run| {
            trained = Some(train_in(engine, plan, options, run).await?);
            Ok(())
        })
        .await;
    let trained = trained.filter(|_| recorded.result.is_ok());
    (recorded, trained)
}

async fn train_in(engine: &Engine, plan: &Plan, options: TrainOptions, run: &mut Run) -> Result<Trained> {
    let training = Training { engine, plan, options, registry: engine.registry(&plan.home) };
    let name = plan.job.spec.name.as_str();
    let fingerprint = plan.training_fingerprint()?;
    match training.registry.find_by_fingerprint(name, &fingerprint).await? {
        Some(known) if !options.force => {
            run.identify(fingerprint);
            run.receipt.status = Status::Noop;
            training.judge_known(run, known).await
        }
        known => training.fit(run, fingerprint, known).await,
    }
}

/// One training on its way into the registry.
struct Training<'a> {
    engine: &'a Engine,
    plan: &'a Plan,
    options: TrainOptions,
    registry: Registry,
}

impl Training<'_> {
    /// Fits and measures; registers what the gate can judge.
    async fn fit(&self, run: &mut Run, fingerprint: String, known: Option<ModelVersion>) -> Result<Trained> {
        let (engine, plan) = (self.engine, self.plan);
        let windows = plan.windows()?;
        let query = FeatureQuery::new(engine, plan, &plan.sql, windows.span()?).await?;
        let mut recipe = recipe(plan, &query.schema())?;
        if let (Some(search), Some(known)) = (&mut recipe.search, &known) {
            // A search that time has ended is repeated as far as it came.
            let before = self.registry.load(&known.model, known.version).await?.artifact.search;
            search.exactly = before.map(|before| before.tried.len());
        }
        run.identify(fingerprint.clone());
        run.receipt.bytes_read = query.bytes();
        run.receipt.polars = query.reads();
        let recipe = Arc::new(recipe);
        let encoding = recipe.algorithm.encoding();
        run.expect(query.training_takes(engine, &plan.job.spec.model)?);
        let fitted = match encoding {
            Encoding::Dense => fit_held(engine, plan, &query, recipe, windows, run).await?,
            Encoding::Native => fit_streamed(engine, plan, &query, recipe, windows, run).await?,
        };
        run.has_read(query.bytes_read());
        describe_fit(run, &windows, &fitted);
        let artifact = artifact::describe(plan, &windows, &fitted, fingerprint)?;
        let Fitted { predictor, tested: rows, golden, .. } = fitted;
        // What can't be judged is not registered.
        run.steps.begin("gate");
        let candidate = Candidate { task: artifact.task, classes: &artifact.classes };
        let champion = self.champion().await?;
        let finding = match &champion {
            Some(record) if known.as_ref().is_some_and(|known| known.version == record.version) => Ok(None),
            champion => self.judge(candidate, rows, champion.as_ref()).await.map(Some),
        };
        // A champion that is lost or damaged must not keep its successor out of the registry.
        let finding = match finding {
            Err(error) if error.kind() != ErrorKind::Verification => return Err(error),
            finding => finding,
        };
        run.steps.begin("register");
        let registered = self.registry.register(&artifact, predictor, &golden).await?;
        if !registered.is_new {
            trim();
            let before = &registered.version;
            same_as_before(&self.registry.load(&before.model, before.version).await?, &registered)?;
        }
        let version = registered.version;
        self.challenge(run, &version).await?;
        self.announce(run, version, champion, finding?).await
    }

    /// The same inputs were trained from before: only the gate may find something new.
    async fn judge_known(&self, run: &mut Run, known: ModelVersion) -> Result<Trained> {
        run.steps.begin("gate");
        let champion = self.champion().await?;
        let model = Arc::new(self.registry.load(&known.model, known.version).await?);
        let finding = match &champion {
            Some(record) if record.version == known.version => None,
            champion => {
                let rows = gate::test_rows(self.engine, self.plan, &model).await?;
                let candidate = Candidate { task: model.artifact.task, classes: &model.artifact.classes };
                Some(self.judge(candidate, rows, champion.as_ref()).await?)
            }
        };
        self.challenge(run, &model.version).await?;
        self.announce(run, model.version.clone(), champion, finding).await
    }

    async fn champion(&self) -> Result<Option<AliasRecord>> {
        self.registry.alias(&self.plan.job.spec.name, CHAMPION).await
    }

    async fn judge(
        &self,
        candidate: Candidate<'_>,
        rows: ScoredRows,
        champion: Option<&AliasRecord>,
    ) -> Result<Finding> {
        let Some(record) = champion else { return gate::alone(self.engine, self.plan, candidate, rows).await };
        let version = self.registry.known_version(record).await?;
        let champion = Arc::new(self.registry.load(&self.plan.job.spec.name, version).await?);
        gate::against(self.engine, self.plan, candidate, rows, &champion).await
    }

    /// Makes the model, which was registered or loaded, the challenger, unless it has been that before.
    async fn challenge(&self, run: &Run, version: &ModelVersion) -> Result<()> {
        let challengers = self.registry.history(&version.model, CHALLENGER).await?;
        if !challengers.iter().any(|record| record.version == version.version) {
            let change = self.engine.change("trained", Some(&run.receipt.run_id), serde_json::Value::Null);
            self.registry.promote_loaded(&version.model, CHALLENGER, version.version, &change, None).await?;
        }
        Ok(())
    }

    /// Tells of the gate, and makes the model, which was registered or loaded, the champion where the gate and the
    /// options let it. Without a finding it is the champion already.
    async fn announce(
        &self,
        run: &mut Run,
        version: ModelVersion,
        champion: Option<AliasRecord>,
        finding: Option<Finding>,
    ) -> Result<Trained> {
        let gate = match finding {
            Some(finding) => finding.of(version.version),
            None => GateOutcome::already_champion(version.version),
        };
        run.receipt.gates = serde_json::to_value(&gate).unwrap_or_default();
        let is_champion = champion.as_ref().is_some_and(|record| record.version == version.version);
        if gate.passed && !is_champion && (champion.is_none() || self.options.promote) {
            let seen = champion.map_or(0, |record| record.sequence);
            let change = self.engine.change(&gate.why, Some(&run.receipt.run_id), run.receipt.gates.clone());
            self.registry.promote_loaded(&version.model, CHAMPION, version.version, &change, Some(seen)).await?;
        }
        let used = ModelUsed { name: version.model.clone(), version: version.version, sha256: version.sha256.clone() };
        run.receipt.model = Some(used);
        Ok(Trained { version, gate })
    }
}

/// With `--force` the registry gives back the version that is there; it must be what was fitted now.
fn same_as_before(before: &LoadedModel, fitted: &Registered) -> Result<()> {
    if before.is_of(&fitted.payload_sha256)? {
        return Ok(());
    }
    Err(Error::verification("the same inputs gave another model than before")
        .with("model", &before.version.model)
        .with("version", before.version.version)
        .hint("training is deterministic: this is a bug, or the registered model was trained by another build"))
}

/// Fits an algorithm that needs all encoded rows in memory.
async fn fit_held(
    engine: &Engine,
    plan: &Plan,
    query: &FeatureQuery,
    recipe: Arc<Recipe>,
    windows: Windows,
    run: &mut Run,
) -> Result<Fitted> {
    let mut limit = DenseLimit {
        memory_bytes: Budget::of(engine.memory_bytes)?.pool,
        algorithm: recipe.algorithm.name(),
        held_bytes: 0,
    };
    run.steps.begin("features");
    let batches = dense::collect(query, plan, &recipe.signature, &mut limit, |rows| run.steps.passed(rows)).await?;
    run.receipt.rows_in = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    if run.receipt.rows_in == 0 {
        return Err(unselected("training and test windows", windows));
    }
    run.steps.begin("fit");
    let job = Arc::clone(&plan.job);
    let work = move || {
        let (features, model) = (&job.spec.features, &job.spec.model);
        let label = features.label.as_deref().ok_or_else(no_label)?;
        let source = Source { batches: &batches, label, time: &features.time, weight: features.weight.as_deref() };
        let split = match &model.split {
            job::Split::Time { .. } => {
                Split::by_time(&EventTimes::read(&batches, &features.time)?, windows.train, windows.test)?
            }
            job::Split::Hash { test } => {
                let key: Vec<&str> = features.key.iter().map(String::as_str).collect();
                Split::by_hash(&batches, &key, *test, model.seed)?
            }
        };
        match (split.train.is_empty(), split.test.is_empty()) {
            (true, _) => Err(unselected("training window", windows)),
            (_, true) => Err(unselected("test window", windows)),
            _ => fit(&recipe, source, &job.spec, &split, &limit),
        }
    };
    engine.runtime.compute(work).await
}

/// Fits an algorithm that learns from bins: one pass over the query, then passes over what it has put aside.
async fn fit_streamed(
    engine: &Engine,
    plan: &Plan,
    query: &FeatureQuery,
    recipe: Arc<Recipe>,
    windows: Windows,
    run: &mut Run,
) -> Result<Fitted> {
    let limit = StreamLimit::of(engine.memory_bytes);
    run.steps.begin("features");
    let mut stager = Stager::new(Arc::clone(&recipe), Arc::clone(&plan.job), windows, &limit)?;
    let mut batches = query.stream(plan).await?;
    while let Some(batch) = batches.try_next().await? {
        run.steps.passed(batch.num_rows());
        let work = move || {
            stager.add(&batch)?;
            Ok(stager)
        };
        stager = engine.runtime.compute(work).await?;
    }
    run.receipt.rows_in = stager.rows();
    if run.receipt.rows_in == 0 {
        return Err(unselected("training and test windows", windows));
    }
    run.steps.begin("fit");
    let job = Arc::clone(&plan.job);
    engine.runtime.compute(move || fit_binned(&recipe, stager.finish()?, &job.spec.features.key, limit)).await
}

/// No row where some are needed.
pub fn unselected(where_to: &str, windows: Windows) -> Error {
    Error::new(ErrorKind::Empty, format!("the features SQL gives no row in the {where_to}"))
        .with("train", windows.train)
        .with("test", windows.test)
        .hint("look at the windows and the pinned tables that `lakemill plan` shows")
}

fn describe_fit(run: &mut Run, windows: &Windows, fitted: &Fitted) {
    run.receipt.rows_out = fitted.train_rows + fitted.test_rows;
    run.receipt.rows_rejected = rejected(&fitted.train_counts) + rejected(&fitted.test_counts);
    run.receipt.metrics = serde_json::to_value(&fitted.metrics).unwrap_or_default();
    run.receipt.data = json!({
        "train": windows.train.to_string(),
        "test": windows.test.to_string(),
        "train_rows": fitted.train_rows,
        "test_rows": fitted.test_rows,
        "gap_rows": fitted.gap_rows,
        "undated_rows": fitted.undated_rows,
        "train_classes": fitted.train_classes,
        "train_counts": fitted.train_counts,
        "test_counts": fitted.test_counts,
        "warnings": fitted.encoder.warnings(),
        "confusion": fitted.confusion.as_ref().map(|confusion| Confusion::of(&fitted.classes, confusion)),
        "baseline": fitted.baseline,
        "cross_validation": fitted.cross_validation,
        "search": fitted.search,
    });
    if let Some(segments) = &fitted.segments {
        run.receipt.data["segments"] = serde_json::to_value(segments).unwrap_or_default();
    }
}

fn rejected(counts: &DataCounts) -> u64 {
    counts.rejected.rows
}

/// The columns that have another role than that of a feature.
fn roles(spec: &JobSpec) -> Vec<&str> {
    let features = &spec.features;
    let mut roles: Vec<&str> =
        features.key.iter().chain(&features.exclude).chain(&spec.score.passthrough).map(String::as_str).collect();
    roles.push(&features.time);
    roles.extend(features.label.as_deref());
    roles.extend(features.weight.as_deref());
    roles.extend(spec.lookup.iter().flat_map(|lookup| lookup.key.names()).map(String::as_str));
    roles.extend(spec.model.segment_columns().iter().map(String::as_str));
    roles
}

/// How the job wants to be learned from rows of `schema`; refuses at once what would fail later.
fn recipe(plan: &Plan, schema: &Schema) -> Result<Recipe> {
    let spec = &plan.job.spec;
    let model = &spec.model;
    known_columns(&spec.features.exclude, schema)?;
    let label = spec.features.label.as_ref().ok_or_else(no_label)?;
    for name in [label].into_iter().chain(&spec.features.weight) {
        schema.field_with_name(name).map_err(|_| missing(name, schema))?;
    }
    // What can be learned from but not scored is no use to a nightly run.
    check_columns(spec, shape(spec, schema, plan.interval)?.as_ref())?;
    let class_weight = model.class_weight.as_ref().map(|written| match written {
        job::ClassWeight::Rule(_) => ClassWeight::Balanced,
        job::ClassWeight::Each(weights) => ClassWeight::Table(weights.clone()),
    });
    let algorithm = models::lookup(&model.algorithm)?;
    let searched = |spec| Search::of(spec, &algorithm.params_schema().to_value(), model.seed);
    Ok(Recipe {
        task: model.task,
        algorithm,
        params: model.params.clone(),
        search: model.search.as_ref().map(searched),
        class_weight,
        seed: model.seed,
        signature: Signature::of(schema, &roles(spec))?,
        encoder: EncoderOptions { max_categories: model.encoder.max_categories },
        folds: model.folds.map(|folds| folds as usize),
        options: metric_options(spec),
        metrics: spec.evaluate.metrics.clone(),
        segments: SegmentRule::of(model, schema)?,
        importance: spec.evaluate.importance,
    })
}

/// A slip of the keyboard in `exclude` would make a feature of what was to be left out.
///
/// # Errors
/// Usage, with the column.
pub fn known_columns(names: &[String], schema: &Schema) -> Result<()> {
    let known = || schema.fields().iter().map(|field| field.name().as_str());
    let Some(stranger) = names.iter().find(|name| !known().any(|known| known == name.as_str())) else { return Ok(()) };
    let error = Error::usage("`features.exclude` names a column that the SQL does not give").with("column", stranger);
    Err(match did_you_mean(stranger, known()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("it gives: {}", known().collect::<Vec<_>>().join(", "))),
    })
}

/// How the job wants its models measured.
pub fn metric_options(spec: &JobSpec) -> MetricOptions {
    let evaluate = &spec.evaluate;
    MetricOptions {
        threshold: evaluate.threshold,
        at_precision: evaluate.at_precision,
        k_per_day: evaluate.k_per_day,
        confidence: evaluate.confidence,
        resamples: evaluate.resamples,
        seed: evaluate.seed.unwrap_or(spec.model.seed),
    }
}
