//! Versions: registered once, never changed.

use super::artifact::Artifact;
use super::card;
use super::files::{self, ARTIFACT, CARD, Described, Encoded, LARGEST_ARTIFACT_BYTES, LoadedModel, ModelVersion};
use super::golden::Golden;
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::lake::log::{number_name, parse_number};
use crate::lake::{Location, Put, check_name};
use crate::models::Predictor;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;

/// Artifacts read at once when versions are listed.
const CONCURRENT: usize = 16;
/// How many numbers in a row a registration may lose before it gives up.
const TRIES: usize = 1000;

/// The models under one home. Cheap to clone; holds no state of its own.
#[derive(Debug, Clone)]
pub struct Registry {
    models: Location,
    /// Whose threads hash, encode and decode; without it one thread does.
    pool: Option<Arc<rayon::ThreadPool>>,
}

/// What came of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The version.
    pub version: ModelVersion,
    /// Whether this registration has written it. It was verified then, as [`Registry::load`] does, from the bytes that
    /// were written, and these were read back. Else it was there before and was not looked at.
    pub is_new: bool,
    /// The hash (hex) of the payload of the predictor that was given; [`LoadedModel::is_of`] compares it.
    pub payload_sha256: String,
}

impl Registry {
    /// The registry under `home`; nothing is read or written yet.
    pub fn new(home: &Location) -> Self {
        Self { models: home.join("models"), pool: None }
    }

    /// The same registry, which computes on the threads of this pool.
    #[must_use]
    pub fn computing_on(self, pool: Arc<rayon::ThreadPool>) -> Self {
        Self { pool: Some(pool), ..self }
    }

    /// The folder of a model.
    pub(super) fn folder(&self, model: &str) -> Result<Location> {
        check_name("model", model)?;
        Ok(self.models.join(model))
    }

    fn version_folder(&self, model: &str, version: u64) -> Result<Location> {
        Ok(self.folder(model)?.join("versions").join(&number_name(version)))
    }

    /// Makes a new version of the model, or gives the one that was trained from the same inputs.
    ///
    /// `rows` are some rows of the training query; up to 16 become golden predictions. Before there is a version, its
    /// model is loaded from the bytes that are written, and the predictor that was given is gone, so that a large one
    /// is not there twice. A lost race takes the next number; a crash leaves no version behind.
    ///
    /// # Errors
    /// `usage` for a name that cannot be one; `check` and `verification` for a model that does not
    /// fit itself, or a store that gives back other bytes than were written; what the store fails with.
    pub async fn register(&self, artifact: &Artifact, predictor: Predictor, rows: &RecordBatch) -> Result<Registered> {
        let model = artifact.model.as_str();
        let numbers = self.numbers(model).await?;
        if let Some(known) = self.trained_from(model, &numbers, &artifact.fingerprint).await? {
            self.complete(&known).await?;
            let (_, payload) = self.compute(move || files::encode(predictor)).await?;
            return Ok(Registered { version: known.version, is_new: false, payload_sha256: payload.sha256 });
        }
        let golden = Golden::record(&artifact.encoder, &predictor, rows)?;
        let (bytes, payload) = self.compute(move || files::encode(predictor)).await?;
        let payload_sha256 = payload.sha256.clone();
        let encoded = files::seal(artifact, &golden, (bytes, payload))?;
        let first = numbers.last().map_or(1, |latest| latest + 1);
        let written = files::describe(model, first, &encoded.artifact)?;
        let mut check = Some(self.load_bytes(written, encoded.payload.clone()));
        for version in (first..).take(TRIES) {
            self.stage(model, version, &encoded, check.take()).await?;
            if let Some((described, is_new)) = self.write(model, version, &encoded).await? {
                self.complete(&described).await?;
                return Ok(Registered { version: described.version, is_new, payload_sha256 });
            }
        }
        Err(Error::conflict("other registrations were always faster").with("model", model))
    }

    /// Writes the payload of a version, and meanwhile makes sure of it, where that is still to be done: without an
    /// artifact that names it, it is none.
    async fn stage(
        &self,
        model: &str,
        version: u64,
        encoded: &Encoded,
        check: Option<impl Future<Output = Result<LoadedModel>>>,
    ) -> Result<()> {
        let folder = self.version_folder(model, version)?;
        let file = folder.join(&encoded.payload_file);
        // Its name is its content: writing it over itself changes nothing, and mends a broken leftover.
        let put = file.put(encoded.payload.clone());
        let Some(check) = check else { return put.await };
        let (put, checked) = futures::join!(put, async { check.await.map(drop) });
        // Where an artifact is there by now, the file may be its payload.
        if checked.is_err() && matches!(folder.join(ARTIFACT).head().await, Ok(None)) {
            // Why the model was refused says more than why this fails; what stays is no version.
            let _ = file.delete().await;
        }
        checked.and(put)
    }

    /// Makes a version of a payload that was written, or gives the one that somebody else has made of the same training,
    /// and tells which;
    /// `None` where the number went to another training.
    async fn write(&self, model: &str, version: u64, encoded: &Encoded) -> Result<Option<(Described, bool)>> {
        let folder = self.version_folder(model, version)?;
        let ours = folder.join(&encoded.payload_file);
        let put = folder.join(ARTIFACT).put_if_absent(encoded.artifact.clone()).await?;
        let mine = files::describe(model, version, &encoded.artifact)?;
        if put == Put::Created {
            // Nobody deletes it now that the artifact names it.
            if ours.get_at_most(encoded.payload.len() as u64).await?.as_ref() != Some(&encoded.payload) {
                return Err(Error::verification("the store gives back another payload than was written")
                    .with("file", &ours)
                    .hint("look at the disk or the bucket, remove the version's folder, and train again"));
            }
            self.describe(model, version).await?;
            return Ok(Some((mine, true)));
        }
        let Ok(theirs) = self.describe(model, version).await else { return Ok(None) };
        if theirs.payload.file != encoded.payload_file {
            ours.delete().await?;
        }
        Ok((theirs.version.fingerprint == mine.version.fingerprint).then_some((theirs, false)))
    }

