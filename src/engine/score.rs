//! Scoring: the predictions of one interval, committed once, published once, proven by a receipt.
//!
//! The order of steps is the order of safety: files are staged, the lookup generation is built from
//! them and verified, the Delta commit replaces the interval, and only then does the lookup table's
//! pointer move. A crash before the commit leaves garbage; a crash between commit and flip is mended
//! by the next run, which finds the commit and publishes from it.

use super::artifact::other_features;
use super::content::ContentHash;
use super::duplicates::KeyBits;
use super::features::FeatureQuery;
use super::forecast::ModelToScore;
use super::pipeline::{Passed, Promise, Scorer, score_all};
use super::predictions::{Predictions, Slice, Staged};
use super::publish::{Published, Publisher, Target, check_columns, key_columns};
use super::receipt::{self, LookupPublished, ModelUsed, OutputSlice, Receipt, Status};
use super::record::Run;
use super::rows::{Carried, Decision, PredictionRows, Stamp};
use super::run_id::RunMark;
use super::train::{CHAMPION, known_columns};
use super::{Engine, Recorded};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::job;
use crate::lookup::Sealed;
use crate::memory::trim;
use crate::plan::Plan;
use crate::query::file_rows;
use crate::registry::LoadedModel;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use serde_json::json;
use std::sync::Arc;

/// How often a run tries to publish while others publish other intervals.
const PUBLISH_TRIES: usize = 8;

/// What `score` may be told.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// An alias or a version.
    pub model: String,
    /// Compute again what is committed already, and compare.
    pub force: bool,
    /// An interval without input rows is a slice without rows.
    pub allow_empty: bool,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { model: CHAMPION.to_owned(), force: false, allow_empty: false }
    }
}

/// Scores the plan's interval.
pub async fn score(engine: &Engine, plan: &Plan, options: &ScoreOptions) -> Recorded {
    engine.record(plan, "score", async |run| score_in(engine, plan, options, run).await).await
}

/// Scores within a run that is already recorded.
///
/// # Errors
/// Usage: columns that can't be carried or looked up, an interval that overlaps others in the table.
/// `empty` where the SQL gives no row; `check` for data that breaks the job's promises; `conflict`
/// where another run has committed or published in the meantime.
pub async fn score_in(engine: &Engine, plan: &Plan, options: &ScoreOptions, run: &mut Run) -> Result<()> {
    run.steps.begin("model");
    let registry = engine.registry(&plan.home);
    let name = plan.job.spec.name.as_str();
    let version = registry.resolve(name, &options.model).await?;
    let model = registry.load(name, version).await?;
    same_task(plan, &model)?;
    let sha256 = model.version.sha256.clone();
    let fingerprint = plan.scoring_fingerprint(version, &sha256);
    run.receipt.model = Some(ModelUsed { name: name.to_owned(), version, sha256 });
    let predictions = Predictions::open(plan.predictions(), name).await?;
    predictions.refuse_overlap(&plan.interval).await?;
    let slice = predictions.slice(&plan.interval).await?;
    let target = Target::open(engine, plan).await?;
    let mark = RunMark::of(&super::run_id::run_id(&fingerprint));
    let scoring = Scoring { engine, plan, predictions, slice, target, mark };
    if scoring.slice.run != Some(mark) || !scoring.is_whole(&fingerprint).await? {
        return scoring.replace(model, options, run, fingerprint).await;
    }
    if options.force {
        return scoring.compare(model, run, fingerprint).await;
    }
    run.identify(fingerprint);
    scoring.finish(run, false).await
}

/// An imported model predicts what its file says, and the predictions table has the columns that the job says.
fn same_task(plan: &Plan, model: &LoadedModel) -> Result<()> {
    let (job, own) = (plan.job.spec.model.task, model.artifact.task);
    if job == own {
        return Ok(());
    }
    Err(Error::usage("the model does not predict what the job says")
        .with("task", job)
        .with("the model's task", own)
        .with("model version", model.version.version)
        .hint(format!("set task = \"{own}\" in [model]")))
}

/// One interval on its way into the predictions table and the lookup table.
struct Scoring<'a> {
    engine: &'a Engine,
    plan: &'a Plan,
    predictions: Predictions,
    slice: Slice,
    target: Option<Target>,
    mark: RunMark,
}

/// What was staged, and what is known of it.
struct StagedSlice {
    staged: Staged,
    schema: SchemaRef,
    passed: Passed,
    sha256: String,
}

