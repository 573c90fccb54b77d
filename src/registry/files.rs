//! A version as bytes: `artifact.json` and the payload. Nothing is trusted on the way back.

use super::artifact::Artifact;
use super::golden::Golden;
use super::sealed::{self, Opened, sha256};
use crate::error::{Error, Result, ResultExt};
use crate::models::Predictor;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The file whose presence makes a version.
pub(super) const ARTIFACT: &str = "artifact.json";
/// The card's file.
pub(super) const CARD: &str = "card.md";
/// No artifact is larger: rows are not in it, and categories that take more are refused.
pub(super) const LARGEST_ARTIFACT_BYTES: u64 = 64 << 20;
/// How much of the payload's hash is in its name: enough that two payloads never share one.
const NAME_DIGITS: usize = 16;

/// Which version of a model, and a hash over all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// The model's name.
    pub model: String,
    /// Counts from 1.
    pub version: u64,
    /// Over artifact and payload (hex): the same hash, the same model.
    pub sha256: String,
    /// The training's fingerprint.
    pub fingerprint: String,
}

/// A version without its predictor.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Which one it is.
    pub version: ModelVersion,
    /// What makes it.
    pub artifact: Artifact,
    /// The version of the binary that trained it.
    pub lakemill: String,
    /// The payload's size.
    pub payload_bytes: u64,
    /// The golden rows, which are not verified without the predictor.
    pub golden: Golden,
    pub(super) payload: Payload,
}

/// A model ready to score.
#[derive(Debug, Clone)]
pub struct LoadedModel {
    /// Which one it is.
    pub version: ModelVersion,
    /// What makes it.
    pub artifact: Artifact,
    /// Checked against the encoder and the golden predictions.
    pub predictor: Predictor,
    /// The payload's size.
    pub payload_bytes: u64,
    pub(super) payload_sha256: String,
}

impl LoadedModel {
    /// Whether its predictor is the one whose payload has this hash (hex). A payload of an older format is one that
    /// this binary would write in another way.
    ///
    /// # Errors
    /// What encoding the predictor fails with.
    pub fn is_of(&self, payload_sha256: &str) -> Result<bool> {
        Ok(self.payload_sha256 == payload_sha256 || sha256(&self.predictor.to_payload()?) == payload_sha256)
    }
}

/// Which payload belongs to an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Payload {
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Payload {
    pub fn of(bytes: &[u8]) -> Self {
        let sha256 = sha256(bytes);
        Self { file: file_name(&sha256), bytes: bytes.len() as u64, sha256 }
    }
}

fn file_name(sha256: &str) -> String {
    format!("payload-{}.arrow", sha256.get(..NAME_DIGITS).unwrap_or(sha256))
}

/// What `artifact.json` holds.
#[derive(Serialize)]
struct Writing<'a> {
    payload: &'a Payload,
    artifact: &'a Artifact,
    golden: &'a Golden,
}

#[derive(Deserialize)]
struct Reading {
    payload: Payload,
    artifact: Artifact,
    golden: Golden,
}

/// A version that is not written yet.
#[derive(Debug, Clone)]
pub(super) struct Encoded {
    pub artifact: Bytes,
    pub payload: Bytes,
    pub payload_file: String,
}

/// The payload of a model, which is gone then, and what the artifact says of it; equal models give equal bytes.
pub(super) fn encode(predictor: Predictor) -> Result<(Bytes, Payload)> {
    let bytes = predictor.into_payload()?;
    let payload = Payload::of(&bytes);
    Ok((bytes.into(), payload))
}

/// The files of a model whose payload is encoded.
///
/// # Errors
/// `check` where the artifact would be too large to be read again.
pub(super) fn seal(artifact: &Artifact, golden: &Golden, (bytes, payload): (Bytes, Payload)) -> Result<Encoded> {
    let sealed = sealed::seal(&Writing { payload: &payload, artifact, golden })?;
    if sealed.len() as u64 > LARGEST_ARTIFACT_BYTES {
        return Err(Error::check("what describes the model is larger than it can be")
            .with("bytes", sealed.len())
            .with("limit", LARGEST_ARTIFACT_BYTES)
            .hint("lower encoder.max_categories, shorten long texts in the SQL, or learn fewer segments"));
    }
    Ok(Encoded { artifact: sealed.into(), payload: bytes, payload_file: payload.file })
}

/// Verifies and reads `artifact.json`.
///
/// # Errors
/// `verification` where it was altered, is of a newer format, or belongs to another model.
pub(super) fn describe(model: &str, version: u64, bytes: &[u8]) -> Result<Described> {
    let Opened { sha256, lakemill, body } = sealed::open::<Reading>(bytes)?;
    let Reading { payload, artifact, golden } = body;
    if artifact.model != model {
        return Err(Error::verification("the artifact belongs to another model").with("found", &artifact.model));
    }
    if payload.file != file_name(&payload.sha256) {
        return Err(
            Error::verification("the artifact names a payload that is not its own").with("found", &payload.file)
        );
    }
    let version = ModelVersion { model: model.to_owned(), version, sha256, fingerprint: artifact.fingerprint.clone() };
    Ok(Described { version, artifact, lakemill, payload_bytes: payload.bytes, golden, payload })
}

/// Verifies the payload and makes a model of it.
///
/// # Errors
/// `verification` where the payload was altered, does not fit the artifact, or does not reproduce the
/// golden predictions.
pub(super) fn load(described: Described, payload: &[u8]) -> Result<LoadedModel> {
    let Described { version, artifact, golden, payload: expected, .. } = described;
    if payload.len() as u64 != expected.bytes || sha256(payload) != expected.sha256 {
        return Err(Error::verification("the payload was altered or is cut off: its checksum does not fit")
            .with("file", &expected.file)
            .hint("restore it from a backup, or train the model again"));
    }
    let predictor = Predictor::from_payload(payload).at("file", &expected.file)?;
    check_fit(&artifact, &predictor)?;
    golden.verify(&artifact.encoder, &predictor)?;
    let Payload { bytes, sha256, .. } = expected;
    Ok(LoadedModel { version, artifact, predictor, payload_bytes: bytes, payload_sha256: sha256 })
}

fn check_fit(artifact: &Artifact, predictor: &Predictor) -> Result<()> {
    let differ = |what: &str| Err(Error::verification(format!("artifact and payload do not fit: {what} differ")));
    if predictor.task() != artifact.task {
        return differ("their tasks");
    }
    if predictor.classes() != artifact.classes.len() {
        return differ("their numbers of classes");
    }
    if predictor.features() != artifact.encoder.features() {
        return differ("their numbers of features");
    }
    Ok(())
}