    /// Writes the card, unless it is there; a crash may have come between.
    async fn complete(&self, described: &Described) -> Result<()> {
        let file = self.version_folder(&described.version.model, described.version.version)?.join(CARD);
        if file.head().await?.is_none() {
            file.put(Bytes::from(card::render(described))).await?;
        }
        Ok(())
    }

    /// The version that was trained from the inputs with this fingerprint, if there is one.
    ///
    /// Reads artifacts from the newest version on, so that a repeated training is found soon. Versions
    /// that cannot be read are passed over.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn find_by_fingerprint(&self, model: &str, fingerprint: &str) -> Result<Option<ModelVersion>> {
        let numbers = self.numbers(model).await?;
        Ok(self.trained_from(model, &numbers, fingerprint).await?.map(|found| found.version))
    }

    async fn trained_from(&self, model: &str, numbers: &[u64], fingerprint: &str) -> Result<Option<Described>> {
        let reads = numbers.iter().rev().map(|version| self.describe(model, *version));
        let mut reads = stream::iter(reads).buffered(CONCURRENT);
        while let Some(read) = reads.next().await {
            match read {
                Ok(described) if described.version.fingerprint == fingerprint => return Ok(Some(described)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Verification => {
                    tracing::warn!(%error, "a model version was passed over");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The numbers of the model's versions, ascending; none where there is no such model.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn numbers(&self, model: &str) -> Result<Vec<u64>> {
        let versions = self.folder(model)?.join("versions");
        let mut numbers = Vec::new();
        for object in versions.list().await? {
            let Some(parts) = object.location.prefix_match(versions.path()) else { continue };
            let parts: Vec<_> = parts.collect();
            if let [folder, file] = &parts[..]
                && file.as_ref() == ARTIFACT
            {
                numbers.extend(parse_number(folder.as_ref()));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The names of all models that have a version, sorted.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn models(&self) -> Result<Vec<String>> {
        let names = self.models.children().await?.into_iter().filter(|name| check_name("model", name).is_ok());
        let reads = names.map(|name| async move { Ok::<_, Error>((self.numbers(&name).await?, name)) });
        let models: Vec<(Vec<u64>, String)> = stream::iter(reads).buffered(CONCURRENT).try_collect().await?;
        Ok(models.into_iter().filter(|(numbers, _)| !numbers.is_empty()).map(|(_, name)| name).collect())
    }

    /// All versions of the model, ascending; one that cannot be read stands there with its error.
    ///
    /// # Errors
    /// `usage` where there is no such model; what the store fails with.
    pub async fn versions(&self, model: &str) -> Result<Vec<(u64, Result<Described>)>> {
        let numbers = self.known_numbers(model).await?;
        let reads = numbers.into_iter().map(|version| async move { (version, self.describe(model, version).await) });
        Ok(stream::iter(reads).buffered(CONCURRENT).collect().await)
    }

    /// What makes a version, without its predictor.
    ///
    /// # Errors
    /// `usage` where there is no such version; `verification` where its file was altered or a newer
    /// lakemill wrote it; what the store fails with.
    pub async fn describe(&self, model: &str, version: u64) -> Result<Described> {
        let file = self.version_folder(model, version)?.join(ARTIFACT);
        match file.get_at_most(LARGEST_ARTIFACT_BYTES).await? {
            Some(bytes) => files::describe(model, version, &bytes).at("file", &file),
            None => Err(self.no_such_version(model, version).await?),
        }
    }

    /// A version, ready to score: every byte verified, and its golden predictions recomputed.
    ///
    /// # Errors
    /// As [`describe`](Self::describe), and `verification` where the payload was altered, is missing,
    /// or gives other predictions here.
    pub async fn load(&self, model: &str, version: u64) -> Result<LoadedModel> {
        let described = self.describe(model, version).await?;
        let file = self.version_folder(model, version)?.join(&described.payload.file);
        let payload = file.get_at_most(described.payload.bytes).await?.ok_or_else(|| {
            Error::verification("the payload of the version is missing")
                .with("file", &file)
                .hint("restore it from a backup, or train the model again")
        })?;
        self.load_bytes(described, payload).await
    }

    /// Verifies the bytes of a version, and makes a model of them.
    async fn load_bytes(&self, described: Described, payload: Bytes) -> Result<LoadedModel> {
        let ModelVersion { model, version, .. } = described.version.clone();
        let loaded = self.compute(move || files::load(described, &payload)).await;
        loaded.at("version", version).at("model", model)
    }

    /// Hashing, encoding and decoding large forests takes seconds, which no I/O thread should be held for.
    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let pool = self.pool.clone();
        let work = move || match pool {
            Some(pool) => pool.install(work),
            None => work(),
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|source| Error::failed("reading or writing a model panicked").because(source))?
    }

    /// The model card, as it is filed beside the version.
    ///
    /// # Errors
    /// As [`describe`](Self::describe).
    pub async fn card(&self, model: &str, version: u64) -> Result<String> {
        Ok(card::render(&self.describe(model, version).await?))
    }
}