impl Scoring<'_> {
    /// The interval holds another run, or none: compute, commit, publish.
    async fn replace(
        mut self,
        model: LoadedModel,
        options: &ScoreOptions,
        run: &mut Run,
        fingerprint: String,
    ) -> Result<()> {
        let done = self.stage(model, run, fingerprint).await?;
        let sealed = match self.prepare(&done, options, run).await {
            Ok(sealed) => sealed,
            Err(error) => {
                done.staged.abandon(&self.predictions).await;
                return Err(error);
            }
        };
        run.steps.begin("commit");
        let (files, schema) = (done.staged.files.clone(), Arc::clone(&done.schema));
        let committed =
            self.predictions.commit(&self.plan.interval, self.slice.run, self.mark, &done.schema, done.staged).await;
        let version = match committed {
            Ok(version) => version,
            Err(lost) => {
                // What this run would have published belongs to a slice that nobody will see.
                if let Some(sealed) = sealed {
                    let abandon = move || {
                        sealed.abandon();
                        Ok(())
                    };
                    drop(self.engine.runtime.block(abandon).await);
                }
                return Err(lost);
            }
        };
        let table = self.predictions.location().to_string();
        run.receipt.output = Some(OutputSlice { table, version, sha256: done.sha256 });
        run.steps.begin("publish");
        run.receipt.lookup = match (&self.target, sealed) {
            (Some(_), Some(sealed)) => {
                let rows = Published { files: &files, schema, rows: run.receipt.rows_out };
                Some(self.publish(sealed, &rows, &run.receipt).await?)
            }
            (Some(target), None) => Some(target.published(Some(self.why_not_published()))),
            (None, _) => None,
        };
        Ok(())
    }

    /// Everything that can still refuse the staged rows before they are committed.
    async fn prepare(&self, done: &StagedSlice, options: &ScoreOptions, run: &mut Run) -> Result<Option<Sealed>> {
        self.selected(&done.passed, options)?;
        run.receipt.supersedes = self.superseded(run).await?;
        let Some(target) = self.publishable(done.passed.rows_out) else { return Ok(None) };
        run.steps.begin("lookup");
        let (files, schema) = (&done.staged.files, Arc::clone(&done.schema));
        let rows = Published { files, schema, rows: done.passed.rows_out };
        target.build(self.engine, self.plan, &rows, &publisher(&run.receipt)).await.map(Some)
    }

    /// Flips to the generation. Where another interval's run has flipped in between, the newer
    /// interval stays, and an older one is replaced by a generation built anew.
    async fn publish(&mut self, sealed: Sealed, rows: &Published<'_>, receipt: &Receipt) -> Result<LookupPublished> {
        let mut next = Some(sealed);
        for _ in 0..PUBLISH_TRIES {
            let Some(target) = &self.target else { break };
            let sealed = match next.take() {
                Some(sealed) => sealed,
                None => target.build(self.engine, self.plan, rows, &publisher(receipt)).await?,
            };
            match target.flip(self.engine, self.plan, sealed).await {
                Err(moved) if moved.kind() == ErrorKind::Conflict => {}
                flipped => return flipped,
            }
            self.target = Target::open(self.engine, self.plan).await?;
            match &self.target {
                Some(target) if target.shows(&receipt.run_id) => return Ok(target.published(None)),
                Some(target) if target.newer(self.plan).is_some() => {
                    return Ok(target.published(target.newer(self.plan)));
                }
                _ => {}
            }
        }
        Err(Error::conflict("other runs moved the lookup table's pointer each time")
            .with("table", &self.plan.job.spec.name)
            .hint("the predictions are committed; run the command again to publish them"))
    }

    /// Whether the committed slice is still what this run committed: as many rows, every file there.
    /// Somebody may have deleted from the table or restored it since.
    async fn is_whole(&self, fingerprint: &str) -> Result<bool> {
        let run_id = super::run_id::run_id(fingerprint);
        let earlier = self.earlier_receipt(&run_id).await?;
        if earlier.is_some_and(|receipt| receipt.rows_out != self.slice.rows) {
            return Ok(false);
        }
        for path in &self.slice.paths {
            if self.predictions.location().join(path).head().await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The interval holds this run: make sure that the lookup table shows it too, unless somebody has pointed
    /// readers away from it and nobody insists.
    async fn finish(mut self, run: &mut Run, insists: bool) -> Result<()> {
        let earlier = self.earlier_receipt(&run.receipt.run_id).await?;
        let rows = self.slice.rows;
        (run.receipt.rows_in, run.receipt.rows_out) = (rows, rows);
        run.receipt.output = Some(match earlier.as_ref().and_then(|receipt| receipt.output.clone()) {
            Some(output) => output,
            None => self.committed_output().await?,
        });
        if let Some(earlier) = earlier {
            run.receipt.rows_in = earlier.rows_in;
            run.receipt.rows_rejected = earlier.rows_rejected;
            run.receipt.data = earlier.data;
        }
        run.receipt.status = Status::Noop;
        let Some(target) = &self.target else { return Ok(()) };
        if target.shows(&run.receipt.run_id) || self.publishable(rows).is_none() {
            let note = (!target.shows(&run.receipt.run_id)).then(|| self.why_not_published());
            run.receipt.lookup = Some(target.published(note));
            return Ok(());
        }
        if let Some(note) = target.rolled_back(&run.receipt.run_id).filter(|_| !insists) {
            tracing::warn!(table = self.plan.job.spec.name, "{note}");
            run.receipt.lookup = Some(target.published(Some(note)));
            return Ok(());
        }
        // The run that committed died before it could publish.
        run.receipt.status = Status::Done;
        run.steps.begin("lookup");
        let files = self.slice.files.clone();
        let rows = Published { files: &files, schema: self.predictions.columns()?, rows };
        let sealed = target.build(self.engine, self.plan, &rows, &publisher(&run.receipt)).await?;
        run.steps.begin("publish");
        run.receipt.lookup = Some(self.publish(sealed, &rows, &run.receipt).await?);
        Ok(())
    }

    /// Computes the committed slice again; the bytes must be the same.
    async fn compare(self, model: LoadedModel, run: &mut Run, fingerprint: String) -> Result<()> {
        let done = self.stage(model, run, fingerprint).await?;
        let again = done.sha256.clone();
        done.staged.abandon(&self.predictions).await;
        run.steps.begin("compare");
        let committed = self.committed_output().await?;
        // A slice without rows has no file that could be read back.
        if self.slice.rows > 0 && committed.sha256 != again {
            return Err(Error::verification(
                "the committed predictions are not the ones that the same inputs give now",
            )
            .with("interval", self.plan.interval)
            .with("committed", &committed.sha256)
            .with("computed", again)
            .hint(match self.plan.job.spec.features.engine {
                job::Engine::Datafusion => {
                    "the table was changed by somebody else, or was written by another build of lakemill"
                }
                job::Engine::Polars => {
                    "Polars adds floats in an order of its own: their last digits may differ; otherwise the table was \
                     changed by somebody else, or was written by another build of lakemill"
                }
            }));
        }
        self.finish(run, true).await
    }

    /// Scores into files that nobody sees.
    async fn stage(&self, model: LoadedModel, run: &mut Run, fingerprint: String) -> Result<StagedSlice> {
        let plan = self.plan;
        let query = FeatureQuery::new(self.engine, plan, &plan.sql, plan.interval).await?;
        model.artifact.signature().check(&query.schema()).at("model version", model.version.version)?;
        let run_id = super::run_id::run_id(&fingerprint);
        let rows = prediction_rows(plan, &query, &model, run_id)?;
        let schema = Arc::clone(rows.schema());
        check_columns(&plan.job.spec, &schema)?;
        known_columns(&plan.job.spec.features.exclude, &query.schema())?;
        let key = KeyBits::new(&schema, &plan.job.spec.features.key)?;
        let mut writer = self.predictions.stage(&schema)?;
        run.identify(fingerprint);
        run.receipt.bytes_read = query.bytes();
        run.receipt.polars = query.reads();
        let segments = model.artifact.segments.as_ref().map_or(0, |segments| segments.models);
        let size = ModelToScore { payload_bytes: model.payload_bytes, segments };
        run.expect(query.scoring_takes(self.engine, size)?);
        run.steps.begin("score");
        let imported = model.artifact.origin.is_some();
        let other = if imported { None } else { other_features(plan, &model.artifact.features) };
        if let Some(other) = other {
            tracing::warn!(model_version = model.version.version, "{other}; `run --retrain` trains on the new one");
        }
        let promise = Promise {
            key: plan.job.spec.features.key.clone(),
            time: plan.job.spec.features.time.clone(),
            interval: plan.interval,
            lookup_key: key_columns(&plan.job.spec)?,
        };
        let scorer = Scorer { encoder: model.artifact.encoder, predictor: model.predictor, rows, key, promise };
        let stream = query.stream(plan).await?;
        let scored = score_all(self.engine, &run.steps, Arc::new(scorer), stream, &mut writer).await;
        run.has_read(query.bytes_read());
        let (passed, sha256) = match scored {
            Ok(scored) => scored,
            Err(error) => {
                writer.abandon().await;
                return Err(error);
            }
        };
        let staged = writer.close().await?;
        trim();
        run.receipt.rows_in = passed.rows_in;
        run.receipt.rows_out = passed.rows_out;
        run.receipt.rows_rejected = passed.rejected.rows;
        run.receipt.data = json!({ "counts": passed, "sql_as_trained": (!imported).then(|| other.is_none()) });
        if passed.duplicate_keys > 0 {
            tracing::warn!(
                rows = passed.duplicate_keys,
                key = plan.job.spec.features.key.join(", "),
                "rows have a key that another row has too; on them models can't be compared row by row"
            );
        }
        Ok(StagedSlice { staged, schema, passed, sha256 })
    }

    fn selected(&self, passed: &Passed, options: &ScoreOptions) -> Result<()> {
        if passed.rows_in == 0 && !options.allow_empty {
            return Err(Error::new(ErrorKind::Empty, "the features SQL gives no row for the interval")
                .with("interval", self.plan.interval)
                .hint("has the interval's data arrived? --allow-empty makes an empty slice of it"));
        }
        if passed.rows_in > 0 && passed.rows_out == 0 {
            return Err(Error::check("every row was rejected").with("rows", passed.rows_in).hint(format!(
                "look at the counts in the receipt: {}",
                serde_json::to_string(&passed.rejected).unwrap_or_default()
            )));
        }
        Ok(())
    }

    /// The lookup table, where this interval's rows belong into it. That there are none any more must
    /// be seen only where readers see this interval.
    fn publishable(&self, rows: u64) -> Option<&Target> {
        let due = |target: &&Target| rows > 0 || target.shows_interval(self.plan);
        self.target.as_ref().filter(|target| due(target) && target.newer(self.plan).is_none())
    }

    fn why_not_published(&self) -> String {
        let newer = self.target.as_ref().and_then(|target| target.newer(self.plan));
        newer.unwrap_or_else(|| "the interval has no rows; left as it is".to_owned())
    }

    /// The id of the run whose slice is there now.
    async fn superseded(&self, run: &Run) -> Result<Option<String>> {
        let Some(mark) = self.slice.run else { return Ok(None) };
        let receipts = receipt::of_interval(&self.plan.home, &run.receipt.job, &self.plan.interval).await?;
        let found = receipts.into_iter().find(|receipt| RunMark::of(&receipt.run_id) == mark);
        Ok(Some(found.map_or_else(|| mark.to_string(), |receipt| receipt.run_id)))
    }

    /// The newest receipt of the run that committed this slice, unless it died before it could file one.
    async fn earlier_receipt(&self, run_id: &str) -> Result<Option<Receipt>> {
        let receipts = receipt::of_interval(&self.plan.home, &self.plan.job.spec.name, &self.plan.interval).await?;
        let ours = receipts.into_iter().filter(|receipt| receipt.run_id == run_id && receipt.output.is_some());
        Ok(ours.max_by(|a, b| a.started_at.cmp(&b.started_at)))
    }

    /// What is committed, read back from its files.
    async fn committed_output(&self) -> Result<OutputSlice> {
        let sha256 = committed_hash(&self.slice, &self.plan.interval.to_string()).await?;
        let version = self.predictions.version().unwrap_or_default();
        Ok(OutputSlice { table: self.predictions.location().to_string(), version, sha256 })
    }
}

fn publisher(receipt: &Receipt) -> Publisher<'_> {
    let model_version = receipt.model.as_ref().map_or(0, |model| model.version);
    Publisher { run_id: &receipt.run_id, attempt: &receipt.attempt, model_version }
}

fn prediction_rows(plan: &Plan, query: &FeatureQuery, model: &LoadedModel, run_id: String) -> Result<PredictionRows> {
    let spec = &plan.job.spec;
    let decision = Decision {
        task: model.artifact.task,
        classes: model.artifact.classes.clone(),
        threshold: spec.evaluate.threshold,
    };
    let stamp = Stamp { model_version: model.version.version, run_id, interval: plan.interval };
    PredictionRows::new(&query.schema(), &Carried::of(spec), decision, stamp)
}

/// The hash of a committed slice: its files in the order in which they were written, the partition
/// column put back.
async fn committed_hash(slice: &Slice, interval: &str) -> Result<String> {
    let mut hash: Option<ContentHash> = None;
    for file in &slice.files {
        let mut rows = file_rows(std::slice::from_ref(file)).await.at("file", file)?;
        while let Some(batch) = rows.batches.try_next().await.at("file", file)? {
            let batch = super::rows::with_interval(&batch, interval)?;
            hash.get_or_insert_with(|| ContentHash::new(&batch.schema())).update(&batch)?;
        }
    }
    Ok(hash.map(ContentHash::finish).unwrap_or_default())
}
